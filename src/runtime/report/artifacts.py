"""What a run leaves, saved in the store: its outputs, and extra files that it wrote elsewhere.
docs/reference/formats.md, "Artifacts".
"""

from __future__ import annotations

import hashlib
import json
import os

from ..run_dir import written_files
from ..system import safe_walk
from ..system.errors import Failure
from . import artifact_links

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any, Callable, Collection, Dict, List, Mapping, Sequence, Tuple

    from ..checkpoints.part_upload import Parts
    from ..run_dir.written_files import Inputs, Written
    from ..system.documents import Limits, RunRecordArtifacts, RunSpec
    from .fencing import Fenced

    # Called with the bytes that were read by now, and all.
    Progress = Callable[[int, int], object]
    Entry = Dict[str, Any]
    # By path: the signature of the file, and its entry.
    Saved = Dict[str, Tuple[List[int], Entry]]


# How often a file is read that changes while it is read.
MAX_READS = 3
CHANGED = "it changed each time that it was read"
# A client refuses longer paths.
MAX_PATH_BYTES = 4096
# How many skipped files are listed by name, and how much of each path.
MAX_LISTED, SHOWN_CHARACTERS = 1000, 2000


def save_artifacts(
    spec: RunSpec,
    work: str | int,
    inputs: Inputs,
    *,
    parts: Parts,
    bucket: Fenced,
    progress: Progress | None = None,
    account: pwd.struct_passwd | None = None,
    checkpoints: Collection[str] = (),
) -> RunRecordArtifacts:
    """Saves the artifacts of a run and their list. Its record's `artifacts`; `progress(bytes, of
    bytes)` as it proceeds.

    `work` is the run's directory, as `safe_walk` takes a base,
    `inputs` what it held before, `checkpoints` the paths in the project that are saved as such. A
    file that still grows is skipped. Failure: BAD_PLAN, LIMIT, or of the bucket.
    """
    project = safe_walk.open_directory(work, spec["projectRoot"])
    try:
        saved: Saved = {}
        tries = 0
        while True:
            found = written_files.look(
                work, spec, inputs=inputs, account=account, checkpoints=checkpoints
            )
            entries, skipped, changed = save_outputs(
                spec, project, found, parts=parts, progress=progress, saved=saved
            )
            tries += 1
            if not changed or tries == MAX_READS:
                break
    finally:
        os.close(project)
    extra, unsaved = save_extra(spec, work, found.extra, parts=parts)
    data = json.dumps({
        "v": 1,
        "files": entries,
        "extra": extra,
        "unsaved": unsaved,
        "skipped": skipped,
    }).encode()
    bucket.put("artifacts.json", data)
    return {
        "state": "saved",
        "sha256": hashlib.sha256(data).hexdigest(),
        "files": len(entries),
        "bytes": sum(entry["size"] for entry in entries),
        "extra": {
            "files": len(extra),
            "bytes": sum(entry["size"] for entry in extra),
            "unsaved": len(unsaved),
        },
        "error": None,
    }


def save_outputs(
    spec: RunSpec,
    project: int,
    found: Written,
    *,
    parts: Parts,
    progress: Progress | None,
    saved: Saved,
) -> tuple[list[Entry], list[Entry], bool]:
    """(the entries of what outputs name, what of it is skipped, whether a file changed while it was
    read).

    `saved`: {path: (signature, entry)} of the files that need not be read again; this adds to it.
    """
    files, long = by_length([(path, what.st_size) for path, what in found.outputs])
    led, skipped = artifact_links.copies(project, files, found.skipped)
    sizes = dict(files)
    sizes.update((link, sizes[path]) for link, path in led.items())
    check_limits(list(sizes.items()), sum(sizes.values()), spec["artifacts"]["limits"])
    signatures = {
        path: written_files.signature(what) + [what.st_ctime_ns] for path, what in found.outputs
    }
    unread = [
        (path, size)
        for path, size in files
        if path not in saved or saved[path][0] != signatures[path]
    ]
    total, done = sum(size for _, size in unread), [0]

    def on_bytes(count: int) -> None:
        done[0] += count
        if progress:
            progress(done[0], total)

    changed: list[str] = []
    for entry in parts.save_all(
        project, [path for path, _ in unread], progress=on_bytes, changed=changed
    ):
        saved[entry["path"]] = (signatures[entry["path"]], entry)
    growing = set(changed)
    by_path = {path: saved[path][1] for path in sizes if path in saved and path not in growing}
    entries = list(by_path.values())
    entries += [
        dict(by_path[path], path=link) for link, path in sorted(led.items()) if path in by_path
    ]
    still = sorted(growing | {link for link, path in led.items() if path in growing})
    # They come first: the list is bounded, and without them the result is not whole.
    first = [{"path": path, "why": CHANGED, "changed": True} for path in still]
    return entries, bounded([*first, *skipped, *long]), bool(changed)


def save_extra(
    spec: RunSpec, work: str | int, found: Sequence[tuple[str, os.stat_result]], *, parts: Parts
) -> tuple[list[Entry], list[Entry]]:
    """(the entries of extra files that are saved, what of them is not, and why). The smallest come
    first, as far as the limits allow.
    """
    limits = spec["artifacts"]["extra"]
    files, unsaved = by_length(
        sorted(((path, what.st_size) for path, what in found), key=lambda each: (each[1], each[0]))
    )
    sizes, total = dict(files), 0
    kept: list[str] = []
    for path, size in files:
        if len(kept) < limits["files"] and total + size <= limits["bytes"]:
            kept.append(path)
            total += size
        else:
            unsaved.append({"path": path, "why": "over the limit"})
    changed: list[str] = []
    entries = parts.save_all(work, kept, changed=changed)
    unsaved += [{"path": path, "why": "it changed while it was read"} for path in changed]
    return sorted(entries, key=lambda entry: entry["path"]), bounded(
        [dict(each, size=sizes.get(each["path"], 0)) for each in unsaved], size=0
    )


def by_length(found: Sequence[tuple[str, int]]) -> tuple[list[tuple[str, int]], list[Entry]]:
    """(what can be listed, what is skipped because its path is too long for that)."""
    short = [each for each in found if len(each[0].encode()) <= MAX_PATH_BYTES]
    kept = {path for path, _ in short}
    why = "its path is longer than %d bytes" % MAX_PATH_BYTES
    return short, [
        {"path": path[:200] + "...", "why": why} for path, _ in found if path not in kept
    ]


def bounded(skipped: Sequence[Mapping[str, Any]], **more: Any) -> list[Entry]:
    listed = [
        dict(
            each,
            path=each["path"]
            if len(each["path"]) <= SHOWN_CHARACTERS
            else each["path"][:SHOWN_CHARACTERS] + "...",
        )
        for each in skipped
    ]
    if len(listed) <= MAX_LISTED:
        return listed
    return listed[:MAX_LISTED] + [
        dict(
            more,
            path="%d more" % (len(listed) - MAX_LISTED),
            why="only %d are listed by name" % MAX_LISTED,
        )
    ]


def check_limits(found: Sequence[tuple[str, int]], total: int, limits: Limits) -> None:
    if len(found) > limits["files"]:
        raise Failure(
            "LIMIT",
            "%d files are more than the limit" % len(found),
            limit="files",
            value=len(found),
        )
    if total > limits["bytes"]:
        largest = sorted(found, key=lambda each: -each[1])[:5]
        raise Failure(
            "LIMIT",
            "%d bytes are more than the limit" % total,
            limit="bytes",
            value=total,
            largest=[{"path": path, "size": size} for path, size in largest],
        )

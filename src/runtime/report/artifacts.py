"""What a run leaves, saved in the store: its outputs, and extra files that it wrote elsewhere.
docs/reference/formats.md, "Artifacts".
"""

from __future__ import annotations

import hashlib
import json
import os

from ..run_dir import written_files
from ..system import safe_walk
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
CHANGED, OVER_LIMIT = "it changed each time that it was read", "over the limit"
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
    file that still grows is skipped, and so are the largest ones over a limit. Failure: BAD_PLAN,
    or of the bucket.
    """
    project = safe_walk.open_directory(work, spec["projectRoot"])
    try:
        saved: Saved = {}
        tries = 0
        links = artifact_links.Links(spec, project, inputs=inputs, account=account)
        while True:
            found = written_files.look(
                work, spec, inputs=inputs, account=account, checkpoints=checkpoints
            )
            entries, skipped, changed = save_outputs(
                spec, project, found, links=links, parts=parts, progress=progress, saved=saved
            )
            tries += 1
            if not changed or tries == MAX_READS:
                break
    finally:
        os.close(project)
    extra, unsaved = save_extra(spec, work, found, parts=parts)
    data = json.dumps({
        "v": 1,
        "files": entries,
        "extra": extra,
        "unsaved": unsaved,
        "skipped": bounded(skipped),
    }).encode()
    bucket.put("artifacts.json", data)
    return {
        "state": "saved",
        "sha256": hashlib.sha256(data).hexdigest(),
        "files": len(entries),
        "bytes": sum(entry["size"] for entry in entries),
        "unsaved": sum("unsaved" in each for each in skipped),
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
    links: artifact_links.Links,
    parts: Parts,
    progress: Progress | None,
    saved: Saved,
) -> tuple[list[Entry], list[Entry], bool]:
    """(the entries of what outputs name, what of it is skipped, whether a file changed while it was
    read).

    `saved`: {path: (signature, entry)} of the files that need not be read again; this adds to it.
    """
    files, long = by_length([(path, what.st_size) for path, what in found.outputs])
    led, followed, skipped = links.copies(files, found.skipped)
    sizes = dict(files)
    sizes.update((link, sizes[path]) for link, path in led.items())
    sizes.update(followed)
    kept, over = within(sizes, spec["artifacts"]["limits"])
    # A copy of what is not saved is not saved either.
    over.update((link, over[path]) for link, path in led.items() if path in over)
    signatures = {
        path: written_files.signature(what) + [what.st_ctime_ns] for path, what in found.outputs
    }
    unread = [
        (path, size)
        for path, size in files
        if path in kept and (path not in saved or saved[path][0] != signatures[path])
    ]
    elsewhere = [link for link in followed if link in kept]
    total, done = sum(size for _, size in unread) + sum(sizes[each] for each in elsewhere), [0]

    def on_bytes(count: int) -> None:
        done[0] += count
        if progress:
            progress(done[0], total)

    changed: list[str] = []
    for entry in parts.save_all(
        project, [path for path, _ in unread], progress=on_bytes, changed=changed
    ):
        saved[entry["path"]] = (signatures[entry["path"]], entry)
    copied = parts.save_all(links.open, elsewhere, progress=on_bytes, changed=changed)
    growing = set(changed)
    by_path = {path: saved[path][1] for path, _ in files if path in kept and path not in growing}
    entries = [*by_path.values(), *copied]
    entries += [
        dict(by_path[path], path=link)
        for link, path in sorted(led.items())
        if path in by_path and link not in over
    ]
    still = sorted(growing | {link for link, path in led.items() if path in growing} - set(over))
    largest = sorted(over, key=lambda path: (-sizes[path], path))
    left: list[Entry] = [
        *({"path": path, "why": CHANGED, "unsaved": "changed"} for path in still),
        *({"path": path, "why": OVER_LIMIT, "unsaved": over[path]} for path in largest),
        *long,
        *({**each} for each in skipped),
    ]
    # The list is bounded: what makes the result incomplete comes first.
    left.sort(key=lambda each: "unsaved" not in each)
    return entries, left, bool(changed)


def save_extra(
    spec: RunSpec, work: str | int, found: Written, *, parts: Parts
) -> tuple[list[Entry], list[Entry]]:
    """(the entries of extra files that are saved, what of them is not, and why)."""
    files, long = by_length([(path, what.st_size) for path, what in found.extra])
    sizes = dict(files)
    kept, over = within(sizes, spec["artifacts"]["extra"])
    changed: list[str] = []
    entries = parts.save_all(work, sorted(kept), changed=changed)
    unsaved = [{"path": each["path"], "why": each["why"]} for each in long]
    unsaved += [{"path": path, "why": OVER_LIMIT} for path in over]
    unsaved += [{"path": path, "why": "it changed while it was read"} for path in changed]
    return sorted(entries, key=lambda entry: entry["path"]), bounded(
        [*found.unsaved, *(dict(each, size=sizes.get(each["path"], 0)) for each in unsaved)], size=0
    )


def within(sizes: Mapping[str, int], limits: Limits) -> tuple[set[str], dict[str, str]]:
    """(the paths that limits allow, for each other one the limit that it is over). The smallest
    come first, so that as many as can be are saved; of one size, as they are listed.
    """
    kept: set[str] = set()
    over: dict[str, str] = {}
    total = 0
    for path, size in sorted(sizes.items(), key=lambda each: each[1]):
        if len(kept) >= limits["files"]:
            over[path] = "files"
        elif total + size > limits["bytes"]:
            over[path] = "bytes"
        else:
            kept.add(path)
            total += size
    return kept, over


def by_length(found: Sequence[tuple[str, int]]) -> tuple[list[tuple[str, int]], list[Entry]]:
    """(what can be listed, what is skipped because its path is too long for that)."""
    short = [each for each in found if len(each[0].encode()) <= MAX_PATH_BYTES]
    kept = {path for path, _ in short}
    why = "its path is longer than %d bytes" % MAX_PATH_BYTES
    return short, [
        {"path": path[:200] + "...", "why": why, "unsaved": "name"}
        for path, _ in found
        if path not in kept
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

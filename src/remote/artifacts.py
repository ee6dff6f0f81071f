"""What a run leaves in its output directory, saved in the store: docs/FORMAT.md, "Artifacts"."""
import hashlib
import json
import re
import stat

from . import inside, links
from .failure import Failure
from .parts import Changed

# How often they are saved anew where a file changes meanwhile.
TRIES = 3
# A client reads no longer path, bytes.
LONGEST_PATH = 4096
# As many of those that are skipped are listed by name.
LISTED = 1000


def save_artifacts(part, project, parts, bucket, progress=None, account=None):
    """Saves the artifacts of a run and their list. Its record's `artifacts`; `progress(bytes, of bytes)` as it goes on.

    `part` is the run's part of the plan, `project` its directory, as `inside` takes a base. Failure: BAD_PLAN, LIMIT, ARTIFACT_CHANGED, or of the bucket."""
    try:
        patterns = [re.compile(each, re.DOTALL) for each in part["artifacts"]["patterns"]]
    except re.error as error:
        raise Failure("BAD_PLAN", "a glob can not be matched here: %s" % error)
    for left in reversed(range(TRIES)):
        found, skipped = look(project, part["outputDir"], patterns, account)
        found, long = by_length(found)
        led, skipped = links.copies(project, found, skipped)
        sizes = dict(found)
        sizes.update((link, sizes[path]) for link, path in led.items())
        refuse_more(list(sizes.items()), sum(sizes.values()), part["artifacts"]["limits"])
        total, done = sum(size for _, size in found), [0]

        def on_bytes(count):
            done[0] += count
            if progress:
                progress(done[0], total)

        try:
            entries = parts.save_all(project, [path for path, _ in found], on_bytes)
            break
        except Changed as changed:
            if not left:
                raise Failure("ARTIFACT_CHANGED", "%s changed each time that it was read" % changed, path=str(changed))
    by_path = {entry["path"]: entry for entry in entries}
    entries += [dict(by_path[path], path=link) for link, path in sorted(led.items())]
    data = json.dumps({"v": 1, "files": entries, "skipped": bounded(skipped + long)}).encode()
    bucket.put("artifacts.json", data)
    return {
        "state": "saved", "sha256": hashlib.sha256(data).hexdigest(), "files": len(entries), "bytes": sum(entry["size"] for entry in entries), "error": None,
    }


def look(project, output, patterns, account=None):
    """([(path, size), …], what is skipped): paths relative to the project."""
    found, skipped = [], []
    for path, what in inside.walk(project, output, account):
        why = inside.what_else(path, what, account)
        if stat.S_ISDIR(what.st_mode):
            # Whether anything in it would have matched can't be told.
            if why:
                skipped.append({"path": inside.shown(path), "why": why})
        elif not any(pattern.fullmatch(path) for pattern in patterns):
            continue
        elif why:
            skipped.append({"path": inside.shown(path), "why": why})
        else:
            found.append((path, what.st_size))
    return found, skipped


def by_length(found):
    """(what can be listed, what is skipped because its path is too long for that)."""
    short = [each for each in found if len(each[0].encode()) <= LONGEST_PATH]
    kept = {path for path, _ in short}
    why = "its path is longer than %d bytes" % LONGEST_PATH
    return short, [{"path": path[:200] + "...", "why": why} for path, _ in found if path not in kept]


def bounded(skipped):
    if len(skipped) <= LISTED:
        return skipped
    return skipped[:LISTED] + [{"path": "%d more" % (len(skipped) - LISTED), "why": "only %d are listed by name" % LISTED}]


def refuse_more(found, total, limits):
    if len(found) > limits["files"]:
        raise Failure("LIMIT", "%d files are more than can come back" % len(found), limit="files", value=len(found))
    if total > limits["bytes"]:
        largest = sorted(found, key=lambda each: -each[1])[:5]
        raise Failure("LIMIT", "%d bytes are more than the limit" % total, limit="bytes", value=total, largest=[{"path": path, "size": size} for path, size in largest])

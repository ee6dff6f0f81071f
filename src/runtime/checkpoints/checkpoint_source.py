"""The checkpoint of another run that a training resumes from, read from the store by the role or by
URLs that the client has signed.
"""

from __future__ import annotations

import hashlib
import json
import os
import time

from ..aws.http_pool import MAX_READS, REREAD_PAUSE_S
from ..aws.signed_requests import Answer, Unreadable, is_unreadable
from ..run_dir.node_path import node_path
from ..system.errors import Failure
from .checkpoint_restore import read, restore
from .whole_checkpoint import combined

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Callable, Mapping

    from ..system.documents import ResumeSource, StoreAccess
    from .checkpoint_restore import InProject, Manifest

    Fetch = Callable[[str, int], "bytes | bytearray | None"]


# The largest manifest of a checkpoint, and the largest part.
MAX_MANIFEST_BYTES, MAX_PART_BYTES = 64 * 1024 * 1024, 16 * 1024 * 1024


def restore_from(
    source: ResumeSource,
    access: StoreAccess,
    run_dir: str,
    *,
    account: pwd.struct_passwd,
    before: Callable[[], object] = lambda: None,
    project: InProject | None = None,
    rank: int = 0,
) -> Manifest:
    """The manifest of what was put into the run's checkpoint directory and its project: the files
    of all nodes that the source names, of one path those of the node of this rank.
    RESTORE_FAILED says why nothing was, `detail.why` by a code.

    `before` is called before each part is asked for, by several threads: what it raises ends it.
    """
    fetch = by_urls(source["urls"]) if source["urls"] else by_role(source, access)

    def get(name: str, limit: int, sha256: str) -> bytes | bytearray | None:
        """An object, read again where it is not what its hash says: S3 may hold it right. One that
        stays so is a Failure of `restore`.
        """
        data = None
        for attempt in range(MAX_READS):
            if attempt:
                time.sleep(REREAD_PAUSE_S * attempt)
            before()
            data = fetch(name, limit)
            if data is None or hashlib.sha256(data).hexdigest() == sha256:
                break
        return data

    def manifest_of(place: str, n: int, sha256: str) -> bytes:
        data = get("%scheckpoint/%d.json" % (place, n), MAX_MANIFEST_BYTES, sha256)
        if data is None:
            how = "the checkpoint %d of %s is not in the store" % (n, source["run"])
            raise Failure("RESTORE_FAILED", how, why="ABSENT")
        return bytes(data)

    try:
        data = manifest_of("", source["n"], source["sha256"])
        digest, places = source["sha256"], {}
        if source["nodes"]:
            manifests = {0: read(data, digest)}
            for node in source["nodes"]:
                found = manifest_of(node_path(node["rank"]), node["n"], node["sha256"])
                manifests[node["rank"]] = read(found, node["sha256"])
            whole = combined(manifests, rank)
            data, places = json.dumps(whole.manifest).encode(), whole.places
            digest = hashlib.sha256(data).hexdigest()

        def get_part(sha256: str) -> bytes | bytearray | None:
            place = node_path(places.get(sha256, 0))
            return get(place + "part/" + sha256, MAX_PART_BYTES, sha256)

        return restore(
            data,
            digest,
            os.path.join(run_dir, "checkpoints"),
            get_part=get_part,
            account=account,
            project=project,
        )
    except Failure as failure:
        if failure.code == "RESTORE_FAILED":
            raise
        aws = failure.detail.get("aws")
        raise Failure(
            "RESTORE_FAILED",
            "%s (%s)%s" % (failure.message, failure.code, ": %s" % aws if aws else ""),
            why="UNREADABLE" if isinstance(failure, Unreadable) else failure.code,
        )


def by_role(source: ResumeSource, access: StoreAccess) -> Fetch:
    from ..aws.bucket import open_bucket

    bucket = open_bucket({**access, "access": "role", "prefix": source["prefix"], "post": None})
    return lambda name, limit: bucket.get(name, limit=limit)


def by_urls(urls: Mapping[str, str]) -> Fetch:
    from ..aws.http_pool import Connections, is_absence

    connections = Connections()

    def get(name: str, limit: int) -> bytes | bytearray | None:
        if name not in urls:
            return None
        answer = connections.get("checkpoint", urls[name], limit=limit)
        words = "" if answer.status == 200 else answer.body[:2000].decode("utf-8", "replace")
        if answer.status == 404 or (answer.status == 403 and is_absence(words)):
            return None
        if answer.status != 200:
            refused = is_unreadable(Answer(answer.status, {}, answer.body))
            raise (Unreadable if refused else Failure)(
                "FETCH_FAILED",
                "%s could not be fetched: HTTP %d" % (name, answer.status),
                aws=words,
            )
        return answer.body

    return get

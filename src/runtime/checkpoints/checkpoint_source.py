"""The checkpoint of another run that a training resumes from, read from the store by the role or by
URLs that the client has signed.
"""

from __future__ import annotations

import hashlib
import os
import time

from ..aws.http_pool import MAX_READS, REREAD_PAUSE_S
from ..aws.signed_requests import Answer, Unreadable, is_unreadable
from ..system.errors import Failure
from .checkpoint_restore import restore

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
) -> Manifest:
    """The manifest of what was put into the run's checkpoint directory and its project.
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

    name = "checkpoint/%d.json" % source["n"]
    try:
        data = get(name, MAX_MANIFEST_BYTES, source["sha256"])
        if data is None:
            raise Failure(
                "RESTORE_FAILED",
                "the checkpoint %d of %s is not in the store" % (source["n"], source["run"]),
                why="ABSENT",
            )
        return restore(
            bytes(data),
            source["sha256"],
            os.path.join(run_dir, "checkpoints"),
            get_part=lambda sha256: get("part/" + sha256, MAX_PART_BYTES, sha256),
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

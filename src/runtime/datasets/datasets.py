"""Data in S3 for a run: fetched once by the instance's role, kept by version, shared read-only
(docs/reference/formats.md, "Data").
"""

from __future__ import annotations

import os
import shutil
import stat
import threading
import time

from ..aws.http_pool import Connections, in_parallel
from ..disk import garbage_collector, shared_cache
from ..system import account as accounts
from ..system.atomic_files import write_atomically
from ..system.dirfd_cache import Directories
from ..system.errors import Failure
from . import listing
from .download import Fetch

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Callable, Sequence, TypedDict

    from ..system.documents import FetchedDataset, RunSpec, RunSpecDatasetsItem
    from .listing import Listed

    # Called with the source, the bytes that are there by now, and all.
    Progress = Callable[[str, int, int], object]

    class LinkedDataset(TypedDict):
        source: str
        path: str
        directory: str

    class KeptDataset(FetchedDataset):
        """`directory`: where the path is to lead to. While `lock` is open, nothing removes it."""

        directory: str
        lock: int


# Between two looks whether the run is to stop, and how long a fetch that is stopped has to end its
# requests.
TICK_S, STOP_TIMEOUT_S = 0.2, 5
THREADS = 8
# Where AMIs for deep learning mount the machine's own disks, and what the kernel calls such a disk.
MOUNTED = "/opt/dlami/nvme"
MODEL = "Amazon EC2 NVMe Instance Storage"


def fetch_data(
    spec: RunSpec,
    root: str,
    *,
    account: pwd.struct_passwd,
    progress: Progress,
    say: Callable[[str], object] = lambda text: None,
) -> list[KeptDataset]:
    """[{"source", "path", "version", "files", "bytes", "directory", "lock"}, …] of a run's `data`:
    each is there, whole, when this returns.

    `directory` is what the path is to lead to (a file where the source is one object); while the
    descriptor `lock` is open, nothing removes it. `progress(source, bytes, of bytes)` is called
    five times a second, by the thread that called this; what it raises ends the fetch, which the
    next one takes up where it stood. `say` tells of another run that is waited for. NO_ROLE,
    DATA_FAILED, UNSAFE_PATH, NO_SPACE, NO_ROOT.
    """
    base, connections = data_root(root, account), Connections()
    try:
        return [
            _entry(each, spec, base=base, connections=connections, progress=progress, say=say)
            for each in spec["datasets"]
        ]
    finally:
        connections.close()


def _entry(
    wanted: RunSpecDatasetsItem,
    spec: RunSpec,
    *,
    base: str,
    connections: Connections,
    progress: Progress,
    say: Callable[[str], object],
) -> KeptDataset:
    listed = listing.list_source(
        wanted["source"],
        region=spec["store"]["region"],
        endpoint=spec["endpoints"].get("s3"),
        connections=connections,
        progress=lambda: progress(wanted["source"], 0, 0),
    )
    directory = os.path.join(base, "data", listed.version)

    def pause(seconds: float) -> None:
        progress(listed.source, 0, listed.bytes)
        time.sleep(seconds)

    _, lock = shared_cache.acquire(
        directory,
        "run %s" % spec["id"],
        make=lambda: _fetch(listed, directory, base=base, progress=progress),
        say=say,
        pause=pause,
    )
    files = os.path.join(directory, "files")
    return {
        "source": wanted["source"],
        "path": wanted["path"],
        "version": listed.version,
        "files": len(listed.objects),
        "bytes": listed.bytes,
        "directory": os.path.join(files, listed.objects[0].path) if listed.is_object else files,
        "lock": lock,
    }


def _fetch(listed: Listed, directory: str, *, base: str, progress: Progress) -> dict[str, object]:
    """What is written down of it when it is there."""
    partial, files = open_partial(os.path.join(directory, "part")), os.path.join(directory, "files")
    for path in listed.directories:
        os.makedirs(os.path.join(partial, "files", path), exist_ok=True)
    fetch = Fetch(listed, partial)
    garbage_collector.collect_garbage(base, fetch.missing)
    free = shutil.disk_usage(partial).free
    if fetch.missing > free:
        raise Failure(
            "NO_SPACE",
            "%s needs %d bytes on %s, which has %d" % (listed.source, fetch.missing, partial, free),
            path=partial,
        )
    _work(fetch, lambda: progress(listed.source, fetch.fetched, listed.bytes))
    progress(listed.source, listed.bytes, listed.bytes)
    # One that was killed between its last two steps has left it.
    shutil.rmtree(files, ignore_errors=True)
    # What is written down as there must be on the disk, too.
    os.sync()
    os.rename(os.path.join(partial, "files"), files)
    shutil.rmtree(partial)
    return {
        "v": 1,
        "source": listed.source,
        "files": len(listed.objects),
        "bytes": listed.bytes,
        "at": int(time.time() * 1000),
    }


def _work(fetch: Fetch, progress: Callable[[], object]) -> None:
    """Fetches what lacks, while this thread looks after other things."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            in_parallel(fetch.work(), fetch.take, THREADS)
        except BaseException as failure:
            failures.append(failure)
        fetch.close()

    worker = threading.Thread(target=run, daemon=True)
    worker.start()
    try:
        while worker.is_alive():
            worker.join(TICK_S)
            progress()
    except BaseException:
        # What is on its way is let come in, for a while, and not used any more.
        fetch.stopped.set()
        worker.join(STOP_TIMEOUT_S)
        raise
    if failures:
        raise failures[0]


def open_partial(partial: str) -> str:
    """The directory of a fetch that may have been begun: what another boot of the machine wrote may
    never have reached the disk.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            boot = file.read()
    except OSError:
        boot = b""
    mark = os.path.join(partial, "boot")
    try:
        with open(mark, "rb") as file:
            if file.read() == boot:
                return partial
    except FileNotFoundError:
        pass
    shutil.rmtree(partial, ignore_errors=True)
    os.makedirs(os.path.join(partial, "files"))
    write_atomically(mark, boot)
    return partial


def data_root(root: str, account: pwd.struct_passwd) -> str:
    """Below what data is kept: NX_EC2_DATA_ROOT, else a disk of the machine's own where one is
    mounted, else the root.
    """
    named = os.environ.get("NX_EC2_DATA_ROOT")
    mount = None if named else instance_storage()
    candidates = [named] if named else [root]
    if mount:
        candidates.insert(0, os.path.join(mount, "nx-ec2"))
    for path in candidates:
        os.makedirs(path, mode=0o755, exist_ok=True)
        status = os.lstat(path)
        # Where others may write, what is there need not be what was fetched.
        if (
            status.st_uid == os.geteuid()
            and not os.path.islink(path)
            and not status.st_mode & 0o022
            and stays(path)
            and can_enter(path, account)
        ):
            return path
    path = candidates[-1]
    reason = (
        "it belongs to another user, others may write there, or %s can't enter it" % account.pw_name
    )
    raise Failure(
        "NO_ROOT", "datasets can't be kept in %s: %s" % (path, reason), path=path, reason=reason
    )


def stays(directory: str) -> bool:
    """Whether nobody but root, and us, can put another directory in the place of one: by a
    directory above it.
    """
    directory = os.path.realpath(directory)
    while directory != os.path.dirname(directory):
        directory = os.path.dirname(directory)
        status = os.stat(directory)
        # Where the sticky bit is set, others rename what is theirs alone.
        if status.st_uid not in (0, os.geteuid()) or (
            status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
        ):
            return False
    return True


def can_enter(directory: str, account: pwd.struct_passwd) -> bool:
    """Whether the account reaches what is in a directory."""
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    while account.pw_uid != 0:
        status = os.stat(directory)
        shift = 6 if status.st_uid == account.pw_uid else 3 if status.st_gid in groups else 0
        if not (status.st_mode >> shift) & 1:
            return False
        if directory == os.path.dirname(directory):
            break
        directory = os.path.dirname(directory)
    return True


def instance_storage() -> str | None:
    """Where a disk of the machine's own is mounted, which is faster than a volume and gone with the
    instance; None where none is.
    """
    try:
        with open("/proc/mounts") as file:
            mounts = [line.split()[:2] for line in file]
    except OSError:
        return None
    if any(path == MOUNTED for _, path in mounts):
        return MOUNTED
    for device, path in mounts:
        try:
            with open("/sys/block/%s/device/model" % os.path.basename(device)) as file:
                if file.read().strip() == MODEL and path != "/":
                    return path
        except OSError:
            continue
    return None


def link_data(entries: Sequence[LinkedDataset], project: str, account: pwd.struct_passwd) -> None:
    """Lets each path of the work directory lead to its data, by a process of the account's.
    PATH_BLOCKED where something stands there already.
    """
    links = [
        (listing.safe(entry["path"].rstrip("/"), entry["source"]), entry["directory"])
        for entry in entries
    ]
    blocked = accounts.act(account, lambda: _link(links, project, account))
    if blocked is not None:
        path, source = links[blocked][0], entries[blocked]["source"]
        raise Failure(
            "PATH_BLOCKED",
            "%s can't be placed at %s: that path exists" % (source, path),
            path=path,
            source=source,
        )


def _link(links: Sequence[tuple[str, str]], project: str, account: pwd.struct_passwd) -> int | None:
    """Makes the links; the number of the first that can't be made."""
    directories = Directories(project, account)
    try:
        for number, (path, directory) in enumerate(links):
            parent, _, name = os.fsencode(path).rpartition(b"/")
            try:
                at = directories.make(parent)
            except Failure:
                return number
            try:
                os.symlink(directory, name, dir_fd=at)
            except FileExistsError:
                # A later attempt of the run finds its own.
                if _target(name, at) != directory:
                    return number
    finally:
        directories.close()


def _target(name: bytes, parent: int) -> str | None:
    try:
        return os.readlink(name, dir_fd=parent).decode()
    except OSError:
        return None

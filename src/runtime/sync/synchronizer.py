"""Brings a tree to a snapshot. Killed anywhere, the next sync makes it right: reality is compared,
never assumed.
"""

from __future__ import annotations

import errno
import os
import time

from ..system import account as accounts
from ..system import atomic_files, plain_json
from ..system.errors import Failure, text
from . import snapshot
from .tree import Tree
from .tree_diff import check_blocking_paths, compare
from .tree_lock import TreeLock
from .unchanged import is_unchanged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterable, Sequence, TypedDict

    from ..aws.http_pool import Connections
    from ..system.documents import SyncReply, SyncSpec
    from .content_sources import Contents
    from .manifest_chain import History
    from .snapshot import Entries, Entry
    from .staging import Stage
    from .tree_diff import Comparison

    Progress = Callable[[], object]

    class SyncPlan(TypedDict):
        """What a sync needs of a plan."""

        tree: str
        user: str | None
        sync: SyncSpec


def synchronize(plan: SyncPlan, root: str) -> SyncReply:
    """The operation `sync`: brings the plan's tree to its snapshot, under the tree's lock."""
    with TreeLock(root, plan["tree"]) as lock:
        result, tree = apply(plan, root, lock.progress)
        tree.close()
        return result


def apply(plan: SyncPlan, root: str, progress: Progress = lambda: None) -> tuple[SyncReply, Tree]:
    """(result, the tree, for a run to be frozen of). The tree's lock is held by the caller, who is
    told of progress.
    """
    # Files get the modes that they are created with.
    os.umask(0o022)
    tree = Tree(root, plan["tree"], accounts.training_user(plan.get("user")))
    sync = Sync(plan["sync"], tree, progress)
    try:
        return sync.bring(), tree
    except BaseException as error:
        # The watcher lives on after what one sync could not do.
        tree.close()
        if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Failure("NO_SPACE", "the disk is full", path=tree.directory)
    finally:
        if sync.connected is not None:
            sync.connected.close()


def bytes_of(entries: Iterable[Entry]) -> int:
    return sum(entry[2] for entry in entries if entry[0] == "file")


class Sync:
    history: History | None
    connected: Connections | None

    def __init__(self, spec: SyncSpec, tree: Tree, progress: Progress) -> None:
        self.spec, self.tree, self.progress = spec, tree, progress
        self.history, self.connected = None, None
        self.healed = False

    def bring(self) -> SyncReply:
        if is_unchanged(self.tree, self.spec):
            return self.reply(written=0, deleted=0, size=0, reverted=[], kept=None)
        self.tree.load()
        self.healed = self.tree.head != self.spec.get("base")
        wanted, data = self.wanted()
        limits = self.spec["limits"]
        for name, value, limit in (
            ("entries", len(wanted), limits["entries"]),
            ("bytes", bytes_of(wanted.values()), limits["bytes"]),
        ):
            if value > limit:
                raise Failure("LIMIT", "more %s than declared" % name, limit=name, value=value)
        found = compare(self.tree, wanted)
        if not found.missing:
            result = self.finish(wanted, data, found)
            if os.path.exists(os.path.join(self.tree.directory, "stage")):
                from .staging import Stage

                # A sync was killed that had come so far.
                Stage(self.tree, 0).close(applied=True)
            return result
        from .assembler import Drifted

        try:
            return self.stage(wanted, data, found)
        except Drifted:
            # A disk, or a clock, that lied: now everything is read.
            return self.stage(wanted, data, compare(self.tree, wanted, trust_stat=False))

    def wanted(self) -> tuple[Entries, bytes]:
        """(entries, canonical form) of the snapshot wanted, verified."""
        spec, tree = self.spec, self.tree
        manifest, delta, name = spec.get("canonical"), spec.get("delta"), spec["snapshot"]
        if tree.head == spec.get("base") and delta is not None:
            return snapshot.fold(
                tree.entries, delta["deleted"], changed=delta["entries"], wanted_id=name
            )
        if manifest is not None:
            data = manifest.encode()
            return snapshot.parse(data, name), data
        if tree.head == name:
            return tree.entries, tree.data
        history = self.load_history()
        if history is None:
            raise Failure(
                "CONTENT_MISSING",
                "the tree holds another snapshot",
                head=tree.head,
                count=0,
                paths=[],
                contents=[],
            )
        if delta is not None:
            return snapshot.fold(
                history.entries, delta["deleted"], changed=delta["entries"], wanted_id=name
            )
        if history.snapshot != name:
            raise Failure(
                "SNAPSHOT_MISMATCH",
                "the history does not lead to the snapshot %s" % name,
                snapshot=name,
            )
        return history.entries, history.data

    def load_history(self) -> History | None:
        if self.history is None and self.spec.get("history"):
            from .manifest_chain import History, ManifestMissing

            try:
                self.history = History(self.connections(), self.spec["history"])
            except ManifestMissing:
                self.spec["history"] = []
        return self.history

    def connections(self) -> Connections:
        if self.connected is None:
            from ..aws.http_pool import Connections

            self.connected = Connections()
        return self.connected

    def stage(self, wanted: Entries, data: bytes, found: Comparison) -> SyncReply:
        from .content_sources import Contents
        from .staging import Stage

        stage = Stage(self.tree, len(wanted))
        applied = False
        try:
            contents = Contents(
                self.spec,
                self.tree,
                wanted=wanted,
                found=found,
                stage=stage,
                connections=self.connections,
                progress=self.progress,
            )
            contents.gather(self.load_history)
            stage.sync()
            result = self.finish(wanted, data, found, contents=contents, stage=stage)
            applied = True
            return result
        finally:
            stage.close(applied)

    def finish(
        self,
        wanted: Entries,
        data: bytes,
        found: Comparison,
        *,
        contents: Contents | None = None,
        stage: Stage | None = None,
    ) -> SyncReply:
        """Changes the tree, when everything missing is staged and verified, and records its
        head.
        """
        tree, force = self.tree, bool(self.spec.get("force"))
        stat_keys, kept = found.up_to_date, None
        if found.missing or found.deleted:
            from .transition import apply_changes

            blocking_parents = check_blocking_paths(tree, wanted, found, force=force)
            stat_keys, kept = apply_changes(
                tree,
                wanted,
                found,
                contents=contents,
                stage=stage,
                progress=self.progress,
                blocking_parents=blocking_parents,
                force=force,
            )
        name = self.spec["snapshot"]
        if (
            found.missing
            or found.deleted
            or found.index_stale
            or tree.pending is not None
            or tree.head != name
        ):
            tree.record(name, data, entries=wanted, stat_keys=stat_keys)
            record = plain_json.dumps({"snapshot": name, "at": int(time.time() * 1000)})
            atomic_files.write_atomically(
                os.path.join(tree.directory, "head.json"), record.encode()
            )
            tree.settle()
        return self.reply(
            written=len(found.missing),
            deleted=len(found.deleted),
            size=bytes_of(wanted[path] for path in found.missing),
            reverted=found.reverted,
            kept=kept,
        )

    def reply(
        self, *, written: int, deleted: int, size: int, reverted: Sequence[bytes], kept: str | None
    ) -> SyncReply:
        return {
            "head": self.spec["snapshot"],
            "written": written,
            "deleted": deleted,
            "bytes": size,
            "healed": self.healed,
            "reverted": [text(path) for path in reverted[:20]],
            "revertedCount": len(reverted),
            "kept": kept,
            "tree": self.tree.files,
            "user": self.tree.account.pw_name,
        }

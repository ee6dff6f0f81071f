"""Brings a tree to a snapshot. Killed anywhere, the next sync makes it right: reality is compared, never assumed."""
import errno
import os
import time

from ..system import account as accounts
from ..system import atomic_files
from ..system.errors import Failure, text
from . import snapshot
from .tree import Tree
from .tree_diff import check_way, compare
from .tree_lock import TreeLock


def synchronise(plan, root):
    """The operation `sync`: brings the plan's tree to its snapshot, under the tree's lock."""
    with TreeLock(root, plan["tree"]) as lock:
        result, tree = apply(plan, root, lock.progress)
        tree.close()
        return result


def apply(plan, root, progress=lambda: None):
    """(result, the tree, for a run to be frozen of). The tree's lock is held by the caller, who is told of progress."""
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


class Sync:
    def __init__(self, part, tree, progress):
        self.part, self.tree, self.progress = part, tree, progress
        self.history, self.connected = None, None
        self.healed = tree.head != part.get("base")

    def bring(self):
        wanted, data = self.wanted()
        limits = self.part["limits"]
        size = sum(entry[2] for entry in wanted.values() if entry[0] == "file")
        for name, value in (("entries", len(wanted)), ("bytes", size)):
            if value > limits[name]:
                raise Failure("LIMIT", "more %s than declared" % name, limit=name, value=value)
        found = compare(self.tree, wanted)
        if not found.lacking:
            result = self.switch(wanted, data, found, None, None)
            if os.path.exists(os.path.join(self.tree.directory, "stage")):
                from .staging import Stage

                # A sync was killed that had come so far.
                Stage(self.tree, 0).close(switched=True)
            return result
        from .assembler import Drifted

        try:
            return self.stage(wanted, data, found)
        except Drifted:
            # A disk, or a clock, that lied: now everything is read.
            return self.stage(wanted, data, compare(self.tree, wanted, believe=False))

    def wanted(self):
        """(entries, canonical form) of the snapshot wanted, verified."""
        part, tree = self.part, self.tree
        manifest, delta, name = part.get("canonical"), part.get("delta"), part["snapshot"]
        if tree.head == part.get("base") and delta is not None:
            return snapshot.fold(tree.entries, delta["deleted"], records=delta["entries"], wanted_id=name)
        if manifest is not None:
            data = manifest.encode()
            return snapshot.parse(data, name), data
        if tree.head == name:
            return tree.entries, tree.data
        history = self.load_history()
        if history is None:
            raise Failure("CONTENT_MISSING", "the tree holds another snapshot", head=tree.head, count=0, paths=[], contents=[])
        if delta is not None:
            return snapshot.fold(history.entries, delta["deleted"], records=delta["entries"], wanted_id=name)
        if history.snapshot != name:
            raise Failure("SNAPSHOT_MISMATCH", "the history does not lead to the snapshot %s" % name, snapshot=name)
        return history.entries, history.data

    def load_history(self):
        if self.history is None and self.part.get("history"):
            from .manifest_chain import Absent, History

            try:
                self.history = History(self.connections(), self.part["history"])
            except Absent:
                self.part["history"] = []
        return self.history

    def connections(self):
        if self.connected is None:
            from ..aws.http_pool import Connections

            self.connected = Connections()
        return self.connected

    def stage(self, wanted, data, found):
        from .content_sources import Contents
        from .staging import Stage

        stage = Stage(self.tree, len(wanted))
        switched = False
        try:
            contents = Contents(self.part, self.tree, wanted, found, stage, self.connections, self.progress)
            contents.gather(self.load_history)
            stage.sync()
            result = self.switch(wanted, data, found, contents, stage)
            switched = True
            return result
        finally:
            stage.close(switched)

    def switch(self, wanted, data, found, contents, stage):
        """Everything that may lack is staged and verified: changes the tree, and records its head."""
        tree, force = self.tree, bool(self.part.get("force"))
        rows, kept = found.right, None
        if found.lacking or found.gone:
            from .transition import switch

            obstacles = check_way(tree, wanted, found, force)
            rows, kept = switch(tree, wanted, found, contents, stage, self.progress, obstacles, force)
        name = self.part["snapshot"]
        if found.lacking or found.gone or found.learned or tree.pending is not None or tree.head != name:
            tree.record(name, data, wanted, rows)
            atomic_files.write_json(os.path.join(tree.directory, "head.json"), {"snapshot": name, "at": int(time.time() * 1000)})
            tree.settle()
        return {
            "head": name, "written": len(found.lacking), "deleted": len(found.gone),
            "bytes": sum(wanted[path][2] for path in found.lacking if wanted[path][0] == "file"),
            "healed": self.healed, "reverted": [text(path) for path in found.restored[:20]], "revertedCount": len(found.restored), "kept": kept,
            "tree": tree.files, "user": tree.account.pw_name,
        }

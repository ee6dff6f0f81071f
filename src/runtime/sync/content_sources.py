"""Where the contents that a tree lacks come from, and in which order: docs/reference/formats.md,
"sync, train".
"""

from __future__ import annotations

import os

from ..system.digest import sha256_hex
from ..system.errors import Failure, text
from .assembler import ONE_CHUNK_BYTES, Assembly, Drifted, decode
from .recipe import size_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable

    from ..aws.http_pool import Connections
    from ..system.documents import SyncSpec, SyncSpecPacksItem
    from .manifest_chain import History
    from .recipe import Recipe
    from .snapshot import Entries, FileEntry
    from .staging import Stage, Target
    from .tree import Tree
    from .tree_diff import Comparison

    Progress = Callable[[], object]


EMPTY = sha256_hex(b"")


class Contents:
    """Each missing content, staged once for each path that is to hold it.

    names    {path: stage name}
    targets  {content: [(stage name, executable), …]}
    sizes    {content: bytes}
    open     contents that are not staged yet
    inline   {content: zlib, base64}: what the plan brings, and the history if it was asked
    """

    names: dict[bytes, str]
    targets: dict[str, list[Target]]
    sizes: dict[str, int]
    history: History | None
    absent: list[dict[str, Any]]

    def __init__(
        self,
        spec: SyncSpec,
        tree: Tree,
        *,
        wanted: Entries,
        found: Comparison,
        stage: Stage,
        connections: Callable[[], Connections],
        progress: Progress,
    ) -> None:
        self.spec, self.tree, self.wanted, self.found, self.stage = spec, tree, wanted, found, stage
        self.connections, self.progress = connections, progress
        self.names, self.targets, self.sizes = {}, {}, {}
        for number, path in enumerate(found.missing):
            entry = wanted[path]
            if entry[0] == "file":
                self.names[path] = stage.name(entry[3], number)
                self.targets.setdefault(entry[3], []).append((self.names[path], entry[1]))
                self.sizes[entry[3]] = entry[2]
        self.open = set(self.targets)
        self.inline = dict(spec.get("inline") or {})
        self.assembly = Assembly(self)
        self.history = None
        self.absent = []

    def gather(self, history: Callable[[], History | None]) -> None:
        """Stages everything, each content verified, or raises CONTENT_MISSING. `history()` is the
        plan's, or None.
        """
        for content in list(self.open):
            if not self.take_local(content):
                self.take_inline(content, "the plan")
        packs = self.spec.get("packs") or []
        spare = [pack for pack in packs if pack.get("spare")]
        others = [pack for pack in packs if not pack.get("spare")]
        if self.open:
            self.begin()
            self.fetch(others, spare=False)
        if self.open and self.spec.get("archive"):
            from .archive import receive

            self.assembly.finish()
            receive(self.spec, self)
        self.assembly.finish()
        if self.open:
            self.history = history()
            if self.history:
                self.inline.update(self.history.inline)
                for content in list(self.open):
                    self.take_inline(content, "a manifest")
                self.begin()
            # What only the history has recipes of may be in the others too.
            self.fetch(spare + (others if self.history else []), spare=True)
            self.assembly.finish()
        if not self.open.isdisjoint(self.targets):
            raise self.needs()

    def begin(self) -> None:
        """Begins every open content of which it is known what it is made of."""
        brought = self.history.recipes if self.history else {}
        for content in list(self.open):
            recipes: list[Recipe] = [
                each[content]
                for each in (self.spec.get("recipes") or {}, brought)
                if content in each
            ]
            if not recipes and self.sizes[content] <= ONE_CHUNK_BYTES:
                recipes = [[[content, self.sizes[content]]]]
            self.assembly.begin(content, recipes)

    def recipes_of_base(self, base: str) -> tuple[int | None, list[Recipe]]:
        """(bytes, recipes) of a content of the base that the tree has no more; None where the
        history does not tell.
        """
        if not self.history:
            return None, []
        recipe = self.history.recipes.get(base)
        if recipe is not None:
            return size_of(recipe, base), [recipe]
        for entry in self.history.entries.values():
            if entry[0] == "file" and entry[3] == base and entry[2] <= ONE_CHUNK_BYTES:
                return entry[2], [[[base, entry[2]]]]
        return None, []

    def fetch(self, packs: list[SyncSpecPacksItem], spare: bool) -> None:
        if packs and self.assembly.places:
            from .packs import Packs

            self.check_space()
            source = Packs(self.connections(), self.assembly, self.progress)
            source.take(packs, spare)
            self.absent.extend(source.absent)

    def check_space(self) -> None:
        need = self.assembly.missing_bytes()
        disk = os.fstatvfs(self.stage.descriptor)
        free = (disk.f_bfree if self.tree.agent == 0 else disk.f_bavail) * disk.f_frsize
        if need > free:
            raise Failure(
                "NO_SPACE",
                "%d bytes must be written, but only %d are free" % (need, free),
                path=self.tree.directory,
            )

    # From the tree's own files, and from what a killed sync had staged.

    def take_local(self, content: str) -> bool:
        if content == EMPTY and self.sizes[content] == 0:
            return self.write(content, b"")
        targets = self.targets[content]
        if content in self.found.local_sources:
            descriptor = self.open_local(content)
            try:
                if self.rename(content, descriptor, targets[0]):
                    targets = targets[1:]
                return self.copy(content, descriptor, targets)
            finally:
                os.close(descriptor)
        left = self.stage.left.get(content)
        if left is None or self.stage.hash(left) != content:
            return False
        descriptor = self.stage.open(left)
        try:
            return self.copy(content, descriptor, targets)
        finally:
            os.close(descriptor)

    def open_local(self, content: str) -> int:
        try:
            return self.tree.open(self.found.local_sources[content])
        except OSError:
            raise Drifted()

    def rename(self, content: str, descriptor: int, target: Target) -> bool:
        """A file that moves keeps its bytes where they are; whether this one does."""
        path = self.found.local_sources[content]
        status = os.fstat(descriptor)
        entry: FileEntry = ("file", target[1], self.sizes[content], content)
        if (
            path not in self.found.consumed
            or status.st_nlink != 1
            or not self.tree.has_expected_mode(entry, status)
        ):
            return False
        self.found.consumed.discard(path)
        directory, name = self.tree.directories.of(path)
        assert directory is not None
        self.stage.link(directory, name, target[0])
        # Another may have stood there by then.
        if not os.path.samestat(self.stage.stat(target[0]), status):
            raise Drifted()
        return True

    def copy(self, content: str, descriptor: int, targets: Iterable[Target]) -> bool:
        """Copies what a descriptor gives; the copies are verified, whatever was known of it."""
        for name, executable in targets:
            self.stage.copy(descriptor, name, executable, size=self.sizes[content])
            if self.stage.hash(name) != content:
                raise Drifted()
        self.open.discard(content)
        return True

    # From the plan, or from a manifest.

    def take_inline(self, content: str, where: str) -> bool:
        data = self.inline.get(content)
        if data is None or content not in self.targets:
            return False
        decoded = decode(data, self.sizes[content])
        if sha256_hex(decoded) != content:
            raise Failure(
                "HASH_MISMATCH",
                "%s holds something else under the name of the content %s" % (where, content),
                count=1,
                paths=self.paths(content)[:20],
            )
        return self.write(content, decoded)

    def write(self, content: str, data: bytes) -> bool:
        for name, executable in self.targets[content]:
            self.stage.write(name, executable, data)
        self.open.discard(content)
        return True

    # What can't be had.

    def paths(self, *contents: str) -> list[str]:
        """The missing files that hold one of the contents."""
        found: list[str] = []
        for path in self.found.missing:
            entry = self.wanted[path]
            if entry[0] == "file" and entry[3] in contents:
                found.append(text(path))
        return found

    def wrong_recipe(self, content: str) -> Failure:
        return Failure(
            "HASH_MISMATCH",
            "the recipe of the content %s does not make it" % content,
            count=1,
            paths=self.paths(content)[:20],
        )

    def needs(self) -> Failure:
        paths = self.paths(*self.open)
        # Into an empty tree an archive brings everything: what lacks then changed on its way into
        # it.
        code = (
            "HASH_MISMATCH"
            if self.spec.get("archive") and not self.tree.entries
            else "CONTENT_MISSING"
        )
        # What S3 denies may exist: without its words, nobody would look for a permission.
        denied = next((each for each in self.absent if each.get("aws")), None)
        why = ": S3 denies the pack %s" % denied["pack"] if denied else ""
        return Failure(
            code,
            "the tree lacks the contents of %d files%s" % (len(paths), why),
            head=self.tree.head,
            count=len(paths),
            paths=paths[:20],
            contents=sorted(self.open & set(self.targets))[:200],
            packs=self.absent[:20],
            **({"aws": denied["aws"]} if denied else {}),
        )

"""Where the contents that a tree lacks come from, and in which order: docs/reference/formats.md, "sync, train"."""
import hashlib
import os

from ..system.errors import Failure, text
from .assembler import ONE_CHUNK, Assembly, Drifted, decode

EMPTY = hashlib.sha256(b"").hexdigest()


class Contents:
    """Each content that lacks, staged once for each path that is to hold it.

    names     {path: stage name}
    targets   {content: [(stage name, executable), …]}
    sizes     {content: bytes}
    open      contents that are not staged yet
    inline    {content: zlib, base64}: what the plan, and the history if it was asked, bring themselves"""

    def __init__(self, part, tree, wanted, found, stage, connections, progress):
        self.part, self.tree, self.wanted, self.found, self.stage = part, tree, wanted, found, stage
        self.connections, self.progress = connections, progress
        self.names, self.targets, self.sizes = {}, {}, {}
        for number, path in enumerate(found.lacking):
            entry = wanted[path]
            if entry[0] == "file":
                self.names[path] = stage.name(entry[3], number)
                self.targets.setdefault(entry[3], []).append((self.names[path], entry[1]))
                self.sizes[entry[3]] = entry[2]
        self.open = set(self.targets)
        self.inline = dict(part.get("inline") or {})
        self.assembly = Assembly(self)
        self.history = None
        self.absent = []

    def gather(self, history):
        """Stages everything, each content verified, or raises CONTENT_MISSING. `history()` is the plan's, or None."""
        for content in list(self.open):
            self.take_own(content) or self.take_inline(content, "the plan")
        packs = self.part.get("packs") or []
        spare = [pack for pack in packs if pack.get("spare")]
        others = [pack for pack in packs if not pack.get("spare")]
        if self.open:
            self.begin()
            self.fetch(others, spare=False)
        if self.open and self.part.get("archive"):
            from .archive import receive

            self.assembly.finish()
            receive(self.part, self)
        self.assembly.finish()
        if self.open:
            self.history = history()
            if self.history:
                self.inline.update(self.history.inline)
                for content in list(self.open):
                    self.take_inline(content, "a record")
                self.begin()
            # What only the history has recipes of may be in the others too.
            self.fetch(spare + (others if self.history else []), spare=True)
            self.assembly.finish()
        if not self.open.isdisjoint(self.targets):
            raise self.needs()

    def begin(self):
        """Begins every open content of which it is known what it is made of."""
        brought = self.history.recipes if self.history else {}
        for content in list(self.open):
            recipes = [each[content] for each in (self.part.get("recipes") or {}, brought) if content in each]
            if not recipes and self.sizes[content] <= ONE_CHUNK:
                recipes = [[[content, self.sizes[content]]]]
            self.assembly.begin(content, recipes)

    def recipes_of_base(self, base):
        """(bytes, recipes) of a content of the base that the tree has no more; None where the history does not tell."""
        if not self.history:
            return None, []
        recipe = self.history.recipes.get(base)
        if recipe is not None:
            return sum(piece[-1] for piece in recipe), [recipe]
        for entry in self.history.entries.values():
            if entry[0] == "file" and entry[3] == base and entry[2] <= ONE_CHUNK:
                return entry[2], [[[base, entry[2]]]]
        return None, []

    def fetch(self, packs, spare):
        if packs and self.assembly.places:
            from .packs import Packs

            self.check_space()
            source = Packs(self.connections(), self.assembly, self.progress)
            source.take(packs, spare)
            self.absent.extend(source.absent)

    def check_space(self):
        lengths = self.assembly.lengths
        need = sum(lengths[chunk] * len(places) for chunk, places in self.assembly.places.items())
        disk = os.fstatvfs(self.stage.descriptor)
        free = (disk.f_bfree if self.tree.agent == 0 else disk.f_bavail) * disk.f_frsize
        if need > free:
            raise Failure("NO_SPACE", "%d bytes are to be written, and %d are free" % (need, free), path=self.tree.directory)

    # From the tree's own files, and from what a killed sync had staged.

    def take_own(self, content):
        if content == EMPTY and self.sizes[content] == 0:
            return self.write(content, b"")
        targets = self.targets[content]
        if content in self.found.own:
            descriptor = self.open_own(content)
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

    def open_own(self, content):
        try:
            return self.tree.open(self.found.own[content])
        except OSError:
            raise Drifted()

    def rename(self, content, descriptor, target):
        """A file that moves keeps its bytes where they are; whether this one does."""
        path = self.found.own[content]
        status = os.fstat(descriptor)
        entry = ("file", target[1], self.sizes[content], content)
        if path not in self.found.spent or status.st_nlink != 1 or not self.tree.is_dressed(entry, status):
            return False
        self.found.spent.discard(path)
        self.stage.link(*self.tree.directories.of(path), target[0])
        # Another may have stood there by then.
        if not os.path.samestat(self.stage.stat(target[0]), status):
            raise Drifted()
        return True

    def copy(self, content, descriptor, targets):
        """Copies what a descriptor gives; the copies are verified, whatever was known of it."""
        for name, executable in targets:
            self.stage.copy(descriptor, name, executable, self.sizes[content])
            if self.stage.hash(name) != content:
                raise Drifted()
        self.open.discard(content)
        return True

    # From the plan, or from a record.

    def take_inline(self, content, where):
        data = self.inline.get(content)
        if data is None or content not in self.targets:
            return False
        data = decode(data, self.sizes[content])
        if hashlib.sha256(data).hexdigest() != content:
            raise Failure("HASH_MISMATCH", "%s holds something else under the name of the content %s" % (where, content), count=1, paths=self.paths(content))
        return self.write(content, data)

    def write(self, content, data):
        for name, executable in self.targets[content]:
            self.stage.write(name, executable, data)
        self.open.discard(content)
        return True

    # What can't be had.

    def paths(self, content):
        return [text(path) for path in self.found.lacking if self.wanted[path][0] == "file" and self.wanted[path][3] == content][:20]

    def wrong_recipe(self, content):
        return Failure("HASH_MISMATCH", "the recipe of the content %s does not make it" % content, count=1, paths=self.paths(content))

    def needs(self):
        paths = [path for path in self.found.lacking if self.wanted[path][0] == "file" and self.wanted[path][3] in self.open]
        # Into an empty tree an archive brings everything: what lacks then changed on its way into it.
        code = "HASH_MISMATCH" if self.part.get("archive") and not self.tree.entries else "CONTENT_MISSING"
        return Failure(
            code, "the tree lacks the contents of %d files" % len(paths), head=self.tree.head, count=len(paths),
            paths=[text(path) for path in paths[:20]], contents=sorted(self.open & set(self.targets))[:200], packs=self.absent[:20],
        )

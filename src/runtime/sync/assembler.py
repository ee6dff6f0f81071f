"""Puts contents together in the stage: chunks as they come, pieces of what the tree has, then one
look at the whole.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from binascii import a2b_base64

from ..system.bounded import inflate
from ..system.digest import sha256_hex
from ..system.errors import Failure
from .staging import write_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, List, Mapping, Protocol

    from .staging import Stage, Target
    from .tree_diff import Comparison

    # Of chunks, (name, bytes), and of pieces of other contents, (content, offset, bytes).
    Recipe = List[List[Any]]

    class Contents(Protocol):
        """The missing contents, as `content_sources` has them."""

        found: Comparison
        stage: Stage
        targets: dict[str, list[Target]]
        sizes: dict[str, int]
        open: set[str]
        inline: dict[str, str]
        progress: Callable[[], object]

        def open_local(self, content: str) -> int: ...
        def recipes_of_base(self, base: str) -> tuple[int | None, list[Recipe]]: ...
        def wrong_recipe(self, content: str) -> Failure: ...
        def write(self, content: str, data: bytes) -> bool: ...
        def copy(self, content: str, descriptor: int, targets: Iterable[Target]) -> bool: ...


BLOCK_BYTES = 2 * 1024 * 1024
# A content of at most this size is one chunk, of its own name.
ONE_CHUNK_BYTES = 1024 * 1024


class Drifted(Exception):
    """A file that lstat vouched for holds something else."""


class Copy:
    """A piece of a content that the tree has: from the offset `at` there to `offset`."""

    def __init__(self, base: str, at: int, *, size: int, offset: int) -> None:
        self.base, self.at, self.size, self.offset = base, at, size, offset


class Assembly:
    """Puts contents together from chunks and copies.

    places   {chunk: [(content, offset), …]}: chunks that are waited for
    lengths  {chunk: bytes}
    waiting  {content: how many chunks of it are waited for}
    copies   {content: pieces of contents that the tree has}
    helpers  {content: stage name}: contents that are wanted only for pieces of them
    """

    places: dict[str, list[tuple[str, int]]]
    lengths: dict[str, int]
    waiting: dict[str, int]
    copies: dict[str, list[Copy]]
    helpers: dict[str, str]

    def __init__(self, contents: Contents) -> None:
        self.contents, self.stage = contents, contents.stage
        self.places, self.lengths, self.waiting, self.copies, self.helpers = {}, {}, {}, {}, {}
        self.lock = allocate_lock()

    def begin(self, content: str, recipes: list[Recipe], helper: bool = False) -> bool:
        """Begins a content by the first of some recipes that can be followed; whether there was
        one.
        """
        contents = self.contents
        if content in self.waiting:
            return True
        recipe = self.choose(content, recipes)
        if recipe is None:
            return False
        if helper:
            self.helpers[content] = self.stage.name(content, -1)
        self.waiting[content] = 0
        if len(recipe) != 1 or recipe[0][0] != content:
            name, executable = self.file(content)
            os.close(self.stage.create(name, executable, contents.sizes[content]))
        offset = 0
        for piece in recipe:
            if len(piece) == 3:
                copy = Copy(piece[0], piece[1], size=piece[2], offset=offset)
                self.copies.setdefault(content, []).append(copy)
            else:
                self.await_chunk(piece[0], piece[1], content=content, offset=offset)
            offset += piece[-1]
        return True

    def choose(self, content: str, recipes: list[Recipe]) -> Recipe | None:
        """The first recipe whose bases can be had; None where there is none."""
        for recipe in recipes:
            check_pieces(recipe, content)
            if sum(piece[-1] for piece in recipe) != self.contents.sizes[content]:
                raise self.contents.wrong_recipe(content)
            if all(self.has_base(piece[0]) for piece in recipe if len(piece) == 3):
                return recipe
        return None

    def has_base(self, base: str) -> bool:
        """Whether a content that pieces are to be taken of is there, or can be put together."""
        contents = self.contents
        if base in contents.found.local_sources or base in contents.targets or base in self.helpers:
            return True
        size, recipes = contents.recipes_of_base(base)
        if size is None:
            return False
        contents.sizes[base] = size
        contents.open.add(base)
        return self.begin(base, recipes, helper=True)

    def await_chunk(self, chunk: str, size: int, *, content: str, offset: int) -> None:
        own, inline = self.contents.found.local_sources, self.contents.inline
        if chunk in own and chunk != content:
            copy = Copy(chunk, 0, size=size, offset=offset)
            self.copies.setdefault(content, []).append(copy)
            return
        self.places.setdefault(chunk, []).append((content, offset))
        self.lengths[chunk] = size
        self.waiting[content] += 1
        if chunk in inline:
            data = decode(inline[chunk], size)
            if sha256_hex(data) == chunk:
                self.deliver(chunk, data)

    def file(self, content: str) -> Target:
        """(stage name, executable) of where a content is put together."""
        targets = self.contents.targets.get(content)
        return targets[0] if targets else (self.helpers[content], False)

    def deliver(self, chunk: str, data: bytes | memoryview) -> None:
        """Writes a verified chunk wherever it belongs. May be called by any thread."""
        places = self.places.pop(chunk, None)
        if places is None:
            return
        if len(data) != self.lengths[chunk]:
            raise self.contents.wrong_recipe(places[0][0])
        for content, offset in places:
            if content == chunk:
                for name, executable in self.contents.targets.get(content) or [self.file(content)]:
                    self.stage.write(name, executable, data)
                self.done(content)
                continue
            descriptor = self.stage.open(self.file(content)[0], os.O_WRONLY)
            try:
                write_at(descriptor, data, offset)
            finally:
                os.close(descriptor)
            with self.lock:
                self.waiting[content] -= 1

    def done(self, content: str) -> None:
        with self.lock:
            self.contents.open.discard(content)

    def finish(self) -> None:
        """Of each content whose chunks have come: copies the pieces of the tree's contents, and
        verifies the whole.
        """
        ready = [
            content
            for content, count in self.waiting.items()
            if count == 0 and content in self.contents.open
        ]
        # Those of which others take pieces are made of chunks alone, and come first.
        for some in (
            [each for each in ready if each not in self.copies],
            [each for each in ready if each in self.copies],
        ):
            if len(some) > 1:
                from ..aws.http_pool import in_parallel

                in_parallel(some, self.finish_one)
            elif some:
                self.finish_one(some[0])

    def finish_one(self, content: str) -> None:
        contents = self.contents
        name = self.file(content)[0]
        copies = self.copies.get(content, [])
        descriptor = self.stage.open(name, os.O_RDWR)
        sources: dict[str, int] = {}
        try:
            for base in {copy.base for copy in copies}:
                source = self.open_base(base)
                if source is None:
                    return
                sources[base] = source
            digest = fill(descriptor, copies, sources, size=contents.sizes[content])
            contents.progress()
            if digest != content:
                if any(copy.base in contents.found.local_sources for copy in copies):
                    raise Drifted()
                raise contents.wrong_recipe(content)
            for other, executable in contents.targets.get(content, [])[1:]:
                self.stage.copy(descriptor, other, executable, size=contents.sizes[content])
        finally:
            for source in sources.values():
                os.close(source)
            os.close(descriptor)
        self.done(content)

    def open_base(self, base: str) -> int | None:
        """A descriptor of a content that pieces are taken of; None where it could not be had."""
        contents = self.contents
        if base in contents.found.local_sources:
            with self.lock:
                return contents.open_local(base)
        if base in contents.open or (base not in contents.targets and base not in self.helpers):
            return None
        return self.stage.open(self.file(base)[0])


def fill(target: int, copies: list[Copy], sources: Mapping[str, int], *, size: int) -> str:
    """Copies pieces into a file whose other bytes are there; the SHA-256 of the whole. Each byte is
    read once.

    `sources` are descriptors by content. While one block is hashed, the next is read and written.
    """
    import hashlib
    import queue
    import threading

    digest = hashlib.sha256()
    waiting: queue.Queue[bytes | None] = queue.Queue(2)

    def hash_blocks() -> None:
        for block in iter(waiting.get, None):
            digest.update(block)

    hasher = threading.Thread(target=hash_blocks, daemon=True)
    hasher.start()
    try:
        here = 0
        for copy in sorted(copies, key=lambda each: each.offset):
            here = each_block(target, here, copy.offset - here, take=waiting.put)
            at, end = copy.at, here + copy.size
            while here < end:
                block = os.pread(sources[copy.base], min(BLOCK_BYTES, end - here), at)
                if not block:
                    # It became shorter meanwhile: the hash tells.
                    break
                write_at(target, block, here)
                waiting.put(block)
                here, at = here + len(block), at + len(block)
            here = end
        each_block(target, here, size - here, take=waiting.put)
    finally:
        waiting.put(None)
        hasher.join()
    return digest.hexdigest()


def each_block(descriptor: int, at: int, count: int, *, take: Callable[[bytes], object]) -> int:
    """Takes bytes of a file, block by block; where they end."""
    end = at + count
    while at < end:
        block = os.pread(descriptor, min(BLOCK_BYTES, end - at), at)
        if not block:
            break
        take(block)
        at += len(block)
    return end


def check_pieces(recipe: Iterable[list[Any] | None], content: str) -> None:
    for piece in recipe:
        if not isinstance(piece, list) or not is_piece(*piece):
            raise Failure("BAD_PLAN", "the recipe of the content %s is damaged" % content)


def is_piece(name: object = None, *numbers: Any) -> bool:
    return (
        isinstance(name, str)
        and len(numbers) in (1, 2)
        and all(type(number) is int and number >= 0 for number in numbers)
    )


def decode(data: str, size: int) -> bytes:
    """A content of `size` bytes that rode along (zlib, base64); no bytes where it is not one."""
    try:
        return inflate(a2b_base64(data), size)
    except (ValueError, TypeError):
        return b""

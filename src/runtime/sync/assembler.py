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
from .recipe import is_one_chunk, pieces, size_of
from .staging import write_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterable, Iterator, Mapping, Protocol

    from .recipe import Recipe
    from .staging import Stage, Target
    from .tree_diff import Comparison

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
# A place of a chunk is one number: of its content, of where it is in it, and of its bytes. A tuple
# of them would take three times the memory.
OFFSET_BITS, SIZE_BITS = 48, 32


class Drifted(Exception):
    """A file that lstat vouched for holds something else."""


class Copy:
    """A piece of a content that the tree has: from the offset `at` there to `offset`."""

    def __init__(self, base: str, at: int, *, size: int, offset: int) -> None:
        self.base, self.at, self.size, self.offset = base, at, size, offset


class Assembly:
    """Puts contents together from chunks and copies.

    places   {chunk: its place, or a list of them}: chunks that are waited for
    begun    contents, by the numbers that places have of them
    waiting  {content: how many chunks of it are waited for}
    copies   {content: pieces of contents that the tree has}
    helpers  {content: stage name}: contents that are wanted only for pieces of them
    """

    places: dict[bytes, int | list[int]]
    begun: list[str]
    waiting: dict[str, int]
    copies: dict[str, list[Copy]]
    helpers: dict[str, str]

    def __init__(self, contents: Contents) -> None:
        self.contents, self.stage = contents, contents.stage
        self.places, self.begun, self.waiting, self.copies, self.helpers = {}, [], {}, {}, {}
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
        self.begun.append(content)
        if not is_one_chunk(recipe, content):
            name, executable = self.file(content)
            os.close(self.stage.create(name, executable, contents.sizes[content]))
        offset = 0
        for name, at, size in pieces(recipe, content):
            if isinstance(name, bytes):
                self.await_chunk(name, size, offset=offset)
            else:
                self.copies.setdefault(content, []).append(Copy(name, at, size=size, offset=offset))
            offset += size
        return True

    def choose(self, content: str, recipes: list[Recipe]) -> Recipe | None:
        """The first recipe whose bases can be had; None where there is none."""
        for recipe in recipes:
            if size_of(recipe, content) != self.contents.sizes[content]:
                raise self.contents.wrong_recipe(content)
            bases = {name: at for name, at, _ in pieces(recipe, content) if isinstance(name, str)}
            if all(self.has_base(base) for base in bases):
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

    def await_chunk(self, chunk: bytes, size: int, *, offset: int) -> None:
        """Of the content that was begun last."""
        content = self.begun[-1]
        own, inline = self.contents.found.local_sources, self.contents.inline
        name = chunk.hex() if own or inline else ""
        if name in own and name != content:
            copy = Copy(name, 0, size=size, offset=offset)
            self.copies.setdefault(content, []).append(copy)
            return
        place = ((len(self.begun) - 1) << OFFSET_BITS | offset) << SIZE_BITS | size
        others = self.places.get(chunk)
        if others is None:
            self.places[chunk] = place
        elif isinstance(others, list):
            others.append(place)
        else:
            self.places[chunk] = [others, place]
        self.waiting[content] += 1
        if name in inline:
            data = decode(inline[name], size)
            if sha256_hex(data) == name:
                self.deliver(chunk, data)

    def file(self, content: str) -> Target:
        """(stage name, executable) of where a content is put together."""
        targets = self.contents.targets.get(content)
        return targets[0] if targets else (self.helpers[content], False)

    def deliver(self, chunk: bytes, data: bytes | memoryview) -> None:
        """Writes a verified chunk wherever it belongs. May be called by any thread."""
        places = self.places.pop(chunk, None)
        if places is None:
            return
        for content, offset, size in self.read_places(places):
            if len(data) != size:
                raise self.contents.wrong_recipe(content)
            if content == chunk.hex():
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

    def read_places(self, places: int | list[int]) -> Iterator[tuple[str, int, int]]:
        """(content, offset, bytes) of each place."""
        for place in places if isinstance(places, list) else [places]:
            number, offset = divmod(place >> SIZE_BITS, 1 << OFFSET_BITS)
            yield self.begun[number], offset, place & ((1 << SIZE_BITS) - 1)

    def missing_bytes(self) -> int:
        """The bytes that must be written of chunks that are waited for."""
        return sum(
            size for places in self.places.values() for _, _, size in self.read_places(places)
        )

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


def decode(data: str, size: int) -> bytes:
    """A content of `size` bytes that rode along (zlib, base64); no bytes where it is not one."""
    try:
        return inflate(a2b_base64(data), size)
    except (ValueError, TypeError):
        return b""

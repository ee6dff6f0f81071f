"""Puts contents together in the stage: chunks as they come, pieces of what the tree has, then one look at the whole."""
import base64
import hashlib
import os
import queue
import threading

from ..system.bounded import inflate
from ..system.errors import Failure
from .staging import write_at

BLOCK = 2 * 1024 * 1024
# A content of at most this size is one chunk, of its own name.
ONE_CHUNK = 1024 * 1024


class Drifted(Exception):
    """A file that lstat vouched for holds something else."""


class Assembly:
    """places    {chunk: [(content, offset), …]}: chunks that are waited for
    lengths   {chunk: bytes}
    waiting   {content: how many chunks of it are waited for}
    copies    {content: [(content that the tree has, offset there, bytes, offset), …]}
    helpers   {content: stage name}: contents that are wanted only for pieces of them, and go nowhere"""

    def __init__(self, contents):
        self.contents, self.stage = contents, contents.stage
        self.places, self.lengths, self.waiting, self.copies, self.helpers = {}, {}, {}, {}, {}
        self.lock = threading.Lock()

    def begin(self, content, recipes, helper=False):
        """Begins a content by the first of some recipes that can be followed; whether there was one."""
        contents = self.contents
        if content in self.waiting:
            return True
        for recipe in recipes:
            check_pieces(recipe, content)
            if sum(piece[-1] for piece in recipe) != contents.sizes[content]:
                raise contents.wrong_recipe(content)
            if all(self.has_base(piece[0]) for piece in recipe if len(piece) == 3):
                break
        else:
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
                self.copies.setdefault(content, []).append((piece[0], piece[1], piece[2], offset))
            else:
                self.await_chunk(piece[0], piece[1], content, offset)
            offset += piece[-1]
        return True

    def has_base(self, base):
        """Whether a content that pieces are to be taken of is there, or can be put together."""
        contents = self.contents
        if base in contents.found.own or base in contents.targets or base in self.helpers:
            return True
        size, recipes = contents.recipes_of_base(base)
        if size is None:
            return False
        contents.sizes[base] = size
        contents.open.add(base)
        return self.begin(base, recipes, helper=True)

    def await_chunk(self, chunk, size, content, offset):
        own, inline = self.contents.found.own, self.contents.inline
        if chunk in own and chunk != content:
            self.copies.setdefault(content, []).append((chunk, 0, size, offset))
            return
        self.places.setdefault(chunk, []).append((content, offset))
        self.lengths[chunk] = size
        self.waiting[content] += 1
        if chunk in inline:
            data = decode(inline[chunk], size)
            if hashlib.sha256(data).hexdigest() == chunk:
                self.deliver(chunk, data)

    def file(self, content):
        """(stage name, executable) of where a content is put together."""
        targets = self.contents.targets.get(content)
        return targets[0] if targets else (self.helpers[content], False)

    def deliver(self, chunk, data):
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

    def done(self, content):
        with self.lock:
            self.contents.open.discard(content)

    def finish(self):
        """Of each content whose chunks have come: copies the pieces of the tree's contents, and verifies the whole."""
        ready = [content for content, count in self.waiting.items() if count == 0 and content in self.contents.open]
        # Those of which others take pieces are made of chunks alone, and come first.
        for some in ([each for each in ready if each not in self.copies], [each for each in ready if each in self.copies]):
            if len(some) > 1:
                from ..aws.http_pool import in_parallel

                in_parallel(some, self.finish_one)
            elif some:
                self.finish_one(some[0])

    def finish_one(self, content):
        contents = self.contents
        name = self.file(content)[0]
        copies = self.copies.get(content, ())
        descriptor = self.stage.open(name, os.O_RDWR)
        sources = {}
        try:
            for base in {copy[0] for copy in copies}:
                sources[base] = self.open_base(base)
                if sources[base] is None:
                    return
            digest = fill(descriptor, [(sources[base], at, count, offset) for base, at, count, offset in copies], contents.sizes[content])
            contents.progress()
            if digest != content:
                if any(base in contents.found.own for base, _, _, _ in copies):
                    raise Drifted()
                raise contents.wrong_recipe(content)
            for other, executable in contents.targets.get(content, [])[1:]:
                self.stage.copy(descriptor, other, executable, contents.sizes[content])
        finally:
            for source in sources.values():
                if source is not None:
                    os.close(source)
            os.close(descriptor)
        self.done(content)

    def open_base(self, base):
        """A descriptor of a content that pieces are taken of; None where it could not be had."""
        contents = self.contents
        if base in contents.found.own:
            with self.lock:
                return contents.open_own(base)
        if base in contents.open or (base not in contents.targets and base not in self.helpers):
            return None
        return self.stage.open(self.file(base)[0])


def fill(target, copies, size):
    """Copies pieces into a file whose other bytes are there; the SHA-256 of the whole. Each byte is read once.

    `copies` are (descriptor, offset there, bytes, offset here). While one block is hashed, the next is read and written."""
    digest, waiting = hashlib.sha256(), queue.Queue(2)

    def hash_blocks():
        for block in iter(waiting.get, None):
            digest.update(block)

    hasher = threading.Thread(target=hash_blocks, daemon=True)
    hasher.start()
    try:
        here = 0
        for source, there, count, offset in sorted(copies, key=lambda copy: copy[3]) + [(None, 0, 0, size)]:
            here = each_block(target, here, offset - here, waiting.put)
            end = offset + count
            while here < end:
                block = os.pread(source, min(BLOCK, end - here), there)
                if not block:
                    # It became shorter meanwhile: the hash tells.
                    break
                write_at(target, block, here)
                waiting.put(block)
                here, there = here + len(block), there + len(block)
            here = end
    finally:
        waiting.put(None)
        hasher.join()
    return digest.hexdigest()


def each_block(descriptor, at, count, take):
    """Takes bytes of a file, block by block; where they end."""
    end = at + count
    while at < end:
        block = os.pread(descriptor, min(BLOCK, end - at), at)
        if not block:
            break
        take(block)
        at += len(block)
    return end


def check_pieces(recipe, content):
    for piece in recipe:
        if not isinstance(piece, list) or len(piece) not in (2, 3) or not isinstance(piece[0], str) or any(type(number) is not int or number < 0 for number in piece[1:]):
            raise Failure("BAD_PLAN", "the recipe of the content %s is damaged" % content)


def decode(data, size):
    """A content of `size` bytes that rode along (zlib, base64); no bytes where it is not one."""
    try:
        return inflate(base64.b64decode(data, validate=True), size)
    except (ValueError, TypeError):
        return b""

"""The plain way: the contents come as one gzip-compressed tar (docs/reference/formats.md,
"Store").
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
import zlib

from ..aws import presigned
from ..system.errors import Failure
from ..system.file_hash import BLOCK_BYTES
from .staging import write_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any, Protocol

    from ..system.documents import SyncSpec
    from .assembler import Contents

    class Source(Protocol):
        def read(self, size: int, /) -> bytes: ...


# The most that a member has beside its content, in headers and padding, and that ends an archive.
HEADER_BYTES, END_BYTES = 16 * 1024, 64 * 1024


def receive(spec: SyncSpec, contents: Contents) -> None:
    """Takes the wanted contents out of the archive, by hash, into the stage; verifies the archive
    itself.
    """
    limits, declared, taken = spec["limits"], spec["archive"], 0
    assert declared
    with presigned.open_url("archive", declared["url"]) as answer:
        source = Hashing(answer, declared["size"])
        most = limits["bytes"] + (limits["entries"] + 1) * HEADER_BYTES + END_BYTES
        # They need no more of a file than `read`.
        compressed: Any = source
        try:
            unpacked: Any = Limited(gzip.GzipFile(fileobj=compressed), most)
            with tarfile.open(fileobj=unpacked, mode="r|", errorlevel=2, tarinfo=Member) as archive:
                for number, member in enumerate(archive):
                    if number >= limits["entries"]:
                        raise Failure(
                            "LIMIT", "more members than declared", limit="entries", value=number
                        )
                    if not member.isreg():
                        continue
                    taken += member.size
                    if taken > limits["bytes"]:
                        raise Failure(
                            "LIMIT", "more bytes than declared", limit="bytes", value=taken
                        )
                    content = archive.extractfile(member)
                    assert content
                    stage_member(content, contents)
                    contents.progress()
            source.drain()
        except (
            tarfile.TarError,
            EOFError,
            zlib.error,
            gzip.BadGzipFile,
            ValueError,
            LookupError,
            ArithmeticError,
        ) as error:
            # The last three are tarfile's as well: numbers of sparse files and extended headers
            # that are none.
            raise Failure("ARCHIVE_MISMATCH", "the archive can't be read: %s" % error)
    if source.size != declared["size"] or source.digest.hexdigest() != declared["sha256"]:
        raise Failure("ARCHIVE_MISMATCH", "the archive is not what the plan names")


def stage_member(member: IO[bytes], contents: Contents) -> None:
    """What a member holds is known when it was read: it waits under a name of nobody's, unless it
    fits into memory.
    """
    digest, stage = hashlib.sha256(), contents.stage
    block = member.read(BLOCK_BYTES)
    digest.update(block)
    if len(block) < BLOCK_BYTES:
        if digest.hexdigest() in contents.open:
            contents.write(digest.hexdigest(), block)
        return
    incoming, descriptor = stage.receive()
    try:
        at = 0
        while block:
            write_at(descriptor, block, at)
            at += len(block)
            block = member.read(BLOCK_BYTES)
            digest.update(block)
        content = digest.hexdigest()
        if content in contents.open:
            targets = contents.targets[content]
            stage.adopt(incoming, descriptor, targets[0], size=at)
            contents.copy(content, descriptor, targets[1:])
        else:
            os.unlink(incoming, dir_fd=stage.descriptor)
    finally:
        os.close(descriptor)


class Member(tarfile.TarInfo):
    """A header that is longer than any name of ours is not read into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Member:
        member = super().frombuf(buf, encoding, errors)
        if not member.isreg() and member.size > HEADER_BYTES:
            raise Failure(
                "ARCHIVE_MISMATCH",
                "the archive can't be read: a header of %d bytes" % member.size,
            )
        return member


class Limited:
    """The unpacked bytes, up to a limit: LIMIT where there are more."""

    def __init__(self, source: Source, limit: int) -> None:
        self.source, self.left, self.limit = source, limit, limit

    def read(self, size: int) -> bytes:
        data = self.source.read(min(size, self.left + 1))
        self.left -= len(data)
        if self.left < 0:
            raise Failure(
                "LIMIT",
                "the archive unpacks to more than %d bytes" % self.limit,
                limit="bytes",
                value=self.limit,
            )
        return data


class Hashing:
    """A stream that hashes what is read through it: no more than it is said to have, and a byte."""

    def __init__(self, source: Source, limit: int) -> None:
        self.source, self.limit = source, limit
        self.digest = hashlib.sha256()
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        left = self.limit + 1 - self.size
        data = self.source.read(left if size < 0 else min(size, left))
        self.digest.update(data)
        self.size += len(data)
        return data

    def drain(self) -> None:
        while self.read(BLOCK_BYTES):
            pass

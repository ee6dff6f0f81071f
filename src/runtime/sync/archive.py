"""The plain way: the contents come as one gzip-compressed tar (docs/reference/formats.md, "Archive")."""
import gzip
import hashlib
import os
import tarfile
import zlib

from ..aws import presigned
from ..system.atomic_files import BLOCK
from ..system.errors import Failure
from .staging import write_at

# What a member may have beside its bytes, headers and padding, and what is at an archive's end.
HEADERS, END = 16 * 1024, 64 * 1024


def receive(part, contents):
    """Takes the wanted contents out of the archive, by hash, into the stage; verifies the archive itself."""
    limits, taken = part["limits"], 0
    with presigned.open_url("archive", part["archive"]["url"]) as answer:
        source = Hashing(answer, part["archive"]["size"])
        try:
            unpacked = Limited(gzip.GzipFile(fileobj=source), limits["bytes"] + (limits["entries"] + 1) * HEADERS + END)
            with tarfile.open(fileobj=unpacked, mode="r|", errorlevel=2, tarinfo=Member) as archive:
                for number, member in enumerate(archive):
                    if number >= limits["entries"]:
                        raise Failure("LIMIT", "more members than declared", limit="entries", value=number)
                    if not member.isreg():
                        continue
                    taken += member.size
                    if taken > limits["bytes"]:
                        raise Failure("LIMIT", "more bytes than declared", limit="bytes", value=taken)
                    stage_member(archive.extractfile(member), contents)
                    contents.progress()
            source.drain()
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, LookupError, ArithmeticError) as error:
            # The last three are tarfile's as well: numbers of sparse files and extended headers that are none.
            raise Failure("ARCHIVE_MISMATCH", "the archive can not be read: %s" % error)
    if source.size != part["archive"]["size"] or source.digest.hexdigest() != part["archive"]["sha256"]:
        raise Failure("ARCHIVE_MISMATCH", "the archive is not what the plan names")


def stage_member(member, contents):
    """What a member holds is known when it was read: it waits under a name of nobody's, unless it fits into memory."""
    digest, stage = hashlib.sha256(), contents.stage
    block = member.read(BLOCK)
    digest.update(block)
    if len(block) < BLOCK:
        if digest.hexdigest() in contents.open:
            contents.write(digest.hexdigest(), block)
        return
    incoming, descriptor = stage.receive()
    try:
        at = 0
        while block:
            write_at(descriptor, block, at)
            at += len(block)
            block = member.read(BLOCK)
            digest.update(block)
        content = digest.hexdigest()
        if content in contents.open:
            targets = contents.targets[content]
            stage.adopt(incoming, descriptor, *targets[0], at)
            contents.copy(content, descriptor, targets[1:])
        else:
            os.unlink(incoming, dir_fd=stage.descriptor)
    finally:
        os.close(descriptor)


class Member(tarfile.TarInfo):
    """A header that is longer than any name of ours is not read into memory."""

    @classmethod
    def frombuf(cls, *header):
        member = super().frombuf(*header)
        if not member.isreg() and member.size > HEADERS:
            raise Failure("ARCHIVE_MISMATCH", "the archive can not be read: a header of %d bytes" % member.size)
        return member


class Limited:
    """What is unpacked, up to a limit: LIMIT where there is more."""

    def __init__(self, source, limit):
        self.source, self.left, self.limit = source, limit, limit

    def read(self, size):
        data = self.source.read(min(size, self.left + 1))
        self.left -= len(data)
        if self.left < 0:
            raise Failure("LIMIT", "the archive unpacks to more than %d bytes" % self.limit, limit="bytes", value=self.limit)
        return data


class Hashing:
    """A stream that hashes what is read through it: no more than it is said to have, and a byte."""

    def __init__(self, source, limit):
        self.source, self.limit = source, limit
        self.digest = hashlib.sha256()
        self.size = 0

    def read(self, size=-1):
        left = self.limit + 1 - self.size
        data = self.source.read(left if size < 0 else min(size, left))
        self.digest.update(data)
        self.size += len(data)
        return data

    def drain(self):
        while self.read(BLOCK):
            pass

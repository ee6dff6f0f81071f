"""Fetching what was listed: in ranges and in parallel, verified, and taken up where an earlier
fetch was ended.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import threading
import zlib

from ..aws.endpoints import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterator, Protocol

    from ..aws.signed_requests import Headers
    from .listing import Listed, Object

    class Digest(Protocol):
        def update(self, data: bytes, /) -> None: ...
        def digest(self) -> bytes: ...


RANGE_BYTES = 8 * 1024 * 1024
BLOCK_BYTES = 1 << 20


class File:
    """An object on its way: its bytes in `partial/<n>`, and in `<n>.done` a byte for each range
    that is there.
    """

    about: Headers | None
    descriptor: int | None

    def __init__(self, number: int, source: Object, directory: str) -> None:
        self.source = source
        self.target = os.path.join(directory, "files", source.path)
        self.partial = os.path.join(directory, "partial", str(number))
        self.ranges = max(1, (source.size + RANGE_BYTES - 1) // RANGE_BYTES)
        self.about, self.descriptor, self.marks, self.left = None, None, -1, 0

    def is_complete(self) -> bool:
        try:
            return os.lstat(self.target).st_size == self.source.size
        except FileNotFoundError:
            return False

    def open(self) -> list[int]:
        """The ranges that lack."""
        os.makedirs(os.path.dirname(self.target), exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self.descriptor = os.open(self.partial, flags, 0o644)
        self.marks = os.open(self.partial + ".done", flags, 0o600)
        done = os.pread(self.marks, self.ranges, 0)
        missing = [index for index in range(self.ranges) if done[index : index + 1] != b"\1"]
        self.left = len(missing)
        return missing

    def span(self, index: int) -> tuple[int, int]:
        first = index * RANGE_BYTES
        return first, min(first + RANGE_BYTES, self.source.size) - 1

    def write(self, index: int, data: bytes | bytearray) -> None:
        view, at = memoryview(data), index * RANGE_BYTES
        assert self.descriptor is not None
        while view:
            written = os.pwrite(self.descriptor, view, at)
            view, at = view[written:], at + written
        os.pwrite(self.marks, b"\1", index)

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            os.close(self.marks)
            self.descriptor = None

    def forget(self) -> None:
        self.close()
        os.unlink(self.partial)
        os.unlink(self.partial + ".done")

    def keep(self) -> None:
        """Read-only, and in its place."""
        assert self.descriptor is not None
        os.fchmod(self.descriptor, 0o444)
        self.close()
        os.unlink(self.partial + ".done")
        os.rename(self.partial, self.target)


class Fetch:
    """`fetched`: bytes that are there by now. Once `stopped` is set, nothing more is written."""

    def __init__(self, listed: Listed, directory: str) -> None:
        self.listed = listed
        self.stopped = threading.Event()
        os.makedirs(os.path.join(directory, "partial"), exist_ok=True)
        self.lock = threading.Lock()
        every = [File(number, source, directory) for number, source in enumerate(listed.objects)]
        self.files = [file for file in every if not file.is_complete()]
        self.missing = sum(file.source.size for file in self.files)
        self.fetched = listed.bytes - self.missing

    def work(self) -> Iterator[tuple[File, int]]:
        """(file, range) of everything that lacks."""
        for file in self.files:
            missing = file.open()
            self.count(
                sum(size(file.span(index)) for index in range(file.ranges))
                - sum(size(file.span(index)) for index in missing)
            )
            if not missing:
                # All that came before the end was there, but not the end: it is verified with its
                # last range.
                missing, file.left = [file.ranges - 1], 1
            for index in missing:
                yield file, index

    def take(self, item: tuple[File, int]) -> bool:
        file, index = item
        data = self.get(file, index)
        if self.stopped.is_set():
            return False
        file.write(index, data)
        with self.lock:
            file.left -= 1
            last = file.left == 0
        self.count(len(data))
        if last:
            self.finish(file)
        return not self.stopped.is_set()

    def count(self, size: int) -> None:
        with self.lock:
            self.fetched = min(self.listed.bytes, self.fetched + size)

    def get(self, file: File, index: int) -> bytes | bytearray:
        """A range's bytes, of the very object that was listed."""
        source = file.source
        headers = {"If-Match": source.etag, "x-amz-checksum-mode": "ENABLED"}
        first, last = file.span(index)
        if file.ranges > 1:
            headers["Range"] = "bytes=%d-%d" % (first, last)
        answer = self.listed.service.ask("GET", self.url(file), headers=headers, limit=RANGE_BYTES)
        if answer.status in (404, 412):
            raise self.listed.failure(
                "%s was changed or removed while it was fetched: start the run again" % source.key,
                answer,
            )
        if answer.status not in (200, 206):
            raise self.listed.failure("%s could not be fetched" % source.key, answer)
        if len(answer.body) != last - first + 1:
            raise self.listed.failure(
                "%s has %d bytes where %d were listed"
                % (source.key, len(answer.body), last - first + 1)
            )
        if file.ranges == 1:
            file.about = answer.headers
        return answer.body

    def finish(self, file: File) -> None:
        about = file.about
        if about is None:
            answer = self.listed.service.ask(
                "HEAD",
                self.url(file),
                headers={"If-Match": file.source.etag, "x-amz-checksum-mode": "ENABLED"},
            )
            if answer.status != 200:
                raise self.listed.failure("%s could not be checked" % file.source.key, answer)
            about = answer.headers
        assert file.descriptor is not None
        wrong = mismatch(file.descriptor, file.source, about)
        if wrong:
            # The next fetch begins it anew.
            file.forget()
            raise self.listed.failure(
                "the download of %s does not match the object in S3: %s" % (file.source.key, wrong)
            )
        file.keep()

    def close(self) -> None:
        for file in self.files:
            file.close()

    def url(self, file: File) -> str:
        return self.listed.url + encode(file.source.key, "/")


def size(span: tuple[int, int]) -> int:
    return span[1] - span[0] + 1


def mismatch(descriptor: int, source: Object, about: Headers) -> str | None:
    """What a file does not agree with of what S3 says of its object; None where it agrees.

    SHA-256, SHA-1 and CRC-32 where S3 has them of the whole object, and the ETag where it is an
    MD5. Of what has nothing but other checksums, or those of its parts, the size and the ETag that
    each range was asked for by have to do.
    """
    if os.fstat(descriptor).st_size != source.size:
        return "its size"
    checks: list[tuple[str, Digest]] = [
        (name, digest())
        for name, digest in DIGESTS.items()
        if is_whole(about.get("x-amz-checksum-" + name))
    ]
    etag = source.etag.strip('"')
    encrypted = about.get("x-amz-server-side-encryption", "").startswith("aws:kms") or about.get(
        "x-amz-server-side-encryption-customer-algorithm"
    )
    if re.fullmatch("[0-9a-f]{32}", etag) and not encrypted:
        checks.append(("md5", hashlib.md5()))
    if not checks:
        return None
    at = 0
    while True:
        block = os.pread(descriptor, BLOCK_BYTES, at)
        if not block:
            break
        at += len(block)
        for _, digest in checks:
            digest.update(block)
    for name, digest in checks:
        wanted = (
            binascii.unhexlify(etag)
            if name == "md5"
            else base64.b64decode(about["x-amz-checksum-" + name])
        )
        if digest.digest() != wanted:
            return "its " + name.upper()
    return None


def is_whole(checksum: str | None) -> bool:
    """Whether there is a checksum, and it is not made of those of parts (`…-<number>`)."""
    return checksum is not None and "-" not in checksum


class Crc32:
    def __init__(self) -> None:
        self.value = 0

    def update(self, data: bytes) -> None:
        self.value = zlib.crc32(data, self.value)

    def digest(self) -> bytes:
        return self.value.to_bytes(4, "big")


DIGESTS: dict[str, Callable[[], Digest]] = {
    "sha256": hashlib.sha256,
    "sha1": hashlib.sha1,
    "crc32": Crc32,
}

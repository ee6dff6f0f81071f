"""Packs: docs/reference/formats.md, "Store". Fetched whole or in part, and believed only as far as
their hashes go.
"""

from __future__ import annotations

import hashlib
import struct
import time

from ..aws.http_pool import in_parallel, may_be_absent, read_again
from ..system import bounded
from ..system.errors import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Literal, Sequence, Tuple

    from ..aws.http_pool import Answer, Connections, Span
    from ..system.documents import SyncSpecPacksItem
    from .assembler import Assembly

    # Its name, and its bytes.
    Chunk = Tuple[bytes, int]


MAX_PACK_BYTES = 16 * 1024 * 1024
MAX_SEGMENT_BYTES = 1024 * 1024
MAX_DIRECTORY_BYTES = 32 * 1024 * 1024
TRAILER = struct.Struct(">I4s")
# What is asked for first of a pack of which little may be needed: the directory is most often in
# it.
TAIL_BYTES = 192 * 1024
# Between two looks for a pack whose upload has not ended, at first and later, s.
FIRST_UPLOAD_PAUSE_S = 0.03
MAX_UPLOAD_PAUSE_S = 0.5
# Two segments with no more than this between them are fetched as one range.
GAP_BYTES = 128 * 1024


class Segment:
    """A stored run of chunks in a pack. `kind`: "z" where it is compressed, else "r"."""

    def __init__(self, offset: int, stored: int, *, kind: str, chunks: list[Chunk]) -> None:
        self.offset, self.end, self.kind, self.chunks = offset, offset + stored, kind, chunks


class Packs:
    """`assembly` has the `places` of the chunks that lack, and takes a verified one by
    `deliver(chunk, data)`.

    A pack that the store lacks (404, or 403 to who may not list) is put down in `absent`: what then
    still lacks is asked for.
    """

    absent: list[dict[str, Any]]

    def __init__(
        self, connections: Connections, assembly: Assembly, progress: Callable[[], object]
    ) -> None:
        self.connections, self.progress = connections, progress
        self.wanted, self.deliver = assembly.places, assembly.deliver
        self.absent = []

    def take(self, packs: Iterable[SyncSpecPacksItem], spare: bool) -> None:
        """Takes what is wanted out of packs; of spare ones only what is needed is fetched."""
        work = self.take_parts if spare else self.take_whole

        def one(pack: SyncSpecPacksItem) -> Literal[False] | None:
            if not self.wanted:
                return False
            if not is_pack_size(pack["size"]):
                raise Failure(
                    "PACK_MISMATCH",
                    "the pack %s is of no allowed size" % pack["sha256"],
                    pack=pack["sha256"],
                )
            # A chunk that was delivered is wanted no more.
            read_again(lambda: work(pack), damage=("PACK_MISMATCH", "CHUNK_MISMATCH"))
            self.progress()

        in_parallel(packs, one)

    def take_whole(self, pack: SyncSpecPacksItem) -> None:
        body = self.get(pack)
        if body is not None:
            self.use_whole(pack, body[0])

    def use_whole(self, pack: SyncSpecPacksItem, body: bytes | bytearray) -> None:
        if len(body) != pack["size"] or hashlib.sha256(body).hexdigest() != pack["sha256"]:
            raise mismatch(pack, "is not what its name says")
        view = memoryview(body)
        segments, _ = read_directory(pack, view, 0)
        for segment in segments:
            if self.is_wanted(segment):
                self.use(pack, segment, view[segment.offset : segment.end])

    def is_wanted(self, segment: Segment) -> bool:
        return any(chunk in self.wanted for chunk, _ in segment.chunks)

    def take_parts(self, pack: SyncSpecPacksItem) -> None:
        size = pack["size"]
        tail = min(TAIL_BYTES, size)
        answer = self.get(pack, span=(None, tail), length=tail)
        if answer is None:
            return
        body, whole = answer
        if whole:
            return self.use_whole(pack, body)
        first = size - tail
        need = TRAILER.size + directory_length(pack, body)
        if need > tail:
            answer = self.get(pack, span=(size - need, first - 1), length=need - tail)
            if answer is None:
                return
            if answer[1]:
                return self.use_whole(pack, answer[0])
            body, first = answer[0] + body, size - need
        segments, _ = read_directory(pack, memoryview(body), first)
        needed = [segment for segment in segments if self.is_wanted(segment)]
        if sum(segment.end - segment.offset for segment in needed) > size // 2:
            return self.take_whole(pack)
        for ranged in ranges(needed):
            start, end = ranged[0].offset, ranged[-1].end
            if start >= first:
                data, whole, at = body, False, first
            else:
                answer = self.get(pack, span=(start, end - 1), length=end - start)
                if answer is None:
                    return
                (data, whole), at = answer, start
            if whole:
                return self.use_whole(pack, data)
            view = memoryview(data)
            for segment in ranged:
                self.use(pack, segment, view[segment.offset - at : segment.end - at])

    def get(
        self, pack: SyncSpecPacksItem, span: Span | None = None, length: int | None = None
    ) -> tuple[bytearray, bool] | None:
        """(bytes, whether they are the whole pack); None where the store has no such pack, even
        after the time that its upload may take.
        """
        deadline, pause = time.monotonic() + pack["wait"], FIRST_UPLOAD_PAUSE_S
        while True:
            answer = self.ask(pack, span, length)
            if isinstance(answer, tuple):
                return answer
            if time.monotonic() + pause > deadline:
                self.absent.append({"pack": pack["sha256"], **answer})
                return None
            self.progress()
            time.sleep(pause)
            pause = min(MAX_UPLOAD_PAUSE_S, pause * 1.3)

    def ask(
        self, pack: SyncSpecPacksItem, span: Span | None, length: int | None
    ) -> tuple[bytearray, bool] | dict[str, Any]:
        """(bytes, whether they are the whole pack), or the status of an answer that says that the
        store has no such pack, with S3's words where it denies it.
        """
        answer = self.connections.get(
            "pack", pack["url"], limit=pack["size"], span=span, pack=pack["sha256"]
        )
        if may_be_absent(answer):
            return {"status": answer.status, **denial(answer)}
        if answer.status not in (200, 206):
            raise Failure(
                "FETCH_FAILED",
                "the pack %s could not be fetched: HTTP %d" % (pack["sha256"], answer.status),
                what="pack",
                status=answer.status,
                aws=bytes(answer.body[:2000]).decode("utf-8", "replace"),
                pack=pack["sha256"],
            )
        if not answer.whole and len(answer.body) != length:
            raise mismatch(pack, "is not of the size that the plan names")
        return answer.body, answer.whole

    def use(
        self, pack: SyncSpecPacksItem, segment: Segment, data: bytes | bytearray | memoryview
    ) -> None:
        """Verifies and delivers what is wanted of a segment."""
        size = sum(size for _, size in segment.chunks)
        raw = inflate(pack, data, size) if segment.kind == "z" else data
        view, at = memoryview(raw), 0
        for chunk, size in segment.chunks:
            if chunk in self.wanted:
                piece = view[at : at + size]
                if hashlib.sha256(piece).digest() != chunk:
                    raise Failure(
                        "CHUNK_MISMATCH",
                        "the pack %s holds something else under the name of the chunk %s"
                        % (pack["sha256"], chunk.hex()),
                        pack=pack["sha256"],
                        chunk=chunk.hex(),
                    )
                self.deliver(chunk, piece)
            at += size


def denial(answer: Answer) -> dict[str, str]:
    """S3's words where it denies a request."""
    if answer.status != 403:
        return {}
    from ..aws.signed_requests import error_of

    return {"aws": ": ".join(filter(None, error_of(answer.body, {})))[:500]}


def is_pack_size(size: object) -> bool:
    return isinstance(size, int) and 8 <= size <= MAX_PACK_BYTES


def directory_length(pack: SyncSpecPacksItem, end: bytes | bytearray | memoryview) -> int:
    """The length of a pack's directory, by the pack's last bytes."""
    length, magic = TRAILER.unpack(end[-TRAILER.size :])
    if magic != b"NXP1" or length > pack["size"] - TRAILER.size:
        raise mismatch(pack, "has no directory")
    return length


def read_directory(
    pack: SyncSpecPacksItem, end: bytes | bytearray | memoryview, first: int
) -> tuple[list[Segment], int]:
    """(segments, where they end), by the pack's last bytes, which start at `first`."""
    length = directory_length(pack, end)
    limit = pack["size"] - TRAILER.size - length
    at = limit - first
    try:
        directory = bounded.parse(bounded.inflate(end[at : at + length], MAX_DIRECTORY_BYTES))
        if directory["v"] != 1:
            raise ValueError("it is of another version")
        return check_segments(directory["segments"], limit), limit
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise mismatch(pack, "has a directory that is damaged: %s" % error)


def check_segments(segments: Iterable[Any], limit: int) -> list[Segment]:
    """The segments, if they lie in the pack one after another and hold what they say."""
    last = 0
    found: list[Segment] = []
    for offset, stored, kind, chunks in segments:
        if (
            type(offset) is not int
            or type(stored) is not int
            or offset < last
            or stored < 0
            or offset + stored > limit
        ):
            raise ValueError("a segment lies outside, or over another")
        last = offset + stored
        held = [(bytes.fromhex(chunk), size) for chunk, size in chunks]
        if not all(type(size) is int and size >= 0 for _, size in held):
            raise ValueError("a chunk is no chunk")
        total = sum(size for _, size in held)
        if total > MAX_SEGMENT_BYTES or kind not in ("z", "r") or (kind == "r" and total != stored):
            raise ValueError("a segment does not hold what it says")
        found.append(Segment(offset, stored, kind=kind, chunks=held))
    return found


def inflate(pack: SyncSpecPacksItem, data: bytes | bytearray | memoryview, size: int) -> bytes:
    """A segment's raw bytes: never more than it says, whatever it would unpack to."""
    try:
        raw = bounded.inflate(data, size)
    except ValueError as error:
        raise mismatch(pack, "has a segment that is damaged: %s" % error)
    if len(raw) != size:
        raise mismatch(pack, "has a segment that does not hold what it says")
    return raw


def ranges(segments: Sequence[Segment]) -> list[list[Segment]]:
    """Segments in lists, those near to each other in one, so long as one is no larger than a pack
    may be.
    """
    found: list[list[Segment]] = []
    for segment in segments:
        if found and segment.offset - found[-1][-1].end <= GAP_BYTES:
            found[-1].append(segment)
        else:
            found.append([segment])
    return found


def mismatch(pack: SyncSpecPacksItem, why: str) -> Failure:
    return Failure("PACK_MISMATCH", "the pack %s %s" % (pack["sha256"], why), pack=pack["sha256"])

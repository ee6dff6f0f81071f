"""Packs: docs/reference/formats.md, "Store". Fetched whole or in part, and believed only as far as their hashes go."""
import hashlib
import struct

from ..aws.http_pool import in_parallel, is_absent
from ..system import bounded
from ..system.errors import Failure

PACK_LIMIT = 16 * 1024 * 1024
SEGMENT_LIMIT = 1024 * 1024
DIRECTORY_LIMIT = 32 * 1024 * 1024
TRAILER = struct.Struct(">I4s")
# What is asked for first of a pack of which little may be needed: the directory is most often in it.
TAIL = 192 * 1024
# Two segments with no more than this between them are fetched as one range.
GAP = 128 * 1024


class Packs:
    """`assembly` has the `places` of the chunks that lack, and takes a verified one by `deliver(chunk, data)`.

    A pack that the store lacks (404, or 403 to who may not list) is put down in `absent`: what then still lacks is asked for."""

    def __init__(self, connections, assembly, progress):
        self.connections, self.wanted, self.deliver, self.progress = connections, assembly.places, assembly.deliver, progress
        self.absent = []

    def take(self, packs, spare):
        """Takes what is wanted out of packs; of spare ones only what is needed is fetched."""
        work = self.take_parts if spare else self.take_whole

        def one(pack):
            if not self.wanted:
                return False
            if not isinstance(pack["size"], int) or not 8 <= pack["size"] <= PACK_LIMIT:
                raise Failure("PACK_MISMATCH", "the pack %s is of no allowed size" % pack["sha256"], pack=pack["sha256"])
            work(pack)
            self.progress()

        in_parallel(packs, one)

    def take_whole(self, pack):
        body = self.get(pack, pack["size"])
        if body is not None:
            self.use_whole(pack, body[0])

    def use_whole(self, pack, body):
        if len(body) != pack["size"] or hashlib.sha256(body).hexdigest() != pack["sha256"]:
            raise mismatch(pack, "is not what its name says")
        view = memoryview(body)
        segments, _ = read_directory(pack, view, 0)
        for offset, stored, kind, chunks in segments:
            if any(chunk in self.wanted for chunk, _ in chunks):
                self.use(pack, view[offset:offset + stored], kind, chunks)

    def take_parts(self, pack):
        size = pack["size"]
        tail = min(TAIL, size)
        answer = self.get(pack, size, (None, tail), tail)
        if answer is None:
            return
        body, whole = answer
        if whole:
            return self.use_whole(pack, body)
        first = size - tail
        need = TRAILER.size + directory_length(pack, body)
        if need > tail:
            answer = self.get(pack, size, (size - need, first - 1), need - tail)
            if answer is None:
                return
            if answer[1]:
                return self.use_whole(pack, answer[0])
            body, first = answer[0] + body, size - need
        segments, _ = read_directory(pack, memoryview(body), first)
        needed = [segment for segment in segments if any(chunk in self.wanted for chunk, _ in segment[3])]
        if sum(segment[1] for segment in needed) > size // 2:
            return self.take_whole(pack)
        for ranged in ranges(needed):
            start, end = ranged[0][0], ranged[-1][0] + ranged[-1][1]
            if start >= first:
                part, whole, at = body, False, first
            else:
                answer = self.get(pack, size, (start, end - 1), end - start)
                if answer is None:
                    return
                (part, whole), at = answer, start
            if whole:
                return self.use_whole(pack, part)
            view = memoryview(part)
            for offset, stored, kind, chunks in ranged:
                self.use(pack, view[offset - at:offset - at + stored], kind, chunks)

    def get(self, pack, size, span=None, length=None):
        """(bytes, whether they are the whole pack); None where the store has no such pack."""
        answer = self.connections.get("pack", pack["url"], limit=size, span=span, pack=pack["sha256"])
        if is_absent(answer):
            self.absent.append({"pack": pack["sha256"], "status": answer.status})
            return None
        if answer.status not in (200, 206):
            raise Failure(
                "FETCH_FAILED", "the pack %s could not be fetched: HTTP %d" % (pack["sha256"], answer.status),
                what="pack", status=answer.status, aws=bytes(answer.body[:2000]).decode("utf-8", "replace"), pack=pack["sha256"],
            )
        if not answer.whole and len(answer.body) != length:
            raise mismatch(pack, "is not of the size that the plan names")
        return answer.body, answer.whole

    def use(self, pack, data, kind, chunks):
        """Verifies and delivers what is wanted of a segment."""
        raw = inflate(pack, data, sum(size for _, size in chunks)) if kind == "z" else data
        view, at = memoryview(raw), 0
        for chunk, size in chunks:
            if chunk in self.wanted:
                piece = view[at:at + size]
                if hashlib.sha256(piece).hexdigest() != chunk:
                    raise Failure(
                        "CHUNK_MISMATCH", "the pack %s holds something else under the name of the chunk %s" % (pack["sha256"], chunk),
                        pack=pack["sha256"], chunk=chunk,
                    )
                self.deliver(chunk, piece)
            at += size


def directory_length(pack, end):
    """The length of a pack's directory, by the pack's last bytes."""
    length, magic = TRAILER.unpack(end[-TRAILER.size:])
    if magic != b"NXP1" or length > pack["size"] - TRAILER.size:
        raise mismatch(pack, "has no directory")
    return length


def read_directory(pack, end, first):
    """(segments, where they end), by the pack's last bytes, which start at `first`: (offset, stored bytes, kind, [(chunk, bytes)])."""
    length = directory_length(pack, end)
    limit = pack["size"] - TRAILER.size - length
    at = limit - first
    try:
        directory = bounded.parse(bounded.inflate(end[at:at + length], DIRECTORY_LIMIT))
        if directory["v"] != 1:
            raise ValueError("it is of another version")
        return check_segments(directory["segments"], limit), limit
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise mismatch(pack, "has a directory that is damaged: %s" % error)


def check_segments(segments, limit):
    """The segments, if they lie in the pack one after another and hold what they say."""
    last = 0
    for offset, stored, kind, chunks in segments:
        if type(offset) is not int or type(stored) is not int or offset < last or stored < 0 or offset + stored > limit:
            raise ValueError("a segment lies outside, or over another")
        last = offset + stored
        total = 0
        for chunk, size in chunks:
            if type(chunk) is not str or type(size) is not int or size < 0:
                raise ValueError("a chunk is no chunk")
            total += size
        if total > SEGMENT_LIMIT or kind not in ("z", "r") or (kind == "r" and total != stored):
            raise ValueError("a segment does not hold what it says")
    return segments


def inflate(pack, data, size):
    """A segment's raw bytes: never more than it says, whatever it would unpack to."""
    try:
        raw = bounded.inflate(data, size)
    except ValueError as error:
        raise mismatch(pack, "has a segment that is damaged: %s" % error)
    if len(raw) != size:
        raise mismatch(pack, "has a segment that does not hold what it says")
    return raw


def ranges(segments):
    """Segments in lists, those near to each other in one, so long as one is no larger than a pack may be."""
    found = []
    for segment in segments:
        if found and segment[0] - (found[-1][-1][0] + found[-1][-1][1]) <= GAP:
            found[-1].append(segment)
        else:
            found.append([segment])
    return found


def mismatch(pack, why):
    return Failure("PACK_MISMATCH", "the pack %s %s" % (pack["sha256"], why), pack=pack["sha256"])

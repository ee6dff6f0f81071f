"""Masks secret values in a stream: `***` replaces them wherever they occur, also encoded."""

from __future__ import annotations

import bisect
import itertools
import re

from .secret_forms import MIN_VALUE_LENGTH, forms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable

# A form of at least two pieces of this size is recognized by each of them.
PIECE_BYTES = 256
STARS = b"***"
# What a terminal does not show: control characters, and sequences that set colors, titles and the
# like. A value is known also with these in it.
STRING = rb"\x1b[\]PX^_][^\x07\x1b]*"
UNSEEN = re.compile(
    rb"\x1b\[[0-?]*[ -/]*[@-~]|" + STRING + rb"(?:\x07|\x1b\\)|\x1b[ -/]*[0-OQ-WYZ`-~]"
    rb"|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]"
)
UNSEEN_BYTE = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
UNFINISHED = re.compile(rb"(?:\x1b(?:\[[0-?]*)?[ -/]*|" + STRING + rb"\x1b?)\Z")
# How much of them is held back with a part of a value.
MAX_UNSEEN_BYTES = 65536


def any_of(found: list[bytes], depth: int = MIN_VALUE_LENGTH) -> bytes:
    """A pattern of literal bytes, the longest first. Those that begin with the same byte are tried
    together, and so on for the next bytes: a private key has hundreds of forms.
    """
    if not depth or len(found) == 1:
        return b"|".join(map(re.escape, found))
    by_first: dict[bytes, list[bytes]] = {}
    for form in found:
        by_first.setdefault(form[:1], []).append(form[1:])
    return b"|".join(
        re.escape(each) + b"(?:" + any_of(rests, depth - 1) + b")"
        for each, rests in by_first.items()
    )


def pieces(form: bytes) -> list[bytes]:
    """A long form in consecutive pieces that cover it. They bound the work for a byte of the log,
    and how much of the log is held back.
    """
    if len(form) < 2 * PIECE_BYTES:
        return [form]
    starts = range(0, len(form) - PIECE_BYTES + 1, PIECE_BYTES)
    return [form[start : start + PIECE_BYTES] for start in starts[:-1]] + [form[starts[-1] :]]


class Mask:
    """Takes a stream in pieces and returns it with `***` for whatever values cover, also where two
    overlap.

    What may be the beginning of a value is held back until the rest has arrived: never more than
    the longest piece less one byte, and what in it a terminal does not show.
    """

    def __init__(self, values: Iterable[str]) -> None:
        found = {piece for value in values for form in forms(value) for piece in pieces(form)}
        by_length = sorted(found, key=lambda each: (-len(each), each))
        self.longest = len(by_length[0]) if by_length else 0
        self.whole = re.compile(any_of(by_length)) if by_length else None
        self.sorted = sorted(found)
        self.held = b""
        # How many of the held bytes a value covers for which `***` was returned. None: the last
        # byte that was returned was no part of a value.
        self.covered: int | None = None
        # The same of what is shown, for values with something unseen in them.
        self.seen_held = b""
        self.seen_covered: int | None = None

    def feed(self, data: bytes) -> bytes:
        """What can be shown by now."""
        if self.whole is None:
            return bytes(data)
        data = self.held + bytes(data)
        end = self._open(data)
        shown, self.covered = self._cover(data, end, self.covered)
        self.held = data[end:]
        return self._feed_seen(shown)

    def flush(self) -> bytes:
        """The rest, at the stream's end."""
        shown, _ = self._cover(self.held, len(self.held), self.covered)
        self.held, self.covered = b"", None
        return self._feed_seen(shown, flush=True)

    def cover(self, text: str) -> str:
        """A text of its own, beside the stream, without the values."""
        data = text.encode("utf-8", "replace")
        data = self._cover(data, len(data), None)[0]
        return self._cover_seen(Seen(data), None, None)[0].decode("utf-8", "replace")

    def _feed_seen(self, data: bytes, flush: bool = False) -> bytes:
        """What came through with the values masked that it shows without what is unseen. It holds
        back only what has something unseen behind a possible beginning: others were held back
        before.
        """
        data = self.seen_held + data
        if not data or (self.seen_covered is None and not UNSEEN_BYTE.search(data)):
            self.seen_held = b""
            return data
        unfinished = None if flush else UNFINISHED.search(data)
        seen = Seen(data[: unfinished.start()] if unfinished else data)
        end = None if flush else self._open(seen.data)
        shown, shown_until, self.seen_covered = self._cover_seen(seen, end, self.seen_covered)
        self.seen_held = data[shown_until:]
        if len(self.seen_held) > self.longest + MAX_UNSEEN_BYTES:
            shown += self.seen_held
            self.seen_held, self.seen_covered = b"", None
        return shown

    def _cover_seen(
        self, seen: Seen, end: int | None, covered: int | None
    ) -> tuple[bytes, int, int | None]:
        """What is shown up to an end, or of all of it; up to where in all the data that is; and how
        much behind it is covered.
        """
        size = len(seen.data)
        spans, covered = self._spans(seen.data, size if end is None else end, covered)
        shown = [
            # What is unseen right before a value is no part of it.
            STARS if span is None else seen.all[seen.behind(span[0]) : seen.before(span[1])]
            for span in spans[:-1]
        ]
        if spans:
            last = spans[-1]
            shown.append(
                STARS if last is None else seen.all[seen.behind(last[0]) : seen.behind(last[1])]
            )
        until = seen.behind(size if end is None else end)
        if end is None or end == size:
            shown.append(seen.all[until:])
            until = len(seen.all)
        return b"".join(shown), until, covered

    def _cover(self, data: bytes, end: int, covered: int | None) -> tuple[bytes, int | None]:
        """What is shown up to an end, and how much behind it is covered."""
        spans, covered = self._spans(data, end, covered)
        shown = (STARS if span is None else data[span[0] : span[1]] for span in spans)
        return b"".join(shown), covered

    def _spans(
        self, data: bytes, end: int, covered: int | None
    ) -> tuple[list[tuple[int, int] | None], int | None]:
        """From where to where it is shown up to an end, with None for a value; and how much behind
        it is covered.
        """
        if self.whole is None:
            return [(0, end)], None
        shown: list[tuple[int, int] | None] = []
        at = 0
        while True:
            match = self.whole.search(data, at)
            if not match or match.start() >= end:
                break
            # Others may begin inside of it and end behind it.
            start, at = match.start(), match.start() + 1
            if covered is None or start > covered:
                shown.extend(((covered or 0, start), None))
            covered = max(covered or 0, match.end())
        if covered is not None and covered >= end:
            return shown, covered - end
        shown.append((covered or 0, end))
        return shown, None

    def _open(self, data: bytes) -> int:
        """Where a value may have begun that is not over; the data's end where none has."""
        for start in range(max(0, len(data) - self.longest + 1), len(data)):
            rest = data[start:]
            # All that begin with it follow each other, itself first.
            at = bisect.bisect_right(self.sorted, rest)
            if at < len(self.sorted) and self.sorted[at].startswith(rest):
                return start
        return len(data)


class Seen:
    """Data without what a terminal does not show, and where its bytes were."""

    def __init__(self, data: bytes) -> None:
        kept: list[bytes] = []
        self.all = data
        self.starts: list[int] = []
        self.were: list[int] = []
        at = length = 0
        for match in itertools.chain(UNSEEN.finditer(data), (None,)):
            start = match.start() if match else len(data)
            if start > at:
                self.starts.append(length)
                self.were.append(at)
                kept.append(data[at:start])
                length += start - at
            at = match.end() if match else at
        self.data = b"".join(kept)

    def behind(self, count: int) -> int:
        """How much of all the data its first bytes, this many, have been."""
        if count == 0:
            return 0
        return self.before(count - 1) + 1

    def before(self, index: int) -> int:
        """Where in all the data one of its bytes is."""
        part = bisect.bisect_right(self.starts, index) - 1
        return self.were[part] + index - self.starts[part]

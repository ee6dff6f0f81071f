"""Masks secret values in a stream: `***` replaces them wherever they occur, also encoded."""

from __future__ import annotations

import base64
import html
import json
import re
import urllib.parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Iterator

SHORTEST = 4
# Characters of base64 by which a value is known inside of other text, and characters in a line of
# wrapped base64.
PART, WIDTHS = 8, (64, 76)
# Values up to this length are found in lines that break anywhere in them; of a longer one that
# would be too many forms.
BROKEN = 4096
# Texts of a value that is JSON are values themselves from this length on.
LEAF = 8
STARS = b"***"


def forms(value: str) -> set[bytes]:
    """The bytes that a value may come as: itself, its lines, the texts in it where it is JSON, and
    these encoded.
    """
    found: set[bytes] = set()
    for text in {value, *value.splitlines(), value.strip(), *leaves(value)}:
        data = text.encode("utf-8", "surrogateescape")
        found.add(data)
        found.update(in_base64(data, len(value) <= BROKEN))
        for quoted in (
            urllib.parse.quote(data, safe=""),
            urllib.parse.quote_plus(data),
            urllib.parse.quote(data),
        ):
            found.update((
                quoted.encode(),
                re.sub("%..", lambda match: match.group().lower(), quoted).encode(),
            ))
        shown: list[str] = [
            quoted
            for once in in_json(text)
            for quoted in (once, once.replace("/", "\\/"), *in_json(once))
        ]
        escaped = html.escape(text)
        numbered = escaped.replace("&#x27;", "&#39;")
        shown += [escaped, numbered, numbered.replace("&quot;", "&#34;")]
        # As Python shows a text, and bytes.
        shown += [repr(text)[1:-1], ascii(text)[1:-1], repr(data)[2:-1]]
        found.update(each.encode("utf-8", "surrogateescape") for each in shown)
    return {each for each in found if len(each) >= SHORTEST}


def in_json(text: str) -> tuple[str, str]:
    return json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]


def in_base64(data: bytes, broken: bool) -> Iterator[bytes]:
    """Base64 of the value alone, and what of it is always the same inside of other text, as in
    `user:password`, at each of the three places in a group of three bytes; in lines as well, where
    `broken` is not set in those of the value alone.
    """
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        alone = encode(data)
        yield from (alone, alone.rstrip(b"="))
        for before in range(3):
            column = -(-before * 8 // 6)
            within = encode(b"\0" * before + data)[column : (before + len(data)) * 8 // 6]
            if len(within) >= PART:
                yield within
                if broken or not before:
                    yield from in_lines(within, column, broken)


def in_lines(within: bytes, column: int, broken: bool) -> Iterator[bytes]:
    """What of base64 is always the same, as lines have it that break anywhere in it. It begins at
    this column of a group of four characters. A piece that is too short to be known by alone comes
    with the line beside it.
    """
    for width in WIDTHS:
        for first in range(width - column, 0 if broken else width - 1, -4):
            if first >= len(within):
                continue
            pieces = [within[:first]] + [
                within[at : at + width] for at in range(first, len(within), width)
            ]
            for end in (b"\n", b"\r\n"):
                lines = list(pieces)
                if len(lines[0]) < PART:
                    lines[:2] = [end.join(lines[:2])]
                if len(lines[-1]) < PART:
                    lines[-2:] = [end.join(lines[-2:])]
                yield from lines


def leaves(value: str) -> Iterator[str]:
    """The texts in a value that is a JSON object or list, as Secrets Manager keeps several in
    one.
    """
    left: list[Any] = []
    try:
        if value.lstrip()[:1] in ("{", "["):
            left.append(json.loads(value))
    except (ValueError, RecursionError):
        return
    while left:
        each = left.pop()
        if isinstance(each, dict):
            left += each.values()
        elif isinstance(each, list):
            left += each
        elif isinstance(each, str) and len(each) >= LEAF:
            yield each
            yield from each.splitlines()


def any_of(found: list[bytes], depth: int = SHORTEST) -> bytes:
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


class Mask:
    """Takes a stream in pieces and returns it without the values. Of values that overlap, the one
    that begins first is masked, and the longest of those that begin at one place.

    What may be the beginning of a value is held back until the rest has arrived: never more than
    the longest form less one byte.
    """

    def __init__(self, values: Iterable[str]) -> None:
        found = sorted(
            {form for value in values for form in forms(value)}, key=lambda each: (-len(each), each)
        )
        self.longest = len(found[0]) if found else 0
        self.whole = re.compile(any_of(found)) if found else None
        self.by_first: dict[int, list[bytes]] = {}
        for form in found:
            self.by_first.setdefault(form[0], []).append(form)
        self.held = b""

    def feed(self, data: bytes) -> bytes:
        """What can be shown by now."""
        if self.whole is None:
            return bytes(data)
        data = self.held + bytes(data)
        shown: list[bytes] = []
        at = 0
        while True:
            match = self.whole.search(data, at)
            # A longer value may begin at the same place, or another before it, whose end is still
            # to come.
            open_at = self._open(data, at)
            if match and match.start() < open_at:
                shown.extend((data[at : match.start()], STARS))
                at = match.end()
                continue
            self.held = data[open_at:]
            shown.append(data[at:open_at])
            return b"".join(shown)

    def flush(self) -> bytes:
        """The rest, at the stream's end."""
        rest, self.held = self.held, b""
        return self.whole.sub(STARS, rest) if self.whole else rest

    def cover(self, text: str) -> str:
        """A text of its own, beside the stream, without the values."""
        data = text.encode("utf-8", "replace")
        return (self.whole.sub(STARS, data) if self.whole else data).decode("utf-8", "replace")

    def _open(self, data: bytes, at: int) -> int:
        """Where a value may begin whose end is still to come; the data's end where none does."""
        for start in range(max(at, len(data) - self.longest + 1), len(data)):
            forms_here = self.by_first.get(data[start])
            if forms_here:
                rest = data[start:]
                if any(len(form) > len(rest) and form.startswith(rest) for form in forms_here):
                    return start
        return len(data)

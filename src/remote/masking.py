"""Secret values in a stream, made unreadable: replaced by `***` wherever they come, whole or in another form."""
import base64
import json
import re
import urllib.parse

SHORTEST = 4
STARS = b"***"


def forms(value):
    """The bytes that a value may come as: itself, each of its lines, and these in base64, URL-encoded and in JSON."""
    found = set()
    for text in {value, *value.splitlines(), value.strip()}:
        data = text.encode("utf-8", "surrogateescape")
        found.add(data)
        for encoded in (base64.b64encode(data), base64.urlsafe_b64encode(data)):
            found.update((encoded, encoded.rstrip(b"=")))
        found.update((urllib.parse.quote(data, safe="").encode(), urllib.parse.quote_plus(data).encode(), urllib.parse.quote(data).encode()))
        found.update(json.dumps(text, ensure_ascii=ascii_only)[1:-1].encode("utf-8", "surrogateescape") for ascii_only in (True, False))
    return {each for each in found if len(each) >= SHORTEST}


class Mask:
    """Takes a stream in pieces and gives it back without the values, those that begin first and are longest first.

    What may be the beginning of one is held back until the rest is there, which is never more than the longest less one byte."""

    def __init__(self, values):
        found = sorted({form for value in values for form in forms(value)}, key=lambda each: (-len(each), each))
        self.longest = len(found[0]) if found else 0
        self.whole = re.compile(b"|".join(map(re.escape, found))) if found else None
        self.by_first = {}
        for form in found:
            self.by_first.setdefault(form[0], []).append(form)
        self.held = b""

    def feed(self, data):
        """What can be shown by now."""
        if self.whole is None:
            return bytes(data)
        data = self.held + bytes(data)
        shown, at = [], 0
        while True:
            match = self.whole.search(data, at)
            # A longer value may begin at the same place, or another before it, whose end is still to come.
            open_at = self._open(data, at)
            if match and match.start() < open_at:
                shown.extend((data[at:match.start()], STARS))
                at = match.end()
                continue
            self.held = data[open_at:]
            shown.append(data[at:open_at])
            return b"".join(shown)

    def flush(self):
        """The rest, at the stream's end."""
        rest, self.held = self.held, b""
        return self.whole.sub(STARS, rest) if self.whole else rest

    def cover(self, text):
        """A text of its own, beside the stream, without the values."""
        data = text.encode("utf-8", "replace")
        return (self.whole.sub(STARS, data) if self.whole else data).decode("utf-8", "replace")

    def _open(self, data, at):
        """Where a value may have begun that is not over; the data's end where none has."""
        for start in range(max(at, len(data) - self.longest + 1), len(data)):
            forms_here = self.by_first.get(data[start])
            if forms_here:
                rest = data[start:]
                if any(len(form) > len(rest) and form.startswith(rest) for form in forms_here):
                    return start
        return len(data)

"""The forms in which a secret value may come: encoded, in lines, in JSON, in a URL."""

from __future__ import annotations

import base64
import functools
import html
import itertools
import json
import re
import string
import unicodedata

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator

MIN_VALUE_LENGTH = 4
# How many characters of base64 tell a value inside of other text, and how many a line of wrapped
# base64 has.
PART_LENGTH, LINE_LENGTHS = 8, (64, 76)
# Values up to this length are found even if a line breaks anywhere in them; a longer one would have
# too many forms.
MAX_BROKEN_VALUE_LENGTH = 4096
# Strings in a value that is JSON are values themselves from this length on.
MIN_JSON_TEXT_LENGTH = 8


def forms(value: str) -> set[bytes]:
    """The bytes that a value may come as: itself, its lines, the texts in it where it is JSON, and
    these encoded.
    """
    found: set[bytes] = set()
    for text in {value, *value.splitlines(), value.strip(), *leaves(value)}:
        data = text.encode("utf-8", "surrogateescape")
        found.add(data)
        found.update(in_base64(data, len(value) <= MAX_BROKEN_VALUE_LENGTH))
        found.update(in_urls(data))
        shown: list[str] = [
            quoted
            for once in in_json(text)
            for quoted in (once, once.replace("/", "\\/"), *in_json(once), *in_careful_json(once))
        ]
        for once in in_json(text):
            if once != text:
                # JSON as Python shows it, in a URL and in HTML.
                shown += [once.replace("\\", "\\\\"), html.escape(once), *in_python(once)]
                found.update(in_urls(once.encode("utf-8", "surrogateescape")))
        shown += in_shell(text)
        escaped = html.escape(text)
        numbered = escaped.replace("&#x27;", "&#39;")
        shown += [escaped, numbered, numbered.replace("&quot;", "&#34;")]
        shown += [in_escape(text), *in_python(text)]
        # In YAML, and in CSV.
        shown += [text.replace("'", "''"), text.replace('"', '""')]
        found.update(each.encode("utf-8", "surrogateescape") for each in shown)
    return {each for each in found if len(each) >= MIN_VALUE_LENGTH}


# What encoders of a text for a URL leave as it is, besides letters, digits and "_.-~": Python's
# quote (two), encodeURIComponent, URLSearchParams (also quote_plus), and encodeURI.
URL_SAFE = ("", "/", "!'()*", "*", "!#$&'()*+,/:;=?@")
# What parsers of whole URLs leave, in a password, in the path, in the query and behind "#":
# urllib3, requests, and browsers, which encode "^" in a path only by the newer standard, and leave
# "\\" and "'" for schemes that they do not know.
PARSED_URL_SAFE = (
    ("!$&'()*+,:;=", "!$&'()*+,/:;=@", "!$&'()*+,/:;=?@", "!$&'()*+,/:;=?@"),
    ("!#$&'()*+,/:;=?@[]",) * 4,
    *(
        (
            "!$&'()*+,",
            "!$&'()*+,/:;=@[]|" + in_path,
            "!$&()*+,/:;=?@[\\]^`{|}" + in_query,
            "!#$&'()*+,/:;=?@[\\]^{|}",
        )
        for in_path, in_query in (("", ""), ("^", ""), ("\\", "'"), ("\\^", "'"))
    ),
)


PERCENT = re.compile("%[0-9A-Fa-f]{2}")
HEXADECIMAL = ("%%%02X", "%%%02x")


def in_urls(data: bytes) -> set[bytes]:
    """As encoders write it, and in each place of a URL that a parser has written anew."""
    text = data.decode("latin-1")
    ways = itertools.product(URL_SAFE, HEXADECIMAL, ("", "+"), ("", "~"))
    found = {
        text.translate(percent_table(safe, form, plus=plus, encoded=encoded))
        for safe, form, plus, encoded in ways
    }
    # A parser leaves what is encoded already, or writes it anew.
    for each in {text, PERCENT.sub(as_requests, text)}:
        for sets, form in itertools.product(PARSED_URL_SAFE, HEXADECIMAL):
            found.update(in_parsed_url(each, sets, form))
    return {each.encode("latin-1") for each in found}


def in_parsed_url(text: str, sets: tuple[str, ...], form: str) -> Iterator[str]:
    """A text in each place of a URL, and where "?" and "#" in it begin the next place."""
    password, path, query, fragment = sets

    def parts(part: str, safe: str) -> set[str]:
        return {part.translate(percent_table(safe + kept, form)) for kept in ("", "%")}

    def in_path(part: str) -> set[str]:
        # Browsers take the one for the other.
        return parts(part, path) | parts(part.replace("\\", "/"), path)

    yield from parts(text, password) | in_path(text) | parts(text, query) | parts(text, fragment)
    before, mark, behind = text.partition("#")
    way, question, asked = before.partition("?")
    if mark or question:
        begins = parts(before, query)
        begins |= {a + question + b for a in in_path(way) for b in parts(asked, query)}
        yield from (a + mark + b for a in begins for b in parts(behind, fragment))


@functools.lru_cache(maxsize=None)
def percent_table(safe: str, form: str, *, plus: str = "", encoded: str = "") -> dict[int, str]:
    """For `translate`: what an encoder makes of each byte. `plus`: of a space; `encoded`: what it
    encodes besides.
    """
    left = set(string.ascii_letters + string.digits + "_.-~" + safe) - set(encoded)
    table = {byte: form % byte for byte in range(256) if chr(byte) not in left}
    return {**table, ord(" "): plus} if plus else table


def as_requests(match: re.Match[str]) -> str:
    """What is encoded, as requests writes it."""
    letter = chr(int(match.group()[1:], 16))
    is_left = letter.isascii() and (letter.isalnum() or letter in "_.-~")
    return letter if is_left else match.group().upper()


def in_escape(text: str) -> str:
    """As JavaScript's `escape` writes it."""
    units = text.encode("utf-16-be", "surrogatepass")
    codes = [units[at] << 8 | units[at + 1] for at in range(0, len(units), 2)]
    return "".join(
        chr(code)
        if code < 128 and (chr(code).isalnum() or chr(code) in "@*_+-./")
        else ("%%%02X" if code < 256 else "%%u%04X") % code
        for code in codes
    )


# What encoders of JSON escape besides what they must: Go, templates of HTML, Gson, and .NET.
JSON_ESCAPED = ("<>&", "<>&'", "<>&'=", "<>&'+`")


def in_careful_json(once: str) -> Iterator[str]:
    """A text as it is in JSON, with more characters escaped, in both cases of hexadecimal."""
    for characters in ("", *JSON_ESCAPED):
        for form in ("\\u%04x", "\\u%04X"):
            escaped = re.sub(
                r"\\u([0-9a-f]{4})", lambda match, form=form: form % int(match[1], 16), once
            )
            for each in characters:
                escaped = escaped.replace(each, form % ord(each))
            yield escaped
            if characters:
                yield escaped.replace('\\"', form % ord('"'))


# What `printf %q` of bash puts a backslash before.
BASH_SPECIAL = re.compile(r"([ \t\n!\"$&'()*,;<>?\[\\\]^`{|}])")


def in_shell(text: str) -> Iterator[str]:
    """A text between single quotes, by bash, by Python's shlex and by dash; between double quotes,
    as in bash's `export -p`; with backslashes, by `printf %q` too; and in `$'..'`.
    """
    yield text.replace("'", "'\\''")
    yield text.replace("'", "'\"'\"'")
    by_dash = re.sub("('+)", "'\"\\1\"'", text)
    yield from (by_dash, by_dash[:-1] if text.endswith("'") else by_dash)
    yield re.sub(r"([$\"\\`])", r"\\\1", text)
    yield re.sub(r"([^\w@%+=:,./-])", r"\\\1", text)
    by_bash = BASH_SPECIAL.sub(r"\\\1", text)
    # These only at the beginning of a word, or behind a colon there.
    for each in (by_bash, re.sub("(?<=[:=])~", r"\\~", by_bash)):
        yield from (each, re.sub("^[#~]", r"\\\g<0>", each))
    # Which letters are printed as they are depends on the locale.
    for is_shown in (is_printed, is_text, str.isascii):
        yield "".join(in_ansi_c(each, is_shown) for each in text)


ANSI_C = dict(zip("\a\b\x1b\f\n\r\t\v\\'", (r"\a \b \E \f \n \r \t \v \\ \'").split()))


def in_ansi_c(letter: str, is_shown: Callable[[str], bool]) -> str:
    """A letter in bash's `$'..'`."""
    if letter in ANSI_C:
        return ANSI_C[letter]
    if " " <= letter <= "~" or (not letter.isascii() and is_shown(letter)):
        return letter
    data = letter.encode("utf-8", "surrogateescape")
    return "".join("\\%03o" % byte for byte in data)


def is_text(letter: str) -> bool:
    return not "\ud800" <= letter <= "\udfff"


def is_printed(letter: str) -> bool:
    """Whether the C library counts a letter as printable."""
    return unicodedata.category(letter) not in ("Cc", "Cn", "Cs", "Zl", "Zp")


def in_python(text: str) -> Iterator[str]:
    """As Python shows a text, and bytes: alone, and in a text that has both quotes."""
    data = text.encode("utf-8", "surrogateescape")
    yield from (repr(text)[1:-1], ascii(text)[1:-1], repr(data)[2:-1])
    yield from (repr(text + "'\"")[1:-4], ascii(text + "'\"")[1:-4], repr(data + b"'\"")[2:-4])


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
            if len(within) >= PART_LENGTH:
                yield within
                if broken or not before:
                    yield from in_lines(within, column, broken)


def in_lines(within: bytes, column: int, broken: bool) -> Iterator[bytes]:
    """What of base64 is always the same, as lines have it that break anywhere in it. It begins at
    this column of a group of four characters. A piece that is too short to be known by alone comes
    with the line beside it.
    """
    for width in LINE_LENGTHS:
        for first in range(width - column, 0 if broken else width - 1, -4):
            if first >= len(within):
                continue
            pieces = [within[:first]] + [
                within[at : at + width] for at in range(first, len(within), width)
            ]
            for end in (b"\n", b"\r\n"):
                lines = list(pieces)
                if len(lines[0]) < PART_LENGTH:
                    lines[:2] = [end.join(lines[:2])]
                if len(lines[-1]) < PART_LENGTH:
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
        elif isinstance(each, str) and len(each) >= MIN_JSON_TEXT_LENGTH:
            yield each
            yield from each.splitlines()

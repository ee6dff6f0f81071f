"""JSON by what CPython has of it in C. To import `json` takes more processor time than a sync that
changes nothing needs in all, most of it for `re`, which its parser in Python uses.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_json: Any
try:
    import _json
except ImportError:
    _json = None


class Options:
    """What the parser in C asks for: the defaults of `json.loads`."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int, parse_constant = float, int, float


def loads(data: bytes | str) -> Any:
    """As `json.loads`."""
    try:
        text = data if isinstance(data, str) else data.decode()
        value, end = _json.make_scanner(Options)(text, 0)
        if end == len(text):
            return value
    except Exception:
        pass
    # What is no JSON, or JSON between blanks; and a Python with another parser.
    import json

    return json.loads(data)


def dumps(value: Any) -> str:
    """As `json.dumps` without blanks."""
    if _json is not None:
        if is_any(value, str):
            return _json.encode_basestring_ascii(value)
        if value is None or value is True or value is False:
            return {None: "null", True: "true", False: "false"}[value]
        if is_any(value, int):
            return int.__repr__(value)
        if is_any(value, float) and value - value == 0:
            return float.__repr__(value)
        if is_any(value, list, tuple):
            return "[%s]" % ",".join(map(dumps, value))
        if is_any(value, dict) and all(is_any(name, str) for name in value):
            return "{%s}" % ",".join(map(dump_member, value.items()))
    import json

    return json.dumps(value, separators=(",", ":"))


def is_any(value: object, *kinds: type) -> bool:
    """`isinstance`, which would make of a list one of unknown members."""
    return isinstance(value, kinds)


def dump_member(member: tuple[str, Any]) -> str:
    return "%s:%s" % (dumps(member[0]), dumps(member[1]))

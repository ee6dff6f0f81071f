"""The numbers in a line that a training prints."""
import ast
import json
import math
import re

# A longer dict is none: Python's own parser could go down in it.
DICT = 4096
NAMES = 100
NAME = 200


def parse(line):
    """The numbers of a line that is a JSON object, or a dict as Python prints it; None where it is neither, or has none."""
    text = line.strip().decode("utf-8", "replace")
    if not text.startswith("{") or not text.endswith("}"):
        return None
    try:
        value = json.loads(text)
        quoted = False
    except (ValueError, RecursionError):
        value, quoted = parse_dict(text), True
    if not isinstance(value, dict):
        return None
    found = {}
    for name, each in value.items():
        each = as_number(each, quoted)
        if isinstance(name, str) and name and len(name) <= NAME and len(found) < NAMES and each is not None:
            found[name] = each if math.isfinite(each) else None
    return found or None


def as_number(value, quoted):
    """A number that can be written as JSON. In a dict (`quoted`) it may be a text: callbacks round numbers to texts."""
    if isinstance(value, str) and quoted and re.fullmatch(r"[+-]?(\d[\d.]*(e[+-]?\d+)?|nan|inf)", value.strip().lower()):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, int) and abs(value) >= 1 << 63:
        return float(value) if value.bit_length() < 1000 else math.inf
    return value


def parse_dict(text):
    """A dict as Python prints it, `nan` and `np.float64(0.5)` too; None where it is no flat one."""
    if len(text) > DICT:
        return None
    text = re.sub(r"\b(?:np|numpy)\.\w+\(([^()]*)\)", r"\1", text)
    # What is no literal of Python and is printed all the same.
    text = re.sub(r"(:\s*)(-?)(nan|inf)(?=\s*[,}])", lambda found: found.group(1) + {"nan": "1e999-1e999j"}.get(found.group(3), found.group(2) + "1e999"), text)
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    return {name: math.nan if isinstance(each, complex) else each for name, each in value.items()}

"""The numbers in a line that a training prints."""
import ast
import json
import math
import re

# A longer dict is none: Python's own parser could go down in it.
DICT = 4096
# A longer line of pairs is none.
PAIRS = 1000
NAMES = 100
NAME = 200

# A word of a name that says how good a model is; one that counts the progress; one that is chosen before a training starts.
MEASURES = frozenset("loss acc accuracy auc f1 recall reward score bleu rouge perplexity ppl nll mse mae rmse iou psnr ssim fid wer cer bpb bpc".split())
COUNTERS = frozenset("step iter iteration epoch batch episode update".split())
ARGUMENTS = frozenset(
    "lr learning rate seed size epochs steps iters iterations batch workers layers heads hidden dim dims embd dropout beta beta1 beta2 betas "
    "momentum decay warmup clip eps epsilon gamma alpha every interval patience threshold limit weight coef scale max min num n precision depth width".split()
)

NUMBER = r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|nan|inf)"
UNIT = r"(?:/\d+|%|[a-zA-Z]{1,6}(?:/[a-zA-Z]{1,6})?| (?:ms|s|sec|it/s|tok/s|MB|GB)(?![\w.]))?"
WORD = r"[A-Za-z][\w./-]{0,60}"
PAIR = re.compile(r"(%s(?: %s){0,2})(?:[ \t]{0,8}([:=])[ \t]{0,8}|[ \t]{1,8})(%s)%s(?![\w.])" % (WORD, WORD, NUMBER, UNIT))
BETWEEN = re.compile(r"[ \t]{0,8}(?:[|,;:]|-(?=[ \t]))?[ \t]{0,8}")
COLOUR = re.compile(r"\x1b\[[\d;]{0,20}m")


def parse(line):
    """The numbers of a line that is a JSON object, a dict as Python prints it, or pairs of names and numbers; None where it is none of these, or has none."""
    text = line.strip().decode("utf-8", "replace")
    if not text.startswith("{") or not text.endswith("}"):
        return parse_pairs(text)
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
    return None if are_arguments(found) else found or None


def words(name):
    return re.findall(r"[a-z]+\d?", name.lower())


def is_measure(name):
    of = words(name)
    return not MEASURES.isdisjoint(of) and ARGUMENTS.isdisjoint(of)


def counts_progress(name):
    return words(name)[-1:] and words(name)[-1] in COUNTERS and "per" not in words(name)


def are_arguments(found):
    """Whether these are what a training was given, as it prints that at its start: some are typical arguments, none tells a result or how far it is."""
    chosen = [name for name in found if not ARGUMENTS.isdisjoint(words(name))]
    return bool(chosen) and not any(is_measure(name) or (counts_progress(name) and name not in chosen) for name in found)


def parse_pairs(text):
    """`step 500 | loss 3.16`, `Epoch 2/10 - acc: 0.9`, `loss=0.5`: a line of nothing but pairs, of which one is a measure. It counts the progress as well, or has : or =."""
    text = COLOUR.sub("", text[:PAIRS + 1]).strip()
    if len(text) > PAIRS:
        return None
    found, at, told = {}, 0, False
    while at < len(text):
        pair = PAIR.match(text, at)
        if not pair or len(found) >= NAMES:
            return None
        name, separator, number = pair.groups()
        value = float(number)
        name = "_".join(name.split())
        found[name] = (int(number) if re.fullmatch(r"[+-]?\d{1,18}", number) else value) if math.isfinite(value) else None
        told = told or bool(separator and is_measure(name))
        at = BETWEEN.match(text, pair.end()).end()
    if not any(is_measure(name) for name in found):
        return None
    return found if told or any(counts_progress(name) for name in found) else None


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

"""The numbers in a line that a training prints."""

from __future__ import annotations

import ast
import json
import math
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, Optional

    # By name; None where the number is not finite.
    Numbers = Dict[str, Optional[float]]


# A longer dict is not parsed: Python's own parser could crash on it.
MAX_DICT_LENGTH = 4096
# A longer line is not parsed as pairs.
MAX_PAIRS_LENGTH = 1000
MAX_NAMES = 100
MAX_NAME_LENGTH = 200

# A word of a name that says how good a model is; one that counts the progress; one that is chosen
# before a training starts.
MEASURES = frozenset(
    "loss acc accuracy auc f1 recall reward score bleu rouge perplexity ppl nll mse mae rmse iou "
    "psnr ssim fid wer cer bpb bpc logloss mlogloss".split()
)
COUNTERS = frozenset("step iter iteration epoch batch episode update".split())
ARGUMENTS = frozenset(
    "lr learning rate seed size epochs steps iters iterations batch workers layers heads "
    "hidden dim dims embd dropout beta beta1 beta2 betas momentum decay warmup clip eps "
    "epsilon gamma alpha every interval patience threshold limit weight coef scale max min "
    "num n precision depth width target initial init smoothing".split()
)

NUMBER = r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|nan|inf)"
UNIT = r"(?:/\d+|%|[a-zA-Z]{1,6}(?:/[a-zA-Z]{1,6})?| (?:ms|s|sec|it/s|tok/s|MB|GB)(?![\w.]))?"
WORD = r"[A-Za-z][\w./@-]{0,60}"
PAIR = re.compile(
    r"(?P<name>%s(?: %s){0,2})(?:[ \t]{0,40}(?P<separator>[:=])[ \t]{0,40}|[ \t]{1,8})"
    r"(?:(?P<number>%s)%s(?![\w.])|\[[ ]{0,8}(?P<boxed>\d{1,18})[ ]{0,8}\])"
    % (WORD, WORD, NUMBER, UNIT)
)
# What may stand after a value: its average, the share of an epoch.
NOTE = r"(?:[ \t]{0,4}(?:\([^()]{0,40}\)|\[[^\[\]]{0,60}\]))?"
BETWEEN = re.compile(
    NOTE + r"[ \t]{0,8}(?:[|,;:]|-(?=[ \t]))?[ \t]{0,8}"
    r"(?:\d{1,12}[ ]{0,4}/[ ]{0,4}\d{1,12} (?:batches|steps|iterations|samples)[ ]{0,4}"
    r"\|[ \t]{0,8})?"
)
# What a logger writes before its message.
TIME = r"\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?\]?"
LEVEL = r"\[?(?:DEBUG|INFO|WARNING|WARN)\]?"
LOGGER = r"(?:\[[\w.<>-]{1,60}\]|[\w.]{1,60})"
LOGGED = re.compile(
    r"(?:%(time)s[ \t]{0,4}[-|]?[ \t]{0,4}"
    r"(?:%(logger)s[ \t]{0,4}(?:-[ \t]{1,4}|(?=%(level)s)))?"
    r"(?:%(level)s[ \t]{0,8})?|%(level)s[ \t]{0,8})"
    r"(?::[\w.]{1,60}:|\|[ \t]{0,4}[\w.]{1,60}:[\w.<>]{1,60}:\d{1,6} -|[:|-])?[ \t]{0,8}"
    % {"time": TIME, "level": LEVEL, "logger": LOGGER}
)
# `[epoch 3]`, `[1, 2000]`, `[0]` at the start, and `Validation:` before pairs that have separators
# of their own.
BOX = re.compile(r"\[([^\[\]]{1,40})\][ \t:]{0,4}")
LABEL = re.compile(
    r"([A-Za-z][A-Za-z ]{0,20}):[ \t]{1,8}(?=%s(?: %s){0,2}[ \t]{0,8}[:=])" % (WORD, WORD)
)
# tqdm's bar: what it is of, how far it is, what was added at its end.
TQDM = re.compile(
    r"(?P<of>[^|\r]{0,100}?)[ ]{0,4}\d{1,3}%\|[^|]{0,200}\|"
    r"[ ]{0,20}(?P<done>[\d.]{1,20})\w?/(?P<all>[\d.]{1,20})\w? "
    r"\[(?P<rate>[^\[\],]{0,60}(?:,[ ]{0,20}[\d.?]{1,20} ?\w{1,20}/\w{1,10})?)"
    r"(?:, (?P<more>[^\[\]]{0,500}))?\]"
)
# The bar of Keras 2 and 3.
KERAS = re.compile(
    r"(?P<done>\d{1,12})/(?P<all>\d{1,12}|Unknown)[ ]{1,4}"
    r"(?:\[[=>.]{1,80}\]|[\u2501\u2578\u257a ]{1,80})[ ]{0,4}"
    r"(?:- )?(?:ETA: )?[\d:.]{1,12}(?:h|m|s|ms|us|min)?"
    r"(?:[ ][\d.]{1,12}(?:s|ms|us|\u00b5s)/\w{1,12})?[ ]{0,4}- "
)
# The line that Keras prints after an epoch with `verbose=2`.
KERAS_EPOCH = re.compile(
    r"(?P<done>\d{1,12})/(?P<all>\d{1,12}) - [\d.]{1,12}(?:h|min|m|s|ms|us)"
    r"(?: - [\d.]{1,12}(?:s|ms|us|\u00b5s)/\w{1,12})? - "
)
# Rich's bar, as Lightning has it.
RICH = re.compile(
    r"(?P<of>[^\u2501\u2578\u257a\d]{0,60}\d{0,12})(?:/\d{1,12})?"
    r"[ ]{1,4}[\u2501\u2578\u257a ]{1,500} (?P<done>\d{1,12})/(?P<all>\d{1,12}) "
    r"[\d:-]{1,12} \u2022 [\d:-]{1,12} [\d.]{1,12}\w{1,6}/\w{1,6}[ ]{0,4}(?P<more>.{0,1000})",
    re.DOTALL,
)
# What stands at the end of a bar: numbers, and texts such as a phase or `v_num=0_1`.
ENTRY = re.compile(r"(%s)(?:=|: )[ ]{0,8}(\S{1,60}?)(?=[,\s]|$)" % WORD)
# What a bar writes to color its text and to move on a terminal.
NOISE = re.compile(r"\x1b\[[\d;?]{0,20}[A-Za-z]|\x08")


def parse(line: bytes) -> Numbers | None:
    """The numbers of a line that is a JSON object, a dict as Python prints it, pairs of names and
    numbers, or a progress bar with them; None where it is none of these, or has none.
    """
    text = NOISE.sub("", line.decode("utf-8", "replace")).strip()
    bar = bar_of(text)
    if bar and bar[1].endswith("}"):
        text = bar[1]
    elif bar:
        return parse_pairs(bar[0])
    if not text.startswith("{") or not text.endswith("}"):
        return parse_pairs(text)
    value: dict[Any, Any] | None
    try:
        value = json.loads(text)
        quoted = False
    except (ValueError, RecursionError):
        value, quoted = parse_dict(text), True
    return numbers_of(value, quoted) if isinstance(value, dict) else None


def numbers_of(values: dict[Any, Any], quoted: bool) -> Numbers | None:
    """The numbers of a dict; None where it has none, or they are what a training was given."""
    found: Numbers = {}
    for name, each in values.items():
        number = as_number(each, quoted)
        if (
            isinstance(name, str)
            and name
            and len(name) <= MAX_NAME_LENGTH
            and len(found) < MAX_NAMES
            and number is not None
        ):
            found[name] = number if math.isfinite(number) else None
    return None if are_arguments(found) else found or None


def is_unfinished_bar(line: bytes) -> bool:
    """Whether a line is a progress bar that another one follows."""
    bar = bar_of(line.decode("utf-8", "replace"))
    return bool(bar and not bar[1] and not bar[2])


def bar_of(text: str) -> tuple[str, str, bool] | None:
    """(the pairs of a progress bar, what stands after it, whether it has reached its end); None of
    another line.
    """
    if (
        "%|" not in text[:MAX_PAIRS_LENGTH]
        and "\u2501" not in text[:MAX_PAIRS_LENGTH]
        and not re.match(r"[^\d]{0,40}\d", text[:MAX_PAIRS_LENGTH])
    ):
        return None
    text = NOISE.sub("", text[:MAX_DICT_LENGTH]).strip()
    bar = TQDM.match(text)
    if bar:
        of = bar.group("of").strip(" :")
        return (
            pairs_of(of, bar.group("more")),
            text[bar.end() :].strip(),
            bar.group("done") == bar.group("all"),
        )
    bar = RICH.match(text)
    if bar:
        return (
            pairs_of(bar.group("of").strip(), bar.group("more")),
            "",
            bar.group("done") == bar.group("all"),
        )
    bar = KERAS.match(text) or KERAS_EPOCH.match(text)
    return (text[bar.end() :], "", bar.group("done") == bar.group("all")) if bar else None


def pairs_of(of: str, more: str | None) -> str:
    """The pairs of a bar: what it is of, and what stands at its end, less the texts there."""
    named = ENTRY.findall(more or "")
    numbers = [
        "%s=%s" % (name, value) for name, value in named if PAIR.fullmatch("%s=%s" % (name, value))
    ]
    pairs = [of if PAIR.fullmatch(of) else ""] + (numbers if named else [more or ""])
    return " | ".join(each for each in pairs if each)


def words(name: str) -> list[str]:
    return re.findall(r"[a-z]+\d?", name.lower())


def is_measure(name: str) -> bool:
    of = words(name)
    return not MEASURES.isdisjoint(of) and ARGUMENTS.isdisjoint(of)


def counts_progress(name: str) -> bool:
    of = words(name)
    return bool(of) and of[-1] in COUNTERS and "per" not in of


def are_arguments(found: Iterable[str]) -> bool:
    """Whether these are what a training was given, as it prints that at its start: some are typical
    arguments, none tells a result or how far it is.
    """
    chosen = [name for name in found if not ARGUMENTS.isdisjoint(words(name))]
    return bool(chosen) and not any(
        is_measure(name) or (counts_progress(name) and name not in chosen) for name in found
    )


def parse_pairs(text: str) -> Numbers | None:
    """`step 500 | loss 3.16`, `Epoch 2/10 - acc: 0.9`, `loss=0.5`: a line of nothing but pairs, of
    which one is a measure. It counts the progress as well, or has : or =.

    A logger's time, level and name may stand before them.
    """
    if len(text) > MAX_PAIRS_LENGTH:
        return None
    logged = LOGGED.match(text)
    text = (text[logged.end() :] if logged else text).strip("| \t").replace("'s ", " ")
    found: Numbers = {}
    at, told = 0, False
    while True:
        box = BOX.match(text, at)
        if not box or box.end() == len(text):
            break
        number = re.fullmatch(r"\d{1,18}", box.group(1))
        pair = PAIR.fullmatch(box.group(1))
        if pair:
            add_pair(found, pair)
        elif number:
            found.setdefault("iteration", int(number.group()))
        at = box.end()
    label = LABEL.match(text, at)
    prefix = label.group(1) + " " if label else ""
    at = label.end() if label else at
    first = at
    while at < len(text):
        pair = PAIR.match(text, at)
        if not pair or len(found) >= MAX_NAMES:
            return None
        name = add_pair(found, pair, prefix)
        told = told or bool(pair.group("separator") and is_measure(name))
        between = BETWEEN.match(text, pair.end())
        assert between
        at = between.end()
    if at == first or not any(is_measure(name) for name in found):
        return None
    return found if told or any(counts_progress(name) for name in found) else None


def add_pair(found: Numbers, pair: re.Match[str], prefix: str = "") -> str:
    """Adds a pair to what was found; returns its name."""
    number = pair.group("number") or pair.group("boxed")
    value = float(number)
    name = "_".join((prefix + pair.group("name")).split())
    found[name] = (
        (int(number) if re.fullmatch(r"[+-]?\d{1,18}", number) else value)
        if math.isfinite(value)
        else None
    )
    return name


def as_number(value: object, quoted: bool) -> float | None:
    """A number that can be written as JSON. In a dict (`quoted`) it may be a text: callbacks round
    numbers to texts.
    """
    if (
        isinstance(value, str)
        and quoted
        and re.fullmatch(r"[+-]?(\d[\d.]*(e[+-]?\d+)?|nan|inf)", value.strip().lower())
    ):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, int) and abs(value) >= 1 << 63:
        return float(value) if value.bit_length() < 1000 else math.inf
    return value


def parse_dict(text: str) -> dict[Any, Any] | None:
    """A dict as Python prints it, `nan` and `np.float64(0.5)` too; None where it is no flat one."""
    if len(text) > MAX_DICT_LENGTH:
        return None
    text = re.sub(r"\b(?:np|numpy)\.\w+\(([^()]*)\)", r"\1", text)
    # What is no literal of Python and is printed all the same.
    text = re.sub(
        r"(:\s*)(-?)(nan|inf)(?=\s*[,}])",
        lambda found: (
            found.group(1) + {"nan": "1e999-1e999j"}.get(found.group(3), found.group(2) + "1e999")
        ),
        text,
    )
    try:
        value: dict[Any, Any] | None = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return without_complex(value) if isinstance(value, dict) else None


def without_complex(values: dict[Any, Any]) -> dict[Any, Any]:
    """The dict with each complex number, which stands for `nan`, as that."""
    return {name: math.nan if isinstance(each, complex) else each for name, each in values.items()}

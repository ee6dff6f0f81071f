"""Files and links that name another checkpoint beside them: DeepSpeed's `latest`, TensorFlow's
`checkpoint`, a `best` link.
"""

from __future__ import annotations

import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterable, Mapping

    Numbered = Callable[[int], Iterable[str]]


# A larger file is no pointer.
MAX_POINTER_BYTES = 4096
# Names that say: the training resumes from what this names.
CURRENT = re.compile(
    r"(latest|last|current|newest|checkpoint)([-_.].*)?", re.IGNORECASE | re.DOTALL
)
# Names of files that may hold more than the name, as JSON or a list does.
POINTER = re.compile(
    r"(.*[-_.])?(latest|last|current|newest|best|checkpoint|checkpoints|resume)([-_.].*)?",
    re.IGNORECASE | re.DOTALL,
)
NUMBER = re.compile(r"[0-9]+")
# Pointer file -> what in its text is the name; of these it is known that a name which is not there
# is still to come.
KNOWN = {
    "latest": r"\s*(\S+)\s*",  # DeepSpeed: global_step10
    "latest_universal": r"\s*(\S+)\s*",
    "latest_checkpointed_iteration.txt": r"\s*([0-9]+|release)\s*",  # Megatron: 10 for iter_0000010
    "last_checkpoint": r"\s*(\S+)\s*",  # detectron2, mmengine: a name or a path
    "checkpoint": r"(?s).*?\bmodel_checkpoint_path:\s*\"([^\"]+)\".*",  # TensorFlow: ckpt-1
}


def last_component(label: str) -> str:
    return label.rpartition("/")[2]


def is_current(label: str) -> bool:
    return CURRENT.fullmatch(last_component(label)) is not None


def named(
    name: str, text: str, names: Mapping[str, str], *, numbered: Numbered
) -> tuple[set[str], bool]:
    """(those of `names` that a file of this name and text names, whether it names one that is not
    there).

    `names`: {a name, or the stem of several: its unit}. `numbered(number)`: the units of the names
    whose last number it is.
    """
    rule = KNOWN.get(name)
    match = rule and re.fullmatch(rule, text)
    if match:
        found = _look_up(match.group(1), names, numbered)
        return found, not found
    if len(text.split()) == 1 and len(text) > 1:
        return _look_up(
            text.strip().strip("\"'"), names, numbered if POINTER.fullmatch(name) else None
        ), False
    found: set[str] = set()
    if POINTER.fullmatch(name):
        for word in re.findall(r"[^\s\"',;:=\[\]{}()]+", text):
            found |= _look_up(word, names, None)
    return found, False


def _look_up(word: str, names: Mapping[str, str], numbered: Numbered | None) -> set[str]:
    base = word.rstrip("/").rpartition("/")[2]
    if base in names:
        return {names[base]}
    if numbered and NUMBER.fullmatch(word):
        # A number names the one name whose last number it is: a second unit ends the search.
        found: set[str] = set()
        for unit in numbered(int(word)):
            found.add(unit)
            if len(found) > 1:
                return set()
        return found
    return set()


def linked(target: str, directory: str) -> str | None:
    """The name beside it that a link in `directory` leads to; None where it leads elsewhere."""
    at = os.path.normpath(os.path.join(directory, target))
    parent, name = os.path.split(at)
    if parent not in (os.path.normpath(directory), os.path.realpath(directory)) or name in (
        "",
        ".",
        "..",
    ):
        return None
    return name

"""The numbers in `trainer_state.json`, which the Trainer of Hugging Face writes into each of its
checkpoints, and into its output directory: docs/reference/configuration.md, "Metrics".

Each of these files has the whole history of its training, `log_history`. Of several, the newest is
read, and of each step what was not taken before.
"""

from __future__ import annotations

import os
import re

from ..system import bounded
from .metric_line import numbers_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional, Tuple

    from .metric_line import Numbers

    # The device, the inode, the time of the last change in ns, and the size of a file that was
    # read.
    StatePosition = List[Optional[int]]
    # The last step that was taken, and how many entries of it.
    Taken = Tuple[float, int]

NAME = "trainer_state.json"
CHECKPOINT = re.compile(r"(?:^|/)checkpoint-\d{1,12}$")
# A larger file is not read.
MAX_BYTES = 8 * 1024 * 1024


def training_of(path: str) -> str:
    """The output directory of the training that a file is of."""
    return CHECKPOINT.sub("", path.rpartition("/")[0])


def position_of(found: os.stat_result) -> StatePosition:
    return [found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size]


def read_entries(descriptor: int, found: os.stat_result) -> list[dict[str, Any]]:
    """The entries of the history that have a step; none where the file is not complete, too large,
    or no such file.
    """
    if found.st_size > MAX_BYTES:
        return []
    # It may grow meanwhile: what is read then is not complete.
    data = os.pread(descriptor, MAX_BYTES, 0)
    try:
        entries = _list_in(bounded.parse(data))
    except ValueError:
        return []
    return [each for each in entries if _step_of(each) is not None]


def _list_in(state: Any) -> list[dict[str, Any]]:
    """The objects in the history of a state; none where it has no history."""
    if state.__class__ is not dict or state.get("log_history").__class__ is not list:
        return []
    return [each for each in state["log_history"] if each.__class__ is dict]


def _step_of(entry: dict[str, Any]) -> float | None:
    step = numbers_of({"step": entry.get("step")}, quoted=False)
    return step["step"] if step else None


def samples_after(
    entries: list[dict[str, Any]], taken: Taken | None
) -> tuple[list[Numbers], Taken | None]:
    """(the numbers of the entries after those that were taken, what is taken with them)."""
    samples: list[Numbers] = []
    last, count = taken or (None, 0)
    at_last = 0
    for entry in entries:
        step = _step_of(entry)
        assert step is not None
        if last is not None and step < last:
            continue
        if step == last:
            at_last += 1
            if at_last <= count:
                continue
        else:
            at_last = 1
        last, count = step, at_last
        found = numbers_of(entry, quoted=False)
        if found:
            samples.append(found)
    return samples, None if last is None else (last, count)

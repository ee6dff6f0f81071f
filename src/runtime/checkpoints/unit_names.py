"""Which names of a checkpoint directory make one checkpoint only together, and how many."""

from __future__ import annotations

import re
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from typing import Collection


# Names that are one checkpoint together: TensorFlow's three files, shards `00001-of-00003`, a file
# of each process.
TENSORFLOW = re.compile(r"(?P<stem>.+)\.(index|meta|data-\d+-of-(?P<count>\d+))", re.DOTALL)
SHARD = re.compile(
    r"(?P<before>.*?)\d{4,}(?P<of>[-_]of[-_])(?P<count>\d{4,})(?P<after>.*)", re.DOTALL
)
RANK = re.compile(
    r"(?P<before>(?:.*[-_.])?"
    r"(?:rank|shard|worker|proc|process|gpu|mp_rank|tp_rank|pp_rank|dp_rank)[-_=]?)"
    r"(?P<n>\d+)(?P<after>.*)",
    re.DOTALL,
)


def together(names: Collection[str], tops: dict[str, os.stat_result]) -> dict[str, set[str]]:
    """{label: names}: names that are one checkpoint together under one label, each other name under
    itself.
    """
    files = {name for name in names if stat.S_ISREG(tops[name].st_mode)}
    stems = {
        match.group("stem")
        for match in map(TENSORFLOW.fullmatch, files)
        if match and match.group("count")
    }
    groups: dict[str, set[str]] = {}
    for name in names:
        groups.setdefault(stem(name, stems) if name in files else name, set()).add(name)
    return {
        (label if group == {label} or label not in names else min(group)): group
        for label, group in groups.items()
    }


def stem(name: str, stems: Collection[str]) -> str:
    """The label of a file. `stems`: those of TensorFlow's checkpoints that have data."""
    match = TENSORFLOW.fullmatch(name)
    if match:
        return match.group("stem") if match.group("stem") in stems else name
    match = SHARD.fullmatch(name)
    if match:
        return (
            match.group("before")
            + "*"
            + match.group("of")
            + match.group("count")
            + match.group("after")
        )
    match = RANK.fullmatch(name)
    return match.group("before") + "*" + match.group("after") if match else name


def count_of(names: Collection[str]) -> int | None:
    """How many files make the unit, None where its names do not say."""
    tensorflow, shards, ranks = (
        [match for match in map(rule.fullmatch, names) if match]
        for rule in (TENSORFLOW, SHARD, RANK)
    )
    data = [int(match.group("count")) for match in tensorflow if match.group("count")]
    if data:
        # Beside the data, the index must be there, which is written last.
        others = sum(1 for match in tensorflow if not match.group("count"))
        return max(data) + (
            others if any(name.endswith(".index") for name in names) else others + 1
        )
    if shards:
        return max(int(match.group("count")) for match in shards)
    if ranks:
        numbers = [int(match.group("n")) for match in ranks]
        return max(numbers) - min(numbers) + 1
    return None

"""Which unit came last, where the clock was set back: then what is new has an earlier time than
what was there.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Collection, Mapping

    from .unit import Unit


def correct(
    there: dict[str, Unit],
    state: dict[str, Any],
    watched: Mapping[str, tuple[str, float]],
    *,
    now: int,
) -> bool:
    """Gives each unit whose time is ahead of the clock one before all that came since, once and for
    all. Whether `state` was changed.

    `there`: the units by their labels; `watched`: {label: (signature, …)} of the last look; `now`:
    by the clock of the files, ns. `state["came"]`: {label: [its time as the file system has it, the
    time that it was given]}.
    """
    came: dict[str, list[int]] = state["came"]
    seen: dict[str, Any] = state["seen"]
    ahead: list[Unit] = []
    before = {label: list(each) for label, each in came.items()}
    for label, unit in there.items():
        time, known = unit.order[0], came.get(label)
        is_being_removed = (
            known and time < known[0] and len(unit.files) < seen.get(label, {"files": 0})["files"]
        )
        if known and (time == known[0] or is_being_removed):
            move(unit, known[1])
        elif time > now:
            ahead.append(unit)
        else:
            came.pop(label, None)
    order_is_ahead = bool(state["order"]) and state["order"][0] > now
    if ahead or order_is_ahead:
        signatures: dict[str, str] = {label: each["signature"] for label, each in seen.items()}
        signatures.update({label: each[0] for label, each in watched.items()})
        since = since_the_change(there, ahead, signatures, now=now)
        for number, unit in enumerate(sorted(ahead, key=lambda unit: unit.order)):
            came[unit.label] = [unit.order[0], since - len(ahead) + number]
            move(unit, came[unit.label][1])
            if seen.get(unit.label, {}).get("signature") == unit.signature:
                seen[unit.label]["order"] = unit.order[0]
        if order_is_ahead:
            state["order"] = [since - 1] + list(state["order"][1:])
    return order_is_ahead or came != before


def move(unit: Unit, time: int) -> None:
    unit.order = (time,) + unit.order[1:]


def since_the_change(
    there: dict[str, Unit], ahead: Collection[Unit], known: Mapping[str, str], *, now: int
) -> int:
    """The earliest time of what came after the last look, `now` where nothing did."""
    labels = {unit.label for unit in ahead}
    new = [
        unit
        for label, unit in there.items()
        if label not in labels and known.get(label) != unit.signature
    ]
    return min([now] + [unit.order[0] for unit in new])

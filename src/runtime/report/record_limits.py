"""The limits that clients have for a run's record (src/schema/run-record.ts). A record beyond them
can't be read by anybody, nor the run's results be found: what is too long is cut before it is
signed.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Characters of a text, as JavaScript counts them; fewer where the whole record is too long. A
# message may have more of them.
MAX_TEXT_LENGTHS = (4096, 1024, 256, 64)
MESSAGE_LENGTH_FACTOR = 16
# Elements of a list, by the field's name; the last ones are kept of what grows at its end.
MAX_LIST_LENGTH = 1000
MAX_LIST_LENGTHS = {"warnings": 100, "gpus": 256, "segments": 1024, "lines": 12}
GROWING = ("attempts", "checkpoints")
# Of the record as it is sent. A client reads 1 MiB.
MAX_RECORD_BYTES = 960 * 1024
CUT = "\u2026"


def within_limits(record: dict[str, Any]) -> dict[str, Any]:
    """The record with what is too long cut."""
    bounded = record
    for units in MAX_TEXT_LENGTHS:
        bounded = _with_room(_bounded(record, "", units))
        if _size(bounded) <= MAX_RECORD_BYTES:
            break
    return bounded


def _with_room(record: dict[str, Any]) -> dict[str, Any]:
    """The record with as many of the training's metrics as there is room for."""
    metrics = record["metrics"]
    if _size(record) <= MAX_RECORD_BYTES or not metrics.get("training"):
        return record
    left = MAX_RECORD_BYTES - _size(dict(record, metrics=dict(metrics, training={}))) - 1024
    kept = _first(metrics["training"], left)
    warning = "%d of %d metrics are not in the record: their names are too long" % (
        len(metrics["training"]) - len(kept),
        len(metrics["training"]),
    )
    warnings = metrics["warnings"][: MAX_LIST_LENGTHS["warnings"] - 1] + [warning]
    return dict(record, metrics=dict(metrics, training=kept, warnings=warnings))


def _bounded(value: Any, field: str, units: int) -> Any:
    kind: object = value.__class__
    if kind is str:
        return cut_text(value, units * MESSAGE_LENGTH_FACTOR if field == "message" else units)
    if kind is dict:
        return _bounded_fields(value, units)
    if kind is list:
        return _bounded_list(value, field, units)
    return value


def _bounded_fields(fields: dict[str, Any], units: int) -> dict[str, Any]:
    return {cut_text(name, units): _bounded(each, name, units) for name, each in fields.items()}


def _bounded_list(elements: list[Any], field: str, units: int) -> list[Any]:
    length = MAX_LIST_LENGTHS.get(field, MAX_LIST_LENGTH)
    some = elements[-length:] if field in GROWING else elements[:length]
    return [_bounded(each, field, units) for each in some]


def cut_text(text: str, units: int) -> str:
    """The beginning of the text, in as many units of UTF-16 as JavaScript counts."""
    if len(text) * 2 <= units or len(text.encode("utf-16-le", "surrogatepass")) // 2 <= units:
        return text
    kept = text.encode("utf-16-le", "surrogatepass")[: (units - 1) * 2]
    return kept.decode("utf-16-le", "ignore") + CUT


def _first(numbers: dict[str, Any], left: int) -> dict[str, Any]:
    """The first of the metrics, as many as fit into `left` bytes."""
    kept: dict[str, Any] = {}
    for name, value in numbers.items():
        left -= len(json.dumps(name)) + len(json.dumps(value)) + 4
        if left < 0:
            break
        kept[name] = value
    return kept


def _size(record: dict[str, Any]) -> int:
    return len(json.dumps(record))

"""Whether the store has all that a run wrote."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def is_all_saved(report: dict[str, Any]) -> bool:
    """Whether a run's reporter has saved all that the run wrote, by its `report.json`; False as
    long as it has not said so.
    """
    return bool(report.get("saved")) and not report.get("unsaved")

"""What a run's reporter has done so far: `report.json` in the run's directory."""

from __future__ import annotations

import os

from ..system import atomic_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ReportFile:
    def __init__(self, run_dir: str) -> None:
        self.path = os.path.join(run_dir, "report.json")
        self.values: dict[str, Any] = {"saved": False, "settled": 0, "heartbeat": 0}
        self.values.update(atomic_files.read_object(self.path))

    def save(self, **changes: Any) -> None:
        self.values.update(changes)
        try:
            atomic_files.write_json(self.path, self.values)
        except OSError:
            # A full disk must not keep the reporter from uploading.
            pass

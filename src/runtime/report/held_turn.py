"""What a reporter does while the turn of its run is held: it writes the record once, says which one
it is, and writes nothing until the hold ends. An instance that takes over this very record has the
run; if none has, the next record of this instance makes that impossible.
"""

from __future__ import annotations

import time

from ..run_dir import turn_hold
from ..system import boot_clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from .fencing import Fenced
    from .report_file import ReportFile

# Between two looks whether another instance has the run.
LOOK_INTERVAL_S = 1.0


class HeldTurn:
    def __init__(self, run_dir: str, report: ReportFile) -> None:
        self.run_dir, self.report = run_dir, report
        self.looked = 0.0

    def serve(self, bucket: Fenced, write: Callable[[], int], has_ended: bool) -> bool:
        """Whether nothing else is to be written now. `write`: writes the record, and returns its
        heartbeat. Superseded.
        """
        until = turn_hold.until(self.run_dir)
        if until is None:
            return False
        if has_ended or not bucket.holds or boot_clock.clock() >= until:
            # Only after this record is in the store, no other instance can take the run over.
            write()
            self._end()
            return False
        told = self.report.values.get("held")
        if not told or told["until"] != until:
            heartbeat = write()
            if not bucket.holds:
                self._end()
                return False
            self.report.save(held={"until": until, "heartbeat": heartbeat})
        elif time.monotonic() - self.looked > LOOK_INTERVAL_S:
            bucket.look()
        else:
            return True
        self.looked = time.monotonic()
        return True

    def _end(self) -> None:
        self.report.save(held=None)
        turn_hold.end(self.run_dir)

"""The reporter's access to the run's store: opened, renewed, and tried again after a failure."""

from __future__ import annotations

import os

from ..system import atomic_files
from .fencing import Fenced
from .retries import Retries
from .signed_record import SigningKey

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..system.documents import RunSpec
    from ..system.errors import Failure
    from .report_file import ReportFile


class StoreConnection(Retries):
    """`bucket`: None until the store was opened."""

    def __init__(self, run_dir: str, spec: RunSpec, report: ReportFile) -> None:
        super().__init__()
        self.run_dir, self.spec, self.report = run_dir, spec, report
        self.bucket: Fenced | None = None
        # The time of access.json, in ns, whose content is used; 0: there was none.
        self.access_ns: int | None = None

    def refresh(self) -> None:
        """Opens the store with the access that the plan names, or the one that was renewed since.
        @raises Failure
        """
        path = os.path.join(self.run_dir, "access.json")
        try:
            changed_ns = os.stat(path).st_mtime_ns
        except FileNotFoundError:
            changed_ns = 0
        if changed_ns == self.access_ns:
            return
        from ..aws.bucket import open_bucket

        access = atomic_files.read_json(path) or self.spec["store"]
        if self.bucket is None:
            if not self.is_due():
                return
            record = atomic_files.read_json(os.path.join(self.run_dir, "run.json"))
            key = SigningKey(self.spec)
            self.bucket = Fenced(
                open_bucket(access),
                key,
                instance=record["instance"],
                attempt=record["attempt"],
                etag=self.report.values.get("etag"),
                version=self.report.values.get("version"),
                claimed=bool(self.report.values.get("claimed")),
                proven=bool(self.report.values.get("proven")),
            )
        else:
            self.bucket.renew(access)
        self.access_ns = changed_ns
        self.due = 0.0

    def failed(self, failure: Failure) -> None:
        super().failed(failure)
        self.report.save(trouble=self.trouble)

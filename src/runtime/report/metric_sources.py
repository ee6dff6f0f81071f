"""Where each metric of a training is read from, where several places tell it."""

from __future__ import annotations

from .metric_line import counts_progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    from .metric_line import Numbers

    class SourcesPosition(TypedDict):
        owners: dict[str, str]
        texts: dict[str, str]


FILE, LOG, EVENTS, CSV, STATE = "file", "log", "events", "csv", "state"
# The best first.
ORDER = (FILE, LOG, EVENTS, CSV, STATE)
TEXTS = {FILE: "the file that train.metrics.file names", LOG: "the log"}


class Sources:
    """Of a metric that several sources tell, the values of the best one count: what the
    configuration names, then the log, then what was found in files.
    """

    def __init__(self, position: SourcesPosition | None = None) -> None:
        self.owners = dict(position["owners"]) if position else {}
        # What is said of each source that was used, by its kind.
        self.texts = dict(position["texts"]) if position else {}

    def position(self) -> SourcesPosition:
        return {"owners": self.owners, "texts": self.texts}

    def admit(self, found: Numbers, kind: str, text: str) -> Numbers:
        """The numbers that are this source's to tell; none where only its steps are left."""
        kept = {name: value for name, value in found.items() if self._is_of(name, kind)}
        if len(kept) < len(found) and all(map(counts_progress, kept)):
            return {}
        for name in kept:
            self.owners[name] = kind
        if kept:
            self.texts.setdefault(kind, text)
        return kept

    def _is_of(self, name: str, kind: str) -> bool:
        owner = self.owners.get(name)
        return owner is None or ORDER.index(kind) <= ORDER.index(owner)

    def described(self) -> list[str]:
        """A text for each source that was used."""
        return [self.texts[kind] for kind in ORDER if kind in self.texts]

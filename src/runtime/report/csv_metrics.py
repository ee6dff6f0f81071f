"""The numbers in `metrics.csv` as Lightning's CSVLogger writes it, and in `results.csv` as
Ultralytics does: docs/reference/configuration.md, "Metrics".

Lightning rewrites its file in place when a new column comes: the same rows stand below a longer
head then. The content of these files is the training's: only numbers count.
"""

from __future__ import annotations

import csv
import hashlib
import math
import os

from .metric_line import MAX_NAME_LENGTH, as_number, counts_progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Union

    from .metric_line import Numbers

    # Of one file: device, inode, offset (None: nothing more is read of it), the rows before the
    # offset, the digest of the head, the digest of the first row, how many rows are skipped.
    CsvPosition = List[Union[int, str, None]]

# How much of one file is read before it is another's turn. No line is as long.
MAX_READ_BYTES = 256 * 1024
MAX_HEAD_BYTES = 64 * 1024
MAX_COLUMNS = 1000


def read_rows(
    descriptor: int, position: CsvPosition, found: os.stat_result
) -> tuple[list[Numbers], CsvPosition]:
    """(the numbers of each row that came since a position, the position after them)."""
    head = os.pread(descriptor, MAX_HEAD_BYTES, 0)
    line, separator, _ = head.partition(b"\n")
    columns = columns_of(line) if separator else None
    if columns is None:
        # No table of metrics, or not yet.
        return [], position
    table = Table(columns, position)
    digest = hashlib.sha256(line).hexdigest()[:16]
    is_another = [found.st_dev, found.st_ino] != position[:2] or digest != table.head
    # A line ends before the offset, unless the file was rewritten.
    if is_another or os.pread(descriptor, 1, table.offset - 1) != b"\n":
        table.from_start(digest, len(line) + 1)
    data = os.pread(descriptor, MAX_READ_BYTES, table.offset)
    if not os.pread(descriptor, len(line) + 1, 0) == line + b"\n":
        # It is being rewritten.
        return [], position
    whole = data[: data.rfind(b"\n") + 1]
    if not whole and len(data) >= MAX_READ_BYTES:
        return [], [found.st_dev, found.st_ino, None, *position[3:]]
    rows = [row for row in map(table.take, whole.splitlines()) if row]
    table.offset += len(whole)
    return rows, [found.st_dev, found.st_ino, *table.state()]


class Table:
    """What is known of one file while it is read."""

    def __init__(self, columns: list[str], position: CsvPosition) -> None:
        self.columns = columns
        offset, rows, head, first, skip = (*position[2:], 0, None, None, 0)[:5]
        self.offset, self.rows, self.skip = _int(offset), _int(rows), _int(skip)
        self.head, self.first = head, first

    def state(self) -> list[int | str | None]:
        return [self.offset, self.rows, self.head, self.first, self.skip]

    def from_start(self, head: str, offset: int) -> None:
        """The file was rewritten or is another. Its rows that were taken are skipped, if its first
        row is still the same.
        """
        self.skip += self.rows
        self.rows, self.head, self.offset = 0, head, offset

    def take(self, line: bytes) -> Numbers | None:
        """The numbers of a row; None where it has none, or was taken before."""
        cells = cells_of(line)
        if cells is None or len(cells) != len(self.columns):
            return None
        values = {name: cell for name, cell in zip(self.columns, cells) if name and cell}
        if not self.rows:
            first = hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:16]
            if first != self.first:
                self.first, self.skip = first, 0
        self.rows += 1
        if self.skip:
            self.skip -= 1
            return None
        found = {name: as_number(cell, quoted=True) for name, cell in values.items()}
        numbers = {
            name: number if math.isfinite(number) else None
            for name, number in found.items()
            if number is not None
        }
        return numbers if any(not counts_progress(name) for name in numbers) else None


def _int(value: int | str | None) -> int:
    return value if isinstance(value, int) else 0


def columns_of(line: bytes) -> list[str] | None:
    """The names of the columns; None where a line is not the head of a table of metrics: one column
    counts the steps or epochs, and another has a name.
    """
    cells = cells_of(line)
    if cells is None or len(cells) > MAX_COLUMNS:
        return None
    if any(as_number(cell, quoted=True) is not None for cell in cells):
        return None
    names = [cell if len(cell) <= MAX_NAME_LENGTH else "" for cell in cells]
    counters = [name for name in names if counts_progress(name)]
    others = [name for name in names if name and not counts_progress(name)]
    return names if counters and others else None


def cells_of(line: bytes) -> list[str] | None:
    """The cells of a line of CSV, without the spaces around them; None where it can't be parsed."""
    text = line.decode("utf-8-sig", "replace").rstrip("\r")
    if "\0" in text:
        return None
    if '"' not in text:
        return [cell.strip() for cell in text.split(",")]
    try:
        return [
            cell.strip() for cells in csv.reader([text], skipinitialspace=True) for cell in cells
        ]
    except csv.Error:
        return None

"""Reads a metrics.csv while a training writes it, and writes it anew when it resumes or rolls back."""
import dataclasses
import math
import os

COLUMNS = ("iteration", "kid_train", "kid_test", "seconds_files", "seconds_evaluation", "seconds_iteration")


@dataclasses.dataclass(frozen=True)
class Row:
    """One iteration: its KIDs (nan where the chains were not compared) and its times, s."""
    iteration: int
    kid_train: float = math.nan
    kid_test: float = math.nan
    seconds_files: float = 0.0
    seconds_evaluation: float = 0.0
    seconds_iteration: float = 0.0

    @property
    def seconds(self):
        return self.seconds_files + self.seconds_evaluation + self.seconds_iteration

    @property
    def evaluated(self):
        return not (math.isnan(self.kid_train) and math.isnan(self.kid_test))


class Rows:
    """Each row once. They hold clocks, so that a row that is computed again differs from the one before."""

    def __init__(self, path):
        self.path, self.known = path, set()
        self.inode, self.begin, self.last = None, 0, b""  # where the last line that was read begins
        self.columns = None

    def fresh(self):
        """Those that came since the last call."""
        try:
            with open(self.path, "rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                file.seek(self.begin)
                if inode != self.inode or file.read(len(self.last)) != self.last:  # written anew
                    self.inode, self.begin, self.last, self.columns = inode, 0, b"", None
                    file.seek(0)
                lines = file.read().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        position, found = self.begin + len(self.last), []
        for line in lines:
            if not line.endswith(b"\n"):  # half of it
                break
            self.begin, self.last = position, line
            position += len(line)
            row = self._row(line)
            if row:
                found.append(row)
        return found

    def _row(self, line):
        cells = line.decode("utf-8", "replace").rstrip("\n").split(",")
        if self.columns is None:
            self.columns = [cells.index(name) if name in cells else None for name in COLUMNS]
            return None
        mark = hash(line)
        if mark in self.known:
            return None
        self.known.add(mark)
        try:
            numbers = {name: float(cells[at]) for name, at in zip(COLUMNS, self.columns) if at is not None}
            return Row(int(numbers.pop("iteration")), **numbers)
        except (ValueError, KeyError, IndexError):  # damaged; stanley itself reports it
            return None

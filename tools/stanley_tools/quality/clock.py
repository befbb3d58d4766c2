"""What one seed has cost so far, over all its starts: the file time.json in the seed's folder."""
import fcntl
import math
import socket
import time

from .errors import FailedError
from .files import read_json, write_json

FORMAT = "stanley time to quality of one seed"
NAME = "time.json"
REACHED, MISSED, DIVERGED = "reached", "finished without reaching it", "diverged"


class Clock:
    """Adds up the starts of a seed. Time between them does not count, nor does what a queue takes."""

    def __init__(self, folder):
        self.path = folder / NAME
        self.lock = None
        empty = {"format": FORMAT, "end": None, "reached": None, "last_iteration": 0, "starts": [],
                 "evaluations": []}
        self.told = read_json(self.path, FORMAT, "jobs/time_to_quality.sh") or empty

    # --- a start ----------------------------------------------------------------------------------
    def begin(self, began):
        """A start that began at this moment (s since 1970), which may lie some tenths of a second back."""
        self._lock()
        self.zero = time.monotonic() - max(0.0, time.time() - began)
        self.told["starts"].append({"began": began, "host": socket.gethostname(), "seconds": 0.0, "staging": 0.0,
                                    "unwatched": 0.0, "iterations": 0, "evaluation": 0.0, "joules": None,
                                    "exit_code": None})
        self.now()

    def _lock(self):
        """Refuses a second watcher of the same seed; on a file system without locks the run directory's owner does."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.lock = self.lock or open(self.path.with_name("time.lock"), "w", encoding="utf-8")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FailedError(f"{self.path.parent} is being trained by another process: wait for it, or end it")
        except OSError:
            pass

    @property
    def start(self):
        return self.told["starts"][-1]

    def now(self):
        """Brings the start's clock up to now; returns the seconds of all starts."""
        self.start["seconds"] = time.monotonic() - self.zero + self.start["unwatched"]
        return self.total("seconds")

    def left_behind(self, rows, target):
        """Rows of the start before that nobody has seen, since its watcher was killed: their own clocks count."""
        for row in rows:
            if row.iteration > self.told["last_iteration"]:
                self.start["unwatched"] += row.seconds
                self._note(row, self.now(), target)

    def computed(self, rows, target):
        """Counts iterations, and notes evaluations: each at its own moment, where several came at once."""
        now = self.now()
        later = sum(row.seconds for row in rows)
        for row in rows:
            later -= row.seconds
            self._note(row, now - later, target)

    def _note(self, row, seconds, target):
        self.start["iterations"] += 1
        self.start["evaluation"] += row.seconds_evaluation
        self.told["last_iteration"] = row.iteration
        if not row.evaluated or self.told["reached"]:
            return
        told = {"iteration": row.iteration, "seconds": seconds, "kid_train": number(row.kid_train),
                "kid_test": number(row.kid_test)}
        self.told["evaluations"].append(told)
        if target.reached(getattr(row, target.column)):
            self.told["reached"] = {**told, "iterations_computed": self.total("iterations"),
                                    "seconds_staging": self.total("staging"),
                                    "seconds_evaluation": self.total("evaluation"), "joules": self.joules()}
            self.told["end"] = REACHED

    # --- sums over starts ---------------------------------------------------------------------------
    def total(self, name):
        return sum(start[name] for start in self.told["starts"])

    def joules(self):
        """By part; None where a start has none."""
        starts = [start["joules"] or {} for start in self.told["starts"]]
        return {name: sum(start[name] for start in starts) if all(start.get(name) is not None for start in starts)
                and starts else None for name in ("processors", "gpus")}

    def save(self):
        write_json(self.path, self.told)


def number(value):
    return None if math.isnan(value) else value

"""Runs one start of a training beside a clock, and stops it when it has reached the target."""
import ctypes
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

from .clock import DIVERGED, MISSED, REACHED, Clock
from .energy import Meters
from .errors import FailedError
from .rows import Rows

LOOK, SAVE = 0.1, 1.0  # s: between looks at metrics.csv; between readings of the counters
ASK_AGAIN = 30.0  # s: after which a training that does not stop is asked again
FINISHED_CODE, DIVERGED_CODE = 0, 4  # of stanley
PR_SET_PDEATHSIG = 1
CONVERT = pathlib.Path(__file__).resolve().parents[2] / "convert_images.py"


def dies_with_its_watcher():
    """A training whose watcher is killed writes a checkpoint and ends: nobody would stop it, or see its time."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGUSR1)


def exit_code(code):
    return 128 - code if code < 0 else code


class Watch:
    """One start of one seed; `run` is the run directory, whose metrics.csv is read."""

    def __init__(self, folder, run, target, began):
        self.clock, self.target = Clock(folder), target
        self.rows, self.child, self.asked_at = Rows(run / "metrics.csv"), None, None
        self.interrupted = False
        if self.done:
            return
        self.clock.begin(began)
        self.meters = Meters(int(os.environ.get("SLURM_JOB_NUM_NODES", 1)))
        self.clock.left_behind(self.rows.fresh(), target)
        self._save()

    @property
    def done(self):
        return self.clock.told["end"] is not None

    # --- signals --------------------------------------------------------------------------------------
    def listen(self):
        for name in ("INT", "TERM", "USR1", "USR2"):
            signal.signal(getattr(signal, f"SIG{name}"), self._hand_on)

    def _hand_on(self, number, _):
        """TERM and INT become USR1, since mpirun ends its ranks at once where it gets those."""
        self.interrupted = self.interrupted or number != signal.SIGUSR2
        if self.child:
            self.child.send_signal(number if number == signal.SIGUSR2 else signal.SIGUSR1)

    # --- staging ----------------------------------------------------------------------------------------
    def stage(self, source, convert, path):
        """Makes `path` anew from pictures, or as a copy of `source`, where it isn't there yet."""
        if path.is_file():
            return
        draft = path.with_name(path.name + ".part")
        if convert:
            command = [sys.executable, CONVERT, *shlex.split(convert), "--output", draft]
        else:
            command = ["cp", source, draft]
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)
        code = self._run(command, reads=False)
        self.clock.start["staging"] = self.clock.start["seconds"]
        self._save()
        if self.interrupted:
            sys.exit(85)
        if code != 0:
            raise FailedError(f"'{shlex.join(map(str, command))}' ended with {code}: see above")
        draft.rename(path)

    # --- the training -------------------------------------------------------------------------------
    def train(self, command):
        """Returns 0 where the target is reached, else the training's exit code."""
        if not self.done:
            code = self._run(command, reads=True, preexec_fn=dies_with_its_watcher)
            self.clock.start["exit_code"] = code
            if not self.clock.told["end"] and code in (FINISHED_CODE, DIVERGED_CODE):
                self.clock.told["end"] = MISSED if code == FINISHED_CODE else DIVERGED
            self._save()
        return 0 if self.clock.told["end"] == REACHED else self.clock.start["exit_code"]

    def _run(self, command, reads, **more):
        try:
            self.child = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, **more)
        except OSError as error:
            raise FailedError(f"{command[0]} can't be started: {error.strerror}")
        if self.interrupted:  # before there was a child to tell
            self.child.send_signal(signal.SIGUSR1)
        saved = time.monotonic()
        while True:
            ended = self.child.poll() is not None  # before the last look
            if reads:
                self._look()
            if ended:
                break
            if time.monotonic() - saved >= SAVE:
                self._save()
                saved = time.monotonic()
            try:
                self.child.wait(LOOK)
            except subprocess.TimeoutExpired:
                pass
        code, self.child = exit_code(self.child.returncode), None
        self._save()
        return code

    def _look(self):
        fresh = self.rows.fresh()
        if any(row.evaluated for row in fresh):
            self._read_meters()
            self.clock.computed(fresh, self.target)
            self._save()
        elif fresh:
            self.clock.computed(fresh, self.target)
        if self.done:
            self._ask_to_stop()

    def _ask_to_stop(self):
        now = time.monotonic()
        if self.asked_at is None or now - self.asked_at >= ASK_AGAIN:
            self.asked_at = now
            self.child.send_signal(signal.SIGUSR1)

    def _read_meters(self):
        self.clock.start["joules"] = self.meters.read()

    def _save(self):
        self._read_meters()
        self.clock.now()
        self.clock.save()

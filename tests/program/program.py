"""Runs the real program, alone or under mpirun, and reads what it leaves behind."""
import csv
import functools
import os
import pathlib
import re
import signal
import subprocess
import time

import h5py
import numpy

PROGRAM = os.environ["STANLEY_PROGRAM"]
ROOT = pathlib.Path(__file__).resolve().parents[2]
SMOKE = ROOT / "configs" / "smoke.yaml"
MPIRUN = os.environ.get("STANLEY_TEST_MPIRUN", "mpirun")  # of the MPI that the program was built with

FINISHED, CONFIGURATION, ENVIRONMENT, INPUT_OUTPUT, REQUEUE = 0, 2, 3, 5, 85

# Seconds. Nothing here may hang: a test that waits longer fails, also on a machine with much else to do.
LIMIT = 240
CLOCK_COLUMNS = 9  # the last of metrics.csv

# Draw files aside, which only some tests look at; the 0.5 quantile makes the gain act in the plane.
QUICK = {"samples.every": "null", "sampler.threshold": "{quantile: 0.5}"}


def settings(values):
    """{"run.seed": 2} as the program's arguments."""
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


def train(directory, values=(), config=SMOKE, *more):
    """The arguments of a training in `directory`."""
    return ["train", config, "--run-directory", directory, *settings({**QUICK, **dict(values)}), *more]


@functools.cache
def version_of_mpirun():
    return subprocess.run([MPIRUN, "--version"], capture_output=True, text=True).stdout


def is_mpich():
    """Is mpirun MPICH's? It knows none of Open MPI's options, and tells a killed rank by another exit code."""
    return "HYDRA" in version_of_mpirun()


def without_words_of_mpirun(text):
    """What the ranks said: since Open MPI 5, mpirun has no option to leave out its own boxes."""
    if not re.search(r"\(Open MPI\) ([5-9]|\d\d)", version_of_mpirun()):
        return text
    return re.sub(r"^-{70,}\n.*?^-{70,}\n", "", text, flags=re.MULTILINE | re.DOTALL)


def mpirun():
    return [MPIRUN] if is_mpich() else [MPIRUN, "--oversubscribe"]


def launched(command, ranks):
    launcher = [*mpirun(), "-n", ranks] if ranks > 1 else []
    return [str(part) for part in [*launcher, *command]]


def code_of_killed_rank(number):
    """mpirun's exit code where this signal ended a rank."""
    return int(number) if is_mpich() else 128 + number


def environment(**more):
    """This process's, with what lets mpirun start and keeps ranks to one thread."""
    base = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMPI_MCA_orte_execute_quiet": "1", "OMPI_MCA_hwloc_base_binding_policy": "none", "OMPI_MCA_mpi_yield_when_idle": "1",
            "OMP_NUM_THREADS": "1", "STANLEY_MPIRUN": MPIRUN}
    return {**base, **os.environ, **more}


def faults(library, directory, log, rank=0, **more):
    """Variables that have faults.c, built as `library`, look at the calls of `rank`; more=... as it says."""
    return {"LD_PRELOAD": str(library), "STANLEY_FAULT_DIRECTORY": os.path.realpath(directory),
            "STANLEY_FAULT_RANK": str(rank), "STANLEY_FAULT_LOG": str(log),
            **{f"STANLEY_FAULT_{name.upper()}": str(value) for name, value in more.items()}}


def spoils(library, directory, rank, call, kind, log):
    """What goes before the program to have faults.c spoil the `call`-th call of `rank`."""
    return with_variables(faults(library, directory, log, rank, call=call, kind=kind))


def with_variables(variables):
    """What goes before the program, for mpirun not to have these variables itself."""
    return ["env", *(f"{name}={value}" for name, value in variables.items())]


class Process:
    """A started program; whatever of it still runs is killed at the end of the `with` block."""

    def __init__(self, command, limit=LIMIT, **variables):
        self.deadline = time.monotonic() + limit
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        errors="replace", env=environment(**variables),
                                        start_new_session=True)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        # Before mpirun goes: it puts each rank into a process group of its own.
        for process in [*self.descendants(self.process.pid), self.process.pid]:
            if self.process.poll() is None:
                kill(process, signal.SIGKILL)
        self.process.communicate()

    def finish(self):
        """Waits for the end; the result as of subprocess.run()."""
        out, err = self.process.communicate(timeout=max(1, self.deadline - time.monotonic()))
        return subprocess.CompletedProcess(self.process.args, self.process.returncode, out, without_words_of_mpirun(err))

    @classmethod
    def descendants(cls, process):
        children = []
        for task in pathlib.Path(f"/proc/{process}/task").glob("*/children"):
            try:
                children += [int(child) for child in task.read_text().split()]
            except OSError:  # it ended meanwhile
                continue
        return children + [child for parent in children for child in cls.descendants(parent)]

    def ranks(self):
        """Process numbers of the ranks, in the order in which they were started."""
        binary = pathlib.Path(PROGRAM).resolve()
        processes = [self.process.pid, *self.descendants(self.process.pid)]
        return sorted(process for process in processes if executable(process) == binary)

    def wait_for(self, condition, what):
        while not condition():
            assert self.process.poll() is None, f"ended before {what}: {self.process.stderr.read()}"
            assert time.monotonic() < self.deadline, f"no {what} in time"
            time.sleep(0.005)


def executable(process):
    try:
        return pathlib.Path(os.readlink(f"/proc/{process}/exe"))
    except OSError:
        return None


def kill(process, number):
    try:
        os.kill(process, number)
    except ProcessLookupError:
        pass


def run(*arguments, ranks=1, limit=LIMIT, **variables):
    with Process(launched([PROGRAM, *arguments], ranks), limit, **variables) as process:
        return process.finish()


# Of a library's inside, and what only a bug of ours says.
NEVER_SHOWN = ("HDF5-DIAG", "Exception raised from", "frame #", "terminate called", "what():", "Traceback",
               "Backtrace", "MPI_ABORT", "Signal:", "please report this bug", "std::")


def ends(result, code):
    """Checks the exit code, and that nobody sees what nobody should; returns the result."""
    assert result.returncode == code, f"exit {result.returncode}\n{result.stdout}\n{result.stderr}"
    for text in NEVER_SHOWN:
        assert text not in (result.stdout or "") + (result.stderr or ""), f"{text} in {result.stderr}"
    return result


def trains(directory, values=(), config=SMOKE, *more, ranks=1, code=FINISHED):
    return ends(run(*train(directory, values, config, *more), ranks=ranks), code)


# --- files of a run -------------------------------------------------------------------------------
def checkpoint(directory, iteration):
    return pathlib.Path(directory) / "checkpoints" / f"iteration-{iteration:08}.h5"


def draws(directory, iteration):
    return pathlib.Path(directory) / "samples" / f"draws-{iteration:08}.nc"


def arrays(path):
    """Every array of an HDF5 file, by name."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def attributes(path, group):
    with h5py.File(path) as file:
        return dict(file[group].attrs)


def same_bits(one, other):
    """Are all arrays of two checkpoints, and their progress, bitwise equal? But for where the run was planned
    to end: tests cut runs by run.iterations."""
    left, right = arrays(one), arrays(other)
    assert left.keys() == right.keys() and {"chains/state", "chains/age"} <= left.keys()
    for name in left:
        assert left[name].dtype == right[name].dtype and left[name].shape == right[name].shape, name
        assert left[name].tobytes() == right[name].tobytes(), f"{name} differs in {one} and {other}"
    left, right = attributes(one, "progress"), attributes(other, "progress")
    assert left.keys() == right.keys() and left.keys() >= {"iteration", "attempt", "samples_seen"}
    for name in left.keys() - {"schedule_end"}:
        assert numpy.asarray(left[name]).tobytes() == numpy.asarray(right[name]).tobytes(), name


def metrics(directory):
    """The rows of metrics.csv as texts, heading first, without the columns that depend on clocks."""
    with open(pathlib.Path(directory) / "metrics.csv", newline="") as file:
        return [row[:-CLOCK_COLUMNS] for row in csv.reader(file)]


def iterations_recorded(directory):
    return [int(row[0]) for row in metrics(directory)[1:]]


def rows_so_far(directory):
    """How many iterations a living run has recorded."""
    try:
        return max(0, (pathlib.Path(directory) / "metrics.csv").read_text().count("\n") - 1)
    except FileNotFoundError:
        return 0


def unfinished(directory):
    """What a cut-off writer would have left: parts of files, and the mark of a living owner."""
    return [path for pattern in ("*.part*", "owner.json") for path in pathlib.Path(directory).rglob(pattern)]

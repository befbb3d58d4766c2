"""Calls on files that fail, or kill the writer, in the middle of the commit protocol: design §7.

faults.c, loaded into the ranks, counts the calls and spoils one. Whichever it is, the run goes on and
is right, or ends as documented; every file with a final name is sound, and the same command goes on.
STANLEY_FAULT_PLACES: how many calls of each kind of fault on each rank (beside those of ALWAYS), spread
over what calls do; 99 is one of everything (15 minutes), "all" is every call (hours).
"""
import json
import os
import random
import re
import shutil
import signal
import subprocess
import traceback

import pytest

from digests import wrong_arrays
from program import (FINISHED, INPUT_OUTPUT, LIMIT, PROGRAM, Process, arrays, checkpoint, code_of_killed_rank, ends,
                     faults, is_mpich, launched, metrics, run, same_bits, settings, spoils, train, trains,
                     unfinished, with_variables)

LENGTH = 6
# With keep_last: 1 each new checkpoint makes the one before go, that of iteration 0 aside.
VALUES = {"run.iterations": LENGTH, "checkpoint.every": 2, "checkpoint.keep_last": 1, "run.reproducible": "true",
          "samples.every": 3}
RANKS = 2
KINDS = ("kill", "EIO", "ENOSPC", "full")
PLACES = os.environ.get("STANLEY_FAULT_PLACES", "2")
# Calls that are spoiled in every case: a pattern, and which of those that match it.
ALWAYS = {
    ("kill", 0): {"link owner": 0, "fallocate samples/draws-00000000": 0, "write run.json": -1,
                  "remove .*iteration": 0},
    ("kill", 1): {"pwrite checkpoints": -1},
    ("EIO", 0): {"fsync checkpoints/iteration-00000000": 0, "remove .*iteration": 0},
    ("EIO", 1): {"pwrite checkpoints": -1},
    ("ENOSPC", 1): {"pwritev? samples": 0},
    ("full", 0): {"write config": 0, "fallocate checkpoints": -1},
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("undisturbed") / "run"
    trains(directory, VALUES)
    return directory


@pytest.fixture(scope="module")
def calls(tmp_path_factory, library):
    """The calls of each rank in a run without faults, as "function path"."""
    found = []
    for rank in range(RANKS):
        folder = tmp_path_factory.mktemp("calls")
        ends(spoiled(folder / "run", library, rank, 0, "", folder / "log"), FINISHED)
        found.append(calls_in(folder))
    writes = {"pwrite"} if is_mpich() else {"pwrite", "pwritev"}  # as its MPI-IO does
    assert writes | {"write", "fallocate", "fsync", "rename", "close", "link", "symlink",
                     "remove"} <= {call.split()[0] for call in found[0]}
    assert writes | {"close"} <= {call.split()[0] for call in found[1]}
    return found


def calls_in(folder):
    """What faults.c noted of the run in `folder`."""
    return [line.replace(f"{folder}/run/", "") for line in (folder / "log").read_text().splitlines()]


def spoiled(directory, library, rank, call, kind, log):
    """Runs with the `call`-th call of `rank` spoiled."""
    os.makedirs(os.path.dirname(directory), exist_ok=True)
    variables = spoils(library, directory, rank, call, kind, log)
    with Process(launched([*variables, PROGRAM, *train(directory, VALUES)], RANKS), LIMIT) as process:
        return process.finish()


def group_of(call):
    """Calls of one group do the same to the same kind of file."""
    return re.sub(r"[0-9]{8}|owner-.*?\.part", "*", call)


def chosen(calls, kind, rank):
    """Numbers of the calls to spoil: spread over all groups of calls, each at a random one of its calls."""
    if PLACES == "all":
        return range(1, len(calls) + 1)
    generator = random.Random(f"{kind} {rank}")
    groups = {}
    for number, call in enumerate(calls, 1):
        groups.setdefault(group_of(call), []).append(number)
    numbers = [generator.choice(group) for group in groups.values()]
    always = [[number for number, call in enumerate(calls, 1) if re.match(pattern, call)][which]
              for pattern, which in ALWAYS.get((kind, rank), {}).items()]
    return sorted({*always, *generator.sample(numbers, min(int(PLACES), len(numbers)))})


def sound_checkpoints(directory):
    """Iterations of the checkpoints with a final name, all of which must be sound."""
    paths = sorted((directory / "checkpoints").glob("iteration-*.h5"))
    assert {path: wrong_arrays(path) for path in paths} == {path: [] for path in paths}
    return [int(path.stem.split("-")[1]) for path in paths]


def ended_as_documented(result, failed):
    """Exit 5 with one message that names one of the files in question."""
    ends(result, INPUT_OUTPUT)
    messages = [line for line in result.stderr.splitlines() if line.startswith("stanley: ")]
    assert len(messages) == 1, f"not one message: {result.stderr}\n{result.stdout}"
    names = [os.path.basename(call.split()[1]).split(".part")[0] for call in failed]
    assert any(name in messages[0] for name in names), f"{messages[0]} doesn't name {' or '.join(names)}"


def same_draws(one, other, but=()):
    names = [sorted(path.name for path in (directory / "samples").iterdir()) for directory in (one, other)]
    assert names[0] == names[1] or but, f"draws {names[1]}, not {names[0]}"
    assert set(names[0]) - set(names[1]) <= set(but)
    for name in set(names[0]) & set(names[1]):
        left, right = (arrays(directory / "samples" / name) for directory in (one, other))
        assert left.keys() == right.keys() and all(left[key].tobytes() == right[key].tobytes() for key in left)


def written_again(result):
    """Draw files that failed, and whose chains had moved on when they were written again."""
    return [name for line in result.stdout.splitlines() if "are written again" in line
            for name in re.findall(r"draws-\d+\.nc", line)]


def right_in_the_end(directory, undisturbed, but=()):
    same_bits(checkpoint(undisturbed, LENGTH), checkpoint(directory, LENGTH))
    assert metrics(directory) == metrics(undisturbed)
    same_draws(undisturbed, directory, but)
    assert (directory / "DONE").exists() and unfinished(directory) == []
    assert json.loads((directory / "run.json").read_text())["verdict"] == "finished"


def check(directory, result, undisturbed, kind, calls):
    """Is what a spoiled start left right, and does the next start make of it what it should be?"""
    assert "HDF5-DIAG" not in result.stdout + result.stderr
    left = sound_checkpoints(directory)
    spoilt = [number for number, call in enumerate(calls) if call.startswith("spoiled ")]
    before = calls[:spoilt[0] - 1] if spoilt else calls  # the line before "spoiled" is of the same call
    published = any(call.startswith("rename checkpoints/iteration") for call in before)
    assert left or not published, "no checkpoint is left"
    if result.returncode == FINISHED:
        # An error that harms nothing may be passed over; so may one that a run never came to.
        assert kind != "kill" or not spoilt
        right_in_the_end(directory, undisturbed, written_again(result))
    elif kind == "kill":
        assert result.returncode == code_of_killed_rank(signal.SIGKILL), f"exit {result.returncode}\n{result.stderr}"
    else:
        # On a full disk the first call may be one whose failure harms nothing.
        failed = [calls[number].removeprefix("spoiled ") for number in spoilt]
        taking_room = [call for call in failed if call.split()[0] not in ("close", "unlink", "remove")]
        # The first failure is passed over; the second one in a row may be another file's.
        ended_as_documented(result, failed[:1] + taking_room)
    resumed = ends(run(*train(directory, VALUES)), FINISHED)
    assert "passed over" not in resumed.stdout
    assert {0, LENGTH} <= set(sound_checkpoints(directory))
    right_in_the_end(directory, undisturbed, written_again(result))


@pytest.mark.parametrize("rank", range(RANKS))
@pytest.mark.parametrize("kind", KINDS)
def test_spoiled_call(tmp_path, library, undisturbed, calls, kind, rank):
    problems = {}
    for number in chosen(calls[rank], kind, rank):
        folder = tmp_path / str(number)
        try:
            result = spoiled(folder / "run", library, rank, number, kind, folder / "log")
            check(folder / "run", result, undisturbed, kind, calls_in(folder))
            shutil.rmtree(folder)
        except subprocess.TimeoutExpired:
            problems[f"call {number}, {calls[rank][number - 1]}"] = "hung"
        except AssertionError as problem:
            what = str(problem) or traceback.format_exc(limit=-2)
            problems[f"call {number}, {calls[rank][number - 1]}"] = what
    assert not problems, "\n\n".join(f"{call}: {problem}" for call, problem in problems.items())


@pytest.mark.parametrize("which", [0, -1])
def test_a_file_system_without_fallocate(tmp_path, library, calls, which):
    """NFS before 4.2 and many others have none: the length is set, and no block is written for it."""
    number = [number for number, call in enumerate(calls[0], 1) if call.startswith("fallocate checkpoints")][which]
    result = spoiled(tmp_path / "run", library, 0, number, "EOPNOTSUPP", tmp_path / "log")
    ends(result, FINISHED)
    assert sound_checkpoints(tmp_path / "run")
    after = (tmp_path / "log").read_text().splitlines()
    place = next(i for i, line in enumerate(after) if line.startswith("spoiled fallocate"))
    assert not after[place + 1].startswith("pwrite"), after[place:place + 3]


def test_a_file_server_that_stumbles_takes_no_directory_away(tmp_path, library):
    """The owner file that can't be read for a moment is still this run's; so is the directory."""
    directory, log = tmp_path / "run", tmp_path / "log"
    result = run(*train(directory, VALUES), **faults(library, directory, log, reads=3))
    ends(result, FINISHED)
    assert log.read_text().count("spoiled read") == 3
    assert json.loads((directory / "run.json").read_text())["verdict"] == "finished"


def with_faults(variables, command, ranks):
    with Process(launched([*with_variables(variables), PROGRAM, *command], ranks), LIMIT) as process:
        return process.finish()


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_file_system_without_locks(tmp_path, library, convnet, ranks):
    """HDF5 asks for none: as on Lustre without flock, in all that the program reads and writes."""
    directory, log = tmp_path / "run", tmp_path / "log"
    variables = faults(library, directory, log, locks=1)
    commands = [train(directory, {"run.iterations": 2, "samples.every": 2}, convnet)]
    if ranks == 1:
        commands += [["inspect", directory], ["sample", checkpoint(directory, 2), *settings({"sampler.steps": 1}),
                                              "--output", tmp_path / "draws.nc"]]
    for command in commands:
        ends(with_faults(variables, command, ranks), FINISHED)
    assert "flock" not in log.read_text()
    # What this looks at: HDF5 that is made to lock finds no locks.
    result = run("inspect", checkpoint(directory, 2), HDF5_USE_FILE_LOCKING="TRUE", **variables)
    assert result.returncode == INPUT_OUTPUT and "spoiled flock" in log.read_text()
    assert "No locks available" in result.stdout + result.stderr


@pytest.mark.parametrize("ranks, call, kind, says", [
    (1, "write .*run.json", "EIO", "Input/output error"),
    (1, "fsync .*metrics.csv", "ENOSPC", "No space left on device; free some space"),
    (2, "fsync checkpoints/iteration", "EIO", "Input/output error")])
def test_a_call_that_fails_tells_the_systems_words(tmp_path, library, ranks, call, kind, says):
    for folder, chosen in ((tmp_path / "all", 0), (tmp_path / "spoiled", None)):
        folder.mkdir()
        if chosen is None:
            chosen = next(number for number, one in enumerate(calls_in(tmp_path / "all"), 1) if re.match(call, one))
        variables = faults(library, folder / "run", folder / "log", call=chosen, kind=kind)
        result = with_faults(variables, train(folder / "run", {"run.iterations": 2}), ranks)
    ended_as_documented(result, [calls_in(tmp_path / "all")[chosen - 1]])
    assert says in result.stderr and ("free some space" in result.stderr) == (kind == "ENOSPC")

"""A run that hangs ends: design §8."""
import fcntl
import json
import os
import pathlib
import signal
import time

import pytest

from program import PROGRAM, Process, checkpoint, is_mpich, kill, launched, rows_so_far, spoils, train, trains

COMMUNICATION = 6
VALUES = {"run.iterations": 100000, "watchdog.seconds": 5, "checkpoint.every": 50, "checkpoint.seconds": "null",
          "log.every": 1000}


@pytest.mark.parametrize("which", [0, 1, 2])
def test_stopped_rank_ends_the_run(tmp_path, which):
    """Rank 1 or 2 stopped: rank 0 names it. Rank 0 stopped: the others tell that it is silent."""
    directory = tmp_path / "run"
    with Process(launched([PROGRAM, *train(directory, VALUES)], 3)) as process:
        process.wait_for(lambda: rows_so_far(directory) >= 20, "iteration 20")
        ranks = process.ranks()
        assert len(ranks) == 3
        kill(ranks[which], signal.SIGSTOP)
        result = process.finish()
    assert result.returncode == COMMUNICATION, result.stderr
    if which == 0:
        assert "rank 0, which should have told, is silent" in result.stderr
        return
    message = said_of_the_hang(directory)
    assert all(f"rank {rank} on " in message for rank in range(3))
    assert message.count("is silent, last seen in '") == 1 and f"rank {which} on" in message.split("is silent")[0][-20:]


def said_of_the_hang(directory):
    """What run.json and the log tell."""
    said = json.loads((directory / "run.json").read_text())
    assert said["verdict"] == "communication" and said["exit_code"] == COMMUNICATION
    message = said["stops"][-1]["message"]
    assert "no progress for 5 s" in message and message in (directory / "log.txt").read_text()
    return message


def test_rank_that_spins_ends_the_run(tmp_path, library):
    """Its other threads live and it takes processor time, but its chains don't move."""
    directory = tmp_path / "run"
    variables = spoils(library, directory, 1, 0, "", tmp_path / "calls")
    with Process(launched([*variables, PROGRAM, *train(directory, VALUES)], 2)) as process:
        process.wait_for(lambda: rows_so_far(directory) >= 20, "iteration 20")
        kill(process.ranks()[1], signal.SIGWINCH)
        result = process.finish()
    assert result.returncode == COMMUNICATION, result.stderr
    message = said_of_the_hang(directory)
    # MPICH has one lock: where the rank spins inside a call, no thread of it can say that it lives.
    assert "rank 1 on " in message and (is_mpich() or "is silent" not in message)


@pytest.mark.parametrize("rank, call", [(0, 300), (1, 40)])
def test_rank_stuck_in_a_file_ends_the_run(tmp_path, library, rank, call):
    """Writes that never return, as on a file server that went away; on rank 0 the heartbeat's and run.json's too."""
    directory, calls = tmp_path / "run", tmp_path / "calls"
    variables = spoils(library, directory, rank, call, "hang", calls)
    with Process(launched([*variables, PROGRAM, *train(directory, VALUES)], 2)) as process:
        result = process.finish()
    assert result.returncode == COMMUNICATION, result.stderr
    told = result.stderr
    assert "no progress for 5 s" in told and f"rank {rank} on " in told and "in 'waiting for files'" in told
    assert "is silent" not in told
    if rank == 1:
        assert said_of_the_hang(directory) in told
    written = next(line.split()[2] for line in calls.read_text().splitlines() if line.startswith("spoiled"))
    assert ".part." in written and not pathlib.Path(written.split(".part.")[0]).exists()
    assert checkpoint(directory, 0).exists()


def test_a_log_that_hangs_ends_one_rank(tmp_path):
    """Alone, a rank has nobody who ends it: it must not wait for its log while it ends itself."""
    directory = tmp_path / "run"
    directory.mkdir()
    os.mkfifo(directory / "log.txt")
    reader = os.open(directory / "log.txt", os.O_RDONLY | os.O_NONBLOCK)  # and never reads
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    with Process([PROGRAM, *map(str, train(directory, {**VALUES, "log.every": 1}))]) as process:
        result = process.finish()
    os.close(reader)
    assert result.returncode == COMMUNICATION, result.stderr
    assert "no progress for 5 s: rank 0 on " in result.stderr


def test_goes_on_after_a_hang(tmp_path):
    directory = tmp_path / "run"
    with Process(launched([PROGRAM, *train(directory, VALUES)], 2)) as process:
        process.wait_for(checkpoint(directory, 50).exists, "checkpoint of iteration 50")
        kill(process.ranks()[1], signal.SIGSTOP)
        assert process.finish().returncode == COMMUNICATION
    recorded = rows_so_far(directory)
    trains(directory, {**VALUES, "run.iterations": recorded + 20}, ranks=2)
    starts = json.loads((directory / "run.json").read_text())["starts"]
    assert starts[1]["iteration"] >= 50 and starts[1]["iteration"] % 50 == 0


def test_short_stop_is_no_hang(tmp_path):
    """Stopped for less than the limit and continued: the run goes on as if nothing had been."""
    directory = tmp_path / "run"
    values = {**VALUES, "run.iterations": 400, "watchdog.seconds": 20}
    with Process(launched([PROGRAM, *train(directory, values)], 2)) as process:
        process.wait_for(lambda: rows_so_far(directory) >= 10, "iteration 10")
        rank = process.ranks()[1]
        kill(rank, signal.SIGSTOP)
        time.sleep(2)
        kill(rank, signal.SIGCONT)
        assert process.finish().returncode == 0

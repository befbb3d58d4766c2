"""A run that hangs ends: design §8."""
import json
import signal
import time

import pytest

from program import PROGRAM, Process, checkpoint, kill, launched, rows_so_far, train, trains

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
        began = time.monotonic()
        result = process.finish()
        assert time.monotonic() - began < 30
    assert result.returncode == COMMUNICATION, result.stderr
    if which == 0:
        assert "rank 0, which should have told, is silent" in result.stderr
        return
    said = json.loads((directory / "run.json").read_text())
    assert said["verdict"] == "communication" and said["exit_code"] == COMMUNICATION
    message = said["stops"][-1]["message"]
    assert "no progress for 5 s" in message and all(f"rank {rank} on " in message for rank in range(3))
    assert message.count("is silent, last seen in '") == 1 and f"rank {which} on" in message.split("is silent")[0][-20:]
    assert message in (directory / "log.txt").read_text()


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

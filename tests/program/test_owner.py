"""A run directory belongs to one living run: who gets it, who is refused, and who notices a loss."""
import json
import os
import signal
import time

import pytest

from program import (FINISHED, INPUT_OUTPUT, PROGRAM, REQUEUE, SMOKE, Process, ends, iterations_recorded, kill,
                     launched, rows_so_far, run, train, trains, unfinished)
from refusals import LIMIT, refused

ENDLESS = {"run.iterations": 1000000, "checkpoint.every": "null"}
ELSEWHERE = {"token": "x", "host": "another.host", "process": 17, "process_start": "123", "job": "77",
             "restart_count": 0}


def living(directory, values=(), ranks=1):
    """A run that goes on until it is stopped."""
    return Process(launched([PROGRAM, *train(directory, {**ENDLESS, **dict(values)})], ranks), LIMIT)


def goes(process, directory, rows=5):
    process.wait_for(lambda: rows_so_far(directory) >= rows, "iterations")


def owned_elsewhere(directory, age):
    """The directory of a run on another host, whose heart beat so many seconds ago."""
    directory.mkdir(exist_ok=True)
    file = directory / "owner.json"
    file.write_text(json.dumps(ELSEWHERE))
    os.utime(file, (time.time() - age,) * 2)
    return file


def owner_process(directory):
    try:
        return json.loads((directory / "owner.json").read_text())["process"]
    except FileNotFoundError:
        return None


def files(directory):
    """All that a refused run must not change, with the times of their last changes."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns)
            for path in directory.rglob("*") if path.is_file()}


def test_living_run_is_left_alone(tmp_path):
    """Stopped, it writes nothing itself; and it owns its directory all the same."""
    with living(tmp_path / "run") as first:
        goes(first, tmp_path / "run")
        kill(first.process.pid, signal.SIGSTOP)
        os.utime(tmp_path / "run" / "owner.json", (1, 1))
        before = files(tmp_path / "run")
        result = run(*train(tmp_path / "run", ENDLESS), limit=LIMIT)
        refused(result, INPUT_OUTPUT, tmp_path / "run", f"in use by process {first.process.pid} on",
                "heartbeat", "--run-directory", "--take-over")
        assert files(tmp_path / "run") == before
        kill(first.process.pid, signal.SIGCONT)
        kill(first.process.pid, signal.SIGUSR1)
        ends(first.finish(), REQUEUE)
    recorded = iterations_recorded(tmp_path / "run")
    assert recorded == list(range(1, recorded[-1] + 1)) and not unfinished(tmp_path / "run")


def test_take_over_displaces_a_living_run(tmp_path):
    """The displaced run notices before its next checkpoint gets its name, and adds no row."""
    directory = tmp_path / "run"
    with living(directory, {"checkpoint.every": 200, "checkpoint.keep_last": 99}) as first:
        goes(first, directory, 210)
        kill(first.process.pid, signal.SIGSTOP)
        trains(directory, {"run.iterations": 205, "checkpoint.every": 200}, SMOKE, "--take-over")
        before = files(directory)
        kill(first.process.pid, signal.SIGCONT)
        refused(first.finish(), INPUT_OUTPUT, directory, "another run has taken")
    after = files(directory)
    del before[directory / "log.txt"], after[directory / "log.txt"]  # both speak there
    assert after == before
    assert iterations_recorded(directory) == list(range(1, 206)) and not unfinished(directory)
    assert json.loads((directory / "run.json").read_text())["verdict"] == "finished"


def test_killed_run_is_replaced_without_asking(tmp_path):
    directory = tmp_path / "run"
    for ranks in (1, 2):
        with living(directory, ranks=ranks) as process:
            process.wait_for(lambda: owner_process(directory) in process.ranks(), "an owner")
            kill(owner_process(directory), signal.SIGKILL)
            process.finish()
    assert (directory / "owner.json").exists()
    trains(directory)
    assert iterations_recorded(directory) == list(range(1, 31)) and not unfinished(directory)


def test_owner_on_another_host_is_judged_by_its_heartbeat(tmp_path):
    owner = owned_elsewhere(tmp_path / "run", age=60)
    before = files(tmp_path / "run")
    result = run(*train(tmp_path / "run"), limit=LIMIT)
    refused(result, INPUT_OUTPUT, tmp_path / "run", "process 17 on another.host, job 77",
            "heartbeat was")
    assert files(tmp_path / "run") == before
    os.utime(owner, (time.time() - 200,) * 2)
    trains(tmp_path / "run")
    assert not unfinished(tmp_path / "run")


def test_requeued_job_takes_its_directory(tmp_path):
    owned_elsewhere(tmp_path / "run", age=0)
    other_step = run(*train(tmp_path / "run"), limit=LIMIT, SLURM_JOB_ID="77", SLURM_RESTART_COUNT="0")
    refused(other_step, INPUT_OUTPUT, tmp_path / "run", "in use")
    ends(run(*train(tmp_path / "run"), limit=LIMIT, SLURM_JOB_ID="77", SLURM_RESTART_COUNT="1"), FINISHED)
    assert not unfinished(tmp_path / "run")


def test_directory_of_a_job_that_has_ended_is_free(tmp_path):
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\necho RUNNING\n")
    squeue.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    owned_elsewhere(tmp_path / "run", age=0)
    refused(run(*train(tmp_path / "run"), limit=LIMIT, PATH=path), INPUT_OUTPUT, tmp_path / "run", "job 77")
    squeue.write_text("#!/bin/sh\necho CANCELLED\n")
    ends(run(*train(tmp_path / "run"), limit=LIMIT, PATH=path), FINISHED)


@pytest.mark.parametrize("ranks", [1, 2])
def test_run_at_work_that_lost_its_directory_stops_by_itself(tmp_path, ranks):
    """Both compute at the same time: the displaced one sees it at its next log line at the latest."""
    directory = tmp_path / "run"
    with living(directory, {"log.every": 10}, ranks) as first:
        goes(first, directory, 20)
        trains(directory, {"run.iterations": 15}, SMOKE, "--take-over")
        result = first.finish()
    refused(result, INPUT_OUTPUT, "another run has taken the run directory", directory)
    assert json.loads((directory / "run.json").read_text())["verdict"] == "finished"
    assert iterations_recorded(directory) == list(range(1, 16))
    assert not unfinished(directory)

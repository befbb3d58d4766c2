"""A training that diverges: seen, rolled back, told; and given up in words. Design §8."""
import json
import signal
import subprocess

import pytest

from digests import poison
from program import (FINISHED, PROGRAM, REQUEUE, Process, attributes, checkpoint, ends,
                     iterations_recorded, kill, launched, metrics, rows_so_far, run, same_bits, train, trains,
                     unfinished)
from refusals import refused

DIVERGED = 4
LENGTH = 60

# Diverges soon at this learning rate: chains fly to the box, or are left behind.
ABSURD = {"run.iterations": LENGTH, "optimizer.learning_rate": 30, "checkpoint.every": 10, "checkpoint.keep_last": 9,
          "guard.warmup": 10, "guard.probation": 5, "guard.attempts": 20, "samples.every": 10}


def record(directory):
    return json.loads((directory / "run.json").read_text())


def starts_of(directory):
    try:
        return len(record(directory)["starts"])
    except FileNotFoundError:
        return 0


def rollbacks(directory):
    """What run.json says of them, without clocks."""
    return [{key: value for key, value in one.items() if key != "time"}
            for one in record(directory).get("rollbacks", [])]


@pytest.fixture(scope="module")
def recovered(tmp_path_factory):
    """A run that was rolled back, by its number of ranks."""
    made = {}

    def make(ranks):
        if ranks not in made:
            made[ranks] = tmp_path_factory.mktemp("recovered") / "run"
            trains(made[ranks], ABSURD, ranks=ranks)
        return made[ranks]

    return make


@pytest.mark.parametrize("ranks", [1, 2])
def test_recovers_from_an_absurd_learning_rate(recovered, ranks):
    directory = recovered(ranks)
    steps = rollbacks(directory)
    assert steps and [one["attempt"] for one in steps] == list(range(1, len(steps) + 1))
    for one in steps:
        assert one["target"] % 10 == 0 and one["target"] in (0, *range(0, one["iteration"] - 4, 10))
        assert one["seen"]
    log = (directory / "log.txt").read_text()
    assert log.count("the training diverged at iteration") == len(steps)
    assert iterations_recorded(directory) == list(range(1, LENGTH + 1))
    rates = [float(row[metrics(directory)[0].index("learning_rate")]) for row in metrics(directory)[1:]]
    assert rates[-1] == 30 * 0.5 ** len(steps)
    progress = attributes(checkpoint(directory, LENGTH), "progress")
    assert progress["attempt"] == len(steps) and progress["learning_rate_factor"] == 0.5 ** len(steps)
    assert record(directory)["verdict"] == "finished"


def test_what_diverged_is_kept_aside(recovered):
    directory = recovered(1)
    aside = sorted(path.relative_to(directory / "rejected") for path in (directory / "rejected").rglob("*.*"))
    assert aside
    for path in aside:
        attempt, name = int(path.parts[0]), path.name
        step = rollbacks(directory)[attempt - 1]
        iteration = int(name.split("-")[1].split(".")[0])
        assert step["target"] < iteration <= step["iteration"]
        if name.endswith(".h5"):
            assert attributes(directory / "rejected" / path, "progress")["attempt"] < attempt
    (report,) = json.loads(ends(run("inspect", directory, "--json"), FINISHED).stdout)["inspected"]
    assert sorted(report["rejected"]) == [str(directory / "rejected" / path) for path in aside]
    told = [event for event in report["events"] if event["what"] == "roll-back"]
    assert [event["iteration"] for event in told] == [step["iteration"] for step in rollbacks(directory)]


@pytest.mark.parametrize("left", [None, "", "{"], ids=["gone", "empty", "cut"])
def test_a_lost_record_does_not_reset_the_attempts(tmp_path, recovered, left):
    """The checkpoint knows how often its run went back: neither old noise nor the full rate comes again."""
    subprocess.run(["cp", "-a", recovered(1), tmp_path / "run"], check=True)
    directory = tmp_path / "run"
    (directory / "run.json").unlink()
    if left is not None:
        (directory / "run.json").write_text(left)
    trains(directory, {**ABSURD, "run.iterations": LENGTH + 2})
    attempts = len(rollbacks(recovered(1)))
    progress = attributes(checkpoint(directory, LENGTH + 2), "progress")
    assert progress["attempt"] == attempts and progress["learning_rate_factor"] == 0.5 ** attempts


@pytest.mark.parametrize("ranks", [1, 2])
def test_is_bitwise_the_same_again(tmp_path, recovered, ranks):
    trains(tmp_path / "run", ABSURD, ranks=ranks)
    same_bits(checkpoint(recovered(ranks), LENGTH), checkpoint(tmp_path / "run", LENGTH))
    assert metrics(tmp_path / "run") == metrics(recovered(ranks))
    assert rollbacks(tmp_path / "run") == rollbacks(recovered(ranks))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGUSR1])
def test_is_bitwise_the_same_however_often_it_is_stopped(tmp_path, recovered, number):
    """Signals write extra checkpoints at any iteration: they are no targets, and change nothing."""
    directory = tmp_path / "run"
    for start, after in enumerate((3, 14, 12, 25, 33, 41)):
        with Process(launched([PROGRAM, *train(directory, ABSURD)], 1)) as process:
            process.wait_for(lambda: process.process.poll() is not None or
                             starts_of(directory) > start and rows_so_far(directory) >= after, f"iteration {after}")
            if process.process.poll() is not None:
                ends(process.finish(), FINISHED)
                break
            for rank in process.ranks():
                kill(rank, number)
            assert process.finish().returncode in (FINISHED, -signal.SIGKILL, REQUEUE)
    trains(directory, ABSURD)
    same_bits(checkpoint(recovered(1), LENGTH), checkpoint(directory, LENGTH))
    assert metrics(directory) == metrics(recovered(1))
    assert rollbacks(directory) == rollbacks(recovered(1))
    assert not unfinished(directory)


def test_roll_back_that_was_cut_off_is_finished(tmp_path, recovered):
    """Killed after run.json said it and before the first file was moved."""
    directory = tmp_path / "run"
    first = rollbacks(recovered(1))[0]
    # The state of that moment: the run up to there without the guard, and the record of the roll-back.
    trains(directory, {**ABSURD, "guard.deviations": 1e9, "guard.warmup": 10000, "run.iterations": first["iteration"]})
    (directory / "DONE").unlink()
    said = record(directory)
    said["rollbacks"] = [{**first, "time": "2026-01-01T00:00:00Z"}]
    (directory / "run.json").write_text(json.dumps(said))
    trains(directory, ABSURD)
    same_bits(checkpoint(recovered(1), LENGTH), checkpoint(directory, LENGTH))
    assert metrics(directory) == metrics(recovered(1))


def test_nan_in_one_chain_of_one_rank(tmp_path):
    """It lies in the newest checkpoint; the run goes back behind it."""
    values = {"run.iterations": 20, "guard.probation": 5}
    trains(tmp_path / "run", values, ranks=2)
    poison(tmp_path / "run", 20, chain=60)
    trains(tmp_path / "run", {**values, "run.iterations": 40}, ranks=2)
    (step,) = rollbacks(tmp_path / "run")
    assert step["target"] == 10 and "not finite" in step["seen"]
    assert iterations_recorded(tmp_path / "run") == list(range(1, 41))
    assert (tmp_path / "run" / "rejected" / "1" / "iteration-00000020.h5").exists()


def test_gives_up_in_words(tmp_path):
    values = {**ABSURD, "guard.attempts": 1, "optimizer.learning_rate": 1e6}
    result = run(*train(tmp_path / "run", values), ranks=2)
    refused(result, DIVERGED, "the training diverged at iteration", "1 roll-backs were made", "lower ",
            "--resume CHECKPOINT")
    said = record(tmp_path / "run")
    assert said["verdict"] == "diverged" and said["exit_code"] == DIVERGED
    # Asked again without a change, it says the same again.
    ends(run(*train(tmp_path / "run", values), ranks=2), DIVERGED)


def test_without_the_guard_only_numbers_that_are_not_finite_end_it(tmp_path):
    values = {**ABSURD, "guard.enabled": "false", "run.iterations": 40}
    trains(tmp_path / "run", values)
    assert not rollbacks(tmp_path / "run")
    poison(tmp_path / "run", 40, chain=3)
    refused(run(*train(tmp_path / "run", {**values, "run.iterations": 50})), DIVERGED, "not finite")


def test_the_target_outlives_retention(tmp_path):
    """keep_last 1, and checkpoints by a signal at iterations that are no multiples."""
    directory = tmp_path / "run"
    values = {"run.iterations": 4000, "checkpoint.every": 100, "checkpoint.keep_last": 1, "guard.probation": 90}
    for after in (130, 150):
        with Process(launched([PROGRAM, *train(directory, values)], 1)) as process:
            process.wait_for(lambda: rows_so_far(directory) >= after, f"iteration {after}")
            kill(process.ranks()[0], signal.SIGUSR1)
            ends(process.finish(), REQUEUE)
    kept = sorted(int(path.stem.split("-")[1]) for path in (directory / "checkpoints").glob("iteration-*.h5"))
    newest = kept[-1]
    assert newest % 100 != 0
    passed = (newest - 90) // 100 * 100
    assert set(kept) == {0, newest, *range(passed, newest, 100)}

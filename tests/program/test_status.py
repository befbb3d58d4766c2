"""stanley status: where runs stand, whatever became of them, without a word written into their directories."""
import json
import os
import signal
import time

import h5py
import pytest

from conftest import as_old
from program import (CONFIGURATION, FINISHED, INPUT_OUTPUT, PROGRAM, REQUEUE, ROOT, SMOKE, Process, checkpoint, ends, kill,
                     rows_so_far, run, train, trains)
from refusals import refused

KEPT = sorted((ROOT / "tests" / "kept").glob("*/*_run"))
DIVERGED = 4
ENDLESS = {"run.iterations": 1000000, "checkpoint.every": 5}


def told(*paths, code=FINISHED):
    """The JSON that the program prints of each run."""
    result = ends(run("status", *paths, "--json"), code)
    assert code != FINISHED or result.stderr == ""
    found = json.loads(result.stdout)
    assert [one["path"] for one in found] == [str(path) for path in paths]
    return found


def only(*paths):
    (one,) = told(*paths)
    return one


def said(*paths):
    return ends(run("status", *paths), FINISHED).stdout


def state_of(directory):
    """All that a look at a run must leave alone, times and folders included."""
    return {path: (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
            for path in [directory, *directory.rglob("*")]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("trained") / "run"
    trains(directory, {"run.iterations": 20})
    return directory


def last_row(directory):
    rows = (directory / "metrics.csv").read_text().splitlines()
    return dict(zip(rows[0].split(","), rows[-1].split(",")))


def test_finished_run(trained):
    one, row = only(trained), last_row(trained)
    assert (one["is_run"], one["name"], one["state"]) == (True, "smoke", "finished")
    assert (one["iteration"], one["iterations"], one["percent"], one["seconds_left"]) == (20, 20, 100, None)
    for name in ("energy_data", "energy_chains", "energy_noise", "gap"):
        assert one[name] == float(row[name])
    assert (one["rows_read"], one["rows_not_finite"], one["roll_backs"], one["remarks"]) == (20, 0, [], [])
    assert one["owner"] is None and one["best"] is None and one["evaluation"] is None and one["kid_test"] is None
    newest = one["checkpoint"]
    assert newest["path"] == str(checkpoint(trained, 20)) and newest["iteration"] == 20
    assert newest["header_sound"] and newest["bytes"] == checkpoint(trained, 20).stat().st_size
    text = said(trained)
    for words in ("finished", "iteration 20 of 20 (100 %)", "owner       none", "header sound"):
        assert words in text


def test_pace_is_of_the_last_rows(copied):
    """Means over the rows of the last start, with what files took."""
    text = (copied / "metrics.csv").read_text().splitlines()
    heading, rows = text[0].split(","), [row.split(",") for row in text[1:]]
    for number, row in enumerate(rows, 1):
        row[heading.index("seconds_iteration")] = "100" if number <= 10 else "2"
        row[heading.index("seconds_files")] = "0.5"
        row[heading.index("chain_steps_per_second")] = "50" if number % 2 else "150"
    (copied / "metrics.csv").write_text("\n".join(",".join(row) for row in [heading, *rows]) + "\n12,half a r")
    record = json.loads((copied / "run.json").read_text())
    record["starts"].append(record["starts"][0] | {"iteration": 10})
    (copied / "run.json").write_text(json.dumps(record | {"verdict": "requeue", "iterations": 50}))
    one = only(copied)
    assert (one["iteration"], one["percent"], one["rows_read"]) == (20, 40, 10)
    assert one["seconds_per_iteration"] == 2.5 and one["seconds_left"] == 75
    assert one["chain_steps_per_second"] == 80  # 100 in the mean of 2 of 2.5 seconds
    assert "1 min left" in said(copied)


def test_run_that_lives_is_stopped_and_is_killed(tmp_path):
    directory = tmp_path / "run"
    command = [PROGRAM, *map(str, train(directory, ENDLESS))]
    with Process(command) as process:
        process.wait_for(lambda: rows_so_far(directory) >= 10, "iterations")
        one = only(directory)
        assert one["state"] == "running" and 10 <= one["iteration"] < 1000000 and one["seconds_left"] > 0
        assert one["owner"]["alive"] and one["owner"]["process"] == process.process.pid
        assert one["checkpoint"]["header_sound"] and one["last_stop"] is None
        kill(process.process.pid, signal.SIGUSR1)
        ends(process.finish(), REQUEUE)
    one = only(directory)
    assert (one["state"], one["owner"]) == ("requeue", None)
    assert one["last_stop"]["what"] == "requeue" and "asked for by" in one["remarks"][0]
    with Process(command) as process:
        process.wait_for(lambda: rows_so_far(directory) > one["iteration"] + 5, "iterations")
        kill(process.process.pid, signal.SIGKILL)
        process.finish()
    one = only(directory)
    assert (one["state"], one["owner"]["alive"]) == ("cut off", False)
    assert "without a last word" in one["remarks"][0] and "gone: process" in said(directory)


def test_run_that_diverged(tmp_path):
    values = {"optimizer.learning_rate": 1e6, "guard.warmup": 10, "guard.probation": 5, "guard.attempts": 1,
              "run.iterations": 2000}
    trains(tmp_path / "run", values, code=DIVERGED)
    one = only(tmp_path / "run")
    assert one["state"] == "diverged" and len(one["roll_backs"]) == 1
    assert one["last_stop"]["detail"] and one["last_stop"]["detail"] in one["remarks"][0]
    assert any("rolled back once" in remark for remark in one["remarks"])


@pytest.mark.parametrize("directory", KEPT, ids=lambda path: path.name)
def test_run_of_an_older_release(directory):
    before = state_of(directory)
    one = only(directory)
    assert (one["state"], one["iteration"], one["iterations"], one["remarks"]) == ("finished", 4, 4, [])
    assert one["seconds_per_iteration"] > 0 and one["checkpoint"]["header_sound"]
    assert state_of(directory) == before


def test_owner_elsewhere_is_judged_by_its_heartbeat_and_nothing_is_written(copied):
    """What asks a file server for its time writes; an analyst may have no right to."""
    record = json.loads((copied / "run.json").read_text())
    (copied / "run.json").write_text(json.dumps(record | {"verdict": "running", "iterations": 99}))
    owner = copied / "owner.json"
    owner.write_text(json.dumps({"token": "x", "host": "another.host", "process": 17, "job": "77"}))
    for age, state, alive in ((10, "running", True), (500, "cut off", False)):
        os.utime(owner, (time.time() - age,) * 2)
        before = state_of(copied)
        one = only(copied)
        assert (one["state"], one["owner"]["alive"], one["owner"]["job"]) == (state, alive, "77")
        assert one["owner"]["seconds_since_heartbeat"] >= age
        assert "another.host, job 77" in said(copied)
        assert state_of(copied) == before
    os.utime(copied / "metrics.csv", (time.time() - 7000,) * 2)
    os.utime(owner, None)
    assert any("no new row" in remark and "1 h 56 min" in remark for remark in only(copied)["remarks"])


def test_run_that_has_just_begun(tmp_path):
    (tmp_path / "owner.json").write_text(json.dumps({"token": "x", "host": "another.host", "process": 17}))
    one = only(tmp_path)
    assert (one["state"], one["iteration"], one["checkpoint"]) == ("starting", None, None)
    assert "no iteration yet" in said(tmp_path)


def break_header(path):
    content = bytearray(path.read_bytes())
    place = content.find(b"digests")
    content[place] ^= 1
    path.write_bytes(content)


def as_pipe(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


HALF = {
    "no record": (lambda run: (run / "run.json").unlink(), "run.json", "", 20),
    "half a record": (lambda run: (run / "run.json").write_text('{"verdict": "fin'), "run.json", "", 20),
    "no metrics": (lambda run: (run / "metrics.csv").unlink(), None, "finished", 20),
    "a heading cut off": (lambda run: (run / "metrics.csv").write_text("iteration,ener"), "metrics.csv has no row", "finished", 20),
    "empty metrics": (lambda run: (run / "metrics.csv").write_text(""), "metrics.csv has no row", "finished", 20),
    "metrics without a row": (lambda run: (run / "metrics.csv").write_text("iteration,gap\n1e300,2\n"), "no row", "finished", 20),
    "metrics of another program": (lambda run: (run / "metrics.csv").write_text("epoch,loss\n1,2\n"), "no column 'iteration'",
                                   "finished", 20),
    "metrics that are a pipe": (lambda run: as_pipe(run / "metrics.csv"), "metrics.csv is no regular file", "finished", 20),
    "a record that is a pipe": (lambda run: as_pipe(run / "run.json"), "run.json", "", 20),
    "an owner that is a pipe": (lambda run: as_pipe(run / "owner.json"), "owner.json", "finished", 20),
    "an evaluation that is a pipe": (lambda run: as_pipe(run / "evaluation.json"), "evaluation.json is no regular file",
                                     "finished", 20),
    "an empty evaluation": (lambda run: (run / "evaluation.json").write_text(""), "evaluation.json has no result", "finished", 20),
    "an evaluation of numbers": (lambda run: (run / "evaluation.json").write_text('{"evaluations": [5]}'),
                                 "evaluation.json has no result", "finished", 20),
    "half an evaluation": (lambda run: (run / "evaluation.json").write_text('{"evaluations": [{"pa'),
                           "evaluation.json", "finished", 20),
    "odd values": (lambda run: (run / "run.json").write_text('{"verdict": 7, "starts": 3, "stops": [1], "iterations": "x"}'),
                   None, "", 20),
    "a checkpoint cut off": (lambda run: os.truncate(checkpoint(run, 20), 5000), "not to be trusted", "finished", 20),
    "a checkpoint cut by a byte": (lambda run: os.truncate(checkpoint(run, 20), checkpoint(run, 20).stat().st_size - 1),
                                   "seal", "finished", 20),
    "a header that is damaged": (lambda run: break_header(checkpoint(run, 20)), "not to be trusted", "finished", 20),
    "another schema": (lambda run: as_old(checkpoint(run, 20), lambda file: file.attrs.modify("schema_version", b"9.0")),
                       "9.0", "finished", 20),
}


@pytest.mark.parametrize("kind", HALF)
def test_files_that_are_missing_or_half_written(copied, kind):
    act, word, state, iteration = HALF[kind]
    act(copied)
    one = only(copied)
    assert (one["is_run"], one["state"], one["iteration"]) == (True, state, iteration)
    assert (word is None) == (one["remarks"] == []) and (word or "") in "".join(one["remarks"])


def test_arrays_are_not_read(copied):
    """What takes longer for a larger run: a damaged array goes unseen, as stanley inspect would see it."""
    path = checkpoint(copied, 20)
    content = bytearray(path.read_bytes())

    with h5py.File(path) as file:
        content[file["chains/state"].id.get_offset() + 5] ^= 1
    path.write_bytes(content)
    assert only(copied)["checkpoint"]["header_sound"]
    assert run("inspect", path).returncode == INPUT_OUTPUT


def test_energies_that_are_not_finite(copied):
    text = (copied / "metrics.csv").read_text().splitlines()
    place = text[0].split(",").index("energy_chains")
    for number in (19, 20):
        fields = text[number].split(",")
        fields[place] = "nan"
        text[number] = ",".join(fields)
    (copied / "metrics.csv").write_text("\n".join(text) + "\n")
    one = only(copied)
    assert one["energy_chains"] == "nan" and one["rows_not_finite"] == 2
    assert "2 of the last 20 rows" in one["remarks"][0]


def test_evaluations_and_the_best_checkpoint(copied):
    text = (copied / "metrics.csv").read_text().splitlines()
    names = text[0].split(",")
    kept = [i for i, name in enumerate(names) if not name.startswith("kid_")]
    more = {10: ",0.5,0.625"}
    rows = [",".join(row.split(",")[i] for i in kept) + more.get(number, ",nan,nan") for number, row in enumerate(text[1:], 1)]
    rows += [f"{i}," + rows[-1].split(",", 1)[1] for i in range(21, 2000)]  # far behind the last 64 KiB
    heading = ",".join(names[i] for i in kept) + ",kid_train,kid_test"
    (copied / "metrics.csv").write_text("\n".join([heading, *rows]) + "\n")
    (copied / "checkpoints" / "best").symlink_to("iteration-00000010.h5")
    entry = {"path": "checkpoints/iteration-00000020.h5", "iteration": 20, "states": 64, "protocol": {"name": "public"},
             "results": [{"name": "all", "kid": 0.25, "kid_interval_95": [0.2, 0.3], "fid": 12.5}],
             "time": "2026-01-02T00:00:00Z"}
    older = entry | {"iteration": 10, "time": "2026-01-01T00:00:00Z"}
    (copied / "evaluation.json").write_text(json.dumps({"evaluations": [entry, older, "odd"]}))
    one = only(copied)
    assert one["kid_train"] == {"iteration": 10, "value": 0.5} and one["kid_test"] == {"iteration": 10, "value": 0.625}
    assert one["best"]["iteration"] == 10 and one["best"]["header_sound"]
    found = one["evaluation"]
    assert (found["iteration"], found["kid"], found["kid_interval_95"], found["fid"]) == (20, 0.25, [0.2, 0.3], 12.5)
    text = said(copied)
    for words in ("KID·1000 250.0 (200.0 to 300.0), FID 12.5, protocol public, 64 states", "train 500.0 (iteration 10), test 625.0", "best        iteration 10"):
        assert words in text
    checkpoint(copied, 10).unlink()
    assert any("best checkpoint" in remark for remark in only(copied)["remarks"])


def test_numbers_that_no_run_has(copied):
    (copied / "metrics.csv").unlink()
    record = json.loads((copied / "run.json").read_text())
    for iteration, iterations, words in ((2**61, 2**62, "(50 %)"), (2**62 - 1, 2**62, "(99 %)"), (-3, 20, "no iteration yet"),
                                         (2**64 - 1, 20, "no iteration yet"), (1, -20, "iteration 1 of ?")):
        (copied / "run.json").write_text(json.dumps(record | {"iteration": iteration, "iterations": iterations}))
        assert words in said(copied)
    entry = {"results": [{"name": "all", "kid": 1e303, "kid_interval_95": [-1e308, 1e308]}], "iteration": -1, "states": -2}
    (copied / "evaluation.json").write_text(json.dumps({"evaluations": [entry]}))
    assert "evaluation  KID·1000 1e+306 (-inf to inf), protocol" in said(copied)
    (copied / "metrics.csv").write_text("iteration,seconds_iteration,chain_steps_per_second\n1,1e300,1e300\n2,1e300,1e300\n")
    (copied / "run.json").write_text(json.dumps(record | {"verdict": "requeue"}))
    assert ", ? left" in said(copied) and max(map(len, said(copied).splitlines())) < 200


def test_names_are_one_line(trained, tmp_path):
    odd = tmp_path / "a\nb\x1b[2J"
    odd.symlink_to(trained)
    assert said(odd).splitlines()[0] == f"{tmp_path}/a\\x0ab\\x1b[2J: finished"
    assert len(said(odd, odd).splitlines()) == 3
    odd.unlink()
    refused(run("status", odd), INPUT_OUTPUT, "a\\x0ab")


def test_several_runs_are_a_table_and_what_is_no_run_is_named(trained, tmp_path):
    (tmp_path / "empty").mkdir()
    paths = [trained, tmp_path / "empty", tmp_path / "none", SMOKE, KEPT[0]]
    result = run("status", *paths)
    refused(result, INPUT_OUTPUT, "3 of 5 paths", *paths[1:4])
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["run", "state", "iteration", "done", "left", "gap", "checkpoint", "owner", "KID·1000"]
    assert [line.split()[0] for line in lines[1:6]] == [str(path) for path in paths]
    assert lines[1].split()[1:4] == ["finished", "20/20", "100"] and lines[5].split()[1:3] == ["finished", "4/4"]
    assert len({line.index(word) for line, word in zip(lines[:2], ("state", "finished"))}) == 1
    assert [one["is_run"] for one in told(*paths, code=INPUT_OUTPUT)] == [True, False, False, False, True]
    for path, word in zip(paths[1:4], ("run.json", "No such file", "a file")):
        refused(run("status", path), INPUT_OUTPUT, path, word)


def test_several_ranks_say_it_once(trained):
    result = ends(run("status", trained, ranks=2), FINISHED)
    assert result.stdout.count("finished") == 1


@pytest.mark.parametrize("arguments", [[], ["--json"], ["x", "--jsn"]])
def test_usage(arguments):
    refused(run("status", *arguments), CONFIGURATION, "--help")

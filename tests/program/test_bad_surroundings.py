"""Run directories, disks, launchers and ranks that fail: one message, the documented exit code, soon."""
import contextlib
import json
import os
import pathlib
import resource
import signal
import socket
import subprocess
import tempfile
import time

import pytest

from program import (CONFIGURATION, ENVIRONMENT, FINISHED, INPUT_OUTPUT, PROGRAM, REQUEUE, ROOT, SMOKE, Process, arrays,
                     checkpoint, draws, ends, environment, iterations_recorded, kill, launched, mpirun, rows_so_far, run,
                     spoils, train, trains, unfinished)
from refusals import LIMIT, mounted, no_gpu, refused, train_here, untouched

KEPT = next((ROOT / "tests" / "kept").glob("*/rings_run"))
one_and_two = pytest.mark.parametrize("ranks", [1, 2])


# --- run directories -------------------------------------------------------------------------------
def test_run_directory_below_a_file(tmp_path):
    (tmp_path / "file").write_text("here")
    result = run(*train(tmp_path / "file" / "run"), limit=LIMIT)
    refused(result, INPUT_OUTPUT, tmp_path / "file" / "run", "--run-directory")
    assert (tmp_path / "file").read_text() == "here"


def test_run_directory_that_is_a_file(tmp_path):
    (tmp_path / "run").write_text("here")
    refused(train_here(tmp_path), INPUT_OUTPUT, tmp_path / "run", "--run-directory")
    assert (tmp_path / "run").read_text() == "here"


@one_and_two
def test_run_directory_that_cannot_be_written(tmp_path, ranks):
    with mounted(tmp_path / "disk", "1m", "ro") as disk:
        result = run(*train(disk / "run"), ranks=ranks, limit=LIMIT)
        refused(result, INPUT_OUTPUT, disk / "run", "Read-only")
        assert list(disk.iterdir()) == []


@one_and_two
def test_run_directory_of_a_living_run(tmp_path, ranks):
    values = {"run.iterations": 1000000, "checkpoint.every": "null"}
    with Process(launched([PROGRAM, *train(tmp_path / "run", values)], ranks), LIMIT) as first:
        first.wait_for(lambda: rows_so_far(tmp_path / "run") >= 5, "iterations")
        owner = (tmp_path / "run" / "owner.json").read_text()
        result = train_here(tmp_path, values, ranks=ranks)
        refused(result, INPUT_OUTPUT, tmp_path / "run", "in use", first.ranks()[0])
        assert (tmp_path / "run" / "owner.json").read_text() == owner
        kill(first.ranks()[0], signal.SIGUSR1)
        ends(first.finish(), REQUEUE)
    recorded = iterations_recorded(tmp_path / "run")
    assert recorded == list(range(1, recorded[-1] + 1)) and not unfinished(tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert len(record["starts"]) == len(record["stops"]) == 1


def test_run_that_lost_its_directory_leaves_it_alone(tmp_path):
    values = {"run.iterations": 1000000, "checkpoint.every": 200, "checkpoint.keep_last": 99}
    directory = tmp_path / "run"
    other = json.dumps({"token": "another", "host": "elsewhere", "process": 1, "process_start": "1", "job": ""})
    with Process(launched([PROGRAM, *train(directory, values)], 1), LIMIT) as process:
        process.wait_for(lambda: rows_so_far(directory) >= 210, "iterations")
        (directory / "owner.new").write_text(other)
        (directory / "owner.new").rename(directory / "owner.json")
        record = (directory / "run.json").read_bytes()
        result = process.finish()
    refused(result, INPUT_OUTPUT, directory, "another run has taken")
    assert (directory / "owner.json").read_text() == other
    assert (directory / "run.json").read_bytes() == record
    assert not list(directory.rglob("*.part*"))


@pytest.mark.parametrize("owner", ["", "half {", "[]", '{"host": 3}', '{"token": 1, "process": "x"}'])
def test_owner_file_that_names_nobody_is_taken_over(tmp_path, owner):
    """It was cut off in its making; the directory changes hands, and the file goes with the new owner."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "owner.json").write_text(owner)
    ends(train_here(tmp_path, {"run.iterations": 1}), FINISHED)
    assert (tmp_path / "run" / "DONE").is_file() and not unfinished(tmp_path / "run")


@pytest.mark.parametrize("command", [
    ["status", KEPT, "--json"], ["inspect", KEPT], ["config", SMOKE, "--resolved"], ["--version"],
    ["benchmark", SMOKE, "--seconds", "0.01", "--json"]], ids=lambda command: command[0])
def test_a_report_that_nobody_gets_is_an_error(command):
    with open("/dev/full", "w") as full:
        result = subprocess.run([PROGRAM, *map(str, command)], stdout=full, stderr=subprocess.PIPE, text=True,
                                env=environment())
    refused(result, INPUT_OUTPUT, "standard output (No space left on device)")


# --- a full disk -----------------------------------------------------------------------------------
def fill(disk):
    """Takes all that is left of a file system."""
    with open(disk / "filler", "wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))


@pytest.mark.parametrize("ranks, size, newest", [
    (1, "128k", None), (1, "460k", 0), (1, "600k", 10), (2, "128k", None), (2, "460k", 0)])
def test_disk_full_at_a_checkpoint(tmp_path, ranks, size, newest):
    with mounted(tmp_path / "disk", size) as disk:
        result = run(*train(disk / "run", {"samples.every": 10}), ranks=ranks, limit=LIMIT)
        refused(result, INPUT_OUTPUT, "No space left on device", disk)
        assert not unfinished(disk) and not (disk / "run" / "DONE").exists()
        record = json.loads((disk / "run" / "run.json").read_text())
        assert record["verdict"] == "input_output"
        written = sorted((disk / "run" / "checkpoints").glob("iteration-*.h5"))
        assert written == [checkpoint(disk / "run", i) for i in (0, 10) if newest is not None and i <= newest]
        for path in written:
            assert len(arrays(path)["chains/state"]) == 64
        if newest is not None:  # with room again, the run goes on
            subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
            trains(disk / "run", {"samples.every": 10}, ranks=ranks)
            assert iterations_recorded(disk / "run") == list(range(1, 31))


def test_disk_full_from_the_start(tmp_path):
    with mounted(tmp_path / "disk", "64k") as disk:
        fill(disk)
        result = run(*train(disk / "run"), limit=LIMIT)
        refused(result, INPUT_OUTPUT, disk / "run")
        assert not unfinished(disk)


@one_and_two
def test_disk_full_between_checkpoints(tmp_path, ranks):
    """The metrics fail first; the earlier files stay whole."""
    values = {"run.iterations": 1000000, "checkpoint.every": "null"}
    with mounted(tmp_path / "disk", "2m") as disk:
        with Process(launched([PROGRAM, *train(disk / "run", values)], ranks), LIMIT) as process:
            process.wait_for(lambda: rows_so_far(disk / "run") >= 20, "iterations")
            fill(disk)
            result = process.finish()
        refused(result, INPUT_OUTPUT, disk / "run")
        json.loads((disk / "run" / "run.json").read_text())
        assert len(arrays(checkpoint(disk / "run", 0))["chains/state"]) == 64
        assert not unfinished(disk)


# --- launchers, devices, one rank alone --------------------------------------------------------------
@pytest.mark.parametrize("name", ["SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE",
                                  "FLUX_JOB_SIZE"])
def test_launcher_that_did_not_connect_the_ranks(tmp_path, name):
    result = train_here(tmp_path, **{name: "2"})
    refused(result, ENVIRONMENT, f"{name}=2", "srun --mpi=pmix", "mpirun")
    assert list(tmp_path.iterdir()) == []


def test_ranks_that_were_not_connected_speak_once(tmp_path):
    result = train_here(tmp_path, SLURM_STEP_NUM_TASKS="2", SLURM_PROCID="1")
    assert result.returncode == ENVIRONMENT and result.stderr == "" and list(tmp_path.iterdir()) == []


def test_the_user_knows_better_than_the_launchers_variables(tmp_path):
    step = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0"}
    values = {"run.iterations": 1}
    ends(train_here(tmp_path, values, STANLEY_MPI="no", **step), 0)
    assert versions_of(tmp_path / "run")["mpi"] == ""
    ends(run(*train(tmp_path / "started", values), STANLEY_MPI="yes"), 0)
    assert " MPI" in versions_of(tmp_path / "started")["mpi"] or "MPICH" in versions_of(tmp_path / "started")["mpi"]
    result = train_here(tmp_path, values, STANLEY_MPI="perhaps", **step)
    refused(result, ENVIRONMENT, "STANLEY_MPI=perhaps", "yes", "no")
    step["SLURM_PROCID"] = "1"
    assert train_here(tmp_path, values, STANLEY_MPI="perhaps", **step).stderr == ""


def start_of(directory):
    text = (directory / "run.json").read_text()
    assert "\\u0000" not in text
    return json.loads(text)["starts"][-1]


def versions_of(directory):
    return start_of(directory)["versions"]


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_lower_instruction_set_is_taken_and_an_unknown_one_refused(tmp_path, ranks):
    values = {"run.iterations": 2}
    ends(run(*train(tmp_path / "plain", values), ranks=ranks, STANLEY_ISA="plain"), 0)
    assert start_of(tmp_path / "plain")["instruction_set"] == "plain"
    result = train_here(tmp_path, values, ranks=ranks, STANLEY_ISA="v9")
    refused(result, ENVIRONMENT, "STANLEY_ISA is 'v9'", "plain", "unset it")
    assert not (tmp_path / "run").exists()


def test_ranks_with_other_instruction_sets_are_told_and_refused_where_bits_must_be_the_same(tmp_path):
    of_rank = ["sh", "-c", '[ "${OMPI_COMM_WORLD_RANK:-$PMI_RANK}" = 0 ] && export STANLEY_ISA=plain || export STANLEY_ISA=v3;'
               ' exec "$@"', "sh", PROGRAM]

    def start(values):
        command = launched([*of_rank, *train(tmp_path / "run", values)], 2)
        return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, env=environment())

    refused(start({"run.iterations": 2, "run.reproducible": "true"}), ENVIRONMENT, "plain to v3", "STANLEY_ISA=plain")
    assert not (tmp_path / "run").exists()
    ends(start({"run.iterations": 2}), 0)
    assert start_of(tmp_path / "run")["instruction_set"] == "plain to v3"


def test_one_task_of_slurm_is_no_mistake(tmp_path):
    ends(train_here(tmp_path, {"run.iterations": 1}, SLURM_STEP_NUM_TASKS="1", SLURM_PROCID="0"), 0)


@pytest.mark.skipif(not no_gpu(), reason="this machine has a GPU")
@one_and_two
def test_gpu_where_there_is_none(tmp_path, ranks):
    refused(train_here(tmp_path, {"run.device": "cuda"}, ranks=ranks), ENVIRONMENT, "run.device", "cuda")
    untouched(tmp_path / "run")


@pytest.mark.skipif(not no_gpu(), reason="this machine has a GPU")
def test_automatic_device_does_not_fall_back_inside_of_a_gpu_allocation(tmp_path):
    refused(train_here(tmp_path, SLURM_JOB_GPUS="0"), ENVIRONMENT, "SLURM_JOB_GPUS=0")
    untouched(tmp_path / "run")


def different_ranks(first, second, limit=LIMIT):
    """Two ranks with command lines of their own."""
    command = [*mpirun(), "-n", "1", *first, ":", "-n", "1", *second]
    with Process([str(part) for part in command], limit) as process:
        return process.finish()


@pytest.mark.skipif(not no_gpu(), reason="this machine has a GPU")
@pytest.mark.parametrize("alone", [0, 1])
def test_one_rank_without_a_device(tmp_path, alone):
    plain = [PROGRAM, *train(tmp_path / "run")]
    failing = ["env", "SLURM_JOB_GPUS=7", *plain]
    result = different_ranks(*((failing, plain) if alone == 0 else (plain, failing)))
    refused(result, ENVIRONMENT, "SLURM_JOB_GPUS=7")
    untouched(tmp_path / "run")


@pytest.mark.parametrize("alone", [0, 1])
def test_one_rank_with_a_wrong_command_line(tmp_path, alone):
    plain, failing = [PROGRAM, *train(tmp_path / "run")], [PROGRAM, "train"]
    result = different_ranks(*((failing, plain) if alone == 0 else (plain, failing)))
    refused(result, CONFIGURATION, "config")


@pytest.mark.parametrize("alone", [0, 1])
def test_one_rank_out_of_memory(tmp_path, alone):
    plain = [PROGRAM, *train(tmp_path / "run", {"energy.hidden": "[5000, 5000]"})]
    failing = ["sh", "-c", 'ulimit -v 800000; exec "$@"', "sh", *plain]
    result = different_ranks(*((failing, plain) if alone == 0 else (plain, failing)))
    refused(result, ENVIRONMENT, f"rank {alone} on ", "out of host memory: asked for 100 MB", "energy.channels")
    assert not list((tmp_path / "run").rglob("*.part*"))


def verdict_of(directory):
    """How run.json says that the run ended."""
    record = json.loads((directory / "run.json").read_text())
    assert record["verdict"] == record["stops"][-1]["verdict"]
    return record["stops"][-1]


@pytest.mark.parametrize("slow_disk", [False, True])
def test_a_rank_that_fails_alone_in_an_iteration_reaches_the_verdict(tmp_path, library, slow_disk):
    """The others wait for it in a reduction; launchers would lose its words. A busy disk takes its time with them."""
    directory, slow = tmp_path / "run", tmp_path / "slow"
    values = {"run.iterations": 100000, "energy.hidden": "[8000]", "data.batch": 8192, "data.samples": 8192,
              "chains.total": 8192, "checkpoint.every": "null"}
    variables = spoils(library, directory, 0, 0, "", tmp_path / "calls") + [f"STANLEY_FAULT_SLOW={slow}"]
    with Process(launched([*variables, PROGRAM, *train(directory, values)], 2), LIMIT) as process:
        process.wait_for(lambda: rows_so_far(directory) >= 2, "iterations")
        if slow_disk:
            slow.touch()
        resource.prlimit(process.ranks()[1], resource.RLIMIT_AS, (1 << 20, 1 << 20))  # nothing more is to be had
        result = process.finish()
    refused(result, ENVIRONMENT, "rank 1 on ", "out of host memory: asked for ")
    stop = verdict_of(directory)
    assert stop["verdict"] == "environment" and stop["exit_code"] == ENVIRONMENT
    assert stop["host"] == socket.gethostname() and "rank 1 on " in stop["message"]


def test_a_rank_that_fails_alone_in_a_file_reaches_the_verdict(tmp_path, library):
    directory, calls = tmp_path / "run", tmp_path / "calls"
    faults = spoils(library, directory, 1, 3, "EIO", calls)
    with Process(launched([*faults, PROGRAM, *train(directory)], 2), LIMIT) as process:
        result = process.finish()
    assert "spoiled pwrite" in calls.read_text()
    ends(result, INPUT_OUTPUT)
    stop = verdict_of(directory)
    assert stop["verdict"] == "input_output" and stop["host"] == socket.gethostname()
    assert stop["message"] in result.stderr and "cannot write array" in stop["message"]
    trains(directory, ranks=2)


def trains_while_blocked(directory, ranks, *iterations):
    """A training of 800 iterations, in which folders stand where these checkpoints would get their names."""
    values = {"run.iterations": 800, "checkpoint.every": 200, "samples.every": 200, "log.every": 100}
    with Process(launched([PROGRAM, *train(directory, values)], ranks), LIMIT) as process:
        process.wait_for(checkpoint(directory, 0).exists, "the first checkpoint")
        for iteration in iterations:
            (checkpoint(directory, iteration) / "full").mkdir(parents=True)
        return process.finish()


@one_and_two
def test_a_checkpoint_that_fails_once_is_written_again(tmp_path, ranks):
    """A file system that is gone for a while costs a run one checkpoint; a second failure in a row ends it."""
    directory = tmp_path / "run"
    result = ends(trains_while_blocked(directory, ranks, 200), FINISHED)
    assert "iteration-00000200.h5" in result.stdout and "are written again" in result.stdout and result.stderr == ""
    assert checkpoint(directory, 200).is_dir()
    assert all(checkpoint(directory, i).is_file() and draws(directory, i).exists() for i in (400, 600, 800))
    assert iterations_recorded(directory) == list(range(1, 801))

    other = tmp_path / "other"
    result = trains_while_blocked(other, ranks, 400, 600)
    refused(result, INPUT_OUTPUT, "iteration-00000600.h5")
    assert verdict_of(other)["verdict"] == "input_output" and checkpoint(other, 200).is_file()
    assert not unfinished(other)


@pytest.mark.parametrize("changed, words", [
    ({"sampler.step_size": "1e-40"}, "stand still"),
    ({"sampler.step_size": "1e-40", "sampler.temperature": "null", "sampler.noise": 0.01}, "feel noise alone"),
    ({"sampler.type": "stanley", "sampler.threshold": "1e-30"}, "stand still"),
    ({"sampler.temperature": "1e6"}, "throws the chains at the box"),
])
def test_chains_that_cannot_move_are_told_of_at_once(tmp_path, changed, words):
    values = {"run.iterations": 4, "log.every": 2, "guard.enabled": "false", "sampler.box": "[-1, 1]"}
    assert "the chains" not in trains(tmp_path / "healthy", values).stdout.replace("the chains'", "")
    result = trains(tmp_path / "run", {**values, **changed})
    told = [line for line in result.stdout.splitlines() if "warning: the" in line]
    assert len(told) == 1 and words in told[0], result.stdout
    assert result.stdout.index(words) < result.stdout.index("4/4")


def test_one_rank_that_does_not_see_the_run_directory(tmp_path):
    with mounted(tmp_path / "disk", "1m"):
        pass  # skips where this can't be made
    (tmp_path / "run").mkdir()
    plain = [PROGRAM, *train(tmp_path / "run")]
    hidden = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', tmp_path / "run", *plain]
    result = different_ranks(plain, hidden)
    refused(result, INPUT_OUTPUT, tmp_path / "run", "all ranks must see")
    assert not unfinished(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["verdict"] == "input_output"


def alive(process):
    """Does it run? A zombie, which only its parent can bury, does not."""
    try:
        return pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV])
def test_one_rank_that_dies_takes_the_others_along(tmp_path, number):
    values = {"run.iterations": 1000000, "checkpoint.every": "null"}
    with Process(launched([PROGRAM, *train(tmp_path / "run", values)], 2), LIMIT) as process:
        process.wait_for(lambda: rows_so_far(tmp_path / "run") >= 5, "iterations")
        ranks = process.ranks()
        kill(ranks[1], number)
        result = process.finish()
        assert result.returncode != 0
        while any(alive(rank) for rank in ranks):  # mpirun may be gone a moment before the last of them
            assert time.monotonic() < process.deadline, "a rank lives on"
            time.sleep(0.05)
    assert "HDF5-DIAG" not in result.stderr and "terminate called" not in result.stderr


def test_paths_that_cannot_be(tmp_path):
    """A part of a path that is too long, a folder that one may not enter: no bug of ours."""
    result = run(*train(tmp_path / ("x" * 300) / "run"))
    refused(result, INPUT_OUTPUT, "too long")


def test_a_folder_that_one_may_not_enter():
    # Not in pytest's folders, which none but their owner may enter.
    with tempfile.TemporaryDirectory() as name:
        command = [PROGRAM, *map(str, train(pathlib.Path(name) / "run"))]
        if os.geteuid() == 0:  # as an ordinary user
            for parent in (*pathlib.Path(name).parents, *pathlib.Path(PROGRAM).parents):
                if not parent.stat().st_mode & 0o001:
                    pytest.skip(f"nobody may not enter {parent}")
            command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]
        else:
            os.chmod(name, 0)
        with Process(command) as process:
            refused(process.finish(), INPUT_OUTPUT, "Permission denied")
        os.chmod(name, 0o700)


def test_a_home_folder_is_written_out(tmp_path):
    ends(run(*train("~/deep/$NAME", {"run.iterations": 1}), HOME=str(tmp_path), NAME="run"), FINISHED)
    assert (tmp_path / "deep" / "run" / "DONE").is_file()

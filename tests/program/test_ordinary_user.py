"""What an ordinary user meets: a training needs no rights, and what one may not read or write is refused in a sentence.

As root the tests make another user of themselves; as an ordinary user they are one, and what takes two is skipped."""
import json
import os
import pathlib
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile

import pytest

import program
from program import (CONFIGURATION, ENVIRONMENT, FINISHED, INPUT_OUTPUT, REQUEUE, Process, checkpoint, ends,
                     iterations_recorded, kill, launched, rows_so_far, unfinished)
from refusals import contents, refused

ROOT_TESTS = os.geteuid() == 0
USER = pwd.getpwnam("nobody") if ROOT_TESTS else pwd.getpwuid(os.geteuid())
MESSAGE = "Permission denied"
one_and_two = pytest.mark.parametrize("ranks", [1, 2])
two_users = pytest.mark.skipif(not ROOT_TESTS, reason="needs root, for a second user")


def as_user(folder):
    """The words that start a command as the user, where it may be."""
    switch = ["setpriv", f"--reuid={USER.pw_uid}", f"--regid={USER.pw_gid}", "--clear-groups"] if ROOT_TESTS else []
    return [*switch, "env", "-C", str(folder)]


def libraries(binary):
    """The files that the loader gives to a program."""
    said = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout
    return [pathlib.Path(words[2]) for words in map(str.split, said.splitlines()) if len(words) > 3]


def readable_copy(path, folder):
    """`path` as a file that everyone reads; a link of the same file where that does it."""
    target = folder / path.name
    source = path.resolve()
    try:
        if not source.stat().st_mode & stat.S_IROTH:
            raise OSError
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)
        target.chmod(0o755)
    return target


class Ground:
    """A folder that everyone may enter, since pytest's are their owner's alone: with the program, a configuration, and
    a home of the user. The program and its libraries are copied where the user may not enter their folders."""

    def __init__(self, folder):
        self.folder, self.home, self.program = folder, folder / "home", pathlib.Path(program.PROGRAM)
        self.home.mkdir()
        self.own(self.home)
        self.config = folder / "smoke.yaml"
        shutil.copyfile(program.SMOKE, self.config)
        self.config.chmod(0o644)
        self.variables = {"HOME": str(self.home), "USER": USER.pw_name}
        # Root of a user may not start ranks, and need not.
        self.unset = [word for name in ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM")
                      for word in ("-u", name)]
        if subprocess.run([*as_user(folder), self.program, "--version"], capture_output=True).returncode != 0:
            (folder / "bin").mkdir()
            for path in [*libraries(self.program), self.program]:
                readable_copy(path, folder / "bin")
            self.program = folder / "bin" / self.program.name
            self.variables["LD_LIBRARY_PATH"] = str(folder / "bin")
        subprocess.run([*as_user(folder), self.program, "--version"], capture_output=True, check=True)

    @staticmethod
    def own(path):
        if ROOT_TESTS:
            os.chown(path, USER.pw_uid, USER.pw_gid)

    def mine(self, name):
        """A folder of the user."""
        path = self.folder / name
        path.mkdir()
        self.own(path)
        return path

    def locked(self, path):
        """Takes all rights from a file or folder of another, or of the user."""
        path.chmod(0)
        return path

    def command(self, *arguments, ranks=1, before=()):
        return [*before, *as_user(self.home), *self.unset, *launched([self.program, *arguments], ranks)]

    def call(self, *arguments, ranks=1, before=(), without=(), **variables):
        command = self.command(*arguments, ranks=ranks, before=before)
        at = command.index("-C")
        command[at:at] = [word for name in without for word in ("-u", name)]
        with Process(command, **{**self.variables, **variables}) as process:
            return process.finish()

    def train(self, directory, values=(), *more, **how):
        return self.call(*program.train(directory, values, self.config, *more), **how)


@pytest.fixture
def ground():
    """Not in pytest's folders, which none but their owner may enter."""
    with tempfile.TemporaryDirectory(prefix="stanley-user-") as name:
        for parent in (pathlib.Path(name).parent, *pathlib.Path(name).parent.parents):
            if not os.stat(parent).st_mode & stat.S_IXOTH:
                pytest.skip(f"an ordinary user may not enter {parent}")
        if ROOT_TESTS and not shutil.which("setpriv"):
            pytest.skip("needs setpriv, to become an ordinary user")
        os.chmod(name, 0o755)
        yield Ground(pathlib.Path(name))
        for path in pathlib.Path(name).rglob("*"):
            if not path.is_symlink() and path.is_dir():
                path.chmod(0o700)


@pytest.fixture
def trained(ground):
    ends(ground.train(ground.home / "run"), FINISHED)
    return ground.home / "run"


# --- what works -------------------------------------------------------------------------------------------
@one_and_two
def test_trains_samples_and_inspects(ground, ranks):
    run = ground.home / "run"
    ends(ground.train(run, {"samples.every": 10}, ranks=ranks), FINISHED)
    assert (run / "DONE").is_file() and not unfinished(run)
    assert {path.stat().st_uid for path in [run, *run.rglob("*")]} == {USER.pw_uid}
    ends(ground.call("sample", checkpoint(run, 30), "--output", ground.home / "draws.nc", ranks=ranks), FINISHED)
    ends(ground.call("inspect", run, ground.home / "draws.nc"), FINISHED)


@one_and_two
@pytest.mark.parametrize("home", [None, "/nonexistent", "theirs"])
def test_no_home_is_needed(ground, ranks, home):
    (ground.folder / "theirs").mkdir(0o755)
    variables = {} if home is None else {"HOME": str(ground.folder / home)}
    run = ground.mine("work") / "run"
    ends(ground.train(run, ranks=ranks, without=["HOME"] if home is None else [], **variables), FINISHED)
    assert (run / "DONE").is_file() and not list((ground.folder / "theirs").iterdir())


def test_one_rank_needs_no_folder_for_temporary_files(ground):
    (ground.folder / "theirs").mkdir(0o755)
    ends(ground.train(ground.home / "run", TMPDIR=str(ground.folder / "theirs")), FINISHED)


@two_users
def test_files_of_another_are_read(ground):
    """Another's data, checkpoints and runs are only read; nothing is written beside them."""
    theirs = ground.folder / "theirs"
    ends(program.run(*program.train(theirs, {}, ground.config)), FINISHED)
    before = contents(theirs)
    ends(ground.call("inspect", theirs), FINISHED)
    ends(ground.call("sample", checkpoint(theirs, 30), "--output", ground.home / "draws.nc"), FINISHED)
    ends(ground.train(ground.home / "run", {"run.iterations": 40}, "--resume", checkpoint(theirs, 30)), FINISHED)
    assert iterations_recorded(ground.home / "run")[-1] == 40 and contents(theirs) == before


# --- what one may not read ----------------------------------------------------------------------------------
@one_and_two
def test_a_configuration_that_cannot_be_read(ground, ranks):
    ground.locked(ground.config)
    refused(ground.train(ground.home / "run", ranks=ranks), CONFIGURATION, ground.config, MESSAGE)
    assert not (ground.home / "run").exists()


@one_and_two
@pytest.mark.parametrize("key, more", [("data.path", {"data.type": "file"}),
                                       ("energy.path", {"energy.type": "torchscript"})])
def test_a_file_that_cannot_be_read(ground, ranks, key, more):
    (ground.folder / "file").write_bytes(b"here")
    path = ground.locked(ground.folder / "file")
    result = ground.train(ground.home / "run", {**more, key: path, "data.range": "[-1,1]"}, ranks=ranks)
    refused(result, INPUT_OUTPUT, path, MESSAGE)
    assert not unfinished(ground.home) and not list(ground.home.rglob("iteration-*"))


@one_and_two
def test_a_checkpoint_that_cannot_be_read(ground, trained, ranks):
    path = ground.locked(checkpoint(trained, 30))
    refused(ground.call("sample", path, "--output", ground.home / "draws.nc", ranks=ranks), INPUT_OUTPUT, path, MESSAGE)
    refused(ground.train(ground.home / "branch", {}, "--resume", path, ranks=ranks), INPUT_OUTPUT, path, MESSAGE)
    result = ends(ground.call("inspect", path), INPUT_OUTPUT)
    assert result.stderr.count("\n") == 1 and MESSAGE in result.stdout + result.stderr
    assert not (ground.home / "draws.nc").exists() and not unfinished(ground.home)


def test_a_run_that_cannot_be_entered(ground, trained):
    ground.locked(trained)
    result = ends(ground.call("inspect", trained), INPUT_OUTPUT)
    assert result.stderr.count("\n") == 1 and str(trained) in result.stderr and MESSAGE in result.stderr
    path = checkpoint(trained, 30)
    refused(ground.call("sample", path, "--output", ground.home / "draws.nc"), INPUT_OUTPUT, path, MESSAGE)


# --- where one may not write ------------------------------------------------------------------------------
@one_and_two
def test_a_folder_that_cannot_be_written(ground, ranks):
    """Neither a run in it nor it as a run."""
    theirs = ground.mine("theirs")
    if ROOT_TESTS:
        os.chown(theirs, 0, 0)
    theirs.chmod(0o555)
    for directory in (theirs, theirs / "run"):
        said = refused(ground.train(directory, ranks=ranks), INPUT_OUTPUT, directory, MESSAGE)
        assert "--run-directory" in said
    assert list(theirs.iterdir()) == []


@one_and_two
def test_draws_cannot_be_written(ground, trained, ranks):
    (ground.folder / "theirs").mkdir(0o555)
    output = ground.folder / "theirs" / "draws.nc"
    refused(ground.call("sample", checkpoint(trained, 30), "--output", output, ranks=ranks), INPUT_OUTPUT, output, MESSAGE)
    assert list(output.parent.iterdir()) == []


@pytest.mark.parametrize("name", ["checkpoints", "samples"])
def test_a_folder_of_the_run_cannot_be_written(ground, trained, name):
    (trained / name).chmod(0o555)
    before = contents(trained)
    refused(ground.train(trained, {"run.iterations": 40}), INPUT_OUTPUT, trained / name, MESSAGE)
    assert contents(trained) == before and not unfinished(trained)


@pytest.mark.parametrize("name", ["metrics.csv", "log.txt"])
@two_users
def test_a_file_of_the_run_is_anothers(ground, trained, name):
    """As after a start as root. What is replaced may be another's; what is appended to may not."""
    os.chown(trained / name, 0, 0)
    result = ground.train(trained, {"run.iterations": 40})
    if result.returncode != FINISHED:
        refused(result, INPUT_OUTPUT, trained / name, MESSAGE)
    assert not unfinished(trained)


def share(path):
    """Lets everyone write a run, as a group's run on a project's file system."""
    for one in [path, *path.rglob("*")]:
        one.chmod(0o777 if one.is_dir() else 0o666)


@two_users
@pytest.mark.parametrize("hidden", [False, True])
def test_the_living_run_of_another_user(ground, hidden):
    """Clusters hide the processes of others (hidepid)."""
    hide = ["unshare", "--mount", "sh", "-c", 'mount -t proc -o hidepid=2 none /proc && exec "$@"', "sh"]
    if hidden and subprocess.run([*hide, *as_user("/"), "test", "!", "-e", "/proc/1"]).returncode != 0:
        pytest.skip("needs to mount /proc with hidepid")
    run = ground.folder / "run"
    values = {"run.iterations": 1000000, "checkpoint.every": "null"}
    with Process(launched([program.PROGRAM, *program.train(run, values, ground.config)], 1)) as first:
        first.wait_for(lambda: rows_so_far(run) >= 5, "iterations")
        share(run)
        owner = (run / "owner.json").read_text()
        result = ground.train(run, values, before=hide if hidden else ())
        refused(result, INPUT_OUTPUT, run, "in use", first.ranks()[0])
        assert (run / "owner.json").read_text() == owner
        kill(first.ranks()[0], signal.SIGUSR1)
        ends(first.finish(), REQUEUE)


@two_users
def test_the_dead_run_of_another_user(ground):
    """One that may be written goes on; else it is left as it is."""
    run = ground.folder / "run"
    values = {"run.iterations": 1000000, "checkpoint.every": 5}
    with Process(launched([program.PROGRAM, *program.train(run, values, ground.config)], 1)) as first:
        first.wait_for(lambda: rows_so_far(run) >= 20, "iterations")
        kill(first.ranks()[0], signal.SIGKILL)
        first.finish()
    before = contents(run)
    refused(ground.train(run, {**values, "run.iterations": 10}), INPUT_OUTPUT, run, MESSAGE)
    assert contents(run) == before
    share(run)
    end = rows_so_far(run) + 10
    ends(ground.train(run, {**values, "run.iterations": end}), FINISHED)
    assert iterations_recorded(run) == list(range(1, end + 1))


# --- what MPI needs ---------------------------------------------------------------------------------------
def test_no_folder_for_temporary_files(ground):
    """Open MPI's mpirun says so, and no rank starts. MPICH needs none."""
    (ground.folder / "theirs").mkdir(0o555)
    result = ground.train(ground.home / "run", ranks=2, TMPDIR=str(ground.folder / "theirs"))
    if program.is_mpich():
        ends(result, FINISHED)
        return
    assert result.returncode not in (FINISHED, REQUEUE) and not (ground.home / "run").exists()
    assert result.stderr  # mpirun's own words


@two_users
@one_and_two
def test_no_shared_memory(ground, ranks):
    """/dev/shm that may not be written, or is full: Open MPI goes other ways or the end is a documented one."""
    before = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o ro,size=64k none /dev/shm && exec "$@"', "sh"]
    if subprocess.run([*before, "true"], capture_output=True).returncode != 0:
        pytest.skip("needs to mount a file system")
    run = ground.home / "run"
    result = ground.train(run, ranks=ranks, before=before)
    if result.returncode != FINISHED:
        if program.is_mpich() and ranks == 2:  # MPI_Init fails, and MPICH itself ends the ranks
            said = result.stdout + result.stderr  # its launcher puts libraries' words in either
            assert "Shared memory" in said or "UCX" in said, said
        else:
            refused(result, INPUT_OUTPUT, "/dev/shm", lines=None)
        ends(ground.train(run, ranks=ranks), FINISHED)  # once it is there again
    assert json.loads((run / "run.json").read_text())["verdict"] == "finished"
    assert not unfinished(ground.home)

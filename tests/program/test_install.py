"""A tree that `cmake --install` made works where it was moved to, read-only, for another user, without the checkout."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import pytest

from program import FINISHED, LIMIT, PROGRAM, QUICK, ROOT, ends, environment, launched, settings

NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
PACKAGES = f"python3.{sys.version_info.minor}"
SHORT = settings({**QUICK, "run.iterations": 3})


@pytest.fixture(scope="module")
def folder():
    """One that every user may enter: pytest's are their owner's."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield pathlib.Path(name)


def install(prefix, **variables):
    """As a careful administrator does: what is made is closed to others at first."""
    installed = subprocess.run(["cmake", "--install", pathlib.Path(PROGRAM).parent, "--prefix", prefix], umask=0o077,
                               env={**os.environ, **variables}, capture_output=True, text=True)
    assert installed.returncode == 0, installed.stderr


@pytest.fixture(scope="module")
def tree(folder):
    private = folder / "first" / "bin" / "private"  # what lay in the prefix before stays as it was
    private.parent.mkdir(parents=True)
    private.touch(0o600)
    install(folder / "first")
    assert private.stat().st_mode & 0o777 == 0o600
    private.unlink()
    (folder / "first").rename(folder / "moved")
    subprocess.run(["chmod", "-R", "a-w", folder / "moved"], check=True)
    yield folder / "moved"
    subprocess.run(["chmod", "-R", "u+w", folder / "moved"], check=True)


def may_run(path):
    return subprocess.run([*NOBODY, path, "-c", ""], capture_output=True).returncode == 0


class Other:
    """Another user with a folder of its own, who sees neither the checkout nor what was set up for it."""

    def __init__(self, folder, tree):
        self.folder, self.tree = folder / "home", tree
        self.folder.mkdir()
        os.chown(self.folder, 65534, 65534)
        launcher = pathlib.Path(launched([""], 2)[0])
        places = [shutil.which(PACKAGES, path=f"/usr/local/bin:/usr/bin:{os.environ['PATH']}") or "/usr/bin/none",
                  shutil.which(launcher) or "/usr/bin/none"]
        self.path = ":".join([*(os.path.dirname(place) for place in places), "/usr/bin", "/bin"])
        self.python = shutil.which("python3", path=self.path)

    def has_python(self):
        """A python3 of the minor version that the tree's packages are for."""
        return bool(self.python) and may_run(self.python) and os.path.realpath(self.python).endswith(PACKAGES)

    def call(self, *command, **variables):
        hidden = {str(ROOT), os.path.realpath(ROOT / ".deps"), str(pathlib.Path(PROGRAM).resolve().parent)}
        mounts = " && ".join(f"mount -t tmpfs none '{path}'" for path in sorted(hidden, reverse=True))
        mine = {name: value for name, value in environment().items()
                if not name.startswith(("STANLEY_", "PYTHON", "LD_", "XDG_"))}
        return subprocess.run(
            ["unshare", "-m", "sh", "-c", f'{mounts} && exec "$@"', "sh", *NOBODY, *map(str, command)], cwd=self.folder,
            env={**mine, "HOME": str(self.folder), "PATH": self.path, "STANLEY_MPIRUN": launched([""], 2)[0],
                 **variables}, capture_output=True, text=True,
            timeout=LIMIT)


@pytest.fixture(scope="module")
def other(folder, tree):
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
        pytest.skip("needs to hide the checkout: unshare -m is refused here")
    return Other(folder, tree)


@pytest.fixture
def with_python(other):
    if not other.has_python():
        pytest.skip(f"no python3 of version {PACKAGES} that every user may run")
    return other


def test_a_tree_holds_what_runs_and_nothing_that_builds(tree):
    assert {path.name for path in tree.iterdir()} == {"bin", "lib", "tools", "jobs", "configs", "README.md", "LICENSE",
                                                      ".readme"}
    for name in (".readme/CHANGELOG.md", "configs/README.md", "jobs/README.md", "tools/README.md"):
        assert (tree / name).is_file(), name
    for name in ("tools/setup.sh", "tools/cmake", "tools/compare_peers.py", "jobs/spack", "jobs/container.def"):
        assert not (tree / name).exists(), name
    dynamic = subprocess.run(["readelf", "-d", tree / "bin" / "stanley"], capture_output=True, text=True, check=True)
    assert re.search(r"R(UN)?PATH.*\[\$ORIGIN/\.\./lib/stanley/torch/lib", dynamic.stdout), dynamic.stdout


def test_a_tree_has_the_jobs_and_the_package_of_its_tools(tree):
    modes = {path.name: path.stat().st_mode & 0o111 for path in (tree / "jobs").iterdir() if path.suffix != ".md"}
    assert {name for name, runs in modes.items() if not runs} == {"job.bash", "training.bash", "site.sh"}
    package = tree / "tools" / "stanley_tools"
    assert (package / "report" / "style.css").is_file() and not (package / "peers").exists()


def test_the_program_runs_for_another_user(other, tree):
    program = tree / "bin" / "stanley"
    said = ends(other.call(program, "--version"), FINISHED).stdout
    assert re.fullmatch(r"stanley \d+\.\d+\S* \([0-9a-f]{12}(-dirty)?\)\n|stanley \d\S* \(unknown\)\n", said)
    for ranks in (1, 2):
        train = [program, "train", tree / "configs" / "smoke.yaml", "--run-directory", f"run-{ranks}", *SHORT]
        ends(other.call(*launched(train, ranks)), FINISHED)
    ends(other.call(program, "inspect", "run-1", "run-2"), FINISHED)


def test_a_staged_tree_is_entered_by_others_through_every_folder_that_was_made(other, folder):
    stage = folder / "stage"
    install("/opt/sites/stanley", DESTDIR=str(stage))
    assert not pathlib.Path("/opt/sites/stanley").exists()
    ends(other.call(stage / "opt" / "sites" / "stanley" / "bin" / "stanley", "--version"), FINISHED)
    shutil.rmtree(stage)


def test_the_tools_run_with_a_python_of_the_same_version(with_python, tree):
    train = [tree / "bin" / "stanley", "train", tree / "configs" / "smoke.yaml", "--run-directory", "reported", *SHORT]
    ends(with_python.call(*train), FINISHED)
    ends(with_python.call(tree / "tools" / "report.py", "reported"), FINISHED)
    assert (with_python.folder / "reported" / "report.html").stat().st_uid == 65534
    ends(with_python.call(tree / "tools" / "convert_images.py", "--help"), FINISHED)


def test_local_sh_writes_where_its_user_stands(with_python, tree):
    result = ends(with_python.call(tree / "jobs" / "local.sh", "configs/smoke.yaml", "--", *SHORT), FINISHED)
    assert "[1/3" in result.stdout and "set-up" not in result.stdout
    assert (with_python.folder / "runs" / "smoke" / "report.html").is_file()


SBATCH = """#!/bin/bash
# Runs a copy of the job from the folder that it was submitted in, as Slurm does.
while [[ $1 == --* ]]; do shift; done
cp "$1" "$HOME/slurm_script"
cd /
SLURM_SUBMIT_DIR=$OLDPWD SLURM_NTASKS=1 exec bash "$HOME/slurm_script" "${@:2}"
"""


def test_jobs_are_submitted_from_any_folder(with_python, tree):
    home = with_python.folder
    (home / "sbatch").write_text(SBATCH)
    (home / "sbatch").chmod(0o755)
    (home / "site.sh").write_text('node_kind=cpu\n. "$STANLEY_HOME/jobs/site.sh"\nlauncher=mpirun\n'
                                  f'mpirun={launched([""], 2)[0]}\n')
    result = with_python.call(tree / "jobs" / "submit.sh", "jobs/train.sbatch", "configs/smoke.yaml", "--run-directory",
                              "submitted", *SHORT, STANLEY_SITE=str(home / "site.sh"),
                              PATH=f"{home}:{with_python.path}")
    ends(result, FINISHED)
    assert "finished: submitted" in result.stdout and (home / "submitted" / "DONE").exists()


def test_without_its_libtorch_the_program_does_not_start(other, tree, folder):
    """The tree's LibTorch is what it runs with: the test of the tests above."""
    torch = tree / "lib" / "stanley" / "torch"
    torch.rename(folder / "away")
    try:
        assert "libtorch_cpu.so" in other.call(tree / "bin" / "stanley", "--version").stderr
    finally:
        (folder / "away").rename(torch)

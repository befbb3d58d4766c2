"""What the program owes to a person whose input is wrong, and small file systems to break it with."""
import contextlib
import pathlib
import re
import subprocess

import pytest

from program import LIMIT, SMOKE, ends, run, train, unfinished


def refused(result, code, *words, lines=1):
    """Checks the exit code and that there is one message, of so many lines, with these words."""
    ends(result, code)
    said = result.stderr
    assert said.startswith("stanley: ") and len(re.findall("^stanley: ", said, re.MULTILINE)) == 1, said
    assert lines is None or said.count("\n") == lines, said
    for word in words:
        assert str(word) in said
    return said


def untouched(directory):
    """A run that never began leaves at most its log and its verdict."""
    directory = pathlib.Path(directory)
    left = {path.name for path in directory.rglob("*") if not path.is_dir()}
    assert left <= {"log.txt", "run.json"} and not unfinished(directory)


def no_gpu():
    return not pathlib.Path("/proc/driver/nvidia").exists()


def contents(directory):
    """The files of a run that a refused start must not change."""
    return {path: path.read_bytes() for path in pathlib.Path(directory).rglob("*")
            if path.is_file() and path.name not in ("log.txt", "run.json")}


def train_here(tmp_path, values=(), config=SMOKE, *more, ranks=1, **variables):
    return run(*train(tmp_path / "run", values, config, *more), ranks=ranks, limit=LIMIT, **variables)


@contextlib.contextmanager
def mounted(path, size, *more):
    """A small file system of its own at `path`."""
    path.mkdir(exist_ok=True)
    options = ",".join([f"size={size}", *more])
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", path], capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"needs to mount a file system: {made.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)

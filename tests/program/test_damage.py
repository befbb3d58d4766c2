"""Damage to checkpoints is found at the next start, named, and the checkpoint before is used: design §7.

One start examines the checkpoints from the newest to the first sound one, so it meets many damages.
"""
import os
import random
import re
import shutil

import h5py
import pytest

from digests import digested
from program import (FINISHED, INPUT_OUTPUT, checkpoint, ends, iterations_recorded, metrics, run, same_bits, train,
                     unfinished)

LENGTH = 20
VALUES = {"run.iterations": LENGTH, "checkpoint.every": 1, "checkpoint.keep_last": LENGTH,
          "run.reproducible": "true"}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A finished run with a checkpoint of each iteration."""
    directory = tmp_path_factory.mktemp("sound") / "run"
    ends(run(*train(directory, VALUES)), FINISHED)
    return directory


@pytest.fixture
def directory(tmp_path, sound):
    """A copy of it that looks as if its end had not been reached."""
    shutil.copytree(sound, tmp_path / "run", symlinks=True)
    (tmp_path / "run" / "DONE").unlink()
    return tmp_path / "run"


def flip(path, place, bit):
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1 << bit]))


def flip_in(path, generator, digests):
    """Flips a bit of a random array, or of its digests; every array is as likely as another.
    Returns a pattern of what must be said."""
    with h5py.File(path) as file:
        name = generator.choice(digested(file))
        array = file["digests"][name] if digests else file[name]
        place = generator.randrange(array.id.get_storage_size())
        begin, shards = array.id.get_offset(), int(file["digests"][name].attrs["shards"])
        shard = place * max(shards, 1) // array.id.get_storage_size()
    flip(path, begin + place, generator.randrange(8))
    return f"'{name}'.*" + (f" shard {shard}$" if shards else "")


def cut(path, generator):
    """Cuts between one byte and all of them from the end."""
    size = path.stat().st_size
    lost = generator.choice([1, generator.randint(1, 64), generator.randint(1, size), size])
    os.truncate(path, size - lost)
    return r".*\w"


DAMAGES = {
    "array": lambda path, generator: flip_in(path, generator, False),
    "digest": lambda path, generator: flip_in(path, generator, True),
    "tail": cut,
}


def right_in_the_end(directory, sound):
    same_bits(checkpoint(sound, LENGTH), checkpoint(directory, LENGTH))
    assert metrics(directory) == metrics(sound)
    assert iterations_recorded(directory) == list(range(1, LENGTH + 1)) and not unfinished(directory)


def passes_over(result, directory, patterns):
    """Says the start of each damaged checkpoint which it is and why, newest first, and of no other?"""
    said = re.findall(r"passed over (\S+): (.*)", result.stdout)
    assert [path for path, _ in said] == [str(checkpoint(directory, iteration)) for iteration in patterns]
    for (path, reason), pattern in zip(said, patterns.values()):
        assert re.search(pattern, reason), f"{path}: {reason} doesn't match {pattern}"


# 200 places of damage in 12 starts.
@pytest.mark.parametrize("kind, count, seed, ranks", [
    *(("array", LENGTH, seed, 1) for seed in range(4)), ("array", LENGTH, 4, 2), ("array", 1, 5, 1), ("array", 9, 6, 1),
    *(("digest", LENGTH, seed, 1) for seed in range(2)), ("digest", 10, 2, 2),
    *(("tail", LENGTH, seed, 1) for seed in range(2)),
])
def test_damage_is_found(directory, sound, kind, count, seed, ranks):
    generator = random.Random(f"{kind} {seed}")
    patterns = {iteration: DAMAGES[kind](checkpoint(directory, iteration), generator)
                for iteration in range(LENGTH, LENGTH - count, -1)}
    result = ends(run(*train(directory, VALUES), ranks=ranks), FINISHED)
    passes_over(result, directory, patterns)
    assert f"goes on from {checkpoint(directory, LENGTH - count)}" in result.stdout
    right_in_the_end(directory, sound)


def test_flips_anywhere_are_found_or_harmless(directory, sound):
    """In what describes the arrays, too, and in bytes that nobody uses."""
    generator = random.Random(1)
    for start in range(5):
        for iteration in range(1, LENGTH + 1):
            path = checkpoint(directory, iteration)
            flip(path, generator.randrange(path.stat().st_size), generator.randrange(8))
        (directory / "DONE").unlink(missing_ok=True)
        ends(run(*train(directory, VALUES)), FINISHED)
        right_in_the_end(directory, sound)


@pytest.mark.parametrize("kind", DAMAGES)
def test_nothing_sound_is_left(directory, kind):
    """A start refuses, changes nothing and names them all."""
    generator = random.Random(kind)
    paths = sorted((directory / "checkpoints").glob("iteration-*.h5"))
    for path in paths:
        DAMAGES[kind](path, generator)
    before = {path: path.read_bytes() for path in [*paths, directory / "metrics.csv"]}
    result = ends(run(*train(directory, VALUES)), INPUT_OUTPUT)
    assert "none of the checkpoints" in result.stderr and all(str(path) in result.stderr for path in paths)
    assert before == {path: path.read_bytes() for path in before} and not (directory / "DONE").exists()
    assert sorted((directory / "checkpoints").glob("iteration-*.h5")) == paths

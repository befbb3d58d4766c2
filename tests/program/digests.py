"""Recomputes the digests of a checkpoint's arrays, and gives changed ones theirs: design §7."""
import sys

import h5py
import numpy
import xxhash

from program import ROOT, checkpoint

sys.path.insert(0, str(ROOT / "tools"))
from stanley_tools.data import seal  # noqa: E402


def reseal(path):
    """Gives a changed file a seal of its own again, as a file that was written so."""
    seal.seal(path)


def poison(directory, iteration, chain):
    """A NaN in one chain of a checkpoint, with the digest and the seal that fit: as if the run had computed it."""
    with h5py.File(checkpoint(directory, iteration), "r+") as file:
        states = file["chains/state"]
        states[chain, 0] = numpy.nan
        digests = file["digests/chains/state"]
        rows = len(states) // len(digests)
        for shard in range(len(digests)):
            part = states[shard * rows:(shard + 1) * rows]
            digests[shard] = xxhash.xxh3_64_intdigest(numpy.ascontiguousarray(part).tobytes())
    reseal(checkpoint(directory, iteration))


def digested(file):
    """Names of the arrays that have digests, in an open checkpoint."""
    names = []
    file["digests"].visititems(
        lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names


def wrong_arrays(path):
    """Names of the arrays that don't agree with their digests; [] for a sound checkpoint."""
    wrong = []
    with h5py.File(path) as file:
        names = digested(file)
        assert {"chains/state", "chains/age", "chains/restarts"} <= set(names), names
        for name in names:
            content, digests = file[name][()].tobytes(), file["digests"][name][()]
            part = len(content) // len(digests)
            found = [xxhash.xxh3_64_intdigest(content[k * part:(k + 1) * part]) for k in range(len(digests))]
            if found != list(digests):
                wrong.append(name)
    return wrong

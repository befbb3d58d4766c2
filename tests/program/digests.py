"""Recomputes the digests of a checkpoint's arrays: design §7."""
import sys

import h5py
import xxhash

from program import ROOT

sys.path.insert(0, str(ROOT / "tools"))
from stanley_tools.data import seal  # noqa: E402


def reseal(path):
    """Gives a changed file a seal of its own again, as a file that was written so."""
    seal.seal(path)


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

"""Recomputes the digests of a checkpoint's arrays: design §7."""
import h5py
import xxhash


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

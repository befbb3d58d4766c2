"""Seals an HDF5 file: src/storage/seal.hpp says what that is and how it stands at the file's end."""
import struct

import h5py
import xxhash

MARK = b"STANLEY1"
PIECE = 1 << 22  # bytes that are read at a time


def digested_extents(path):
    """Lists (first byte, bytes) of the values that have a checksum of their own: a split's images, contiguous."""
    extents = []

    def visit(name, item):
        if name.endswith("/images") and "checksum" in item.parent.attrs and item.id.get_storage_size():
            extents.append((item.id.get_offset(), item.id.get_storage_size()))

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return sorted(extents)


def digest_beside(path, extents):
    """Digests all bytes of a file but these."""
    state = xxhash.xxh3_64()
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        begin = 0
        for first, count in [*extents, (size, 0)]:
            file.seek(begin)
            while begin < first:
                piece = file.read(min(PIECE, first - begin))
                state.update(piece)
                begin += len(piece)
            begin = first + count
    return state


def seal(path):
    """Appends the seal to a complete, closed file."""
    extents = digested_extents(path)
    state = digest_beside(path, extents)
    table = b"".join(struct.pack("<QQ", *extent) for extent in extents) + struct.pack("<Q", len(extents))
    state.update(table)
    with open(path, "ab") as file:
        file.write(table + struct.pack("<Q", state.intdigest()) + MARK)

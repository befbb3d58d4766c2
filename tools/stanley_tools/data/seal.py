"""Seals an HDF5 file: src/storage/seal.hpp says what that is and how it stands at the file's end."""
import os
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


def digest_beside(path, extents, end):
    """Digests the first `end` bytes of a file but these."""
    state = xxhash.xxh3_64()
    with open(path, "rb") as file:
        begin = 0
        for first, count in [*extents, (end, 0)]:
            file.seek(begin)
            while begin < first:
                piece = file.read(min(PIECE, first - begin))
                if not piece:
                    return state  # shorter than it says: no digest agrees
                state.update(piece)
                begin += len(piece)
            begin = first + count
    return state


def is_whole(path):
    """Whether a file agrees with the seal at its end."""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        if size < 24:
            return False
        file.seek(size - 24)
        count, digest = struct.unpack("<QQ", file.read(16))
        if file.read(8) != MARK or 16 * count + 24 > size:
            return False
        end = size - 24 - 16 * count
        file.seek(end)
        table = file.read(16 * count + 8)
    extents = [struct.unpack_from("<QQ", table, 16 * i) for i in range(count)]
    state = digest_beside(path, extents, end)
    state.update(table)
    return state.intdigest() == digest


def seal(path):
    """Appends the seal to a complete, closed file."""
    extents = digested_extents(path)
    state = digest_beside(path, extents, os.path.getsize(path))
    table = b"".join(struct.pack("<QQ", *extent) for extent in extents) + struct.pack("<Q", len(extents))
    state.update(table)
    with open(path, "ab") as file:
        file.write(table + struct.pack("<Q", state.intdigest()) + MARK)

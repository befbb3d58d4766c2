"""What is compiled for one instruction set stays in its namespace: the linker keeps one of all functions of a name, and
one with AVX-512 in it would end the program on processors without.

usage: test_objects.py reads the objects in the folder of the program STANLEY_PROGRAM.
"""
import os
import pathlib
import re
import subprocess

import pytest

BUILD = pathlib.Path(os.environ.get("STANLEY_PROGRAM", ".build/release/stanley")).parent
SETS = ["plain", "v3", "v4", "v4_bfloat16"]


def objects_of(name):
    return sorted((BUILD / "src/CMakeFiles" / f"stanley_kernels_{name}.dir/kernels/vectors").glob("*.o"))


def shared_symbols(file):
    """What the linker may take from another object, or give to one: [(kind, name)]."""
    listed = subprocess.run(["nm", "-C", "--defined-only", file], check=True, capture_output=True, text=True).stdout
    symbols = [line.split(maxsplit=2)[1:] for line in listed.splitlines()]
    return [(kind, name) for kind, name in symbols if kind.isupper() or kind in "uvw"]


def strangers(file, namespace):
    return [name for _, name in shared_symbols(file) if not re.match(rf"(\w+ )*stanley::{namespace}::", name)]


@pytest.mark.parametrize("name", SETS)
def test_a_set_keeps_to_its_namespace(name):
    objects = objects_of(name)
    if not objects:
        pytest.skip(f"not built for {name} here")
    for file in objects:
        assert shared_symbols(file), f"{file} defines nothing"
        assert not strangers(file, name), file


def test_a_stranger_is_found(tmp_path):
    source = tmp_path / "stranger.cpp"
    source.write_text("#include <vector>\n"
                      "namespace stanley::v4 { int first(const std::vector<int>& of) { return of.at(0); }\n"
                      "void grow(std::vector<int>& one) { one.push_back(1); } }\n")
    built = tmp_path / "stranger.o"
    subprocess.run(["c++", "-O2", "-c", source, "-o", built], check=True)
    assert any("std::vector" in name for name in strangers(built, "v4"))

"""The network that tools/export_features.py writes is what the protocol `public` is pinned to, and the same weights with
another forward are not.
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import h5py
import numpy
import xxhash

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "program"), str(ROOT / "tools")]

from program import CONFIGURATION, FINISHED, PROGRAM, SMOKE, ends, run  # noqa: E402
from stanley_tools.features.export import main as export  # noqa: E402


def with_twice_the_features(whole, altered):
    """The same weights; the mean over positions is doubled."""
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(altered, "w") as target:
        for member in source.namelist():
            content = source.read(member)
            if member.endswith("/export.py"):
                assert content.count(b"return _25") == 1
                content = content.replace(b"return _25", b"return torch.mul(_25, 2)")
            target.writestr(member, content)
    description = json.loads(whole.with_suffix(".json").read_text())
    description["digest"] = xxhash.xxh3_64(altered.read_bytes()).hexdigest()
    altered.with_suffix(".json").write_text(json.dumps(description))


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        images = numpy.random.default_rng(1).uniform(-1, 1, (40, 1, 1, 8, 8)).astype(numpy.float32)
        with h5py.File(folder / "data.h5", "w") as file:
            file.attrs["schema_version"], file.attrs["value_range"] = "1.0", [-1.0, 1.0]
            file["test/images"] = images[:, 0]
        command = [PROGRAM, "config", SMOKE, "--set", "data.range=[-1, 1]", "--resolved"]
        with h5py.File(folder / "draws.nc", "w") as file:
            file.attrs["configuration"] = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            file["posterior/x"] = images
        assert export(["--output", str(folder / "public.pt")]) == 0
        with_twice_the_features(folder / "public.pt", folder / "doubled.pt")
        about = ("evaluate", folder / "draws.nc", "--data", folder / "data.h5", "--features")
        ends(run(*about, folder / "public.pt"), FINISHED)
        said = ends(run(*about, folder / "doubled.pt"), CONFIGURATION).stderr
        assert "protocol public means code with the digest" in said, said
        ends(run(*about, folder / "doubled.pt", "--protocol", "doubled"), FINISHED)
    print("the protocol public takes what the tool exports, and no other code with its weights")


if __name__ == "__main__":
    main()

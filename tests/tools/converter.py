"""Runs tools/convert_images.py, as a process or in this one, and reads what it wrote."""
import contextlib
import gzip
import io
import json
import pathlib
import struct
import subprocess
import sys
import types

import h5py

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools" / "convert_images.py"
sys.path.insert(0, str(TOOL.parent))
import stanley_tools.data.convert  # noqa: E402


def run(*arguments):
    """Runs the tool as a user does."""
    command = [sys.executable, TOOL, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def refused(code, *arguments):
    """Runs the tool, checks the exit code, one sentence and no traceback; returns the sentence."""
    result = run(*arguments)
    assert result.returncode == code, result.stderr
    assert result.stderr.count("\n") == 1 and "Traceback" not in result.stderr
    return result.stderr


def convert(source, output, *options):
    """Runs the tool in this process; returns its exit code, what it said on stdout and stderr."""
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2)]
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        try:
            code = stanley_tools.data.convert.main([str(source), "--output", str(output), *map(str, options)])
        except SystemExit as error:
            code = error.code
    for stream in streams:
        stream.flush()
    out, err = (stream.buffer.getvalue().decode() for stream in streams)
    assert "Traceback" not in err, err
    return types.SimpleNamespace(code=code, out=out, err=err)


def converted(source, output, *options):
    """What the file of a source holds, as arrays in memory, and what the tool said."""
    result = convert(source, output, *options)
    assert result.code == 0, result.err
    with h5py.File(output) as file:
        names = file.attrs.get("class_names")
        splits = {name: types.SimpleNamespace(images=group["images"][:],
                                              labels=group["labels"][:].tolist() if "labels" in group else None)
                  for name, group in file.items()}
        return types.SimpleNamespace(names=None if names is None else list(names), said=result.out,
                                     warned=result.err, provenance=json.loads(file.attrs["provenance"]),
                                     splits=splits, **splits)


def complaint(code, source, output, *options):
    """The one sentence with which the tool refuses a source; nothing is left of the output."""
    result = convert(source, output, *options)
    assert result.code == code, result.err
    assert result.err.count("\n") == 1 and result.err.startswith("convert_images: ")
    assert not list(output.parent.glob(output.name + ".part.*"))
    return result.err


IDX_CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def write_idx(path, array):
    big = array.astype(array.dtype.newbyteorder(">"))
    code = IDX_CODES[array.dtype.str[1:]]
    content = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape) + big.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)

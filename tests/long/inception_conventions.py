"""Compares the Inception network and what reaches it by the three conventions of FID with torch-fidelity and clean-fid.

The published weights can't be had without a network: random ones say whether both networks are one.
"""
import importlib
import os
import pathlib
import subprocess
import sys
import tempfile
import types

import h5py
import numpy
import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "program"), str(ROOT / "tools")]

from program import PROGRAM, SMOKE  # noqa: E402
from stanley_tools.features import inception  # noqa: E402
from stanley_tools.features.export import export  # noqa: E402


def module_of(package, name):
    """A module of a package whose own imports aren't all there."""
    folder = next(pathlib.Path(entry) / package for entry in sys.path if (pathlib.Path(entry) / package).is_dir())
    stand_in = types.ModuleType(package)
    stand_in.__path__ = [str(folder)]
    sys.modules[package] = stand_in
    return importlib.import_module(f"{package}.{name}")


def random_network():
    torch.manual_seed(1)
    network = inception.build().eval()
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            for numbers, low, high in ((part.running_mean, -.2, .2), (part.running_var, .5, 1.5),
                                       (part.weight.data, .5, 1.5), (part.bias.data, -.2, .2)):
                numbers.uniform_(low, high)
        elif isinstance(part, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(part.weight)
    return network


def check_network(folder):
    """Torch-fidelity reads a file of our names, and makes the same of bytes as we of what it resizes."""
    extractor = module_of("torch_fidelity", "feature_extractor_inceptionv3")
    network = random_network()
    torch.save({**network.state_dict(), "fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)},
               folder / "weights.pth")
    theirs = extractor.FeatureExtractorInceptionV3("one", ["2048"], str(folder / "weights.pth"))
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    resized = extractor.interpolate_bilinear_2d_like_tensorflow1x(images.float(), size=(299, 299), align_corners=False)
    with torch.no_grad():
        expected, found = theirs(images)[0], inception.load(folder / "weights.pth").eval()((resized - 128) / 128)
    difference = float((found - expected).abs().max() / expected.abs().max())
    print(f"network: {difference:.1e} of the greatest feature")
    assert difference < 1e-5


class Pixels(torch.nn.Module):
    def forward(self, images):
        return images.flatten(1)


def reaches(convention, images, folder):
    """What `stanley evaluate` hands to the network: float32 (n, 3, 299, 299)."""
    data, module = folder / f"{convention}.h5", folder / f"{convention}.pt"
    with h5py.File(data, "w") as file:
        file.attrs["schema_version"], file.attrs["value_range"] = "1.0", [0, 255]
        file["test/images"] = images
    count = 3 * inception.SIZE**2
    shown = {"channels": 3, "height": 299, "width": 299, **inception.CONVENTIONS[convention], "eight_bits": True}
    export(torch.jit.script(Pixels()), {"name": "pixels", "dimension": count, "input": shown}, module)
    config = subprocess.run([PROGRAM, "config", SMOKE, "--set", "data.range=[-1, 1]", "--resolved"], capture_output=True,
                            text=True, check=True).stdout
    with h5py.File(folder / "draws.nc", "w") as file:
        file.attrs["configuration"], file["posterior/x"] = config, numpy.zeros((1, 1, *images.shape[1:]), "float32")
    subprocess.run([PROGRAM, "evaluate", folder / "draws.nc", "--data", data, "--features", module, "--protocol",
                    convention], check=True, stdout=subprocess.DEVNULL)
    (kept,) = (file for file in pathlib.Path(f"{data}.features").iterdir() if not file.suffix)
    return numpy.frombuffer(kept.read_bytes()[16:], numpy.float32).reshape(-1, 3, 299, 299)


def expected_by(convention, images):
    tensor = torch.from_numpy(images).float()
    if convention == "tensorflow":
        resize = module_of("torch_fidelity", "interpolate_compat_tensorflow").interpolate_bilinear_2d_like_tensorflow1x
        return ((resize(tensor, size=(299, 299), align_corners=False) - 128) / 128).numpy()
    if convention == "pytorch-fid":  # InceptionV3.forward of pytorch_fid/inception.py
        resized = torch.nn.functional.interpolate(tensor / 255, size=(299, 299), mode="bilinear", align_corners=False)
        return (2 * resized - 1).numpy()
    resize = module_of("cleanfid", "resize").build_resizer("clean")
    resized = numpy.stack([resize(image.transpose(1, 2, 0)).transpose(2, 0, 1) for image in images])
    return (resized - 128) / 128


def main():
    images = numpy.random.default_rng(2).integers(0, 256, (8, 3, 32, 32), dtype=numpy.uint8)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        check_network(folder)
        for convention in inception.CONVENTIONS:
            difference = abs(reaches(convention, images, folder) - expected_by(convention, images)).max()
            print(f"{convention}: {difference:.1e} of a range of 2")
            assert difference < 1e-5


if __name__ == "__main__":
    os.environ["HDF5_USE_FILE_LOCKING"] = "FALSE"
    main()

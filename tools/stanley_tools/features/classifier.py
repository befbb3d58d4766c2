"""Trains a small classifier on the labelled images of a data file and writes it as a feature network for
`stanley evaluate`: 64 features, and a second method, logits(features), that tells the classes.

The same data, seed, torch and kind of processor give the same weights, bit for bit.
Exit codes: 0 done, 2 usage, 3 a package is missing, 5 a file that can't be read or written.
"""
import argparse
import os
import pathlib
import sys

os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")  # read-only and network file systems

import h5py
import numpy as np

from ..data.errors import InputError, first_line, shown
from .export import export

FEATURES = 64
FIRST_CHANNELS = 16
LEARNING_RATE, BATCH = 5e-3, 128
LEAST_SIZE = 8  # pixels: three strides of two leave one


class Split:
    """The images of one split, float32 (sample, channel, height, width) from 0 to 1, and their labels."""

    def __init__(self, file, name):
        low, high = (float(value) for value in file.attrs.get("value_range", (0, 255)))
        images = file[f"{name}/images"]
        if images.ndim != 4 or min(images.shape[2:]) < LEAST_SIZE or images.shape[0] == 0:
            raise InputError(f"the split '{name}' has shape {images.shape}: expected images (sample, channel, height, "
                             f"width) of at least {LEAST_SIZE}×{LEAST_SIZE} pixels")
        if f"{name}/labels" not in file:
            raise InputError(f"the split '{name}' has no labels, and a classifier learns from labels: convert the "
                             "images with class folders or a file of labels")
        self.images = (images[:].astype(np.float32) - np.float32(low)) / np.float32(high - low)
        self.labels = file[f"{name}/labels"][:].astype(np.int64)
        if self.labels.shape != images.shape[:1] or self.labels.min() < 0:
            raise InputError(f"the labels of the split '{name}' don't fit its images")

    @property
    def classes(self):
        return int(self.labels.max()) + 1


class LabelledData:
    """The splits `train` and, where it has labels too, `test` of a data file, and the names of its classes."""

    def __init__(self, path):
        with h5py.File(path, "r") as file:
            if "train/images" not in file:
                raise InputError("it has no split 'train'")
            self.train = Split(file, "train")
            self.test = Split(file, "test") if "test/labels" in file else None
            names = [shown(name if isinstance(name, str) else name.decode(errors="replace"))
                     for name in file.attrs.get("class_names", ())]
        count = max(split.classes for split in (self.train, self.test) if split)
        most, of = (len(names), "it has names for") if names else (len(self.train.labels), "it has training images")
        if not 2 <= count <= most:
            raise InputError(f"its labels name {count} classes: expected two or more, and no more than {of} ({most})")
        self.names = names or [str(number) for number in range(count)]


def build(channels, classes):
    """Three strided convolutions; the features are the means over positions of the last one's map."""
    import torch
    from torch import nn

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            widths = [channels, FIRST_CHANNELS, 2 * FIRST_CHANNELS, FEATURES]
            self.convolutions = nn.ModuleList(
                nn.Conv2d(before, after, 3, stride=2, padding=1) for before, after in zip(widths, widths[1:]))
            self.output = nn.Linear(FEATURES, classes)

        def forward(self, images):
            x = images
            for convolution in self.convolutions:
                x = torch.relu(convolution(x))
            return x.mean((2, 3))

        def logits(self, features):
            return self.output(features)

    return Classifier().to(memory_format=torch.channels_last)


def train(network, images, labels, epochs):
    """Adam with one cycle of learning rates, on all images once in each epoch."""
    import torch

    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    batches = -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=epochs * batches)
    for epoch in range(epochs):
        loss_sum = 0.0
        for batch in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network.logits(network(images[batch])), labels[batch])
            loss.backward()
            optimizer.step()
            schedule.step()
            loss_sum += loss.item() * len(batch)
        print(f"epoch {epoch + 1} of {epochs}: cross entropy {loss_sum / len(images):.3f}", flush=True)


def accuracy(network, images, labels):
    import torch

    with torch.no_grad():
        right = sum(int((network.logits(network(part)).argmax(1) == meant).sum())
                    for part, meant in zip(images.split(1024), labels.split(1024)))
    return right / len(labels)


def normalisation(images):
    """Mean and deviation of each channel."""
    mean = images.mean((0, 2, 3), dtype=np.float64)
    deviation = images.std((0, 2, 3), dtype=np.float64)
    return [float(one) for one in mean], [float(one) if one > 0 else 1.0 for one in deviation]


def make(data, seed, epochs):
    """A trained TorchScript module, and its description."""
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(1)  # sums depend on their number
    torch.use_deterministic_algorithms(True)
    mean, deviation = normalisation(data.train.images)

    def tensors(split):
        by_channel = lambda numbers: np.array(numbers, np.float32).reshape(1, -1, 1, 1)
        images = torch.from_numpy((split.images - by_channel(mean)) / by_channel(deviation))
        return images.contiguous(memory_format=torch.channels_last), torch.from_numpy(split.labels)

    channels, height, width = data.train.images.shape[1:]
    network = build(channels, len(data.names))
    train(network, *tensors(data.train), epochs)
    network.eval()
    accuracies = {name: round(accuracy(network, *tensors(split)), 6)
                  for name, split in (("train", data.train), ("test", data.test)) if split}
    module = torch.jit.trace_module(network, {"forward": torch.zeros(2, channels, height, width),
                                              "logits": torch.zeros(2, FEATURES)})
    return module, {
        "dimension": FEATURES,
        "classes": data.names,
        "accuracy": accuracies,
        "input": {"channels": channels, "height": height, "width": width, "range": [0.0, 1.0],
                  "mean": mean, "deviation": deviation},
    }


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument("data", metavar="DATA", type=pathlib.Path, nargs="?",
                        default=pathlib.Path(".data/fashion_mnist.h5"),
                        help="labelled data file (.data/fashion_mnist.h5)")
    parser.add_argument("--output", type=pathlib.Path, metavar="FILE.pt",
                        help="(.data/features/NAME-classifier.pt, NAME that of the data file)")
    parser.add_argument("--epochs", type=int, default=4, help="(4)")
    parser.add_argument("--seed", type=int, default=1, help="(1)")
    options = parser.parse_args(arguments)
    if options.output is None:
        options.output = pathlib.Path(".data/features") / f"{options.data.stem}-classifier.pt"
    if options.output.suffix != ".pt":
        parser.error(f"--output {options.output}: expected a name that ends in .pt")
    if options.epochs < 1 or not 0 <= options.seed < 2**32:
        parser.error("expected --epochs from 1, --seed from 0 to 4294967295")
    return options


def main(arguments=None):
    options = parse(arguments)
    say = lambda reason: print(f"train_classifier.py: {reason}", file=sys.stderr)
    try:
        data = LabelledData(options.data)
    except (InputError, OSError, KeyError, TypeError, ValueError) as error:
        say(f"{options.data} can't be used: {error if isinstance(error, InputError) else first_line(error)}")
        return 5
    try:
        module, description = make(data, options.seed, options.epochs)
        source = (f"{options.data.name}, split train: {options.epochs} epochs, seed {options.seed}, by "
                  "tools/train_classifier.py")
        export(module, {"name": options.output.stem, "source": source, **description}, options.output)
    except ImportError as error:
        say(f"the Python package {error.name} is missing: run tools/setup.sh --evaluate")
        return 3
    except OSError as error:
        say(f"{options.output} can't be written ({error.strerror})")
        return 5
    told = ", ".join(f"{100 * value:.1f} % of split {name}" for name, value in description["accuracy"].items())
    print(f"{options.output}: {FEATURES} features, {len(data.names)} classes, right on {told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Data, starts and the bank of chains of the training in plain PyTorch (train.py)."""
import math

import h5py
import numpy
import torch

from ..quality.study import written_out
from . import recipe

CLASS_SAMPLES = 4096  # of a class, for its Gaussian


# --- data -------------------------------------------------------------------------------------------
def points(law, count, generator):
    """The laws of src/data/synthetic.cpp, before they are spread over data.range."""
    uniform = lambda: torch.rand(count, generator=generator)
    normal = lambda: torch.randn(count, generator=generator)
    choice = lambda most: torch.randint(most, (count,), generator=generator)
    polar = lambda radius, angle: (radius * angle.cos(), radius * angle.sin())
    if law == "eight_gaussians":
        x, y = polar(torch.full((count,), 0.75), choice(8) * math.pi / 4)
        x, y = x + 0.04 * normal(), y + 0.04 * normal()
    elif law == "pinwheel":
        radial, tangential = 0.45 + 0.14 * normal(), 0.04 * normal()
        twist = choice(5) * 2 * math.pi / 5 + 2.5 * radial
        x = radial * twist.cos() - tangential * twist.sin()
        y = radial * twist.sin() + tangential * twist.cos()
    elif law == "checkerboard":
        row = choice(4)
        column = 2 * choice(2) + row % 2
        x, y = -0.9 + 0.45 * (column + uniform()), -0.9 + 0.45 * (row + uniform())
    else:
        ring = torch.tensor([1, 2, 2, 3, 3, 3])[choice(6)]
        x, y = polar(0.3 * ring + 0.03 * normal(), 2 * math.pi * uniform())
    return torch.stack([x, y], 1)


def load_data(data, generator):
    """(samples in data.range, labels or None)."""
    low, high = data["range"]
    if data["type"] != "file":
        return low + (high - low) * (points(data["type"], data["samples"], generator) + 1) / 2, None
    with h5py.File(written_out(data["path"])) as file:
        split = file[data["split"]]
        values = torch.from_numpy(split["images"][:].astype(numpy.float32))
        least, most = (float(one) for one in file.attrs["value_range"])
        labels = torch.from_numpy(split["labels"][:].astype(numpy.int64)) if "labels" in split else None
    return low + (high - low) * (values - least) / (most - least), labels


class Batches:
    """A permutation of the data for each epoch, mirrored by chance."""

    def __init__(self, config, samples, generator):
        self.data, self.box, self.samples, self.generator = config["data"], config["sampler"]["box"], samples, generator
        self.left = torch.empty(0, dtype=torch.long)

    def next(self):
        """Samples without noise."""
        while len(self.left) < self.data["batch"]:
            order = torch.randperm(len(self.samples), generator=self.generator)
            self.left = torch.cat([self.left, order])
        rows, self.left = self.left.split([self.data["batch"], len(self.left) - self.data["batch"]])
        x = self.samples[rows]
        if self.data["flip"]:
            mirrored = torch.rand(len(x), generator=self.generator) < 0.5
            x = torch.where(mirrored.view(-1, 1, 1, 1), x.flip(-1), x)
        return x

    def noised(self, x, deviation):
        """Within the box; deviation: a number, or one for each sample."""
        if torch.is_tensor(deviation):
            deviation = deviation.view(-1, *[1] * (x.dim() - 1))
        x = x + deviation * torch.randn(x.shape, generator=self.generator)
        return x.clamp(*self.box) if self.box else x


# --- chains -----------------------------------------------------------------------------------------
class Starts:
    """States that chains start from."""

    def __init__(self, config, samples, labels, generator):
        self.shares, self.samples, self.labels, self.generator = recipe.starts(config), samples, labels, generator
        self.box, self.range = config["sampler"]["box"], config["sampler"]["box"] or config["data"]["range"]
        self.components = config["chains"]["principal_components"]
        self.gaussians = self._fit() if "data_gaussian" in self.shares else []

    def __call__(self, count):
        laws = torch.multinomial(torch.tensor(list(self.shares.values()), dtype=torch.float), count, replacement=True,
                                 generator=self.generator)
        states = torch.empty(count, *self.samples.shape[1:])
        for number, law in enumerate(self.shares):
            rows = (laws == number).nonzero().flatten()
            if len(rows):
                states[rows] = self._draw(law, len(rows))
        return states.clamp(*self.box) if self.box else states

    def _draw(self, law, count):
        shape = (count, *self.samples.shape[1:])
        low, high = self.range
        if law == "uniform":
            return low + (high - low) * torch.rand(shape, generator=self.generator)
        if law == "data":
            return self.samples[torch.randint(len(self.samples), (count,), generator=self.generator)]
        noise = torch.randn(shape, generator=self.generator)
        if law == "normal":
            return noise
        classes = torch.randint(len(self.gaussians), (count,), generator=self.generator)
        states = noise.flatten(1)
        for number, (mean, root) in enumerate(self.gaussians):
            rows = classes == number
            states[rows] = mean + states[rows] @ root.T
        return states.view(shape)

    def _fit(self):
        labels = self.labels if self.labels is not None else torch.zeros(len(self.samples), dtype=torch.long)
        return [self._gaussian(self.samples[labels == label][:CLASS_SAMPLES].flatten(1)) for label in labels.unique()]

    def _gaussian(self, samples):
        """(mean, root of the covariance), of its directions of largest variance alone where so many are asked for."""
        mean = samples.mean(0)
        centred = (samples - mean).double()
        covariance = centred.T @ centred / len(samples)
        if self.components is not None and self.components < len(mean):
            variances, directions = torch.linalg.eigh(covariance)  # the largest are last
            variances, directions = variances[-self.components:], directions[:, -self.components:]
            return mean, (directions * variances.clamp(min=0).sqrt() @ directions.T).float()
        return mean, torch.linalg.cholesky(covariance + 1e-4 * torch.eye(len(mean), dtype=torch.float64)).float()


class Bank:
    """All chains, of which each pass over the bank moves each once, in a random order."""

    def __init__(self, chains, starts, generator):
        self.config, self.starts, self.generator = chains, starts, generator
        count = chains["total"]
        self.states, self.ages, self.left = starts(count), torch.zeros(count, dtype=torch.long), []
        limit = chains["maximum_age"]
        self.limits = None if limit is None else limit * torch.rand(count, generator=generator)

    def visit(self, probability):
        """The rows of the chains that move now; those that restart are at their start already."""
        if not len(self.left):
            self.left = torch.randperm(self.config["total"], generator=self.generator)
        active = self.config["active"]
        rows, self.left = self.left[:active], self.left[active:]
        anew = torch.rand(active, generator=self.generator) < probability
        if self.limits is not None:
            anew |= (self.ages[rows] > 0) & (self.ages[rows] >= self.limits[rows])
        again = rows[anew]
        if len(again):
            self.states[again], self.ages[again] = self.starts(len(again)), 0
            if self.limits is not None:
                self.limits[again] = float(self.config["maximum_age"])
        return rows

    def counted(self, ages):
        """1 for chains past their burn-in; all where there is none."""
        old = (ages >= self.config["burn_in"]).float()
        return old if old.any() else torch.ones_like(old)

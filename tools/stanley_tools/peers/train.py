"""Trains a configuration of stanley in plain PyTorch, as one writes it by hand: the same network, starts, chain steps,
restarts, burn-in, batch, optimizer and schedule; random numbers of its own.

Writes metrics.csv as stanley does (the columns that quality/rows.py reads), judges its chains by `stanley evaluate` at
the same iterations, and ends with 85 and a checkpoint when it gets USR1.
"""
import csv
import json
import math
import os
import signal
import subprocess
import time

import h5py
import numpy
import torch
import yaml
from torch import nn

from ..quality.errors import FailedError
from . import recipe
from .contenders import Convnet, Resnet

COLUMNS = ("iteration", "kid_train", "kid_test", "seconds_files", "seconds_evaluation", "seconds_iteration")
CHECKPOINT, FINISHED, STOPPED, DIVERGED = "checkpoint.pt", 0, 85, 4
SPLIT_SAMPLES = 4096  # of a class, for its Gaussian
CHAINS, IMAGES = 256, 2048  # of an evaluation, as stanley's


class Mlp(nn.Sequential):
    def __init__(self, widths, inputs, activation):
        layers = []
        for width in widths:
            layers += [nn.Linear(inputs, width), activation()]
            inputs = width
        super().__init__(nn.Flatten(), *layers, nn.Linear(inputs, 1))

    def forward(self, x):
        return super().forward(x).flatten().float()


def make_network(energy, shape):
    """Its initial weights are uniform within 1/√inputs, as stanley's: nn.Linear's and nn.Conv2d's are the same."""
    if energy["type"] == "mlp":
        leaky = energy["activation"] == "leaky_relu"
        return Mlp(energy["hidden"], math.prod(shape), lambda: nn.LeakyReLU(energy["slope"]) if leaky else nn.SiLU())
    if energy["type"] == "convnet":
        return Convnet(energy["channels"], shape)
    return Resnet(energy["channels"], energy["blocks"], shape)


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
    with h5py.File(os.path.expanduser(data["path"])) as file:
        split = file[data["split"]]
        values = torch.from_numpy(split["images"][:].astype(numpy.float32))
        least, most = (float(one) for one in file.attrs["value_range"])
        labels = torch.from_numpy(split["labels"][:].astype(numpy.int64)) if "labels" in split else None
    return low + (high - low) * (values - least) / (most - least), labels


class Batches:
    """A permutation of the data for each epoch, with noise, mirrored by chance, and within the box."""

    def __init__(self, config, samples, generator):
        self.data, self.box, self.samples, self.generator = config["data"], config["sampler"]["box"], samples, generator
        self.left = torch.empty(0, dtype=torch.long)

    def next(self):
        while len(self.left) < self.data["batch"]:
            order = torch.randperm(len(self.samples), generator=self.generator)
            self.left = torch.cat([self.left, order])
        rows, self.left = self.left.split([self.data["batch"], len(self.left) - self.data["batch"]])
        x = self.samples[rows]
        if self.data["flip"]:
            mirrored = torch.rand(len(x), generator=self.generator) < 0.5
            x = torch.where(mirrored.view(-1, 1, 1, 1), x.flip(-1), x)
        x = x + self.data["noise"] * torch.randn(x.shape, generator=self.generator)
        return x.clamp(*self.box) if self.box else x


# --- chains -----------------------------------------------------------------------------------------
class Starts:
    """States that chains start from."""

    def __init__(self, config, samples, labels, generator):
        self.shares, self.samples, self.labels, self.generator = recipe.starts(config), samples, labels, generator
        self.box, self.range = config["sampler"]["box"], config["sampler"]["box"] or config["data"]["range"]
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
        return [self._gaussian(self.samples[labels == label][:SPLIT_SAMPLES].flatten(1)) for label in labels.unique()]

    @staticmethod
    def _gaussian(samples):
        mean = samples.mean(0)
        centred = (samples - mean).double()
        covariance = centred.T @ centred / len(samples) + 1e-4 * torch.eye(len(mean), dtype=torch.float64)
        return mean, torch.linalg.cholesky(covariance).float()


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


def gain(gradient, threshold):
    """γ; a quantile is each chain's own, and one of its values."""
    size = gradient.abs()
    if isinstance(threshold, dict):
        flat = size.flatten(1)
        rank = max(1, math.ceil(threshold["quantile"] * flat.shape[1]))
        threshold = flat.kthvalue(rank, 1).values.view(-1, *[1] * (size.dim() - 1))
    else:
        threshold = torch.tensor(float(threshold))
    return torch.where(size > threshold, threshold / size, 1.0)


def advance(network, step, precision, x, steps):
    """K chain steps, with a network whose weights need no gradient."""
    kept = None
    for _ in range(steps):
        y = x.to(precision)
        if y.dim() == 4:
            y = y.contiguous(memory_format=torch.channels_last)
        y = y.detach().requires_grad_(True)
        gradient, = torch.autograd.grad(network(y).sum(), y)
        with torch.no_grad():
            gradient = gradient.float()
            x = x.clone() if kept is None else x
            if step.threshold is None:
                x = x - step.alpha / 2 * gradient + step.sigma * torch.randn_like(x)
            else:
                kept = gain(gradient, step.threshold) if kept is None or step.refreshes else kept
                x = x - step.alpha / 2 * kept * gradient + step.sigma * kept.sqrt() * torch.randn_like(x)
            if step.box:
                x = x.clamp_(*step.box)
    return x


# --- training ---------------------------------------------------------------------------------------
class Training:
    """One seed; `run` is its folder, `program` the command of stanley, `split` what chains are compared with."""

    def __init__(self, config, run, program, split, threads):
        self.config, self.run, self.program, self.split = config, run, program, split
        run.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(threads)
        torch.manual_seed(config["run"]["seed"])
        self.generator = torch.default_generator
        samples, labels = load_data(config["data"], self.generator)
        self.batches = Batches(config, samples, self.generator)
        starts = Starts(config, samples, labels, self.generator)
        self.bank = Bank(config["chains"], starts, self.generator)
        self.step = recipe.Step.of(config["sampler"])
        self.precision = torch.bfloat16 if config["run"]["precision"] == "bfloat16" else torch.float32
        shape = tuple(samples.shape[1:])
        self.network = make_network(config["energy"], shape)
        self.frozen = make_network(config["energy"], shape).to(self.precision).requires_grad_(False)
        if len(shape) == 3:
            self.network, self.frozen = (net.to(memory_format=torch.channels_last) for net in (self.network, self.frozen))
        self.average = make_network(config["energy"], shape).requires_grad_(False)
        self.optimizer = make_optimizer(config["optimizer"], self.network)
        self._copy_weights(first=True)
        self.iteration, self.stopped = 0, False

    # --- files --------------------------------------------------------------------------------------
    def resume(self):
        path = self.run / CHECKPOINT
        if path.is_file():
            kept = torch.load(path, weights_only=True)
            self.iteration = kept["iteration"]
            self.network.load_state_dict(kept["network"])
            self.average.load_state_dict(kept["average"])
            self.optimizer.load_state_dict(kept["optimizer"])
            for name in ("states", "ages", "left", "limits"):
                setattr(self.bank, name, kept[name])
            self.batches.left = kept["batches"]
            torch.set_rng_state(kept["random"])
            self._copy_weights()
        self._begin_metrics()

    def save(self):
        draft = self.run / f"{CHECKPOINT}.part"
        torch.save({"iteration": self.iteration, "network": self.network.state_dict(),
                    "average": self.average.state_dict(), "optimizer": self.optimizer.state_dict(),
                    "states": self.bank.states, "ages": self.bank.ages, "left": self.bank.left,
                    "limits": self.bank.limits, "batches": self.batches.left, "random": torch.get_rng_state()}, draft)
        draft.rename(self.run / CHECKPOINT)

    def _begin_metrics(self):
        path, rows = self.run / "metrics.csv", []
        if path.is_file():
            with open(path, newline="", encoding="utf-8") as file:
                rows = [row for row in csv.reader(file)][1:]
        draft = path.with_suffix(".part")
        with open(draft, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(row for row in rows if len(row) == len(COLUMNS) and int(row[0]) <= self.iteration)
        draft.rename(path)
        self.metrics = open(path, "a", encoding="utf-8", buffering=1)

    # --- iterations -----------------------------------------------------------------------------------
    def train(self):
        """Returns the exit code."""
        signal.signal(signal.SIGUSR1, self._stop)
        self.resume()
        iterations, files = self.config["run"]["iterations"], 0.0
        while self.iteration < iterations and not self.stopped:
            began = time.perf_counter()
            loss = self._iterate(iterations)
            self.iteration += 1
            took = time.perf_counter() - began
            kid, evaluation = self._evaluate()
            kids = [kid if self.split == split else math.nan for split in ("train", "test")]
            self.metrics.write(",".join(map(repr, [self.iteration, *kids, files, evaluation, took])) + "\n")
            if not math.isfinite(loss):
                print("the training in plain PyTorch diverged: its loss is not finite", flush=True)
                return DIVERGED
            began, every = time.perf_counter(), self.config["checkpoint"]["every"]
            if every and self.iteration % every == 0:
                self.save()
            files = time.perf_counter() - began
        self.save()
        return STOPPED if self.iteration < iterations else FINISHED

    def _stop(self, *_):
        self.stopped = True

    def _iterate(self, iterations):
        chains, optimizer = self.config["chains"], self.config["optimizer"]
        steps = self.config["sampler"]["steps"]
        rows = self.bank.visit(recipe.between(chains["restart_probability"], self.iteration, iterations))
        z = advance(self.frozen, self.step, self.precision, self.bank.states[rows], steps)
        self.bank.states[rows] = z
        self.bank.ages[rows] += steps
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate(optimizer, self.iteration, iterations)
        loss = self._loss(self.batches.next(), z, self.bank.counted(self.bank.ages[rows]))
        self.optimizer.zero_grad()
        loss.backward()
        if optimizer["gradient_clip"]:
            nn.utils.clip_grad_norm_(self.network.parameters(), optimizer["gradient_clip"])
        self.optimizer.step()
        self._copy_weights()
        return loss.item()

    def _loss(self, x, z, counted):
        both = torch.cat([x, z])
        if both.dim() == 4:
            both = both.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == torch.bfloat16):
            of_data, of_chains = self.network(both).split([len(x), len(z)])
        mean = lambda values: (values * counted).sum() / counted.sum()
        penalty = self.config["objective"]["energy_penalty"]
        return of_data.mean() - mean(of_chains) + penalty * (of_data.square().mean() + mean(of_chains.square()))

    @torch.no_grad()
    def _copy_weights(self, first=False):
        """To the network that the chains use, and into the running average, bias-corrected."""
        decay = self.config["optimizer"]["average"]
        weight = 1.0 if first else (1 - decay) / (1 - decay**(self.iteration + 1))
        for new, frozen, average in zip(*(net.parameters() for net in (self.network, self.frozen, self.average))):
            frozen.copy_(new)
            average.lerp_(new, weight)

    # --- evaluation -----------------------------------------------------------------------------------
    def _evaluate(self):
        """(KID by `stanley evaluate`, s), or nan where none is due."""
        every, began = self.config["evaluation"]["every"], time.perf_counter()
        if self.iteration % every:
            return math.nan, 0.0
        draws, result = self.run / "draws.nc", self.run / "evaluation.json"
        write_draws(draws, self.config, self.bank)
        result.unlink(missing_ok=True)
        command = [*self.program, "evaluate", draws, "--split", self.split, "--draws", IMAGES * 512, "--reference",
                   IMAGES, "--minimum-age", 0, "--features", self.config["evaluation"]["features"], "--protocol",
                   "peer", "--output", result]
        told = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
        try:
            kid = json.loads(result.read_text())["evaluations"][-1]["results"][0]["kid"]
        except (OSError, ValueError, LookupError):
            raise FailedError(f"'stanley evaluate {draws}' failed: {(told.stderr or told.stdout).strip()[-500:]}")
        print(f"{self.iteration}/{self.config['run']['iterations']} | KID·1000 {1000 * kid:.1f}", flush=True)
        return kid, time.perf_counter() - began


def write_draws(path, config, bank):
    """A draw file of the first chains of the bank, those past their burn-in, as stanley's own evaluation takes them."""
    count = min(config["evaluation"]["chains"] or CHAINS, len(bank.states))
    old = (bank.ages[:count] >= bank.config["burn_in"]).nonzero().flatten()
    rows = old if len(old) > 1 else torch.arange(count)
    with h5py.File(path, "w") as file:
        file.attrs["configuration"] = yaml.safe_dump(config, sort_keys=False)
        file["posterior/x"] = bank.states[rows].unsqueeze(1).numpy()
        file["sample_stats/age"] = bank.ages[rows].unsqueeze(1).numpy()


def make_optimizer(optimizer, network):
    if optimizer["type"] == "sgd":
        return torch.optim.SGD(network.parameters(), lr=optimizer["learning_rate"], momentum=optimizer["momentum"])
    return torch.optim.Adam(network.parameters(), lr=optimizer["learning_rate"], betas=tuple(optimizer["betas"]),
                            eps=optimizer["epsilon"], fused=True)

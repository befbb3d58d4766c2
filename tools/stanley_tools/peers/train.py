"""Trains a configuration of stanley in plain PyTorch, as one writes it by hand: the same network, starts, chain steps,
restarts, burn-in, batch, objective, optimizer and schedule; random numbers of its own.

Writes metrics.csv as stanley does (the columns that quality/rows.py reads), judges its chains by `stanley evaluate` at
the same iterations, and ends with 85 and a checkpoint when it gets USR1.
"""
import copy
import csv
import dataclasses
import json
import math
import os
import signal
import subprocess
import time

import h5py
import torch
import yaml
from torch import nn

from ..quality.errors import FailedError
from ..quality.files import write_json
from . import recipe
from .contenders import Convnet, Resnet
from .denoising import Denoising
from .states import Bank, Batches, Starts, load_data

COLUMNS = ("iteration", "kid_train", "kid_test", "seconds_files", "seconds_evaluation", "seconds_iteration")
CHECKPOINT, FINISHED, STOPPED, DIVERGED = "checkpoint.pt", 0, 85, 4
CHAINS, IMAGES = 256, 2048  # of an evaluation, as stanley's
MOST_DRAWS = 1_000_000  # that `stanley evaluate` takes: all of the file


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


def energies(network, states, precision):
    """Energies of states that the weights may be differentiated through, twice too."""
    if states.dim() == 4:
        states = states.contiguous(memory_format=torch.channels_last)
    # Second derivatives of convolutions of fewer states are wrong in bfloat16 where processors have AMX (torch 2.11).
    rounds = precision == torch.bfloat16 and len(states) >= 16
    with torch.autocast("cpu", torch.bfloat16, enabled=rounds):
        return network(states)


# --- chain steps ---------------------------------------------------------------------------------------
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
        self.denoising = Denoising(config) if config["objective"]["denoising"] else None
        self.precision = torch.bfloat16 if config["run"]["precision"] == "bfloat16" else torch.float32
        shape = tuple(samples.shape[1:])
        self.network = make_network(config["energy"], shape)
        self.frozen = make_network(config["energy"], shape).to(self.precision).requires_grad_(False)
        if len(shape) == 3:
            for network in (self.network, self.frozen):
                network.to(memory_format=torch.channels_last)
        self.average = make_network(config["energy"], shape).requires_grad_(False)
        self.optimizer = make_optimizer(config["optimizer"], self.network)
        self.average.load_state_dict(self.network.state_dict())
        self._freeze()
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
            self._freeze()
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
        clean = self.batches.next()
        x = self.batches.noised(clean, self.config["data"]["noise"])
        loss = self._loss(x, z, self.bank.counted(self.bank.ages[rows]))
        if self.denoising:
            loss = loss + self.denoising(self._energies, clean, self.batches.noised(clean, self.denoising.deviations))
        self.optimizer.zero_grad()
        loss.backward()
        if optimizer["gradient_clip"]:
            nn.utils.clip_grad_norm_(self.network.parameters(), optimizer["gradient_clip"])
        self.optimizer.step()
        self._average()
        self._freeze()
        return loss.item()

    def _loss(self, x, z, counted):
        of_data, of_chains = self._energies(torch.cat([x, z])).split([len(x), len(z)])
        mean = lambda values: (values * counted).sum() / counted.sum()
        penalty = self.config["objective"]["energy_penalty"]
        return of_data.mean() - mean(of_chains) + penalty * (of_data.square().mean() + mean(of_chains.square()))

    def _energies(self, states):
        return energies(self.network, states, self.precision)

    @torch.no_grad()
    def _average(self):
        """The running average of the weights, bias-corrected."""
        decay = self.config["optimizer"]["average"]
        weight = (1 - decay) / (1 - decay**(self.iteration + 1))
        for average, new in zip(self.average.parameters(), self.network.parameters()):
            average.lerp_(new, weight)

    def _freeze(self):
        """Hands the weights to the network that the chains use."""
        self.frozen.load_state_dict(self.network.state_dict())

    # --- evaluation -----------------------------------------------------------------------------------
    def _denoised(self, states):
        """As stanley's draws and its evaluation have them."""
        steps = (self.config["samples"]["denoise"] or {}).get("steps", 0)
        return advance(self.frozen, dataclasses.replace(self.step, sigma=0.0), self.precision, states, steps)

    def _evaluate(self):
        """(KID by `stanley evaluate`, s), or nan where none is due."""
        every, began = self.config["evaluation"]["every"], time.perf_counter()
        if self.iteration % every:
            return math.nan, 0.0
        draws, result = self.run / "draws.nc", self.run / "evaluation.json"
        write_draws(draws, self.config, self.bank, self._denoised)
        result.unlink(missing_ok=True)
        command = [*self.program, "evaluate", draws, "--draws", MOST_DRAWS, "--reference", IMAGES, "--minimum-age", 0,
                   "--protocol", "peer", "--output", result]
        if self.config["data"]["type"] == "file":  # points of a law are compared with fresh ones
            command += ["--split", self.split, "--features", self.config["evaluation"]["features"]]
        told = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
        try:
            kid = json.loads(result.read_text())["evaluations"][-1]["results"][0]["kid"]
        except (OSError, ValueError, LookupError):
            raise FailedError(f"'stanley evaluate {draws}' failed: {(told.stderr or told.stdout).strip()[-500:]}")
        left = f" | noise left {100 * self.denoising.left:.1f} %" if self.denoising else ""
        print(f"{self.iteration}/{self.config['run']['iterations']} | KID·1000 {1000 * kid:.1f}{left}", flush=True)
        return kid, time.perf_counter() - began


def write_draws(path, config, bank, denoised):
    """A draw file of the first chains of the bank, those past their burn-in, as stanley's own evaluation takes them."""
    count = min(config["evaluation"]["chains"] or CHAINS, len(bank.states))
    old = (bank.ages[:count] >= bank.config["burn_in"]).nonzero().flatten()
    rows = old if len(old) > 1 else torch.arange(count)
    with h5py.File(path, "w") as file:
        file.attrs["configuration"] = yaml.safe_dump(config, sort_keys=False)
        file["posterior/x"] = denoised(bank.states[rows]).unsqueeze(1).numpy()
        file["sample_stats/age"] = bank.ages[rows].unsqueeze(1).numpy()


def make_optimizer(optimizer, network):
    if optimizer["type"] == "sgd":
        return torch.optim.SGD(network.parameters(), lr=optimizer["learning_rate"], momentum=optimizer["momentum"])
    return torch.optim.Adam(network.parameters(), lr=optimizer["learning_rate"], eps=optimizer["epsilon"],
                            betas=tuple(map(float, optimizer["betas"])), fused=True)


# --- a seed of a study --------------------------------------------------------------------------------
def threads_of(study):
    """As many as all ranks of stanley have together."""
    own, ranks = study.document["run"]["threads"] or os.environ.get("OMP_NUM_THREADS"), study.settings["ranks"] or 1
    return int(own) * ranks if own else len(os.sched_getaffinity(0))


def precision_of(study, seed):
    """What auto became in stanley's training of this seed, which comes first."""
    if study.document["run"]["precision"] != "auto":
        return study.document["run"]["precision"]
    path = study.seed_folder(seed) / "run" / "run.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))["starts"][-1]["precision"]
    except (OSError, ValueError, LookupError, TypeError):
        raise FailedError(f"{path} does not tell the precision of stanley's training of seed {seed}, which the one "
                          "in plain PyTorch takes over: set run.precision")


def train_peer(study, seed, program):
    """Returns the exit code."""
    document = copy.deepcopy(study.document)
    document["run"] |= {"seed": seed, "name": f"peer-{seed}", "directory": str(study.folder),
                        "precision": precision_of(study, seed)}
    threads, split = threads_of(study), "test" if study.target.column == "kid_test" else "train"
    training = Training(document, study.seed_folder(seed, peer=True) / "run", program, split, threads)
    precision = str(training.precision).removeprefix("torch.")
    write_json(study.folder / "peer.json", {"torch": torch.__version__, "precision": precision, "threads": threads})
    return training.train()

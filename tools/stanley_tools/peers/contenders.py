"""One PyTorch contender: compare.py starts this module as a process of its own.

The argument is a JSON object: contender, seconds, and the fields of Case. Prints `ready`; then, for each
line on stdin, measures and prints one JSON object.
"""
import copy
import json
import math
import resource
import sys
import time

import torch
import torch.nn.functional as functional
from torch import nn

from .cases import BFLOAT16, CONTENDERS, ENERGY_PENALTY, MINIMUM_STEPS, NOISE, STEP_SIZE, Case


# --- the networks of src/energy/networks.cpp, with its names and its default activation ------------
class Convnet(nn.Module):
    def __init__(self, channels, shape):
        super().__init__()
        inputs, height, width = shape
        layers = [nn.Conv2d(inputs, channels, 3, 1, 1)]
        for _ in range(3):
            layers.append(nn.Conv2d(channels, 2 * channels, 4, 2, 1))
            channels, height, width = 2 * channels, height // 2, width // 2
        self.layers = nn.ModuleList([*layers, nn.Conv2d(channels, 1, (height, width))])

    def forward(self, x):
        first, *others = self.layers
        x = first(x)
        for layer in others:
            x = layer(functional.silu(x))
        return x.flatten().float()


class Block(nn.Module):
    """Two convolutions around a skip; the first of a level doubles the channels and halves the image."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, 1, 1)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if outputs != inputs else None

    def forward(self, x):
        y = self.second(functional.silu(self.first(functional.silu(x))))
        return x + y if self.skip is None else functional.avg_pool2d(y + self.skip(x), 2)


class Resnet(nn.Module):
    def __init__(self, channels, blocks, shape):
        super().__init__()
        self.input = nn.Conv2d(shape[0], channels, 3, 1, 1)
        self.levels = nn.ModuleList()
        for _ in range(3):
            level = [Block(channels, 2 * channels)] + [Block(2 * channels, 2 * channels) for _ in range(blocks - 1)]
            self.levels.append(nn.ModuleList(level))
            channels *= 2
        self.output = nn.Linear(channels, 1)

    def forward(self, x):
        x = self.input(x)
        for level in self.levels:
            for block in level:
                x = block(x)
        return self.output(functional.silu(x).sum((2, 3))).flatten().float()


def make_network(case):
    if case.network == "convnet":
        return Convnet(case.channels, case.shape)
    return Resnet(case.channels, case.blocks, case.shape)


# --- chain steps: (x, steps) -> x -----------------------------------------------------------------
def make_torchebm(network, device):
    """As torchebm's documentation shows."""
    from torchebm.core import BaseModel
    from torchebm.samplers import LangevinDynamics

    class Energy(BaseModel):
        def __init__(self):
            super().__init__(device=device)
            self.network = network

        def forward(self, x):
            return self.network(x)

    step_size = STEP_SIZE / 2  # its update: x − η∇E + √(2η)·noise_scale·ξ
    sampler = LangevinDynamics(Energy(), step_size=step_size, noise_scale=NOISE / (2 * step_size)**0.5,
                               clamp=(-1, 1), device=device)
    return lambda x, steps: sampler.sample(x=x, n_steps=steps)


def make_pytorch(network, precision, layout):
    """As one writes them by hand in PyTorch."""
    def advance(x, steps):
        for _ in range(steps):
            y = x.to(precision).contiguous(memory_format=layout).detach().requires_grad_(True)
            gradient, = torch.autograd.grad(network(y).sum(), y)
            with torch.no_grad():
                x = (x - STEP_SIZE / 2 * gradient.float() + NOISE * torch.randn_like(x)).clamp_(-1, 1)
        return x

    return advance


def make_compiled(network, precision, layout, device):
    """The whole step as one compiled graph; on a GPU it is replayed as a CUDA graph."""
    on_gpu = device == "cuda"

    @torch.compile(fullgraph=True, mode="reduce-overhead" if on_gpu else "default")
    def step(x):
        y = x.to(precision).contiguous(memory_format=layout)
        gradient = torch.func.grad(lambda z: network(z).sum())(y)
        return (x - STEP_SIZE / 2 * gradient.float() + NOISE * torch.randn_like(x)).clamp(-1, 1)

    @torch.no_grad()
    def advance(x, steps):
        for _ in range(steps):
            if on_gpu:  # the next replay overwrites what this one returns
                torch.compiler.cudagraph_mark_step_begin()
                x = step(x).clone()
            else:
                x = step(x)
        return x

    return advance


# --- weight step ----------------------------------------------------------------------------------
class WeightStep:
    """Contrastive loss, backward, Adam, average of the weights, and the copy that the chains use."""

    def __init__(self, network, data, precision, layout, frozen):
        self.network, self.data, self.precision, self.layout, self.frozen = network, data, precision, layout, frozen
        # Next to no learning: after any number of steps the chains still see the network they began with.
        self.optimizer = torch.optim.Adam(network.parameters(), lr=1e-10, betas=(0.0, 0.999), fused=True)
        average = torch.optim.swa_utils.get_ema_multi_avg_fn(0.99)
        self.average = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=average)

    def __call__(self, chains):
        batch = torch.cat([self.data, chains]).contiguous(memory_format=self.layout)
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=self.precision == torch.bfloat16):
            of_data, of_chains = self.network(batch).split([len(self.data), len(chains)])
        loss = (of_data.mean() - of_chains.mean()
                + ENERGY_PENALTY * (of_data.square().mean() + of_chains.square().mean()))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.average.update_parameters(self.network)
        if self.frozen is not self.network:
            with torch.no_grad():
                for copy, parameter in zip(self.frozen.parameters(), self.network.parameters()):
                    copy.copy_(parameter)


# --- measuring ------------------------------------------------------------------------------------
class Stopwatch:
    """Measures work(n), which does n steps, in goes so long that neither clock nor waiting count."""

    def __init__(self, work, seconds, device, warm_up):
        self.work, self.seconds, self.device = work, seconds, device
        work(warm_up)
        self.pace = self._passed(1)

    def _passed(self, steps):
        self._wait()
        start = time.perf_counter()
        self.work(steps)
        self._wait()
        return time.perf_counter() - start

    def _wait(self):
        if self.device == "cuda":
            torch.cuda.synchronize()

    def measure(self):
        """Seconds of a step, over at least `seconds` and MINIMUM_STEPS."""
        steps, passed = 0, 0.0
        while steps < MINIMUM_STEPS or passed < self.seconds:
            more = max(MINIMUM_STEPS - steps, math.ceil((self.seconds - passed) / self.pace), 1)
            passed += self._passed(more)
            steps += more
            self.pace = passed / steps
        return self.pace


class Worker:
    """The chains and the weight step of one contender."""

    def __init__(self, contender, case, seconds):
        self.case, self.contender = case, contender
        precision = torch.bfloat16 if contender.precision == BFLOAT16 else torch.float32
        layout = torch.channels_last if contender.lean else torch.contiguous_format
        network = make_network(case).to(case.device, memory_format=layout)
        frozen = network
        if contender.lean:
            frozen = copy.deepcopy(network).to(precision).requires_grad_(False)
        self.advance = {
            "torchebm": lambda: make_torchebm(frozen, case.device),
            "pytorch": lambda: make_pytorch(frozen, precision, layout),
            "compile": lambda: make_compiled(frozen, precision, layout, case.device),
        }[contender.kind]()
        data, x = (torch.rand(case.chains, *case.shape, device=case.device) * 2 - 1 for _ in range(2))
        self.x = x.contiguous(memory_format=layout)
        self.weight_step = WeightStep(network, data, precision, layout, frozen)
        # Everyone does a weight step, so that peak memories are of the same work.
        self.weights = Stopwatch(self._move_weights, seconds, case.device, warm_up=1)
        self.chains = Stopwatch(self._move_chains, seconds, case.device, warm_up=3)

    def _move_chains(self, steps):
        self.x = self.advance(self.x, steps)

    def _move_weights(self, steps):
        for _ in range(steps):
            self.weight_step(self.x)

    def measure(self):
        eager = self.contender.kind == "pytorch"  # the others' weight step is the same, uncompiled
        return {"chain_steps_per_second": self.case.chains / self.chains.measure(),
                "weight_step_seconds": self.weights.measure() if eager else None,
                "peak_megabytes": peak_megabytes(self.case.device)}


def peak_megabytes(device):
    """Of the GPU's memory; on the CPU of the whole process, Python and libraries included."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main():
    job = json.loads(sys.argv[1])
    contender, seconds = CONTENDERS[job.pop("contender")], job.pop("seconds")
    torch.set_num_threads(1)
    torch.manual_seed(1)
    torch.backends.cudnn.benchmark = True  # the fastest convolutions for these shapes
    worker = Worker(contender, Case(**job), seconds)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps(worker.measure()), flush=True)


if __name__ == "__main__":
    main()

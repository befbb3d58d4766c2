"""A training's recipe, as a configuration of stanley has it, for the same in plain PyTorch (train.py)."""
import dataclasses
import math

from ..quality.errors import MissingError, UsageError

STARTS = ("uniform", "normal", "data", "data_gaussian")


def require_torch():
    try:
        import torch  # noqa: F401
    except (ImportError, OSError) as error:  # LibTorch alone is there without its other libraries
        raise MissingError("--peer needs PyTorch for Python, and 'import torch' fails "
                           f"({str(error).splitlines()[0]}): 'tools/setup.sh --peers' installs it")


def refuse(document, column):
    """Refuses what the plain PyTorch training doesn't have; `document` is a resolved configuration, `column` that of
    metrics.csv with the target's KID."""
    if document["data"]["type"] != "file" and column != "kid_test":
        raise UsageError("--peer: 'stanley evaluate' compares points of a law with fresh ones, not with training "
                         "points: ask for --target kid=X")
    energy, sampler = document["energy"], document["sampler"]
    lacks = [(energy["type"] == "torchscript", "energy.type: torchscript"),
             (energy["activation"] != "silu" and energy["type"] != "mlp", f"energy.activation: {energy['activation']}"),
             (energy["spectral_normalization"], "energy.spectral_normalization: true"),
             (energy["downsampling"] != "strides", f"energy.downsampling: {energy['downsampling']}"),
             (energy.get("levels", 3) != 3, f"energy.levels: {energy.get('levels')}"),
             (document["data"].get("size") is not None, f"data.size: {document['data'].get('size')}"),
             (bool(document.get("stages")), "stages"),
             (bool((document["samples"]["denoise"] or {}).get("fitted")), "samples.denoise: {fitted: true}"),
             (sampler["metropolis"], "sampler.metropolis: true"),
             (sampler["type"] not in ("stanley", "langevin", "gradient_descent"), f"sampler.type: {sampler['type']}"),
             (sampler["drift_correction"], "sampler.drift_correction: true"),
             (not set(starts(document)) <= set(STARTS), f"chains.start: {document['chains']['start']}")]
    found = [what for is_so, what in lacks if is_so]
    if found:
        raise UsageError(f"--peer: the training in plain PyTorch has no {', '.join(found)}; leave out --peer")


def starts(document):
    """{law: share} of chains.start."""
    start = document["chains"]["start"]
    return start if isinstance(start, dict) else {start: 1.0}


def between(value, iteration, iterations):
    """restart_probability: a number, or {from, to}, linear over the run."""
    if not isinstance(value, dict):
        return value
    return value["from"] + (value["to"] - value["from"]) * min(iteration / iterations, 1.0)


def learning_rate(optimizer, iteration, iterations):
    """At an iteration, from 0."""
    schedule, rate = optimizer["schedule"], optimizer["learning_rate"]
    kind, warmup = schedule["type"], schedule["warmup"]
    if kind in ("linear_warmup", "cosine") and iteration < warmup:
        return rate * (iteration + 1) / warmup
    if kind == "exponential":
        return rate * schedule["decay"]**iteration
    if kind != "cosine":
        return rate
    last = schedule["end"] or iterations
    if iteration >= last:
        return rate * schedule["final"]
    wave = 0.5 * (1 + math.cos(math.pi * (iteration - warmup) / (last - warmup)))
    return rate * (schedule["final"] + (1 - schedule["final"]) * wave)


def temperature(sampler):
    """T of the law exp(−E/T): a configuration has it, or the noise of a step."""
    if sampler["temperature"] is not None:
        return sampler["temperature"]
    return sampler["noise"]**2 / sampler["step_size"]


@dataclasses.dataclass(frozen=True)
class Step:
    """z ← box(z − (α/2)·γ∘∇E + σ·√γ∘ξ) with γ = th/max(th, |∇E|); threshold: a number, {quantile: q}, or None for
    γ = 1."""
    alpha: float
    sigma: float
    threshold: object
    refreshes: bool
    box: object

    @classmethod
    def of(cls, sampler):
        sigma = sampler["noise"]
        if sigma is None:
            sigma = math.sqrt(sampler["step_size"] * sampler["temperature"])
        kind = sampler["type"]
        return cls(sampler["step_size"], 0.0 if kind == "gradient_descent" else sigma,
                   sampler["threshold"] if kind == "stanley" else None, sampler["refresh"] == "step", sampler["box"])

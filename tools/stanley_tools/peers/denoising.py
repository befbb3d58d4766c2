"""The denoising term of the objective in plain PyTorch (train.py): its gradient takes second derivatives, by autograd,
where src/train/denoising.hpp takes differences of energies."""
import math

import torch

from . import recipe


class Denoising:
    """w·T/2 · Σᵢ (σ_d/σᵢ)²·‖σ_d·∇E(x̃ᵢ)/T − (x̃ᵢ − xᵢ)/σ_d‖² / batch, with σ_d = data.noise and σᵢ from there to
    objective.denoising_noise in equal ratios."""

    def __init__(self, config):
        objective, data = config["objective"], config["data"]
        self.weight, self.noise = objective["denoising"], data["noise"]
        self.temperature = recipe.temperature(config["sampler"])
        places = (torch.arange(data["batch"], dtype=torch.float64) + 0.5) / data["batch"]
        self.deviations = (self.noise * (objective["denoising_noise"] / self.noise)**places).float()
        self.left = math.nan  # noise_left of the last batch

    def __call__(self, energies, clean, noised):
        """The term for samples [batch, ...] without noise and with it; `energies`: states → energies."""
        squares = lambda of: of.flatten(1).square().sum(1)
        noise = noised - clean
        noised = noised.detach().requires_grad_(True)
        gradient, = torch.autograd.grad(energies(noised).sum(), noised, create_graph=True)
        residual = self.noise / self.temperature * gradient - noise / self.noise
        left = ((self.noise / self.deviations).square() * squares(residual)).sum()
        self.left = (left.detach() / (squares(noise) / self.deviations.square()).sum()).item()
        return self.weight * self.temperature / 2 * left / len(clean)

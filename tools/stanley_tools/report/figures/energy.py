"""Plots of energies and of the gap over iterations."""
import numpy as np

from .canvas import BLUE, GREY, INK, MUTED, ORANGE, PURPLE, axes, legend, robust_limits, svg, trace
from .record import running_mean


def energies(record):
    figure, ax = axes("energy E (network's unit)", record)
    trace(ax, record, "energy_noise", GREY, "plain noise", 1.0)
    trace(ax, record, "energy_data", BLUE, "data")
    trace(ax, record, "energy_chains", ORANGE, "chains")
    robust_limits(ax, record, ["energy_data", "energy_chains", "energy_noise"])
    legend(ax)
    return svg(figure, "Energies of data, chains and noise over iterations")


def gap(record):
    figure, ax = axes("gap, E(chains) − E(data)", record)
    ax.axhline(0, color=MUTED, linewidth=0.9)
    trace(ax, record, "gap", PURPLE, "gap", 1.1)
    window = max(1, len(record) // 20)
    if window > 1:
        ax.plot(record.steps(), record.buckets(running_mean(record.column("gap"), window)), color=INK, linewidth=1.4,
                label=f"mean of the last {window:,}")
    robust_limits(ax, record, ["gap"], include=[0.0])
    legend(ax)
    return svg(figure, "Energy gap over iterations")

"""Plots of the optimiser, and of the signs of a run that leaves its path, over iterations."""
from .canvas import BLUE, GREEN, GREY, MUTED, ORANGE, PURPLE, RED, axes, legend, log_if_wide, svg, trace


def learning_rate(record):
    figure, ax = axes("learning rate", record)
    trace(ax, record, "learning_rate", BLUE, None)
    log_if_wide(ax, record, ["learning_rate"], factor=100)
    if ax.get_yscale() == "linear":
        ax.set_ylim(bottom=0)
    return svg(figure, "Learning rate")


def norms(record):
    figure, ax = axes("norm (weights' unit)", record)
    trace(ax, record, "gradient_norm", ORANGE, "weight gradient")
    trace(ax, record, "parameter_norm", GREY, "weights", 1.0)
    log_if_wide(ax, record, [n for n in ("gradient_norm", "parameter_norm") if record.has(n)] or ["gradient_norm"])
    legend(ax)
    return svg(figure, "Norms of the weights and of their gradient")


def autocorrelation(record):
    figure, ax = axes("lag-1 autocorrelation", record)
    ax.axhspan(-1, -0.5, color=RED, alpha=0.10, linewidth=0, label="learning rate too high")
    ax.axhline(0, color=MUTED, linewidth=0.9)
    trace(ax, record, "gap_autocorrelation", PURPLE, "autocorrelation")
    ax.set_ylim(-1.05, 1.05)
    legend(ax)
    return svg(figure, "Autocorrelation of the gap")


def shares(record):
    figure, ax = axes("share (no unit)", record)
    trace(ax, record, "saturation", ORANGE, "elements at the box's edge")
    trace(ax, record, "acceptance_rate", GREEN, "accepted steps")
    trace(ax, record, "restart_probability", PURPLE, "restart probability", 1.0)
    ax.set_ylim(-0.02, 1.04)
    legend(ax)
    return svg(figure, "Saturation, acceptance and restart probability")

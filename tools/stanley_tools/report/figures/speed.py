"""Plots of how fast a run was, and where its time went."""
import numpy as np
from matplotlib.ticker import FuncFormatter

from .canvas import BLUE, CYAN, GREEN, GREY, ORANGE, PURPLE, RED, axes, legend, svg, trace


def throughput(record):
    figure, ax = axes("chain steps per second, all ranks", record)
    trace(ax, record, "chain_steps_per_second", BLUE, None)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}" if v >= 10 else f"{v:g}"))
    values = record.column("chain_steps_per_second")
    ax.set_ylim(0, 1.15 * np.nanquantile(values[np.isfinite(values)], 0.995))
    return svg(figure, "Chain steps per second")


PHASES = [("seconds_chains", "chains", BLUE), ("seconds_gradient", "weight gradient", ORANGE),
          ("seconds_reduction", "reduction", PURPLE), ("seconds_waiting", "waiting", RED),
          ("seconds_files", "files", GREEN), ("seconds_evaluation", "evaluation", CYAN)]


def time_shares(record):
    """Shares of an iteration's time per phase and the rest, per bucket: (names, colours, shares)."""
    phases = [phase for phase in PHASES if record.has(phase[0])]
    total = record.buckets(record.column("seconds_iteration"), np.nansum)
    parts = [np.nan_to_num(record.buckets(record.column(name), np.nansum)) for name, _, _ in phases]
    known = np.sum(parts, axis=0)
    total = np.maximum(np.nan_to_num(total), known)
    parts.append(total - known)
    shares = np.array(parts) / np.where(total > 0, total, 1)
    return [n for _, n, _ in phases] + ["rest"], [c for _, _, c in phases] + [GREY], shares


def time_split(record):
    figure, ax = axes("share of the time, per cent", record)
    names, colours, shares = time_shares(record)
    x = record.steps()
    if len(x) == 1:  # an area needs two points
        x, shares = np.array([x[0] - 0.4, x[0] + 0.4]), np.repeat(shares, 2, axis=1)
    ax.stackplot(x, 100 * shares, labels=names, colors=colours, alpha=0.85, linewidth=0)
    ax.set_ylim(0, 100)
    legend(ax)
    return svg(figure, "Share of the time per phase")

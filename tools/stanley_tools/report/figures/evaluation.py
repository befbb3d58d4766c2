"""Plots of what was evaluated: KID, energies of kinds of states, long runs."""
import matplotlib.pyplot as plt
import numpy as np

from .canvas import BLUE, GREEN, GREY, MUTED, ORANGE, PURPLE, RED, axes, legend, legend_two_rows, name_values, svg


def kid(record, told, best, with_own):
    """KID·1000 in one network's features: `told`, {name: [(iteration, KID, (low, high)), ...]}, and with `with_own` the
    training's own."""
    figure, ax = axes("KID·1000", record if len(record) else None)
    ax.set_xlabel("iteration")
    ax.axhline(0, color=MUTED, linewidth=0.9)
    for name, colour, label in (("kid_train", BLUE, "to training images"), ("kid_test", ORANGE, "to test images")):
        there = np.isfinite(record.column(name))
        if not (with_own and there.any()):
            continue
        x, y = record.iteration[there], 1000 * record.column(name)[there]
        ax.plot(x, y, color=colour, label=label, linewidth=1.3, marker="o", markersize=4)
        if best is not None and name == "kid_train" and best in x:
            ax.plot([best], y[x == best], color=colour, marker="*", markersize=14, zorder=4)
    for (name, points), colour in zip(told.items(), (GREEN, PURPLE, RED, GREY)):
        ends = np.array([[np.nan if end is None else end for end in p[2]] for p in points])
        bars(ax, np.array([p[0] for p in points]), np.array([p[1] for p in points]), *ends.T, colour, name)
    legend_two_rows(ax)
    return svg(figure, "KID over iterations")


def bars(ax, x, y, low, high, colour, label):
    """Points with their intervals, in thousandths; a missing interval leaves the point alone."""
    reach = [np.nan_to_num(1000 * np.maximum(y - low, 0)), np.nan_to_num(1000 * np.maximum(high - y, 0))]
    ax.errorbar(x, 1000 * y, yerr=reach, color=colour, label=label, linestyle="none", marker="o", markersize=4, capsize=2.5,
                elinewidth=1)


def kid_classes(classes, few):
    """KID·1000 by class of ages: [(name, KID, (low, high), states), ...], the class "all" as a line, those of few states
    in grey."""
    figure, ax = axes("KID·1000")
    ages = [c for c in classes if c[0] != "all"]
    for name, value, (low, high), _ in classes:
        if name == "all":
            ax.axhline(1000 * value, color=MUTED, linewidth=1.2, label="all")
            if low is not None and high is not None:
                ax.axhspan(1000 * low, 1000 * high, color=MUTED, alpha=0.15, linewidth=0)
    for colour, label, shown in ((BLUE, "95 % interval", [i for i, c in enumerate(ages) if c[3] >= few]),
                                 (GREY, f"of fewer than {few} states", [i for i, c in enumerate(ages) if c[3] < few])):
        ends = np.array([[np.nan if end is None else end for end in ages[i][2]] for i in shown])
        if shown:
            bars(ax, np.array(shown), np.array([ages[i][1] for i in shown]), *ends.T, colour, label)
    ax.set_xticks(np.arange(len(ages)), [name.removeprefix("ages ") for name, *_ in ages])
    ax.set_xlim(-0.6, len(ages) - 0.4)
    ax.set_xlabel("age in chain steps")
    ax.grid(False, axis="x")
    legend(ax)
    return svg(figure, "KID by age")


ENERGY_BINS = 80
DATA_AND_CHAINS = ("training", "test", "chains")


def cumulated(edges, counts, energies):
    """The share of a histogram below each energy, its bins taken as filled evenly."""
    return np.interp(energies, edges, np.append(0, np.cumsum(counts)) / counts.sum(), left=0, right=1)


def energy_range(edges, sets):
    """From the 1 to the 99 % quantile of data and chains, widened to those of the other kinds by at most twice that."""
    def span(some):
        shares = [np.append(0, np.cumsum(counts)) / counts.sum() for _, counts, _ in some]
        return min(np.interp(0.01, share, edges) for share in shares), max(np.interp(0.99, share, edges) for share in shares)
    low, high = span([one for one in sets if one[0] in DATA_AND_CHAINS] or sets)
    lowest, highest = span(sets)
    width = high - low or abs(low) or 1.0
    low, high = max(lowest, low - 2 * width), min(highest, high + 2 * width)
    return low - 0.03 * width, high + 0.03 * width


def energy_histograms(edges, sets):
    """Histograms in equal bins, each of its own height, of sets [(name, counts, mean or None), ...] that were counted
    between `edges`; and what lies beyond the range shown, in words."""
    figure, ax = axes("share of the kind, its fullest bin = 1", width=12.4, height=3.2)
    ax.set_xlabel("energy E (network's unit)")
    ax.xaxis.set_major_formatter(ax.yaxis.get_major_formatter())
    corners, beyond = np.linspace(*energy_range(edges, sets), ENERGY_BINS + 1), []
    for (name, counts, mean), colour in zip(sets, (BLUE, GREEN, ORANGE, GREY, PURPLE, RED)):
        below = cumulated(edges, counts, corners)
        shares = np.diff(below)
        height = shares / (shares.max() or 1.0)
        ax.stairs(height, corners, color=colour, linewidth=1.4, label=name)
        ax.stairs(height, corners, color=colour, alpha=0.15, fill=True)
        if mean is not None and corners[0] <= mean <= corners[-1]:
            ax.axvline(mean, color=colour, linewidth=0.9, linestyle=(0, (4, 3)))
        beyond += [f"{100 * share:.0f} % of {name} {where}" for share, where in ((below[0], "below"), (1 - below[-1], "above"))
                   if share >= 0.005]
    ax.set(xlim=(corners[0], corners[-1]), ylim=(0, 1.08))
    legend(ax)
    return svg(figure, "Histograms of energies"), beyond


STARTS = {"bank": ORANGE, "data": BLUE, "noise": GREY}


def long_runs(energy, kid_of):
    """Energies and KID·1000 over chain steps, of each start: {start: (steps, values, low, high)}."""
    with_kid = any(np.isfinite(values).any() for _, values, _, _ in kid_of.values())
    first = min((s[s > 0].min() for s, *_ in energy.values() if (s > 0).any()), default=1.0)
    figure, panels = plt.subplots(1, 2 if with_kid else 1, figsize=(12.4, 3.2), layout="constrained", squeeze=False)
    for ax, curves, unit, name in zip(panels[0], (energy, kid_of), (1, 1000), ("mean energy E", "KID·1000")):
        for start, (steps, values, low, high) in curves.items():
            colour = STARTS.get(start, PURPLE)
            ax.plot(steps, unit * values, color=colour, linewidth=1.4, label=f"from {start}", marker="o", markersize=3)
            ax.fill_between(steps, unit * low, unit * high, color=colour, alpha=0.2, linewidth=0)
        ax.set_xscale("symlog", linthresh=first)
        ax.set_xlabel("chain steps")
        name_values(ax, name)
        legend(ax)
    return svg(figure, "Energies and KID of chains that run on")

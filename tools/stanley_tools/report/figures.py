"""The plots of the report: inline SVG whose inks follow the page's light or dark theme."""
import io
import re
import warnings

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

# Colours that the page's style sheet replaces by its own; any three that no plot uses.
INK, MUTED, LINE = "#010203", "#020304", "#030405"
THEME = {INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)"}

CYAN, LIME, SILVER = "#5fd3f3", "#9ee37d", "#b9bec8"  # on dark heat maps
BLUE, ORANGE, GREY, GREEN, PURPLE, RED = "#3b82c4", "#e07b39", "#8b93a1", "#3f9b6c", "#8a63c9", "#cf4a4a"
MAXIMUM_POINTS = 300

plt.rcParams.update({
    "svg.fonttype": "path", "font.size": 9, "axes.edgecolor": LINE, "axes.labelcolor": MUTED,
    "xtick.color": MUTED, "ytick.color": MUTED, "text.color": INK, "axes.grid": True, "grid.color": LINE,
    "grid.linewidth": 0.6, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
    "xtick.major.size": 0, "ytick.major.size": 0, "xtick.minor.size": 0, "ytick.minor.size": 0,
    "legend.frameon": False, "legend.fontsize": 8.5, "legend.labelcolor": INK, "figure.facecolor": "none",
    "axes.facecolor": "none", "axes.formatter.limits": (-3, 5), "axes.formatter.useoffset": False})


class Record:
    """The rows of metrics.csv, decimated for drawing: per bucket median, least and greatest."""

    def __init__(self, metrics, resumed_at=(), rolled_back_to=()):
        self.metrics = metrics
        rows = len(metrics.get("iteration", ()))
        self.iteration = metrics.get("iteration", np.arange(rows, dtype=float))
        self.resumed_at = [i for i in resumed_at if i > 0]
        self.rolled_back_to = list(rolled_back_to)
        self.edges = np.unique(np.linspace(0, rows, min(rows, MAXIMUM_POINTS) + 1).astype(int))

    def __len__(self):
        return len(self.iteration)

    def column(self, name):
        return self.metrics.get(name, np.full(len(self), np.nan))

    def has(self, *names):
        return any(np.isfinite(self.column(name)).any() for name in names)

    def buckets(self, values, reduction=np.nanmean):
        values = np.where(np.isfinite(values), values, np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a bucket of nothing but NaN stays NaN
            return np.array([reduction(values[a:b]) for a, b in zip(self.edges[:-1], self.edges[1:])])

    def steps(self):
        return self.buckets(self.iteration)


def svg(figure, label):
    """The figure as an SVG element that scales with the page, in a box that scrolls where that is narrow."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True)
    plt.close(figure)
    text = buffer.getvalue()
    text = text[text.index("<svg"):]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', rf'<svg viewBox="\1" style="{least_width(figure)}" role="img" '
                  rf'aria-label="{label}">', text)
    for colour, variable in THEME.items():
        text = text.replace(colour, variable)
    return f'<div class="scroll">{text}</div>'


def least_width(figure):
    """At which a plot's writing can still be read; a narrower page scrolls it."""
    return f"min-width: {0.8 * 72 * figure.get_figwidth():.0f}px"


def axes(y_label, record=None, width=6.0, height=2.9):
    figure, ax = plt.subplots(figsize=(width, height), layout="constrained")
    name_values(ax, y_label)
    if record is not None:
        ax.set_xlabel("iteration")
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
        first, last = np.nanmin(record.iteration), np.nanmax(record.iteration)
        pad = max(0.5, 0.01 * (last - first))
        ax.set_xlim(first - pad, last + pad)
        for marked, colour, style in ((record.resumed_at, MUTED, (0, (1, 3))),
                                      (record.rolled_back_to, RED, (0, (5, 3)))):
            for iteration in marked:
                if first - 1 <= iteration <= last:
                    ax.axvline(iteration, color=colour, linewidth=0.9, linestyle=style)
    return figure, ax


def name_values(ax, label):
    """Labels the y axis, its numbers written out: a common power of ten would stand where the legend does."""
    ax.set_ylabel(label)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.9g}".replace("-", "−")))


def legend(ax):
    """Above the plot, in a row: it can't cover a line there."""
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        ax.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=5, borderaxespad=0.2,
                  handlelength=1.4, columnspacing=1.4)


def trace(ax, record, name, colour, label, width=1.5):
    values = record.column(name)
    if not np.isfinite(values).any():
        return
    x, middle = record.steps(), record.buckets(values, np.nanmedian)
    ax.plot(x, middle, color=colour, linewidth=width, label=label, marker="o" if len(x) <= 30 else None, markersize=3)
    if len(record) > MAXIMUM_POINTS:
        ax.fill_between(x, record.buckets(values, np.nanmin), record.buckets(values, np.nanmax),
                        color=colour, alpha=0.16, linewidth=0)


def quantiles(ax, record, stem, colour, symbol):
    low, middle, high = (f"{stem}_q{q}" for q in (10, 50, 90))
    if record.has(low, high):
        ax.fill_between(record.steps(), record.buckets(record.column(low)), record.buckets(record.column(high)),
                        color=colour, alpha=0.22, linewidth=0, label=f"10–90 % of {symbol}")
    trace(ax, record, middle, colour, f"median {symbol}")


def robust_limits(ax, record, names, include=()):
    """Limits from the 0.5 to 99.5 % quantiles, so that one spike doesn't flatten the rest."""
    values = np.concatenate([record.column(name) for name in names])
    values = values[np.isfinite(values)]
    if not len(values):
        return
    low, high = np.quantile(values, [0.005, 0.995])
    low, high = min([low, *include]), max([high, *include])
    margin = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    ax.set_ylim(low - margin, high + margin)


def log_if_wide(ax, record, names, factor=20):
    values = np.concatenate([record.column(name) for name in names])
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > factor * values.min():
        ax.set_yscale("log")


def running_mean(values, window):
    """Mean over the last `window` finite values at each place."""
    finite = np.isfinite(values)
    total, count = np.cumsum(np.where(finite, values, 0.0)), np.cumsum(finite)
    total[window:], count[window:] = total[window:] - total[:-window], count[window:] - count[:-window]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


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


def gain(record):
    figure, ax = axes("gain γ and shares (no unit)", record)
    quantiles(ax, record, "gain", BLUE, "γ")
    trace(ax, record, "gain_weighted_drift", ORANGE, "drift share ‖γ∘g‖₁ / ‖g‖₁")
    trace(ax, record, "gain_below_one", GREY, "share of γ < 1", 1.0)
    ax.set_ylim(-0.02, 1.04)
    legend_two_rows(ax)
    return svg(figure, "Quantiles of the gain and gain-weighted drift share")


def legend_two_rows(ax):
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        ax.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2,
                  handlelength=1.4, columnspacing=1.6, labelspacing=0.25)


def state_gradient(record):
    figure, ax = axes("|∇E| per element", record)
    quantiles(ax, record, "state_gradient", GREEN, "|∇E|")
    log_if_wide(ax, record, ["state_gradient_q10", "state_gradient_q90"])
    legend(ax)
    return svg(figure, "Quantiles of the energy's gradient with respect to the state")


def movement(record):
    figure, ax = axes("in units of the state", record)
    trace(ax, record, "distance_moved", BLUE, "distance moved per visit")
    trace(ax, record, "chain_scale", GREY, "scale of the chains", 1.0)
    robust_limits(ax, record, [n for n in ("distance_moved", "chain_scale") if record.has(n)] or ["distance_moved"],
                  include=[0.0])
    legend(ax)
    return svg(figure, "Distance that chains moved, and their scale")


def temperature(record, asked):
    """Both readings of the thermometer with their errors, over the temperature that was asked for."""
    unit = asked or 1.0
    figure, ax = axes("T measured / T asked for" if asked else "T", record)
    if asked:
        ax.axhline(1, color=MUTED, linewidth=0.9)
    shown = []
    for name, colour, label in (("temperature_settled", BLUE, "settled"), ("temperature_law", ORANGE, "law")):
        values, errors = record.column(name) / unit, record.column(f"{name}_error") / unit
        if not np.isfinite(values).any():
            continue
        x, middle, error = record.steps(), record.buckets(values, np.nanmedian), record.buckets(errors, np.nanmedian)
        ax.plot(x, middle, color=colour, linewidth=1.4, label=label, marker="o" if len(x) <= 30 else None, markersize=3)
        ax.fill_between(x, middle - error, middle + error, color=colour, alpha=0.2, linewidth=0)
        shown.append(middle[np.isfinite(middle)])
    low, high = np.quantile(np.concatenate(shown), [0.01, 0.99])
    if low > 0 and high > 20 * low:
        ax.set_yscale("log")
    else:
        low, high = min(low, 1.0 if asked else low), max(high, 1.0 if asked else high)
        margin = 0.1 * (high - low) or 0.1 * abs(high) or 1.0
        ax.set_ylim(low - margin, high + margin)
    legend(ax)
    return svg(figure, "Temperature of the chains as the thermometer reads it")


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


def data_score(record):
    figure, ax = axes("rms(∇E)/T at noised data", record)
    values = np.isfinite(record.column("data_score"))
    ax.plot(record.iteration[values], record.column("data_score")[values], color=GREEN, linewidth=1.4, marker="o",
            markersize=3)
    return svg(figure, "Size of the model's score at noised data")


def age(record):
    figure, ax = axes("age in chain steps", record)
    trace(ax, record, "chain_age_mean", BLUE, "mean age")
    trace(ax, record, "chain_age_max", GREY, "oldest chain", 1.0)
    log_if_wide(ax, record, ["chain_age_mean", "chain_age_max"])
    legend(ax)
    return svg(figure, "Ages of the chains")


def shares(record):
    figure, ax = axes("share (no unit)", record)
    trace(ax, record, "saturation", ORANGE, "elements at the box's edge")
    trace(ax, record, "acceptance_rate", GREEN, "accepted steps")
    trace(ax, record, "restart_probability", PURPLE, "restart probability", 1.0)
    ax.set_ylim(-0.02, 1.04)
    legend(ax)
    return svg(figure, "Saturation, acceptance and restart probability")


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


# --- two-dimensional states -----------------------------------------------------------------------
def plane(bounds, titles, size=3.2):
    figure, panels = plt.subplots(1, len(titles), figsize=(size * len(titles), size + 0.5), layout="constrained",
                                  squeeze=False, sharex=True, sharey=True)
    for ax, title in zip(panels[0], titles):
        ax.set(xlim=bounds[:2], ylim=bounds[2:], xlabel="x₁", aspect="equal")
        ax.set_title(title, fontsize=9, loc="left")
        ax.grid(False)
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.yaxis.set_major_locator(MaxNLocator(5))
    panels[0][0].set_ylabel("x₂")
    return figure, panels[0]


def points(ax, x, colour, size=9):
    ax.scatter(x[:, 0], x[:, 1], s=size, color=colour, alpha=0.85, linewidth=0.4, edgecolor="white")


def density(energy, temperature, bounds, layers, cells=220):
    """Heat map of exp(−E/T), normalised over the shown square, and again under each layer of points.

    layers: [(title, [(states (n, 2), colour), ...]), ...]
    """
    x = np.linspace(*bounds[:2], cells)
    y = np.linspace(*bounds[2:], cells)
    states = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    values = energy(states).reshape(cells, cells)
    learned = np.exp(-(values - np.nanmin(values)) / temperature)
    learned /= learned.sum() * (x[1] - x[0]) * (y[1] - y[0])
    figure, panels = plane(bounds, ["learned density ∝ exp(−E/T)"] + [title for title, _ in layers])
    image = None
    for ax in panels:
        image = ax.imshow(learned, extent=bounds, origin="lower", cmap="magma", vmin=0,
                          vmax=np.quantile(learned, 0.999) or None, interpolation="bilinear")
    for ax, (_, sets) in zip(panels[1:], layers):
        for states, colour in sets:
            points(ax, states, colour)
    bar = figure.colorbar(image, ax=list(panels), shrink=0.85, pad=0.02, label="probability per unit area")
    bar.outline.set_visible(False)
    return svg(figure, "Heat map of the learned density")


def scatter(bounds, panels):
    """One panel per layer (as of `density`), all of the same square."""
    figure, drawn = plane(bounds, [title for title, _ in panels], size=2.9)
    for ax, (_, sets) in zip(drawn, panels):
        for states, colour in sets:
            points(ax, states, colour, size=7)
        ax.grid(True)
    return svg(figure, "States in the plane")

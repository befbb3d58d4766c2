"""What all plots of the report have in common: axes, colours, curves, and inline SVG whose inks follow the page's
light or dark theme."""
import io
import re

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .record import MAXIMUM_POINTS

# Colours that the page's style sheet replaces by its own; any three that no plot uses.
INK, MUTED, LINE = "#010203", "#020304", "#030405"
THEME = {INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)"}

CYAN, LIME, SILVER = "#5fd3f3", "#9ee37d", "#b9bec8"  # on dark heat maps
BLUE, ORANGE, GREY, GREEN, PURPLE, RED = "#3b82c4", "#e07b39", "#8b93a1", "#3f9b6c", "#8a63c9", "#cf4a4a"

plt.rcParams.update({
    "svg.fonttype": "path", "font.size": 9, "axes.edgecolor": LINE, "axes.labelcolor": MUTED,
    "xtick.color": MUTED, "ytick.color": MUTED, "text.color": INK, "axes.grid": True, "grid.color": LINE,
    "grid.linewidth": 0.6, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
    "xtick.major.size": 0, "ytick.major.size": 0, "xtick.minor.size": 0, "ytick.minor.size": 0,
    "legend.frameon": False, "legend.fontsize": 8.5, "legend.labelcolor": INK, "figure.facecolor": "none",
    "axes.facecolor": "none", "axes.formatter.limits": (-3, 5), "axes.formatter.useoffset": False})


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


def legend_two_rows(ax):
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        ax.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2,
                  handlelength=1.4, columnspacing=1.6, labelspacing=0.25)


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


def log_if_wide(ax, record, names, factor=20, include=()):
    values = np.concatenate([*(record.column(name) for name in names), include])
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > factor * values.min():
        ax.set_yscale("log")

"""Plots of how old chains are, and of how many of them count."""
import numpy as np

from .canvas import BLUE, GREEN, GREY, ORANGE, PURPLE, axes, legend, log_if_wide, svg, trace

AGE_BINS = 40


def limit_lines(draw, burn_in, maximum_age):
    """A line for each of the two limits on ages that is set: draw(age, **style)."""
    for limit, name, colour in ((burn_in, "burn-in", ORANGE), (maximum_age, "maximum age", PURPLE)):
        if limit:
            draw(limit, color=colour, linewidth=1.1, linestyle=(0, (6, 2)), label=f"{name} {limit:,.0f}")


def age(record, burn_in=None, maximum_age=None):
    figure, ax = axes("age in chain steps", record)
    trace(ax, record, "chain_age_mean", BLUE, "mean age")
    trace(ax, record, "chain_age_max", GREY, "oldest chain", 1.0)
    log_if_wide(ax, record, ["chain_age_mean", "chain_age_max"], include=[v for v in (burn_in, maximum_age) if v])
    limit_lines(ax.axhline, burn_in, maximum_age)
    legend(ax)
    return svg(figure, "Ages of the chains over iterations")


def counted_share(record):
    figure, ax = axes("share of the active chains (no unit)", record)
    trace(ax, record, "counted_share", GREEN, None)
    ax.set_ylim(-0.02, 1.04)
    return svg(figure, "Share of the chains that count in the loss")


def age_bins(ages, burn_in):
    """Edges of AGE_BINS equal bins or a few more, the burn-in one of them where it lies between the ages. Ages come in
    steps of a visit's length: each bin has as many of them."""
    ages = np.asarray(ages, np.int64)
    first, last = int(ages.min()), int(ages.max())
    unit = int(np.gcd.reduce(ages - first)) or 1
    width = unit * max(1, -(-(last - first) // (unit * AGE_BINS)))
    if burn_in and first < burn_in <= last:
        first = int(burn_in) - width * -(-(int(burn_in) - first) // width)
    return first + width * np.arange((last - first) // width + 2)


def age_histogram(ages, burn_in=None, maximum_age=None):
    """How many chains are how old; those that don't count yet in grey."""
    figure, ax = axes("chains")
    ax.set_xlabel("age in chain steps")
    ax.xaxis.set_major_formatter(ax.yaxis.get_major_formatter())
    edges, young = age_bins(ages, burn_in), ages < (burn_in or 0)
    below, all_of_them = (np.histogram(some, edges)[0] for some in (ages[young], ages))
    ax.stairs(all_of_them, edges, baseline=below, color=BLUE, fill=True, label="count" if young.any() else None)
    if young.any():
        ax.stairs(below, edges, color=GREY, fill=True, label="too young")
    limit_lines(ax.axvline, burn_in, maximum_age)
    ax.set_ylim(bottom=0)
    ax.grid(False, axis="x")
    legend(ax)
    return svg(figure, "Histogram of the ages of the drawn chains")

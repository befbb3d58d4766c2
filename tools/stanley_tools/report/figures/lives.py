"""Plots of how old chains become."""
from .canvas import BLUE, GREY, axes, legend, log_if_wide, svg, trace


def age(record):
    figure, ax = axes("age in chain steps", record)
    trace(ax, record, "chain_age_mean", BLUE, "mean age")
    trace(ax, record, "chain_age_max", GREY, "oldest chain", 1.0)
    log_if_wide(ax, record, ["chain_age_mean", "chain_age_max"])
    legend(ax)
    return svg(figure, "Ages of the chains")

"""Plots of the chains' steps over iterations: gain, gradient, movement, temperature."""
import numpy as np

from .canvas import (BLUE, GREEN, GREY, MUTED, ORANGE, axes, legend, legend_two_rows, log_if_wide, quantiles,
                     robust_limits, svg, trace)


def gain(record):
    figure, ax = axes("gain γ and shares (no unit)", record)
    quantiles(ax, record, "gain", BLUE, "γ")
    trace(ax, record, "gain_weighted_drift", ORANGE, "drift share ‖γ∘g‖₁ / ‖g‖₁")
    trace(ax, record, "gain_below_one", GREY, "share of γ < 1", 1.0)
    ax.set_ylim(-0.02, 1.04)
    legend_two_rows(ax)
    return svg(figure, "Quantiles of the gain and gain-weighted drift share")


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


def data_score(record):
    figure, ax = axes("rms(∇E)/T at noised data", record)
    values = np.isfinite(record.column("data_score"))
    ax.plot(record.iteration[values], record.column("data_score")[values], color=GREEN, linewidth=1.4, marker="o",
            markersize=3)
    return svg(figure, "Size of the model's score at noised data")


def noise_left(record):
    figure, ax = axes("share of the squared noise (no unit)", record)
    ax.axhline(1, color=MUTED, linewidth=0.9)
    trace(ax, record, "noise_left", ORANGE, None)
    robust_limits(ax, record, ["noise_left"], include=[0.0, 1.0])
    return svg(figure, "Share of the noise that a denoising step leaves")

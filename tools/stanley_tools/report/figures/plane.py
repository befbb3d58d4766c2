"""Plots of states in the plane, and of the density that was learned there."""
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from .canvas import svg


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

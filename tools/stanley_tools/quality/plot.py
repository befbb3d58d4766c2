"""Draws KID against wall time, a line for each seed."""
import statistics

COLOUR, PEER_COLOUR, TARGET_COLOUR = "#3b82c4", "#e07b39", "#cf4a4a"
UNITS = ((7200, 3600, "hours"), (180, 60, "minutes"), (0, 1, "seconds"))


def draw(study, seeds, peers, path):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    plt.rcParams.update({"font.size": 9, "axes.grid": True, "grid.color": "#dddddd", "axes.axisbelow": True,
                         "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False})
    figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
    ends = [at for one in [*seeds, *peers] for at, _ in one.evaluations]
    scale, unit = next((scale, unit) for least, scale, unit in UNITS if max(ends, default=0) >= least)
    target = 1000 * study.target.kid
    curves(ax, seeds, scale, COLOUR, "stanley")
    curves(ax, peers, scale, PEER_COLOUR, "plain PyTorch")
    ax.axhline(target, color=TARGET_COLOUR, linewidth=1.2)
    ax.annotate(f"target {target:.6g}", (1, target), xycoords=("axes fraction", "data"), ha="right", va="bottom",
                color=TARGET_COLOUR)
    vertical(ax, [kid for one in [*seeds, *peers] for _, kid in one.evaluations], target)
    ax.set(xlabel=f"wall time, {unit}", ylabel=f"KID·1000 ({study.target.column})", xlim=(0, None))
    ax.set_title(f"{study.target}", loc="left")
    if ends:
        figure.legend(loc="outside lower center", ncols=2)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def curves(ax, seeds, scale, colour, who):
    reached = [one for one in seeds if one.reached]
    label = f"{who}: {len(reached)} of {len(seeds)} seed(s) reached it"
    for one in seeds:
        if not one.evaluations:
            continue
        times, kids = zip(*one.evaluations)
        times = [at / scale for at in times]
        ax.plot(times, kids, color=colour, linewidth=1.2, alpha=0.75, marker=".", markersize=3, label=label)
        label = None
        if one.reached:
            ax.plot(times[-1], kids[-1], color=colour, marker="o", markersize=7, markeredgecolor="white", zorder=5)
        else:
            ax.plot(times[-1], kids[-1], color=colour, marker="x", markersize=7, zorder=5)
    if len(reached) * 2 > len(seeds) and reached:
        median = statistics.median(one.cost("seconds") for one in seeds)
        ax.axvline(median / scale, color=colour, linestyle=":", linewidth=1.2, label=f"{who}: median")


def vertical(ax, kids, target):
    """A KID falls over decades, and chance may take it below 0."""
    positive = [kid for kid in [*kids, target] if kid > 0]
    if not positive or max(positive) < 30 * min(positive):
        return
    if min([*kids, target]) > 0:
        ax.set_yscale("log")
    else:
        ax.set_yscale("symlog", linthresh=max(target, 1e-3 * max(positive)))
    ax.yaxis.set_major_formatter("{x:g}")

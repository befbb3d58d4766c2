"""Draws scaling studies (jobs/scaling.sh) and prints their table: speed-up and efficiency against
ideal, with the least and greatest of the repeats, and where the time of an iteration goes."""
import argparse
import json
import pathlib
import statistics
import sys

RESULTS = "results.jsonl"
PHASES = [("chains", "chains", "#3b82c4"), ("gradient", "weight gradient", "#e07b39"),
          ("reduction", "reduction", "#8a63c9"), ("waiting", "waiting", "#cf4a4a"), ("files", "files", "#3f9b6c")]
INPUT_OUTPUT = 5  # the exit codes of stanley


class FailedError(Exception):
    """Something that the person can put right; its text says how."""


# --- results --------------------------------------------------------------------------------------
def add(folder, study, repeat, text):
    """One run's JSON becomes a line of the folder's results."""
    start = text.find("{")
    try:
        result = json.loads(text[start:])
        result["training"]["iteration_seconds"]
    except (ValueError, KeyError, TypeError):
        raise FailedError(f"this is no result of 'stanley benchmark --iterations N --json': {text[:80]!r}")
    line = json.dumps({"study": study, "repeat": repeat, **result})
    with open(folder / RESULTS, "a", encoding="utf-8") as file:
        file.write(line + "\n")
    training = result["training"]
    print(f"{study}, {result['ranks']} rank(s), run {repeat}: {1e3 * training['iteration_seconds']:.1f} ms an "
          f"iteration, {training['chain_steps_per_second']:,.0f} chain steps/s", flush=True)


def read(folder):
    path = folder / RESULTS
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise FailedError(f"{path} can't be read ({error.strerror}): jobs/scaling.sh makes it")
    found = []
    for number, line in enumerate(lines, 1):
        try:
            run = json.loads(line)
            run["training"]["chain_steps_per_second"], run["ranks"], run["study"]
        except (ValueError, KeyError, TypeError):
            raise FailedError(f"{path}, line {number}: no result of a study; remove the line")
        found.append(run)
    return found


class Size:
    """The runs of one number of ranks."""

    def __init__(self, runs):
        self.runs = runs
        self.ranks, self.nodes = runs[0]["ranks"], runs[0]["nodes"]

    def values(self, name):
        return [run["training"][name] for run in self.runs]

    def median(self, name):
        return statistics.median(self.values(name))

    def efficiencies(self, base):
        """(median, least, greatest) of the chain steps per second and rank, in those of `base`."""
        unit = base.median("chain_steps_per_second") / base.ranks
        values = [steps / self.ranks / unit for steps in self.values("chain_steps_per_second")]
        return statistics.median(values), min(values), max(values)

    def shares(self):
        """Per cent of an iteration per phase, and the rest."""
        total = self.median("iteration_seconds")
        shares = [100 * self.median(name) / total for name, _, _ in PHASES]
        return [*shares, max(0.0, 100 - sum(shares))]


def sizes_of(runs, study):
    ranks = sorted({run["ranks"] for run in runs if run["study"] == study})
    return [Size([run for run in runs if run["study"] == study and run["ranks"] == count]) for count in ranks]


# --- table ----------------------------------------------------------------------------------------
def table(study, sizes):
    base = sizes[0]
    lines = [f"{study} scaling; baseline: {base.ranks} rank(s), median of {len(base.runs)} runs "
             f"(least - greatest in brackets); {base.runs[0]['device']}, {base.runs[0]['threads']} thread(s) a rank",
             f"{'ranks':>6} {'nodes':>5} {'iteration ms':>12} {'chain steps/s':>14} {'speed-up':>8} {'efficiency':>21} "
             f"{'chains %':>8} {'weight %':>8} {'reduct. %':>9} {'waiting %':>9} {'files %':>7} {'MB/rank':>8} {'J':>8}"]
    for size in sizes:
        middle, least, greatest = size.efficiencies(base)
        joules = [value for value in size.values("joules") if value is not None]
        lines.append(
            f"{size.ranks:>6} {size.nodes:>5} {1e3 * size.median('iteration_seconds'):>12.1f} "
            f"{size.median('chain_steps_per_second'):>14,.0f} {middle * size.ranks / base.ranks:>8.2f} "
            f"{f'{middle:.3f} ({least:.3f} - {greatest:.3f})':>21} "
            + " ".join(f"{share:>{width}.1f}" for share, width in zip(size.shares(), (8, 8, 9, 9, 7)))
            + f" {size.median('memory_bytes') / 1e6:>8.0f} {f'{statistics.median(joules):.1f}' if joules else '-':>8}")
    return "\n".join(lines)


# --- plot -----------------------------------------------------------------------------------------
def draw(studies, path):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    plt.rcParams.update({"font.size": 9, "axes.grid": True, "grid.color": "#dddddd", "axes.axisbelow": True,
                         "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False})
    figure, rows = plt.subplots(len(studies), 3, figsize=(12, 3.6 * len(studies)), layout="constrained", squeeze=False)
    for (study, sizes), (speed, efficiency, split) in zip(studies.items(), rows):
        base = sizes[0]
        ranks = [size.ranks for size in sizes]
        middle, least, greatest = zip(*(size.efficiencies(base) for size in sizes))
        scaled = lambda values: [value * count / base.ranks for value, count in zip(values, ranks)]
        ideal = dict(color="#8b93a1", linestyle="--", label="ideal")
        for ax, of, line, label in ((speed, scaled, scaled([1] * len(ranks)), "speed-up"),
                                    (efficiency, list, [1] * len(ranks), "efficiency")):
            low = [m - l for m, l in zip(of(middle), of(least))]
            high = [g - m for m, g in zip(of(middle), of(greatest))]
            ax.plot(ranks, line, **ideal)
            ax.errorbar(ranks, of(middle), yerr=[low, high], marker="o", capsize=3, color="#3b82c4",
                        label=f"median, least – greatest of {min(len(s.runs) for s in sizes)}")
            ax.set(xscale="log", xlabel="ranks", ylabel=f"{label}, against {base.ranks} rank(s)")
            ax.set_xticks(ranks, [str(count) for count in ranks])
            ax.minorticks_off()
            ax.legend(loc="best")
        speed.set_title(f"{study} scaling: chain steps per second", loc="left")
        efficiency.set_ylim(0, 1.1 * max(1, *greatest))
        draw_split(split, sizes)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_split(ax, sizes):
    bottom = [0.0] * len(sizes)
    parts = zip(*(size.shares() for size in sizes))
    for (name, colour), part in zip([*((n, c) for _, n, c in PHASES), ("rest", "#c9ced6")], parts):
        ax.bar([str(size.ranks) for size in sizes], part, bottom=bottom, color=colour, label=name, width=0.6)
        bottom = [b + p for b, p in zip(bottom, part)]
    ax.set(xlabel="ranks", ylabel="share of an iteration, per cent", ylim=(0, 100))
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    ax.grid(False)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path, help="of the study: results.jsonl is read, scaling.png and "
                                                          "table.txt are written")
    parser.add_argument("--add", nargs=2, metavar=("STUDY", "REPEAT"),
                        help="only add the result on standard input to results.jsonl")
    options = parser.parse_args()
    try:
        if options.add:
            return add(options.folder, options.add[0], int(options.add[1]), sys.stdin.read())
        runs = read(options.folder)
        studies = {study: sizes for study in ("weak", "strong") if (sizes := sizes_of(runs, study))}
        if not studies:
            raise FailedError(f"{options.folder / RESULTS} holds no run yet")
        text = "\n\n".join(table(study, sizes) for study, sizes in studies.items())
        (options.folder / "table.txt").write_text(text + "\n", encoding="utf-8")
        draw(studies, options.folder / "scaling.png")
        print(text)
    except FailedError as error:
        print(f"plot_scaling: {error}", file=sys.stderr)
        return INPUT_OUTPUT

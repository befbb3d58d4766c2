"""What evaluation.json and the training's own evaluation say: KID over iterations and by age, tables, energies, long
runs. Whatever an older or newer release doesn't have is left out."""
from html import escape

import numpy as np

from ..files import number
from . import figures
from .markup import card, moment, section, short, table

MAXIMUM_PROTOCOLS = 4


def evaluation(run, record, note):
    newest = newest_of_each(run.evaluations)
    cards = [kid_over_iterations(run, record)]
    for entry in newest:
        cards += [kid_by_age(entry), distances(entry), energies(entry), long_run(entry)]
    return section("Evaluation", f"How near the chains are to held-out data.{note}", cards)


def part(entry, key, kind):
    """A part of an entry, or an empty one where there is none of this kind."""
    value = entry.get(key) if isinstance(entry, dict) else None
    return value if isinstance(value, kind) else kind()


def protocol_of(entry):
    return str(part(entry, "protocol", dict).get("name") or "?")


def classes(entry):
    """The results for chains of all ages, and by age."""
    return [c for c in part(entry, "results", list) if isinstance(c, dict)]


def fresh(entry):
    """The results for chains that started anew, named by their length."""
    found = [one for one in part(entry, "fresh", list) if isinstance(one, dict)]
    return [part(one, "result", dict) | {"name": f"fresh, {one.get('steps')} steps"} for one in found]


def interval(owner, key):
    """(low, high) or (None, None)."""
    ends = part(owner, key, list)
    return tuple(number(end) for end in ends) if len(ends) == 2 else (None, None)


def newest_of_each(evaluations):
    """The last entry of each protocol and kind of file, newest first."""
    found = {}
    for entry in evaluations:
        found[protocol_of(entry), entry.get("kind")] = entry
    return sorted(found.values(), key=lambda entry: str(entry.get("time")), reverse=True)[:MAXIMUM_PROTOCOLS]


def about(entry):
    """Which states, against what."""
    protocol = part(entry, "protocol", dict)
    iteration = entry.get("iteration")
    at = f" (iteration {iteration:,})" if isinstance(iteration, int) else ""
    return (f"{entry.get('path')}{at}: {entry.get('states')} states against {protocol.get('reference_count')} of split "
            f"'{protocol.get('split')}' of {protocol.get('data')}; protocol {protocol_of(entry)}, features "
            f"{protocol.get('features')}; evaluated {moment(entry.get('time'))}")


# --- KID ------------------------------------------------------------------------------------------
def told(evaluations):
    """{protocol: [(iteration, KID, (low, high)), ...]} of checkpoints, over chains of all ages."""
    found = {}
    for entry in evaluations:
        iteration = entry.get("iteration")
        for c in classes(entry):
            kid = number(c.get("kid"))
            if c.get("name") == "all" and kid is not None and isinstance(iteration, int):
                found.setdefault(protocol_of(entry), {})[iteration] = (kid, interval(c, "kid_interval_95"))
    return {name: [(i, *values) for i, values in sorted(points.items())] for name, points in found.items()}


def kid_over_iterations(run, record):
    points = told(run.evaluations)
    if not (record.has("kid_train", "kid_test") or points):
        return ""
    best = best_iteration(run)
    chosen = f" The star is checkpoints/best, of iteration {best:,}." if best is not None else ""
    return card("KID over iterations", figures.kid(record, points, best),
                "The squared distance of the two laws in a kernel's space, times 1000: 0 where they agree. Lines: the "
                "training's own samples of the bank; points: stanley evaluate. Bars are 95 % intervals. Healthy: it "
                f"falls and levels off, test with train. Not: it rises again, or test leaves train behind.{chosen}",
                wide=True)


def best_iteration(run):
    """The iteration of checkpoints/best, or None."""
    link = run.directory / "checkpoints" / "best"
    try:
        return int(link.readlink().stem.rsplit("-", 1)[-1])
    except (OSError, ValueError):
        return None


def kid_by_age(entry):
    found = [(str(c.get("name")), number(c.get("kid")), interval(c, "kid_interval_95")) for c in classes(entry)]
    found = [one for one in found if one[1] is not None]
    if len(found) < 2:
        return ""
    return card(f"KID by age, {escape(protocol_of(entry))}", figures.kid_classes(found),
                "Ages in chain steps, quarter by quarter; the line and its band are all chains together. Healthy: level, "
                "or falling to old chains. Not: old chains far above the others (chains run away), or quarters far above "
                "the line (several laws under one mean).")


# --- tables ---------------------------------------------------------------------------------------
def with_interval(value, ends, scale=1.0, digits=1):
    if value is None:
        return None
    text = f"{scale * value:,.{digits}f}"
    return text if None in ends else f"{text} ({scale * ends[0]:,.{digits}f} to {scale * ends[1]:,.{digits}f})"


def distances(entry):
    rows, remarks = [], []
    for c in classes(entry) + fresh(entry):
        fid, further = number(c.get("fid")), number(c.get("fid_extrapolated"))
        rows.append([c.get("name"), c.get("states"),
                     with_interval(number(c.get("kid")), interval(c, "kid_interval_95"), 1000),
                     None if fid is None else short(fid) + (f" (∞: {short(further)})" if further is not None else ""),
                     *(None if number(c.get(key)) is None else f"{number(c[key]):.3f}"
                       for key in ("precision", "recall", "density", "coverage"))])
        remarks += [f"{c.get('name')}: {remark}" for remark in part(c, "remarks", list)]
    if not rows:
        return ""
    head = ["", "states", "KID·1000 (95 %)", "FID", "precision", "recall", "density", "coverage"]
    return card(f"Distances to the data, {escape(protocol_of(entry))}", table(head, rows),
                escape(about(entry)) + ". Healthy: KID near 0, precision and recall near 1, all ages alike. Not: precision "
                "without recall (few kinds of pictures), recall without precision (noise)."
                + "".join(f"<br>{escape(str(remark))}." for remark in remarks), wide=True)


# --- energies and long runs -----------------------------------------------------------------------
def energies(entry):
    report = part(entry, "energies", dict)
    edges = np.array([number(edge) for edge in part(report, "edges", list)], float)
    sets = []
    for one in part(report, "sets", list):
        counts = np.array([number(n) for n in part(one, "histogram", list)], float)
        if len(counts) and len(counts) + 1 == len(edges) and counts.sum() > 0:
            sets.append((str(one.get("name")), counts, number(one.get("mean"))))
    if not sets:
        return ""
    rows = [[c.get("name"), with_interval(number(c.get("auroc")), interval(c, "auroc_interval_95"), digits=3)]
            for c in part(report, "out_of_distribution", list) if isinstance(c, dict)]
    memory = part(report, "memorisation", dict)
    if memory:
        rows.append(["test above training", with_interval(number(memory.get("auroc")),
                                                          interval(memory, "auroc_interval_95"), digits=3)])
    below = table(["energy above that of test images", "AUROC (95 %)"], rows) if rows else ""
    return card("Energies of kinds of states", figures.energy_histograms(edges, sets) + below,
                "Healthy: training, test and chains lie over each other, noise and other data well above (AUROC near 1). "
                "Not: training below test (memorised; 0.5 is even), or other data where the data is.", wide=True)


def long_run(entry):
    report = part(entry, "long_run", dict)
    curves = {}
    for point in part(report, "points", list):
        if isinstance(point, dict) and number(point.get("step")) is not None:
            curves.setdefault(str(point.get("start")), []).append(point)
    if not curves:
        return ""
    steps = {start: np.array([number(p["step"]) for p in points]) for start, points in curves.items()}

    def column(key):
        return {start: (steps[start], numbers_of(points, key),
                        *(numbers_of(points, f"{key}_interval_95", end) for end in (0, 1)))
                for start, points in curves.items()}
    verdict = str(report.get("verdict") or "")
    reasons = "; ".join(str(reason) for reason in part(report, "reasons", list))
    return card(f"Long runs: {escape(verdict or 'no verdict')}", figures.long_runs(column("energy"), column("kid")),
                (escape(reasons) + ". " if reasons else "") + "Chains that run on from the bank, from data and from noise. "
                "Healthy: the three come to one level and stay there. Not: they drift off (a short-run generator), or "
                "never meet.", wide=True)


def numbers_of(points, key, end=None):
    """An array of a column, or of one end of an interval; nan where there is none."""
    values = [p.get(key) for p in points]
    if end is not None:
        values = [v[end] if isinstance(v, list) and len(v) == 2 else None for v in values]
    return np.array([np.nan if number(v) is None else number(v) for v in values])

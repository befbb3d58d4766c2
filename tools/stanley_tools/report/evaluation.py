"""What evaluation.json and the training's own evaluation say: KID over iterations and by age, tables, energies, long
runs. Whatever an older or newer release doesn't have is left out."""
import pathlib
from html import escape

import numpy as np

from ..files import number
from .checks import mean_age
from .entries import (FEW, best_iteration, chosen, count, counts, fullest, interval, long_runs, part, parts, protocol_of,
                      protocols, shorter_than_training, states_and_reference, words_of)
from .figures import evaluation as figures
from .markup import card, moment, section, short, table


def evaluation(run, record, note):
    shown = [(protocol, [fullest(entries, states_and_reference) for entries in chosen(
        run, lambda entry: protocol_of(entry) == protocol and parts(entry, "results"))])
        for protocol in protocols(run, "results")]
    cards = kids_over_iterations(run, record)
    cards += [kid_by_age(run, entry) for _, entries in shown for entry in entries]
    for protocol, entries in shown:
        cards += [distances(run, entry) for entry in entries]
        cards += [fresh(run, entries) for entries in chosen(
            run, lambda entry: protocol_of(entry) == protocol and parts(entry, "fresh"))]
    cards += [energies(run, entries) for entries in chosen(run, lambda entry: parts(part(entry, "energies", dict), "sets"))]
    cards += [long_run(run, entry, mean_age(record)) for entry in long_runs(run)]
    return section("Evaluation", "How near the chains are to held-out data. Compare precision, recall, density and "
                   "coverage at equal counts of states and images only: they depend on them. The KID of each feature "
                   f"network has a scale of its own.{note}", cards)


def title(run, what, entry, counted=""):
    """What, under which protocol, of which file: its counts."""
    return f"{what}, protocol {escape(protocol_of(entry)[0])}, {words_of(run, entry)}" + (f": {counted}" if counted else "")


# --- KID ------------------------------------------------------------------------------------------
def told(run, protocol):
    """[(iteration, KID, (low, high)), ...] of checkpoints under a protocol, over chains of all ages, by the fullest
    entry of each iteration."""
    found = {}
    for entry in run.evaluations:
        if protocol_of(entry) == protocol and entry.get("kind") == "checkpoint" and isinstance(entry.get("iteration"), int):
            found.setdefault(entry["iteration"], []).append(entry)
    points = []
    for iteration, entries in sorted(found.items()):
        for c in parts(fullest(entries, states_and_reference), "results"):
            if c.get("name") == "all" and number(c.get("kid")) is not None:
                points.append((iteration, number(c["kid"]), interval(c, "kid_interval_95")))
    return points


def own_features(run):
    """The name of the features that the training itself evaluates in, as protocols have it."""
    features, shape = str(run.setting("evaluation.features", "")), run.record.get("state_shape")
    points = isinstance(shape, list) and len(shape) == 1
    return "states" if points or features == "states" else pathlib.PurePath(features).stem


def kids_over_iterations(run, record):
    """A plot for each network of features: KIDs of two have different scales."""
    panels = {}
    for protocol in reversed(protocols(run, "results")):
        points = told(run, protocol)
        if points:
            panels.setdefault(protocol[1:3], {})[f"stanley evaluate, {protocol[0]}, to {protocol[4]}"] = points
    own, has_own = own_features(run), record.has("kid_train", "kid_test")
    with_own = next((key for key in panels if key[0] == own), (own, "")) if has_own else None
    if has_own:
        panels = {with_own: panels.pop(with_own, {}), **panels}
    best = best_iteration(run)
    return [kid_over_iterations(record, key[0], points, best, key == with_own) for key, points in panels.items()]


def kid_over_iterations(record, features, points, best, with_own):
    lines = " Lines: the training's own samples of the bank." if with_own else ""
    dots = " Points: stanley evaluate, bars 95 % intervals." if points else ""
    there = with_own and best is not None and best in record.iteration
    star = f" The star is checkpoints/best, of iteration {best:,}." if there else ""
    return card("KID over iterations" + (f", features {escape(features)}" if features else ""),
                figures.kid(record, points, best if there else None, with_own),
                "The squared distance of the two laws in a kernel's space, times 1000: 0 where they agree."
                f"{lines}{dots} Healthy: it falls and levels off, test with train. Not: it rises again, or test leaves "
                f"train behind.{star}")


def kid_by_age(run, entry):
    found = [(str(c.get("name")), number(c.get("kid")), interval(c, "kid_interval_95"), count(c, "states"))
             for c in parts(entry, "results")]
    found = [one for one in found if one[1] is not None]
    if len(found) < 2:
        return ""
    few = f" Grey: fewer than {FEW} states, too few to mean anything." if any(n < FEW for *_, n in found) else ""
    drawn = " With the sampler's noise; the table has denoised states, too." if has_denoised(entry) else ""
    return card(title(run, "KID by age", entry, f"{count(entry, 'states'):,} states"), figures.kid_classes(found, FEW),
                "Ages in chain steps, quarter by quarter; states of one age stay together, so quarters may be unequal. The "
                f"line and its band are all chains together.{drawn}{few} Healthy: level, or falling to old chains. Not: old "
                "chains far above the others (chains run away), or quarters far above the line (several laws under one "
                "mean).")


# --- tables ---------------------------------------------------------------------------------------
def with_interval(value, ends, scale=1.0, digits=1):
    if value is None:
        return None
    text = f"{scale * value:,.{digits}f}"
    return text if None in ends else f"{text} ({scale * ends[0]:,.{digits}f} to {scale * ends[1]:,.{digits}f})"


def result_table(results):
    """A row for each result, and their remarks, equal ones of several rows in one line."""
    rows, remarks = [], {}
    for c in results:
        fid, further, states = number(c.get("fid")), number(c.get("fid_extrapolated")), count(c, "states")
        rows.append([c.get("name"), f"{states:,}" + (" – too few" if states < FEW else ""),
                     with_interval(number(c.get("kid")), interval(c, "kid_interval_95"), 1000),
                     None if fid is None else short(fid) + (f" (∞: {short(further)})" if further is not None else ""),
                     *(None if number(c.get(key)) is None else f"{number(c[key]):.3f}"
                       for key in ("precision", "recall", "density", "coverage"))])
        for remark in part(c, "remarks", list):
            remarks.setdefault(str(remark), []).append(str(c.get("name")))
    head = ["", "states", "KID·1000 (95 %)", "FID", "precision", "recall", "density", "coverage"]
    lines = (f"<br>{escape('; '.join(names))}: {escape(remark)}." for remark, names in remarks.items())
    return table(head, rows), "".join(lines)


def has_denoised(entry):
    return bool(parts(part(entry, "denoised", dict), "results"))


def labelled(entry):
    """The results of an entry, those of its states without the sampler's noise behind them, each then named as such."""
    raw = parts(entry, "results")
    if not has_denoised(entry):
        return raw
    return [one | {"name": f"{kind}, {one.get('name')}"}
            for kind, some in (("raw", raw), ("denoised", parts(entry["denoised"], "results"))) for one in some]


def distances(run, entry):
    content, remarks = result_table(labelled(entry))
    return card(title(run, "Distances to the data", entry, counts(entry)), content,
                f"{about(entry)}{noise_of(entry)}{too_young(entry)}{smaller_looks(run, entry)} A row of fewer than {FEW} "
                "states says nothing; states of one age stay together, so quarters may be unequal. Healthy: KID near 0, "
                "precision and recall near 1, all ages alike. Not: precision without recall (few kinds of pictures), recall "
                f"without precision (noise).{remarks}", wide=True)


def about(entry):
    """Which states, in which features, against what: as far as it is told."""
    protocol = part(entry, "protocol", dict)
    available, reference = count(entry, "states_available"), count(protocol, "reference")
    said = [f"{entry.get('path') or 'a file'}: {count(entry, 'states'):,}" + (f" of {available:,}" if available else "")
            + " states"]
    if protocol.get("features"):
        said[0] += f" in the features {protocol['features']}"
    if reference:
        said.append(f"against {reference:,} of split '{protocol.get('split') or '?'}' of {protocol.get('data') or '?'}")
    if entry.get("time"):
        said.append(f"evaluated {moment(entry['time'])}")
    return escape(", ".join(said)) + "."


def noise_of(entry):
    """Whether the sampler's noise is on the states."""
    already, how = entry.get("states_denoised"), part(entry, "denoised", dict).get("how")
    if already:
        return f" The states are without the sampler's noise: after {escape(str(already))}."
    if not has_denoised(entry):
        return ""
    return " Raw: with the sampler's noise. Denoised: the same states" + (f" after {escape(str(how))}." if how else ".")


def too_young(entry):
    """How many states were passed over for their age, and from which age on they were judged."""
    younger = count(entry, "states_younger")
    if not younger:
        return ""
    youngest = [int(ends[0]) for ends in (interval(c, "ages") for c in parts(entry, "results")) if None not in ends]
    least = f": the youngest that were are {min(youngest):,} chain steps old" if youngest else ""
    return f" {younger:,} states were too young to be judged{least}."


def smaller_looks(run, entry):
    """The other entries of the same file and protocol, which the card leaves out."""
    others = [one for one in run.evaluations if one is not entry and one.get("path") == entry.get("path")
              and protocol_of(one) == protocol_of(entry) and parts(one, "results")]
    return f" Smaller looks at it are left out: {'; '.join(counts(one) for one in others)}." if others else ""


def fresh(run, entries):
    """Chains that started anew; of each length those of the newest entry that has it."""
    found = {count(one, "steps"): part(one, "result", dict) for entry in entries for one in parts(entry, "fresh")}
    content, remarks = result_table([found[steps] | {"name": f"{steps:,} steps"} for steps in sorted(found)])
    return card(title(run, "Chains that start afresh", entries[-1]), content,
                "By the transition of the training, with the weights of that file. Healthy: with enough steps as near as "
                f"the bank. Not: near only where they start from data.{remarks}", wide=True)


# --- energies and long runs -----------------------------------------------------------------------
def energies(run, entries):
    """Energies depend on the weights alone, so one card holds for all protocols."""
    entry = fullest(entries, lambda one: sum(count(s, "states") for s in parts(one["energies"], "sets")))
    report = entry["energies"]
    edges = np.array([number(edge) for edge in part(report, "edges", list)], float)
    sets = []
    for one in parts(report, "sets"):
        heights = np.array([number(n) for n in part(one, "histogram", list)], float)
        if len(heights) and len(heights) + 1 == len(edges) and heights.sum() > 0:
            sets.append((str(one.get("name")), heights, number(one.get("mean"))))
    if not sets:
        return ""
    rows = [[f"{c.get('name')} above test", with_interval(number(c.get("auroc")), interval(c, "auroc_interval_95"), digits=3)]
            for c in parts(report, "out_of_distribution")]
    memory = part(report, "memorisation", dict)
    if memory:
        rows.append(["test above training", with_interval(number(memory.get("auroc")),
                                                          interval(memory, "auroc_interval_95"), digits=3)])
    plot, beyond = figures.energy_histograms(edges, sets)
    clipped = f" Beyond the range shown: {escape(', '.join(beyond))}." if beyond else ""
    size = ", ".join(f"{count(one, 'states'):,} of {escape(str(one.get('name')))}" for one in parts(report, "sets"))
    return card(f"Energies of kinds of states, {words_of(run, entry)}",
                plot + (table(["energies of", "AUROC (95 %)"], rows) if rows else ""),
                f"{size} states, each kind's fullest bin drawn as 1; dashed: means.{clipped} AUROC: the chance that a "
                "state of the first kind has the higher energy. Healthy: training, test and chains lie over each other, "
                "noise and other data well above (AUROC near 1). Not: training below test (memorised; 0.5 is even), or "
                "other data where the data is.", wide=True)


def long_run(run, entry, age):
    report = part(entry, "long_run", dict)
    curves = {}
    for point in parts(report, "points"):
        if number(point.get("step")) is not None:
            curves.setdefault(str(point.get("start")), []).append(point)
    if not curves:
        return ""
    steps = {start: np.array([number(p["step"]) for p in points]) for start, points in curves.items()}

    def column(key):
        return {start: (steps[start], numbers_of(points, key),
                        *(numbers_of(points, f"{key}_interval_95", end) for end in (0, 1)))
                for start, points in curves.items()}
    verdict = escape(str(report.get("verdict") or "no verdict"))
    if shorter_than_training(report, age):
        met = "" if report.get("verdict") == "stable" else f" or not met after {count(report, 'steps'):,} steps"
        verdict += f"{met} (the training's own chains are {short(age)} steps old on average)"
    reasons = "".join(f"<li>{escape(str(reason))}</li>" for reason in part(report, "reasons", list))
    return card(title(run, f"Long runs of {count(report, 'steps'):,} steps", entry, verdict), figures.long_runs(column("energy"), column("kid"))
                + (f'<ul class="reasons">{reasons}</ul>' if reasons else ""),
                f"{count(report, 'chains'):,} chains each that run on from the bank, from data and from noise. Healthy: "
                "the three come to one level and stay there. Not: they drift off (a short-run generator), or never meet.",
                wide=True)


def numbers_of(points, key, end=None):
    """An array of a column, or of one end of an interval; nan where there is none."""
    values = [p.get(key) for p in points]
    if end is not None:
        values = [v[end] if isinstance(v, list) and len(v) == 2 else None for v in values]
    return np.array([np.nan if number(v) is None else number(v) for v in values])

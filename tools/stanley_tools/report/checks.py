"""The checks at the top of the report: (class for the colour, sentence) each, or None where there is nothing to judge."""
from html import escape

import numpy as np

from . import entries
from .markup import short

EARLY = 20  # iterations, below which nothing is judged


def recent(record, name, share=0.2):
    """The finite values of a column in the last fifth of the run (20 rows at least)."""
    values = record.column(name)[-max(20, int(share * len(record))):]
    return values[np.isfinite(values)]


def mean_age(record):
    """Of the training's chains, lately, in chain steps; None where it isn't recorded."""
    values = recent(record, "chain_age_mean")
    return float(np.mean(values)) if len(values) else None


def checks(run, record):
    found = [check for check in (finite(record), gap(record), noise(record), gain(run, record), autocorrelation(record),
                                 rollbacks(run), kid(run, record), *long_run(run, record)) if check]
    if not len(record):
        found = [("", "No iteration is recorded yet: run this tool again in a while.")]
    elif len(record) < EARLY:
        found.append(("", f"Only {len(record)} iterations are recorded: too early to judge."))
    return '<div class="card"><ul class="checks">' + "".join(
        f'<li class="{colour}">{text}</li>' for colour, text in found) + "</ul></div>"


def finite(record):
    broken = sum(~np.isfinite(record.column("energy_data")) | ~np.isfinite(record.column("energy_chains")))
    if len(record) and "energy_data" in record.metrics:
        return ("bad", f"{broken:,} iterations have energies that are not finite.") if broken else (
            "good", "Energies are finite in every iteration.")
    return None


def gap(record):
    values = record.column("gap")
    values = np.abs(values[np.isfinite(values)])
    if len(values) < EARLY:
        return None
    late, middle = np.mean(values[-len(values) // 5:]), np.mean(values[len(values) // 5:3 * len(values) // 5])
    seen = f"from {middle:.3g} in the middle of the run to {late:.3g} at its end"
    if late > 3 * middle:
        return "warn", f"|gap| grew {seen}: chains no longer keep up with the energy."
    if late > 1.5 * middle:
        return "warn", f"|gap| grew {seen}: chains may not keep up with the energy."
    if late > 1.1 * middle:
        return "", f"|gap| grew a little, {seen}."
    return "good", f"|gap| does not grow ({middle:.3g} in the middle of the run, {late:.3g} at its end)."


def noise(record):
    if len(record) < EARLY:
        return None
    data, chains, of_noise = (recent(record, f"energy_{name}") for name in ("data", "chains", "noise"))
    if not (len(data) and len(chains) and len(of_noise)):
        return None
    data, chains, of_noise = np.mean(data), np.mean(chains), np.mean(of_noise)
    seen = f"noise {of_noise:.3g}, data {data:.3g}, chains {chains:.3g}, lately"
    if of_noise <= data:
        return "bad", f"Noise has no higher energy than the data ({seen}): the energy does not know the data."
    if of_noise <= chains:
        return "warn", f"Noise has no higher energy than the chains ({seen}): the chains are no better than noise."
    return "good", f"Noise has a higher energy than data and chains ({seen})."


def gain(run, record):
    values = recent(record, "gain_weighted_drift")
    if run.setting("sampler.type", "stanley") != "stanley" or len(values) < 10:
        return None
    share = np.mean(values)
    if share > 0.9:
        return "warn", f"γ hardly acts: {share:.2f} of the drift passes, so this is nearly plain Langevin."
    if share < 0.3:
        return "warn", f"γ brakes hard: only {share:.2f} of the drift passes; young chains may not keep up."
    return "good", f"γ is at work: {share:.2f} of the drift passes it (between 0.3 and 0.9 is meant)."


def autocorrelation(record):
    values = recent(record, "gap_autocorrelation")
    if len(values) < 10:
        return None
    value = np.mean(values)
    if value < -0.5:
        return "warn", (f"The gap swings from iteration to iteration (autocorrelation {value:.2f}): "
                        "lower the learning rate.")
    return "good", f"The gap does not swing from iteration to iteration (autocorrelation {value:.2f})."


def rollbacks(run):
    if run.rollbacks:
        times = "once" if run.rollbacks == 1 else f"{run.rollbacks} times"
        return "warn", (f"The run was rolled back {times} after it had left its band; the rejected files are in "
                        "<code>rejected/</code>.")
    return None


def kid(run, record):
    """The training's own KID at the end against the best of the run."""
    values = record.column("kid_train")
    there = np.isfinite(values)
    values, iterations = 1000 * values[there], record.iteration[there]
    if len(values) < 2:
        return None
    best, last = np.argmin(values), values[-1]
    seen = f"{short(last)} at the end, {short(values[best])} at best (iteration {iterations[best]:,.0f})"
    if last > kid_limit(values):
        kept = "; <code>checkpoints/best</code> is nearer" if entries.best_iteration(run) is not None else ""
        return "warn", f"KID·1000 to training images rose again: {seen}{kept}."
    return "good", f"KID·1000 to training images has not risen again ({seen})."


def kid_limit(values):
    """Above which the last of these KIDs is worse than the least, beside what they scatter from one to the next."""
    least = np.min(values)
    if len(values) < 6:  # their differences are their trend
        return 1.2 * least if least > 0 else np.inf
    scatter = np.median(np.abs(np.diff(values))) / 0.954  # of normal numbers of deviation σ: the median is 0.954 σ
    return max(1.1 * least, least + 4 * scatter)


def long_run(run, record):
    """The verdict on the newest checkpoint, or file, that has one; steps fewer than the training's own can't tell."""
    for entry in entries.long_runs(run)[:1]:
        report, age = entry["long_run"], mean_age(record)
        told = f"{entries.count(report, 'steps'):,} steps ({entries.words_of(run, entry)})"
        stable, short_run = report.get("verdict") == "stable", entries.shorter_than_training(report, age)
        if report.get("verdict") and short_run:
            yield "", (f"Chains from bank, data and noise {'are alike' if stable else 'have not met'} after {told}, but the "
                       f"training's own are {short(age)} steps old on average: a longer run can tell.")
        elif stable:
            yield "good", f"Chains from bank, data and noise are alike after a long run of {told}: stable."
        elif report.get("verdict"):
            yield "warn", (f"A long run of {told} finds a {escape(str(report['verdict']))}: its reasons stand under “Long "
                           "runs”.")

"""The report's pictures of what `stanley evaluate` says of classes and of nearest training images."""
from html import escape

import h5py
import numpy as np

from ..files import RunError, first_line
from . import pictures
from .entries import chosen, counts, fullest, part, states_and_reference, words_of
from .markup import card, section, short, table


def diversity(run):
    """A section on classes and neighbours, each of the newest files that were evaluated for it, or nothing."""
    cards = []
    for name, show in (("classes", class_card), ("neighbours", neighbour_card)):
        for entries in chosen(run, lambda entry: part(entry, "diversity", dict).get(name) is not None):
            entry = fullest(entries, states_and_reference)
            try:
                cards.append(show(run, entry, entry["diversity"][name]))
            except (RunError, OSError, KeyError, ValueError, IndexError, TypeError) as error:
                run.remarks.append(f"{name} of evaluation.json aren't shown: {first_line(error)}.")
    return section("Classes and nearest training images", "By <code>stanley evaluate</code>.", cards)


def class_card(run, evaluation, found):
    columns = [("states", found["states"]), ("reference", found["reference"])]
    if found.get("labels"):
        columns.append(("labels", found["labels"]))
    by_age = found.get("by_age", [])
    columns += [(escape(str(one["name"])), one["states"]) for one in by_age]
    percent = lambda share: f"{100 * share:.1f} %"
    rows = [[name, *(percent(column["shares"][i]) for _, column in columns)] for i, name in enumerate(found["names"])]
    rows.append(["entropy, nats", *(f"{column['entropy']:.3f}" for _, column in columns)])
    rows.append([f"sure (p from {found['confident_from']})",
                 *(percent(column["confident"]) if "confident" in column else "" for _, column in columns)])
    rows.append(["total variation", f"{found['total_variation']:.3f}", *[""] * (len(columns) - 1 - len(by_age)),
                 *(f"{one['total_variation']:.3f}" for one in by_age)])
    right = f" It is right on {percent(found['right'])} of the reference." if found.get("right") is not None else ""
    return card(f"Classes, {words_of(run, evaluation)}: {counts(evaluation)}", table(["", *(name for name, _ in columns)], rows),
                f"As the classifier {escape(str(found['classifier']))} sees them.{right} Total variation of states and "
                f"reference: {found['total_variation']:.3f}, by chance {found['total_variation_by_chance']:.3f}. Healthy: "
                "the first two columns agree, and all ages with them. Not: a class that is missing, or few states of which "
                "it is sure.", wide=bool(by_age))


def neighbour_card(run, evaluation, found):
    kinds = (("states", "nearest", "The states that are nearest to a training image"),
             ("states", "states", "Others, at even steps of their number"),
             ("reference", "reference", "Images of the reference, for comparison"))
    content = "".join(pair_picture(run, evaluation, found, *kind) for kind in kinds) + distances_by_age(found)
    shares = found["to_training"]
    return card(f"Nearest training images, {words_of(run, evaluation)}: {counts(evaluation)}", content,
                f"Above: a state or image; below it the nearest of {found['training']:,} images of split "
                f"'{escape(str(found['split']))}', and below that their distance. {100 * shares['nearer_than_median']:.0f} % of the "
                "states are nearer to one than the median image of the reference (50 % by chance). Healthy: pairs differ "
                "as they do for the reference, at all ages. Not: copies.", wide=True)


def distances_by_age(found):
    """A table of distances to the nearest training image, where states of several classes of ages were told apart."""
    by_age = found.get("by_age", [])
    if not by_age:
        return ""
    everything = found["to_training"]
    middle = everything["levels"].index(0.5)
    rows = [[name, one["states"], short(one["quantiles_of_states"][middle]),
             f"{100 * one['nearer_than_median']:.1f} %", f"{100 * one['nearer_than_5_percent']:.1f} %", one["copies"]]
            for name, one in [("all", everything), *((age["name"], age["to_training"]) for age in by_age)]]
    rows.append(["reference", everything["reference"], short(everything["quantiles_of_reference"][middle]), "50 %", "5 %",
                 ""])
    return table(["", "states", "median distance", "nearer than the reference's median", "than its 5 % quantile",
                  "copies"], rows)


def pair_picture(run, evaluation, found, source, kind, title):
    pairs = found["pairs"][kind]
    if not pairs:
        return ""
    number = "image" if source == "reference" else "state"
    read = read_reference if source == "reference" else read_states
    above = read(run, evaluation, [pair[number] for pair in pairs])
    below = read_images(evaluation, found["split"], [pair["training"] for pair in pairs])
    if above.shape != below.shape:
        raise RunError("states and training images have different shapes")
    mosaic = pictures.mosaic(np.concatenate([above, below]), columns=len(pairs), least_width=760)
    distances = "".join(f"<span>{short(pair['distance'])}</span>" for pair in pairs)
    return (f'<p>{escape(title)}</p><div class="scroll"><figure class="matched" style="min-width: {44 * len(pairs)}px; '
            f'max-width: {mosaic.width}px"><img alt="{escape(title)}" src="{pictures.tile(np.asarray(mosaic))}">'
            f'<figcaption style="grid-template-columns: repeat({len(pairs)}, 1fr)">{distances}</figcaption></figure></div>')


def read_rows(array, numbers):
    return np.stack([array[number] for number in numbers])


def read_states(run, evaluation, numbers):
    """States by their number in a checkpoint or a draw file, as pixels."""
    with h5py.File(run.directory / evaluation["path"], "r") as file:
        if "chains/state" in file:
            states = read_rows(file["chains/state"], numbers)
        else:
            array = file["posterior/x"]
            states = np.stack([array[number // array.shape[1], number % array.shape[1]] for number in numbers])
    return pixels(states, evaluation["protocol"]["range"])


def read_images(evaluation, split, numbers):
    """Images of a data file, as pixels."""
    with h5py.File(evaluation["protocol"]["data"], "r") as file:
        low, high = (float(value) for value in file.attrs.get("value_range", (0, 255)))
        return pixels(read_rows(file[f"{split}/images"], numbers).astype(np.float32), (low, high))


def read_reference(run, evaluation, numbers):
    return read_images(evaluation, evaluation["protocol"]["split"], numbers)


def pixels(states, value_range):
    if states.ndim != 4 or states.shape[1] not in (1, 3):
        raise RunError("the states are no images of one or three channels")
    return pictures.to_pixels(states, value_range)

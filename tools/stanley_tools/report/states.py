"""The report's pictures of states: data beside chains, young chains, chains over time, densities."""
from html import escape

import numpy as np

from ..files import MlpEnergy, RunError, first_line
from . import pictures
from .figures import canvas, plane
from .gain import gain_card
from .markup import card, section, short

TILES, YOUNG_TILES = 64, 32
TIME_CHAINS, TIME_FILES = 6, 10


def states(run, selection):
    if selection.draws is None:
        return section("Chains", "", [card(*without_draws(run))])
    lead = (f"Draws of iteration {selection.draws.iteration:,}: {len(selection.draws.x):,} chains, "
            + ages(selection.draws.age) + (f", {escape(after(selection.draws))}" if selection.draws.denoised else "") + ".")
    if selection.are_images:
        return section("Data and chains", lead, image_cards(run, selection))
    if selection.are_points:
        return section("Learned density", lead, point_cards(run, selection))
    return section("Chains", lead, [card("No picture", "<p>The states are neither images nor points of a plane.</p>")])


def without_draws(run):
    interval = run.setting("samples.every")
    if interval is None and run.setting("samples") is not None:
        return "No draws", "<p><code>samples.every</code> is null: none are written.</p>"
    every = f" every {escape(str(interval))} iterations" if interval else ""
    return "No draws yet", f"<p>They are written to <code>samples/</code>{every}.</p>"


def ages(age):
    if age is None:
        return "ages unknown"
    return f"aged {age.min():,.0f} to {age.max():,.0f} chain steps, median {np.median(age):,.0f}"


def after(draws):
    """after 40 noise-free steps"""
    return f"after {draws.denoised}"


def without_noise(files):
    """What captions say of draws that have the sampler's noise no more; nothing where all have it."""
    texts = {draws.denoised for draws in files}
    if texts == {""}:
        return ""
    noisy = [f"{draws.iteration:,}" for draws in files if not draws.denoised]
    if noisy:
        return (f" The chains are without the sampler's noise, but for those of iteration{'s' if len(noisy) > 1 else ''} "
                f"{', '.join(noisy)}, which have it.")
    newest = "" if len(texts) == 1 else ", the newest"
    return f" The chains are without the sampler's noise{newest}: {escape(after(files[-1]))}."


def first_of(shown, total):
    """Which chains are shown, of so many."""
    which = "All" if shown == total else f"The first {shown:,}"
    return f"{which} of these {total:,} chains by their ids, none picked out"


def image_cards(run, selection):
    draws, value_range = selection.draws, run.interval("data.range", (-1.0, 1.0))
    old, young = selection.old[:TILES], selection.young[:YOUNG_TILES]
    result = []
    if draws.observed is not None and len(draws.observed):
        available = len(draws.observed)
        shown = pictures.evenly_spaced(draws.observed, len(old) or TILES)
        count = len(shown)
        result.append(card("Data", tiles(pictures.to_pixels(shown, value_range)),
                           f"{count:,} of the {available:,} samples that the draws have beside them, evenly spaced, none "
                           "picked out, without training noise. What the chains should look like, as a whole: as sharp, "
                           "as varied, in like proportions."))
    title = "Chains"
    if selection.minimum_age is not None:
        title += f" of at least {selection.minimum_age:,} steps ({len(selection.old):,} of {len(draws.x):,})"
    limit = f" The limit is {selection.limit_is}." if selection.limit_is else ""
    content = tiles(pictures.to_pixels(draws.x[old], value_range), draws, old) if len(old) else (
        "<p>No chain is that old yet.</p>")
    below = "; below each its age in chain steps" if draws.age is not None else ""
    result.append(card(title, content, f"{first_of(len(old), len(selection.old))}{below}.{without_noise([draws])}{limit} "
                       "Healthy: distinct pictures of many kinds. Not: the same picture often, noise, or flat grey."))
    if len(young):
        result.append(card(f"Younger chains ({len(selection.young):,} of {len(draws.x):,})",
                           tiles(pictures.to_pixels(draws.x[young], value_range), draws, young, small=True),
                           f"{first_of(len(young), len(selection.young))}.{without_noise([draws])} They restarted lately "
                           "and are still on their way; the youngest may be near their start.", wide=True))
    result.append(gain_card(run))
    result.append(over_time(run, draws, value_range))
    return result


def tiles(pixels, draws=None, indices=None, small=False):
    parts = []
    for i, image in enumerate(pixels):
        caption, name = "<figcaption>&nbsp;</figcaption>", "data"  # as high as one with an age
        if draws is not None:
            name = f"chain {draws.ids[indices[i]]}"
            if draws.age is not None:
                caption = f"<figcaption>{short(float(draws.age[indices[i]]))}</figcaption>"
        parts.append(f'<figure title="{name}"><img alt="{name}" src="{pictures.tile(image)}">{caption}</figure>')
    return f'<div class="tiles{" small" if small else ""}">{"".join(parts)}</div>'


def chosen_files(run):
    paths = run.draw_paths
    picked = np.unique(np.linspace(0, len(paths) - 1, min(len(paths), TIME_FILES)).astype(int))
    return [d for d in (run.draws(paths[i]) for i in picked) if d is not None]


def over_time(run, last, value_range):
    files = [d for d in chosen_files(run) if d.x.shape[1:] == last.x.shape[1:]]
    if len(files) < 2:
        return ""
    ids = [i for i in last.ids if all(i in d.ids for d in files)][:TIME_CHAINS]
    head = "".join(f"<th>{d.iteration:,}</th>" for d in files)
    rows = []
    for chain in ids:
        cells, before = [], None
        for d in files:
            k = int(np.flatnonzero(d.ids == chain)[0])
            restarts = None if d.restarts is None else int(d.restarts[k])
            new = before is not None and restarts is not None and restarts != before
            age = "" if d.age is None else f"<figcaption>{short(float(d.age[k]))}</figcaption>"
            image = pictures.tile(pictures.to_pixels(d.x[k:k + 1], value_range)[0])
            cells.append(f'<td{" class=new" if new else ""}><img alt="chain {chain} at iteration {d.iteration}" '
                         f'src="{image}">{age}</td>')
            before = restarts
        rows.append(f"<tr><th>chain {chain}</th>{''.join(cells)}</tr>")
    table = f'<div class="scroll"><table class="time"><tr><th>iteration</th>{head}</tr>{"".join(rows)}</table></div>'
    return card("Chains over time", table, "Each row is one chain, the first ones by their ids; below each picture its age "
                f"in chain steps; an orange frame: it restarted since the picture to its left.{without_noise(files)} "
                "Healthy: unframed neighbours differ, so chains still move from picture to picture. Not: rows that freeze.",
                wide=True)


def point_cards(run, selection):
    draws = selection.draws
    bounds = plane_bounds(run, draws)
    temperature = draws.temperature or run.temperature
    ages = ("" if selection.minimum_age is None or not len(selection.young) else
            f" Grey: chains of less than {selection.minimum_age:,} steps, still on their way from their start.")
    ages += without_noise([draws])
    try:
        energy = MlpEnergy(run)
        if not temperature:
            raise RunError("the configuration names no temperature above zero")
        shown = layers(selection, canvas.CYAN, canvas.SILVER, canvas.LIME)
        plot = plane.density(energy, temperature, bounds, shown)
        result = [card(f"Learned density (average weights, iteration {energy.iteration:,})", plot,
                       f"exp(−E/T) on a grid, T = {temperature:.3g}, normalised over the square shown.{ages} Healthy: "
                       "the bright regions lie where the data is, and chains cover all of them in like shares.",
                       wide=True)]
    except (RunError, OSError, KeyError, ValueError, IndexError) as error:
        run.remarks.append(f"The learned density isn't shown: {first_line(error)}.")
        plot = plane.scatter(bounds, layers(selection, canvas.ORANGE, canvas.GREY, canvas.BLUE))
        result = [card("Data and chains", plot, f"Healthy: chains lie where the data lies.{ages}", wide=True)]
    files = [d for d in chosen_files(run) if d.x.shape[1:] == draws.x.shape[1:]]
    if len(files) > 1:
        picked = np.unique(np.linspace(0, len(files) - 1, min(4, len(files))).astype(int))
        panels = [(f"iteration {files[i].iteration:,}", [(files[i].x, canvas.ORANGE)]) for i in picked]
        result.append(card("Chains over time", plane.scatter(bounds, panels),
                           f"All drawn chains, young and old.{without_noise([files[i] for i in picked])} Healthy: the cloud "
                           "takes the data's shape and stays there.", wide=True))
    return result


def layers(selection, old_colour, young_colour, data_colour):
    """Panels of points for the plane: chains (young ones beneath old ones) and data, where there is any."""
    draws = selection.draws
    panels = [("chains", [(draws.x[selection.young], young_colour), (draws.x[selection.old], old_colour)])]
    if draws.observed is not None and len(draws.observed):
        panels.append(("data", [(draws.observed, data_colour)]))
    return panels


def plane_bounds(run, draws):
    low, high = run.interval("sampler.box", (None, None))
    if low is not None:
        return low, high, low, high
    points = draws.x if draws.observed is None else np.concatenate([draws.x, draws.observed])
    points = points[np.isfinite(points).all(axis=1)]
    reach = 1.1 * float(np.abs(points).max()) if len(points) else 1.0
    return -reach, reach, -reach, reach

"""Medians over seeds, some of which never reached the target: those count as infinity."""
import dataclasses
import math

from .clock import REACHED, Clock

ENOUGH_FOR_QUARTILES = 4
UNREACHED = math.inf
COSTS = ("seconds", "seconds_without_evaluation", "iterations", "chain_gradients", "weight_gradients",
         "joules_processors", "joules_gpus")


def quantile(values, probability):
    """Linear between the two nearest; infinity wherever one that counts is."""
    values = sorted(values)
    place = probability * (len(values) - 1)
    low, share = int(place), place - int(place)
    if share == 0:
        return values[low]
    if math.isinf(values[low + 1]):
        return UNREACHED
    return values[low] + share * (values[low + 1] - values[low])


def spread(values):
    """Median, least, greatest and, of four values or more, quartiles; None where a value is not known."""
    if not values or None in values:
        return None
    found = {"median": quantile(values, 0.5), "least": min(values), "greatest": max(values)}
    if len(values) >= ENOUGH_FOR_QUARTILES:
        found |= {"quartile_1": quantile(values, 0.25), "quartile_3": quantile(values, 0.75)}
    return found


@dataclasses.dataclass
class Seed:
    """What one seed has cost. `state`: reached, finished without reaching it, diverged, cut off or not started. The
    numbers are those at the target, and where it was not reached those so far."""
    seed: int
    state: str
    starts: int
    numbers: dict
    best: tuple  # (KID·1000, iteration), or None
    evaluations: list  # of (s, KID·1000)

    @property
    def reached(self):
        return self.state == REACHED

    def cost(self, name):
        """Infinity where the target was not reached; None where it wasn't measured."""
        return self.numbers[name] if self.reached else UNREACHED


def read_seed(seed, folder, column, gradients):
    """gradients: how many of chains and of weights so many iterations take, as Study.gradients."""
    clock = Clock(folder)
    told = clock.told
    state = told["end"] or ("cut off" if told["starts"] else "not started")
    at = told["reached"] or {"seconds": clock.total("seconds"), "iterations_computed": clock.total("iterations"),
                             "iteration": told["last_iteration"], "seconds_staging": clock.total("staging"),
                             "seconds_evaluation": clock.total("evaluation"), "joules": clock.joules()}
    numbers = {"seconds": at["seconds"], "seconds_without_evaluation": at["seconds"] - at["seconds_evaluation"],
               "seconds_evaluation": at["seconds_evaluation"], "seconds_staging": at["seconds_staging"],
               "iterations": at["iteration"], "iterations_computed": at["iterations_computed"],
               **gradients(at["iteration"], at["iterations_computed"]),
               "joules_processors": at["joules"]["processors"], "joules_gpus": at["joules"]["gpus"]}
    kids = [(1000 * one[column], one["iteration"]) for one in told["evaluations"] if one[column] is not None]
    curve = [(one["seconds"], 1000 * one[column]) for one in told["evaluations"] if one[column] is not None]
    return Seed(seed, state, len(told["starts"]), numbers, min(kids, default=None), curve)


def summarize(seeds):
    """By cost: its spread over all seeds, or None where it wasn't measured in a seed that reached the target, or in
    none did."""
    found = {}
    for name in COSTS:
        values = [one.cost(name) for one in seeds]
        measured = any(one.reached for one in seeds)
        found[name] = spread(values) if measured or not name.startswith("joules") else None
    return found


def ratio(of, to):
    """How many times the second is of the first; None where that can't be told."""
    if of is None or to is None or math.isinf(of["median"]) or math.isinf(to["median"]) or to["median"] <= 0:
        return None
    return of["median"] / to["median"]

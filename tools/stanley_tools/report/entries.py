"""Which entries of evaluation.json the report shows: of each part the newest file that has it, and the fullest look."""
from html import escape

from ..files import number

FEW = 20  # states, below which a class of ages says nothing


def part(entry, key, kind):
    """A part of an entry, or an empty one where there is none of this kind."""
    value = entry.get(key) if isinstance(entry, dict) else None
    return value if isinstance(value, kind) else kind()


def parts(entry, key):
    """The objects of a list of an entry."""
    return [one for one in part(entry, key, list) if isinstance(one, dict)]


def interval(owner, key):
    """(low, high) or (None, None)."""
    ends = part(owner, key, list)
    return tuple(number(end) for end in ends) if len(ends) == 2 else (None, None)


def count(owner, key):
    """A number of states or steps; 0 where there is none."""
    return int(number(owner.get(key)) or 0)


# --- protocols ------------------------------------------------------------------------------------
def protocol_of(entry):
    """What two entries must have in common for their distances to have one scale, the counts apart."""
    protocol = part(entry, "protocol", dict)
    return tuple(str(protocol.get(key) or "?") for key in ("name", "features", "features_digest", "data", "split"))


def protocols(run, key):
    """The protocols of the entries that have a part, newest first."""
    return list(dict.fromkeys(protocol_of(one) for one in reversed(run.evaluations) if part(one, key, list)
                              or part(one, key, dict)))


def counts(entry):
    """2,048 states against 300 (test)"""
    protocol = part(entry, "protocol", dict)
    against = f" against {count(protocol, 'reference'):,} ({escape(str(protocol.get('split') or '?'))})"
    return f"{count(entry, 'states'):,} states" + (against if count(protocol, "reference") else "")


# --- files ----------------------------------------------------------------------------------------
def best_iteration(run):
    """The iteration of checkpoints/best, or None."""
    try:
        return int((run.directory / "checkpoints" / "best").readlink().stem.rsplit("-", 1)[-1])
    except (OSError, ValueError):
        return None


def words_of(run, entry):
    """How titles call the file of an entry."""
    kind, iteration = entry.get("kind"), entry.get("iteration")
    if not isinstance(iteration, int) or kind not in ("checkpoint", "draws"):
        return escape(str(entry.get("path") or "a file"))
    best = ", the best" if kind == "checkpoint" and iteration == best_iteration(run) else ""
    return f"{kind} of iteration {iteration:,}{best}"


def chosen(run, has):
    """Of the entries that have something, in lists by file: of the newest checkpoint, of the best one, of the newest
    draws."""
    files = {}
    for entry in run.evaluations:
        if has(entry):
            files.setdefault((str(entry.get("kind")), count(entry, "iteration"), str(entry.get("path"))), []).append(entry)
    newest = {kind: max(key for key in files if key[0] == kind) for kind in sorted({key[0] for key in files})}
    best = [key for key in files if key[:2] == ("checkpoint", best_iteration(run))]
    shown = sorted({*newest.values(), *best}, key=lambda key: (key[0], -key[1]))
    return [files[key] for key in shown]


def fullest(entries, size):
    """The entry whose size is greatest, of equal ones the newest: a quick look hides no thorough one."""
    return max(enumerate(entries), key=lambda one: (size(one[1]), one[0]))[1]


def states_and_reference(entry):
    return count(entry, "states"), count(part(entry, "protocol", dict), "reference")


# --- long runs ------------------------------------------------------------------------------------
def long_runs(run):
    """The entry with the longest of the long runs, of each file and protocol that has one; newest protocol first."""
    return [fullest(entries, lambda entry: (count(entry["long_run"], "steps"), count(entry["long_run"], "chains")))
            for protocol in protocols(run, "long_run")
            for entries in chosen(run, lambda e: protocol_of(e) == protocol and part(e, "long_run", dict))]


def shorter_than_training(report, age):
    """Whether the chains ran fewer steps than those of the training are old on average (None: not known)."""
    return age is not None and 0 < count(report, "steps") < age

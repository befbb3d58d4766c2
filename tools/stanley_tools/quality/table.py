"""The table of a study, and the same as JSON."""
import json
import math

from .summary import ratio, summarize

NOT_MEASURED = "not measured"
HEADING = ("seed", "", "iteration", "wall time", "evaluation", "staging", "starts", "chain grad.", "weight grad.",
           "CPU J", "GPU J", "best KID·1000")
WIDTHS = (8, 27, 9, 11, 10, 9, 6, 12, 12, 12, 12, 13)
SUMMARY = (("seconds", "wall time"), ("seconds_without_evaluation", "wall time without evaluations"),
           ("iterations", "iterations"), ("chain_gradients", "gradients of chains' steps"),
           ("weight_gradients", "gradients of weights"), ("joules_processors", "joules of processors"),
           ("joules_gpus", "joules of GPUs"))
COUNTED = """wall time is from nothing to the first evaluation at the target: staging (--convert, --stage), start-up,
training, evaluations and files, and what was lost where a start was cut off; not queues, nor the time between starts
gradients are of one state each: those of chains' steps to the state, those of batch and chains to the weights; what
was computed twice, after a cut, counts twice
joules are those of the whole machine meanwhile, whoever used it"""


def time_text(seconds):
    if math.isinf(seconds):
        return "not reached"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def cost_text(name, value):
    if name.startswith("seconds"):
        return time_text(value)
    if math.isinf(value):
        return "not reached"
    return f"{value:,.0f}" if name.startswith("joules") else f"{value:,.12g}"


def joules_text(value):
    return NOT_MEASURED if value is None else f"{value:,.0f}"


def row(one, name):
    numbers = one.numbers
    best = f"{one.best[0]:.1f} @ {one.best[1]}" if one.best else "-"
    return (name, one.state, str(numbers["iterations"]), time_text(numbers["seconds"]),
            time_text(numbers["seconds_evaluation"]), time_text(numbers["seconds_staging"]), str(one.starts),
            f"{numbers['chain_gradients']:,}", f"{numbers['weight_gradients']:,}",
            joules_text(numbers["joules_processors"]), joules_text(numbers["joules_gpus"]), best)


def line(cells):
    first, state, *others = cells
    return " ".join([f"{first:>{WIDTHS[0]}}", f"{state:<{WIDTHS[1]}}",
                     *(f"{cell:>{width}}" for cell, width in zip(others, WIDTHS[2:]))]).rstrip()


def summary_lines(seeds):
    reached = sum(one.reached for one in seeds)
    lines = [f"{reached} of {len(seeds)} seed(s) reached the target" +
             ("" if reached == len(seeds) else "; the others count as infinity")]
    for name, what in SUMMARY if reached else ():
        spread = summarize(seeds)[name]
        if spread is None:
            lines.append(f"  {what:<30} {NOT_MEASURED}")
            continue
        words = {key: cost_text(name, value) for key, value in spread.items()}
        quartiles = f", quartiles {words['quartile_1']} – {words['quartile_3']}" if "quartile_1" in words else ""
        lines.append(f"  {what:<30} median {words['median']} ({words['least']} – {words['greatest']}{quartiles})")
    open_ones = [str(one.seed) for one in seeds if one.state in ("cut off", "not started")]
    if open_ones:
        lines.append(f"  not at their end yet: seed(s) {', '.join(open_ones)}; the same command goes on with them")
    return lines


def table(study, seeds, peers):
    lines = [f"{study.target}{stanley_words(study)}", line(HEADING)]
    lines += [line(row(one, str(one.seed))) for one in seeds]
    lines += summary_lines(seeds)
    if peers:
        lines += ["", f"the same recipe in plain PyTorch{peer_words(study)}", line(HEADING)]
        lines += [line(row(one, str(one.seed))) for one in peers] + summary_lines(peers)
        lines += ["", *ratio_lines(seeds, peers)]
    return "\n".join([*lines, "", COUNTED])


def stanley_words(study):
    """What the first seed that started ran on, by its run.json."""
    for seed in study.seeds:
        try:
            told = json.loads((study.seed_folder(seed) / "run" / "run.json").read_text(encoding="utf-8"))
            start = told["starts"][-1]
            return (f"; stanley {told['version']}, {start['ranks']} rank(s) of {start['threads']} thread(s), "
                    f"{start['devices'][0]}, {start['precision']}")
        except (OSError, ValueError, LookupError, TypeError):
            continue
    return ""


def peer_words(study):
    try:
        told = json.loads((study.folder / "peer.json").read_text(encoding="utf-8"))
        return f" {told['torch']}, {told['precision']}, {told['threads']} thread(s)"
    except (OSError, ValueError, KeyError):
        return ""


def ratio_lines(seeds, peers):
    found = ratios(seeds, peers)
    return [f"PyTorch's median / stanley's, {what}: " + ("can't be told, as a median is not reached"
                                                         if found[name] is None else f"{found[name]:.2f}")
            for name, what in SUMMARY[:3]]


def ratios(seeds, peers):
    ours, theirs = summarize(seeds), summarize(peers)
    return {name: ratio(theirs[name], ours[name]) for name, _ in SUMMARY[:3]}


# --- JSON -------------------------------------------------------------------------------------------
def finite(value):
    """JSON has no infinity: null."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_json(study, seeds, peers):
    """null stands for what was not measured, and in a summary for infinity: not reached."""
    found = {"format": "stanley time to quality, result", "target": {"column": study.target.column,
             "kid_times_1000": 1000 * study.target.kid}, "counted": COUNTED.replace("\n", " "),
             "settings": study.settings, **part(seeds)}
    if peers:
        found |= {"peer": part(peers), "ratio_of_medians": ratios(seeds, peers)}
    return found


def part(seeds):
    return {"reached": sum(one.reached for one in seeds), "of": len(seeds), "summary": finite(summarize(seeds)),
            "seeds": [{"seed": one.seed, "state": one.state, "starts": one.starts, **one.numbers,
                       "best_kid_times_1000": one.best and one.best[0],
                       "best_iteration": one.best and one.best[1],
                       "evaluations": [{"seconds": at, "kid_times_1000": kid} for at, kid in one.evaluations]}
                      for one in seeds]}

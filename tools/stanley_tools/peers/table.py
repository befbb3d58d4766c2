"""From measurements to ratios and tables: the arithmetic and the Markdown of tools/compare_peers.py.

Measurements of a case are {contender: [one for each round]}, each a dictionary with
chain_steps_per_second, weight_step_seconds and peak_megabytes (None where there is none).
"""
import statistics

from .cases import CONTENDERS, PEERS, REFERENCE, STANLEY

SPEED, WEIGHTS, MEMORY = "chain_steps_per_second", "weight_step_seconds", "peak_megabytes"
NONE = "–"


def column(measurements, key):
    """That number of each round; None if any round lacks it."""
    values = [m[key] for m in measurements]
    return None if None in values else values


def summary(values):
    if values is None:
        return None
    return {"median": statistics.median(values), "minimum": min(values), "maximum": max(values)}


def ratios(upper, lower):
    """Round by round, since a machine's speed drifts from round to round."""
    return summary([u / l for u, l in zip(upper, lower, strict=True)])


def largest(measurements, key):
    values = column(measurements, key)
    return None if values is None else max(values)


def results(measured):
    """One entry for each contender, with its speed against the reference."""
    found = []
    for name, measurements in measured.items():
        speed = column(measurements, SPEED)
        entry = {"name": name, "what": CONTENDERS[name].what, SPEED: summary(speed),
                 WEIGHTS: summary(column(measurements, WEIGHTS)), MEMORY: largest(measurements, MEMORY),
                 "rounds": measurements}
        if REFERENCE in measured:
            entry["ratio"] = ratios(speed, column(measured[REFERENCE], SPEED))
        found.append(entry)
    return found


def comparisons(measured):
    """stanley against each peer of its precision, in chain steps per second."""
    found = []
    for precision, ours in STANLEY.items():
        for peer in PEERS[precision]:
            if ours in measured and peer in measured:
                speeds = [column(measured[name], SPEED) for name in (ours, peer)]
                found.append({"precision": precision, "peer": peer, "ratio": ratios(*speeds),
                              SPEED: [statistics.median(s) for s in speeds],
                              MEMORY: [largest(measured[name], MEMORY) for name in (ours, peer)]})
    return found


def weight_comparisons(measured):
    """stanley's weight step against the fastest of PyTorch's in the same round, whatever its precision."""
    eager = [column(m, WEIGHTS) for name, m in measured.items() if CONTENDERS[name].kind == "pytorch"]
    eager = [seconds for seconds in eager if seconds]
    if not eager:
        return []
    fastest = [min(seconds) for seconds in zip(*eager, strict=True)]
    found = []
    for precision, name in STANLEY.items():
        ours = column(measured[name], WEIGHTS) if name in measured else None
        if ours:
            found.append({"precision": precision, "ratio": ratios(ours, fastest),
                          WEIGHTS: [statistics.median(ours), statistics.median(fastest)]})
    return found


# --- as text --------------------------------------------------------------------------------------
def spread(values, digits=2):
    """median (least – greatest)"""
    if values is None:
        return NONE
    return "{median:,.{d}f} ({minimum:,.{d}f} – {maximum:,.{d}f})".format(**values, d=digits)


def number(value, digits=0):
    return NONE if value is None else f"{value:,.{digits}f}"


def markdown(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def chain_table(cases):
    """cases: [(Case, measurements)]"""
    rows = []
    for case, measured in cases:
        for c in comparisons(measured):
            ours, theirs = c[SPEED]
            rows.append([case.title, c["precision"], CONTENDERS[c["peer"]].what, spread(c["ratio"]),
                         number(ours), number(theirs), *(number(m) for m in c[MEMORY])])
    return markdown(["network", "precision", "against", "times as fast", "stanley, chain steps/s",
                     "peer, chain steps/s", "stanley, peak MB", "peer, peak MB"], rows)


def weight_table(cases):
    rows = []
    for case, measured in cases:
        for c in weight_comparisons(measured):
            milliseconds = [number(1e3 * seconds, 1) for seconds in c[WEIGHTS]]
            rows.append([case.title, c["precision"], spread(c["ratio"]), *milliseconds])
    return markdown(["network", "precision", "times PyTorch's seconds", "stanley, ms", "PyTorch, ms"], rows)


def machine_line(facts):
    instructions = " ".join(facts["instructions"]) or "no vector units known"
    gpu = f", {facts['gpu']}" if facts["gpu"] else ""
    versions = ", ".join(f"{name} {facts[name]}" for name in ("torch", "torchebm") if facts[name])
    return f"{facts['processor']}, {facts['cores']} cores, {instructions}{gpu}; {versions}"


def page(cases, facts):
    """The whole of `--table`; facts: see compare.machine()."""
    rounds = max(len(m) for _, measured in cases for m in measured.values())
    return f"""Chain steps, one thread, median of {rounds} rounds (least – greatest), on {facts['date']}:

{chain_table(cases)}

Weight step (gradient of data and chains, optimiser, average of the weights) against the fastest of PyTorch's
uncompiled ones, in float32 or under bfloat16 autocast:

{weight_table(cases)}

{machine_line(facts)}

```
{facts['command']}
```"""


def plain_table(case, found, rounds, seconds, facts):
    """Of one case, for a terminal."""
    width = max(len(entry["what"]) for entry in found)
    lines = [f"{case.title}; one thread, {rounds} rounds of at least {seconds:g} s: median (least – greatest)", "",
             f"{'':{width}}  {'chain steps/s':>27}  {'times ' + REFERENCE:>22}  "
             f"{'weight step, ms':>15}  {'peak MB':>8}"]
    for entry in found:
        weights = entry[WEIGHTS] and 1e3 * entry[WEIGHTS]["median"]
        lines.append(f"{entry['what']:{width}}  {spread(entry[SPEED], 0):>27}  {spread(entry.get('ratio')):>22}  "
                     f"{number(weights, 1):>15}  {number(entry[MEMORY]):>8}")
    return "\n".join([*lines, "", machine_line(facts)])

"""Builds the report's page: verdict, numbers and checks, pictures, plots, configuration and record."""
import pathlib
import re
from html import escape

import numpy as np

from ..files import number
from .checks import checks, recent
from .diversity import diversity
from .evaluation import evaluation
from .figures import chains, energy, learning, speed
from .figures.record import MAXIMUM_POINTS, Record
from .lives import age_cards
from .markup import card, duration, moment, plot, section, short, table
from .states import states

STYLE = pathlib.Path(__file__).with_name("style.css")


def build(run, selection, written_at):
    record = Record(run.metrics, [number(s.get("iteration")) or 0 for s in starts(run)],
                            [number(r.get("target")) or 0 for r in run.listed("rollbacks")])
    body = [header(run, record), numbers(run, record, selection), checks(run, record),
            states(run, selection), diversity(run), plots(run, record, selection.draws), configuration(run), history(run)]
    body.insert(3, remarks(run))  # after the parts that read files
    body.insert(5, evaluation(run, record, marks(record)))
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(run.name)} · stanley</title>\n<style>{STYLE.read_text()}</style></head>\n<body><main>\n"
            + "\n".join(part for part in body if part)
            + f"\n<footer>Written {escape(written_at)} by tools/report.py.</footer>\n</main></body></html>\n")


def starts(run):
    return run.listed("starts")


def stops(run):
    return run.listed("stops")


# --- verdict --------------------------------------------------------------------------------------
def verdict(run, record):
    """What became of the run: (words, class for its colour)."""
    words = str(run.record.get("verdict") or "")
    ended = len(stops(run)) >= len(starts(run)) > 0
    if run.finished or words == "finished":
        return "finished", "good"
    if re.search("diverg|error|fail|abort|bug|hang|watchdog", words):
        return words, "bad"
    if words and words != "running":
        return words, "warn"
    if ended:
        return str(stops(run)[-1].get("verdict") or "stopped"), "warn"
    return ("running, or ended without a word" if len(record) else "just begun"), ""


def header(run, record):
    words, colour = verdict(run, record)
    facts = []
    if run.setting("energy.type"):
        facts.append(f"{run.setting('energy.type')} energy")
    if run.record.get("parameters"):
        facts.append(f"{run.record['parameters']:,} weights" if isinstance(run.record["parameters"], int) else "")
    if run.record.get("state_shape"):
        facts.append("states of " + "×".join(str(n) for n in run.record["state_shape"]) + " numbers")
    if run.setting("sampler.type"):
        facts.append(f"{run.setting('sampler.type')} chains")
    last = starts(run)[-1] if starts(run) else {}
    if last.get("ranks"):
        facts.append(f"{last['ranks']} rank{'s' if last['ranks'] != 1 else ''}")
    if last.get("precision"):
        facts.append(str(last["precision"]))
    said = f"<p>{escape(str(stops(run)[-1]['message']))}</p>" if stops(run) and stops(run)[-1].get("message") else ""
    return (f'<div class="title"><h1>{escape(run.name)}</h1><span class="pill {colour}">{escape(words)}</span></div>'
            f'<p class="muted">{escape(" · ".join(f for f in facts if f))}</p>{said}')


def numbers(run, record, selection):
    done = record.iteration[-1] if len(record) else number(run.record.get("iteration")) or 0
    total = f" of {run.iterations:,}" if run.iterations else ""
    items = [(f"{int(done):,}{total}", "iterations")]
    for name, text in (("gap", "gap, recent mean"), ("gain_weighted_drift", "gain-weighted drift share"),
                       ("gain_q50", "median γ"), ("chain_age_mean", "mean age of chains, steps"),
                       ("chain_steps_per_second", "chain steps per second")):
        values = recent(record, name)
        if len(values):
            middle = np.median(values) if name == "chain_steps_per_second" else np.mean(values)
            items.append((f"{middle:+.3g}" if name == "gap" else short(middle), text))
    if record.has("seconds_iteration"):
        items.append((duration(np.nansum(record.column("seconds_iteration"))), "computing time"))
        spent = np.nansum(record.column("seconds_iteration"))
        if spent > 0 and record.has("seconds_chains"):
            items.append((f"{100 * np.nansum(record.column('seconds_chains')) / spent:.0f} %", "of it in the chains"))
    return '<div class="numbers">' + "".join(
        f'<div class="card"><b>{escape(value)}</b><span>{text}</span></div>' for value, text in items) + "</div>"


def remarks(run):
    unique = list(dict.fromkeys(run.remarks))
    return '<div class="card"><ul class="checks">' + "".join(
        f'<li class="warn">{escape(r)}</li>' for r in unique) + "</ul></div>" if unique else ""


# --- plots ----------------------------------------------------------------------------------------
def plots(run, record, draws):
    if not len(record):
        return ""
    decimated = (f" {len(record):,} rows are drawn as {MAXIMUM_POINTS} medians with the range of each "
                 "in a lighter tone.") if len(record) > MAXIMUM_POINTS else ""
    note = marks(record)
    return "".join([energy_section(record, note + decimated), sampler_section(run, record, note, draws),
                    optimizer_section(record, note), speed_section(run, record, note)])


def marks(record):
    """What the vertical lines of the plots over iterations say."""
    resumed = " Dotted vertical lines: the run was resumed there." if record.resumed_at else ""
    back = " Dashed red ones: it was rolled back to there." if record.rolled_back_to else ""
    return resumed + (back if resumed else back.replace("ones", "vertical lines"))


def energy_section(record, note):
    return section("Energies", f"Low energy means likely under the model.{note}", [
        plot(record, ["energy_data", "energy_chains"], "Energies", energy.energies,
             "Healthy: data and chains stay together, plain noise lies well above. Not: data and chains drift apart, or "
             "all run away. A spike beyond the limits is cut off."),
        plot(record, ["gap"], "Gap", energy.gap,
             "Mean energy of the chains minus that of the data. Healthy: a small value that fluctuates. Not: growth "
             "(chains don't keep up), or ever larger swings.")])


def sampler_section(run, record, note, draws):
    return section("Chains and their steps", f"What the anisotropic step does, and how far the chains come.{note}", [
        plot(record, ["gain_q50", "gain_weighted_drift", "gain_below_one"], "Gain γ", chains.gain,
             "γ = th / max(th, |∇E|) slows elements of large gradient. The orange line says what γ really does: at 1 the "
             "sampler is plain Langevin, between 0.3 and 0.9 γ is at work. The share of γ &lt; 1 is fixed by a quantile "
             "threshold and says nothing then."),
        plot(record, ["state_gradient_q50"], "Gradient of the energy", chains.state_gradient,
             "Over all elements of the active chains. Healthy: a steady level. Not: growth without end, or a fall to "
             "nothing (chains then move by noise alone)."),
        plot(record, ["distance_moved", "chain_scale"], "Movement", chains.movement,
             "How far a chain really came in one visit, beside the scale of the states. Healthy: well above zero and "
             "steady. Not: a fall to nothing (frozen chains), or a scale that leaves its band."),
        *age_cards(run, record, draws),
        *thermometer(run, record),
        plot(record, ["noise_left"], "Noise that a denoising step leaves", chains.noise_left,
             "Share of the squared noise of noised samples that is left after Tweedie's step, x − (σ²/T)·∇E(x) with σ = "
             "<code>data.noise</code>; each strength up to <code>objective.denoising_noise</code> counts alike. 1: E says "
             "nothing of noise. Healthy: it falls well below 1 and levels off. Not: it stays at 1, or rises again.")])


def thermometer(run, record):
    if "temperature_settled" not in record.metrics:
        return []
    asked = run.temperature
    how = ("Settled reads T of the kernel that runs, law reads T under exp(−E/T), each with its standard error"
           f"{f'; T = {asked:.3g} was asked for' if asked else ''}. Healthy: at the line; settled above or below it: the "
           "chains are still on their way; law away from settled: γ has another law than exp(−E/T).")
    walls = record.column("saturation")
    walls = walls[np.isfinite(walls)]
    if len(walls):
        how += f" {100 * walls[-1]:.0f} % of the elements are on a wall and say nothing."
    if not record.has("temperature_settled", "temperature_law"):
        return [card("Thermometer", "<p>It reads nothing: the mean of f′ is below five of its errors, or a step isn't "
                     "small beside the box.</p>", how)]
    return [card("Thermometer", chains.temperature(record, asked), how),
            plot(record, ["data_score"], "Score at the data", chains.data_score,
                 "How strongly the model's force pulls at noised data. Healthy: a level of its own. Not: growth without "
                 "end (walls around the data), or nothing.")]


def optimizer_section(record, note):
    return section("Learning and stability", f"The optimiser, and the signs of a run that leaves its path.{note}", [
        plot(record, ["learning_rate"], "Learning rate", learning.learning_rate,
             "The schedule as it was applied; a halved value follows a roll-back."),
        plot(record, ["gradient_norm", "parameter_norm"], "Norms", learning.norms,
             "Healthy: the gradient's norm stays in a band and the weights grow slowly. Not: steep growth of either."),
        plot(record, ["gap_autocorrelation"], "Autocorrelation of the gap", learning.autocorrelation,
             "Of successive iterations. Strongly negative (red): each update overshoots, the learning rate is too high. "
             "Near 0 or above: fine."),
        plot(record, ["saturation", "acceptance_rate", "restart_probability"], "Edges and restarts", learning.shares,
             "Elements at the edge of the box are natural where the data has them (black ground); a rise towards 1 "
             "means that the drift has run away.")])


def speed_section(run, record, note):
    split = ["seconds_iteration", *(name for name, _, _ in speed.PHASES)]
    return section("Speed", f"Chain steps of all ranks together, and where the time of an iteration goes.{note}", [
        plot(record, ["chain_steps_per_second"], "Throughput", speed.throughput,
             "Healthy: level. Dips: files, evaluation, or another job on the machine."),
        plot(record, split, "Where the time goes", speed.time_split,
             "Healthy: the chains take nearly all. A wide reduction: the network. Waiting: for the slowest rank."),
        waits(run)])


def waits(run):
    """Who waited for whom, of the newest start that ended and had several ranks."""
    for start in reversed(starts(run)):
        waited, seconds = start.get("seconds_waited"), number(start.get("seconds"))
        if isinstance(waited, list) and len(waited) > 1 and seconds:
            break
    else:
        return ""
    hosts = (start.get("hosts") or []) + [""] * len(waited)
    shares = [100 * (number(w) or 0) / seconds for w in waited]
    slowest = sorted(range(len(shares)), key=shares.__getitem__)[:8]
    rows = [[rank, hosts[rank], f"{shares[rank]:.1f} %"] for rank in slowest]
    return card("Who waits for whom", table(["rank", "host", "time it waited"], rows),
                f"In the reduction, for the slowest rank to come; the {len(rows)} least patient of {len(shares)} ranks. "
                "A rank that hardly waits while the others do is the one that they wait for.")


# --- configuration and history --------------------------------------------------------------------
def configuration(run):
    if not run.config_text.strip():
        return ""
    lines = []
    for line in escape(run.config_text.rstrip()).splitlines():
        lines.append(re.sub(r"([\w.]+)(?=:(\s|$))", r'<span class="key">\1</span>', line))
    return section("Configuration", "As resolved by the program, every default included.",
                   [f'<div class="card wide"><pre>{chr(10).join(lines)}</pre></div>'])


def history(run):
    cards = []
    facts = {"stanley": run.record.get("version"), "commit": run.record.get("commit")}
    last = starts(run)[-1] if starts(run) else {}
    facts.update(last.get("versions") if isinstance(last.get("versions"), dict) else {})
    facts = {key: value for key, value in facts.items() if value not in (None, "")}
    if facts:
        cards.append(card("Versions", table([], [[k, v] for k, v in facts.items()])))
    files = [["directory", run.directory.resolve()], ["draws", f"{len(run.draw_paths)} files in samples/"],
             ["checkpoints", f"{len(list(run.directory.glob('checkpoints/iteration-*.h5')))} kept in checkpoints/"]]
    cards.append(card("Files", table([], files)))
    if starts(run):
        cards.append(card("Starts", table(
            ["time", "iteration", "ranks", "hosts", "devices", "precision", "resumed from"],
            [[moment(s.get("time")), s.get("iteration"), s.get("ranks"), counted(s.get("hosts")),
              counted(s.get("devices")), s.get("precision"), s.get("resumed_from")] for s in starts(run)]), wide=True))
    if stops(run):
        cards.append(card("Stops", table(
            ["time", "iteration", "verdict", "exit code", "message"],
            [[moment(s.get("time")), s.get("iteration"), s.get("verdict"), s.get("exit_code"), s.get("message")]
             for s in stops(run)]), wide=True))
    rollbacks = run.listed("rollbacks")
    if rollbacks:
        cards.append(card("Roll-backs", table(
            ["time", "attempt", "diverged at iteration", "went back to", "seen"],
            [[moment(r.get("time")), r.get("attempt"), r.get("iteration"), r.get("target"), r.get("seen")]
             for r in rollbacks]), wide=True))
    return section("Record", "Where, when and with what the run was made.", cards)


def counted(values):
    """node1 ×4, node2 ×4: equal entries of ranks together."""
    if not isinstance(values, list):
        return values
    unique = list(dict.fromkeys(map(str, values)))
    return ", ".join(v if values.count(v) < 2 else f"{v} ×{values.count(v)}" for v in unique)

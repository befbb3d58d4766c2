"""Reads a run directory of stanley: metrics, record, configuration, draws, and the trained energy.

Everything here copes with a run that has just begun: what isn't there yet is empty or None, and a
file that can't be read becomes a line in `Run.remarks`.
"""
import csv
import json
import os
import pathlib

os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")  # read-only and network file systems

import h5py
import numpy as np
import yaml


class RunError(Exception):
    """A run directory that can't be used; the message is the sentence that the user sees."""


MAXIMUM_CHAINS = 2048  # a whole bank of large images would not fit into a page, nor into memory


class Draws:
    """The last draw of each of the first MAXIMUM_CHAINS chains in one samples/draws-*.nc file.

    x (chain, ...), age, restarts and energy (chain) or None, chain ids, observed data or None; `denoised`: what took the
    sampler's noise off x, in words, "" where it has it.
    """

    def __init__(self, path):
        self.path = path
        self.iteration = int(path.stem.rsplit("-", 1)[-1])
        with h5py.File(path, "r") as file:
            posterior = file["posterior"]
            self.x = posterior["x"][:MAXIMUM_CHAINS, -1].astype(np.float32)
            count = len(self.x)
            self.ids = posterior["chain"][:count] if has_numbers(posterior) else np.arange(count)
            statistics = file.get("sample_stats", {})
            self.age = self._statistic(statistics, "age")
            self.restarts = self._statistic(statistics, "restarts")
            self.energy = self._statistic(statistics, "potential_energy")
            self.temperature = number(file.attrs.get("temperature"))
            self.denoised = words(file.attrs.get("denoise"))
            observed = file.get("observed_data/x")
            self.observed = None if observed is None else observed[:].astype(np.float32)

    @staticmethod
    def _statistic(group, name):
        return group[name][:MAXIMUM_CHAINS, -1] if name in group and group[name].shape[1:] else None


def has_numbers(posterior):
    """Whether the chain dimension holds ids (a netCDF dimension without a variable holds none)."""
    if "chain" not in posterior or posterior["chain"].shape != posterior["x"].shape[:1]:
        return False
    kind = posterior["chain"].attrs.get("NAME", b"")
    return b"not a netCDF variable" not in (kind if isinstance(kind, bytes) else str(kind).encode())


class Run:
    """All that the report shows of one run directory."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        if not self.directory.is_dir():
            raise RunError(f"{directory} is not a directory: give the directory of a run.")
        self.remarks = []
        self.record = self._read_record()
        self.config_text, self.config = self._read_config()
        self.metrics = self._read_metrics()
        self.evaluations = self._read_evaluations()
        if not (self.record or self.config or self.metrics or (self.directory / "samples").is_dir()):
            raise RunError(f"{directory} holds no run: neither run.json, config.yaml, metrics.csv nor samples/.")
        self.draw_paths = sorted((self.directory / "samples").glob("draws-*.nc"))
        self.finished = (self.directory / "DONE").exists()
        rejected = self.directory / "rejected"
        self.rollbacks = sum(1 for p in rejected.iterdir() if p.is_dir()) if rejected.is_dir() else 0

    def setting(self, path, default=None):
        """The value at a dotted path of the resolved configuration."""
        value = self.config
        for key in path.split("."):
            if not isinstance(value, dict) or key not in value:
                return default
            value = value[key]
        return default if value is None else value

    def listed(self, name):
        """The entries of a list of run.json: starts, stops, rollbacks."""
        entries = self.record.get(name)
        return [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []

    @property
    def name(self):
        return str(self.record.get("name") or self.setting("run.name") or self.directory.resolve().name)

    @property
    def iterations(self):
        return int(self.record.get("iterations") or self.setting("run.iterations", 0) or 0)

    @property
    def temperature(self):
        """T, from the configuration: given, or σ²/α (design: σ² = αT)."""
        given = number(self.setting("sampler.temperature"))
        if given is not None:
            return given
        step_size, noise = number(self.setting("sampler.step_size")), number(self.setting("sampler.noise"))
        return noise**2 / step_size if step_size and noise is not None else None

    def interval(self, path, default):
        value = self.setting(path, default)
        try:
            low, high = (float(v) for v in value)
            return (low, high) if low < high else default
        except (TypeError, ValueError):
            return default

    def draws(self, path):
        """The draws of one file, or None with a remark where it can't be read."""
        try:
            return Draws(path)
        except (OSError, KeyError, ValueError, IndexError) as error:
            self.remarks.append(f"{path.name} can't be read and is left out ({first_line(error)}).")
            return None

    def latest_draws(self):
        for path in reversed(self.draw_paths):
            draws = self.draws(path)
            if draws is not None and len(draws.x):
                return draws
        return None

    def _read_text(self, name):
        try:
            return (self.directory / name).read_text(errors="replace")
        except FileNotFoundError:
            return ""
        except OSError as error:
            self.remarks.append(f"{name} can't be read ({error.strerror}).")
            return ""

    def _read_record(self):
        text = self._read_text("run.json")
        try:
            record = json.loads(text) if text.strip() else {}
            return record if isinstance(record, dict) else {}
        except ValueError as error:
            self.remarks.append(f"run.json is not JSON ({first_line(error)}).")
            return {}

    def _read_evaluations(self):
        """The entries of evaluation.json, in the order of their times."""
        text = self._read_text("evaluation.json")
        try:
            found = json.loads(text) if text.strip() else {}
        except ValueError as error:
            self.remarks.append(f"evaluation.json is not JSON ({first_line(error)}).")
            return []
        entries = found.get("evaluations") if isinstance(found, dict) else None
        whole = [e for e in entries or [] if isinstance(e, dict)] if isinstance(entries, list) else []
        return sorted(whole, key=lambda entry: str(entry.get("time")))

    def _read_config(self):
        text = self._read_text("config.yaml")
        try:
            config = yaml.safe_load(text)
            return text, config if isinstance(config, dict) else {}
        except yaml.YAMLError as error:
            self.remarks.append(f"config.yaml is not YAML ({first_line(error)}).")
            return text, {}

    def _read_metrics(self):
        """{column: float64 array}; a last line that is still being written is left out."""
        text = self._read_text("metrics.csv")
        rows = list(csv.reader(text[:text.rfind("\n") + 1].splitlines()))
        if len(rows) < 2:
            return {}
        header = [name.strip() for name in rows[0]]
        whole = [row for row in rows[1:] if len(row) == len(header)]
        values = np.array([[to_float(field) for field in row] for row in whole]).reshape(len(whole), len(header))
        return {name: values[:, i] for i, name in enumerate(header)} if len(whole) else {}


def to_float(field):
    try:
        return float(field)
    except ValueError:
        return np.nan


def number(value):
    """A float from a YAML or attribute value (YAML 1.1 reads 3e-4 as text), or None."""
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def words(value):
    """The text of an attribute, or an empty one."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else value
    return str(text).strip() if isinstance(text, str) else ""


def first_line(error):
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


class MlpEnergy:
    """The energy of a two-dimensional run: the average weights of its newest checkpoint, in numpy."""

    def __init__(self, run):
        path = newest_checkpoint(run.directory / "checkpoints")
        if path is None:
            raise RunError("no checkpoint is there yet")
        with h5py.File(path, "r") as file:
            weights = file["average"] if "average" in file else file["parameters"]
            numbers = sorted(int(name.split(".")[1]) for name in weights if name.endswith(".weight"))
            self.layers = [(weights[f"layers.{n}.weight"][:].astype(np.float64),
                            weights[f"layers.{n}.bias"][:].astype(np.float64)) for n in numbers]
            self.iteration = int(file.attrs.get("iteration", path.stem.rsplit("-", 1)[-1]))
        if any(w.ndim != 2 for w, _ in self.layers) or self.layers[0][0].shape[1] != 2:
            raise RunError(f"{path.name} holds no MLP of two inputs")
        self.slope = number(run.setting("energy.slope", 0.2))
        self.leaky = run.setting("energy.activation", "silu") == "leaky_relu"

    def __call__(self, x):
        """Energies (n) of states (n, 2)."""
        for i, (weight, bias) in enumerate(self.layers):
            x = x @ weight.T + bias
            if i + 1 < len(self.layers):
                x = np.where(x > 0, x, self.slope * x) if self.leaky else x * sigmoid(x)
        return x[:, 0]


def sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def newest_checkpoint(folder):
    latest = folder / "latest"
    if latest.is_file():
        return latest.resolve()
    paths = sorted(folder.glob("iteration-*.h5")) if folder.is_dir() else []
    return paths[-1] if paths else None

"""What a study was asked for, in its file study.json: a second call goes on with that, and with nothing else."""
import importlib.util
import os
import pathlib
import re

import h5py
import yaml

from .errors import FailedError, MissingError, UsageError
from .files import read_json, write_json
from .target import IMAGES, Target

FORMAT, NAME = "stanley time to quality", "study.json"
OWN = ("run.seed", "run.name", "run.directory")  # what each seed has for itself
SETUP = "tools/setup.sh --evaluate"


def flat(document, before=""):
    """{"run.seed": 1, ...}; lists and what has no fixed keys stay whole."""
    found = {}
    for name, value in document.items():
        key = before + str(name)
        if isinstance(value, dict) and not before:
            found |= flat(value, key + ".")
        else:
            found[key] = value
    return found


class Study:
    """document: the resolved configuration."""

    def __init__(self, folder, document, target, seeds, settings):
        self.folder, self.document, self.target, self.seeds = folder, document, target, seeds
        self.settings = settings  # ranks, staging and version, by name

    # --- numbers of the configuration -----------------------------------------------------------------
    def gradients(self, iterations, computed):
        """Gradients of one state's energy: of the chains' K steps to the states, and of batch and chains to the
        weights. Where data are denoised, each sample takes one more to the state and two more to the weights.
        computed: iterations, with those that were computed again, which count as the others do on average."""
        found = {"chain_gradients": 0, "weight_gradients": 0}
        for count, steps, active, batch in self.stages(iterations):
            denoised = batch if self.document.get("objective", {}).get("denoising") else 0
            found["chain_gradients"] += count * (active * steps + denoised)
            found["weight_gradients"] += count * (active + batch + 2 * denoised)
        return {name: number * computed // max(iterations, 1) for name, number in found.items()}

    def stages(self, iterations):
        """Of the first so many iterations: how many each stage has, and their steps, active chains and batch."""
        document = self.document
        left = iterations
        for stage in document.get("stages") or [{}]:
            count = min(left, stage.get("iterations") or left)
            left -= count
            yield (count, stage.get("steps") or document["sampler"]["steps"],
                   stage.get("active") or document["chains"]["active"], stage.get("batch") or document["data"]["batch"])

    def seed_folder(self, seed, peer=False):
        return self.folder / f"{'peer' if peer else 'seed'}-{seed}"

    # --- the file -------------------------------------------------------------------------------------
    def told(self):
        kept = {key: value for key, value in flat(self.document).items() if key not in OWN}
        return {"format": FORMAT, "target": {"column": self.target.column, "kid": self.target.kid},
                "seeds": self.seeds, "settings": self.settings, "configuration": kept}

    def begin(self):
        """Writes the file, or refuses what another call was asked for."""
        before, now = read_json(self.folder / NAME, FORMAT, "jobs/time_to_quality.sh"), self.told()
        if before:
            self._refuse_changes(before, now)
        write_json(self.folder / NAME, now)

    def _refuse_changes(self, before, now):
        advice = "ask for the same again, or give another --output"
        if before["target"] != now["target"]:
            raise UsageError(f"{self.folder} has the target {Target(**before['target'])}, and this is {self.target}: "
                             f"{advice}")
        for what in ("configuration", "settings"):
            old, new = before[what], now[what]
            changed = [f"{key} {shown(old.get(key))}, now {shown(new.get(key))}" for key in {**old, **new}
                       if old.get(key) != new.get(key)]
            if changed:
                raise UsageError(f"{self.folder} was begun with {'; '.join(changed)}: {advice}")

    @classmethod
    def read(cls, folder):
        told = read_json(folder / NAME, FORMAT, "jobs/time_to_quality.sh")
        if told is None:
            raise FailedError(f"{folder / NAME} isn't there: jobs/time_to_quality.sh writes it")
        document = {}
        for key, value in told["configuration"].items():
            section, within, name = key.partition(".")
            if within:
                document.setdefault(section, {})[name] = value
            else:
                document[key] = value
        return cls(folder, document, Target(**told["target"]), told["seeds"], told["settings"])


def shown(value):
    return "nothing" if value is None else str(value)


# --- what can't work --------------------------------------------------------------------------------
def check(study, config, converts, peer):
    """Refuses, before anything is trained, what would never tell a KID."""
    document = study.document
    every, iterations = document["evaluation"]["every"], document["run"]["iterations"]
    if every is None:
        raise UsageError(f"{config} has evaluation.every: null, so that its training looks at no KID: set "
                         "evaluation.every there, or add --set evaluation.every=100")
    if every > iterations:
        raise UsageError(f"evaluation.every {every} is above run.iterations {iterations}: no KID would be looked at; "
                         "add --set evaluation.every=N with a smaller N")
    points = document["data"]["type"] != "file"
    if not points and not converts:
        points = check_data(document["data"], study.target)
    features = document["evaluation"]["features"]
    if not points and features != "states" and not written_out(features).is_file():
        raise UsageError(f"there is no feature network {features} (evaluation.features): '{SETUP}' makes the default "
                         "one; or add --set evaluation.features=states")
    if peer:
        check_peer(document, study.target)


def check_data(data, target):
    """Refuses a data file without the images that the target speaks of; whether it holds points."""
    path = written_out(data["path"])
    if not path.is_file():
        raise UsageError(f"there is no data file {path} (data.path): tools/convert_images.py makes it, or "
                         "--convert does")
    split = "test" if target.column == "kid_test" else data["split"]
    try:
        with h5py.File(path) as file:
            shape, has = file[f"{data['split']}/images"].shape, f"{split}/images" in file
    except (OSError, KeyError) as error:
        raise UsageError(f"{path} (data.path) can't be read: {error}")
    if not has or (target.column == "kid_test" and data["split"] == "test"):
        raise UsageError(f"{path} has no {IMAGES[target.column]} images beside the training's: ask for "
                         "--target kid_train=X")
    return len(shape) == 2


def written_out(path):
    """With ~ and $NAME as stanley understands them."""
    return pathlib.Path(os.path.expandvars(path)).expanduser()


def check_peer(document, target):
    if importlib.util.find_spec("stanley_tools.peers") is None:
        raise MissingError("--peer needs tools/stanley_tools/peers, which an installed tree leaves out: call it in a "
                           "checkout")
    from ..peers.recipe import refuse, require_torch
    require_torch()
    refuse(document, target.column)


class Loader(yaml.SafeLoader):
    """Reads 1e-08 as a number: YAML 1.1, which PyYAML has, wants a point in it."""


Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
                             list("-+0123456789"))


def read_configuration(text):
    try:
        document = yaml.load(text, Loader)
        document["evaluation"]["every"]
    except (yaml.YAMLError, KeyError, TypeError):
        raise FailedError("standard input is not what 'stanley config CONFIG --resolved' prints")
    return document

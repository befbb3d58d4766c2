"""The parts of jobs/time_to_quality.sh, which calls this tool; a person calls 'table' alone, of a study that is there.

Exit codes: those of stanley; of 'watch' 0 where the seed has reached the target, else the training's.
"""
import argparse
import pathlib
import shutil
import sys
import time

from . import plot, study as studies, table
from .errors import FailedError
from .files import write_json
from .summary import read_seed
from .target import read_seeds, read_target
from .watch import Watch


def begin(options):
    """Prints the seeds that are not at their end, one a line."""
    document = studies.read_configuration(sys.stdin.read())
    target, seeds = read_target(options.target), read_seeds(options.seeds)
    settings = {"ranks": options.ranks, "convert": options.convert, "stage": options.stage,
                "version": options.version_of_program}
    study = studies.Study(options.folder, document, target, seeds, settings)
    studies.check(study, options.config, options.convert is not None, options.peer)
    study.begin()
    print(*(one.seed for one in seeds_of(study, options.peer) if one.state in ("cut off", "not started")), sep="\n")


def seeds_of(study, peer=False):
    return [read_seed(seed, study.seed_folder(seed, peer), study.target.column, study.gradients)
            for seed in study.seeds]


def watch(options):
    study = studies.Study.read(options.folder)
    folder = study.seed_folder(options.seed, options.peer)
    run = options.run or folder / "run"
    one = Watch(folder, run, study.target, options.began or time.time())
    one.listen()
    if options.data and not one.done:
        one.stage(studies.written_out(study.document["data"]["path"]), study.settings["convert"], options.data)
    code = one.train(options.command)
    if options.data and one.done:
        options.data.unlink(missing_ok=True)
        shutil.rmtree(f"{options.data}.features", ignore_errors=True)  # of the images that were compared with
    return code


def peer(options):
    from ..peers.train import train_peer
    study = studies.Study.read(options.folder)
    return train_peer(study, options.seed, options.command)


def show(options):
    study = studies.Study.read(options.folder)
    seeds, peers = seeds_of(study), seeds_of(study, peer=True)
    if all(one.state == "not started" for one in peers):
        peers = []
    text = table.table(study, seeds, peers)
    (options.folder / "table.txt").write_text(text + "\n", encoding="utf-8")
    write_json(options.folder / "result.json", table.as_json(study, seeds, peers))
    plot.draw(study, seeds, peers, options.folder / "time_to_quality.png")
    print(text)


def state(options):
    study = studies.Study.read(options.folder)
    folder = study.seed_folder(options.seed)
    print(read_seed(options.seed, folder, study.target.column, study.gradients).state)


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True, metavar="PART")

    def add(name, does, help):
        part = parts.add_parser(name, help=help, description=help)
        part.add_argument("folder", type=pathlib.Path, help="of the study")
        part.set_defaults(does=does)
        return part

    part = add("begin", begin, "check what is asked for, and print the seeds that are to be trained; reads what "
                               "'stanley config CONFIG --resolved' prints")
    part.add_argument("--config", required=True, help="name of the configuration, for what is said")
    part.add_argument("--target", required=True, help="kid=X: KID·1000 to test images; kid_train=X: to training images")
    part.add_argument("--seeds", required=True, help="N: 1 to N; A-B: from A to B")
    part.add_argument("--ranks", type=int)
    part.add_argument("--convert", help="arguments of convert_images.py, in one word")
    part.add_argument("--stage", help="folder that data are copied to")
    part.add_argument("--version-of-program", help="what 'stanley --version' prints")
    part.add_argument("--peer", action="store_true", help="the seeds of the same recipe in plain PyTorch")
    part = add("watch", watch, "run one start of a seed beside a clock, and stop it at the target")
    part.add_argument("seed", type=int)
    part.add_argument("--run", type=pathlib.Path, help="its run directory (default: run in the seed's folder)")
    part.add_argument("--began", type=float, help="when this start began, s since 1970")
    part.add_argument("--data", type=pathlib.Path, help="data file to make first")
    part.add_argument("--peer", action="store_true")
    part.add_argument("command", nargs="+", help="the training, after --")
    part = add("peer", peer, "train a seed in plain PyTorch")
    part.add_argument("seed", type=int)
    part.add_argument("command", nargs="+", help="the program that evaluates, after --")
    part = add("state", state, "print how far a seed is")
    part.add_argument("seed", type=int)
    add("table", show, "print the table; write table.txt, result.json and time_to_quality.png")
    return parser.parse_args()


def main():
    options = read_arguments()
    try:
        return options.does(options)
    except FailedError as error:
        print(f"time_to_quality: {error}", file=sys.stderr)
        return error.code

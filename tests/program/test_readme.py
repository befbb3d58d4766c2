"""What the documents say is true: commands run, options, files and links exist, tables are the program's."""
import csv
import functools
import json
import os
import re
import subprocess
import sys

import h5py
import pytest
import yaml
from conftest import write_images
from documents import (DOCUMENTS, blocks, commands, first_words, links, named_files, quoted_commands, rows,
                       without_output)
from PIL import Image
from program import FINISHED, LIMIT, PROGRAM, ROOT, SMOKE, ends, environment, run, settings

sys.path.insert(0, str(ROOT / "tests" / "house"))
from layers import FLOORS  # noqa: E402

HERE = "tests/program/test_readme.py"
# Where each program of the documents' commands is run, beside here.
RUN_BY = {
    "stanley": HERE, "tools/report.py": HERE, "tools/convert_images.py": HERE, "jobs/local.sh": HERE,
    "tests/run.sh": ".ci/run", "ctest": "tests/run.sh", "tools/setup.sh": "tests/run.sh",
    ".deps/venv/bin/python": "tests/CMakeLists.txt", "tests/chaos": "tests/program/test_chaos.py",
    "tests/slurm/cluster.py": "tests/slurm/conftest.py", "tests/network/reduction.py": "tests/network/test_network.py",
    "jobs/submit.sh": "tests/slurm/test_jobs.py", "jobs/chain.sh": "tests/slurm/test_jobs.py",
    "salloc": "tests/slurm/test_jobs.py", "jobs/scaling.sh": "tests/program/test_scaling.py",
    "jobs/time_to_quality.sh": "tests/program/test_time_to_quality.py",
    "tools/compare_peers.py": "tests/tools/test_compare_peers.py", "cmake": "tests/program/test_install.py",
    "tools/train_classifier.py": "tests/tools/test_classifier.py",
    "tools/export_features.py": "tests/tools/test_inception.py",
    "pip": "tests/tools/test_package.py",
}
OF_ITS_USER = {"git", "cd", "source", "$EDITOR"}


# --- form -------------------------------------------------------------------------------------------
def test_the_first_document_is_short():
    assert len(DOCUMENTS["README.md"].splitlines()) <= 150


def test_lines_are_at_most_118_columns_wide():
    for name, text in DOCUMENTS.items():
        wide = [line for line in without_output(text).splitlines() if len(line) > 118 and not line.startswith("|")]
        assert not wide or name == ".readme/CHANGELOG.md", (name, wide)


def test_links_lead_to_files():
    for name, target in links():
        assert (ROOT / name).parent.joinpath(target).exists(), f"{name} links to {target}"


def test_named_files_are_there():
    of_a_run = {"config.yaml", "run.json"}
    for name, path in named_files():
        places = [ROOT, (ROOT / name).parent, ROOT / "tests" / "program"]
        assert path in of_a_run or any((place / path).is_file() for place in places), f"{name} names {path}"


def test_headings_that_messages_quote_are_there():
    files = [path for folder in ("src", "jobs", "tools") for path in (ROOT / folder).rglob("*")
             if path.suffix in (".cpp", ".hpp", ".py", ".sh", ".bash", ".sbatch", ".md") and path.is_file()]
    quoted = [(path, *found) for path in files for found in re.findall(
        r'([\w/.]*README(?:\.md)?),[\s"\\/]*?"([A-Z][^"\\]*)', path.read_text(encoding="utf-8"))]
    assert quoted
    for path, name, heading in quoted:
        name, heading = name.removesuffix(".md") + ".md", re.sub(r"\s+", " ", heading)
        assert name in DOCUMENTS and re.search(rf"^#+ {re.escape(heading)}$", DOCUMENTS[name], re.MULTILINE), (
            f"{path} quotes {name}, {heading}")


# --- commands ---------------------------------------------------------------------------------------
@functools.cache
def help_of(*program):
    """The help of a program of the documents."""
    command = [PROGRAM, *program[1:]] if program[0] == "stanley" else [str(ROOT / program[0])]
    if command[0].endswith(".py"):
        command.insert(0, sys.executable)
    return subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=60, check=True).stdout


def asks_for_help(words):
    """Whose help names the options of this command, and these options; none where others' options are taken."""
    if words[0] == "stanley":
        return words[:2], words[2:]
    if re.match(r"tools/\w+\.(py|sh)$|jobs/(local|scaling|time_to_quality)\.sh$|tests/(chaos|network/reduction\.py)$", words[0]):
        return words[:1], words[1:]
    return None, []


def test_every_command_is_one_that_a_test_runs():
    for words in commands():
        if words[0] in OF_ITS_USER:
            continue
        assert words[0] in RUN_BY, f"no test runs {words}"
        name = words[0].rsplit("/", 1)[-1].removesuffix(".py")  # what is imported has none
        assert name in (ROOT / RUN_BY[words[0]]).read_text(encoding="utf-8"), f"{RUN_BY[words[0]]} doesn't run {name}"


def usage_commands():
    return [line.split() for line in blocks("", "README.md")[0].splitlines() if line.strip()]


def test_every_option_is_in_the_help():
    for words in [*usage_commands(), *commands(), *quoted_commands()]:
        program, rest = asks_for_help(words)
        if program is None:
            continue
        rest = [word for word in (rest[:rest.index("--")] if "--" in rest else rest) if word != "--help"]
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", " ".join(rest)):
            assert option in help_of(*program), f"{' '.join(program)} has no {option}"


def test_the_usage_has_every_command():
    listed = re.findall(r"^  (\w+) {3}", help_of("stanley").split("Subcommands:")[1], re.MULTILINE)
    assert {words[1] for words in usage_commands() if words[0] == "stanley"} == set(listed)


@pytest.fixture(scope="module")
def place(tmp_path_factory, images):
    """A folder like the repository's, with small data."""
    folder = tmp_path_factory.mktemp("place")
    for name in ("configs", "tools"):
        (folder / name).symlink_to(ROOT / name)
    write_images(folder / "images.h5", images)
    return folder


# Each has a test below; the networks of features in test_diversity.py and tests/tools/test_inception.py.
MADE_ELSEWHERE = ("pictures.h5", "points.h5", "energy.pt", "-classifier.pt", "inception-clean-fid.pt")


def shortened(words):
    """The same command, in seconds."""
    words = [re.sub(r"^8,.*|^1,2,8,.*", "1,2,8", word) for word in words]
    if "--seconds" in words:
        words[words.index("--seconds") + 1] = "0.1"
    if "configs/fashion_mnist.yaml" in words:
        words += settings({"data.path": "images.h5", "energy.channels": 2, "chains.total": 64, "chains.active": 8,
                           "chains.shards": 8, "data.batch": 8})
    if words[:2] == ["stanley", "train"] and "--dry-run" not in words:
        words += ["--set", "run.iterations=4"]
    return words


def test_the_commands_run_one_after_the_other(place):
    in_order = [words for words in commands("README.md", "configs/README.md", "jobs/README.md", "tools/README.md")
                if words[0] in ("stanley", "tools/report.py") and not any(
                    name in " ".join(words) for name in MADE_ELSEWHERE)]
    # The dry runs and comparisons of other documents use the run that the first one makes.
    assert [words[1] for words in in_order[:5]] == ["train", "sample", "inspect", "benchmark", "config"]
    for words in in_order:
        words = shortened(words)
        program = [PROGRAM] if words[0] == "stanley" else [sys.executable, words[0]]
        result = subprocess.run([*program, *words[1:]], cwd=place, capture_output=True, text=True, timeout=LIMIT,
                                env=environment())
        assert result.returncode == FINISHED or "--diff" in words, f"{words}\n{result.stdout}\n{result.stderr}"
    assert (place / "rings.nc").exists() and (place / "runs" / "toy_rings" / "report.html").exists()


@pytest.fixture(scope="module")
def local_run(tmp_path_factory):
    """The first command, on a configuration of seconds. It builds the release preset, whatever MPI is tested here."""
    directory = tmp_path_factory.mktemp("local") / "run"
    variables = {name: value for name, value in environment().items() if name != "STANLEY_MPIRUN"}
    result = subprocess.run([ROOT / "jobs" / "local.sh", SMOKE, "--ranks", "2", "--", "--run-directory", directory],
                            capture_output=True, text=True, timeout=900, env=variables)
    return directory, ends(result, FINISHED)


def test_the_first_command_trains_and_says_where_the_results_are(local_run):
    directory, result = local_run
    for name in ("report.html", "samples/draws-*.nc", "checkpoints/latest", "metrics.csv", "log.txt"):
        assert f"{directory}/{name}" in result.stdout
    assert (directory / "DONE").is_file()
    assert "<html" in (directory / "report.html").read_text(encoding="utf-8")


def test_the_conversion_of_the_default_data_is_that_of_local_sh():
    (words,) = [words for words in commands("tools/README.md") if "/usr/share/datasets/fashion-mnist" in words]
    script = (ROOT / "jobs" / "local.sh").read_text(encoding="utf-8")
    source, output = (re.search(rf"\b{name}=(\S+)", script)[1] for name in ("default_data_source", "default_data"))
    options = re.search(r'convert_images.py" "\$default_data_source" (.*) --output "\$default_data" (\S+)', script)
    assert words == ["tools/convert_images.py", source, *options[1].split(), "--output", output, options[2]]


# --- configurations ---------------------------------------------------------------------------------
def resolved(path, *more):
    return yaml.safe_load(ends(run("config", path, "--resolved", *more), FINISHED).stdout)


def test_the_configuration_to_copy_is_the_default_one(tmp_path):
    (text,) = blocks("yaml", "README.md")
    (tmp_path / "garments.yaml").write_text(text)
    assert resolved(tmp_path / "garments.yaml", "--set", "run.name=fashion_mnist") == resolved(
        ROOT / "configs" / "fashion_mnist.yaml")


def test_a_configuration_inherits_as_the_document_says(tmp_path):
    (text,) = [text for text in blocks("yaml", "configs/README.md") if text.startswith("base:")]
    (tmp_path / "slow.yaml").write_text(text.replace("base: ", f"base: {ROOT}/configs/"))
    mine, base = resolved(tmp_path / "slow.yaml"), resolved(ROOT / "configs" / "toy_rings.yaml")
    given = yaml.safe_load(text)
    for section in ("run", "sampler"):
        base[section].update(given[section])
    assert mine == base


@pytest.mark.parametrize("section", ["chains:", "objective:"])
def test_chains_live_and_energies_denoise_as_the_document_says(tmp_path, section):
    (text,) = [text for text in blocks("yaml", "configs/README.md") if text.startswith(section)]
    (tmp_path / "mine.yaml").write_text(f"base: {ROOT}/configs/fashion_mnist.yaml\n{text}")
    mine, base = resolved(tmp_path / "mine.yaml"), resolved(ROOT / "configs" / "fashion_mnist.yaml")
    for name, keys in yaml.safe_load(text).items():
        base[name].update(keys)
    assert mine == base


def test_stages_are_as_the_document_says(tmp_path):
    (text,) = [text for text in blocks("yaml", "configs/README.md") if "stages:" in text]
    (tmp_path / "stages.yaml").write_text(f"base: {ROOT}/configs/fashion_mnist.yaml\n{text}")
    mine, given = resolved(tmp_path / "stages.yaml"), yaml.safe_load(text)
    assert mine["stages"] == given["stages"] and mine["energy"]["channels"] == given["energy"]["channels"]
    assert "at most `energy.levels` stages" in DOCUMENTS["configs/README.md"] and mine["energy"]["levels"] == 3


def test_every_shipped_configuration_has_a_recipe():
    listed = first_words("configs/README.md", "| file | data | network | time |")
    assert sorted(listed) == sorted(path.name for path in (ROOT / "configs").glob("*.yaml"))


# --- data and energies of one's own -----------------------------------------------------------------
def test_the_python_lines_read_a_run(local_run):
    directory, _ = local_run
    (code,) = [block for block in blocks("python") if "arviz" in block]
    names = {}
    exec(code.replace("runs/fashion_mnist", str(directory)).replace("00001600", "00000030"), names)
    assert names["draws"].posterior["x"].sizes["draw"] == 1
    assert names["bank"].shape[0] == 64
    assert "layers.0.weight" in names["weights"]


def test_pictures_of_ones_own_train(tmp_path, images):
    for name, image in zip("abc", images):
        Image.fromarray(image[0]).save(tmp_path / f"{name}.png")
    (block,) = [block for block in blocks("sh") if "pictures.h5" in block]
    convert, line = block.replace(" pictures ", f" {tmp_path} ").replace("pictures.h5", f"{tmp_path}/out.h5").splitlines()
    ends(subprocess.run(convert.split(), cwd=ROOT, capture_output=True, text=True), FINISHED)
    ends(run(*line.split()[1:], "--dry-run"), FINISHED)


def test_the_data_of_ones_own_train(tmp_path):
    (code,) = [block for block in blocks("python") if "points.h5" in block]
    (line,) = [line for block in blocks("sh") for line in block.replace("\\\n", "").splitlines() if "points.h5" in line]
    (tmp_path / "make_points.py").write_text(code)
    subprocess.run([sys.executable, "make_points.py"], cwd=tmp_path, check=True)
    words = line.replace("points.h5", str(tmp_path / "points.h5")).split()[1:]
    ends(run(*words, "--set", "run.iterations=2", "--run-directory", tmp_path / "run"), FINISHED)


def test_the_energy_of_ones_own_trains(tmp_path):
    if subprocess.run([sys.executable, "-c", "import torch"], capture_output=True).returncode != 0:
        pytest.skip("this Python has no torch that it can import")
    (code,) = [block for block in blocks("python") if "torch.jit" in block]
    (line,) = [line for block in blocks("sh") for line in block.splitlines() if "energy.type=torchscript" in line]
    (tmp_path / "make_energy.py").write_text(code)  # torch.jit.script reads the source
    subprocess.run([sys.executable, "make_energy.py"], cwd=tmp_path, check=True)
    words = line.replace("energy.pt", str(tmp_path / "energy.pt")).split()[1:]
    result = ends(run(*words, "--set", "run.iterations=2", "--run-directory", tmp_path / "run"), FINISHED)
    assert f"TorchScript {tmp_path}/energy.pt" in result.stdout


# --- what a run leaves ------------------------------------------------------------------------------
def test_every_file_of_a_run_is_explained(local_run):
    directory, _ = local_run
    listed = first_words("tools/README.md", "| file | holds |")
    for path in directory.iterdir():
        assert any(name.split("/")[0] == path.name for name in listed), path.name


def test_every_array_is_explained(local_run):
    directory, _ = local_run
    draws = first_words("tools/README.md", "| in a draw file | shape | holds |")
    with h5py.File(directory / "samples" / "draws-00000030.nc") as file:
        statistics = {name for name in file["sample_stats"]} - {"chain", "draw"}
        assert statistics == {name.rsplit("/", 1)[-1] for name in draws} - {"x"}
        assert set(file) == {name.split("/")[1] for name in draws if name.startswith("/")}
    groups = {name.split("/")[1] for name in first_words("tools/README.md", "| in a checkpoint | holds |")
              if name.startswith("/")}
    with h5py.File(directory / "checkpoints" / "latest") as file:
        assert {name for name in file if not name.startswith("size_")} <= groups, set(file)


def test_every_column_is_explained(local_run):
    directory, _ = local_run
    with open(directory / "metrics.csv", newline="") as file:
        heading = next(csv.reader(file))
    table = rows("tools/README.md", "| column | unit | meaning |")
    assert [row[0].strip("`") for row in table] == heading
    assert all(row[2] for row in table)


def without_numbers(line):
    return re.sub(r"[+-]?\b\d[\d.:]*(e[+-]\d+)?\b|\bnan\b", "#", line).split()


def test_the_log_line_is_as_the_document_has_it(local_run):
    directory, _ = local_run
    lines = [line.split(" info ")[1] for line in (directory / "log.txt").read_text().splitlines() if "| E data" in line]
    (example,) = [block for block in blocks("", "tools/README.md") if "| E data" in block]
    assert without_numbers(example) == without_numbers(lines[0])
    columns = {row[0].strip("`") for row in rows("tools/README.md", "| column | unit | meaning |")}
    for row in rows("tools/README.md", "| in the line | is | of |"):
        for name in re.findall(r"`(\w+)`", row[1]):
            assert name in columns, name


def test_every_verdict_is_explained(local_run):
    directory, _ = local_run
    record = json.loads((directory / "run.json").read_text())
    assert f"`{record['stops'][-1]['verdict']}`" in DOCUMENTS["tools/README.md"]


def test_exit_codes_are_those_of_the_help():
    documented = {row[0] for row in rows("README.md", "| exit code | meaning |")}
    assert documented == {"0", "2", "3", "4", "5", "6", "70", "85"}
    for code in documented:
        assert re.search(rf"\b{code}\b", help_of("stanley"))


# --- folders ----------------------------------------------------------------------------------------
def test_settings_of_a_site_are_those_of_site_sh():
    heading = "| in `site.sh` | GPU nodes, modules, Open MPI | CPU nodes, Lustre, MPICH | container, no requeueing |"
    site = (ROOT / "jobs" / "site.sh").read_text(encoding="utf-8")
    for name in first_words("jobs/README.md", heading):
        assert re.search(rf"^ *{name}=", site, re.MULTILINE), name


def test_rooms_are_on_the_floors_that_the_layer_test_enforces():
    floors = {}
    for number, names, _ in rows("src/README.md", "| floor | room | holds |"):
        floors.setdefault(int(number), set()).update(
            name.strip("`/").removesuffix(".cpp") for name in names.split(", "))
    there = {path.name for path in (ROOT / "src").iterdir() if path.is_dir()} | {"main"}
    assert floors == {number: rooms & there for number, rooms in enumerate(FLOORS)}


def test_program_is_the_one_under_test():
    assert subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout.startswith("stanley ")
    assert os.access(PROGRAM, os.X_OK)

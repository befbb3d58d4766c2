"""What README says is true: its commands exist and run, its Python reads a run, its table is the program's."""
import re
import subprocess
import sys

import pytest
from PIL import Image
from program import PROGRAM, ROOT, SMOKE, ends, environment, run, FINISHED

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    """The code blocks of README in this language ("" for those without one)."""
    found, block = [], None
    for line in README.splitlines():
        if not line.startswith("```"):
            if block is not None:
                block[1].append(line)
        elif block is None:
            block = (line[3:].strip(), [])
        else:
            found, block = [*found, block], None
    return ["\n".join(lines) for name, lines in found if name == language]


def usage_lines():
    return [line for line in blocks("")[0].splitlines() if line.strip()]


def test_every_command_of_the_usage_has_the_options_it_names():
    lines = [line.split() for line in usage_lines() if line.startswith("stanley ")]
    assert {words[1] for words in lines} == {"train", "sample", "inspect", "benchmark"}
    for words in lines:
        help_text = ends(run(words[1], "--help"), FINISHED).stdout
        for option in re.findall(r"--[a-z-]+", " ".join(words)):
            assert option in help_text, f"{words[1]} has no {option}"


def test_every_tool_of_the_usage_has_the_options_it_names():
    for line in usage_lines():
        tool = line.split()[0]
        if not tool.startswith("tools/"):
            continue
        result = subprocess.run([sys.executable, ROOT / tool, "--help"], capture_output=True, text=True,
                                timeout=60, check=True)
        for option in re.findall(r"--[a-z-]+", line):
            assert option in result.stdout, f"{tool} has no {option}"


def test_files_that_readme_names_are_there():
    for path in re.findall(r"(?:jobs|tools|tests|tests/[a-z]+|configs)/[a-z_]+\.(?:sh|sbatch|def|py|yaml)|\.readme/[a-z_]+\.png", README):
        assert (ROOT / path).is_file(), path


@pytest.fixture(scope="module")
def local_run(tmp_path_factory):
    """The README's first command, on a configuration of seconds."""
    directory = tmp_path_factory.mktemp("local") / "run"
    result = subprocess.run([ROOT / "jobs" / "local.sh", SMOKE, "--ranks", "2", "--", "--run-directory", directory],
                            capture_output=True, text=True, timeout=900, env=environment())
    return directory, ends(result, FINISHED)


def test_the_first_command_trains_and_says_where_the_results_are(local_run):
    directory, result = local_run
    for name in ("report.html", "samples/draws-*.nc", "checkpoints/latest", "metrics.csv", "log.txt"):
        assert f"{directory}/{name}" in result.stdout
    assert (directory / "DONE").is_file()
    assert "<html" in (directory / "report.html").read_text(encoding="utf-8")


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
    (line,) = [line for block in blocks("sh") for line in block.splitlines() if "points.h5" in line]
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


def test_exit_codes_are_those_of_the_help():
    documented = set(re.findall(r"^\| (\d+) \|", README, re.MULTILINE))
    assert documented == {"0", "2", "3", "4", "5", "6", "70", "85"}
    help_text = ends(run("--help"), FINISHED).stdout
    for code in documented:
        assert re.search(rf"\b{code}\b", help_text)


def test_program_is_the_one_under_test():
    assert subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout.startswith("stanley ")

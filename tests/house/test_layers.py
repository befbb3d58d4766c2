"""The rules of the house hold in this repository, and layers.py finds each kind of broken rule."""
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import layers  # noqa: E402

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

SOUND_HOUSE = {
    "src/main.cpp": "#include <CLI/CLI.hpp>\n#include \"commands/train.hpp\"\n",
    "src/commands/train.hpp": "#include \"train/trainer.hpp\"\n",
    "src/train/trainer.hpp": "#include \"chains/bank.hpp\"\n#include \"run/log.hpp\"\n",
    "src/chains/bank.hpp": "#include <ATen/ATen.h>\n#include \"config/error.hpp\"\n",
    "src/run/log.hpp": "#include \"storage/file.hpp\"\n#include <string>\n",
    "src/storage/file.hpp": "#include <hdf5.h>\n#include \"parallel/communicator.hpp\"\n",
    "src/parallel/communicator.hpp": "#include <mpi.h>\n",
    "src/energy/network.hpp": "#include <torch/nn.h>\n",
    "src/config/error.hpp": "#include <yaml-cpp/yaml.h>\n",
    "README.md": "",
}

# What is planted into the sound house, and a word of the complaint.
PLANTED = {
    "a room of a higher floor": ({"src/config/up.hpp": '#include "parallel/communicator.hpp"\n'}, "lower floors"),
    "a room of the same floor": ({"src/data/beside.hpp": '#include "run/log.hpp"\n'}, "lower floors"),
    "an indented include": ({"src/data/deep.cpp": '  #  include "run/log.hpp"\n'}, "lower floors"),
    "main included": ({"src/main.hpp": "", "src/train/up.hpp": '#include "main.hpp"\n'}, "lower floors"),
    "an unknown room": ({"src/helpers/all.hpp": ""}, "no room"),
    "a file beside the rooms": ({"src/helpers.hpp": ""}, "no room"),
    "an include by file name": ({"src/run/near.hpp": '#include "log.hpp"\n'}, "path from src"),
    "MPI": ({"src/storage/raw.cpp": "#include <mpi.h>\n"}, "MPI"),
    "NCCL": ({"src/train/raw.cpp": "#include <nccl.h>\n"}, "NCCL"),
    "HDF5": ({"src/run/raw.cpp": "#include <hdf5.h>\n"}, "HDF5"),
    "HDF5, one part": ({"src/data/raw.cpp": "#include <H5Fpublic.h>\n"}, "HDF5"),
    "yaml-cpp": ({"src/run/raw.cpp": "#include <yaml-cpp/yaml.h>\n"}, "yaml-cpp"),
    "CLI11": ({"src/train/raw.cpp": "#include <CLI/App.hpp>\n"}, "CLI11"),
    "LibTorch": ({"src/data/raw.cpp": "#include <c10/core/Device.h>\n"}, "LibTorch"),
    "LibTorch in a kernel": ({"src/parallel/raw.cu": "#include <torch/types.h>\n"}, "LibTorch"),
    "LibTorch through a header": ({"src/data/indirect.cpp": '#include "energy/network.hpp"\n'}, "does without LibTorch"),
    "a kernel with a configuration": ({"src/kernels/product.cpp": '#include "config/config.hpp"\n',
                                       "src/config/config.hpp": ""}, "kernels know only"),
    "a network with a kernel": ({"src/energy/fast.cpp": '#include "kernels/product.hpp"\n',
                                 "src/kernels/product.hpp": ""}, "lower floors"),
    "a circle": ({"src/run/a.hpp": '#include "run/b.hpp"\n', "src/run/b.hpp": '#include "run/a.hpp"\n'}, "itself"),
    "a crowded room": ({"src/run/all.hpp": 2000 * "int line;\n"}, "divide it by subject"),
    "a crowded folder": ({"tools/all.py": 2000 * "line = 1\n"}, "divide it by subject"),
    "a stranger at the top": ({"scripts/run.sh": ""}, "scripts"),
}


def build_house(folder, *plans):
    for plan in plans:
        for path, text in plan.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


def test_the_rules_hold_here():
    assert layers.broken_rules(REPOSITORY) == []


def test_a_sound_house_is_left_alone(tmp_path):
    assert layers.broken_rules(build_house(tmp_path, SOUND_HOUSE)) == []


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_violation_is_found(tmp_path, name):
    planted, word = PLANTED[name]
    broken = layers.broken_rules(build_house(tmp_path, SOUND_HOUSE, planted))
    assert broken, f"{name} was not found"
    assert all(word in sentence for sentence in broken), broken

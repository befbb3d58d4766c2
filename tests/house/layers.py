#!/usr/bin/env python3
"""Checks the rules of the house by reading the includes: which room uses which, and which libraries.

usage: layers.py [REPOSITORY]   prints one line for each broken rule; exit code 1 if there is any
"""
import pathlib
import re
import subprocess
import sys

FLOORS = [
    {"config", "random"},
    {"energy", "kernels", "parallel"},
    {"engines", "sampler", "storage"},
    {"run", "data"},
    {"chains", "diagnostics"},  # start states are made from data
    {"sampling"},
    {"evaluation"},
    {"train"},
    {"measure"},
    {"commands"},
    {"main"},  # src/main.cpp
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

# A library (a pattern of include paths), and the rooms that may include it.
LIBRARIES = {
    "MPI": (r"mpi\.h", {"parallel"}),
    "NCCL": (r"nccl\.h", {"parallel"}),
    "HDF5": (r"(hdf5|hdf5_hl|H5\w+)\.h", {"storage"}),
    "yaml-cpp": (r"yaml-cpp/", {"config"}),
    "CLI11": (r"CLI/", {"commands", "main"}),
    "LibTorch": (r"(torch|ATen|c10|caffe2)/", {"energy", "engines", "sampler", "chains", "diagnostics", "sampling", "evaluation",
                                                      "train",
                                                      "measure"}),
}
# The state reaches these rooms as plain arrays: not even another room's header may bring LibTorch.
WITHOUT_LIBTORCH = {"config", "random", "kernels", "parallel", "storage", "data", "run"}

# A room that holds more than this share of all lines is two rooms.
LARGEST_SHARE = 0.16
SMALL_ROOM = 1000  # lines that are never too many
# Kernels are arithmetic on plain pointers. All that they know of a configuration is the name of a function.
KNOWN_TO_KERNELS = {"config/activation.hpp", "config/error.hpp"}
COUNTED = {".cpp", ".hpp", ".cu", ".cuh", ".py", ".sh", ".sbatch", ".yaml", ".css", ".cmake"}

TOP_LEVEL = {"src", "jobs", "configs", "tools", "tests", "CMakeLists.txt", "README.md",
             "CMakePresets.json", "LICENSE"}
SOURCES = {".cpp", ".hpp", ".cu", ".cuh"}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"]+)[>"]', re.MULTILINE)


def room_of(path):
    """The room of a path relative to src; files beside the rooms are rooms by their stem."""
    parts = pathlib.PurePosixPath(path).parts
    return parts[0] if len(parts) > 1 else pathlib.PurePosixPath(path).stem


def read_includes(source_folder):
    """{path relative to src: [what it includes]} for every source file of ours."""
    return {
        file.relative_to(source_folder).as_posix(): INCLUDE.findall(file.read_text(encoding="utf-8"))
        for file in sorted(source_folder.rglob("*")) if file.suffix in SOURCES
    }


def reached(start, includes):
    """{everything that `start` includes, directly or not: the file that includes it}."""
    found, to_read = {}, [start]
    while to_read:
        file = to_read.pop()
        for included in includes.get(file, []):
            if included not in found:
                found[included] = file
                to_read.append(included)
    return found


def broken_floors(includes):
    for file, included in includes.items():
        room = room_of(file)
        if room not in FLOOR:
            yield f"src/{file}: '{room}' is no room of the house"
            continue
        for path in included:
            if path not in includes:
                if (pathlib.PurePosixPath(file).parent / path).as_posix() in includes:
                    yield f"src/{file}: \"{path}\" should be included by its path from src"
                continue
            used = room_of(path)
            if used in FLOOR and used != room and FLOOR[used] >= FLOOR[room]:
                yield (f"src/{file} (floor {FLOOR[room]}) includes {path} (floor {FLOOR[used]}): "
                       "a room uses only rooms on lower floors")


def broken_libraries(includes):
    for file, included in includes.items():
        for library, (pattern, rooms) in LIBRARIES.items():
            for path in included:
                if re.match(pattern, path) and room_of(file) not in rooms:
                    yield f"src/{file} includes {path}: only {', '.join(sorted(rooms))} may include {library}"


def libtorch_through_headers(includes):
    pattern = LIBRARIES["LibTorch"][0]
    for file, included in includes.items():
        if room_of(file) not in WITHOUT_LIBTORCH:
            continue
        for path, through in reached(file, includes).items():
            if re.match(pattern, path) and through != file:
                yield f"src/{file} gets {path} through {through}: {room_of(file)} does without LibTorch"
                break


def learned_kernels(includes):
    for file, included in includes.items():
        for path in included if room_of(file) == "kernels" else []:
            if room_of(path) == "config" and path not in KNOWN_TO_KERNELS:
                yield f"src/{file} includes {path}: kernels know only {', '.join(sorted(KNOWN_TO_KERNELS))} of it"


def circles(includes):
    for file in includes:
        through = reached(file, includes).get(file)
        if through is not None:
            yield f"src/{file} includes itself through {through}"


def lines_of_rooms(repository):
    """{room: lines of code}; the rooms are those of src, jobs, configs, and tools with each of its folders."""
    lines = {}
    for folder in ("src", "jobs", "configs", "tools"):
        for file in (repository / folder).rglob("*"):
            if file.suffix in COUNTED and file.is_file():
                path = file.relative_to(repository / folder)
                room = room_of(path) if folder == "src" else folder
                if folder == "tools" and len(path.parts) > 1:
                    room = f"tools/{path.parts[0]}"
                lines[room] = lines.get(room, 0) + file.read_text(encoding="utf-8").count("\n")
    return lines


def crowded_rooms(repository):
    lines = lines_of_rooms(repository)
    for room, count in sorted(lines.items()):
        share = count / sum(lines.values())
        if count > SMALL_ROOM and share > LARGEST_SHARE:
            yield (f"{room} holds {100 * share:.1f} % of all lines, more than {100 * LARGEST_SHARE:.0f} %: "
                   "divide it by subject")


def strangers_at_the_top(repository):
    """What git tracks, or would, at the top level and is neither a dot file nor in the plan."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            cwd=repository, capture_output=True, text=True)
    if listed.returncode != 0:  # an unpacked archive
        return
    for name in sorted({path.split("/")[0] for path in listed.stdout.split("\0") if path}):
        if not name.startswith(".") and name not in TOP_LEVEL:
            yield f"{name}: not one of the entries that the top level holds ({', '.join(sorted(TOP_LEVEL))})"


def broken_rules(repository):
    """One sentence for each broken rule."""
    includes = read_includes(repository / "src")
    return [*broken_floors(includes), *broken_libraries(includes), *libtorch_through_headers(includes),
            *learned_kernels(includes), *circles(includes), *crowded_rooms(repository), *strangers_at_the_top(repository)]


def main():
    repository = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[2]
    broken = broken_rules(repository)
    print("\n".join(broken) or "the house is in order")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

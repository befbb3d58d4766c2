"""What tools/setup.sh decides, with other programs in the place of compilers, CMake, apt, sudo and pip: nothing here
needs a network or changes this machine."""
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SETUP = (ROOT / "tools" / "setup.sh").read_text()
PLAIN = """awk basename bash cat chmod cmp cp cut df dirname env flock getconf grep id ldd ln mkdir paste printf readlink
    realpath rm sed sh sort tail touch tr uname""".split()
# A Python without packages that notes what it is asked for. `-m venv` makes another of its kind, and pip makes torch.
PYTHON = """#!/usr/bin/env bash
[ "$1" != -I ] || shift
case "$1 $2" in
  "-m venv") mkdir -p "$3"/{bin,lib/python3.11/site-packages} && cp "$0" "$3/bin/python" ;;
  "-m pip")
    echo "pip ${*: -1}" >>"$FOLDER/commands"
    [ ! -e "$FOLDER/no-network" ] || exit 1
    case "$*" in *-torch.lock) cp -r "$FOLDER/torch" .deps/venv/lib/python3.11/site-packages/ ;; esac ;;
  *arviz*) ;;
  *) exec REAL -S "$@" ;;
esac
"""
OPTIONAL = ["ccache", "git", "dataset-fashion-mnist"]


def torch_folder(folder, version="2.11", abi=1):
    """What set-up looks at of a torch."""
    major, minor = version.split(".")
    header = folder / "include" / "torch" / "headeronly" / "version.h"
    config = folder / "share" / "cmake" / "Torch" / "TorchConfig.cmake"
    for path in (folder / "lib" / "libtorch_cpu.so", header, config, folder / "__init__.py"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    shutil.copy(shutil.which("true"), folder / "lib" / "libtorch_cpu.so")
    (folder / "lib" / "libtorch_cuda.so").write_bytes(b"\0libc.so.6\0libcudart.so.13\0")
    header.write_text(f"#define TORCH_VERSION_MAJOR {major}\n#define TORCH_VERSION_MINOR {minor}\n")
    config.write_text(f'set(TORCH_CXX_FLAGS "-D_GLIBCXX_USE_CXX11_ABI={abi}")\n')
    return folder


class Site:
    """A checkout with a PATH of its own: an ordinary user's, with all that the build needs, and no packages."""

    def __init__(self, folder):
        self.folder, self.root, self.bin = folder, folder / "checkout", folder / "bin"
        self.venv, self.link = self.root / ".deps" / "venv", self.root / ".deps" / "torch"
        shutil.copytree(ROOT / "tools", self.root / "tools", ignore=shutil.ignore_patterns("__pycache__"))
        self.bin.mkdir()
        for name in PLAIN:
            (self.bin / name).symlink_to(shutil.which(name))
        self.says("id", "echo 1000")
        self.compiler("12 __clang_major__")
        self.cmake()
        self.says("ninja")
        self.program("python3", PYTHON.replace("REAL", sys.executable))
        torch_folder(folder / "torch")

    def program(self, name, text):
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def says(self, name, does=":"):
        """A command that notes how it was called."""
        self.program(name, f'#!/usr/bin/env bash\necho "{name} $*" >>"$FOLDER/commands"\n{does}\n')

    def compiler(self, macros):
        self.says("c++", f"cat >/dev/null; echo '{macros}'")

    def cmake(self, version="3.25.1", missing=()):
        lines = "".join(f"echo 'missing: {line}'; " for line in missing)
        self.says("cmake", f'[ "$1" != --version ] || {{ echo "cmake version {version}"; exit; }}; {lines}')

    def debian(self, *installed, root=True):
        """An apt, and a dpkg that has these packages."""
        self.says("apt-get")
        self.says("dpkg")
        self.program("dpkg-query", "#!/bin/sh\nprintf 'installed %s\\n' " + " ".join(installed) + "\n")
        if root:
            self.says("id", "echo 0")

    def call(self, *options, **variables):
        """Exit code and everything that was said."""
        (self.folder / "commands").unlink(missing_ok=True)
        result = subprocess.run([self.root / "tools" / "setup.sh", *options], cwd=self.folder, text=True, timeout=60,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={
                                    "PATH": str(self.bin), "FOLDER": str(self.folder), "PYTHON": f"{self.bin}/python3",
                                    **{name: str(value) for name, value in variables.items()}})
        return result.returncode, result.stdout

    def works(self, *options, **variables):
        code, said = self.call(*options, **variables)
        assert code == 0 and "everything is there" in said, said
        return said

    def refuses(self, *options, **variables):
        """Ends with 3 and has downloaded and changed nothing."""
        code, said = self.call(*options, **variables)
        assert code == 3, said
        assert "pip " not in self.told() and "install" not in self.told() and not self.venv.exists()
        return said

    def told(self):
        path = self.folder / "commands"
        return path.read_text() if path.exists() else ""

    def downloads(self):
        return re.findall(r"pip tools/requirements(.*)\.lock", self.told())


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def row(said, name):
    """The line of the list about NAME."""
    found = [line for line in said.splitlines() if re.match(rf"  {re.escape(name)}\*? ", line)]
    assert len(found) == 1, said
    return " ".join(found[0].split())


# --- what is missing -----------------------------------------------------------------------------------
@pytest.mark.parametrize("macros, seen", [("10 __clang_major__", "'c++' is GCC 10"), ("4 15", "'c++' is clang 15"),
                                          ("", "'c++' compiles nothing")])
def test_a_compiler_that_is_too_old(site, macros, seen):
    site.compiler(macros)
    assert row(site.refuses(), "compiler").endswith(f"g++ gcc GCC g++ 11 or clang++ 16, or newer; {seen}")


def test_the_compiler_is_the_one_that_cmake_takes(site):
    site.says("other", "cat >/dev/null; echo '9 __clang_major__'")
    assert "'other -m64' is GCC 9" in site.refuses(CXX="other -m64")
    site.works()


def test_one_list_names_all_that_is_missing(site):
    site.cmake("3.22.1")
    site.says("nvcc", "echo 'Cuda compilation tools, release 11.8, V11.8.89'")
    for name in ("c++", "ninja"):
        (site.bin / name).unlink()
    said = site.refuses("--cuda", PYTHON=site.folder / "none")
    assert row(said, "compiler").endswith("g++ 11 or clang++ 16, or newer")
    assert row(said, "CMake").endswith(f"3.25 or newer; {site.bin}/cmake is 3.22.1")
    assert row(said, "Ninja").startswith("Ninja ninja-build ninja Ninja")
    assert "3.11 to 3.14" in row(said, "Python") and f"{site.folder}/none is not" in row(said, "Python")
    assert row(said, "nvcc").endswith("is 11.8")
    assert row(said, "HDF5").startswith("HDF5 libhdf5-openmpi-dev hdf5+mpi+hl HDF5 can't be looked for")


def test_libraries_are_what_cmake_says(site):
    site.cmake(missing=["HDF5: it is a serial one", "fmt: no package", "torch: none"])
    said = site.refuses()
    assert row(said, "HDF5") == "HDF5 libhdf5-openmpi-dev hdf5+mpi+hl HDF5 it is a serial one"
    assert row(said, "fmt") == "fmt* libfmt-dev fmt fmt no package" and "STANLEY_FETCH" in said
    assert "torch:" not in said and "MPI" not in said.replace("OpenMPI", "")


def test_what_cmake_can_fetch_ends_nothing(site):
    site.cmake(missing=["CLI11: none", "fmt: none"])
    assert "CMake has to fetch CLI11 fmt: configure with -DSTANLEY_FETCH=ON" in site.works()


def test_the_build_s_own_modules_look(tmp_path):
    """The real CMake, and a library that it is told not to see."""
    probe = ROOT / "tools" / "cmake" / "probe"
    said = subprocess.run(["cmake", "-G", "Ninja", "-S", probe, "-B", tmp_path, "-DCMAKE_DISABLE_FIND_PACKAGE_CLI11=ON"],
                          capture_output=True, text=True, check=True)
    assert re.findall("^missing: (?!torch)(.*?):", said.stdout + said.stderr, re.MULTILINE) == ["CLI11"]


def test_every_library_has_its_names():
    modules = "".join(path.read_text() for path in (ROOT / "tools" / "cmake").glob("*.cmake"))
    looked_for = set(re.findall(r"\bmissing\((?!torch|name|STANLEY)([\w-]+)", modules))
    looked_for |= set(re.findall(r"find_or_fetch\((?!package)([\w-]+)", modules))
    assert len(looked_for) >= 10
    for name in looked_for:
        assert re.search(rf"^  '{name} \| \S", SETUP, re.MULTILINE), f"{name} isn't in the table of setup.sh"


def test_the_build_asks_for_the_same_versions():
    modules = ROOT / "tools" / "cmake"
    compilers, torch = ((modules / name).read_text() for name in ("compilers.cmake", "torch.cmake"))
    assert "[compiler]=" + re.search(r"oldest_GNU (\d+)", compilers)[1] in SETUP
    assert "oldest_clang=" + re.search(r"oldest_Clang (\d+)", compilers)[1] in SETUP
    assert "oldest_torch=" + re.search(r"VERSION_LESS ([\d.]+)", torch)[1] + "\n" in SETUP
    assert "[CMake]=" + re.search(r"VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text())[1] in SETUP


def test_a_disk_that_is_full(site):
    site.program("df", "#!/bin/sh\nprintf 'Avail\\n1024000\\n'\n")
    assert f"{site.root}/.deps has 1000 MB free, and the Python packages need 4000 MB" in site.refuses()
    site.works(STANLEY_TORCH_ROOT=site.folder / "torch")


@pytest.mark.parametrize("name, text", [("uname", "echo ppc64le"), ("getconf", "exit 1"),
                                        ("getconf", "echo glibc 2.17")])
def test_a_system_that_has_no_wheels(site, name, text):
    site.program(name, f"#!/bin/sh\n{text}\n")
    assert "needs Linux on x86_64 or aarch64 with glibc 2.28 or newer; this is " in site.refuses()


def test_an_unknown_option(site):
    code, said = site.call("--test")
    assert code == 2 and said.endswith("setup: unknown option --test\n")
    assert not (site.root / ".deps").exists()


# --- Debian's packages ------------------------------------------------------------------------------------
def needed():
    return re.search(r"^packages=\((.*?)\)", SETUP, re.MULTILINE | re.DOTALL)[1].split()


def test_root_installs_what_is_missing(site):
    site.debian()
    site.works()
    together = [line for line in site.told().splitlines() if " install " in line]
    assert len(together) == 2 and all(name in together[0].split() for name in needed())
    assert "libgtest-dev" not in site.told() and "benchmark" not in site.told()
    site.debian(*needed(), *OPTIONAL)
    site.works()
    assert "apt-get" not in site.told()


def test_the_tests_need_more(site):
    site.debian()
    for name in ("clang-format", "clang-tidy", "shellcheck"):
        site.says(name)
    site.works("--tests")
    for name in ("libgtest-dev", "mpich", "libhdf5-mpich-dev", "g++-11"):
        assert re.search(rf"apt-get .* install .* {re.escape(name)}( |$)", site.told(), re.MULTILINE)


def test_an_ordinary_user_is_told_and_asked_for_nothing(site):
    site.debian(root=False)
    site.says("sudo", "exit 1")
    site.cmake(missing=["MPI: none", "HDF5: none"])
    assert row(site.refuses(), "MPI") == "MPI libopenmpi-dev openmpi OpenMPI none"
    assert set(re.findall("sudo.*", site.told())) == {"sudo -n true"}
    site.cmake()  # other packages of their own, say of Spack
    site.works()


def test_a_package_that_apt_does_not_know_and_nobody_needs_is_done_without(site):
    site.debian()
    site.says("apt-get", 'case "$*" in *ccache* | *dataset*) exit 100 ;; esac')
    said = site.works()
    for name, known in {"ccache": False, "dataset-fashion-mnist": False, "git": True}.items():
        assert (f"package {name} can't be installed here: goes on without" in said) != known


def test_a_package_that_is_needed_is_asked_for(site):
    site.debian()
    site.says("apt-get", 'case "$*" in *libfmt-dev*) exit 100 ;; esac')
    code, said = site.call()
    assert code == 3 and "'apt-get install' failed" in said and not site.venv.exists()


def test_without_a_network_what_nobody_needs_is_done_without(site):
    site.debian(*needed())
    site.says("apt-get", "exit 100")
    assert "goes on without them" in site.works()
    site.debian()
    site.says("apt-get", "exit 100")
    code, said = site.call()
    assert code == 3 and "is the network there?" in said


def test_packages_of_an_old_release_are_not_installed(site):
    site.debian()
    site.compiler("10 __clang_major__")
    site.program("apt-cache", "#!/bin/sh\nprintf 'x:\\n  Installed: (none)\\n  Candidate: 4:10.2.1-1\\n'\n")
    said = site.refuses()
    assert "too old" in said and "GCC 10" in row(said, "compiler")
    site.program("apt-cache", "#!/bin/sh\nprintf 'x:\\n  Candidate: 4:12.2.0-3\\n'\n")
    code, said = site.call()  # a newer one was installed, and the old one still comes first
    assert code == 3 and " install -y --no-install-recommends g++ " in site.told() and "hidden by another" in said


# --- torch --------------------------------------------------------------------------------------------------
def test_the_wheel_where_no_torch_is_there(site):
    site.works()
    assert site.downloads() == ["", "-torch"]
    assert os.readlink(site.link) == "venv/lib/python3.11/site-packages/torch" and site.link.exists()
    site.works()
    assert site.downloads() == []


def test_a_torch_that_is_named(site):
    folder = torch_folder(site.folder / "a torch", "2.6")
    site.says("nvcc", "echo release 13.0,")
    assert f"with the torch of {folder}" in site.works("--cuda", STANLEY_TORCH_ROOT=folder)
    assert site.downloads() == [""] and os.readlink(site.link) == str(folder)
    site.works()  # what was chosen stays
    assert site.downloads() == [] and os.readlink(site.link) == str(folder)
    site.link.unlink()
    site.works()
    assert site.downloads() == ["-torch"] and site.link.resolve().is_relative_to(site.venv)


def unusable(folder, kind):
    """A torch that can't be used, and why."""
    torch_folder(folder, "2.5" if kind == "old" else "2.8", abi=0 if kind == "ABI" else 1)
    library = folder / "lib" / "libtorch_cpu.so"
    if kind == "none":
        shutil.rmtree(folder)
    elif kind == "headers":
        shutil.rmtree(folder / "include")
    elif kind == "text":
        library.write_text("no library")
    elif kind == "lacks":
        subprocess.run(["cc", "-shared", "-x", "c", "/dev/null", "-o", folder / "libother.so"], check=True)
        subprocess.run(["cc", "-shared", "-x", "c", "/dev/null", "-o", library, "-Wl,--no-as-needed",
                        f"-L{folder}", "-lother"], check=True)
        (folder / "libother.so").unlink()
    return {"none": f"{folder} has no lib/libtorch_cpu.so", "headers": f"{folder} has no C++ headers",
            "old": f"{folder} is torch 2.5, and the oldest that can be used is 2.6",
            "ABI": "_GLIBCXX_USE_CXX11_ABI=0", "text": "cannot be loaded here: not a dynamic executable",
            "lacks": "cannot be loaded here: libother.so => not found"}[kind]


@pytest.mark.parametrize("kind", ["none", "headers", "old", "ABI", "text", "lacks"])
def test_a_torch_that_cannot_be_used(site, kind):
    folder = site.folder / "modules" / "torch"
    why = unusable(folder, kind)
    said = site.refuses(STANLEY_TORCH_ROOT=folder)
    assert "setup: STANLEY_TORCH_ROOT: " in said and why in said
    if kind != "none":  # found by itself, it is passed over
        assert why in site.works(PYTHONPATH=folder.parent)
        assert site.downloads() == ["", "-torch"] and site.link.resolve().is_relative_to(site.venv)


def test_a_torch_for_another_cuda_than_nvcc(site):
    site.says("nvcc", "echo release 12.4,")
    assert "nvcc is of CUDA 12.4, and the torch that is downloaded is for CUDA 13" in site.refuses("--cuda")
    folder = site.folder / "torch"
    assert f"{folder} is for CUDA 13, and nvcc is of 12.4" in site.refuses("--cuda", STANLEY_TORCH_ROOT=folder)
    (folder / "lib" / "libtorch_cuda.so").write_bytes(b"libcudart.so.12\0")
    site.works("--cuda", STANLEY_TORCH_ROOT=folder)
    assert site.downloads() == [""]
    (folder / "lib" / "libtorch_cuda.so").unlink()
    code, said = site.call("--cuda", STANLEY_TORCH_ROOT=folder)
    assert code == 3 and f"{folder} is a torch without CUDA" in said
    site.works(STANLEY_TORCH_ROOT=folder)


def test_a_torch_that_python_imports(site):
    folder = torch_folder(site.folder / "modules" / "torch")
    site.works(PYTHONPATH=folder.parent)
    assert site.downloads() == [""] and os.readlink(site.link) == str(folder)
    shutil.rmtree(folder)  # the site has another release now
    site.works()
    assert site.downloads() == ["-torch"] and site.link.exists()


def test_what_a_module_brings_later_changes_nothing(site):
    site.works()
    folder = torch_folder(site.folder / "modules" / "torch")
    site.works(PYTHON="", PYTHONPATH=folder.parent)
    assert site.link.resolve().is_relative_to(site.venv)
    said = site.works(PYTHONPATH=folder.parent)  # but a Python that is named is meant
    assert "cmake --fresh" in said
    assert os.readlink(site.link) == str(folder)


# --- the environment --------------------------------------------------------------------------------------
def test_an_interrupted_set_up_is_made_anew(site):
    site.works()
    (site.root / ".deps" / "venv.building").touch()
    assert "making .deps/venv" in site.works() and site.downloads() == ["", "-torch"]


def test_a_download_that_failed_is_tried_again(site):
    (site.folder / "no-network").touch()
    code, said = site.call()
    assert code == 3 and "is the network there?" in said
    (site.folder / "no-network").unlink()
    assert "making" not in site.works() and site.downloads() == ["", "-torch"]


def test_an_environment_is_not_made_by_itself(site):
    """As where .deps/venv is activated."""
    site.works()
    shutil.rmtree(site.venv)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", site.venv], check=True)
    (site.root / ".deps" / "venv.building").touch()
    code, said = site.call(PYTHON=site.venv / "bin" / "python")
    assert code == 3 and ".deps/venv/bin/python is not" in row(said, "Python") and site.venv.exists()


def test_deps_may_be_a_link(site):
    (site.root / ".deps").symlink_to(site.folder / "scratch")
    assert "a link to a folder that isn't there" in site.call()[1]
    (site.folder / "scratch").mkdir()
    site.works()
    assert (site.folder / "scratch" / "torch" / "lib" / "libtorch_cpu.so").exists()
    ignored = (ROOT / ".gitignore").read_text().split()
    assert "/.deps" in ignored and "/.deps/" not in ignored  # which is a folder alone


@pytest.mark.parametrize("first, then, said", [(0, 0, ""), (1, 0, "waiting for another"), (71, 71, "can't be locked"),
                                               (1, 71, "can't be locked")])
def test_a_file_system_without_locks_is_told(site, first, then, said):
    site.program("flock", f'#!/bin/sh\n[ "$1" = -n ] && exit {first}\nexit {then}\n')
    log = site.works()
    assert said in log and ("locked" in log) == ("locked" in said), log


@pytest.mark.parametrize("name", [path.name for path in (ROOT / "tools").glob("requirements*.txt")])
def test_every_package_has_its_digests(name):
    """tools/lock_requirements.py was run after the last change."""
    packages = [line for line in (ROOT / "tools" / name).read_text().splitlines() if line and line[0] != "#"]
    entries = re.split(r"\n(?=\S)", (ROOT / "tools" / name).with_suffix(".lock").read_text().rstrip())
    locked = {entry.split(" \\")[0]: entry.count("--hash=sha256:") for entry in entries if entry[0] != "#"}
    assert list(locked) == packages and min(locked.values()) > 0

"""Writes tools/requirements*.lock: each package of the .txt beside, with the digest of every wheel that
tools/setup.sh may install. Asks pip for them, for each Python and processor in turn (10 GB, once)."""
import hashlib
import pathlib
import re
import subprocess
import sys
import tempfile

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
PROCESSORS = ["x86_64", "aarch64"]
# Releases of glibc that wheels name. An older system may be given another wheel than a newer one.
OLDEST_GLIBC, NEWEST_GLIBC = 28, 40

HEADING = """# Written by tools/lock_requirements.py from {name}: digests of the wheels for Python {first} to {last} on
# {processors} with glibc 2.{glibc} or newer.
"""


def platforms(processor, glibc):
    """Lists pip's names of the systems whose wheels run on this processor with glibc 2.`glibc`."""
    old = [f"manylinux{name}_{processor}" for name in ("2014", "2010", "1")]
    return [f"manylinux_2_{release}_{processor}" for release in range(glibc, 4, -1)] + old


def wheels(requirements, python, processor, glibc, folder):
    """Downloads what pip would install there; returns the files."""
    names = [word for platform in platforms(processor, glibc) for word in ("--platform", platform)]
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:",
                    "--python-version", python, *names, "--dest", folder, "--requirement", requirements], check=True)
    return pathlib.Path(folder).glob("*.whl")


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical(name):
    """Gives a package's name as pip compares it: PyYAML, pyyaml and py.yaml are one."""
    return re.sub(r"[-_.]+", "-", name).lower()


def digests(requirements):
    """Maps each package's canonical name to the digests of its wheels."""
    found = {}
    for processor in PROCESSORS:
        for python in PYTHONS:
            for glibc in (OLDEST_GLIBC, NEWEST_GLIBC):
                with tempfile.TemporaryDirectory() as folder:
                    for path in wheels(requirements, python, processor, glibc, folder):
                        found.setdefault(canonical(path.name.split("-")[0]), set()).add(digest(path))
    return found


def lock(requirements):
    """Writes the lock file of one list."""
    found = digests(requirements)
    text = HEADING.format(name=requirements.name, first=PYTHONS[0], last=PYTHONS[-1],
                          processors=" and ".join(PROCESSORS), glibc=OLDEST_GLIBC)
    for line in requirements.read_text().splitlines():
        if line and not line.startswith("#"):
            hashes = [f"    --hash=sha256:{one}" for one in sorted(found[canonical(line.split("==")[0])])]
            text += " \\\n".join([line, *hashes]) + "\n"
    requirements.with_suffix(".lock").write_text(text)


if __name__ == "__main__":
    lists = [pathlib.Path(name) for name in sys.argv[1:]]
    for path in lists or sorted(pathlib.Path(__file__).parent.glob("requirements*.txt")):
        print(f"locking {path}", flush=True)
        lock(path)

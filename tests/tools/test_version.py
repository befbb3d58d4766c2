"""What a build says of its version and commit: from a tag, from an archive, and from neither."""
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
NEXT = "9.8.7"


def git(folder, *arguments):
    who = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", *who, "-C", folder, *arguments], check=True, capture_output=True)
    return done.stdout.decode(errors="replace").strip()


def commit(folder, text):
    (folder / "file").write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", text)


@pytest.fixture
def checkout(tmp_path):
    """A repository with the rules of this one."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in (".gitattributes", ".git_archival.txt"):
        shutil.copy(ROOT / name, folder)
    git(folder, "init", "-q")
    commit(folder, "first")
    return folder


def said(folder):
    """Version and commit, as the program will have them."""
    header = folder.parent / "header.hpp"
    subprocess.run(["cmake", "-D", f"SOURCE={folder}", "-D", f"FALLBACK={NEXT}", "-D", f"HEADER={header}",
                    "-P", ROOT / "tools" / "cmake" / "version_header.cmake"], check=True)
    return [line.split('"')[1] for line in header.read_text().splitlines()]


def archive(folder, to):
    to.mkdir(parents=True)
    subprocess.run(f"git -C {folder} archive HEAD | tar -x -C {to}", shell=True, check=True)
    return to


def head(folder):
    return git(folder, "rev-parse", "--short=12", "HEAD")


def test_a_checkout_is_what_its_tag_says(checkout):
    assert said(checkout) == [NEXT, head(checkout)]  # no tag yet
    git(checkout, "tag", "v0.2.0")
    git(checkout, "tag", "nightly")
    assert said(checkout) == ["0.2.0", head(checkout)]
    (checkout / "file").write_text("changed")
    assert said(checkout) == ["0.2.0", head(checkout) + "-dirty"]
    commit(checkout, "second")
    commit(checkout, "third")
    assert said(checkout) == [f"0.2.0+2.g{head(checkout)}", head(checkout)]
    git(checkout, "tag", "-a", "v0.3.0-rc1", "-m", "candidate")
    assert said(checkout) == ["0.3.0-rc1", head(checkout)]


def test_an_archive_knows_its_commit_and_tag(checkout, tmp_path):
    assert said(archive(checkout, tmp_path / "untagged")) == [NEXT, head(checkout)]
    git(checkout, "tag", "v0.2.0")
    assert said(archive(checkout, tmp_path / "tagged")) == ["0.2.0", head(checkout)]
    commit(checkout, "second")
    version, name = said(archive(checkout, tmp_path / "later"))
    assert version.startswith("0.2.0+1.g") and name == head(checkout)
    # Unpacked in a checkout of another program, it isn't that one.
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "-q")
    commit(outer, "other")
    git(outer, "tag", "v7.0.0")
    assert said(archive(checkout, outer / "stanley"))[1] == head(checkout)


def test_a_bare_copy_says_the_next_version(checkout):
    shutil.rmtree(checkout / ".git")
    assert said(checkout) == [NEXT, "unknown"]
    (checkout / ".git_archival.txt").unlink()
    assert said(checkout) == [NEXT, "unknown"]

"""The end of a test run says what was skipped and why, and ends in ctest's own summary: tests/skipped.py."""
import pathlib
import subprocess
import sys

TOOL = pathlib.Path(__file__).resolve().parents[1] / "skipped.py"

# Outputs as GoogleTest's and pytest's own.
GTEST = """[ RUN      ] Sums.{0}
/a/sums_test.cpp:12: Skipped
needs two
ranks

[  SKIPPED ] Sums.{0} (0 ms)
"""
PROJECT = """cmake_minimum_required(VERSION 3.20)
project(tests NONE)
enable_testing()
foreach(name IN ITEMS {names})
  add_test(NAME label/${{name}} COMMAND sh ${{CMAKE_SOURCE_DIR}}/${{name}})
  set_tests_properties(label/${{name}} PROPERTIES SKIP_RETURN_CODE 77 SKIP_REGULAR_EXPRESSION "  PASSED  . 0 tests")
endforeach()
"""


def said(folder, outputs, *options):
    """What ctest and skipped.py say of tests with these outputs and exit codes."""
    for name, (output, code) in outputs.items():
        (folder / f"{name}.txt").write_text(output)
        (folder / name).write_text(f'cat "{folder}/{name}.txt"; exit {code}\n')
    (folder / "CMakeLists.txt").write_text(PROJECT.format(names=" ".join(outputs)))
    subprocess.run(["cmake", "-S", folder, "-B", folder / "build"], check=True, capture_output=True)
    tests = ["ctest", "--test-dir", folder / "build", *options]
    told = subprocess.run(tests, capture_output=True, text=True).stdout
    log = folder / "build" / "Testing" / "Temporary" / "LastTest.log"
    return subprocess.run([sys.executable, TOOL, log], input=told, capture_output=True, text=True, check=True).stdout


def test_what_was_skipped_is_listed_before_the_summary(tmp_path):
    lines = said(tmp_path, {
        "sound": ("Skipped: nothing\n", 0),
        "script": ("looks for nvcc\nno nvcc here\n\n", 77),
        "silent": ("", 77),
        "gpu": (GTEST.format("All") + "[  PASSED  ] 0 tests.\n[  SKIPPED ] 1 test, listed below:\n", 0),
        "sums": (GTEST.format("One") + GTEST.format("Two") + "[  PASSED  ] 5 tests.\n", 0),
        "colours": (GTEST.format("All").replace("[ ", "\x1b[0;32m[ ").replace("] ", "] \x1b[m"), 0),
        "pytest": ("s.ss\nSKIPPED [2] tests/test_x.py:12: needs root\nSKIPPED [1] tests/test_x.py:40: no GPU\n", 0),
        "broken": ("SKIPPED [1] tests/test_y.py:1: needs root\n1 failed\n", 1),
    }).splitlines()
    begin = lines.index("Skipped, and so not tested here:")
    end = lines.index("88% tests passed, 1 tests failed out of 8")
    assert lines[begin + 1:end] == [
        "  label/broken: tests/test_y.py:1: needs root",
        "  label/colours: needs two ranks",
        "  label/gpu: needs two ranks",
        "  label/pytest, 2 cases: tests/test_x.py:12: needs root",
        "  label/pytest: tests/test_x.py:40: no GPU",
        "  label/script: no nvcc here",
        "  label/silent: no reason given",
        "  label/sums, 2 cases: needs two ranks",
        ""]
    assert any("label/sound ." in line for line in lines[:begin])
    assert any("broken (Failed)" in line for line in lines[end:])


def test_a_run_without_gaps_says_so(tmp_path):
    text = said(tmp_path, {"sound": ("", 0)})
    assert "\nNothing was skipped.\n\n100% tests passed" in text


def test_what_is_no_run_has_no_list(tmp_path):
    assert "kipped" not in said(tmp_path, {"script": ("no nvcc\n", 77)}, "-N")

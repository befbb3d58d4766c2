#!/usr/bin/env python3
"""Hands ctest's output on and says, before ctest's own summary, what was skipped and why.

usage: ctest ... 2>&1 | skipped.py LOG, where LOG is the Testing/Temporary/LastTest.log that ctest leaves

ctest names tests that were skipped whole, without a reason, and says nothing of parts: a case of
GoogleTest or pytest that skipped itself.
"""
import collections
import pathlib
import re
import sys

SUMMARY = re.compile(r"\d+% tests passed")
SKIPPED_WHOLE = re.compile(r"\d+/\d+ Test +#\d+: (\S+) [.]*\*\*\*Skipped")
OUTPUT = re.compile(r'^Command: .*?^"(\S+)" start time: .*?^Output:\n-+\n(.*?)^<end of output>', re.MULTILINE | re.DOTALL)
CASE_OF_GTEST = re.compile(r"^\S+:\d+: Skipped\n(.*?)^\[  SKIPPED \] \S+ \(\d+ ms\)", re.MULTILINE | re.DOTALL)
CASE_OF_PYTEST = re.compile(r"^SKIPPED \[(\d+)\] (.*)", re.MULTILINE)


def reasons_in(output):
    """{reason: how many cases} of one test's output."""
    found = collections.Counter()
    for reason in CASE_OF_GTEST.findall(output):
        found[" ".join(reason.split()) or "no reason given"] += 1
    for count, reason in CASE_OF_PYTEST.findall(output):
        found[reason] += int(count)
    return found


def report(log, skipped_whole):
    """Lines on all that was skipped."""
    lines = []
    for name, output in OUTPUT.findall(log):
        found = reasons_in(output)
        if not found and name in skipped_whole:
            found[(output.strip().splitlines() or ["no reason given"])[-1]] = 1
        for reason, count in found.items():
            lines.append(f"  {name}{f', {count} cases' if count > 1 else ''}: {reason}")
    return lines


def main():
    log = pathlib.Path(sys.argv[1])
    skipped_whole, summary = set(), []
    for line in sys.stdin:
        if summary or SUMMARY.match(line):
            summary.append(line)
            continue
        if match := SKIPPED_WHOLE.search(line):
            skipped_whole.add(match[1])
        print(line, end="", flush=True)
    if not summary:
        return
    # Under mpirun GoogleTest sees a terminal, and colours what it says.
    text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace"))
    lines = report(text, skipped_whole)
    print("\n".join(["Skipped, and so not tested here:", *sorted(lines)] if lines else ["Nothing was skipped."]))
    print("\n" + "".join(summary), end="", flush=True)


if __name__ == "__main__":
    main()

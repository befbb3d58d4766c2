#!/usr/bin/env bash
# All of src but what is x86's compiles for 64-bit Arm: a Grace node can use its GPU. Nothing is linked or run; the
# libraries' headers are those of the release build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
command -v aarch64-linux-gnu-g++ >/dev/null || {
  echo "no aarch64-linux-gnu-g++: on Debian the package g++-aarch64-linux-gnu"
  exit 77
}
[ -f .build/release/compile_commands.json ] || cmake --preset release >/dev/null

# The release build's words, one command a line: headers of this machine's system come after those of the other's.
commands=$(
  .deps/venv/bin/python - <<'PYTHON'
import json
import shlex

for entry in json.load(open(".build/release/compile_commands.json")):
    words = shlex.split(entry["command"])
    if not words[words.index("-o") + 1].startswith("src/"):
        continue  # a test
    if any(word.startswith("-march") for word in words):
        continue  # another instruction set of x86
    kept = []
    for word, last in zip(words, [""] + words):
        if word.startswith(("-D", "-I", "-std")):
            kept.append(word)
        elif last == "-isystem":
            kept += ["-idirafter" if word.startswith("/usr/") else "-isystem", word]
    print(shlex.join(["aarch64-linux-gnu-g++", "-fsyntax-only", "-fopenmp", "-Wall", "-Wextra", "-Werror", "-Wno-psabi",
                      "-Wno-missing-field-initializers", *kept, "-idirafter", "/usr/include", entry["file"]]))
PYTHON
)
echo "$(wc -l <<<"$commands") compilations"
xargs -P "$(nproc)" -d '\n' -n 1 sh -c <<<"$commands"
echo "all of them compile for aarch64"

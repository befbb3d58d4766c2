#!/usr/bin/env bash
# Our scripts please shellcheck, and each can be executed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
mapfile -t scripts < <(find .ci jobs tools tests -name '*.sh' -o -name '*.sbatch' -o -path .ci/run)
shellcheck --external-sources "${scripts[@]}"
for script in "${scripts[@]}"; do
  [ -x "$script" ] || {
    echo "$script cannot be executed: chmod +x $script" >&2
    exit 1
  }
done

# The container's recipe: its commands, and what it copies.
section() { sed -n "/^%$1\$/,/^\$/{/^%/d;p}" jobs/container.def; }
section post | shellcheck --shell=sh -
while read -r path _; do
  [ -z "$path" ] || [ -e "$path" ] || {
    echo "jobs/container.def copies $path, which isn't there" >&2
    exit 1
  }
done < <(section files)
echo "${#scripts[@]} scripts are in order"

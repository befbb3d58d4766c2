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

# The containers' recipes: their commands, on this machine and in the container.
section() { sed -n "/^%$2\$/,/^\$/{/^%/d;p}" "$1"; }
for recipe in jobs/container*.def; do
  for part in setup post test; do
    section "$recipe" "$part" | grep -q . || {
      echo "$recipe has no %$part" >&2
      exit 1
    }
    section "$recipe" "$part" | shellcheck --shell=sh -
  done
done
echo "${#scripts[@]} scripts are in order"

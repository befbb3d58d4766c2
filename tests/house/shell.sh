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
echo "${#scripts[@]} scripts are in order"

#!/usr/bin/env bash
# Our scripts please shellcheck. What is executed has a first line that says by what, and may be; what other scripts
# source has neither, and is named *.bash (jobs/site.sh aside, whose name is known to its users).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
mapfile -t scripts < <(find .ci jobs tools tests -name '*.sh' -o -name '*.bash' -o -name '*.sbatch' -o -path .ci/run)
shellcheck --external-sources "${scripts[@]}"
for script in "${scripts[@]}"; do
  case $script in
    *.bash | jobs/site.sh) executed=false ;;
    *) executed=true ;;
  esac
  can_be=false
  [ ! -x "$script" ] || can_be=true
  says=false
  [ "$(head -c 2 "$script")" != '#!' ] || says=true
  [ "$can_be $says" = "$executed $executed" ] || {
    echo "$script: expected $($executed && echo "a first line #! and chmod +x" ||
      echo "no first line #! and chmod -x: it is sourced")" >&2
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

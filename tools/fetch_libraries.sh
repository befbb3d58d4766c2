#!/usr/bin/env bash
# Clones the small libraries that a build can fetch (tools/cmake/fetched.txt), for a machine without internet:
# carry FOLDER there and configure with -DSTANLEY_FETCH_FROM=FOLDER. Safe to run again.
# usage: tools/fetch_libraries.sh FOLDER
set -euo pipefail
if [ $# -ne 1 ] || [[ $1 == -* ]]; then
  sed -n '2,4s/^# //p' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
list=$(dirname "${BASH_SOURCE[0]}")/cmake/fetched.txt
mkdir -p "$1"
while read -r name url release commit; do
  [[ $name != '#' && -n $name ]] || continue
  clone=$1/$name
  if git -C "$clone" cat-file -e "$commit^{commit}" 2>/dev/null; then continue; fi
  echo "$name $release"
  [ -d "$clone" ] || git init -q --bare "$clone"
  # The server may hand out commits by their names of releases alone.
  git -C "$clone" fetch -q --depth 1 "$url" "refs/tags/$release:refs/tags/$release" || {
    echo "fetch_libraries: cannot fetch $release of $url: is the network there?" >&2
    exit 3
  }
  git -C "$clone" cat-file -e "$commit^{commit}" || {
    echo "fetch_libraries: $release of $url is not commit $commit, which tools/cmake/fetched.txt names" >&2
    exit 3
  }
done <"$list"

#!/usr/bin/env bash
# The numbers of `stanley evaluate` beside those of torchmetrics and prdc, and its Inception network beside those of
# torch-fidelity and clean-fid; all come from PyPI. And what the protocol public is pinned to.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cmake --build .build/release --target stanley
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
.deps/venv/bin/python -m pip install --quiet --no-deps --target "$folder" \
  torchmetrics==1.9.0 lightning-utilities prdc==0.2 scikit-learn joblib cloudpickle threadpoolctl narwhals \
  torch-fidelity==0.4.0 clean-fid==0.1.35 torchvision==0.26.0 tqdm requests
if ! .deps/venv/bin/python -c 'import torch' 2>/dev/null; then
  echo "no torch in Python: tools/setup.sh --evaluate installs what it needs"
  exit 77
fi
for script in public_network reference_metrics inception_conventions; do
  PYTHONPATH=$folder OMP_NUM_THREADS=2 STANLEY_PROGRAM=$PWD/.build/release/stanley \
    .deps/venv/bin/python -B "tests/long/$script.py"
done

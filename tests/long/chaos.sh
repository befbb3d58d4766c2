#!/usr/bin/env bash
# A hundred rounds of random kills, signals and disk faults: every training ends bit for bit as if undisturbed.
set -euo pipefail
exec tests/chaos --rounds 100

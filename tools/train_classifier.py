#!/usr/bin/env python3
"""stanley-train-classifier without pip: finds the packages that stanley_tools needs, then starts it."""
import sys

import environment

environment.enter("h5py", "numpy", "xxhash")

from stanley_tools.features.classifier import main  # noqa: E402

sys.exit(main())

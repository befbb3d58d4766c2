#!/usr/bin/env python3
"""stanley-time-to-quality without pip: finds the packages that stanley_tools needs, then starts it."""
import sys

import environment

environment.enter("h5py", "matplotlib", "numpy", "yaml")

from stanley_tools.quality.main import main  # noqa: E402

sys.exit(main())

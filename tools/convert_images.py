#!/usr/bin/env python3
"""stanley-convert-images without pip: finds the packages that stanley_tools needs, then starts it."""
import sys

import environment

environment.enter("h5py", "numpy", "PIL", "xxhash")

from stanley_tools.data.convert import main  # noqa: E402

sys.exit(main())

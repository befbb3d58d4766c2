#!/usr/bin/env python3
"""stanley-compare-peers without pip: finds the packages that stanley_tools needs, then starts it."""
import sys

import environment

if "--setup" not in sys.argv:  # which installs what is missing
    environment.enter("h5py", "numpy", "xxhash")

from stanley_tools.peers.compare import main  # noqa: E402

sys.exit(main())

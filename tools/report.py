#!/usr/bin/env python3
"""stanley-report without pip: finds the packages that stanley_tools needs, then starts it."""
import sys

import environment

environment.enter("h5py", "matplotlib", "numpy", "PIL", "yaml")

from stanley_tools.report.write import main  # noqa: E402

sys.exit(main())

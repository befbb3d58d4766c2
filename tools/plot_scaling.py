#!/usr/bin/env python3
"""stanley-plot-scaling without pip: finds the packages that stanley_tools needs, then starts it."""
import sys

import environment

environment.enter("matplotlib", "numpy")

from stanley_tools.scaling import main  # noqa: E402

sys.exit(main())

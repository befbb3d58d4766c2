"""Reads images from where they come (IDX, CIFAR, arrays, pictures in folders) and writes stanley's data file."""

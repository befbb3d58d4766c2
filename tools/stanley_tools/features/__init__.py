"""Feature networks for `stanley evaluate`."""

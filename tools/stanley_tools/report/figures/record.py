"""The rows of metrics.csv as the plots take them."""
import warnings

import numpy as np

MAXIMUM_POINTS = 300


class Record:
    """The rows of metrics.csv, decimated for drawing: per bucket median, least and greatest."""

    def __init__(self, metrics, resumed_at=(), rolled_back_to=()):
        self.metrics = metrics
        rows = len(metrics.get("iteration", ()))
        self.iteration = metrics.get("iteration", np.arange(rows, dtype=float))
        self.resumed_at = [i for i in resumed_at if i > 0]
        self.rolled_back_to = list(rolled_back_to)
        self.edges = np.unique(np.linspace(0, rows, min(rows, MAXIMUM_POINTS) + 1).astype(int))

    def __len__(self):
        return len(self.iteration)

    def column(self, name):
        return self.metrics.get(name, np.full(len(self), np.nan))

    def has(self, *names):
        return any(np.isfinite(self.column(name)).any() for name in names)

    def buckets(self, values, reduction=np.nanmean):
        values = np.where(np.isfinite(values), values, np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a bucket of nothing but NaN stays NaN
            return np.array([reduction(values[a:b]) for a, b in zip(self.edges[:-1], self.edges[1:])])

    def steps(self):
        return self.buckets(self.iteration)


def running_mean(values, window):
    """Mean over the last `window` finite values at each place."""
    finite = np.isfinite(values)
    total, count = np.cumsum(np.where(finite, values, 0.0)), np.cumsum(finite)
    total[window:], count[window:] = total[window:] - total[:-window], count[window:] - count[:-window]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)

"""Compares stanley evaluate with torchmetrics' KID and FID and with prdc on random points, on 1 and 4 ranks."""
import contextlib
import io
import json
import pathlib
import sys
import tempfile

import numpy
import prdc
import torch
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import maximum_mean_discrepancy, poly_kernel

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "program"))
import test_evaluate as ours  # noqa: E402

CASES = 20


def reference(x, y):
    """What the packages say, in float64."""
    a, b = torch.from_numpy(x), torch.from_numpy(y)
    found = {"kid": float(maximum_mean_discrepancy(poly_kernel(a, a), poly_kernel(a, b), poly_kernel(b, b)))}
    if len(x) > x.shape[1]:
        found["fid"] = float(_compute_fid(a.mean(0), a.T.cov(), b.mean(0), b.T.cov()))
    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        found.update(prdc.compute_prdc(y, x, nearest_k=ours.NEIGHBOURS))
    return found


def make(seed):
    """As many draws as images; of every second case the last features repeat others: singular covariances."""
    generator = numpy.random.default_rng(seed)
    n, dimension = int(generator.integers(20, 400)), int(generator.integers(2, 60))
    x = generator.normal(0.1, 0.5, (n, dimension)).clip(-3, 3).astype(numpy.float32)
    y = generator.normal(0, 0.6, (n, dimension)).clip(-3, 3).astype(numpy.float32)
    if seed % 2:
        half = dimension // 2
        x[:, dimension - half:], y[:, dimension - half:] = x[:, :half], y[:, :half]
    return x, y


def main():
    worst = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for seed in range(CASES):
            x, y = make(seed)
            ours.write_points(folder / "points.h5", y)
            ours.write_draws(folder / "draws.nc", x[:, None], numpy.arange(len(x))[:, None])
            found = []
            for ranks in (1, 4, 1):
                output = folder / f"{seed}-{len(found)}.json"
                ours.evaluate(folder / "draws.nc", "--data", folder / "points.h5", "--output", output, ranks=ranks)
                found.append(ours.without_clocks(ours.only(output)))
            assert found[0] == found[1] == found[2], f"case {seed}: ranks differ"
            scale = ours.kernel(y.astype(float) / 4, y.astype(float) / 4).mean()
            for metric, value in reference(x.astype(float) / 4, y.astype(float) / 4).items():
                mine = found[0]["results"][0][metric]
                error = abs(mine - value)
                tolerance = max(1e-6 * abs(value), 1e-9 * scale)
                assert error <= tolerance, f"case {seed}: {metric} {json.dumps([mine, value])}"
                worst[metric] = max(worst.get(metric, 0), error / max(abs(value), 1e-3 * scale))
    print(f"{CASES} cases, 1 and 4 ranks with the same bits; largest relative differences:",
          {name: float(f"{value:.1e}") for name, value in worst.items()})


if __name__ == "__main__":
    main()

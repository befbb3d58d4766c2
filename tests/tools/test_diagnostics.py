"""The diagnostics of chains beside those of ArviZ, on draws of many shapes.

The numbers are those of the ArviZ that tools/requirements.lock pins: 0.23.4. Another version may compute others.
"""
import json
import os
import pathlib
import subprocess
import warnings

import arviz
import numpy as np
import pytest
from arviz.stats.stats_utils import autocorr, autocov
from arviz.stats.stats_utils import quantile as arviz_quantile

LEVELS = [0.05, 0.5, 0.95]


def autoregressive(generator, chains, draws, correlation):
    """AR(1) chains in their law, N(0, 1)."""
    x = np.empty((chains, draws))
    x[:, 0] = generator.normal(size=chains)
    noise = generator.normal(size=(chains, draws)) * np.sqrt(1 - correlation**2)
    for t in range(1, draws):
        x[:, t] = correlation * x[:, t - 1] + noise[:, t]
    return x


LAWS = {
    "normal": lambda g, *shape: g.normal(size=shape),
    "uniform, far from zero": lambda g, *shape: 1000 + g.uniform(size=shape),
    "AR(1), 0.5": lambda g, *shape: autoregressive(g, *shape, 0.5),
    "AR(1), 0.95": lambda g, *shape: autoregressive(g, *shape, 0.95),
    "AR(1), -0.6": lambda g, *shape: autoregressive(g, *shape, -0.6),
    "random walk": lambda g, *shape: np.cumsum(g.normal(size=shape), axis=1),
    "Cauchy": lambda g, *shape: g.standard_cauchy(size=shape),
    "small numbers": lambda g, *shape: 1e-6 * autoregressive(g, *shape, 0.8),
    "rounded": lambda g, *shape: np.round(3 * autoregressive(g, *shape, 0.7)),
    "two values": lambda g, *shape: (autoregressive(g, *shape, 0.7) > 0.3).astype(float),
    "shifted": lambda g, *shape: g.normal(size=shape) + np.arange(shape[0])[:, None],
    "scaled": lambda g, *shape: autoregressive(g, *shape, 0.3) * (1 + np.arange(shape[0]))[:, None],
    "thirds": lambda g, *shape: np.round(g.normal(size=shape)) / 3,
    "a box": lambda g, *shape: np.clip(autoregressive(g, *shape, 0.9), -1, 1),
}
SHAPES = [(1, 4), (1, 5), (2, 4), (3, 7), (1, 100), (2, 101), (4, 250), (4, 999), (7, 64), (8, 33), (16, 500),
          (33, 12), (64, 5), (64, 128), (5, 2000), (3, 1023), (64, 1025)]
CASES = [(law, *SHAPES[(4 * i + 5 * j) % len(SHAPES)]) for i, law in enumerate(LAWS) for j in range(5)]
CASES.append(("thirds", 3, 999))  # whose quantiles miss the draws that they lie among by the last bit


def diagnose(path, draws, superchains=0):
    np.ascontiguousarray(draws, dtype=np.float64).tofile(path)
    done = subprocess.run([os.environ["STANLEY_DIAGNOSE"], path, str(draws.shape[0]), str(superchains)], check=True,
                          capture_output=True, text=True)
    return json.loads(done.stdout)


def by_arviz(draws):
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        rhat, ess, mcse = arviz.rhat, arviz.ess, arviz.mcse
        return {
            "mean": draws.mean(),
            "sd": draws.std(ddof=1),
            "quantiles": arviz_quantile(draws, LEVELS),
            "mcse_mean": mcse(draws, method="mean"),
            "mcse_sd": mcse(draws, method="sd"),
            "mcse_quantiles": [mcse(draws, method="quantile", prob=level) for level in LEVELS],
            "ess_bulk": ess(draws, method="bulk"),
            "ess_tail": ess(draws, method="tail"),
            "ess_mean": ess(draws, method="mean"),
            "rhat": rhat(draws, method="rank"),
            "rhat_bulk": rhat(draws, method="z_scale"),
            "rhat_folded": rhat(draws, method="folded"),
            "autocovariance": autocov(draws, axis=1).mean(axis=0),
            "autocorrelation": autocorr(draws[0]) if len(draws) == 1 else None,
            "alone": [rhat(draws), ess(draws, method="tail"), mcse(draws, method="mean"),
                      mcse(draws, method="quantile", prob=0.25), ess(draws, method="quantile", prob=0.25)],
        }


def check(found, expected, spread):
    """Each number to 1e-10 of itself; what may be zero, to 1e-10 of the largest of its kind."""
    scales = {"mean": spread, "autocovariance": spread**2, "autocorrelation": 1.0}
    for name, value in expected.items():
        if value is not None:
            atol = 1e-10 * scales.get(name, 0.0)
            np.testing.assert_allclose(found[name], value, rtol=1e-10, atol=atol, err_msg=name)


def nested_rhat(draws, superchains):
    """Margossian et al., arXiv 2110.13017, definition 2.2."""
    groups = draws.reshape(superchains, -1, draws.shape[1])
    between = groups.mean(axis=(1, 2)).var(ddof=1)
    of_chains = groups.mean(axis=2).var(axis=1, ddof=1) if groups.shape[1] > 1 else np.zeros(superchains)
    of_draws = groups.var(axis=2, ddof=1).mean(axis=1) if groups.shape[2] > 1 else np.zeros(superchains)
    return np.sqrt(1 + between / (of_chains + of_draws).mean())


def test_the_version_that_the_numbers_are_of():
    pinned = (pathlib.Path(__file__).resolve().parents[2] / "tools" / "requirements.lock").read_text()
    assert f"arviz=={arviz.__version__} " in pinned
    assert arviz.__version__ == "0.23.4"  # src/diagnostics/convergence.hpp names it


@pytest.mark.parametrize("law, chains, draws", CASES)
def test_equal_to_arviz(tmp_path, law, chains, draws):
    x = LAWS[law](np.random.default_rng([chains, draws, list(LAWS).index(law)]), chains, draws)
    check(diagnose(tmp_path / "draws", x), by_arviz(x), x.std())


@pytest.mark.parametrize("value", [0.0, 2.5, 0.1, -1e30])
@pytest.mark.parametrize("chains, draws", [(1, 4), (3, 11), (4, 100)])
def test_constant_draws(tmp_path, value, chains, draws):
    x = np.full((chains, draws), value)
    found, expected = diagnose(tmp_path / "draws", x), by_arviz(x)
    assert found["sd"] == 0 and np.isnan(found["mcse_sd"]) and np.isnan(found["autocorrelation"]).all()
    for name in "sd", "mcse_mean", "mcse_sd", "autocovariance", "autocorrelation":  # of what rounding leaves to ArviZ
        del expected[name]
    del expected["alone"][2], found["alone"][2]
    check(found, expected, 0.0)
    assert found["ess_bulk"] == chains * 2 * (draws // 2)


@pytest.mark.parametrize("scale", [1e-17, 1e-14, 1e160, 1e300])
def test_tiny_and_huge_draws(tmp_path, generator, scale):
    x = scale * generator.normal(size=(4, 10))
    expected = by_arviz(x)
    assert (expected["ess_mean"] == 40) == (scale < 1e-16)  # differences that ArviZ takes for none
    assert np.isnan(expected["ess_mean"]) == (scale > 1e150)  # the squares are infinite
    for name in "autocovariance", "autocorrelation":
        del expected[name]
    check(diagnose(tmp_path / "draws", x), expected, 1.0)


def test_chains_that_stand_still(tmp_path):
    x = np.repeat(np.arange(4.0)[:, None], 10, axis=1)
    found, expected = diagnose(tmp_path / "draws", x), by_arviz(x)
    check(found, expected, x.std())
    assert found["rhat"] == np.inf


@pytest.mark.parametrize("shape", [(1, 4), (4, 25), (8, 250)])
def test_draws_that_are_no_numbers(tmp_path, generator, shape):
    x = generator.normal(size=shape)
    x[-1, 2] = np.nan
    expected = by_arviz(x)
    del expected["quantiles"]  # ArviZ sorts NaN to the end
    found = diagnose(tmp_path / "draws", x)
    for name in "autocovariance", "autocorrelation":  # ArviZ's other chains have one
        del expected[name]
        assert np.isnan(found[name]).all()
    check(found, expected, 1.0)
    for infinite in np.inf, -np.inf:  # whose ranks ArviZ takes
        x[-1, 2] = infinite
        found = diagnose(tmp_path / "draws", x)
        assert all(np.isnan(value).all() for value in found.values()), found


@pytest.mark.parametrize("chains, draws", [(1, 1), (1, 3), (5, 2), (4, 3)])
def test_too_few_draws(tmp_path, generator, chains, draws):
    x = generator.normal(size=(chains, draws))
    expected = by_arviz(x)
    if draws < 4:
        assert np.isnan(expected["ess_mean"])
    check(diagnose(tmp_path / "draws", x), expected, 1.0)


@pytest.mark.parametrize("superchains, chains, draws", [(2, 1, 4), (3, 5, 1), (4, 2, 2), (16, 4, 33), (6, 1, 200)])
def test_nested_rhat(tmp_path, generator, superchains, chains, draws):
    x = autoregressive(generator, superchains * chains, draws, 0.7)
    x += np.repeat(generator.normal(size=superchains), chains)[:, None]
    found = diagnose(tmp_path / "draws", x, superchains)
    np.testing.assert_allclose(found["nested_rhat"], nested_rhat(x, superchains), rtol=1e-12)

"""The training in plain PyTorch (--peer of jobs/time_to_quality.sh): its denoising term and its starts."""
import pathlib
import subprocess
import sys

import numpy
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))


def imports_torch():
    return subprocess.run([sys.executable, "-c", "import torch"], capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not imports_torch(),
                                reason="PyTorch for Python isn't here (tools/setup.sh --peers)")


def config_of(components=None, start="data_gaussian", box=None):
    return {"energy": {"type": "mlp", "hidden": [5], "activation": "silu", "slope": 0.2},
            "data": {"batch": 4, "noise": 0.1, "range": [-1, 1], "flip": False},
            "chains": {"start": start, "principal_components": components},
            "sampler": {"noise": 0.05, "temperature": None, "step_size": 0.5, "box": box},  # T = 0.005
            "objective": {"denoising": 3.0, "denoising_noise": 0.4}}


# --- denoising ------------------------------------------------------------------------------------------
def four_samples():
    clean = numpy.cos(numpy.arange(12.0) * 1.3).reshape(4, 3)
    return clean, clean + 0.3 * numpy.sin(numpy.arange(12.0) * 2.1).reshape(4, 3)


def slow_term(weights, clean, noised):
    """As its definition says, and the share of the noise that Tweedie's step leaves; E(x) = v·silu(Wx + b) + c."""
    w, b, v, _ = weights
    term, left, before = 0.0, 0.0, 0.0
    for i, (x, y) in enumerate(zip(clean, noised)):
        sigma = 0.1 * 4.0**((i + 0.5) / 4)
        h = w @ y + b
        s = 1 / (1 + numpy.exp(-h))
        gradient = w.T @ (v[0] * (s + h * s * (1 - s)))
        term += 3 * 0.005 / 2 * (0.1 / sigma)**2 * numpy.sum((0.1 * gradient / 0.005 - (y - x) / 0.1)**2) / 4
        left += numpy.sum((y - x - 0.1**2 / 0.005 * gradient)**2) / sigma**2
        before += numpy.sum((y - x)**2) / sigma**2
    return term, left / before


def test_the_denoising_term_is_its_definition():
    """Its value, and its gradient by differences of the definition."""
    import torch
    from stanley_tools.peers.denoising import Denoising
    from stanley_tools.peers.train import make_network
    torch.manual_seed(2)
    network = make_network(config_of()["energy"], (3,))
    clean, noised = four_samples()
    denoising = Denoising(config_of())
    term = denoising(network, *(torch.from_numpy(of).float() for of in (clean, noised)))
    term.backward()
    weights = [parameter.detach().double().numpy().copy() for parameter in network.parameters()]
    expected, left = slow_term(weights, clean, noised)
    assert term.item() == pytest.approx(expected, rel=1e-5) and denoising.left == pytest.approx(left, rel=1e-5)
    for parameter, weight in zip(network.parameters(), weights):
        slopes = numpy.empty_like(weight)
        for place in numpy.ndindex(weight.shape):
            kept, sides = weight[place], []
            for side in (1e-5, -1e-5):
                weight[place] = kept + side
                sides.append(slow_term(weights, clean, noised)[0])
            weight[place] = kept
            slopes[place] = (sides[0] - sides[1]) / 2e-5
        # No gradient reaches the last bias: ∇E does not depend on it.
        found = numpy.zeros_like(weight) if parameter.grad is None else parameter.grad.numpy()
        numpy.testing.assert_allclose(found, slopes, rtol=1e-3, atol=1e-4 * abs(expected))


@pytest.mark.parametrize("kind, batch", [("convnet", 16), ("resnet", 16), ("convnet", 4)])
def test_second_derivatives_of_images_in_bfloat16_are_near_those_in_float32(kind, batch):
    """AMX gets those of fewer than 16 samples wrong."""
    import torch
    from stanley_tools.peers.denoising import Denoising
    from stanley_tools.peers.train import energies, make_network
    config = config_of()
    config["data"]["batch"] = batch
    torch.manual_seed(2)
    network = make_network({"type": kind, "channels": 4, "blocks": 1}, (1, 16, 16)).to(
        memory_format=torch.channels_last)
    clean = torch.rand(batch, 1, 16, 16) * 2 - 1
    noised = clean + 0.2 * torch.randn_like(clean)
    found = []
    for precision in (torch.float32, torch.bfloat16):
        network.zero_grad()
        Denoising(config)(lambda states: energies(network, states, precision), clean, noised).backward()
        found.append(torch.cat([one.grad.flatten() for one in network.parameters() if one.grad is not None]))
    exact, rounded = found
    assert (exact - rounded).norm() < 0.03 * exact.norm() and torch.equal(exact, rounded) == (batch < 16)


def test_noise_has_the_strength_of_each_place_in_the_batch():
    import torch
    from stanley_tools.peers.denoising import Denoising
    from stanley_tools.peers.states import Batches
    deviations = Denoising(config_of()).deviations
    assert deviations.tolist() == pytest.approx([0.1 * 4**((i + 0.5) / 4) for i in range(4)])
    clean = torch.zeros(4, 1, 100, 100)
    noised = Batches(config_of(), clean, torch.Generator().manual_seed(1)).noised(clean, deviations)
    assert noised.flatten(1).std(1).tolist() == pytest.approx(deviations.tolist(), rel=0.03)
    boxed = Batches(config_of(box=[-0.2, 0.2]), clean, torch.Generator().manual_seed(1)).noised(clean, deviations)
    assert torch.equal(boxed, noised.clamp(-0.2, 0.2))


# --- precision ------------------------------------------------------------------------------------------
def test_the_precision_is_what_auto_became_for_stanley(tmp_path):
    from stanley_tools.peers.train import precision_of
    from stanley_tools.quality.errors import FailedError
    from stanley_tools.quality.study import Study
    study = Study(tmp_path, {"run": {"precision": "auto"}}, None, [7], {})
    with pytest.raises(FailedError, match="seed-7/run/run.json.*set run.precision"):
        precision_of(study, 7)
    (tmp_path / "seed-7" / "run").mkdir(parents=True)
    (tmp_path / "seed-7" / "run" / "run.json").write_text('{"starts": [{"precision": "bfloat16"}]}')
    assert precision_of(study, 7) == "bfloat16"
    study.document["run"]["precision"] = "float32"
    assert precision_of(study, 7) == "float32"


# --- starts ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("components, rank", [(3, 3), (1, 1), (40, 12), (None, 12)])
def test_starts_have_the_directions_of_largest_variance(components, rank):
    """Of each class: two of 12 numbers, of means and spreads of their own."""
    import torch
    from stanley_tools.peers.states import Starts
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(4000) % 2
    spread = torch.randn(2, 12, 12, generator=generator)[labels]
    samples = (spread @ torch.randn(4000, 12, 1, generator=generator)).view(4000, 3, 2, 2)
    samples += 20.0 * labels.view(-1, 1, 1, 1)
    starts = Starts(config_of(components), samples, labels, generator)
    drawn = starts(6000).flatten(1)
    of_class = (drawn.mean(1) > 10).long()
    for label, (mean, root) in enumerate(starts.gaussians):
        data = samples[labels == label].flatten(1).numpy()
        variances, directions = numpy.linalg.eigh(numpy.cov(data.T, bias=True))
        kept = (directions[:, -rank:] * variances[-rank:]) @ directions[:, -rank:].T
        numpy.testing.assert_allclose(root @ root.T, kept, atol=2e-3)
        if rank < 12:  # no sign or order that rounding could turn
            numpy.testing.assert_allclose(root, root.T, atol=1e-5)
        draws = drawn[of_class == label].numpy()
        assert 2700 < len(draws) < 3300
        centred = draws - mean.numpy()
        assert numpy.linalg.matrix_rank(centred, tol=1e-3 * numpy.linalg.norm(centred, 2)) == rank
        # Of 3000 draws: an element of the covariance is sure to 3 % of the largest or so.
        assert abs(centred.T @ centred / len(draws) - kept).max() < 0.15 * variances[-1]

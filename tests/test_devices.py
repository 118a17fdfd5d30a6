"""Everything that draws takes a device, everything else computes where its inputs are: on each device at hand."""

import contextlib
import functools

import pytest
import torch
from interface import EXAMPLES, Given, parts
from scipy import stats

import srlib
from srlib import Ensemble, collapsed, feedforward, haar, init, moments, ntk, spectra
from srlib.collapsed import _draws
from srlib.experiments import data

LAWS = [getattr(spectra, name) for name in ("two_level", "projector", "power_law", "uniform_sphere", "coulomb_gas")]
ENSEMBLE = Ensemble((6, 9, 7), 3)


@pytest.fixture(params=["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def device(request):
    return request.param


def options(device):
    return {"device": device, "generator": torch.Generator(device).manual_seed(0), "dtype": torch.float32}


@pytest.mark.parametrize("law", [*LAWS, spectra.conditioned_gaussian])
def test_samples(law, device):
    W = srlib.sample((6, 9), 2.5, law=law, batch=2, **options(device))
    assert W.device.type == device
    torch.testing.assert_close(srlib.stable_rank(W), torch.full((2,), 2.5, device=device))


def test_frames(device):
    Q = haar.orthogonal(6, 4, **options(device))
    turned = haar.rotate(Q, generator=options(device)["generator"])
    assert {Q.device.type, turned.device.type} == {device}
    torch.testing.assert_close(turned @ turned.mT, Q @ Q.mT, rtol=0, atol=1e-5)


def test_maps_and_kernels(device):
    network, x = ENSEMBLE.sample(3, **options(device)), torch.randn(4, 6, device=device)
    J = feedforward.jacobian(network, x, chunk_size=3)
    found = [J, ntk.empirical(network, x, chunk_size=3), ntk.layers(network, x), *ntk.infinite(ENSEMBLE, x)]
    assert {part.device.type for part in [*found, feedforward.forward(network, x).output]} == {device}


@pytest.mark.parametrize("law", LAWS)
def test_exact_simulations(law, device):
    ensemble = Ensemble((6, 9, 7), 3, law=law)
    norms = collapsed.simulate(ensemble, 3, **options(device))
    features = collapsed.features(ensemble, torch.randn(4, 6, device=device), 3, **options(device))
    assert {part.device.type for part in (norms.output, norms.ntk_layers, features.gram, features.output)} == {device}


@contextlib.contextmanager
def default_device(name):
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


@pytest.mark.parametrize("switch", [torch.device, default_device])
@pytest.mark.parametrize("label", [label for label in EXAMPLES if not label.startswith("experiments.data")])
def test_another_default_device(label, switch):
    """Every function computes where its arguments are, on the CPU where it is told to, or where only constants are."""
    draw = lambda: dict(parts(EXAMPLES[label](Given(generator=torch.Generator("cpu").manual_seed(0)))))  # noqa: E731
    expected = draw()
    with switch("meta"):
        found = draw()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert getattr(found[name], "device", torch.device("cpu")).type == "cpu"
        torch.testing.assert_close(found[name], value, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("law", [*LAWS, spectra.conditioned_gaussian])
def test_averages_under_another_default_device(law, monkeypatch):
    monkeypatch.setattr(moments.growth, "_PRECISION", 0.03)
    monkeypatch.setattr(spectra.law, "PRECISION", 0.03)
    monkeypatch.setattr(spectra.conditioned, "SWEEPS", 4)
    model = Ensemble((6, 9, 7), 3, law=law if hasattr(law, "levels") else functools.partial(law))  # none is kept

    def averages():
        growth = moments.log_growth(model)
        return [moments.ntk(model).second, growth.mean, growth.variance, growth.variance_error]

    expected = averages()
    with torch.device("meta"):
        assert all(map(torch.equal, averages(), expected))


def test_digits_lie_on_the_default_device():
    with torch.device("meta"):
        images, labels = data.mnist(3)
    assert (images.device.type, labels.device.type) == ("meta", "meta")


@pytest.mark.parametrize("law", [*LAWS, spectra.conditioned_gaussian])
def test_a_law_without_a_device_is_on_the_default_one(law):
    with torch.device("meta"):
        assert law((6, 9), 1 if law is spectra.conditioned_gaussian else 2.5, batch=2).device.type == "meta"


def test_chi_squared_variables(device):
    degrees = torch.tensor([0.0, 1.0, 3.0, 1000.0], device=device).expand(50_000, -1)
    drawn = _draws.chi2(degrees, torch.Generator(device).manual_seed(0)).double()
    assert drawn.device.type == device
    for column, nu in zip(drawn.T[1:], (1, 3, 1000), strict=True):
        assert stats.kstest(column.cpu().numpy(), stats.chi2(nu).cdf).pvalue > 1e-3


def test_initialization(device):
    W = torch.empty(6, 9, device=device)
    assert init.stable_rank_(W, 3.0, generator=options(device)["generator"]).device.type == device
    assert srlib.stable_rank(W).item() == pytest.approx(3, rel=1e-5)


def test_wide_layers_are_simulated_in_groups_where_the_inputs_are():
    """Layers wider than their groups of equal singular values have rows for each group, not for each neuron."""
    wide, x = Ensemble((60, 50, 40), 20), torch.eye(60, dtype=torch.float64)[:2]

    def drawn():
        return collapsed.features(wide, x, 3, generator=torch.Generator("cpu").manual_seed(0), device="cpu")

    expected = drawn()
    with torch.device("meta"):
        found = drawn()
    assert torch.equal(found.output, expected.output)

"""Everything that draws takes a device, everything else computes where its inputs are: on each device at hand."""

import functools

import pytest
import torch
from scipy import stats

import srlib
from srlib import Ensemble, collapsed, feedforward, haar, init, moments, ntk, spectra
from srlib.collapsed import _draws
from srlib.experiments import expressivity

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


@pytest.mark.parametrize("law", [*LAWS, spectra.conditioned_gaussian])
def test_another_default_device(law, monkeypatch):
    """The model computes on the CPU where it is told to, or where only its own constants are."""
    monkeypatch.setattr(moments.growth, "_PRECISION", 0.03)
    monkeypatch.setattr(spectra.law, "PRECISION", 0.03)
    monkeypatch.setattr(spectra.conditioned, "SWEEPS", 4)
    law = law if hasattr(law, "levels") else functools.partial(law)  # of which nothing is kept
    model, x = Ensemble((6, 9, 7), 3, law=law), torch.eye(6, dtype=torch.float64)[:2]
    module = torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.ReLU(), torch.nn.Linear(9, 2))

    def everything():
        generator = torch.Generator("cpu").manual_seed(0)
        options = {"generator": generator, "device": "cpu", "dtype": torch.float64}
        network = model.sample(3, **options)
        norms, growth = moments.feature_norm(model), moments.log_growth(model)
        found = [*network.parameters, norms.mean, norms.second, moments.ntk(model).second, growth.mean, growth.variance]
        found += [collapsed.simulate(model, 3, **options).ntk_layers]
        found += [collapsed.features(model, x, 3, **options).gram, expressivity.mean_kinks(model)]
        found += [expressivity.mean_gain(model)] if hasattr(law, "levels") else []
        init.module_(module, 0.5, law=law, generator=generator)
        init.module_(network, 0.5, law=law, generator=generator)
        return [part.clone() for part in (*found, *network.parameters, *module.parameters())]

    expected = everything()
    with torch.device("meta"):
        context = everything()
    torch.set_default_device("meta")
    try:
        default = everything()
    finally:
        torch.set_default_device(None)
    for wanted, *others in zip(expected, context, default, strict=True):
        for other in others:
            assert other.device.type == "cpu"
            assert torch.equal(other, wanted)


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

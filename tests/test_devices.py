"""Everything that draws takes a device, everything else computes where its inputs are: on each device at hand."""

import pytest
import torch

import srlib
from srlib import Ensemble, collapsed, feedforward, haar, init, ntk, spectra

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


def test_initialization(device):
    W = torch.empty(6, 9, device=device)
    assert init.stable_rank_(W, 3.0, generator=options(device)["generator"]).device.type == device
    assert srlib.stable_rank(W).item() == pytest.approx(3, rel=1e-5)

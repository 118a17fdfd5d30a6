import math

import pytest
import torch

from srlib import Ensemble, feedforward

SHAPES = {"narrow end": (6, 5, 8, 3), "narrow start": (3, 5, 8, 6), "one neuron": (4, 6, 1, 5), "one layer": (4, 4)}
SLOPES = [0.0, 0.1, 1.0]

shapes, slopes = pytest.mark.parametrize("name", SHAPES), pytest.mark.parametrize("slope", SLOPES)


def network(name, slope=0.0, *, batch=3, dtype=torch.float64):
    ensemble = Ensemble(SHAPES[name], 1, 2.0, negative_slope=slope)
    return ensemble.sample(batch, generator=torch.Generator().manual_seed(0), dtype=dtype)


def inputs(net, count=4):
    W = net.weights[0]
    return torch.randn(count, W.shape[-1], generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(W.dtype)


def twin(net, x):
    """Automatic differentiation, one network and one input at a time."""

    def features(x, b):
        for W in net.weights:
            a = W[b] @ x
            x = torch.where(a > 0, a, net.negative_slope * a)
        return x

    derivative = torch.func.jacrev(features)
    return torch.stack([torch.stack([derivative(z, b) for z in x]) for b in range(len(net.weights[0]))])


@shapes
@slopes
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_against_automatic_differentiation(name, slope, dtype, tolerance):
    net = network(name, slope, dtype=dtype)
    x = inputs(net)
    x[1] = x[0]  # coincident inputs
    x[2] = 0
    found = feedforward.jacobian(net, x)
    assert found.dtype == dtype
    torch.testing.assert_close(found, twin(net, x), rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(found[:, 0], found[:, 1], rtol=tolerance, atol=tolerance)


@slopes
def test_at_zero_every_gate_is_closed(slope):
    net = network("narrow end", slope)
    product = slope**3 * net.weights[2] @ net.weights[1] @ net.weights[0]
    J = feedforward.jacobian(net, torch.zeros(1, 6, dtype=torch.float64))
    torch.testing.assert_close(J.squeeze(1), product, rtol=1e-13, atol=1e-15)


@shapes
@slopes
def test_the_features_are_the_jacobian_times_the_input(name, slope):
    net = network(name, slope)
    x = inputs(net)
    image = torch.einsum("bnij,nj->bni", feedforward.jacobian(net, x), x)
    torch.testing.assert_close(image, feedforward.forward(net, x).post[-1])


@shapes
@pytest.mark.parametrize(("batch", "count"), [(0, 4), (3, 0), (0, 0), (1, 1)])
def test_shapes(name, batch, count):
    net = network(name, batch=batch)
    J = feedforward.jacobian(net, inputs(net, count))
    assert J.shape == (batch, count, SHAPES[name][-1], SHAPES[name][0])


def test_half_precision_is_computed_in_float32():
    net = network("narrow end", dtype=torch.float16)
    J = feedforward.jacobian(net, inputs(net))
    assert J.dtype == torch.float16
    single = twin(type(net)(tuple(W.float() for W in net.weights), net.readout.float()), inputs(net).float())
    torch.testing.assert_close(J.float(), single, rtol=1e-3, atol=1e-4)


@shapes
@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_the_same_in_chunks(name, size):
    net = network(name, 0.1)
    whole, chunked = (feedforward.jacobian(net, inputs(net), chunk_size=size) for size in (None, size))
    torch.testing.assert_close(whole, chunked, rtol=1e-14, atol=1e-14)


def test_bad_chunks(rejects):
    net = network("narrow end")
    message = "chunk_size must be at least 1, got -3"
    rejects(ValueError, message, lambda _: feedforward.jacobian(net, inputs(net), chunk_size=-3))


@pytest.mark.parametrize(
    ("error", "message", "x"),
    [
        (TypeError, "weights' dtype torch.float64, got torch.float32", torch.ones(2, 6)),
        (ValueError, "(N, n_0) = (N, 6), got (6,)", torch.ones(6, dtype=torch.float64)),
        (ValueError, "finite entries, got NaN", torch.full((1, 6), math.nan, dtype=torch.float64)),
    ],
)
def test_bad_input(rejects, error, message, x):
    rejects(error, message, lambda _: feedforward.jacobian(network("narrow end"), x))

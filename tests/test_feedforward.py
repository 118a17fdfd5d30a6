import math

import naive
import pytest
import torch

from srlib import Ensemble, Network, feedforward

SLOPES = [0.0, 0.1, 1.0]


def network(slope=0.0, *, batch=3, dtype=torch.float64):
    ensemble = Ensemble((4, 6, 1, 5), (3.5, 1, 1), (2, 1, 3), readout_norm=1.5, negative_slope=slope)
    return ensemble.sample(batch, generator=torch.Generator().manual_seed(0), dtype=dtype)


def inputs(count=7, *, dtype=torch.float64):
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.float16, 2e-2)])
@pytest.mark.parametrize("slope", SLOPES)
def test_against_a_loop_over_networks_and_inputs(slope, dtype, rtol):
    net, x = network(slope, dtype=dtype), inputs(dtype=dtype)
    result = feedforward.forward(net, x)
    assert len(result.post) == 4
    assert len(result.gates) == 3
    for b in range(3):
        for i in range(7):
            weights = [W[b].tolist() for W in net.weights]
            post, gates, output = naive.forward(weights, net.readout[b].tolist(), slope, x[i].tolist())
            for found, expected in zip(result.post, post, strict=True):
                assert found[b, i].tolist() == pytest.approx(expected, rel=rtol, abs=rtol)
            for found, expected in zip(result.gates, gates, strict=True):
                assert torch.equal(found[b, i], torch.tensor(expected, dtype=dtype))
            assert result.output[b, i].item() == pytest.approx(output, rel=rtol, abs=rtol)
    assert {tensor.dtype for tensor in (*result.post, *result.gates, result.output)} == {dtype}


@pytest.mark.parametrize(("batch", "count"), [(0, 7), (3, 0), (0, 0), (1, 1)])
def test_shapes(batch, count):
    result = feedforward.forward(network(batch=batch), inputs(count))
    assert [h.shape for h in result.post] == [(batch, count, n) for n in (4, 6, 1, 5)]
    assert [gate.shape for gate in result.gates] == [(batch, count, n) for n in (6, 1, 5)]
    assert result.output.shape == (batch, count)


@pytest.mark.parametrize("slope", SLOPES)
def test_positively_homogeneous(slope):
    one, ten = (feedforward.forward(network(slope), scale * inputs()) for scale in (1, 10))
    torch.testing.assert_close(ten.output, 10 * one.output)
    for first, second in zip(one.gates, ten.gates, strict=True):
        assert torch.equal(first, second)


def test_a_linear_network_is_a_product_of_matrices():
    net, x = network(1.0), inputs()
    product = net.weights[2] @ net.weights[1] @ net.weights[0]
    torch.testing.assert_close(feedforward.forward(net, x).post[-1], x @ product.mT)


@pytest.mark.parametrize("slope", SLOPES)
def test_gates_at_zero_are_the_negative_slope(slope):
    result = feedforward.forward(network(slope), torch.zeros(1, 4, dtype=torch.float64))
    assert all((gate == slope).all() for gate in result.gates)
    assert (result.output == 0).all()


def test_networks_built_by_hand():
    W, v = torch.tensor([[[1.0, -2.0], [0.0, 3.0]]]), torch.tensor([[1.0, 10.0]])
    result = feedforward.forward(Network((W,), v, negative_slope=0.5), torch.tensor([[1.0, 1.0]]))
    assert result.post[1].tolist() == [[[-0.5, 3.0]]]
    assert result.output.tolist() == [[29.5]]


@pytest.mark.parametrize(
    ("error", "message", "x"),
    [
        (TypeError, "weights' dtype torch.float64, got torch.float32", inputs(dtype=torch.float32)),
        (TypeError, "weights' dtype torch.float64, got torch.int64", torch.ones(2, 4, dtype=torch.int64)),
        (TypeError, "weights' dtype torch.float64, got list", [[1.0] * 4]),
        (ValueError, "(N, n_0) = (N, 4), got (7, 3)", inputs()[:, :3]),
        (ValueError, "(N, n_0) = (N, 4), got (4,)", inputs()[0]),
        (ValueError, "(N, n_0) = (N, 4), got (1, 7, 4)", inputs().unsqueeze(0)),
        (ValueError, "finite entries, got NaN", torch.full((1, 4), math.nan, dtype=torch.float64)),
        (ValueError, "finite entries, got NaN or infinity", torch.full((1, 4), -math.inf, dtype=torch.float64)),
    ],
)
def test_bad_input(rejects, error, message, x):
    rejects(error, message, lambda _: feedforward.forward(network(), x))

import math

import pytest
import torch
from torch.func import grad, vmap

from srlib import Ensemble, arccos, check, feedforward, ntk, spectra
from srlib.moments.kernel import ntk as moments

SLOPES = [0.0, 0.2, 1.0, -0.5]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def network(slope=0.0, *, batch=3, dtype=torch.float64):
    ensemble = Ensemble((4, 6, 1, 5), (3.5, 1, 1), (2, 1, 3), readout_norm=1.5, negative_slope=slope)
    return ensemble.sample(batch, generator=generator(), dtype=dtype)


def inputs(count=5, n=4, *, seed=1, dtype=torch.float64):
    return torch.randn(count, n, generator=generator(seed), dtype=torch.float64).to(dtype)


def jacobian_contraction(net, x1, x2):
    """The naive twin: gradients of f by automatic differentiation, then their inner products, layer by layer."""

    def output(parameters, x):
        h = x
        for W in parameters[:-1]:
            a = W @ h
            h = torch.where(a > 0, a, net.negative_slope * a)
        return parameters[-1] @ h

    rows = vmap(vmap(grad(output), (None, 0)), (0, None))
    first, second = (rows((*net.weights, net.readout), x) for x in (x1, x2))
    terms = [g1.flatten(2) @ g2.flatten(2).mT for g1, g2 in zip(first, second, strict=True)]
    return torch.stack(terms, 1)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("slope", SLOPES)
def test_against_the_contraction_of_jacobians(slope, dtype, tolerance):
    net, x, y = network(slope, dtype=dtype), inputs(dtype=dtype), inputs(3, seed=2, dtype=dtype)
    for other in (None, y):
        expected = jacobian_contraction(net, x, x if other is None else other)
        scale = expected.abs().max().item()
        torch.testing.assert_close(ntk.layers(net, x, other), expected, rtol=0, atol=tolerance * scale)
        torch.testing.assert_close(ntk.empirical(net, x, other), expected.sum(1), rtol=0, atol=4 * tolerance * scale)


def test_one_layer_by_hand():
    net = type(network())((torch.tensor([[[1.0, -2.0], [0.0, 3.0]]]),), torch.tensor([[1.0, 10.0]]), negative_slope=0.5)
    x = torch.tensor([[1.0, 1.0]])  # a = (-1, 3), h = (-1/2, 3), delta = (1/2, 10)
    assert ntk.layers(net, x).flatten().tolist() == [2 * 100.25, 9.25]


@pytest.mark.parametrize(("batch", "n1", "n2"), [(0, 5, 3), (3, 0, 3), (2, 5, 0), (1, 1, 1)])
def test_shapes(batch, n1, n2):
    net = network(batch=batch)
    assert ntk.empirical(net, inputs(n1), inputs(n2)).shape == (batch, n1, n2)
    assert ntk.layers(net, inputs(n1), inputs(n2)).shape == (batch, 4, n1, n2)
    ensemble = Ensemble((4, 3), 2)
    assert [k.shape for k in ntk.infinite(ensemble, inputs(n1), inputs(n2))] == [(n1, n2)] * 2


def test_half_precision_is_computed_in_single():
    net, x = network(dtype=torch.float16), inputs(dtype=torch.float16)
    found = ntk.empirical(net, x)
    single = net.to(dtype=torch.float32)
    assert torch.equal(found, ntk.empirical(single, x.float()).half())
    ensemble = Ensemble((4, 3), 2)
    assert torch.equal(ntk.infinite(ensemble, x).ntk, ntk.infinite(ensemble, x.float()).ntk.half())


def test_inputs_are_left_alone():
    net, x = network(), inputs()
    before = [t.clone() for t in (*net.weights, net.readout, x)]
    ntk.empirical(net, x)
    ntk.infinite(Ensemble((4, 3), 2), x)
    assert all(torch.equal(a, b) for a, b in zip(before, (*net.weights, net.readout, x), strict=True))


# The mean at one input, N1


def mean_claim(slope, law, factor=1.0):
    ensemble = Ensemble((8, 32, 24), (6, 20), (1.4, 1.1), readout_norm=1.5, law=law, negative_slope=slope)
    x = torch.eye(8, dtype=torch.float64)
    drawn = ntk.layers(ensemble.sample(9_000, generator=generator()), x).diagonal(dim1=2, dim2=3).mean(-1)
    predicted = factor * moments(ensemble).layer_means
    return check.sampled("N1.tests", "layer means", drawn, predicted, seed=0)


@pytest.mark.parametrize("slope", [0.2, 1.0])
@pytest.mark.parametrize("law", [spectra.two_level, spectra.projector])
def test_mean_of_sampled_networks(slope, law):
    claim = mean_claim(slope, law)
    assert claim, claim
    assert claim.noticeable <= 0.02
    assert not mean_claim(slope, law, 1.02)


# The infinite-width limit, N3


def plain(ensemble, x, y):
    """The recursion of Gram matrices as it is usually written down."""
    a, L = ensemble.negative_slope, ensemble.depth
    eta = (1 + a**2) / 2
    gram, squares = [x @ y.mT], [(x.square().sum(-1), y.square().sum(-1))]
    angles = []
    for (_, n), s, r in zip(ensemble.shapes, ensemble.spectral_norms, ensemble.stable_ranks, strict=True):
        A, (p, q) = s**2 * r / n * gram[-1], [s**2 * r / n * v for v in squares[-1]]
        scale = (p[:, None] * q).sqrt()
        theta = (A / scale).clamp(-1, 1).acos()
        angles.append(theta)
        gram.append(scale * arccos.kappa1(theta, a))
        squares.append((eta * p, eta * q))
    total = gram[-1].clone()
    for l in range(L):
        back = ensemble.readout_norm**2 * arccos.kappa0(angles[l], a)
        for j in range(l + 1, L):
            s, r, m = ensemble.spectral_norms[j], ensemble.stable_ranks[j], ensemble.widths[j + 1]
            back = back * arccos.kappa0(angles[j], a) * s**2 * r / m
        total += gram[l] * back
    return gram[-1], total


ENSEMBLES = {
    "one layer": ((4, 7), 2.5, 1.3),
    "width one": ((4, 1, 1, 3), 1, 2.0),
    "uneven": ((4, 9, 5, 8), (3, 4.5, 2), (1.3, 1.7, 2.0)),
}


@pytest.mark.parametrize("name", ENSEMBLES)
@pytest.mark.parametrize("slope", SLOPES)
def test_infinite_against_the_plain_recursion(name, slope):
    ensemble = Ensemble(*ENSEMBLES[name], readout_norm=1.5, negative_slope=slope)
    x, y = inputs(40), inputs(33, seed=2)
    for found, expected in zip(ntk.infinite(ensemble, x, y), plain(ensemble, x, y), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ENSEMBLES)
@pytest.mark.parametrize("slope", SLOPES)
def test_the_diagonal_is_the_mean_of_finite_networks(name, slope):
    ensemble = Ensemble(*ENSEMBLES[name], readout_norm=1.5, negative_slope=slope)
    x = inputs()
    square = x.square().sum(-1)
    found = ntk.infinite(ensemble, x)
    mean = moments(ensemble)
    torch.testing.assert_close(found.ntk.diagonal(), square * mean.mean, rtol=1e-10, atol=0)
    torch.testing.assert_close(found.nngp.diagonal(), square * mean.layer_means[-1], rtol=1e-10, atol=0)


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_the_empirical_kernel_is_the_same_in_chunks(size):
    net, x, y = network(), inputs(), inputs(3, seed=2)
    for other in (None, y):
        whole, chunked = ntk.empirical(net, x, other), ntk.empirical(net, x, other, chunk_size=size)
        torch.testing.assert_close(whole, chunked, rtol=1e-13, atol=1e-13 * whole.abs().max().item())


@pytest.mark.parametrize("size", [1, 7, 50, 1000])
def test_symmetric_and_the_same_in_chunks(size):
    ensemble, x = Ensemble((4, 9, 5), (3, 4.5)), inputs(50)
    whole = ntk.infinite(ensemble, x)
    blocks = ntk.infinite(ensemble, x, chunk_size=size)
    pairs = ntk.infinite(ensemble, x, x.clone(), chunk_size=size)
    for found in (*whole, *blocks):
        assert torch.equal(found, found.mT)
    for one, other in zip((*whole, *whole), (*blocks, *pairs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_coincident_and_opposite_inputs(dtype):
    x = inputs(1, dtype=dtype)
    x = torch.cat([x, 0 * x, 3 * x, -x])
    kernel = ntk.infinite(Ensemble((4, 9, 5), (3, 4.5), 2.0), x)
    one = kernel.ntk[0, 0]
    assert torch.isfinite(kernel.ntk).all()
    assert (kernel.ntk[1] == 0).all()
    torch.testing.assert_close(kernel.ntk[0, 2], 3 * one)
    assert kernel.nngp[0, 3] / kernel.nngp[0, 0] == pytest.approx(1 / math.pi, rel=1e-5)  # from a right angle
    assert kernel.ntk.dtype == kernel.nngp.dtype == dtype
    opposite = ntk.infinite(Ensemble((4, 5), 3), x)
    assert opposite.ntk[0, 3].abs() <= 1e-6 * opposite.ntk[0, 0]


@pytest.mark.parametrize("theta", [1e-9, 1e-6, 1e-3, 0.04, 0.05, math.pi - 1e-6])
def test_close_and_nearly_opposite_inputs_keep_their_angle(theta):
    x, y = torch.tensor([[1.0, 0.0], [math.cos(theta), math.sin(theta)]], dtype=torch.float64).split(1)
    found = ntk.limit._angles(x, y)
    assert found.item() == pytest.approx(theta, rel=1e-9)


def test_a_thousand_layers():
    ensemble = Ensemble((4,) * 1001, 2, readout_norm=2.0).preserving()
    kernel = ntk.infinite(ensemble, torch.cat([inputs(3), torch.zeros(1, 4)]))
    assert torch.isfinite(kernel.ntk).all()
    square = inputs(3).square().sum(-1)
    torch.testing.assert_close(kernel.nngp.diagonal()[:3], square)
    torch.testing.assert_close(kernel.ntk.diagonal()[:3], square * (1 + 1000 * 4 * 4 / 8))
    shrinking = ntk.infinite(Ensemble((4,) * 1001, 2), inputs(3))
    assert (shrinking.ntk == 0).all()


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_straight_line_in_every_stable_rank(layer):
    def kernel(rank):
        ranks = [3, 4.5, 2]
        ranks[layer] = rank
        return ntk.infinite(Ensemble((4, 9, 5, 8), ranks, (1.3, 1.7, 2.0)), inputs()).ntk

    one, two, four = (kernel(r) for r in (1, 2, 4))
    torch.testing.assert_close(four - two, 2 * (two - one), rtol=1e-9, atol=1e-9)
    assert ((2 * one - two).diagonal() > 0.1).all()  # what is left at rank 0: the layer's own term


@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_wide_networks_are_close_to_the_limit(slope):
    n, x = 256, inputs(4, 256)
    ensemble = Ensemble((n,) * 3, n / 2, negative_slope=slope).preserving()
    kernel = ntk.empirical(ensemble.sample(40, generator=generator()), x)
    limit = ntk.infinite(ensemble, x).ntk
    error = (kernel.mean(0) - limit).abs().max() / limit.max()
    assert error < 0.03
    assert (kernel.mean(0) - ntk.infinite(ensemble, x).nngp).abs().max() / limit.max() > 0.3


# Bad input

LIST = [[1.0] * 4]
WRONG = [
    (TypeError, "torch.int64", torch.ones(2, 4, dtype=torch.int64)),
    (TypeError, "got list", LIST),
    (ValueError, "(N, n_0) = (N, 4), got (5, 3)", inputs()[:, :3]),
    (ValueError, "(N, n_0) = (N, 4), got (4,)", inputs()[0]),
    (ValueError, "finite entries, got NaN", torch.full((1, 4), math.nan, dtype=torch.float64)),
]


@pytest.mark.parametrize(("error", "message", "x"), WRONG)
@pytest.mark.parametrize("which", [0, 1])
def test_bad_input(rejects, error, message, x, which):
    pair = (inputs(), x) if which else (x, inputs())
    rejects(error, message, lambda _: ntk.empirical(network(), *pair))
    rejects(error, message, lambda _: ntk.layers(network(), *pair))
    rejects(error, message, lambda _: ntk.infinite(Ensemble((4, 3), 2), *pair))


@pytest.mark.parametrize("compute", [ntk.empirical, ntk.infinite])
def test_bad_chunks(compute, rejects):
    model = network() if compute is ntk.empirical else Ensemble((4, 3), 2)
    rejects(ValueError, "chunk_size must be at least 1, got 0", lambda _: compute(model, inputs(), chunk_size=0))
    rejects(TypeError, "chunk_size must be an integer, got 2.0", lambda _: compute(model, inputs(), chunk_size=2.0))


def test_dtypes_must_agree(rejects):
    single = inputs(dtype=torch.float32)
    rejects(TypeError, "weights' dtype torch.float64", lambda _: ntk.empirical(network(), single))
    rejects(TypeError, "one dtype", lambda _: ntk.infinite(Ensemble((4, 3), 2), inputs(), single))


def test_the_readout_term_is_the_feature_kernel():
    net, x = network(), inputs()
    h = feedforward.forward(net, x).post[-1]
    torch.testing.assert_close(ntk.layers(net, x)[:, -1], h @ h.mT)

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import grad, jvp, vmap

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
    net, x = network(slope, dtype=dtype), inputs(dtype=dtype)
    for other in (None, *(inputs(count, seed=2, dtype=dtype) for count in (3, len(x)))):
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
    return check.sampled("N1.tests", "layer means", drawn, predicted, seed=0, resolve=0.2)


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


@pytest.mark.parametrize("count", [33, 40])  # as many as the first inputs, which they are not
@pytest.mark.parametrize("name", ENSEMBLES)
@pytest.mark.parametrize("slope", SLOPES)
def test_infinite_against_the_plain_recursion(name, slope, count):
    ensemble = Ensemble(*ENSEMBLES[name], readout_norm=1.5, negative_slope=slope)
    x, y = inputs(40), inputs(count, seed=2)
    for size in (None, 7):
        found = ntk.infinite(ensemble, x, y, chunk_size=size)
        for kernel, expected in zip(found, plain(ensemble, x, y), strict=True):
            torch.testing.assert_close(kernel, expected, rtol=1e-9, atol=1e-12)


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
    net, x = network(), inputs()
    for other in (None, inputs(3, seed=2), inputs(len(x), seed=2)):
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


@pytest.mark.parametrize("theta", [1e-9, 1e-6, 1e-3, 0.04, 0.05, 1.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_close_and_nearly_opposite_inputs_keep_what_is_small(theta, sign):
    x, y = torch.tensor([[1.0, 0.0], [math.cos(theta), math.sin(theta)]], dtype=torch.float64).split(1)
    small, large = ntk.limit._half_angles(sign * x, y, sign * x @ y.mT)[::sign]
    assert small.item() == pytest.approx(math.sin(theta / 2) ** 2, rel=1e-12)
    assert large.item() == pytest.approx(math.cos(theta / 2) ** 2, rel=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-3)])
@pytest.mark.parametrize("spread", [1e-2, 1e-4])
def test_clusters_against_differences(monkeypatch, dtype, tolerance, spread):
    monkeypatch.setattr(ntk.limit, "_BLOCK", 1000)  # few pairs are then taken one by one
    near = spread * torch.stack([inputs(40, 6, seed=s, dtype=dtype) for s in range(4)])
    near[1] *= 1e-2
    centres = inputs(3, 6, dtype=dtype)[[0, 1, 2, 1]]
    centres[3] *= -1
    x = torch.cat([(centres[:, None] + near).flatten(0, 1), inputs(20, 6, seed=9, dtype=dtype)])
    x = torch.nn.functional.normalize(x, dim=-1)
    found = ntk.limit._half_angles(x, x, x @ x.mT)
    for squares, sign in zip(found, (1, -1), strict=True):
        expected = (x[:, None] - sign * x).square().sum(-1) / 4
        torch.testing.assert_close(squares, expected, rtol=tolerance, atol=1e-30)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_small_angle_tilts_the_kernel(sign):
    theta = torch.tensor([1e-9, 1e-7, 1e-5], dtype=torch.float64)
    x, y = torch.eye(2, dtype=torch.float64)[:1], sign * torch.stack([theta.cos(), theta.sin()], 1)
    tangent = ntk.infinite(Ensemble((2, 2), 2), x, y).ntk[0]
    # one ReLU layer of two neurons without loss: (pi - theta) / (2 pi) (cos theta) and kappa_1
    if sign == 1:
        torch.testing.assert_close(1 - tangent, theta / (2 * math.pi), rtol=1e-4, atol=1e-15)
    else:
        torch.testing.assert_close(-tangent, theta / (2 * math.pi), rtol=1e-4, atol=1e-15)


def test_nearly_parallel_inputs_take_no_loop_over_pairs():
    x = 1 + 1e-4 * inputs(300, 500, dtype=torch.float32)
    with torch.profiler.profile() as profile:
        ntk.infinite(Ensemble((500, 3), 2), x)
    (lookups,) = (event.count for event in profile.key_averages() if event.key == "aten::index")
    assert lookups < 60  # of 45,150 pairs some 500 at a time


def logarithms(ensemble, theta):
    """The recursion (b) of N3 at unit inputs and an acute angle, every product a sum of logarithms."""
    a, angle, square, layers = ensemble.negative_slope, torch.tensor(theta, dtype=torch.float64), 0.0, []
    for (m, n), s, r in zip(ensemble.shapes, ensemble.spectral_norms, ensemble.stable_ranks, strict=True):
        scale, gate = 2 * math.log(s) + math.log(r), math.log(arccos.kappa0(angle, a))
        layers.append((square + math.log(angle.cos()) + gate, gate + scale - math.log(m)))
        square += math.log((1 + a**2) / 2) + scale - math.log(n)
        angle = arccos.next_angle(angle, a)
    terms, backward = [square + math.log(angle.cos())], 2 * math.log(ensemble.readout_norm)
    for term, factor in reversed(layers):
        terms.append(term + backward)
        backward += factor
    top = max(terms)
    return terms[0], top + math.log(math.fsum(math.exp(term - top) for term in terms))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@settings(max_examples=20)
@given(
    depth=st.one_of(st.integers(1, 6), st.sampled_from([300, 2000])),
    norms=st.lists(st.floats(-300, 300), min_size=1, max_size=4),
    readout=st.floats(-300, 300),
    calm=st.booleans(),
    sizes=st.tuples(st.floats(-300, 300), st.floats(-300, 300)),
    slope=st.sampled_from([0.0, 0.2, 1.0]),
)
def test_every_scale(dtype, depth, norms, readout, calm, sizes, slope):
    limits = torch.finfo(dtype)
    norms = [10 ** (norms[l % len(norms)] * (-1) ** l) if not calm else 1.9 for l in range(depth)]
    ensemble = Ensemble((2,) * (depth + 1), 1.3, norms, readout_norm=10**readout, negative_slope=slope)
    low, high = math.log10(limits.tiny) + 3, math.log10(limits.max) - 1
    x = torch.tensor([[1, 0], [0.5, 0.75**0.5], [0, 1], [-1, 0], [0, 0]], dtype=torch.float64)
    x, y = ((x * 10 ** min(max(size, low), high)).to(dtype) for size in sizes)
    one, two = (math.log(math.hypot(*z[1].tolist())) for z in (x, y))
    found = ntk.infinite(ensemble, x, y)
    for kernel, *expected in zip(found, logarithms(ensemble, 0.0), logarithms(ensemble, math.pi / 3), strict=True):
        assert not kernel.isnan().any()
        assert (kernel[4] == 0).all()
        assert (kernel[:, 4] == 0).all()
        for value, logarithm in zip((kernel[1, 1], kernel[0, 1]), expected, strict=True):
            logarithm += one + two
            if logarithm > math.log(limits.max) + 0.1:
                assert value == math.inf
            elif logarithm < math.log(limits.smallest_normal) - 40:
                assert value == 0
            elif math.log(limits.smallest_normal) + 1 < logarithm < math.log(limits.max) - 0.1:
                error = 1e-8 if dtype == torch.float64 else max(2e-3, 4 * depth * torch.finfo(torch.float32).eps)
                assert math.log(value.item()) == pytest.approx(logarithm, abs=error)


# Gradients in the inputs


@pytest.mark.parametrize(("slope", "size"), [(0.0, None), (0.2, 2), (1.0, 1), (-0.5, None)])
def test_gradients_of_the_limit(slope, size):
    ensemble = Ensemble((4, 9, 5), (3, 4.5), (1.3, 1.7), readout_norm=1.5, negative_slope=slope)
    x, y = inputs(4).requires_grad_(), inputs(3, seed=2).requires_grad_()
    pairs = lambda x, y: tuple(ntk.infinite(ensemble, x, y, chunk_size=size))  # noqa: E731
    alone = lambda x: tuple(ntk.infinite(ensemble, x, chunk_size=size))  # noqa: E731
    assert torch.autograd.gradcheck(pairs, (x, y))
    assert torch.autograd.gradcheck(alone, x)
    assert torch.autograd.gradgradcheck(pairs, (x, y))
    fast = (*pairs(x.detach(), y.detach()), *alone(x.detach()))
    torch.testing.assert_close((*pairs(x, y), *alone(x)), fast, rtol=1e-13, atol=1e-13)
    assert all(torch.equal(kernel, kernel.mT) for kernel in alone(x))
    with torch.no_grad():
        assert not pairs(x, y)[1].requires_grad


def test_gradients_at_zero_coincident_and_opposite_inputs():
    ensemble, x = Ensemble((4, 9, 5), (3, 4.5), 2.0), inputs(1)
    x = torch.cat([x, 0 * x, 3 * x, -x]).requires_grad_()
    kernel = ntk.infinite(ensemble, x)
    (gradient,) = torch.autograd.grad(kernel.ntk.diagonal().sum(), x, retain_graph=True)
    torch.testing.assert_close(gradient, 2 * kernel.ntk[0, 0].detach() / x[0].square().sum().detach() * x.detach())
    assert torch.autograd.grad(kernel.ntk.sum() + kernel.nngp.sum(), x)[0].isfinite().all()


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # which torch itself calls for jvp
def test_transformations_of_the_limit():
    ensemble, x, y = Ensemble((4, 9, 5), (3, 4.5)), inputs(3), inputs(4, seed=2)
    total = lambda x: ntk.infinite(ensemble, x, y).ntk.sin().sum()  # noqa: E731
    by_hand = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(total(by_hand), by_hand)
    torch.testing.assert_close(grad(total)(x), expected)
    torch.testing.assert_close(jvp(total, (x,), (y[:3],))[1], (expected * y[:3]).sum())
    squares = torch.linspace(0.1, 0.9, 6, dtype=torch.float64).view(2, 3)
    geometry = lambda sine2: ntk.limit._geometry(0.3, [0.5, 1.0, 0.2], sine2, 1 - sine2).ntk  # noqa: E731
    torch.testing.assert_close(vmap(geometry)(squares), geometry(squares))
    live = squares.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(geometry(live).sum(), live)
    torch.testing.assert_close(vmap(vmap(grad(geometry)))(squares), slopes)


def test_inputs_elsewhere_than_the_default_device():
    ensemble, x = Ensemble((4, 9, 5), (3, 4.5)), torch.cat([inputs(3), inputs(3) * (1 + 1e-9), torch.zeros(1, 4)])
    expected = ntk.infinite(ensemble, x, x.clone())
    with torch.device("meta"):
        found = ntk.infinite(ensemble, x, x.clone())
        recorded = ntk.infinite(ensemble, x.clone().requires_grad_())
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    torch.testing.assert_close(recorded.ntk.detach(), expected.ntk)


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
    (TypeError, "must be a dense tensor, got torch.sparse_coo", torch.ones(2, 4, dtype=torch.float64).to_sparse()),
    (ValueError, "must hold numbers, got a tensor on the meta", torch.ones(2, 4, dtype=torch.float64, device="meta")),
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


def test_gradients_flow_to_the_second_inputs_alone():
    ensemble, x, y = Ensemble((4, 9, 5), (3, 4.5), negative_slope=0.2), inputs(3), inputs(2, seed=2)
    second, both = y.clone().requires_grad_(), y.clone().requires_grad_()
    ntk.infinite(ensemble, x, second).ntk.sum().backward()
    ntk.infinite(ensemble, both, x).ntk.sum().backward()
    torch.testing.assert_close(second.grad, both.grad)
    assert second.grad.abs().min() > 0

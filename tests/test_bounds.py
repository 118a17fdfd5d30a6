import functools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from srlib import Ensemble, Network, check, feedforward, haar, rank, sample, spectra
from srlib.experiments import bounds
from srlib.experiments.bounds.compression import CHUNK

# Two layers by hand: x = (1, 1) has pre-activations (2, 1) and outputs (3, 1); x = (-1, 1) has (-2, 1), so features
# (0, 1), and outputs (1, -1). Norms 2 and sqrt 2, stable ranks 5/4 and 2.
FIRST, LAST = torch.tensor([[[2.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [1.0, -1.0]]]).double()
X = torch.tensor([[1.0, 1.0], [-1.0, 1.0]]).double()
ZEROS = torch.tensor([0, 0])

#: Bounds are computed in double precision: a sum in single precision is off by more.
exactly = functools.partial(pytest.approx, rel=1e-12, abs=0)
same = functools.partial(torch.testing.assert_close, rtol=1e-11, atol=1e-11)


def network(*matrices, slope=0.0):
    """Matrices of one network or of a batch, the readout last."""
    *weights, readout = (W if W.ndim == 3 else W.unsqueeze(0) for W in matrices)
    return Network(weights, readout, None, slope)


HAND = network(FIRST, LAST)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def random_networks(batch=3, widths=(9, 7, 6, 4), slope=0.0, seed=0):
    """No two widths are equal, and the largest fan-in is not the largest fan-out."""
    g = generator(seed)
    shapes = list(zip(widths[1:], widths[:-1], strict=True))
    return network(*[torch.randn(batch, *shape, generator=g, dtype=torch.float64) for shape in shapes], slope=slope)


def labels(count, classes=4, seed=1):
    return torch.randint(0, classes, (count,), generator=generator(seed))


# Hand-computed values


def test_margins_by_hand():
    assert bounds.margins(HAND, X, ZEROS).tolist() == [[2, 2]]
    assert bounds.margins(HAND, X, torch.tensor([1, 0])).tolist() == [[-2, 2]]


def test_norm_bound_by_hand():
    bound = bounds.norm_bound(HAND, X, ZEROS, margin=1.0, delta=0.5)
    assert bound.margin_loss == 0
    assert bound.amplification.item() == exactly(16)  # B^2 = 2, (2 sqrt 2)^2 = 8
    assert bound.stable_ranks[0].tolist() == exactly([1.25, 2])
    assert bound.architecture == exactly(8 * math.log(4))  # d = h = 2
    assert bound.confidence == exactly(math.log(8))  # dm / delta = 8
    assert bound.capacity.item() == exactly(416 * math.log(4))  # 16 x 3.25 x 8 ln 4
    assert bound.excess.item() == exactly(math.sqrt((416 * math.log(4) + math.log(8)) / 2))
    assert bound.value == bound.excess
    assert bound.vacuous


def test_compression_bound_by_hand():
    bound = bounds.compression_bound(HAND, X, ZEROS, margin=1.0)
    assert bound.contraction.item() == exactly(math.sqrt(5))  # (-2, 1) becomes (0, 1)
    assert bound.output.item() == exactly(10)  # |(3, 1)|^2
    assert bound.layer_cushions[0].square().tolist() == exactly([0.5, 0.5])
    # At (-1, 1) the Jacobian is one column of W_2, of norm sqrt 2; |x^1| = sqrt 5 and |f| = sqrt 2.
    assert bound.interlayer_cushions[0].square().tolist() == exactly([0.2, 0.5])
    assert bound.cushioning.item() == exactly(10 + 4)
    assert bound.capacity.item() == exactly(5 * 4 * 10 * 14)
    assert bound.excess.item() == exactly(math.sqrt(1400))
    assert bound.vacuous


def test_perturbation_by_hand():
    change = bounds.perturbation(HAND, network(1.5 * FIRST, 0.75 * LAST), radius=2.0)
    assert change.relative[0].tolist() == exactly([0.5, 0.25])
    assert change.growth[0].tolist() == exactly([1.5, 0.75])
    scale = 2 * 2 * math.sqrt(2)
    assert change.bound.item() == exactly(scale * (0.5 + 1.5 * 0.25))
    assert change.product.item() == exactly(scale * (1.5 * 1.25 - 1))
    assert change.published.item() == exactly(math.e * scale * 0.75)
    large = bounds.perturbation(HAND, network(1.51 * FIRST, LAST), radius=2.0)
    assert large.published == math.inf  # 0.51 > 1 / d


def test_compressed_size_by_hand():
    W = torch.diag(torch.tensor([4.0, 2.0, 1.0])).double()
    size = bounds.compressed_size(network(W), radius=0.5, margin=2 * math.sqrt(2) * 0.3)
    assert size.tolerance.item() == exactly(0.3)  # 0.6 sqrt 2 / (sqrt 2 x 0.5 x 4)
    assert size.ranks.tolist() == [[2]]  # 4 and 2 exceed 1.2
    assert size.guarantee[0].tolist() == exactly([21 / 16 / 0.09])
    assert size.parameters.item() == 9  # 2 x (3 + 3) is more than all entries


# Naive twins


def naive_norm_bound(weights, x, y, gamma, delta):
    d, h, m = len(weights), max(len(W) for W in weights), len(x)
    product = math.prod(torch.linalg.matrix_norm(W, 2).item() ** 2 for W in weights)
    total = sum((W.norm() / torch.linalg.matrix_norm(W, 2)).item() ** 2 for W in weights)
    radius, wrong = max(v.norm().item() for v in x), 0
    for v, label in zip(x, y.tolist(), strict=True):
        for W in weights[:-1]:
            v = (W @ v).clamp(min=0)
        f = (weights[-1] @ v).tolist()
        wrong += f[label] <= gamma + max(f[:label] + f[label + 1 :])
    first = radius**2 * d**2 * h * math.log(d * h) * product * total / gamma**2
    return wrong / m + math.sqrt((first + math.log(d * m / delta)) / m)


def naive_cushions(weights, x, slope):
    """Cushions and contraction from their definitions, Jacobians by automatic differentiation."""
    d = len(weights)

    def act(a):
        return torch.where(a > 0, a, slope * a)

    def onward(l, j):
        def run(a):
            for W in weights[l + 1 : j + 1]:
                a = W @ act(a)
            return a

        return run

    layer, interlayer, contraction = [math.inf] * d, [len(W) ** -0.5 for W in weights], 1.0
    for v in x:
        h = v
        for l, W in enumerate(weights):
            a = W @ h
            layer[l] = min(layer[l], (a.norm() / (W.norm() * h.norm())).item())
            for j in range(l + 1, d):
                J = torch.func.jacrev(onward(l, j))(a)
                interlayer[l] = min(interlayer[l], (onward(l, j)(a).norm() / (J.norm() * a.norm())).item())
            h = act(a)
            if l < d - 1:
                contraction = max(contraction, (a.norm() / h.norm()).item())
    return layer, interlayer, contraction


def test_norm_bound_against_the_naive_one():
    networks, x, y = random_networks(), gaussian(20, 9, seed=3), labels(20)
    found = bounds.norm_bound(networks, x, y, margin=0.7, delta=0.05).value
    expected = [naive_norm_bound([W[b] for W in networks.matrices], x, y, 0.7, 0.05) for b in range(3)]
    assert found.tolist() == exactly(expected)


@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0, -0.5])
def test_cushions_against_the_naive_ones(slope):
    networks, x = random_networks(slope=slope), gaussian(9, 9, seed=4)
    found = bounds.compression_bound(networks, x, labels(9), margin=1.0)
    for b in range(3):
        layer, interlayer, contraction = naive_cushions([W[b] for W in networks.matrices], x, slope)
        assert found.layer_cushions[b].tolist() == exactly(layer)
        assert found.interlayer_cushions[b].tolist() == exactly(interlayer)
        assert found.contraction[b].item() == exactly(contraction)


def test_interlayer_smoothness_against_the_naive_one():
    networks, x = random_networks(batch=1), gaussian(9, 9, seed=3)
    found = bounds.interlayer_smoothness(networks, x, noise=0.3, generator=generator(5)).item()
    weights, g, least = [W[0] for W in networks.matrices], generator(5), math.inf
    pre = [x @ weights[0].T]
    for W in weights[1:]:
        pre.append(pre[-1].clamp(min=0) @ W.T)
    for l in range(2):
        xi = torch.randn(1, *pre[l].shape, generator=g, dtype=torch.float64)[0]
        for i, a in enumerate(pre[l]):
            noisy = a + 0.3 * a.norm() * xi[i] / xi[i].norm()
            true, J = noisy, torch.eye(len(a), dtype=torch.float64)
            for j in range(l + 1, 3):
                true = weights[j] @ true.clamp(min=0)
                J = weights[j] @ torch.diag((pre[j - 1][i] > 0).double()) @ J
                gap = (true - J @ noisy).norm()
                if gap > 1e-12:
                    least = min(least, (0.3 * pre[j][i].norm() / gap).item())
    assert found == exactly(least)


@pytest.mark.parametrize("kept", [3, [3, 1, 2], torch.tensor([[3, 1, 2], [9, 4, 0], [1, 2, 5]])])
def test_truncation_against_the_sum_of_dyads(kept):
    """One number, each layer its own, and each network its own."""
    networks = random_networks()
    counts = torch.as_tensor(kept).expand(3, 3)
    found = bounds.truncate(networks, kept)
    for l, W in enumerate(networks.matrices):
        for b, j in enumerate(counts[:, l].tolist()):
            U, sigma, Vt = torch.linalg.svd(W[b])
            dyads = [sigma[i] * torch.outer(U[:, i], Vt[i]) for i in range(min(j, len(sigma)))]
            same(found.matrices[l][b], sum(dyads, torch.zeros_like(W[b])))
            error = torch.linalg.matrix_norm(W[b] - found.matrices[l][b], 2).item()
            assert error == pytest.approx([*sigma.tolist(), *[0.0] * 10][j], rel=1e-9, abs=1e-12)


# Scaling, invariance, shapes


@given(c=st.floats(0.1, 10), layer=st.integers(0, 2), seed=st.integers(0, 20))
def test_rescaling_a_layer(c, layer, seed):
    networks, x, y = random_networks(seed=seed), gaussian(8, 9, seed=seed + 1), labels(8)
    scaled = network(*(c * W if l == layer else W for l, W in enumerate(networks.matrices)))
    same(bounds.margins(scaled, x, y), c * bounds.margins(networks, x, y))
    norm, moved = (bounds.norm_bound(n, x, y, margin=0.5) for n in (networks, scaled))
    same(moved.amplification, c**2 * norm.amplification)
    same(moved.stable_ranks, norm.stable_ranks)
    for make in (bounds.norm_bound, bounds.compression_bound):  # margins scale along: nothing changes
        same(make(scaled, x, y, margin=0.5 * c).value, make(networks, x, y, margin=0.5).value)
    old, new = (bounds.compressed_size(n, radius=2.0, margin=g) for n, g in ((networks, 0.5), (scaled, 0.5 * c)))
    same(new.tolerance, old.tolerance)


def test_rotated_inputs_and_first_layer_change_nothing():
    networks, x, y = random_networks(), gaussian(8, 9, seed=2), labels(8)
    O = haar.orthogonal(9, generator=generator(), dtype=torch.float64)
    rotated = network(networks.weights[0] @ O.T, *networks.matrices[1:])
    for make in (bounds.norm_bound, bounds.compression_bound):
        same(make(rotated, x @ O.T, y, margin=1.0).value, make(networks, x, y, margin=1.0).value)


def test_a_network_of_a_batch_has_the_same_bounds_alone():
    """With a margin and labels of its own."""
    networks, x = random_networks(), gaussian(30, 9, seed=2)
    y, gamma = (
        torch.stack([labels(30, seed=seed) for seed in range(3)]),
        torch.tensor([0.5, 20.0, 4.0], dtype=torch.float64),
    )
    for make in (bounds.norm_bound, bounds.compression_bound):
        batch = make(networks, x, y, margin=gamma)
        for b in range(3):
            alone = make(networks[b], x, y[b], margin=gamma[b].item())
            same(alone.value, batch.value[b : b + 1])
            same(alone.margin_loss, batch.margin_loss[b : b + 1])
        assert len(set(batch.margin_loss.tolist())) == 3
    batch = bounds.compressed_size(networks, radius=2.0, margin=0.1 * gamma)
    for b in range(3):
        alone = bounds.compressed_size(networks[b], radius=2.0, margin=0.1 * gamma[b].item())
        same(alone.log_tolerance, batch.log_tolerance[b : b + 1])
        assert torch.equal(alone.ranks, batch.ranks[b : b + 1])
    one = Ensemble((5, 6), 2).sample(3, generator=generator())
    assert bounds.truncate(one, 1).readout.shape == (3, 6)


@pytest.mark.parametrize(("depth", "norm"), [(40, 20.0), (110, 1000.0)])
def test_deep_networks_stay_inside_the_floating_range(depth, norm):
    """Products of norms leave float32 in the first case and float64 in the second; their logarithms do not."""
    drawn = Ensemble((6,) * (depth + 1), 1.0, norm).sample(2, generator=generator(), dtype=torch.float32)
    deep = Network(drawn.weights, torch.eye(6)[:3].repeat(2, 1, 1))
    x, y = torch.eye(6)[:4], torch.zeros(4, dtype=torch.int64)
    found = bounds.norm_bound(deep, x, y, margin=0.1)
    expected = 2 * (depth * math.log(norm) - math.log(0.1))
    assert found.log_amplification.tolist() == pytest.approx([expected] * 2, rel=1e-6)
    assert found.amplification.isinf().all() == (norm == 1000.0)
    size = bounds.compressed_size(deep, radius=1.0, margin=0.1)
    expected = math.log(0.1) - math.log(math.sqrt(2)) - depth * math.log(norm)
    assert size.log_tolerance.tolist() == pytest.approx([expected] * 2, rel=1e-6)
    assert not bounds.truncation_error(deep, 0, radius=1.0).isnan().any()
    assert not bounds.compression_bound(deep, x, y, margin=0.1).log_capacity.isnan().any()
    double = deep.to(dtype=torch.float64)
    change = bounds.perturbation(double, double.with_parameters(1.001 * p for p in double.parameters), radius=1e-300)
    assert (change.bound <= change.product * (1 + 1e-9)).all()
    assert not bounds.perturbation(deep, deep, radius=1.0).product.isnan().any()
    assert bounds.perturbation(deep, deep, radius=1.0).published.tolist() == [0, 0]


def test_a_network_that_overflows_is_not_taken_to_be_right():
    huge = network(*[1e200 * torch.eye(2).double()] * 3)
    x, y = torch.ones(1, 2).double(), torch.tensor([0])
    assert bounds.norm_bound(huge, x, y, margin=1.0).margin_loss == 1
    tiny = network(1e-20 * torch.eye(3))
    found = bounds.norm_bound(tiny, 1e20 * torch.ones(2, 3), torch.tensor([0, 1]), margin=1.0)
    assert found.log_amplification.item() == pytest.approx(math.log(3), rel=1e-5)


def test_one_output_as_a_vector_and_as_a_matrix():
    one = Ensemble((5, 6, 7), 2).sample(3, generator=generator())
    same = Network(one.weights, one.readout.unsqueeze(1))
    assert bounds.perturbation(one, same, radius=1.0).bound.tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="perturbed must have the shapes"):
        bounds.perturbation(one, same[:2], radius=1.0)


def test_half_precision_is_computed_in_single():
    W, x = gaussian(3, 5).half(), gaussian(4, 5).half()
    found = bounds.norm_bound(network(W), x, labels(4, 3), margin=1.0).value
    assert torch.equal(found, bounds.norm_bound(network(W.float()), x.float(), labels(4, 3), margin=1.0).value)
    assert bounds.random_projection(W, 3, generator=generator()).dtype == torch.float16


def test_networks_are_left_alone():
    networks, x, y = random_networks(), gaussian(8, 9, seed=2), labels(8)
    before = [W.clone() for W in networks.parameters]
    bounds.compression_bound(networks, x, y, margin=1.0, probes=3)
    bounds.truncate(networks, 1)
    bounds.perturbation(networks, bounds.truncate(networks, 1), radius=1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, networks.parameters, strict=True))


# Vacuous, or not


def test_a_bound_is_vacuous_from_one_on():
    tiny = bounds.NormBound(torch.tensor(0.25), torch.tensor(1e-9).log(), torch.ones(1), 1.0, 0.0, 100)
    assert not tiny.vacuous
    assert replace(tiny, margin_loss=torch.tensor(1.0)).vacuous
    assert replace(tiny, log_amplification=torch.tensor(100.0).log()).vacuous
    many = torch.eye(2).repeat(50_000, 1)
    y = torch.arange(2).repeat(50_000)
    assert not bounds.norm_bound(network(torch.eye(2)), many, y, margin=0.999).vacuous  # one layer, 100,000 inputs
    assert not bounds.compression_bound(network(torch.eye(2)), many, y, margin=0.999).vacuous
    assert bounds.norm_bound(network(torch.eye(2)), many[:6], y[:6], margin=0.999).vacuous


def test_a_dead_network_has_no_finite_compression_bound():
    dead = network(-torch.eye(2), torch.eye(2))
    bound = bounds.compression_bound(dead, torch.ones(3, 2), labels(3, 2), margin=1.0)
    assert bound.capacity == math.inf
    assert bound.vacuous


# G2


def errors(networks, others, x):
    return (feedforward.forward(others, x).output - feedforward.forward(networks, x).output).norm(dim=-1).amax(-1)


@given(size=st.floats(0.001, 2), slope=st.sampled_from([0.0, 0.3, 1.0, -0.5]), seed=st.integers(0, 50))
def test_perturbation_bounds_are_never_violated(size, slope, seed):
    networks, noise = random_networks(slope=slope, seed=seed), random_networks(seed=seed + 100)
    pairs = zip(networks.parameters, noise.parameters, strict=True)
    others = networks.with_parameters(W + size * N for W, N in pairs)
    x = torch.nn.functional.normalize(gaussian(30, 9, seed=seed), dim=-1) * 3
    change = bounds.perturbation(networks, others, radius=3.0)
    error = errors(networks, others, x)
    assert (error <= change.bound).all()
    assert (change.bound <= change.product * (1 + 1e-12)).all()
    assert (change.product <= change.published * (1 + 1e-12)).all()


@given(j=st.integers(0, 7), seed=st.integers(0, 50))
def test_truncation_error_is_below_what_stable_ranks_allow(j, seed):
    networks = random_networks(seed=seed)
    x = torch.nn.functional.normalize(gaussian(30, 9, seed=seed), dim=-1)
    others = bounds.truncate(networks, j)
    change = bounds.perturbation(networks, others, radius=1.0)
    assert (errors(networks, others, x) <= change.bound + 1e-12).all()
    assert (change.growth <= 1 + 1e-12).all()
    for l, W in enumerate(networks.matrices):
        for b, r in enumerate(rank.stable_rank(W)):
            assert change.relative[b, l] <= rank.truncation_bound(r, j) + 1e-12


def naive_truncation_error(networks, kept, radius):
    """G3 (a), one network and one layer at a time."""
    found = []
    for b in range(networks.batch):
        norms, dropped = [], []
        for W, j in zip(networks.matrices, kept, strict=True):
            sigma = torch.linalg.svdvals(W[b]).tolist()
            norms.append(sigma[0])
            dropped.append(sigma[j] / sigma[0] if j < len(sigma) else 0.0)
        largest = max(dropped)
        through = largest / math.sqrt(1 - largest**2) if largest < 1 else math.inf
        found.append(radius * math.prod(norms) * min(math.sqrt(sum(t * t for t in dropped)), through, 2))
    return found


@pytest.mark.parametrize("kept", [[1, 1, 1], [3, 2, 1], [7, 6, 4], [0, 2, 2], [9, 9, 2], [5, 5, 4]])
def test_truncation_error_against_the_naive_one(kept):
    networks = random_networks()
    found = bounds.truncation_error(networks, kept, radius=2.0)
    assert found.tolist() == exactly(naive_truncation_error(networks, kept, 2.0))
    each = torch.tensor([kept, [1, 2, 3], [2, 2, 2]])  # each network its own
    assert bounds.truncation_error(networks, each, radius=2.0)[0].item() == exactly(found[0].item())


@given(j=st.integers(0, 7), slope=st.sampled_from([0.0, 0.3, 1.0, -0.5, -1.0]), seed=st.integers(0, 50))
def test_truncation_error_is_never_exceeded(j, slope, seed):
    networks = random_networks(slope=slope, seed=seed)
    x = 3 * torch.nn.functional.normalize(gaussian(30, 9, seed=seed), dim=-1)
    cut = bounds.truncate(networks, j)
    allowed = bounds.truncation_error(networks, j, radius=3.0)
    assert (errors(networks, cut, x) <= allowed * (1 + 1e-9) + 1e-12).all()
    if j:  # what keeps nothing does not grow
        assert (allowed <= bounds.perturbation(networks, cut, radius=3.0).bound * (1 + 1e-9) + 1e-12).all()


@pytest.mark.parametrize("slope", [0.0, 1.0, -0.7])
def test_what_is_lost_by_truncation_was_not_in_the_output(slope):
    """The step of G3 from which the tolerance follows, input by input."""
    networks = random_networks(slope=slope)
    x = torch.nn.functional.normalize(gaussian(200, 9), dim=-1)
    before = feedforward.forward(networks, x).output
    largest = torch.stack([torch.linalg.matrix_norm(W, 2) for W in networks.matrices]).prod(0).square().unsqueeze(1)
    for j in range(1, 4):
        sigma = [torch.linalg.svdvals(W) for W in networks.matrices]
        dropped = torch.stack([s[:, j] / s[:, 0] for s in sigma]).amax(0).square().unsqueeze(1)
        error = (feedforward.forward(bounds.truncate(networks, j), x).output - before).square().sum(-1)
        assert (error <= dropped / (1 - dropped) * (largest - before.square().sum(-1))).all()


def worst_truncation(depth, sigma, starts=16, steps=150, width=3):
    """The largest error of truncation that gradient ascent finds in linear networks of unit layers."""
    directions = gaussian(starts, depth, width).requires_grad_()
    x = gaussian(starts, width, seed=1).requires_grad_()
    ascent = torch.optim.Adam([directions, x], lr=0.05, maximize=True)

    def error():
        h = cut = torch.nn.functional.normalize(x, dim=-1)
        for v in torch.nn.functional.normalize(directions, dim=-1).unbind(1):
            h = h - (1 - sigma) * (h * v).sum(-1, keepdim=True) * v  # singular values 1, ..., 1, sigma
            cut = cut - (cut * v).sum(-1, keepdim=True) * v
        return (cut - h).norm(dim=-1)

    for _ in range(steps):
        ascent.zero_grad()
        error().sum().backward()
        ascent.step()
    return error().max().item()


@pytest.mark.parametrize("depth", [1, 2, 16])
def test_an_adversary_does_not_exceed_the_truncation_error_and_comes_close(depth):
    """At depth 16 and sigma = 0.6 a sum over layers allows 9.6."""
    found = worst_truncation(depth, 0.6)
    W = torch.diag(torch.tensor([1.0, 1.0, 0.6], dtype=torch.float64))
    allowed = bounds.truncation_error(network(*[W] * depth, slope=1.0), 2, radius=1.0).item()
    assert allowed == exactly(0.6 if depth == 1 else 0.75)
    assert 0.82 * allowed < found < allowed * (1 + 1e-9)


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_no_larger_tolerance_keeps_all_predictions(depth):
    """Two outputs whose difference is a direction just above or just below the tolerance."""
    x, y = torch.tensor([[0.0, 1.0]]).double(), torch.tensor([0])
    for share, survives in ((1.001, True), (0.999, False)):
        readout = torch.tensor([[1.0, 0.6], [1.0, -0.6]]).double() / math.sqrt(2)
        networks = network(*[torch.eye(2).double()] * (depth - 1), readout)
        gamma = bounds.margins(networks, x, y).item()
        size = bounds.compressed_size(networks, radius=1.0, margin=gamma / share)
        assert size.ranks[0].tolist() == [2] * (depth - 1) + [2 if survives else 1]
        assert (bounds.margins(bounds.truncate(networks, size.ranks), x, y).item() > 0) == survives


def test_perturbation_bound_is_attained_and_a_planted_error_noticed():
    identities = network(*[torch.eye(3).double()] * 4)
    x = torch.tensor([[1.0, 0, 0]]).double()
    scaled = identities.with_parameters(1.25 * W for W in identities.parameters)
    change = bounds.perturbation(identities, scaled, radius=1.0)
    error = errors(identities, scaled, x)
    assert check.bound("G2.test", "aligned", error, change.bound, wrong={"no growth": change.relative.sum()})
    assert not check.bound("G2.test", "aligned", error, 0.999 * change.bound)
    one_missing = replace(change, relative=change.relative * torch.tensor([0, 1, 1, 1]))
    assert not check.bound("G2.test", "aligned", error, one_missing.bound)


def test_confident_predictions_survive_truncation_to_the_compressed_size(generator):
    sigma = spectra.power_law((8, 8), 1.5, batch=30, generator=generator, dtype=torch.float64)
    W, V = torch.diag_embed(sigma), torch.diag_embed(sigma.roll(1, 0))
    x = torch.eye(8).double()[:1] + 0.05 * gaussian(40, 8).abs()
    networks, y = network(W, V), torch.zeros(40, dtype=torch.int64)
    gamma = bounds.margins(networks, x, y).amin(-1) * 0.999
    size = bounds.compressed_size(networks, radius=x.norm(dim=-1).max().item(), margin=gamma)
    assert (size.ranks < 8).all()
    assert (size.ranks < size.guarantee).all()
    assert (bounds.margins(bounds.truncate(networks, size.ranks), x, y) > 0).all()


def test_random_projection_has_the_stated_mean_and_error(generator):
    W = sample((5, 7), 2.0, spectral_norm=3.0, generator=generator, dtype=torch.float64)
    v, k = gaussian(7, seed=3), 10
    found = torch.stack([bounds.random_projection(W, k, generator=generator) for _ in range(20_000)])
    assert check.sampled("G2.test", "unbiased", found, W, scale=3.0, resolve=0.2)
    error = ((found - W) @ v).square().sum(-1)

    def predicted(r):
        return (5 * 9 * r * v.square().sum() + (W @ v).square().sum()) / k

    claim = check.sampled(
        "G2.test", "error", error, predicted(2.0), wrong={"6 % off": 1.06 * predicted(2.0)}, resolve=0.2
    )
    assert claim, claim


def test_random_projection_in_chunks_is_the_plain_sum():
    W, k = gaussian(3, 4), CHUNK + 5
    g = generator(7)
    M = torch.cat([torch.randn(size, 12, generator=g, dtype=torch.float64) for size in (CHUNK, 5)])
    expected = sum((W.flatten() @ m) * m for m in M).reshape(3, 4) / k
    same(bounds.random_projection(W, k, generator=generator(7)), expected)


# Bad input

DEAD = network(0 * FIRST)
BIASED = Network(HAND.weights, HAND.readout, (X[:1], X[:1]))


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, "network must not have biases", lambda g: bounds.margins(BIASED, X, ZEROS)),
        (ValueError, "must not have biases", lambda g: bounds.norm_bound(BIASED, X, ZEROS, margin=1)),
        (ValueError, "must not have biases", lambda g: bounds.compression_bound(BIASED, X, ZEROS, margin=1)),
        (ValueError, "perturbed must not have biases", lambda g: bounds.perturbation(HAND, BIASED, radius=1)),
        (ValueError, "must not have biases", lambda g: bounds.truncate(BIASED, 1)),
        (
            ValueError,
            "negative_slope in [-1, 1], where the activation is 1-Lipschitz, got 2.0",
            lambda g: bounds.margins(network(FIRST, LAST, slope=2.0), X, ZEROS),
        ),
        (TypeError, "network must be an srlib.Network, got torch.float64", lambda g: bounds.truncate(FIRST, 1)),
        (TypeError, "perturbed must be an srlib.Network, got list", lambda g: bounds.perturbation(HAND, [], radius=1)),
        (
            ValueError,
            "network must have finite weights",
            lambda g: bounds.truncate(network(FIRST * math.nan), 1),
        ),
        (TypeError, "x must be a tensor of the weights' dtype", lambda g: bounds.margins(HAND, X.float(), ZEROS)),
        (ValueError, "x must have shape (N, n_0) = (N, 2)", lambda g: bounds.margins(HAND, X[:, :1], ZEROS)),
        (ValueError, "x must hold at least one input", lambda g: bounds.margins(HAND, X[:0], ZEROS[:0])),
        (ValueError, "x must have finite entries", lambda g: bounds.margins(HAND, X * math.inf, ZEROS)),
        (TypeError, "labels must be an integer tensor", lambda g: bounds.margins(HAND, X, ZEROS.double())),
        (ValueError, "labels must have shape (2,), got (1,)", lambda g: bounds.margins(HAND, X, ZEROS[:1])),
        (ValueError, "labels must lie in [0, 1], got 2 to 2", lambda g: bounds.margins(HAND, X, ZEROS + 2)),
        (ValueError, "at least 2 outputs", lambda g: bounds.margins(network(FIRST[:1]), X, ZEROS)),
        (
            ValueError,
            "margin[0] must be positive, got 0.0",
            lambda g: bounds.norm_bound(HAND, X, ZEROS, margin=0),
        ),
        (ValueError, "margin[0] must be positive", lambda g: bounds.compression_bound(HAND, X, ZEROS, margin=-1)),
        (ValueError, "margin must be one number", lambda g: bounds.norm_bound(HAND, X, ZEROS, margin=torch.ones(3))),
        (
            ValueError,
            "delta must lie in (0, 1), got 1.0",
            lambda g: bounds.norm_bound(HAND, X, ZEROS, margin=1, delta=1),
        ),
        (ValueError, "layers must be nonzero", lambda g: bounds.norm_bound(network(0 * FIRST), X, ZEROS, margin=1)),
        (
            ValueError,
            "layers must be nonzero",
            lambda g: bounds.compression_bound(network(0 * FIRST), X, ZEROS, margin=1),
        ),
        (
            ValueError,
            "probes must lie in [1, 2], got 3",
            lambda g: bounds.compression_bound(HAND, X, ZEROS, margin=1, probes=3),
        ),
        (
            ValueError,
            "noise must be positive, got 0.0",
            lambda g: bounds.interlayer_smoothness(HAND, X, noise=0, generator=g),
        ),
        (ValueError, "radius must be positive", lambda g: bounds.perturbation(HAND, HAND, radius=0)),
        (ValueError, "perturbed must have the shapes", lambda g: bounds.perturbation(HAND, network(FIRST), radius=1)),
        (ValueError, "radius must be positive", lambda g: bounds.compressed_size(HAND, radius=-1, margin=1)),
        (TypeError, "kept must hold integers, got 1.5", lambda g: bounds.truncate(HAND, 1.5)),
        (TypeError, "kept must hold integers, got True", lambda g: bounds.truncate(HAND, True)),
        (ValueError, "one for each of the 2 layers", lambda g: bounds.truncate(HAND, [1])),
        (
            ValueError,
            "for each its own, got tensor",
            lambda g: bounds.truncate(HAND, torch.ones(2, 2, dtype=torch.int)),
        ),
        (TypeError, "kept must hold integers, got 'ab'", lambda g: bounds.truncate(HAND, "ab")),
        (TypeError, "x must be a tensor of the weights' dtype", lambda g: bounds.margins(HAND, X.bfloat16(), ZEROS)),
        (ValueError, "kept must be at least 0, got -1", lambda g: bounds.truncate(HAND, -1)),
        (ValueError, "count must be at least 1, got 0", lambda g: bounds.random_projection(FIRST, 0, generator=g)),
        (TypeError, "W must be a real floating tensor", lambda g: bounds.random_projection(ZEROS, 1, generator=g)),
    ],
)
def test_bad_input(rejects, error, message, call):
    rejects(error, message, call)


def test_cushions_between_layers_of_one_width_against_automatic_differentiation():
    """Four layers of one width: gates of a wrong one would fit."""
    networks, x = Ensemble((6, 6, 6, 6, 6), 4).sample(1, generator=generator(2)), gaussian(7, 6, seed=3)
    weights = [W[0] for W in networks.weights]
    readout = gaussian(3, 6, seed=4)
    networks = Network(networks.weights, readout.unsqueeze(0))
    matrices = [*weights, readout]

    def onwards(a, l, j):
        for W in matrices[l + 1 : j + 1]:
            a = W @ a.clamp(min=0)
        return a

    found = bounds.compression_bound(networks, x, torch.zeros(7, dtype=torch.int64), margin=1.0).interlayer_cushions[0]
    for l, W in enumerate(matrices):
        least = [len(W) ** -0.5]
        for a in x @ matrices[0].T:
            a = onwards(a, 0, l)
            for j in range(l + 1, len(matrices)):
                J = torch.func.jacrev(lambda b, j=j: onwards(b, l, j))(a)  # noqa: B023
                least.append((onwards(a, l, j).norm() / (J.norm() * a.norm())).item())
        assert found[l].item() == pytest.approx(min(least))


def test_the_architecture_counts_the_widest_layer_and_not_the_inputs():
    networks, x = network(gaussian(1, 4, 11), gaussian(1, 3, 4)), gaussian(5, 11)
    found = bounds.norm_bound(networks, x, torch.zeros(5, dtype=torch.int64), margin=1.0)
    assert found.architecture == pytest.approx(2**2 * 4 * math.log(2 * 4))


def test_a_margin_is_missed_by_an_input_exactly_at_it():
    x, labels = torch.eye(2, dtype=torch.float64), torch.tensor([0, 0])
    identity = network(torch.eye(2, dtype=torch.float64).unsqueeze(0))
    margin = bounds.margins(identity, x, labels)[0, 0].item()
    assert bounds.norm_bound(identity, x, labels, margin=margin).margin_loss.item() == 1
    assert bounds.norm_bound(identity, x, labels, margin=0.999 * margin).margin_loss.item() == 0.5


def test_noise_enters_every_layer():
    """Noise of the size of the inputs' own switches no gate behind the first layer; of the second's, it does."""
    matrices = [torch.diag(torch.tensor(d, dtype=torch.float64)).unsqueeze(0) for d in ([1, 1], [1, 1e-3], [1, 1])]
    x = torch.ones(20, 2, dtype=torch.float64)
    assert bounds.interlayer_smoothness(network(*matrices), x, noise=0.1, generator=generator()).isfinite().all()

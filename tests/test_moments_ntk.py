import functools
import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from srlib import Ensemble, check, ntk, spectra
from srlib.moments import feature_norm, kernel
from srlib.moments.kernel import kernel_moments
from srlib.moments.transfer import gate_transfer, layer_transfer

F64 = {"dtype": torch.float64}
REFERENCE = Ensemble((12, 20, 24, 16), (5, 7.3, 3), (1.3, 1.7, 2), readout_norm=1.5)
#: Little fluctuation, so that few networks are precise.
MILD = Ensemble((8, 24, 20), (7, 17), (1.3, 0.7), readout_norm=0.8, negative_slope=0.6)

laws = pytest.mark.parametrize("law", [spectra.two_level, spectra.projector])


def layer_terms(network, x):
    """Theta_1, ..., Theta_L, Theta_out at every input: (networks, inputs, L + 1)."""
    return ntk.layers(network, x).diagonal(dim1=-2, dim2=-1).mT


@functools.cache
def replicates(ensemble, count, seed=0):
    """Means over the inputs +-e_i of the layer terms and of their products: one row a network."""
    network = ensemble.sample(count, generator=torch.Generator().manual_seed(seed))
    axes = torch.eye(ensemble.widths[0], **F64)
    T = layer_terms(network, torch.cat([axes, -axes]))
    return T.mean(1), torch.einsum("bil,bik->blk", T, T) / T.shape[1]


@laws
@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0])
def test_reference_case(law, slope):
    ensemble = replace(REFERENCE, law=law, negative_slope=slope)
    predicted = kernel.ntk(ensemble)
    # Products of the terms are too skewed for a claim's intervals at this number of networks.
    for samples, mean, resolved in zip(
        replicates(ensemble, 4_000), (predicted.layer_means, predicted.second), (0.10, 0.32), strict=True
    ):
        error = samples.std(0) / math.sqrt(len(samples))
        assert ((samples.mean(0) - mean).abs() < 4 * error).all()
        assert ((4 + 2.33) * error / mean).max() < resolved  # noticed with probability 0.99


def test_mild_case():
    first, second = replicates(MILD, 12_000)
    predicted = kernel.ntk(MILD)
    mean = check.sampled("N1.tests", "layer means", first, predicted.layer_means, seed=0, resolve=0.2)
    products = check.sampled("N2.tests", "second moments", second, predicted.second, seed=0, resolve=0.2)
    assert mean, mean
    assert products, products
    assert mean.noticeable <= 0.02
    assert products.noticeable <= 0.05


@pytest.mark.parametrize("factor", [0.98, 1.02])
@pytest.mark.parametrize("layer", range(3))
def test_layer_means_off_by_two_percent_are_noticed(layer, factor):
    wrong = kernel.ntk(MILD).layer_means
    wrong[layer] *= factor
    claim = check.sampled("N1.tests", "one layer mean off", replicates(MILD, 12_000)[0], wrong, resolve=0.2)
    assert not claim, claim


@pytest.mark.parametrize("factor", [0.95, 1.05])
@pytest.mark.parametrize(("l", "k"), list(itertools.combinations_with_replacement(range(3), 2)))
def test_second_moments_off_by_five_percent_are_noticed(l, k, factor):
    wrong = kernel.ntk(MILD).second
    wrong[l, k] *= factor
    claim = check.sampled("N2.tests", "one second moment off", replicates(MILD, 12_000)[1], wrong, resolve=0.2)
    assert not claim, claim


def rotations(count=3):
    """Angles that integrate even polynomials of degree 4 over the circle exactly."""
    angle = torch.arange(count, **F64) * math.pi / count
    return torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).reshape(count, 2, 2)


@pytest.mark.parametrize("slope", [0.0, 0.2, -0.7, 1.0])
def test_exact_enumeration_at_width_two(slope):
    """All rotations and reflections of three 2 x 2 layers, all gates, all readouts: nothing is drawn."""
    ranks, norms, v_norm = (1.2, 1.5, 2.0), (1.3, 0.8, 1.7), 1.5
    flip = torch.tensor([[1.0, 0.0], [0.0, -1.0]], **F64)
    left, right = torch.cat([rotations(), rotations() @ flip]), rotations()
    gates = torch.tensor(list(itertools.product((1.0, slope), repeat=2)), **F64)

    # h and the Jacobian J of h with respect to every pre-activation below, over the product of all choices
    h = torch.tensor([[1.0, 0.0]], **F64)
    norms_below, jacobians = [], []
    for r, s in zip(ranks, norms, strict=True):
        sigma = s * torch.tensor([1.0, math.sqrt(r - 1)], **F64)
        W = torch.einsum("aij,j,bkj->abik", left, sigma, right).reshape(-1, 2, 2)
        A = torch.einsum("gi,wij->gwij", gates, W).reshape(-1, 2, 2)
        D = torch.diag_embed(gates)[:, None].expand(-1, len(W), 2, 2).reshape(-1, 2, 2)
        count = len(A)
        norms_below = [t.repeat_interleave(count) for t in [*norms_below, h.square().sum(-1)]]
        jacobians = [torch.einsum("aij,bjk->baik", A, J).reshape(-1, 2, 2) for J in jacobians]
        jacobians.append(D.repeat(len(h), 1, 1))
        h = torch.einsum("aij,bj->bai", A, h).reshape(-1, 2)

    v = v_norm * rotations()[:, 0]
    terms = [t[:, None] * (v @ J).square().sum(-1) for t, J in zip(norms_below, jacobians, strict=True)]
    terms = torch.stack([*terms, h.square().sum(-1)[:, None].expand(-1, len(v))]).flatten(1)
    found = kernel.ntk(Ensemble((2,) * 4, ranks, norms, readout_norm=v_norm, negative_slope=slope))
    torch.testing.assert_close(found.layer_means, terms.mean(1), rtol=1e-12, atol=0)
    torch.testing.assert_close(found.second, terms @ terms.T / terms.shape[1], rtol=1e-10, atol=0)


def test_layer_transfer_sums_to_the_invariants_of_the_spectrum():
    n, square, quartic = 5, 7.0, 2.0
    found = layer_transfer(n, square, quartic) @ torch.tensor([n**2, n], **F64)  # all pairs of basis vectors
    torch.testing.assert_close(found, torch.tensor([square, quartic], **F64))
    torch.testing.assert_close(layer_transfer(1, square, square), square * torch.eye(2, **F64))


def test_what_a_layer_makes_of_a_matrix_between_two_copies_of_it():
    """E||W Y W^T||_F^2 = alpha ||Y||_F^2 + beta (tr Y^2 + (tr Y)^2), for any Y (N3): all rotations of a plane."""
    sigma, Y = torch.tensor([1.0, 0.6], **F64), torch.tensor([[0.7, -1.3], [2.1, 0.4]], **F64)
    W = sigma[:, None] * rotations().mT
    found = (W @ Y @ W.mT).square().sum((-1, -2)).mean()
    square, quartic = sigma.square().sum().item() ** 2, sigma.pow(4).sum().item()
    (alpha, _), (beta, _) = layer_transfer(2, square, quartic)
    expected = alpha * Y.square().sum() + beta * ((Y @ Y).trace() + Y.trace() ** 2)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize(("m", "n"), [(1, 4), (3, 2), (4, 6)])
def test_layer_transfer_of_a_gaussian_matrix(m, n):
    found = layer_transfer(n, m * n * (m * n + 2), m * n * (m + n + 1))
    torch.testing.assert_close(found, m * torch.tensor([[m, 2.0], [1.0, m + 1]], **F64))


def test_gate_transfer_sums_to_the_moments_of_the_gates():
    m, a = 5, 0.3
    eta, eta4 = (1 + a**2) / 2, (1 + a**4) / 2
    found = gate_transfer(m, eta, eta4) @ torch.tensor([m**2, m], **F64)
    torch.testing.assert_close(found, m * torch.tensor([(m - 1) * eta**2 + eta4, eta4], **F64))


@st.composite
def ensembles(draw):
    """Random ensembles whose stable ranks can be doubled."""
    widths = draw(st.lists(st.integers(2, 9), min_size=2, max_size=6))
    limits = [min(pair) for pair in itertools.pairwise(widths)]
    return Ensemble(
        widths,
        [1 + draw(st.floats(0, 1)) * (k / 2 - 1) for k in limits],
        [draw(st.floats(0.1, 10)) for _ in limits],
        law=draw(st.sampled_from([spectra.two_level, spectra.projector])),
        readout_norm=draw(st.floats(0.1, 10)),
        negative_slope=draw(st.floats(-1, 1)),
    )


@given(ensembles(), st.data())
def test_every_mean_is_linear_in_every_other_stable_rank(ensemble, data):
    layer = data.draw(st.integers(0, ensemble.depth - 1))
    doubled = list(ensemble.stable_ranks)
    doubled[layer] *= 2
    expected = 2 * kernel.ntk(ensemble).layer_means
    expected[layer] /= 2
    found = kernel.ntk(replace(ensemble, stable_ranks=doubled)).layer_means
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@given(ensembles())
def test_shape_of_the_second_moments(ensemble):
    found, features = kernel.ntk(ensemble), feature_norm(ensemble)
    second, means = found.second, found.layer_means
    scale = second.diagonal().sqrt()
    assert torch.equal(second, second.T)
    assert (second <= scale[:, None] * scale * (1 + 1e-12)).all()
    covariance = (second - means[:, None] * means) / (scale[:, None] * scale)
    assert torch.linalg.eigvalsh(covariance).min() >= -1e-12
    assert (found.log_layer_ratios >= -1e-12).all()
    torch.testing.assert_close(means[-1], features.mean[-1], rtol=1e-12, atol=0)
    torch.testing.assert_close(second[-1, -1], features.second[-1], rtol=1e-12, atol=0)
    torch.testing.assert_close(found.mean, means.sum(), rtol=1e-12, atol=0)
    torch.testing.assert_close(found.variance + found.mean**2, second.sum(), rtol=1e-11, atol=0)
    torch.testing.assert_close(found.relative_variance, second.sum() / means.sum() ** 2 - 1, rtol=1e-11, atol=1e-12)


@given(ensembles(), st.floats(0.1, 10))
def test_scaling_every_spectral_norm(ensemble, scale):
    norms = [scale * s for s in ensemble.spectral_norms]
    before = kernel.ntk(ensemble)
    after = kernel.ntk(replace(ensemble, spectral_norms=norms, readout_norm=scale * ensemble.readout_norm))
    torch.testing.assert_close(after.mean, scale ** (2 * ensemble.depth) * before.mean, rtol=1e-11, atol=0)
    torch.testing.assert_close(after.log_layer_ratios, before.log_layer_ratios, rtol=0, atol=1e-12)


@pytest.mark.parametrize("depth", [1, 3, 1000])
@pytest.mark.parametrize("slope", [0.0, 0.5])
def test_width_one(depth, slope):
    """Every term is the product of all squared gates but, for the readout, none is left out."""
    eta, eta4 = (1 + slope**2) / 2, (1 + slope**4) / 2
    found = kernel.ntk(Ensemble((1,) * (depth + 1), 1, negative_slope=slope))
    mean = torch.full((depth + 1,), depth * math.log(eta), **F64)
    torch.testing.assert_close(found.log_layer_means, mean)
    ratios = torch.full((depth + 1, depth + 1), depth * math.log(eta4 / eta**2), **F64)
    torch.testing.assert_close(found.log_layer_ratios, ratios)


def test_one_layer_by_hand():
    """m = 4, n = 3, ReLU: Theta_1 = |Dv|^2 and Theta_out = |DWx|^2, with W an isometry of R^3 into R^4."""
    found = kernel.ntk(Ensemble((3, 4), 3))
    # E|Dv|^4 = 9/24; E|Dv|^2|Du|^2 over independent uniform u, v = (4 * 1/2 + 12 * 1/4) / 16
    torch.testing.assert_close(found.layer_means, torch.tensor([0.5, 0.5], **F64))
    torch.testing.assert_close(found.second, torch.tensor([[9 / 24, 5 / 16], [5 / 16, 9 / 24]], **F64))


def test_orthogonal_linear_networks_have_a_fixed_kernel():
    found = kernel.ntk(Ensemble((5,) * 4, 5, negative_slope=1))
    torch.testing.assert_close(found.mean, torch.tensor(4.0, **F64))
    assert abs(found.relative_variance) < 1e-14


@pytest.mark.parametrize("r", [1, 64])
def test_a_thousand_layers_do_not_underflow(r):
    ensemble = Ensemble((64,) * 1001, r, 0.25, law=spectra.projector)
    found, same = kernel.ntk(ensemble), kernel.ntk(replace(ensemble, spectral_norms=(1.0,) * 1000))
    assert found.log_mean < -2_000
    assert math.isfinite(found.log_ratio)
    torch.testing.assert_close(found.log_layer_ratios, same.log_layer_ratios)
    shift = torch.tensor([999.0] * 1000 + [1000.0], **F64) * math.log(1 / 16)
    torch.testing.assert_close(found.log_layer_means, same.log_layer_means + shift)


def gaussian_layers(widths):
    n, m = torch.tensor(widths[:-1], **F64), torch.tensor(widths[1:], **F64)
    return 2 * m, 1 + 2 / (m * n), (m + n + 1) / (m * n)  # variance 2 / fan-in


def test_gaussian_layers():
    widths = (6, 12, 9, 10)
    found = kernel_moments(widths, *gaussian_layers(widths))
    fan_out = torch.tensor(widths[1:], **F64)
    torch.testing.assert_close(found.log_layer_ratios[-1, -1].exp(), (1 + 5 / fan_out).prod())
    generator = torch.Generator().manual_seed(0)
    W = tuple(
        torch.randn(20_000, m, n, generator=generator, **F64) * (2 / n) ** 0.5 for n, m in itertools.pairwise(widths)
    )
    readout = Ensemble(widths, 1).sample(20_000, generator=generator).readout
    network = replace(Ensemble(widths, 1).sample(0), weights=W, readout=readout)
    axes = torch.eye(6, **F64)
    T = layer_terms(network, axes)
    claim = check.sampled(
        "N2.tests", "Gaussian layers", torch.einsum("bil,bik->blk", T, T) / 6, found.second, seed=0, resolve=0.2
    )
    assert claim, claim
    assert claim.noticeable <= 0.25


@given(ensembles())
def test_every_ratio_is_within_a_factor_three_of_a_product(ensemble):
    """R(h_{l-1}) A_{lk} R(delta_k) / 3 <= ratio <= R(h_{l-1}) A_{lk} R(delta_k), A the common eigenvalues' product."""
    n, p = ensemble.widths, ensemble.participation_ranks().value
    kappa = ((1 - ensemble.negative_slope**2) / (1 + ensemble.negative_slope**2)) ** 2
    gate = [math.nan, *(1 + 3 * kappa / (m + 2) for m in n[1:])]
    up = [math.nan, *(1 + 2 / (a + 2) * (a / q - 1) for a, q in zip(n, p, strict=False))]
    down = [math.nan, *(1 + 2 / (a + 2) * (a / q - 1) for a, q in zip(n[1:], p, strict=True))]
    L, ratios = ensemble.depth, kernel.ntk(ensemble).log_layer_ratios.exp()
    for l, k in itertools.combinations_with_replacement(range(1, L + 2), 2):
        outer = math.prod(up[1:l]) * math.prod(gate[1:l]) * math.prod(down[k + 1 :]) * math.prod(gate[k:])
        inner = math.prod(up[l + 1 : k]) * math.prod(gate[l:k])
        low = (1 + 2 / n[l]) / 3 if l < k else 1
        assert low * outer * inner * (1 - 1e-12) <= ratios[l - 1, k - 1] <= outer * inner * (1 + 1e-12)

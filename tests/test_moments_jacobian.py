import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from srlib import Ensemble, check, feedforward, spectra
from srlib.moments import feature_norm, jacobian

F64 = {"dtype": torch.float64}
LAWS = [spectra.two_level, spectra.projector]


def kappa(ensemble):
    return ((1 - ensemble.negative_slope**2) / (1 + ensemble.negative_slope**2)) ** 2


def twin(ensemble):
    """E||J||_F^4 and E||J^T J||_F^2 by plain sums: what a layer and its gates make of all pairs of basis vectors."""
    n, q, a = ensemble.widths, ensemble.quartic_traces().value, ensemble.negative_slope
    eta, eta4 = (1 + a**2) / 2, (1 + a**4) / 2
    lengths, overlaps = n[0] ** 2, n[0]  # sums of |x|^2 |y|^2 and of <x, y>^2
    for l, (r, s) in enumerate(zip(ensemble.stable_ranks, ensemble.spectral_norms, strict=True)):
        # E tr(W^T W A) tr(W^T W B) and E tr(W^T W A W^T W B), solved from the traces of the spectrum
        both, mixed = s**4 * r**2, s**4 * q[l]
        if n[l] == 1:
            lengths, overlaps = both * lengths, both * overlaps
        else:
            beta = (mixed - both / n[l]) / ((n[l] - 1) * (n[l] + 2))
            alpha = both / n[l] ** 2 - 2 * beta / n[l]
            lengths, overlaps = (
                alpha * lengths + 2 * beta * overlaps,
                beta * lengths + (alpha + beta) * overlaps,
            )
        m = n[l + 1]
        fourth = (lengths + 2 * overlaps) / (m * (m + 2))  # E x_i^2 y_i^2, in a random position
        lengths = eta**2 * lengths + m * (eta4 - eta**2) * fourth
        overlaps = eta**2 * overlaps + m * (eta4 - eta**2) * fourth
    return lengths, overlaps


@st.composite
def ensembles(draw):
    widths = draw(st.lists(st.integers(1, 9), min_size=2, max_size=7))
    limits = [min(pair) for pair in itertools.pairwise(widths)]
    return Ensemble(
        widths,
        [1 + draw(st.floats(0, 1)) * (k - 1) for k in limits],
        [draw(st.floats(0.1, 10)) for _ in limits],
        law=draw(st.sampled_from(LAWS)),
        negative_slope=draw(st.floats(-1, 1)),
    )


@given(ensembles())
def test_against_plain_sums(ensemble):
    found = jacobian(ensemble)
    second, gram = twin(ensemble)
    assert found.frobenius_second.item() == pytest.approx(second, rel=1e-11)
    assert found.gram.item() == pytest.approx(gram, rel=1e-11)
    mean = ensemble.widths[0] * feature_norm(ensemble).mean[-1]
    torch.testing.assert_close(found.frobenius, mean, rtol=1e-12, atol=0)
    assert found.participation_rank.item() == pytest.approx(mean.item() ** 2 / gram, rel=1e-11)


def axes(count=3):
    """Rotations that integrate even polynomials of degree 4 over the circle exactly."""
    angle = torch.arange(count, **F64) * math.pi / count
    return torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).reshape(count, 2, 2)


@pytest.mark.parametrize("slope", [0.0, 0.2, -0.7, 1.0])
def test_exact_enumeration_at_width_two(slope):
    """All rotations and reflections of three 2 x 2 layers and all gates: nothing is drawn."""
    ranks, norms = (1.2, 1.5, 2.0), (1.3, 0.8, 1.7)
    flip = torch.tensor([[1.0, 0.0], [0.0, -1.0]], **F64)
    left, gates = torch.cat([axes(), axes() @ flip]), torch.tensor(list(itertools.product((1, slope), repeat=2)), **F64)
    J = torch.eye(2, **F64)[None]
    for r, s in zip(ranks, norms, strict=True):
        sigma = s * torch.tensor([1.0, math.sqrt(r - 1)], **F64)
        W = torch.einsum("gi,aij,j,bkj->gabik", gates, left, sigma, axes()).reshape(-1, 2, 2)
        J = torch.einsum("aij,bjk->baik", W, J).reshape(-1, 2, 2)
    F, G = J.square().sum((1, 2)), (J.mT @ J).square().sum((1, 2))
    found = jacobian(Ensemble((2,) * 4, ranks, norms, negative_slope=slope))
    expected = [F.mean(), F.square().mean(), G.mean()]
    for value, mean in zip((found.frobenius, found.frobenius_second, found.gram), expected, strict=True):
        torch.testing.assert_close(value, mean, rtol=1e-11, atol=0)


def test_against_sampled_networks():
    """With their own gates, at the inputs +-e_i of one network, which have the law of one input."""
    ensemble = Ensemble((7, 12, 10, 9), (6, 8, 8), (1.3, 0.7, 2), negative_slope=0.5)
    network, I = ensemble.sample(4_000, generator=torch.Generator().manual_seed(0)), torch.eye(7, **F64)
    J = feedforward.jacobian(network, torch.cat([I, -I]))
    F, G = J.square().sum((-1, -2)), (J.mT @ J).square().sum((-1, -2))
    samples = torch.stack([F.mean(1), F.square().mean(1), G.mean(1)], -1)
    found = jacobian(ensemble)
    predicted = torch.stack([found.frobenius, found.frobenius_second, found.gram])
    wrong = {"5 % less of the Gram matrix": predicted * torch.tensor([1, 1, 0.95], **F64)}
    claim = check.sampled("F8.tests", "moments of the Jacobian", samples, predicted, wrong=wrong, resolve=0.05, seed=0)
    assert claim, claim


@given(ensembles())
def test_two_sided_bounds(ensemble):
    """Inverse participation ranks bound 1/p_J from below; what carries the common eigenvalue, from above."""
    n, p = ensemble.widths, ensemble.participation_ranks().value
    gates = sum(kappa(ensemble) / m for m in n[1:])
    low = sum(1 / q for q in p) - sum(1 / a for a in n[1:-1]) + gates
    high = ((1 + 2 / n[0]) * math.exp(feature_norm(ensemble).log_ratio[-1]) - 1 - gates) / 2
    inverse, total = 1 / jacobian(ensemble).participation_rank.item(), sum(1 / q for q in p)
    assert low <= inverse * (1 + 1e-12)
    assert inverse <= high * (1 + 1e-12)
    assert high <= 1.5 * inverse * (1 + 1e-12)
    assert inverse - low <= 25 / 4 * math.exp(5 * total) * total**2 * (1 + 1e-12)


@pytest.mark.parametrize("law", LAWS)
def test_one_linear_layer_attains_the_lower_bound(law):
    ensemble = Ensemble((7, 9), 3.3, law=law, negative_slope=-1)
    p = ensemble.participation_ranks().value[0]
    assert jacobian(ensemble).participation_rank.item() == pytest.approx(p, rel=1e-13)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_inverse_participation_ranks_add_up_in_wide_networks(law, slope):
    ensemble = Ensemble((4000, 3000, 5000, 2500, 4000), (900, 700, 600, 800), law=law, negative_slope=slope)
    n, p = ensemble.widths, ensemble.participation_ranks().value
    total = 1 / n[0] + sum(1 / q - 1 / a + kappa(ensemble) / m for q, a, m in zip(p, n, n[1:], strict=False))
    assert 1 / jacobian(ensemble).participation_rank.item() == pytest.approx(total, rel=0.01)


def test_isometries_keep_all_directions():
    found = jacobian(Ensemble((5,) * 4, 5, negative_slope=1))
    for value, exact in ((found.frobenius, 5), (found.frobenius_second, 25), (found.gram, 5)):
        assert value.item() == pytest.approx(exact, rel=1e-13)
    assert found.participation_rank.item() == pytest.approx(5, rel=1e-13)


@pytest.mark.parametrize("r", [1, 64])
def test_a_thousand_layers_do_not_underflow(r):
    ensemble = Ensemble((64,) * 1001, r, 0.25, law=spectra.projector)
    found, same = jacobian(ensemble), jacobian(replace(ensemble, spectral_norms=1.0))
    assert found.log_frobenius < -2_000
    assert math.isfinite(found.log_gram)
    torch.testing.assert_close(found.log_participation_rank, same.log_participation_rank)
    torch.testing.assert_close(found.log_spread, same.log_spread)
    torch.testing.assert_close(found.log_frobenius_second, 2 * found.log_frobenius + same.log_spread)
    torch.testing.assert_close(found.log_frobenius, same.log_frobenius + 1000 * math.log(1 / 16))

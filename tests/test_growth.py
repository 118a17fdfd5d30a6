import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import digamma, gammaln, polygamma

from srlib import Ensemble, check, feedforward, spectra
from srlib.moments.growth import log_growth


def mixture(weights, means, variances):
    weights = weights / weights.sum()
    mean = weights @ means
    return mean, weights @ (variances + means**2) - mean**2


def relu_gates(m):
    """Log of a Beta(K/2, (m-K)/2) variable, K binomial and at least 1."""
    K = np.arange(1, m + 1)
    weights = np.exp(gammaln(m + 1) - gammaln(K + 1) - gammaln(m - K + 1) - m * math.log(2))
    return mixture(weights, digamma(K / 2) - digamma(m / 2), polygamma(1, K / 2) - polygamma(1, m / 2))


@pytest.mark.parametrize(
    ("n", "m", "r"),
    [(1, 1, 1), (1, 5, 1), (2, 1, 1), (12, 20, 5), (20, 12, 12), (16, 16, 1), (7, 7, 7), (900, 1100, 300)],
)
def test_projectors_of_whole_stable_rank_are_beta_variables(n, m, r):
    found = log_growth(Ensemble((n, m), r, 1.3, law=spectra.projector))
    gates, gates_variance = relu_gates(m)
    mean = 2 * math.log(1.3) + digamma(r / 2) - digamma(n / 2) + gates
    assert found.mean.item() == pytest.approx(mean, abs=1e-12)
    variance = polygamma(1, r / 2) - polygamma(1, n / 2) + gates_variance
    assert found.variance.item() == pytest.approx(variance, abs=1e-12)
    assert found.log_survival.item() == pytest.approx(math.log1p(-(0.5**m)), abs=1e-15)


@pytest.mark.parametrize("slope", [1e-200, 1e-3, 0.2, 0.7, -0.7, 5.0])
def test_leaky_gates_of_one_and_two_neurons(slope):
    """Linear maps that keep norms, then gates: one neuron has gain 1 or a^2; two have the arcsine law in between."""
    one = log_growth(Ensemble((1, 1), 1, negative_slope=slope))
    log2 = math.log(abs(slope))
    assert one.mean.item() == pytest.approx(log2, rel=1e-12)
    assert one.variance.item() == pytest.approx(log2**2, rel=1e-12)
    two = log_growth(Ensemble((2, 2), 2, negative_slope=slope))
    a = abs(slope)
    mixed = 2 * math.log((1 + a) / 2)  # mean of log(cos^2 + a^2 sin^2)
    assert two.mean.item() == pytest.approx(2 * log2 / 4 + mixed / 2, rel=1e-12)
    assert (two.log_survival == 0).all()


@pytest.mark.parametrize(("r", "shape"), [(6, (6, 6)), (4, (9, 4))])
def test_linear_isometries_grow_by_their_norm(r, shape):
    found = log_growth(Ensemble(shape[::-1], r, 1.5, negative_slope=1))
    assert found.mean.item() == pytest.approx(2 * math.log(1.5), abs=1e-13)
    assert 0 <= found.variance.item() < 1e-13
    assert found.log_survival.item() == 0


SAMPLED = {
    "two-level, ReLU": Ensemble((8, 12, 6), (3.5, 4), (1.3, 0.7)),
    "uniform, leaky": Ensemble((8, 12, 6), (3.5, 4), law=spectra.uniform_sphere, negative_slope=0.3),
    "projector with a remainder, linear": Ensemble((8, 5), 2.5, law=spectra.projector, negative_slope=1),
}


@pytest.mark.parametrize("name", SAMPLED)
def test_against_sampled_networks(name):
    ensemble = SAMPLED[name]
    network = ensemble.sample(120_000, generator=torch.Generator().manual_seed(0))
    post = feedforward.forward(network, torch.eye(8, dtype=torch.float64)[:1]).post
    logs = torch.stack([h.square().sum((1, 2)).log() for h in post], -1)
    growth = logs[torch.isfinite(logs[:, -1])].diff(dim=-1)
    found = log_growth(ensemble)
    mean = check.sampled("F5.tests", "mean of the log growth", growth, found.mean, resolve=0.2)
    variance = check.sampled("F5.tests", "variance", (growth - found.mean) ** 2, found.variance, resolve=0.2)
    assert mean, mean
    assert variance, variance
    assert mean.noticeable < 0.08
    assert variance.noticeable < 0.12


def test_a_law_that_draws_is_averaged_to_the_stated_error():
    def mixture(shape, stable_rank, *, batch=(), generator=None, dtype=None, device=None):
        options = {"batch": batch, "dtype": dtype, "device": device}
        low, high = (law(shape, stable_rank, **options) for law in (spectra.two_level, spectra.projector))
        return torch.where(torch.rand(batch, 1, generator=generator, device=device) < 0.5, low, high)

    ends = [log_growth(Ensemble((12, 12), 9.5, law=law)) for law in (spectra.two_level, spectra.projector)]
    mean = (ends[0].mean + ends[1].mean) / 2
    variance = (ends[0].variance + ends[1].variance) / 2 + (ends[0].mean - ends[1].mean) ** 2 / 4
    found = log_growth(Ensemble((12, 12, 12), 9.5, law=mixture))
    assert (found.mean_error > 0).all()
    assert (found.mean_error <= 3e-4).all()
    assert ((found.mean - mean).abs() < 5 * found.mean_error).all()
    assert ((found.variance - variance).abs() < 5 * found.variance_error).all()
    assert ((found.mean - ends[0].mean).abs() > 5 * found.mean_error).all()
    for exact in ends:
        assert (exact.mean_error, exact.variance_error) == (0, 0)


@given(st.integers(2, 12), st.integers(2, 12), st.floats(0, 1), st.floats(-1.5, 1.5), st.floats(0.1, 10))
def test_typical_growth_is_below_the_mean(n, m, t, slope, s):
    r = 1 + t * (min(n, m) - 1)
    found = log_growth(Ensemble((n, m), r, s, negative_slope=slope))
    factor = math.log((1 + slope**2) / 2 * s**2 * r / n)
    assert found.mean.item() + found.log_survival.item() <= factor + 1e-12  # Jensen
    assert found.variance.item() >= 0


def test_a_thousand_layers_add_up():
    one, many = (log_growth(Ensemble((20,) * (1 + L), 5, 2)) for L in (1, 1000))
    assert many.mean.shape == many.variance.shape == many.log_survival.shape == (1000,)
    assert torch.equal(many.mean, one.mean.expand(1000))
    assert many.mean.dtype == torch.float64


def test_a_law_that_draws_has_the_spread_between_its_spectra():
    """One of two spectra by a coin: the variance within them, and that of their means."""
    kinds = spectra.two_level, spectra.projector

    def coin(shape, stable_rank, *, batch, generator, **options):
        heads = torch.rand(batch, 1, generator=generator) < 0.5
        return torch.where(heads, *(law(shape, stable_rank, batch=batch, **options) for law in kinds))

    first, second, both = (log_growth(Ensemble((9, 7), 1.9, law=law)) for law in (*kinds, coin))
    between = ((first.mean - second.mean) / 2).square().item()
    wanted = ((first.variance + second.variance) / 2).item() + between
    assert between > 20 * both.variance_error.item() > 0
    assert both.variance.item() == pytest.approx(wanted, abs=5 * both.variance_error.item())

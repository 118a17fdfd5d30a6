import functools
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from srlib import Ensemble, check, feedforward, moments, spectra

#: Ensembles whose features fluctuate so little that an error of 2 % shows, with the number of networks it takes.
SAMPLED = {
    "ReLU": (Ensemble((8, 40), 5, 1.3), 60_000),
    "leaky, two layers": (Ensemble((6, 16, 12), (4.5, 9), (1.5, 0.8), negative_slope=0.7), 50_000),
    "linear, projector": (Ensemble((12, 12), 8.5, law=spectra.projector, negative_slope=1), 40_000),
    "linear, random spectrum": (Ensemble((8, 10), 6, law=spectra.uniform_sphere, negative_slope=1), 30_000),
}

sampled_ensembles = pytest.mark.parametrize("name", SAMPLED)


@functools.cache
def squared_norms(name):
    """Draws of X_1, ..., X_L, one row a network."""
    ensemble, count = SAMPLED[name]
    network = ensemble.sample(count, generator=torch.Generator().manual_seed(0))
    x = torch.zeros(1, ensemble.widths[0], dtype=torch.float64)
    x[0, 0] = 2.0
    post = feedforward.forward(network, x).post[1:]
    return torch.stack([h.square().sum(-1).squeeze(-1) / 4 for h in post], -1)


def claims(name, mean_factor=1.0, second_factor=1.0):
    predicted = moments.feature_norm(SAMPLED[name][0])
    X = squared_norms(name)
    return (
        check.sampled("F2.tests", "mean of the squared norm", X, mean_factor * predicted.mean[1:], seed=0, resolve=0.2),
        check.sampled(
            "F3.tests", "second moment of it", X**2, second_factor * predicted.second[1:], seed=0, resolve=0.2
        ),
    )


@sampled_ensembles
def test_moments_of_sampled_networks(name):
    mean, second = claims(name)
    assert mean, mean
    assert second, second
    assert mean.noticeable <= 0.02
    assert second.noticeable <= 0.02


@sampled_ensembles
@pytest.mark.parametrize("factor", [0.98, 1.02])
def test_moments_off_by_two_percent_are_noticed(name, factor):
    mean, second = claims(name, factor, factor)
    assert not mean, mean
    assert not second, second


def by_hand(factors):
    """Running products of exact layer factors, from 1."""
    products = [Fraction(1)]
    for factor in factors:
        products.append(products[-1] * factor)
    return [float(product) for product in products]


F = Fraction

#: Ensemble, factors of the mean, factors of the second moment: s^4 (r^2 + 2q) / (n (n+2)) times the gates'.
BY_HAND = {
    # q = 2; ReLU gates (m+5) / (4(m+2)) = 7/16
    "one layer": (Ensemble((3, 2), 2, 2), [F(1, 2) * 4 * F(2, 3)], [16 * F(8, 15) * F(7, 16)]),
    # second layer: q = 1 + (1/2)^2 = 5/4, gates 9/24
    "two layers": (
        Ensemble((3, 2, 4), (2, 1.5), (2, 1)),
        [F(4, 3), F(1, 2) * F(3, 2) / 2],
        [F(56, 15), (F(9, 4) + F(5, 2)) / 8 * F(9, 24)],
    ),
    # q = 1 + 1/4 = 5/4; eta = 5/8, eta_4 = 17/32
    "leaky projector": (
        Ensemble((3, 2), 1.5, law=spectra.projector, negative_slope=0.5),
        [F(5, 8) * F(3, 2) / 3],
        [(F(9, 4) + F(5, 2)) / 15 * (F(25, 64) + 3 * F(17, 32)) / 4],
    ),
    # one neuron: X is s^2 or 0
    "one neuron": (Ensemble((1, 1), 1, 3), [F(9, 2)], [F(81, 2)]),
    # the squared norm of an orthogonal map doesn't fluctuate
    "orthogonal": (Ensemble((5, 5), 5, 2, negative_slope=1), [F(4)], [F(16)]),
    # one input, many neurons: the column is a uniform unit vector
    "from width one": (Ensemble((1, 4), 1), [F(1, 2)], [F(9, 24)]),
    # X = g^2 s^2 <u, x>^2 with u uniform on the sphere in R^4 and a fair gate g
    "to width one": (Ensemble((4, 1), 1), [F(1, 8)], [F(1, 2) * F(3, 24)]),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_moments_by_hand(name):
    ensemble, mean, second = BY_HAND[name]
    found = moments.feature_norm(ensemble)
    assert found.mean.tolist() == pytest.approx(by_hand(mean), rel=1e-13)
    assert found.second.tolist() == pytest.approx(by_hand(second), rel=1e-13)
    variance = [b / a**2 - 1 for a, b in zip(by_hand(mean), by_hand(second), strict=True)]
    assert found.relative_variance.tolist() == pytest.approx(variance, rel=1e-12, abs=1e-13)
    assert found.log_mean.dtype == found.log_ratio.dtype == torch.float64


def test_a_thousand_layers():
    found = moments.feature_norm(Ensemble((4,) * 1001, 2, law=spectra.projector))
    layers = torch.arange(1001, dtype=torch.float64)
    torch.testing.assert_close(found.log_mean, layers * math.log(1 / 4))
    # ratios of one layer: (r^2 + 2q) n / (r^2 (n+2)) = 4/3 and (m+5) / (m+2) = 3/2
    torch.testing.assert_close(found.log_ratio, layers * math.log(2))


def parameters(draw):
    """A random ensemble as the keyword arguments that make it; stable ranks can be doubled."""
    widths = draw(st.lists(st.integers(2, 9), min_size=2, max_size=5))
    limits = [min(pair) for pair in itertools.pairwise(widths)]
    return {
        "widths": widths,
        "stable_ranks": [1 + draw(st.floats(0, 1)) * (k / 2 - 1) for k in limits],
        "spectral_norms": [draw(st.floats(0.1, 10)) for _ in limits],
        "negative_slope": draw(st.floats(-1, 1)),
        "law": draw(st.sampled_from([spectra.two_level, spectra.projector])),
    }


ensembles = st.composite(parameters)()


@given(ensembles, st.data())
def test_mean_is_linear_in_every_stable_rank(arguments, data):
    layer = data.draw(st.integers(0, len(arguments["widths"]) - 2))
    doubled = list(arguments["stable_ranks"])
    doubled[layer] *= 2
    before = moments.feature_norm(Ensemble(**arguments)).mean
    after = moments.feature_norm(Ensemble(**arguments | {"stable_ranks": doubled})).mean
    expected = before.clone()
    expected[layer + 1 :] *= 2  # F2
    torch.testing.assert_close(after, expected, rtol=1e-12, atol=0)


@given(ensembles, st.floats(0.01, 100))
def test_scaling_the_spectral_norms(arguments, scale):
    scaled = arguments | {"spectral_norms": [scale * s for s in arguments["spectral_norms"]], "readout_norm": scale}
    before, after = (moments.feature_norm(Ensemble(**a)) for a in (arguments, scaled))
    powers = scale ** torch.arange(len(arguments["widths"]), dtype=torch.float64)
    torch.testing.assert_close(after.mean, powers**2 * before.mean, rtol=1e-11, atol=0)
    torch.testing.assert_close(after.second, powers**4 * before.second, rtol=1e-11, atol=0)
    torch.testing.assert_close(after.log_ratio, before.log_ratio, rtol=0, atol=1e-14)


@given(ensembles)
def test_fluctuations_only_grow_and_stay_below_their_exponent(arguments):
    ensemble = Ensemble(**arguments)
    found = moments.feature_norm(ensemble)
    assert (found.log_ratio.diff() >= -1e-13).all()
    assert found.log_ratio[-1] <= moments.fluctuation_exponent(ensemble) + 1e-12  # log(1 + y/(n+2)) < y/n


def two_level_rank(n, participation_rank):
    """Stable rank at which the two-level spectrum has a given participation rank: r^2 = p (1 + (r-1)^2 / (n-1))."""
    share = participation_rank / (n - 1)
    return max(np.roots([1 - share, 2 * share, -participation_rank - share]).real)


N, L = 30, 7


@pytest.mark.parametrize(
    ("r", "law", "expected"),
    [
        (N, spectra.two_level, 3 * L / N),  # orthogonal
        (two_level_rank(N, N / 2), spectra.two_level, 5 * L / N),  # the Gaussian participation rank
        (N / 2, spectra.projector, 5 * L / N),
        (10, spectra.projector, (1 + 2 * N / 10) * L / N),
        (1, spectra.power_law, (1 + 2 * N) * L / N),
    ],
)
def test_fluctuation_exponent_of_square_relu_layers(r, law, expected):
    ensemble = Ensemble((N,) * (L + 1), r, law=law)
    assert moments.fluctuation_exponent(ensemble) == pytest.approx(expected, rel=1e-12)


def test_fluctuation_exponent_of_a_rectangular_leaky_network():
    ensemble = Ensemble((5, 8, 3), (4, 2), law=spectra.projector, negative_slope=0.5)
    gates = F(17, 32) / F(25, 64) - 1
    expected = F(2, 5) * (F(5, 4) - 1) + 3 * gates / 8 + F(2, 8) * (F(8, 2) - 1) + 3 * gates / 3
    assert moments.fluctuation_exponent(ensemble) == pytest.approx(float(expected), rel=1e-13)


def test_fluctuation_exponent_is_the_leading_order_in_inverse_width():
    def relative_error(n):
        ensemble = Ensemble((n,) * 5, n / 4, law=spectra.projector)
        return moments.feature_norm(ensemble).log_ratio[-1].item() / moments.fluctuation_exponent(ensemble) - 1

    assert abs(relative_error(1000)) < 0.01
    assert relative_error(2000) == pytest.approx(relative_error(1000) / 2, rel=0.01)


@given(
    widths=st.lists(st.integers(2, 12), min_size=2, max_size=4),
    share=st.floats(0, 1),
    slope=st.sampled_from([0.0, 0.4, 1.0]),
)
def test_laws_lie_between_their_two_ends(widths, share, slope):
    ranks = [1 + share * (min(pair) - 1) for pair in itertools.pairwise(widths)]
    ensembles = [
        Ensemble(widths, ranks, law=law, negative_slope=slope)
        for law in (spectra.two_level, spectra.power_law, spectra.projector)
    ]
    spread = [moments.feature_norm(e).log_ratio[-1].item() for e in ensembles]
    typical = [moments.log_growth(e).mean.sum().item() for e in ensembles]
    assert spread[0] <= spread[1] + 1e-9  # S4
    assert spread[1] <= spread[2] + 1e-9
    assert typical[0] >= typical[1] - 1e-9
    assert typical[1] >= typical[2] - 1e-9

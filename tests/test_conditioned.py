"""The Gaussian matrix conditioned on its stable rank (M3) and its limit (M4)."""

import math
from fractions import Fraction
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jitter import Jitter
from scipy import integrate, stats

from srlib import spectra
from srlib.rank import quartic_range
from srlib.spectra import conditioned, conditioned_gaussian, coulomb, coulomb_gas

LAWS = [conditioned_gaussian, coulomb_gas]
ASPECTS = [1.0, 1.01, 2.0, 9.0]
RHOS = [0.02, 0.25, 0.4, 0.5, 0.75, 0.8, 0.98]

every_law = pytest.mark.parametrize("law", LAWS)


def draw(law, shape, r, *, seed=0, dtype=torch.float64, **options):
    return law(shape, r, generator=torch.Generator().manual_seed(seed), dtype=dtype, **options)


def walked(shape, r, count, seed=0):
    """Squared relative singular values but the first, by the walk whatever the phase."""
    return conditioned._walk(shape, r, count, torch.Generator().manual_seed(seed))


def proposed(shape, r):
    return conditioned._proposal(min(shape), abs(shape[0] - shape[1]), r)


def weights(proposal, count, generator):
    """Logarithms of the weight of its proposals, from singular values."""
    B = torch.randn(count, proposal.rows, proposal.columns, generator=generator, dtype=torch.float64)
    B *= math.sqrt(proposal.square) / B.square().sum((1, 2), keepdim=True).sqrt()
    left = 1 - torch.linalg.eigvalsh(B @ B.mT)
    return torch.where((left > 0).all(-1), proposal.power * left.clamp(min=1e-300).log().sum(-1), -math.inf)


def rejection(shape, r, count, generator, width=0.02):
    """Squared relative singular values of Gaussian matrices whose stable rank happens to lie near r."""
    W = torch.randn(count, *shape, generator=generator, dtype=torch.float64)
    lam = torch.linalg.eigvalsh(W @ W.mT if shape[0] <= shape[1] else W.mT @ W).flip(-1)
    lam = lam / lam[:, :1]
    return lam[(lam.sum(-1) - r).abs() < width]


def three_values(d, r, *, power=None, wall=1, vandermonde=1):
    """Distribution function of the smaller of two squares that sum to T = r - 1, by quadrature (M3 for k = 3)."""
    T, power = r - 1, (d - 1) / 2 if power is None else power
    low, high = (math.asin(math.sqrt(x / T)) for x in (max(0.0, T - 1), T / 2))  # x = T sin^2, y = T cos^2
    phi = np.linspace(low, high, 20_001)
    x, y = T * np.sin(phi) ** 2, T * np.cos(phi) ** 2
    xy = np.maximum(x * y, 1e-300)
    mass = xy ** (power + 1 / 2) * ((1 - x) * (1 - y)) ** wall * np.abs(x - y) ** vandermonde
    distribution = integrate.cumulative_trapezoid(mass, phi, initial=0)
    return lambda value: np.interp(value, x, distribution / distribution[-1])


@every_law
@given(
    m=st.integers(1, 12),
    n=st.integers(1, 12),
    position=st.sampled_from([0.0, 1.0]) | st.floats(0, 1),
    seed=st.integers(0, 9),
)
def test_relative_singular_values_of_the_given_stable_rank(law, m, n, position, seed):
    k = min(m, n)
    r = 1 + position * (k - 1)
    with patch.object(conditioned, "SWEEPS", 8):
        sigma = draw(law, (m, n), r, seed=seed, batch=2)
    assert sigma.shape == (2, k)
    assert (sigma[:, 0] == 1).all()
    assert (sigma.diff() <= 0).all()
    assert (sigma >= 0).all()
    torch.testing.assert_close(sigma.square().sum(-1), torch.full((2,), r, dtype=sigma.dtype), rtol=1e-13, atol=0)
    low, high = quartic_range(r, k)  # S1
    quartic = sigma.pow(4).sum(-1)
    assert ((quartic >= low * (1 - 1e-12)) & (quartic <= high * (1 + 1e-12))).all()


@every_law
@pytest.mark.parametrize("k", [1, 2, 3, 64])
def test_ends_of_the_range(law, k):
    assert draw(law, (k, k + 2), 1).tolist() == [1.0] + [0.0] * (k - 1)
    assert draw(law, (k, k + 2), k).tolist() == [1.0] * k


@every_law
@pytest.mark.parametrize("gap", [1e-3, 1e-9, 1e-15])
@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (10, 10), (10, 25)])
def test_close_to_the_ends_of_the_range(law, shape, gap):
    for r in (1 + gap, min(shape) - gap):
        sigma = draw(law, shape, r)
        assert sigma.max() == 1
        assert sigma.square().sum().item() == pytest.approx(r, rel=1e-14)


@every_law
@pytest.mark.parametrize("batch", [(), 3, (2, 3), 0, (2, 0)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_batch_and_dtype(law, batch, dtype):
    leading = (batch,) if isinstance(batch, int) else batch
    sigma = draw(law, (5, 8), 2.5, batch=batch, dtype=dtype)
    assert sigma.shape == (*leading, 5)
    assert sigma.dtype == dtype
    assert torch.equal(sigma, draw(law, (5, 8), 2.5, batch=batch).to(dtype))
    if law is conditioned_gaussian and sigma.numel() > 5:
        assert len(draw(law, (5, 8), 2.5, batch=batch).reshape(-1, 5).unique(dim=0)) == math.prod(leading)


@pytest.mark.parametrize(("m", "n"), [(5, 9), (9, 5)])
def test_transposing_does_not_matter(m, n):
    for law in LAWS:
        assert torch.equal(draw(law, (m, n), 2.5), draw(law, (n, m), 2.5))


@pytest.mark.parametrize("n", [3, 4, 9])
@pytest.mark.parametrize("r", [1.3, 1.9, 2.6])
def test_three_values_against_quadrature(n, r):  # M3
    d = n - 3
    smaller = draw(conditioned_gaussian, (n, 3), r, batch=8_000)[:, -1].square().numpy()
    assert stats.kstest(smaller, three_values(d, r)).pvalue > 1e-4
    wrong = [{"vandermonde": 0}, {"vandermonde": 2}]
    for other in [*wrong, {"power": d / 2} if r < 1.5 else {"wall": 0}]:  # where each leaves its mark
        assert stats.kstest(smaller, three_values(d, r, **other)).pvalue < 1e-6


@pytest.mark.parametrize(("shape", "r"), [((4, 4), 1.7), ((4, 6), 2.2)])
def test_conditioned_gaussian_against_rejection(shape, r, generator):  # M3
    accepted = rejection(shape, r, 150_000, generator)
    walk = draw(conditioned_gaussian, shape, r, batch=10_000).square()
    sphere = draw(spectra.uniform_sphere, shape, r, batch=10_000).square()
    for i in (1, 2, 3):
        assert stats.ks_2samp(walk[:, i], accepted[:, i]).pvalue > 1e-4
        assert stats.ks_2samp(sphere[:, i], accepted[:, i]).pvalue < 1e-10


def test_every_chain_of_a_batch_is_a_replicate_of_its_own():
    quartic = draw(conditioned_gaussian, (12, 12), 5, batch=4_000).pow(4).sum(-1)
    deviation = (quartic - quartic.mean()) / quartic.std()
    assert abs((deviation[1:] * deviation[:-1]).mean()) < 5 / math.sqrt(4_000)


@pytest.mark.parametrize("shape", [(16, 16), (8, 40)])
def test_the_walk_forgets_its_start(shape):
    def quartic(sweeps, seed):
        with patch.object(conditioned, "SWEEPS", sweeps):
            return walked(shape, 4, 6_000, seed).square().sum(-1)

    library, longer, short = quartic(conditioned.SWEEPS, 0), quartic(2 * conditioned.SWEEPS, 1), quartic(4, 2)
    assert stats.ks_2samp(library, longer).pvalue > 1e-4
    assert stats.ks_2samp(short, longer).pvalue < 1e-10


#: Shape and stable rank by how they are drawn: corner or mirror, with the largest weight or a cap; the walk.
METHODS = [
    ((3, 3), 1.4, "corner", True),
    ((12, 12), 2.6, "corner", True),
    ((9, 5), 1.7, "corner", True),
    ((32, 32), 7.4, "corner", False),
    ((24, 96), 9.0, "corner", False),
    ((6, 7), 5.0, "mirror", True),
    ((8, 10), 7.2, "mirror", True),
    ((4, 12), 3.7, "mirror", True),
    ((12, 15), 9.3, "mirror", True),
    ((16, 21), 13.0, "mirror", False),
]
every_method = pytest.mark.parametrize(("shape", "r", "which", "exact"), METHODS)


@every_method
def test_rejection_and_walk_are_one_law(shape, r, which, exact):  # M5
    proposal, count = proposed(shape, r), 6_000
    assert (proposal.mirrored, proposal.exact) == (which == "mirror", exact)
    found = draw(conditioned_gaussian, shape, r, batch=count)[:, 1:].square()
    assert torch.equal(found, draw(conditioned_gaussian, shape[::-1], r, batch=count)[:, 1:].square())
    walk = walked(shape, r, count, seed=1)
    for statistic in (lambda lam: lam[:, 0], lambda lam: lam[:, -1], lambda lam: lam.square().sum(-1)):
        assert stats.ks_2samp(statistic(found), statistic(walk)).pvalue > 1e-4


@pytest.mark.parametrize(
    ("shape", "r", "wrong"),
    [
        ((20, 20), 4.6, {"power": 0.0, "log_cap": 0.0}),
        ((12, 12), 2.6, {"columns": 12}),
        ((9, 5), 1.7, {"columns": 7}),
        ((6, 7), 5.0, {"columns": 7}),
        ((12, 15), 9.3, {"power": 0.0, "log_cap": 0.0}),
        ((8, 10), 7.2, {"columns": 9}),
    ],
)
def test_other_weights_and_corners_are_other_laws(shape, r, wrong):  # M5
    right, options = proposed(shape, r), {"generator": torch.Generator().manual_seed(2), "dtype": torch.float64}
    other = conditioned._spectra(right._replace(**wrong), 12_000, options | {"device": "cpu"})
    walk = walked(shape, r, 12_000, seed=1)
    assert stats.ks_2samp(other.square().sum(-1), walk.square().sum(-1)).pvalue < 1e-8


@pytest.mark.parametrize(("rows", "columns", "square"), [(1, 1, 0.3), (2, 2, 0.5), (3, 5, 0.9), (15, 15, 2.0)])
def test_mean_weight(rows, columns, square, generator):  # M5
    found = math.exp(conditioned._log_mean(rows, columns, square))
    if rows == 1:
        assert found == pytest.approx(1 - square, rel=1e-15)
    B = torch.randn(100_000, rows, columns, generator=generator, dtype=torch.float64)
    B *= math.sqrt(square) / B.square().sum((1, 2), keepdim=True).sqrt()
    determinants = torch.linalg.det(torch.eye(rows, dtype=B.dtype) - B @ B.mT)
    error = determinants.std().item() / math.sqrt(len(B))
    assert abs(determinants.mean().item() - found) < 5 * error + 1e-12
    if rows > 1:
        fewer = math.exp(conditioned._log_mean(rows, columns + 1, square))
        assert abs(determinants.mean().item() - fewer) > 10 * error


@pytest.mark.parametrize(("rows", "columns", "square"), [(255, 255, 50.2), (60, 60_000, 54), (63, 63, 1e-9)])
def test_mean_weight_has_all_digits(rows, columns, square):
    """Large terms cancel: by the same sum in fractions."""
    total = term = Fraction(1)
    for j in range(rows):
        term *= -Fraction(square) * (rows - j) * (columns - j) / ((j + 1) * (rows * columns + 2 * j))
        total += term
    assert conditioned._log_mean(rows, columns, square) == pytest.approx(math.log(total), rel=1e-14)
    assert math.isnan(conditioned._log_mean(2, 2, 1.9))


@pytest.mark.parametrize(("rows", "columns", "square"), [(40, 40, 8.0), (40, 40, 9.9), (30, 90, 6.0)])
def test_spread_of_the_weight_is_that_of_the_chebyshev_modes_beyond_the_trace(rows, columns, square):  # M5
    theta = (np.arange(4096) + 0.5) * math.pi / 4096
    mean, y = square / rows, rows / columns
    log = np.log(1 - mean * (1 + y) - 2 * mean * math.sqrt(y) * np.cos(theta))
    variance = sum(j * (2 * (log * np.cos(j * theta)).mean()) ** 2 / 2 for j in range(2, 2000))
    assert conditioned._spread(rows, columns, square) == pytest.approx(math.sqrt(variance), rel=1e-9)
    assert math.isnan(conditioned._spread(rows, columns, 1.001 * rows / (1 + math.sqrt(y)) ** 2))


@every_method
def test_weights_stay_below_the_cap_and_are_accepted_as_often_as_promised(shape, r, which, exact, generator):  # M5
    proposal = proposed(shape, r)
    below = weights(proposal, 20_000, generator) - proposal.log_cap
    assert below.max() <= 1e-12
    share = below.exp().mean().item()
    assert share > conditioned.CAPPED
    if proposal.power == 1:
        promised = conditioned._log_mean(proposal.rows, proposal.columns, proposal.square) - proposal.log_cap
        assert share == pytest.approx(math.exp(promised), rel=0.03)


@pytest.mark.parametrize(("shape", "r"), [((64, 64), 0.24 * 64), ((64, 128), 0.3 * 64), ((64, 67), 0.85 * 64)])
def test_a_capped_weight_is_far_in_its_tail(shape, r, generator):
    """Of 5,000 weights none comes near the cap, of a tail that is thinner than a Gaussian's."""
    log_weight, proposal = weights(proposed(shape, r), 5_000, generator), proposed(shape, r)
    spread = proposal.power * conditioned._spread(proposal.rows, proposal.columns, proposal.square)
    assert log_weight.max() < proposal.log_cap - 0.5 * spread
    assert not proposal.exact


def test_large_matrices_do_without_the_walk():
    assert proposed((4096, 4096), 800).log_cap < 0
    with patch.object(conditioned, "_walk", side_effect=AssertionError):
        sigma = draw(conditioned_gaussian, (300, 300), 45)
    assert sigma.square().sum().item() == pytest.approx(45, rel=1e-13)


@pytest.mark.parametrize(("size", "chains"), [(3, 1), (8, 40), (41, 1), (41, 7)])
def test_pairs_in_blocks_move_as_they_do_one_by_one(size, chains):
    lam = walked((size + 1, size + 3), 1 + size / 2, chains).T.contiguous()
    moved = []
    for pairs in (1, 2**12, 2**30):
        with patch.object(conditioned, "PAIRS", pairs):
            moved.append(lam.clone())
            generator = torch.Generator().manual_seed(4)
            for _ in range(20):
                conditioned._sweep(moved[-1], 2, size + 3, generator)
    assert (moved[0] != lam).float().mean() > 0.9
    for other in moved[1:]:
        torch.testing.assert_close(other, moved[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("k", [4, 24])
def test_mean_quartic_trace(k):
    average = draw(conditioned_gaussian, (k, k), k / 3, batch=4_000, seed=3).pow(4).sum(-1).mean().item()
    found = spectra.mean_quartic_trace(conditioned_gaussian, (k, k), k / 3)
    assert found.value == pytest.approx(average, rel=6e-3)
    assert 0 < found.error <= 1e-3 * found.value


@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize("rho", RHOS)
def test_moments_of_the_density(rho, aspect):  # M4
    *_, a, end, _ = coulomb._gas(rho, aspect)
    theta = (np.arange(100_000) + 0.5) * math.pi / 200_000
    lam = a + (end - a) * np.sin(theta) ** 2
    mass = coulomb.density(rho, torch.from_numpy(lam), aspect).numpy() * (end - a) * np.sin(2 * theta)
    assert (mass >= 0).all()
    moments = [(mass * lam**power).mean() * math.pi / 2 for power in (0, 1, 2)]
    assert moments == pytest.approx([1, rho, coulomb.quartic(rho, aspect)], rel=1e-6)


def test_the_three_phases_of_square_matrices():  # M4, written out
    lam = torch.linspace(0.013, 0.987, 50, dtype=torch.float64)
    rho = 0.2
    bulk = ((4 * rho - lam).clamp(min=0) / lam).sqrt() / (2 * math.pi * rho)
    torch.testing.assert_close(coulomb.density(rho, lam), bulk)
    rho = 0.6
    pushed = (6 - 8 * rho - 8 * (1 - 2 * rho) * lam) / (2 * math.pi * (lam * (1 - lam)).sqrt())
    torch.testing.assert_close(coulomb.density(rho, lam), pushed)
    rho = 0.9
    beta = 4 * rho - 3
    squeezed = 2 / (math.pi * (1 - beta)) * ((lam - beta).clamp(min=0) / (1 - lam)).sqrt()
    torch.testing.assert_close(coulomb.density(rho, lam), squeezed)
    assert coulomb.quartic(rho) == pytest.approx(beta**2 + 1.5 * beta * (1 - beta) + 0.625 * (1 - beta) ** 2)


@given(rho=st.floats(0.001, 0.999))
def test_square_gas_mirrors(rho):
    lam = torch.linspace(0.05, 0.95, 7, dtype=torch.float64)
    mirrored = coulomb.density(1 - rho, 1 - lam)
    torch.testing.assert_close(coulomb.density(rho, lam), mirrored, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize("rho", RHOS)
def test_quantiles_follow_the_density(rho, aspect):
    k = 1_000
    tail = draw(coulomb_gas, (k + 1, round(aspect * (k + 1))), 1 + rho * k)[1:].square()
    assert tail.square().mean().item() == pytest.approx(coulomb.quartic(rho, aspect), rel=2e-3)


@pytest.mark.parametrize("rho", [0.1, 0.5, 0.9])
def test_wide_conditioned_matrices_follow_the_density(rho):  # M4
    k = 48
    tail = draw(conditioned_gaussian, (k + 1, k + 1), 1 + rho * k, batch=100)[:, 1:].square()
    average = tail.square().mean().item()
    assert average == pytest.approx(coulomb.quartic(rho), rel=0.015)
    for other in {0.1, 0.5, 0.9} - {rho}:
        assert average != pytest.approx(coulomb.quartic(other), rel=0.3)


@every_law
@pytest.mark.parametrize(
    ("error", "message", "shape", "r", "options"),
    [
        (ValueError, "stable_rank must lie in [1, min(m, n)] = [1, 3], got 0.5", (4, 3), 0.5, {}),
        (ValueError, "stable_rank must lie in [1, min(m, n)] = [1, 3], got nan", (4, 3), math.nan, {}),
        (TypeError, "stable_rank must be a real number, got '2'", (4, 3), "2", {}),
        (ValueError, "number of columns must be at least 1, got 0", (4, 0), 1, {}),
        (ValueError, "at least 0, got -1", (4, 3), 2, {"batch": -1}),
        (TypeError, "got torch.int32", (4, 3), 2, {"dtype": torch.int32}),
    ],
)
def test_bad_input(rejects, law, error, message, shape, r, options):
    rejects(error, message, lambda g: law(shape, r, generator=g, **options))


@pytest.mark.parametrize(
    ("rho", "aspect", "message"),
    [
        (0, 1, "rho must lie in (0, 1), got 0.0"),
        (1.5, 1, "rho must lie in (0, 1), got 1.5"),
        (math.nan, 1, "rho must be finite, got nan"),
        (0.5, 0.5, "aspect must be at least 1, got 0.5"),
    ],
)
def test_bad_density(rejects, rho, aspect, message):
    rejects(ValueError, message, lambda g: coulomb.density(rho, torch.ones(1), aspect))
    rejects(ValueError, message, lambda g: coulomb.quartic(rho, aspect))


@pytest.mark.parametrize(("shape", "rho"), [((16, 16), 0.5), ((64, 64), 0.3), ((16, 64), 0.7)])
def test_rounding_moves_the_start_and_the_walk_by_no_more_than_itself(shape, rho):
    """Else a walk goes another way on another processor: it compares random levels with ratios."""
    r = 1 + rho * (min(shape) - 1)

    def draws():
        options = {"dtype": torch.float64}
        seeded = torch.Generator().manual_seed(3)
        return coulomb_gas(shape, r, **options), conditioned_gaussian(shape, r, batch=200, generator=seeded, **options)

    (start, walked), moved = draws(), []
    for seed in (1, 2, 3):
        with Jitter(seed):
            moved.append(draws())
    for other_start, other in moved:
        torch.testing.assert_close(other_start, start, rtol=0, atol=1e-12)
        torch.testing.assert_close(other, walked, rtol=0, atol=1e-9)

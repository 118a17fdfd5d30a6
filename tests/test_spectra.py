import functools
import math

import naive
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import srlib
from srlib import Ensemble, spectra
from srlib.moments import log_growth
from srlib.rank import quartic_range
from srlib.spectra.law import average

DETERMINISTIC = [spectra.two_level, spectra.projector, spectra.power_law]
LAWS = [*DETERMINISTIC, spectra.uniform_sphere]

every_law = pytest.mark.parametrize("law", LAWS)


def draw(law, shape, r, *, seed=0, dtype=torch.float64, **options):
    return law(shape, r, generator=torch.Generator().manual_seed(seed), dtype=dtype, **options)


def flat_tail(shape, stable_rank, *, batch=(), generator=None, dtype=None, device=None):
    """A user's law: the two-level spectrum, with one random tail entry emptied into another when both have room."""
    sigma = spectra.two_level(shape, stable_rank, batch=batch, dtype=dtype, device=device).square()
    moved = torch.minimum(sigma[..., -1], 1 - sigma[..., 1])
    moved = moved * torch.rand(moved.shape, generator=generator, dtype=sigma.dtype)
    sigma[..., 1] += moved
    sigma[..., -1] -= moved
    return sigma.sqrt()


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
    lowest, highest = draw(law, (k, k + 2), 1), draw(law, (k, k + 2), k)
    assert lowest.tolist() == [1.0] + [0.0] * (k - 1)
    assert highest.tolist() == [1.0] * k


@every_law
@pytest.mark.parametrize("gap", [1e-3, 1e-9, 1e-15])
@pytest.mark.parametrize("k", [2, 3, 10])
def test_close_to_the_ends_of_the_range(law, k, gap):
    for r in (1 + gap, k - gap):
        sigma = draw(law, (k, k), r)
        assert sigma.max() == 1
        assert sigma.square().sum().item() == pytest.approx(r, rel=1e-14)


@pytest.mark.parametrize("position", torch.linspace(0, 1, 40).tolist())
def test_power_law_of_two_values(position):
    sigma = draw(spectra.power_law, (2, 2), 1 + position)
    assert sigma.square().tolist() == pytest.approx([1, position], rel=1e-14)


@every_law
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_computed_in_float64_and_rounded_once(law, dtype):
    sigma = draw(law, (9, 7), 3.3, dtype=dtype)
    assert sigma.dtype == dtype
    assert torch.equal(sigma, draw(law, (9, 7), 3.3).to(dtype))
    assert law((3, 3), 2).dtype == torch.get_default_dtype()


@every_law
@pytest.mark.parametrize("batch", [(), 3, (2, 3), 0, (2, 0)])
def test_batch(law, batch):
    leading = (batch,) if isinstance(batch, int) else batch
    sigma = draw(law, (5, 8), 2.5, batch=batch)
    assert sigma.shape == (*leading, 5)
    if law in DETERMINISTIC:
        assert torch.equal(sigma, draw(law, (8, 5), 2.5).expand(*leading, 5))


def test_seed_determines_the_draw():
    same, other = (draw(spectra.uniform_sphere, (6, 6), 2.5, batch=2, seed=seed) for seed in (0, 1))
    assert torch.equal(same, draw(spectra.uniform_sphere, (6, 6), 2.5, batch=2, seed=0))
    assert not torch.isclose(same[:, 1:], other[:, 1:]).any()
    assert not torch.isclose(same[0, 1:], same[1, 1:]).any()


@given(k=st.integers(2, 40), position=st.floats(0, 1))
def test_two_level_and_projector_attain_the_quartic_range(k, position):
    r = 1 + position * (k - 1)
    ends = [draw(law, (k, k), r).pow(4).sum().item() for law in (spectra.two_level, spectra.projector)]
    assert ends == pytest.approx(quartic_range(r, k), rel=1e-13)  # S1


@given(k=st.integers(3, 40), position=st.floats(0.001, 0.999))
def test_power_law_is_a_straight_line_in_logarithms(k, position):
    log_sigma = draw(spectra.power_law, (k, k), 1 + position * (k - 1)).log()
    slopes = log_sigma[1:] / torch.arange(2, k + 1).double().log()
    assert slopes.max() < 0
    torch.testing.assert_close(slopes, slopes[:1].expand(k - 1), rtol=1e-8, atol=0)


@pytest.mark.parametrize("r", [1.6, 2.5])  # the sphere inside the cube, and cut by it
def test_uniform_sphere_of_three_has_a_uniform_angle(r):
    sigma = draw(spectra.uniform_sphere, (3, 3), r, batch=20_000)
    angle = torch.atan2(sigma[:, 2], sigma[:, 1]).numpy()
    lowest = math.acos(min(1, 1 / math.sqrt(r - 1)))
    uniform = stats.uniform(lowest, math.pi / 4 - lowest)
    assert stats.kstest(angle, uniform.cdf).pvalue > 1e-4
    assert stats.kstest(angle**1.05, uniform.cdf).pvalue < 1e-10  # the test does notice


@pytest.mark.parametrize("r", [1.5, 2.6, 3.5])
def test_uniform_sphere_against_rejection(r, generator):
    def quartic(sigma):
        return sigma.pow(4).sum(-1).numpy()

    count = 30_000
    walk = quartic(draw(spectra.uniform_sphere, (4, 6), r, batch=count, seed=1))
    assert stats.ks_2samp(walk, quartic(naive.uniform_sphere(4, r, count, generator))).pvalue > 1e-4
    if r > 2:  # the cube cuts the sphere
        clipped = quartic(naive.uniform_sphere(4, r, count, generator, reject=False))
        assert stats.ks_2samp(walk, clipped).pvalue < 1e-10


@pytest.mark.parametrize(("k", "r"), [(4, 2.5), (16, 6.0), (24, 3.0)])
def test_mean_quartic_trace_of_a_random_law(k, r, generator):
    average = naive.uniform_sphere(k, r, 200_000, generator).pow(4).sum(-1).mean().item()
    value, error = spectra.mean_quartic_trace(spectra.uniform_sphere, (k, k + 1), r)
    assert value == pytest.approx(average, rel=5e-3)
    assert 0 < error <= 1e-3 * value


@pytest.mark.parametrize("r", [1, 2.5, 7])
@pytest.mark.parametrize("law", DETERMINISTIC)
def test_mean_quartic_trace_of_a_deterministic_law(law, r):
    exact = draw(law, (7, 9), r).pow(4).sum().item()
    assert spectra.mean_quartic_trace(law, (7, 9), r) == (pytest.approx(exact, rel=1e-14), 0)


class Mixture:
    """A user's law with a state: two-level spectra, or projectors with a probability that can be changed."""

    probability = 0.125

    def __call__(self, shape, stable_rank, *, batch=(), generator=None, dtype=None, device=None):
        options = {"batch": batch, "dtype": dtype, "device": device}
        low, high = spectra.two_level(shape, stable_rank, **options), spectra.projector(shape, stable_rank, **options)
        coin = torch.rand(low.shape[:-1], generator=generator, device=device).unsqueeze(-1)
        return torch.where(coin < self.probability, high, low)


def test_mean_quartic_trace_of_a_law_whose_draws_often_coincide():
    low, high = quartic_range(4, 8)
    value, error = spectra.mean_quartic_trace(Mixture(), (8, 8), 4)
    assert abs(value - (0.875 * low + 0.125 * high)) < 5 * error
    assert error == pytest.approx(1e-3 * value, rel=0.5)


def test_averages_follow_the_state_of_a_law():
    """Nothing that was computed before the state changed is returned after it."""
    mixture = Mixture()

    @functools.wraps(spectra.uniform_sphere)
    def disguised(*arguments, **options):
        return mixture(*arguments, **options)

    for law in (mixture, disguised, functools.partial(mixture)):
        ensemble = srlib.Ensemble((8, 8), 4, law=law)
        found = {}
        for mixture.probability, pure in ((0.0, spectra.two_level), (1.0, spectra.projector)):
            wanted = srlib.Ensemble((8, 8), 4, law=pure)
            assert ensemble.quartic_traces() == (pytest.approx(wanted.quartic_traces().value), (0,))
            found[pure] = srlib.moments.log_growth(ensemble).mean.item()
            assert found[pure] == pytest.approx(srlib.moments.log_growth(wanted).mean.item(), rel=1e-12)
        assert found[spectra.two_level] - found[spectra.projector] > 0.03


@given(m=st.integers(1, 12), n=st.integers(1, 12), position=st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1))
@pytest.mark.parametrize("law", [*DETERMINISTIC, spectra.coulomb_gas])
def test_levels_are_the_spectrum(law, m, n, position):
    k = min(m, n)
    r = 1 + position * (k - 1)
    values, multiplicities = law.levels((m, n), r)
    assert torch.equal(values.repeat_interleave(multiplicities), law((m, n), r, dtype=torch.float64))
    assert (values.diff() < 0).all()
    assert (multiplicities > 0).all()


def test_levels_of_wide_spectra_stay_few():
    values, multiplicities = spectra.projector.levels((10**9, 10**9), 1e6 + 0.25)
    assert (values.tolist(), multiplicities.tolist()) == ([1, 0.5, 0], [10**6, 1, 10**9 - 10**6 - 1])
    assert spectra.two_level.levels((10**9, 10**9), 1)[1].tolist() == [1, 10**9 - 1]


@pytest.mark.parametrize("law", DETERMINISTIC)
def test_a_deterministic_law_without_levels_is_taken_for_one_that_draws(law, generator):
    def plain(shape, stable_rank, **options):
        return law(shape, stable_rank, **options)

    said, unsaid = (srlib.Ensemble((6, 9, 6), (2.5, 4), law=own) for own in (law, plain))
    for name in ("quartic_traces", "participation_ranks"):
        values, errors = getattr(unsaid, name)()
        assert values == pytest.approx(getattr(said, name)().value, rel=1e-13)
        assert errors == (0, 0)
    one, two = (srlib.moments.log_growth(ensemble) for ensemble in (said, unsaid))
    torch.testing.assert_close(one.mean, two.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(one.variance, two.variance, rtol=1e-12, atol=1e-12)
    assert max(found.abs().max() for found in (two.mean_error, one.mean_error, one.variance_error)) == 0
    W = unsaid.sample(3, generator=generator).weights[0]
    torch.testing.assert_close(torch.linalg.svdvals(W), law((9, 6), 2.5, batch=3, dtype=W.dtype), rtol=0, atol=1e-13)
    assert torch.isfinite(srlib.collapsed.simulate(unsaid, 5, generator=generator).output).all()


def test_a_law_of_ones_own_that_does_not_draw(generator):
    @spectra.deterministic
    def flat(shape, stable_rank):
        """All squares but the first equal."""
        rest = ((stable_rank - 1) / (min(shape) - 1)) ** 0.5
        return (1.0, rest, rest), (1, 2, min(shape) - 3)

    assert (flat.__name__, flat.__doc__) == ("flat", "All squares but the first equal.")
    own, library = (srlib.Ensemble((6, 8), 2.5, law=law) for law in (flat, spectra.two_level))
    assert own.quartic_traces() == library.quartic_traces()
    first, second = (e.sample(2, generator=torch.Generator().manual_seed(0)).weights[0] for e in (own, library))
    assert torch.equal(first, second)


def test_mean_quartic_trace_is_reproducible_and_draws_from_no_global_state():
    before = torch.get_rng_state()
    first = spectra.mean_quartic_trace(spectra.uniform_sphere, (9, 9), 3.25)
    assert spectra.law._mean_quartic_trace.__wrapped__(spectra.uniform_sphere, (9, 9), 3.25) == first
    assert spectra.mean_quartic_trace(spectra.uniform_sphere, (9, 9), 3.25) is first  # kept
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("law", [flat_tail, functools.partial(flat_tail), lambda *a, **o: flat_tail(*a, **o)])
def test_any_callable_is_a_law(law, generator):
    W = srlib.sample((7, 5), 2.5, law=law, batch=4, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(srlib.stable_rank(W), torch.full((4,), 2.5, dtype=W.dtype))
    assert srlib.participation_rank(W).std() > 0

    ensemble = srlib.Ensemble((5, 7, 6), [2.5, 3], law=law)
    for W, r in zip(ensemble.sample(2, generator=generator).weights, ensemble.stable_ranks, strict=True):
        torch.testing.assert_close(srlib.stable_rank(W), torch.full((2,), r, dtype=W.dtype))
    for q, r, shape in zip(ensemble.quartic_traces().value, ensemble.stable_ranks, ensemble.shapes, strict=True):
        low, high = quartic_range(r, min(shape))
        assert low < q < high


@every_law
@pytest.mark.parametrize(
    ("error", "message", "shape", "r", "options"),
    [
        *(
            (ValueError, f"stable_rank must lie in [1, min(m, n)] = [1, 3], got {float(r)}", (4, 3), r, {})
            for r in (0.5, 3.001, -1, math.nan, math.inf)
        ),
        *(
            (TypeError, f"stable_rank must be a real number, got {r!r}", (4, 3), r, {})
            for r in (True, "2", 2j, None, [2.0])
        ),
        (ValueError, "shape must be a pair (rows, columns), got (4, 3, 2)", (4, 3, 2), 1, {}),
        (ValueError, "shape must be a pair (rows, columns), got 4", 4, 1, {}),
        (ValueError, "number of columns must be at least 1, got 0", (4, 0), 1, {}),
        (TypeError, "number of rows must be an integer, got 2.5", (2.5, 4), 1, {}),
        (ValueError, "at least 0, got -1", (4, 3), 2, {"batch": -1}),
        (TypeError, "got torch.int32", (4, 3), 2, {"dtype": torch.int32}),
    ],
)
def test_bad_input(rejects, law, error, message, shape, r, options):
    rejects(error, message, lambda g: law(shape, r, generator=g, **options))


def test_a_law_that_draws_no_numbers_is_refused():
    def broken(shape, stable_rank, *, batch=(), generator=None, dtype=None, device=None):
        return torch.full((batch, min(shape)), math.nan, dtype=dtype)

    for averaged in (spectra.mean_quartic_trace, lambda law, shape, r: log_growth(Ensemble(shape, r, law=law))):
        with pytest.raises(ValueError, match="law must draw finite singular values, got NaN or infinity"):
            averaged(broken, (4, 4), 2)


@pytest.mark.parametrize("aspect", [1.0, 1.5, 4.0])
@pytest.mark.parametrize("rho", [0.1, 0.3, 0.44, 0.6, 0.77, 0.9])
def test_the_gas_has_its_mass_its_mean_and_its_quartic_trace_in_every_phase(rho, aspect):
    """Square matrices change phase at rho = 1/4 and 3/4, others elsewhere (M4)."""
    theta = (torch.arange(400_000, dtype=torch.float64) + 0.5) * (math.pi / 2 / 400_000)
    lam = theta.sin().square()
    mass = spectra.coulomb.density(rho, lam, aspect) * (2 * theta).sin() * (math.pi / 2 / 400_000)
    assert (mass >= 0).all()
    moments = [(mass @ lam**p).item() for p in range(3)]
    assert moments == pytest.approx([1, rho, spectra.coulomb.quartic(rho, aspect)], rel=1e-3)


def test_an_average_has_the_standard_error_of_the_mean():
    draws = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [1.0, 9, 0]
    )
    mean, error = average(draws + 1e6)
    torch.testing.assert_close(mean - 1e6, draws.mean(0), rtol=0, atol=1e-9)
    torch.testing.assert_close(error, torch.from_numpy(stats.sem(draws)), rtol=1e-6, atol=1e-12)
    assert error[2] == 0

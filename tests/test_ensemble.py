import dataclasses
import math

import naive
import pytest
import torch

import srlib
from srlib import Ensemble, check, moments, sample, spectra

SHAPES = [(1, 1), (1, 6), (6, 1), (5, 5), (4, 9), (9, 4)]


def norms(W):
    return torch.linalg.matrix_norm(W, 2)


@pytest.mark.parametrize("law", [spectra.two_level, spectra.projector, spectra.power_law, spectra.uniform_sphere])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_draw_has_the_stable_rank_and_the_spectral_norm(shape, law, generator):
    r = 1 + 0.7 * (min(shape) - 1)
    W = sample(shape, r, spectral_norm=2.5, law=law, batch=(2, 3), generator=generator, dtype=torch.float64)
    assert W.shape == (2, 3, *shape)
    torch.testing.assert_close(srlib.stable_rank(W), torch.full((2, 3), r, dtype=W.dtype))
    torch.testing.assert_close(norms(W), torch.full((2, 3), 2.5, dtype=W.dtype))


def test_law_is_used_as_it_is(generator):
    sigma = spectra.projector((4, 6), 2.25, dtype=torch.float64)
    W = sample((4, 6), 2.25, law=spectra.projector, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(torch.linalg.svdvals(W), sigma, rtol=0, atol=1e-14)


def some_level(shape, stable_rank, *, batch=(), generator=None, dtype=None, device=None):
    """One singular value at 1, the others equal, at a level that differs from matrix to matrix."""
    level = 0.3 + 0.5 * torch.rand(*batch, 1, generator=generator, dtype=dtype, device=device)
    sigma = level.expand(-1, min(shape)).clone()
    sigma[:, 0] = 1
    return sigma


@pytest.mark.parametrize(
    ("law", "r"),
    [
        (spectra.two_level, 2.25),
        (spectra.two_level, 4),
        (spectra.projector, 1),
        (spectra.projector, 2.25),
        (spectra.projector, 3.5),
        (spectra.power_law, 2.25),
        (spectra.uniform_sphere, 2.25),
        (some_level, 2.25),
        (spectra.conditioned_gaussian, 1.6),
    ],
)
@pytest.mark.parametrize("shape", [(4, 4), (4, 6), (6, 4)])
def test_is_the_product_of_its_definition(shape, law, r, generator):
    """Fewer Haar factors, unformed ones, the same law: against U diag(sigma) V^T with both of them from QR."""
    count, k = 4_000, min(shape)
    sigma = law(shape, r, batch=(count,), generator=generator, dtype=torch.float64)
    U, V = (naive.haar(side, k, count, generator) for side in shape)
    slow = ((U * sigma.unsqueeze(-2)) @ V.mT).flatten(1)
    fast = sample(shape, r, law=law, batch=count, generator=generator, dtype=torch.float64).flatten(1)
    W = naive.haar(shape[0], k, count, generator, signs=False) * sigma.unsqueeze(-2)
    wrong = {"no signs": (W @ naive.haar(shape[1], k, count, generator, signs=False).mT).flatten(1)}
    if r != k:
        wrong["one factor"] = (W @ torch.eye(k, shape[1], dtype=W.dtype)).flatten(1)
    claim = check.same_law("M2.tests", "t", slow, fast, wrong=wrong, resolve=0.2)
    assert claim, claim


@pytest.mark.parametrize("law", [spectra.two_level, spectra.projector, spectra.power_law])
@pytest.mark.parametrize("shape", SHAPES)
def test_singular_values_are_those_of_the_law(shape, law, generator):
    for r in {1, 1 + 0.3 * (min(shape) - 1), 1 + 0.7 * (min(shape) - 1), min(shape)}:
        W = sample(shape, r, law=law, batch=3, generator=generator, dtype=torch.float64)
        assert W.is_contiguous()
        expected = law(shape, r, batch=3, dtype=torch.float64)
        torch.testing.assert_close(torch.linalg.svdvals(W), expected, rtol=0, atol=1e-14)


def entry_moments(W):
    """Moments of the corners; the last is 0 on average if rows have uniform directions: E a^2 b^2 = E a^4 / 3."""
    a, b, c, d = (W[:, i, j] for i in (0, -1) for j in (0, -1))
    return torch.stack([a, a * d, b * c, a**2, b**2, c**2, d**2, (a * b) ** 2 - (a**4 + b**4) / 6], 1)


@pytest.mark.parametrize(
    ("law", "r"), [(spectra.projector, 2.25), (spectra.uniform_sphere, 2.25), (spectra.conditioned_gaussian, 1.5)]
)
def test_law_is_invariant_under_rotations(law, r, generator):
    m, n = 3, 4
    W = sample((m, n), r, law=law, batch=30_000, generator=generator, dtype=torch.float64)
    second = r / (m * n)
    rotation = srlib.haar.orthogonal(n, generator=generator, dtype=torch.float64)
    skewed = W * torch.linspace(0.9, 1.1, n, dtype=torch.float64)
    claim = check.sampled(
        "M2.entries",
        "entry moments of a matrix and of its rotation",
        torch.cat([entry_moments(W), entry_moments(W @ rotation)], 1),
        [0, 0, 0, second, second, second, second, 0] * 2,
        wrong_samples={"unequal columns": torch.cat([entry_moments(skewed), entry_moments(skewed @ rotation)], 1)},
        scale=second,
        resolve=0.2,
    )
    assert claim, claim
    assert claim.noticeable < 0.13


CONDENSED = [
    ((2, 2), 1.2),
    ((2, 5), 1.4),
    ((5, 5), 1.7),
    ((4, 9), 1.9),
    ((9, 4), 1.9),
    ((40, 40), 8.5),
    ((64, 40), 9.0),
]


@pytest.mark.parametrize(("shape", "r"), CONDENSED)
@pytest.mark.parametrize("batch", [(), (2, 3), (0,), 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_condensed_matrices_need_no_frames(shape, r, batch, dtype, generator, monkeypatch):  # M5
    monkeypatch.setattr(srlib.haar, "_reflections", None)
    options = {"batch": batch, "generator": generator, "dtype": dtype}
    W = sample(shape, r, spectral_norm=2.5, law=spectra.conditioned_gaussian, **options)
    leading = (batch,) if isinstance(batch, int) else batch
    assert (W.shape, W.dtype, W.is_contiguous()) == ((*leading, *shape), dtype, True)
    if W.numel():
        torch.testing.assert_close(srlib.stable_rank(W), torch.full(leading, r, dtype=dtype))
        torch.testing.assert_close(norms(W), torch.full(leading, 2.5, dtype=dtype))


@pytest.mark.parametrize(("shape", "r"), [((3, 3), 1.4), ((5, 3), 1.5), ((4, 6), 1.8)])
def test_condensed_matrices_are_a_pair_and_a_corner(shape, r, generator):  # M5
    count = 3_000
    slow = naive.conditioned_matrices(*shape, r, count, generator)
    options = {"batch": count, "generator": generator, "dtype": torch.float64}
    found = sample(shape, r, law=spectra.conditioned_gaussian, **options)
    k = min(shape)
    upright = torch.zeros_like(slow)
    upright[:, :k] = torch.linalg.svd(slow, full_matrices=False).Vh * torch.linalg.svdvals(slow).unsqueeze(-1)
    wrong = {"one frame": upright, "signs of the pair": slow * slow[:, :1, :1].sign()}
    wrong = {name: W.flatten(1) for name, W in wrong.items()}
    claim = check.same_law("M5.tests", "t", slow.flatten(1), found.flatten(1), wrong=wrong, resolve=0.2)
    assert claim, claim
    uniform = sample(shape, r, law=spectra.uniform_sphere, **options)
    slow, found, uniform = (torch.linalg.svdvals(W) for W in (slow, found, uniform))
    claim = check.same_law("M5.tests", "t", slow, found, wrong={"uniform": uniform}, resolve=0.2)
    assert claim, claim


def test_a_law_is_asked_for_whole_matrices_first():
    asked = []

    def law(shape, stable_rank, **options):
        asked.append("values")
        return spectra.two_level(shape, stable_rank, **options)

    def matrices(shape, stable_rank, *, batch, generator, dtype, device):
        asked.append((shape, stable_rank, batch, dtype))
        return torch.eye(*shape, dtype=dtype) if stable_rank == 3 else None

    law.matrices = matrices
    assert sample((3, 8), 3, spectral_norm=2, law=law, batch=(), dtype=torch.float16).equal(2 * torch.eye(3, 8).half())
    assert asked == [((3, 8), 3.0, (), torch.float32)]
    assert sample((3, 8), 2, law=law, batch=4).shape == (4, 3, 8)
    assert asked[1:] == [((3, 8), 2.0, (4,), torch.float32), "values"]
    for shape, r in [((5, 5), 1), ((5, 5), 5), ((6, 5), 4.5), ((5, 5), 3)]:  # ends, mirror, walk
        assert spectra.conditioned_gaussian.matrices(shape, r, batch=2) is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtype(dtype):
    def draw(dtype):
        return sample((20, 30), 5.5, generator=torch.Generator().manual_seed(0), dtype=dtype)

    assert draw(dtype).dtype == dtype
    assert torch.equal(draw(dtype), draw(torch.float32).to(dtype))
    assert srlib.stable_rank(draw(dtype)).item() == pytest.approx(5.5, rel=4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("law", [spectra.two_level, spectra.uniform_sphere])
def test_networks_are_as_declared(law, generator):
    widths, ranks, scales = (7, 4, 9, 1), (3.5, 2.25, 1), (0.5, 2, 3)
    ensemble = Ensemble(widths, ranks, scales, law=law, readout_norm=1.5, negative_slope=0.25)
    network = ensemble.sample(16, generator=generator)
    assert (ensemble.depth, ensemble.shapes) == (3, ((4, 7), (9, 4), (1, 9)))
    assert [W.shape for W in network.weights] == [(16, 4, 7), (16, 9, 4), (16, 1, 9)]
    for W, r, s in zip(network.weights, ranks, scales, strict=True):
        torch.testing.assert_close(srlib.stable_rank(W), torch.full((16,), float(r), dtype=torch.float64))
        torch.testing.assert_close(norms(W), torch.full((16,), float(s), dtype=torch.float64))
    assert network.readout.shape == (16, 1)
    assert set(network.readout.flatten().tolist()) == {-1.5, 1.5}
    assert network.negative_slope == 0.25


def test_readout_is_a_vector_of_given_length(generator):
    readout = Ensemble((3, 5), 2, readout_norm=1.5).sample(20_000, generator=generator).readout
    torch.testing.assert_close(readout.norm(dim=-1), torch.full((20_000,), 1.5, dtype=torch.float64))
    scaled = readout * math.sqrt(5) / 1.5
    moments = torch.stack([scaled[:, 0], scaled[:, -1], scaled[:, 0] ** 2, scaled[:, -1] ** 2], 1)
    claim = check.sampled("M2.readout", "moments of the readout", moments, [0, 0, 1, 1], scale=1.0, resolve=0.2)
    assert claim, claim


@pytest.mark.parametrize("number", [2, 2.0, torch.tensor(2.0)])
def test_numbers_stand_for_every_layer(number):
    assert Ensemble((5, 4, 3), number, number) == Ensemble((5, 4, 3), [2, 2], torch.tensor([2.0, 2.0]))
    assert Ensemble((5, 4, 3), number).stable_ranks == (2.0, 2.0)


def test_participation_ranks(generator):
    ensemble = Ensemble((4, 4, 6), (2.5, 2), law=spectra.projector)
    assert ensemble.quartic_traces() == (pytest.approx((2.25, 2)), (0, 0))
    assert ensemble.participation_ranks() == (pytest.approx((6.25 / 2.25, 2)), (0, 0))
    sampled = [srlib.participation_rank(W).item() for W in ensemble.sample(1, generator=generator).weights]
    assert sampled == pytest.approx(ensemble.participation_ranks().value)


def test_errors_of_averages_are_relative():
    ensemble = Ensemble((6, 9, 6), 3, law=spectra.uniform_sphere)
    traces, ranks = ensemble.quartic_traces(), ensemble.participation_ranks()
    for q, q_error, p, p_error in zip(*traces, *ranks, strict=True):
        assert p == pytest.approx(9 / q)
        assert p_error / p == pytest.approx(q_error / q)
        assert 0 < q_error <= 1e-3 * q


@pytest.mark.parametrize("slope", [0.0, 0.3, 1.0])
def test_preserving_keeps_the_mean_norm(slope):
    ensemble = Ensemble((9, 5, 8), (2.5, 4), 3, law=spectra.projector, readout_norm=2, negative_slope=slope)
    mean = moments.feature_norm(ensemble.preserving()).mean
    torch.testing.assert_close(mean, torch.ones(3, dtype=torch.float64))
    kept = dataclasses.replace(ensemble.preserving(), spectral_norms=3)
    assert kept == ensemble


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Ensemble((3, 3), 2).stable_ranks = (1.0,)


def test_lists_handed_in_are_copied():
    ranks = [2.0, 2.0]
    ensemble = Ensemble([5, 4, 3], ranks)
    ranks[0] = 1.0
    assert ensemble.stable_ranks == (2.0, 2.0)
    assert len({ensemble, Ensemble((5, 4, 3), 2)}) == 1


def test_seed_determines_the_networks():
    def weights(seed):
        network = Ensemble((4, 3, 5), 2.5).sample(2, generator=torch.Generator().manual_seed(seed))
        return torch.cat([W.flatten() for W in (*network.weights, network.readout)])

    assert torch.equal(weights(0), weights(0))
    assert not torch.isclose(weights(0), weights(1)).any()


def test_layers_are_independent_draws(generator):
    first, second = Ensemble((4, 4, 4), 2.5).sample(2, generator=generator).weights
    assert not torch.isclose(first, second).any()
    assert not torch.isclose(first[0], first[1]).any()


def test_empty_batch(generator):
    network = Ensemble((4, 3), 2).sample(0, generator=generator)
    assert network.weights[0].shape == (0, 3, 4)
    assert network.readout.shape == (0, 3)


def test_float32_networks(generator):
    network = Ensemble((4, 3), 2).sample(2, generator=generator, dtype=torch.float32)
    assert {network.weights[0].dtype, network.readout.dtype} == {torch.float32}


def constant_law(shape, stable_rank, *, batch=(), generator=None, dtype=None, device=None):
    """A law that doesn't look at the stable rank."""
    return spectra.two_level(shape, 2.0, batch=batch, dtype=dtype)


NOT_NUMBERS = [True, "2", 2j, None]
OUTSIDE = [0.5, 4.001, -1, math.nan, math.inf]


@pytest.mark.parametrize("law", [spectra.two_level, spectra.uniform_sphere, constant_law])
@pytest.mark.parametrize("r", OUTSIDE)
def test_stable_rank_out_of_range(rejects, r, law):
    range_ = f"must lie in [1, min(m, n)] = [1, 4], got {float(r)}"
    rejects(ValueError, f"stable_rank {range_}", lambda g: sample((4, 6), r, law=law, generator=g))
    rejects(ValueError, f"stable_ranks[0] {range_}", lambda _: Ensemble((6, 4), r, law=law))
    rejects(ValueError, f"stable_ranks[1] {range_}", lambda _: Ensemble((6, 4, 6), [4, r], law=law))


@pytest.mark.parametrize("value", NOT_NUMBERS)
def test_stable_ranks_and_norms_that_are_no_numbers(rejects, value):
    rejects(
        TypeError, f"stable_rank must be a real number, got {value!r}", lambda g: sample((4, 6), value, generator=g)
    )
    rejects(TypeError, f"got {value!r}", lambda _: Ensemble((6, 4), value))
    rejects(
        TypeError, f"stable_ranks[1] must be a real number, got {value!r}", lambda _: Ensemble((6, 4, 6), [4, value])
    )
    rejects(TypeError, f"got {value!r}", lambda _: Ensemble((6, 4), 2, value))
    for name in ("readout_norm", "negative_slope"):
        rejects(
            TypeError,
            f"{name} must be a real number, got {value!r}",
            lambda _, o={name: value}: Ensemble((6, 4), 2, **o),
        )


@pytest.mark.parametrize(
    ("s", "wanted"), [(0, "positive"), (-1, "positive"), (math.nan, "finite"), (math.inf, "finite")]
)
def test_spectral_norm_out_of_range(rejects, s, wanted):
    message = f"must be {wanted}, got {float(s) if wanted == 'positive' else s}"
    rejects(ValueError, f"spectral_norm {message}", lambda g: sample((4, 6), 2, spectral_norm=s, generator=g))
    rejects(ValueError, f"spectral_norms[1] {message}", lambda _: Ensemble((6, 4, 6), 2, [1, s]))
    rejects(ValueError, f"readout_norm {message}", lambda _: Ensemble((6, 4), 2, readout_norm=s))


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, "widths must hold at least the input and one layer, got (4,)", lambda _: Ensemble((4,), 1)),
        (ValueError, "widths must hold at least the input and one layer, got ()", lambda _: Ensemble((), 1)),
        (TypeError, "widths", lambda _: Ensemble(4, 1)),
        (ValueError, "widths[1] must be at least 1, got 0", lambda _: Ensemble((4, 0, 3), 1)),
        (ValueError, "widths[0] must be at least 1, got -4", lambda _: Ensemble((-4, 3), 1)),
        (TypeError, "widths[1] must be an integer, got 2.5", lambda _: Ensemble((4, 2.5), 1)),
        (TypeError, "widths[0] must be an integer, got True", lambda _: Ensemble((True, 2), 1)),
        (
            ValueError,
            "stable_ranks must be one number or 2 numbers, one a layer, got 3",
            lambda _: Ensemble((4,) * 3, [1] * 3),
        ),
        (ValueError, "spectral_norms must be one number or 2 numbers", lambda _: Ensemble((4,) * 3, 1, [1])),
        (ValueError, "negative_slope must be finite, got nan", lambda _: Ensemble((4, 4), 1, negative_slope=math.nan)),
        (ValueError, "at least 0, got -1", lambda g: Ensemble((4, 4), 1).sample(-1, generator=g)),
        (TypeError, "got torch.int64", lambda g: Ensemble((4, 4), 1).sample(1, generator=g, dtype=torch.int64)),
        (ValueError, "shape must be a pair (rows, columns), got (4,)", lambda g: sample((4,), 1, generator=g)),
        (ValueError, "shape must be a pair (rows, columns), got 4", lambda g: sample(4, 1, generator=g)),
        (ValueError, "number of rows must be at least 1, got 0", lambda g: sample((0, 3), 1, generator=g)),
        (TypeError, "number of columns must be an integer, got 2.5", lambda g: sample((3, 2.5), 1, generator=g)),
        (ValueError, "at least 0, got -1", lambda g: sample((3, 3), 1, batch=-1, generator=g)),
        (TypeError, "got torch.int64", lambda g: sample((3, 3), 1, dtype=torch.int64, generator=g)),
    ],
)
def test_bad_input(rejects, error, message, call):
    rejects(error, message, call)


def test_a_batch_of_networks_is_one_number(rejects):
    for batch in ((2, 3), 2.5, True):
        message = f"batch must be an integer of at least 0, got {batch!r}"
        rejects(TypeError, message, lambda g, batch=batch: Ensemble((4, 4), 2).sample(batch, generator=g))


DRAWN = [getattr(spectra, name) for name in ("projector", "coulomb_gas", "uniform_sphere", "conditioned_gaussian")]


def stepped(shape, stable_rank, **options):
    """Distinct levels, so that a matrix takes two Haar factors; what a law that draws does, by its generator alone."""
    k, noise = min(shape), torch.rand(min(shape) - 1, generator=options["generator"], dtype=torch.float64)
    tail = (1 + 0.1 * noise).sort(descending=True).values
    sigma = torch.cat([tail.new_ones(1), tail * math.sqrt((stable_rank - 1) / tail.square().sum())])
    batch = (options["batch"],) if isinstance(options["batch"], int) else options["batch"]
    return sigma.expand(*batch, k).to(options["dtype"])


@pytest.mark.parametrize(
    ("law", "r"), [*((law, 2.5) for law in [*DRAWN, stepped]), (spectra.conditioned_gaussian, 1.6)]
)
def test_only_the_given_generator_decides_a_draw_and_torchs_own_is_left_alone(law, r):
    draws = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        options = {"law": law, "batch": (2,), "generator": torch.Generator().manual_seed(0), "dtype": torch.float64}
        draws.append(sample((7, 5), r, **options))
        network = Ensemble((5, 7, 6), r, law=law).sample(2, generator=options["generator"])
        draws[-1] = torch.cat([part.flatten() for part in (draws[-1], *network.parameters)])
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*draws)


def test_a_law_is_asked_for_rows_and_columns():
    asked = []

    def law(shape, stable_rank, **options):
        asked.append(shape)
        return spectra.two_level(shape, stable_rank, **options)

    sample((3, 8), 2.0, law=law)
    Ensemble((8, 3, 6), 2.0, law=law).sample(1)
    assert asked == [(3, 8), (3, 8), (6, 3)]


def test_single_precision_keeps_the_stable_rank_of_a_wide_matrix(generator):
    W = sample((1000, 1000), 200, law=spectra.conditioned_gaussian, generator=generator, dtype=torch.float32)
    assert W.double().square().sum().item() / 200 == pytest.approx(1, abs=1e-6)

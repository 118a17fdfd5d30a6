import math

import naive
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from srlib import haar, participation_rank, rank, spectra, stable_rank

RANKS = [(stable_rank, naive.stable_rank), (participation_rank, naive.participation_rank)]

each_rank = pytest.mark.parametrize("measure", [measure for measure, _ in RANKS])


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (4, 4), (3, 8), (8, 3)])
@pytest.mark.parametrize(("measure", "twin"), RANKS)
def test_against_the_definition_in_any_batch(measure, twin, shape):
    W = gaussian(2, 3, *shape)
    found = measure(W)
    assert found.shape == (2, 3)
    expected = [[twin(W[i, j]) for j in range(3)] for i in range(2)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    assert measure(W[0, 0]).item() == pytest.approx(expected[0][0])


@pytest.mark.parametrize(
    ("diagonal", "stable", "participation"),
    [([3, 3, 3], 3, 3), ([2, 1, 1], 3 / 2, 2), ([5, 0, 0], 1, 1), ([1, 1, 0], 2, 2)],
)
def test_values_by_hand(diagonal, stable, participation):
    W = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    assert stable_rank(W).item() == pytest.approx(stable)
    assert participation_rank(W).item() == pytest.approx(participation)


@each_rank
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        *((torch.float32, scale) for scale in (-3.0, 1e-30, 1e-22, 1e30)),
        *((torch.float64, scale) for scale in (-3.0, 1e-200, 1e200)),
    ],
)
def test_scale_does_not_matter(measure, dtype, scale):
    W = gaussian(5, 4).to(dtype)
    torch.testing.assert_close(measure(W * scale), measure(W), rtol=1e-5, atol=0)


@each_rank
@given(m=st.integers(1, 6), n=st.integers(1, 6), seed=st.integers(0, 99))
def test_rotations_and_transposition_do_not_matter(measure, m, n, seed):
    W, g = gaussian(m, n, seed=seed), torch.Generator().manual_seed(seed + 100)
    left, right = (haar.orthogonal(size, generator=g, dtype=torch.float64) for size in (m, n))
    torch.testing.assert_close(measure(left @ W @ right), measure(W))
    torch.testing.assert_close(measure(W.mT), measure(W))


@given(m=st.integers(1, 8), n=st.integers(1, 8), seed=st.integers(0, 99))
def test_stable_rank_participation_rank_and_rank_are_ordered(m, n, seed):
    W = gaussian(m, n, seed=seed)
    r, p = stable_rank(W).item(), participation_rank(W).item()
    assert 1 - 1e-12 <= r <= p * (1 + 1e-12)
    assert p <= min(m, n) * (1 + 1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.0, 1e-4])  # the square of 1e-4 is 0 in float16
@each_rank
def test_half_precision_is_computed_in_float32(measure, scale, dtype):
    W = (scale * gaussian(6, 5)).to(dtype)
    assert torch.equal(measure(W), measure(W.float()))
    assert measure(W).item() == pytest.approx(measure(W.double()).item(), rel=1e-5)


@each_rank
@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_eight_bits_are_computed_in_float32(measure, dtype):
    W = gaussian(3, 6, 5).to(dtype)
    assert torch.equal(measure(W), measure(W.float()))


@each_rank
@pytest.mark.parametrize("shape", [(0,), (0, 4), (4, 0)])
def test_empty_batch(measure, shape):
    assert measure(torch.zeros(*shape, 3, 2)).shape == shape


@each_rank
@pytest.mark.parametrize("shape", [(3, 4), (4, 3), (2, 3, 3)])
def test_gradients(measure, shape):
    W = gaussian(*shape).requires_grad_()
    assert torch.autograd.gradcheck(measure, W)


@each_rank
@pytest.mark.parametrize("W", [torch.nn.Parameter(torch.eye(3)), torch.eye(3).mT.expand(2, 3, 3), torch.eye(6)[::2]])
def test_parameters_and_views(measure, W):
    assert (measure(W) == 3).all()


@each_rank
@pytest.mark.parametrize(
    ("error", "message", "W"),
    [
        (TypeError, "got torch.int64", torch.eye(3, dtype=torch.int64)),
        (TypeError, "got torch.complex64", torch.eye(3, dtype=torch.complex64)),
        (TypeError, "got torch.bool", torch.eye(3, dtype=torch.bool)),
        (TypeError, "got list", [[1.0, 2.0]]),
        (ValueError, "must hold numbers, got a tensor on the meta device", torch.eye(3, device="meta")),
        (ValueError, "got ()", torch.tensor(1.0)),
        (ValueError, "got (0, 0)", torch.ones(0, 0)),
        (ValueError, "finite entries, got NaN", torch.full((2, 2), math.nan).to(torch.float8_e4m3fn)),
        (ValueError, "got (3,)", torch.ones(3)),
        (ValueError, "got (2, 0, 3)", torch.ones(2, 0, 3)),
        (ValueError, "finite entries, got NaN", torch.full((2, 2), math.nan)),
        (ValueError, "finite entries, got NaN or infinity", torch.tensor([[1.0, math.inf]])),
        (ValueError, "W must be nonzero", torch.zeros(2, 2)),
        (ValueError, "W must be nonzero", torch.stack([torch.eye(2), torch.zeros(2, 2)])),
    ],
)
def test_bad_input(rejects, measure, error, message, W):
    rejects(error, message, lambda _: measure(W))


@each_rank
@pytest.mark.filterwarnings("ignore")  # torch warns whoever makes such a tensor
@pytest.mark.parametrize(
    ("message", "make"),
    [
        ("must be a dense tensor, got torch.sparse_coo", torch.Tensor.to_sparse),
        ("must be a dense tensor, got torch.sparse_csr", torch.Tensor.to_sparse_csr),
        ("must be a dense tensor, got a nested one", lambda W: torch.nested.as_nested_tensor([W, W])),
        (
            "must be a dense tensor, got a nested one",
            lambda W: torch.nested.as_nested_tensor([W, W], layout=torch.jagged),
        ),
        ("got torch.qint8", lambda W: torch.quantize_per_tensor(W, 0.1, 0, torch.qint8)),
    ],
)
def test_what_is_not_a_dense_tensor(rejects, measure, message, make):
    W = make(torch.eye(3))
    rejects(TypeError, message, lambda _: measure(W))


@pytest.mark.parametrize(
    ("r", "k", "ends"),
    [(1, 1, (1, 1)), (1, 5, (1, 1)), (5, 5, (5, 5)), (2.5, 4, (1.75, 2.25)), (3, 9, (1.5, 3)), (1.5, 2, (1.25, 1.25))],
)
def test_quartic_range_by_hand(r, k, ends):
    assert rank.quartic_range(r, k) == pytest.approx(ends)


@given(squares=st.lists(st.floats(0, 1), max_size=10))
def test_quartic_range_holds_for_every_spectrum(squares):
    squares = [1.0, *squares]
    low, high = rank.quartic_range(min(sum(squares), len(squares)), len(squares))
    assert low * (1 - 1e-12) <= sum(square**2 for square in squares) <= high * (1 + 1e-12)


#: Stable rank and number of singular values, whole and not, at both ends and between.
SIZES = [(1, 1), (1, 4), (4, 4), (2.5, 4), (3, 9), (1.25, 3), (7.75, 8)]

each_size = pytest.mark.parametrize(("r", "k"), SIZES)


def squares(r, k, law):
    return law((k, k), r, dtype=torch.float64).square().tolist()


@each_size
def test_energy_range_is_what_the_ends_hold(r, k):
    for kept in range(k + 1):
        ends = [naive.energy(squares(r, k, law), kept) for law in (spectra.two_level, spectra.projector)]
        assert rank.energy_range(r, kept, k) == pytest.approx(ends, abs=1e-14)


def test_energy_range_by_hand():
    assert rank.energy_range(2.5, 3, 4) == pytest.approx((0.8, 1))  # 1, 1/2, 1/2, 1/2 and 1, 1, 1/2, 0
    assert rank.energy_range(2.5, 1, 4) == pytest.approx((0.4, 0.4))
    assert 1 - rank.energy_range(16, 64, 256)[0] == pytest.approx(192 * 15 / (255 * 16))
    assert rank.energy_range(16, 0, 256) == (0, 0)


@given(others=st.lists(st.floats(0, 1), max_size=10), data=st.data())
def test_energy_range_holds_for_every_spectrum(others, data):
    spectrum = [1.0, *others]
    kept = data.draw(st.integers(0, len(spectrum)))
    low, high = rank.energy_range(min(sum(spectrum), len(spectrum)), kept, len(spectrum))
    assert low * (1 - 1e-12) <= naive.energy(spectrum, kept) <= high * (1 + 1e-12)


#: Convex functions; the last two are the negatives of concave ones, typical growth and length.
CONVEX = {
    "square": lambda y: y**2,
    "cube": lambda y: y**3,
    "over a quarter": lambda y: max(y - 0.25, 0),
    "over a half": lambda y: max(y - 0.5, 0),
    "minus log": lambda y: -math.log(y),
    "minus root": lambda y: -math.sqrt(y),
}


@pytest.mark.parametrize("name", CONVEX)
@given(others=st.lists(st.floats(0, 1), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_convex_means_of_a_squared_output_are_ordered(name, others, seed):
    spectrum = [1.0, *others]
    k = len(spectrum)
    r = min(sum(spectrum), float(k))
    direction = gaussian(k + 1, seed=seed)
    shares = (direction / direction.norm()).square().tolist()  # an output cannot vanish: none of them is 0
    low, mean, high = (
        naive.permuted_mean(CONVEX[name], by, shares)
        for by in (squares(r, k, spectra.two_level), spectrum, squares(r, k, spectra.projector))
    )
    slack = 1e-9 * (1 + abs(mean))  # S4
    assert low <= mean + slack
    assert mean <= high + slack


@given(m=st.integers(1, 8), n=st.integers(1, 8), seed=st.integers(0, 99))
def test_truncation_bound_holds(m, n, seed):
    W = gaussian(m, n, seed=seed)
    sigma = torch.linalg.svdvals(W)
    r = max(1.0, stable_rank(W).item())
    for kept, value in enumerate((sigma / sigma[0]).tolist()):
        assert value**2 <= rank.truncation_bound(r, kept) ** 2 + 1e-12
        assert rank.truncation_bound(r, kept) <= min(1, math.sqrt(r / (kept + 1))) + 1e-12


@pytest.mark.parametrize("kept", range(12))
@pytest.mark.parametrize("r", [1, 1.25, 3.5, 4, 9])
def test_truncation_bound_is_the_best_one(r, kept):
    best = naive.largest_square_after(kept, r, k=16)
    assert rank.truncation_bound(r, kept) ** 2 == pytest.approx(best, abs=1e-14)


def test_truncation_bound_by_hand():
    assert rank.truncation_bound(5, 16) == 0.5
    assert rank.truncation_bound(16, 64) == pytest.approx(0.4841, abs=1e-4)
    assert [rank.truncation_bound(4, kept) for kept in (0, 1, 3)] == [1, 1, 1]
    assert rank.truncation_bound(1, 1) == 0


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, "[1, min(m, n)] = [1, 4], got 4.5", lambda _: rank.quartic_range(4.5, 4)),
        (ValueError, "[1, min(m, n)] = [1, 4], got nan", lambda _: rank.quartic_range(math.nan, 4)),
        (ValueError, "k must be at least 1, got 0", lambda _: rank.quartic_range(1, 0)),
        (ValueError, "stable_rank must be at least 1, got 0.5", lambda _: rank.truncation_bound(0.5, 3)),
        (ValueError, "got nan", lambda _: rank.truncation_bound(math.nan, 3)),
        (ValueError, "kept must be at least 0, got -1", lambda _: rank.truncation_bound(2.0, -1)),
        (TypeError, "kept must be an integer, got 2.0", lambda _: rank.truncation_bound(2.0, 2.0)),
        (TypeError, "kept must be an integer, got True", lambda _: rank.energy_range(2.0, True, 4)),
        (ValueError, "kept must be at least 0, got -1", lambda _: rank.energy_range(2.0, -1, 4)),
        (ValueError, "kept must be at most k = 4, got 5", lambda _: rank.energy_range(2.0, 5, 4)),
        (ValueError, "[1, min(m, n)] = [1, 4], got 4.5", lambda _: rank.energy_range(4.5, 2, 4)),
        (ValueError, "k must be at least 1, got 0", lambda _: rank.energy_range(1, 0, 0)),
    ],
)
def test_bounds_name_what_is_wrong(rejects, error, message, call):
    rejects(error, message, call)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_entry_that_is_not_finite_is_refused(bad):
    W = gaussian(4, 3)
    W[1, 2] = bad
    for measure in (stable_rank, participation_rank, haar.rotate):
        with pytest.raises(ValueError, match="finite entries"):
            measure(W)

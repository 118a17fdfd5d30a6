import naive
import pytest
import torch

from srlib import check, haar

SIZES = [(1, 1), (2, 2), (5, 1), (5, 3), (6, 6), (40, 17)]
SHORT = [torch.float16, torch.bfloat16]


def draw(n, k=None, *, seed=0, dtype=torch.float64, **options):
    return haar.orthogonal(n, k, generator=torch.Generator().manual_seed(seed), dtype=dtype, **options)


@pytest.mark.parametrize("batch", [(), 3, (2, 3), 0, (2, 0)])
@pytest.mark.parametrize(("n", "k"), SIZES)
def test_columns_are_orthonormal(n, k, batch):
    Q = draw(n, k, batch=batch)
    leading = (batch,) if isinstance(batch, int) else batch
    assert Q.shape == (*leading, n, k)
    torch.testing.assert_close(Q.mT @ Q, torch.eye(k, dtype=Q.dtype).expand(*leading, k, k), rtol=0, atol=1e-13)


def test_square_unless_told_otherwise():
    assert draw(4, batch=2).shape == (2, 4, 4)


@pytest.mark.parametrize("dtype", [torch.float32, *SHORT])
def test_dtype_is_that_of_the_result_and_computation_is_in_float32_at_least(dtype):
    Q = draw(30, 20, dtype=dtype)
    assert Q.dtype == dtype
    assert torch.equal(Q, draw(30, 20, dtype=torch.float32).to(dtype))
    error = (Q.double().T @ Q.double() - torch.eye(20)).abs().max()
    assert error < 4 * torch.finfo(dtype).eps


def test_default_dtype_is_torchs(generator):
    assert haar.orthogonal(3, generator=generator).dtype == torch.get_default_dtype()


def test_members_of_a_batch_and_successive_draws_differ(generator):
    first = haar.orthogonal(5, batch=2, generator=generator)
    second = haar.orthogonal(5, batch=2, generator=generator)
    assert not torch.isclose(first[0], first[1]).any()
    assert not torch.isclose(first, second).any()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("n", "k"), SIZES)
def test_is_the_sign_fixed_qr_factor_of_a_gaussian_matrix(n, k, seed):
    drawn = torch.randn(k * n - k * (k - 1) // 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    gaussian = torch.randn(n, k, dtype=torch.float64)
    for j, column in enumerate(drawn.split([n - j for j in range(k)])):
        gaussian[j:, j] = column
    A, Q = naive.householder_qr(gaussian)
    torch.testing.assert_close(draw(n, k, seed=seed), Q, rtol=0, atol=1e-12)
    torch.testing.assert_close(draw(n, k, seed=seed), naive.gram_schmidt(A), rtol=0, atol=1e-9)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (0,)])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (4, 4), (2, 6), (6, 2)])
def test_rotation_is_multiplication_by_the_matrix_it_does_not_form(m, n, batch, generator):
    A = torch.randn(*batch, m, n, generator=generator, dtype=torch.float64)
    before = A.clone()
    rotated = haar.rotate(A, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(rotated, A @ draw(n, batch=batch, seed=1).mT, rtol=0, atol=1e-13)
    assert torch.equal(A, before)


@pytest.mark.parametrize("dtype", SHORT)
def test_rotation_of_half_precision_is_computed_in_single(dtype):
    A = torch.eye(5, dtype=dtype)
    one, two = (haar.rotate(B, generator=torch.Generator().manual_seed(0)) for B in (A, A.float()))
    assert torch.equal(one, two.to(dtype))


@pytest.mark.parametrize("planted", [0.0, -0.0])
@pytest.mark.parametrize(("n", "k"), [(1, 1), (3, 3), (3, 1), (4, 2)])
def test_a_draw_of_exactly_zero(n, k, planted, monkeypatch):
    """As 1 in 10^7 normal numbers of float32 is: where it is all that a column has, at n = 1 and in the last one."""
    randn = torch.randn

    def zeros_in_the_last_column(*size, **options):
        entries = randn(*size, **options)
        entries[..., -1 if n == k else slice(-(n - k + 1), None)] = planted
        return entries

    monkeypatch.setattr(torch, "randn", zeros_in_the_last_column)
    Q = draw(n, k, batch=4, dtype=torch.float32)
    torch.testing.assert_close(Q.mT @ Q, torch.eye(k).expand(4, k, k), rtol=0, atol=1e-5)
    turned = haar.rotate(torch.eye(n).expand(4, n, n).clone(), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(turned @ turned.mT, torch.eye(n).expand(4, n, n), rtol=0, atol=1e-5)


def corner_moments(Q):
    """Moments of a, b, c, d = the corners of sqrt(n) Q, up to order four."""
    a, b, c, d = ((Q.shape[-2] ** 0.5) * Q[:, i, j] for i in (0, -1) for j in (0, -1))
    return torch.stack(
        [a, d, a * d, a**2, d**2, a**4, d**4, (a * b) ** 2, (a * c) ** 2, (a * d) ** 2, a * b * c * d], 1
    )


@pytest.mark.parametrize(("n", "k"), [(2, 2), (4, 4), (5, 3)])
def test_moments_up_to_order_four(n, k, generator):
    same, fourth = n / (n + 2), 3 * n / (n + 2)  # Weingarten calculus
    apart, cycle = n * (n + 1) / ((n - 1) * (n + 2)), -n / ((n - 1) * (n + 2))
    count = 100_000
    claim = check.sampled(
        "M2.moments",
        "moments of the corners of a Haar frame",
        corner_moments(haar.orthogonal(n, k, batch=count, generator=generator, dtype=torch.float64)),
        [0, 0, 0, 1, 1, fourth, fourth, same, same, apart, cycle],
        wrong={"independent Gaussian entries": [0, 0, 0, 1, 1, 3, 3, 1, 1, 1, 0]},
        wrong_samples={"QR without the signs": corner_moments(naive.haar(n, k, count, generator, signs=False))},
        scale=1.0,
        resolve=0.2,
    )
    assert claim, claim
    assert claim.noticeable < 0.1


@pytest.mark.parametrize("n", [1, 2, 5])
def test_both_determinants_are_equally_likely(n, generator):
    determinant = torch.linalg.det(haar.orthogonal(n, batch=20_000, generator=generator, dtype=torch.float64))
    torch.testing.assert_close(determinant.abs(), torch.ones_like(determinant))
    wrong = {"rotations only": 1.0, "reflections only": -1.0}
    claim = check.sampled("M2.determinant", "mean determinant", determinant, 0.0, scale=1.0, wrong=wrong, resolve=0.2)
    assert claim, claim
    assert claim.noticeable < 0.06


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, "k must lie in [1, n] = [1, 3], got 4", lambda g: haar.orthogonal(3, 4, generator=g)),
        (ValueError, "k must be at least 1, got 0", lambda g: haar.orthogonal(3, 0, generator=g)),
        (ValueError, "n must be at least 1, got 0", lambda g: haar.orthogonal(0, generator=g)),
        (ValueError, "n must be at least 1, got -2", lambda g: haar.orthogonal(-2, generator=g)),
        (TypeError, "n must be an integer, got 2.0", lambda g: haar.orthogonal(2.0, generator=g)),
        (TypeError, "n must be an integer, got True", lambda g: haar.orthogonal(True, generator=g)),
        (TypeError, "k must be an integer, got '2'", lambda g: haar.orthogonal(3, "2", generator=g)),
        (ValueError, "at least 0, got -1", lambda g: haar.orthogonal(3, batch=-1, generator=g)),
        (ValueError, "at least 0, got (2, -1)", lambda g: haar.orthogonal(3, batch=(2, -1), generator=g)),
        (TypeError, "at least 0, got (1.5,)", lambda g: haar.orthogonal(3, batch=(1.5,), generator=g)),
        (TypeError, "got 2.5", lambda g: haar.orthogonal(3, batch=2.5, generator=g)),
        (TypeError, "got torch.int64", lambda g: haar.orthogonal(3, dtype=torch.int64, generator=g)),
        (TypeError, "got torch.complex64", lambda g: haar.orthogonal(3, dtype=torch.complex64, generator=g)),
        (TypeError, "got float32", lambda g: haar.orthogonal(3, dtype="float32", generator=g)),
        (TypeError, "A must be a real floating tensor, got list", lambda g: haar.rotate([[1.0]], generator=g)),
        (TypeError, "got torch.int64", lambda g: haar.rotate(torch.ones(2, 2).long(), generator=g)),
        (ValueError, "A must have shape (..., m, n)", lambda g: haar.rotate(torch.ones(2), generator=g)),
        (ValueError, "A must have finite entries", lambda g: haar.rotate(torch.full((2, 2), torch.nan), generator=g)),
    ],
)
def test_bad_input(rejects, error, message, call):
    rejects(error, message, call)

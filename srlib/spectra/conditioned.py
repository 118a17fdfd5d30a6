"""A Gaussian matrix conditioned on its stable rank (M3): by rejection where it can be (M5), by a walk elsewhere."""

import functools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple, Unpack

import torch
from torch import Tensor

from srlib import _validation
from srlib._types import Device, Factory, Sizes
from srlib.spectra.coulomb import coulomb_gas
from srlib.spectra.law import layer, offering, stateless

__all__ = ["conditioned_gaussian"]

#: Sweeps over disjoint random pairs that the walk makes; see :func:`conditioned_gaussian` for the measurement.
SWEEPS = 128

#: Standard deviations above the mean of its logarithm at which a weight without a good bound is cut off.
CAP = 5

#: Least share of proposals accepted, with the bound of the weight and with its cap; below it the next method is taken.
BOUNDED, CAPPED = 1 / 2, 1 / 16

#: Numbers in a block of proposals, of which only singular values are kept. A part of the stream.
BLOCK = 2**20

#: Numbers in a block of pairs of the walk. Of no effect but for last bits.
PAIRS = 2**16


def _matrices(shape: Sequence[int], stable_rank: float, *, batch: Sizes, **options: Unpack[Factory]) -> Tensor | None:
    """Draw matrices of spectral norm 1 with neither frames nor singular values, in the condensed phase (M5)."""
    (m, n), batch = _validation.layer_shape(shape), _validation.batch_shape(batch)
    k, r = layer(shape, stable_rank)
    proposal = _proposal(k, abs(m - n), r) if 1 < r < k else None
    if proposal is None or proposal.mirrored:
        return None
    W = torch.cat([_framed(proposal, size, options) for size in _blocks(proposal, math.prod(batch))])
    return (W if m <= n else W.mT).reshape(*batch, m, n)


@stateless
@offering(_matrices)
def conditioned_gaussian(
    shape: Sequence[int],
    stable_rank: float,
    *,
    batch: Sizes = (),
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    device: Device = None,
) -> Tensor:
    r"""Singular values of a Gaussian matrix, given that its stable rank is :math:`r`.

    .. math:: \propto \prod_{i\ge2} \lambda_i^{(|m-n|-1)/2} (1 - \lambda_i)
              \prod_{2\le i<j} |\lambda_i - \lambda_j|
              \quad\text{on } \sum_{i\ge2} \lambda_i = r - 1, \qquad \lambda = \sigma^2 .

    **At low stable rank** these are the squared singular values of an :math:`(m - 1) \times (n - 1)` matrix :math:`X`,
    uniform on the sphere :math:`\|X\|_F^2 = r - 1`, with the weight :math:`A = \det(I - XX^\top)` where
    :math:`\|X\|_2 < 1` (M5). Proposals on the sphere are accepted with probability :math:`\min(1, A / c)`. If the
    largest possible weight taken for :math:`c` accepts half of them, it is, and the draw is exact. Else :math:`c` lies
    5 standard deviations above the mean of :math:`\log A`, where that is lower. The law drawn then has the weight
    :math:`\min(A, c)`, at a distance of at most :math:`\mathbb{E}(A - c)_+ / \mathbb{E}A` in total variation: less than
    :math:`10^{-6}` if :math:`\log A` were Gaussian, and its upper tail was thinner wherever measured. The whole matrix,
    which :func:`srlib.ensemble.sample` asks for, takes neither frames nor singular values here.

    **At high stable rank**, :math:`m \ne n`, the same for :math:`1 - \lambda`, with matrices of shape
    :math:`(k - 1) \times (k + 2)`, :math:`\|X\|_F^2 = k - r` and the weight :math:`A^{(|m-n|-1)/2}`.

    **Elsewhere**, wherever fewer than 1 in 16 proposals would do, by a Kac walk with a Metropolis test: a pair
    :math:`(\sigma_i, \sigma_j)` is turned by a random angle, which keeps :math:`\lambda_i + \lambda_j`, takes
    :math:`O(k)` and absorbs the singularity of square matrices at 0. Sizes of the angle are uniform in scale, from the
    whole arc inside the unit square down to :math:`1/(8 \max(m, n))` of it, so that nothing needs tuning. A sweep turns
    about :math:`k/2` disjoint pairs one after the other.

    In equilibrium the correlations of the quartic trace, of :math:`\lambda_2` and of :math:`\sigma_k` with themselves
    were at most 0.35 after 16 sweeps and 0.2 after 32 (:math:`k` from 3 to 256, sides up to 1 : 100, :math:`r/k` from
    0.05 to 0.95). The walk starts from :func:`coulomb_gas`, whose quartic trace was within 10 % of the mean
    (within 2 % from :math:`k = 30` on), and makes 128 sweeps. Every element of a batch is an independent chain and
    gives one draw, so there is no thinning; the pairs are the same for all of a batch, which in equilibrium leaves
    the chains independent.

    Arguments, result and errors are those of :class:`Law`.

    Examples
    --------
    >>> sigma = conditioned_gaussian((6, 6), 2.5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> f"{sigma.max():.1f}, {sigma.square().sum():.6f}"
    '1.0, 2.500000'
    """
    k, r = layer(shape, stable_rank)
    batch, dtype = _validation.batch_shape(batch), _validation.floating_dtype(dtype)
    if not 1 < r < k or k == 2:
        return coulomb_gas(shape, r, batch=batch, dtype=dtype, device=device)
    count, proposal = math.prod(batch), _proposal(k, abs(shape[0] - shape[1]), r)
    options: Factory = {"generator": generator, "dtype": torch.float64, "device": device}
    if proposal is None:
        lam = _walk(shape, r, count, generator, device)
    else:
        lam = torch.cat([_spectra(proposal, size, options) for size in _blocks(proposal, count)])
    sigma = torch.cat([lam.new_ones(count, 1), lam.clamp(0, 1).sqrt()], -1)
    return sigma.reshape(*batch, k).to(dtype)


class _Proposal(NamedTuple):
    """Matrices uniform on a sphere, and their weight (M5)."""

    rows: int
    columns: int
    square: float  # of the sphere's radius
    power: float  # the weight is that of A = det(I - X X^T)
    log_cap: float  # log c
    mirrored: bool  # whether squared singular values are 1 - lambda
    exact: bool  # whether c is the largest weight


@functools.lru_cache(maxsize=4096)
def _proposal(k: int, d: int, r: float) -> _Proposal | None:
    """Return how to draw by rejection, ``None`` where too little would be accepted."""
    corner = _capped(k - 1, k - 1 + d, r - 1, 1.0, mirrored=False)
    if corner is not None or d == 0:  # of square matrices the mirror's weight has no bound
        return corner
    return _capped(k - 1, k + 2, k - r, (d - 1) / 2, mirrored=True)


def _capped(rows: int, columns: int, square: float, power: float, *, mirrored: bool) -> _Proposal | None:
    if math.isnan(spread := _spread(rows, columns, square)):
        return None
    if math.isnan(log_mean := _log_mean(rows, columns, square)):
        return None
    typical = power * (log_mean - spread**2 / 2)  # the mean of the logarithm, below the logarithm of the mean
    bound = power * rows * math.log1p(-square / rows)  # at equal singular values
    cap = min(bound, typical + CAP * power * spread)
    for log_cap, least in ((bound, BOUNDED), (cap, CAPPED)):
        if typical - log_cap >= math.log(least):
            return _Proposal(rows, columns, square, power, log_cap, mirrored, log_cap == bound)
    return None


def _log_mean(rows: int, columns: int, square: float) -> float:
    r"""Return :math:`\log\mathbb{E}\det(I - XX^\top)` over the whole sphere, NaN if that is negative (M5).

    .. math:: \sum_j \frac{(-\|X\|_F^2)^j}{mn(mn + 2)\cdots(mn + 2j - 2)} \binom mj \frac{n!}{(n - j)!}

    In whole numbers, as the sum alternates: its terms are up to :math:`e^{\|X\|_F^2}`, what is left is exponentially
    small.
    """
    bits = 64 + math.ceil(1.5 * square - 2 * rows * math.log2(1 - square / rows))
    p, q = Fraction(square).as_integer_ratio()
    term = total = 1 << bits
    for j in range(rows):
        term = -(term * p * (rows - j) * (columns - j)) // (q * (j + 1) * (rows * columns + 2 * j))
        total += term
    return math.log(total) - bits * math.log(2) if total > 0 else math.nan


def _spread(rows: int, columns: int, square: float) -> float:
    """Return the limiting standard deviation of log det(I - X X^T), NaN where the bulk reaches 1 (M5)."""
    mean, aspect = square / rows, rows / columns
    cosh = (1 - mean * (1 + aspect)) / (2 * mean * math.sqrt(aspect))
    if cosh <= 1:
        return math.nan
    z = math.exp(-2 * math.acosh(cosh))
    return math.sqrt(max(0.0, -2 * (math.log1p(-z) + z)))  # all Chebyshev modes but the first, which is the trace


def _blocks(proposal: _Proposal, count: int) -> list[int]:
    size = max(1, BLOCK // (proposal.rows * proposal.columns))
    return [min(size, count - start) for start in range(0, max(1, count), size)]


def _accepted(proposal: _Proposal, count: int, options: Factory) -> tuple[Tensor, Tensor]:
    """Draw matrices X of the proposal's weight; return them and X X^T."""
    drawn: list[tuple[Tensor, Tensor]] = []
    while count or not drawn:
        X = torch.randn(count, proposal.rows, proposal.columns, **options)
        level = torch.rand(count, **options)
        # Row by row: one sum over all squares would lose four digits in single precision.
        rows = torch.linalg.vector_norm(X, dim=-1, keepdim=True)
        X.mul_(math.sqrt(proposal.square) / torch.linalg.vector_norm(rows, dim=-2, keepdim=True))
        gram = X @ X.mT
        rest = gram.neg()
        rest.diagonal(dim1=-2, dim2=-1).add_(1)
        factor, failed = torch.linalg.cholesky_ex(rest)  # fails exactly where the norm of X is not below 1
        log_weight = 2 * proposal.power * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)  # M5
        accepted = (failed == 0) & (level.log() < log_weight - proposal.log_cap)
        kept = int(accepted.sum())
        drawn.append((X, gram) if kept == count else (X[accepted], gram[accepted]))
        count -= kept
    if len(drawn) == 1:
        return drawn[0]
    return torch.cat([X for X, _ in drawn]), torch.cat([gram for _, gram in drawn])


def _spectra(proposal: _Proposal, count: int, options: Factory) -> Tensor:
    """Draw squared relative singular values but the first, shape (count, k - 1), descending."""
    mu = torch.linalg.eigvalsh(_accepted(proposal, count, options)[1]).clamp_(min=0)
    mu *= proposal.square / mu.sum(-1, keepdim=True)  # undo what rounding does to small ones
    return 1 - mu if proposal.mirrored else mu.flip(-1)


def _framed(proposal: _Proposal, count: int, options: Factory) -> Tensor:
    """Draw matrices H_u diag(1, X) H_v, shape (count, k, max(m, n)); the reflection H_u takes e_1 to u (M5)."""
    X, _ = _accepted(proposal, count, options)
    W = torch.nn.functional.pad(X, (1, 0, 1, 0))
    (p, up), (q, vp) = (_reflector(count, side, options) for side in W.shape[1:])
    W[:, 0, 0] = up * vp
    a, b = W.mT @ p, W @ q  # (1 - p p^T) W (1 - q q^T) = W - p (a - (p^T b) q)^T - b q^T
    left, right = torch.cat([p, b], -1), torch.cat([a - p.mT @ b * q, q], -1)
    return W.baddbmm_(left, right.mT, alpha=-1)


def _reflector(count: int, side: int, options: Factory) -> tuple[Tensor, Tensor]:
    """Draw p of length sqrt 2, and a sign such that 1 - p p^T takes it times e_1 to a uniform direction."""
    p = torch.randn(count, side, 1, **options)
    sign = torch.where(p[:, 0] < 0, -1.0, 1.0).to(p)
    p[:, 0] += sign * torch.linalg.vector_norm(p, dim=1)  # adds up, so nothing cancels; it is -sign that goes to u
    return p.mul_(math.sqrt(2) / torch.linalg.vector_norm(p, dim=1, keepdim=True)), -sign.squeeze(-1)


def _walk(
    shape: Sequence[int], r: float, count: int, generator: torch.Generator | None, device: Device = None
) -> Tensor:
    """Walk to squared relative singular values but the first, shape (count, k - 1), descending."""
    start = coulomb_gas(shape, r, batch=count, dtype=torch.float64, device=device)[..., 1:]
    lam = start.square().T.contiguous()  # one column a chain
    for _ in range(SWEEPS):
        _sweep(lam, abs(shape[0] - shape[1]), max(shape), generator)
    lam = lam.T.sort(-1, descending=True).values
    return lam * ((r - 1) / lam.sum(-1, keepdim=True))  # undo the drift of the walk's rounding


def _sweep(lam: Tensor, d: int, n: int, generator: torch.Generator | None) -> None:
    """Turn disjoint random pairs one after the other; all chains share the pairs and nothing else."""
    size, chains = lam.shape
    options: Factory = {"generator": generator, "dtype": lam.dtype, "device": lam.device}
    pairs = torch.rand(size, **options).argsort()[: size // 2 * 2].reshape(-1, 2)
    turn, sign, level = torch.rand(3, size // 2, chains, **options)
    turn = torch.where(sign < 0.5, -1.0, 1.0) * (8 * n) ** -turn  # uniform in scale
    old = lam[pairs.T]  # pairs are disjoint: no turn changes where a later one starts
    T, P, (x, y) = old.sum(0), old.prod(0), old
    # Of the circle inside the square. At rho = 1/2 many T are 1 up to rounding, of which a root would make 1e-8.
    arc = math.pi / 2 - 2 * torch.where(T > 1 + 1e-12, T - 1, 0.0).sqrt_().atan_()
    angle = arc * turn
    cos, sin, (u, v) = angle.cos(), angle.sin(), old.sqrt()
    new = torch.stack([u * cos + v * sin, v * cos - u * sin]).square_()
    Q, (X, Y) = new.prod(0), new
    wall = (1 - T + Q) / (1 - T + P)
    own = (X - Y) / (x - y) * (Q / P).pow(d / 2)
    level = torch.where((new <= 1).all(0), level / (wall * own).abs(), math.inf)
    constants = torch.stack([T, P, Q])
    step = PAIRS // max(1, lam.numel())
    step = step if step >= 8 else 1  # small blocks do not pay
    for start in range(0, size // 2, step):
        some = slice(start, start + step)
        _turn(lam, pairs[some].T, constants[:, some], old[:, some], new[:, some], level[some])


def _turn(lam: Tensor, pairs: Tensor, constants: Tensor, old: Tensor, new: Tensor, level: Tensor) -> None:
    """Move or leave pairs one after the other: a pair moves if the others, moved or not, change its weight so much."""
    T, P, Q = constants.unsqueeze(2)

    def ratio(others: Tensor) -> Tensor:
        # M3 in the angle of (sigma_i, sigma_j); (x - z)(y - z) = P - z (T - z) for every other z
        z = (T - others).mul_(others)
        return (Q - z).div_(P - z)

    weight = ratio(lam).index_fill_(1, pairs.flatten(), 1).prod(1)  # from what does not move
    moved = level < weight.abs()
    if len(level) > 1:
        before, after = (ratio(x).mul_(ratio(y)) for x, y in (old, new))  # from each other pair of the block
        order = torch.arange(len(level), device=lam.device)
        before.masked_fill_((order == order.unsqueeze(1)).unsqueeze(-1), 1)
        after = torch.where((order < order.unsqueeze(1)).unsqueeze(-1), after, before)
        for _ in range(len(level)):  # then at least one more of the first pairs is right each time
            last, moved = moved, level < (weight * torch.where(moved, after, before).prod(1)).abs_()
            if torch.equal(last, moved):
                break
    lam[pairs] = torch.where(moved, new, old)

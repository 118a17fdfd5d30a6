"""Stable rank, participation rank, and what they bound (S1, S2, S4)."""

import math
from numbers import Integral

import torch
from torch import Tensor

from srlib import _validation

__all__ = ["energy_range", "participation_rank", "quartic_range", "stable_rank", "truncation_bound"]


def stable_rank(W: Tensor) -> Tensor:
    r"""Stable rank of each matrix in a batch.

    .. math:: r = \frac{\|W\|_F^2}{\|W\|_2^2} = \sum_i \sigma_i^2, \qquad \sigma_1 = 1 .

    Parameters
    ----------
    W
        Nonzero matrices, shape ``(..., m, n)``, any floating dtype; what is shorter than float32 is computed in it.

    Returns
    -------
    Tensor
        Shape ``(...)``, dimensionless, in :math:`[1, \min(m, n)]`.

    Raises
    ------
    TypeError
        If ``W`` is not a dense real floating tensor.
    ValueError
        If ``W`` has fewer than two dimensions, an empty side, a non-finite entry or a zero matrix, or is on the meta
        device.

    References
    ----------
    :cite:t:`rudelson2007sampling`, where it is called the numerical rank.

    Examples
    --------
    >>> stable_rank(torch.diag(torch.tensor([2.0, 1.0, 1.0])))
    tensor(1.5000)
    """
    sigma = torch.linalg.svdvals(_validation.matrix(W))
    largest = sigma[..., :1]
    if (largest == 0).any():
        raise ValueError("W must be nonzero: the stable rank of a zero matrix is not defined, got norm 0")
    return (sigma / largest).square().sum(-1)  # divided first: squares leave the floating range before norms do


def participation_rank(W: Tensor) -> Tensor:
    r"""Participation rank of each matrix in a batch.

    .. math:: p = \frac{\bigl(\sum_i\sigma_i^2\bigr)^2}{\sum_i\sigma_i^4} = \frac{\|W\|_F^4}{\|W^\top W\|_F^2} .

    Parameters
    ----------
    W
        Nonzero matrices, shape ``(..., m, n)``, any floating dtype; what is shorter than float32 is computed in it.

    Returns
    -------
    Tensor
        Shape ``(...)``, dimensionless, in :math:`[r, \min(m, n)]` with :math:`r` the stable rank.

    Raises
    ------
    TypeError
        If ``W`` is not a dense real floating tensor.
    ValueError
        If ``W`` has fewer than two dimensions, an empty side, a non-finite entry or a zero matrix, or is on the meta
        device.

    Examples
    --------
    >>> participation_rank(torch.eye(5))
    tensor(5.)
    """
    W = _validation.matrix(W)
    largest = W.abs().amax((-2, -1), keepdim=True)
    if (largest == 0).any():
        raise ValueError("W must be nonzero: the participation rank of a zero matrix is not defined, got norm 0")
    W = W / largest  # fourth powers leave the floating range long before entries do
    gram = W @ W.mT if W.shape[-2] <= W.shape[-1] else W.mT @ W
    return W.square().sum((-2, -1)).square() / gram.square().sum((-2, -1))


def quartic_range(stable_rank: float, k: int) -> tuple[float, float]:
    r"""Range of the quartic trace at a given stable rank (S1).

    .. math:: 1 + \frac{(r-1)^2}{k-1} \;\le\; q = \sum_i\sigma_i^4 \;\le\; \lfloor r\rfloor + (r-\lfloor r\rfloor)^2 .

    Parameters
    ----------
    stable_rank
        :math:`r \in [1, k]`.
    k
        Number of singular values, :math:`\min(m, n)`.

    Returns
    -------
    tuple of float
        The left end, attained by the two-level spectrum, and the right end, attained by the projector spectrum.

    Raises
    ------
    TypeError
        If ``k`` is not an integer, or ``stable_rank`` not a real number.
    ValueError
        If ``stable_rank`` lies outside :math:`[1, k]`, or ``k`` is less than 1.

    Examples
    --------
    >>> quartic_range(2.5, k=4)
    (1.75, 2.25)
    """
    k = _validation.width(k, "k")
    r = _validation.stable_rank(stable_rank, k)
    whole = math.floor(r)
    return 1 + (r - 1) ** 2 / max(k - 1, 1), whole + (r - whole) ** 2  # S1


def energy_range(stable_rank: float, kept: int, k: int) -> tuple[float, float]:
    r"""Range of the share of a matrix that its best approximation of rank ``kept`` holds (S4).

    .. math::

        \frac1r\Bigl(1 + \frac{(j-1)(r-1)}{k-1}\Bigr) \;\le\;
        \frac{\lambda_1 + \dots + \lambda_j}{r} \;\le\; \min\Bigl(1, \frac jr\Bigr) , \qquad \lambda_i = \sigma_i^2 .

    The share is one of :math:`\|W\|_F^2`, and of the mean squared output at a random input. What is missing to 1 is the
    mean squared error relative to it.

    Parameters
    ----------
    stable_rank
        :math:`r \in [1, k]`.
    kept
        Number :math:`j \in [0, k]` of singular directions that are kept.
    k
        Number of singular values, :math:`\min(m, n)`.

    Returns
    -------
    tuple of float
        The left end, attained by the two-level spectrum, and the right end, attained by the projector spectrum, for all
        ``kept`` at once.

    Raises
    ------
    TypeError
        If ``kept`` or ``k`` is not an integer, or ``stable_rank`` not a real number.
    ValueError
        If ``stable_rank`` lies outside :math:`[1, k]`, ``kept`` outside :math:`[0, k]`, or ``k`` is less than 1.

    Examples
    --------
    >>> energy_range(4.0, kept=3, k=9)
    (0.4375, 0.75)
    """
    k = _validation.width(k, "k")
    r, j = _validation.stable_rank(stable_rank, k), _count(kept)
    if j > k:
        raise ValueError(f"kept must be at most k = {k}, got {j}")
    if j == 0:
        return 0.0, 0.0
    return (1 + (j - 1) * (r - 1) / max(k - 1, 1)) / r, min(1.0, j / r)  # S4


def truncation_bound(stable_rank: float, kept: int) -> float:
    r"""Bound on the relative spectral error of the best approximation of rank ``kept`` (S2).

    .. math:: \sigma_{j+1} \;\le\; \min\Bigl(1, \sqrt{\frac{r-1}{j}}\Bigr) \;\le\; \sqrt{\frac{r}{j+1}} .

    No smaller number holds for all matrices of this stable rank. The error relative to the output at a random input may
    be larger: see :func:`energy_range`.

    Parameters
    ----------
    stable_rank
        :math:`r \ge 1` of the matrix that is truncated.
    kept
        Number :math:`j \ge 0` of singular directions that are kept.

    Returns
    -------
    float
        The first bound, as a fraction of the spectral norm; 1 while :math:`j + 1 \le r`.

    Raises
    ------
    TypeError
        If ``kept`` is not an integer.
    ValueError
        If ``stable_rank`` is below 1 or ``kept`` is negative.

    Examples
    --------
    >>> truncation_bound(5.0, kept=16)
    0.5
    """
    r = _validation.number(stable_rank, "stable_rank")
    if r < 1:
        raise ValueError(f"stable_rank must be at least 1, got {r}")
    j = _count(kept)
    return math.sqrt((r - 1) / j) if j > r - 1 else 1.0  # S2


def _count(kept: int) -> int:
    if isinstance(kept, bool) or not isinstance(kept, Integral):
        raise TypeError(f"kept must be an integer, got {kept!r}")
    if kept < 0:
        raise ValueError(f"kept must be at least 0, got {kept}")
    return int(kept)

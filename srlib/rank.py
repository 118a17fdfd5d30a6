"""Stable rank, participation rank, and what they bound (S1, S2)."""

import math
from numbers import Integral

import torch
from torch import Tensor

from srlib import _validation

__all__ = ["participation_rank", "quartic_range", "stable_rank", "truncation_bound"]


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


def truncation_bound(stable_rank: float, kept: int) -> float:
    r"""Bound on the relative spectral error of the best approximation of rank ``kept`` (S2).

    .. math:: \frac{\sigma_{j+1}}{\|W\|_2} \;\le\; \sqrt{\frac{r}{j+1}} .

    Parameters
    ----------
    stable_rank
        :math:`r \ge 1` of the matrix that is truncated.
    kept
        Number :math:`j \ge 0` of singular directions that are kept.

    Returns
    -------
    float
        The bound, as a fraction of the spectral norm; it exceeds 1, and says nothing, while :math:`j + 1 < r`.

    Raises
    ------
    TypeError
        If ``kept`` is not an integer.
    ValueError
        If ``stable_rank`` is below 1 or ``kept`` is negative.

    Examples
    --------
    >>> truncation_bound(4.0, kept=15)
    0.5
    """
    r = _validation.number(stable_rank, "stable_rank")
    if r < 1:
        raise ValueError(f"stable_rank must be at least 1, got {r}")
    if isinstance(kept, bool) or not isinstance(kept, Integral):
        raise TypeError(f"kept must be an integer, got {kept!r}")
    if kept < 0:
        raise ValueError(f"kept must be at least 0, got {kept}")
    return math.sqrt(r / (kept + 1))  # S2

"""Deterministic spectra: the two ends of S1, and a power law."""

import math

import torch
from torch import Tensor

from srlib.spectra.law import layer, repeat

__all__ = ["power_law", "projector", "two_level"]


def two_level(shape, stable_rank, *, batch=(), generator=None, dtype=None, device=None) -> Tensor:
    r"""One singular value at 1, all others equal: the smallest quartic trace at its stable rank (S1).

    .. math:: \sigma = \Bigl(1, \sqrt{\tfrac{r-1}{k-1}}, \dots, \sqrt{\tfrac{r-1}{k-1}}\Bigr) .

    Arguments, result and errors are those of :class:`Law`.

    Examples
    --------
    >>> two_level((3, 5), 1.5)
    tensor([1.0000, 0.5000, 0.5000])
    """
    k, r = layer(shape, stable_rank)
    squares = torch.full((k,), (r - 1) / max(k - 1, 1), dtype=torch.float64)
    squares[0] = 1
    return repeat(squares.sqrt(), batch, dtype, device)


def projector(shape, stable_rank, *, batch=(), generator=None, dtype=None, device=None) -> Tensor:
    r"""A projection of rank :math:`r`, with a remainder if :math:`r` is not whole: the largest quartic trace (S1).

    .. math::

        \sigma = \bigl(\underbrace{1, \dots, 1}_{\lfloor r\rfloor}, \sqrt{r - \lfloor r\rfloor}, 0, \dots, 0\bigr) .

    Arguments, result and errors are those of :class:`Law`.

    Examples
    --------
    >>> projector((4, 4), 2.25)
    tensor([1.0000, 1.0000, 0.5000, 0.0000])
    """
    k, r = layer(shape, stable_rank)
    squares = (r - torch.arange(k, dtype=torch.float64)).clamp(0, 1)
    return repeat(squares.sqrt(), batch, dtype, device)


def power_law(shape, stable_rank, *, batch=(), generator=None, dtype=None, device=None) -> Tensor:
    r"""Singular values that decay as a power of their index.

    .. math:: \sigma_i = i^{-\alpha}, \qquad \sum_{i=1}^k i^{-2\alpha} = r ,

    with the one exponent :math:`\alpha \in [0, \infty]` that solves the second equation, found by bracketing.

    Arguments, result and errors are those of :class:`Law`.

    Examples
    --------
    >>> power_law((3, 3), 1 + 1 / 4 + 1 / 9)
    tensor([1.0000, 0.5000, 0.3333])
    """
    k, r = layer(shape, stable_rank)
    index = torch.arange(1, k + 1, dtype=torch.float64)
    squares = (index == 1).double() if r == 1 else index.pow(-2 * _decay_exponent(k, r))
    if 1 < r < k:
        squares[1:] *= (r - 1) / squares[1:].sum()  # the root's rounding error, spread over the tail
    return repeat(squares.sqrt(), batch, dtype, device)


def _decay_exponent(k: int, r: float) -> float:
    if r == k:
        return 0.0
    from scipy.optimize import brentq  # here, since importing it costs more than all of srlib

    index = torch.arange(2, k + 1, dtype=torch.float64)
    steepest = math.log2((k - 1) / (r - 1)) / 2 + 1  # every term of the tail is at most 2^(-2 alpha); 1 for rounding
    return brentq(lambda alpha: index.pow(-2 * alpha).sum().item() - (r - 1), 0.0, steepest, xtol=1e-15)

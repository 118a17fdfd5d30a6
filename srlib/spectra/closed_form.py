"""Deterministic spectra: the two ends of S1, and a power law."""

import functools
import math

import torch

from srlib.spectra.law import Spectrum, deterministic, stateless

__all__ = ["power_law", "projector", "two_level"]


@stateless
@deterministic
def two_level(shape: tuple[int, int], stable_rank: float) -> Spectrum:
    r"""One singular value at 1, all others equal: the smallest quartic trace at its stable rank (S1).

    .. math:: \sigma = \Bigl(1, \sqrt{\tfrac{r-1}{k-1}}, \dots, \sqrt{\tfrac{r-1}{k-1}}\Bigr) .

    Arguments, result and errors are those of :class:`Law`.

    Examples
    --------
    >>> two_level((3, 5), 1.5)
    tensor([1.0000, 0.5000, 0.5000])
    """
    others = min(shape) - 1
    return (1.0, math.sqrt((stable_rank - 1) / max(others, 1))), (1, others)


@stateless
@deterministic
def projector(shape: tuple[int, int], stable_rank: float) -> Spectrum:
    r"""A projection of rank :math:`r`, with a remainder if :math:`r` is not whole: the largest quartic trace (S1).

    .. math::

        \sigma = \bigl(\underbrace{1, \dots, 1}_{\lfloor r\rfloor}, \sqrt{r - \lfloor r\rfloor}, 0, \dots, 0\bigr) .

    Arguments, result and errors are those of :class:`Law`.

    Examples
    --------
    >>> projector((4, 4), 2.25)
    tensor([1.0000, 1.0000, 0.5000, 0.0000])
    """
    whole, k = math.floor(stable_rank), min(shape)
    return (1.0, math.sqrt(stable_rank - whole), 0.0), (whole, min(k - whole, 1), max(k - whole - 1, 0))


@stateless
@deterministic
def power_law(shape: tuple[int, int], stable_rank: float) -> Spectrum:
    r"""Singular values that decay as a power of their index.

    .. math:: \sigma_i = i^{-\zeta}, \qquad \sum_{i=1}^k i^{-2\zeta} = r ,

    with the one exponent :math:`\zeta \in [0, \infty]` that solves the second equation, found by bracketing.

    Arguments, result and errors are those of :class:`Law`.

    Examples
    --------
    >>> power_law((3, 3), 1 + 1 / 4 + 1 / 9)
    tensor([1.0000, 0.5000, 0.3333])
    """
    k, r = min(shape), stable_rank
    index = torch.arange(1, k + 1, dtype=torch.float64, device="cpu")
    squares = (index == 1).double() if r == 1 else index.pow(-2 * _decay_exponent(k, r))
    if 1 < r < k:
        squares[1:] *= (r - 1) / squares[1:].sum()  # the root's rounding error, spread over the tail
    return squares.sqrt(), torch.ones_like(squares, dtype=torch.int64)


@functools.lru_cache(maxsize=4096)
def _decay_exponent(k: int, r: float) -> float:
    if r == k:
        return 0.0
    from scipy.optimize import brentq  # here, since importing it costs more than all of srlib

    index = torch.arange(2, k + 1, dtype=torch.float64, device="cpu")
    steepest = math.log2((k - 1) / (r - 1)) / 2 + 1  # every term of the tail is at most 2^(-2 zeta); 1 for rounding
    return brentq(lambda zeta: index.pow(-2 * zeta).sum().item() - (r - 1), 0.0, steepest, xtol=1e-15)

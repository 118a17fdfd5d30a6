"""The limiting spectrum of a Gaussian matrix held at its stable rank: a Coulomb gas between two walls (M4)."""

import math

import torch
from torch import Tensor

from srlib import _validation
from srlib.spectra.closed_form import two_level
from srlib.spectra.law import Spectrum, deterministic, stateless

__all__ = ["coulomb_gas", "density", "quartic"]

#: Cells in the angle of the support over which the density is summed up for its quantiles.
CELLS = 8192


@stateless
@deterministic
def coulomb_gas(shape: tuple[int, int], stable_rank: float) -> Spectrum:
    r"""Deterministic: the quantiles of the limiting density of :func:`srlib.spectra.coulomb.density`.

    .. math:: \int_0^{\sigma_i^2} \psi(\lambda)\,d\lambda = 1 - \frac{i - 3/2}{k - 1}, \quad i = 2, \dots, k, \qquad
              \int \lambda\, \psi(\lambda)\,d\lambda = \frac{r - 1}{k - 1} ,

    then all :math:`\sigma_i^2` drawn a little towards 0 or 1 to hit the stable rank. Any shape; the density is that of
    the aspect :math:`\max(m, n) / \min(m, n)`.

    Arguments, result and errors are those of :class:`Law`.

    Examples
    --------
    >>> coulomb_gas((5, 5), 3)  # the arcsine law
    tensor([1.0000, 0.9808, 0.8315, 0.5556, 0.1951])
    """
    k, r = min(shape), stable_rank
    if k <= 2 or r in (1, k):
        return two_level.levels(shape, r)  # the only spectrum
    tail = _quantiles((r - 1) / (k - 1), max(shape) / k, k - 1)
    missing = r - 1 - tail.sum()
    if missing > 0:
        tail = tail + (1 - tail) * missing / (1 - tail).sum()
    tail = tail * ((r - 1) / tail.sum())
    sigma = torch.cat([tail.new_ones(1), tail.clamp(max=1)]).sqrt()
    return sigma, torch.ones_like(sigma, dtype=torch.int64)


def density(rho: float, lam: Tensor, aspect: float = 1.0) -> Tensor:
    r"""Limiting density of the squared relative singular values :math:`\lambda = \sigma^2` on [0, 1].

    With the aspect :math:`\varpi = \max(m, n) / \min(m, n)` and up to the stable rank of a free Gaussian matrix, a
    Marchenko-Pastur law of mean :math:`\rho`; above it, pressed against the wall at 1,

    .. math:: \psi(\lambda) = \frac1\pi \Bigl(\frac G\lambda + H\Bigr) \sqrt{\frac{\lambda - \lambda_-}{1 - \lambda}}
              \quad\text{on } [\lambda_-, 1], \qquad G \sqrt{\lambda_-} = \frac{\varpi - 1}2 ,

    :math:`G` and :math:`H` such that the mass is 1 and the mean :math:`\rho`. For square matrices either
    :math:`\lambda_- = 0` (pushed, :math:`\rho \le 3/4`) or :math:`G = 0` (squeezed).

    Parameters
    ----------
    rho
        Stable rank relative to its maximum, :math:`r / k`, in (0, 1).
    lam
        Points, any shape; the density is 0 outside its support.
    aspect
        Longer over shorter side of the matrix, at least 1.

    Returns
    -------
    Tensor
        Of the shape of ``lam``, in float64.

    Raises
    ------
    TypeError
        If ``rho`` or ``aspect`` is not a number.
    ValueError
        If ``rho`` lies outside (0, 1) or ``aspect`` below 1.

    References
    ----------
    :cite:t:`vivo2008conductance`, for square matrices; :cite:t:`vivo2007large`, where the same wall pushes a Wishart
    matrix without a constraint on its trace.

    Examples
    --------
    >>> density(0.5, torch.tensor([0.5, 1.5]))  # arcsine law
    tensor([0.6366, 0.0000], dtype=torch.float64)
    """
    G, H, low, end, wall = _gas(rho, aspect)
    lam = lam.double()
    outside = (lam <= low) | (lam >= end)
    x = lam.masked_fill(outside, math.nan)
    root = ((x - low) / (end - x)).sqrt() if wall else ((x - low) * (end - x)).sqrt()
    return ((G / x + H) * root / math.pi).masked_fill(outside, 0.0)  # M4


def quartic(rho: float, aspect: float = 1.0) -> float:
    r"""Limit of the quartic trace per singular value.

    .. math:: \frac qk \to \int \lambda^2 \psi(\lambda)\,d\lambda
              = \begin{cases} 2\rho^2 & \rho \le \frac14, \\ \rho - \frac18 & \frac14 \le \rho \le \frac34, \\
              \rho^2 + (1 - \rho)^2 & \rho \ge \frac34 \end{cases}

    for square matrices; for other shapes the same integral of :func:`density`, also in closed form.

    Parameters
    ----------
    rho, aspect
        As for :func:`density`.

    Returns
    -------
    float
        In :math:`[\rho^2, \rho]`.

    Raises
    ------
    TypeError, ValueError
        As :func:`density`.

    Examples
    --------
    >>> [quartic(rho) for rho in (0.25, 0.5, 0.75)]
    [0.125, 0.375, 0.625]
    """
    G, H, low, _, wall = _gas(rho, aspect)
    if not wall:
        return rho**2 * (1 + 1 / aspect)
    first = (1 - low) * (3 + low) / 8
    second = (1 - low) * (low**2 / 2 + 3 * low * (1 - low) / 4 + 5 * (1 - low) ** 2 / 16)
    return G * first + H * second


def _gas(rho: float, aspect: float) -> tuple[float, float, float, float, bool]:
    """Return G, H, the ends of the support, and whether the upper one is the wall at 1."""
    rho, aspect = _validation.number(rho, "rho"), _validation.number(aspect, "aspect")
    if not 0 < rho < 1:
        raise ValueError(f"rho must lie in (0, 1), got {rho}")
    if aspect < 1:
        raise ValueError(f"aspect must be at least 1, got {aspect}")
    alpha, root = aspect - 1, math.sqrt(aspect)
    if rho * (1 + root) ** 2 <= aspect:  # condensed: Marchenko-Pastur, clear of the wall
        return aspect / (2 * rho), 0.0, rho * (1 - 1 / root) ** 2, rho * (1 + 1 / root) ** 2, False
    if alpha == 0:
        w, G = (math.sqrt(4 * rho - 3), 0.0) if rho > 3 / 4 else (0.0, 3 - 4 * rho)
    else:
        low, high = (root - 1) / (root + 1), 1.0
        while low < (w := (low + high) / 2) < high:  # the mean increases with w, the root of a
            G = alpha / (2 * w)
            mean = G * (1 - w**2) / 2 + (1 - G * (1 - w)) * (3 + w**2) / 4
            low, high = (low, w) if mean > rho else (w, high)
        G = alpha / (2 * w)
    return G, 2 * (1 - G * (1 - w)) / (1 - w**2), w**2, 1.0, True


def _quantiles(rho: float, aspect: float, count: int) -> Tensor:
    """Return the midpoint quantiles in descending order; the angle theta absorbs the edges of the support."""
    G, H, low, end, wall = _gas(rho, aspect)
    theta = (torch.arange(CELLS, dtype=torch.float64, device="cpu") + 0.5) * (math.pi / 2 / CELLS)
    # The density of theta up to a factor, without the difference to the upper end, of which rounding leaves little.
    root = theta.tan() if wall else (2 * theta).sin()
    mass = (G / (low + (end - low) * theta.sin().square()) + H) * root * (2 * theta).sin()
    mass = torch.cat([mass.new_zeros(1), mass.cumsum(0)])
    levels = mass[-1] * (1 - (torch.arange(count, dtype=torch.float64, device="cpu") + 0.5) / count)
    cell = torch.searchsorted(mass, levels).clamp(1, CELLS)
    inside = (levels - mass[cell - 1]) / (mass[cell] - mass[cell - 1])
    return low + (end - low) * ((cell - 1 + inside) * (math.pi / 2 / CELLS)).sin().square()

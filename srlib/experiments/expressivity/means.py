"""Means over the random model: kinks along a curve and on slices, lengths of a curve's image (X1, X2, X4)."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from srlib import _validation
from srlib.ensemble import Ensemble
from srlib.spectra.law import levels

__all__ = ["mean_gain", "mean_kinks", "mean_vertices"]


def mean_kinks(ensemble: Ensemble, spherical_length: float = 2 * math.pi) -> Tensor:
    r"""Mean number of sign changes of every layer's neurons along a curve of given spherical length.

    .. math:: \mathbb{E} K_l = \frac{n_l}{\pi}\, \Lambda_0 \prod_{i < l} \pi^{(2)}_i , \qquad
              \pi^{(2)}_i = 1 - (n_i + 1)\, 2^{-n_i} \text{ for ReLU, } 1 \text{ otherwise,}

    whatever the spectra of the layers, as long as their ranks are at least 2.

    Parameters
    ----------
    ensemble
        The random model.
    spherical_length
        Length :math:`\Lambda_0` of the curve's direction: :math:`2\pi` for a great circle, the angle between its ends
        for a segment.

    Returns
    -------
    Tensor
        Shape ``(L,)``, float64; :attr:`Kinks.crossings` counts them in a sample.

    Raises
    ------
    TypeError
        If the length is not a real number.
    ValueError
        If the length is not positive, or a layer has stable rank 1.

    Examples
    --------
    >>> mean_kinks(Ensemble((3, 24, 24, 24), [2, 5.5, 24]))
    tensor([48.0000, 47.9999, 47.9999], dtype=torch.float64)
    """
    length = _validation.positive(spherical_length, "spherical_length")
    if min(ensemble.stable_ranks) == 1:
        raise ValueError("every layer must have stable rank above 1: the image of a curve under rank 1 has no angles")
    n = torch.tensor(ensemble.widths[1:], dtype=torch.float64, device="cpu")
    return n * length / math.pi * _survive(ensemble, 2)  # X1 (c)


def mean_vertices(ensemble: Ensemble, dimension: int) -> Tensor:
    r"""Mean number of points on a slice of inputs where neurons of one layer vanish together (X4).

    .. math:: 2 \binom{n_l}{j - 1} \prod_{i < l} \pi^{(j)}_i , \qquad
              \pi^{(j)}_i = \mathbb{P}(\mathrm{Bin}(n_i, \tfrac12) \ge j) \text{ for ReLU, } 1 \text{ otherwise:}

    the points of the unit sphere in a :math:`j`-dimensional space of inputs where some :math:`j - 1` neurons of layer
    :math:`l` are zero and the features before them are not, whatever the spectra of the layers, as long as their ranks
    are at least :math:`j`. At :math:`j = 2` these are the sign changes on a great circle (:func:`mean_kinks`).

    Parameters
    ----------
    ensemble
        The random model. A law that draws is taken to give the ranks.
    dimension
        :math:`j \ge 2`.

    Returns
    -------
    Tensor
        Shape ``(L,)``, float64.

    Raises
    ------
    TypeError
        If the dimension is not an integer.
    ValueError
        If the dimension is below 2, or a layer has a lower rank.

    Examples
    --------
    >>> mean_vertices(Ensemble((3, 4, 4, 4), [1.5, 2, 4]), 3)  # 2 x 6 in the first layer; 5 patterns of 16 are open
    tensor([12.0000,  3.7500,  1.1719], dtype=torch.float64)
    """
    dimension = _validation.width(dimension, "dimension")
    if dimension < 2:
        raise ValueError(f"dimension must be at least 2, got {dimension}")
    for shape, r in ensemble.layers:
        if (least := _rank(ensemble, shape, r)) < dimension:
            raise ValueError(f"every layer must have a rank of at least the dimension {dimension}, got {least}")
    choices = [math.comb(n, dimension - 1) for n in ensemble.widths[1:]]
    points = [2.0 * c if c < 2**1000 else math.inf for c in choices]
    return torch.tensor(points, dtype=torch.float64, device="cpu") * _survive(ensemble, dimension)  # X4


def _rank(ensemble: Ensemble, shape: tuple[int, int], r: float) -> int:
    """Rank of a layer's matrices, full for a law that draws."""
    found = levels(ensemble.law, shape, r)
    if found is None:
        return min(shape) if r > 1 else 1
    return int(found[1][found[0] > 0].sum())


def _survive(ensemble: Ensemble, least: int) -> Tensor:
    """Probability that the gates of all layers before each leave at least so many dimensions, shape ``(L,)``."""
    open_ = [1.0]
    for n in ensemble.widths[1:-1]:
        fewer = sum(math.comb(n, i) for i in range(least)) if ensemble.negative_slope == 0 else 0
        open_.append((2**n - fewer) / 2**n)  # X1, X4: gates of lower rank
    return torch.tensor(open_, dtype=torch.float64, device="cpu").cumprod(0)


def mean_gain(ensemble: Ensemble) -> Tensor:
    r"""Mean ratio of the lengths of a curve's image in every layer and of the curve.

    .. math::

        \mathbb{E}\sqrt{X_l} = \prod_{j \le l} s_j\, \mathbb{E}\Bigl(\sum_i \lambda_{j,i} \nu_i^2\Bigr)^{1/2}
            \mathbb{E}\|\varphi(u)\| , \qquad \mathbb{E}\sqrt X =
            \frac1{\sqrt\pi} \int_0^\infty \frac{1 - \mathbb{E} e^{-y^2 X}}{y^2}\, dy ,

    with :math:`\nu, u` uniform on spheres: the mean of :math:`\|h_l\| / \|x\|`, and of :math:`\|J_l y\|` for a unit
    vector :math:`y`.

    Parameters
    ----------
    ensemble
        The random model, with a law that does not draw and has levels (:class:`srlib.spectra.Law`).

    Returns
    -------
    Tensor
        For :math:`l = 0, \dots, L`, float64.

    Raises
    ------
    ValueError
        If the law of the singular values has no levels.

    Examples
    --------
    >>> mean_gain(Ensemble((16, 16, 16), 16).preserving())  # orthogonal layers: only the gates shorten
    tensor([1.0000, 0.9753, 0.9513], dtype=torch.float64)
    """
    gates = torch.tensor([1.0, ensemble.negative_slope**2], dtype=torch.float64, device="cpu")
    steps = [gates.new_zeros(())]
    for ((m, n), r), s in zip(ensemble.layers, ensemble.spectral_norms, strict=True):
        spectrum = levels(ensemble.law, (m, n), r)
        if spectrum is None:
            raise ValueError(f"law must be deterministic, with levels as spectra.two_level has, got {ensemble.law}")
        values, counts = spectrum
        linear = _mean_root(partial(_stretched, values**2, counts.to(values)))
        gated = _mean_root(partial(_gated, gates, m))
        steps.append(math.log(s) + linear.log() + gated.log() - _log_mean_norm(n) - _log_mean_norm(m))  # X2 (b)
    return torch.stack(steps).cumsum(0).exp()


def _mean_root(log_transform: Callable[[Tensor], Tensor]) -> Tensor:
    """E sqrt(X) from the logarithm of E exp(-tX): the trapezoidal rule in log y is exact to rounding here."""
    u = torch.arange(-60.0, 60.0, 0.05, dtype=torch.float64, device="cpu").unsqueeze(-1)
    return (-torch.expm1(log_transform((2 * u).exp())) * (-u.squeeze(-1)).exp()).sum() * 0.05 / math.sqrt(math.pi)


def _stretched(squares: Tensor, counts: Tensor, t: Tensor) -> Tensor:
    return -torch.log1p(2 * t * squares) @ counts / 2


def _gated(gates: Tensor, m: int, t: Tensor) -> Tensor:
    # A mean of -1 may come out a bit below it, where log1p is not a number.
    return m * _inverse_root(2 * t * gates).mean(-1).clamp(min=-1).log1p()


def _inverse_root(x: Tensor) -> Tensor:
    """(1 + x)^(-1/2) - 1, accurate for small x."""
    return torch.expm1(-torch.log1p(x) / 2)


def _log_mean_norm(n: int) -> float:
    """Logarithm of the mean norm of a Gaussian vector."""
    return math.log(2) / 2 + math.lgamma((n + 1) / 2) - math.lgamma(n / 2)

"""The neural tangent kernel of infinitely wide networks (N3)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from srlib import _validation
from srlib.ensemble import Ensemble

__all__ = ["Kernels", "infinite"]

#: Entries of the infinite-width kernel whose angles are computed together, enough for a fast matrix product, and
#: bytes of those that go through the layers together, few enough to stay in cache.
_CHUNK, _BLOCK = 2**20, 2**20

#: Differences of two inputs of which a matrix product would keep less than this share are formed, pair by pair.
_NEAR = 5e-4


class Kernels(NamedTuple):
    r"""Kernels of an infinitely wide network.

    Parameters
    ----------
    nngp
        Limit of :math:`\langle h_L(x), h_L(y)\rangle`, shape ``(N1, N2)``. It is the readout's term of the tangent
        kernel, and :math:`n_L / s_\mathrm{out}^2` times the covariance of the outputs.
    ntk
        Limit of the tangent kernel :math:`\Theta(x, y)`, shape ``(N1, N2)``.
    """

    nngp: Tensor
    ntk: Tensor


def infinite(ensemble: Ensemble, x1: Tensor, x2: Tensor | None = None, *, chunk_size: int | None = None) -> Kernels:
    r"""Limit of the tangent kernel for wide layers of fixed stable rank per width (N3).

    Every term is the geometry of the data times the mean of N1, in which alone the stable ranks stand:

    .. math::

        \Theta_l(x, y) = \|x\| \|y\|\, m_l \cos\theta_l \prod_{j=l}^L \frac{\kappa_0(\theta_j)}{\eta} , \qquad
        \Theta_{\mathrm{out}}(x, y) = \|x\| \|y\|\, m_{\mathrm{out}} \cos\theta_{L+1} ,

    where :math:`\theta_1` is the angle of the inputs, :math:`\cos\theta_{l+1} = \kappa_1(\theta_l) / \eta`, and

    .. math::

        m_{\mathrm{out}} = \prod_{j=1}^L \eta\,\frac{s_j^2 r_j}{n_{j-1}} , \qquad
        m_l = m_{\mathrm{out}}\, \frac{s_\mathrm{out}^2}{n_L} \cdot \frac{n_{l-1} n_l}{s_l^2 r_l} .

    On the diagonal, :math:`x = y`, this is the mean kernel of finite networks, exactly.

    Parameters
    ----------
    ensemble
        The random model; its widths enter through :math:`r_l / n_l` and :math:`r_l / n_{l-1}`, its law does not.
    x1, x2
        Inputs, shapes ``(N1, n_0)`` and ``(N2, n_0)``, of one floating dtype and one device; ``x2`` is ``x1`` when
        omitted, and the kernels are then symmetric to the last bit. Half precision is computed in float32. The
        kernel with a zero input is 0.
    chunk_size
        Rows of the kernels that are computed together; at most a million entries when omitted. Beside the kernels,
        memory for about ten times ``chunk_size * N2`` numbers is needed.

    Returns
    -------
    Kernels
        The limits of the feature kernel and of the tangent kernel, of the inputs' dtype.

    Raises
    ------
    TypeError
        If an input is not a floating tensor, the two differ in dtype, or ``chunk_size`` is not an integer.
    ValueError
        If an input does not have shape ``(N, n_0)`` or holds NaN or infinity, or ``chunk_size`` is less than 1.

    References
    ----------
    :cite:t:`jacot2018ntk`, :cite:t:`arora2019exact` and :cite:t:`cho2009kernel` for independent Gaussian weights.

    Examples
    --------
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    >>> infinite(Ensemble((2, 6), stable_ranks=2), x).ntk
    tensor([[1.0000, 0.3183, 0.0000],
            [0.3183, 4.0000, 0.0000],
            [0.0000, 0.0000, 0.0000]])
    """
    x1 = _inputs(ensemble, x1, "x1")
    symmetric = x2 is None
    x2 = x1 if symmetric else _inputs(ensemble, x2, "x2")
    if (x1.dtype, x1.device) != (x2.dtype, x2.device):
        raise TypeError(
            f"x1 and x2 must have one dtype and one device, got {x1.dtype} and {x2.dtype} on {x1.device} and {x2.device}"
        )
    whole = -(-len(x1) // 8) if symmetric else len(x1)  # an eighth of the rows, lest much be computed twice
    size = _chunk(chunk_size) or min(whole, _CHUNK // max(1, len(x2)))

    means, bend = _means(ensemble), _bend(ensemble.negative_slope)
    first = _polar(x1)
    second = first if symmetric else _polar(x2)
    if torch.is_grad_enabled() and (x1.requires_grad or x2.requires_grad):
        blocks = [_block(means, bend, [t[row] for t in first], second) for row in _rows(len(x1), size)]
        kernels = (torch.cat(rows).to(x1.dtype) for rows in zip(*blocks, strict=True))
        return Kernels(*(_mirrored(kernel) if symmetric else kernel for kernel in kernels))
    kernels = Kernels(x1.new_empty(len(x1), len(x2)), x1.new_empty(len(x1), len(x2)))
    for row in _rows(len(x1), size):
        column = slice(row.start if symmetric else 0, None)
        blocks = _block(means, bend, [t[row] for t in first], [t[column] for t in second])
        for kernel, block in zip(kernels, blocks, strict=True):
            if symmetric:  # what lies below the diagonal is copied from above it
                square = block[:, : len(block)]
                square.copy_(_mirrored(square))
                kernel[column, row] = block.mT.to(kernel.dtype)
            kernel[row, column] = block.to(kernel.dtype)
    return kernels


def _chunk(size: int | None) -> int | None:
    return None if size is None else _validation.width(size, "chunk_size")


def _rows(count: int, size: int) -> list[slice]:
    return [slice(start, start + max(1, size)) for start in range(0, max(1, count), max(1, size))]


def _mirrored(square: Tensor) -> Tensor:
    return square.triu() + square.triu(1).mT


def _inputs(ensemble: Ensemble, x: Tensor, name: str) -> Tensor:
    if not isinstance(x, Tensor) or not x.dtype.is_floating_point:
        raise TypeError(
            f"{name} must be a floating tensor, got {x.dtype if isinstance(x, Tensor) else type(x).__name__}"
        )
    if x.ndim != 2 or x.shape[1] != ensemble.widths[0]:
        raise ValueError(f"{name} must have shape (N, n_0) = (N, {ensemble.widths[0]}), got {tuple(x.shape)}")
    if not _validation.finite(x):
        raise ValueError(f"{name} must have finite entries, got NaN or infinity")
    return x


def _bend(slope: float) -> float:
    """Return ``(1 - a)^2 / (2 pi eta)``."""
    return ((1 - slope) / math.hypot(1, slope)) ** 2 / math.pi


def _means(ensemble: Ensemble) -> list[float]:
    """Logarithms of the means of the kernel's terms at a unit input, which leave the floating range before sums do."""
    gain = math.log(math.hypot(1, ensemble.negative_slope))
    norms, ranks = ensemble.spectral_norms, ensemble.stable_ranks
    output = 2 * math.fsum(  # log E ||h_L||^2
        math.log(s) + (gain + math.log(r / (2 * n)) / 2)
        for s, r, n in zip(norms, ranks, ensemble.widths[:-1], strict=True)
    )
    backward = output + 2 * math.log(ensemble.readout_norm) - math.log(ensemble.widths[-1])
    layers = zip(norms, ranks, ensemble.shapes, strict=True)
    return [*(backward - 2 * math.log(s) - math.log(r / (m * n)) for s, r, (m, n) in layers), output]  # N1


def _polar(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return square roots of the norms and unit vectors, in at least float32; a zero vector stays one."""
    x = x.to(_validation.compute_dtype(x.dtype))
    largest = x.detach().abs().amax(-1, keepdim=True)
    x = x / largest.masked_fill(largest == 0, 1)  # squares leave the floating range before norms do
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    norm = norm.masked_fill(norm == 0, 1)
    return (largest.sqrt() * norm.sqrt()).squeeze(-1), x / norm


def _block(means: list[float], bend: float, first: Sequence[Tensor], second: Sequence[Tensor]) -> Kernels:
    """Kernels of two sets of inputs, given in polar form."""
    (root1, unit1), (root2, unit2) = first, second
    largest = torch.finfo(unit1.dtype).max
    scales = []  # square roots of the final scale, which stay in the floating range as long as the kernel does
    for mean in (means[-1], max(means)):
        factor = math.exp(min(mean / 4, math.log(largest)))
        scales.append([(root * factor).clamp(max=largest) for root in (root1, root2)])
    weights = [math.exp(mean - max(means)) for mean in means]

    cos, tiles = unit1 @ unit2.mT, []
    for row in _rows(len(cos), _BLOCK // (cos.element_size() * max(1, len(unit2)))):
        kernels = _geometry(weights, bend, *_half_angles(unit1[row], unit2, cos[row]))
        roots = [(scale1[row, None] * scale2).clamp_(max=largest) for scale1, scale2 in scales]
        tiles.append([kernel.mul_(root).mul_(root) for kernel, root in zip(kernels, roots, strict=True)])
    return Kernels(*(torch.cat(rows) for rows in zip(*tiles, strict=True)))


def _half_angles(x: Tensor, y: Tensor, cos: Tensor) -> list[Tensor]:
    """Squared sines and cosines of half the angles between unit vectors, each accurate where it is small."""
    half, limits = cos.new_ones(()) / 2, torch.finfo(cos.dtype)
    squares = [torch.sub(half, cos, alpha=0.5), torch.add(half, cos, alpha=0.5)]
    size = max(1, _BLOCK // (x.element_size() * x.shape[1]))
    for k, sign in enumerate((1, -1)):  # ||x - y||^2 / 4 and ||x + y||^2 / 4
        near = squares[k] < _NEAR
        pairs, before = near.nonzero(), math.inf
        while max(size, near.numel() // 16) < len(pairs) < before / 2:
            # A product of matrices keeps the precision of a cluster once one of its members is subtracted from all.
            member = y[near.sum(0).argmax()].detach()
            a, b = x - sign * member, y - member
            lengths = (a.square().sum(-1, keepdim=True) + b.square().sum(-1)) / 4
            distances = torch.sub(lengths, a @ b.mT, alpha=sign / 2)
            found = near & (distances >= 2 * _NEAR * lengths)
            squares[k] = torch.where(found, distances, squares[k])
            near &= ~found
            pairs, before = near.nonzero(), len(pairs)
        for i, j in (part.unbind(-1) for part in pairs.split(size)):
            squares[k][i, j] = torch.sub(x[i], y[j], alpha=sign).square().sum(-1) / 4
    return [square.clamp_(limits.tiny, 1 - limits.eps) for square in squares]  # roots have no slope at 0


def _geometry(weights: list[float], bend: float, sine2: Tensor, cosine2: Tensor) -> Kernels:
    """Kernels at squared sines and cosines of half the angles, a weight for each term."""  # N3
    limits = torch.finfo(sine2.dtype)
    one = sine2.new_ones(())
    tangent = torch.zeros_like(sine2)
    for weight in weights[:-1]:
        sin, cos = sine2.sqrt(), cosine2.sqrt()
        half = torch.atan2(sin, cos)
        cos_theta = torch.sub(one, sine2, alpha=2)
        tangent = tangent.add_(cos_theta, alpha=weight).mul_(torch.sub(one, half, alpha=2 * bend))
        sine2 = torch.addcmul(sine2, sin, cos, value=-bend).addcmul_(half, cos_theta, value=bend)
        sine2 = sine2.clamp_(limits.tiny, 1 - limits.eps)
        cosine2 = torch.sub(one, sine2)
    feature = torch.sub(one, sine2, alpha=2)
    return Kernels(feature, tangent.add_(feature, alpha=weights[-1]))

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

#: A squared difference that is a smaller share of the squares it is made of is not left to a product of matrices.
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
    r"""Limit of the tangent kernel for layers of large participation rank (N3).

    Every term is the geometry of the data times the mean of N1, in which alone the stable ranks stand:

    .. math::

        \Theta_l(x, y) = \|x\| \|y\|\, \bar\Theta_l \cos\theta_l \prod_{j=l}^L \frac{\kappa_0(\theta_j)}{\eta} , \qquad
        \Theta_{\mathrm{out}}(x, y) = \|x\| \|y\|\, \bar\Theta_{\mathrm{out}} \cos\theta_{L+1} ,

    where :math:`\theta_1` is the angle of the inputs, :math:`\cos\theta_{l+1} = \kappa_1(\theta_l) / \eta`, and

    .. math::

        \bar\Theta_{\mathrm{out}} = \prod_{j=1}^L \eta\,\frac{s_j^2 r_j}{n_{j-1}} , \qquad
        \bar\Theta_l = \bar\Theta_{\mathrm{out}}\, \frac{s_\mathrm{out}^2}{n_L} \cdot \frac{n_{l-1} n_l}{s_l^2 r_l} .

    On the diagonal, :math:`x = y`, this is the mean kernel of finite networks, exactly.

    Parameters
    ----------
    ensemble
        The random model; its widths enter through :math:`r_l / n_l` and :math:`r_l / n_{l-1}`, its law does not.
    x1, x2
        Inputs, shapes ``(N1, n_0)`` and ``(N2, n_0)``, of one floating dtype and one device; ``x2`` is ``x1`` when
        omitted, and the kernels are then symmetric to the last bit. Half precision is computed in float32. The
        kernel with a zero input is 0; what leaves the range of the dtype is infinite or 0. Gradients flow to inputs
        that require them. The kernel has a kink where an input is 0 or two of them coincide or are opposite: the angle
        counts as constant there.
    chunk_size
        Rows of the kernels that are computed together; at most a million entries when omitted. Beside the kernels,
        memory for about ten times ``chunk_size * N2`` numbers is needed; where gradients are recorded, for about ten
        times ``N1 * N2`` numbers a layer, whatever the chunks.

    Returns
    -------
    Kernels
        The limits of the feature kernel and of the tangent kernel, of the inputs' dtype.

    Raises
    ------
    TypeError
        If an input is not a dense floating tensor, the two differ in dtype or device, or ``chunk_size`` is not an
        integer.
    ValueError
        If an input does not have shape ``(N, n_0)``, holds NaN or infinity, or is on the meta device, or ``chunk_size``
        is less than 1.

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
    x1 = _validation.inputs(x1, ensemble.widths[0], name="x1")
    symmetric = x2 is None
    x2 = x1 if x2 is None else _validation.inputs(x2, ensemble.widths[0], name="x2")
    if (x1.dtype, x1.device) != (x2.dtype, x2.device):
        kinds = (f"{x.dtype} on {x.device}" for x in (x1, x2))
        raise TypeError(f"x1 and x2 must have one dtype and one device, got {' and '.join(kinds)}")
    whole = -(-len(x1) // 8) if symmetric else len(x1)  # an eighth of the rows, lest much be computed twice
    size = _chunk(chunk_size) or min(whole, _CHUNK // max(1, len(x2)))

    terms, first = _terms(ensemble), _polar(x1)
    second = first if symmetric else _polar(x2)
    if torch.is_grad_enabled() and (x1.requires_grad or x2.requires_grad):  # nothing is then written in place
        blocks = [_block(terms, [t[row] for t in first], second) for row in _rows(len(x1), size)]
        whole_kernels = [torch.cat(rows).to(x1.dtype) for rows in zip(*blocks, strict=True)]
        return Kernels(*map(_mirrored, whole_kernels) if symmetric else whole_kernels)
    kernels = Kernels(x1.new_empty(len(x1), len(x2)), x1.new_empty(len(x1), len(x2)))
    for row in _rows(len(x1), size):
        column = slice(row.start if symmetric else 0, None)
        blocks_of_row = _block(terms, [t[row] for t in first], [t[column] for t in second])
        for kernel, block in zip(kernels, blocks_of_row, strict=True):
            if symmetric:
                square = block[:, : len(block)]
                square.copy_(_mirrored(square))
                kernel[column, row] = block.mT.to(kernel.dtype)
            kernel[row, column] = block.to(kernel.dtype)
    return kernels


def _chunk(size: int | None) -> int | None:
    return None if size is None else _validation.width(size, "chunk_size")


def _rows(count: int, size: int) -> list[slice]:
    """Slices of at most ``size`` rows, one at least of at least one: what has no rows still has a shape."""
    size = max(1, size)
    return [slice(start, start + size) for start in range(0, max(1, count), size)]


def _mirrored(square: Tensor) -> Tensor:
    """Copy what lies above the diagonal to below it."""
    return square.triu() + square.triu(1).mT


class _Terms(NamedTuple):
    bend: float  # (1 - a)^2 / (2 pi eta)
    means: list[float]  # logarithms of the means of N1, the readout last: sums and powers stay in the floating range


def _terms(ensemble: Ensemble) -> _Terms:
    norms, ranks, slope = ensemble.spectral_norms, ensemble.stable_ranks, math.hypot(1, ensemble.negative_slope)
    growth = (
        2 * math.log(s) + 2 * math.log(slope * math.sqrt(r / (2 * n)))  # eta s^2 r / n
        for s, r, n in zip(norms, ranks, ensemble.widths[:-1], strict=True)
    )
    output = math.fsum(growth)
    backward = output + 2 * math.log(ensemble.readout_norm) - math.log(ensemble.widths[-1])
    layers = zip(norms, ranks, ensemble.shapes, strict=True)
    means = [backward - 2 * math.log(s) - math.log(r / (m * n)) for s, r, (m, n) in layers]  # N1
    return _Terms(((1 - ensemble.negative_slope) / slope) ** 2 / math.pi, [*means, output])


def _polar(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return square roots of the norms and unit vectors, in at least float32; a zero vector stays one."""
    x = x.to(_validation.compute_dtype(x.dtype))
    largest = x.detach().abs().amax(-1, keepdim=True)
    x = x / largest.masked_fill(largest == 0, 1)  # squares leave the floating range before norms do
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    norm = norm.masked_fill(norm == 0, 1)
    return (largest.sqrt() * norm.sqrt()).squeeze(-1), x / norm


def _block(terms: _Terms, first: Sequence[Tensor], second: Sequence[Tensor]) -> Kernels:
    """Kernels of two sets of inputs, given in polar form."""
    (root1, unit1), (root2, unit2) = first, second
    largest, scales = torch.finfo(unit1.dtype).max, []
    top = max(terms.means)
    weights = [math.exp(mean - top) for mean in terms.means]
    for mean in (terms.means[-1], top):  # square roots of the scale stay in the floating range while the kernel does
        factor = math.exp(min(mean / 4, math.log(largest / 2)))
        scales.append([(root * factor).clamp(max=largest) for root in (root1, root2)])

    cos, tiles = unit1 @ unit2.mT, []
    for row in _rows(len(cos), _BLOCK // (cos.element_size() * max(1, len(unit2)))):
        kernels = _geometry(terms.bend, weights, *_half_angles(unit1[row], unit2, cos[row]))
        roots = [(scale1[row, None] * scale2).clamp_(max=largest) for scale1, scale2 in scales]
        tiles.append([kernel.mul_(root).mul_(root) for kernel, root in zip(kernels, roots, strict=True)])
    return Kernels(*(torch.cat(rows) for rows in zip(*tiles, strict=True)))


def _half_angles(x: Tensor, y: Tensor, cos: Tensor) -> tuple[Tensor, Tensor]:
    """Squared sines and cosines of half the angles between unit vectors, each accurate where it is small."""
    half, limits = cos.new_full((), 0.5), torch.finfo(cos.dtype)
    squares = [torch.sub(half, cos, alpha=0.5), torch.add(half, cos, alpha=0.5)]
    size = max(1, _BLOCK // (x.element_size() * x.shape[1]))
    for k, sign in enumerate((1, -1)):  # ||x - y||^2 / 4 and ||x + y||^2 / 4
        near = squares[k] < _NEAR
        pairs, before = near.nonzero(), math.inf
        while min(len(pairs), before - len(pairs)) > max(size, near.numel() // 16):
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
    return squares[0].clamp_(limits.tiny, 1), squares[1].clamp_(limits.tiny, 1)  # roots have no slope at 0


def _geometry(bend: float, weights: list[float], sine2: Tensor, cosine2: Tensor) -> Kernels:
    """Weighted terms at squared sines and cosines of half the angles, feature kernel of weight 1."""  # N3
    one, limits = sine2.new_ones(()), torch.finfo(sine2.dtype)
    tangent = torch.zeros_like(sine2)
    for weight in weights[:-1]:
        sin, cos = sine2.sqrt(), cosine2.sqrt()
        half = torch.atan2(sin, cos)
        cos_theta = torch.sub(one, sine2, alpha=2)
        tangent = tangent.add_(cos_theta, alpha=weight)
        tangent = torch.addcmul(tangent, tangent, half, value=-2 * bend)  # times kappa_0 / eta
        # (1 - cos theta') / 2 = (1 - cos theta) / 2 - bend (sin theta - theta cos theta) / 2; nothing cancels
        # but for slopes next to -1, at nearly opposite inputs
        sine2 = torch.addcmul(sine2, sin, cos, value=-bend)
        sine2 = torch.addcmul(sine2, half, cos_theta, value=bend).clamp(limits.tiny, 1 - limits.eps)
        cosine2 = torch.sub(one, sine2)
    feature = torch.sub(one, sine2, alpha=2)
    return Kernels(feature, tangent.add_(feature, alpha=weights[-1]))

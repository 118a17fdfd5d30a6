"""The neural tangent kernel of infinitely wide networks (N3)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from srlib import _validation, arccos
from srlib.ensemble import Ensemble

__all__ = ["Kernels", "infinite"]

#: Entries of the infinite-width kernel whose angles are computed together, enough for a fast matrix product, and
#: bytes of those that go through the layers together, few enough to stay in cache.
_CHUNK, _BLOCK = 2**20, 2**20

#: Angles whose cosine is closer to 1 or -1 than this are taken from the difference of the two inputs.
_NEAR = 1e-3


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
    if x1.dtype != x2.dtype:
        raise TypeError(f"x1 and x2 must have one dtype, got {x1.dtype} and {x2.dtype}")
    whole = -(-len(x1) // 8) if symmetric else len(x1)  # an eighth of the rows, lest much be computed twice
    size = _chunk(chunk_size) or min(whole, _CHUNK // max(1, len(x2)))

    norm1, unit1 = _polar(x1)
    norm2, unit2 = (norm1, unit1) if symmetric else _polar(x2)
    kernels = Kernels(x1.new_empty(len(x1), len(x2)), x1.new_empty(len(x1), len(x2)))
    for row in _rows(len(x1), size):
        column = slice(row.start if symmetric else 0, None)
        theta = _angles(unit1[row], unit2[column])
        for kernel, geometry in zip(kernels, _geometry(ensemble, theta), strict=True):
            block = geometry.mul_(norm1[row, None]).mul_(norm2[column])
            if symmetric:  # what lies below the diagonal is copied from above it
                square = block[:, : len(block)]
                square.copy_(square.triu() + square.triu(1).mT)
                kernel[column, row] = block.mT.to(kernel.dtype)
            kernel[row, column] = block.to(kernel.dtype)
    return kernels


def _chunk(size: int | None) -> int | None:
    return None if size is None else _validation.width(size, "chunk_size")


def _rows(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, max(1, size))]


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


def _polar(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return norms and unit vectors in at least float32; a zero vector stays one."""
    x = x.to(_validation.compute_dtype(x.dtype))
    norm = torch.linalg.vector_norm(x, dim=-1)
    return norm, torch.where(norm.unsqueeze(-1) > 0, x / norm.unsqueeze(-1), 0)


def _angles(x: Tensor, y: Tensor) -> Tensor:
    """Angles between the rows of two matrices of unit vectors, accurate near 0 and pi as well."""
    cos = x @ y.mT
    theta = cos.clamp(-1, 1).acos_()
    near = (cos.abs() > 1 - _NEAR).nonzero()
    for i, j in (pairs.unbind(-1) for pairs in near.split(1024)):
        theta[i, j] = arccos.between(x[i], y[j])
    return theta


def _geometry(ensemble: Ensemble, theta: Tensor) -> Kernels:
    """Kernels of unit inputs at the given angles."""  # N3
    a = ensemble.negative_slope
    eta = (1 + a**2) / 2
    bend = (1 - a) ** 2 / (2 * math.pi * eta)
    power = [s**2 * r for s, r in zip(ensemble.spectral_norms, ensemble.stable_ranks, strict=True)]
    growth = math.fsum(math.log(eta * c / n) for c, n in zip(power, ensemble.widths, strict=False))
    output = growth + math.log(ensemble.readout_norm**2 / ensemble.widths[-1])  # of E f^2
    means = [_exp(output + math.log(n * m / c)) for (m, n), c in zip(ensemble.shapes, power, strict=True)]  # N1

    kernels = Kernels(torch.empty_like(theta), torch.zeros_like(theta))
    size = _BLOCK // theta.element_size()
    one, buffers = theta.new_ones(()), theta.new_empty(5, min(size, theta.numel()))
    for angle, feature, tangent in zip(*(t.flatten().split(size) for t in (theta, *kernels)), strict=True):
        # Half the angle, its sine and its cosine: one inverse sine a layer, and nothing cancels for nearby inputs.
        half, sin, cos, loss, other = buffers[:, : len(angle)]
        torch.mul(angle, 0.5, out=half)
        torch.sin(half, out=sin)
        torch.cos(half, out=cos)
        torch.square(sin, out=loss)  # (1 - cos theta) / 2
        for mean in means:
            tangent.add_(cos_theta := torch.sub(one, loss, alpha=2, out=other), alpha=mean)
            # (1 - cos theta') / 2 = (1 - cos theta) / 2 - bend (sin theta - theta cos theta) / 2
            loss.addcmul_(sin, cos, value=-bend).addcmul_(half, cos_theta, value=bend).clamp_(0, 1)
            tangent.mul_(torch.sub(one, half, alpha=2 * bend, out=other))  # kappa_0 / eta
            torch.sqrt(loss, out=sin)
            torch.sub(one, loss, out=cos).sqrt_()
            torch.asin(sin, out=half)
        torch.sub(one, loss, alpha=2, out=feature).mul_(_exp(growth))
        tangent.add_(feature)
    return kernels


def _exp(value: float) -> float:
    """Exponential that overflows to infinity, as a tensor's does."""
    return math.exp(value) if value < 709 else math.inf

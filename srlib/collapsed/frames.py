"""Exact simulation without matrices: the features of a deep network at several inputs, drawn in law (C2)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from srlib import _validation, arccos, haar
from srlib._types import BatchFactory
from srlib.collapsed._draws import Draws, blocks
from srlib.ensemble import Ensemble
from srlib.spectra import Levels
from srlib.spectra.law import each, levels

__all__ = ["Features", "features"]


@dataclass(frozen=True, eq=False)
class Features:
    r"""Joint draws of what a random network does at :math:`N` inputs, kept so that no depth under- or overflows.

    Parameters
    ----------
    log_feature_norm2
        :math:`\log\|h_l(x_i)\|^2` for :math:`l = 0, \dots, L`, shape ``(samples, L + 1, N)``; :math:`-\infty` for a
        vanishing feature.
    direction
        :math:`h_l(x_i) / \|h_l(x_i)\|` in an orthonormal basis of the span of the :math:`h_l(x_j)`, shape
        ``(samples, L + 1, N, N)``, inputs before coordinates; 0 for a vanishing feature. The basis has no meaning of
        its own, inner products have.
    output
        :math:`f(x_i)`, shape ``(samples, N)``.
    """

    log_feature_norm2: Tensor
    direction: Tensor
    output: Tensor

    @property
    def feature_norm2(self) -> Tensor:
        r""":math:`\|h_l(x_i)\|^2`, shape ``(samples, L + 1, N)``."""
        return self.log_feature_norm2.exp()

    @property
    def gram(self) -> Tensor:
        r""":math:`\langle h_l(x_i), h_l(x_j)\rangle`, shape ``(samples, L + 1, N, N)``."""
        norm = (self.log_feature_norm2 / 2).exp()
        return (self.direction @ self.direction.mT) * norm.unsqueeze(-1) * norm.unsqueeze(-2)

    @property
    def angle(self) -> Tensor:
        r"""Angles between :math:`h_l(x_i)` and :math:`h_l(x_j)`, as :func:`srlib.arccos.angle`; same shape."""
        rows = [arccos.angle(row.unsqueeze(-2), self.direction) for row in self.direction.unbind(-2)]
        return torch.stack(rows, -2) if rows else torch.zeros_like(self.direction)


def features(
    ensemble: Ensemble,
    x: Tensor,
    samples: int,
    *,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> Features:
    r"""Draw the inner products of all features, and the outputs, at several inputs, exactly in law.

    No matrix is formed. A layer only sees the :math:`N` features before it, :math:`h_{l-1} = FP` with orthonormal
    columns :math:`F`, and to :math:`F` the Haar factors of :math:`W_l = s_l U \Sigma V^\top` are uniform frames:

    .. math::

        \Sigma G P = F' Q , \qquad z_l = s_l\, O Q , \qquad h_l = \varphi(z_l) ,

    where :math:`G`, the first rows of an :math:`n_{l-1} \times \min(n_{l-1}, N)` Haar frame, takes the place of
    :math:`V^\top F`, and :math:`O`, an :math:`n_l \times \min(n_l, n_{l-1}, N)` one, that of :math:`U F'`. A layer
    costs :math:`O(n N^2)`. Networks are drawn in blocks, whose size follows from the ensemble and :math:`N` alone, so
    memory beside the result stays bounded.

    Parameters
    ----------
    ensemble
        The random model.
    x
        Inputs, shape ``(N, n_0)``, of type ``dtype``; they may be parallel, or zero, and :math:`N` may be 0 or larger
        than a width.
    samples
        Number of independent networks, at least 1.
    generator
        Source of randomness; torch's default one when omitted.
    dtype
        Floating dtype of the inputs and the result. Half precision is computed in float32.
    device
        Device of the result and of ``generator``; that of ``x`` when omitted.

    Returns
    -------
    Features
        One row a network; the same networks at all inputs.

    Raises
    ------
    TypeError
        If ``ensemble`` is not an ensemble, ``samples`` not an integer, ``dtype`` not floating, or ``x`` not a tensor of
        that type.
    ValueError
        If ``samples`` is less than 1, or ``x`` does not have shape ``(N, n_0)`` or holds NaN or infinity.

    References
    ----------
    :cite:t:`cho2009kernel` for the mean of the inner products after one layer, given those before it.

    Examples
    --------
    >>> wide = Ensemble((10_000,) * 11, stable_ranks=500).preserving()
    >>> x = torch.eye(2, 10_000, dtype=torch.float64)  # at a right angle
    >>> draw = features(wide, x, 5, generator=torch.Generator().manual_seed(0))
    >>> draw.gram.shape, draw.output.shape
    (torch.Size([5, 11, 2, 2]), torch.Size([5, 2]))
    >>> draw.angle[:, [0, 1, 10], 0, 1].mean(0).rad2deg().round(decimals=-1)  # wide layers make inputs more alike
    tensor([90., 70., 30.], dtype=torch.float64)
    """
    if not isinstance(ensemble, Ensemble):
        raise TypeError(f"ensemble must be an srlib.Ensemble, got {type(ensemble).__name__}")
    dtype = _validation.floating_dtype(dtype)
    x = _validation.inputs(x, ensemble.widths[0], dtype, of="dtype")
    samples = _validation.width(samples, "samples")
    sizes = blocks(samples, max(ensemble.widths) * max(len(x), 1))
    if len(x) == 0:
        shape = samples, ensemble.depth + 1
        empty = ((*shape, 0), (*shape, 0, 0), (samples, 0))
        return Features(*(torch.empty(size, dtype=dtype, device=device or x.device) for size in empty))

    x = x.to(_validation.compute_dtype(dtype)).to(device)
    spectra = each(levels, ensemble.law, ensemble.layers)
    parts = [_chain(ensemble, spectra, x, Draws(size, generator, x.dtype, x.device)) for size in sizes]
    return Features(*(torch.cat(part).to(dtype) for part in zip(*parts, strict=True)))


def _chain(ensemble: Ensemble, spectra: list[Levels | None], x: Tensor, draw: Draws) -> tuple[Tensor, Tensor, Tensor]:
    """Go from the inputs to the outputs, carrying a root of the features' directions (C2).

    A network without biases is positively homogeneous, so every input is rescaled by itself.
    """
    N = len(x)
    options: BatchFactory = {
        "batch": draw.samples,
        "generator": draw.generator,
        "dtype": draw.dtype,
        "device": draw.device,
    }
    largest = _or_one(x.abs().amax(-1, keepdim=True))  # its square may overflow
    norm, R = _polar((x / largest).mT.expand(draw.samples, -1, -1))
    log_norm = norm.log() + largest.squeeze(-1).log()
    log_norms, directions = [log_norm], [R]
    for layer, (m, _) in enumerate(ensemble.shapes):
        B = _stretched(ensemble, layer, spectra[layer], R.shape[-2], draw) @ R  # Sigma G R
        length, R_B = _polar(B)
        a = haar.orthogonal(m, R_B.shape[-2], **options) @ (R_B * length.unsqueeze(-2))
        norm, R = _polar(torch.nn.functional.leaky_relu(a, ensemble.negative_slope))
        log_norm = log_norm + norm.log() + math.log(ensemble.spectral_norms[layer])
        log_norms.append(log_norm)
        directions.append(R)

    v = haar.orthogonal(ensemble.widths[-1], 1, **options)[:, : R.shape[-2]]  # in the basis that R refers to
    output = ensemble.readout_norm * log_norm.exp() * (R.mT @ v).squeeze(-1)
    padded = [torch.nn.functional.pad(R.mT, (0, N - R.shape[-2])) for R in directions]
    return 2 * torch.stack(log_norms, 1), torch.stack(padded, 1), output


def _polar(h: Tensor) -> tuple[Tensor, Tensor]:
    """Return the norms of the columns, and a root of the columns over their norms."""
    norm = torch.linalg.vector_norm(h, dim=-2)
    return norm, _root(h / _or_one(norm).unsqueeze(-2))


def _root(h: Tensor) -> Tensor:
    """Return a root of ``h``: a matrix with the same inner products of columns, and no more rows than columns.

    It is the symmetric one, which moves as little as the columns do. Where columns are parallel or vanish, a triangular
    one would go along directions that only rounding decides, and another processor would draw another network.
    """
    if h.shape[-2] <= h.shape[-1]:
        return h
    _, s, V = torch.linalg.svd(torch.linalg.qr(h, mode="r").R)
    return (V.mT * s.unsqueeze(-2)) @ V * h.any(-2, keepdim=True)  # what vanishes does so exactly


def _or_one(norm: Tensor) -> Tensor:
    return torch.where(norm > 0, norm, 1)


def _stretched(ensemble: Ensemble, layer: int, spectrum: Levels | None, d: int, draw: Draws) -> Tensor:
    """Return Sigma G, or fewer rows with the same Gram matrix: at most ``d`` for each group of equal values."""
    (m, n), r = ensemble.layers[layer]
    k = min(m, n)
    if spectrum is None or (len(spectrum.values) + 1) * d >= n:
        G = haar.orthogonal(n, d, batch=draw.samples, generator=draw.generator, dtype=draw.dtype, device=draw.device)
        return draw.spectrum(ensemble.law, (m, n), r).unsqueeze(-1) * G[:, :k]

    values, count = spectrum
    count = torch.cat([count, count.new_tensor([n - k])]).unsqueeze(-1)  # Sigma cuts off the last group
    row = torch.arange(d, device=count.device)
    kept = row < count
    # A frame is Z S^{-1} with Z Gaussian and S^T S = Z^T Z. In QR factors of its groups, Z is triangular (Bartlett).
    (squares,) = draw.chi2(draw.constant((count - row).clamp(min=0).flatten()))
    diagonal = squares.sqrt().unflatten(-1, kept.shape)
    T = draw.normal(kept.numel() * d).unflatten(-1, (*kept.shape, d)).triu(1) + diagonal.diag_embed()
    Q, S = torch.linalg.qr(T[:, kept])
    G = Q * S.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)  # S must be a function of Z^T Z
    sigma = values.unsqueeze(-1).expand(-1, d)[kept[:-1]].to(G)
    return sigma.unsqueeze(-1) * G[:, : len(sigma)]

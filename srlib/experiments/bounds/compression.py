"""Truncation and random projection of layers, and the size to which they compress a network (S2, G2)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor

from srlib import _validation
from srlib.experiments.bounds._layers import checked, spectra
from srlib.network import Network

__all__ = ["CompressedSize", "compressed_size", "random_projection", "truncate"]

#: Random matrices that are drawn together in a random projection.
CHUNK = 256


def truncate(network: Network, kept: int | Sequence[int] | Tensor) -> Network:
    r"""Keep the largest singular values of every layer, which is its best approximation of that rank (S2, G2).

    Parameters
    ----------
    network
        Bias-free networks, as for :func:`margins`.
    kept
        How many: one number for all layers, one for each layer, or an integer tensor ``(batch, d)`` for each layer
        of each network. A layer that has fewer keeps them all.

    Returns
    -------
    Network
        Of the shapes and the dtype of ``network``.

    Raises
    ------
    TypeError
        If a number to keep is not an integer.
    ValueError
        If the networks have biases, or a number to keep is negative or missing.

    Examples
    --------
    >>> truncate(Network((), torch.diag(torch.tensor([3.0, 2.0, 1.0])).unsqueeze(0)), 1).readout[0].diagonal()
    tensor([3., 0., 0.])
    """
    matrices = checked(network).matrices
    if isinstance(kept, Integral) and not isinstance(kept, bool):
        kept = [int(kept)] * len(matrices)
    try:
        counts = torch.as_tensor(kept, device=network.device)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"kept must hold integers, got {kept!r}") from None
    if counts.dtype.is_floating_point or counts.dtype == torch.bool:
        raise TypeError(f"kept must hold integers, got {kept!r}")
    if counts.shape not in ((len(matrices),), (network.batch, len(matrices))):
        also = f", the same for all of the {network.batch} networks or for each its own"
        raise ValueError(f"kept must be one number, or one for each of the {len(matrices)} layers{also}, got {kept!r}")
    if (counts < 0).any():
        raise ValueError(f"kept must be at least 0, got {int(counts.min())}")
    result = []
    for l, W in enumerate(matrices):
        U, sigma, V = torch.linalg.svd(W, full_matrices=False)
        sigma = sigma * (torch.arange(sigma.shape[-1], device=W.device) < counts[..., l, None])
        result.append((U * sigma.unsqueeze(-2)) @ V)
    return network.with_parameters(
        W.reshape(p.shape).to(p.dtype) for W, p in zip(result, network.parameters, strict=True)
    )


@dataclass(frozen=True, eq=False)
class CompressedSize:
    r"""To how few numbers truncation provably compresses a network without changing its confident predictions (G2).

    Parameters
    ----------
    log_tolerance
        Logarithm of the admissible relative error :math:`\varepsilon = \gamma / (\sqrt2\, d B \prod_l \|W_l\|_2)` of
        every layer, shape ``(batch,)``.
    ranks
        Number of singular values above :math:`\varepsilon \|W_l\|_2`, shape ``(batch, d)``.
    stable_ranks
        :math:`r_l`, shape ``(batch, d)``.
    parameters
        Numbers that store the truncated layers, :math:`\sum_l \min(j_l (n_l + n_{l-1}), n_l n_{l-1})`.
    """

    log_tolerance: Tensor
    ranks: Tensor
    stable_ranks: Tensor
    parameters: Tensor

    @property
    def tolerance(self) -> Tensor:
        r""":math:`\varepsilon`, shape ``(batch,)``."""
        return self.log_tolerance.exp()

    @property
    def guarantee(self) -> Tensor:
        r"""What the stable rank alone says of the ranks, :math:`r_l / \varepsilon^2`, shape ``(batch, d)``."""
        return (self.stable_ranks.log() - 2 * self.log_tolerance.unsqueeze(-1)).exp()  # G2 (c)


def compressed_size(network: Network, *, radius: float, margin: float | Tensor) -> CompressedSize:
    r"""Ranks to which the layers can be truncated so that no prediction of larger margin changes (G2).

    .. math:: j_l < \frac{r_l}{\varepsilon^2} = \frac{2 d^2 B^2 \prod_i \|W_i\|_2^2}{\gamma^2}\; r_l .

    Parameters
    ----------
    network
        Bias-free networks, as for :func:`margins`.
    radius
        Bound :math:`B > 0` on the norms of the inputs.
    margin
        :math:`\gamma > 0`, one number or one for each network.

    Returns
    -------
    CompressedSize
        Tolerance, ranks, and the number of parameters.

    Raises
    ------
    TypeError
        If a tensor has the wrong dtype, or a number is not one.
    ValueError
        If the networks have biases, a layer is zero, or a number is not positive.

    References
    ----------
    :cite:t:`arora2018stronger`, who derive the bound of :cite:t:`neyshabur2018pac` in this way.

    Examples
    --------
    >>> network = Network((), torch.diag(torch.tensor([1.0, 0.5, 0.1])).unsqueeze(0))
    >>> size = compressed_size(network, radius=1.0, margin=0.5)
    >>> print(f"{size.tolerance.item():.3f}", size.ranks, size.parameters)
    0.354 tensor([[2]]) tensor([9])
    """
    network = checked(network)
    radius = _validation.positive(radius, "radius")
    norms, sigma = spectra(network)
    d, gamma = len(sigma), _validation.per_network(margin, network.batch, "margin", norms)
    tolerance = gamma.log() - math.log(math.sqrt(2) * d * radius) - norms.log().sum(-1)
    ranks = torch.stack([(s.log() > tolerance.unsqueeze(-1)).sum(-1) for s in sigma], -1)
    sides = torch.tensor([sum(W.shape[-2:]) for W in network.matrices], device=ranks.device)
    dense = torch.tensor([math.prod(W.shape[-2:]) for W in network.matrices], device=ranks.device)
    parameters = torch.minimum(ranks * sides, dense).sum(-1)
    stable = torch.stack([s.square().sum(-1) for s in sigma], -1)
    return CompressedSize(tolerance, ranks, stable, parameters)


def random_projection(W: Tensor, count: int, *, generator: torch.Generator | None = None) -> Tensor:
    r"""Rebuild each matrix from its inner products with random Gaussian matrices (G2).

    .. math:: \hat W = \frac1k \sum_{i=1}^k \langle W, M_i\rangle M_i , \qquad
              \mathbb{E}\,\|(\hat W - W) v\|^2 = \frac{m \|W\|_F^2 \|v\|^2 + \|W v\|^2}{k} .

    Only the :math:`k` inner products have to be stored, if the :math:`M_i` are known beforehand.

    Parameters
    ----------
    W
        Matrices, shape ``(..., m, n)``; half precision is computed in float32.
    count
        :math:`k \ge 1`.
    generator
        Source of randomness; torch's default one when omitted. All matrices of a batch get the same :math:`M_i`.

    Returns
    -------
    Tensor
        :math:`\hat W`, of the shape and dtype of ``W``; its mean is ``W``.

    Raises
    ------
    TypeError
        If ``W`` is not a real floating tensor or ``count`` not an integer.
    ValueError
        If ``W`` is not made of finite matrices, or ``count`` is below 1.

    References
    ----------
    :cite:t:`arora2018stronger`, with random signs in place of Gaussian entries.

    Examples
    --------
    >>> W = torch.eye(3)
    >>> estimate = random_projection(W, 100_000, generator=torch.Generator().manual_seed(0))
    >>> bool((estimate - W).abs().max() < 0.05)
    True
    """
    dtype, W = W.dtype if isinstance(W, Tensor) else None, _validation.matrix(W)
    count = _validation.width(count, "count")
    entries, estimate = W.flatten(-2), torch.zeros_like(W.flatten(-2))
    for start in range(0, count, CHUNK):
        size = (min(CHUNK, count - start), entries.shape[-1])
        M = torch.randn(size, generator=generator, dtype=W.dtype, device=W.device)
        estimate += (entries @ M.mT) @ M
    return (estimate / count).reshape(W.shape).to(dtype)

"""Truncation and random projection of layers, and the size to which they compress a network (S2, G2)."""

import math
from collections.abc import Sequence
from numbers import Integral
from typing import NamedTuple

import torch
from torch import Tensor

from srlib import _validation
from srlib.experiments.bounds import _networks
from srlib.experiments.bounds._networks import Networks
from srlib.experiments.training import Perceptrons

__all__ = ["CompressedSize", "compressed_size", "random_projection", "truncate"]

#: Random matrices that are drawn together in a random projection.
CHUNK = 256


def truncate(networks: Networks, kept: int | Sequence[int] | Tensor) -> Networks:
    r"""Keep the largest singular values of every layer, which is its best approximation of that rank (S2, G2).

    Parameters
    ----------
    networks
        Bias-free networks, as for :func:`margins`.
    kept
        How many: one number for all layers, one for each layer, or an integer tensor ``(..., d)`` for each layer of
        each network. A layer that has fewer keeps them all.

    Returns
    -------
    Perceptrons or list of Tensor
        Of the kind, shapes and dtype of ``networks``.

    Raises
    ------
    TypeError
        If a number to keep is not an integer.
    ValueError
        If the networks have biases, or a number to keep is negative or missing.

    Examples
    --------
    >>> truncate([torch.diag(torch.tensor([3.0, 2.0, 1.0]))], 1)[0].diagonal()
    tensor([3., 0., 0.])
    """
    weights, _ = _networks.layers(networks)
    if isinstance(kept, Integral) and not isinstance(kept, bool):
        kept = [kept] * len(weights)
    counts = kept if isinstance(kept, Tensor) else torch.as_tensor(kept)
    if counts.dtype.is_floating_point or counts.dtype == torch.bool:
        raise TypeError(f"kept must hold integers, got {kept!r}")
    if counts.ndim < 1 or counts.shape[-1] != len(weights):
        raise ValueError(f"kept must be one number, or one for each of the {len(weights)} layers, got {kept!r}")
    if (counts < 0).any():
        raise ValueError(f"kept must be at least 0, got {int(counts.min())}")
    result = []
    for l, W in enumerate(weights):
        U, sigma, V = torch.linalg.svd(W, full_matrices=False)
        sigma = sigma * (torch.arange(sigma.shape[-1], device=W.device) < counts[..., l, None])
        result.append((U * sigma.unsqueeze(-2)) @ V)
    return networks._replace(weights=tuple(result)) if isinstance(networks, Perceptrons) else result


class CompressedSize(NamedTuple):
    r"""To how few numbers truncation provably compresses a network without changing its confident predictions (G2).

    Parameters
    ----------
    tolerance
        Admissible relative error :math:`\varepsilon = \gamma / (\sqrt2\, d B \prod_l \|W_l\|_2)` of every layer.
    ranks
        Number of singular values above :math:`\varepsilon \|W_l\|_2`, shape ``(..., d)``.
    guarantee
        What the stable rank alone says of it, :math:`r_l / \varepsilon^2`, shape ``(..., d)``.
    parameters
        Numbers that store the truncated layers, :math:`\sum_l \min(j_l (n_l + n_{l-1}), n_l n_{l-1})`.
    """

    tolerance: Tensor
    ranks: Tensor
    guarantee: Tensor
    parameters: Tensor


def compressed_size(networks: Networks, *, radius: float, margin: float | Tensor) -> CompressedSize:
    r"""Ranks to which the layers can be truncated so that no prediction of larger margin changes (G2).

    .. math:: j_l < \frac{r_l}{\varepsilon^2} = \frac{2 d^2 B^2 \prod_i \|W_i\|_2^2}{\gamma^2}\; r_l .

    Parameters
    ----------
    networks
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
    >>> size = compressed_size([torch.diag(torch.tensor([1.0, 0.5, 0.1]))], radius=1.0, margin=0.5)
    >>> print(f"{size.tolerance:.3f}", size.ranks, size.parameters)
    0.354 tensor([2]) tensor(9)
    """
    weights, _ = _networks.layers(networks)
    radius = _validation.positive(radius, "radius")
    norms, stable = _networks.spectra(weights)
    gamma = _networks.positive(margin, norms.shape[:-1], norms, "margin")
    tolerance = gamma / (math.sqrt(2) * len(weights) * radius * norms.prod(-1))
    above = [torch.linalg.svdvals(W) > (tolerance * norms[..., l])[..., None] for l, W in enumerate(weights)]
    ranks = torch.stack([a.sum(-1) for a in above], -1)
    sides = torch.tensor([sum(W.shape[-2:]) for W in weights], device=ranks.device)
    dense = torch.tensor([math.prod(W.shape[-2:]) for W in weights], device=ranks.device)
    parameters = torch.minimum(ranks * sides, dense).sum(-1)
    return CompressedSize(tolerance, ranks, stable / tolerance.unsqueeze(-1).square(), parameters)  # G2 (c)


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

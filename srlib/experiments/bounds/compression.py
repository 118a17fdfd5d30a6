"""Truncation and random projection of layers, its error, and the size to which networks compress (S2, G2, G3)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor

from srlib import _validation
from srlib.experiments.bounds._layers import checked, spectra
from srlib.network import Network

__all__ = ["CompressedSize", "compressed_size", "random_projection", "truncate", "truncation_error"]

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
    matrices, counts, result = checked(network).matrices, _counts(kept, network), []
    for l, W in enumerate(matrices):
        U, sigma, V = torch.linalg.svd(W, full_matrices=False)
        sigma = sigma * (torch.arange(sigma.shape[-1], device=W.device) < counts[..., l, None])
        result.append((U * sigma.unsqueeze(-2)) @ V)
    return network.with_parameters(
        W.reshape(p.shape).to(p.dtype) for W, p in zip(result, network.parameters, strict=True)
    )


def truncation_error(network: Network, kept: int | Sequence[int] | Tensor, *, radius: float) -> Tensor:
    r"""Bound on the error of truncating all layers, which does not grow with depth (G3).

    .. math:: \|f'(x) - f(x)\| \le B \prod_l s_l\; \min\Bigl\{ \Bigl(\sum_l \sigma_l^2\Bigr)^{1/2} ,\;
              \max_l \frac{\sigma_l}{\sqrt{1 - \sigma_l^2}} ,\; 2 \Bigr\}
              \le \sqrt5\, B \prod_l s_l\, \max_l \sigma_l ,

    with :math:`\sigma_l` the first relative singular value that layer :math:`l` drops, 0 if it drops none.

    Parameters
    ----------
    network
        Bias-free networks, as for :func:`margins`.
    kept
        How many singular values every layer keeps, as for :func:`truncate`.
    radius
        Bound :math:`B > 0` on the norms of the inputs.

    Returns
    -------
    Tensor
        Shape ``(batch,)``, float64.

    Raises
    ------
    TypeError
        If a number to keep is not an integer, or ``radius`` is not a number.
    ValueError
        If the networks have biases, a layer is zero, or a number is out of range or missing.

    Examples
    --------
    >>> W = torch.diag(torch.tensor([1.0, 0.6])).unsqueeze(0)
    >>> deep = Network((W,) * 15, W)
    >>> print(f"{truncation_error(deep, 1, radius=1.0).item():.2f}")  # 0.6 / 0.8; the sum over layers is 16 x 0.6
    0.75
    """
    network = checked(network)
    radius = _validation.positive(radius, "radius")
    counts = _counts(kept, network)
    norms, sigma = spectra(network)
    dropped = torch.stack([_following(s, counts[..., l]) for l, s in enumerate(sigma)], -1)
    added = dropped.norm(dim=-1)
    through = dropped / (1 - dropped.square()).clamp(min=0).sqrt()
    least = torch.minimum(added, through.amax(-1)).clamp(max=2)  # G3 (a)
    return (math.log(radius) + norms.log().sum(-1) + least.log()).exp()


def _counts(kept: int | Sequence[int] | Tensor, network: Network) -> Tensor:
    """Numbers to keep, shape ``(d,)`` or ``(batch, d)``."""
    depth = len(network.matrices)
    if isinstance(kept, Integral) and not isinstance(kept, bool):
        kept = [int(kept)] * depth
    try:
        counts = torch.as_tensor(kept, device=network.device)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"kept must hold integers, got {kept!r}") from None
    if counts.dtype.is_floating_point or counts.dtype == torch.bool:
        raise TypeError(f"kept must hold integers, got {kept!r}")
    if counts.shape not in ((depth,), (network.batch, depth)):
        also = f", the same for all of the {network.batch} networks or for each its own"
        raise ValueError(f"kept must be one number, or one for each of the {depth} layers{also}, got {kept!r}")
    if (counts < 0).any():
        raise ValueError(f"kept must be at least 0, got {int(counts.min())}")
    return counts


def _following(sigma: Tensor, count: Tensor) -> Tensor:
    """The relative singular value that follows those kept, 0 if none does: ``(batch, k)`` to ``(batch,)``."""
    rest = torch.cat([sigma, torch.zeros_like(sigma[:, :1])], -1)
    index = count.clamp(max=sigma.shape[-1]).long().expand(len(sigma))
    return rest.gather(-1, index.unsqueeze(-1)).squeeze(-1)


@dataclass(frozen=True, eq=False)
class CompressedSize:
    r"""To how few numbers truncation provably compresses a network without changing its confident predictions (G3).

    Parameters
    ----------
    log_tolerance
        Logarithm of the admissible relative error :math:`\varepsilon = \gamma / (\sqrt2\, B \prod_l s_l)` of every
        layer, shape ``(batch,)``.
    ranks
        Number of singular values above :math:`\varepsilon s_l`, shape ``(batch, d)``.
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
        return (self.stable_ranks.log() - 2 * self.log_tolerance.unsqueeze(-1)).exp()  # G3 (b)


def compressed_size(network: Network, *, radius: float, margin: float | Tensor) -> CompressedSize:
    r"""Ranks to which the layers can be truncated so that no prediction of larger margin changes (G3).

    .. math:: j_l < \frac{r_l}{\varepsilon^2} = \frac{2 B^2 \prod_i s_i^2}{\gamma^2}\; r_l .

    No larger tolerance of the layers has this property for all networks, at any depth.

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
    gamma = _validation.per_network(margin, network.batch, "margin", norms)
    tolerance = gamma.log() - math.log(math.sqrt(2) * radius) - norms.log().sum(-1)  # G3 (b)
    ranks = torch.stack([(s.log() > tolerance.unsqueeze(-1)).sum(-1) for s in sigma], -1)
    sides = torch.tensor([sum(W.shape[-2:]) for W in network.matrices], device=ranks.device)
    dense = torch.tensor([math.prod(W.shape[-2:]) for W in network.matrices], device=ranks.device)
    parameters = torch.minimum(ranks * sides, dense).sum(-1)
    stable = torch.stack([s.square().sum(-1) for s in sigma], -1)
    return CompressedSize(tolerance, ranks, stable, parameters)


def random_projection(W: Tensor, count: int, *, generator: torch.Generator | None = None) -> Tensor:
    r"""Rebuild each matrix from its inner products with random Gaussian matrices (G2).

    .. math:: \hat W = \frac1M \sum_{i=1}^M \langle W, G_i\rangle G_i , \qquad
              \mathbb{E}\,\|(\hat W - W) x\|^2 = \frac{m \|W\|_F^2 \|x\|^2 + \|W x\|^2}{M} .

    Only the :math:`M` inner products have to be stored, if the :math:`G_i` are known beforehand.

    Parameters
    ----------
    W
        Matrices, shape ``(..., m, n)``; half precision is computed in float32.
    count
        :math:`M \ge 1`.
    generator
        Source of randomness; torch's default one when omitted. All matrices of a batch get the same :math:`G_i`.

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
        G = torch.randn(size, generator=generator, dtype=W.dtype, device=W.device)
        estimate += (entries @ G.mT) @ G
    return (estimate / count).reshape(W.shape).to(dtype)

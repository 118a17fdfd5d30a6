"""A Gaussian matrix conditioned on its stable rank (M3)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from srlib import _validation
from srlib._types import Device, Factory, Sizes
from srlib.spectra.coulomb import coulomb_gas
from srlib.spectra.law import layer, stateless

__all__ = ["conditioned_gaussian"]

#: Sweeps over disjoint random pairs that :func:`conditioned_gaussian` makes; see its docstring for the measurement.
SWEEPS = 128


@stateless
def conditioned_gaussian(
    shape: Sequence[int],
    stable_rank: float,
    *,
    batch: Sizes = (),
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    device: Device = None,
) -> Tensor:
    r"""Singular values of a Gaussian matrix, given that its stable rank is :math:`r`.

    .. math:: \propto \prod_{i\ge2} \lambda_i^{(d-1)/2} (1 - \lambda_i) \prod_{2\le i<j} |\lambda_i - \lambda_j|
              \quad\text{on } \sum_{i\ge2} \lambda_i = r - 1, \qquad \lambda = \sigma^2, \quad d = |m - n| .

    Drawn by a Kac walk with a Metropolis test: a pair :math:`(\sigma_i, \sigma_j)` is turned by a random angle, which
    keeps :math:`\lambda_i + \lambda_j`, takes :math:`O(k)` and absorbs the singularity of square matrices at 0. Sizes
    of the angle are uniform in scale, from the whole arc inside the unit square down to :math:`1/(8 \max(m, n))` of
    it, so that nothing needs tuning. A sweep turns about :math:`k/2` disjoint pairs one after the other.

    In equilibrium the correlations of the quartic trace, of :math:`\lambda_2` and of :math:`\sigma_k` with themselves
    were at most 0.35 after 16 sweeps and 0.2 after 32 (:math:`k` from 3 to 256, sides up to 1 : 100, :math:`r/k` from
    0.05 to 0.95). The walk starts from :func:`coulomb_gas`, whose quartic trace was within 10 % of the mean
    (within 2 % from :math:`k = 30` on), and makes 128 sweeps. Every element of a batch is an independent chain and
    gives one draw, so there is no thinning; the pairs are the same for all of a batch, which in equilibrium leaves
    the chains independent.

    Arguments, result and errors are those of :class:`Law`.

    Examples
    --------
    >>> sigma = conditioned_gaussian((6, 6), 2.5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> f"{sigma.max():.1f}, {sigma.square().sum():.6f}"
    '1.0, 2.500000'
    """
    k, r = layer(shape, stable_rank)
    batch, dtype = _validation.batch_shape(batch), _validation.floating_dtype(dtype)
    sigma = coulomb_gas(shape, r, batch=batch, dtype=torch.float64, device=device)
    if 1 < r < k and k > 2:
        tail = sigma[..., 1:].square().reshape(-1, k - 1).T.contiguous()  # one column a chain
        for _ in range(SWEEPS):
            _sweep(tail, abs(shape[0] - shape[1]), max(shape), generator)
        tail = tail.T.sort(-1, descending=True).values
        tail *= (r - 1) / tail.sum(-1, keepdim=True)  # undo the drift of the walk's rounding
        sigma[..., 1:] = tail.clamp(max=1).sqrt().reshape(*batch, k - 1)
    return sigma.to(dtype)


def _sweep(lam: Tensor, d: int, n: int, generator: torch.Generator | None) -> None:
    """Turn disjoint random pairs one after the other; all chains share the pairs and nothing else."""
    size, chains = lam.shape
    options: Factory = {"generator": generator, "dtype": lam.dtype, "device": lam.device}
    first, second = torch.rand(size, **options).argsort()[: size // 2 * 2].reshape(-1, 2).T
    turn, sign, level = torch.rand(3, size // 2, chains, **options)
    turn = torch.where(sign < 0.5, -1.0, 1.0) * (8 * n) ** -turn  # uniform in scale
    x, y = lam[first], lam[second]  # pairs are disjoint: no turn changes where a later one starts
    T, P = x + y, x * y
    # Of the circle inside the square. At rho = 1/2 many T are 1 up to rounding, of which a root would make 1e-8.
    arc = math.pi / 2 - 2 * torch.where(T > 1 + 1e-12, T - 1, 0.0).sqrt().atan()
    angle = arc * turn
    X = (x.sqrt() * angle.cos() + y.sqrt() * angle.sin()).square()
    Y = (y.sqrt() * angle.cos() - x.sqrt() * angle.sin()).square()
    Q = X * Y
    wall = (1 - T + Q) / (1 - T + P)
    own = (X - Y) / (x - y) * (Q / P).pow(d / 2)
    inside = (X <= 1) & (Y <= 1)
    for pair, (i, j) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        # M3 in the angle of (sigma_i, sigma_j); (x - z)(y - z) = P - z (T - z) for every other z
        z = (T[pair] - lam).mul_(lam)
        ratio = (Q[pair] - z).div_(P[pair] - z)
        ratio[i], ratio[j] = wall[pair], own[pair]
        moved = (level[pair] < ratio.prod(0).abs_()) & inside[pair]
        lam[i], lam[j] = torch.where(moved, X[pair], x[pair]), torch.where(moved, Y[pair], y[pair])

"""The Gaussian matrix conditioned on its stable rank, and the gas that its singular values are in the limit.

Tensors are of torch's default dtype, which the notebooks set; lam are squared relative singular values but the first.
"""

import math
from unittest.mock import patch

import torch
from scipy.integrate import quad

from srlib.spectra import conditioned, conditioned_gaussian, coulomb

__all__ = [
    "force",
    "loop",
    "memory",
    "moments",
    "multiplier",
    "outside",
    "rejection",
    "support",
    "tail",
    "three_values",
]


def tail(shape, r, count, generator, *, law=conditioned_gaussian, sweeps=None):
    """Draw lam, shape (count, k - 1), by a walk of the library's number of sweeps or of another one."""
    sweeps = conditioned.SWEEPS if sweeps is None else sweeps
    with patch.object(conditioned, "SWEEPS", sweeps):
        return law(shape, r, batch=count, generator=generator)[:, 1:].square()


def rejection(shape, r, count, generator, chunk=400_000):
    """Draw Gaussian matrices, keep those of stable rank r up to 0.01, and return their squared singular values,
    shape (kept, k).
    """
    kept = []
    for _ in range(count // chunk):
        W = torch.randn(chunk, *shape, generator=generator)
        lam = torch.linalg.eigvalsh(W @ W.mT).flip(-1)
        kept.append(lam[(lam.sum(-1) / lam[:, 0] - r).abs() < 0.01])
    return torch.cat(kept)


def three_values(r, power, wall, vandermonde):
    """Mean of the first, second and fourth power of the larger value's share of x + y = r - 1, by quadrature, under the
    density (x y)^power ((1 - x) (1 - y))^wall |x - y|^vandermonde.
    """
    T = r - 1
    ends = math.asin(math.sqrt(max(0, T - 1) / T)), math.pi / 4

    def integrand(phi, p):  # in the angle of (sigma_2, sigma_3), with its Jacobian
        x, y = T * math.sin(phi) ** 2, T * math.cos(phi) ** 2
        walls = ((1 - x) * (1 - y)) ** wall
        return (y / T) ** p * (x * y) ** (power + 1 / 2) * walls * (y - x) ** vandermonde

    total, *rest = (quad(integrand, *ends, args=(p,))[0] for p in (0, 1, 2, 4))
    return [integral / total for integral in rest]


def loop(lam):
    """The four terms of the loop equation, shape (count, 4): divergence, powers, wall, Vandermonde."""
    h, k = lam * (1 - lam), lam.shape[-1]
    pull = lam * h.sum(-1, keepdim=True) - (h * lam).sum(-1, keepdim=True)
    f = h * pull
    divergence = (1 - 2 * lam) * pull + h * (h.sum(-1, keepdim=True) - h)
    i, j = torch.triu_indices(k, k, 1)
    pairs = (f[:, i] - f[:, j]) / (lam[:, i] - lam[:, j])
    terms = divergence, (1 - lam) * pull, -lam * pull, pairs
    return torch.stack([term.sum(-1) for term in terms], -1)


def memory(shape, r, count, lags, start, walk, sweeps=48):
    """Correlation in equilibrium of the quartic trace with itself some sweeps later, and two standard errors from the
    spread over the chains, shape (lags,) each; the generators are those of the chains' starts and of their sweeps.
    """
    lam = tail(shape, r, count, start).T.contiguous()
    found = [lam.square().sum(0)]
    for _ in range(sweeps):
        conditioned._sweep(lam, abs(shape[0] - shape[1]), max(shape), walk)
        found.append(lam.square().sum(0))
    x = torch.stack(found)
    x = (x - x.mean()) / x.std()
    products = torch.stack([(x[lag:] * x[: len(x) - lag]).mean(0) for lag in lags])
    return products.mean(1), 2 * products.std(1) / math.sqrt(count)


def support(rho, aspect=1.0):
    """Ends of the set on which the limiting density is positive."""
    *_, low, high, _ = coulomb._gas(rho, aspect)
    return low, high


def _angle(rho, aspect, psi):
    """Points of the support at the full angles psi, and the derivative."""
    low, high = support(rho, aspect)
    return (low + high) / 2 - (high - low) / 2 * psi.cos(), (high - low) / 2 * psi.sin()


def _nodes(rho, aspect=1.0, count=4000):
    """Points and masses of the limiting density, shape (count,) each: midpoints in the full angle, exact for
    trigonometric polynomials.
    """
    lam, slope = _angle(rho, aspect, (torch.arange(count) + 0.5) * math.pi / count)
    return lam, coulomb.density(rho, lam, aspect) * slope * math.pi / count


def moments(rho, aspect):
    """Mass, mean and quartic trace of the limiting density."""
    lam, mass = _nodes(rho, aspect)
    return [mass.sum(), mass @ lam, mass @ lam**2]


def outside(rho, points):
    """Repulsion from the limiting density of square matrices, at points outside its support."""
    lam, mass = _nodes(rho)
    return 2 * (mass / (points.unsqueeze(-1) - lam)).sum(-1)


def force(rho, aspect=1.0, count=4000):
    """Effective force at ten points of the support, halfway between nodes; shape (10,)."""
    lam, mass = _nodes(rho, aspect, count)
    between = torch.arange(count // 20, count, count // 10) * math.pi / count
    x, _ = _angle(rho, aspect, between)
    return 2 * (mass / (x.unsqueeze(-1) - lam)).sum(-1) + (aspect - 1) / x


def multiplier(rho, aspect):
    """The force that all points of the support feel, from the formula of the density."""
    if rho <= aspect / (1 + math.sqrt(aspect)) ** 2:  # condensed
        return aspect / rho
    _, B, *_ = coulomb._gas(rho, aspect)
    return -2 * B

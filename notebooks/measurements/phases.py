"""The Gaussian matrix conditioned on its stable rank, and the gas that its singular values are in the limit.

Tensors are of torch's default dtype, which the notebooks set; lam are squared relative singular values but the first.
"""

import math
from unittest.mock import patch

import torch
from scipy.integrate import quad

from srlib import haar
from srlib.spectra import conditioned, conditioned_gaussian, coulomb

__all__ = [
    "MULTIPLIER",
    "QUARTIC",
    "at",
    "beside",
    "beside_quartic",
    "corner_of_haar",
    "force",
    "free_stable_rank",
    "gaussian",
    "in_frames",
    "loop",
    "memory",
    "moments",
    "multiplier",
    "one_sided",
    "outside",
    "phase",
    "reflect",
    "rejection",
    "support",
    "tail",
    "three_values",
    "throughout",
]

QUARTIC = {  # M4, square matrices
    "condensed": lambda rho: 2 * rho**2,
    "pushed": lambda rho: rho - 1 / 8,
    "squeezed": lambda rho: rho**2 + (1 - rho) ** 2,
}
MULTIPLIER = {  # M4, square matrices
    "condensed": lambda rho: 1 / rho,
    "pushed": lambda rho: 8 * (1 - 2 * rho),
    "squeezed": lambda rho: -1 / (1 - rho),
}


def phase(rho):
    return "condensed" if rho < 1 / 4 else "pushed" if rho < 3 / 4 else "squeezed"


def throughout(formulas, values):
    """Wrong alternatives: the formula of one phase in all of them."""
    return {f"{name} throughout": [f(v) for v in values] for name, f in formulas.items()}


def at(rho, k):
    """The stable rank at which the tail of k singular values has mean rho."""
    return 1 + rho * (k - 1)


def beside(shape, radius2, count, generator, *, power=1.0):
    """Draw M5's matrix X of this shape, (count, *shape): uniform on the Frobenius sphere of a squared radius, tilted by
    det(1 - X X^T)^power and cut at spectral norm 1. By plain rejection, against the weight of equal singular values.
    """
    rows, columns = shape
    k, kept = min(shape), []
    least = k * math.log1p(-radius2 / k)  # the largest log det at this radius
    while sum(map(len, kept)) < count:
        G = torch.randn(2 * count, rows, columns, generator=generator)
        X = G * (math.sqrt(radius2) / torch.linalg.matrix_norm(G)).reshape(-1, 1, 1)
        lam = torch.linalg.svdvals(X).square()
        weight = torch.where(lam < 1, torch.log1p(-lam), -math.inf).sum(-1) - least
        level = torch.rand(2 * count, generator=generator)
        kept.append(X[level < (power * weight).exp()])  # M5
    return torch.cat(kept)[:count]


def in_frames(X, generator):
    """W / s of M5 from its parts: 1 beside X, and a random reflection on either side."""
    count, rows, columns = X.shape
    W = torch.zeros(count, rows + 1, columns + 1)
    W[:, 0, 0], W[:, 1:, 1:] = 1, X
    return reflect(reflect(W, generator).mT, generator).mT


def reflect(A, generator):
    """Map the first coordinate of the columns to a uniformly random direction, by a reflection."""
    v = torch.randn(*A.shape[:2], 1, generator=generator)
    v = v / v.norm(dim=1, keepdim=True)
    v[:, 0] -= 1
    return A - v @ (v.mT @ A) * (2 / v.square().sum(1, keepdim=True))


def gaussian(shape, count, generator):
    """Draw stable rank and squared relative singular values but the first of free Gaussian matrices, (count, k)."""
    s2 = torch.linalg.svdvals(torch.randn(count, *shape, generator=generator)).square()
    return torch.cat([s2.sum(-1, keepdim=True), s2[:, 1:]], -1) / s2[:, :1]


def corner_of_haar(shape, size, count, generator, *, power=None):
    """Draw what :func:`gaussian` draws, as 1 beside the corner of a Haar matrix of a size, kept with probability
    stable rank^(-power), which is half the number of entries if omitted.
    """
    rows, columns = shape[0] - 1, shape[1] - 1
    power = shape[0] * shape[1] / 2 if power is None else power
    kept = []
    while sum(map(len, kept)) < count:
        Q = haar.orthogonal(size, columns, batch=count, generator=generator)
        lam = torch.linalg.svdvals(Q[:, :rows]).square()
        r = 1 + lam.sum(-1, keepdim=True)
        level = torch.rand(count, generator=generator)
        kept.append(torch.cat([r, lam], -1)[level < r[:, 0] ** -power])  # M5 (b)
    return torch.cat(kept)[:count]


def free_stable_rank(m, power, *, scale=None, wall=1):
    """Mean of a power of the stable rank of a Gaussian m x 2 matrix, by quadrature in (r - 1)^(1/2): r^(-scale) is the
    factor that is m in M5 (b).
    """
    scale = m if scale is None else scale

    def integrand(x, p):
        r = 1 + x**2
        return r ** (p - scale) * x ** (m - 2) * (1 - x**2) ** wall

    return quad(integrand, 0, 1, args=(power,))[0] / quad(integrand, 0, 1, args=(0,))[0]


def beside_quartic(shape, r):
    """Mean quartic trace in the condensed phase: that of 1 beside X uniform on its sphere."""
    m, n = shape
    return 1 + (r - 1) ** 2 * (m + n - 1) / ((m - 1) * (n - 1) + 2)  # M5 (c)


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


def one_sided(c, side, h=1e-3):
    """Slope and second derivative of the measured multiplier at c, from one side."""
    y0, y1, y2, y3 = (force(c + side * i * h).mean().item() for i in range(4))
    slope = side * (-11 * y0 + 18 * y1 - 9 * y2 + 2 * y3) / (6 * h)
    return [slope, (2 * y0 - 5 * y1 + 4 * y2 - y3) / h**2]


def multiplier(rho, aspect):
    """The force that all points of the support feel, from the formula of the density."""
    if rho <= aspect / (1 + math.sqrt(aspect)) ** 2:  # condensed
        return aspect / rho
    _, B, *_ = coulomb._gas(rho, aspect)
    return -2 * B

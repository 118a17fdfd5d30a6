"""The Gaussian matrix conditioned on its stable rank, and the gas that its singular values are in the limit.

Tensors are of torch's default dtype, which the notebooks set; lam are squared relative singular values but the first.
"""

import itertools
import math
from functools import partial
from unittest.mock import patch

import torch
from scipy.integrate import quad

import srlib
from measurements.pair import beside_quartic
from measurements.sampling import cases
from srlib.spectra import conditioned, conditioned_gaussian, coulomb

__all__ = [
    "FACTORS",
    "MULTIPLIER",
    "QUARTIC",
    "after",
    "at",
    "column",
    "dense",
    "densities",
    "ends",
    "force",
    "formulas",
    "loop",
    "memories",
    "memory",
    "moments",
    "multiplier",
    "one_sided",
    "outside",
    "panels",
    "phase",
    "quadratures",
    "quartic_traces",
    "remainders",
    "repulsion",
    "support",
    "sweeps",
    "tail",
    "three_values",
    "throughout",
    "traces",
    "walked",
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


def tail(shape, r, count, generator, *, law=conditioned_gaussian):
    """Draw lam, shape (count, k - 1), from a law of the library."""
    return law(shape, r, batch=count, generator=generator)[:, 1:].square()


def walked(shape, r, count, generator, sweeps):
    """Draw lam, shape (count, k - 1), by a walk of some sweeps, also where the library does not walk."""
    with patch.object(conditioned, "SWEEPS", sweeps):
        return conditioned._walk(shape, r, count, generator)


FACTORS = {  # exponents of the values, of 1 - lambda and of the Vandermonde factor
    "M3": lambda d: ((d - 1) / 2, 1, 1),
    "Vandermonde factor dropped": lambda d: ((d - 1) / 2, 1, 0),
    "complex matrices": lambda d: (d, 2, 2),
    "d/2 in place of (d-1)/2": lambda d: (d / 2, 1, 1),
    "without 1 - lambda": lambda d: ((d - 1) / 2, 0, 1),
    "uniform on the sphere": lambda d: (-1 / 2, 0, 0),
}


def quadratures(cases):
    """:func:`three_values` of every (d, r), of M3's density first, then of wrong ones by name."""
    return {
        name: [three_values(r, *factors(d)) for d, r in cases]
        for name, factors in FACTORS.items()
    }


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


def remainders(tails, cases):
    """What is left of the loop equation relative to the mean size of its terms, (count, cases): of M3's density first,
    then of wrong ones by name.
    """
    terms = torch.stack([loop(lam) for lam in tails], 1)
    d, one = torch.tensor([abs(m - n) for (m, n), _ in cases]), torch.ones(len(cases))
    factors = {
        "M3": ((d - 1) / 2, one, one),
        "Vandermonde factor dropped": ((d - 1) / 2, one, 0 * one),
        "complex matrices": (d, 2 * one, 2 * one),
        "d/2 in place of (d-1)/2": (d / 2, one, one),
        "without 1 - lambda": ((d - 1) / 2, 0 * one, one),
    }
    weighted = {name: terms * torch.stack([one, *f], -1) for name, f in factors.items()}
    size = weighted["M3"].mean(0).abs().sum(-1)
    return {name: x.sum(-1) / size for name, x in weighted.items()}


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


def after(chains, sweeps, count, generators):
    """Quartic trace after some sweeps of each chain, shape (count, chains)."""
    tails = [walked(*c, count, g, sweeps) for c, g in zip(chains, generators, strict=True)]
    return torch.stack([lam.square().sum(-1) for lam in tails], -1)


def sweeps(chains, count, generator):
    """Quartic trace after the library's number of sweeps, four and none minus that after twice as many, relative."""

    def traces(number, offset):
        generators = map(generator, range(offset, offset + len(chains)))
        return after(chains, number, count, generators)

    longer = traces(2 * conditioned.SWEEPS, 70)
    ways = {
        "library": (conditioned.SWEEPS, 80),
        "four sweeps": (4, 90),
        "the start itself": (0, 90),
    }
    return {name: (traces(*way) - longer) / longer.mean(0) for name, way in ways.items()}


def memories(count, lags, generator):
    """Correlations of :func:`memory` by shape and relative stable rank; generator is a function of an offset."""
    shapes, found = ((16, 16), (64, 64), (16, 64)), {}
    for i, (shape, rho) in enumerate(itertools.product(shapes, (0.1, 0.5, 0.9))):
        generators = generator(50 + 2 * i), generator(51 + 2 * i)
        found[shape, rho] = memory(shape, at(rho, min(shape)), count, lags, *generators)
    return found


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


def repulsion(condensed, squeezed):
    """Repulsion outside the support, at twenty points between it and the wall, and the multipliers; both without their
    sign.
    """
    shares = torch.linspace(0.05, 1, 20)
    above = [outside(rho, 4 * rho + shares * (1 - 4 * rho)) for rho in condensed]
    below = [-outside(rho, (4 * rho - 3) * (1 - shares)) for rho in squeezed]
    return torch.stack(above + below), column(
        [abs(multiplier(rho, 1.0)) for rho in condensed + squeezed]
    )


def column(values):
    """One multiplier for all points of a support."""
    return torch.tensor(values).unsqueeze(-1)


def densities(values, points):
    """Limiting density of square matrices, shape (values, points)."""
    return torch.stack([coulomb.density(rho, points) for rho in values])


def quartic_traces(values, shape, count, generators, law=conditioned_gaussian):
    """Quartic trace per singular value at relative stable ranks, shape (count, values)."""
    draws = zip((at(rho, shape[0]) for rho in values), generators, strict=True)
    tails = [tail(shape, r, count, g, law=law) for r, g in draws]
    return torch.stack([lam.square().mean(-1) for lam in tails], -1)


def traces(shape, rho, count, generator):
    """Quartic trace of the tail at a relative stable rank, shape (count,)."""
    return tail(shape, at(rho, min(shape)), count, generator).square().sum(-1)


def formulas(shape, rho):
    """Mean quartic trace in the condensed phase by M5 (c), by its limit, and of one row and one column more."""
    (m, n), r = shape, at(rho, min(shape))
    limit = m * coulomb.quartic(rho, n / m)
    return beside_quartic(shape, r), limit, beside_quartic((m + 1, n + 1), r)


def panels(count, generator):
    """Draws at width 64, ends of the support and limiting density in the three phases."""
    return {
        (phase(rho), rho): (
            tail((64, 64), at(rho, 64), count, generator(600)),
            support(rho),
            partial(coulomb.density, rho),
        )
        for rho in (0.1, 0.5, 0.9)
    }


def ends(grid, drawn):
    """Limit and draws of the largest and the smallest of the other squared singular values, by label."""
    lower, upper = zip(*(support(rho.item()) for rho in grid), strict=True)
    return {
        r"second, $\sigma_2^2$": (upper, drawn[..., 0]),
        r"smallest, $\sigma_n^2$": (lower, drawn[..., -1]),
    }


def dense(law, generator):
    """Matrices of seven shapes at stable ranks from end to end, and the ranks."""
    _, shapes, ranks = zip(*cases([law]), strict=True)
    options = {"spectral_norm": 3.0, "law": law}
    pairs = zip(shapes, ranks, strict=True)
    return [srlib.sample(*c, **options, generator=generator(1)) for c in pairs], ranks


def force(rho, aspect=1.0, count=4000):
    """Effective force at ten points of the support, halfway between nodes; shape (10,)."""
    lam, mass = _nodes(rho, aspect, count)
    between = torch.arange(count // 20, count, count // 10) * math.pi / count
    x, _ = _angle(rho, aspect, between)
    return 2 * (mass / (x.unsqueeze(-1) - lam)).sum(-1) + (aspect - 1) / x


def one_sided(c, side, h=1e-3):
    """Slope and second derivative of the measured multiplier at c, from one side; above 1/2, where the multiplier is
    the opposite of its mirror image, the second derivative changes its sign.
    """
    y0, y1, y2, y3 = (force(c + side * i * h).mean().item() for i in range(4))
    slope = side * (-11 * y0 + 18 * y1 - 9 * y2 + 2 * y3) / (6 * h)
    mirror = (
        1 if c < 0.5 else -1
    )  # so that equal errors show one number, whichever is the larger by its rounding
    return [slope, mirror * (2 * y0 - 5 * y1 + 4 * y2 - y3) / h**2]


def multiplier(rho, aspect):
    """The force that all points of the support feel, from the formula of the density."""
    if rho <= aspect / (1 + math.sqrt(aspect)) ** 2:  # condensed
        return aspect / rho
    _, B, *_ = coulomb._gas(rho, aspect)
    return -2 * B

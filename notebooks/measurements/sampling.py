"""What is drawn of spectra and matrices, and which of their moments are compared.

Tensors are of torch's default dtype, which the notebooks set.
"""

import itertools
import math
from unittest.mock import patch

import torch
from scipy.integrate import quad

from srlib import spectra

__all__ = [
    "LAWS",
    "cases",
    "corners",
    "cut_sphere_mean",
    "direction",
    "entry_moments",
    "phase_density",
    "raw_qr",
    "sphere_tail",
    "traces",
]

LAWS = {
    "two-level": spectra.two_level,
    "projector": spectra.projector,
    "power law": spectra.power_law,
    "uniform on the sphere": spectra.uniform_sphere,
}


def cases(laws):
    """Return (law, shape, stable rank) for each of the laws, seven shapes, and stable ranks from end to end."""
    return [
        (law, shape, 1 + share * (min(shape) - 1))
        for law in laws
        for shape in [(6, 6), (3, 11), (40, 7), (1, 5), (2, 2), (9, 2), (64, 64)]
        for share in ([0, 0.01, 0.3, 0.5, 0.9, 1] if min(shape) > 1 else [0])
    ]


def sphere_tail(k, r, count, generator, sweeps=None):
    """Draw all singular values of k x k matrices but the first, shape (count, k - 1), from the uniform law, by a walk
    of the library's number of sweeps or of another one.
    """
    sweeps = spectra.sphere.SWEEPS if sweeps is None else sweeps
    with patch.object(spectra.sphere, "SWEEPS", sweeps):
        return spectra.uniform_sphere((k, k), r, batch=count, generator=generator)[:, 1:]


def direction(k, r, count, generator):
    """Draw points of the sphere on which the tails lie, shape (count, k - 1), whether inside the cube or not."""
    z = torch.randn(count, k - 1, generator=generator).abs()
    return math.sqrt(r - 1) * z / z.norm(dim=-1, keepdim=True)


def cut_sphere_mean(r, power):
    """E z^power, z one coordinate of a uniform point of {|u|^2 = r - 1} in the cube of dimension 3."""
    ends = math.sqrt(max(0, r - 3)), min(1, math.sqrt(r - 1))
    kink = [math.sqrt(r - 2)] if r > 2 else None
    moment, mass = (
        quad(lambda z, p: z**p * _arc(r - 1 - z**2), *ends, args=(p,), points=kink)[0]
        for p in (power, 0)
    )
    return moment / mass


def _arc(squared_radius):
    """Length of the part of the circle inside the unit square."""
    if not 0 < squared_radius < 2:
        return 0.0
    return math.pi / 2 - 2 * math.acos(min(1, 1 / math.sqrt(squared_radius)))


def raw_qr(m, k, count, generator):
    """Return the Q of Gaussian matrices as the factorization returns it, signs not fixed, shape (count, m, k)."""
    return torch.linalg.qr(torch.randn(count, m, k, generator=generator)).Q


def entry_moments(*matrices):
    """a^2, a^4, a^2 b^2, a^2 d^2 and a b c d of the upper left entries a, b / c, d: five columns for each batch."""
    entries = (Q[:, :2, :2].flatten(1).T for Q in matrices)
    moments = (
        (a**2, a**4, a**2 * b**2, a**2 * d**2, a * b * c * d) for a, b, c, d in entries
    )
    return torch.stack([*itertools.chain.from_iterable(moments)], -1)


def corners(*matrices):
    """a^2, a^4 and a^2 d^2 of the first two diagonal entries a, d: three columns for each batch."""
    pairs = ((A[:, 0, 0], A[:, 1, 1]) for A in matrices)
    return torch.stack([x for a, d in pairs for x in (a**2, a**4, (a * d) ** 2)], -1)


def traces(A, count=6):
    """Traces of the first powers of each matrix relative to its width, shape (len(A), count)."""
    powers = itertools.accumulate([A] * count, torch.matmul)
    return torch.stack([power.diagonal(dim1=1, dim2=2).mean(-1) for power in powers], -1)


def phase_density(Q, bins):
    """Density a radian of the eigenvalues' phases but 0 and pi, and two standard errors, shape (bins,) each."""
    phase = torch.linalg.eigvals(Q).angle().abs()
    phase = phase[(phase > 1e-6) & (phase < math.pi - 1e-6)]
    count = 2 * len(Q) * bins.diff()
    density = torch.histogram(phase, bins).hist / count
    return density, 2 * (density / count).sqrt()

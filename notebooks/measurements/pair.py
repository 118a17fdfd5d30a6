"""A Gaussian matrix of given stable rank as one singular pair and a matrix beside it, and Gaussian matrices by rejection.

Tensors are of torch's default dtype, which the notebooks set; lam are squared relative singular values but the first.
"""

import math

import torch
from scipy.integrate import quad

from srlib import haar

__all__ = [
    "WRONG",
    "beside",
    "beside_quartic",
    "corner_of_haar",
    "corners_of_haar",
    "excess",
    "free_stable_rank",
    "gaussian",
    "in_frames",
    "mirrored",
    "mirrors",
    "parts",
    "reflect",
    "rejection",
    "scale",
    "spectrum",
    "turned",
]


def beside(shape, radius2, count, generator, *, power=1.0):
    """Draw M5's matrix X of this shape, (count, *shape): uniform on the Frobenius sphere of a squared radius, weighted by
    det(1 - X X^T)^power and cut at spectral norm 1. By plain rejection, against the weight of equal singular values.
    """
    rows, columns = shape
    k, kept = min(shape), []
    most = k * math.log1p(-radius2 / k)  # the largest log det at this radius
    while sum(map(len, kept)) < count:
        G = torch.randn(2 * count, rows, columns, generator=generator)
        X = G * (math.sqrt(radius2) / torch.linalg.matrix_norm(G)).reshape(-1, 1, 1)
        lam = torch.linalg.svdvals(X).square()
        weight = torch.where(lam < 1, torch.log1p(-lam), -math.inf).sum(-1) - most
        level = torch.rand(2 * count, generator=generator)
        kept.append(X[level < (power * weight).exp()])  # M5
    return torch.cat(kept)[:count]


def spectrum(shape, r, count, generator, power=1.0):
    """Squared singular values of M5's X beside the pair of a matrix of this shape and stable rank."""
    X = beside((shape[0] - 1, shape[1] - 1), r - 1, count, generator, power=power)
    return torch.linalg.svdvals(X).square()


def mirrored(shape, r, count, generator, power, *, more=3):
    """Squared singular values but the first, as 1 less those of a matrix of k - 1 rows and some columns more (M5 d)."""
    rows = min(shape) - 1
    C = beside((rows, rows + more), min(shape) - r, count, generator, power=power)
    return 1 - torch.linalg.svdvals(C).square().flip(-1)


def mirrors(cases, direct, generator):
    """Excess of M5 (d) over lam drawn directly, and that of wrong ones by name; generator returns a fresh one."""
    ways = {
        "M5": (lambda d: (d - 1) / 2, 3),
        "without the weight": (lambda d: 0.0, 3),
        "with the power d/2": (lambda d: d / 2, 3),
        "one column less": (lambda d: (d - 1) / 2, 2),
    }
    found = {}
    for name, (power, more) in ways.items():
        lam = [
            mirrored((m, n), r, len(x), generator(), power(n - m), more=more)
            for ((m, n), r), x in zip(cases, direct, strict=True)
        ]
        found[name] = excess(lam, direct, cases)
    return found


def excess(first, second, cases):
    """Means and traces of the squares of lam, minus those of other ones, in units of the tail's sum, r - 1."""

    def summary(lam):
        return torch.cat([lam, lam.square().sum(-1, keepdim=True)], -1)

    triples = zip(first, second, cases, strict=True)
    return torch.cat([(summary(x) - summary(y)) / (r - 1) for x, y, (_, r) in triples], -1)


def parts(X):
    """1 beside X: the matrix in the frames of its first singular pair."""
    count, rows, columns = X.shape
    W = torch.zeros(count, rows + 1, columns + 1)
    W[:, 0, 0], W[:, 1:, 1:] = 1, X
    return W


def in_frames(X, generator):
    """W / s of M5: 1 beside X, and a random reflection on either side."""
    return reflect(reflect(parts(X), generator).mT, generator).mT


def turned(X, generator, other):
    """Four entries of each matrix of a pair and X, shape (count, 4), and of wrong ones by name."""
    wrong = {
        "the pair not turned": parts(X),
        "turned on one side": reflect(parts(X), other),
    }
    wrong = {name: W[:, :2, :2].flatten(1) for name, W in wrong.items()}
    return in_frames(X, generator)[:, :2, :2].flatten(1), wrong


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


def corners_of_haar(shape, count, generator):
    """:func:`corner_of_haar` as M5 has it, and wrong ones by name."""
    size = sum(shape) + 1
    ways = {"M5": (size, None, 811), "O(m + n)": (size - 1, None, 812)}
    ways |= {"O(m + n + 2)": (size + 1, None, 812), "not weighted": (size, 0, 812)}
    return {
        name: corner_of_haar(shape, size, count, generator(offset), power=power)
        for name, (size, power, offset) in ways.items()
    }


WRONG = {  # arguments of free_stable_rank
    "not weighted": {"weight": 0},
    "half the exponent": {"weight": 1 / 2},
    "no repulsion between the two": {"wall": 0},
}


def free_stable_rank(*, weight=1, wall=1):
    """Mean and mean square of the stable rank of Gaussian m x 2 matrices, m = 2, 3, 5, by quadrature in (r - 1)^(1/2);
    the arguments are 1 in M5 (b).
    """

    def integrand(x, m, p):
        r = 1 + x**2
        return r ** (p - m * weight) * x ** (m - 2) * (1 - x**2) ** wall

    return [
        quad(integrand, 0, 1, args=(m, p))[0] / quad(integrand, 0, 1, args=(m, 0))[0]
        for m in (2, 3, 5)
        for p in (1, 2)
    ]


def beside_quartic(shape, r):
    """Mean quartic trace in the condensed phase: that of 1 beside X uniform on its sphere."""
    m, n = shape
    return 1 + (r - 1) ** 2 * (m + n - 1) / ((m - 1) * (n - 1) + 2)  # M5 (c)


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


def scale(accepted):
    """Squared Frobenius norm of matrices by rejection, 4 x 4 and 3 x 5, relative to its mean without it, and 1 plus its
    covariance with the second singular value; the same with the spectral norm.
    """
    norm2 = torch.stack([lam.sum(-1) for lam in accepted], -1) / torch.tensor([16.0, 15.0])
    second = torch.stack([lam[:, 1] / lam[:, 0] for lam in accepted], -1)
    covariance = (norm2 - 1) * (second / second.mean(0) - 1)
    return [torch.cat([x, 1 + covariance], -1) for x in (norm2, norm2 / second)]

"""Squared feature norms: of dense networks, and averaged exactly over directions and gates."""

import itertools
import math
from dataclasses import replace

import torch

from measurements.stable_rank import permuted_outputs
from srlib import Ensemble, Network, feedforward
from srlib.moments import feature_norm, fluctuation_exponent, log_growth

__all__ = [
    "F2",
    "F3",
    "basis",
    "cubature",
    "cubes",
    "direction",
    "each",
    "exact_layers",
    "exact_moments",
    "excess",
    "facts",
    "flattened",
    "gate_moments",
    "gaussian_squares",
    "growth",
    "inner_products",
    "log_ratio",
    "logs_and_cubes",
    "replicates",
    "scaled_exponents",
    "second_moments",
    "squared_norms",
    "terms",
    "wrong_seconds",
]


def each(function, items):
    """Stack what the function makes of each item, numbers or tensors."""
    return torch.stack([torch.as_tensor(function(item)) for item in items])


def basis(n):
    """An orthonormal basis and its mirror image, shape (2 n, n)."""
    return torch.cat([torch.eye(n), -torch.eye(n)])


def squared_norms(network, x):
    """||h_0||^2, ..., ||h_L||^2 at every input, shape (networks, inputs, L + 1)."""
    post = feedforward.forward(network, x).post
    return torch.stack([h.square().sum(-1) for h in post], -1)


def replicates(ensemble, count, generator, slopes=(0.0,), chunk=2_000):
    """Means over the basis of ||h_l||^2 and ||h_l||^4, l = 1, ..., L, shape (2, networks, slopes, L)."""
    parts, x = [], basis(ensemble.widths[0])
    for start in range(0, count, chunk):
        network = ensemble.sample(min(chunk, count - start), generator=generator)
        X = [squared_norms(replace(network, negative_slope=a), x)[..., 1:] for a in slopes]
        X = torch.stack(X, 2)
        parts.append(torch.stack([X.mean(1), X.square().mean(1)]))
    return torch.cat(parts, 1)


def gaussian_squares(widths, count, generator, chunk=2_000):
    """Means over the basis of ||h_l||^4 in ReLU networks whose weights have variance 2 / n_l, shape (networks, L)."""
    squares = []
    for _ in range(0, count, chunk):
        weights = [
            torch.randn(chunk, m, n, generator=generator) * math.sqrt(2 / m)
            for n, m in itertools.pairwise(widths)
        ]
        network = Network(tuple(weights), torch.ones(chunk, widths[-1]))
        squares.append(squared_norms(network, basis(widths[0])).square().mean(1)[:, 1:])
    return torch.cat(squares)


def log_ratio(first, second):
    """log E X^2 - 2 log E X from replicates of X and X^2 along the first axis, and its standard error."""
    influence = second / second.mean(0) - 2 * first / first.mean(0)
    value = second.mean(0).log() - 2 * first.mean(0).log()
    return value, influence.std(0) / math.sqrt(len(first))


def inner_products(W, angles):
    """<Wx, Wy> of unit inputs at each angle, averaged over the pairs (e_1, e_2), (e_3, e_4), ... of the first ten
    coordinates, shape (matrices, angles).
    """
    x, y = W[..., 0:10:2], W[..., 1:10:2]
    same, across = (x * x).sum(-2).mean(-1), (x * y).sum(-2).mean(-1)
    return same[:, None] * angles.cos() + across[:, None] * angles.sin()


def direction(a):
    """Statistics of the direction u of a, each of mean 1 if it is uniform, shape (..., 3), and ||a||^2, (..., 1): the
    share of the first half of the coordinates, the square of that share, and sum u_i^4.
    """
    m = a.shape[-1]
    u2 = a.square() / a.square().sum(-1, keepdim=True)
    half = u2[..., : m // 2].sum(-1)
    parts = [2 * half, half**2 * 4 * (m + 2) / (m + 4), u2.square().sum(-1) * (m + 2) / 3]
    return torch.stack(parts, -1), a.square().sum(-1, keepdim=True)


def cubature(n):
    """Points on the unit sphere, shape (2 n^2, n), and their weights: exact for polynomials of degree 5."""
    axes, pairs = basis(n), list(itertools.combinations(range(n), 2))
    i, j = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
    signs = itertools.product((1, -1), repeat=2)
    diagonals = torch.cat([a * axes[i] + b * axes[j] for a, b in signs]) / math.sqrt(2)
    on_axes = torch.full((2 * n,), (4 - n) / (2 * n * (n + 2)))
    on_diagonals = torch.full((len(diagonals),), 1 / (n * (n + 2)))
    return torch.cat([axes, diagonals]), torch.cat([on_axes, on_diagonals])


def gate_moments(m, slope):
    """Mean and second moment of ||phi(u)||^2 over the 2^m sign patterns of every cubature point u, shape (2,)."""
    signs = torch.tensor(list(itertools.product((1.0, -1.0), repeat=m)))
    u, w = cubature(m)
    t = _phi(signs.unsqueeze(1) * u.abs(), slope).square().sum(-1)  # (2^m, points)
    return torch.stack([(t**p).mean(0) @ w for p in (1, 2)])


def exact_moments(W, slope):
    """Mean and second moment of ||phi(u)||^2 ||Wx||^2 over uniform, independent directions x and u, shape (2,)."""
    (u, v), (x, w) = cubature(W.shape[0]), cubature(W.shape[1])
    t, g = _phi(u, slope).square().sum(-1), (x @ W.T).square().sum(-1)
    return torch.stack([(w @ g) * (v @ t), (w @ g**2) * (v @ t**2)])


def exact_layers(ensemble, generator):
    """The same for all layers of one drawn network up to the l-th, multiplied, shape (2, L)."""
    weights = ensemble.sample(1, generator=generator).weights
    moments = [exact_moments(W[0], ensemble.negative_slope) for W in weights]
    return torch.stack(moments, -1).cumprod(-1)


def _phi(z, slope):
    return torch.where(z > 0, z, slope * z)


def F2(e):
    """E ||h_l||^2, l = 1, ..., L."""
    return feature_norm(e).mean[1:]


def F3(e):
    """E ||h_l||^4."""
    return feature_norm(e).second[1:]


def second_moments(ensembles, q):
    """The recursion of F3, for putting wrong quartic traces into it."""
    m, n = each(lambda e: e.shapes, ensembles).unbind(-1)
    r, s = each(lambda e: (e.stable_ranks, e.spectral_norms), ensembles).unbind(1)
    a = each(lambda e: [e.negative_slope], ensembles)
    eta, eta4 = (1 + a**2) / 2, (1 + a**4) / 2
    layers = s**4 * (r**2 + 2 * q) / (n * (n + 2))
    return (layers * ((m - 1) * eta**2 + 3 * eta4) / (m + 2)).cumprod(-1)


def wrong_seconds(ensembles):
    """What F3 would say if the quartic trace were another one."""
    r = each(lambda e: e.stable_ranks, ensembles)
    k = each(lambda e: torch.tensor(e.shapes).amin(-1), ensembles)
    return {
        "stable rank in place of participation rank": second_moments(ensembles, r),
        "a flat spectrum, q = r^2 / k": second_moments(ensembles, r**2 / k),
    }


def terms(e):
    """The exponent's terms, two a layer: 2 / p - 2 / n, and 3 (eta_4 / eta^2 - 1) / m."""
    p, (m, n) = torch.tensor(e.participation_ranks().value), torch.tensor(e.shapes).T
    kappa = ((1 - e.negative_slope**2) / (1 + e.negative_slope**2)) ** 2
    return torch.stack([2 / p - 2 / n, 3 * kappa / m])


def flattened(e):
    """The same network with orthogonal layers of its largest width."""
    return replace(e, widths=[max(e.widths)] * (e.depth + 1), stable_ranks=max(e.widths))


def growth(law, cases):
    """Mean log of ||Wx||^2, relative to the log of its mean, for each shape and stable rank, a positive number."""
    logs = [log_growth(Ensemble((n, m), r, law=law, negative_slope=1)) for m, n, r in cases]
    means = torch.tensor([math.log(r / n) for _, n, r in cases])
    return means - torch.cat([log.mean for log in logs])


def cubes(e):
    """E ||h_l||^6, l = 1, ..., L, for a law that does not draw: sixth moments of a uniform direction."""
    a, factors = e.negative_slope, []
    eta, eta4, eta6 = ((1 + a**power) / 2 for power in (2, 4, 6))
    for (m, n), r, s in zip(e.shapes, e.stable_ranks, e.spectral_norms, strict=True):
        squares = e.law((m, n), r).square()
        q, c = squares.pow(2).sum().item(), squares.pow(3).sum().item()
        layer = s**6 * (r**3 + 6 * r * q + 8 * c) / (n * (n + 2) * (n + 4))
        gates = 15 * eta6 + 9 * (m - 1) * eta4 * eta + (m - 1) * (m - 2) * eta**3
        factors.append(layer * gates / ((m + 2) * (m + 4)))
    return torch.tensor(factors).cumprod(0)


def logs_and_cubes(ensemble, count, generator):
    """Means over the basis of log ||h_L||^2 and ||h_L||^6, shape (networks, 2)."""
    network = ensemble.sample(count, generator=generator)
    X = squared_norms(network, basis(ensemble.widths[0]))[..., -1]
    return torch.stack([X.log().mean(1), X.pow(3).mean(1)], -1)


def excess(law, ranks, levels, generator):
    """E max(X_2, level) of two ReLU layers, for each pair of stable ranks of their spectra of four singular values, shape
    (pairs, levels), relative to E X_2. The directions are the 120 orders of the coordinates of two vectors, the gates 50
    draws, the same for every law.
    """
    e, t = torch.nn.functional.normalize(torch.randn(2, 5, generator=generator), dim=-1), []
    for _ in range(2):
        u = torch.nn.functional.normalize(torch.randn(50, 5, generator=generator), dim=-1)
        t.append(u.clamp(min=0).square().sum(-1))
    squares = torch.stack([law((4, 5), r) for r in ranks]).square()
    g = [permuted_outputs(squares, e[i : i + 1]) for i in (0, 1)]
    X = torch.einsum("ri,sj,t->rsijt", *g, t[0] * t[1]).flatten(2).flatten(0, 1)
    X = X / X.mean(-1, keepdim=True)
    return torch.stack([X.clamp(min=level).mean(-1) for level in levels], -1)


def facts(e):
    """What the chapter says of its example, by name."""
    found = {
        "mean": feature_norm(e).mean[-1],
        "participation": e.participation_ranks().value[0],
        "epsilon": fluctuation_exponent(e),
        "spread": feature_norm(e).log_ratio[-1].exp(),
    }
    return {name: float(value) for name, value in found.items()}


def scaled_exponents(law, n, ranks):
    """Fluctuation exponents of one n x n ReLU layer, times n."""
    return [n * fluctuation_exponent(Ensemble((n, n), float(r), law=law)) for r in ranks]

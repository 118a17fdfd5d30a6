"""Squared feature norms: of dense networks, and averaged exactly over directions and gates."""

import itertools
import math
from dataclasses import replace

import torch

from srlib import Network, feedforward

__all__ = [
    "basis",
    "cubature",
    "direction",
    "each",
    "exact_layers",
    "exact_moments",
    "gate_moments",
    "gaussian_squares",
    "inner_products",
    "log_ratio",
    "replicates",
    "squared_norms",
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

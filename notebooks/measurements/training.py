"""How far residuals and layers move: distances of dynamics with a moving kernel, times to a loss, drift of weights."""

import math

import torch

from srlib import ntk, stable_rank
from srlib.experiments.gradient_flow import GradientFlow

__all__ = [
    "balance",
    "descend",
    "distance",
    "distance_bound",
    "drift",
    "factor",
    "half_time_spread",
    "listed",
    "log_error",
    "moves",
    "random_symmetric",
    "reached",
    "rms",
    "share_bound",
    "slope",
    "squares",
    "stable_ranks",
    "symmetric_root",
    "wrong_spreads",
]


def factor(K):
    """Return F with F F^T = K, both of shape (..., N, N)."""
    values, vectors = torch.linalg.eigh(K)
    return vectors * values.clamp(min=0).sqrt().unsqueeze(-2)


def symmetric_root(A):
    """Return the symmetric positive semidefinite root of A, shape (N, N)."""
    values, vectors = torch.linalg.eigh(A)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.mT


def random_symmetric(count, n, generator):
    """Return symmetric matrices of spectral norm 1, shape (count, n, n)."""
    E = torch.randn(count, n, n, generator=generator)
    E = E + E.mT
    return E / torch.linalg.matrix_norm(E, 2)[:, None, None]


def descend(features, r0, step, count):
    """Return the weights after every step of gradient descent on linear models (networks, N, features), from zero
    weights, shape (networks, count + 1, features, 1).
    """
    w = [torch.zeros(len(features), features.shape[-1], 1)]
    for _ in range(count):
        residual = features @ w[-1] + r0
        w.append(w[-1] - step[:, None, None] * features.mT @ residual)
    return torch.stack(w, 1)


def distance(A, kernels, dt):
    """Return the largest distance, over time, of the residual operators of the kernel A and of kernels that are held for
    a time dt each.
    """
    R, worst = torch.eye(len(A)), 0.0
    for k, B in enumerate(kernels, 1):
        R = torch.linalg.matrix_exp(-dt * B) @ R
        gap = torch.linalg.matrix_norm(R - torch.linalg.matrix_exp(-k * dt * A), 2)
        worst = max(worst, gap.item())
    return worst


def share_bound(T, R, rho):
    """Return how far residuals can be apart, after rescaling time by the ratio of the kernels at one input, when the
    readout's term R of the kernel T is multiplied by rho (N4).
    """
    L = torch.linalg.cholesky(T)
    shares = torch.linalg.eigvalsh(torch.linalg.solve(L, torch.linalg.solve(L, R).mT))
    low, high, mean = shares[0], shares[-1], R[0, 0] / T[0, 0]
    eps = (1 - rho) * max(high - mean, mean - low) / (1 - (1 - rho) * mean)
    return eps / (2 * (1 - eps).sqrt())


def reached(losses, times, share):
    """Return the time at which each loss, shape (networks, T), falls to a share of its start, interpolated in its
    logarithm.
    """
    log, goal = losses.log(), math.log(share) + losses[:, :1].log()
    k = (log < goal).int().argmax(1, keepdim=True)
    if (k == 0).any():
        raise ValueError(
            f"a loss does not fall to {share:g} of its start within {losses.shape[1]} steps"
        )
    (a, b), (s, t) = (
        (v.gather(1, k - 1), v.gather(1, k)) for v in (log, times.expand_as(log))
    )
    return (s + (t - s) * (a - goal) / (a - b)).squeeze(1)


def squares(W):
    """Return squared Frobenius norms, shape (...), of matrices (..., m, n)."""
    return W.square().sum((-2, -1))


def balance(W):
    """Return, after every step, the change of the differences of the layers' squared norms, the differences of their
    squared increments that it is to equal, and the sums in their place, shape (networks, steps, L) each; all over the
    largest sum of increments. W holds every layer's history.
    """
    norms = torch.stack([squares(layer) for layer in W], -1)
    increments = torch.stack([squares(layer.diff(dim=1)) for layer in W], -1).cumsum(1)
    far = increments[:, -1:].amax(2, keepdim=True)
    own = increments / far
    return (
        (norms - norms[:, :1]).diff()[:, 1:] / far,
        own.diff(),
        own[..., 1:] + own[..., :-1],
    )  # N5 (b)


def distance_bound(W, losses, rate, share):
    """Return the squared distance of the weights from their start, and what N5 (a) allows of it, after every step of
    descent with a rate of this share of the largest stable one; W holds every layer's history.
    """
    moved = sum(squares(layer - layer[:, :1]) for layer in W)[:, 1:-1]
    time = torch.arange(1, losses.shape[1]) * rate[:, None]
    return moved, time * (losses[:, :1] - losses[:, 1:]) / (1 - share)


def wrong_spreads(log_time, after, ratios):
    """Return spreads over stable ranks, shape (networks,), of log times, (stable ranks, networks), by what was done wrong:
    before rescaling, and rescaled by one power of the stable rank too many or too few.
    """
    powers = torch.tensor(ratios).log()[:, None]
    return {
        "not rescaled": log_time.std(0),
        "one power of the stable rank more": (after + powers).std(0),
        "one power less": (after - powers).std(0),
    }


def rms(values):
    """Return the root mean square over the first axis."""
    return values.square().mean(0).sqrt()


def half_time_spread(kernels, r0, size):
    """Return the spread over networks of the log time to half the loss, each predicted from its own kernel; a size sets
    the grid of times.
    """
    times = torch.logspace(-2, 3, 200) / size
    return reached(GradientFlow(kernels).losses(r0, times), times, 0.5).log().std()


def listed(values, form):
    """Return numbers in one line of text."""
    return " ".join(f"{value:{form}}" for value in values)


def log_error(measured, predicted, share=0.0):
    """Return the largest error of the log loss while above this share of its start, shape (4 stable ranks, networks)."""
    error = (predicted / measured).log().abs()
    return torch.where(measured > share * measured[:, :1], error, 0.0).amax(1).view(4, -1)


def drift(network, result, x):
    """Return the relative distance of every network's kernel after training from that before, shape (networks,); NaN
    for one that diverged.
    """
    ended = result.diverged_at == -1
    before, after = (
        ntk.empirical(network[ended], x),
        ntk.empirical(result.network[ended], x),
    )
    found = before.new_full((len(network),), math.nan)
    found[ended] = (squares(after - before) / squares(before)).sqrt()
    return found


def moves(first, last):
    """Return the roots of the stable ranks of the layers first and last, and their distance over the first one's
    spectral norm, shape (networks, L) each.
    """
    ranks = [
        torch.stack([stable_rank(layer) for layer in layers], 1) for layers in (first, last)
    ]
    size = torch.stack([torch.linalg.matrix_norm(layer, 2) for layer in first], 1)
    moved = torch.stack(
        [squares(b - a).sqrt() for a, b in zip(first, last, strict=True)], 1
    )
    return ranks[0].sqrt(), ranks[1].sqrt(), moved / size


def slope(x, log_y):
    """Return the least-squares slope of log y, shape (points, ...), against log x."""
    centred = torch.tensor(x).log() - torch.tensor(x).log().mean()
    return torch.tensordot(centred, log_y, 1) / centred.square().sum()


def stable_ranks(W):
    """Return stable ranks by the Gram matrix: cheaper than singular values, and accurate enough for a figure."""
    values = torch.linalg.eigvalsh(W @ W.mT)
    return values.sum(-1) / values[..., -1]

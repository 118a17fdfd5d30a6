"""Stable ranks of large Gaussian matrices, and of the layers of a network that learns; means over a random input."""

import math
from itertools import pairwise, permutations
from typing import NamedTuple

import numpy as np
import torch
from scipy.integrate import quad
from scipy.linalg import eigvalsh_tridiagonal
from scipy.special import beta
from torch import nn
from torch.nn.functional import cross_entropy

import srlib
from measurements.sampling import LAWS
from srlib import haar, spectra

__all__ = [
    "CONVEX",
    "Run",
    "by_law",
    "compared",
    "end_means",
    "extrapolated",
    "facts",
    "familiar",
    "free_spectra",
    "gaussian_limit",
    "gaussian_stable_rank",
    "order_curves",
    "ordered_means",
    "output_errors",
    "output_means",
    "participation",
    "permuted_outputs",
    "summary",
    "train",
    "truncation_curves",
    "truncation_errors",
]


def familiar(n, generator):
    """Squared relative singular values of five n x n matrices, by name."""
    spectra_ = {
        "rank one": spectra.projector((n, n), 1),
        "two-level": spectra.two_level((n, n), 0.12 * n),
        "Gaussian": torch.linalg.svdvals(torch.randn(n, n, generator=generator)),
        "projector": spectra.projector((n, n), n / 2),
        "orthogonal": spectra.projector((n, n), n),
    }
    return {name: (s / s.max()).square() for name, s in spectra_.items()}


def by_law(axis, k, generator):
    """Spectra of each law at the stable ranks of an axis, shape (len(axis), k), by name."""
    return {
        name: torch.stack([law((k, k), r.item(), generator=generator) for r in axis])
        for name, law in LAWS.items()
    }


def free_spectra(count, k, generator):
    """Uniform numbers raised to a random power, sorted and relative to the largest, shape (count, k)."""
    exponent = 4 / torch.rand(count, 1, generator=generator) - 4
    free = torch.rand(count, k, generator=generator).pow(exponent)
    free = free.sort(descending=True).values
    return free / free[:, :1]


#: Convex functions of an output: cube, typical growth, length, and excess over three levels.
CONVEX = (
    lambda y: y**3,
    lambda y: -y.log(),
    lambda y: 1 - y.sqrt(),
    *(lambda y, t=t: y.clamp(min=t) for t in (0.2, 0.4, 0.6)),
)

#: What is compared of an output: its log, its cube, and its excess over half, all and 5/4 of a mean of 1/4.
LAW = (
    np.log,
    lambda y: y**3,
    *(lambda y, t=t: np.maximum(y - t, 0) for t in (1 / 8, 1 / 4, 5 / 16)),
)


def output_means(W):
    """Mean of each of LAW of ||Wx||^2 over a basis, shape (matrices, 5)."""
    outputs = W.square().sum(1).numpy()
    return torch.stack([torch.from_numpy(f(outputs)).mean(1) for f in LAW], -1)


def order_curves(generator, n=16, r=4, count=20_000):
    """For three n x n spectra of one stable rank, by name: partial sums of squares, shape (n + 1,), levels, and the mean
    excess over them of ||Wx||^2 at dense matrices, shape (61,) each.
    """
    curves, levels = {}, torch.linspace(0, 0.75, 61)
    for name in ("two-level", "power law", "projector"):
        law = LAWS[name]
        sums = torch.cat([torch.zeros(1), law((n, n), r).square().cumsum(0)])
        X = (
            srlib.sample((n, n), r, law=law, batch=count, generator=generator)
            .square()
            .sum(1)
        )
        curves[name] = (
            sums,
            levels,
            torch.stack([(X - x).clamp(min=0).mean() for x in levels]),
        )
    return curves


def ordered_means(squares, directions):
    """Means of f(sum_i lambda_i nu_i^2) over all orders of the coordinates of some directions, shape (directions, n), for
    the two-level spectrum, the given one and the projector of each stable rank, shape (3, functions, spectra). Over the
    orders of one direction nu^2 is exchangeable, exactly.
    """
    outputs = [
        permuted_outputs(by, directions)
        for by in (
            _squares(spectra.two_level, squares),
            squares,
            _squares(spectra.projector, squares),
        )
    ]
    return torch.stack([torch.stack([f(X).mean(-1) for f in CONVEX]) for X in outputs])


def permuted_outputs(squares, directions):
    """sum_i lambda_i nu_i^2, one row a spectrum, one column an order of the coordinates of one direction."""
    k, n = squares.shape[1], directions.shape[1]
    orders = torch.tensor(list(permutations(range(n), k)))
    return squares @ directions.square()[:, orders].flatten(0, 1).T


def _squares(law, squares):
    """Replace each spectrum by the law's of the same stable rank."""
    k = squares.shape[1]
    return torch.stack([law((k, k), r.clamp(1, k).item()) for r in squares.sum(1)]).square()


def end_means(n, r):
    """E f(||Wx||^2), f of LAW, for a random unit x and n x n matrices of norm 1 and whole stable rank r < n; first
    row two-level, second projector. ||Wx||^2 is affine in the first nu_i^2, in the sum of the first r: beta variables.
    """
    level = (r - 1) / (n - 1)
    two_level = [_beta_mean(f, 1 / 2, (n - 1) / 2, level) for f in LAW]
    return np.array([two_level, [_beta_mean(f, r / 2, (n - r) / 2, 0.0) for f in LAW]])


def _beta_mean(function, a, b, low):
    """E f(low + (1 - low) v^2), v^2 a beta variable."""

    def integrand(v):
        return function(low + (1 - low) * v**2) * v ** (2 * a - 1) * (1 - v**2) ** (b - 1)

    return 2 * quad(integrand, 0, 1, limit=400, epsabs=1e-13)[0] / beta(a, b)


def gaussian_stable_rank(m, n, count, rng):
    """Draw stable ranks of m x n Gaussian matrices, m >= n, from the bidiagonal form; shape (count,)."""
    ranks = []
    for _ in range(count):
        diagonal = rng.chisquare(np.arange(m, m - n, -1))
        above = rng.chisquare(np.arange(n - 1, 0, -1))
        gram, beside = diagonal + np.append(0, above), np.sqrt(diagonal[:-1] * above)
        top = eigvalsh_tridiagonal(gram, beside, select="i", select_range=(n - 1, n - 1))
        ranks.append(gram.sum() / top[0])
    return np.array(ranks)


def gaussian_limit(m, n):
    """What stable ranks of m x n matrices tend to."""
    return m * n / (math.sqrt(m) + math.sqrt(n)) ** 2  # S3


def extrapolated(m, n, count, rng):
    """Ratios of stable ranks to their limit at two sizes, freed of a deviation n^(-2/3), shape (count,)."""
    large, small = (
        gaussian_stable_rank(a * m, a * n, count, rng) / gaussian_limit(a * m, a * n)
        for a in (8, 1)
    )
    return (4 * large - small) / 3


def participation(law, k, r, generator):
    """Participation rank of 200 spectra, from their mean quartic trace."""
    q = law((k, k), r, batch=200, generator=generator).pow(4).sum(-1)
    return r**2 / q.mean().item()


def compared(trained, generator):
    """256 x 256 matrices by name: three trained layers and three familiar ones."""
    return {f"layer {l + 1}, trained": trained[l] for l in range(3)} | {
        "Gaussian": torch.randn(256, 256, generator=generator),
        "two-level": srlib.sample((256, 256), 12.0, generator=generator),
        "orthogonal": haar.orthogonal(256, generator=generator),
    }


def truncation_curves(matrices):
    """(j + 1) / r and the error after j singular directions, by name of the matrix."""
    curves = {}
    for name, W in matrices.items():
        s = torch.linalg.svdvals(W)
        curves[name] = (torch.arange(len(s)) + 1) / srlib.stable_rank(W), s / s[0]
    return curves


def truncation_errors(W, cuts):
    """Measure the spectral norm of what the best approximations of rank j leave, relative to that of W; one a cut."""
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    rest = torch.stack([W - (U[:, :j] * S[:j]) @ Vh[:j] for j in cuts])
    return torch.linalg.matrix_norm(rest, 2) / S[0]


def output_errors(W, cuts):
    """Root mean square of ||(W - W_j) x|| over random x, relative to that of ||Wx||, W_j the best of rank j; one a cut."""
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    x = torch.eye(
        W.shape[1]
    )  # an orthonormal basis averages squares as a random direction does
    rest = torch.stack([W @ x - (U[:, :j] * S[:j]) @ (Vh[:j] @ x) for j in cuts])
    return (rest.square().sum((1, 2)) / (W @ x).square().sum()).sqrt()


class Run(NamedTuple):
    """Stable and participation ranks of the layers, shape (times, layers, 2), loss and accuracy, shape (times,) each,
    and the weights before and after.
    """

    ranks: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray
    initial: list[torch.Tensor]
    trained: list[torch.Tensor]


def train(sizes, images, labels, train_size, *, seed, epochs, batch_size, learning_rate):
    """Train a ReLU network with PyTorch's default initialization on the first images, by Adam, and measure it after each
    pass over them: the loss on the first 1,000, the accuracy on those held out.
    """
    torch.manual_seed(seed)  # PyTorch's layers draw from the default generator
    layers = [nn.Linear(a, b, dtype=torch.float64) for a, b in pairwise(sizes)]
    net = nn.Sequential(*[module for layer in layers for module in (layer, nn.ReLU())][:-1])
    optimizer = torch.optim.Adam(net.parameters(), lr=learning_rate)
    data = images, labels, slice(0, 1000), slice(train_size, None)
    history, initial = [_measure(net, *data)], _weights(net)
    for _ in range(epochs):
        _learn(net, optimizer, images, labels, torch.randperm(train_size).split(batch_size))
        history.append(_measure(net, *data))
    return Run(*map(np.array, zip(*history, strict=True)), initial, _weights(net))


def _weights(net):
    return [layer.weight.detach().clone() for layer in net if isinstance(layer, nn.Linear)]


@torch.no_grad()
def _measure(net, images, labels, probe, held_out):
    ranks = [
        [srlib.stable_rank(W).item(), srlib.participation_rank(W).item()]
        for W in _weights(net)
    ]
    loss = cross_entropy(net(images[probe]), labels[probe])
    accuracy = (net(images[held_out]).argmax(1) == labels[held_out]).double().mean()
    return ranks, loss.item(), accuracy.item()


def _learn(net, optimizer, images, labels, batches):
    for batch in batches:
        optimizer.zero_grad()
        cross_entropy(net(images[batch]), labels[batch]).backward()
        optimizer.step()


def summary(ranks, loss, accuracy):
    """Two lines: mean stable ranks of the layers, loss and accuracy before and after training."""
    lines = []
    for name, time in (("before", 0), ("after", -1)):
        mean = " ".join(f"{x:.3g}" for x in ranks[:, time, :, 0].mean(0))
        found = f"loss {loss[:, time].mean():.2g}, held-out accuracy {accuracy[:, time].mean():.2f}"
        lines.append(f"{name} training: r = {mean} in layers 1 to 4; {found}")
    return "\n".join(lines)


def facts(ranks, accuracy, limits):
    """What the chapter says of the training, by name."""
    found = {
        "accuracy": 100 * accuracy[:, -1].mean(),
        "accuracy_worst": 100 * accuracy[:, -1].min(),
        "start_gap": 100 * np.abs(ranks[:, 0, :3, 0] / limits[:3] - 1).max(),
    }
    for l, limit in enumerate(limits):
        found[f"limit_{l + 1}"] = limit
        for name, time in (("initial", 0), ("trained", -1)):
            means = ranks[:, time, l].mean(0)
            found[f"{name}_{l + 1}"], found[f"participation_{name}_{l + 1}"] = means
    return found

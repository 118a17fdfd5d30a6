"""Stable ranks of large Gaussian matrices, and of the layers of a network that learns."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import eigvalsh_tridiagonal
from torch import nn
from torch.nn.functional import cross_entropy

import srlib

__all__ = ["Run", "gaussian_stable_rank", "train", "truncation_errors"]


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


def truncation_errors(W, cuts):
    """Measure the spectral norm of what the best approximations of rank j leave, relative to that of W; one a cut."""
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    rest = torch.stack([W - (U[:, :j] * S[:j]) @ Vh[:j] for j in cuts])
    return torch.linalg.matrix_norm(rest, 2) / S[0]


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

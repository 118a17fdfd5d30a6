"""Layer terms of the tangent kernel of dense networks, and kernels of pairs of inputs with little noise."""

from dataclasses import replace

import torch

from srlib import ntk

__all__ = [
    "by_gradients",
    "embedded",
    "errors",
    "pairs_of_digits",
    "shape_error",
    "single_error",
    "terms",
]


def by_gradients(network, x):
    """Inner products of the gradients that automatic differentiation finds, shape (networks, L + 1, inputs, inputs)."""
    gradient = torch.func.grad(_output)
    rows = torch.func.vmap(torch.func.vmap(gradient, (None, None, 0)), (0, None, None))
    J = rows((*network.weights, network.readout), network.negative_slope, x)
    return torch.stack([g.flatten(2) @ g.flatten(2).mT for g in J], 1)


def _output(parameters, slope, x):
    for W in parameters[:-1]:
        x = torch.nn.functional.leaky_relu(W @ x, slope)
    return parameters[-1] @ x


def terms(ensemble, count, generator, slopes=(0.0,), chunk=2_000):
    """Layer terms at one input, averaged over a basis and its mirror image, shape (networks, slopes, L + 1)."""
    parts, e = [], torch.eye(ensemble.widths[0])
    for start in range(0, count, chunk):
        net = ensemble.sample(min(chunk, count - start), generator=generator)
        nets = [replace(net, negative_slope=a) for a in slopes]
        T = [ntk.layers(n, e) + ntk.layers(n, -e) for n in nets]
        parts.append(torch.stack([t.diagonal(dim1=2, dim2=3).mean(-1) / 2 for t in T], 1))
    return torch.cat(parts)


def embedded(G, n):
    """Inputs of width n with a given Gram matrix, by its symmetric root: eigenvectors have no signs of their own."""
    values, vectors = torch.linalg.eigh(G)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.mT
    return torch.nn.functional.pad(root, (0, n - len(G)))


def pairs_of_digits(ensemble, G, count, generator, size=1_000):
    """Kernels of all pairs of inputs with the Gram matrix G in units of the limit's diagonal, as replicates of small
    noise and as they are, shape (2, networks, pairs), and their limit, (pairs,).
    """
    x, (i, j) = embedded(G, ensemble.widths[0]), torch.triu_indices(len(G), len(G), 1)
    limit = ntk.infinite(ensemble, x).ntk
    counts = [min(size, count - k) for k in range(0, count, size)]
    parts = [_pair_kernels(ensemble, x, limit, n, generator) for n in counts]
    return torch.cat(parts, 1)[..., i, j], (limit / limit[0, 0])[i, j]


def _pair_kernels(ensemble, x, limit, count, generator):
    """The same for all entries: layers in cyclic order, with either sign of the inputs, make one replicate."""
    net, total = ensemble.sample(count, generator=generator), 0
    for k, sign in [(k, sign) for k in range(net.depth) for sign in (1, -1)]:
        K = ntk.empirical(replace(net, weights=net.weights[k:] + net.weights[:k]), sign * x)
        total = total + _less_diagonal(K, limit)
    return torch.stack([total / (2 * net.depth), K / limit[0, 0]])


def _less_diagonal(K, limit):
    """Subtract what the diagonal, whose mean is known, says about the pairs; in units of the limit's diagonal."""
    deviation = K.diagonal(dim1=1, dim2=2) / limit[0, 0] - 1
    common = (deviation[:, :, None] + deviation[:, None]) / 2
    return (K - limit * common) / limit[0, 0]


def errors(ensemble, G, count, generator, size=50):
    """Relative errors of the kernels of single networks at inputs with the Gram matrix G, means over the pairs of their
    absolute values, shape (networks,).
    """
    x, (i, j) = embedded(G, ensemble.widths[0]), torch.triu_indices(len(G), len(G), 1)
    limit, found = ntk.infinite(ensemble, x).ntk[i, j], []
    for k in range(0, count, size):
        network = ensemble.sample(min(size, count - k), generator=generator)
        K = ntk.empirical(network, x)[:, i, j]
        found.append((K / limit - 1).abs().mean(1))
    return torch.cat(found)


def single_error(K, limit):
    """Relative error of single networks, root mean square over networks and pairs."""
    return (K / limit - 1).square().mean().sqrt().item()


def shape_error(K, target):
    """Relative Frobenius distance of kernels from one other, each divided by its trace, shape (networks,)."""
    K = K / K.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    target = target / target.trace()
    return (K - target).square().sum((-2, -1)).sqrt() / target.square().sum().sqrt()

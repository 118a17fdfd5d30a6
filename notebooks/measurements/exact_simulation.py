"""What dense networks say at one input and at several: back-propagation map by map, and one row of numbers a network."""

import itertools

import numpy as np
import torch

from srlib import arccos, feedforward

__all__ = [
    "angle_deviation",
    "dense_pairs",
    "dense_rows",
    "every_map",
    "limit_angles",
    "pairs",
    "rank_correlations",
    "recursion",
    "row",
]


def every_map(network, x):
    """Return, for every layer and every gates at one input, last map first: the numbers g, A, P, C of the recursion,
    shape (maps, 4, networks), and the squared norms behind it, (networks, maps); and the cosine of the readout with
    the last features.
    """
    chain, inputs, last = _maps(network, x)
    vectors = [_unit(network.readout)]
    for M in reversed(chain):
        vectors.append(torch.einsum("bij,bi->bj", M, vectors[-1]))
    back = zip(reversed(chain), reversed(inputs), vectors, strict=False)
    numbers = torch.stack([_four_numbers(M, _unit(h), _unit(y)) for M, h, y in back])
    norms = torch.stack([v.square().sum(-1) for v in vectors[1:]], -1)
    return numbers, norms, (vectors[0] * last).sum(-1)


def _maps(network, x):
    """Return all maps, their inputs, and the direction of the last features."""
    run = feedforward.forward(network, x)
    chain, inputs = [], []
    for W, D, h in zip(network.weights, run.gates, run.post, strict=False):
        h = h[:, 0]
        chain += [W, torch.diag_embed(D[:, 0])]
        inputs += [h, torch.einsum("bij,bj->bi", W, h)]
    return chain, inputs, _unit(run.post[-1][:, 0])


def _four_numbers(M, x, y):
    """Return g, A, P, C of the maps M, for the forward direction x and the backward direction y."""
    Mx = torch.einsum("bij,bj->bi", M, x)
    e = _unit(Mx)
    w = _unit(y - (y * e).sum(-1, keepdim=True) * e)
    back_e, back_w = (torch.einsum("bij,bi->bj", M, v) for v in (e, w))
    products = (back_e, back_e), (back_e, back_w), (back_w, back_w)
    return torch.stack([Mx.square().sum(-1), *((p * q).sum(-1) for p, q in products)])


def _unit(v):
    return v / v.norm(dim=-1, keepdim=True)


def recursion(numbers, c, cross=1.0, known=1.0):
    """Return the squared norm of the backpropagated vector after each map, last map first, by the recursion for the
    cosine, shape (networks, maps); with factors that spoil its cross term, or its known component.
    """
    norms, norm, c = [], torch.ones_like(c), known * c
    for g, A, P, C in numbers:
        G = c**2 * A + 2 * cross * c * (1 - c**2).sqrt() * P + (1 - c**2) * C  # C1
        norm, c = norm * G, known * c * (g / G).sqrt()
        norms.append(norm)
    return torch.stack(norms, -1)


def row(feature_norm2, backprop_norm2, output):
    """Return all squared feature norms, squared backprop norms, f, f^2 and layer terms, shape (networks, 3 L + 2)."""
    f, layers = output.unsqueeze(-1), feature_norm2[:, :-1] * backprop_norm2
    return torch.cat([feature_norm2[:, 1:], backprop_norm2, f, f**2, layers], -1)


def dense_rows(network, x):
    """Return the rows of dense networks at one input; and by name wrong ones, in which a part of the next network
    stands in.
    """
    run = feedforward.forward(network, x)
    D, W, v = run.gates, network.weights, network.readout
    other_D, other_W = ([part.roll(1, 0) for part in parts] for parts in (D, W))
    right = _backprop(D, W, v)
    wrong = {
        "fresh weights": _backprop(D, other_W, v.roll(1, 0)),
        "fresh gates": _backprop(other_D, W, v),
        "separate passes": right.roll(1, 0),
    }
    norms = torch.stack([h[:, 0].square().sum(-1) for h in run.post], -1)
    truth, *others = (
        row(norms, part, run.output[:, 0]) for part in (right, *wrong.values())
    )
    return truth, dict(zip(wrong, others, strict=True))


def _backprop(gates, weights, readout):
    vectors, norms = readout, []
    for D, W in zip(reversed(gates), reversed(weights), strict=True):
        delta = D[:, 0] * vectors
        norms.append(delta.square().sum(-1))
        vectors = torch.einsum("bij,bi->bj", W, delta)
    return torch.stack(norms[::-1], -1)


def rank_correlations(rows, names):
    """Return Spearman's correlation of every two columns, by the pair of their names."""
    found = np.corrcoef(rows.argsort(0).argsort(0).T)
    return {
        (names[i], names[j]): found[i, j]
        for i, j in itertools.combinations(range(len(names)), 2)
    }


def pairs(gram, output):
    """Return the inner products of all pairs of inputs after every layer, from (networks, L + 1, N, N), and all
    outputs, (networks, N), in one row a network.
    """
    norm = gram.diagonal(dim1=-2, dim2=-1).sqrt()
    size = norm.unsqueeze(-1) * norm.unsqueeze(-2)
    gram = torch.where(
        gram.abs() > 1e-12 * size, gram, 0.0
    )  # disjoint supports, up to rounding
    i, j = torch.triu_indices(*gram.shape[-2:])
    return torch.cat([gram[:, 1:, i, j].flatten(1), output], -1)


def dense_pairs(network, x):
    """Return the rows of dense networks at several inputs; and wrong ones, in which each input has a network of its
    own.
    """
    run = feedforward.forward(network, x)
    alone = [_own_networks(h) for h in run.post], _own_networks(run.output)
    sides = (run.post, run.output), alone
    return [pairs(torch.stack([h @ h.mT for h in post], 1), f) for post, f in sides]


def _own_networks(h):
    """Give input i the features (or the output) of the network i places before."""
    return torch.stack([part.roll(i, 0) for i, part in enumerate(h.unbind(1))], 1)


def limit_angles(start, depth):
    """Return the angle of two inputs before the first layer and after each, in the limit of infinite width."""
    angles = [start]
    for _ in range(depth):
        angles.append(arccos.next_angle(angles[-1]))
    return torch.stack(angles)


def angle_deviation(limit, added):
    """Return the leading order of the angle's standard deviation after each layer, where one adds ``added`` times the
    squared sine to its variance.
    """
    slope = limit[:-1].sin() * 2 * arccos.kappa0(limit[:-1]) / limit[1:].sin()
    V = [torch.zeros(())]
    for l, factor in enumerate(slope):
        V.append(factor**2 * (V[-1] + limit[l].sin() ** 2 * added))
    return torch.stack(V).sqrt()

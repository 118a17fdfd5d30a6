"""Gates seen in forward passes, images of curves, stretched vectors, and planes of inputs."""

import math

import torch

from srlib import feedforward

__all__ = ["Plane", "bend", "colours", "inside", "missed", "principal", "seen", "stretched"]


def missed(counts, generator, share=0.01):
    """The same counts when each kink is missed with a probability of one in a hundred."""
    kept = torch.full_like(counts, 1 - share, dtype=torch.float64)
    return torch.binomial(counts.double(), kept, generator=generator)


def seen(network, curve, times):
    """Changes of gates from point to point, counted by forward passes, shape (networks, layers); times for each network."""
    rows = []
    for b, t in enumerate(times):
        gates = feedforward.forward(network[b], curve.at(t)).gates
        rows.append(torch.stack([(g[0].diff(dim=0) != 0).sum() for g in gates]))
    return torch.stack(rows)


def inside(layers, b, end, parts=(0.1, 0.5, 0.9)):
    """Three points inside every piece of network b, between 0 and the end, from the kinks of its layers."""
    times = torch.cat([s.parameter[s.network == b] for s in layers])
    edges = torch.cat([torch.zeros(1), times.unique(), torch.tensor([end])])
    return (edges[:-1, None] + edges.diff()[:, None] * torch.tensor(parts)).flatten()


def bend(network, curve, edges):
    """Distance of the image of each piece's middle from the middle of the images of its ends, relative to h."""
    left, right = edges[:-1], edges[1:]
    times = torch.cat([left, (left + right) / 2, right])
    first, middle, last = feedforward.forward(network, curve.at(times)).post[-1][0].chunk(3)
    return (middle - (first + last) / 2).norm(dim=-1) / middle.norm(dim=-1)


def stretched(network, x, u):
    """Squared norms of J_l(x) u for l = 1, ..., L: (networks, layers)."""
    gates = feedforward.forward(network, x.unsqueeze(0)).gates
    u, norms = u.expand(network.batch, -1), []
    for W, D in zip(network.weights, gates, strict=True):
        u = D[:, 0] * (W @ u.unsqueeze(-1)).squeeze(-1)
        norms.append(u.square().sum(-1))
    return torch.stack(norms, 1)


def principal(h):
    """The two leading principal coordinates of a closed curve (points, n), and the share of its variance in them."""
    U, S, _ = torch.linalg.svd(h - h.mean(0), full_matrices=False)
    return U[:, :2] * S[:2], (S[:2].square().sum() / S.square().sum()).item()


class Plane:
    """The plane through three inputs, shape (3, n), with a square of so many pixels that contains them."""

    def __init__(self, corners, pixels):
        self.origin = corners[0]
        self.basis = torch.linalg.qr((corners[1:] - corners[0]).T)[0]
        self.corners = self.coordinates(corners)
        self.middle = self.corners.mean(0)
        self.reach = 1.25 * (self.corners - self.middle).norm(dim=1).max()
        axis = torch.linspace(-1, 1, pixels) * self.reach
        grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).flatten(0, 1)
        self.inputs = corners[0] + (grid + self.middle) @ self.basis.T

    def coordinates(self, points):
        """Coordinates in the plane, shape (points, 2)."""
        return (points - self.origin) @ self.basis


def colours(gates, generator):
    """A colour for each pattern of gates: patterns that differ in few gates have similar colours."""
    wheel = torch.randn(gates.shape[1], 3, generator=generator)
    shade = (gates - gates.mean(0)) @ wheel / math.sqrt(gates.shape[1])
    return (0.6 + 0.5 * shade).clamp(0, 1)

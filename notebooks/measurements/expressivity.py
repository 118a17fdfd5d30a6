"""Gates seen in forward passes, mirrors, images of curves, stretched vectors, and planes of inputs."""

import itertools
import math

import torch

from srlib import Ensemble, Network, feedforward, sample
from srlib.experiments import expressivity
from srlib.moments import log_growth
from srlib.spectra import power_law, projector, two_level

__all__ = [
    "Plane",
    "bend",
    "colours",
    "images",
    "inside",
    "mirrors",
    "missed",
    "principal",
    "regions",
    "seen",
    "start",
    "stretched",
    "typical_growth",
    "variety",
    "vertices",
]


def mirrors(network):
    """One network with the neurons of its hidden layers but the last mirrored in all ways: rows of their weights and
    columns of the next ones change sign together.
    """
    sizes = [W.shape[1] for W in network.weights[:-1]]
    signs = torch.cartesian_prod(*[torch.tensor([1.0, -1.0])] * sum(sizes)).split(sizes, 1)
    rows, columns = [*signs, torch.ones(1, 1)], [torch.ones(1, 1), *signs]
    flips = zip(network.weights, rows, columns, strict=True)
    weights = [W * row.unsqueeze(2) * column.unsqueeze(1) for W, row, column in flips]
    count = max(len(W) for W in weights)
    weights = [W.expand(count, -1, -1) for W in weights]
    return Network(
        weights, network.readout.expand(count, -1), negative_slope=network.negative_slope
    )


def vertices(networks, frame):
    """Numbers of points on the unit sphere of a slice of inputs, frame (n_0, 3), where two neurons of a layer vanish and the
    features before them do not, exactly: a pair of planes for each pattern of gates. Shape (networks, layers).
    """
    cells, counts = [(frame.expand(networks.batch, -1, -1), [])], []
    for W in networks.weights:
        gates = torch.cartesian_prod(*[torch.tensor([1.0, -1.0])] * W.shape[1]).unsqueeze(
            -1
        )
        pairs = torch.tensor(list(itertools.combinations(range(W.shape[1]), 2)))
        total, following = 0, []
        for features, walls in cells:
            z = W @ features
            point = torch.linalg.cross(*z[:, pairs].unbind(2))
            if walls:  # the point or its opposite belongs to the cell
                sides = torch.cat([point @ wall.mT for wall in walls], -1)
                total += (sides > 0).all(-1).sum(1) + (sides < 0).all(-1).sum(1)
            else:
                total += torch.full((len(z),), 2 * len(pairs))
            for D in gates:
                slopes = torch.where(D > 0, 1.0, networks.negative_slope)
                if (
                    slopes != 0
                ).sum() > 2:  # or the features are zero wherever two neurons are
                    following.append((slopes * z, [*walls, D * z]))
        counts.append(total)
        cells = following
    return torch.stack(counts, 1)


def start(widths, r, count, generator):
    """Classifiers of ten digits at matched scale, their hidden layers of this stable rank, their readouts orthogonal."""
    network = Ensemble(widths, r).preserving().sample(count, generator=generator)
    readout = sample((10, widths[-1]), 10.0, batch=count, generator=generator)
    return Network(network.weights, readout)


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


def images(network, curve, layers, points=3_000):
    """Principal coordinates of a closed curve's image in each of these layers of one network, and its kinks up to each."""
    post = feedforward.forward(
        network, curve.at(torch.linspace(0, 2 * math.pi, points))
    ).post
    collected = expressivity.kinks(network, curve).counts[0].cumsum(0).tolist()
    return [principal(post[l][0]) for l in layers], collected


def typical_growth(e):
    """Exponential of the mean logarithm of the norm, for every layer."""
    return (log_growth(e).mean.cumsum(0) / 2).exp()


def variety():
    """Ensembles of twelve layers over widths, stable ranks, laws and slopes."""
    return [
        Ensemble((n,) * 13, max(1.0, share * n), law=f, negative_slope=a).preserving()
        for n in (2, 8, 64, 256)
        for share in (0.1, 0.3, 1.0)
        for f in (two_level, projector, power_law)
        for a in (0.0, 0.2, 1.5)
    ]


def regions(network, plane, triangle, generator):
    """Colours of the inputs of a plane by one network's gates, its kinks on a triangle in the plane, its pieces there."""
    gates = torch.cat(feedforward.forward(network, plane.inputs).gates, -1)[0]
    found = expressivity.kinks(network, triangle)
    at = triangle.at(torch.cat([layer.parameter for layer in found.layers]))
    return colours(gates, generator), plane.coordinates(at), found.pieces.item()


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

"""Networks whose readout is a layer too, what they do to an output, and statistics over networks.

Tensors are of torch's default dtype, which the notebooks set.
"""

import math

import numpy as np
import torch
from scipy.stats import rankdata
from torch.nn.functional import normalize

from srlib import Network, feedforward, haar, sample, spectra
from srlib.experiments import bounds
from srlib.init import stable_rank_
from srlib.rank import stable_rank

__all__ = [
    "change",
    "correlation",
    "cut_to",
    "deciding",
    "following",
    "largest_margin",
    "layers",
    "lipschitz",
    "lost_margins",
    "margin_changes",
    "network",
    "outputs",
    "per_layer",
    "singular_values",
    "slopes",
    "spectral_norm",
    "squared_cushion",
    "start",
    "truncated",
    "truncations",
    "worst_truncation",
]


def network(*matrices, slope=0.0):
    """Bias-free networks of matrices (networks, m, n), the readout last."""
    return Network(matrices[:-1], matrices[-1], negative_slope=slope)


def layers(widths, ranks, norms, count, generator, law=spectra.uniform_sphere):
    """So many networks whose layers are drawn from the random model, the readout as a layer too."""
    shapes = zip(widths[1:], widths[:-1], strict=True)
    options = {"law": law, "batch": count, "generator": generator}
    drawn = zip(shapes, ranks, norms, strict=True)
    return network(*(sample(k, r, spectral_norm=s, **options) for k, r, s in drawn))


def start(ratio, generator):
    """One network 196-128-128-128-10 at matched scale, two-level with stable ranks of this share of 128, or He's for
    None; the readout has orthonormal rows.
    """
    hidden = [torch.empty(1, 128, fan_in) for fan_in in (196, 128, 128)]
    for W in hidden:
        if ratio is None:
            W.normal_(0, math.sqrt(2 / W.shape[-1]), generator=generator)
        else:
            stable_rank_(W[0], max(1.0, ratio * 128), generator=generator)
    return network(*hidden, haar.orthogonal(128, 10, generator=generator).mT.unsqueeze(0))


def outputs(networks, x):
    """Outputs at inputs (N, n_0): (networks, N, classes)."""
    return feedforward.forward(networks, x).output


def change(networks, others, x):
    """Largest change of the output over the inputs: (networks,)."""
    return (outputs(others, x) - outputs(networks, x)).norm(dim=-1).amax(-1)


def squared_cushion(first, second, r, x):
    """|V h|^2 / (r |h|^2) for two layers (networks, m, n), the second of stable rank r, mean over the inputs (N, n) that
    reach it: (networks,).
    """
    h = (x @ first.mT).clamp(min=0)
    squares = (h @ second.mT).square().sum(2) / (r * h.square().sum(2))
    return squares.nanmean(1)  # 0 / 0 where no neuron is active


def per_layer(measure, networks):
    """A number of every matrix, the readout last: (networks, layers)."""
    return torch.stack([measure(W) for W in networks.matrices], 1)


def spectral_norm(W):
    """Largest singular value of each matrix of a batch."""
    return torch.linalg.matrix_norm(W, 2)


def singular_values(networks):
    """Singular values of each layer, descending, a list of shapes (networks, k)."""
    return [torch.linalg.svdvals(W) for W in networks.matrices]


def lipschitz(sigma):
    """Product of the spectral norms, (networks,), from the singular values of each layer."""
    return math.prod(t[:, 0] for t in sigma)


def following(sigma, j):
    """The singular value that follows the j kept ones, relative to the largest, 0 if none does: (networks, layers)."""
    return torch.stack([t[:, j : j + 1].sum(1) / t[:, 0] for t in sigma], 1)


def worst_truncation(depth, sigma, generator, starts=24, steps=150):
    """Linear networks of 3 x 3 layers with singular values 1, 1, sigma and inputs (networks, 3) of norm 1, the worst that
    gradient ascent finds for the error of dropping sigma in every layer.
    """
    directions = torch.randn(starts, depth, 3, generator=generator).requires_grad_()
    x = torch.randn(starts, 3, generator=generator).requires_grad_()
    ascent = torch.optim.Adam([directions, x], lr=0.05, maximize=True)
    for _ in range(steps):
        h = cut = normalize(x, dim=-1)
        for v in normalize(directions, dim=-1).unbind(1):
            h = h - (1 - sigma) * (h * v).sum(-1, keepdim=True) * v
            cut = cut - (cut * v).sum(-1, keepdim=True) * v
        ascent.zero_grad()
        (cut - h).norm(dim=-1).sum().backward()
        ascent.step()
    v = normalize(directions.detach(), dim=-1).unsqueeze(-1)
    weights = torch.eye(3) - (1 - sigma) * v * v.mT
    return network(*weights.unbind(1), slope=1.0), normalize(x.detach(), dim=-1)


def deciding(depth, sigma):
    """A network of so many layers in which a second singular value decides between two classes, at the input (0, 1)."""
    below = [torch.tensor([[[0.0, 0.0], [0.0, 1.0]]])] * (depth - 1)
    return network(*below, math.sqrt(0.5) * torch.tensor([[[1.0, sigma], [1.0, -sigma]]]))


def lost_margins(networks, kept, x):
    """Largest margin of an input whose predicted class a truncation changes, 0 if none does: (networks,)."""
    predicted = outputs(networks, x).argmax(-1)
    cut = bounds.truncate(networks, kept)
    lost = bounds.margins(cut, x, predicted) <= 0
    return (bounds.margins(networks, x, predicted) * lost).amax(-1)


def largest_margin(networks, x, labels):
    """Over all inputs and labels: (networks,)."""
    every = [torch.full_like(labels, k) for k in range(networks.readout.shape[1])]
    return torch.stack([bounds.margins(networks, x, y) for y in every]).amax((0, 2))


def margin_changes(cases):
    """Largest changes of margins when all layers of networks are cut to j, and sqrt(2) times the bound on the output's; cases
    are networks, inputs, labels, j. Shape (all networks,) each.
    """
    moved, allowed = [], []
    for net, x, labels, j in cases:
        after = bounds.margins(bounds.truncate(net, j), x, labels)
        moved.append((after - bounds.margins(net, x, labels)).abs().amax(1))
        sigma = singular_values(net)
        allowed.append(math.sqrt(2) * lipschitz(sigma) * following(sigma, j).sum(1))
    return torch.cat(moved), torch.cat(allowed)


def truncated(cases):
    """For cases of networks, j, and inputs, one row each: the error of cutting all layers to j and what G3 allows, the
    largest possible output, the largest relative singular value dropped, and the largest margin that is lost.
    """
    rows = []
    for net, j, x in cases:
        sigma, error = singular_values(net), change(net, bounds.truncate(net, j), x)
        found = error, bounds.truncation_error(net, j, radius=1.0), lipschitz(sigma)
        rows.append((*found, following(sigma, j).amax(1), lost_margins(net, j, x)))
    return rows


def truncations(networks, ladder):
    """Yield the networks with all layers cut to each of these ranks, from one decomposition of each layer."""
    factors = [torch.linalg.svd(W, full_matrices=False) for W in networks.matrices]
    for j in ladder:
        yield network(*((U[:, :, :j] * t[:, None, :j]) @ V[:, :j] for U, t, V in factors))


def cut_to(ladder, networks, x, labels, radius):
    """Networks with all layers cut to each rank of the ladder: the largest error over the inputs, relative to the largest
    output, the inputs that are still classified, and what G2, with singular values and with stable ranks, and G3 allow.
    Shape (networks, ladder) each.
    """
    whole, rows = outputs(networks, x), []
    size = whole.norm(dim=2).amax(1)
    sigma, ranks = singular_values(networks), per_layer(stable_rank, networks)
    least = torch.tensor([min(W.shape[1:]) for W in networks.matrices])
    for j, cut in zip(ladder, truncations(networks, ladder), strict=True):
        rest = outputs(cut, x)
        right = (rest.argmax(2) == labels).double().mean(1)
        share = ((ranks - 1) / j).sqrt().clamp(max=1) * (least > j)
        allowed = [lipschitz(sigma) * v.sum(1) for v in (following(sigma, j), share)]
        allowed.append(bounds.truncation_error(networks, j, radius=1.0))
        error = (rest - whole).norm(dim=2).amax(1) / size
        rows.append((error, right, *(radius * v / size for v in allowed)))
    return [torch.stack(v, 1) for v in zip(*rows, strict=True)]


def slopes(x, values):
    """Slopes of lines over points (starts,), one for each series of an array (labels, starts, runs)."""
    return np.polyfit(x, np.moveaxis(values, 1, 0).reshape(len(x), -1), 1)[0]


def correlation(x, y, resamples, seed):
    """Spearman's rank correlation of two arrays, with a 95 % bootstrap interval over their entries."""
    picks = np.random.default_rng(seed).integers(len(x), size=(resamples, len(x)))
    picks[0] = np.arange(len(x))  # the entries themselves
    a, b = (rankdata(v[picks], axis=1) - (len(x) + 1) / 2 for v in (x, y))
    found = (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return found[0], *np.quantile(found, [0.025, 0.975])

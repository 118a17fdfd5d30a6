"""Signs, growth, angles and Jacobians of dense networks."""

import itertools
import math
from dataclasses import replace

import numpy as np
import torch
from scipy.special import digamma, gammaln

from measurements.feedforward import each, squared_norms
from srlib import Ensemble, Network, arccos, feedforward, haar, sample, spectra
from srlib.moments import feature_norm, fluctuation_exponent, jacobian, log_growth

__all__ = [
    "angles_after",
    "biased",
    "bracket",
    "brackets",
    "budget",
    "chain",
    "cosine_errors",
    "distance",
    "exponent",
    "flipped",
    "flipped_gains",
    "gains",
    "gains_per_layer",
    "gate_covariances",
    "gates_alone",
    "gaussian",
    "gradient_predictions",
    "gradients",
    "growth",
    "kernel_samples",
    "largest",
    "open_gates",
    "overlaps",
    "participation",
    "patterns",
    "per_layer",
    "pre_activations",
    "products",
    "ranks_with_depth",
    "ratios",
    "signs",
    "singular_values",
    "skewness",
    "statistics",
    "survivors",
    "towers",
    "turned",
    "typical_paths",
    "unfixed",
    "worked",
    "wrong_growth",
    "wrong_ratios",
]


def pre_activations(network, x):
    """z_1, ..., z_L at every input, shape (networks, inputs, n_l) each."""
    h = x.expand(len(network), *x.shape)
    return [z for z, _, _ in feedforward.propagate(network, h)]


def signs(network, x):
    """Signs of the pre-activations at every input, all layers in a row, shape (networks, inputs, neurons); 0 once it is
    dead.
    """
    return torch.cat(pre_activations(network, x), -1).sign()


def _excess(network, x):
    """Open gates less closed ones of every layer at every input, shape (networks, inputs, L)."""
    return torch.stack([a.sign().sum(-1) for a in pre_activations(network, x)], -1)


def gate_covariances(ensemble, network, x, chunk=1_000):
    """Excess of open gates in layer l times the deviation of ||h_1||^2, ..., ||h_L||^2 and ||J||_F^2 from their means,
    relative to these; means over the inputs, shape (networks, L, L + 1). The weights are the network's, all else the
    ensemble's.
    """
    network, found = replace(network, negative_slope=ensemble.negative_slope), []
    mean = feature_norm(ensemble).mean[1:]
    mean = torch.cat([mean, x.shape[1] * mean[-1:]])
    for start in range(0, len(network), chunk):
        some = network[start : start + chunk]
        J2 = feedforward.jacobian(some, x).square().sum((-1, -2)).unsqueeze(-1)
        size = torch.cat([squared_norms(some, x)[..., 1:], J2], -1) / mean
        found.append(_excess(some, x).mT @ (size - 1) / len(x))
    return torch.cat(found)


def gains(network, x):
    """Open gates less closed ones over the root of their number, ||z_l||^2 / ||h_{l-1}||^2, and
    ||h_l||^2 / ||h_{l-1}||^2, shape (networks, inputs, L) each.
    """
    A = torch.stack([a.square().sum(-1) for a in pre_activations(network, x)], -1)
    X, sizes = squared_norms(network, x), torch.tensor(network.widths[1:])
    return _excess(network, x) / sizes.sqrt(), A / X[..., :-1], X[..., 1:] / X[..., :-1]


def products(signs):
    """The signs themselves, and the product of every two, means over the inputs, shape (networks, n + n (n - 1) / 2)."""
    i, j = torch.triu_indices(signs.shape[-1], signs.shape[-1], 1)
    pairs = signs.mT @ signs / signs.shape[1]
    return torch.cat([signs.mean(1), pairs[:, i, j]], -1)


def biased(network, bias):
    """The same networks with a constant added to every pre-activation."""
    biases = [torch.full(W.shape[:2], bias) for W in network.weights]
    return replace(network, biases=(*biases, torch.zeros(len(network))))


def unfixed(shape, r, count, generator):
    """Two-level layers whose factors are QR factors with signs as the factorization leaves them, (count, m, n)."""
    U, V = (
        torch.linalg.qr(torch.randn(count, n, n, generator=generator))[0] for n in shape
    )
    sigma = spectra.two_level(shape, r)
    return (U[..., : len(sigma)] * sigma) @ V[..., : len(sigma)].mT


def flipped(network):
    """All networks that one becomes when rows of its weights change sign."""
    sizes = network.widths[1:]
    flips = _all_signs(sum(sizes)).split(sizes, -1)
    weights = [R.unsqueeze(-1) * W for R, W in zip(flips, network.weights, strict=True)]
    readout = network.readout.expand(len(flips[0]), -1)
    return Network(tuple(weights), readout, negative_slope=network.negative_slope)


def patterns(network, x):
    """How many of the networks have each pattern of open gates at the one input, shape (2^neurons,)."""
    gates = (signs(network, x).squeeze(1) > 0).long()
    code = gates @ 2 ** torch.arange(gates.shape[1])
    return code.bincount(minlength=2 ** gates.shape[1])


def flipped_gains(network, x, directions):
    """||D_l W_l y||^2 / ||W_l y||^2 for one network and a direction y a layer, averaged over all flips of the rows of
    W_l; the gates D_l are those of the input x. Shape (L,).
    """
    post, found = feedforward.forward(network, x.unsqueeze(0)).post, []
    for h, W, y in zip(post, network.weights, directions, strict=False):
        gate = feedforward.gate(
            _all_signs(W.shape[1]) * (W[0] @ h[0, 0]), network.negative_slope
        )
        ratio = (gate * (W[0] @ y)).square().sum(-1).mean() / (W[0] @ y).square().sum()
        found.append(ratio)
    return torch.stack(found)


def _all_signs(n):
    return torch.cartesian_prod(*[torch.tensor([1.0, -1.0])] * n)


def statistics(J, x):
    """||J||_F^2, its square, ||Jx||^2, ||J||_F^2 ||Jx||^2 and ||J^T J||_F^2, means over the inputs, (networks, 5)."""
    F = J.square().sum((-1, -2))
    h = torch.einsum("bnij,nj->bni", J, x).square().sum(-1)
    parts = [F, F**2, h, F * h, (J.mT @ J).square().sum((-1, -2))]
    return torch.stack([v.mean(1) for v in parts], -1)


def chain(weights, gates):
    """D_L W_L ... D_1 W_1 with the given gates, (networks, inputs, n_l) each."""
    J = gates[0].unsqueeze(-1) * weights[0].unsqueeze(1)
    for W, gate in zip(weights[1:], gates[1:], strict=True):
        J = gate.unsqueeze(-1) * (W.unsqueeze(1) @ J)
    return J


def open_gates(m):
    """E psi(K / 2) over the number K of open gates of m, given that one is open."""
    K = np.arange(1, m + 1)
    p = np.exp(gammaln(m + 1) - gammaln(K + 1) - gammaln(m - K + 1) - m * math.log(2))
    return p / p.sum() @ digamma(K / 2)


def growth(ensembles):
    """Mean, variance and log survival probability of the log growth of every layer, shape (ensembles, L) each."""
    parts = [(g.mean, g.variance, g.log_survival) for g in map(log_growth, ensembles)]
    return map(torch.stack, zip(*parts, strict=True))


def gates_alone(ensemble):
    """Mean log growth of every layer if it were orthogonal and kept the norm of what it is given, shape (L,)."""
    orthogonal = [
        Ensemble((m, m), m, negative_slope=ensemble.negative_slope)
        for m in ensemble.widths[1:]
    ]
    return next(growth(orthogonal))[:, 0]


def wrong_growth(ensembles):
    """Means and variances of the log growth of every layer if one thing in F5 were wrong."""
    typical, variance, _ = growth(ensembles)
    moments = [feature_norm(e) for e in ensembles]
    half = each(lambda e: e.widths[:-1], ensembles) / 2
    no_psi = typical + half.digamma()
    means = {
        "log of the mean factor": each(lambda m: m.log_mean.diff(), moments),
        "psi(n/2) dropped": no_psi + math.log(2),
        "Gaussian coordinates for the sphere": no_psi - half.log(),
        "gates all open": typical - each(gates_alone, ensembles),
    }
    return means, {
        "relative variance of the growth (F3)": each(
            lambda m: m.log_ratio.diff().expm1(), moments
        ),
        "trigamma of n/2 not taken off": variance + torch.polygamma(1, half),
    }


def survivors(logs):
    """Log growth of every layer in the networks that are alive, equally many of each ensemble, from the log squared
    norms of each, shape (networks, inputs, ensembles, L).
    """
    alive = [v[torch.isfinite(v).all((1, 2))] for v in logs]
    return torch.stack([v[: min(map(len, alive))].diff(dim=-1) for v in alive], 2)


def typical_paths(kinds, draw):
    """By label, log10 squared norms of 40 networks of width 32, shape (networks, 61), and mean and variance of the
    growth of every layer's logarithm.
    """
    paths, growth = {}, {}
    for i, (name, law) in enumerate(kinds.items()):
        e = Ensemble((32,) * 61, 8, law=law).preserving()
        label = f"{name}, $p={e.participation_ranks().value[0]:.1f}$"
        g = log_growth(e)
        growth[label] = g.mean, g.variance
        paths[label] = (
            squared_norms(draw(e, 40, 30 + i), torch.eye(32)[:1]).squeeze(1).log10()
        )
    return paths, growth


def skewness(z):
    """Skewness along the last axis."""
    z = (z - z.mean(-1, keepdim=True)) / z.std(-1, keepdim=True)
    return (z**3).mean(-1)


def kernel_samples(m, angles, slopes, count, generator):
    """<phi(a), phi(b)> for a, b in R^m of lengths 2 and 3 at each angle, in random positions, (count, slopes, angles)."""
    Q = haar.orthogonal(m, 2, batch=count, generator=generator)
    first, second = 2 * Q[..., :1], 3 * (Q @ torch.stack([angles.cos(), angles.sin()]))
    phi = [[torch.where(z > 0, z, slope * z) for z in (first, second)] for slope in slopes]
    return torch.stack([(a * b).sum(1) for a, b in phi], 1)


def overlaps(layer, cosine, count, generator):
    """Squares of n <Wx, Wy> / r for x = e_i and y at each angle to it towards e_j, means over i < j, (count, angles)."""
    (shape,), (r,), n = layer.shapes, layer.stable_ranks, layer.widths[0]
    W = sample(shape, r, law=layer.law, batch=count, generator=generator)
    (i, j), G = torch.triu_indices(n, n, 1), W.mT @ W * n / r
    sine = (1 - cosine**2).sqrt()
    return (cosine * G[:, i, i, None] + sine * G[:, i, j, None]).square().mean(1)


def turned(W, angles):
    """W e_1, W e_3, ... and what W makes of vectors at each angle to them, towards e_2, e_4, ...; the angles are the
    first dimension.
    """
    first, second = W[..., 0::2], W[..., 1::2]
    at = angles.reshape(-1, *[1] * W.ndim)
    return first, at.cos() * first + at.sin() * second


def angles_after(n, angles, layers, generators):
    """By name, angles in degrees after a ReLU layer of width n for pairs of inputs at each angle, (pairs, angles)."""
    after = {}
    for (name, (r, law)), generator in zip(layers.items(), generators, strict=True):
        W = sample((n, n), r, law=law, batch=20, generator=generator)
        first, second = (v.relu().mT for v in turned(W, angles))
        after[name] = arccos.angle(first, second).rad2deg().flatten(1).T
    return after


def cosine_errors(layer, angles, count, generator):
    """Mean square of cos theta' - cos theta over pairs of coordinates one to three places apart, shape (angles, count)."""
    (shape,), (r,) = layer.shapes, layer.stable_ranks
    W = sample(shape, r, law=layer.law, batch=count, generator=generator)
    pairs = [torch.stack([W, W.roll(k, -1)], -1).flatten(-2) for k in (1, 2, 3)]
    first, second = turned(torch.cat(pairs, -1), angles)
    cosine = (first * second).sum(-2) / (first.norm(dim=-2) * second.norm(dim=-2))
    return (cosine - angles.cos()[:, None, None]).square().mean(-1)


def gradients(ensemble, generator, count, x, chunk=1_000):
    """||J y||^2, averaged over the second half of the coordinate directions y, ||J||_F^2, ||grad f||^2, averaged over
    all cyclic shifts of the readout, ||J||_F^4 and ||J^T J||_F^2; means over the inputs, shape (networks, 5).
    """
    found = []
    for start in range(0, count, chunk):
        network = ensemble.sample(min(chunk, count - start), generator=generator)
        J, n = feedforward.jacobian(network, x), ensemble.widths[-1]
        readouts = torch.stack([network.readout.roll(k, -1) for k in range(n)], 1)
        gradient = readouts.unsqueeze(1) @ J
        along = J[..., J.shape[-1] // 2 :].square().sum(-2).mean(-1)
        F, G = J.square().sum((-1, -2)), (J.mT @ J).square().sum((-1, -2))
        parts = [along, F, gradient.square().sum(-1).mean(-1), F**2, G]
        found.append(torch.stack([v.mean(1) for v in parts], -1))
    return torch.cat(found)


def largest(network, x):
    """Largest ||J||_2 at any input to any of the networks."""
    return torch.linalg.matrix_norm(feedforward.jacobian(network, x), 2).max()


def per_layer(network, x):
    """Geometric means of ||J||_2 and of ||Jx|| at one input, over the networks where they are not 0 and over layers."""
    J = feedforward.jacobian(network, x.unsqueeze(0)).squeeze(1)
    sizes = torch.linalg.matrix_norm(J, 2), (J @ x).norm(dim=-1)
    return [v[v > 0].log().mean().div(network.depth).exp().item() for v in sizes]


def gains_per_layer(n, ranks, some, kinds, draw):
    """By law, of ReLU networks of depth 10 and spectral norm 1: the typical gain of a layer at each stable rank, and at
    some of them what `per_layer` measures on 16 networks.
    """
    lines, measured = {}, {}
    for i, (name, law) in enumerate(kinds.items()):
        deep = {r: Ensemble((n,) * 11, r, law=law) for r in ranks}
        lines[name] = next(growth(deep.values()))[:, 0].div(2).exp()
        nets = [draw(deep[r], 16, 200 + 10 * i + j) for j, r in enumerate(some)]
        measured[name] = torch.tensor([per_layer(net, torch.eye(n)[0]) for net in nets])
    return lines, measured


def gradient_predictions(trials):
    """Means of ||Jy||^2, ||J||_F^2 and the squared gradient (F7), and what they would be if one thing were wrong."""
    e = trials[0]
    n, m = torch.tensor(e.widths[:-1]), torch.tensor(e.widths[1:])
    r, s = torch.tensor(e.stable_ranks), torch.tensor(e.spectral_norms)
    last, ends = e.readout_norm**2, e.widths[0] / e.widths[-1]

    def whole(factors):
        factors = factors.expand(len(trials), -1)
        return factors.prod(-1, keepdim=True) * torch.tensor([1, e.widths[0], last * ends])

    eta = each(lambda e: [(1 + e.negative_slope**2) / 2], trials)
    layers = eta * s**2 * r / n  # F7
    predicted = whole(layers)
    return predicted, {
        "one layer's factor dropped": whole(layers[:, 1:]),
        "gates all open": whole(s**2 * r / n),
        "fan-out in place of fan-in": whole(eta * s**2 * r / m),
        "rank in place of stable rank": whole(eta * s**2 * torch.minimum(m, n) / n),
        "n_0 / n_L left out of the gradient": predicted * torch.tensor([1, 1, 1 / ends]),
    }


def towers():
    """Equal layers of many widths, depths, stable ranks, laws and slopes."""
    laws, shares = (spectra.two_level, spectra.projector), (0, 0.1, 0.4, 1)
    grid = itertools.product(
        (2, 3, 12, 60, 300), (1, 3, 12, 40), shares, laws, (0.0, 0.2, 1.0)
    )
    return [
        Ensemble((n,) * (L + 1), 1 + t * (n - 1), law=law, negative_slope=a)
        for n, L, t, law, a in grid
    ]


def ratios(ensemble):
    """E ||J||_F^4 and E ||J^T J||_F^2, which is 1 / p_J, in units of (E ||J||_F^2)^2 (F8)."""
    found = jacobian(ensemble)
    return torch.stack([found.log_spread, -found.log_participation_rank]).exp()


def wrong_ratios(trials):
    """What these would be if one thing in F8 were wrong; layers are 12 wide at the narrowest."""
    spread, inverse = each(ratios, trials).T
    return {
        "gates without fluctuations": each(
            lambda e: ratios(replace(e, negative_slope=1)), trials
        ),
        "projectors for all laws": each(
            lambda e: ratios(replace(e, law=spectra.projector)), trials
        ),
        "||J||_F the same for all networks": torch.stack([torch.ones(3), inverse], 1),
        "equal singular values": torch.stack([spread, spread / 12], 1),
        "leading order": torch.stack([spread, each(exponent, trials)], 1),
    }


def budget(ensemble):
    """S, the sum of 1 / p_l."""
    return sum(1 / p for p in ensemble.participation_ranks().value)


def distance(ensembles, **options):
    """Distance of 1 / p_J from its leading order, in units of S^2."""
    gaps = [
        abs(ratios(e)[1].item() - exponent(e, **options)) / budget(e) ** 2
        for e in ensembles
    ]
    return torch.tensor(gaps).clamp(min=1e-12)


def worked(kinds):
    """The worked network of each law: exponent, typical factor, to leading order and exact, and p_J."""
    facts = {}
    for name, law in kinds.items():
        e = Ensemble((256,) * 11, 64, law=law).preserving()
        epsilon = fluctuation_exponent(e)
        facts[f"{name}-exponent"], facts[f"{name}-leading"] = (
            epsilon,
            math.exp(-epsilon / 2),
        )
        facts[f"{name}-typical"] = log_growth(e).mean.sum().exp().item()
        facts[f"{name}-rank"] = jacobian(e).participation_rank.item()
    return facts


def ranks_with_depth(towers, depths, count, draw):
    """By name, the exact p_J and its leading order at every depth, and the measured one at some depths, of which each
    network gives all.
    """
    curves, points = {}, {}
    for i, (name, e) in enumerate(towers.items()):
        r, s, n = e.stable_ranks[0], e.spectral_norms[0], e.widths[0]
        cut = [Ensemble((n,) * (L + 1), r, s, law=e.law) for L in range(1, e.depth + 1)]
        curves[name] = [1 / each(lambda e: ratios(e)[1], cut), 1 / each(exponent, cut)]
        points[name] = participation(
            draw(e, count, 270 + i), torch.eye(n)[:: n // 4], depths
        )
    return curves, points


def singular_values(network, x, depths):
    """Medians of the singular values of the Jacobians of the first layers at one input, shape (n,) for each depth, and
    the Jacobians' mean stable ranks.
    """
    parts = [network.weights[:depth] for depth in depths]
    networks = [Network(part, torch.ones(part[-1].shape[:2])) for part in parts]
    jacobians = [feedforward.jacobian(net, x.unsqueeze(0)).squeeze(1) for net in networks]
    values = [torch.linalg.svdvals(J) for J in jacobians]
    ranks = [((v / v[:, :1]) ** 2).sum(-1).mean().item() for v in values]
    return [v.quantile(0.5, dim=0) for v in values], ranks


def _kappa(ensemble):
    return ((1 - ensemble.negative_slope**2) / (1 + ensemble.negative_slope**2)) ** 2


def exponent(ensemble, *, by="participation_ranks", gates=1.0, before=1.0):
    """Leading order of 1 / p_J, which is its lower end (F8); the options spoil it."""
    p, n = np.array(ensemble.participation_ranks().value), np.array(ensemble.widths)
    p = np.array(ensemble.stable_ranks) if by == "stable_ranks" else p
    return 1 / n[0] + (1 / p - before / n[:-1] + gates * _kappa(ensemble) / n[1:]).sum()


def bracket(ensemble):
    """Lower end, value and upper end of 1 / p_J, and what the gates take from the upper end (F8)."""
    n = np.array(ensemble.widths)
    gates = (_kappa(ensemble) / n[1:]).sum() / 2
    spread = feature_norm(ensemble).log_ratio[-1].exp().item()
    high = ((1 + 2 / n[0]) * spread - 1) / 2 - gates
    return torch.tensor([exponent(ensemble), ratios(ensemble)[1], high, gates])


def brackets(ensembles):
    """Return 1 / p_J over its ends, and two thirds of the upper end over it, shape (3, ensembles), all at most 1 (F8);
    the same with wrong ends in place of the right ones; and the upper end over 1 / p_J.
    """
    low, inverse, high, gates = torch.stack([bracket(e) for e in ensembles]).T
    costly = torch.tensor([exponent(e, before=0.0) for e in ensembles])
    one = torch.ones(len(ensembles))
    wrong = {
        "orthogonal layers cost too": [low / costly, one, one],
        "upper end less the gates once more": [one, 1 - gates / high, one],
        "upper end within a factor 4/3": [one, one, one * 8 / 9],
    }
    found = torch.stack([low / inverse, inverse / high, high / (1.5 * inverse)])
    return found, {name: torch.stack(ends) for name, ends in wrong.items()}, high / inverse


def participation(network, x, depths):
    """Participation rank of the Jacobians of the first layers, a ratio of means over networks and inputs, and its
    standard error, shape (depths, 2).
    """
    gates, rows = feedforward.forward(network, x).gates, []
    J = torch.eye(network.widths[0]).expand(*gates[0].shape[:2], -1, -1)
    for depth, (W, D) in enumerate(zip(network.weights, gates, strict=True), 1):
        J = D.unsqueeze(-1) * (W.unsqueeze(1) @ J)
        if depth in depths:
            F, G = (
                J.square().sum((-1, -2)).mean(1),
                (J.mT @ J).square().sum((-1, -2)).mean(1),
            )
            p = F.mean() ** 2 / G.mean()
            influence = p * (2 * F / F.mean() - G / G.mean())
            rows.append([p, influence.std() / math.sqrt(len(F))])
    return torch.tensor(rows)


def gaussian(n, count, generators):
    """ReLU networks whose weights have variance 2 / n (He), a generator a layer."""
    weights = [torch.randn(count, n, n, generator=g) * math.sqrt(2 / n) for g in generators]
    return Network(tuple(weights), torch.ones(count, n))

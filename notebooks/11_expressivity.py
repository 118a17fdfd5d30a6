# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Expressivity: kinks, lengths, linear pieces
#
# Along a great circle of inputs the neurons of a layer change sign $2n_l$ times on average, whatever the stable ranks
# (X1); what the stable rank changes is the spread. The image of a curve is shortened by a known factor on average
# (X2). Kinks are located exactly, layer by layer and not on a grid (X3), in random networks and in networks trained on
# digits.

# %%
import math
from dataclasses import replace

import torch

from srlib import (
    Ensemble,
    Network,
    arccos,
    check,
    feedforward,
    haar,
    plotting,
    sample,
    spectra,
)
from srlib.check import glue
from srlib.experiments import data, expressivity, training
from srlib.moments import feature_norm, log_growth

torch.set_default_dtype(torch.float64)  # everything that is compared is in double precision

# %% tags=["parameters"]
seed = 1  # of every draw; each section adds an offset of its own
replicates = 3_000  # means of a few networks, for each stable rank of the circle
matrices = 60_000  # matrices for each law of the angles
networks_curve = 7_500  # networks for each law along a polygon
networks_narrow = 66_000  # networks of three to five neurons a layer
networks_length = 15_000  # networks for each law of the lengths
networks_law = 12_000  # networks for the law of the Jacobian
networks_spread = 130  # networks for each stable rank of the picture of spreads
seeds_training = 10  # networks for each stable rank of the training experiment
steps_training = 120  # updates of each of them
pixels = 150  # side of the pictures of linear regions


# %%
def generator(offset):
    return torch.Generator().manual_seed(seed + 1_000 * offset)


def great_circle(n):
    return expressivity.circle(*torch.eye(n)[:2])


def missed(counts, generator, share=0.01):
    """The same counts when each kink is missed with a probability of one in a hundred."""
    kept = torch.full_like(counts, 1 - share, dtype=torch.float64)
    return torch.binomial(counts.double(), kept, generator=generator)


# %% [markdown]
# ## Exact pieces (X3)
#
# Every kink is found by propagating pieces. The check is the plain forward pass: put three points into every piece
# that was found. Then along all these points the gates of layer $l$ must change exactly as often as switches were
# found. A missed kink shows as a change inside a piece, an invented one as a border without a change.


# %%
def seen(network, curve, times):
    """Changes of gates from point to point, counted by forward passes: (networks, layers)."""
    rows = []
    for b, t in enumerate(times):
        gates = feedforward.forward(network[b], curve.at(t)).gates
        rows.append(torch.stack([(g[0].diff(dim=0) != 0).sum() for g in gates]))
    return torch.stack(rows)


def inside(found, b, end, parts=(0.1, 0.5, 0.9)):
    """Three points inside every piece of network b."""
    times = torch.cat([s.parameter[s.network == b] for s in found.layers])
    edges = torch.cat([torch.zeros(1), times.unique(), torch.tensor([end])])
    return (edges[:-1, None] + edges.diff()[:, None] * torch.tensor(parts)).flatten()


# %%
images, labels = data.mnist(1_000)
images = images / images.norm(dim=1, keepdim=True)
digits = torch.stack([images[(labels == c).nonzero()[0, 0]] for c in range(10)])
tour = expressivity.polyline(digits)  # from a 0 over a 1 ... to a 9
shapes = ((3.0, spectra.two_level), (8.0, spectra.projector), (48.0, spectra.power_law))
found, passes, grid = [], [], []
for i, (r, law) in enumerate(shapes):
    network = (
        Ensemble((784, 48, 48, 48, 48), r, law=law)
        .preserving()
        .sample(6, generator=generator(i))
    )
    exact = expressivity.kinks(network, tour)
    found.append(exact.counts)
    passes.append(seen(network, tour, [inside(exact, b, 9.0) for b in range(6)]))
    grid.append(seen(network, tour, [torch.linspace(0, 9, 300)] * 6))
found, passes, grid = (torch.cat(v) for v in (found, passes, grid))
print("switches of the first network, layer by layer:", found[0].tolist())
check.exact(
    "X3.forward",
    "switches found along a tour of ten digits against changes of gates in forward passes",
    passes,
    found,
    wrong={
        "one kink in a hundred missed": missed(found, generator(3)),
        "a grid of 300 points": grid,
    },
    tolerance=1e-12,
)

# %% [markdown]
# On every piece the features must be affine: the middle of a piece goes to the middle of the images of its ends. Pieces
# that ignore the kinks of the first layer must fail.


# %%
def bend(network, curve, edges):
    """Distance of the image of each piece's middle from the middle of the images of its ends, relative to h."""
    left, right = edges[:-1], edges[1:]
    times = torch.cat([left, (left + right) / 2, right])
    first, middle, last = feedforward.forward(network, curve.at(times)).post[-1][0].chunk(3)
    return (middle - (first + last) / 2).norm(dim=-1) / middle.norm(dim=-1)


network = (
    Ensemble((784, 48, 48, 48, 48), 8.0).preserving().sample(1, generator=generator(4))
)
exact = expressivity.kinks(network, tour)
corners = torch.arange(10.0)
edges = [
    torch.cat([corners, *(s.parameter for s in layers)]).unique()
    for layers in (exact.layers, exact.layers[1:])
]
check.exact(
    "X3.affine",
    "1 + relative bend of the features on every piece of one network",
    1 + bend(network, tour, edges[0]),
    1.0,
    wrong={"kinks of the first layer left out": 1 + bend(network, tour, edges[1]).max()},
    tolerance=1e-9,
)

# %% [markdown]
# ## Angles in the mean (X1)
#
# One layer, a pair of vectors: the mean angle of the images is the angle itself.

# %%
angles = torch.tensor([0.6, 1.2, 2.0, 2.7])
pairs = torch.nn.functional.pad(torch.stack([angles.cos(), angles.sin()], 1), (0, 4))
base = torch.eye(6)[0]


def turned(W):
    """Angles of W e_1 with the images of the four vectors."""
    return arccos.between((W @ base).unsqueeze(1), pairs @ W.mT)


cases = ((spectra.two_level, 1.5), (spectra.projector, 3.0), (spectra.uniform_sphere, 4.0))
drawn = [
    sample((5, 6), r, law=law, batch=matrices, generator=generator(5 + i))
    for i, (law, r) in enumerate(cases)
]
sigma = torch.nn.functional.pad(torch.diag(spectra.two_level((5, 6), 1.5)), (0, 1))
one_sided = haar.orthogonal(5, batch=matrices, generator=generator(9)) @ sigma
found = torch.stack([turned(W) for W in drawn], 1)
check.sampled(
    "X1.angle",
    "mean angle of the images of two vectors, four angles, three spectra",
    found,
    angles.expand(3, 4),
    wrong={
        "angle of the mean cosine": found.cos().mean(0).acos(),
        "towards a right angle": angles.expand(3, 4) * 0.97 + 0.03 * math.pi / 2,
    },
    wrong_samples={"no rotation on the right": torch.stack([turned(one_sided)] * 3, 1)},
    seed=seed,
)

# %% [markdown]
# ## Gates, by enumeration (X1)
#
# Flip the coordinates of one ellipse in $\mathbb R^8$ in all $2^8$ ways and send it through the gates. The mean
# spherical length of the results is $2\pi$ times the share of gate patterns of rank two or more, to rounding.

# %%
flips = torch.cartesian_prod(*[torch.tensor([1.0, -1.0])] * 8)
frame = torch.randn(8, 2, generator=generator(10))
flipped = flips.unsqueeze(-1) * frame
values = [
    expressivity.lengths(
        Network((flipped,), flips, negative_slope=a), expressivity.circle(*torch.eye(2))
    )
    .spherical[:, 1]
    .mean()
    for a in (0.0, 0.2, -0.5)
]
kept = torch.tensor([1 - 9 / 256, 1.0, 1.0])
check.exact(
    "X1.flips",
    "mean spherical length after the gates over all flips of an ellipse, over 2 pi, three slopes",
    torch.stack(values) / (2 * math.pi),
    kept,
    wrong={
        "only dead patterns lost": torch.tensor([1 - 1 / 256, 1.0, 1.0]),
        "half of the length": torch.tensor([0.5, 1.0, 1.0]),
    },
)

# %% [markdown]
# ## Kinks on a circle (X1)
#
# Six stable ranks, four layers of width 16, ReLU. The prediction differs from 32 by less than 0.03.

# %%
n, depth = 16, 4
averaged = {2.0: 6, 3.0: 4, 4.0: 4, 6.0: 3, 9.0: 3, 16.0: 3}  # networks in one replicate
curve = great_circle(n)


def counts(e, count, generator, curve=curve):
    return expressivity.kinks(
        e.sample(count, generator=generator), curve
    ).crossings.double()


found_circle = {
    r: counts(Ensemble((n,) * 5, r), k * replicates, generator(20 + i)).reshape(
        -1, k, depth
    )
    for i, (r, k) in enumerate(averaged.items())
}
thinned = [missed(c, generator(30)).mean(1) for c in found_circle.values()]
rank_one = Ensemble((n,) * 5, 1.0).sample(replicates, generator=generator(31))
rank_one = expressivity.kinks(rank_one, curve).counts.double()
predicted = expressivity.mean_kinks(Ensemble((n,) * 5, 2.0))
means = torch.stack([c.mean((0, 1)) for c in found_circle.values()])
print("mean switches, layers 1 to 4, at r = 2, 16 and 1:")
print(
    means[[0, -1]].round(decimals=1).tolist(), rank_one.mean(0).round(decimals=1).tolist()
)
layer = torch.arange(1, 5)
ratio = torch.tensor(list(averaged))[:, None] / n
check.sampled(
    "X1.circle",
    "mean sign changes on a great circle, stable ranks 2, 3, 4, 6, 9 and 16, four ReLU layers of width 16",
    torch.stack([c.mean(1) for c in found_circle.values()], 1),
    predicted.expand(6, 4),
    wrong={
        "2 % more in every further layer": (2 * n * 1.02 ** (layer - 1)).expand(6, 4),
        "growing with depth": (2 * n * layer).expand(6, 4),
        "proportional to the stable rank": 2 * n * ratio ** (layer - 1),
        "halved by ReLU": (2 * n * 0.5 ** (layer - 1)).expand(6, 4),
    },
    wrong_samples={
        "one kink in a hundred missed": torch.stack(thinned, 1),
        "layers of rank one": rank_one.unsqueeze(1).expand(-1, 6, -1),
    },
    seed=seed,
)

# %% mystnb={"figure": {"caption": "Kinks on a great circle do not depend on stable rank. Mean number of sign changes of the neurons of each of four ReLU layers of width 16, for six stable ranks, against X1 (line, 32); right: the same, enlarged, with 95 % intervals. Crosses: layers of rank one, where the image of the circle passes through the origin and the number halves from layer to layer.", "name": "fig-kinks"}, "image": {"alt": "Left, groups of coloured points on a horizontal line at 32 in all four layers, while crosses for rank one fall from 32 to 16, 8 and 4. Right, the points enlarged, with intervals that contain the line."}} tags=["hide-input"]
fig, axes = plotting.figure(1, 2, size=(8.8, 3.6))
for ax, low_, high_ in zip(axes, (0, 31.2), (36, 32.8), strict=True):
    ax.axhline(2 * n, color="0.3", linewidth=1.4, label="X1: $2n_l$")
    for i, (r, color) in enumerate(
        zip(found_circle, plotting.palette(list(averaged)), strict=True)
    ):
        c = found_circle[r].flatten(0, 1)
        half = 1.96 * c.std(0) / math.sqrt(len(c))
        at = layer + 0.11 * (i - 2.5)
        plotting.points(ax, at, c.mean(0), half, color=color, label=f"$r={r:g}$")
    ax.set(xticks=layer, xlabel="layer $l$", ylim=(low_, high_))
plotting.points(axes[0], layer, rank_one.mean(0), color="0.4", marker="X", label="$r=1$")
axes[0].set_ylabel("mean sign changes")
plotting.legend(axes[0], loc="lower left", ncols=2)

# %% [markdown]
# Where gate patterns of rank zero or one are frequent, the exact factor shows: layers of three, four and five neurons.

# %%
narrow = Ensemble((4, 3, 4, 5), 2.0, law=spectra.two_level)
drawn = expressivity.kinks(
    narrow.sample(networks_narrow, generator=generator(40)), great_circle(4)
)
dead_only = torch.tensor([6, 8 * 7 / 8, 10 * 7 / 8 * 15 / 16])
check.sampled(
    "X1.narrow",
    "mean sign changes on a great circle in layers of 3, 4 and 5 ReLU neurons",
    drawn.crossings,
    expressivity.mean_kinks(narrow),
    wrong={
        "2 n_l": torch.tensor([6.0, 8.0, 10.0]),
        "only dead patterns lost": dead_only,
    },
    wrong_samples={
        "switches of silent layers included": drawn.counts,
        "one kink in a hundred missed": missed(drawn.crossings, generator(41)),
    },
    seed=seed,
)

# %% [markdown]
# Other curves: a polygon through ten points of $\mathbb R^6$, three spectra and slopes. What counts is its spherical
# length.

# %%
corners = torch.randn(10, 6, generator=generator(42)) + 0.3
polygon = expressivity.polyline(corners, closed=True)
cases = (
    (spectra.projector, 4.0, 0.0),
    (spectra.power_law, 4.0, 0.3),
    (spectra.uniform_sphere, 4.0, -0.5),
)
ensembles = [Ensemble((6, 10, 12), r, law=f, negative_slope=a) for f, r, a in cases]
found = [
    counts(e, networks_curve, generator(43 + i), polygon) for i, e in enumerate(ensembles)
]
probe = expressivity.lengths(ensembles[0].sample(1, generator=generator(43)), polygon)
length, euclidean = probe.spherical[0, 0].item(), probe.euclidean[0, 0].item()
check.sampled(
    "X1.polygon",
    "mean sign changes along a closed polygon, three spectra and slopes, two layers",
    torch.stack(found, 1),
    torch.stack([expressivity.mean_kinks(e, length) for e in ensembles]),
    wrong={
        "length of a great circle": torch.stack(
            [expressivity.mean_kinks(e) for e in ensembles]
        ),
        "Euclidean length": torch.stack(
            [expressivity.mean_kinks(e, euclidean) for e in ensembles]
        ),
    },
    wrong_samples={
        "one kink in a hundred missed": missed(torch.stack(found, 1), generator(46))
    },
    seed=seed,
)

# %% [markdown]
# ## What the stable rank changes: the spread
#
# The mean is the same for all stable ranks. The law around it is not: three families of spectra, and the law of the
# fourth layer for two of them.

# %%
width = 32
curve = great_circle(width)
families = {
    "two-level": (spectra.two_level, (1.1, 1.5, 2.0, 4.0, 10.0, 32.0)),
    "power law": (spectra.power_law, (1.5, 2.0, 4.0, 10.0)),
    "projector": (spectra.projector, (2.0, 3.0, 5.0, 10.0, 20.0)),
}


def relative_spread(e, offset):
    c = counts(e, networks_spread, generator(offset), curve)
    return (c.std(0) / (2 * width))[[2, 5]]


spread = {}
for i, (name, (law, values)) in enumerate(families.items()):
    ensembles = [Ensemble((width,) * 7, r, law=law) for r in values]
    p = [e.participation_ranks[0] for e in ensembles]
    drawn = [relative_spread(e, 50 + 10 * i + j) for j, e in enumerate(ensembles)]
    spread[name] = values, p, torch.stack(drawn)
    print(f"{name}: r = {values}, spread in layer 6:", [f"{v[1]:.1f}" for v in drawn])

low = counts(Ensemble((n,) * 5, 2.0, law=spectra.projector), replicates, generator(85))[
    :, -1
] / (2 * n)
high = found_circle[16.0][..., -1].flatten()[:replicates] / (2 * n)
tails = [100 * (c > 2).double().mean().item() for c in (low, high)]
below = [100 * (c < 0.5).double().mean().item() for c in (low, high)]
print(
    "more than twice the mean (%), projector r = 2 and orthogonal:",
    [f"{t:.0f}" for t in tails],
)
print("less than half the mean (%):", [f"{t:.0f}" for t in below])
for key, value in zip(
    ("tail-low", "tail-high", "half-low", "half-high"), tails + below, strict=True
):
    glue(key, value)

# %% mystnb={"figure": {"caption": "What stable rank changes is the spread. Left and middle: standard deviation of the number of sign changes on a great circle, relative to its mean, in layers 3 (light) and 6 (dark) of ReLU networks of width 32, for three families of spectra, against stable rank and against participation rank. Right: share of networks of width 16 whose fourth layer has more than a given multiple of the mean number. Both laws have the same mean.", "name": "fig-kink-spread"}, "image": {"alt": "Left and middle, curves that fall with rank, higher in layer 6 than in layer 3. The three families lie far apart against stable rank and closer together against participation rank, projectors highest. Right, a curve for projectors of rank two that starts to fall early and has a long tail, and a steep one for orthogonal layers."}} tags=["hide-input"]
fig, axes = plotting.figure(1, 3, size=(9.6, 3.6))
axes[1].sharey(axes[0])
for (name, (r, p, v)), color in zip(spread.items(), plotting.palette(3), strict=True):
    for ax, x in zip(axes, (r, p), strict=False):
        ax.plot(x, v[:, 0], "s--", color=color, markersize=3.5, alpha=0.45)
        ax.plot(x, v[:, 1], "o-", color=color, markersize=4, label=name)
for ax, name in zip(axes, ("stable rank $r$", "participation rank $p$"), strict=False):
    ax.set(xscale="log", yscale="log", xlabel=name, xlim=(1, 40))
    ax.set_xticks([1, 2, 5, 10, 30], ["1", "2", "5", "10", "30"])
    ax.set_yticks([0.1, 0.2, 0.5, 1], ["0.1", "0.2", "0.5", "1"])
    ax.minorticks_off()
axes[0].set_ylabel("relative spread of the kinks")
plotting.legend(axes[0])
share = 1 - torch.arange(replicates) / replicates
for values, name, color in zip(
    (low, high), ("projector, $r=2$", "orthogonal"), ("#0173b2", "0.4"), strict=True
):
    axes[2].step(values.sort().values, share, where="pre", color=color, label=name)
axes[2].axvline(1, color="0.3", linestyle="--", linewidth=1, label="mean")
axes[2].set(yscale="log", ylim=(1e-3, 1.3), xlim=(0, 8))
axes[2].set(xlabel="kinks of layer 4 over $2n$", ylabel="share of networks above")
plotting.legend(axes[2])

# %% [markdown]
# ## The image of a circle

# %%
rows = (1.2, 3.0, 8.0, 32.0)
columns = (0, 1, 2, 4, 8)
t = torch.linspace(0, 2 * math.pi, 3_000)


def plane(h):
    """The two leading principal coordinates of a closed curve, and the share of its variance in them."""
    U, S, _ = torch.linalg.svd(h - h.mean(0), full_matrices=False)
    return U[:, :2] * S[:2], (S[:2].square().sum() / S.square().sum()).item()


pictures, totals = {}, {}
for i, r in enumerate(rows):
    network = Ensemble((width,) * 9, r).preserving().sample(1, generator=generator(74 + i))
    post = feedforward.forward(network, curve.at(t)).post
    pictures[r] = [plane(post[l][0]) for l in columns]
    totals[r] = expressivity.kinks(network, curve).counts[0].cumsum(0)
    print(f"r = {r:g}: kinks up to layers 1, 2, 4, 8: {totals[r][[0, 1, 3, 7]].tolist()}")

# %% mystnb={"figure": {"caption": "The image of a great circle through depth. Each row is one ReLU network of width 32 at matched scale, each column a layer; the curve is projected on its own two leading principal directions, whose share of its variance is written below. Above each panel stands the number of kinks the curve has collected. At the lowest stable rank the image collapses towards a line and yet collects kinks; at higher ones it spreads over more directions.", "name": "fig-circle"}, "image": {"alt": "A grid of four rows and five columns of closed curves. The first column has circles. To the right the curves get kinks; in the row of the lowest stable rank they flatten into a line, in the other rows they become bent loops."}} tags=["hide-input"]
fig, axes = plotting.figure(4, 5, size=(8.6, 7.2))
for r, line, color in zip(rows, axes, plotting.palette(list(rows)), strict=True):
    for l, ax, (xy, share) in zip(columns, line, pictures[r], strict=True):
        ax.plot(*xy.T, color=color, linewidth=0.9)
        total = totals[r][l - 1].item() if l else 0
        ax.set_title(f"{total} kinks" if l else "input", fontsize=8)
        ax.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
        ax.set_xlabel(f"{100 * share:.0f} %", fontsize=8)
    line[0].set_ylabel(f"$r={r:g}$")
for l, ax in zip(columns[1:], axes[0][1:], strict=True):
    ax.set_title(f"layer {l}\n{ax.get_title()}", fontsize=8)

# %% [markdown]
# ## Lengths (X2)
#
# $\|J_lu\|^2$ of a unit vector $u$ has the law of $\|h_l(u)\|^2$: here with $u$ orthogonal to the input that sets the
# gates, all layers jointly.


# %%
def stretched(network, x, u):
    """Squared norms of J_l(x) u for l = 1, ..., L: (networks, layers)."""
    gates = feedforward.forward(network, x.unsqueeze(0)).gates
    out = []
    for W, D in zip(network.weights, gates, strict=True):
        u = D[:, 0] * (W @ u.unsqueeze(-1)).squeeze(-1) if u.ndim > 1 else D[:, 0] * (W @ u)
        out.append(u.square().sum(-1))
    return torch.stack(out, 1)


e = Ensemble((6, 12, 10, 12), (2.0, 3.5, 8.0), negative_slope=0.1).preserving()
x, u = torch.eye(6)[0], torch.eye(6)[1]
draws = [
    other.sample(networks_law, generator=generator(80 + i))
    for i, other in enumerate(
        (e, e, replace(e, law=spectra.projector), replace(e, negative_slope=1.0))
    )
]
check.same_law(
    "X2.law",
    "squared norms of J_l u for u orthogonal to x, three layers jointly, against those of the features of u",
    stretched(draws[0], x, u),
    stretched(draws[1], u, u),
    wrong={
        "projectors in place of two-level spectra": stretched(draws[2], u, u),
        "gates all open": stretched(draws[3], u, u) * torch.tensor([0.5, 0.25, 0.125]),
        "layers shuffled between networks": stretched(draws[1], u, u)[:, [0, 0, 0]],
    },
    seed=seed,
)

# %% [markdown]
# So the mean length of the image of a curve is its length times the mean of the norm, an exact product; lengths
# are summed over the exact pieces. A segment and a triangle.

# %%
ensembles = [
    Ensemble((8, 14, 12), 6.0, law=f, negative_slope=a).preserving()
    for f, a in (
        (spectra.two_level, 0.0),
        (spectra.projector, 0.3),
        (spectra.power_law, 0.0),
    )
]
triangle = torch.eye(8)[:3] + torch.eye(8)[3]
curves = (
    expressivity.segment(triangle[0], triangle[1]),
    expressivity.polyline(triangle, closed=True),
)
found = []
for i, e in enumerate(ensembles):
    network = e.sample(networks_length, generator=generator(90 + i))
    found.append([expressivity.lengths(network, c).euclidean for c in curves])
found = torch.stack(
    [torch.stack([c[:, 1:] / c[:1, :1] for c in row], 1) for row in found], 1
)
gain = torch.stack([expressivity.mean_gain(e)[1:] for e in ensembles]).unsqueeze(1)
moments = [feature_norm(e) for e in ensembles]
rms = torch.stack([(m.log_mean[1:] / 2).exp() for m in moments]).unsqueeze(1)
typical = torch.stack(
    [(log_growth(e).mean.cumsum(0) / 2).exp() for e in ensembles]
).unsqueeze(1)
check.sampled(
    "X2.length",
    "mean length of the images of a segment and a triangle over their length, three spectra, two layers",
    found,
    gain.expand(3, 2, 2),
    wrong={
        "root mean square": rms.expand(3, 2, 2),
        "typical growth": typical.expand(3, 2, 2),
        "first layer left out": (gain / gain[..., :1]).expand(3, 2, 2),
    },
    seed=seed,
)

# %% [markdown]
# The bracket from two moments, over widths from 2 to 256, depths to 12, spectra and slopes.

# %%
cases = [
    Ensemble((n,) * 13, max(1.0, share * n), law=f, negative_slope=a).preserving()
    for n in (2, 8, 64, 256)
    for share in (0.1, 0.3, 1.0)
    for f in (spectra.two_level, spectra.projector, spectra.power_law)
    for a in (0.0, 0.2, 1.5)
]
gains = torch.stack([expressivity.mean_gain(e) for e in cases])
moments = [feature_norm(e) for e in cases]
log_mean = torch.stack([m.log_mean for m in moments])
lower = torch.stack([m.log_mean / 2 - m.log_ratio / 2 for m in moments]).exp()
upper = (log_mean / 2).exp()
typical = torch.stack([(log_growth(e).mean.cumsum(0) / 2).exp() for e in cases])
typical = torch.cat([torch.ones(len(cases), 1), typical], 1)
check.bound(
    "X2.bracket",
    f"mean length factor of {gains.numel()} layers, between its lower and its upper end",
    torch.stack([gains, lower]),
    torch.stack([upper, gains]),
    wrong={
        "typical growth as upper end": torch.stack([typical, gains]),
        "root mean square as lower end": torch.stack([upper, gains * lower / upper]),
    },
)

# %%
scaled = {r: Ensemble((width,) * 13, r).preserving() for r in (1.25, 2.0, 5.0, 32.0)}
images_of = {
    r: expressivity.lengths(
        Ensemble((width,) * 9, r).preserving().sample(100, generator=generator(95)), curve
    )
    for r in scaled
}
for r, l in images_of.items():
    ends = [v[:, -1].mean().item() / (2 * math.pi) for v in l]
    print(
        f"r = {r:g}: mean length after 8 layers {ends[0]:.1f}, of the direction {ends[1]:.1f}, in units of 2 pi"
    )

# %% mystnb={"figure": {"caption": "Lengths through depth at matched scale, in units of the input's. Left: mean length of the image of a great circle in ReLU networks of width 32, which preserve the mean squared speed (dashed, the upper end of the bracket): X2 (lines) and 100 networks for each stable rank (points, with 95 % intervals). The image shrinks, sooner at low stable rank. Right: the mean spherical length of its direction stays at 1 (X1), with intervals that show the spread.", "name": "fig-lengths"}, "image": {"alt": "Left, falling lines with points on them, lowest for the smallest stable rank. Right, points scattered around a horizontal line at 1, with long intervals for the smallest stable rank."}} tags=["hide-input"]
fig, axes = plotting.figure(1, 2, size=(8.6, 3.7))
axes[0].axhline(1, color="0.3", linestyle="--", linewidth=1)
axes[1].axhline(1, color="0.3", linewidth=1.4, label="X1")
for i, (r, color) in enumerate(zip(scaled, plotting.palette(list(scaled)), strict=True)):
    plotting.theory(axes[0], range(13), expressivity.mean_gain(scaled[r]), color=color)
    for ax, l in zip(axes, images_of[r], strict=True):
        l = l[:, 1:] / (2 * math.pi)
        at, half = (
            torch.arange(1, 9) + 0.12 * (i - 1.5),
            1.96 * l.std(0) / math.sqrt(len(l)),
        )
        plotting.points(ax, at, l.mean(0), half, color=color, label=f"$r={r:g}$")
axes[0].set(xlabel="layer $l$", ylabel="mean length", ylim=(0, 1.08))
axes[1].set(xlabel="layer $l$", ylabel="mean spherical length", ylim=(0, 2.4))
plotting.legend(axes[1], loc="upper left", ncols=2)

# %% [markdown]
# ## Trained networks (X3)
#
# Three hidden layers of 64, matched scale, trained with Adam on 1,000 digits. The pieces of the network on the tour
# through ten training images, before and after. At the start the mean number of switches is known (X1).

# %%
ranks = (1.5, 4.0, 8.0, 16.0, 32.0, 64.0)
hidden = 64


def start(r, generator):
    ensemble = Ensemble((784, hidden, hidden, hidden), r).preserving()
    network = ensemble.sample(seeds_training, generator=generator)
    readout = sample((10, hidden), 10.0, batch=seeds_training, generator=generator)
    return Network(network.weights, readout)


initial = Network.cat(start(r, generator(100 + i)) for i, r in enumerate(ranks))
x = images * math.sqrt(784) / 4
fitted = training.fit(
    initial,
    x,
    labels,
    rates=2e-3,
    steps=steps_training,
    optimizer=training.adam,
    batch_size=50,
    seeds=list(range(seeds_training)) * len(ranks),
)
trained = fitted.network
hits = (feedforward.forward(trained, x).output.argmax(-1) == labels).double().mean(1)
before, after = (expressivity.kinks(p, tour) for p in (initial, trained))
pieces = [b.pieces.double().reshape(len(ranks), -1) for b in (before, after)]
ratio = pieces[1] / pieces[0]
along = expressivity.lengths(initial[:1], tour).spherical[0, 0].item()
expected = (
    expressivity.mean_kinks(Ensemble((784, hidden, hidden, hidden), 2.0), along)
    .sum()
    .item()
    + 1
)
print(f"expected at the start: {expected:.0f}")
for r, *p, q, h in zip(ranks, *pieces, ratio, hits.reshape(len(ranks), -1), strict=True):
    print(
        f"r = {r:g}: {p[0].mean():.1f} pieces -> {p[1].mean():.1f}, ratio {q.mean():.2f}, accuracy {h.mean():.2f}"
    )

# %%
glue("expected-start", expected)
glue("ratio-high", ratio[3:].mean().item())
glue("ratio-low", ratio[0].mean().item())
glue("deviation-low", pieces[0][0].std().item())
glue("deviation-high", pieces[0][-1].std().item())
glue("accuracy", 100 * hits.min().item())
check.empirical(
    "X3.training",
    "pieces after training over pieces before, stable ranks 16, 32 and 64 at the start, 30 networks",
    ratio[3:].flatten(),
    above=0.7,
    below=1.0,
    wrong_samples={"stable rank 1.5 at the start": ratio[0]},
    seed=seed,
)

# %% mystnb={"figure": {"caption": "Pieces of networks before and after training. Number of linear pieces on a tour through ten digits, for networks with three ReLU layers of width 64 trained on 1,000 digits, ten for each stable rank at the start. Before training the mean is that of X1 (line) and the spread is largest at low stable rank. Training removes pieces at high stable rank, and narrows the spread at low stable rank.", "name": "fig-pieces-training"}, "image": {"alt": "Pairs of clouds of points for six stable ranks. Open points scatter around a horizontal line, widely at stable rank 1.5; filled points, after training, lie below it from stable rank 8 on."}} tags=["hide-input"]
fig, ax = plotting.figure(size=(7.2, 3.8))
ax.axhline(expected, color="0.3", linewidth=1.4, label="mean at the start, X1")
for v, shift, color, label in zip(
    pieces, (-0.15, 0.15), plotting.palette(2), ("at the start", "trained"), strict=True
):
    for i, p in enumerate(v):
        at = i + shift + 0.012 * (torch.arange(len(p)) - len(p) / 2)
        ax.plot(
            at,
            p,
            "o",
            color=color,
            markersize=3.5,
            alpha=0.6,
            label=label if i == 0 else None,
        )
        ax.plot(
            [i + shift - 0.1, i + shift + 0.1], [p.mean()] * 2, color=color, linewidth=2
        )
ax.set(xticks=range(len(ranks)), xticklabels=[f"{r:g}" for r in ranks], ylim=(0, None))
ax.set(
    xlabel="stable rank of the hidden layers at the start",
    ylabel="linear pieces on the tour",
)
plotting.legend(ax, loc="lower right")

# %% [markdown]
# Three digits span a plane. Each region of the plane on which the network is affine has its colour; the white triangle
# joins the digits, and its kinks are the exact ones.

# %%
corners = math.sqrt(784) / 4 * digits[[0, 1, 4]]
triangle = expressivity.polyline(corners, closed=True)
frame = corners[1:] - corners[0]
basis = torch.linalg.qr(frame.T)[0]
flat = (corners - corners[0]) @ basis
middle, reach = flat.mean(0), 1.25 * (flat - flat.mean(0)).norm(dim=1).max()
axis = torch.linspace(-1, 1, pixels) * reach
grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).flatten(0, 1) + middle
points_ = corners[0] + grid @ basis.T


def colours(gates, generator):
    """A colour for each pattern of gates: patterns that differ in few gates have similar colours."""
    wheel = torch.randn(gates.shape[1], 3, generator=generator)
    return (0.6 + 0.5 * (gates - gates.mean(0)) @ wheel / math.sqrt(gates.shape[1])).clamp(
        0, 1
    )


regions = {}
for i, r in ((0, 1.5), (2, 8.0), (5, 64.0)):
    for name, p in (("start", initial), ("trained", trained)):
        network = p[i * seeds_training]
        gates = torch.cat(feedforward.forward(network, points_).gates, -1)[0]
        regions[r, name] = (
            colours(gates, generator(110)),
            expressivity.kinks(network, triangle),
        )
print(
    "pieces of the triangle:",
    {f"{r:g}, {name}": b.pieces.item() for (r, name), (_, b) in regions.items()},
)

# %% mystnb={"figure": {"caption": "Linear regions on the plane through a 0, a 1 and a 4 (corners of the triangle), of one network for each of three stable ranks at the start, before (top) and after training (bottom). Neighbouring colours are patterns of gates that differ in few neurons. Dots: the exact kinks on the triangle, counted above each panel.", "name": "fig-regions"}, "image": {"alt": "Six square pictures of coloured polygons like stained glass, each with a white triangle whose sides carry dots. At stable rank 1.5 the dots crowd on one part of the triangle; in the other pictures they are spread over all sides."}} tags=["hide-input"]
fig, axes = plotting.figure(2, 3, size=(8.6, 6.2))
for ax, ((r, name), (rgb, b)) in zip(axes.T.flat, regions.items(), strict=True):
    box = [
        v.item()
        for v in (
            middle[0] - reach,
            middle[0] + reach,
            middle[1] - reach,
            middle[1] + reach,
        )
    ]
    ax.imshow(
        rgb.reshape(pixels, pixels, 3), origin="lower", extent=box, interpolation="nearest"
    )
    ax.plot(*torch.cat([flat, flat[:1]]).T, color="white", linewidth=1.2)
    at = torch.cat([s.parameter for s in b.layers])
    ax.plot(*((triangle.at(at) - corners[0]) @ basis).T, ".", color="black", markersize=2.5)
    ax.set(xticks=[], yticks=[], title=f"$r={r:g}$, {name}: {b.pieces.item()} pieces")
    ax.grid(False)

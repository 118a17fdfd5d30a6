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
# digits. On slices of more dimensions the points where several neurons vanish together have a mean as simple (X4).

# %%
import math
from dataclasses import replace

import torch
from torch.nn.functional import pad

from figures import expressivity as figures
from measurements import expressivity as measured
from srlib import Ensemble, Network, arccos, check, feedforward, haar, sample
from srlib.check import glue
from srlib.experiments import data, expressivity, training
from srlib.moments import feature_norm
from srlib.spectra import power_law, projector, two_level, uniform_sphere

torch.set_default_dtype(torch.float64)  # everything that is compared is in double precision

# %% tags=["parameters"]
seed = 1  # of every draw; each section adds an offset of its own
replicates = 3_400  # means of a few networks, for each stable rank of the circle
matrices = 60_000  # matrices for each law of the angles
networks_curve = 7_500  # networks for each law along a polygon
networks_narrow = 66_000  # networks of three to five neurons a layer
networks_sphere = 90_000  # networks for each law on a sphere
networks_length = 15_000  # networks for each law of the lengths
networks_law = 12_000  # networks for the law of the Jacobian
networks_spread = 70  # networks for each stable rank of the picture of spreads
seeds_training = 10  # networks for each stable rank of the training experiment
steps_training = 120  # updates of each of them
pixels = 150  # side of the pictures of linear regions


# %%
def generator(offset):
    return torch.Generator().manual_seed(seed + 1_000 * offset)


def great_circle(n):
    return expressivity.circle(*torch.eye(n)[:2])


# %% [markdown]
# ## Exact pieces (X3)
#
# Every kink is found by propagating pieces. The check is the plain forward pass: put three points into every piece
# that was found. Then along all these points the gates of layer $l$ must change exactly as often as switches were
# found. A missed kink shows as a change inside a piece, an invented one as a border without a change.

# %%
images, labels = data.mnist(1_000)
images = images / images.norm(dim=1, keepdim=True)
digits = torch.stack([images[(labels == c).nonzero()[0, 0]] for c in range(10)])
tour = expressivity.polyline(digits)  # from a 0 over a 1 ... to a 9
widths = (784, 48, 48, 48, 48)
cases = ((3.0, two_level), (8.0, projector), (48.0, power_law))
networks = Network.cat(
    Ensemble(widths, r, law=law).preserving().sample(6, generator=generator(i))
    for i, (r, law) in enumerate(cases)
)
exact = expressivity.kinks(networks, tour)
every_piece = [measured.inside(exact.layers, b, 9.0) for b in range(networks.batch)]
grid = [torch.linspace(0, 9, 300)] * networks.batch
print("switches of the first network, layer by layer:", exact.counts[0].tolist())
text = (
    "switches found along a tour of ten digits against changes of gates in forward passes"
)
found = measured.seen(networks, tour, every_piece)
wrong = {"one kink in a hundred missed": measured.missed(exact.counts, generator(3))}
wrong["a grid of 300 points"] = measured.seen(networks, tour, grid)
check.exact("X3.forward", text, found, exact.counts, wrong=wrong, tolerance=1e-12)

# %% [markdown]
# On every piece the features must be affine: the middle of a piece goes to the middle of the images of its ends. Pieces
# that ignore the kinks of the first layer must fail.

# %%
network = Ensemble(widths, 8.0).preserving().sample(1, generator=generator(4))
layers = expressivity.kinks(network, tour).layers
edges, without_first = (
    torch.cat([torch.arange(10.0), *(s.parameter for s in found)]).unique()
    for found in (layers, layers[1:])
)
found, left_out = (1 + measured.bend(network, tour, t) for t in (edges, without_first))
text = "1 + relative bend of the features on every piece of one network"
wrong = {"kinks of the first layer left out": left_out.max()}
check.exact("X3.affine", text, found, 1.0, wrong=wrong, tolerance=1e-9)

# %% [markdown]
# ## Angles in the mean (X1)
#
# One layer, a pair of vectors: the mean angle of the images is the angle itself.

# %%
angles = torch.tensor([0.6, 1.2, 2.0, 2.7])
others = pad(torch.stack([angles.cos(), angles.sin()], 1), (0, 4))


def turned(W):
    """Angles of W e_1 with the images of the four vectors."""
    return arccos.angle(W[:, None, :, 0], others @ W.mT)


cases = ((two_level, 1.5), (projector, 3.0), (uniform_sphere, 4.0))
drawn = [
    sample((5, 6), r, law=law, batch=matrices, generator=generator(5 + i))
    for i, (law, r) in enumerate(cases)
]
sigma = pad(torch.diag(two_level((5, 6), 1.5)), (0, 1))
one_sided = haar.orthogonal(5, batch=matrices, generator=generator(9)) @ sigma
found = torch.stack([turned(W) for W in drawn], 1)
text = "mean angle of the images of two vectors, four angles, three spectra"
wrong = {"angle of the mean cosine": found.cos().mean(0).acos()}
wrong["towards a right angle"] = angles.expand(3, 4) * 0.97 + 0.03 * math.pi / 2
other = {"no rotation on the right": torch.stack([turned(one_sided)] * 3, 1)}
options = {"wrong": wrong, "wrong_samples": other, "seed": seed}
check.sampled("X1.angle", text, found, angles.expand(3, 4), **options)

# %% [markdown]
# ## Gates, by enumeration (X1)
#
# Flip the coordinates of one ellipse in $\mathbb R^8$ in all $2^8$ ways and send it through the gates. The mean
# spherical length of the results is $2\pi$ times the share of gate patterns of rank two or more, to rounding.

# %%
flips = torch.cartesian_prod(*[torch.tensor([1.0, -1.0])] * 8)
flipped = flips.unsqueeze(-1) * torch.randn(8, 2, generator=generator(10))
networks = [Network((flipped,), flips, negative_slope=a) for a in (0.0, 0.2, -0.5)]
found = [expressivity.lengths(f, great_circle(2)).spherical[:, 1] for f in networks]
found = torch.stack(found).mean(1) / (2 * math.pi)
text = "mean spherical length after the gates over all flips of an ellipse, over 2 pi, three slopes"
wrong = {"only dead patterns lost": [255 / 256, 1, 1], "half of the length": [0.5, 1, 1]}
check.exact("X1.flips", text, found, [1 - 9 / 256, 1.0, 1.0], wrong=wrong)

# %% [markdown]
# ## Mirrors (X1, X4)
#
# Mirror the hidden neurons of one narrow network in all ways: the rows of their weights and the columns of the next
# ones change sign together. The mean number of sign changes on a great circle is then exactly that of X1, and the mean
# number of points on a sphere where two neurons of a layer vanish together is that of X4. No other
# randomness is needed.

# %%
narrow = Ensemble((4, 3, 4, 5), 2.0, law=projector)
copies = measured.mirrors(narrow.sample(1, generator=generator(11)))
found = expressivity.kinks(copies, great_circle(4)).crossings.double().mean(0)
text = "mean sign changes on a great circle over all mirrors of one network of 3, 4 and 5 neurons"
wrong = {"2 n_l": [6, 8, 10], "only dead patterns lost": [6, 7, 10 * 7 / 8 * 15 / 16]}
check.exact("X1.mirrors", text, found, expressivity.mean_kinks(narrow), wrong=wrong)

# %%
e, frame = Ensemble((5, 4, 4, 4), 3.0, law=projector), torch.eye(5)[:, :3]
copies = measured.mirrors(e.sample(1, generator=generator(12)))
found = measured.vertices(copies, frame).double().mean(0)
text = "mean points on a sphere where two neurons of a layer of 4 vanish, over all mirrors of one network"
patterns = {"every gate open": 16, "two open gates enough": 11, "four open gates needed": 1}
wrong = {name: 12 * (count / 16) ** torch.arange(3) for name, count in patterns.items()}
check.exact("X4.mirrors", text, found, expressivity.mean_vertices(e, 3), wrong=wrong)

# %% [markdown]
# In the mean over random networks, for two laws of the stable ranks 1.3 and 3. The first layer has 12 points always.

# %%
ensembles = [Ensemble((4, 4, 4), r, law=f) for r, f in ((1.3, two_level), (3.0, projector))]
drawn = [
    measured.vertices(
        e.sample(networks_sphere, generator=generator(14 + i)), torch.eye(4)[:, :3]
    )
    for i, e in enumerate(ensembles)
]
drawn = torch.stack(drawn, 1)[..., 1]
predicted = torch.stack([expressivity.mean_vertices(e, 3)[1] for e in ensembles])
text = "mean points on a sphere where two of four neurons of layer 2 vanish, two spectra"
wrong = {"every gate open": 12 + 0 * predicted, "two open gates enough": 11 / 5 * predicted}
wrong["proportional to the stable rank"] = predicted * torch.tensor([1.3 / 3, 1])
other = {"one point in twenty missed": measured.missed(drawn, generator(16), 0.05)}
options = {"wrong": wrong, "wrong_samples": other, "seed": seed, "resolve": 0.02}
check.sampled("X4.sphere", text, drawn, predicted, **options)

# %% [markdown]
# ## Kinks on a circle (X1)
#
# Six stable ranks, three layers of width 12, ReLU. The prediction differs from 24 by less than 0.16.


# %%
def counts(e, count, offset, curve=None):
    """Kinks of so many networks, on a great circle if not along another curve: (networks, layers)."""
    curve = curve or great_circle(e.widths[0])
    network = e.sample(count, generator=generator(offset))
    return expressivity.kinks(network, curve).crossings.double()


n = 12
averaged = {2.0: 4, 3.0: 3, 4.0: 2, 6.0: 2, 9.0: 2, 12.0: 2}  # networks in one replicate
on_circle = {
    r: counts(Ensemble((n,) * 4, r), k * replicates, 20 + i)
    for i, (r, k) in enumerate(averaged.items())
}


def averages(counts):
    """Means over the networks of one replicate: (replicates, stable ranks, layers)."""
    return torch.stack([c.unflatten(0, (replicates, -1)).mean(1) for c in counts], 1)


rank_one = Ensemble((n,) * 4, 1.0).sample(replicates, generator=generator(31))
rank_one = expressivity.kinks(rank_one, great_circle(n)).counts.double()
print("mean switches, layers 1 to 3, at r = 2, 12 and 1:")
ends = torch.stack([on_circle[2.0].mean(0), on_circle[12.0].mean(0)])
print(ends.round(decimals=1).tolist(), rank_one.mean(0).round(decimals=1).tolist())
thinned = [measured.missed(c, generator(30)) for c in on_circle.values()]
layer, ratio = torch.arange(3), torch.tensor(list(averaged))[:, None] / n
text = "mean sign changes on a great circle, stable ranks 2, 3, 4, 6, 9 and 12, three ReLU layers of width 12"
predicted = expressivity.mean_kinks(Ensemble((n,) * 4, 2.0)).expand(6, 3)
wrong = {
    "2 % more in every further layer": (2 * n * 1.02**layer).expand(6, 3),
    "growing with depth": (2 * n * (layer + 1)).expand(6, 3),
    "proportional to the stable rank": 2 * n * ratio**layer,
    "halved by ReLU": (2 * n * 0.5**layer).expand(6, 3),
}
other = {"one kink in a hundred missed": averages(thinned)}
other["layers of rank one"] = rank_one.unsqueeze(1).expand(-1, 6, -1)
options = {"wrong": wrong, "wrong_samples": other, "seed": seed}
check.sampled("X1.circle", text, averages(on_circle.values()), predicted, **options)

# %% mystnb={"figure": {"caption": "Kinks on a great circle do not depend on stable rank. Mean number of sign changes of the neurons of each of three ReLU layers of width 12, for six stable ranks, against X1 (line, 24); right: the same, enlarged, with 95 % intervals. Crosses: layers of rank one, where the image of the circle passes through the origin and the number halves from layer to layer.", "name": "fig-kinks"}, "image": {"alt": "Left, groups of coloured points on a horizontal line at 24 in all three layers, while crosses for rank one fall from 24 to 12 and 6. Right, the points enlarged, with intervals that contain the line."}} tags=["hide-input"]
fig = figures.kinks(on_circle, rank_one, 2 * n)

# %% [markdown]
# Where gate patterns of rank zero or one are frequent, the exact factor shows: layers of three, four and five neurons.

# %%
narrow = Ensemble((4, 3, 4, 5), 2.0)
network = narrow.sample(networks_narrow, generator=generator(40))
drawn = expressivity.kinks(network, great_circle(4))
text = "mean sign changes on a great circle in layers of 3, 4 and 5 ReLU neurons"
wrong = {
    "2 n_l": [6, 8, 10],
    "only dead patterns lost": [6, 8 * 7 / 8, 10 * 7 / 8 * 15 / 16],
}
other = {"switches of silent layers included": drawn.counts}
other["one kink in a hundred missed"] = measured.missed(drawn.crossings, generator(41))
options = {"wrong": wrong, "wrong_samples": other, "seed": seed}
check.sampled(
    "X1.narrow", text, drawn.crossings, expressivity.mean_kinks(narrow), **options
)

# %% [markdown]
# Other curves: a polygon through ten points of $\mathbb R^6$, three spectra and slopes. What counts is its spherical
# length.

# %%
corners = torch.randn(10, 6, generator=generator(42)) + 0.3
polygon = expressivity.polyline(corners, closed=True)
cases = ((projector, 0.0), (power_law, 0.3), (uniform_sphere, -0.5))
ensembles = [Ensemble((6, 10, 12), 4.0, law=f, negative_slope=a) for f, a in cases]
drawn = [counts(e, networks_curve, 43 + i, polygon) for i, e in enumerate(ensembles)]
drawn = torch.stack(drawn, 1)
probe = expressivity.lengths(ensembles[0].sample(1, generator=generator(43)), polygon)


def predicted(*length):
    return torch.stack([expressivity.mean_kinks(e, *length) for e in ensembles])


text = "mean sign changes along a closed polygon, three spectra and slopes, two layers"
wrong = {"length of a great circle": predicted()}
wrong["Euclidean length"] = predicted(probe.euclidean[0, 0].item())
other = {"one kink in a hundred missed": measured.missed(drawn, generator(46))}
options = {"wrong": wrong, "wrong_samples": other, "seed": seed}
check.sampled("X1.polygon", text, drawn, predicted(probe.spherical[0, 0].item()), **options)

# %% [markdown]
# ## What the stable rank changes: the spread
#
# The mean is the same for all stable ranks. The law around it is not: three families of spectra, and the law of the
# third layer for two of them.

# %%
width = 32
families = {
    "two-level": (two_level, (1.1, 1.5, 2.0, 4.0, 10.0, 32.0)),
    "power law": (power_law, (1.5, 2.0, 4.0, 10.0)),
    "projector": (projector, (2.0, 3.0, 5.0, 10.0, 20.0)),
}
spread = {}
for i, (name, (law, values)) in enumerate(families.items()):
    ensembles = [Ensemble((width,) * 7, r, law=law) for r in values]
    drawn = [counts(e, networks_spread, 50 + 10 * i + j) for j, e in enumerate(ensembles)]
    relative = torch.stack([c.std(0)[[2, 5]] / (2 * width) for c in drawn])
    spread[name] = values, [e.participation_ranks().value[0] for e in ensembles], relative
    print(f"{name}: r = {values}, spread in layer 6:", [f"{v:.1f}" for v in relative[:, 1]])

low = counts(Ensemble((n,) * 4, 2.0, law=projector), replicates, 85)
tails = {"projector, $r=2$": low, "orthogonal": on_circle[12.0][:replicates]}
tails = {name: c[:, -1] / (2 * n) for name, c in tails.items()}
for key, (name, c) in zip(("low", "high"), tails.items(), strict=True):
    above, below = (100 * part.double().mean().item() for part in (c > 2, c < 0.5))
    print(f"{name}: more than twice the mean {above:.0f} %, less than half {below:.0f} %")
    glue(f"tail-{key}", above)
    glue(f"half-{key}", below)

# %% mystnb={"figure": {"caption": "What stable rank changes is the spread. Left and middle: standard deviation of the number of sign changes on a great circle, relative to its mean, in layers 3 (light) and 6 (dark) of ReLU networks of width 32, for three families of spectra, against stable rank and against participation rank. Right: share of networks of width 12 whose third layer has more than a given multiple of the mean number. Both laws have the same mean.", "name": "fig-kink-spread"}, "image": {"alt": "Left and middle, curves that fall with rank, higher in layer 6 than in layer 3. The three families lie far apart against stable rank and closer together against participation rank, projectors highest. Right, a curve for projectors of rank two that starts to fall early and has a long tail, and a steep one for orthogonal layers."}} tags=["hide-input"]
fig = figures.spread(spread, tails)

# %% [markdown]
# ## The image of a circle

# %%
layers, curve, pictures, totals = (0, 1, 2, 4, 8), great_circle(width), {}, {}
for i, r in enumerate((1.2, 3.0, 8.0, 32.0)):
    network = Ensemble((width,) * 9, r).preserving().sample(1, generator=generator(74 + i))
    pictures[r], totals[r] = measured.images(network, curve, layers)
    collected = [totals[r][l - 1] for l in layers[1:]]
    print(f"r = {r:g}: kinks up to layers 1, 2, 4, 8: {collected}")

# %% mystnb={"figure": {"caption": "The image of a great circle through depth. Each row is one ReLU network of width 32 at matched scale, each column a layer; the curve is projected on its own two leading principal directions, whose share of its variance is written below. Above each panel stands the number of kinks the curve has collected. At the lowest stable rank the image collapses towards a line and yet collects kinks; at higher ones it spreads over more directions.", "name": "fig-circle"}, "image": {"alt": "A grid of four rows and five columns of closed curves. The first column has circles. To the right the curves get kinks; in the row of the lowest stable rank they flatten into a line, in the other rows they become bent loops."}} tags=["hide-input"]
fig = figures.circle(pictures, layers, totals)

# %% [markdown]
# ## Lengths (X2)
#
# $\|J_ly\|^2$ of a unit vector $y$ has the law of $\|h_l(y)\|^2$: here with $y$ orthogonal to the input that sets the
# gates, all layers jointly.

# %%
e = Ensemble((6, 12, 10, 12), (2.0, 3.5, 8.0), negative_slope=0.1).preserving()
x, u = torch.eye(6)[:2]
kinds = (e, e, replace(e, law=projector), replace(e, negative_slope=1.0))
draws = [d.sample(networks_law, generator=generator(80 + i)) for i, d in enumerate(kinds)]
features, projectors, linear = (measured.stretched(network, u, u) for network in draws[1:])
text = "squared norms of J_l u for u orthogonal to x, three layers jointly, against those of the features of u"
found, wrong = measured.stretched(draws[0], x, u), {"projectors": projectors}
wrong["gates all open"] = linear * torch.tensor([0.5, 0.25, 0.125])
wrong["layers shuffled between networks"] = features[:, [0, 0, 0]]
check.same_law("X2.law", text, found, features, wrong=wrong, seed=seed)

# %% [markdown]
# So the mean length of the image of a curve is its length times the mean of the norm, an exact product; lengths
# are summed over the exact pieces. A segment and a triangle.

# %%
triangle = torch.eye(8)[:3] + torch.eye(8)[3]
curves = expressivity.segment(*triangle[:2]), expressivity.polyline(triangle, closed=True)
cases = ((two_level, 0.0), (projector, 0.3), (power_law, 0.0))
ensembles = [
    Ensemble((8, 14, 12), 6.0, law=f, negative_slope=a).preserving() for f, a in cases
]


def stretch(e, offset):
    """Lengths of the images over those of the curves: (networks, curves, layers)."""
    network = e.sample(networks_length, generator=generator(offset))
    found = [expressivity.lengths(network, curve).euclidean for curve in curves]
    return torch.stack([c[:, 1:] / c[:1, :1] for c in found], 1)


gain = torch.stack([expressivity.mean_gain(e)[1:] for e in ensembles]).unsqueeze(1)
rms = torch.stack([(feature_norm(e).log_mean[1:] / 2).exp() for e in ensembles])
typical = torch.stack([measured.typical_growth(e) for e in ensembles])
text = "mean length of the images of a segment and a triangle over their length, three spectra, two layers"
found = torch.stack([stretch(e, 90 + i) for i, e in enumerate(ensembles)], 1)
wrong = {"root mean square": rms.unsqueeze(1), "typical growth": typical.unsqueeze(1)}
wrong["first layer left out"] = gain / gain[..., :1]
wrong = {name: values.expand(3, 2, 2) for name, values in wrong.items()}
check.sampled("X2.length", text, found, gain.expand(3, 2, 2), wrong=wrong, seed=seed)

# %% [markdown]
# The bracket from two moments, over widths from 2 to 256, depths to 12, spectra and slopes.

# %%
cases = measured.variety()
moments = [feature_norm(e) for e in cases]
gains = torch.stack([expressivity.mean_gain(e) for e in cases])
root, ratio = (
    torch.stack([getattr(m, name) for m in moments]) / 2
    for name in ("log_mean", "log_ratio")
)
lower, upper = (root - ratio).exp(), root.exp()
typical = pad(torch.stack([measured.typical_growth(e) for e in cases]), (1, 0), value=1)
wrong = {"typical growth as upper end": torch.stack([typical, gains])}
wrong["root mean square as lower end"] = torch.stack([upper, gains * lower / upper])
ends = torch.stack([gains, lower]), torch.stack([upper, gains])
text = f"mean length factor of {gains.numel()} layers, between its lower and its upper end"
check.bound("X2.bracket", text, *ends, wrong=wrong)

# %%
lengths, gains = {}, {}
for r in (1.25, 2.0, 5.0, 32.0):
    gains[r] = expressivity.mean_gain(Ensemble((width,) * 13, r).preserving())
    network = Ensemble((width,) * 9, r).preserving().sample(60, generator=generator(95))
    found = expressivity.lengths(network, curve)
    lengths[r] = [length[:, 1:] / (2 * math.pi) for length in found]
    ends = ", ".join(f"{length[:, -1].mean():.1f}" for length in lengths[r])
    print(
        f"r = {r:g}: mean length after 8 layers and that of the direction, over 2 pi: {ends}"
    )

# %% mystnb={"figure": {"caption": "Lengths through depth at matched scale, in units of the input's. Left: mean length of the image of a great circle in ReLU networks of width 32, which preserve the mean squared speed (dashed, the upper end of the bracket): X2 (lines) and 60 networks for each stable rank (points, with 95 % intervals). The image shrinks, sooner at low stable rank. Right: the mean spherical length of its direction stays at 1 (X1), with intervals that show the spread.", "name": "fig-lengths"}, "image": {"alt": "Left, falling lines with points on them, lowest for the smallest stable rank. Right, points scattered around a horizontal line at 1, with long intervals for the smallest stable rank."}} tags=["hide-input"]
fig = figures.lengths(lengths, gains)

# %% [markdown]
# ## Trained networks (X3)
#
# Three hidden layers of 64, matched scale, trained with Adam on 1,000 digits. The pieces of the network on the tour
# through ten training images, before and after. At the start the mean number of switches is known (X1).

# %%
ranks, widths = (1.5, 4.0, 8.0, 16.0, 32.0, 64.0), (784, 64, 64, 64)
groups = [
    measured.start(widths, r, seeds_training, generator(100 + i))
    for i, r in enumerate(ranks)
]
x = images * math.sqrt(784) / 4
options = {"optimizer": training.adam, "rates": 2e-3, "steps": steps_training}
options |= {"batch_size": 50}


def fit(i, nets):
    """Every network has its own order of digits."""
    seeds = [seed + 1_000 * i + k for k in range(nets.batch)]
    return training.fit(nets, x, labels, seeds=seeds, **options).network


trained = Network.cat(fit(i, nets) for i, nets in enumerate(groups))
initial = Network.cat(groups)
before, after = (
    expressivity.kinks(networks, tour).pieces.double().reshape(len(ranks), -1)
    for networks in (initial, trained)
)
right = feedforward.forward(trained, x).output.argmax(-1) == labels
accuracy = right.double().mean(1).reshape(len(ranks), -1)
ratio = after / before
along = expressivity.lengths(initial[:1], tour).spherical[0, 0].item()
expected = expressivity.mean_kinks(Ensemble(widths, 2.0), along).sum().item() + 1
print(f"expected at the start: {expected:.0f}")
rank_one = (after[3:] / (1 + (expected - 1) * (1 + 1 / 2 + 1 / 4) / 3)).flatten()
error = after.std(1) / math.sqrt(seeds_training)
means = (values.mean(1).tolist() for values in (before, after, ratio, accuracy))
for r, p, q, share, right, half in zip(ranks, *means, error, strict=True):
    print(f"r = {r:g}: {p:.1f} pieces -> {q:.1f} +- {half:.0f},", end=" ")
    print(f"mean ratio {share:.2f}, ratio of means {q / p:.2f}, accuracy {right:.2f}")

# %%
numbers = {"expected-start": expected, "ratio-high": ratio[3:].mean()}
numbers |= {
    "ratio-low": after[0].mean() / before[0].mean(),
    "ratio-low-mean": ratio[0].mean(),
}
numbers |= {"after-low": after[0].mean(), "after-low-error": error[0]}
numbers |= {"after-least": after[1:].mean(1).min(), "after-most": after[1:].mean(1).max()}
numbers |= {"deviation-low": before[0].std(), "deviation-high": before[-1].std()}
numbers |= {"accuracy": 100 * accuracy.min()}
for name, value in numbers.items():
    glue(name, value)
text = "pieces after training over pieces before, stable ranks 16, 32 and 64 at the start, 30 networks"
other = {"over the count of layers of rank one (X1)": rank_one}
options = {"above": 0.7, "below": 1.0, "wrong_samples": other, "seed": seed}
check.empirical("X3.training", text, ratio[3:].flatten(), **options)

# %% mystnb={"figure": {"caption": "Pieces of networks before and after training. Number of linear pieces on a tour through ten digits, for networks with three ReLU layers of width 64 trained on 1,000 digits, ten for each stable rank at the start. Before training the mean is that of X1 (line) and the spread is largest at low stable rank. Training removes pieces at high stable rank, and narrows the spread at low stable rank.", "name": "fig-pieces-training"}, "image": {"alt": "Pairs of clouds of points for six stable ranks. Open points scatter around a horizontal line, widely at stable rank 1.5; filled points, after training, lie below it from stable rank 8 on."}} tags=["hide-input"]
fig = figures.pieces(ranks, before, after, expected)

# %% [markdown]
# Three digits span a plane. Each region of the plane on which the network is affine has its colour; the white triangle
# joins the digits, and its kinks are the exact ones.

# %%
corners = math.sqrt(784) / 4 * digits[[0, 1, 4]]
triangle = expressivity.polyline(corners, closed=True)
plane, panels = measured.Plane(corners, pixels), {}
for i, r in ((0, 1.5), (2, 8.0), (5, 64.0)):
    for name, networks in (("start", initial), ("trained", trained)):
        one = networks[i * seeds_training]
        panels[r, name] = measured.regions(one, plane, triangle, generator(110))
pieces = {f"{r:g}, {name}": count for (r, name), (_, _, count) in panels.items()}
print("pieces of the triangle:", pieces)

# %% mystnb={"figure": {"caption": "Linear regions on the plane through a 0, a 1 and a 4 (corners of the triangle), of one network for each of three stable ranks at the start, before (top) and after training (bottom). Neighbouring colours are patterns of gates that differ in few neurons. Dots: the exact kinks on the triangle, counted above each panel.", "name": "fig-regions"}, "image": {"alt": "Six square pictures of coloured polygons like stained glass, each with a white triangle whose sides carry dots. At stable rank 1.5 the dots crowd on one part of the triangle; in the other pictures they are spread over all sides."}} tags=["hide-input"]
fig = figures.regions(panels, plane)

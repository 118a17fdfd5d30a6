# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Feature norms at finite width
#
# In the random model the squared feature norm is a product of independent factors, two a layer: one from the linear
# map and one from the gates. Its mean is linear in every stable rank and exponential in depth (F1, F2); its spread
# follows the participation rank (F3), and its whole law the order of spectra (S4). Every check below is made at small
# width, where an asymptotic formula would fail, and against wrong alternatives that must be rejected.

# %%
import itertools
import math
from dataclasses import replace

import numpy as np
import torch
from IPython.display import display

import srlib
from figures import feedforward as figures
from measurements import feedforward as measure
from measurements.feedforward import F2, F3, each
from srlib import Ensemble, check, haar
from srlib.check import glue
from srlib.moments import feature_norm, fluctuation_exponent, log_growth
from srlib.spectra import power_law, projector, two_level, uniform_sphere

torch.set_default_dtype(torch.float64)  # everything that is compared is in double precision

# %% tags=["parameters"]
seed = 1  # of every draw; each section adds an offset of its own
matrices = 30_000  # single layers drawn for F1
networks = 106_000  # dense networks a law for the moments of F2 and F3
networks_gaussian = 44_000  # networks of Gaussian layers
networks_rank = 12_000  # networks for each stable rank of the straight line
networks_depth = 8_000  # networks for the growth with depth
networks_order = 8_000  # networks for each of the two sides of the ordering
networks_figure = 300  # networks for each line of the depth figure
networks_law = 60_000  # networks for each spectrum whose law is compared
networks_histogram = 1_000  # networks for each distribution
networks_collapse = 300  # networks for each group of points of the collapse


# %%
def generator(offset):
    return torch.Generator().manual_seed(seed + 1_000 * offset)


def dense(ensembles, count, offset, slopes=(0.0,)):
    """Replicates of X_l and of X_l^2, shape (networks, ensembles, slopes, layers) each."""
    generators = [generator(offset + i) for i in range(len(ensembles))]
    pairs = zip(ensembles, generators, strict=True)
    return torch.stack([measure.replicates(e, count, g, slopes) for e, g in pairs], 2)


# %% [markdown]
# ## Exact averages over spheres
#
# A cubature of degree 5 integrates every polynomial of degree at most 5 over $S^{n-1}$ exactly: $2n$ points
# $\pm e_i$ of weight $\frac{4-n}{2n(n+2)}$ and $2n(n-1)$ points $(\pm e_i\pm e_j)/\sqrt2$ of weight
# $\frac1{n(n+2)}$. With it, second moments of squared norms need no sampling.

# %%
sizes = (2, 3, 5, 12, 20)
rules = [(w, u[:, 0], u[:, 1]) for u, w in map(measure.cubature, sizes)]
found = [[w.sum(), w @ x**2, w @ x**4, w @ (x * y) ** 2] for w, x, y in rules]
uniform = [[1, 1 / n, 3 / (n * (n + 2)), 1 / (n * (n + 2))] for n in sizes]
gaussian = [[1, 1 / n, 3 / n**2, 1 / n**2] for n in sizes]
text = "cubature moments of the sphere: total weight and the means of x1^2, x1^4, x1^2 x2^2"
wrong = {"independent Gaussian coordinates": gaussian}
check.exact("F3.cubature", text, found, uniform, wrong=wrong)

# %% [markdown]
# ## One linear layer (F1)
#
# Averaged over all input directions, one drawn matrix must already give $s^2r/n$, whatever its spectrum and shape,
# down to width 1.

# %%
ranks = {(1, 1): 1, (5, 1): 1, (1, 5): 1, (12, 20): 7.3, (20, 12): 5, (16, 16): 16}
laws = (two_level, projector, power_law, uniform_sphere)
layers = [(law, m, n, r) for law in laws for (m, n), r in ranks.items()]
drawn = [
    srlib.sample((m, n), r, spectral_norm=1.3, law=f, generator=generator(0))
    for f, m, n, r in layers
]
linear = [Ensemble((n, m), r, 1.3, law=f, negative_slope=1) for f, m, n, r in layers]
wrong = {
    "fan-out in place of fan-in": [1.3**2 * r / m for _, m, n, r in layers],
    "rank in place of stable rank": [1.3**2 * min(m, n) / n for _, m, n, r in layers],
}
found = [measure.exact_moments(W, 1)[0] for W in drawn]
text = "||Wx||^2 of one drawn matrix averaged exactly over all directions x"
check.exact("F1.any-matrix", text, found, [F2(e)[0] for e in linear], wrong=wrong)

# %% [markdown]
# Inner products at four angles, for matrices of both shapes. Five pairs of inputs are averaged for each matrix.

# %%
angles = torch.tensor([0.0, 60.0, 90.0, 120.0]).deg2rad()
cases = list(itertools.product(laws[:2], ((12, 20), (20, 12))))
W = [srlib.sample(s, 6, law=f, batch=matrices, generator=generator(1)) for f, s in cases]
m, n = torch.tensor([shape for _, shape in cases]).T.unsqueeze(-1)
found = torch.stack([measure.inner_products(V, angles) for V in W], 1)
predicted, scale = 6 / n * angles.cos(), 6 / 20
wrong = {
    "fan-out in place of fan-in": 6 / m * angles.cos(),
    "rank in place of stable rank": 12 / n * angles.cos(),
    "obtuse angles cut off": predicted.clamp(min=0),
}
text = "<Wx, Wy> for unit inputs at 0, 60, 90 and 120 degrees"
check.sampled(
    "F1.inner-products", text, found, predicted, wrong=wrong, scale=scale, seed=seed
)

# %% [markdown]
# The direction $u=Wx/\|Wx\|$: the share of its first half of coordinates, the square of that share, and $\sum u_i^4$.
# Then the correlation of these with the length. Both fail if the left factor $U$ of the matrix is left out.

# %%
images = torch.stack([V[..., 0] for V in W[::2]], 1)  # W e_1 for the two laws, 12 x 20
Q = haar.orthogonal(20, batch=matrices, generator=generator(2))
unrotated = torch.stack([law((12, 20), 6) * Q[:, 0, :12] for law in laws[:2]], 1)
(shares, length), (bare, bare_length) = map(measure.direction, (images, unrotated))
text = "second and fourth moments of the direction of Wx, in units of their values on the sphere"
gaussian = torch.tensor([1, 12 / 14, 14 / 12]).expand(2, 3)
check.sampled(
    "F1.direction",
    text,
    shares,
    torch.ones(2, 3),
    wrong={"independent Gaussian coordinates": gaussian},
    wrong_samples={"left factor left out": bare},
    seed=seed,
)

# %%
check.sampled(
    "F1.independence",
    "covariance of the squared length of Wx with moments of its direction is 0",
    (shares - 1) * (length / (6 / 20) - 1),
    torch.zeros(2, 3),
    wrong_samples={"left factor left out": (bare - 1) * (bare_length / (6 / 20) - 1)},
    scale=1.0,
    seed=seed,
)

# %% [markdown]
# ## The two factors of a layer, without sampling (F2, F3)
#
# $\mathbb E\|Wx\|^2$ and $\mathbb E\|Wx\|^4$ by the cubature in $x$. For the gates, all $2^m$ sign patterns of every
# cubature point are enumerated: signs of a uniform direction are fair coins.

# %%
slopes, m = (0.0, 0.2, 1.0), 8
orthogonal = [Ensemble((m, m), m, negative_slope=a) for a in slopes]  # W keeps every norm
mean, second, a = each(F2, orthogonal), each(F3, orthogonal), torch.tensor(slopes)
eta, eta4 = (1 + a**2) / 2, (1 + a**4) / 2
gaussian = eta**2 * (1 - 1 / m) + 3 * eta4 / m
wrong = {
    "gates all open": torch.ones(3, 2),
    "no fluctuation": torch.cat([mean, mean**2], 1),
    "independent Gaussian coordinates": torch.stack([eta, gaussian], 1),
}
found = each(lambda a: measure.gate_moments(m, a), slopes)
predicted = torch.cat([mean, second], 1)
text = "mean and second moment of ||phi(u)||^2 over all 256 sign patterns and the sphere"
check.exact("F3.gates", text, found, predicted, wrong=wrong)

# %% [markdown]
# Networks of several layers, of unequal widths, stable ranks and spectral norms: the exact one-layer averages,
# multiplied, against `feature_norm` for every layer.

# %%
mixed = Ensemble((6, 10, 12, 8), (3.5, 4.3, 3.2), (1.3, 1.7, 2.0))
n, m = torch.tensor(mixed.widths[:-1]), torch.tensor(mixed.widths[1:])
r, k = torch.tensor(mixed.stable_ranks), torch.minimum(n, m)


def wrong_means(mean):
    """What F2 would say about these layers if one thing in it were wrong."""
    one = torch.ones_like(mean[..., :1])
    return {
        "one layer's factor dropped": torch.cat([one, mean[..., :-1]], -1),
        "rank in place of stable rank": mean * (k / r).cumprod(0),
        "fan-out in place of fan-in": mean * (n / m).cumprod(0),
    }


# %%
fixed = laws[:3]  # these draw nothing
variants = [replace(mixed, law=law, negative_slope=a) for law in fixed for a in slopes]
exact = each(lambda e: measure.exact_layers(e, generator(3)), variants)
means, seconds = each(F2, variants), each(F3, variants)
wrong = wrong_means(means) | {"gates all open": means[2].expand(9, 3)}
check.exact(
    "F2.cubature",
    "E ||h_l||^2 of every layer for three spectra and three activations, by exact averages",
    exact[:, 0] / means,
    torch.ones_like(means),
    wrong={name: w / means for name, w in wrong.items()},
)

# %%
linear = [replace(e, negative_slope=1.0) for e in variants]
q = each(lambda e: e.quartic_traces().value, linear)
wrong = measure.wrong_seconds(variants) | {
    "gates all open": measure.second_moments(linear, q),
    "square of the mean": means**2,
}
check.exact(
    "F3.cubature-depth",
    "E ||h_l||^4 of every layer for three spectra and three activations, by exact averages",
    exact[:, 1] / seconds,
    torch.ones_like(seconds),
    wrong={name: w / seconds for name, w in wrong.items()},
)

# %% [markdown]
# ## Dense networks (F2, F3)
#
# Now nothing is assumed about independence: dense networks are drawn and run. A network is run on a whole orthonormal
# basis and its mirror image, $\pm e_1, \dots, \pm e_{n_0}$. The mean over these inputs is one replicate: it has the
# same expectation as a single input, by rotation invariance, and less noise. Widths 6, 10, 12, 8 with stable ranks
# 3.5, 4.3, 3.2; three laws (one of them random), three activations, all layers.

# %%
tried = [replace(mixed, law=law) for law in (two_level, projector, uniform_sphere)]
first, second = dense(tried, networks, 4, slopes)
variants = [[replace(e, negative_slope=a) for e in tried] for a in slopes]
means, seconds = (torch.stack([each(F, row) for row in variants]) for F in (F2, F3))
names = {"relu": "ReLU", "leaky": "leaky ReLU of slope 0.2", "linear": "linear"}

# %%
for i, (name, activation) in enumerate(names.items()):
    wrong = wrong_means(means[i]) | {"another activation": means[i - 1]}
    text = f"E ||h_l||^2, {activation}, three laws, layers 1 to 3"
    found = first[:, :, i]
    display(check.sampled(f"F2.{name}", text, found, means[i], wrong=wrong, seed=seed))

# %%
for i, (name, activation) in enumerate(names.items()):
    wrong = measure.wrong_seconds(variants[i]) | {"square of the mean": means[i] ** 2}
    wrong["another activation"] = seconds[i - 1]
    text = f"E ||h_l||^4, {activation}, three laws, layers 1 to 3"
    found = second[:, :, i]
    display(check.sampled(f"F3.{name}", text, found, seconds[i], wrong=wrong, seed=seed))

# %% [markdown]
# ## Linear in a stable rank, exponential in depth (F2)
#
# First the stable rank of one layer is varied, then the depth.

# %%
line = torch.tensor([3.0, 7.0, 11.0, 15.0])
along = [Ensemble((16,) * 3, (12, r), math.sqrt(2)) for r in line.tolist()]
moved = [measure.replicates(e, networks_rank, generator(10))[0, :, 0, -1] for e in along]
moved = torch.stack(moved, 1)
slope = 12 / 16 / 16  # E X_2 per unit of the second layer's stable rank
text = "E ||h_2||^2 on a straight line through 0 as the second layer's stable rank goes from 3 to 15"
wrong = {
    "square root of the stable rank": slope * 16 * (line / 16).sqrt(),
    "square of the stable rank": slope * 16 * (line / 16) ** 2,
    "rank in place of stable rank": torch.full((4,), slope * 16),
}
predicted = each(F2, along)[:, -1]
check.sampled("F2.linear-in-rank", text, moved, predicted, wrong=wrong, seed=seed)

# %%
l = torch.arange(1, 7)
deep = Ensemble((24,) * 7, 12, 1.5, negative_slope=0.5)
rate = 0.625 * 1.5**2 * 12 / 24  # eta s^2 r / n
wrong = {
    "one layer's factor dropped": rate ** (l - 1),
    "linear in depth": 1 + l * (rate - 1),
    "worst case, s^2 a layer": 1.5 ** (2 * l),
}
grown = dense([deep], networks_depth, 11, slopes=(0.5,))[0, :, 0, 0]
text = "E ||h_l||^2 for depths 1 to 6 is the l-th power of eta s^2 r / n"
check.sampled("F2.exponential-in-depth", text, grown, F2(deep), wrong=wrong, seed=seed)

# %% [markdown]
# The picture of the message: ReLU networks of width 32 at the same spectral norm, and a second layer of every stable
# rank.

# %%
clouds, theory = {}, {}
for ratio in (1.0, 0.8, 0.6, 0.4, 0.2):
    e = Ensemble((32,) * 17, 32 * ratio, math.sqrt(2))
    X = measure.replicates(e, networks_figure, generator(12), chunk=150)[0, :, 0]
    clouds[ratio], theory[ratio] = X, feature_norm(e).mean
    print(
        f"r/n = {ratio:.1f}: mean squared feature norm at depth 16, theory {theory[ratio][-1]:.3g},",
        f"simulation {X[:, -1].mean():.2g}",
    )
glue("networks", networks)

# %% mystnb={"figure": {"caption": "Stable rank enters as a linear factor in each layer, and its effect accumulates exponentially with depth. Left: mean squared feature norm of ReLU networks of width 32, all of spectral norm $\\sqrt2$, against depth; every line is the exact prediction of F2 with slope log(r/n), points are means over dense networks with 95 % intervals, thin lines are single networks. Right: the same mean against the stable rank of the second layer alone is a straight line through zero.", "name": "fig-depth"}, "image": {"alt": "Left panel: straight lines on a logarithmic scale fan out downwards with depth, the lower the ratio of stable rank to width the steeper, with simulated points on every line. Right panel: a straight line through the origin with four simulated points on it."}} tags=["hide-input"]
fig = figures.depth(clouds, theory, line, moved, slope)

# %% [markdown]
# ## Gaussian layers as a special case (F3)
#
# Independent Gaussian weights have random stable ranks and spectral norms. With variance $2/n_l$, which keeps the mean
# squared norm (He's initialization if all widths are equal), the second moment is $\prod_l(1+5/n_l)$, exactly.

# %%
sizes = (16, 24, 32, 24)
fan_in, width = torch.tensor(sizes[:-1]), torch.tensor(sizes[1:])
found = measure.gaussian_squares(sizes, networks_gaussian, generator(13))
predicted = (1 + 5 / width).cumprod(0)
wrong = {
    "orthogonal layers, 3 / n_l": (1 + 3 / width).cumprod(0),
    "fan-in in place of fan-out": (1 + 5 / fan_in).cumprod(0),
    "gates all open": (1 + 2 / width).cumprod(0),
}
text = (
    "E ||h_l||^4 of Gaussian ReLU layers that keep the mean is the product of 1 + 5 / n_l"
)
check.sampled("F3.gaussian", text, found, predicted, wrong=wrong, seed=seed)

# %% [markdown]
# ## The fluctuation exponent (F3)
#
# $\epsilon$ bounds the exact $\log\bigl(\mathbb EX_L^2/(\mathbb EX_L)^2\bigr)$ from above at every width, and from
# below up to a relative error of at most $\frac2{N+2}+\frac12\max_l$ of its terms, $N$ the smallest width.

# %%
parts, depths = (0.0, 0.1, 0.5, 0.9), (1, 4, 20)
grid = itertools.product((3, 5, 16, 64), depths, parts, fixed, (0.0, 0.2, 0.7))
ensembles = [
    Ensemble((n,) * (L + 1), 1 + t * (n - 1), law=f, negative_slope=a)
    for n, L, t, f, a in grid
]
ensembles += [replace(mixed, law=f, negative_slope=a) for f in fixed for a in slopes]


# %%
epsilon = each(fluctuation_exponent, ensembles)
ratio = each(lambda e: feature_norm(e).log_ratio[-1], ensembles)
margin = each(lambda e: 2 / (min(e.widths) + 2) + measure.terms(e).max() / 2, ensembles)
linear = [replace(e, negative_slope=1) for e in ensembles]
flat = [measure.flattened(e) for e in ensembles]
wrong = {
    "gates left out": each(fluctuation_exponent, linear),
    "every layer as if orthogonal": each(fluctuation_exponent, flat) + 1e-9,
}
text = "log of the exact moment ratio is at most the fluctuation exponent"
text = f"{text}, for {len(ensembles)} networks"
display(check.bound("F3.exponent-above", text, ratio, epsilon, wrong=wrong))
sharp = margin < 1
low, high = (epsilon * (1 - margin))[sharp], ratio[sharp]
lower = each(lambda e: feature_norm(e).log_ratio[-1], flat)[sharp] + 1e-9
wrong = {"every layer as if orthogonal": lower}
text = "the exponent less its error bound is at most the log of the exact moment ratio"
text = f"{text}, for {sharp.sum()} networks"
display(check.bound("F3.exponent-below", text, low, high, wrong=wrong))

# %% [markdown]
# Closed forms for square ReLU layers, and the bracket that S1 puts around every law at the same stable rank.

# %%
n, L = 16, 5
whole = torch.arange(1.0, n + 1, 3)


def exponents(law):
    return each(lambda r: fluctuation_exponent(Ensemble((n,) * (L + 1), r, law=law)), whole)


lowest, highest, *inside = map(exponents, laws)
gates = torch.full((len(whole),), 3 * L / n)  # orthogonal layers
predicted = [
    gates + 2 * L * (n - whole) ** 2 / (n * (n - 1) * whole**2),
    (1 + 2 * n / whole) * L / n,
]
found, predicted = torch.stack([lowest, highest]), torch.stack(predicted)
wrong = {"orthogonal, 3 L / n": gates, "Gaussian, 5 L / n": gates * 5 / 3}
text = "fluctuation exponent of two-level and projector spectra from rank one to orthogonal layers"
check.exact("F3.closed-forms", text, found, predicted, wrong=wrong)

# %%
inside = torch.stack(inside)
text = "exponents of power-law and uniform spectra are at most the projector's of the same stable rank"
wrong = {"two-level spectrum": lowest, "orthogonal layers": gates}
display(check.bound("F3.bracket-above", text, inside, highest, wrong=wrong))
text = "exponents of power-law and uniform spectra are at least the two-level spectrum's of the same stable rank"
wrong = {"orthogonal layers": gates, "half of the exponents": inside / 2}
display(check.bound("F3.bracket-below", text, lowest, inside, wrong=wrong))

# %% [markdown]
# ## Participation rank orders the spread, stable rank does not (F3)
#
# A projector of stable rank 12 against a two-level spectrum of stable rank 6, both of width 24 and rescaled to keep
# the mean: the *larger* stable rank has the larger spread.

# %%
kinds = (12, projector), (6, two_level)
pair = [Ensemble((24,) * 3, r, law=f).preserving() for r, f in kinds]
first, second = dense(pair, networks_order, 14)[:, :, :, 0, -1]
for e in pair:
    print(
        f"stable rank {e.stable_ranks[0]:.0f}, participation rank {e.participation_ranks().value[0]:.1f}:",
        f"relative variance of the squared norm {feature_norm(e).relative_variance[-1]:.3f}",
    )

# %%
text = "E ||h_2||^2 = 1 at two stable ranks once the spectral norms are chosen by F2"
wrong = {"one spectral norm for both, 2": [1.0, 0.25]}
check.sampled("F2.preserving", text, first, torch.ones(2), wrong=wrong, seed=seed)

# %%
predicted = each(F3, pair)[:, -1]
wrong = {name: w[:, -1] for name, w in measure.wrong_seconds(pair).items()}
wrong = {"ordered by stable rank": predicted.flip(0)} | wrong
text = "E ||h_2||^4 at equal means: stable rank 12 (projector) spreads more than stable rank 6 (two-level)"
check.sampled("F3.order", text, second, predicted, wrong=wrong, seed=seed)

# %% [markdown]
# ## The order of spectra orders the whole law (S4)
#
# Typical growth is exact for every law. Of all spectra of a stable rank the two-level one's mean logarithm lies least
# below the logarithm of the mean, the projector's most.

# %%
shapes = (8, 8), (12, 20), (20, 12), (32, 32)
cases = [(m, n, 1 + t * (min(m, n) - 1)) for m, n in shapes for t in (0.05, 0.3, 0.55, 0.8)]
least, most, *inside = (measure.growth(law, cases) for law in laws)
inside = torch.stack(inside)
text = "loss of the mean log: power-law and uniform spectra between the two ends"
wrong = {"two-level": least}
display(
    check.bound("S4.growth-two-level", text, least, inside, wrong={"no loss": least / 1e3}),
    check.bound("S4.growth-projector", text, inside, most, wrong=wrong),
)

# %% [markdown]
# Two layers, without sampling: directions take all orders of the coordinates of one vector, which is exchangeable, and
# gates are the same for all laws. Means of $\max(X_2,x)$ must be ordered for every pair of stable ranks and every $x$.

# %%
ranks, levels = (1.2, 2.0, 2.7, 3.5), (0.5, 1.0, 1.5, 2.5)
least, most, inside = (measure.excess(f, ranks, levels, generator(50)) for f in fixed)
wrong = {"that of a fixed X_2": torch.tensor(levels).clamp(min=1).expand_as(inside)}
text = "E max(X_2, x) of two ReLU layers for 16 pairs of stable ranks and four x"
display(
    check.bound("S4.excess-two-level", text, least, inside, wrong=wrong),
    check.bound("S4.excess-projector", text, inside, most, wrong={"two-level": least}),
)

# %% [markdown]
# Dense networks: mean logarithm and cube of $\|h_2\|^2$ with leaky gates, whose networks never die.

# %%
ordered = [Ensemble((12, 16, 12), 5, 2, law=f, negative_slope=0.4) for f in fixed]
found = [measure.logs_and_cubes(e, networks_law, generator(51)) for e in ordered]
predicted = each(lambda e: [log_growth(e).mean.sum(), measure.cubes(e)[-1]], ordered)
wrong = {"two-level and projector exchanged": predicted[[1, 0, 2]]}
text = "E log ||h_2||^2 and E ||h_2||^6 of two-level, projector and power-law networks"
check.sampled("S4.networks", text, torch.stack(found, 1), predicted, wrong=wrong, seed=seed)

# %% [markdown]
# The chapter's example: ten ReLU layers of width 256 and stable rank 64 that keep the mean.

# %%
for name, law in (("two_level", two_level), ("projector", projector)):
    facts = measure.facts(Ensemble((256,) * 11, 64, law=law).preserving())
    for key, value in facts.items():
        glue(f"worked_{key}_{name}", value)
    print(name, ", ".join(f"{key} {value:.3f}" for key, value in facts.items()))

# %% [markdown]
# What the spread looks like: six ReLU layers of width 24 at the same stable rank, all with mean 1.

# %%
crowd = {
    "projector": (6, projector),
    "uniform": (6, uniform_sphere),
    "two-level": (6, two_level),
    "orthogonal": (24, two_level),
}
logs = {}
for i, (name, (r, law)) in enumerate(crowd.items()):
    e = Ensemble((24,) * 7, r, law=law).preserving()
    network = e.sample(networks_histogram, generator=generator(16 + i))
    X = measure.squared_norms(network, torch.eye(24)[:6])[..., -1]  # inputs are pooled
    X = X[X > 0].log()  # a network dies with probability below 1e-6
    p = f"{e.participation_ranks().value[0]:.1f}"
    logs[f"{name}, $r={r:g}$, $p={p}$"] = X
    print(
        f"{name}: participation rank {p}, exponent {fluctuation_exponent(e):.2f},",
        f"standard deviation of the log {X.std():.2f}",
    )

# %% mystnb={"figure": {"caption": "Same mean, different spread. Distribution of the log squared feature norm after six ReLU layers of width 24: three spectra of the same stable rank 6, and orthogonal layers for comparison, all rescaled so that the mean squared norm is exactly 1 (dashed). The lower the participation rank p, the wider the distribution, and the further its typical value lies below the mean.", "name": "fig-spread"}, "image": {"alt": "Four bell-shaped curves of log squared feature norm. The projector spectrum's is the widest and lies furthest to the left, the orthogonal one's the narrowest; a dashed vertical line marks the common mean."}} tags=["hide-input"]
fig = figures.spread(logs)

# %% [markdown]
# Collapse: depths 1 to 6, two widths, five spectra, three activations.

# %%
kinds = (4, projector), (2, uniform_sphere), (3, two_level), (4, power_law), (1, two_level)
table = []
for i, (n, (part, law)) in enumerate(itertools.product((16, 24), kinds)):
    e = Ensemble((n,) * 7, n / part, law=law).preserving()
    draws = measure.replicates(e, networks_collapse, generator(20 + i), slopes)
    value, error = measure.log_ratio(*draws)
    for (a, slope), L in itertools.product(enumerate(slopes), range(1, 7)):
        e = Ensemble((n,) * (L + 1), n / part, law=law, negative_slope=slope)
        epsilon, exact = fluctuation_exponent(e), feature_norm(e).log_ratio[-1]
        naive = epsilon + 2 * L * (part / n - 1 / e.participation_ranks().value[0])
        table.append([a, exact, epsilon, naive, value[a, L - 1], error[a, L - 1]])
kind, exact, epsilon, *_ = table = np.array(table).T
glue("collapse-points", len(kind))
wide = epsilon > 0.01  # linear orthogonal layers keep every norm: no spread to compare
least = (exact[wide] / epsilon[wide]).min()
print(f"{len(kind)} points; exact log ratio over exponent: {least:.2f} to 1")

# %% mystnb={"figure": {"caption": "Data collapse: simulated log of the moment ratio of the squared feature norm, for depths 1 to 6, widths 16 and 24, five spectra and three activations (95 % intervals). Left: against the exact F3. Middle: against the fluctuation exponent $\\epsilon$, its leading order in inverse width: one narrow band, below the diagonal and tangent to it at 0. Right: with the stable rank in place of the participation rank the same points scatter. Grey lines are equality.", "name": "fig-collapse"}, "image": {"alt": "Three panels with points of three colours. In the left one the points lie on the diagonal, in the middle one in a narrow band slightly below it, in the right one they are scattered over the whole wedge below it."}} tags=["hide-input"]
fig = figures.collapse(*table, names.values())

# %% [markdown]
# How much room the stable rank leaves to the participation rank: S1 bounds it on both sides.

# %%
n, axis, middle = 32, np.linspace(2, 32, 121), np.arange(5, 32, 8)
ends = [measure.scaled_exponents(law, n, axis) for law in fixed]
uniform = measure.scaled_exponents(uniform_sphere, n, middle)
gaussian = torch.randn(20, n, n, generator=generator(40))
gaussian_share = srlib.stable_rank(gaussian) / n
gaussian = n * (2 / srlib.participation_rank(gaussian) - 2 / n + 3 / n)
print(
    f"r/n = 0.5: exponent times n / L, two-level {ends[0][56]:.2f}, projector {ends[1][56]:.2f};",
    f"Gaussian matrices {gaussian.mean():.1f} at r/n = {gaussian_share.mean():.1f}",
)

# %% mystnb={"figure": {"caption": "Stable rank brackets the spread, the law of the spectrum decides within the bracket. Fluctuation exponent of a square ReLU layer of width 32, times the width: 3 is the gates' own share. Two-level spectra are lowest and projectors highest at every stable rank (S1); its scallops are the remainder when r is not whole. A Gaussian matrix has r/n near 1/4 and exponent near 5.", "name": "fig-bracket"}, "image": {"alt": "Shaded region between a lower curve that falls quickly to 3 and an upper curve that falls slowly from high values to 3 as the ratio of stable rank to width goes to 1; uniform and power-law spectra lie between, Gaussian matrices appear as a cluster near 0.3 and 5."}} tags=["hide-input"]
fig = figures.bracket(axis / n, ends, middle / n, uniform, (gaussian_share, gaussian))

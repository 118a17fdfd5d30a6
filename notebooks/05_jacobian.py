# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Signs, typical growth, angles and gradients
#
# The gates of a random network are fair coins (F4). So the log of the feature norm is a random walk in depth, whose
# drift lies below the log of the mean (F5); two inputs meet the arc-cosine kernel at every finite width, and only
# their angle fluctuates (F6); the gradients of typical networks are far below the Lipschitz bound when stable ranks are
# low (F7); and the inverse participation ranks of the layers add up to that of the Jacobian (F8). Each statement is
# checked at small width and against wrong alternatives.

# %%
import itertools
import math
from dataclasses import replace

import numpy as np
import torch
from IPython.display import display
from scipy.special import digamma

from figures import jacobian as figures
from measurements import jacobian as measure
from measurements.feedforward import basis, each, squared_norms
from srlib import Ensemble, arccos, check, feedforward
from srlib.check import glue
from srlib.moments import feature_norm, fluctuation_exponent, jacobian, log_growth
from srlib.spectra import power_law, projector, two_level, uniform_sphere

torch.set_default_dtype(torch.float64)  # everything that is compared is in double precision

# %% tags=["parameters"]
seed = 1  # of every draw; each section adds an offset of its own
networks_signs = 64_000  # networks for the products of signs
networks_norms = 44_000  # networks for signs against norms, and for independent coins
networks_wrong = 20_000  # networks of a wrong alternative
networks_growth = 27_000  # networks for each case of typical growth
networks_narrow = 340_000  # networks of the narrow case, of which many die
networks_deep = 24_000  # networks of the deep random walk
frames = 120_000  # pairs of vectors for each width of the arc-cosine kernel
matrices = 3_000  # matrices for each law of the overlaps
networks_gradient = 11_000  # networks for each case of the gradients
networks_depth = 200  # networks for each line of participation ranks over depth


# %%
def generator(offset):
    return torch.Generator().manual_seed(seed + 1_000 * offset)


def draw(e, count, offset):
    return e.sample(count, generator=generator(offset))


unit = {"scale": 1.0, "seed": seed}  # errors are relative to 1: some predictions are 0


# %% [markdown]
# ## Signs, by enumeration (F4)
#
# Flip the signs of rows of the weight matrices of *one* drawn leaky network, in all $2^{10}$ ways. If signs are fair
# coins for a reason of symmetry, every pattern of the ten gates must be met exactly once. A bias breaks the symmetry.

# %%
x, few = torch.eye(3)[:1], draw(Ensemble((3, 4, 3, 3), 2.5, law=power_law), 1, 0)
ways = [measure.flipped(replace(few, negative_slope=a)) for a in (0.2, -0.5)]
counts = each(lambda net: measure.patterns(net, x), ways)
tilted = each(lambda net: measure.patterns(measure.biased(net, 0.3), x), ways)
text = "how often each of 1,024 patterns of gates is met when rows are flipped in all ways"
wrong = {"with a bias": tilted}
check.exact("F4.enumeration", text, counts, torch.ones(2, 1024), wrong=wrong)

# %% [markdown]
# ## Signs of sampled networks (F4)
#
# Means of all 15 signs and of all 105 products of two of them; the mean over five orthonormal inputs is one replicate.
# The alternatives: factors from a QR factorization whose signs nobody fixed, the same neuron at two inputs, a positive
# bias.

# %%
e = Ensemble((5, 6, 5, 4), 2.5, negative_slope=0.2)
network, x = draw(e, networks_signs, 1), torch.eye(5)
few, y = network[:networks_wrong], 0.6 * x + 0.8 * x.roll(1, 0)
raw = [measure.unfixed(s, 2.5, len(few), generator(2)) for s in e.shapes]
nets = network, replace(few, weights=raw), measure.biased(few, 0.1)
found, raw, tilted = (measure.products(measure.signs(net, x)) for net in nets)
other = (measure.signs(few, x) * measure.signs(few, y)).mean(1)
other = torch.cat([other, found[: len(few), 15:]], -1)
wrong = {
    "signs of QR left as they fall": raw,
    "same neurons at another input": other,
    "with a bias": tilted,
}
text = "means of 15 signs of pre-activations and of their 105 products are 0"
check.sampled("F4.products", text, found, torch.zeros(120), wrong_samples=wrong, **unit)

# %% [markdown]
# Signs and gains: the number of open gates of layer $l$ against the gain $\|W_jh_{j-1}\|^2/\|h_{j-1}\|^2$ of every
# layer $j$. The alternative counts the gain of the layer *with* its gates.

# %%
excess, linear, gated = measure.gains(network, x)
mean, eta = 2.5 / torch.tensor(e.widths[:-1]), (1 + 0.2**2) / 2
found = excess.mT @ (linear / mean) / len(x)
gated = excess.mT @ (gated / (eta * mean)) / len(x)
wrong = {"gain with its gates": gated}
text = "covariance of open gates in layer l with the gain of the linear map in layer j is 0"
check.sampled("F4.gains", text, found, torch.zeros(3, 3), wrong_samples=wrong, **unit)

# %% [markdown]
# Signs and norms are *not* independent where the norm has seen the gates: with
# $\varepsilon_{l,i}=\pm1$ the signs of layer $l$,
# $\mathbb E\bigl[\sum_i\varepsilon_{l,i}\,\|h_j\|^2\bigr]=\frac{1-a^2}{1+a^2}\,\mathbb E\|h_j\|^2$ if $l\le j$, and 0
# if the layer comes later. The same holds for $\|J\|_F^2$.

# %%
mixed, inputs = Ensemble((6, 10, 8, 9), (5, 6, 7), (1.3, 1.7, 2.0)), basis(6)
net, sloped = draw(mixed, networks_norms, 3), replace(mixed, negative_slope=0.2)
tables = [measure.gate_covariances(e, net, inputs) for e in (mixed, sloped)]
found = torch.stack(tables, 1)
seen = torch.ones(3, 4).triu()  # layers by norms, then J
predicted = torch.stack([seen, (1 - 0.2**2) / (1 + 0.2**2) * seen])
wrong = {
    "signs independent of all norms": torch.zeros(2, 3, 4),
    "later gates matter too": predicted.amax(1, keepdim=True).expand(2, 3, 4),
    "ReLU's value for the leaky slope": seen.expand(2, 3, 4),
}
text = "covariance of the excess of open gates in layer l with ||h_1||^2, ||h_2||^2, ||h_3||^2, ||J||_F^2"
check.sampled("F4.norms", text, found, predicted, wrong=wrong, resolve=0.06, **unit)

# %% [markdown]
# Replacement: the same ReLU networks with their own gates against others with gates tossed independently of all weights.
# Five statistics of $\|h_3\|^2$ and the Jacobian at one input, each divided by its mean: their means must agree.

# %%
inputs = inputs[[0, 1, 6, 7]]
other = draw(mixed, networks_norms, 6).weights
own, g = measure.statistics(feedforward.jacobian(net, inputs), inputs), generator(7)
tosses = [torch.rand(networks_norms, 4, m, generator=g) for m in mixed.widths[1:]]


def less_own(gates, count=networks_wrong):
    W, D = [W[:count] for W in other], [gates(t[:count]).double() for t in tosses]
    J = measure.chain(W, D)
    return (own[:count] - measure.statistics(J, inputs)) / own.mean(0)


wrong = {
    "one coin a layer": less_own(lambda t: (t[..., :1] < 0.5).expand(t.shape)),
    "exactly half of the gates open": less_own(lambda t: t.argsort(-1) % 2),
    "gates all open": less_own(torch.ones_like),
}
found = less_own(lambda t: t < 0.5, networks_norms)
text = "moments of ||J||_F^2, ||Jx||^2 and of J^T J with the network's own gates less those with independent coins"
check.sampled("F4.replacement", text, found, torch.zeros(5), wrong_samples=wrong, **unit)

# %% [markdown]
# ## Typical growth: quadrature against closed forms (F5)
#
# For a projector of whole stable rank the gains are beta variables, and the mean log growth is a difference of
# digamma functions, averaged over the number of open gates.

# %%
shapes = [(1, 1), (5, 2), (12, 20), (20, 12), (16, 16), (300, 400)]  # fan-in, fan-out
cases = [(n, m, r) for n, m in shapes for r in sorted({1, (min(n, m) + 1) // 2, min(n, m)})]
layers = [Ensemble((n, m), r, 1.3, law=projector) for n, m, r in cases]
n, m, r = np.array(cases).T
gates = np.array([measure.open_gates(int(fan_out)) for fan_out in m])
beta = math.log(1.3**2) + digamma(r / 2) - digamma(n / 2) + gates - digamma(m / 2)
found = next(measure.growth(layers))[:, 0]
wrong = {
    "log of the mean factor": np.log(1.3**2 * r / n / 2),
    "psi(n/2) dropped": beta + digamma(n / 2),
    "half of the gates open": beta - gates + digamma(np.maximum(1, m // 2) / 2),
}
text = f"mean log growth of {len(cases)} projector layers by quadrature against digamma functions"
check.exact("F5.projectors", text, found, beta, wrong=wrong, tolerance=1e-11)

# %% [markdown]
# Typical networks grow less than the mean: never more than $\eta s^2r/n$ divided by the probability to survive a
# layer. That division is needed: a single ReLU neuron that is open has gain 1, and the mean is $\frac12$.

# %%
shapes, parts = ((1, 1), (2, 1), (4, 2), (12, 20), (64, 64)), (0.0, 0.3, 1.0)
grid = itertools.product(shapes, parts, (two_level, projector), (0.0, 0.2, 1.0))
single = [Ensemble(w, 1 + t * (min(w) - 1), law=f, negative_slope=a) for w, t, f, a in grid]
typical, _, survival = (v[:, 0].exp() for v in measure.growth(single))
factor = each(lambda e: feature_norm(e).log_mean[1].exp(), single)
bound = factor / survival
less_exponent = bound * each(lambda e: math.exp(-fluctuation_exponent(e)), single)
wrong = {"survival left out": factor, "mean less the whole exponent": less_exponent}
text = "typical growth factor is at most the mean factor over the survival probability, for {} layers"
check.bound("F5.jensen", text.format(len(single)), typical, bound, wrong=wrong)

# %% [markdown]
# In wide layers the gap between the two is half the fluctuation exponent of F3, and the variance of the log is the
# exponent itself.

# %%
grid = itertools.product((1000, 2000), (300, 900), (two_level, projector), (0.0, 0.2))
wide = [Ensemble((2000, n, 2000), r, law=f, negative_slope=a) for n, r, f, a in grid]
epsilon, (typical, variance, _) = each(fluctuation_exponent, wide), measure.growth(wide)
gap = each(lambda e: feature_norm(e).log_mean[-1], wide) - typical.sum(-1)
gap, variance = 2 * gap / epsilon, variance.sum(-1) / epsilon
ranks = each(lambda e: (e.participation_ranks().value, e.stable_ranks), wide)
by_rank = 1 + 2 * (1 / ranks).diff(dim=1).sum((1, 2)) / epsilon
print(f"twice the gap from {gap.min():.3f}, variance from {variance.min():.3f} of epsilon")
wrong = {
    "the gap is the exponent": [[2.0], [1.0]],
    "stable rank in place of participation rank": by_rank,
}
found = torch.stack([gap, variance])
text = "twice the gap between log mean and typical growth, and the variance of the log, over the exponent"
check.exact("F5.half-exponent", text, found, torch.ones(2, 16), wrong=wrong, tolerance=0.02)

# %% [markdown]
# ## Typical growth of sampled networks (F5)
#
# Three ensembles of unequal widths, one of them so narrow that many networks die: those that survive are compared.
# In the wide ones an orthonormal basis of inputs is averaged; there a ReLU network dies with probability below $10^{-4}$.

# %%
runs = {
    "two-level, ReLU, narrow": Ensemble((6, 3, 4), (2.5, 2), (1.3, 0.7)),
    "uniform, ReLU": Ensemble((12, 20, 16), (6, 7), law=uniform_sphere),
    "projector, leaky": Ensemble((12, 16, 14), (8.5, 9), law=projector, negative_slope=0.3),
    "two-level, linear": Ensemble((12, 16, 14), (4, 9), negative_slope=1),
}
(narrow, *others), logs = runs, {}
for i, (name, run) in enumerate(runs.items()):
    count, size = (networks_narrow, 1) if name == narrow else (networks_growth, 12)
    net, x = draw(run, count, 10 + i), torch.eye(run.widths[0])[:size]
    logs[name] = squared_norms(net, x).log()


# %%
means, variances = [], []
for suffix, names in (("", others), ("-narrow", [narrow])):
    tried = [runs[name] for name in names]
    typical, variance, survival = measure.growth(tried)
    wrong, wrong_squares = measure.wrong_growth(tried)
    if names == [narrow]:
        whole = typical + each(measure.gates_alone, tried) * survival.expm1()
        wrong["not divided by the survival probability"] = whole
    found = measure.survivors([logs[name] for name in names])
    text = f"log growth of each layer of networks that survive: {'; '.join(names)}"
    id, mean = f"F5.mean{suffix}", found.mean(1)
    means.append(check.sampled(id, f"mean {text}", mean, typical, wrong=wrong, seed=seed))
    id, square = f"F5.variance{suffix}", (found - typical).square().mean(1)
    text = f"variance of the {text}"
    options = {"wrong": wrong_squares, "resolve": 0.06, "seed": seed}
    variances.append(check.sampled(id, text, square, variance, **options))
display(*means, *variances)

# %%
predicted = log_growth(runs[narrow]).log_survival.cumsum(0).exp()
alive = torch.isfinite(logs[narrow][:, 0, 1:]).double()
wrong = {
    "last width only": [predicted[0], 1 - 2.0**-4],
    "fan-in in place of fan-out": [1 - 2.0**-6, (1 - 2.0**-6) * (1 - 2.0**-3)],
    "every network survives": [1.0, 1.0],
}
text = "probability that a ReLU network of widths 3 and 4 is alive after each layer"
check.sampled("F5.survival", text, alive, predicted, wrong=wrong, seed=seed)

# %% [markdown]
# Depth: a random walk with independent steps. At depth 24 the variance is the sum of the layers' variances, and the
# skewness of the log is small; one layer's is not.

# %%
deep = Ensemble((8,) * 25, 3, law=projector, negative_slope=0.2).preserving()
parts = [draw(deep, networks_deep // 8, 20 + i) for i in range(8)]
walks = torch.cat([squared_norms(net, basis(8)) for net in parts]).log()
drift, step, _ = (v[0].cumsum(0) for v in measure.growth([deep]))
depths = torch.tensor([1, 2, 4, 8, 16, 24])
found = (walks[..., depths] - drift[depths - 1]).square().mean(1)
wrong = {
    "one layer for all depths": step[0].expand(6),
    "the same layer repeated": step[0] * depths**2,
    "fluctuation exponent (F3)": fluctuation_exponent(deep) / 24 * depths,
}
text = "variance of log ||h_l||^2 at depths 1 to 24 is the sum over the layers"
check.sampled("F5.additive", text, found, step[depths - 1], wrong=wrong, seed=seed)

# %%
groups = walks[: networks_deep // 32 * 32].reshape(32, -1, 25)
one, last = measure.skewness(groups.transpose(1, 2)[:, [1, 24]]).T
print(f"skewness at depths 1 and 24: {one.mean():.1f} and {last.mean():.1f}")
glue("skewness-one", one.mean().item())
glue("skewness-deep", last.mean().item())
text = "skewness of log ||h_24||^2 over groups of networks is between -0.5 and 0.5"
wrong = {"one layer": one}
check.empirical(
    "F5.normal", text, last, above=-0.5, below=0.5, wrong_samples=wrong, seed=seed
)

# %%
kinds = {"two-level": two_level, "projector": projector}
paths, growth = measure.typical_paths(kinds, draw)
for label, path in paths.items():
    typical, below = (
        growth[label][0].sum() / math.log(10),
        (path[:, -1] < 0).double().mean(),
    )
    name = label.split(",")[0]
    print(f"{name}: typical log10 at the end {typical:.2f}, below the mean {below:.2f}")

# %% mystnb={"figure": {"caption": "The typical network is not the mean network. Squared feature norm of 40 ReLU networks of width 32 and stable rank 8 with depth, rescaled so that the mean is exactly 1 in every layer (dashed). The solid line is the typical growth of F5 with two standard deviations around it. The projector's participation rank is lower than the two-level spectrum's, and its networks fade faster.", "name": "fig-typical"}, "image": {"alt": "Two panels of forty jagged paths that drift downwards around a straight line while a dashed line stays at zero; the projector's paths drift about twice as far and spread wider."}} tags=["hide-input"]
fig = figures.typical(paths, growth)

# %% [markdown]
# ## Two inputs: the arc-cosine kernel at small width (F6)
#
# Pairs of vectors of lengths 2 and 3 at seven angles, turned together by a Haar matrix of size 2, 3 and 6.

# %%
theta, slopes = torch.arange(0, 181, 30).deg2rad(), torch.tensor([0.0, 0.2])
options = theta, slopes, frames
draws = [measure.kernel_samples(m, *options, generator(40 + m)) for m in (2, 3, 6)]
draws = torch.stack(draws, 2)  # (frames, slopes, widths, angles)


def lengths_times(kernel):
    return 6 * each(kernel, (0.0, 0.2)).unsqueeze(1).expand(2, 3, 7)


predicted = lengths_times(lambda a: arccos.kappa1(theta, a))
coins = lengths_times(lambda a: arccos.kappa0(theta, a) * theta.cos())
wrong = {
    "gates independent of the moduli": coins,
    "one coin for both inputs": lengths_times(lambda a: (1 + a**2) / 2 * theta.cos()),
    "ReLU's kernel for the leaky slope": predicted[:1].expand(2, 3, 7),
}
text = "E <phi(a), phi(b)> at seven angles and widths 2, 3 and 6, ReLU and leaky, is the arc-cosine kernel"
check.sampled("F6.kernel", text, draws, predicted, wrong=wrong, scale=3.0, seed=seed)

# %% [markdown]
# In a network the identity holds given what happened before the gates: the inner product of the features of two
# inputs in the third layer, less the kernel at the angle at which they *arrive*. The angle at which a wide network
# would have them arrive does not do.

# %%
thin = Ensemble((6, 6, 8, 6), 4, law=projector).preserving()
net = draw(thin, networks_norms, 50)
x, y = torch.eye(6), (torch.eye(6) + torch.eye(6).roll(1, 0)) / math.sqrt(2)
a, b = (measure.pre_activations(net, v)[2] for v in (x, y))
inner = (a.relu() * b.relu()).sum(-1)
found, quarter = arccos.angle(a, b), torch.tensor(math.pi / 4)
wide_angle = arccos.next_angle(arccos.next_angle(quarter))


def less(kernel):
    return (inner - a.norm(dim=-1) * b.norm(dim=-1) * kernel).mean(1)


wrong = {
    "angle of a wide network": less(arccos.kappa1(wide_angle)),
    "angle of the inputs": less(arccos.kappa1(quarter)),
    "gates independent of the moduli": less(arccos.kappa0(found) * found.cos()),
}
found = less(arccos.kappa1(found))
text = "inner product of two inputs' features in layer 3, less the kernel at the angle before the gates"
check.sampled("F6.network", text, found, 0.0, wrong_samples=wrong, scale=0.5, seed=seed)

# %% [markdown]
# The angle itself: the second moment of $\langle Wx,Wy\rangle$ at 0, 45 and 90 degrees, for three laws, in units of
# $(s^2r/n)^2$. Each matrix is averaged over all pairs of coordinate directions.

# %%
m, n, r = 14, 12, 5.0
cosine = torch.tensor([0.0, 45.0, 90.0]).deg2rad().cos()
layers = [Ensemble((n, m), r, law=law) for law in (two_level, projector, uniform_sphere)]
pairs = zip(layers, map(generator, (60, 61, 62)), strict=True)
draws = torch.stack([measure.overlaps(e, cosine, matrices, g) for e, g in pairs], 1)


def overlap(p):
    """F6: second moment of n <Wx, Wy> / r."""
    beta = n * (n / p - 1) / ((n - 1) * (n + 2))
    return cosine**2 + beta * (1 + (1 - 2 / n) * cosine**2)


p = each(lambda e: e.participation_ranks().value, layers)
wrong = {
    "stable rank in place of participation rank": overlap(r).expand(3, 3),
    "no fluctuation": (cosine**2).expand(3, 3) + 1e-12,
    "independent Gaussian rows, 1 / p": cosine**2 + (1 + cosine**2) / p,
}
text = "second moment of <Wx, Wy> at 0, 45 and 90 degrees for three laws"
check.sampled("F6.overlap", text, draws, overlap(p), wrong=wrong, seed=seed)

# %% [markdown]
# The standard deviation of $\cos\theta'$ after the linear map, over $\sin^2\theta\sqrt{1/p-1/n}$: close to 1 in wide
# layers, for all spectra.

# %%
n, at = 128, torch.tensor([30.0, 60.0, 90.0]).deg2rad()
laws = kinds | {"power law": power_law}
layers = [Ensemble((n, n), r, law=law) for law in laws.values() for r in (16, 32, 64, 96)]
found = [measure.cosine_errors(e, at, 24, generator(i)) for i, e in enumerate(layers, 70)]
squares = torch.stack(found) / at.sin()[:, None] ** 4  # (layers, angles, matrices)
p, r = each(lambda e: (e.participation_ranks().value, e.stable_ranks), layers).unbind(1)
found, naive = (squares / (1 / q - 1 / n)[:, :, None] for q in (p, r))
ratio = found.mean(-1).sqrt()
print(f"standard deviation over its leading order: {ratio.min():.2f} to {ratio.max():.2f}")
found, naive = found.mean((0, 1)).sqrt(), naive.mean((0, 1)).sqrt()
wrong = {"stable rank in place of participation rank": naive}
text = "standard deviation of cos theta' over sin^2 theta (1/p - 1/n)^(1/2), width 128, is within 15 % of 1"
check.empirical(
    "F6.angle-spread", text, found, above=0.85, below=1.15, wrong_samples=wrong, seed=seed
)

# %%
at = torch.tensor([10.0, 35, 60, 85, 110, 135, 160, 175]).deg2rad()
maps = {"two-level, $r=32$": (32.0, two_level), "projector, $r=8$": (8.0, projector)}
after = measure.angles_after(64, at, maps, [generator(90), generator(91)])
for name, found in after.items():
    mean, deviation = found.mean(0).numpy(), found.std(0).numpy()
    print(name, "mean angle:", mean.round(1), "deviation:", deviation.round(1))

# %% mystnb={"figure": {"caption": "What a layer does to an angle. Left: angle between two inputs after one ReLU layer of width 64 against the angle before; bars hold one standard deviation of single pairs, the line is the map of an infinitely wide layer, and it does not know the stable rank. Right: standard deviation of the cosine after linear maps of width 128, over the squared sine of the angle, for three laws, four stable ranks and three angles, against the participation rank: one line, the leading order of F6.", "name": "fig-angles"}, "image": {"alt": "Left panel: points with bars along a concave curve below the diagonal, bars of the projector several times longer than those of the two-level spectrum. Right panel: points of three colours along one falling curve in the participation rank."}} tags=["hide-input"]
fig = figures.angles(at, after, laws, p, squares.mean(-1).sqrt())

# %% [markdown]
# ## Jacobian and gradients, by enumeration (F7)
#
# One drawn network of three layers. If the rows of one layer are flipped in all $2^{8}$ ways, the mean of
# $\|D_lW_ly\|^2$ must be $\eta\|W_ly\|^2$ for *every* vector $y$, although the gates belong to another vector
# $h_{l-1}$.

# %%
net = draw(Ensemble((5, 8, 8, 8), 3.5, law=power_law), 1, 100)
y = [torch.randn(n, generator=generator(101)) for n in net.widths[:-1]]
nets = [replace(net, negative_slope=a) for a in (0.0, 0.2, -0.5)]
ratio = each(lambda net: measure.flipped_gains(net, torch.eye(5)[0], y), nets)
eta = each(lambda net: [(1 + net.negative_slope**2) / 2], nets).expand(3, 3)
wrong = {"gates all open": torch.ones(3, 3), "mean gate squared": eta - 0.25 * (1 - eta)}
text = "mean of ||D_l W_l y||^2 over all flips of rows, over ||W_l y||^2, three layers and slopes"
check.exact("F7.enumeration", text, ratio, eta, wrong=wrong)

# %% [markdown]
# Sampled networks: $\|Jy\|^2$ for a $y$ other than the input, $\|J\|_F^2$, and the gradient of the output, for three
# spectra and three slopes. Six inputs a network are averaged, and for the gradient all cyclic shifts of the readout, which
# have its law.

# %%
mixed = Ensemble((12, 20, 24, 16), (8, 12.3, 9), (1.3, 1.7, 2.0), readout_norm=1.5)
cases = (two_level, 0.0), (projector, 0.2), (uniform_sphere, 1.0)
trials = [replace(mixed, law=law, negative_slope=a) for law, a in cases]
inputs = basis(12)[[0, 1, 2, 12, 13, 14]]

predicted, wrong = measure.gradient_predictions(trials)
options = networks_gradient, inputs
draws = [measure.gradients(e, generator(110 + i), *options) for i, e in enumerate(trials)]
found, fourth = torch.stack(draws, 1).split((3, 2), -1)
text = "E ||Jy||^2, E ||J||_F^2 and E ||grad f||^2 for three spectra and three slopes"
check.sampled("F7.moments", text, found, predicted, wrong=wrong, seed=seed)

# %% [markdown]
# The worst case: $\|J\|_2\le\prod_ls_l\max(1,|a|)$.

# %%
grid = itertools.product((1, 3, 8), (1, 3, 12), kinds.values(), (0, 1, 1.5))
hard = [Ensemble((12,) * (L + 1), r, 1.4, law=f, negative_slope=a) for L, r, f, a in grid]
found = each(lambda e: measure.largest(draw(e, 50, 145), torch.eye(12)[:1]), hard)
depth, slope = each(lambda e: (e.depth, max(1, e.negative_slope)), hard).T
gain = each(lambda e: feature_norm(e).log_mean[-1].div(2).exp(), hard)
wrong = {"root mean square gain": gain, "slope above 1 left out": 1.4**depth}
worst = (1.4 * slope) ** depth
text = "largest singular value of the Jacobian at 50 networks each of {} ensembles"
check.bound("F7.lipschitz", text.format(len(hard)), found, worst, wrong=wrong)

# %% [markdown]
# ## What stable rank does to gradients
#
# Growth per layer at spectral norm 1: the bound, the norm of the Jacobian, the root mean square gain, the typical gain.

# %%
n, ranks, whole = 64, np.arange(1, 65), [2, 4, 8, 16, 32, 48, 64]
lines, measured = measure.gains_per_layer(n, ranks.tolist(), whole, kinds, draw)
for name in kinds:
    top, own = measured[name][2]
    print(f"{name}: ||J||_2^(1/L) at r/n = 1/8: {top:.2f}, typical gain {own:.2f}")

# %% mystnb={"figure": {"caption": "Low stable rank separates the Lipschitz bound from reality. Growth per layer of ReLU networks of width 64 and depth 10 at spectral norm 1: the bound (1, dashed), the largest singular value of the Jacobian, and the gain of one input, which follows the typical growth of F5 (lines) below the root mean square gain (grey).", "name": "fig-lipschitz"}, "image": {"alt": "Two panels against r over n. A dashed line at 1 on top, below it diamonds for the norm of the Jacobian, and at the bottom points on a rising curve for the gain of one input, just below a grey line."}} tags=["hide-input"]
fig = figures.lipschitz(ranks / n, lines, np.array(whole) / n, measured)

# %% [markdown]
# Singular values of the Jacobian at matched mean gain, with depth.

# %%
depths, count = (1, 4, 16), 24
scaled = {"two-level, $r=16$": (16, two_level), "projector, $r=16$": (16, projector)}
scaled["orthogonal"] = 64, two_level
towers = {k: Ensemble((n,) * 17, r, law=f).preserving() for k, (r, f) in scaled.items()}
nets = {name: draw(e, count, 240 + i) for i, (name, e) in enumerate(towers.items())}
nets["Gaussian (He)"] = measure.gaussian(n, count, [generator(250 + l) for l in range(16)])
quantiles = {}
for name, net in nets.items():
    quantiles[name], ranks = measure.singular_values(net, torch.eye(n)[0], depths)
    print(f"{name.replace('$', '')}: stable rank of J", [round(v, 1) for v in ranks])

# %% mystnb={"figure": {"caption": "Singular values of the Jacobian at one input, sorted, for ReLU networks of width 64 and depths 1, 4 and 16 (median over 24 networks). All four ensembles have the same expected squared Frobenius norm, 64 at every depth (dashed: all singular values 1). A projector passes at most 16 directions; with depth all four concentrate the gain on a few directions. The stable rank of J at depth 16 is largest for orthogonal layers and smallest for projectors.", "name": "fig-singular"}, "image": {"alt": "Four panels of falling curves on a logarithmic axis, one curve for each depth. Deeper curves fall more steeply; the projector's curves end at index 16 or before and fall fastest."}} tags=["hide-input"]
fig = figures.singular(quantiles, depths)

# %% [markdown]
# ## Inverse participation ranks add up (F8)
#
# First the exact statement: the networks of F7 have second moments too, $\mathbb E\|J\|_F^4$ and
# $\mathbb E\|J^\top J\|_F^2$, here in units of $(\mathbb E\|J\|_F^2)^2$. The second is then $1/p_J$.

# %%
predicted, wrong = each(measure.ratios, trials), measure.wrong_ratios(trials)
found = fourth / each(lambda e: [jacobian(e).frobenius], trials) ** 2
text = "E ||J||_F^4 and E ||J^T J||_F^2 over (E ||J||_F^2)^2 for three spectra and three slopes"
check.sampled("F8.moments", text, found, predicted, wrong=wrong, seed=seed)

# %% [markdown]
# Then the bracket of $1/p_J$. Its lower end is the sum of inverse participation ranks; its upper end exceeds $1/p_J$ by
# a factor $\frac32$ at most, at any depth. Last the distance from the sum, in units of $S^2$, where
# $S=\sum_l1/p_l\le1$.

# %%
some = measure.towers() + [
    replace(e, negative_slope=a) for e in (mixed, thin) for a in (0.0, 0.2)
]
found, wrong, excess = measure.brackets(some)
text = f"1 / p_J between the ends of its bracket, the upper end at most 3/2 of it, for {len(some)} networks"
display(check.bound("F8.bracket", text, found, 1.0, wrong=wrong))
small = [e for e in some if measure.budget(e) <= 1]
within = excess[each(measure.budget, some) <= 1]
distance = measure.distance(small)
others = {
    "gates left out": measure.distance(small, gates=0.0),
    "orthogonal layers cost too": measure.distance(small, before=0.0),
    "stable rank in place of participation rank": measure.distance(
        small, by="stable_ranks"
    ),
}
wrong = {name: distance / other for name, other in others.items()}
glue("jacobian-constant", distance.max().item())
glue("jacobian-upper", within.max().item())
glue("jacobian-networks", len(small))
text = f"1 / p_J exceeds the sum of inverse participation ranks by at most 4 S^2, S at most 1, for {len(small)} networks"
check.bound("F8.leading-order", text, distance / 4, 1.0, wrong=wrong)

# %%
depths = (1, 2, 4, 8, 16)
curves, points = measure.ranks_with_depth(towers, depths, networks_depth, draw)
for name, (exact, _) in curves.items():
    pairs = zip(depths, points[name][:, 0], strict=True)
    shown = [f"{exact[L - 1]:.1f} ({p:.1f})" for L, p in pairs]
    print(f"{name.replace('$', '')}: p_J exact (sampled)", *shown)

# %% mystnb={"figure": {"caption": "Inverse participation ranks add up. Left: participation rank of the Jacobian of ReLU networks of width 64 against depth, for three spectra: exact (F8, lines), sum of inverse participation ranks (dashed), sampled (points, 95 % intervals). Right: the inverse, on which layers add: straight lines as long as depth over participation rank is small.", "name": "fig-participation"}, "image": {"alt": "Left, three falling curves on logarithmic axes, orthogonal layers highest and projectors lowest, with points on them. Right, three rising curves that start as straight dashed lines; the projector's is steepest."}} tags=["hide-input"]
fig = figures.participation(curves, depths, points)

# %% [markdown]
# ## The worked network
#
# Width 256, ten ReLU layers of stable rank 64 that keep the mean squared norm.

# %%
facts = measure.worked(kinds)
for name, value in facts.items():
    glue(f"worked-{name}", value)
    print(f"{name} {value:.2f}")

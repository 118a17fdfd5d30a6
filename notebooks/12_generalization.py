# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Generalization bounds and compression: evidence
#
# Checks of G1 (what stable ranks do to the capacity in a norm-based generalization bound), and of G2 and G3 (what they
# say about the error of compressing a whole network). Then small networks are trained from initializations of different
# stable rank, on true and on random labels, and two published bounds are evaluated on them, term by term. Both are
# vacuous, that is, above 1; what can be asked is whether they order the networks as their generalization gaps do.

# %%
import math
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from IPython.display import display
from torch.nn.functional import avg_pool2d, normalize, pad

from figures import generalization as figures
from measurements import generalization as measured
from measurements.generalization import following, layers, lipschitz, network, outputs
from srlib import Network, check, rank, sample
from srlib.check import glue
from srlib.experiments import bounds, data
from srlib.experiments.training import adam, fit
from srlib.spectra import projector, two_level, uniform_sphere

torch.set_default_dtype(torch.float64)  # the last bits would decide what training makes

# %% tags=["parameters"]
seed = 1000  # of every draw; the pilot runs behind the ranges of the experiments used 0
draws = 60  # random networks in the checks of identities and inequalities
networks_mean = 30_000  # random networks behind each mean
projections = 20_000  # random projections of one matrix
runs = 5  # networks for each initialization and kind of labels
steps = 480  # updates of each network
rate = 2e-3  # of Adam
batch_size = 50  # digits an update
samples = 1000  # training digits; the other 4,000 are held out
probes = 200  # training digits over which the cushions are taken
quantile = 0.1  # the margin of a bound is this quantile of a network's training margins
resamples = 2000  # of the networks, for the intervals of rank correlations


# %%
def generator(offset):
    return torch.Generator().manual_seed(seed + 10_000 * offset)


sampled, empirical = (partial(kind, seed=seed) for kind in (check.sampled, check.empirical))

# %% [markdown]
# ## The capacity and its terms (G1)
#
# The terms that `norm_bound` returns, against the formula as it is published: a product of squared spectral norms
# times a sum of ratios of Frobenius to spectral norms.

# %%
widths, ranks, norms = (9, 30, 26, 5), (3.5, 6.2, 2.8), (1.3, 0.6, 2.4)
networks = layers(widths, ranks, norms, draws, generator(0))
x = torch.randn(40, 9, generator=generator(1))
labels = torch.randint(5, (40,), generator=generator(1))
F = measured.per_layer(torch.linalg.matrix_norm, networks)
s = measured.per_layer(measured.spectral_norm, networks)
p = measured.per_layer(rank.participation_rank, networks)
factor = 9 * 30 * math.log(90) * x.norm(dim=1).max() ** 2 / 0.5**2
published = factor * s.square().prod(1) * (F / s).square().sum(1)  # G1
found = bounds.norm_bound(networks, x, labels, margin=0.5).capacity
text = "capacity of networks of three layers against norms of their matrices"
square = s.square().prod(1)
wrong = {"rank in place of stable rank": factor * square * (9 + 26 + 5)}
wrong["participation rank in place of stable rank"] = factor * square * p.sum(1)
wrong["product of Frobenius norms"] = factor * F.square().prod(1)
check.exact("G1.capacity", text, found, published, wrong=wrong)


# %%
def both_bounds(networks, margin):
    makers = bounds.norm_bound, bounds.compression_bound
    return torch.stack([make(networks, x, labels, margin=margin).value for make in makers])


scaled = network(*(c * W for c, W in zip((0.1, 7.0, 3.0), networks.matrices, strict=True)))
found, same = both_bounds(scaled, 0.5 * 2.1), both_bounds(networks, 0.5)
text = "both bounds after multiplying the layers by 0.1, 7 and 3 and the margin by 2.1"
wrong = {"margin left as it was": both_bounds(scaled, 0.5)}
check.exact("G1.invariance", text, found, same, wrong=wrong)

# %% [markdown]
# Now one stable rank at a time is multiplied by 1.2. With spectral norms held fixed the capacity rises, with
# Frobenius norms held fixed – that is, at a given forward variance – it falls.


# %%
def log_capacity(ranks, norms):
    weights = layers(widths, ranks, norms, 1, generator(2), two_level)
    return bounds.norm_bound(weights, x, labels, margin=0.5).capacity.log().item()


r, base = np.array(ranks), log_capacity(ranks, norms)
up = 1 + 0.2 * np.eye(3)
spectral = [log_capacity(r * u, norms) - base for u in up]
frobenius = [log_capacity(r * u, norms / np.sqrt(u)) - base for u in up]
rise, alike = np.log1p(0.2 * r / r.sum()), np.log1p(0.2 / 3) * np.ones(3)
text = "change of the log capacity when one stable rank grows by a fifth, at fixed spectral or Frobenius norms"
wrong = {"the same in both cases": [rise, rise]}
wrong["all layers count alike"] = [alike, alike - np.log(1.2)]
predicted = [rise, rise - np.log(1.2)]  # G1
check.exact("G1.elasticity", text, [spectral, frobenius], predicted, wrong=wrong)

# %% [markdown]
# No margin, for whatever label, exceeds $\sqrt2$ times the output, so the normalized capacity $B^2\mathcal C/\gamma^2$ has a floor of half
# the sum of stable ranks. Random networks, and one of rank-one layers that attains it.


# %%
e1, zero = torch.eye(4)[:1], torch.zeros(1, dtype=torch.int64)
aligned = torch.diag(e1[0]).unsqueeze(0)
tight = network(2 * aligned, 3 * aligned, pad(torch.tensor([[[1.0], [-1.0]]]), (0, 3)))
cases = ((networks, x, labels), (tight, e1, zero))
found = [bounds.norm_bound(*case, margin=measured.largest_margin(*case)) for case in cases]
floors = torch.cat([b.stable_ranks.sum(1) / 2 for b in found])
reached = torch.cat([b.amplification * b.stable_ranks.sum(1) for b in found])
text = "half the sum of stable ranks against the normalized capacity at the largest margin of a network"
check.bound("G1.floor", text, floors, reached, wrong={"twice that floor": reached / 2})

# %% [markdown]
# ## Random networks (G1)
#
# The mean squared output over its worst case, and the squared layer cushion at one input: the first is a product of
# stable ranks, the second does not depend on them.

# %%
widths, ranks, norms = (12, 16, 10, 6), (3.0, 4.5, 2.5), (1.5, 0.8, 2.0)
inputs = torch.cat([torch.eye(12), -torch.eye(12)])
networks = layers(widths, ranks, norms, networks_mean, generator(3), two_level)
found = outputs(networks, inputs).square().sum(2).mean(1) / math.prod(norms) ** 2
typical = math.prod(r / n for r, n in zip(ranks, widths, strict=False)) / 4  # G1
text = "mean squared output over its largest possible value, two ReLU layers and a readout"
wrong = {"the Lipschitz bound": 1.0, "rank in place of stable rank": 10 * 6 / 16 / 10 / 4}
wrong["a gate after the readout"] = typical / 2
sampled("G1.typical", text, found, typical, wrong=wrong)

# %%
found, ranks = [], (2.5, 5.0, 9.5)
for i, r in enumerate(ranks):
    options = networks_mean, generator(4 + i), two_level
    pair = layers((12, 16, 10), (9.5, r), (1.0, 1.0), *options).matrices
    found.append(measured.squared_cushion(*pair, r, inputs))
text = "squared cushion of a second layer of 16 inputs, stable ranks 2.5, 5 and 9.5"
wrong = {"inverse stable rank": [1 / r for r in ranks], "outputs for inputs": [1 / 10] * 3}
sampled("G1.cushion", text, torch.stack(found, 1), [1 / 16] * 3, wrong=wrong)

# %% [markdown]
# ## Truncation and random projection (G2)
#
# Random networks whose layers are changed at random, and two cases in which the bounds are attained.

# %%
nets = layers((9, 14, 11, 5), (3.5, 6.2, 2.8), (1.3, 0.6, 2.4), draws, generator(8))
sphere = normalize(torch.randn(50, 9, generator=generator(9)))
moves = layers((9, 14, 11, 5), (4, 4, 4), (0.2, 0.1, 0.5), draws, generator(10)).matrices
others = network(*(W + U for W, U in zip(nets.matrices, moves, strict=True)))
chain, longer = network(*[aligned] * 64), network(*[(1 + 1 / 64) * aligned] * 64)
few = network(*[aligned] * 3), network(*[1.5 * aligned] * 3)
cases = [(nets, others, sphere), (chain, longer, e1), (*few, e1)]
found = [bounds.perturbation(a, b, radius=1.0) for a, b, _ in cases]
changes = torch.cat([measured.change(*case) for case in cases])
allowed = torch.cat([p.bound for p in found])
no_growth = torch.cat([p.scale * p.relative.sum(1) for p in found])
text = "change of the output under random changes of all layers, and in aligned networks"
wrong = {"growth of the layers left out": no_growth, "nine tenths of it": 0.9 * allowed}
check.bound("G2.perturbation", text, changes, allowed, wrong=wrong)

# %%
small = torch.cat([p.relative.sum(1) <= 1 for p in found])
changes, allowed = changes[small], (math.e - 1) * no_growth[small]
text = "the same against e - 1 times the sum of relative changes, where that is at most 1"
wrong = {"the constant 1.6": 1.6 * no_growth[small]}
check.bound("G2.constant", text, changes, allowed, wrong=wrong)

# %% [markdown]
# Truncation of every layer to the same rank: random networks, and one layer with the squares 1, 1, 1, 0.09 between
# two identities, at an input in the third direction.

# %%
flat, third = torch.eye(4).unsqueeze(0), torch.eye(4)[2:3]
stepped = torch.diag(torch.tensor([1, 1, 1, 0.3])).unsqueeze(0)
alone = network(flat, stepped, flat)
kept_two = network(flat, torch.diag(torch.tensor([1.0, 1, 0, 0])).unsqueeze(0), flat)
one, half = torch.ones(1), ((rank.stable_rank(stepped) / 2 - 1) / 2).sqrt()
rows = [(measured.change(alone, kept_two, third), one, 0.3 * one, one, half)]
sigma, ranks = measured.singular_values(nets), measured.per_layer(rank.stable_rank, nets)
for j in range(1, 8):
    error = measured.change(nets, bounds.truncate(nets, j), sphere)
    from_ranks = ((ranks - 1) / j).sqrt().clamp(max=1)  # G2
    half = (ranks / 2 / j).sqrt().clamp(max=1)
    shares = following(sigma, j), following(sigma, j + 1), from_ranks, half
    rows.append((error, *(lipschitz(sigma) * share.sum(1) for share in shares)))
error, allowed, beyond, from_ranks, half = map(torch.cat, zip(*rows, strict=True))
text = "error of truncating all layers against the first singular value each leaves out"
wrong = {"one singular value further on": beyond, "nine tenths of it": 0.9 * allowed}
check.bound("G2.truncation", text, error, allowed, wrong=wrong)

# %%
text = "the same against what the stable ranks of the layers allow"
check.bound("G2.stable-rank", text, error, from_ranks, wrong={"half the stable rank": half})

# %% [markdown]
# Margins: the change of any margin is at most $\sqrt2$ times that. The equality case is a layer that sends the lost
# direction to the difference of two classes.

# %%
classes = network(torch.tensor([[[2.0, 1.0], [2.0, -1.0]]]) / math.sqrt(2))
y = torch.randint(5, (50,), generator=generator(11))
cases = [
    (classes, torch.eye(2)[1:2], zero, 1),
    *((nets, sphere, y, j) for j in range(1, 8)),
]
moved, allowed = measured.margin_changes(cases)
text = "change of margins under truncation, against the square root of 2 times the bound on the output"
wrong = {"without the square root of 2": allowed / math.sqrt(2)}
check.bound("G2.margin", text, moved, allowed, wrong=wrong)

# %% [markdown]
# A matrix that is rebuilt from its inner products with $k$ random matrices: the mean squared error in its first
# singular direction, for three laws of singular values of the same stable rank.

# %%
k, r, s = 8, 1.6, 1.5
laws, options = (two_level, projector, uniform_sphere), {"spectral_norm": s}
W = [sample((6, 9), r, law=law, generator=generator(12), **options) for law in laws]
W, g = torch.stack(W), generator(13)
rebuilt = [bounds.random_projection(W, k, generator=g) for _ in range(projections)]
v = torch.linalg.svd(W)[2][:, 0]  # every matrix's own first direction
found = ((torch.stack(rebuilt) - W) @ v.unsqueeze(-1)).square().sum((-1, -2))
text = "mean squared error of a 6 × 9 matrix of stable rank 1.6 rebuilt from 8 random inner products"
wrong = {"rank in place of stable rank": 37, "without the number of outputs": r + 1}
wrong["without the signal's own share"] = 6 * r
wrong = {name: [value * s**2 / k] * 3 for name, value in wrong.items()}
sampled("G2.projection", text, found, [(6 * r + 1) * s**2 / k] * 3, wrong=wrong)

# %% [markdown]
# ## Truncation and depth (G3)
#
# The bound that does not grow with depth: for the random networks and the single layer above, and for linear networks
# in which gradient ascent looks for the largest error. Their layers have singular values 1, 1 and 0.6, and drop 0.6.
# In the last three networks, of 1, 2 and 7 layers, a singular value of 0.6 decides between two classes: an input whose
# class changes has a margin of at most $\sqrt2$ times the largest output times the largest singular value dropped.

# %%
adversaries = [measured.worst_truncation(count, 0.6, generator(15)) for count in (1, 2, 16)]
cases = [*((nets, j, sphere) for j in range(1, 8)), (alone, 2, third)]
cases += [(net, 2, x) for net, x in adversaries]
cases += [(measured.deciding(count, 0.6), 1, torch.eye(2)[1:]) for count in (1, 2, 7)]
rows = measured.truncated(cases)
deep = [row[0].max().item() for row in rows[8:11]]
print("largest errors found at depths 1, 2 and 16:", [f"{v:.2f}" for v in deep])
error, allowed, largest, dropped, lost = map(torch.cat, zip(*rows, strict=True))
text = "error of truncating all layers, in random networks and in adversarial ones of up to 16 layers, against G3"
half = dropped / 2
wrong = {"no error from the layers below": largest * dropped}
wrong["singular values halved"] = largest * half / (1 - half.square()).sqrt()
check.bound("G3.error", text, error, allowed, wrong=wrong)

# %%
text = "largest margin of an input whose class a truncation changes, against the singular values dropped"
wrong = {"without the square root of 2": largest * dropped}
wrong["nine tenths of it"] = 0.9 * math.sqrt(2) * largest * dropped
check.bound("G3.tolerance", text, lost, math.sqrt(2) * largest * dropped, wrong=wrong)

# %%
sizes = []
for net in (nets, alone):
    unit = math.sqrt(2) * lipschitz(measured.singular_values(net))
    for t in (0.2, 0.5, 0.9):
        sizes.append(bounds.compressed_size(net, radius=1.0, margin=t * unit))
counted = torch.cat([s.ranks.flatten() for s in sizes])
promised = torch.cat([s.guarantee.flatten() for s in sizes])
text = "ranks that keep all predictions of a given margin, against stable rank over squared tolerance"
check.bound("G3.size", text, counted, promised, wrong={"half of it": promised / 2})

# %% [markdown]
# ## Trained networks
#
# Bias-free ReLU networks 196–128–128–128–10 on digits averaged over 2 × 2 pixels and scaled to one norm. Hidden
# layers start at a given stable rank (two-level law), all at the same forward variance, or with He's Gaussian
# weights; the readout has orthonormal rows. Half of the networks see random labels.

# %%
ratios, radius = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0), 14.0
names = [*(f"{ratio:g}" for ratio in ratios), "He"]
images, digits = data.mnist(5000)
images = radius * normalize(avg_pool2d(images.view(-1, 1, 28, 28), 2).flatten(1))
train, held_out = images[:samples], images[samples:]
grid = [(i, ratio, run) for i, ratio in enumerate((*ratios, None)) for run in range(runs)]
drawn = [measured.start(ratio, generator(100 + 100 * run + i)) for i, ratio, run in grid]
initial = Network.cat(drawn * 2)  # first all networks with true labels, then random ones
# Labels, too, are each network's own.
sources = [generator(5_000 + k) for k in range(len(grid))]
shuffled = [torch.randint(10, (samples,), generator=source) for source in sources]
targets = torch.cat([digits[:samples].expand(len(grid), -1), torch.stack(shuffled)])
options = {"rates": rate, "steps": steps, "optimizer": adam, "batch_size": batch_size}
options["seeds"] = [seed + k for k in range(len(grid))] * 2
trained = fit(initial, train, targets, **options).network

# %%
m = bounds.margins(trained, train, targets)
accuracy = (m > 0).double().mean(1)
gamma = m.quantile(quantile, dim=1)
found = torch.cat([outputs(trained[[b]], held_out) for b in range(len(trained))])
right = found.argmax(-1) == digits[samples:]
gap = (accuracy - right.double().mean(1)).round(decimals=9)  # so that equal gaps tie
norm = bounds.norm_bound(trained, train, targets, margin=gamma)
compression = bounds.compression_bound(trained, train, targets, margin=gamma, probes=probes)
options = {"noise": 0.1, "generator": generator(14)}
smoothness = bounds.interlayer_smoothness(trained, train[:probes], **options)


def split(values):
    """Shape (labels, initializations, runs, ...), true labels first."""
    return values.double().reshape(2, len(names), runs, *values.shape[1:]).numpy()


least, gaps = split(accuracy).min((1, 2)), split(gap).mean(2)
for kind, a, b in zip(("true", "random"), least, gaps.mean(1), strict=True):
    print(f"{kind} labels: training accuracy {a:.2f} or more, gap {b:.2f}")
print("smallest margin of a bound", f"{gamma.min():.1f}")

# %% [markdown]
# ### Which term moves
#
# The capacity of the norm-based bound is a product, so its logarithm is a sum of terms.

# %%
log_ranks = norm.stable_ranks.sum(1).log10()
terms = {
    r"$\log_{10}\prod_l\,\|W_l\|_2^2$": (norm.amplification * gamma**2 / radius**2).log10(),
    r"$\log_{10}\sum_l r_l$": log_ranks,
    r"$\log_{10}B^2/\gamma^2$": 2 * (radius / gamma).log10(),
}
normalized = terms["their sum"] = sum(terms.values())
at_start = measured.per_layer(rank.stable_rank, initial)
worst_at_start = measured.per_layer(measured.spectral_norm, initial).prod(1)
ideal = 2 * worst_at_start.log10() + at_start.sum(1).log10()
ends = [0, len(ratios) - 1]  # r/n = 0.02 and 1
for name, values in terms.items():
    true, random = ("{:.1f} to {:.1f}".format(*v) for v in split(values).mean(2)[:, ends])
    print(f"{name}: from r/n = 0.02 to 1, true labels {true}, random labels {random}")

# %% mystnb={"figure": {"caption": "Which term stable rank moves. Logarithms of the three factors of the normalized capacity of trained networks, and of their product, against the stable rank the hidden layers started with, at equal forward variance; squares at the right: He's Gaussian initialization. Means over networks, with their range. The line is the product of the first two terms before training, which G1 gives.", "name": "fig-bound-terms"}, "image": {"alt": "Two panels, true and random labels. The product of spectral norms falls steeply with the initial stable rank, the sum of stable ranks rises slowly, the margin term is nearly flat, and the total falls."}} tags=["hide-input"]
by_label = {name: split(values) for name, values in terms.items()}
fig = figures.bound_terms(ratios, by_label, split(ideal))

# %%
log_start = np.log10([max(1.0, ratio * 128) for ratio in ratios])
slope, slope_at_start, slope_of_ranks = (
    measured.slopes(log_start, split(values)[:, : len(ratios)])
    for values in (normalized, ideal, log_ranks)
)
text = "slope of the log normalized capacity of trained networks in the log stable rank they started with"
wrong = {"sum of stable ranks alone": slope_of_ranks}
display(empirical("G1.matched-scale", text, slope, below=-1.0, wrong_samples=wrong))
print(f"slope of the capacity {slope.mean():.1f},", end=" ")
print(f"before training {slope_at_start.mean():.1f}")

# %% [markdown]
# ### The bounds are vacuous
#
# One replicate is the mean over both kinds of labels, since the two networks of a pair have the same start.


# %%
def over_labels(values):
    return split(values).mean(0).ravel()


log_norm, log_compression = norm.value.log10(), compression.value.log10()
for name, bound in (("norm-based", norm), ("compression", compression)):
    v = bound.value
    print(
        f"{name} bound, constant 1: smallest {v.min():.2g}, largest {v.max():.2g};", end=" "
    )
    print(f"vacuous for {int(bound.vacuous.sum())} of {len(gamma)} networks")
text = "log10 of the norm-based bound with constant 1: vacuous, by orders of magnitude"
lowest = replace(norm, log_amplification=torch.full_like(gamma, 0.5).log())
wrong = {"the floor of G1 at the same stable ranks": over_labels(lowest.value.log10())}
found = over_labels(log_norm)
empirical("G1.vacuous-norm", text, found, above=2.0, wrong_samples=wrong)

# %%
text = "log10 of the compression bound with constant and logarithms 1: vacuous, by orders of magnitude"
whole = torch.ones_like(compression.layer_cushions)
lowest = replace(compression, layer_cushions=whole, interlayer_cushions=whole)
wrong = {"all cushions 1, their largest value": over_labels(lowest.value.log10())}
found = over_labels(log_compression)
empirical("G1.vacuous-compression", text, found, above=1.0, wrong_samples=wrong)

# %% [markdown]
# ### Do they order the networks?
#
# Pairs of networks that differ in their labels only, then rank correlations over networks.


# %%
def by_labels(values):
    """Random labels minus true ones, same initialization."""
    true, random = split(values)
    return (random - true).ravel()


pairs = {"norm-based bound": log_norm, "compression bound": log_compression}
wrong = {"the same for the sum of stable ranks": by_labels(log_ranks)}
for key, (name, values) in zip(("norm", "compression"), pairs.items(), strict=True):
    text = f"log10 of the {name} with random labels minus with true labels, same initialization"
    options = {"above": 0.3, "wrong_samples": wrong}
    display(empirical(f"G1.labels-{key}", text, by_labels(values), **options))

# %%
count, correlations = len(grid), {}
scopes = {
    "true labels": slice(count),
    "random labels": slice(count, None),
    "all": slice(None),
}
for name, values in {**pairs, "sum of stable ranks": norm.stable_ranks.sum(1)}.items():
    for scope, part in scopes.items():
        both = values[part].numpy(), gap[part].numpy()
        found = correlations[name, scope] = measured.correlation(*both, resamples, seed)
        print("{}, {}: {:+.1f} in [{:+.1f}, {:+.1f}]".format(name, scope, *found))

# %% mystnb={"figure": {"caption": "Bounds and measured gaps. The norm-based bound (top) and the compression bound (bottom), constants set to 1, against the gap between training and held-out accuracy, for true labels (left) and random ones (right; mind the other range of gaps). Each point is a network; dark to light: initial $r/n$ from 0.02 to 1; squares: He. All points lie far above 1, where a bound on a probability says nothing. Random labels raise both bounds. Among networks with the same kind of labels the bounds follow the initialization, the gaps hardly do.", "name": "fig-bound-gap"}, "image": {"alt": "Four scatter plots on logarithmic vertical axes. Within each panel points of one colour share a height, at all gaps; those for random labels lie about a factor of five higher. All are two to five decades above a line at 1."}} tags=["hide-input"]
kinds = ("true labels", "random labels")
by_name = {name: split(values) for name, values in pairs.items()}
fig = figures.bound_gap(by_name, 100 * split(gap), names)
for kind, v in zip(kinds, 100 * gaps, strict=True):
    by_start = ", ".join(f"{name}: {a:.0f}" for name, a in zip(names, v, strict=True))
    print(f"mean gap in %, {kind}, by initialization – {by_start}")

# %% mystnb={"figure": {"caption": "Margins. Distribution of training margins divided by the largest possible output $B\\prod_l\\|W_l\\|_2$, pooled over networks, for true labels (solid) and random ones (dashed). Lower stable ranks at the start leave the margins smaller in this unit by orders of magnitude; the labels matter less.", "name": "fig-margins"}, "image": {"alt": "Cumulative distributions of normalized margins on a logarithmic axis for four initializations. Curves of low stable rank lie decades to the left of those of high stable rank, and dashed curves to the left of solid ones."}} tags=["hide-input"]
chosen = {0: "$r/n=0.02$", 2: "$r/n=0.1$", 5: "$r/n=1$", 6: "He"}
largest_output = norm.amplification.sqrt() * gamma
shares = split(m / largest_output[:, None]).reshape(2, len(names), -1)
fig = figures.margins({name: shares[:, i] for i, name in chosen.items()})
for i in chosen:
    for kind, median in zip(kinds, np.median(shares[:, i], 1), strict=True):
        print(f"{names[i]}, {kind}: median {median:.0e}")

# %% mystnb={"figure": {"caption": "Stable ranks before and after training: mean over networks of each hidden layer, true labels (left) and random labels (right), against the stable rank at initialization. On the grey line training would change nothing. High stable ranks fall to those of a Gaussian start, low ones stay where they were put. Crosses: He's initialization.", "name": "fig-trained-ranks"}, "image": {"alt": "Two panels with trained against initial stable rank, both on logarithmic axes. Points follow the diagonal up to about 25 and level off at 25 to 50 above."}} tags=["hide-input"]
before, after = split(at_start).mean(2), split(norm.stable_ranks).mean(2)
fig = figures.trained_ranks(before, after)
for kind, found in zip(kinds, after, strict=True):
    print(f"{kind}, layers 1 to 3:", np.round(found).T.astype(int).tolist())

# %% [markdown]
# ## Compression of the trained networks (G2, G3)
#
# Every layer is truncated to the same rank. The error is the largest over the training digits.

# %%
ladder = (4, 8, 12, 16, 24, 32, 48, 64, 96)
found = measured.cut_to(ladder, trained, train, targets, radius)
errors, survived, proved, from_ranks, best = found
survived = survived / accuracy.unsqueeze(1)
sigma, ranks = measured.singular_values(trained), norm.stable_ranks
gains = (ranks / torch.tensor([196, 128, 128, 128])).prod(1, keepdim=True).sqrt()
text = "error of truncating all layers of trained networks to ranks from 4 to 96, over the training digits"
for id, allowed in (("G2.trained", proved), ("G3.trained", best)):
    wrong = {"mean gains in place of spectral norms": allowed * gains}
    display(check.bound(id, text, errors, allowed, wrong=wrong))

# %%
hidden, j = ranks[:, :3], torch.tensor(ladder)[:, None, None]
found = torch.stack([following(sigma[:3], j) for j in ladder])
text = "singular values of the trained layers against what their stable ranks allow"
wrong = {"half the stable rank": (hidden / 2 / j).sqrt()}
check.bound("G2.layers", text, found, ((hidden - 1) / j).sqrt(), wrong=wrong)

# %% mystnb={"figure": {"caption": "Truncating whole networks. Top: largest error over the training digits, relative to the largest output, when every layer keeps $j$ directions (points, medians over networks), the proved bound with the singular values left out (solid, G3), and with stable ranks only (dashed, G2). Bottom: training accuracy that survives. True labels survive truncation to a few directions, random labels do not; the bound sees the initialization instead.", "name": "fig-network-truncation"}, "image": {"alt": "Four panels. Above: measured relative errors between 0.1 and 1, with bound lines 10 to 1000 times higher. Below: accuracy rises to 0.9 by 12 directions for true labels, except for He's start, while random labels need about 100."}} tags=["hide-input"]
middle = [np.median(split(v), 2) for v in (errors, best, from_ranks, survived)]
curves = {name: [v[:, i] for v in middle] for i, name in chosen.items()}
fig = figures.network_truncation(ladder, curves)
for kind, rest in zip(kinds, middle[-1][..., [3, 7]].round(1), strict=True):
    for i in chosen:
        print(f"{names[i]}, {kind}: kept accuracy at j = 16 and 64", rest[i])

# %% [markdown]
# The rank at which 80 % of the training accuracy survives, for pairs of networks that differ in their labels.

# %%
enough = pad(survived.round(decimals=9) >= 0.8, (0, 1), value=True)  # also 80 % to rounding
needed = torch.tensor([*ladder, 128])[enough.double().argmax(1)]
true, random = split(needed)
print("directions needed, medians by initialization, true:", np.median(true, 1))
print("directions needed, medians by initialization, random:", np.median(random, 1))
text = "log2 of the rank that keeps 80 % of the accuracy, random labels minus true ones"
other_runs = np.log2(np.roll(true, 1, axis=1) / true).ravel()
wrong = {"true labels against other networks with true labels": other_runs}
found = by_labels(needed.double().log2())
empirical("G2.labels", text, found, above=1.0, wrong_samples=wrong)

# %%
provable = bounds.compressed_size(trained, radius=radius, margin=gamma).parameters
dense = sum(W[0].numel() for W in trained.matrices)
print(f"proved compression: {int(provable.min())} of {dense} numbers at best")

# %%
numbers = {"networks": len(gamma), "runs": runs, "samples": samples}
numbers |= {"accuracy-true": 100 * least[0], "accuracy-random": 100 * least[1]}
low, high = 100 * gaps[0, ends]
numbers |= {"gap-true": 100 * gaps[0].mean(), "gap-true-low": low, "gap-true-high": high}
for name, bound in (("norm", norm.value), ("compression", compression.value)):
    numbers |= {f"{name}-smallest": bound.min(), f"{name}-largest": bound.max()}
numbers |= {"floor": 4**3 / 2 * 128 * math.log(4 * 128), "slope-trained": slope.mean()}
numbers |= {"slope-start": slope_at_start.mean(), "smoothness": smoothness.max()}
low, high = 10 ** split((best / errors).log10())[0, ends, :, ladder.index(32)].mean(1)
numbers |= {"slack-low": low, "slack-high": high, "needed-true": np.median(true[:-1])}
numbers |= {"needed-he": np.median(true[-1]), "needed-random": np.median(random)}
for name, values in (("norm", log_norm), ("compression", log_compression)):
    numbers |= {f"ratio-{name}": 10 ** by_labels(values).mean()}
numbers |= {"provable": 100 * provable.double().mean() / dense, "adversary": deep[-1]}
for (name, scope), found in correlations.items():
    key = f"spearman-{name.split()[0]}-{scope.split()[0]}"
    numbers |= dict(zip((key, f"{key}-low", f"{key}-high"), found, strict=True))
for name, value in numbers.items():
    glue(name, value)

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
# Checks of G1 (what stable ranks do to the capacity in a norm-based generalization bound) and of G2 (what they say
# about the error of compressing a whole network). Then small networks are trained from initializations of different
# stable rank, on true and on random labels, and two published bounds are evaluated on them, term by term. Both are
# vacuous, that is, above 1; what can be asked is whether they order the networks as their generalization gaps do.

# %%
import math

import numpy as np
import torch
from IPython.display import display
from scipy.stats import rankdata
from torch.nn.functional import avg_pool2d, normalize

from srlib import Network, check, feedforward, haar, plotting, rank, sample, spectra
from srlib.check import glue
from srlib.experiments import bounds, data
from srlib.experiments.training import adam, fit
from srlib.init import stable_rank_

torch.set_default_dtype(
    torch.float64
)  # in float32 the last bits would decide what training makes

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


def network(*matrices):
    """Bias-free networks, the readout last."""
    return Network(matrices[:-1], matrices[-1])


def outputs(networks, x):
    return feedforward.forward(networks, x).output


def layers(widths, ranks, norms, count, offset, law=spectra.uniform_sphere):
    """Layers of the random model, the readout drawn as a layer too."""
    g, shapes = generator(offset), zip(widths[1:], widths[:-1], strict=True)
    options = {"law": law, "batch": count, "generator": g}
    drawn = zip(shapes, ranks, norms, strict=True)
    return network(*(sample(k, r, spectral_norm=s, **options) for k, r, s in drawn))


# %% [markdown]
# ## The capacity and its terms (G1)
#
# The terms that `norm_bound` returns, against the formula as it is published: a product of squared spectral norms
# times a sum of ratios of Frobenius to spectral norms.

# %%
widths, ranks, norms = (9, 30, 26, 5), (3.5, 6.2, 2.8), (1.3, 0.6, 2.4)
d, h = 3, 30
networks = layers(widths, ranks, norms, draws, 0)
x = torch.randn(40, 9, generator=generator(1))
labels = torch.randint(5, (40,), generator=generator(1))
bound = bounds.norm_bound(networks, x, labels, margin=0.5)
F = torch.stack([W.norm(dim=(1, 2)) for W in networks.matrices], 1)
s = torch.stack([torch.linalg.matrix_norm(W, 2) for W in networks.matrices], 1)
factor = d**2 * h * math.log(d * h) * x.norm(dim=1).max() ** 2 / 0.5**2
published = factor * s.square().prod(1) * (F / s).square().sum(1)
p = torch.stack([rank.participation_rank(W) for W in networks.matrices], 1)
display(
    check.exact(
        "G1.capacity",
        "capacity of networks of three layers against norms of their matrices",
        bound.capacity,
        published,
        wrong={
            "rank in place of stable rank": factor * s.square().prod(1) * (9 + 26 + 5),
            "participation rank in place of stable rank": factor
            * s.square().prod(1)
            * p.sum(1),
            "product of Frobenius norms": factor * F.square().prod(1),
        },
    )
)

# %%
scaled = network(*(c * W for c, W in zip((0.1, 7.0, 3.0), networks.matrices, strict=True)))
bounded = [bounds.norm_bound, bounds.compression_bound]
value = [make(networks, x, labels, margin=0.5).value for make in bounded]
moved = [make(scaled, x, labels, margin=0.5 * 2.1).value for make in bounded]
kept = [make(scaled, x, labels, margin=0.5).value for make in bounded]
display(
    check.exact(
        "G1.invariance",
        "both bounds after multiplying the layers by 0.1, 7 and 3 and the margin by 2.1",
        torch.stack(moved),
        torch.stack(value),
        wrong={"margin left as it was": torch.stack(kept)},
    )
)

# %% [markdown]
# Now one stable rank at a time is multiplied by 1.2. With spectral norms held fixed the capacity rises, with
# Frobenius norms held fixed – that is, at a given forward variance – it falls.


# %%
def log_capacity(ranks, norms):
    weights = layers(widths, ranks, norms, 1, 2, spectra.two_level)
    return bounds.norm_bound(weights, x, labels, margin=0.5).capacity.log().item()


r = np.array(ranks)
up = [np.where(np.arange(3) == l, 1.2, 1.0) for l in range(3)]
base = log_capacity(r, norms)
spectral = [log_capacity(r * u, norms) - base for u in up]
frobenius = [log_capacity(r * u, norms / np.sqrt(u)) - base for u in up]
rise = np.log1p(0.2 * r / r.sum())
display(
    check.exact(
        "G1.elasticity",
        "change of the log capacity when one stable rank grows by a fifth, at fixed spectral or Frobenius norms",
        np.array([spectral, frobenius]),
        np.array([rise, rise - np.log(1.2)]),
        wrong={
            "the same in both cases": np.array([rise, rise]),
            "all layers count alike": np.array([0 * r, 0 * r - np.log(1.2)])
            + np.log1p(0.2 / 3),
        },
    )
)

# %% [markdown]
# No margin, for whatever label, exceeds $\sqrt2$ times the output, so the normalized capacity $B^2\mathcal C/\gamma^2$ has a floor of half
# the sum of stable ranks. Random networks, and one of rank-one layers that attains it.

# %%
aligned = torch.zeros(1, 4, 4)
aligned[0, 0, 0] = 1
readout = torch.zeros(1, 2, 4)
readout[0, :, 0] = torch.tensor([1.0, -1.0])
tight = network(2 * aligned, 3 * aligned, readout)
e1, zero = torch.eye(4)[:1], torch.zeros(1, dtype=torch.int64)
floors, reached = [], []
for net, inputs, y in ((networks, x, labels), (tight, e1, zero)):
    every = [torch.full_like(y, label) for label in range(net.readout.shape[1])]
    largest = torch.stack([bounds.margins(net, inputs, y) for y in every]).amax((0, 2))
    found = bounds.norm_bound(net, inputs, y, margin=largest)
    reached.append(found.amplification * found.stable_ranks.sum(1))
    floors.append(found.stable_ranks.sum(1) / 2)
floors, reached = torch.cat(floors), torch.cat(reached)
display(
    check.bound(
        "G1.floor",
        "half the sum of stable ranks against the normalized capacity at the largest margin of a network",
        floors,
        reached,
        wrong={"twice that floor": reached / 2},
    )
)

# %% [markdown]
# ## Random networks (G1)
#
# The mean squared output over its worst case, and the squared layer cushion at one input: the first is a product of
# stable ranks, the second does not depend on them.

# %%
widths, ranks, norms = (12, 16, 10, 6), (3.0, 4.5, 2.5), (1.5, 0.8, 2.0)
basis = torch.eye(12)
networks = layers(widths, ranks, norms, networks_mean, 3, spectra.two_level)
f = outputs(networks, torch.cat([basis, -basis]))
worst = math.prod(norms) ** 2
typical = math.prod(r / n for r, n in zip(ranks, widths, strict=False)) / 4
display(
    check.sampled(
        "G1.typical",
        "mean squared output over its largest possible value, two ReLU layers and a readout",
        f.square().sum(2).mean(1) / worst,
        typical,
        wrong={
            "the Lipschitz bound": 1.0,
            "rank in place of stable rank": 10 * 6 / 16 / 10 / 4,
            "a gate after the readout": typical / 2,
        },
        seed=seed,
    )
)

# %%
squares, alternatives = [], []
for i, r in enumerate((2.5, 5.0, 9.5)):
    net = layers(
        (12, 16, 10), (9.5, r), (1.0, 1.0), networks_mean, 4 + i, spectra.two_level
    )
    h1 = (torch.cat([basis, -basis]) @ net.matrices[0].mT).clamp(min=0)
    alive = h1.square().sum(2) > 0
    cushion = (h1 @ net.matrices[1].mT).square().sum(2) / (r * h1.square().sum(2))
    squares.append((alive * cushion.nan_to_num()).sum(1) / alive.sum(1))
    alternatives.append(1 / r)
display(
    check.sampled(
        "G1.cushion",
        "squared cushion of a second layer of 16 inputs, stable ranks 2.5, 5 and 9.5",
        torch.stack(squares, 1),
        torch.full((3,), 1 / 16),
        wrong={"inverse stable rank": alternatives, "outputs for inputs": [1 / 10] * 3},
        seed=seed,
    )
)

# %% [markdown]
# ## Truncation and random projection (G2)
#
# Random networks whose layers are changed at random, and two cases in which the bounds are attained.


# %%
def change(networks, others, x):
    """Largest change of the output over the inputs."""
    return (outputs(others, x) - outputs(networks, x)).norm(dim=-1).amax(-1)


nets = layers((9, 14, 11, 5), (3.5, 6.2, 2.8), (1.3, 0.6, 2.4), draws, 8)
sphere = normalize(torch.randn(50, 9, generator=generator(9)))
moves = layers((9, 14, 11, 5), (4, 4, 4), (0.2, 0.1, 0.5), draws, 10).matrices
others = network(*(W + U for W, U in zip(nets.matrices, moves, strict=True)))
chain = network(*[aligned] * 64)
longer = network(*[(1 + 1 / 64) * aligned] * 64)
few = network(*[aligned] * 3), network(*[1.5 * aligned] * 3)
cases = [(nets, others, sphere), (chain, longer, e1), (*few, e1)]
found = [bounds.perturbation(a, b, radius=1.0) for a, b, _ in cases]
measured = torch.cat([change(*case) for case in cases])
telescoped = torch.cat([p.bound for p in found])
no_growth = torch.cat([p.scale * p.relative.sum(1) for p in found])
display(
    check.bound(
        "G2.perturbation",
        "change of the output under random changes of all layers, and in aligned networks",
        measured,
        telescoped,
        wrong={
            "growth of the layers left out": no_growth,
            "nine tenths of it": 0.9 * telescoped,
        },
    )
)

# %%
small = torch.cat([p.relative.sum(1) <= 1 for p in found])
display(
    check.bound(
        "G2.constant",
        "the same against e - 1 times the sum of relative changes, where that sum is at most 1",
        measured[small],
        (math.e - 1) * no_growth[small],
        wrong={"the constant 1.6": 1.6 * no_growth[small]},
    )
)

# %% [markdown]
# Truncation of every layer to the same rank: random networks, and one layer with the squares 1, 1, 1, 0.09 between
# two identities, at an input in the third direction.


# %%
def left_out(networks, j):
    """Lipschitz constant, and the relative singular value of every layer that follows the j kept ones."""
    sigma = [torch.linalg.svdvals(W) for W in networks.matrices]
    following = [t[:, j : j + 1].sum(1) / t[:, 0] for t in sigma]  # 0 if none follows
    return torch.stack([t[:, 0] for t in sigma], 1).prod(1), torch.stack(following, 1)


flat = torch.eye(4)[None]
third = torch.eye(4)[2:3]
stepped = torch.diag(torch.tensor([1, 1, 1, 0.3]))[None]
alone = network(flat, stepped, flat)
kept_two = network(flat, stepped * torch.tensor([1, 1, 0, 0]), flat)
sharp = change(alone, kept_two, third)
measured, bound, beyond, s2, half = [sharp], [torch.ones(1)], [0.3 * torch.ones(1)], [], []
r = rank.stable_rank(stepped)
s2.append(((r - 1) / 2).sqrt().clamp(max=1))
half.append(((r / 2 - 1) / 2).sqrt())
stable = torch.stack([rank.stable_rank(W) for W in nets.matrices], 1)
for j in range(1, 8):
    measured.append(change(nets, bounds.truncate(nets, j), sphere))
    scale, following = left_out(nets, j)
    bound.append(scale * following.sum(1))
    beyond.append(scale * left_out(nets, j + 1)[1].sum(1))
    s2.append(scale * ((stable - 1) / j).sqrt().clamp(max=1).sum(1))
    half.append(scale * (stable / 2 / j).sqrt().clamp(max=1).sum(1))
measured, bound, beyond, s2, half = map(torch.cat, (measured, bound, beyond, s2, half))
display(
    check.bound(
        "G2.truncation",
        "error of truncating all layers against the first singular value that each leaves out",
        measured,
        bound,
        wrong={"one singular value further on": beyond, "nine tenths of it": 0.9 * bound},
    )
)
display(
    check.bound(
        "G2.stable-rank",
        "the same against what the stable ranks of the layers allow",
        measured,
        s2,
        wrong={"half the stable rank": half},
    )
)

# %% [markdown]
# Margins: the change of any margin is at most $\sqrt2$ times that. The equality case is a layer that sends the lost
# direction to the difference of two classes.

# %%
rotation = torch.tensor([[1.0, 1.0], [1.0, -1.0]]) / math.sqrt(2)
classes = network(rotation[None] @ torch.diag(torch.tensor([2.0, 1.0])))
second = torch.eye(2)[1:2]
moved, allowed = [], []
y = torch.randint(5, (50,), generator=generator(11))
for net, inputs, target, kept in (
    (classes, second, zero, [1]),
    *((nets, sphere, y, [j]) for j in range(1, 8)),
):
    after = bounds.margins(bounds.truncate(net, kept * len(net.matrices)), inputs, target)
    scale, following = left_out(net, kept[0])
    moved.append((after - bounds.margins(net, inputs, target)).abs().amax(1))
    allowed.append(math.sqrt(2) * scale * following.sum(1))
moved, allowed = torch.cat(moved), torch.cat(allowed)
display(
    check.bound(
        "G2.margin",
        "change of margins under truncation, against the square root of 2 times the bound on the output",
        moved,
        allowed,
        wrong={"without the square root of 2": allowed / math.sqrt(2)},
    )
)

# %%
counted, promised = [], []
for tolerance in (0.2, 0.5, 0.9):
    for net in (nets, alone):
        scale, depth = left_out(net, 0)[0], len(net.matrices)
        size = bounds.compressed_size(
            net, radius=1.0, margin=tolerance * math.sqrt(2) * depth * scale
        )
        counted.append(size.ranks.flatten())
        promised.append(size.guarantee.flatten())
counted, promised = torch.cat(counted), torch.cat(promised)
display(
    check.bound(
        "G2.size",
        "ranks that keep all predictions of a given margin, against stable rank over squared tolerance",
        counted,
        promised,
        wrong={"half of it": promised / 2},
    )
)

# %% [markdown]
# A matrix that is rebuilt from its inner products with $k$ random matrices: the mean squared error in its first
# singular direction, for three laws of singular values of the same stable rank.

# %%
k, r, s = 8, 1.6, 1.5
laws = (spectra.two_level, spectra.projector, spectra.uniform_sphere)
W = torch.stack(
    [
        sample(
            (6, 9),
            r,
            spectral_norm=s,
            law=law,
            generator=generator(12),
        )
        for law in laws
    ]
)
g = generator(13)
rebuilt = torch.stack(
    [bounds.random_projection(W, k, generator=g) for _ in range(projections)]
)
v = torch.linalg.svd(W)[2][:, 0]  # every matrix's own first direction
image = s**2 * torch.ones(3)
predicted = (6 * r * s**2 + image) / k
display(
    check.sampled(
        "G2.projection",
        "mean squared error of a 6 × 9 matrix of stable rank 1.6 rebuilt from 8 random inner products",
        ((rebuilt - W) @ v.unsqueeze(-1)).square().sum((-1, -2)),
        predicted,
        wrong={
            "rank in place of stable rank": (6 * 6 * s**2 + image) / k,
            "without the number of outputs": (r * s**2 + image) / k,
            "without the signal's own share": (6 * r * s**2) / k + 0 * image,
        },
        seed=seed,
    )
)

# %% [markdown]
# ## Trained networks
#
# Bias-free ReLU networks 196–128–128–128–10 on digits averaged over 2 × 2 pixels and scaled to one norm. Hidden
# layers start at a given stable rank (two-level law), all at the same forward variance, or with He's Gaussian
# weights; the readout has orthonormal rows. Half of the networks see random labels.

# %%
ratios = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
names = [f"{ratio:g}" for ratio in ratios] + ["He"]
shapes = ((128, 196), (128, 128), (128, 128))
images, digits = data.mnist(5000)
images = 14 * normalize(avg_pool2d(images.view(-1, 1, 28, 28), 2).flatten(1))
train, held_out = images[:samples], images[samples:]


def start(ratio, g):
    hidden = [torch.empty(shape) for shape in shapes]
    for W in hidden:
        if ratio is None:
            W.normal_(0, math.sqrt(2 / W.shape[1]), generator=g)
        else:
            stable_rank_(W, max(1.0, ratio * 128), generator=g)
    return [*hidden, haar.orthogonal(128, 10, generator=g).mT]


# %%
grid = [(i, run) for i in range(len(names)) for run in range(runs)]
drawn = [start((*ratios, None)[i], generator(100 + 100 * run + i)) for i, run in grid]
stacked = [torch.stack([W[l] for W in drawn]).repeat(2, 1, 1) for l in range(4)]
initial = network(*stacked)  # first all networks with true labels, then random ones
shuffled = [torch.randint(10, (samples,), generator=generator(5_000 + r)) for _, r in grid]
targets = torch.cat([digits[:samples].expand(len(grid), -1), torch.stack(shuffled)])
order = [seed + run for _, run in grid] * 2
options = {"rates": rate, "steps": steps, "optimizer": adam, "batch_size": batch_size}
trained = fit(initial, train, targets, seeds=order, **options).network

# %%
m = bounds.margins(trained, train, targets)
accuracy = (m > 0).double().mean(1)
gamma = m.quantile(quantile, dim=1)
right = outputs(trained, held_out).argmax(-1) == digits[samples:]
gap = (accuracy - right.double().mean(1)).round(decimals=9)  # so that equal gaps tie
norm = bounds.norm_bound(trained, train, targets, margin=gamma)
compression = bounds.compression_bound(trained, train, targets, margin=gamma, probes=probes)
smoothness = bounds.interlayer_smoothness(
    trained, train[:probes], noise=0.1, generator=generator(14)
)


def split(values):
    """Shape (labels, initializations, runs, ...), true labels first."""
    return values.double().reshape(2, len(names), runs, *values.shape[1:]).numpy()


for kind, a, b in zip(("true", "random"), split(accuracy), split(gap), strict=True):
    print(f"{kind} labels: training accuracy {a.min():.2f} or more, gap {b.mean():.2f}")
print("smallest margin of a bound", f"{gamma.min():.1f}")

# %% [markdown]
# ### Which term moves
#
# The capacity of the norm-based bound is a product, so its logarithm is a sum of terms.

# %%
kinds = ("true labels", "random labels")
radius = 14.0
terms = {
    r"$\log_{10}\prod_l\,\|W_l\|_2^2$": (norm.amplification * gamma**2 / radius**2).log10(),
    r"$\log_{10}\sum_l r_l$": norm.stable_ranks.sum(1).log10(),
    r"$\log_{10}B^2/\gamma^2$": 2 * (radius / gamma).log10(),
}
normalized = sum(terms.values())
products = initial.matrices
at_start = torch.stack([rank.stable_rank(W) for W in products], 1)
lipschitz = torch.stack([torch.linalg.matrix_norm(W, 2) for W in products], 1).prod(1)
ideal = 2 * lipschitz.log10() + at_start.sum(1).log10()
for name, values in (*terms.items(), ("their sum", normalized)):
    low, high = (split(values)[:, i].mean(1) for i in (0, len(ratios) - 1))
    ends = [f"{a:.1f} to {b:.1f}" for a, b in zip(low, high, strict=True)]
    print(f"{name}: from r/n = 0.02 to 1, true labels {ends[0]}, random labels {ends[1]}")

# %% mystnb={"figure": {"caption": "Which term stable rank moves. Logarithms of the three factors of the normalized capacity of trained networks, and of their product, against the stable rank the hidden layers started with, at equal forward variance; squares at the right: He's Gaussian initialization. Means over networks, with their range. The line is the product of the first two terms before training, which G1 gives.", "name": "fig-bound-terms"}, "image": {"alt": "Two panels, true and random labels. The product of spectral norms falls steeply with the initial stable rank, the sum of stable ranks rises slowly, the margin term is nearly flat, and the total falls."}} tags=["hide-input"]
fig, axes = plotting.figure(1, 2, size=(8.6, 3.9), sharey=True)
colors = plotting.palette(5)
for k, (ax, kind) in enumerate(zip(axes, kinds, strict=True)):
    before = split(ideal)[k].mean(1)
    plotting.theory(
        ax, ratios, before[:-1], color="0.6", label="first two, before training"
    )
    for color, (label, values) in zip(
        colors, (*terms.items(), ("sum of the three", normalized)), strict=False
    ):
        v = split(values)[k]
        mean, spread = v.mean(1), np.abs(np.stack([v.min(1), v.max(1)]) - v.mean(1))
        plotting.points(ax, ratios, mean[:-1], spread[:, :-1], color=color, label=label)
        ax.plot(ratios, mean[:-1], color=color, linewidth=0.8, alpha=0.6)
        plotting.points(ax, [2.2], mean[-1:], spread[:, -1:], color=color, marker="s")
    ax.set(xscale="log", title=kind, xlabel=r"$r/n$ of the hidden layers at initialization")
    ax.set_xticks([0.02, 0.1, 0.5, 2.2], ["0.02", "0.1", "0.5", "He"])
    ax.minorticks_off()
axes[0].set_ylabel(r"$\log_{10}$ of the term")
plotting.legend(axes[1], outside=True)

# %%
hidden = np.log10([max(1.0, ratio * 128) for ratio in ratios])


def slopes(values):
    """Slope against the log of the initial stable rank, one for each run and kind of labels."""
    v = split(values)[:, : len(ratios)]
    return np.polyfit(hidden, np.moveaxis(v, 1, 0).reshape(len(ratios), -1), 1)[0]


display(
    check.empirical(
        "G1.matched-scale",
        "slope of the log normalized capacity of trained networks in the log stable rank they started with",
        slopes(normalized),
        below=-1.0,
        wrong_samples={
            "sum of stable ranks alone": slopes(norm.stable_ranks.sum(1).log10())
        },
        seed=seed,
    )
)
print(
    f"slope of the capacity {slopes(normalized).mean():.1f}, before training",
    f"{slopes(ideal).mean():.1f}",
)

# %% [markdown]
# ### The bounds are vacuous

# %%
log_norm, log_compression = norm.value.log10(), compression.value.log10()
for name, bound in (("norm-based", norm), ("compression", compression)):
    v = split(bound.value)
    print(
        f"{name} bound, constant 1: smallest {v.min():.2g}, largest {v.max():.2g};",
        f"vacuous for {int(bound.vacuous.sum())} of {len(gamma)} networks",
    )
display(
    check.empirical(
        "G1.vacuous-norm",
        "log10 of the norm-based bound with constant 1: vacuous, by orders of magnitude",
        log_norm,
        above=2.0,
        wrong_samples={"measured gap": gap.log10()},
        seed=seed,
    )
)
display(
    check.empirical(
        "G1.vacuous-compression",
        "log10 of the compression bound with constant and logarithms 1: vacuous, by orders of magnitude",
        log_compression,
        above=1.0,
        wrong_samples={"measured gap": gap.log10()},
        seed=seed,
    )
)

# %% [markdown]
# ### Do they order the networks?
#
# Pairs of networks that differ in their labels only, then rank correlations over networks.

# %%
pairs = {
    "norm": (log_norm, "norm-based bound"),
    "compression": (log_compression, "compression bound"),
}
for name, (values, text) in pairs.items():
    true, random = split(values)
    other = split(norm.stable_ranks.sum(1).log10())
    display(
        check.empirical(
            f"G1.labels-{name}",
            f"log10 of the {text} with random labels minus with true labels, same initialization",
            (random - true).ravel(),
            above=0.3,
            wrong_samples={
                "the same for the sum of stable ranks": (other[1] - other[0]).ravel()
            },
            seed=seed,
        )
    )


# %%
def correlation(x, y):
    """Spearman's rank correlation with a 95 % bootstrap interval over networks."""
    picks = np.random.default_rng(seed).integers(len(x), size=(resamples, len(x)))
    picks[0] = np.arange(len(x))  # the networks themselves
    ranked = [rankdata(v[picks], axis=1) - (len(x) + 1) / 2 for v in (x, y)]
    covariance, *squares = (
        (a * b).sum(1) for a, b in (ranked, ranked[:1] * 2, ranked[1:] * 2)
    )
    found = covariance / np.sqrt(squares[0] * squares[1])
    return found[0], *np.quantile(found, [0.025, 0.975])


count = len(grid)
scopes = {
    "true labels": slice(0, count),
    "random labels": slice(count, None),
    "all": slice(None),
}
measures = {
    "norm-based bound": log_norm.numpy(),
    "compression bound": log_compression.numpy(),
    "sum of stable ranks": norm.stable_ranks.sum(1).numpy(),
}
correlations = {}
for name, values in measures.items():
    for scope, part in scopes.items():
        found = correlation(values[part], gap.numpy()[part])
        correlations[name, scope] = found
        print(f"{name}, {scope}: {found[0]:+.1f} in [{found[1]:+.1f}, {found[2]:+.1f}]")

# %% mystnb={"figure": {"caption": "Bounds and measured gaps. The norm-based bound (top) and the compression bound (bottom), constants set to 1, against the gap between training and held-out accuracy, for true labels (left) and random ones (right; mind the other range of gaps). Each point is a network; dark to light: initial $r/n$ from 0.02 to 1; squares: He. All points lie far above 1, where a bound on a probability says nothing. Random labels raise both bounds. Among networks with the same kind of labels the bounds follow the initialization, the gaps hardly do.", "name": "fig-bound-gap"}, "image": {"alt": "Four scatter plots on logarithmic vertical axes. Within each panel points of one colour share a height, at all gaps; those for random labels lie about a factor of five higher. All are two to five decades above a line at 1."}} tags=["hide-input"]
fig, axes = plotting.figure(2, 2, size=(8.8, 6.2), sharex="col", sharey=True)
colors = [*plotting.palette(ratios), "0.15"]
for row, (title, values) in zip(axes, list(measures.items())[:2], strict=True):
    for k, ax in enumerate(row):
        for i, (name, color) in enumerate(zip(names, colors, strict=True)):
            height = 10 ** split(torch.tensor(values))[k, i]
            marker = "s" if name == "He" else "o"
            a = 100 * split(gap)[k, i]
            plotting.points(ax, a, height, color=color, marker=marker, label=name)
        ax.axhline(1, color="0.4", linewidth=1)
        ax.set(yscale="log", ylim=(0.4, 1e6))
    row[0].set_ylabel(title)
    row[0].annotate(
        "vacuous above this line",
        (0.02, 1.2),
        xycoords=("axes fraction", "data"),
        fontsize=8,
    )
for ax, top, kind in zip(axes[1], axes[0], kinds, strict=True):
    ax.set_xlabel("training minus held-out accuracy in %")
    top.set_title(kind)
plotting.legend(axes[0, 1], outside=True, title="$r/n$ at start")
for kind, v in zip(kinds, split(gap), strict=True):
    by_start = ", ".join(
        f"{name}: {100 * a:.0f}" for name, a in zip(names, v.mean(1), strict=True)
    )
    print(f"mean gap in %, {kind}, by initialization – {by_start}")

# %% mystnb={"figure": {"caption": "Margins. Distribution of training margins divided by the largest possible output $B\\prod_l\\|W_l\\|_2$, pooled over networks, for true labels (solid) and random ones (dashed). Lower stable ranks at the start leave the margins smaller in this unit by orders of magnitude; the labels matter less.", "name": "fig-margins"}, "image": {"alt": "Cumulative distributions of normalized margins on a logarithmic axis for four initializations. Curves of low stable rank lie decades to the left of those of high stable rank, and dashed curves to the left of solid ones."}} tags=["hide-input"]
fig, ax = plotting.figure(size=(6.8, 3.9))
unit = radius * (norm.amplification.sqrt() * gamma / radius)
chosen = (0, 2, 5, 6)
levels = np.linspace(0, 1, 200)
for i, color in zip(chosen, plotting.palette(4), strict=True):
    for k, style in enumerate(("-", "--")):
        values = split(m / unit[:, None])[k, i].ravel()
        curve = np.quantile(values, levels)
        label = (names[i] if i == 6 else f"$r/n={names[i]}$") if k == 0 else None
        ax.plot(np.maximum(curve, 1e-8), levels, style, color=color, label=label)
        print(f"{names[i]}, {kinds[k]}: median {np.median(values):.0e}")
ax.set(
    xscale="log",
    xlim=(1e-6, 1),
    xlabel=r"$\gamma(x)\,/\,B\prod_l\,\|W_l\|_2$",
    ylabel="fraction of digits below",
)
plotting.legend(ax, loc="upper right")

# %% mystnb={"figure": {"caption": "Stable ranks before and after training: mean over networks of each hidden layer, true labels (left) and random labels (right), against the stable rank at initialization. On the grey line training would change nothing. High stable ranks fall to those of a Gaussian start, low ones stay where they were put. Crosses: He's initialization.", "name": "fig-trained-ranks"}, "image": {"alt": "Two panels with trained against initial stable rank, both on logarithmic axes. Points follow the diagonal up to about 25 and level off at 25 to 50 above."}} tags=["hide-input"]
fig, axes = plotting.figure(1, 2, size=(8.4, 3.7), sharey=True)
before, after = split(at_start).mean(2), split(norm.stable_ranks).mean(2)
for k, (ax, kind) in enumerate(zip(axes, kinds, strict=True)):
    plotting.theory(ax, [2, 140], [2, 140], color="0.75")
    for l, color in enumerate(plotting.palette(3)):
        label = f"layer {l + 1}" if k else None
        plotting.points(ax, before[k, :-1, l], after[k, :-1, l], color=color, label=label)
        plotting.points(ax, before[k, -1:, l], after[k, -1:, l], color=color, marker="X")
        print(f"{kind}, layer {l + 1}:", np.round(after[k, :, l]).astype(int))
    ax.set(xscale="log", yscale="log", title=kind, xlabel="stable rank at initialization")
axes[0].set_ylabel("stable rank after training")
plotting.legend(axes[1], loc="upper left")

# %% [markdown]
# ## Compression of the trained networks (G2)
#
# Every layer is truncated to the same rank. The error is the largest over the training digits.

# %%
ladder = (4, 8, 12, 16, 24, 32, 48, 64, 96)
base = outputs(trained, train)
size = base.norm(dim=2).amax(1)
factors = [torch.linalg.svd(W, full_matrices=False) for W in trained.matrices]
sigma = [t for _, t, _ in factors]
worst = radius * torch.stack([t[:, 0] for t in sigma], 1).prod(1)
errors, survived, proved, from_ranks, following = [], [], [], [], []
for j in ladder:
    kept = [(U[:, :, :j] * t[:, None, :j]) @ V[:, :j] for U, t, V in factors]
    cut = outputs(network(*kept), train)
    errors.append((cut - base).norm(dim=2).amax(1) / size)
    survived.append((cut.argmax(2) == targets).double().mean(1) / accuracy)
    following.append(torch.stack([(t[:, j : j + 1] / t[:, :1]).sum(1) for t in sigma], 1))
    proved.append(worst * following[-1].sum(1) / size)
    share = ((norm.stable_ranks - 1) / j).sqrt().clamp(max=1)
    share = share * (
        torch.tensor([128, 128, 128, 10]) > j
    )  # nothing is left out of the readout
    from_ranks.append(worst * share.sum(1) / size)
errors, survived, proved, from_ranks = (
    torch.stack(v, 1) for v in (errors, survived, proved, from_ranks)
)
gains = norm.stable_ranks / torch.tensor([196, 128, 128, 128])
mean_gain = proved * gains.prod(1, keepdim=True).sqrt()
display(
    check.bound(
        "G2.trained",
        "error of truncating all layers of trained networks to ranks from 4 to 96, over the training digits",
        errors,
        proved,
        wrong={"mean gains in place of spectral norms": mean_gain},
    )
)
display(
    check.bound(
        "G2.layers",
        "singular values of the trained layers against what their stable ranks allow",
        torch.cat([f[:, :3].flatten() for f in following]),
        torch.cat([((norm.stable_ranks[:, :3] - 1) / j).sqrt().flatten() for j in ladder]),
        wrong={
            "half the stable rank": torch.cat(
                [(norm.stable_ranks[:, :3] / 2 / j).sqrt().flatten() for j in ladder]
            )
        },
    )
)

# %% mystnb={"figure": {"caption": "Truncating whole networks. Top: largest error over the training digits, relative to the largest output, when every layer keeps $j$ directions (points, medians over networks), the proved bound with the singular values left out (solid), and with stable ranks only (dashed). Bottom: training accuracy that survives. True labels survive truncation to a few directions, random labels do not; the bound sees the initialization instead.", "name": "fig-network-truncation"}, "image": {"alt": "Four panels. Above: measured relative errors between 0.1 and 1, with bound lines 10 to 1000 times higher. Below: accuracy rises to 0.9 by 12 directions for true labels, except for He's start, while random labels need about 100."}} tags=["hide-input"]
fig, axes = plotting.figure(2, 2, size=(8.8, 6.4), sharex=True, sharey="row")
for k, kind in enumerate(kinds):
    for i, color in zip(chosen, plotting.palette(4), strict=True):
        label = names[i] if i == 6 else f"$r/n={names[i]}$"
        middle = [np.median(split(v)[k, i], 0) for v in (errors, proved, from_ranks)]
        plotting.points(axes[0, k], ladder, middle[0], color=color, label=label)
        plotting.theory(axes[0, k], ladder, middle[1], color=color)
        axes[0, k].plot(ladder, middle[2], "--", color=color, linewidth=1)
        rest = np.median(split(survived)[k, i], 0)
        plotting.points(axes[1, k], ladder, rest, color=color)
        axes[1, k].plot(ladder, rest, color=color, linewidth=0.8, alpha=0.6)
        print(f"{names[i]}, {kind}: kept accuracy at j = 16 and 64", rest[[3, 7]].round(1))
    axes[0, k].set(yscale="log", title=kind)
    axes[1, k].set(
        xscale="log", ylim=(0, 1.05), xlabel="directions kept in every layer, $j$"
    )
    axes[1, k].set_xticks([4, 8, 16, 32, 64], ["4", "8", "16", "32", "64"])
    axes[1, k].minorticks_off()
axes[0, 0].set_ylabel("relative error of the output")
axes[1, 0].set_ylabel("share of training accuracy kept")
plotting.legend(axes[0, 1], outside=True)

# %% [markdown]
# The rank at which 80 % of the training accuracy survives, for pairs of networks that differ in their labels.

# %%
enough = survived.round(decimals=9) >= 0.8  # also where it is 80 % to rounding
enough = torch.cat([enough, torch.ones(len(enough), 1, dtype=torch.bool)], 1)
needed = torch.tensor([*ladder, 128])[enough.double().argmax(1)]
true, random = split(needed.double().log2())
print("directions needed, medians by initialization, true:", np.median(2**true, 1))
print("directions needed, medians by initialization, random:", np.median(2**random, 1))
display(
    check.empirical(
        "G2.labels",
        "log2 of the rank that keeps 80 % of training accuracy, random labels minus true ones",
        (random - true).ravel(),
        above=1.0,
        wrong_samples={
            "true labels against other networks with true labels": (
                np.roll(true, 1, axis=1) - true
            ).ravel()
        },
        seed=seed,
    )
)

# %%
provable = bounds.compressed_size(trained, radius=radius, margin=gamma)
dense = sum(W[0].numel() for W in trained.matrices)
print(f"proved compression: {int(provable.parameters.min())} of {dense} numbers at best")

# %%
at = ladder.index(32)
slack = split((proved / errors).log10())[..., at]


glue("networks", len(gamma))
glue("runs", runs)
glue("samples", samples)
glue("accuracy-true", split(accuracy)[0].min().item() * 100)
glue("accuracy-random", split(accuracy)[1].min().item() * 100)
glue("gap-true", 100 * split(gap)[0].mean())
glue("gap-true-low", 100 * split(gap)[0, 0].mean())
glue("gap-true-high", 100 * split(gap)[0, len(ratios) - 1].mean())
glue("norm-smallest", norm.value.min().item())
glue("norm-largest", norm.value.max().item())
glue("compression-smallest", compression.value.min().item())
glue("compression-largest", compression.value.max().item())
glue("floor", 4**3 / 2 * 128 * math.log(4 * 128))
glue("slope-trained", slopes(normalized).mean())
glue("slope-start", slopes(ideal).mean())
glue("smoothness", smoothness.max().item())
glue("slack-low", 10 ** slack[0, 0].mean())
glue("slack-high", 10 ** slack[0, len(ratios) - 1].mean())
glue("needed-true", np.median(2 ** true[: len(ratios)]))
glue("needed-he", np.median(2 ** true[-1]))
glue("needed-random", np.median(2**random))
glue("ratio-norm", 10 ** np.mean(split(log_norm)[1] - split(log_norm)[0]))
difference = split(log_compression)
glue("ratio-compression", 10 ** np.mean(difference[1] - difference[0]))
glue("provable", 100 * provable.parameters.double().mean().item() / dense)
for (name, scope), values in correlations.items():
    key = f"{name.split()[0]}-{scope.split()[0]}"
    for part, value in zip(("", "-low", "-high"), values, strict=True):
        glue(f"spearman-{key}{part}", value)

# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The tangent kernel: its mean, and its limit
#
# At one input the mean of every layer's term of the tangent kernel is exact at finite width and carries every *other*
# layer's stable rank as a linear factor (N1). For pairs of inputs the kernel of wide networks tends to a limit in
# which the geometry of the data and the stable ranks are separate factors (N3). Dense networks are drawn and
# differentiated for both; wrong alternatives must be rejected.

# %%
import itertools
import math
from dataclasses import replace

import torch
from IPython.display import display

from srlib import Ensemble, arccos, check, ntk, plotting, spectra
from srlib.check import glue
from srlib.experiments import data
from srlib.moments.kernel import ntk as kernel_moments

torch.set_default_dtype(torch.float64)  # everything that is compared is in double precision

# %% tags=["parameters"]
seed = 1  # of every draw; each section adds an offset of its own
networks_reference = 40_000  # dense networks of the uneven reference case
networks = 26_000  # dense networks a law for the layer means
networks_rank = 11_000  # networks for each stable rank of the straight lines
networks_shares = 2_000  # networks for each profile of the picture of shares
networks_orthogonal = 30_000  # networks of one orthogonal layer
networks_pairs = 11_000  # networks of the largest width for the limit of pairs
networks_figure = 800  # networks of the largest width for each line of the figure
networks_depth = 300  # networks for each depth
networks_digits = 24  # networks of input width 784
digits = 40  # images of the kernel matrices


# %% [markdown]
# ## The layer identity (N1)
#
# Two Gram matrices a layer against inner products of the gradients that automatic differentiation finds.


# %%
def generator(offset):
    return torch.Generator().manual_seed(seed + 1_000 * offset)


def output(parameters, slope, x):
    for W in parameters[:-1]:
        x = torch.nn.functional.leaky_relu(W @ x, slope)
    return parameters[-1] @ x


def by_gradients(network, x):
    gradient = torch.func.grad(output)
    rows = torch.func.vmap(torch.func.vmap(gradient, (None, None, 0)), (0, None, None))
    J = rows((*network.weights, network.readout), network.negative_slope, x)
    return torch.stack([g.flatten(2) @ g.flatten(2).mT for g in J], 1)


# %%
reference = Ensemble((12, 20, 24, 16), (5, 7.3, 3), (1.3, 1.7, 2.0), readout_norm=1.5)
slopes = {"relu": 0.0, "leaky": 0.2, "linear": 1.0}
x = torch.randn(9, 12, generator=generator(0))
drawn = [
    replace(reference, negative_slope=a).sample(20, generator=generator(0))
    for a in slopes.values()
]
check.exact(
    "N1.identity",
    "all layer terms of 60 networks at 9 inputs against inner products of gradients",
    torch.stack([ntk.layers(network, x) for network in drawn]),
    torch.stack([by_gradients(network, x) for network in drawn]),
    wrong={
        "backpropagated without gates": [
            by_gradients(replace(network, negative_slope=1.0), x) for network in drawn
        ],
        "features only": torch.stack([ntk.layers(network, x) for network in drawn])[
            :, :, -1:
        ],
    },
)

# %% [markdown]
# ## Means of the layer terms (N1)
#
# The mean over an orthonormal basis and its mirror image is one replicate: the same expectation, less noise.


# %%
def terms(ensemble, count, generator, slopes=(0.0,), chunk=2_000):
    """Layer terms at one input, averaged over the basis: shape (networks, slopes, L + 1)."""
    parts, e = [], torch.eye(ensemble.widths[0])
    for start in range(0, count, chunk):
        net = ensemble.sample(min(chunk, count - start), generator=generator)
        nets = [replace(net, negative_slope=a) for a in slopes]
        T = [ntk.layers(n, e) + ntk.layers(n, -e) for n in nets]
        parts.append(torch.stack([t.diagonal(dim1=2, dim2=3).mean(-1) / 2 for t in T], 1))
    return torch.cat(parts)


def power(e):
    """s_l^2 r_l of every layer, fan-ins, fan-outs."""
    n, m = torch.tensor(e.widths[:-1]), torch.tensor(e.widths[1:])
    return torch.tensor(e.spectral_norms) ** 2 * torch.tensor(e.stable_ranks), n, m


def weight_size(e):
    """Mean squared weight of every layer and of the readout."""
    c, n, m = power(e)
    return torch.cat([c / (n * m), torch.tensor([e.readout_norm**2 / e.widths[-1]])])


# %%
def alternatives(e):
    """What N1 would say if one thing in it were wrong."""
    mean, (c, n, m), one = kernel_moments(e).layer_means, power(e), torch.ones(1)
    gain = (1 + e.negative_slope**2) / 2 * c / n
    return {
        "own factor not removed": mean * torch.cat([gain, one]),
        "one layer dropped": mean / torch.cat([one, gain[:1].expand(e.depth)]),
        "fan-in in the backward pass": mean * torch.cat([m[-1] / m, one]),
        "NTK parametrization": mean * weight_size(e) / weight_size(e)[0],
    } | {name: kernel_moments(other).layer_means for name, other in neighbours(e).items()}


def neighbours(e):
    return {
        "rank in place of stable rank": replace(e, stable_ranks=[min(s) for s in e.shapes]),
        "other gates": replace(e, negative_slope=0.5 if e.negative_slope == 1 else 1.0),
    }


# %%
found = terms(reference, networks_reference, generator(1))[:, 0]
print(
    "layers 1, 2, 3 and readout, predicted:", kernel_moments(reference).layer_means.numpy()
)
display(
    check.sampled(
        "N1.reference",
        "mean of every layer term, widths 12, 20, 24, 16 with stable ranks 5, 7.3, 3, ReLU",
        found,
        kernel_moments(reference).layer_means,
        wrong=alternatives(reference),
        seed=seed,
    )
)

# %% [markdown]
# Three laws of singular values, one of them random, and three activations.

# %%
mild = Ensemble((8, 24, 32, 16), (6, 16, 12), (1.3, 1.7, 2.0), readout_norm=1.5)
laws = (spectra.two_level, spectra.projector, spectra.uniform_sphere)
draws = [
    terms(replace(mild, law=law), networks, generator(2 + i), slopes.values())
    for i, law in enumerate(laws)
]
draws = torch.stack(draws, 1)  # (networks, laws, slopes, L + 1)
for i, (name, a) in enumerate(slopes.items()):
    e = replace(mild, negative_slope=a)
    mean, found = kernel_moments(e).layer_means, draws[:, :, i]
    text = f"mean of every layer term for three laws, activation of slope {a:g}"
    claim = check.sampled(
        f"N1.{name}", text, found, mean.expand(3, 4), wrong=alternatives(e), seed=seed
    )
    display(claim)

# %% [markdown]
# ## Multilinear in the stable ranks (N1)
#
# Only the second layer's stable rank moves. The first layer's term and the readout's follow it on straight lines
# through zero; its own term stays where it is.

# %%
line = (4.0, 8.0, 12.0, 16.0)
along = [Ensemble((8, 24, 16), (6, r), (1.3, 1.7), negative_slope=0.2) for r in line]
moved = torch.stack(
    [terms(e, networks_rank, generator(6), slopes=(0.2,))[:, 0] for e in along], 1
)
means = torch.stack([kernel_moments(e).layer_means for e in along])
factor = torch.tensor(line)[:, None] / 16
own = torch.tensor([0, 1, 0])
check.sampled(
    "N1.multilinear",
    "layer terms as one stable rank goes from 4 to 16: straight lines through 0, but its own is constant",
    moved,
    means,
    wrong={
        "own term also linear": means * factor**own,
        "square root of the stable rank": means * factor ** ((own - 1) / 2),
        "square of the stable rank": means * factor ** (1 - own),
        "rank in place of stable rank": means * factor ** (own - 1),
    },
    seed=seed,
)

# %% [markdown]
# ## Layer shares (N1)
#
# The mean term times the mean squared weight of its layer is the same for all layers, the readout included: it is
# $\mathbb E f^2$. So the shares of the mean kernel are proportional to the inverse mean squared weights.

# %%
size = weight_size(mild)
output_square = kernel_moments(mild).layer_means[-1] * size[-1]
number = torch.cat([torch.tensor(mild.shapes).prod(1), torch.tensor([mild.widths[-1]])])
total = kernel_moments(mild).mean
check.sampled(
    "N1.shares",
    "every layer's term times its mean squared weight has the mean of the squared output, three laws",
    draws[:, :, 0] * size,
    torch.full((3, 4), output_square),
    wrong={
        "equal shares": (size * total / 4).expand(3, 4),
        "shares as numbers of weights": (number / number.sum() * total * size).expand(3, 4),
        "shares as squared weights": (size**2 / size.sum() * total).expand(3, 4),
    },
    seed=seed,
)

# %%
n = 32
profiles = {
    "all $r=16$": (16, 16, 16, 16),
    "falling": (32, 16, 8, 4),
    "rising": (4, 8, 16, 32),
    "one low": (24, 24, 3, 24),
}
stacks = {name: Ensemble((n,) * 5, r, math.sqrt(2)) for name, r in profiles.items()}
shares, spread = {}, {}
for i, (name, e) in enumerate(stacks.items()):
    mean = kernel_moments(e).layer_means[:-1]
    T = terms(e, networks_shares, generator(7 + i))[:, 0, :-1]
    shares[name] = mean / mean.sum(), T.mean(0) / T.mean(0).sum()
    ratio = T / T.mean(0).sum() - shares[name][1] * T.sum(1, keepdim=True) / T.mean(0).sum()
    spread[name] = 1.96 * ratio.std(0) / math.sqrt(networks_shares)
    print(name, "predicted shares", [f"{s:.3f}" for s in shares[name][0]])

# %% mystnb={"figure": {"caption": "Layers of low stable rank dominate the tangent kernel. Share of each of four layers in the mean kernel of ReLU networks of width 32 with equal spectral norms, for four profiles of stable ranks, which are written under the bars. Bars: N1, proportional to 1/r; points: dense networks, with 95 % intervals.", "name": "fig-layer-shares"}, "image": {"alt": "Four groups of four bars. With equal stable ranks all bars are a quarter high; in the other groups the layer of lowest stable rank has the highest bar, and the simulated points sit on the tops of the bars."}} tags=["hide-input"]
fig, ax = plotting.figure(size=(8.2, 3.6))
colors = plotting.palette(range(4))
ticks = []
for i, (name, ranks) in enumerate(profiles.items()):
    for l, r in enumerate(ranks):
        x = i + 0.2 * (l - 1.5)
        label = f"layer {l + 1}" if i == 0 else None
        ax.bar(x, shares[name][0][l], 0.18, color=colors[l], alpha=0.75, label=label)
        plotting.points(ax, [x], [shares[name][1][l]], [spread[name][l]], color="0.15")
        ax.annotate(
            f"{r}", (x, 0), (0, -4), textcoords="offset points", ha="center", va="top"
        )
    ticks.append(name)
ax.set(
    xticks=range(4),
    xticklabels=ticks,
    ylim=(0, 0.82),
    ylabel=r"share of $\mathbb{E}\,\Theta_l$ in the sum of layers",
    xlabel=r"profile, with the stable ranks $r_1,\dots,r_4$ above its name",
)
ax.tick_params(axis="x", pad=16, length=0)
plotting.legend(ax, loc="upper left", ncols=2)

# %% [markdown]
# ## The limit, without sampling (N3)
#
# `ntk.infinite` works with angles and the means of N1. The recursion of Gram matrices, as it is usually written down,
# must give the same. Inputs: twelve real digits, and six points of a plane from coincident to opposite.


# %%
def textbook(e, G, gate=arccos.kappa0):
    """Recursion of N3 for the Gram matrix G of the inputs."""
    a, T = e.negative_slope, torch.zeros_like(G)
    for c, (m, n) in zip(power(e)[0], e.shapes, strict=True):
        A = c / n * G
        scale = (A.diagonal()[:, None] * A.diagonal()).sqrt()
        theta = (A / scale).clamp(-1, 1).acos()
        T = gate(theta, a) * (c / m * T + G)
        G = scale * arccos.kappa1(theta, a)
    return G + e.readout_norm**2 * T


def open_gates(theta, a):
    return torch.full_like(theta, (1 + a**2) / 2)  # kappa_0 at angle 0 for all pairs


# %%
images, _ = data.mnist(12)
images = images / images.norm(dim=1, keepdim=True)
angles = torch.arange(0, 181, 36).deg2rad()
plane = torch.stack([angles.cos(), angles.sin()], 1)
stack = Ensemble((784, 60, 90, 70), (40, 22.5, 9), (2.0, 1.7, 2.3), readout_norm=1.5)
stacks = [replace(stack, negative_slope=a) for a in slopes.values()]
full = [replace(e, stable_ranks=[min(s) for s in e.shapes]) for e in stacks]
found = torch.stack([ntk.infinite(e, images).ntk for e in stacks])
G = images @ images.T
check.exact(
    "N3.recursion",
    "limit kernel of twelve digits, three activations: geometry times N1 against the recursion of Gram matrices",
    found,
    torch.stack([textbook(e, G) for e in stacks]),
    wrong={
        "kappa_0 dropped": torch.stack([textbook(e, G, open_gates) for e in stacks]),
        "feature kernel in place of the tangent kernel": torch.stack(
            [ntk.infinite(e, images).nngp for e in stacks]
        ),
        "no stable-rank factors": torch.stack([textbook(e, G) for e in full]),
    },
    tolerance=1e-9,  # the recursion loses digits where it takes the arccosine of nearly 1
)

# %%
cases = [reference, mild, stack, Ensemble((1, 1, 3), 1), Ensemble((5, 9) * 6, 3.3, 2.0)]
cases = [replace(e, negative_slope=a) for e in cases for a in slopes.values()]
check.exact(
    "N3.diagonal",
    "limit kernel at one input against the exact mean of finite networks, widths from 1 to 784",
    [
        ntk.infinite(e, torch.eye(e.widths[0])[:1]).ntk.item() / kernel_moments(e).mean
        for e in cases
    ],
    torch.ones(len(cases)),
    wrong={
        "one layer left out": [
            1 - kernel_moments(e).layer_means[0] / kernel_moments(e).mean for e in cases
        ]
    },
)

# %%
low, high = (Ensemble((784, 256, 256), r, s) for r, s in ((8, 1.0), (200, 3.0)))
shallow = Ensemble((784, 256), 200)
low, high, shallow = (ntk.infinite(e, images).nngp for e in (low, high, shallow))
check.exact(
    "N3.separation",
    "correlations of the feature kernel at stable rank 8 and spectral norm 1 against 200 and 3",
    low / low[0, 0],
    high / high[0, 0],
    wrong={
        "one layer fewer": shallow / shallow[0, 0],
        "kernels instead of their correlations": high / low[0, 0],
    },
)

# %% [markdown]
# ## One orthogonal layer: no limit needed (N3)
#
# A single layer that keeps all norms keeps all angles, and the mean kernel of pairs equals the limit at every width.

# %%
rotation = Ensemble((8, 8), 8, 1.3, readout_norm=1.5)
pairs = torch.nn.functional.pad(plane, (0, 6))
limit = ntk.infinite(rotation, pairs)
found = ntk.empirical(rotation.sample(networks_orthogonal, generator=generator(12)), pairs)
check.sampled(
    "N3.one-orthogonal-layer",
    "mean kernel of pairs from coincident to opposite, one orthogonal ReLU layer of width 8",
    found[:, 0],
    limit.ntk[0],
    wrong={
        "kappa_0 dropped": textbook(rotation, pairs @ pairs.T, open_gates)[0],
        "feature kernel in place of the tangent kernel": limit.nngp[0],
    },
    scale=limit.ntk.max().item(),
    seed=seed,
)

# %% [markdown]
# ## Pairs at finite width (N3)
#
# Only the Gram matrix of the inputs matters, by rotation invariance, so eight digits can be fed to networks of any
# width from 8 on. Two devices take noise out of the mean over networks. The diagonal has a known mean (N1), so its
# deviation, carried over to the pairs, may be subtracted. And the layers of one network in any cyclic order, with
# either sign of the inputs, make another network of the same law; their average is one replicate.


# %%
def embedded(G, n):
    """Inputs of width n with a given Gram matrix, by its symmetric root: eigenvectors have no signs of their own."""
    values, vectors = torch.linalg.eigh(G)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.mT
    return torch.nn.functional.pad(root, (0, n - len(G)))


def less_diagonal(K, limit):
    """Subtract what the diagonal, whose mean is known, says about the pairs; in units of the limit's diagonal."""
    deviation = K.diagonal(dim1=1, dim2=2) / limit[0, 0] - 1
    common = (deviation[:, :, None] + deviation[:, None]) / 2
    return (K - limit * common) / limit[0, 0]


def pair_kernels(e, x, count, generator):
    """Kernels in units of the limit's diagonal: replicates of small noise, and as they are; shape (networks, N, N)."""
    net, limit, total = e.sample(count, generator=generator), ntk.infinite(e, x).ntk, 0
    for k, sign in [(k, sign) for k in range(e.depth) for sign in (1, -1)]:
        K = ntk.empirical(replace(net, weights=net.weights[k:] + net.weights[:k]), sign * x)
        total = total + less_diagonal(K, limit)
    return torch.stack([total / (2 * e.depth), K / limit[0, 0]])


def pairs_of_digits(e, count, generator, size=1_000):
    """The same for the pairs of eight digits, and their limit: shapes (2, networks, pairs) and (pairs,)."""
    x, (i, j) = embedded(gram, e.widths[0]), torch.triu_indices(8, 8, 1)
    parts = [
        pair_kernels(e, x, min(size, count - k), generator) for k in range(0, count, size)
    ]
    limit = ntk.infinite(e, x).ntk
    return torch.cat(parts, 1)[..., i, j], (limit / limit[0, 0])[i, j]


def square(n, ratio, depth, law):
    return Ensemble((n,) * (depth + 1), ratio * n, law=law).preserving()


# %%
gram = G[:8, :8]
stack = {n: square(n, 0.25, 3, spectra.projector) for n in (12, 24, 48)}
counts = {12: 2 * networks_pairs, 24: networks_pairs, 48: networks_pairs}
drawn = {n: pairs_of_digits(stack[n], counts[n], generator(13 + n))[0] for n in stack}
limit = pairs_of_digits(stack[48], 2, generator(13))[1]
for n, (calm, _) in drawn.items():
    error = (calm - limit).mean(1)
    print(
        f"width {n}: mean over networks less the limit, averaged over pairs,",
        f"{error.mean():.4f} +- {error.std() / len(error) ** 0.5:.1g}",
    )

# %% [markdown]
# The error of the mean is of order one over the width, so it cancels to leading order in
# $2\,\mathbb E\Theta^{(48)}-\mathbb E\Theta^{(24)}$. What is left, of order $n^{-2}$, is below the noise here. One replicate
# is a pair of networks, one of each width.

# %%
texts = {
    "kappa_0 dropped": textbook(stack[48], gram, open_gates),
    "feature kernel in place of the tangent kernel": ntk.infinite(
        stack[48], embedded(gram, 48)
    ).nngp,
    "no stable-rank factors": textbook(replace(stack[48], stable_ranks=48), gram),
}
i, j = torch.triu_indices(8, 8, 1)
unit = ntk.infinite(stack[48], embedded(gram, 48)).ntk[0, 0]
check.sampled(
    "N3.pairs",
    "mean kernel of 28 pairs of digits, extrapolated from widths 24 and 48, against the limit",
    2 * drawn[48][0] - drawn[24][0],
    limit,
    wrong={name: K[i, j] / unit for name, K in texts.items()},
    wrong_samples={
        "not extrapolated, width 12": drawn[12][0],
    },
    scale=1.0,
    seed=seed,
)

# %% [markdown]
# The rate itself: from width 12 to width 48 the error falls by more than the root of the width would give, 2, and by
# less than its square would, 16. Runs are linearized around either end, so that their mean is the ratio of the means.

# %%
small = (drawn[12][0] - limit).mean(1).unflatten(0, (-1, 2)).mean(1)  # two networks a run
large = (drawn[48][0] - limit).mean(1)


def ratio(end):
    return end + (small - end * large) / large.mean()


print(f"the error falls by a factor {ratio(2).mean():.1f}")
display(
    check.empirical(
        "N3.rate-fast",
        "error of the mean at width 12 over that at width 48: above the root of the width",
        ratio(2),
        above=2.0,
        seed=seed,
    ),
    check.empirical(
        "N3.rate-slow",
        "error of the mean at width 12 over that at width 48: below the square of the width",
        ratio(16),
        below=16.0,
        seed=seed,
    ),
)

# %% [markdown]
# Other stable ranks and depths. Left, the error of the mean; middle and right, the relative error of a *single*
# network, which falls only like the root of the width and grows with depth, beside the exact standard deviation of
# the kernel at one input.

# %%
kinds = {
    r"projector, $r/n=1/4$, $L=3$": (0.25, 3, spectra.projector),
    r"projector, $r/n=1/4$, $L=6$": (0.25, 6, spectra.projector),
    r"projector, $r/n=1/2$, $L=6$": (0.5, 6, spectra.projector),
    r"two-level, $r/n=1/4$, $L=6$": (0.25, 6, spectra.two_level),
}


def single_error(raw, target):
    return (raw / target - 1).square().mean().sqrt().item()


def deviation(e):
    return math.sqrt(kernel_moments(e).relative_variance)


curves = {}
for k, (name, kind) in enumerate(kinds.items()):
    rows = []
    for n in (12, 24, 48):
        e, g = square(n, *kind), generator(100 + 10 * k)
        (calm, raw), target = pairs_of_digits(e, networks_figure * 48 // n, g)
        if kind == (0.25, 3, spectra.projector):
            calm = drawn[n][0]  # the larger sample from above
        error = (calm - target).mean(1)
        half = 1.96 * error.std() / len(error) ** 0.5
        rows.append([n, error.mean(), half, single_error(raw, target), deviation(e)])
    curves[name] = torch.tensor(rows)
    left, right, line = ([f"{v:.2g}" for v in curves[name][:, k]] for k in (1, 3, 4))
    print(f"{kind[2].__name__}, r/n {kind[0]}, L {kind[1]}: error of the mean", *left)
    print(
        "    relative error of one network", *right, "and of the kernel at one input", *line
    )

# %%
depths = (1, 2, 4, 8)
series = {"$r/n=1/4$": 0.25, "$r/n=1/2$": 0.5, "$r/n=1$": 1.0}
growth = {}
for k, (name, share) in enumerate(series.items()):
    ensembles = [square(32, share, L, spectra.projector) for L in depths]
    drawn_pairs = [
        pairs_of_digits(e, networks_depth, generator(200 + k)) for e in ensembles
    ]
    errors = [single_error(raw, target) for (_, raw), target in drawn_pairs]
    growth[name] = errors, [deviation(e) for e in ensembles]
    print(
        f"r/n {share}, depths 1, 2, 4, 8: error of one network",
        *[f"{v:.2f}" for v in errors],
    )

# %% mystnb={"figure": {"caption": "From finite width to the limit, for all pairs of eight digits. Left: error of the mean over networks in units of the diagonal, averaged over pairs (95 % intervals); lines of slope -1 through the widest networks. Middle: relative error of a single network (root mean square over pairs); lines: exact relative standard deviation of the kernel at one input (N2), of order one over the root of the width. Right: the same at width 32 for projectors, against depth.", "name": "fig-ntk-convergence"}, "image": {"alt": "Three panels on logarithmic axes. Left, points follow falling lines of slope minus one for four ensembles; middle, points follow falling lines of smaller slope; right, three curves rise with depth, the one of the lowest stable rank highest."}} tags=["hide-input"]
fig, axes = plotting.figure(1, 3, size=(10.2, 4.5))
span = torch.tensor([10.5, 55.0])
for (name, c), color in zip(curves.items(), plotting.palette(4), strict=True):
    n, error, half, single, exact = c.T
    plotting.theory(axes[0], span, error[-1] * n[-1] / span, color=color)
    plotting.points(axes[0], n, error, half, color=color, label=name)
    plotting.theory(axes[1], n, exact, color=color)
    plotting.points(axes[1], n, single, color=color)
for (name, (errors, exact)), color in zip(
    growth.items(), plotting.palette(range(3)), strict=True
):
    plotting.theory(axes[2], depths, exact, color=color)
    plotting.points(axes[2], depths, errors, color=color, label=name)
titles = "mean over networks", "one network", "one network, $n=32$"
for ax, title, ticks in zip(
    axes,
    titles,
    ((0.005, 0.01, 0.02, 0.05, 0.1), (0.5, 1, 2, 5), (0.2, 0.5, 1, 2)),
    strict=True,
):
    ax.set(xscale="log", yscale="log", title=title, xlabel="width $n$")
    ax.minorticks_off()
    ax.set(yticks=ticks, yticklabels=[f"{t:g}" for t in ticks])
for ax in axes[:2]:
    ax.set(xticks=(12, 24, 48), xticklabels=("12", "24", "48"))
axes[2].set(xlabel="depth $L$", xticks=depths, xticklabels=depths)
axes[0].set_ylabel(r"error of $\mathbb{E}\,\Theta(x,y)$ over $\Theta(x,x)$")
axes[1].set_ylabel(r"relative error of $\Theta(x,y)$")
handles = axes[0].get_legend_handles_labels()
fig.legend(*handles, loc="outside lower center", ncols=2, fontsize="small", frameon=False)
plotting.legend(axes[2], loc="upper left")

# %% [markdown]
# ## Real digits at their own width (N3)
#
# Inputs of width 784 and three layers of width 256 with $r=64$, a quarter of their width. The size of the kernel
# fluctuates with the norms; its *shape* is what a network and the limit are compared in.


# %%
def shape_error(K, target):
    """Relative Frobenius distance of two kernels, each divided by its trace."""
    K = K / K.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    target = target / target.trace()
    return (K - target).square().sum((-2, -1)).sqrt() / target.square().sum().sqrt()


x, label = data.mnist(digits)
x = (x / x.norm(dim=1, keepdim=True))[label.argsort(stable=True)]
wide = Ensemble((784, 256, 256, 256), 64).preserving()
limit = ntk.infinite(wide, x)
K = ntk.empirical(wide.sample(networks_digits, generator=generator(300)), x)
others = {
    "kappa_0 dropped": textbook(wide, x @ x.T, open_gates),
    "feature kernel in place of the tangent kernel": limit.nngp,
}
nearest = torch.stack([shape_error(K, other) for other in others.values()]).amin(0)
check.empirical(
    "N3.digits",
    "distance of single networks from the limit over that from the nearest wrong alternative, 40 digits",
    shape_error(K, limit.ntk) / nearest,
    below=1.0,
    wrong_samples={
        name: shape_error(K, other) / shape_error(K, limit.ntk)
        for name, other in others.items()
    },
    seed=seed,
)

# %%
glue("networks-reference", networks_reference)
glue("networks", networks)
glue("networks-pairs", networks_pairs)
glue("networks-digits", networks_digits)
glue("digits", digits)
glue("shape-error", shape_error(K, limit.ntk).mean().item())
glue("shape-error-features", shape_error(K, limit.nngp).mean().item())
glue("rate", ratio(2).mean().item())
glue("error-small", small.mean().item())
glue("error-large", large.mean().item())
average = shape_error(K.mean(0), limit.ntk)
for name, other in (others | {"the limit": limit.ntk}).items():
    print(f"{name}: distance of one network {shape_error(K, other).mean():.3f}")
print(f"mean of the networks against the limit: {average:.3f}")

# %% mystnb={"figure": {"caption": "The limit kernel of 40 MNIST digits, sorted by label (left), and the kernels of drawn networks of width 256, against it (right): each point is a pair of digits, orange for one network and blue for the mean over networks. The feature kernel (grey) has another shape, so no rescaling would bring it onto the diagonal.", "name": "fig-ntk-digits"}, "image": {"alt": "Left: heat map of a 40 by 40 kernel with brighter blocks along the diagonal where digits share a label. Right: scatter of kernel values of networks against the limit; points of the mean lie on the diagonal, those of one network around it, grey ones above it."}} tags=["hide-input"]
fig, (left, right) = plotting.figure(1, 2, size=(8.8, 4.1))
scale = limit.ntk[0, 0]
picture = left.imshow(limit.ntk / scale, cmap="viridis", vmin=0.3)
left.grid(False)
edges = torch.searchsorted(label.sort().values, torch.arange(11)).tolist()
middle = [(a + b - 1) / 2 for a, b in itertools.pairwise(edges) if b > a]
present = label.unique().tolist()
left.set(
    xticks=middle,
    yticks=middle,
    xticklabels=present,
    yticklabels=present,
    xlabel="label of $y$",
    ylabel="label of $x$",
)
fig.colorbar(picture, ax=left, shrink=0.8, label=r"limit of $\Theta(x,y)\,/\,\Theta(x,x)$")
i, j = torch.triu_indices(digits, digits, 1)
one, mean = (kernel / kernel.diagonal().mean() for kernel in (K[0], K.mean(0)))
blue, orange = plotting.palette(2)
flat = (limit.ntk / scale)[i, j]
right.plot(
    flat,
    (limit.nngp / limit.nngp[0, 0])[i, j],
    ".",
    color="0.7",
    markersize=3,
    label="feature kernel, limit",
)
right.plot(flat, one[i, j], ".", color=orange, markersize=3, alpha=0.6, label="one network")
right.plot(
    flat,
    mean[i, j],
    ".",
    color=blue,
    markersize=3,
    label=f"mean of {networks_digits} networks",
)
plotting.theory(right, (0, 1), (0, 1), color="0.2", linewidth=1)
right.set(
    xlabel=r"limit of $\Theta(x,y)\,/\,\Theta(x,x)$",
    ylabel="kernel over its mean diagonal",
    xlim=(0.25, 1),
    ylim=(0.25, 1),
)
plotting.legend(right, loc="lower right", markerscale=3)

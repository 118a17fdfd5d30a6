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
# follows the participation rank (F3). Every check below is made at small width, where an asymptotic formula would
# fail, and against wrong alternatives that must be rejected.

# %%
import itertools
import math
from dataclasses import replace

import numpy as np
import torch
from IPython.display import display

import srlib
from srlib import Ensemble, Network, check, feedforward, haar, plotting, spectra
from srlib.check import glue
from srlib.moments import feature_norm, fluctuation_exponent

torch.set_default_dtype(torch.float64)  # everything that is compared is in double precision

# %% tags=["parameters"]
seed = 1  # of every draw; each section adds an offset of its own
matrices = 30_000  # single layers drawn for F1
networks = 44_000  # dense networks a law for the moments of F2 and F3
networks_rank = 12_000  # networks for each stable rank of the straight line
networks_depth = 8_000  # networks for the growth with depth
networks_order = 8_000  # networks for each of the two sides of the ordering
networks_figure = 300  # networks for each line of the depth figure
networks_histogram = 2_000  # networks for each distribution
networks_collapse = 800  # networks for each group of points of the collapse

# %% [markdown]
# A network is run on a whole orthonormal basis and its mirror image, $\pm e_1, \dots, \pm e_{n_0}$. The mean over
# these inputs is one replicate: it has the same expectation as a single input, by rotation invariance, and less noise.


# %%
def act(z, a):
    return torch.where(z > 0, z, a * z)


def basis(n):
    return torch.cat([torch.eye(n), -torch.eye(n)])


def squared_norms(network, x):
    post = feedforward.forward(network, x).post[1:]
    return torch.stack([h.square().sum(-1) for h in post], -1)  # (networks, inputs, layers)


def replicates(ensemble, count, generator, slopes=(0.0,), chunk=2_000):
    """Mean over the inputs of X_l and of X_l^2: shape (2, networks, slopes, layers)."""
    parts, x = [], basis(ensemble.widths[0])
    for start in range(0, count, chunk):
        network = ensemble.sample(min(chunk, count - start), generator=generator)
        X = [squared_norms(replace(network, negative_slope=a), x) for a in slopes]
        X = torch.stack(X, 2)
        parts.append(torch.stack([X.mean(1), X.square().mean(1)]))
    return torch.cat(parts, 1)


def generator(offset):
    return torch.Generator().manual_seed(seed + 1_000 * offset)


# %% [markdown]
# ## Exact averages over spheres
#
# A cubature of degree 5 integrates every polynomial of degree at most 5 over $S^{n-1}$ exactly: $2n$ points
# $\pm e_i$ of weight $\frac{4-n}{2n(n+2)}$ and $2n(n-1)$ points $(\pm e_i\pm e_j)/\sqrt2$ of weight
# $\frac1{n(n+2)}$. With it, second moments of squared norms need no sampling.


# %%
def cubature(n):
    axes, pairs = basis(n), list(itertools.combinations(range(n), 2))
    i, j = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
    signs = itertools.product((1, -1), repeat=2)
    diagonals = torch.cat([a * axes[i] + b * axes[j] for a, b in signs]) / math.sqrt(2)
    on_axes = torch.full((2 * n,), (4 - n) / (2 * n * (n + 2)))
    on_diagonals = torch.full((len(diagonals),), 1 / (n * (n + 2)))
    return torch.cat([axes, diagonals]), torch.cat([on_axes, on_diagonals])


# %%
sizes = (2, 3, 5, 12, 20)
rules = [cubature(n) for n in sizes]
check.exact(
    "F3.cubature",
    "cubature moments of the sphere: total weight and the means of x1^2, x1^4, x1^2 x2^2",
    [
        [w.sum(), w @ x[:, 0] ** 2, w @ x[:, 0] ** 4, w @ (x[:, 0] * x[:, 1]) ** 2]
        for x, w in rules
    ],
    [[1, 1 / n, 3 / (n * (n + 2)), 1 / (n * (n + 2))] for n in sizes],
    wrong={
        "independent Gaussian coordinates": [[1, 1 / n, 3 / n**2, 1 / n**2] for n in sizes]
    },
)

# %% [markdown]
# ## One linear layer (F1)
#
# Averaged over all input directions, one drawn matrix must already give $s^2r/n$, whatever its spectrum and shape,
# down to width 1.

# %%
shapes = [(1, 1), (5, 1), (1, 5), (12, 20), (20, 12), (16, 16)]
ranks = [1.0, 1.0, 1.0, 7.3, 5.0, 16.0]
laws = (spectra.two_level, spectra.projector, spectra.power_law, spectra.uniform_sphere)
layers = [(law, m, n, r) for law in laws for (m, n), r in zip(shapes, ranks, strict=True)]
drawn = [
    srlib.sample((m, n), r, spectral_norm=1.3, law=f, generator=generator(0))
    for f, m, n, r in layers
]
rules = [cubature(n) for _, _, n, _ in layers]
check.exact(
    "F1.any-matrix",
    "||Wx||^2 of one drawn matrix averaged exactly over all directions x",
    [w @ (x @ W.T).square().sum(-1) for W, (x, w) in zip(drawn, rules, strict=True)],
    [
        feature_norm(Ensemble((n, m), r, 1.3, law=law, negative_slope=1)).mean[1]
        for law, m, n, r in layers
    ],
    wrong={
        "fan-out in place of fan-in": [1.3**2 * r / m for _, m, n, r in layers],
        "rank in place of stable rank": [1.3**2 * min(m, n) / n for _, m, n, r in layers],
    },
)

# %% [markdown]
# Inner products at four angles, for matrices of both shapes. Five pairs of inputs are averaged for each matrix.

# %%
angles = torch.tensor([0.0, 60.0, 90.0, 120.0]).deg2rad()
cases = [
    (law, m, n)
    for law in (spectra.two_level, spectra.projector)
    for m, n in ((12, 20), (20, 12))
]
W = [
    srlib.sample(c[1:], 6, law=c[0], batch=matrices, generator=generator(1)) for c in cases
]
first, second = (
    [V[..., 0:10:2] for V in W],
    [V[..., 1:10:2] for V in W],
)  # W e_1, W e_3, ... and W e_2, W e_4, ...
gram = torch.stack(
    [
        torch.stack([(x * x).sum(-2).mean(-1), (x * y).sum(-2).mean(-1)], -1)
        for x, y in zip(first, second, strict=True)
    ],
    1,
)
inner = gram[..., :1] * angles.cos() + gram[..., 1:] * angles.sin()
predicted = torch.stack([6 / n * angles.cos() for _, _, n in cases])
check.sampled(
    "F1.inner-products",
    "<Wx, Wy> for unit inputs at 0, 60, 90 and 120 degrees",
    inner,
    predicted,
    wrong={
        "fan-out in place of fan-in": torch.stack(
            [6 / m * angles.cos() for _, m, _ in cases]
        ),
        "rank in place of stable rank": torch.stack(
            [12 / n * angles.cos() for _, _, n in cases]
        ),
        "obtuse angles cut off": predicted.clamp(min=0),
    },
    scale=6 / 20,
    seed=seed,
)

# %% [markdown]
# The direction $u=Wx/\|Wx\|$: the share of its first half of coordinates, the square of that share, and $\sum u_i^4$.
# Then the correlation of these with the length. Both fail if the left factor $U$ of the matrix is left out.


# %%
def direction(a):
    """Statistics of the direction of a, each scaled to mean 1 if it is uniform, and the squared length."""
    m = a.shape[-1]
    u2 = a.square() / a.square().sum(-1, keepdim=True)
    half = u2[..., : m // 2].sum(-1)
    parts = [2 * half, half**2 * 4 * (m + 2) / (m + 4), u2.square().sum(-1) * (m + 2) / 3]
    return torch.stack(parts, -1), a.square().sum(-1, keepdim=True)


images = torch.stack([V[..., 0] for V in W[::2]], 1)  # W e_1 for the two laws, 12 x 20
unrotated = torch.stack(
    [
        f((12, 20), 6)
        * haar.orthogonal(20, batch=matrices, generator=generator(2))[:, 0, :12]
        for f in (spectra.two_level, spectra.projector)
    ],
    1,
)
statistics, length = direction(images)
statistics_unrotated, length_unrotated = direction(unrotated)

# %%
check.sampled(
    "F1.direction",
    "second and fourth moments of the direction of Wx, in units of their values on the sphere",
    statistics,
    torch.ones(2, 3),
    wrong={
        "independent Gaussian coordinates": torch.tensor([1, 12 / 14, 14 / 12]).expand(2, 3)
    },
    wrong_samples={"left factor left out": statistics_unrotated},
    seed=seed,
)


# %%
def covariance(statistics, length, mean):
    return (statistics - 1) * (length / mean - 1)


check.sampled(
    "F1.independence",
    "covariance of the squared length of Wx with moments of its direction is 0",
    covariance(statistics, length, 6 / 20),
    torch.zeros(2, 3),
    wrong_samples={
        "left factor left out": covariance(statistics_unrotated, length_unrotated, 6 / 20)
    },
    scale=1.0,
    seed=seed,
)

# %% [markdown]
# ## The two factors of a layer, without sampling (F2, F3)
#
# $\mathbb E\|Wx\|^2$ and $\mathbb E\|Wx\|^4$ by the cubature in $x$. For the gates, all $2^m$ sign patterns of every
# cubature point are enumerated: signs of a uniform direction are fair coins.

# %%
slopes = (0.0, 0.2, 1.0)
m = 8
signs = torch.tensor(list(itertools.product((1.0, -1.0), repeat=m)))
u, w = cubature(m)
patterns = signs.unsqueeze(1) * u.abs()  # (2^m, points, m)
gates = torch.tensor(
    [[(act(patterns, a).square().sum(-1) ** p).mean(0) @ w for p in (1, 2)] for a in slopes]
)
orthogonal = [
    feature_norm(Ensemble((m, m), m, negative_slope=a)) for a in slopes
]  # the linear map keeps every norm
check.exact(
    "F3.gates",
    "mean and second moment of ||phi(u)||^2 over all 256 sign patterns and the sphere",
    gates,
    [[f.mean[1], f.second[1]] for f in orthogonal],
    wrong={
        "gates all open": torch.ones(3, 2),
        "no fluctuation": [[f.mean[1], f.mean[1] ** 2] for f in orthogonal],
        "independent Gaussian coordinates": [
            [(1 + a**2) / 2, ((1 + a**2) / 2) ** 2 * (1 - 1 / m) + 3 * (1 + a**4) / 2 / m]
            for a in slopes
        ],
    },
)


# %% [markdown]
# Networks of several layers, of unequal widths, stable ranks and spectral norms: the exact one-layer averages,
# multiplied, against `feature_norm` for every layer.


# %%
def exact_moments(W, a):
    """Mean and second moment of ||phi(u)||^2 ||Wx||^2 over uniform, independent directions x and u."""
    (u, v), (x, w) = cubature(W.shape[0]), cubature(W.shape[1])
    t, g = act(u, a).square().sum(-1), (x @ W.T).square().sum(-1)
    return torch.stack([(w @ g) * (v @ t), (w @ g**2) * (v @ t**2)])


def second_moments(e, q, slope):
    """The recursion of F3, for putting wrong numbers into it."""
    (m, n), q = torch.tensor(e.shapes).T, torch.as_tensor(q)
    r, s = torch.tensor(e.stable_ranks), torch.tensor(e.spectral_norms)
    eta, eta4 = (1 + slope**2) / 2, (1 + slope**4) / 2
    layers = s**4 * (r**2 + 2 * q) / (n * (n + 2))
    return (layers * ((m - 1) * eta**2 + 3 * eta4) / (m + 2)).cumprod(0)


# %%
mixed = Ensemble((12, 20, 24, 16), (6, 7.3, 5), (1.3, 1.7, 2.0))
fixed = (spectra.two_level, spectra.projector, spectra.power_law)
variants = [replace(mixed, law=law, negative_slope=a) for law in fixed for a in slopes]
exact = []
for e in variants:
    weights = e.sample(1, generator=generator(3)).weights
    exact.append(
        torch.stack([exact_moments(W[0], e.negative_slope) for W in weights], -1).cumprod(
            -1
        )
    )
exact = torch.stack(exact)  # (variants, 2, layers)

# %%
means = torch.stack([feature_norm(e).mean[1:] for e in variants])
n, m = torch.tensor(mixed.widths[:-1]), torch.tensor(mixed.widths[1:])
r, k = torch.tensor(mixed.stable_ranks), torch.minimum(n, m)
check.exact(
    "F2.cubature",
    "E ||h_l||^2 of every layer for three spectra and three activations, by exact averages",
    exact[:, 0] / means,
    torch.ones_like(means),
    wrong={
        "one layer's factor dropped": torch.cat([torch.ones(9, 1), means[:, :-1]], 1)
        / means,
        "rank in place of stable rank": (k / r).cumprod(0).expand(9, 3),
        "fan-out in place of fan-in": (n / m).cumprod(0).expand(9, 3),
        "gates all open": torch.stack([means[2]] * 9) / means,
    },
)

# %%
seconds = torch.stack([feature_norm(e).second[1:] for e in variants])
wrong_q = {
    "stable rank in place of participation rank": lambda e: e.stable_ranks,
    "a flat spectrum, q = r^2 / k": lambda e: [
        r**2 / min(s) for r, s in zip(e.stable_ranks, e.shapes, strict=True)
    ],
}
check.exact(
    "F3.cubature-depth",
    "E ||h_l||^4 of every layer for three spectra and three activations, by exact averages",
    exact[:, 1] / seconds,
    torch.ones_like(seconds),
    wrong={
        name: torch.stack([second_moments(e, q(e), e.negative_slope) for e in variants])
        / seconds
        for name, q in wrong_q.items()
    }
    | {
        "gates all open": torch.stack(
            [second_moments(e, e.quartic_traces, 1.0) for e in variants]
        )
        / seconds,
        "square of the mean": means**2 / seconds,
    },
)

# %% [markdown]
# ## Dense networks (F2, F3)
#
# Now nothing is assumed about independence: dense networks are drawn and run. Widths 12, 20, 24, 16 with stable ranks
# 6, 7.3, 5; three laws (one of them random), three activations, all layers.

# %%
tried = (spectra.two_level, spectra.projector, spectra.uniform_sphere)
draws = [
    replicates(replace(mixed, law=f), networks, generator(4 + i), slopes)
    for i, f in enumerate(tried)
]
draws = torch.stack(draws, 2)  # (2, networks, laws, slopes, layers)
theory = [
    [feature_norm(replace(mixed, law=f, negative_slope=a)) for f in tried] for a in slopes
]
names = ("relu", "leaky", "linear")
labels = ("ReLU", "leaky ReLU of slope 0.2", "linear")


# %%
means = [torch.stack([f.mean[1:] for f in by_law]) for by_law in theory]
for i, mean in enumerate(means):
    wrong = {
        "one layer's factor dropped": torch.cat([torch.ones(3, 1), mean[:, :-1]], 1),
        "rank in place of stable rank": mean * (k / r).cumprod(0),
        "fan-out in place of fan-in": mean * (n / m).cumprod(0),
        "another activation": means[i - 1],
    }
    text = f"E ||h_l||^2, {labels[i]}, three laws, layers 1 to 3"
    found = draws[0, :, :, i]
    display(check.sampled(f"F2.{names[i]}", text, found, mean, wrong=wrong, seed=seed))


# %%
seconds = [torch.stack([f.second[1:] for f in by_law]) for by_law in theory]
variants = [replace(mixed, law=f) for f in tried]
for i, second in enumerate(seconds):
    wrong = {
        name: torch.stack([second_moments(e, q(e), slopes[i]) for e in variants])
        for name, q in wrong_q.items()
    }
    wrong |= {"square of the mean": means[i] ** 2, "another activation": seconds[i - 1]}
    text = f"E ||h_l||^4, {labels[i]}, three laws, layers 1 to 3"
    found = draws[1, :, :, i]
    display(check.sampled(f"F3.{names[i]}", text, found, second, wrong=wrong, seed=seed))

# %% [markdown]
# ## Linear in a stable rank, exponential in depth (F2)
#
# First the stable rank of one layer is varied, then the depth.

# %%
line = (3.0, 7.0, 11.0, 15.0)
along = [
    replicates(Ensemble((16,) * 3, (12, r), math.sqrt(2)), networks_rank, generator(10))
    for r in line
]
along = torch.stack([X[0, :, 0, -1] for X in along], 1)
slope = 12 / 16 / 16  # E X_2 per unit of the second layer's stable rank
check.sampled(
    "F2.linear-in-rank",
    "E ||h_2||^2 on a straight line through 0 as the second layer's stable rank goes from 3 to 15",
    along,
    [feature_norm(Ensemble((16,) * 3, (12, r), math.sqrt(2))).mean[-1] for r in line],
    wrong={
        "square root of the stable rank": [slope * 16 * math.sqrt(r / 16) for r in line],
        "square of the stable rank": [slope * 16 * (r / 16) ** 2 for r in line],
        "rank in place of stable rank": [slope * 16 for _ in line],
    },
    seed=seed,
)

# %%
depth = 6
deep = Ensemble((24,) * (depth + 1), 12, 1.5, negative_slope=0.5)
rate = 0.625 * 1.5**2 * 12 / 24  # eta s^2 r / n
grown = replicates(deep, networks_depth, generator(11), slopes=(0.5,))[0, :, 0]
check.sampled(
    "F2.exponential-in-depth",
    "E ||h_l||^2 for depths 1 to 6 is the l-th power of eta s^2 r / n",
    grown,
    feature_norm(deep).mean[1:],
    wrong={
        "one layer's factor dropped": [rate ** (l - 1) for l in range(1, depth + 1)],
        "linear in depth": [1 + l * (rate - 1) for l in range(1, depth + 1)],
        "worst case, s^2 a layer": [1.5 ** (2 * l) for l in range(1, depth + 1)],
    },
    seed=seed,
)

# %% [markdown]
# The picture of the message: ReLU networks of width 32 at the same spectral norm, and a second layer of every stable
# rank.

# %%
ratios, levels = (1.0, 0.8, 0.6, 0.4, 0.2), range(1, 17)
lines = [Ensemble((32,) * 17, 32 * ratio, math.sqrt(2)) for ratio in ratios]
clouds = [replicates(e, networks_figure, generator(12), chunk=150)[0, :, 0] for e in lines]
for ratio, e, X in zip(ratios, lines, clouds, strict=True):
    print(
        f"r/n = {ratio:.1f}: mean squared feature norm at depth 16, theory {feature_norm(e).mean[-1]:.3g},",
        f"simulation {X[:, -1].mean():.2g}",
    )
glue("networks", networks)

# %% mystnb={"figure": {"caption": "Stable rank enters as a linear factor in each layer, and its effect accumulates exponentially with depth. Left: mean squared feature norm of ReLU networks of width 32, all of spectral norm $\\sqrt2$, against depth; every line is the exact prediction of F2 with slope log(r/n), points are means over dense networks with 95 % intervals, thin lines are single networks. Right: the same mean against the stable rank of the second layer alone is a straight line through zero.", "name": "fig-depth"}, "image": {"alt": "Left panel: straight lines on a logarithmic scale fan out downwards with depth, the lower the ratio of stable rank to width the steeper, with simulated points on every line. Right panel: a straight line through the origin with four simulated points on it."}} tags=["hide-input"]
fig, (left, right) = plotting.figure(1, 2, size=(8.8, 4.2), width_ratios=(1.75, 1))
for ratio, e, X, color in zip(ratios, lines, clouds, plotting.palette(ratios), strict=True):
    mean, half = X.mean(0), 1.96 * X.std(0) / X.mean(0) / math.sqrt(len(X))
    left.plot(range(1, 17), X[:20].T, color=color, alpha=0.16, linewidth=0.7, zorder=1)
    plotting.theory(left, range(17), feature_norm(e).mean, color=color)
    plotting.points(
        left,
        levels,
        mean,
        (mean * -torch.expm1(-half), mean * torch.expm1(half)),
        color=color,
    )
    left.annotate(
        f"$r/n={ratio:g}$",
        (16, feature_norm(e).mean[-1]),
        (8, 0),
        textcoords="offset points",
        color=color,
        va="center",
        fontweight="bold",
    )
left.set(
    yscale="log",
    xlabel="depth $l$",
    xlim=(-0.3, 19.9),
    xticks=range(0, 17, 2),
    title="exponential in depth",
    ylabel=r"mean squared feature norm $\mathbb{E}\,\|h_l\|^2 / \|x\|^2$",
)
blue = plotting.palette(1)[0]
plotting.theory(right, (0, 16), (0, 16 * slope), color=blue, label=r"F2: $\propto r_2$")
error = 1.96 * along.std(0) / math.sqrt(len(along))
plotting.points(right, line, along.mean(0), error, color=blue, label="dense networks")
right.set(
    xlabel="stable rank $r_2$ of the second layer",
    ylabel=r"$\mathbb{E}\,\|h_2\|^2 / \|x\|^2$",
    xlim=(0, 16.5),
    ylim=(0, None),
    title="linear in each stable rank",
)
plotting.legend(right, loc="upper left")

# %% [markdown]
# ## Gaussian layers as a special case (F3)
#
# Independent Gaussian weights have random stable ranks and spectral norms. With variance $2/n_l$, which keeps the mean
# squared norm (He's initialization if all widths are equal), the second moment is $\prod_l(1+5/n_l)$, exactly.

# %%
sizes = (16, 24, 32, 24)
g, squares = generator(13), []
for _ in range(0, networks, 2_000):
    W = [
        torch.randn(2_000, m, n, generator=g) * math.sqrt(2 / m)
        for n, m in itertools.pairwise(sizes)
    ]
    X = squared_norms(Network(tuple(W), torch.ones(2_000, sizes[-1])), basis(sizes[0]))
    squares.append(X.square().mean(1))
width, fan_in = torch.tensor(sizes[1:]), torch.tensor(sizes[:-1])
check.sampled(
    "F3.gaussian",
    "E ||h_l||^4 of Gaussian ReLU layers that keep the mean is the product of 1 + 5 / n_l",
    torch.cat(squares),
    (1 + 5 / width).cumprod(0),
    wrong={
        "orthogonal layers, 3 / n_l": (1 + 3 / width).cumprod(0),
        "fan-in in place of fan-out": (1 + 5 / fan_in).cumprod(0),
        "gates all open": (1 + 2 / width).cumprod(0),
    },
    seed=seed,
)

# %% [markdown]
# ## The fluctuation exponent (F3)
#
# $\epsilon$ bounds the exact $\log\bigl(\mathbb EX_L^2/(\mathbb EX_L)^2\bigr)$ from above at every width, and from
# below up to a relative error of at most $\frac2{N+2}+\frac12\max_l$ of its terms, $N$ the smallest width.

# %%
grid = itertools.product(
    (3, 5, 16, 64), (1, 4, 20), (0.0, 0.1, 0.5, 0.9), fixed, (0.0, 0.2, 0.7)
)
ensembles = [
    Ensemble((n,) * (L + 1), 1 + t * (n - 1), law=f, negative_slope=a)
    for n, L, t, f, a in grid
]
ensembles += [replace(mixed, law=f, negative_slope=a) for f in fixed for a in slopes]
epsilon = np.array([fluctuation_exponent(e) for e in ensembles])
ratio = np.array([feature_norm(e).log_ratio[-1].item() for e in ensembles])


# %%
def largest_term(e):
    kappa = (
        (1 - e.negative_slope**2) / (1 + e.negative_slope**2)
    ) ** 2  # eta_4 / eta^2 - 1
    linear = [
        2 / p - 2 / n for p, n in zip(e.participation_ranks, e.widths[:-1], strict=True)
    ]
    return max(linear + [3 * kappa / m for m in e.widths[1:]])


margin = np.array([2 / (min(e.widths) + 2) + largest_term(e) / 2 for e in ensembles])
sharp = margin < 1
no_gates = [fluctuation_exponent(replace(e, negative_slope=1)) for e in ensembles]
flat = [
    replace(e, widths=(w := max(e.widths),) * (e.depth + 1), stable_ranks=w)
    for e in ensembles
]  # orthogonal
display(
    check.bound(
        "F3.exponent-above",
        f"log of the exact moment ratio is at most the fluctuation exponent, for {len(ensembles)} networks",
        ratio,
        epsilon,
        wrong={
            "gates left out": no_gates,
            "every layer as if orthogonal": [fluctuation_exponent(e) + 1e-9 for e in flat],
        },
    ),
    check.bound(
        "F3.exponent-below",
        f"the exponent less its error bound is at most the log of the exact moment ratio, for {sharp.sum()} networks",
        (epsilon * (1 - margin))[sharp],
        ratio[sharp],
        wrong={
            "every layer as if orthogonal": [
                feature_norm(e).log_ratio[-1] + 1e-9
                for e, b in zip(flat, sharp, strict=True)
                if b
            ]
        },
    ),
)

# %% [markdown]
# Closed forms for square ReLU layers, and the bracket that S1 puts around every law at the same stable rank.

# %%
n, L = 16, 5
whole = torch.arange(1.0, n + 1, 3)


def exponents(law):
    return np.array(
        [fluctuation_exponent(Ensemble((n,) * (L + 1), r, law=law)) for r in whole]
    )


lowest, highest, orthogonal = (
    exponents(spectra.two_level),
    exponents(spectra.projector),
    np.full(len(whole), 3 * L / n),
)
check.exact(
    "F3.closed-forms",
    "fluctuation exponent of two-level and projector spectra from rank one to orthogonal layers",
    [lowest, highest],
    torch.stack(
        [
            3 * L / n + 2 * L * (n - whole) ** 2 / (n * (n - 1) * whole**2),
            (1 + 2 * n / whole) * L / n,
        ]
    ),
    wrong={
        "orthogonal, 3 L / n": [orthogonal] * 2,
        "Gaussian, 5 L / n": [orthogonal * 5 / 3] * 2,
    },
)

# %%
inside = [exponents(spectra.power_law), exponents(spectra.uniform_sphere)]
display(
    check.bound(
        "F3.bracket-above",
        "exponents of power-law and uniform spectra are at most the projector's of the same stable rank",
        inside,
        highest,
        wrong={"two-level spectrum": lowest, "orthogonal layers": orthogonal},
    ),
    check.bound(
        "F3.bracket-below",
        "exponents of power-law and uniform spectra are at least the two-level spectrum's of the same stable rank",
        [lowest] * 2,
        inside,
        wrong={
            "orthogonal layers": orthogonal,
            "half of the exponents": np.array(inside) / 2,
        },
    ),
)

# %% [markdown]
# ## Participation rank orders the spread, stable rank does not (F3)
#
# A projector of stable rank 12 against a two-level spectrum of stable rank 6, both of width 24 and rescaled to keep
# the mean: the *larger* stable rank has the larger spread.

# %%
pair = [
    Ensemble((24,) * 3, r, law=f).preserving()
    for r, f in ((12, spectra.projector), (6, spectra.two_level))
]
spread = torch.stack(
    [
        replicates(e, networks_order, generator(14 + i))[:, :, 0, -1]
        for i, e in enumerate(pair)
    ],
    2,
)
predicted = torch.tensor([feature_norm(e).second[-1] for e in pair])
for e in pair:
    print(
        f"stable rank {e.stable_ranks[0]:.0f}, participation rank {e.participation_ranks[0]:.1f}:",
        f"relative variance of the squared norm {feature_norm(e).relative_variance[-1]:.3f}",
    )

# %%
check.sampled(
    "F2.preserving",
    "E ||h_2||^2 = 1 at two stable ranks once the spectral norms are chosen by F2",
    spread[0],
    torch.ones(2),
    wrong={"one spectral norm for both, 2": [1.0, 0.25]},
    seed=seed,
)

# %%
check.sampled(
    "F3.order",
    "E ||h_2||^4 at equal means: stable rank 12 (projector) spreads more than stable rank 6 (two-level)",
    spread[1],
    predicted,
    wrong={
        "ordered by stable rank": predicted.flip(0),
        "stable rank in place of participation rank": [
            second_moments(e, e.stable_ranks, 0.0)[-1] for e in pair
        ],
        "a flat spectrum, q = r^2 / k": [
            second_moments(e, [r**2 / 24 for r in e.stable_ranks], 0.0)[-1] for e in pair
        ],
    },
    seed=seed,
)

# %% [markdown]
# What the spread looks like: six ReLU layers of width 24 at the same stable rank, all with mean 1.

# %%
same = {
    "projector": spectra.projector,
    "uniform": spectra.uniform_sphere,
    "two-level": spectra.two_level,
}
crowd = {name: Ensemble((24,) * 7, 6, law=f).preserving() for name, f in same.items()}
crowd["orthogonal"] = Ensemble((24,) * 7, 24).preserving()
inputs = torch.eye(24)[:6]  # pooled: a smoother estimate of the same density
logs = {}
for i, (name, e) in enumerate(crowd.items()):
    X = squared_norms(e.sample(networks_histogram, generator=generator(16 + i)), inputs)[
        ..., -1
    ].flatten()
    logs[name] = X[X > 0].log()  # a network dies with probability below 1e-6
    print(
        f"{name}: participation rank {e.participation_ranks[0]:.1f}, exponent {fluctuation_exponent(e):.2f},",
        f"standard deviation of the log {logs[name].std():.2f}",
    )

# %% mystnb={"figure": {"caption": "Same mean, different spread. Distribution of the log squared feature norm after six ReLU layers of width 24: three spectra of the same stable rank 6, and orthogonal layers for comparison, all rescaled so that the mean squared norm is exactly 1 (dashed). The lower the participation rank p, the wider the distribution, and the further its typical value lies below the mean.", "name": "fig-spread"}, "image": {"alt": "Four bell-shaped curves of log squared feature norm. The projector spectrum's is the widest and lies furthest to the left, the orthogonal one's the narrowest; a dashed vertical line marks the common mean."}} tags=["hide-input"]
fig, ax = plotting.figure(size=(6.4, 3.8))
grid = torch.linspace(-6, 3, 200)
for (name, e), color in zip(crowd.items(), plotting.palette(4), strict=True):
    width = (
        1.4 * logs[name].std() * len(logs[name]) ** -0.2
    )  # a little above Silverman's rule, as inputs are dependent
    density = (-((grid[:, None] - logs[name]) ** 2) / (2 * width**2)).exp().mean(1) / (
        width * math.sqrt(2 * math.pi)
    )
    label = f"{name}, $r={e.stable_ranks[0]:g}$, $p={e.participation_ranks[0]:.1f}$"
    ax.plot(grid, density, color=color, label=label)
    ax.fill_between(grid, density, color=color, alpha=0.07)
ax.axvline(0, color="0.3", linestyle="--", linewidth=1)
ax.annotate(
    "mean 1\nfor all four",
    (0, 0.97),
    (40, 0),
    xycoords=("data", "axes fraction"),
    textcoords="offset points",
    color="0.3",
    va="top",
)
ax.set(
    xlabel=r"$\log\,\|h_6\|^2/\|x\|^2$", ylabel="density", xlim=(-6, 3.4), ylim=(0, None)
)
plotting.legend(ax, loc="upper left")

# %% [markdown]
# Collapse: depths 1 to 6, two widths, four spectra, three activations.

# %%
groups = [
    (n, r, f)
    for n in (16, 24)
    for r, f in (
        (n / 4, spectra.projector),
        (n / 2, spectra.uniform_sphere),
        (n / 3, spectra.two_level),
        (n / 4, spectra.power_law),
        (n, spectra.two_level),
    )
]
table = []
for i, (n, r, law) in enumerate(groups):
    e = Ensemble((n,) * 7, r, law=law).preserving()
    first, second = replicates(e, networks_collapse, generator(20 + i), slopes)
    influence = second / second.mean(0) - 2 * first / first.mean(0)
    value, error = (
        second.mean(0).log() - 2 * first.mean(0).log(),
        influence.std(0) / math.sqrt(networks_collapse),
    )
    for (a, slope), L in itertools.product(enumerate(slopes), range(1, 7)):
        part = Ensemble((n,) * (L + 1), r, law=law, negative_slope=slope)
        table.append(
            [
                a,
                fluctuation_exponent(part),
                fluctuation_exponent(part)
                + 2 * L * (1 / r - 1 / part.participation_ranks[0]),
                value[a, L - 1],
                error[a, L - 1],
                feature_norm(part).log_ratio[-1],
            ]
        )
kind, epsilon, naive, value, error, exact_ratio = np.array(table).T
glue("collapse-points", len(table))
wide = epsilon > 0.01  # linear orthogonal layers keep every norm: no spread to compare
print(
    f"{len(table)} points; exact log ratio over exponent: {(exact_ratio[wide] / epsilon[wide]).min():.2f} to 1"
)

# %% mystnb={"figure": {"caption": "Data collapse: simulated log of the moment ratio of the squared feature norm, for depths 1 to 6, widths 16 and 24, five spectra and three activations (95 % intervals). Left: against the exact F3. Middle: against the fluctuation exponent $\\epsilon$, its leading order in inverse width: one narrow band, below the diagonal and tangent to it at 0. Right: with the stable rank in place of the participation rank the same points scatter. Grey lines are equality.", "name": "fig-collapse"}, "image": {"alt": "Three panels with points of three colours. In the left one the points lie on the diagonal, in the middle one in a narrow band slightly below it, in the right one they are scattered over the whole wedge below it."}} tags=["hide-input"]
fig, axes = plotting.figure(1, 3, size=(9.6, 3.7), sharey=True)
panels = {
    "exact, F3": (exact_ratio, r"$\log$ of the predicted ratio"),
    "leading order": (epsilon, r"fluctuation exponent $\epsilon$"),
    "stable rank only": (naive, r"$\epsilon$ with $r_l$ in place of $p_l$"),
}
for ax, (title, (x, name)) in zip(axes, panels.items(), strict=True):
    plotting.theory(ax, (0, 1.75), (0, 1.75), color="0.5")
    for a, color in enumerate(plotting.palette(3)):
        rows = (kind == a) & (x <= 1.75)
        plotting.points(
            ax, x[rows], value[rows], 1.96 * error[rows], color=color, label=labels[a]
        )
    ax.set(title=title, xlabel=name, xlim=(-0.05, 1.8), ylim=(-0.05, 1.8))
axes[0].set_ylabel(r"simulated $\log\,\mathbb{E}X_L^2 / (\mathbb{E}X_L)^2$")
plotting.legend(axes[0], loc="upper left")

# %% [markdown]
# How much room the stable rank leaves to the participation rank: S1 bounds it on both sides.

# %%
n, axis, middle = 32, np.linspace(2, 32, 121), np.arange(5, 32, 4)
ends = {
    f: [fluctuation_exponent(Ensemble((n, n), float(r), law=f)) * n for r in axis]
    for f in fixed
}
gaussian = torch.randn(20, n, n, generator=generator(40))
he = [
    srlib.stable_rank(gaussian),
    n * (2 / srlib.participation_rank(gaussian) - 2 / n + 3 / n),
]
uniform = [
    fluctuation_exponent(Ensemble((n, n), float(r), law=spectra.uniform_sphere)) * n
    for r in middle
]
print(
    f"r/n = 0.5: exponent times n / L, two-level {ends[fixed[0]][56]:.2f}, projector {ends[fixed[1]][56]:.2f};",
    f"Gaussian matrices {he[1].mean():.1f} at r/n = {he[0].mean() / n:.1f}",
)

# %% mystnb={"figure": {"caption": "Stable rank brackets the spread, the law of the spectrum decides within the bracket. Fluctuation exponent of a square ReLU layer of width 32, times the width: 3 is the gates' own share. Two-level spectra are lowest and projectors highest at every stable rank (S1); its scallops are the remainder when r is not whole. A Gaussian matrix has r/n near 1/4 and exponent near 5.", "name": "fig-bracket"}, "image": {"alt": "Shaded region between a lower curve that falls quickly to 3 and an upper curve that falls slowly from high values to 3 as the ratio of stable rank to width goes to 1; uniform and power-law spectra lie between, Gaussian matrices appear as a cluster near 0.3 and 5."}} tags=["hide-input"]
fig, ax = plotting.figure(size=(6.4, 3.8))
colors = plotting.palette(5)
ax.fill_between(axis / n, ends[fixed[0]], ends[fixed[1]], color="0.93")
for (_, y), color, name in zip(
    ends.items(),
    colors,
    ("two-level (lowest)", "projector (highest)", "power law"),
    strict=False,
):
    plotting.theory(ax, axis / n, y, color=color, label=name)
plotting.points(ax, middle / n, uniform, color=colors[3], label="uniform on the sphere")
plotting.points(
    ax, he[0] / n, he[1], color=colors[4], marker="D", label="drawn Gaussian matrices"
)
ax.axhline(3, color="0.4", linestyle=":", linewidth=1)
ax.set(
    xlabel="stable rank over width $r/n$",
    ylabel=r"fluctuation exponent $\epsilon\, n/L$",
    xlim=(0, 1.02),
    ylim=(2, 14),
)
plotting.legend(ax, loc="upper right")

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
# their angle fluctuates (F6); and the gradients of typical networks are far below the Lipschitz bound when stable
# ranks are low (F7). Each statement is checked at small width and against wrong alternatives.

# %%
import itertools
import math
from dataclasses import replace

import numpy as np
import torch
from IPython.display import display
from scipy.special import digamma, gammaln

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
from srlib.moments import feature_norm, fluctuation_exponent, log_growth

torch.set_default_dtype(torch.float64)  # everything that is compared is in double precision

# %% tags=["parameters"]
seed = 1  # of every draw; each section adds an offset of its own
networks_signs = 170_000  # networks for the products of signs
networks_norms = 44_000  # networks for signs against norms, and for independent coins
networks_growth = 45_000  # networks for each case of typical growth
networks_narrow = 340_000  # networks of the narrow case, of which many die
networks_deep = 24_000  # networks of the deep random walk
frames = 120_000  # pairs of vectors for each width of the arc-cosine kernel
matrices = 3_000  # matrices for each law of the overlaps
networks_gradient = 40_000  # networks for each case of the gradients


# %%
def generator(offset):
    return torch.Generator().manual_seed(seed + 1_000 * offset)


def squared_norms(network, x):
    """X_0, ..., X_L of every network at one unit input, or at several: (networks, [inputs,] layers)."""
    post = feedforward.forward(network, x.reshape(-1, x.shape[-1])).post
    X = torch.stack([h.square().sum(-1) for h in post], -1)
    return X.reshape(len(X), *x.shape[:-1], len(post))


def pre_activations(network, x):
    """a_1, ..., a_L, each of shape (networks, inputs, n_l)."""
    post = feedforward.forward(network, x).post
    return [h @ W.mT for h, W in zip(post, network.weights, strict=False)]


def signs(network, x):
    """Signs of the pre-activations at one input, neurons of all layers in a row; 0 in a dead network."""
    return torch.cat(pre_activations(network, x.unsqueeze(0)), -1).squeeze(1).sign()


# %% [markdown]
# ## Signs, by enumeration (F4)
#
# Flip the signs of rows of the weight matrices of *one* drawn leaky network, in all $2^{10}$ ways. If signs are fair
# coins for a reason of symmetry, every pattern of the ten gates must be met exactly once. A bias breaks the symmetry.


# %%
def patterns(weights, x, slope, bias=0.0):
    """How often each pattern of gates is met when all rows are flipped in all ways."""
    sizes = [len(W) for W in weights]
    flips = torch.cartesian_prod(*[torch.tensor([1.0, -1.0])] * sum(sizes))
    h, code = x.expand(len(flips), -1), torch.zeros(len(flips), dtype=torch.long)
    for R, W in zip(flips.split(sizes, -1), weights, strict=True):
        a = R * (h @ W.T) + bias
        code = code * 2 ** len(W) + (a > 0).long() @ 2 ** torch.arange(len(W))
        h = torch.where(a > 0, a, slope * a)
    return code.bincount(minlength=len(flips))


few = Ensemble((3, 4, 3, 3), 2.5, law=spectra.power_law).sample(1, generator=generator(0))
weights, x = [W[0] for W in few.weights], torch.eye(3)[0]
counts = [patterns(weights, x, a) for a in (0.2, -0.5)]
check.exact(
    "F4.enumeration",
    "how often each of 1,024 patterns of gates is met when rows are flipped in all ways",
    torch.stack(counts),
    torch.ones(2, 1024),
    wrong={"with a bias": torch.stack([patterns(weights, x, a, 0.3) for a in (0.2, -0.5)])},
)

# %% [markdown]
# ## Signs of sampled networks (F4)
#
# Means of all 15 signs and of all 105 products of two of them. The alternatives: factors from a QR factorization whose
# signs nobody fixed, the same neuron at two inputs, a positive bias.


# %%
def products(first, second):
    i, j = torch.triu_indices(first.shape[1], first.shape[1], 1)
    return torch.cat([first, first[:, i] * second[:, j]], -1)


def unfixed(shape, sigma, count, generator):
    """A layer whose factors are QR factors with signs as the factorization leaves them."""
    U, V = (
        torch.linalg.qr(torch.randn(count, n, n, generator=generator))[0] for n in shape
    )
    return (U[..., : len(sigma)] * sigma) @ V[..., : len(sigma)].mT


def biased(network, x, bias):
    """Signs of the same network with a constant added to every pre-activation."""
    h, found = x.expand(len(network.readout), -1), []
    for W in network.weights:
        a = (W @ h.unsqueeze(-1)).squeeze(-1) + bias
        h = torch.where(a > 0, a, network.negative_slope * a)
        found.append(torch.where(a > 0, 1.0, -1.0))
    return torch.cat(found, -1)


e = Ensemble((5, 6, 5, 4), 2.5, negative_slope=0.2)
network = e.sample(networks_signs, generator=generator(1))
x, y = torch.eye(5)[0], torch.tensor([0.6, 0.8, 0, 0, 0])
coins = signs(network, x)
layers = [
    unfixed(s, spectra.two_level(s, 2.5), networks_signs, generator(2)) for s in e.shapes
]
raw = signs(replace(network, weights=layers), x)
check.sampled(
    "F4.products",
    "means of 15 signs of pre-activations and of their 105 products are 0",
    products(coins, coins),
    torch.zeros(120),
    wrong_samples={
        "signs of QR left as they fall": products(raw, raw),
        "same neurons at another input": torch.cat(
            [coins * signs(network, y), products(coins, coins)[:, 15:]], -1
        ),
        "with a bias": products(*[biased(network, x, 0.1)] * 2),
    },
    scale=1.0,
    seed=seed,
)

# %% [markdown]
# Signs and gains: the number of open gates of layer $l$ against the gain $\|W_jh_{j-1}\|^2/\|h_{j-1}\|^2$ of every
# layer $j$. The alternative counts the gain of the layer *with* its gates.

# %%
sizes = list(e.widths[1:])
excess = torch.stack([s.sum(-1) for s in coins.split(sizes, -1)], -1)
images = pre_activations(network, x.unsqueeze(0))
X = squared_norms(network, x)
gains = torch.stack([a.square().sum((1, 2)) for a in images], -1) / X[:, :-1]
mean = torch.tensor([2.5 / n for n in e.widths[:-1]])
scaled = excess / torch.tensor(sizes).sqrt()
eta = (1 + 0.2**2) / 2
check.sampled(
    "F4.gains",
    "covariance of open gates in layer l with the gain of the linear map in layer j is 0",
    scaled.unsqueeze(-1) * (gains / mean).unsqueeze(1),
    torch.zeros(3, 3),
    wrong_samples={
        "gain with its gates": scaled.unsqueeze(-1)
        * (X[:, 1:] / X[:, :-1] / (eta * mean)).unsqueeze(1)
    },
    scale=1.0,
    seed=seed,
)

# %% [markdown]
# Signs and norms are *not* independent where the norm has seen the gates: with
# $\varepsilon_{l,i}=\pm1$ the signs of layer $l$,
# $\mathbb E\bigl[\sum_i\varepsilon_{l,i}\,\|h_j\|^2\bigr]=\frac{1-a^2}{1+a^2}\,\mathbb E\|h_j\|^2$ if $l\le j$, and 0
# if the layer comes later. The same holds for $\|J\|_F^2$.

# %%
slopes = (0.0, 0.2)
mixed = Ensemble((6, 10, 8, 9), (5, 6, 7), (1.3, 1.7, 2.0))
tables, inputs = [], torch.cat([torch.eye(6), -torch.eye(6)])
for i, a in enumerate(slopes):
    drawn = replace(mixed, negative_slope=a)
    net = drawn.sample(networks_norms, generator=generator(3 + i))
    excess = torch.stack([z.sign().sum(-1) for z in pre_activations(net, inputs)], -1)
    J2 = feedforward.jacobian(net, inputs).square().sum((-1, -2)).unsqueeze(-1)
    norms = feature_norm(drawn).mean[1:]
    size = torch.cat(
        [squared_norms(net, inputs)[..., 1:] / norms, J2 / (6 * norms[-1])], -1
    )
    tables.append(torch.einsum("bil,bij->blj", excess, size - 1) / len(inputs))
seen = torch.tensor([[1.0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1]])  # layers by norms, then J
predicted = torch.stack([(1 - a**2) / (1 + a**2) * seen for a in slopes])
check.sampled(
    "F4.norms",
    "covariance of the excess of open gates in layer l with ||h_1||^2, ||h_2||^2, ||h_3||^2, ||J||_F^2",
    torch.stack(tables, 1),
    predicted,
    wrong={
        "signs independent of all norms": torch.zeros(2, 3, 4),
        "later gates matter too": predicted.amax(1, keepdim=True).expand(2, 3, 4),
        "ReLU's value for the leaky slope": torch.stack([seen, seen]),
    },
    scale=1.0,
    seed=seed,
)

# %% [markdown]
# Replacement: the network with its own gates against gates tossed independently of all weights. Five statistics of
# $\|h_3\|^2$ and the Jacobian at one input, each divided by its mean: their means must agree.


# %%
def statistics(J):
    """Moments of the Jacobian and of J x, averaged over the inputs."""
    F, h = (
        J.square().sum((-1, -2)),
        torch.einsum("bnij,nj->bni", J, inputs).square().sum(-1),
    )
    parts = [F, F**2, h, F * h, (J.mT @ J).square().sum((-1, -2))]
    return torch.stack([v.mean(1) for v in parts], -1)


def product(weights, gates):
    J = gates[0].unsqueeze(-1) * weights[0].unsqueeze(1)
    for W, gate in zip(weights[1:], gates[1:], strict=True):
        J = gate.unsqueeze(-1) * (W.unsqueeze(1) @ J)
    return J


def uniforms(generator):
    """A number for each gate, input and network."""
    return [torch.rand(networks_norms, 4, m, generator=generator) for m in mixed.widths[1:]]


inputs = torch.cat([torch.eye(6)[:2], -torch.eye(6)[:2]])
net = mixed.sample(networks_norms, generator=generator(5))
other = mixed.sample(networks_norms, generator=generator(6)).weights
own = statistics(feedforward.jacobian(net, inputs))
tosses = uniforms(generator(7))
ways = {
    "": [(t < 0.5).double() for t in tosses],
    "one coin a layer": [(t[..., :1] < 0.5).expand(t.shape).double() for t in tosses],
    "exactly half of the gates open": [(t.argsort(-1) % 2).double() for t in tosses],
    "gates all open": [torch.ones(t.shape) for t in tosses],
}
differences = {
    name: (own - statistics(product(other, gates))) / own.mean(0)
    for name, gates in ways.items()
}
check.sampled(
    "F4.replacement",
    "moments of ||J||_F^2, ||Jx||^2 and of J^T J with the network's own gates less those with independent coins",
    differences.pop(""),
    torch.zeros(5),
    wrong_samples=differences,
    scale=1.0,
    seed=seed,
)

# %% [markdown]
# ## Typical growth: quadrature against closed forms (F5)
#
# For a projector of whole stable rank the gains are beta variables, and the mean log growth is a difference of
# digamma functions, averaged over the number of open gates.

# %%
shapes = [(1, 1), (5, 2), (12, 20), (20, 12), (16, 16), (300, 400)]  # fan-in, fan-out
cases = [(n, m, r) for n, m in shapes for r in sorted({1, (min(n, m) + 1) // 2, min(n, m)})]


def open_gates(m):
    """Probabilities of K = 1, ..., m open gates of m, given that one is open."""
    K = np.arange(1, m + 1)
    p = np.exp(gammaln(m + 1) - gammaln(K + 1) - gammaln(m - K + 1) - m * math.log(2))
    return K, p / p.sum()


def closed_form(n, m, r):
    K, p = open_gates(m)
    return (
        2 * math.log(1.3)
        + digamma(r / 2)
        - digamma(n / 2)
        + p @ digamma(K / 2)
        - digamma(m / 2)
    )


quadrature = [
    log_growth(Ensemble((n, m), r, 1.3, law=spectra.projector)).mean.item()
    for n, m, r in cases
]
beta = np.array([closed_form(*case) for case in cases])
check.exact(
    "F5.projectors",
    f"mean log growth of {len(cases)} projector layers by quadrature against digamma functions",
    quadrature,
    beta,
    wrong={
        "log of the mean factor": [math.log(1.3**2 * r / n / 2) for n, m, r in cases],
        "psi(n/2) dropped": beta + np.array([digamma(n / 2) for n, m, r in cases]),
        "half of the gates open": [
            b
            - open_gates(m)[1] @ digamma(open_gates(m)[0] / 2)
            + digamma(max(1, m // 2) / 2)
            for b, (n, m, r) in zip(beta, cases, strict=True)
        ],
    },
    tolerance=1e-11,
)

# %% [markdown]
# Typical networks grow less than the mean: never more than $\eta s^2r/n$ divided by the probability to survive a
# layer. That division is needed: a single ReLU neuron that is open has gain 1, and the mean is $\frac12$.

# %%
grid = itertools.product(
    ((1, 1), (2, 1), (4, 2), (12, 20), (64, 64)),
    (0.0, 0.3, 1.0),
    (spectra.two_level, spectra.projector),
    (0.0, 0.2, 1.0),
)
single = [Ensemble(w, 1 + t * (min(w) - 1), law=f, negative_slope=a) for w, t, f, a in grid]
typical = np.array([log_growth(s).mean.item() for s in single])
survive = np.array([log_growth(s).log_survival.item() for s in single])
factor = np.array([feature_norm(s).log_mean[1].item() for s in single])
check.bound(
    "F5.jensen",
    f"typical growth factor is at most the mean factor over the survival probability, for {len(single)} layers",
    np.exp(typical),
    np.exp(factor - survive),
    wrong={
        "survival left out": np.exp(factor),
        "mean less the whole exponent": np.exp(
            factor - survive - [fluctuation_exponent(s) for s in single]
        ),
    },
)

# %% [markdown]
# In wide layers the gap between the two is half the fluctuation exponent of F3, and the variance of the log is the
# exponent itself.

# %%
wide = [
    Ensemble((2000, n, 2000), r, law=f, negative_slope=a)
    for n, r, f, a in itertools.product(
        (1000, 2000), (300, 900), (spectra.two_level, spectra.projector), slopes
    )
]
epsilon = np.array([fluctuation_exponent(w) for w in wide])
growth = [log_growth(w) for w in wide]
gap = np.array(
    [
        (feature_norm(w).log_mean[-1] - g.mean.sum()).item()
        for w, g in zip(wide, growth, strict=True)
    ]
)
variance = np.array([g.variance.sum().item() for g in growth])
by_rank = [
    fluctuation_exponent(w)
    + sum(
        2 * (1 / r - 1 / p)
        for r, p in zip(w.stable_ranks, w.participation_ranks, strict=True)
    )
    for w in wide
]
print(
    f"twice the gap over the exponent: {(2 * gap / epsilon).min():.3f} to {(2 * gap / epsilon).max():.3f}"
)
print(
    f"variance over the exponent: {(variance / epsilon).min():.3f} to {(variance / epsilon).max():.3f}"
)
check.exact(
    "F5.half-exponent",
    "twice the gap between log mean and typical growth, and the variance of the log, over the exponent",
    [2 * gap / epsilon, variance / epsilon],
    np.ones((2, len(wide))),
    wrong={
        "the gap is the exponent": np.stack([2 * np.ones(len(wide)), np.ones(len(wide))]),
        "stable rank in place of participation rank": [np.array(by_rank) / epsilon] * 2,
    },
    tolerance=0.02,
)

# %% [markdown]
# ## Typical growth of sampled networks (F5)
#
# Three ensembles of unequal widths, one of them so narrow that many networks die: those that survive are compared.
# In the wide ones four inputs a network are averaged; there a ReLU network dies with probability below $10^{-4}$.

# %%
runs = {
    "two-level, ReLU, narrow": Ensemble((6, 3, 4), (2.5, 2), (1.3, 0.7)),
    "uniform, ReLU": Ensemble((12, 20, 16), (6, 7), law=spectra.uniform_sphere),
    "projector, leaky": Ensemble(
        (12, 16, 14), (8.5, 9), law=spectra.projector, negative_slope=0.3
    ),
    "two-level, linear": Ensemble((12, 16, 14), (4, 9), negative_slope=1),
}
logs = {}
for i, (name, run) in enumerate(runs.items()):
    net = run.sample(
        networks_narrow if i == 0 else networks_growth, generator=generator(10 + i)
    )
    inputs = torch.eye(run.widths[0])[: 1 if i == 0 else 4]
    logs[name] = squared_norms(net, inputs).log()  # (networks, inputs, layers)
    g = log_growth(run)
    print(f"{name}: mean {g.mean.numpy().round(3)}, variance {g.variance.numpy().round(3)}")


# %%
def survivors(names):
    """Log growth of each layer of the networks that are alive, equally many of each ensemble."""
    alive = [logs[name][torch.isfinite(logs[name]).all((1, 2))] for name in names]
    return torch.stack([v[: min(map(len, alive))].diff(dim=-1) for v in alive], 2)


def gates_alone(run):
    """Mean log of the gates' factor: orthogonal layers keep every norm."""
    layers = [
        Ensemble((m, m), m, negative_slope=run.negative_slope) for m in run.widths[1:]
    ]
    return torch.cat([log_growth(layer).mean for layer in layers])


def column(f, names):
    return torch.stack([f(runs[name]) for name in names])


# %%
narrow, others = list(runs)[:1], list(runs)[1:]
for suffix, names in (("", others), ("-narrow", narrow)):
    typical, gates = column(lambda e: log_growth(e).mean, names), column(gates_alone, names)
    n = column(lambda e: torch.tensor(e.widths[:-1]).double(), names)
    wrong = {
        "log of the mean factor": column(lambda e: feature_norm(e).log_mean.diff(), names),
        "psi(n/2) dropped": typical + torch.digamma(n / 2) + math.log(2),
        "Gaussian coordinates for the sphere": typical
        + torch.digamma(n / 2)
        - (n / 2).log(),
        "gates all open": typical - gates,
    }
    if names == narrow:
        dead = column(lambda e: log_growth(e).log_survival.expm1(), names)
        wrong["not divided by the survival probability"] = typical + gates * dead
    display(
        check.sampled(
            f"F5.mean{suffix}",
            f"mean log growth of each layer of networks that survive: {'; '.join(names)}",
            survivors(names).mean(1),
            typical,
            wrong=wrong,
            seed=seed,
        )
    )

# %%
for suffix, names in (("", others), ("-narrow", narrow)):
    typical = column(lambda e: log_growth(e).mean, names)
    variance = column(lambda e: log_growth(e).variance, names)
    n = column(lambda e: torch.tensor(e.widths[:-1]).double(), names)
    display(
        check.sampled(
            f"F5.variance{suffix}",
            f"variance of the log growth of each layer of networks that survive: {'; '.join(names)}",
            ((survivors(names) - typical) ** 2).mean(1),
            variance,
            wrong={
                "relative variance of the growth (F3)": column(
                    lambda e: feature_norm(e).log_ratio.diff().expm1(), names
                ),
                "trigamma of n/2 not taken off": variance + torch.polygamma(1, n / 2),
            },
            seed=seed,
        )
    )

# %%
predicted = log_growth(runs[narrow[0]]).log_survival.cumsum(0).exp()
check.sampled(
    "F5.survival",
    "probability that a ReLU network of widths 3 and 4 is alive after each layer",
    torch.isfinite(logs[narrow[0]][:, 0, 1:]).double(),
    predicted,
    wrong={
        "last width only": [predicted[0], 1 - 2.0**-4],
        "fan-in in place of fan-out": [1 - 2.0**-6, (1 - 2.0**-6) * (1 - 2.0**-3)],
        "every network survives": [1.0, 1.0],
    },
    seed=seed,
)

# %% [markdown]
# Depth: a random walk with independent steps. At depth 24 the variance is the sum of the layers' variances, and the
# skewness of the log is small; one layer's is not.

# %%
deep = Ensemble((8,) * 25, 3, law=spectra.projector, negative_slope=0.2).preserving()
inputs = torch.cat([torch.eye(8), -torch.eye(8)])
parts = [
    squared_norms(deep.sample(networks_deep // 8, generator=generator(20 + i)), inputs)
    for i in range(8)
]
walks = torch.cat(parts).log()  # (networks, inputs, layers)
drift, step = (v.cumsum(0) for v in (log_growth(deep).mean, log_growth(deep).variance))
depths = torch.tensor([1, 2, 4, 8, 16, 24])
centred = walks[..., depths] - drift[depths - 1]
display(
    check.sampled(
        "F5.additive",
        "variance of log ||h_l||^2 at depths 1 to 24 is the sum over the layers",
        (centred**2).mean(1),
        step[depths - 1],
        wrong={
            "one layer for all depths": step[0].expand(6),
            "the same layer repeated": step[0] * depths**2,
            "fluctuation exponent (F3)": fluctuation_exponent(deep) / 24 * depths,
        },
        seed=seed,
    )
)


# %%
def skewness(z):
    z = (z - z.mean(-1, keepdim=True)) / z.std(-1, keepdim=True)
    return (z**3).mean(-1)


groups = walks[: networks_deep // 32 * 32].reshape(32, -1, 25)
shape = skewness(groups.transpose(1, 2)[:, [1, 24]])
print("skewness at depths 1 and 24:", shape.mean(0).numpy().round(1))
glue("skewness-one", shape[:, 0].mean().item())
glue("skewness-deep", shape[:, 1].mean().item())
check.empirical(
    "F5.normal",
    "skewness of log ||h_24||^2 over groups of networks is between -0.5 and 0.5",
    shape[:, 1],
    above=-0.5,
    below=0.5,
    wrong_samples={"one layer": shape[:, 0]},
    seed=seed,
)

# %%
width, depth = 32, 60
crowd = {
    "two-level": Ensemble((width,) * (depth + 1), 8).preserving(),
    "projector": Ensemble((width,) * (depth + 1), 8, law=spectra.projector).preserving(),
}
paths = {
    name: squared_norms(
        c.sample(40, generator=generator(30 + i)), torch.eye(width)[0]
    ).log10()
    for i, (name, c) in enumerate(crowd.items())
}
for name, c in crowd.items():
    typical = log_growth(c).mean.sum().item() / math.log(10)
    below = (paths[name][:, -1] < 0).double().mean().item()
    print(
        f"{name}: typical log10 at depth {depth}: {typical:.2f}; share of paths below the mean {below:.2f}"
    )

# %% mystnb={"figure": {"caption": "The typical network is not the mean network. Squared feature norm of 40 ReLU networks of width 32 and stable rank 8 with depth, rescaled so that the mean is exactly 1 in every layer (dashed). The solid line is the typical growth of F5 with two standard deviations around it. The projector's participation rank is lower than the two-level spectrum's, and its networks fade faster.", "name": "fig-typical"}, "image": {"alt": "Two panels of forty jagged paths that drift downwards around a straight line while a dashed line stays at zero; the projector's paths drift about twice as far and spread wider."}} tags=["hide-input"]
fig, axes = plotting.figure(1, 2, size=(8.4, 3.7), sharey=True)
steps_axis = np.arange(depth + 1)
for ax, (name, c), color in zip(axes, crowd.items(), plotting.palette(2), strict=True):
    line, spread = (
        np.append(0, v.cumsum(0)) for v in (log_growth(c).mean, log_growth(c).variance)
    )
    line, spread = line / math.log(10), 2 * np.sqrt(spread) / math.log(10)
    ax.plot(steps_axis, paths[name].T, color="0.6", linewidth=0.5, zorder=1)
    ax.fill_between(steps_axis, line - spread, line + spread, color=color, alpha=0.15)
    plotting.theory(ax, steps_axis, line, color=color, label="typical, F5")
    ax.axhline(0, color="0.2", linestyle="--", linewidth=1.2, label="mean, F2")
    ax.set(title=f"{name}, $p={c.participation_ranks[0]:.1f}$", xlabel="layer $l$")
axes[0].set_ylabel(r"$\log_{10}\,\|h_l\|^2/\|x\|^2$")
plotting.legend(axes[0], loc="lower left")

# %% [markdown]
# ## Two inputs: the arc-cosine kernel at small width (F6)
#
# Pairs of vectors of lengths 2 and 3 at seven angles, turned together by a Haar matrix of size 2, 3 and 6.

# %%
theta = torch.arange(0, 181, 30).deg2rad()
small, slopes = (2, 3, 6), (0.0, 0.2)


def kernel_samples(m, a, generator):
    """<phi(a), phi(b)> for a, b of lengths 2 and 3 at the angles theta, in a random position."""
    Q = haar.orthogonal(m, 2, batch=frames, generator=generator)
    first, second = 2 * Q[..., :1], 3 * (Q @ torch.stack([theta.cos(), theta.sin()]))
    phi = [torch.where(z > 0, z, a * z) for z in (first, second)]
    return (phi[0] * phi[1]).sum(1)


draws = [[kernel_samples(m, a, generator(40 + m)) for m in small] for a in slopes]
draws = torch.stack(
    [torch.stack(row, 1) for row in draws], 1
)  # (frames, slopes, widths, angles)


def rows(f):
    return torch.stack([6 * f(a).expand(3, -1) for a in slopes])


check.sampled(
    "F6.kernel",
    "E <phi(a), phi(b)> at seven angles and widths 2, 3 and 6, ReLU and leaky, is the arc-cosine kernel",
    draws,
    rows(lambda a: arccos.kappa1(theta, a)),
    wrong={
        "gates independent of the moduli": rows(
            lambda a: arccos.kappa0(theta, a) * theta.cos()
        ),
        "one coin for both inputs": rows(lambda a: (1 + a**2) / 2 * theta.cos()),
        "ReLU's kernel for the leaky slope": rows(lambda a: arccos.kappa1(theta)),
    },
    scale=3.0,
    seed=seed,
)

# %% [markdown]
# In a network the identity holds given what happened before the gates: the inner product of the features of two
# inputs in the third layer, less the kernel at the angle at which they *arrive*. The angle at which a wide network
# would have them arrive does not do.

# %%
thin = Ensemble((6, 6, 8, 6), 4, law=spectra.projector).preserving()
net = thin.sample(networks_norms, generator=generator(50))
pair = [torch.eye(6), (torch.eye(6) + torch.eye(6).roll(1, 0)) / math.sqrt(2)]
(arrive, post), (arrive2, post2) = (
    (pre_activations(net, v)[2], feedforward.forward(net, v).post[3]) for v in pair
)
lengths = arrive.norm(dim=-1) * arrive2.norm(dim=-1)
inner = (post * post2).sum(-1)
found = arccos.between(arrive, arrive2)
wide_angle = arccos.next_angle(arccos.next_angle(torch.tensor(math.pi / 4)))
check.sampled(
    "F6.network",
    "inner product of two inputs' features in layer 3, less the kernel at the angle before the gates",
    (inner - lengths * arccos.kappa1(found)).mean(1),
    0.0,
    wrong_samples={
        "angle of a wide network": (inner - lengths * arccos.kappa1(wide_angle)).mean(1),
        "angle of the inputs": (
            inner - lengths * arccos.kappa1(torch.tensor(math.pi / 4))
        ).mean(1),
        "gates independent of the moduli": (
            inner - lengths * arccos.kappa0(found) * found.cos()
        ).mean(1),
    },
    scale=0.5,
    seed=seed,
)

# %% [markdown]
# The angle itself: the second moment of $\langle Wx,Wy\rangle$ at 0, 45 and 90 degrees, for three laws, in units of
# $(s^2r/n)^2$. Each matrix is averaged over all pairs of coordinate directions.

# %%
m, n, r = 14, 12, 5.0
turn = torch.tensor([0.0, 45.0, 90.0]).deg2rad()
laws = (spectra.two_level, spectra.projector, spectra.uniform_sphere)
index, jndex = torch.triu_indices(n, n, 1)


def overlaps(law, generator):
    """Squares of n <Wx, Wy> / r for x = e_i and y at an angle to it towards e_j."""
    W = sample((m, n), r, law=law, batch=matrices, generator=generator)
    G = W.mT @ W * n / r
    diagonal, off = G[:, index, index, None], G[:, index, jndex, None]
    return (turn.cos() * diagonal + turn.sin() * off).square().mean(1)


def overlap(p):
    """F6: second moment of n <Wx, Wy> / r."""
    beta = n * (n / p - 1) / ((n - 1) * (n + 2))
    return turn.cos() ** 2 + beta * (1 + (1 - 2 / n) * turn.cos() ** 2)


drawn = torch.stack([overlaps(f, generator(60 + i)) for i, f in enumerate(laws)], 1)
p = [Ensemble((n, m), r, law=f).participation_ranks[0] for f in laws]
predicted = torch.stack([overlap(q) for q in p])
check.sampled(
    "F6.overlap",
    "second moment of <Wx, Wy> at 0, 45 and 90 degrees for three laws",
    drawn,
    predicted,
    wrong={
        "stable rank in place of participation rank": torch.stack([overlap(r)] * 3),
        "no fluctuation": (turn.cos() ** 2).expand(3, 3) + 1e-12,
        "independent Gaussian rows, 1 / p": torch.stack(
            [turn.cos() ** 2 + (1 + turn.cos() ** 2) / q for q in p]
        ),
    },
    seed=seed,
)

# %% [markdown]
# The standard deviation of $\cos\theta'$ after the linear map, over $\sin^2\theta\sqrt{1/p-1/n}$: close to 1 in wide
# layers, for all spectra.

# %%
n = 128
turn = torch.tensor([30.0, 60.0, 90.0]).deg2rad()
spread_cases = [
    (f, r)
    for f in (
        spectra.two_level,
        spectra.projector,
        spectra.power_law,
        spectra.uniform_sphere,
    )
    for r in (16.0, 32.0, 64.0, 96.0)
]


def cosine_spread(W):
    """Standard deviation over disjoint pairs of cos theta' for each angle, one number a matrix: mean square."""
    first, second = W[..., 0::2], W[..., 1::2]
    second = (
        turn.cos()[:, None, None, None] * first + turn.sin()[:, None, None, None] * second
    )
    cosine = (first * second).sum(-2) / (first.norm(dim=-2) * second.norm(dim=-2))
    return (cosine - turn.cos()[:, None, None]).square().mean(-1)  # (angles, matrices)


squares, ranks = [], []
for i, (f, r) in enumerate(spread_cases):
    squares.append(
        cosine_spread(sample((n, n), r, law=f, batch=24, generator=generator(70 + i)))
    )
    ranks.append(Ensemble((n, n), r, law=f).participation_ranks[0])
squares, p = torch.stack(squares), torch.tensor(ranks)
room = (1 / p - 1 / n)[:, None]
ratio = (squares.mean(-1) / (turn.sin() ** 4 * room)).sqrt()
print(f"standard deviation over its leading order: {ratio.min():.2f} to {ratio.max():.2f}")
stable = torch.tensor([1 / r - 1 / n for _, r in spread_cases])[:, None]
collapse = (squares / (turn.sin() ** 4 * room).unsqueeze(-1)).mean((0, 1)).sqrt()
naive = (squares / (turn.sin() ** 4 * stable).unsqueeze(-1)).mean((0, 1)).sqrt()
check.empirical(
    "F6.angle-spread",
    "standard deviation of cos theta' over sin^2 theta (1/p - 1/n)^(1/2), width 128, is within 15 % of 1",
    collapse,
    above=0.85,
    below=1.15,
    wrong_samples={"stable rank in place of participation rank": naive},
    seed=seed,
)

# %%
n, at = 64, torch.tensor([10.0, 35, 60, 85, 110, 135, 160, 175]).deg2rad()
maps = {
    "two-level, $r=32$": (32.0, spectra.two_level),
    "projector, $r=8$": (8.0, spectra.projector),
}
after = {}
for i, (name, (r, law)) in enumerate(maps.items()):
    W = sample((n, n), r, law=law, batch=20, generator=generator(90 + i))
    a, b = W[..., 0::2].unsqueeze(-1), W[..., 1::2].unsqueeze(-1)
    b = a * at.cos() + b * at.sin()
    angles = arccos.between(a.relu().transpose(1, -1), b.relu().transpose(1, -1)).rad2deg()
    after[name] = angles.permute(0, 2, 1).reshape(-1, len(at))
    print(
        name,
        "mean angle:",
        after[name].mean(0).numpy().round(1),
        "deviation:",
        after[name].std(0).numpy().round(1),
    )

# %% mystnb={"figure": {"caption": "What a layer does to an angle. Left: angle between two inputs after one ReLU layer of width 64 against the angle before; bars hold one standard deviation of single pairs, the line is the map of an infinitely wide layer, and it does not know the stable rank. Right: standard deviation of the cosine after linear maps of width 128, over the squared sine of the angle, for four laws, four stable ranks and three angles, against the participation rank: one line, the leading order of F6.", "name": "fig-angles"}, "image": {"alt": "Left panel: points with bars along a concave curve below the diagonal, bars of the projector several times longer than those of the two-level spectrum. Right panel: points of four colours along one falling curve in the participation rank."}} tags=["hide-input"]
fig, axes = plotting.figure(1, 2, size=(8.8, 3.8))
line = torch.linspace(0, math.pi, 100)
plotting.theory(
    axes[0],
    line.rad2deg(),
    arccos.next_angle(line).rad2deg(),
    color="0.3",
    label="infinite width",
)
for i, ((name, angles), color) in enumerate(
    zip(after.items(), plotting.palette(2), strict=True)
):
    plotting.points(
        axes[0],
        at.rad2deg() + 3 * i - 1.5,
        angles.mean(0),
        angles.std(0),
        color=color,
        label=name,
    )
axes[0].set(
    xlabel=r"angle before $\theta$ (degrees)", ylabel=r"angle after the layer (degrees)"
)
plotting.legend(axes[0], loc="upper left")
axis = 128 - torch.logspace(-2, math.log10(114), 200)
plotting.theory(
    axes[1], axis, (1 / axis - 1 / 128).sqrt(), color="0.3", label=r"$\sqrt{1/p-1/n}$"
)
names = ("two-level", "projector", "power law", "uniform")
value = (squares.mean(-1).sqrt() / turn.sin() ** 2).reshape(4, 12)
for i, color in enumerate(plotting.palette(4)):
    plotting.points(
        axes[1],
        p.reshape(4, 4)[i].repeat_interleave(3),
        value[i],
        color=color,
        label=names[i],
    )
axes[1].set(
    yscale="log",
    ylim=(0.003, 0.5),
    xlabel="participation rank $p$",
    ylabel=r"deviation of $\cos\theta'$ over $\sin^2\theta$",
)
plotting.legend(axes[1], loc="lower left")

# %% [markdown]
# ## Jacobian and gradients, by enumeration (F7)
#
# One drawn network of three layers. If the rows of one layer are flipped in all $2^{8}$ ways, the mean of
# $\|D_lW_lu\|^2$ must be $\eta\|W_lu\|^2$ for *every* vector $u$, although the gates belong to another vector
# $h_{l-1}$.

# %%
net = Ensemble((5, 8, 8, 8), 3.5, law=spectra.power_law).sample(1, generator=generator(100))
slopes = (0.0, 0.2, -0.5)
flips = torch.cartesian_prod(*[torch.tensor([1.0, -1.0])] * 8)
flipped, plain = [], []
for a in slopes:
    post = feedforward.forward(replace(net, negative_slope=a), torch.eye(5)[:1]).post
    for h, W in zip(post, net.weights, strict=False):
        u = torch.randn(W.shape[-1], generator=generator(101))
        gate = torch.where(flips * (W[0] @ h[0, 0]) > 0, 1.0, a)
        flipped.append((gate * (W[0] @ u)).square().sum(-1).mean())
        plain.append((W[0] @ u).square().sum())
eta = torch.tensor([(1 + a**2) / 2 for a in slopes]).repeat_interleave(3)
ratio = torch.stack(flipped) / torch.stack(plain)
check.exact(
    "F7.enumeration",
    "mean of ||D_l W_l u||^2 over all flips of rows, over ||W_l u||^2, three layers and slopes",
    ratio,
    eta,
    wrong={"gates all open": torch.ones(9), "mean gate squared": eta - 0.25 * (1 - eta)},
)

# %% [markdown]
# Sampled networks: $\|Ju\|^2$ for a $u$ other than the input, $\|J\|_F^2$, and the gradient of the output, for three
# spectra and three slopes. Six inputs a network are averaged.

# %%
mixed = Ensemble((12, 20, 24, 16), (8, 12.3, 9), (1.3, 1.7, 2.0), readout_norm=1.5)
trials = [
    replace(mixed, law=f, negative_slope=a)
    for f, a in zip(
        (spectra.two_level, spectra.projector, spectra.uniform_sphere),
        (0.0, 0.2, 1.0),
        strict=True,
    )
]


inputs = torch.cat([torch.eye(12)[:3], -torch.eye(12)[:3]])


def gradients(e, generator):
    net = e.sample(networks_gradient // 4, generator=generator)
    J = feedforward.jacobian(net, inputs)
    gradient = (net.readout[:, None, None] @ J).squeeze(-2)
    parts = [
        J[..., 6:].square().sum(-2).mean(-1),
        J.square().sum((-1, -2)),
        gradient.square().sum(-1),
    ]
    return torch.stack([v.mean(1) for v in parts], -1)


def predictions(factors):
    """Of ||Ju||^2, ||J||_F^2 and the squared gradient, from the layers' factors."""
    gain = factors.prod(-1)
    return torch.stack([gain, 12 * gain, 1.5**2 * 12 / 16 * gain], -1)


drawn = torch.stack(
    [
        torch.cat([gradients(e, generator(110 + 10 * i + j)) for j in range(4)])
        for i, e in enumerate(trials)
    ],
    1,
)
eta = torch.tensor([[(1 + e.negative_slope**2) / 2] for e in trials])
n, m = torch.tensor(mixed.widths[:-1]), torch.tensor(mixed.widths[1:])
r, s = torch.tensor(mixed.stable_ranks), torch.tensor(mixed.spectral_norms)
layers = eta * s**2 * r / n  # F7
predicted = predictions(layers)
fan_in_readout = predicted * torch.tensor([1, 1, 16 / 12])
check.sampled(
    "F7.moments",
    "E ||Ju||^2, E ||J||_F^2 and E ||grad f||^2 for three spectra and three slopes",
    drawn,
    predicted,
    wrong={
        "one layer's factor dropped": predictions(layers[:, 1:]),
        "gates all open": predictions(s**2 * r / n.expand(3, 3)),
        "fan-out in place of fan-in": predictions(eta * s**2 * r / m),
        "rank in place of stable rank": predictions(eta * s**2 * torch.minimum(m, n) / n),
        "n_0 / n_L left out of the gradient": fan_in_readout,
    },
    seed=seed,
)

# %% [markdown]
# The worst case: $\|J\|_2\le\prod_ls_l\max(1,|a|)$.

# %%
hard = [
    (Ensemble((12,) * (L + 1), r, 1.4, law=f, negative_slope=a))
    for L in (1, 3, 8)
    for r in (1.0, 3.0, 12.0)
    for f in (spectra.two_level, spectra.projector)
    for a in (0.0, 1.0, 1.5)
]
largest = [
    torch.linalg.matrix_norm(
        feedforward.jacobian(e.sample(50, generator=generator(145)), torch.eye(12)[:1]), 2
    ).max()
    for e in hard
]
worst = [1.4**e.depth * max(1, e.negative_slope) ** e.depth for e in hard]
check.bound(
    "F7.lipschitz",
    f"largest singular value of the Jacobian at 50 networks each of {len(hard)} ensembles",
    largest,
    worst,
    wrong={
        "root mean square gain": [feature_norm(e).log_mean[-1].div(2).exp() for e in hard],
        "slope above 1 left out": [1.4**e.depth for e in hard],
    },
)

# %% [markdown]
# ## What stable rank does to gradients
#
# Growth per layer at spectral norm 1: the bound, the norm of the Jacobian, the root mean square gain, the typical gain.

# %%
n, L = 64, 10
curve = np.linspace(1, n, 64)
whole = np.array([2, 4, 8, 16, 32, 48, 64])
laws = {"two-level": spectra.two_level, "projector": spectra.projector}


def deep_ensemble(r, law):
    return Ensemble((n,) * (L + 1), float(r), law=law)


lines = {
    name: [log_growth(deep_ensemble(r, f)).mean[0].div(2).exp().item() for r in curve]
    for name, f in laws.items()
}
measured = {}
for i, (name, f) in enumerate(laws.items()):
    rows_ = []
    for j, r in enumerate(whole):
        net = deep_ensemble(r, f).sample(16, generator=generator(200 + 10 * i + j))
        J = feedforward.jacobian(net, torch.eye(n)[:1]).squeeze(1)
        top = torch.linalg.matrix_norm(J, 2)
        own = (J @ torch.eye(n)[0]).norm(dim=-1)
        rows_.append([v[v > 0].log().mean().div(L).exp().item() for v in (top, own)])
    measured[name] = np.array(rows_)
    print(
        f"{name}: ||J||_2^(1/L) at r/n = 1/8: {measured[name][2, 0]:.2f}, typical gain {measured[name][2, 1]:.2f}"
    )
print(f"root mean square gain at r/n = 1/8: {math.sqrt(1 / 16):.2f}")

# %% mystnb={"figure": {"caption": "Low stable rank separates the Lipschitz bound from reality. Growth per layer of ReLU networks of width 64 and depth 10 at spectral norm 1: the bound (1, dashed), the largest singular value of the Jacobian, and the gain of one input, which follows the typical growth of F5 (lines) below the root mean square gain (grey).", "name": "fig-lipschitz"}, "image": {"alt": "Two panels against r over n. A dashed line at 1 on top, below it diamonds for the norm of the Jacobian, and at the bottom points on a rising curve for the gain of one input, just below a grey line."}} tags=["hide-input"]
fig, axes = plotting.figure(1, 2, size=(8.4, 3.7), sharey=True)
for ax, (name, y), color in zip(axes, measured.items(), plotting.palette(2), strict=True):
    ax.axhline(1, color="0.2", linestyle="--", linewidth=1.2, label=r"bound $\prod s_l$")
    plotting.points(ax, whole / n, y[:, 0], color=color, marker="D", label=r"$\|J\|_2$")
    plotting.theory(
        ax, curve / n, np.sqrt(curve / n / 2), color="0.6", label=r"root mean square, F7"
    )
    plotting.theory(ax, curve / n, lines[name], color=color, label="typical, F5")
    plotting.points(ax, whole / n, y[:, 1], color=color, label=r"$\|Jx\|$")
    ax.set(title=name, xlabel="stable rank over width $r/n$", ylim=(0, 1.08))
axes[0].set_ylabel("growth per layer at $s=1$")
plotting.legend(axes[1], outside=True)

# %% [markdown]
# Singular values of the Jacobian at matched mean gain, with depth.

# %%
n, depths = 64, (1, 4, 16)
scaled = {
    "two-level, $r=16$": (16.0, spectra.two_level),
    "projector, $r=16$": (16.0, spectra.projector),
    "orthogonal": (64.0, spectra.two_level),
}
singular = {}
for i, (name, (r, f)) in enumerate(scaled.items()):
    net = (
        Ensemble((n,) * (depths[-1] + 1), r, law=f)
        .preserving()
        .sample(24, generator=generator(240 + i))
    )
    singular[name] = net.weights
singular["Gaussian (He)"] = tuple(
    torch.randn(24, n, n, generator=generator(250 + l)) * math.sqrt(2 / n)
    for l in range(depths[-1])
)
quantiles = {}
for name, weights in singular.items():
    nets = [Network(weights[:d], torch.ones(24, n)) for d in depths]
    values = [
        torch.linalg.svdvals(feedforward.jacobian(v, torch.eye(n)[:1]).squeeze(1))
        for v in nets
    ]
    quantiles[name] = [v.quantile(0.5, dim=0) for v in values]
    ranks = [((v / v[:, :1]) ** 2).sum(-1).mean().item() for v in values]
    print(f"{name.replace('$', '')}: stable rank of J", [round(v, 1) for v in ranks])

# %% mystnb={"figure": {"caption": "Singular values of the Jacobian at one input, sorted, for ReLU networks of width 64 and depths 1, 4 and 16 (median over 24 networks). All four ensembles have the same expected squared Frobenius norm, 64 at every depth (dashed: all singular values 1). A projector passes at most 16 directions; with depth all four concentrate the gain on a few directions. The stable rank of J at depth 16 is largest for orthogonal layers and smallest for projectors.", "name": "fig-singular"}, "image": {"alt": "Four panels of falling curves on a logarithmic axis, one curve for each depth. Deeper curves fall more steeply; the projector's curves end at index 16 or before and fall fastest."}} tags=["hide-input"]
fig, axes = plotting.figure(1, 4, size=(10.4, 3.4), sharey=True)
for ax, (name, curves) in zip(axes, quantiles.items(), strict=True):
    for curve_, d, color in zip(curves, depths, plotting.palette(depths), strict=True):
        kept = curve_ > 1e-4
        ax.plot(np.arange(1, n + 1)[kept], curve_[kept], color=color, label=f"$L={d}$")
    ax.axhline(1, color="0.2", linestyle="--", linewidth=1)
    ax.set(title=name, yscale="log", ylim=(1e-4, 30), xlabel="index", xlim=(0, 40))
axes[0].set_ylabel("singular value of $J$")
plotting.legend(axes[0], loc="upper right")

# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What stable rank measures: evidence
#
# Checks of S1 (the stable rank leaves the quartic trace a known range), S2 (it bounds the error of low-rank
# compression) and S3 (where familiar matrices lie on its axis). The last sections measure the layers of a network
# while it learns to read 4,000 digits: its hidden layers start where S3 says and lose most of their stable rank.

# %%
import math
from itertools import pairwise

import numpy as np
import torch
from IPython.display import display
from scipy.linalg import eigvalsh_tridiagonal
from torch import nn
from torch.nn.functional import cross_entropy

import srlib
from srlib import check, haar, plotting, rank, spectra
from srlib.check import glue
from srlib.experiments.data import mnist

torch.set_default_dtype(torch.float64)  # everything that is compared is in double precision

# %% tags=["parameters"]
seed = 1  # of every draw in this notebook
k = 64  # singular values of the spectra in the checks of S1 and S2
draws = 2000  # random spectra
replicates = 200  # matrices per size in the check of the Gaussian limit
dense_replicates = 1000  # dense 64 x 64 matrices
networks = 6  # trained from different initial weights
epochs = 8  # passes over the training digits
batch_size = 100  # digits per step
learning_rate = 1e-3  # of Adam
train_size = 4000  # digits; the other 1,000 are held out

# %% [markdown]
# ## The axis
#
# Five familiar spectra. Stable rank is the sum of their squares, that is, the area under the curve.

# %% mystnb={"figure": {"caption": "The axis of stable rank. Top: squared singular values of five $256\\times256$ matrices; the area under each curve is its $r/n$. Bottom: the same matrices on the axis, with stable rank from 1 (rank one) to $n$ (orthogonal).", "name": "fig-axis"}, "image": {"alt": "Top: squared singular values against relative index for a rank-one, two-level, Gaussian, projector and orthogonal matrix. Bottom: their positions on an axis from 0 to 1, in this order."}} tags=["hide-input"]
generator = torch.Generator().manual_seed(seed)
n = 256
familiar = {
    "rank one": spectra.projector((n, n), 1),
    "two-level": spectra.two_level((n, n), 0.12 * n),
    "Gaussian": torch.linalg.svdvals(torch.randn(n, n, generator=generator)),
    "projector": spectra.projector((n, n), n / 2),
    "orthogonal": spectra.projector((n, n), n),
}
fig, (top, bottom) = plotting.figure(
    2, 1, size=(6.2, 4.6), sharex=True, height_ratios=[4, 1]
)
for (name, spectrum), color, lift in zip(
    familiar.items(), plotting.palette(5), (8, 22, 8, 8, 8), strict=True
):
    squares = (spectrum / spectrum.max()).square()
    position = squares.sum().item() / n
    edges = np.append(np.arange(n) / n, 1)
    top.stairs(squares.numpy(), edges, baseline=None, color=color, linewidth=2, label=name)
    bottom.plot(position, 0, "o", markersize=8, color=color, clip_on=False, zorder=3)
    bottom.annotate(
        name,
        (position, 0),
        (0, lift),
        textcoords="offset points",
        ha="center",
        fontsize="small",
    )
    print(f"{name}: r/n = {position:.2f}")
top.set(ylabel=r"$\sigma_i^2$", xlabel="index $i/n$")
top.tick_params(labelbottom=True)
bottom.set(xlabel="stable rank $r/n$", yticks=[], ylim=(-0.3, 1.6), xlim=(-0.02, 1.02))
bottom.spines["left"].set_visible(False)
plotting.legend(top, outside=True)

# %% [markdown]
# ## S1: what the stable rank says about the quartic trace
#
# Every law of the package at stable ranks from 1 to $k$, and spectra drawn without any law: uniform numbers raised to
# a random power, with the largest set to 1.

# %%
laws = {
    "two-level": spectra.two_level,
    "projector": spectra.projector,
    "power law": spectra.power_law,
    "uniform on the sphere": spectra.uniform_sphere,
}
axis = torch.linspace(1, k, 80, dtype=torch.float64)
by_law = {
    name: torch.stack(
        [law((k, k), r.item(), generator=generator, dtype=torch.float64) for r in axis]
    )
    for name, law in laws.items()
}
exponent = 4 / torch.rand(draws, 1, generator=generator, dtype=torch.float64) - 4
free = (
    torch.rand(draws, k, generator=generator, dtype=torch.float64)
    .pow(exponent)
    .sort(descending=True)
    .values
)
sigma = torch.cat([free / free[:, :1], *by_law.values()])

r, q = sigma.square().sum(-1), sigma.pow(4).sum(-1)
smallest, largest = torch.tensor(
    [rank.quartic_range(x, k) for x in r.clamp(1, k).tolist()], dtype=torch.float64
).T
print(f"{len(sigma)} spectra, stable ranks from {r.min():.2f} to {r.max():.2f}")

# %%
check.bound(
    "S1.right-end",
    f"quartic trace of {len(sigma)} spectra against the projector's",
    q,
    largest,
    wrong={
        "⌊r⌋ without the remainder": (r + 1e-9).floor(),
        "r²/k of a flat spectrum": r**2 / k,
    },
)

# %% [markdown]
# The left end, in terms of the participation rank $p=r^2/q$, which it bounds from above.

# %%
check.bound(
    "S1.left-end",
    f"participation rank of {len(sigma)} spectra against the two-level one's",
    r**2 / q,
    r**2 / smallest,
    wrong={
        "2r": 2 * r,
        "half of the smaller of k and r²": torch.minimum(r**2, torch.tensor(k)) / 2,
    },
)

# %% [markdown]
# Both ends are attained, and the upper end of the participation rank is $\min(k,r^2)$ within a factor of two.

# %%
t = axis - axis.floor()
display(
    check.exact(
        "S1.two-level",
        "quartic trace of the two-level spectrum is the left end",
        by_law["two-level"].pow(4).sum(-1),
        1 + (axis - 1) ** 2 / (k - 1),
        wrong={
            "r²/k of a flat spectrum": axis**2 / k,
            "k for k − 1": 1 + (axis - 1) ** 2 / k,
        },
    ),
    check.exact(
        "S1.projector",
        "quartic trace of the projector spectrum is the right end",
        by_law["projector"].pow(4).sum(-1),
        axis.floor() + t**2,
        wrong={"r²/k": axis**2 / k, "r with the remainder not squared": axis},
    ),
    check.bound(
        "S1.factor-two",
        "kr²/(k + r²) against the participation rank of the two-level spectrum",
        k * axis**2 / (k + axis**2),
        axis**2 / by_law["two-level"].pow(4).sum(-1),
        wrong={"p = r": axis},
    ),
)

# %% [markdown]
# The participation rank of a matrix is computed from its entries, without a singular value decomposition; it must
# agree with the spectrum the matrix was made from.

# %%
W = srlib.sample(
    (96, k), 9.5, law=spectra.power_law, generator=generator, dtype=torch.float64
)
made_of = spectra.power_law((96, k), 9.5, dtype=torch.float64)
check.exact(
    "S1.entries",
    "participation rank from the entries of a dense matrix and from its singular values",
    srlib.participation_rank(W),
    9.5**2 / made_of.pow(4).sum(),
    wrong={"stable rank": 9.5, "rank": k},
)

# %% mystnb={"figure": {"caption": "What the stable rank leaves open (S1), for $k=64$ singular values. The participation rank lies between the projector's (lower line, touching $p=r$ at whole $r$) and the two-level spectrum's (upper line, within a factor of two of $\\min(k,r^2)$, dashed). Points: laws of the package (mean quartic trace where the law is random).", "name": "fig-region"}, "image": {"alt": "Log-log plot of participation rank against stable rank: a lens-shaped region between the diagonal and a curve that rises as the square and then saturates at 64, with the laws of singular values as points inside and on its border."}} tags=["hide-input"]
fig, ax = plotting.figure()
fine = np.linspace(1, k, 2001)
low, high = np.array([rank.quartic_range(x, k) for x in fine]).T
ax.fill_between(fine, fine**2 / high, fine**2 / low, color="0.93", zorder=0)
plotting.theory(ax, fine, fine**2 / low, color="0.35", label="ends of the range (S1)")
plotting.theory(ax, fine, fine**2 / high, color="0.35")
ax.plot(
    fine, np.minimum(k, fine**2), "--", color="0.35", linewidth=1, label=r"$\min(k, r^2)$"
)
lines, shown = [], [1, 1.5, 2.5, 4, 6, 9.5, 14, 20, 30, 45, 62]
for (name, law), color, marker in zip(
    laws.items(), plotting.palette(4), "os^D", strict=True
):
    p = [
        x**2 / law((k, k), x, batch=200, generator=generator).pow(4).sum(-1).mean().item()
        for x in shown
    ]
    plotting.points(ax, shown, p, color=color, label=name, marker=marker)
    lines.append(f"{name}: p = {p[5]:.1f} at r = {shown[5]}")
print("\n".join(lines))
ticks = [1, 2, 4, 8, 16, 32, 64]
ax.set(
    xscale="log", yscale="log", xlabel="stable rank $r$", ylabel="participation rank $p$"
)
ax.set_xticks(ticks, ticks)
ax.set_yticks(ticks, ticks)
ax.minorticks_off()
plotting.legend(ax, loc="lower right")

# %% [markdown]
# ## S2: compression
#
# The bound on the singular values of all these spectra, and the spectra that attain it.

# %%
directions = torch.arange(1, k + 1, dtype=torch.float64)  # j + 1
check.bound(
    "S2.spectra",
    f"σ(j+1)² of {len(sigma)} spectra for every j against r/(j+1)",
    sigma**2,
    r.unsqueeze(-1) / directions,
    wrong={
        "no square root in S2": (r.unsqueeze(-1) / directions) ** 2,
        "half of r": r.unsqueeze(-1) / directions / 2,
    },
)

# %%
tail = sigma[:, 1:].square().sum(-1, keepdim=True)  # r - 1, without cancellation
beyond = tail.squeeze(-1) > 1e-12
check.bound(
    "S2.sharp",
    "σ(j+1)² of the same spectra for j ≥ 1 against the smaller of 1 and (r − 1)/j",
    sigma[beyond, 1:] ** 2,
    (tail[beyond] / directions[:-1]).clamp(max=1),
    wrong={"(r − 1)/(j + 1)": (tail[beyond] / directions[1:]).clamp(max=1)},
)

# %% [markdown]
# At every stable rank and every $j$ the two-level spectrum of rank $j+1$ attains the sharp bound; a projector of rank
# $r=j+1$ attains both.

# %%
size = torch.arange(2, k + 1, dtype=torch.float64)  # j + 1
last = torch.stack(
    [
        spectra.two_level((n, n), 1 + 0.4 * (n - 1), dtype=torch.float64)[-1]
        for n in range(2, k + 1)
    ]
)
level = 1 + 0.4 * (size - 1)
projectors = torch.stack(
    [spectra.projector((k, k), n, dtype=torch.float64)[n - 1] for n in range(2, k + 1)]
)
display(
    check.exact(
        "S2.attained",
        "last singular value of two-level matrices of rank j+1",
        last,
        ((level - 1) / (size - 1)).sqrt(),
        wrong={"√(r/(j+1))": (level / size).sqrt()},
    ),
    check.exact(
        "S2.constant",
        "σ(j+1) of projectors of rank r = j+1 is √(r/(j+1)) = 1",
        projectors,
        torch.ones(len(size)),
        wrong={"√((r − 1)/(j+1))": ((size - 1) / size).sqrt()},
    ),
)

# %% [markdown]
# ## S3: familiar matrices on the axis
#
# The two ends of the axis hold exactly.

# %%
shapes = [(64, 64), (96, 32), (32, 96), (256, 64)]
frames = [
    haar.orthogonal(m, n, generator=generator, dtype=torch.float64)
    for m, n in shapes
    if m >= n
]
frames += [
    haar.orthogonal(n, m, generator=generator, dtype=torch.float64).mT
    for m, n in shapes
    if m < n
]
widths = [min(Q.shape) for Q in frames]
column, row = torch.randn(2, 64, generator=generator, dtype=torch.float64)
check.exact(
    "S3.ends",
    "stable rank of rectangular orthogonal matrices and of a rank-one matrix",
    [srlib.stable_rank(Q) for Q in frames] + [srlib.stable_rank(torch.outer(column, row))],
    [*widths, 1],
    wrong={
        "Gaussian n/4 for all": [n / 4 for n in [*widths, 64]],
        "longer side": [64, 96, 256, 96, 1],
    },
)

# %% [markdown]
# **Gaussian matrices, exact at finite size.** For $2\times2$ matrices $\mathbb E\,1/r=\frac12+\frac\pi8$.

# %%
pairs = torch.randn(100_000, 2, 2, generator=generator, dtype=torch.float64)
check.sampled(
    "S3.two-by-two",
    "mean of 1/r over Gaussian 2 × 2 matrices against 1/2 + π/8",
    1 / srlib.stable_rank(pairs),
    1 / 2 + math.pi / 8,
    wrong={"rank one": 1.0, "full rank": 0.5},
    wrong_samples={
        "uniform entries": 1
        / srlib.stable_rank(torch.rand(pairs.shape, generator=generator) - 0.5)
    },
    seed=seed,
)

# %% [markdown]
# **Large Gaussian matrices** are replaced by their bidiagonal form, which has the same singular values in law and
# costs $O(n)$. It is compared with dense matrices first.


# %%
def gaussian_stable_rank(m, n, count):
    """Draw stable ranks of m x n Gaussian matrices, m >= n, from the bidiagonal form."""
    ranks = []
    for _ in range(count):
        diagonal = rng.chisquare(np.arange(m, m - n, -1))
        above = rng.chisquare(np.arange(n - 1, 0, -1))
        gram, beside = diagonal + np.append(0, above), np.sqrt(diagonal[:-1] * above)
        top = eigvalsh_tridiagonal(gram, beside, select="i", select_range=(n - 1, n - 1))
        ranks.append(gram.sum() / top[0])
    return np.array(ranks)


def gaussian_limit(m, n):
    return m * n / (math.sqrt(m) + math.sqrt(n)) ** 2  # S3


# %%
rng = np.random.default_rng(seed)
matrices = torch.randn(dense_replicates, 64, 64, generator=generator, dtype=torch.float64)
dense = srlib.stable_rank(matrices).numpy()
check.sampled(
    "S3.bidiagonal",
    "stable rank of dense 64 × 64 Gaussian matrices minus that of bidiagonal ones, relative to n/4",
    dense - gaussian_stable_rank(64, 64, dense_replicates),
    0.0,
    scale=16.0,
    wrong_samples={"the limit n/4 taken for the finite size": dense - 16},
    seed=seed,
)

# %% [markdown]
# The mean approaches its limit from above: $\mathbb E\,r\ge mn/((\sqrt m+\sqrt n)^2+1)$ at every size. A product of
# two Gaussian matrices is not Gaussian and falls below.

# %%
floor = 64**2 / ((8 + 8) ** 2 + 1)  # S3
check.empirical(
    "S3.from-above",
    "mean stable rank of dense 64 × 64 Gaussian matrices over the lower bound",
    dense / floor,
    above=1.0,
    wrong_samples={
        "product of two Gaussian matrices": srlib.stable_rank(matrices[1:] @ matrices[:-1])
        / floor
    },
    seed=seed,
)

# %% [markdown]
# The edge of the spectrum makes the stable rank exceed its limit by a relative $c\,n^{-2/3}$, so that
# $(4\,\rho_{8n}-\rho_n)/3$ removes it from the ratios $\rho_n$ of the sampled stable ranks to the limit.

# %%
aspects = np.array([1, 2, 4])  # m/n
small, large = 2048, 8 * 2048
extrapolated = [
    (
        4
        * gaussian_stable_rank(a * large, large, replicates)
        / gaussian_limit(a * large, large)
        - gaussian_stable_rank(a * small, small, replicates)
        / gaussian_limit(a * small, small)
    )
    / 3
    for a in aspects
]
limit = aspects / (np.sqrt(aspects) + 1) ** 2  # r/n
check.sampled(
    "S3.gaussian",
    "r/n of m × n Gaussian matrices with m = n and 2n and 4n and n up to 16384 extrapolated to infinite n",
    np.stack(extrapolated, axis=1) * limit,
    limit,
    wrong={
        "full rank": np.ones(3),
        "half the rank": np.full(3, 0.5),
        "n/4 for every shape": np.full(3, 0.25),
        "m + n for (√m + √n)²/2": aspects / (2 * (aspects + 1)),
    },
    seed=seed,
)

# %% [markdown]
# Only the mean and the fourth moment of the entries matter: uniform entries, as in PyTorch's default initialization,
# come within 5 % of the limit at $n=256$; entries with a mean or with heavy tails do not.

# %%
uniform = torch.rand(100, 256, 256, generator=generator, dtype=torch.float64) - 0.5
gauss = torch.randn(4, 20, 256, 256, generator=generator, dtype=torch.float64)
heavy = (
    gauss[0] / (gauss[1:].square().mean(0)).sqrt()
)  # Student's t, 3 degrees of freedom: no fourth moment
check.empirical(
    "S3.any-entries",
    "stable rank of 256 × 256 matrices with uniform entries over n/4",
    srlib.stable_rank(uniform) / 64,
    above=0.95,
    below=1.05,
    wrong_samples={
        "entries of mean a quarter of their width": srlib.stable_rank(uniform[:20] + 0.25)
        / 64,
        "no fourth moment (Student t3)": srlib.stable_rank(heavy) / 64,
    },
    seed=seed,
)

# %% [markdown]
# ## Real layers
#
# A plain PyTorch network 784–256–256–256–10 with ReLU and default initialization learns 4,000 MNIST digits. Stable and
# participation ranks of its four weight matrices, training loss and accuracy on the held-out digits are recorded
# twice in each pass over the digits.

# %%
images, labels = mnist(5000, seed=0)
held_out, probe = (
    slice(train_size, None),
    slice(0, 1000),
)  # the training loss is evaluated on the probe
sizes = [784, 256, 256, 256, 10]
limits = np.array([gaussian_limit(m, n) for n, m in pairwise(sizes)])


def make_network(number):
    torch.manual_seed(
        1000 * seed + number
    )  # PyTorch's layers draw from the default generator
    layers = [nn.Linear(a, b, dtype=torch.float64) for a, b in pairwise(sizes)]
    return nn.Sequential(
        *[module for layer in layers for module in (layer, nn.ReLU())][:-1]
    )


def weights(net):
    return [layer.weight.detach().clone() for layer in net if isinstance(layer, nn.Linear)]


@torch.no_grad()
def measure(net):
    ranks = [[srlib.stable_rank(W), srlib.participation_rank(W)] for W in weights(net)]
    loss = cross_entropy(net(images[probe]), labels[probe])
    accuracy = (net(images[held_out]).argmax(1) == labels[held_out]).double().mean()
    return np.array(ranks), loss.item(), accuracy.item()


def learn(net, optimizer, batches):
    for batch in batches:
        optimizer.zero_grad()
        cross_entropy(net(images[batch]), labels[batch]).backward()
        optimizer.step()


def train(number):
    net = make_network(number)
    optimizer = torch.optim.Adam(net.parameters(), lr=learning_rate)
    history, initial = [measure(net)], weights(net)
    for _ in range(epochs):
        batches = torch.randperm(train_size).split(batch_size)
        for half in (batches[: len(batches) // 2], batches[len(batches) // 2 :]):
            learn(net, optimizer, half)
            history.append(measure(net))
    return history, initial, weights(net)


# %%
runs = [train(number) for number in range(networks)]
ranks = np.array(
    [[step[0] for step in history] for history, _, _ in runs]
)  # network, time, layer, r or p
loss, accuracy = np.array(
    [[step[1:] for step in history] for history, _, _ in runs]
).transpose(2, 0, 1)
mean_rank = ranks[..., 0].mean(0)
for name, time in (("before", 0), ("after", -1)):
    print(
        f"{name} training: r =",
        *(f"{x:.3g}" for x in mean_rank[time]),
        "in layers 1 to 4;",
        end=" ",
    )
    print(
        f"loss {loss[:, time].mean():.2g}, held-out accuracy {accuracy[:, time].mean():.2f}"
    )

# %% tags=["hide-input"]
facts = {
    "accuracy": 100 * accuracy[:, -1].mean(),
    "accuracy_worst": 100 * accuracy[:, -1].min(),
}
facts["start_gap"] = 100 * np.abs(ranks[:, 0, :3, 0] / limits[:3] - 1).max()
for layer in range(4):
    facts[f"limit_{layer + 1}"] = limits[layer]
    for name, time in (("initial", 0), ("trained", -1)):
        facts[f"{name}_{layer + 1}"], facts[f"participation_{name}_{layer + 1}"] = ranks[
            :, time, layer
        ].mean(0)
for key, value in facts.items():
    glue(key, round(float(value), 1))
glue("networks", networks)

# %% mystnb={"figure": {"caption": "A network learns, its layers lose stable rank. Left: stable ranks of the four layers over their largest possible value (lines: means over networks; bands: all networks), with the limits of S3 for random matrices as dotted lines. Right: loss on the first 1,000 training digits and error on the 1,000 held-out ones.", "name": "fig-training"}, "image": {"alt": "Left: stable rank over layer width against training time; the three hidden layers fall quickly from about a quarter or more of the width to below a tenth, the output layer stays nearly level. Right: the training loss falls more than tenfold and the held-out error to less than a tenth."}} tags=["hide-input"]
fig, (left, right) = plotting.figure(1, 2)
passes = np.arange(2 * epochs + 1) / 2
full = np.array([min(a, b) for a, b in pairwise(sizes)])
for layer, color in enumerate(plotting.palette(4)):
    share = ranks[:, :, layer, 0] / full[layer]
    left.fill_between(
        passes, share.min(0), share.max(0), color=color, alpha=0.25, linewidth=0
    )
    left.plot(passes, share.mean(0), color=color)
    left.annotate(
        f"layer {layer + 1}",
        (epochs, share[:, -1].mean()),
        (5, -3),
        textcoords="offset points",
        color=color,
    )
    left.plot(
        [0, epochs], [limits[layer] / full[layer]] * 2, ":", color=color, linewidth=1.2
    )
    print(
        f"layer {layer + 1}: r/k from {share[:, 0].mean():.3f} to {share[:, -1].mean():.3f}"
    )
left.set(xlabel="passes over the digits", ylabel="stable rank $r_l/k_l$", yscale="log")
left.set_yticks([0.04, 0.1, 0.2, 0.4, 0.8], [0.04, 0.1, 0.2, 0.4, 0.8])
left.minorticks_off()
left.plot([], [], ":", color="0.35", linewidth=1.2, label="random matrix (S3)")
left.set(xlim=(-0.3, 1.27 * epochs), xticks=np.arange(0, epochs + 1, 2))
plotting.legend(left, loc="upper right", bbox_to_anchor=(1.02, 0.87))
for values, color, name in zip(
    (loss, 1 - accuracy), plotting.palette(6)[4:], ("loss", "held-out error"), strict=True
):
    right.fill_between(
        passes, values.min(0), values.max(0), color=color, alpha=0.25, linewidth=0
    )
    right.plot(
        passes, values.mean(0), color=color, label=f"{'training ' * (name == 'loss')}{name}"
    )
right.set(xlabel="passes over the digits", ylabel="loss, error", yscale="log")
plotting.legend(right)

# %% [markdown]
# Before training the hidden layers are where S3 puts random matrices. Afterwards each of them has less than half of
# that stable rank – an observation about this network and this data, not a theorem.

# %%
check.empirical(
    "S3.training",
    "largest share of its random-matrix limit that a hidden layer keeps after training",
    (ranks[:, -1, :3, 0] / limits[:3]).max(1),
    below=0.5,
    wrong_samples={
        "the same layers before training": (ranks[:, 0, :3, 0] / limits[:3]).max(1)
    },
    seed=seed,
    false_alarm=1e-3,  # six networks are few
)

# %% [markdown]
# S1 and S2 are theorems about every matrix, so about these as well.

# %%
layers = [W for _, initial, trained in runs for W in (*initial, *trained)]
values = [torch.linalg.svdvals(W) for W in layers]
values = [v / v[0] for v in values]
lengths = torch.tensor([len(v) for v in values])
measured = torch.stack([v.square().sum() for v in values])
ends = torch.tensor(
    [rank.quartic_range(x.item(), len(v)) for x, v in zip(measured, values, strict=True)]
)
quartic = torch.stack([v.pow(4).sum() for v in values])
display(
    check.bound(
        "S1.layers",
        f"quartic trace of {len(layers)} layers before and after training against the projector's",
        quartic,
        ends[:, 1],
        wrong={"r²/k": measured**2 / lengths},
    ),
    check.bound(
        "S1.layers-left",
        "the two-level spectrum's quartic trace against that of the same layers",
        ends[:, 0],
        quartic,
        wrong={"r²/k of a flat spectrum": measured**2 / lengths},
    ),
)

# %% [markdown]
# The truncation error is measured on the matrices themselves: the rank-$j$ part is subtracted and the norm of the rest
# computed.


# %%
def truncation_errors(W, cuts):
    """Measure the spectral norm of what the best approximations of rank j leave, relative to that of W."""
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    rest = torch.stack([W - (U[:, :j] * S[:j]) @ Vh[:j] for j in cuts])
    return torch.linalg.matrix_norm(rest, 2) / S[0]


cuts = torch.tensor([1, 2, 4, 8, 16, 32, 64, 128])
hidden = [W for _, _, trained in runs for W in trained[:3]]
errors = torch.stack([truncation_errors(W, cuts.tolist()) for W in hidden])
hidden_rank = torch.stack([srlib.stable_rank(W) for W in hidden]).unsqueeze(-1)
check.bound(
    "S2.truncation",
    f"error of approximations of rank 1 to 128 of {len(hidden)} trained layers against √(r/(j+1))",
    errors,
    (hidden_rank / (cuts + 1)).sqrt(),
    wrong={"r/(j+1)": hidden_rank / (cuts + 1), "√(1/(j+1))": (1 / (cuts + 1)).sqrt()},
)

# %%
epsilon = torch.tensor([0.5, 0.2, 0.1], dtype=torch.float64)
everything = [*values, *sigma]
needed = torch.stack([(v.unsqueeze(-1) > epsilon).sum(0) for v in everything])
effective = torch.stack([v.square().sum() for v in everything]).unsqueeze(-1)
check.bound(
    "S2.directions",
    f"directions of {len(everything)} layers and spectra with σ above ε‖W‖ against r/ε²",
    needed,
    effective / epsilon**2,
    wrong={"r directions": effective, "r/ε directions": effective / epsilon},
)

# %% [markdown]
# What the bound promises for the trained hidden layers at an error of half the norm, and what they need.

# %%
needed_hidden = torch.stack(
    [(torch.linalg.svdvals(W) > 0.5 * torch.linalg.matrix_norm(W, 2)).sum() for W in hidden]
)
needed_hidden, promised_hidden = (
    needed_hidden.double().mean().item(),
    4 * hidden_rank.mean().item(),
)
print(
    f"needed on average {needed_hidden:.3g} of 256 directions, S2 promises at most {promised_hidden:.3g}"
)
glue("needed", round(needed_hidden, 1))
glue("promised", round(promised_hidden, 1))

# %% mystnb={"figure": {"caption": "Truncation (S2). Relative spectral error after keeping $j$ singular directions against $(j+1)/r$: every matrix lies below the one curve $\\sqrt{r/(j+1)}$, and none above 1. The orthogonal matrix touches it at $j+1=r=n$, the two-level matrix nearly does at its last direction; trained layers fall off well before $j+1=r$.", "name": "fig-truncation"}, "image": {"alt": "Log-log plot of the relative truncation error against the number of kept directions over stable rank; the bound falls with slope minus one half, and the curves of trained, Gaussian, two-level and orthogonal matrices lie below it."}} tags=["hide-input"]
fig, ax = plotting.figure(size=(7.2, 3.8))
scale = np.geomspace(0.05, 40, 200)
plotting.theory(
    ax,
    scale,
    np.minimum(1, scale**-0.5),
    color="0.35",
    label=r"$\min(1, \sqrt{r/(j+1)})$ (S2)",
)
compared = {f"layer {l + 1}, trained": runs[0][2][l] for l in range(3)} | {
    "Gaussian": torch.randn(256, 256, generator=generator, dtype=torch.float64),
    "two-level": srlib.sample((256, 256), 12.0, generator=generator, dtype=torch.float64),
    "orthogonal": haar.orthogonal(256, generator=generator, dtype=torch.float64),
}
for (name, W), color, marker in zip(
    compared.items(), plotting.palette(6), "osD^vP", strict=True
):
    s = torch.linalg.svdvals(W)
    s, x = s / s[0], (torch.arange(len(s)) + 1) / srlib.stable_rank(W)
    some = np.unique(np.geomspace(1, len(s), 24).astype(int)) - 1
    plotting.points(ax, x[some], s[some], color=color, label=name, marker=marker)
    print(
        f"{name}: error {s[16]:.2f} after 16 directions, bound {min(1, x[16].item() ** -0.5):.2f}"
    )
ax.set(xscale="log", yscale="log", xlim=(0.05, 40), ylim=(0.04, 1.2))
ax.set(xlabel="$(j+1)/r$", ylabel=r"$\sigma_{j+1}/\|W\|_2$")
plotting.legend(ax, outside=True)

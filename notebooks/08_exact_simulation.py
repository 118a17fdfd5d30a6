# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exact simulation without matrices
#
# At one input, all norms of a random network, forwards and backwards, its output and its tangent kernel can be drawn
# exactly in law with a few random numbers a layer (C1). The recursion is checked network by network, then its law
# against dense sampling and against the exact moments. Then it is used where no matrix fits: width 100,000 and depth
# 1,000.

# %%
import math
from dataclasses import replace

import numpy as np
import torch
from IPython.display import display
from myst_nb import glue

from srlib import Ensemble, check, feedforward, plotting, spectra
from srlib.check.same_law import same_law
from srlib.collapsed import simulate
from srlib.moments.feature import fluctuation_exponent
from srlib.moments.growth import log_growth
from srlib.moments.kernel import ntk

torch.set_default_dtype(torch.float64)  # everything that is compared is in double precision

# %% tags=["parameters"]
seed = 1  # of every draw; each section adds an offset of its own
dense_networks = 11_000  # dense networks for each comparison of laws
simulated_networks = 50_000  # simulated ones for each comparison
moment_networks = 1_000_000  # simulated networks for the moments of the kernel
wide_width = 100_000  # width where no matrix is formed
wide_depth = 1_000  # and depth
wide_networks = 4_500  # networks of this size for each of two spectra
normal_draws = 400_000  # normal variables that their logarithms are compared with
depth_networks = 1_000  # networks for each point of the depth figure


# %%
def generator(offset):
    return torch.Generator().manual_seed(seed + 1_000 * offset)


def unit(v):
    return v / v.norm(dim=-1, keepdim=True)


def first_axis(n):
    return torch.eye(n)[:1]


# %% [markdown]
# ## The recursion, network by network
#
# For every map $M$ of a dense network (a layer, or its gates) the four numbers $\gamma,A,B,C$ are measured from the
# matrices. The recursion for the cosine must then reproduce every backprop norm to rounding.


# %%
def four_numbers(M, x, y):
    """gamma, A, B, C of the maps M, for the forward direction x and the backward vector y."""
    Mx = torch.einsum("bij,bj->bi", M, x)
    e = unit(Mx)
    w = unit(y - (y * e).sum(-1, keepdim=True) * e)
    back_e, back_w = (torch.einsum("bij,bi->bj", M, v) for v in (e, w))
    A, B, C = (
        (p * q).sum(-1) for p, q in ((back_e, back_e), (back_e, back_w), (back_w, back_w))
    )
    return Mx.square().sum(-1), A, B, C


def recursion(numbers, c, cross=1.0, known=1.0):
    """Squared norm of the backpropagated vector after each map, last map first."""
    norms, norm, c = [], torch.ones_like(c), known * c
    for gamma, A, B, C in numbers:
        G = c**2 * A + 2 * cross * c * (1 - c**2).sqrt() * B + (1 - c**2) * C
        norm, c = norm * G, known * c * (gamma / G).sqrt()
        norms.append(norm)
    return torch.stack(norms, -1)


# %%
def maps(network, x):
    """All maps of the networks, the first one first, and their inputs."""
    run = feedforward.forward(network, x)
    chain, inputs = [], []
    for W, D, h in zip(network.weights, run.gates, run.post, strict=False):
        h = h[:, 0]
        chain += [W, torch.diag_embed(D[:, 0])]
        inputs += [h, torch.einsum("bij,bj->bi", W, h)]
    return chain, inputs, unit(run.post[-1][:, 0])


def backward(chain, y):
    """The vectors that enter the transposed maps, and the one that comes out; last map first."""
    vectors = [y]
    for M in reversed(chain):
        vectors.append(torch.einsum("bij,bi->bj", M, vectors[-1]))
    return vectors


# %%
mixed = Ensemble((12, 20, 24, 16), (5, 7.3, 3), (1.3, 1.7, 2.0), readout_norm=1.5)
measured, predicted, wrong = (
    [],
    [],
    {"cross term B left out": [], "known component left out": []},
)
for slope in (0.0, 0.3, -0.5):
    network = replace(mixed, negative_slope=slope).sample(200, generator=generator(0))
    chain, inputs, last = maps(network, first_axis(12).expand(1, -1))
    vectors = backward(chain, unit(network.readout))
    back = zip(reversed(chain), reversed(inputs), vectors, strict=False)
    numbers = [four_numbers(M, unit(x), unit(y)) for M, x, y in back]
    cosine = (vectors[0] * last).sum(-1)
    measured.append(torch.stack([v.square().sum(-1) for v in vectors[1:]], -1))
    predicted.append(recursion(numbers, cosine) / measured[-1])
    wrong["cross term B left out"].append(
        recursion(numbers, cosine, cross=0.0) / measured[-1]
    )
    wrong["known component left out"].append(
        recursion(numbers, cosine, known=0.0) / measured[-1]
    )

# %%
check.exact(
    "C1.recursion",
    "backprop norms of 600 dense networks after every map, by the recursion for the cosine",
    torch.cat(predicted),
    torch.ones(600, 6),
    wrong={name: torch.cat(values) for name, values in wrong.items()},
)

# %% [markdown]
# ## The same law as dense sampling
#
# One row for each network: all $\|h_l\|^2$, all $\|\delta_l\|^2$, $f$, $f^2$, all $\Theta_l$. Rows of dense networks
# with explicit backpropagation are compared with simulated rows, by every coordinate and by 32 projections. The wrong
# alternatives are plausible shortcuts: backpropagating through fresh independent weights, as mean-field theory
# assumes; fresh gates; the forward and backward parts drawn separately; the other end of S1; all gates open.


# %%
def table(feature_norm2, backprop_norm2, output):
    f, layers = output.unsqueeze(-1), feature_norm2[:, :-1] * backprop_norm2
    return torch.cat([feature_norm2[:, 1:], backprop_norm2, f, f**2, layers], -1)


def backprop(gates, weights, readout):
    vectors, norms = readout, []
    for D, W in zip(reversed(gates), reversed(weights), strict=True):
        delta = D[:, 0] * vectors
        norms.append(delta.square().sum(-1))
        vectors = torch.einsum("bij,bi->bj", W, delta)
    return torch.stack(norms[::-1], -1)


def feature_norms(run):
    return torch.stack([h[:, 0].square().sum(-1) for h in run.post], -1)


def dense(ensemble, count, generator):
    """Rows of dense networks; and wrong ones, in which a part of the next network stands in."""
    net = ensemble.sample(count, generator=generator)
    run = feedforward.forward(net, first_axis(ensemble.widths[0]))
    D, W, v = run.gates, net.weights, net.readout
    other_D, other_W = ([part.roll(1, 0) for part in parts] for parts in (D, W))
    right = backprop(D, W, v)
    wrong = backprop(D, other_W, v.roll(1, 0)), backprop(other_D, W, v), right.roll(1, 0)
    return [table(feature_norms(run), part, run.output[:, 0]) for part in (right, *wrong)]


def simulated(ensemble, count, generator):
    draw = simulate(ensemble, count, generator=generator)
    return table(draw.feature_norm2, draw.backprop_norm2, draw.output)


# %%
cases = {
    "relu": ("ReLU, two-level spectra", mixed),
    "leaky": (
        "slope 0.3, projectors",
        replace(mixed, law=spectra.projector, negative_slope=0.3),
    ),
    "random": ("ReLU, random spectra", replace(mixed, law=spectra.uniform_sphere)),
    "linear": (
        "linear, power laws",
        replace(mixed, law=spectra.power_law, negative_slope=1),
    ),
    "narrow": (
        "ReLU, widths 3, 1, 2, 4, 1",
        Ensemble((3, 1, 2, 4, 1), (1, 1, 1.5, 1), readout_norm=1.5),
    ),
}
shortcuts = ("fresh weights", "fresh gates", "separate passes")
rows, claims = {}, {}
for i, (name, (text, e)) in enumerate(cases.items()):
    truth, *wrongs = dense(e, dense_networks, generator(10 + i))
    draws = simulated(e, simulated_networks, generator(20 + i))
    rows[name] = truth, draws, wrongs[0]
    wrong = dict(zip(shortcuts, wrongs, strict=True))
    if e.negative_slope == 1:
        wrong = {"fresh weights": wrongs[0]}  # open gates are all equal
    other = spectra.two_level if e.law == spectra.projector else spectra.projector
    if name == "narrow":
        wrong = {"separate passes": wrongs[2]}
    else:
        wrong["another spectrum"] = simulated(
            replace(e, law=other), dense_networks, generator(30 + i)
        )
    if e.negative_slope == 0:
        gates_open = replace(e, negative_slope=1)
        wrong["gates all open"] = simulated(gates_open, dense_networks, generator(40 + i))
    claims[name] = same_law(
        f"C1.same-law-{name}",
        f"dense networks against simulation: {text}",
        draws,
        truth,
        wrong=wrong,
        seed=seed,
    )
    print(f"largest distance as a share of the allowed one: {1 - claims[name].slack:.1f}")
    display(claims[name])
glue("dense-networks", dense_networks, display=False)
glue("noticed-distance", 100 * claims["relu"].noticeable, display=False)

# %%
quantities = [*(f"|h{l}|^2" for l in (1, 2, 3)), *(f"|delta{l}|^2" for l in (1, 2, 3))]
quantities += ["f", "f^2", *(f"Theta{l}" for l in (1, 2, 3))]
pair = np.triu_indices(len(quantities), 1)
correlation = [np.corrcoef(part.argsort(0).argsort(0).T)[pair] for part in rows["relu"]]
in_dense, in_simulation, in_fresh = correlation
worst = np.abs(in_fresh - in_simulation).argmax()
delta1_with_output = list(zip(*pair, strict=True)).index((3, 7))
glue("correlation-true", float(in_simulation[delta1_with_output]), display=False)
glue("correlation-fresh", float(in_fresh[delta1_with_output]), display=False)
print(
    f"rank correlations of {len(pair[0])} pairs; fresh weights err most for",
    f"{quantities[pair[0][worst]]} and {quantities[pair[1][worst]]}:",
    f"simulated {in_simulation[worst]:.1f}, dense {in_dense[worst]:.1f}, fresh weights {in_fresh[worst]:.1f}",
)

# %% mystnb={"figure": {"caption": "Dense sampling and exact simulation have the same joint law. ReLU networks of widths 12, 20, 24, 16. Left: difference of the distribution functions of five quantities, dense networks minus simulation, at the quantiles of the simulation; the shaded band is what the check allows. Right: Spearman correlations of all pairs of the eleven quantities. Hollow: backpropagation through fresh independent weights, as mean-field theory assumes; its dependence is wrong.", "name": "fig-c1-dense"}, "image": {"alt": "Left, five irregular curves close to zero, well inside a shaded band. Right, a scatter plot of correlations between 0 and 1: filled points lie on the diagonal, half a dozen hollow points lie far below it."}} tags=["hide-input"]
truth, draws = (part.numpy() for part in rows["relu"][:2])
chosen = {
    r"$\|h_3\|^2$": 2,
    r"$\|\delta_1\|^2$": 3,
    r"$f^2$": 7,
    r"$\Theta_2$": 9,
    r"$\Theta_3$": 10,
}
levels = np.linspace(0.005, 0.995, 100)
fig, axes = plotting.figure(1, 2, size=(8.4, 4.0))
allowed = 100 * claims["relu"].interval[1] - 100 * claims["relu"].estimate
axes[0].axhspan(-allowed, allowed, color="0.94")
for (label, column), color in zip(chosen.items(), plotting.palette(5), strict=True):
    quantiles = np.quantile(draws[:, column], levels)
    share = np.searchsorted(np.sort(truth[:, column]), quantiles) / len(truth)
    axes[0].plot(levels, 100 * (share - levels), color=color, label=label)
plotting.theory(axes[1], (-0.05, 1.05), (-0.05, 1.05), color="0.5")
blue, orange = plotting.palette(2)
axes[1].plot(
    in_simulation,
    in_fresh,
    "o",
    mfc="none",
    color=orange,
    markersize=6,
    label="fresh weights",
)
plotting.points(axes[1], in_simulation, in_dense, color=blue, label="dense networks")
axes[0].set(
    title="Distribution functions",
    xlabel="quantile level of the simulation",
    ylabel="difference in percent",
    ylim=(-4.5, 4.5),
)
axes[1].set(title="Spearman correlations", xlabel="simulation", ylabel="dense sampling")
plotting.legend(axes[0], loc="lower center", ncols=5, columnspacing=0.9)
plotting.legend(axes[1], loc="upper left")

# %% [markdown]
# ## Moments of the kernel and of the features
#
# One million simulated networks against the exact moments of every layer term (N1) and of every pair (N2).

# %%
draws = simulate(mixed, moment_networks, generator=generator(50))
theta = draws.ntk_layers
exact = ntk(mixed)
display(
    check.sampled(
        "C1.kernel-means",
        "mean of every layer term of the kernel in simulated networks, against N1",
        theta,
        exact.layer_means,
        wrong={"eta left out": exact.layer_means * torch.tensor([2.0, 2.0, 2.0, 1.0])},
        seed=seed,
    )
)
i, j = torch.triu_indices(4, 4)
check.sampled(
    "C1.kernel-second-moments",
    "second moments of all pairs of layer terms in the same networks, against N2",
    theta[:, i] * theta[:, j],
    exact.second[i, j],
    wrong={
        "projector in place of two-level": ntk(
            replace(mixed, law=spectra.projector)
        ).second[i, j],
        "independent layer terms": (exact.layer_means[:, None] * exact.layer_means)[i, j],
    },
    seed=seed,
)

# %% [markdown]
# Networks that die: all backprop norms, the output and the kernel's layer terms are 0, and no NaN appears.

# %%
narrow = cases["narrow"][1]
draws = simulate(narrow, simulated_networks, generator=generator(51))
dead = (draws.ntk_layers[:, -1] == 0).double()
alive = math.prod(1 - 0.5**n for n in narrow.widths[1:])
consistent = (draws.backprop_norm2 == 0).all(-1) == (draws.output == 0)
print("all quantities of a dead network vanish together:", bool(consistent.all()))
check.sampled(
    "C1.death",
    "share of dead ReLU networks of widths 3, 1, 2, 4, 1",
    dead,
    1 - alive,
    wrong={"only the last layer can die": 0.5, "layers counted twice": 1 - alive**2},
    seed=seed,
)

# %% [markdown]
# ## Width 100,000, depth 1,000
#
# One dense network of this size has $10^{13}$ weights. Two ensembles, both rescaled to keep the mean: two-level
# spectra, whose fluctuation exponent is small, and projectors of rank one hundredth of the width, whose exponent is
# near 2. First the kernel of the two-level networks: every 200th layer term and all their pairs.

# %%
shape = (wide_width,) * (wide_depth + 1)
large = {
    "two-level": Ensemble(shape, wide_width / 4).preserving(),
    "projector": Ensemble(shape, wide_width // 100, law=spectra.projector).preserving(),
}
wide = {
    name: simulate(e, wide_networks, generator=generator(60 + i))
    for i, (name, e) in enumerate(large.items())
}
for name, e in large.items():
    print(f"{name}: fluctuation exponent {fluctuation_exponent(e):.3f}")
    glue(f"exponent-{name}", fluctuation_exponent(e), display=False)

# %%
every = wide_depth // 5
theta, exact = wide["two-level"].ntk_layers[:, ::every], ntk(large["two-level"])
means = exact.layer_means[::every]
display(
    check.sampled(
        "C1.wide-kernel-means",
        "mean of every 200th layer term at width 100,000 and depth 1,000, against N1",
        theta,
        means,
        wrong={"eta left out": 2 * means},
        seed=seed,
    )
)
i, j = torch.triu_indices(len(means), len(means))
check.sampled(
    "C1.wide-kernel-second-moments",
    "second moments of all pairs of these terms, relative to their means, against N2",
    theta[:, i] * theta[:, j] / (means[i] * means[j]),
    exact.log_layer_ratios[::every, ::every].exp()[i, j],
    wrong={
        "no fluctuation": torch.ones(len(i)),
        "projector of the same stable rank": ntk(
            replace(large["two-level"], law=spectra.projector)
        )
        .log_layer_ratios[::every, ::every]
        .exp()[i, j],
    },
    seed=seed,
)

# %% [markdown]
# The logarithm of $\|h_L\|^2$ is a sum of independent terms, one a layer. The variances of its terms must be those of
# F5, and the sum of 1,000 of them must follow a normal law with the mean and variance of F5. Nothing is fitted.

# %%
typical = {name: log_growth(e) for name, e in large.items()}
variance = torch.stack([t.variance.sum() for t in typical.values()])
mean = torch.stack([t.mean.sum() for t in typical.values()])
growth = [wide[name].log_feature_norm2.diff(dim=-1) - typical[name].mean for name in large]
ranks = torch.tensor(
    [[e.stable_ranks[0], e.participation_ranks[0]] for e in large.values()]
)
with_stable_rank = variance + 2 * wide_depth * (1 / ranks[:, 0] - 1 / ranks[:, 1])
check.sampled(
    "C1.log-variance",
    "sum over 1,000 layers of the variance of their log growth, against F5: two-level and projector",
    torch.stack([g.square().sum(-1) for g in growth], -1),
    variance,
    wrong={"stable rank in place of participation rank": with_stable_rank},
    seed=seed,
)

# %%
standardized = torch.stack([g.sum(-1) for g in growth], -1) / variance.sqrt()
normal = torch.randn(normal_draws, 2, generator=generator(70))
same_law(
    "C1.log-normal",
    "log ||h_L||^2 of both ensembles, standardized by F5, against independent normal variables",
    standardized,
    normal,
    wrong={
        "centred at the log of the mean": normal - mean / variance.sqrt(),
        "stable rank in place of participation rank": normal
        * (with_stable_rank / variance).sqrt(),
    },
    seed=seed,
)

# %%
kernels = {name: ntk(e) for name, e in large.items()}
logs = {
    name: draws.log_ntk_layers.logsumexp(-1) - kernels[name].log_mean
    for name, draws in wide.items()
}
for name, x in logs.items():
    glue(f"deviation-{name}", x.std().item(), display=False)
    glue(f"typical-{name}", x.mean().exp().item(), display=False)

# %% mystnb={"figure": {"caption": "One network of width 100,000 and depth 1,000 is far from the mean of many. Distribution of the log squared feature norm and of the log kernel relative to its mean, for projectors of rank 1,000 (left) and two-level spectra of stable rank 25,000 (right; note the scale); 4,500 networks each. Lines: for the feature norm the normal law with the parameters of F5; for the kernel the log-normal law with the mean of N1 and the second moment of N2, which is an approximation.", "name": "fig-c1-wide"}, "image": {"alt": "Two panels with two bell-shaped histograms each. The smooth predicted normal curves follow the outlines of the histograms; in the left panel the kernel's histogram is narrower and lies further right than the feature norm's."}} tags=["hide-input"]
fig, axes = plotting.figure(1, 2, size=(8.4, 3.7))
for ax, (i, name) in zip(axes, ((1, "projector"), (0, "two-level")), strict=True):
    curves = {
        r"$\log\|h_L\|^2$": (wide[name].log_feature_norm2[:, -1], mean[i], variance[i]),
        r"$\log\,\Theta/\mathbb{E}\Theta$": (
            logs[name],
            -kernels[name].log_ratio / 2,
            kernels[name].log_ratio,
        ),
    }
    for (label, (x, m, v)), color in zip(curves.items(), plotting.palette(2), strict=True):
        print(
            f"{name}, {label}: mean {x.mean():.2g} (line {m:.2g}), deviation {x.std():.2g} (line {v.sqrt():.2g})"
        )
        grid = m + v.sqrt() * torch.linspace(-3.5, 3.5, 150)
        density = (-((grid - m) ** 2) / (2 * v)).exp() / (2 * math.pi * v).sqrt()
        ax.hist(x.numpy(), 40, density=True, color=color, alpha=0.3)
        plotting.theory(ax, grid, density, color=color, label=label)
    ax.axvline(0, color="0.3", linestyle="--", linewidth=1)
    ax.set(title=name, xlabel="logarithm", ylim=(0, 1.3 * ax.get_ylim()[1]))
axes[0].set_ylabel("density")
plotting.legend(axes[0], loc="upper left")

# %% [markdown]
# The spread of the kernel over four spectra and depths up to 1,000, at the same width: N2 at sizes where it could not
# be tested before.

# %%
depths = (10, 30, 100, 300, 1_000)
ladder = {
    r"two-level, $r=n/4$": (spectra.two_level, wide_width / 4),
    r"projector, $r=n/10$": (spectra.projector, wide_width // 10),
    r"projector, $r=n/100$": (spectra.projector, wide_width // 100),
    r"projector, $r=n/1000$": (spectra.projector, wide_width // 1000),
}
spread, lines = {}, {}
for i, (label, (law, r)) in enumerate(ladder.items()):
    family = [Ensemble((wide_width,) * (L + 1), r, law=law).preserving() for L in depths]
    draws = [simulate(e, depth_networks, generator=generator(80 + i)) for e in family]
    spread[label] = torch.stack([d.log_ntk_layers.logsumexp(-1).std() for d in draws])
    lines[label] = torch.stack([ntk(e).log_ratio.sqrt() for e in family])
    print(label, "deviation of log Theta:", " ".join(f"{x:.2g}" for x in spread[label]))

# %% mystnb={"figure": {"caption": "The kernel of a network of width 100,000 is nearly deterministic, or not, according to depth over participation rank. Points: standard deviation of the log kernel over 1,000 simulated networks; 95 % intervals are smaller than the points. Lines: the value that a log-normal kernel with the second moment of N2 would have. The line leaves the points where the deviation passes 1, since the kernel is then no longer log-normal; the second moment itself stays exact.", "name": "fig-c1-depth"}, "image": {"alt": "Log-log plot of the standard deviation of the log kernel against depth from 10 to 1,000. Four rising straight lines with points on them, higher for lower stable rank; at the top right a point lies slightly below its line."}} tags=["hide-input"]
fig, ax = plotting.figure(size=(6.4, 4.0))
for (label, y), color in zip(spread.items(), plotting.palette(4), strict=True):
    plotting.theory(ax, depths, lines[label], color=color)
    plotting.points(
        ax, depths, y, 1.96 * y / math.sqrt(2 * depth_networks), color=color, label=label
    )
ax.set(
    xscale="log",
    yscale="log",
    xlabel="depth $L$",
    ylabel=r"standard deviation of $\log\,\Theta$",
)
plotting.legend(ax, loc="upper left")

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
# 1,000. At several inputs the same can be done for the forward pass (C2): the features of one network at all inputs,
# against dense sampling, and the angles between inputs at widths up to 100,000.

# %%
import math
from dataclasses import replace

import torch
from IPython.display import display

from figures import exact_simulation as figures
from measurements import exact_simulation as measure
from srlib import Ensemble, arccos, check, spectra
from srlib.check import glue
from srlib.check.same_law import same_law
from srlib.collapsed import features, simulate
from srlib.moments import fluctuation_exponent, log_growth, ntk

torch.set_default_dtype(torch.float64)  # everything that is compared is in double precision

# %% tags=["parameters"]
seed = 1  # of every draw; each section adds an offset of its own
dense_networks = 15_500  # dense networks for each comparison of laws
simulated_networks = 21_600  # simulated ones for each comparison
wrong_networks = 4_000  # networks of each wrong alternative, where these are easy to tell
moment_networks = 240_000  # simulated networks for the moments of the kernel
death_networks = 50_000  # simulated networks that may die
wide_width = 100_000  # width where no matrix is formed
wide_depth = 1_000  # and depth
wide_networks = 4_600  # networks of this size for each of two spectra
normal_draws = 140_000  # normal variables that their logarithms are compared with
depth_networks = 400  # networks for each point of the depth figure
several_networks = 3_750  # dense networks for each comparison of laws at several inputs, and simulated ones
plane_networks = 100  # networks of wide_width and one layer for the angles of a plane
angle_networks = 150  # networks for each of the two spectra where angles are followed through several layers
angle_width = 20_000  # their width
angle_depth = 8  # and their depth


# %%
def generator(offset):
    return torch.Generator().manual_seed(seed + 1_000 * offset)


def first_axis(n):
    return torch.eye(n)[:1]


def another_law(e):
    return spectra.two_level if e.law == spectra.projector else spectra.projector


# %% [markdown]
# ## The recursion, network by network
#
# For every map $M$ of a dense network (a layer, or its gates) the four numbers $g,A,P,C$ are measured from the
# matrices. The recursion for the cosine must then reproduce every backprop norm to rounding.


# %%
mixed = Ensemble((12, 20, 24, 16), (5, 7.3, 3), (1.3, 1.7, 2.0), readout_norm=1.5)
gated = [replace(mixed, negative_slope=a) for a in (0.0, 0.3, -0.5)]
networks = [e.sample(200, generator=generator(0)) for e in gated]
measured = [measure.every_map(network, first_axis(12)) for network in networks]


def relative(**spoiled):
    """Predicted norms over the measured ones."""
    return torch.cat(
        [measure.recursion(f, c, **spoiled) / norms for f, norms, c in measured]
    )


check.exact(
    "C1.recursion",
    "backprop norms of 600 dense networks after every map, by the recursion for the cosine",
    relative(),
    torch.ones(600, 6),
    wrong={
        "cross term P left out": relative(cross=0.0),
        "known component left out": relative(known=0.0),
    },
)

# %% [markdown]
# ## The same law as dense sampling
#
# One row for each network: all $\|h_l\|^2$, all $\|\delta_l\|^2$, $f$, $f^2$, all $\Theta_l$. Rows of dense networks
# with explicit backpropagation are compared with simulated rows, by every coordinate and by 32 projections. The wrong
# alternatives are plausible shortcuts: backpropagating through fresh independent weights, as mean-field theory
# assumes; fresh gates; the forward and backward parts drawn separately; the other end of S1; all gates open.


# %%
def simulated(ensemble, count, generator):
    draw = simulate(ensemble, count, generator=generator)
    return measure.row(draw.feature_norm2, draw.backprop_norm2, draw.output)


# %%
leaky = replace(mixed, law=spectra.projector, negative_slope=0.3)
linear = replace(mixed, law=spectra.power_law, negative_slope=1)
narrow = Ensemble((3, 1, 2, 4, 1), (1, 1, 1.5, 1), readout_norm=1.5)
small = Ensemble((6, 10, 12, 8), (3, 4.3, 2.5), (1.3, 1.7, 2.0), readout_norm=1.5)
cases = {
    "relu": ("ReLU, two-level spectra", mixed),
    "leaky": ("slope 0.3, projectors", leaky),
    "random": ("ReLU, random spectra", replace(small, law=spectra.uniform_sphere)),
    "linear": ("linear, power laws", linear),
    "narrow": ("ReLU, widths 3, 1, 2, 4, 1", narrow),
}
# Not every shortcut is tried everywhere: open gates, for one, are all equal.
shortcuts = {"linear": ["fresh weights"], "narrow": ["separate passes"]}
rows, claims = {}, {}
for i, (name, (text, e)) in enumerate(cases.items()):
    network = e.sample(dense_networks, generator=generator(10 + i))
    truth, wrong = measure.dense_rows(network, first_axis(e.widths[0]))
    draws = simulated(e, simulated_networks, generator(20 + i))
    rows[name] = truth, draws, wrong["fresh weights"]
    few = dense_networks if name in shortcuts else wrong_networks
    wrong = {shortcut: wrong[shortcut][:few] for shortcut in shortcuts.get(name, wrong)}
    if name != "narrow":
        other = replace(e, law=another_law(e))
        wrong["another spectrum"] = simulated(other, few, generator(30 + i))
    if e.negative_slope == 0:
        gates_open = replace(e, negative_slope=1)
        wrong["gates all open"] = simulated(gates_open, few, generator(40 + i))
    text = f"dense networks against simulation: {text}"
    claim = same_law(f"C1.same-law-{name}", text, draws, truth, wrong=wrong, seed=seed)
    print(f"largest distance as a share of the allowed one: {1 - claim.slack:.1f}")
    display(claim)
    claims[name] = claim
glue("dense-networks", dense_networks)
glue("noticed-distance", 100 * claims["relu"].noticeable)

# %%
quantities = [*(f"|h{l}|^2" for l in (1, 2, 3)), *(f"|delta{l}|^2" for l in (1, 2, 3))]
quantities += ["f", "f^2", *(f"Theta{l}" for l in (1, 2, 3))]
correlations = [measure.rank_correlations(part, quantities) for part in rows["relu"]]
in_dense, in_simulation, in_fresh = correlations
worst = max(in_fresh, key=lambda pair: abs(in_fresh[pair] - in_simulation[pair]))
glue("correlation-true", float(in_simulation["|delta1|^2", "f^2"]))
glue("correlation-fresh", float(in_fresh["|delta1|^2", "f^2"]))
print(
    f"rank correlations of {len(in_fresh)} pairs; fresh weights err most for {' and '.join(worst)}:",
    f"simulated {in_simulation[worst]:.1f}, dense {in_dense[worst]:.1f}, fresh weights {in_fresh[worst]:.1f}",
)

# %% mystnb={"figure": {"caption": "Dense sampling and exact simulation have the same joint law. ReLU networks of widths 12, 20, 24, 16. Left: difference of the distribution functions of five quantities, dense networks minus simulation, at the quantiles of the simulation; the shaded band is what the check allows. Right: Spearman correlations of all pairs of the eleven quantities. Hollow: backpropagation through fresh independent weights, as mean-field theory assumes; its dependence is wrong.", "name": "fig-c1-dense"}, "image": {"alt": "Left, five irregular curves close to zero, well inside a shaded band. Right, a scatter plot of correlations between 0 and 1: filled points lie on the diagonal, half a dozen hollow points lie far below it."}} tags=["hide-input"]
fig = figures.same_law(*rows["relu"][:2], claims["relu"], correlations)

# %% [markdown]
# ## Moments of the kernel and of the features
#
# Simulated networks of widths 36, 60, 72, 48 against the exact moments of every layer term (N1) and of every pair (N2).

# %%
wider = replace(mixed, widths=(36, 60, 72, 48), stable_ranks=(15, 22, 12))
theta = simulate(wider, moment_networks, generator=generator(50)).ntk_layers
exact = ntk(wider)
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
projector = ntk(replace(wider, law=spectra.projector)).second[i, j]
independent = exact.layer_means[i] * exact.layer_means[j]
check.sampled(
    "C1.kernel-second-moments",
    "second moments of all pairs of layer terms in the same networks, against N2",
    theta[:, i] * theta[:, j],
    exact.second[i, j],
    wrong={
        "projector in place of two-level": projector,
        "independent layer terms": independent,
    },
    seed=seed,
)

# %% [markdown]
# Networks that die: all backprop norms, the output and the kernel's layer terms are 0, and no NaN appears.

# %%
draws = simulate(narrow, death_networks, generator=generator(51))
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
wide = {}
for i, (name, e) in enumerate(large.items()):
    wide[name] = simulate(e, wide_networks, generator=generator(60 + i))
    print(f"{name}: fluctuation exponent {fluctuation_exponent(e):.3f}")
    glue(f"exponent-{name}", fluctuation_exponent(e))

# %%
every = wide_depth // 5
theta, exact = wide["two-level"].ntk_layers[:, ::every], ntk(large["two-level"])
projector = ntk(replace(large["two-level"], law=spectra.projector))
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
ratios = [e.log_layer_ratios[::every, ::every].exp()[i, j] for e in (exact, projector)]
check.sampled(
    "C1.wide-kernel-second-moments",
    "second moments of all pairs of these terms, relative to their means, against N2",
    theta[:, i] * theta[:, j] / (means[i] * means[j]),
    ratios[0],
    wrong={
        "no fluctuation": torch.ones(len(i)),
        "projector of the same stable rank": ratios[1],
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
gap = [1 / e.stable_ranks[0] - 1 / e.participation_ranks().value[0] for e in large.values()]
with_stable_rank = variance + 2 * wide_depth * torch.tensor(gap)
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
wider = (with_stable_rank / variance).sqrt()
normal = torch.randn(normal_draws, 2, generator=generator(70))
same_law(
    "C1.log-normal",
    "log ||h_L||^2 of both ensembles, standardized by F5, against independent normal variables",
    standardized,
    normal,
    wrong={
        "centred at the log of the mean": normal - mean / variance.sqrt(),
        "stable rank in place of participation rank": normal * wider,
    },
    seed=seed,
)

# %%
panels = {}
for (name, e), *normal in zip(large.items(), mean, variance, strict=True):
    exact = ntk(e)
    log_norm = wide[name].log_feature_norm2[:, -1]
    log_kernel = wide[name].log_ntk_layers.logsumexp(-1) - exact.log_mean
    log_normal = -exact.log_ratio / 2, exact.log_ratio  # the law with these two moments
    panels[name] = {
        r"$\log\|h_L\|^2$": (log_norm, *normal),
        r"$\log\,\Theta/\mathbb{E}\Theta$": (log_kernel, *log_normal),
    }
    glue(f"deviation-{name}", log_kernel.std().item())
    glue(f"typical-{name}", log_kernel.mean().exp().item())

# %% mystnb={"figure": {"caption": "One network of width 100,000 and depth 1,000 is far from the mean of many. Distribution of the log squared feature norm and of the log kernel relative to its mean, for projectors of rank 1,000 (left) and two-level spectra of stable rank 25,000 (right; note the scale); 4,600 networks each. Lines: for the feature norm the normal law with the parameters of F5; for the kernel the log-normal law with the mean of N1 and the second moment of N2, which is an approximation.", "name": "fig-c1-wide"}, "image": {"alt": "Two panels with two bell-shaped histograms each. The smooth predicted normal curves follow the outlines of the histograms; in the left panel the kernel's histogram is narrower and lies further right than the feature norm's."}} tags=["hide-input"]
panels = dict(reversed(panels.items()))
for name, curves in panels.items():
    for label, (x, m, v) in curves.items():
        found = f"mean {x.mean():.2g} (line {m:.2g}), deviation {x.std():.2g} (line {v.sqrt():.2g})"
        print(f"{name}, {label}: {found}")
fig = figures.wide(panels)

# %% [markdown]
# The spread of the kernel over four spectra and depths up to 1,000, at the same width: N2 at sizes where it could not
# be tested before. Networks that were drawn above serve again.


# %%
def log_kernels(e, generator):
    """Logarithms of the kernels of depth_networks networks."""
    known = [wide[name] for name, other in large.items() if other == e]
    draw = known[0] if known else simulate(e, depth_networks, generator=generator)
    return draw.log_ntk_layers[:depth_networks].logsumexp(-1)


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
    logs = [log_kernels(e, generator(80 + i)) for e in family]
    spread[label] = torch.stack([log.std() for log in logs])
    lines[label] = torch.stack([ntk(e).log_ratio.sqrt() for e in family])
    print(label, "deviation of log Theta:", " ".join(f"{x:.2g}" for x in spread[label]))

# %% mystnb={"figure": {"caption": "The kernel of a network of width 100,000 is nearly deterministic, or not, according to depth over participation rank. Points: standard deviation of the log kernel over 400 simulated networks, with 95 % intervals. Lines: the value that a log-normal kernel with the second moment of N2 would have. The line leaves the points where the deviation passes 1, since the kernel is then no longer log-normal; the second moment itself stays exact.", "name": "fig-c1-depth"}, "image": {"alt": "Log-log plot of the standard deviation of the log kernel against depth from 10 to 1,000. Four rising straight lines with points on them, higher for lower stable rank; at the top right a point lies slightly below its line."}} tags=["hide-input"]
fig = figures.depth(depths, spread, lines, depth_networks)

# %% [markdown]
# ## Several inputs, forwards: the same law as dense sampling (C2)
#
# One row for each network: the inner products of all features at all pairs of inputs, and all outputs. The second case
# has more inputs than neurons, among them one twice, its opposite and zero. A wrong alternative gives each input a
# network of its own: norms and outputs then have the right laws one by one, and nothing else has.


# %%
def drawn(e, x, count, generator):
    draw = features(e, x, count, generator=generator)
    return measure.pairs(draw.gram, draw.output)


# %%
x, y, z = torch.randn(3, 12, generator=generator(90))
a, b = torch.randn(2, 4, generator=generator(91))
special = torch.stack([a, b, a, -a, 0 * a])
narrow = Ensemble((4, 6, 3, 9), (2.5, 3, 1.5), law=spectra.projector)
random = replace(mixed, negative_slope=0.3, law=spectra.uniform_sphere)
cases = {
    "relu": ("ReLU, two-level spectra, 3 inputs", mixed, torch.stack([x, y, z])),
    "random": ("slope 0.3, random spectra, 2 inputs", random, torch.stack([x, y])),
    "special": ("widths 4, 6, 3, 9, five special inputs", narrow, special),
}
for i, (name, (text, e, inputs)) in enumerate(cases.items()):
    network = e.sample(several_networks, generator=generator(92 + i))
    truth, alone = measure.dense_pairs(network, inputs)
    draws = drawn(e, inputs, several_networks, generator(95 + i))
    wrong = {"a network for each input": alone}
    other, gates_open = replace(e, law=another_law(e)), replace(e, negative_slope=1)
    wrong["another spectrum"] = drawn(other, inputs, several_networks, generator(98 + i))
    wrong["gates all open"] = drawn(gates_open, inputs, several_networks, generator(98 + i))
    text = f"dense networks against simulation: {text}"
    claim = same_law(f"C2.same-law-{name}", text, draws, truth, wrong=wrong, seed=seed)
    print(f"largest distance as a share of the allowed one: {1 - claim.slack:.1f}")
    glue(f"several-{name}", 100 * claim.noticeable)
    display(claim)
glue("several-dense", several_networks)

# %% [markdown]
# With one input, features and output must have the law that the simulation of C1 gives them.


# %%
def norms_and_output(draw):
    f = draw.output.view(-1, 1)
    return torch.cat([draw.feature_norm2.flatten(1), f, f**2], -1)


single = features(mixed, first_axis(12), 2 * several_networks, generator=generator(101))
chain = simulate(mixed, 2 * several_networks, generator=generator(102))
cut = replace(mixed, widths=(12, 20, 24, 12))
fewer = features(cut, first_axis(12), 2 * several_networks, generator=generator(103))
same_law(
    "C2.one-input",
    "at one input, against the simulation of C1: ReLU, two-level spectra",
    norms_and_output(single),
    norms_and_output(chain),
    wrong={"a last layer of 12 neurons": norms_and_output(fewer)},
    seed=seed,
)

# %% [markdown]
# ## Angles at large width
#
# An isometric layer keeps the angle, so the mean inner product after its gates is the arc-cosine map of F6, at any
# width: here 100,000. Six inputs in a plane, 30 degrees apart, and all their pairs.

# %%
turn = (30 * torch.arange(6)).deg2rad()
plane = torch.zeros(6, wide_width)
plane[:, 0], plane[:, 1] = turn.cos(), turn.sin()
isometric = Ensemble((wide_width, wide_width), wide_width)
draw = features(isometric, plane, plane_networks, generator=generator(104))
i, j = torch.triu_indices(6, 6)
between = turn[j] - turn[i]
check.sampled(
    "C2.arc-cosine",
    "mean inner products after an isometric ReLU layer of width 100,000, against F6: 21 pairs of inputs",
    draw.gram[:, 1, i, j],
    arccos.kappa1(between),
    wrong={
        "linear": between.cos() / 2,
        "the arc-cosine map of order 0": arccos.kappa0(between),
    },
    scale=0.5,
    seed=seed,
)

# %% [markdown]
# Two ensembles of the same stable rank 50 and width 20,000: two-level spectra, whose participation rank is near
# 2,200, and projectors, whose participation rank is 50. In the infinite-width limit (N3) the angle between two inputs
# follows one and the same recursion $\theta\mapsto\psi(\theta)$. At leading order in F6 a layer adds the variance
# $\sin^2\theta\,(1/p-1/n)$ to the angle before its gates, and the recursion passes it on:
# $\Xi_l=\psi'(\theta_{l-1})^2\,[\Xi_{l-1}+\sin^2\theta_{l-1}\,(1/p-1/n)]$.

# %%
start = math.radians(120)
limit = measure.limit_angles(torch.tensor(start), angle_depth)
apart = torch.zeros(2, angle_width)
apart[0, 0], apart[1, 0], apart[1, 1] = 1.0, math.cos(start), math.sin(start)
tower, r = (angle_width,) * (angle_depth + 1), 50
laws = {"two-level": spectra.two_level, "projector": spectra.projector}
angles, participation = {}, {}
for k, (name, law) in enumerate(laws.items()):
    e = Ensemble(tower, r, law=law).preserving()
    draw = features(e, apart, angle_networks, generator=generator(105 + k))
    angles[name] = draw.angle[:, :, 0, 1].double()
    participation[name] = e.participation_ranks().value[0]
    glue(f"angle-participation-{name}", participation[name])
    last = angles[name][:, -1].rad2deg()
    glue(f"angle-deviation-{name}", float(last.std()))
    print(f"{name}: p = {participation[name]:.0f}, last angle {last.mean():.0f}", end=" ")
    print(f"(limit {limit[-1].rad2deg():.0f}), deviation {last.std():.1f} degrees")


# %%
def squares(name, p):
    """Mean over the layers of the squared distance from the limit, relative to its leading order."""
    off = angles[name] - limit
    leading = measure.angle_deviation(limit, 1 / p - 1 / angle_width)
    return (off[:, 1:] / leading[1:]).square().mean(-1)


check.empirical(
    "C2.angle-spread",
    "variance of angles around the limit at width 20,000, relative to its leading order in 1/p, lies between 0.5 and 1.7",
    torch.cat([squares(name, p) for name, p in participation.items()]),
    above=0.5,
    below=1.7,
    wrong_samples={
        "stable rank in place of participation rank": squares("two-level", r),
        "half the width in its place": squares("projector", angle_width / 2),
    },
    seed=seed,
)

# %% mystnb={"figure": {"caption": "Width alone does not make angles deterministic. Two inputs, 120 degrees apart, in ReLU networks of width 20,000 and stable rank 50, simulated without matrices. Left: their angle after each layer; points are means over 150 networks, bars hold one standard deviation of single networks, the line is the recursion of infinite width. Right: that standard deviation, with 95 % intervals; lines are its leading order, which knows the participation rank only.", "name": "fig-c2-angles"}, "image": {"alt": "Left, a line falling from 120 to 35 degrees over eight layers, with points of two colours on it: the bars of the projector reach some 8 degrees to each side, those of the two-level spectrum are hardly visible. Right, with a logarithmic axis, two parallel lines a factor seven apart, each with points on it, the projector's above."}} tags=["hide-input"]
leading = {
    name: measure.angle_deviation(limit, 1 / p - 1 / angle_width)
    for name, p in participation.items()
}
fig = figures.angles(limit, angles, participation, leading)
for name, angle in angles.items():
    found = [f"{angle[:, l].rad2deg().std():.1g}" for l in (1, 4, 8)]
    print(f"{name}: deviation after layers 1, 4, 8:", *found)

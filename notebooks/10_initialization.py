# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Initialization: does stable rank speed up training?
#
# First what is proved about networks as they are initialized: at fixed spectral norm the stable rank sets the scale
# of the logits and of the gradients (I1), at matched scale only the fluctuations are left (I2), and they bound those
# of the tangent kernel (I3). Then the experiment: several thousand networks, trained on digits. It was run once, by
# `make sweep`; its results are tables in `notebooks/data/initialization`, and everything below is computed from them.

# %%
import math
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import torch
from IPython.display import display
from scipy import stats
from torch import nn

from figures import initialization as figures
from measurements import initialization as measured
from measurements.initialization import exponent, inverse_rank, mean, quote, title
from srlib import Ensemble, check, feedforward, init, moments, sample, spectra
from srlib.check import glue
from srlib.experiments.training import cross_entropy

torch.set_default_dtype(torch.float64)  # everything that is compared is in double precision

# %% tags=["parameters"]
seed = 1  # of every draw, and of the bootstrap
networks = 19_000  # networks for each mean at the start of training
networks_fourth = 14_000  # networks for each fourth moment
resamples = 4_000  # of every bootstrap interval
confidence = 0.999  # of the intervals of the experiments' claims: twelve runs are few
threshold = 0.5  # training loss whose first crossing measures speed
border = 6.931  # L log(n/r) at the border of what trains: 10 log 2, r = n/2 in the pilot

# %% [markdown]
# ## At the start, at fixed spectral norm (I1)
#
# Spectral norm $\sqrt2$ and stable rank $\rho n$ in every layer, for three $\rho$. Mean squared logits, and the mean
# squared gradient of a logit in the weights and in the biases of each layer.


# %%
def generator(offset):
    return torch.Generator().manual_seed(seed + 1_000 * offset)


depth, width, rho = 2, 24, torch.tensor([1 / 4, 1 / 2, 1.0])
fixed = [Ensemble((width,) * (depth + 1), r, math.sqrt(2)) for r in (rho * width).tolist()]
nets = [e.sample(networks, generator=generator(i)) for i, e in enumerate(fixed)]
readout = torch.randn(networks, 10, width, generator=generator(4)) / math.sqrt(width)
both = torch.cat([torch.eye(width), -torch.eye(width)])  # the same means, less noise
last = [feedforward.forward(net, both).post[-1] for net in nets]
found = torch.stack([(h @ readout.mT).square().mean((1, 2)) for h in last], 1) * width
text = "mean squared logit over |x|^2/n_0 at spectral norm sqrt 2, two layers, r/n = 1/4, 1/2 and 1"
wrong = {"one layer fewer": rho ** (depth - 1)}
wrong |= {"rank in place of stable rank": torch.ones(3)}
wrong |= {"square root of the factor": rho ** (depth / 2)}
check.sampled("I1.logits", text, found, rho**depth, wrong=wrong, seed=seed)

# %%
weights, biases = zip(*map(measured.squared_gradients, nets), strict=True)
orthogonal = moments.ntk(fixed[-1]).layer_means[:-1]
found = torch.stack(weights, 1) / orthogonal
powers, above = rho[:, None].expand(3, depth), depth - torch.arange(depth) - 1.0
text = "mean squared gradient of a logit in each layer over that of orthogonal layers, r/n = 1/4, 1/2 and 1"
wrong = {"the power L": powers**depth, "one factor for each layer above": powers**above}
check.sampled("I1.gradients", text, found, powers ** (depth - 1), wrong=wrong, seed=seed)

# %%
text = "mean squared gradient of a logit in the biases of each layer, r/n = 1/4, 1/2 and 1"
exact = powers**above / 2
wrong = {"as for the weights": powers ** (depth - 1) / 2, "gates left out": 2 * exact}
wrong |= {"one layer more": exact * powers}
found = torch.stack(biases, 1)
check.sampled("I1.biases", text, found, exact, wrong=wrong, resolve=0.02, seed=seed)

# %% [markdown]
# Small logits say nothing: the loss is $\log C$ up to twice the largest logit.

# %%
logits = torch.randn(4_000, 1, 10, generator=generator(5))
logits = logits * 10 ** torch.linspace(-3, 1, 4_000)[:, None, None]
logits = torch.cat([1 - 2 * torch.eye(10)[:1, None], logits])
loss = cross_entropy(logits, torch.zeros(1, dtype=torch.long))
largest, distance = logits.abs().amax((1, 2)), (loss - math.log(10)).abs()
text = "distance of the loss from log C, ten classes, logits of sizes from 0.001 to 10"
wrong = {"the largest logit itself": largest}
check.bound("I1.loss", text, distance, 2 * largest, wrong=wrong)

# %% [markdown]
# ## At the start, at matched scale (I2)
#
# `init.stable_rank_` is the random model at one spectral norm. It gives every draw the mean squared weight that He's
# initialization has on average.

# %%
layers = [nn.Linear(20, 30), nn.Linear(30, 12), nn.Conv2d(4, 16, 3)]
layers += [nn.Conv1d(8, 12, 5, groups=2)]
fan_in, fan_out = [20, 30, 36, 20], [30, 12, 16, 6]

torch.manual_seed(seed)
init.module_(nn.Sequential(*layers), 0.3)
ours = measured.mean_squares(layers, fan_in)
for layer in layers:
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
he = measured.mean_squares(layers, fan_in)
text = "mean squared weight times fan-in, two linear and two convolutional layers"
wrong = {"times fan-out": 2 * np.divide(fan_in, fan_out), "as a draw of He's": he}
check.exact("I2.weights", text, ours, 2 * np.ones(4), wrong=wrong)

# %%
norms = [math.sqrt(2 * m / 4.5) for m in fan_out]
same = [
    sample((m, n), 4.5, spectral_norm=s, generator=generator(6))
    for m, n, s in zip(fan_out, fan_in, norms, strict=True)
]
ours = [init.stable_rank_(torch.empty(W.shape), 4.5, generator=generator(6)) for W in same]
ours, same = (torch.cat([W.flatten() for W in drawn]) for drawn in (ours, same))
text = "weights of stable_rank_ against the random model of spectral norm sqrt(2 m/r), same randomness"
check.exact("I2.model", text, ours, same, wrong={"another spectral norm": 1.1 * same})

# %% [markdown]
# What is left is fluctuation: $\mathbb E\|h_L\|^4/(\mathbb E\|h_L\|^2)^2$, whose logarithm is the exponent to leading order.

# %%
laws = ((16.0, spectra.two_level), (4.0, spectra.two_level), (8.0, spectra.projector))
cases = [Ensemble((16,) * 3, r, law=law).preserving() for r, law in laws]
drawn = [e.sample(networks_fourth, generator=generator(i)) for i, e in enumerate(cases, 20)]
noise = [torch.randn(networks_fourth, 16, 16, generator=generator(i)) for i in (30, 31)]
weights = [*(net.weights for net in drawn), [math.sqrt(2 / 16) * W for W in noise]]
found = torch.stack([measured.fourth_moment(W) for W in weights], 1)
exact = [moments.feature_norm(e).log_ratio[-1].exp().item() for e in cases]
exact = torch.tensor([*exact, (1 + 5 / 16) ** 2])
exponents = torch.tensor([*map(moments.fluctuation_exponent, cases), 10 / 16])
by_rank = (16 / 18 * (1 + 2 / torch.tensor([16, 4, 8, 4])) * (1 + 3 / 18)) ** 2
text = "ratio of moments of the feature norm for orthogonal, two-level, projector and He layers, two of width 16"
wrong = {
    "gates left out": exact / (1 + 3 / 18) ** 2,
    "stable rank in place of participation rank": by_rank,
    "the exponential of the exponent": exponents.exp(),
}
check.sampled("I2.fluctuations", text, found, exact, wrong=wrong, seed=seed)

# %% [markdown]
# ## The tables
#
# Every row of `runs.csv` is a network. Twelve seeds that were not used for tuning count; seed $k$ sees the same batches
# under all methods, so methods are compared seed by seed. A diverged run, or one whose loss ends above that of a network
# that knows nothing, counts with the loss $\log10$ of such a network.

# %%
sweep = measured.Sweep("data/initialization", threshold, resamples, seed)
runs, evaluation, sgd, adam = sweep.runs, sweep.evaluation, sweep.sgd, sweep.adam
ten, twenty, depths = "d10-w128-sgd", "d20-w128-sgd", [measured.depth_of(p) for p in sgd]
print(f"{len(runs)} networks, {len(evaluation)} of them compared,", end=" ")
print(f"{sweep.seeds} seeds each, {sweep.budget} steps")
diverged = evaluation.diverged_at.notna()
print(f"diverged: {runs.diverged_at.notna().sum()} of all,", end=" ")
print(f"{diverged.sum()} of those compared:")
lost = evaluation[diverged].groupby(["place", "key"]).size()
print(lost.to_string(header=False) if len(lost) else "none")

# %% [markdown]
# Was the grid of learning rates wide enough? Cells whose chosen rate is the smallest or the largest one:

# %%
at_end = sweep.at_end()
for side, found in at_end.items():
    print(f"{side}: {len(found)} of {len(sweep.rates)}")
    for where in sorted({p for _, p in found}):
        print(f"   {where}:", ", ".join(sorted(k for k, p in found if p == where)))

# %% [markdown]
# ## Comparison, seed by seed
#
# Effects: the ratio of final training losses (geometric mean over seeds), the ratio of mean steps to loss 0.5, where a
# run that never gets there counts with the whole budget (restricted mean time), and the difference in held-out
# accuracy. Intervals: 95 %, bootstrap over seeds, bias-corrected. Significance: exact permutation test over all $2^{12}$
# exchanges of the two methods within seeds, for log losses, steps and accuracies, corrected for all comparisons of this
# notebook together (Benjamini–Yekutieli, false discovery rate 5 %, valid under any dependence).

# %%
tests = sweep.tests.values()
alone, corrected = (sum(p <= 0.05 for p in found) for found in zip(*tests, strict=True))
print(f"{len(tests)} comparisons, {alone} with p <= 0.05 alone")
print(f"{corrected} significant after correction")

# %% [markdown]
# ### Final training loss, over that of orthogonal initialization
#
# Below 1 is better than orthogonal. A star: significant after correction.

# %%
sweep.table("final", "orthogonal", ".2f")

# %% [markdown]
# ### Speed: mean steps to loss 0.5, those of He's initialization over those of the method
#
# Above 1 is faster than He. Runs that never get there count with all 600 steps, on both sides of the ratio.

# %%
sweep.table("steps", "he", ".2f")

# %% [markdown]
# ### Held-out accuracy, minus that of orthogonal initialization, in percentage points

# %%
sweep.table("held_out", "orthogonal", "+.1f")

# %% [markdown]
# ### Against PyTorch's default
#
# Speed as above, but over PyTorch's default; in the last rows the number of seeds of twelve that get to loss 0.5.

# %%
half, half_fixed = "two_level-matched-0.5", "two_level-fixed-0.5"
chosen = ["he", "orthogonal", half, half_fixed]
against = sweep.table("steps", "pytorch", ".2f", chosen)
for key in ["pytorch", *chosen]:
    row = f"{title(key)}: seeds that arrive"
    against.loc[row] = [sweep.arrived(key, p) for p in sweep.places]
display(against)

# %% [markdown]
# ### At equal learning rates
#
# Each method was trained at the rate that its tuning chose from a grid of factors of 2. Two methods that hardly
# differ can end up on neighbouring rates, and then the final losses differ because of the rate. The tuning runs
# allow a comparison at the *same* rate, the smaller of the two chosen ones: loss after 300 steps over that of orthogonal
# initialization, geometric mean and range of the three tuning seeds. "=": both methods chose this rate.

# %%
display(sweep.equal_rate_table())
print("rates chosen by orthogonal, He, two-level 0.5 matched:")
for p in sweep.places:
    rates = (f"{sweep.rates[key, p]:g}" for key in ("orthogonal", "he", half))
    print(f"{measured.head(p)}:", *rates)

# %% [markdown]
# ## The summary that the chapter quotes
#
# Does any stable rank below $n$ beat orthogonal initialization? Where it does so at another learning rate than
# orthogonal's, the quotient of the rates is given.

# %%
columns = {"final": "loss", "steps": "speed", "held_out": "held-out accuracy"}
wins = {}
for column, name in columns.items():
    found = {title(k): sweep.beats_orthogonal(k, column) for k in sweep.keys if "-" in k}
    wins[column] = {key: where for key, where in found.items() if where}
    print(f"better than orthogonal in {name}:", wins[column] or "none, at no depth")
for key, other in (("orthogonal", "pytorch"), ("orthogonal", "he"), (half, "he")):
    where = ["; ".join(sweep.better(key, other, c)) or "nowhere" for c in columns]
    print(f"{title(key)} better than {title(other)} in", end=" ")
    print("loss: {} | speed: {} | held out: {}".format(*where))

# %% [markdown]
# ## Claims
#
# Ranges come from the pilot (ten layers: $r=n$ trains, $r\le n/4$ and PyTorch's default do not; twenty layers: He behind
# orthogonal, $r/n=0.02$ far behind; five layers: no difference) and from theory, and were written down before the
# sweep. Two kinds were restated when part of it had finished. `I1.quarter` first said that ten layers of $r=n/4$ stay
# above a loss of 2. With 600 steps at the largest rate they came down to about 1.2, and the claim is now about twenty
# layers; `I1.half`, about the same product $(r/n)^L$, asks for 0.5 instead of 2. And the claims about speed at matched
# scale first compared final losses. After 600 steps these are so small in shallow networks that they reflect which of two
# neighbouring rates was chosen; the claims now compare the steps to loss 0.5, with the same ranges.

# %%
quarter = "two_level-fixed-0.25"
experiment = partial(check.empirical, false_alarm=1 - confidence)


def final(key, place):
    return sweep.values(key, place, "final")


text = "final loss of orthogonal initialization, 10 layers, SGD"
wrong = {"r/n = 0.25 at the same norm": final(quarter, ten)}
experiment("I1.trains", text, final("orthogonal", ten), below=0.5, wrong_samples=wrong)

# %%
text = "final loss of PyTorch's default initialization, 10 layers, SGD; log 10 is 2.303"
wrong = {"orthogonal": final("orthogonal", ten)}
experiment("I1.pytorch", text, final("pytorch", ten), above=2.0, wrong_samples=wrong)

# %%
text = "final loss of r/n = 0.25 at fixed spectral norm, 20 layers, SGD"
options = {"above": 2.0, "wrong_samples": {"orthogonal": final("orthogonal", twenty)}}
experiment("I1.quarter", text, final(quarter, twenty), **options)

# %%
text = "final loss of r/n = 0.5 at fixed spectral norm, 20 layers, SGD"
options = {"above": threshold, "wrong_samples": {"at matched scale": final(half, twenty)}}
experiment("I1.half", text, final(half_fixed, twenty), **options)


# %%
def over_depths(key):
    return np.mean([sweep.log_ratio(key, "orthogonal", p) for p in sgd], 0)


equal = {"above": -0.25, "below": 0.25}
text = "log ratio of steps to loss 0.5, two-level r/n = 0.5 at matched scale over orthogonal, mean of 4 depths"
wrong = {"at fixed spectral norm": over_depths(half_fixed)}
experiment("I2.equal", text, over_depths(half), wrong_samples=wrong, **equal)

# %%
text = "log ratio of steps to loss 0.5, He over orthogonal, 5 layers"
wrong = {"PyTorch's default": sweep.log_ratio("pytorch", "orthogonal", sgd[0])}
found = sweep.log_ratio("he", "orthogonal", sgd[0])
experiment("I2.five", text, found, wrong_samples=wrong, **equal)

# %%
text = "log ratio of steps to loss 0.5, He over orthogonal, 20 layers"
wrong = {"over PyTorch's default": sweep.log_ratio("he", "pytorch", twenty)}
found = sweep.log_ratio("he", "orthogonal", twenty)
experiment("I2.he", text, found, above=0.0, wrong_samples=wrong)

# %%
found = sweep.log_ratio("two_level-matched-0.02", "orthogonal", twenty, "final")
text = "log ratio of final losses, two-level r/n = 0.02 at matched scale over orthogonal, 20 layers"
wrong = {"r/n = 0.5": sweep.log_ratio(half, "orthogonal", twenty, "final")}
experiment("I2.lowest", text, found, above=math.log(2), wrong_samples=wrong)

# %% mystnb={"figure": {"caption": "Who gets to a training loss of 0.5, and when. Kaplan-Meier curves over twelve seeds, SGD, each method at the learning rate that was best for it; curves that stay up never get there within 600 steps.", "name": "fig-init-survival"}, "image": {"alt": "Four panels for 5, 10, 20 and 40 layers with step curves that fall from one to zero. With depth first PyTorch's default and low stable ranks at fixed norm stay up, while orthogonal and stable rank one half at matched scale fall early in all panels."}} tags=["hide-input"]
steps = {p: {k: sweep.values(k, p, "steps") for k in figures.STYLES} for p in sgd}
fig = figures.survival(steps, sweep.budget, threshold)
for key in ("he", "orthogonal"):
    print(key, "median steps:", *[f"{np.median(steps[p][key]):.0f}" for p in sgd])

# %% mystnb={"figure": {"caption": "Training loss, median and quartiles over twelve seeds, SGD, each method at its own learning rate. Solid: initializations as PyTorch has them; dashed: two-level spectra of stable rank r/n as given.", "name": "fig-init-curves"}, "image": {"alt": "Four panels of falling loss curves for 5, 10, 20 and 40 layers. At 5 layers all but the smallest scales fall together; at 40 layers they are spread out, with some flat at log 10."}} tags=["hide-input"]
fig = figures.curves(sweep.curves, sgd, sweep.budget)
for key in figures.STYLES:
    print(key, *[f"{np.median(final(key, p)):.2g}" for p in sgd])

# %% [markdown]
# ## At matched scale: does the exponent order the methods (I2)?
#
# Xavier and PyTorch's default do not keep the forward variance and take no part. He's initialization does, with the
# exponent $5L/n$.

# %% mystnb={"figure": {"caption": "Effect sizes at matched scale, SGD, with 95 % intervals: final training loss (top) and mean steps to loss 0.5 (bottom), over those of orthogonal initialization. Filled points differ significantly after correction for all comparisons. Methods in the order of their fluctuation exponent, lowest on top.", "name": "fig-init-effects"}, "image": {"alt": "Two rows of four panels with points and horizontal intervals, one line a method. In the panels of 20 and 40 layers the points move to the right from top to bottom, most for stable rank 0.02."}} tags=["hide-input"]
ordered = [k for k in sweep.matched if k != "orthogonal"]
ordered.sort(key=lambda key: exponent(key, sgd[0]))
ratios = [sweep.ratios(column, "orthogonal", ordered) for column in ("final", "steps")]
fig = figures.effects(*ratios)
for key in ordered:
    times = exponent(key, sgd[-1]) * 128 / depths[-1]
    print(f"{title(key)}: exponent times n/L {times:.1f}")

# %% [markdown]
# Rank correlations between the exponent and the final loss, or the steps to loss 0.5, within each architecture (all
# methods at matched scale of one depth and width), seed by seed. Beside it the same for $n/r$, the stable rank alone, with $r=n/4$ for He (S3).

# %%
spread = [*sgd, "d20-w64-sgd", "d20-w256-sgd"]
predictors = {"exponent": exponent, "n/r": inverse_rank}
order, shown = {}, {}
for column, head in (("final", "loss"), ("steps", "steps")):
    for name, predictor in predictors.items():
        found = {p: sweep.correlations(predictor, p, column) for p in spread}
        found["mean of the six"] = np.mean(list(found.values()), 0)
        order[name, column] = found
        quoted = {p: quote(sweep.interval(mean, x)) for p, x in found.items()}
        shown[f"{name}, {head}"] = quoted
shown = pd.DataFrame(shown)
present = [sum((k, p) in sweep.cells for k in sweep.matched) for p in spread]
shown["methods"] = [*present, ""]
display(shown)
by_exponent, by_rank = order["exponent", "steps"], order["n/r", "steps"]
by_rate = {p: sweep.correlations(lambda *k: sweep.rates[k], p, "steps") for p in sgd}
for L, p in zip(depths[1:], sgd[1:], strict=True):
    wrong = {"the learning rate in place of the exponent": by_rate[p]}
    text = f"rank correlation of exponent and steps to loss 0.5 over methods at matched scale, {L} layers"
    options = {"above": 0.5, "wrong_samples": wrong}
    display(experiment(f"I2.order-{L}", text, by_exponent[p], **options))

# %%
text = "rank correlation with the steps, that of the exponent minus that of n/r, 20 layers"
wrong = {"the learning rate in place of the exponent": by_rate[twenty] - by_rank[twenty]}
found = by_exponent[twenty] - by_rank[twenty]
experiment("I2.participation", text, found, above=0.0, wrong_samples=wrong)

# %% [markdown]
# Collapse: how much of the variance of the log loss (medians over seeds), of the log of the mean steps to loss 0.5, and of
# the slowdown (those steps over those of orthogonal layers of the same architecture) does a monotone function of one
# number explain, over all depths, widths and spectra?

# %%
points = sweep.matched_table(spread)
others = points[points.key != "orthogonal"]
bootstrap = partial(measured.cells_interval, resamples=resamples // 4, seed=seed)
of_all, collapse = ("exponent", "depth", "rank"), {}
compared = ("loss", points, of_all), ("steps", points, of_all)
for y, table, xs in (*compared, ("slowdown", others, ("excess", "depth", "rank"))):
    for x in xs:
        collapse[y, x] = bootstrap(measured.explained, table[x], table[y])
        print(f"{y} by {'L/r' if x == 'rank' else x}: {quote(collapse[y, x])}")
near = points[points.exponent.between(1.3, 1.8)].loss
print(f"losses at exponents from 1.3 to 1.8: {near.min():.2g} to {near.max():.2g}")

# %% mystnb={"figure": {"caption": "Data collapse at matched scale, for all spectra, depths and widths (64: small, 128, 256: large markers). Left: final training loss, median of twelve seeds, against the fluctuation exponent. Right: mean steps to loss 0.5 over those of orthogonal layers of the same architecture, against what the exponent exceeds theirs by; at 40 layers the budget of 600 steps caps it. Grey: best monotone function.", "name": "fig-init-collapse"}, "image": {"alt": "Two panels of points on logarithmic axes, coloured by depth and with one marker shape for each law of singular values, and a grey staircase through them that rises to the right."}} tags=["hide-input"]
fig = figures.collapse(points, others[others.excess > 0])
listed = points.sort_values(["exponent", "key", "place"]).iloc[::8]
listed = listed[["key", "place", "exponent", "loss"]]
print(listed.to_string(index=False, float_format="{:.3g}".format))

# %% [markdown]
# ## At fixed spectral norm: stable rank acts as scale (I1)
#
# The methods that do not keep the forward variance, on one axis: $-\log$ of the factor by which they shrink mean squared
# features over all layers. Xavier's factor is $\frac12$ in a square layer, PyTorch's $\frac16$ (its biases aside).

# %%
scaled, correlation = sweep.scale_table(), {}
for name in ("SGD", "Adam"):
    group = scaled[scaled.place.str.endswith(name.lower())]
    correlation[name] = stats.spearmanr(group.shrinkage, group.loss).statistic
    print(f"{name}: rank correlation of shrinkage and loss {correlation[name]:.2f}")

# %% mystnb={"figure": {"caption": "Final training loss against the shrinkage of squared features over all hidden layers, median and range of twelve seeds. Stable rank at fixed spectral norm (circles) does what Xavier's and PyTorch's smaller weights do. The vertical line is the border that the pilot suggested.", "name": "fig-init-scale"}, "image": {"alt": "Two panels, SGD and Adam. For SGD the loss is low at the left and jumps to log 10 at a shrinkage of a few units, for all methods at about the same place."}} tags=["hide-input"]
fig = figures.scale(scaled, border)
print(scaled.iloc[::6].to_string(index=False, float_format="{:.3g}".format))

# %% [markdown]
# ## Trainability map (I3)
#
# The predictions first. The relative variance of the tangent kernel at one input (N2), for all networks of the map, lies
# between the two bounds of I3.

# %%
grid, upper, share = measured.predicted_map(sweep.maps)
text = f"relative variance of the tangent kernel against that of the feature norm, {len(grid)} networks of the map"
wrong = {"half of the bound": upper / 2}
check.bound("I3.upper", text, grid.variance, upper, wrong=wrong)

# %%
text = "squared share of the readout's term times that of the feature norm against the tangent kernel's variance"
wrong = {"the share itself": grid.variance * share}
display(check.bound("I3.lower", text, share**2 * upper, grid.variance, wrong=wrong))
ends = (grid.variance / upper).min(), (grid.variance / upper).max()
print("kernel's variance over the upper bound: {:.2f} to {:.2f}".format(*ends))

# %% [markdown]
# Then the verdict. A network trains if its held-out accuracy, mean of three seeds at the best of three rates, exceeds
# one half. How well does each number separate those that train from those that do not? AUC: the probability that it
# orders a random pair correctly; intervals by bootstrap over the cells of the map.

# %%
predictors = {
    "shrinkage L log(n/r)": grid.shrinkage,
    "exponent": grid.exponent,
    "kernel variance": grid.variance,
    "typical shrinkage": grid.typical,
    "depth alone": grid.depth,
    "r/n alone": -grid.ratio,
}
bootstrap = partial(measured.cells_interval, resamples=resamples // 2, seed=seed)
panels = {scale: grid[grid.scale == scale] for scale in ("fixed", "matched")}
areas, table = {}, {}
for scale, panel in panels.items():
    good, ranks = panel.held_out > 0.5, {}
    print(f"{scale}: {good.sum()} of {len(panel)} train")
    for name, x in predictors.items():
        if x[panel.index].nunique() > 1:
            areas[scale, name] = bootstrap(measured.auc, x[panel.index], good)
            ranks[name] = stats.spearmanr(-x[panel.index], panel.held_out).statistic
    table[f"{scale}, AUC"] = {name: quote(areas[scale, name]) for name in ranks}
    table[f"{scale}, rank correlation"] = {name: f"{v:.2f}" for name, v in ranks.items()}
pd.DataFrame(table)

# %% [markdown]
# Depth alone does well, because 40 layers are too many for the map's rates and steps whatever the stable rank. The
# differences from it, with all cells and, an afterthought, with up to 30 layers:

# %%
gaps, chosen = {}, {"fixed": "shrinkage L log(n/r)", "matched": "exponent"}
for end, most in (("", 40), ("-30", 30)):
    for scale, name in chosen.items():
        panel = panels[scale][panels[scale].depth <= most]
        pair = (predictors[key][panel.index] for key in (name, "depth alone"))
        gaps[scale + end] = bootstrap(measured.auc_gap, *pair, panel.held_out > 0.5)
for scale, name in chosen.items():
    print(f"{scale}: AUC of {name} minus that of depth {quote(gaps[scale])};", end=" ")
    print(f"up to 30 layers {quote(gaps[f'{scale}-30'])}")

# %%
panel, low = panels["fixed"], panels["matched"]
good, low_good = panel.held_out > 0.5, low.held_out > 0.5
agrees = measured.agreement(panel.shrinkage, border, good)
alternatives = {
    "depth alone, best cut": measured.best_cut(panel.depth, good),
    "r/n alone, best cut": measured.best_cut(-panel.ratio, good),
}
typical = measured.agreement(low.exponent, 20 * math.log(2), low_good).mean()
best = measured.best_cut(low.exponent, low_good).mean()
print(f"matched scale: exponent below 20 log 2 agrees {typical:.2f},", end=" ")
print(f"at its best cut {best:.2f}")
print(f"agrees: border from the pilot {agrees.mean():.2f},", end=" ")
print(*[f"{name} {found.mean():.2f}" for name, found in alternatives.items()])

# %% mystnb={"figure": {"caption": "Trainability map: held-out accuracy after 300 steps over depth and stable rank (two-level spectra, width 128, best of three rates, mean of three seeds). Left: at fixed spectral norm, with contours of the mean growth of squared features over all layers. Right: at matched scale, with contours of the fluctuation exponent (solid) and of the tangent kernel's relative variance (10, dashed).", "name": "fig-trainability"}, "image": {"alt": "Two heat maps. On the left a bright wedge of trained networks at shallow depth and high stable rank, bounded by the contour of constant growth. On the right all is bright but the corner of deep networks of the lowest stable ranks."}} tags=["hide-input"]
fig = figures.trainability(panels, border)
for scale, panel in panels.items():
    print(scale, *(100 * panel[panel.depth == 20].held_out).round().astype(int))

# %%
quoted = ["pytorch", "xavier", "he", *(f"two_level-fixed-{ratio}" for ratio in (0.5, 0.9))]
quoted += [f"two_level-matched-{ratio}" for ratio in (0.5, 0.25, 0.1, 0.02)]
for L, p in zip(depths, sgd, strict=True):
    for key in (*quoted, "projector-matched-0.25"):
        glue(f"loss-{key}-{L}", sweep.entry("final", key, "orthogonal", p, ".2f"))
    for key, other in product(("orthogonal", half), ("he", "pytorch")):
        glue(f"speed-{key}-{other}-{L}", sweep.entry("steps", key, other, p, ".2f"))
    accuracy = sweep.effect("held_out", "orthogonal", "he", p)
    glue(f"accuracy-orthogonal-he-{L}", quote(accuracy, "+.1f"))

# %%
speed, intervals = partial(sweep.effect, "steps"), {}
for p, (key, other) in product(adam, (("orthogonal", "he"), (half, "orthogonal"))):
    intervals[f"adam-{key}-{other}-{measured.depth_of(p)}"] = speed(key, other, p)
for (name, column), found in order.items():
    pooled = sweep.interval(mean, found["mean of the six"])
    intervals[f"order-{column}-{measured.short(name)}"] = pooled
for name in ("exponent", "n/r"):
    intervals[f"order-5-{measured.short(name)}"] = sweep.interval(
        mean, order[name, "steps"][sgd[0]]
    )
intervals |= {f"collapse-{y}-{x}": found for (y, x), found in collapse.items()}
intervals |= {
    f"auc-{scale}-{measured.short(name)}": found for (scale, name), found in areas.items()
}
intervals |= {f"auc-gap-{name}": found for name, found in gaps.items()}
for L, p in zip(depths, sgd, strict=True):
    intervals[f"speed-half-orthogonal-{L}"] = speed(half, "orthogonal", p)
intervals["adam-orthogonal-pytorch-10"] = speed("orthogonal", "pytorch", adam[-1])
intervals["he-projector"] = speed("projector-matched-0.5", "he", twenty)
for name, found in intervals.items():
    glue(name, quote(found))

# %%
for name, column in (("faster", "steps"), ("winners", "final"), ("accurate", "held_out")):
    found = (f"{key}: {', '.join(where)}" for key, where in wins[column].items())
    glue(name, "; ".join(found) or "none")
for name, key in (("orthogonal", "orthogonal"), ("half", half)):
    glue(f"exponent-{name}", exponent(key, sgd[-1]) * 128 / depths[-1])
    glue(f"{name}-beats-he", ", ".join(sweep.better(key, "he", "steps")) or "nowhere")
for key in ("he", "orthogonal"):
    glue(f"{key}-arrived-40", sweep.arrived(key, sgd[-1]))
glue("equal-half-5", sweep.at_equal_rate(half, sgd[0]).split(" (")[0])
losses = {"quarter-ten": final(quarter, ten), "half-twenty": final(half_fixed, twenty)}
losses |= {"xavier-twenty": final("xavier", twenty)}
numbers = {name: np.median(found) for name, found in losses.items()}
numbers |= {"near-low": near.min(), "near-high": near.max(), "agrees": 100 * agrees.mean()}
numbers |= {
    f"agrees-{measured.short(k)}": 100 * found.mean() for k, found in alternatives.items()
}
numbers |= {"agrees-typical": 100 * typical, "agrees-exponent": 100 * best}
deepest = grid[(grid.depth == grid.depth.max()) & (grid.ratio == 1)].held_out.mean()
numbers |= {"deepest-orthogonal": 100 * deepest, "trained-fixed": good.sum()}
numbers |= {"trained-matched": low_good.sum(), "scale-correlation": correlation["SGD"]}
numbers |= {"seeds": sweep.seeds, "networks": len(runs), "compared": len(evaluation)}
product_of = grid.ratio**grid.depth
numbers |= {"trained-lowest": product_of[good.index[good]].min()}
numbers |= {"quarter-ten-held-out": np.median(sweep.values(quarter, ten, "held_out"))}
numbers |= {"diverged": runs.diverged_at.notna().sum(), "diverged-compared": diverged.sum()}
numbers |= {"comparisons": len(tests), "at-end": sum(map(len, at_end.values()))}
hours = sweep.provenance["core_minutes"] / 60
numbers |= {"designs": len(sweep.rates), "core-hours": hours}
for name, value in numbers.items():
    glue(name, value)

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
import itertools
import json
import math
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from IPython.display import display
from matplotlib import patheffects
from matplotlib.ticker import NullLocator
from scipy import optimize, stats
from torch import nn

from srlib import (
    Ensemble,
    check,
    feedforward,
    init,
    moments,
    ntk,
    plotting,
    sample,
    spectra,
)
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
# squared gradient of a logit with respect to each layer.


# %%
def generator(offset):
    return torch.Generator().manual_seed(seed + 1_000 * offset)


def basis(n):
    """An orthonormal basis and its mirror image: the same expectations, less noise."""
    return torch.cat([torch.eye(n), -torch.eye(n)])


widths, ratios = (24,) * 3, (1 / 4, 1 / 2, 1.0)
depth, width = len(widths) - 1, widths[-1]
fixed = [Ensemble(widths, rho * width, math.sqrt(2)) for rho in ratios]
nets = [e.sample(networks, generator=generator(i)) for i, e in enumerate(fixed)]
readout = torch.randn(networks, 10, width, generator=generator(4)) / math.sqrt(width)
last = [feedforward.forward(net, basis(width)).post[-1] for net in nets]
found = [(h @ readout.mT).square().mean((1, 2)) for h in last]
rho = torch.tensor(ratios)
check.sampled(
    "I1.logits",
    "mean squared logit over |x|^2/n_0 at spectral norm sqrt 2, two layers, r/n = 1/4, 1/2 and 1",
    torch.stack(found, 1) * width,
    rho**depth,
    wrong={
        "one layer fewer": rho ** (depth - 1),
        "rank in place of stable rank": torch.ones(3),
        "square root of the factor": rho ** (depth / 2),
    },
    seed=seed,
)


# %%
def gradients(net, chunk=5_000):
    """Squared gradient of the output with respect to each hidden layer, averaged over inputs."""
    parts = []
    for start in range(0, len(net.readout), chunk):
        weights = tuple(W[start : start + chunk] for W in net.weights)
        part = type(net)(weights, net.readout[start : start + chunk], net.negative_slope)
        T = ntk.layers(part, torch.eye(width))[:, :-1].diagonal(dim1=2, dim2=3)
        parts.append(T.mean(-1))
    return torch.cat(parts)


relative = [gradients(net) / moments.ntk(fixed[-1]).layer_means[:-1] for net in nets]
check.sampled(
    "I1.gradients",
    "mean squared gradient of a logit in each layer over that of orthogonal layers, r/n = 1/4, 1/2 and 1",
    torch.stack(relative, 1),
    (rho ** (depth - 1))[:, None].expand(3, depth),
    wrong={
        "the power L": (rho**depth)[:, None].expand(3, depth),
        "one factor for each layer above": rho[:, None]
        ** (depth - torch.arange(depth) - 1.0),
    },
    seed=seed,
)

# %% [markdown]
# Small logits say nothing: the loss is $\log C$ up to twice the largest logit.

# %%
logits = torch.randn(4_000, 1, 10, generator=generator(5))
logits = torch.cat(
    [torch.ones(1, 1, 10), logits * 10 ** torch.linspace(-3, 1, 4_000)[:, None, None]]
)
logits[0, 0, 0] = -1
loss = cross_entropy(logits, torch.zeros(1, dtype=torch.long))
largest = logits.abs().amax((1, 2))
check.bound(
    "I1.loss",
    "distance of the loss from log C, ten classes, logits of sizes from 0.001 to 10",
    (loss - math.log(10)).abs(),
    2 * largest,
    wrong={"the largest logit itself": largest},
)

# %% [markdown]
# ## At the start, at matched scale (I2)
#
# `init.stable_rank_` is the random model at one spectral norm. It gives every draw the mean squared weight that He's
# initialization has on average.

# %%
layers = [
    nn.Linear(20, 30),
    nn.Linear(30, 12),
    nn.Conv2d(4, 16, 3),
    nn.Conv1d(8, 12, 5, groups=2),
]
drawn = {
    "ours": partial(init.module_, nn.Sequential(*layers), 0.3),
    "he": lambda: [nn.init.kaiming_normal_(l.weight, nonlinearity="relu") for l in layers],
}


def mean_square(which):
    drawn[which]()
    return [l.weight.square().mean().item() for l in layers]


torch.manual_seed(seed)
fan_in, fan_out = ([20, 30, 36, 20], [30, 12, 16, 6])
same = [
    sample((m, n), 4.5, spectral_norm=math.sqrt(2 * m / 4.5), generator=generator(6))
    for m, n in zip(fan_out, fan_in, strict=True)
]
ours = [init.stable_rank_(torch.empty(W.shape), 4.5, generator=generator(6)) for W in same]
display(
    check.exact(
        "I2.weights",
        "mean squared weight times fan-in, two linear and two convolutional layers",
        np.multiply(mean_square("ours"), fan_in),
        2 * np.ones(4),
        wrong={
            "times fan-out": 2 * np.divide(fan_in, fan_out),
            "as a draw of He's": np.multiply(mean_square("he"), fan_in),
        },
    ),
    check.exact(
        "I2.model",
        "weights of stable_rank_ against the random model of spectral norm sqrt(2 m/r), same randomness",
        torch.cat([W.flatten() for W in ours]),
        torch.cat([W.flatten() for W in same]),
        wrong={"another spectral norm": 1.1 * torch.cat([W.flatten() for W in same])},
    ),
)

# %% [markdown]
# What is left is fluctuation: $\mathbb E\|h_L\|^4/(\mathbb E\|h_L\|^2)^2$, whose logarithm is the exponent to leading order.

# %%
square = (16,) * 3
cases = {
    "orthogonal": Ensemble(square, 16.0),
    "two-level": Ensemble(square, 4.0),
    "projector": Ensemble(square, 8.0, law=spectra.projector),
}
cases = {name: e.preserving() for name, e in cases.items()}


def fourth(weights):
    h = basis(16)
    for W in weights:
        h = (h @ W.mT).clamp(min=0)
    return h.square().sum(-1).square().mean(1)


def he(offset):
    noise = [
        torch.randn(networks_fourth, 16, 16, generator=generator(offset + l))
        for l in range(2)
    ]
    return [math.sqrt(2 / 16) * W for W in noise]


found = [
    fourth(e.sample(networks_fourth, generator=generator(20 + i)).weights)
    for i, e in enumerate(cases.values())
]
exact = [moments.feature_norm(e).log_ratio[-1].exp().item() for e in cases.values()]
exponents = [moments.fluctuation_exponent(e) for e in cases.values()]
display(
    check.sampled(
        "I2.fluctuations",
        "ratio of moments of the feature norm for orthogonal, two-level, projector and He layers, two of width 16",
        torch.stack([*found, fourth(he(30))], 1),
        torch.tensor([*exact, (1 + 5 / 16) ** 2]),
        wrong={
            "gates left out": torch.tensor([*exact, (1 + 5 / 16) ** 2]) / (1 + 3 / 18) ** 2,
            "stable rank in place of participation rank": torch.tensor(
                [(16 / 18 * (1 + 2 / r) * (1 + 3 / 18)) ** 2 for r in (16, 4, 8, 4)]
            ),
            "the exponential of the exponent": torch.tensor([*exponents, 10 / 16]).exp(),
        },
        seed=seed,
    )
)

# %% [markdown]
# ## The tables
#
# Every row of `runs.csv` is a network. Twelve seeds that were not used for tuning count; seed $k$ sees the same batches
# under all methods, so methods are compared seed by seed. A diverged run, or one whose loss ends above that of a network
# that knows nothing, counts with the loss $\log10$ of such a network.

# %%
folder = Path("data/initialization")
runs = pd.read_csv(folder / "runs.csv")
curves = pd.read_csv(folder / "curves.csv")
provenance = json.loads((folder / "provenance.json").read_text())
assert len(runs) == provenance["networks"], "runs.csv is not whole: restore it"
named = runs.method + np.where(runs.scale == "own", "", "-" + runs.scale)
runs["key"] = named + runs.ratio.map("-{:g}".format).where(runs.ratio.notna(), "")
place = "d" + runs.depth.astype(str) + "-w" + runs.width.astype(str) + "-" + runs.optimizer
runs["place"] = place
runs["final"] = runs.loss.clip(upper=math.log(10))
budget = 10 * curves.groupby("id").size().max()
runs["steps"] = runs[f"reached_{threshold:g}"].fillna(np.inf)

evaluation = runs[runs.phase == "evaluation"]
tuning = runs[runs.phase == "tuning"]
maps = runs[(runs.phase == "map") & (runs.chosen == 1)]
by_seed = evaluation.pivot(index=["key", "place"], columns="seed")
cells, seeds = set(by_seed.index), by_seed.final.shape[1]
diverged = evaluation.diverged_at.notna()
print(
    f"{len(runs)} networks, {len(evaluation)} of them compared, {seeds} seeds each, {budget} steps"
)
print(
    f"diverged: {runs.diverged_at.notna().sum()} of all, {diverged.sum()} of those compared:"
)
lost = evaluation[diverged].groupby(["place", "key"]).size()
print(lost.to_string(header=False) if len(lost) else "none")

# %% [markdown]
# Was the grid of learning rates wide enough? Cells whose chosen rate is the smallest or the largest one:

# %%
rates = evaluation.groupby(["optimizer", "place", "key"]).rate.first()
ends = tuning.groupby("optimizer").rate.agg(["min", "max"])
at_end = {
    side: [(p, k) for (o, p, k), rate in rates.items() if rate == ends.loc[o, side]]
    for side in ("min", "max")
}
for side, found in at_end.items():
    print(f"{side}: {len(found)} of {len(rates)}")
    for where in sorted({p for p, _ in found}):
        print(f"   {where}:", ", ".join(sorted(k for p, k in found if p == where)))


# %% [markdown]
# ## Comparison, seed by seed
#
# Effects: the ratio of final training losses (geometric mean over seeds), the ratio of mean steps to loss 0.5, where a
# run that never gets there counts with the whole budget (restricted mean time), and the difference in held-out
# accuracy. Intervals: 95 %, bootstrap over seeds, bias-corrected. Significance: exact permutation test over all $2^{12}$
# exchanges of the two methods within seeds, for log losses, steps and accuracies, corrected for all comparisons of this
# notebook together (Benjamini–Yekutieli, false discovery rate 5 %, valid under any dependence).


# %%
def values(key, place, column):
    """One number a seed, in the order of seeds."""
    return by_seed[column].loc[(key, place)].to_numpy()


def interval(statistic, *samples):
    """Estimate and bootstrap interval, seeds resampled together."""
    found, options = statistic(*samples), {"rng": seed, "n_resamples": resamples}
    with warnings.catch_warnings(action="ignore"):  # all resamples equal: no interval
        ends = stats.bootstrap(samples, statistic, paired=True, vectorized=True, **options)
    low, high = ends.confidence_interval
    return (found, low, high) if math.isfinite(low + high) else (found, found, found)


def loss_ratio(a, b, axis=-1):
    return np.exp(np.mean(np.log(a) - np.log(b), axis=axis))


def speed_up(a, b, axis=-1):
    return np.minimum(b, budget).mean(axis) / np.minimum(a, budget).mean(axis)


def difference(a, b, axis=-1):
    return np.mean(a - b, axis=axis)


def exchange_test(key, other, place, column):
    a, b = (measure[column](values(k, place, column)) for k in (key, other))
    options = {"permutation_type": "samples", "n_resamples": np.inf, "vectorized": True}
    return (
        stats.permutation_test((a - b,), np.mean, **options).pvalue
        if (a != b).any()
        else 1.0
    )


# %%
references = ("pytorch", "he", "orthogonal")
measure = {
    "final": np.log,
    "steps": lambda t: np.minimum(t, budget),
    "held_out": np.asarray,
}
comparisons = [
    (key, other, place, column)
    for key, place in by_seed.index
    for other in references
    if key != other and (other, place) in cells
    for column in measure
]
raw = [exchange_test(*comparison) for comparison in comparisons]
adjusted = stats.false_discovery_control(raw, method="by")
significant = {c for c, p in zip(comparisons, adjusted, strict=True) if p <= 0.05}
print(f"{len(comparisons)} comparisons, {sum(p <= 0.05 for p in raw)} with p <= 0.05 alone")
print(f"{len(significant)} significant after correction")

# %%
names = {
    "pytorch": "PyTorch default",
    "xavier": "Xavier",
    "he": "He",
    "orthogonal": "orthogonal",
    "two_level": "two-level",
    "coulomb_gas": "Coulomb gas",
}


def title(key):
    law, *rest = key.split("-")
    name = names.get(law, law)
    return (
        f"{name} {rest[1]}, {'matched' if rest[0] == 'matched' else 'fixed norm'}"
        if rest
        else name
    )


depths = sorted(evaluation[evaluation.optimizer == "sgd"].depth.unique())
sgd = [f"d{L}-w128-sgd" for L in depths]
adam = [
    f"d{L}-w128-adam"
    for L in sorted(evaluation[evaluation.optimizer == "adam"].depth.unique())
]
keys = list(dict.fromkeys(key for key in runs[runs.phase == "evaluation"].key))
keys = [key for key in keys if (key, sgd[0]) in cells]
matched = [key for key in keys if "-matched-" in key or key in ("he", "orthogonal")]


def entry(statistic, column, key, other, place, form):
    """Effect with its interval and, if significant, a star."""
    if (key, place) not in cells:
        return ""
    samples = values(key, place, column), values(other, place, column)
    found = interval(statistic, *samples)
    star = " *" if (key, other, place, column) in significant else ""
    return "{} [{}, {}]".format(*(format(v, form) for v in found)) + star


heads = {p: f"{p.split('-')[0][1:]} layers" + ", Adam" * (p in adam) for p in [*sgd, *adam]}


def effect(statistic, column, key, other, place):
    return interval(statistic, values(key, place, column), values(other, place, column))


def table(statistic, column, other, form, rows=keys):
    """One row a method, one column a depth and optimizer."""
    rows = [key for key in rows if key != other]
    content = {
        head: [entry(statistic, column, key, other, p, form) for key in rows]
        for p, head in heads.items()
    }
    return pd.DataFrame(content, index=[title(key) for key in rows])


# %% [markdown]
# ### Final training loss, over that of orthogonal initialization
#
# Below 1 is better than orthogonal. A star: significant after correction.

# %%
table(loss_ratio, "final", "orthogonal", ".2f")

# %% [markdown]
# ### Speed: mean steps to loss 0.5, those of He's initialization over those of the method
#
# Above 1 is faster than He. Runs that never get there count with all 600 steps, on both sides of the ratio.

# %%
table(speed_up, "steps", "he", ".2f")

# %% [markdown]
# ### Held-out accuracy, minus that of orthogonal initialization, in percentage points

# %%
table(lambda a, b, axis=-1: 100 * difference(a, b, axis), "held_out", "orthogonal", "+.1f")

# %% [markdown]
# ### Against PyTorch's default
#
# Speed as above, but over PyTorch's default; in the last rows the number of seeds of twelve that get to loss 0.5.


# %%
def arrived(key, place):
    return f"{np.isfinite(values(key, place, 'steps')).sum()} of {seeds}"


chosen = ["he", "orthogonal", "two_level-matched-0.5", "two_level-fixed-0.5"]
against = table(speed_up, "steps", "pytorch", ".2f", chosen)
for key in ["pytorch", *chosen]:
    against.loc[f"{title(key)}: seeds that arrive"] = [
        arrived(key, p) for p in [*sgd, *adam]
    ]
display(against)

# %% [markdown]
# ### At equal learning rates
#
# Each method was trained at the rate that its tuning chose from a grid of factors of 2. Two methods that hardly
# differ can end up on neighbouring rates, and then the final losses differ because of the rate. The tuning runs
# allow a comparison at the *same* rate, the smaller of the two chosen ones: loss after 300 steps over that of orthogonal
# initialization, geometric mean and range of the three tuning seeds. "=": both methods chose this rate.

# %%
rate_of = evaluation.groupby(["key", "place"]).rate.first()
tuned = tuning.pivot(index=["key", "place", "rate"], columns="seed", values="final")


def at_equal_rate(key, place):
    if (key, place) not in cells:
        return ""
    rate = min(rate_of[key, place], rate_of["orthogonal", place])
    ratio = tuned.loc[(key, place, rate)] / tuned.loc[("orthogonal", place, rate)]
    mark = " =" if rate_of[key, place] == rate_of["orthogonal", place] else ""
    return f"{stats.gmean(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f}){mark}"


rows = [key for key in keys if key != "orthogonal"]
equal = {h: [at_equal_rate(key, p) for key in rows] for p, h in heads.items()}
display(pd.DataFrame(equal, index=[title(key) for key in rows]))
print("rates chosen by orthogonal, He, two-level 0.5 matched:")
for p, h in heads.items():
    print(
        f"{h}:",
        *(f"{rate_of[k, p]:g}" for k in ("orthogonal", "he", "two_level-matched-0.5")),
    )

# %% [markdown]
# ## The summary that the chapter quotes
#
# Does any stable rank below $n$ beat orthogonal initialization? Where it does so at another learning rate than
# orthogonal's, the quotient of the rates is given.


# %%
def better(key, other, column="final"):
    """Where one method is significantly better than another."""
    sign = 1 if column == "held_out" else -1
    where = [p for p in heads if (key, other, p, column) in significant]
    gain = {p: measure[column](values(key, p, column)).mean() for p in where}
    base = {p: measure[column](values(other, p, column)).mean() for p in where}
    return [heads[p] for p in where if sign * (gain[p] - base[p]) > 0]


laws = [key for key in keys if "-" in key]


def marked(key, column):
    """Where a method beats orthogonal initialization, with the quotient of their rates if not 1."""
    where = {p: h for p, h in heads.items() if h in better(key, "orthogonal", column)}
    quotient = {p: rate_of[key, p] / rate_of["orthogonal", p] for p in where}
    notes = {p: "" if q == 1 else f" (rate x {q:.2g})" for p, q in quotient.items()}
    return [h + notes[p] for p, h in where.items()]


winners = {title(key): marked(key, "final") for key in laws}
faster = {title(key): marked(key, "steps") for key in laws}
accurate = {title(key): marked(key, "held_out") for key in laws}
effects = (("loss", winners), ("speed", faster), ("held-out accuracy", accurate))
for name, found in effects:
    wins = {key: where for key, where in found.items() if where}
    print(f"better than orthogonal in {name}:", wins or "none, at no depth")
for key, other in (
    ("orthogonal", "pytorch"),
    ("orthogonal", "he"),
    ("two_level-matched-0.5", "he"),
):
    where = ["; ".join(better(key, other, column)) or "nowhere" for column in measure]
    print(
        "{} better than {} in loss: {} | speed: {} | held out: {}".format(
            title(key), title(other), *where
        )
    )


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
def log_ratio(key, other, place, column="steps"):
    a, b = (values(k, place, column) for k in (key, other))
    return np.log(np.minimum(a, budget) / np.minimum(b, budget))


def experiment(name, text, samples, **options):
    return check.empirical(name, text, samples, false_alarm=1 - confidence, **options)


ten, twenty = "d10-w128-sgd", "d20-w128-sgd"
display(
    experiment(
        "I1.trains",
        "final loss of orthogonal initialization, 10 layers, SGD",
        values("orthogonal", ten, "final"),
        below=0.5,
        wrong_samples={
            "r/n = 0.25 at the same norm": values("two_level-fixed-0.25", ten, "final")
        },
    ),
    experiment(
        "I1.pytorch",
        "final loss of PyTorch's default initialization, 10 layers, SGD; log 10 is 2.303",
        values("pytorch", ten, "final"),
        above=2.0,
        wrong_samples={"orthogonal": values("orthogonal", ten, "final")},
    ),
    experiment(
        "I1.quarter",
        "final loss of r/n = 0.25 at fixed spectral norm, 20 layers, SGD",
        values("two_level-fixed-0.25", twenty, "final"),
        above=2.0,
        wrong_samples={"orthogonal": values("orthogonal", twenty, "final")},
    ),
    experiment(
        "I1.half",
        "final loss of r/n = 0.5 at fixed spectral norm, 20 layers, SGD",
        values("two_level-fixed-0.5", twenty, "final"),
        above=threshold,
        wrong_samples={
            "at matched scale": values("two_level-matched-0.5", twenty, "final")
        },
    ),
)


# %%
def over_depths(key):
    return np.mean([log_ratio(key, "orthogonal", p) for p in sgd], 0)


display(
    experiment(
        "I2.equal",
        "log ratio of steps to loss 0.5, two-level r/n = 0.5 at matched scale over orthogonal, mean of 4 depths",
        over_depths("two_level-matched-0.5"),
        above=-0.25,
        below=0.25,
        wrong_samples={"at fixed spectral norm": over_depths("two_level-fixed-0.5")},
    ),
    experiment(
        "I2.five",
        "log ratio of steps to loss 0.5, He over orthogonal, 5 layers",
        log_ratio("he", "orthogonal", "d5-w128-sgd"),
        above=-0.25,
        below=0.25,
    ),
    experiment(
        "I2.he",
        "log ratio of steps to loss 0.5, He over orthogonal, 20 layers",
        log_ratio("he", "orthogonal", twenty),
        above=0.0,
    ),
    experiment(
        "I2.lowest",
        "log ratio of final losses, two-level r/n = 0.02 at matched scale over orthogonal, 20 layers",
        log_ratio("two_level-matched-0.02", "orthogonal", twenty, "final"),
        above=math.log(2),
    ),
)

# %% mystnb={"figure": {"caption": "Who gets to a training loss of 0.5, and when. Kaplan-Meier curves over twelve seeds, SGD, each method at the learning rate that was best for it; curves that stay up never get there within 600 steps.", "name": "fig-init-survival"}, "image": {"alt": "Four panels for 5, 10, 20 and 40 layers with step curves that fall from one to zero. With depth first PyTorch's default and low stable ranks at fixed norm stay up, while orthogonal and stable rank one half at matched scale fall early in all panels."}} tags=["hide-input"]
shown = {
    "pytorch": (0, "-"),
    "xavier": (1, "-"),
    "two_level-fixed-0.5": (1, "--"),
    "he": (2, "-"),
    "orthogonal": (3, "-"),
    "two_level-matched-0.5": (3, "--"),
    "two_level-matched-0.1": (4, "--"),
    "two_level-matched-0.02": (5, "--"),
}
colors = plotting.palette(6)
fig, axes = plotting.figure(2, 2, size=(7.2, 6.4), sharex=True, sharey=True)
for ax, place in zip(axes.flat, sgd, strict=True):
    for key, (color, style) in shown.items():
        taken = values(key, place, "steps")
        sample_ = stats.CensoredData.right_censored(
            np.minimum(taken, budget), ~np.isfinite(taken)
        )
        curve = stats.ecdf(sample_).sf
        x, y = np.append(0, curve.quantiles), np.append(1, curve.probabilities)
        x, y = np.append(x, budget), np.append(y, y[-1])
        ax.step(
            x, y, style, where="post", color=colors[color], label=title(key), linewidth=1.7
        )
    ax.set(title=f"{place[1:].split('-')[0]} layers", ylim=(-0.04, 1.04), xlim=(0, budget))
for ax in axes[1]:
    ax.set_xlabel("steps")
for ax in axes[:, 0]:
    ax.set_ylabel(f"share of runs above loss {threshold:g}")
handles, labels = axes[0, 0].get_legend_handles_labels()
fig.legend(
    handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize="small"
)
for key in ("he", "orthogonal"):
    print(key, "median steps:", *[f"{np.median(values(key, p, 'steps')):.0f}" for p in sgd])

# %% mystnb={"figure": {"caption": "Training loss, median and quartiles over twelve seeds, SGD, each method at its own learning rate. Solid: initializations as PyTorch has them; dashed: two-level spectra of stable rank r/n as given.", "name": "fig-init-curves"}, "image": {"alt": "Four panels of falling loss curves for 5, 10, 20 and 40 layers. At 5 layers all but the smallest scales fall together; at 40 layers they are spread out, with some flat at log 10."}} tags=["hide-input"]
fig, axes = plotting.figure(2, 2, size=(7.2, 6.4), sharex=True, sharey=True)
for ax, place in zip(axes.flat, sgd, strict=True):
    for key, (color, style) in shown.items():
        curve = curves[curves.id == f"{key}-{place}"].replace(np.inf, 100.0)
        ax.plot(
            curve.step,
            curve["median"],
            style,
            color=colors[color],
            label=title(key),
            linewidth=1.5,
        )
        ax.fill_between(
            curve.step, curve.low, curve.high, color=colors[color], alpha=0.15, linewidth=0
        )
    ax.set(
        title=f"{place[1:].split('-')[0]} layers",
        yscale="log",
        xlim=(0, budget),
        ylim=(0.002, 3),
    )
for ax in axes[1]:
    ax.set_xlabel("step")
for ax in axes[:, 0]:
    ax.set_ylabel("training loss")
handles, labels = axes[0, 0].get_legend_handles_labels()
fig.legend(
    handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize="small"
)
for key in shown:
    print(key, *[f"{np.median(values(key, p, 'final')):.2g}" for p in sgd])

# %% [markdown]
# ## At matched scale: does the exponent order the methods (I2)?
#
# Xavier and PyTorch's default do not keep the forward variance and take no part. He's initialization does, with the
# exponent $5L/n$.


# %%
def architecture(place):
    """Depth and width."""
    return (int(part[1:]) for part in place.split("-")[:2])


def exponent(key, place):
    """Fluctuation exponent of a method at matched scale."""
    (L, n), (law, *rest) = architecture(place), key.split("-")
    if law == "he":
        return 5 * L / n
    law, ratio = (getattr(spectra, law), float(rest[1])) if rest else (spectra.two_level, 1)
    stack = Ensemble((784,) + (n,) * L, max(1, ratio * n), law=law)
    return round(moments.fluctuation_exponent(stack), 9)  # equal ones tie


# %% mystnb={"figure": {"caption": "Effect sizes at matched scale, SGD, with 95 % intervals: final training loss (top) and mean steps to loss 0.5 (bottom), over those of orthogonal initialization. Filled points differ significantly after correction for all comparisons. Methods in the order of their fluctuation exponent, lowest on top.", "name": "fig-init-effects"}, "image": {"alt": "Two rows of four panels with points and horizontal intervals, one line a method. In the panels of 20 and 40 layers the points move to the right from top to bottom, most for stable rank 0.02."}} tags=["hide-input"]
ordered = sorted(
    (k for k in matched if k != "orthogonal"), key=lambda k: exponent(k, sgd[0])
)
fig, axes = plotting.figure(2, 4, size=(9.4, 6.6), sharey=True, sharex="row")
effects = {"final": loss_ratio, "steps": lambda a, b, axis=-1: 1 / speed_up(a, b, axis)}
(blue,) = plotting.palette(1)
for (i, column), (j, place) in itertools.product(enumerate(effects), enumerate(sgd)):
    ax = axes[i, j]
    for row, key in enumerate(ordered):
        middle, low, high = effect(effects[column], column, key, "orthogonal", place)
        ax.plot([low, high], [row, row], color="0.4", linewidth=1.4, zorder=2)
        face = blue if (key, "orthogonal", place, column) in significant else "white"
        ax.plot(middle, row, "o", color=blue, markerfacecolor=face, markersize=5.5)
    ax.axvline(1, color="0.3", linewidth=1)
    ax.set(title=f"{depths[j]} layers" if i == 0 else None, xscale="log")
    ticks = [0.25, 1, 4, 16] if i == 0 else [1, 1.5, 2, 3]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
axes[0, 0].set_yticks(range(len(ordered)), [title(key) for key in ordered])
axes[0, 0].invert_yaxis()
axes[0, 0].set_xlabel("loss over orthogonal's", loc="left")
axes[1, 0].set_xlabel("steps over orthogonal's", loc="left")
for key in ordered:
    print(
        f"{title(key)}: exponent times n/L {exponent(key, sgd[-1]) * 128 / depths[-1]:.1f}"
    )

# %% [markdown]
# Rank correlations between the exponent and the final loss, or the steps to loss 0.5, within each architecture (all
# methods at matched scale of one depth and width), seed by seed. Beside it the same for $n/r$, the stable rank alone, with $r=n/4$ for He (S3).


# %%
def inverse_rank(key, place):
    """n/r of a method at matched scale."""
    *_, ratio = key.split("-")
    return {"he": 4.0, "orthogonal": 1.0}.get(key) or 1 / float(ratio)


def correlations(predictor, place, column="final"):
    """Spearman correlation of a predictor with the loss, or the steps, over methods, for each seed."""
    present = [k for k in matched if (k, place) in cells]
    x = [predictor(k, place) for k in present]
    found = np.array([measure[column](values(k, place, column)) for k in present])
    return np.array([stats.spearmanr(x, y).statistic for y in found.T])


def mean(x, axis=-1):
    return np.mean(x, axis=axis)


spread = [*sgd, "d20-w64-sgd", "d20-w256-sgd"]


def quote(found, form=".2f"):
    return "{} [{}, {}]".format(*(format(v, form) for v in found))


order = {
    (name, column): {p: correlations(f, p, column) for p in spread}
    for column in ("final", "steps")
    for name, f in (("exponent", exponent), ("n/r", inverse_rank))
}
pooled = {name: np.mean(list(found.values()), 0) for name, found in order.items()}
shown_order = pd.DataFrame(
    {
        f"{name}, {'loss' if column == 'final' else column}": {
            p: quote(interval(mean, x))
            for p, x in {
                **order[name, column],
                "mean of the six": pooled[name, column],
            }.items()
        }
        for name, column in order
    }
)
shown_order["methods"] = [sum((k, p) in cells for k in matched) for p in spread] + [""]
display(shown_order)
speed = {name: order[name, "steps"] for name in ("exponent", "n/r")}
claims = [
    experiment(
        f"I2.order-{L}",
        f"rank correlation of exponent and steps to loss 0.5 over methods at matched scale, {L} layers",
        speed["exponent"][p],
        above=0.5,
    )
    for L, p in zip(depths[1:], sgd[1:], strict=True)
]
participation = experiment(
    "I2.participation",
    "rank correlation with the steps, that of the exponent minus that of n/r, 20 layers",
    speed["exponent"][twenty] - speed["n/r"][twenty],
    above=0.0,
)
display(*claims, participation)

# %% [markdown]
# Collapse: how much of the variance of the log loss (medians over seeds), of the log of the mean steps to loss 0.5, and of
# the slowdown (those steps over those of orthogonal layers of the same architecture) does a monotone function of one
# number explain, over all depths, widths and spectra?

# %%
points = pd.DataFrame(
    [
        (
            k,
            p,
            np.median(values(k, p, "final")),
            measure["steps"](values(k, p, "steps")).mean(),
        )
        for p in spread
        for k in matched
        if (k, p) in cells
    ],
    columns=["key", "place", "loss", "steps"],
)
points = points.join(
    points.place.str.extract(r"d(?P<depth>\d+)-w(?P<width>\d+)").astype(int)
)
points["exponent"] = [exponent(k, p) for k, p in zip(points.key, points.place, strict=True)]
points["rank"] = [inverse_rank(k, p) for k, p in zip(points.key, points.place, strict=True)]
points["rank"] *= points.depth / points.width  # L/r
floor = points[points.key == "orthogonal"].set_index("place")
points["excess"] = points.exponent - points.place.map(floor.exponent)
points["slowdown"] = points.steps / points.place.map(floor.steps)
points = points.round(9)  # equal exponents tie, whatever rounding makes of them
others = points[points.key != "orthogonal"]


def explained(x, y):
    """Share of the variance of log y that the best monotone function of x explains."""
    order = np.lexsort((-np.log(y), x))  # ties: falling, so that they get one value
    log_y = np.log(np.asarray(y)[order])
    return 1 - np.var(log_y - optimize.isotonic_regression(log_y).x) / np.var(log_y)


def explained_interval(x, y):
    """With a bootstrap interval over the points."""
    x, y, rng = np.asarray(x), np.asarray(y), np.random.default_rng(seed)
    draws = [
        explained(x[i], y[i]) for i in rng.integers(len(x), size=(resamples // 4, len(x)))
    ]
    return explained(x, y), *np.quantile(draws, [0.025, 0.975])


collapse = {
    (y, x): explained_interval(data[x], data[y])
    for y, data, xs in (
        ("loss", points, ("exponent", "depth", "rank")),
        ("steps", points, ("exponent", "depth", "rank")),
        ("slowdown", others, ("excess", "depth", "rank")),
    )
    for x in xs
}
for (y, x), found in collapse.items():
    print(f"{y} by {'L/r' if x == 'rank' else x}: {quote(found)}")
near = points[points.exponent.between(1.3, 1.8)]
print(
    f"losses at exponents from 1.3 to 1.8: {near.loss.min():.2g} to {near.loss.max():.2g}"
)

# %% mystnb={"figure": {"caption": "Data collapse at matched scale, for all spectra, depths and widths (64: small, 128, 256: large markers). Left: final training loss, median of twelve seeds, against the fluctuation exponent. Right: mean steps to loss 0.5 over those of orthogonal layers of the same architecture, against what the exponent exceeds theirs by; at 40 layers the budget of 600 steps caps it. Grey: best monotone function.", "name": "fig-init-collapse"}, "image": {"alt": "Two panels of points on logarithmic axes, coloured by depth and with one marker shape for each law of singular values, and a grey staircase through them that rises to the right."}} tags=["hide-input"]
markers = {
    "orthogonal": "s",
    "he": "^",
    "two_level": "o",
    "projector": "D",
    "coulomb_gas": "v",
}
sizes = {64: 20, 128: 42, 256: 85}
tones = dict(zip(depths, plotting.palette(depths), strict=True))
fig, axes = plotting.figure(1, 2, size=(8.4, 4.9))
for ax, x, y, data in (
    (axes[0], "exponent", "loss", points),
    (axes[1], "excess", "slowdown", others[others.excess > 0]),
):
    for _, row in data.iterrows():
        style = {
            "marker": markers[row.key.split("-")[0]],
            "s": sizes[row.width],
            "color": [tones[row.depth]],
        }
        ax.scatter(row[x], row[y], edgecolor="white", linewidth=0.6, zorder=3, **style)
    line = data.sort_values(x)
    fit = optimize.isotonic_regression(np.log(line[y].to_numpy())).x
    ax.step(line[x], np.exp(fit), where="mid", color="0.6", linewidth=1.6, zorder=2)
    ax.set(xscale="log", yscale="log")
axes[0].set(xlabel=r"fluctuation exponent $\epsilon$", ylabel="final training loss")
axes[1].set(
    xlabel=r"$\epsilon$ minus that of orthogonal layers",
    ylabel="steps over those of orthogonal layers",
)
axes[1].set_yticks([1, 1.5, 2, 3], ["1", "1.5", "2", "3"])
axes[1].yaxis.set_minor_locator(NullLocator())
empty = [axes[0].scatter([], [], marker=m, color="0.4") for m in markers.values()]
empty += [axes[0].scatter([], [], marker="o", color=[c]) for c in tones.values()]
labels = [names.get(law, law) for law in markers] + [f"{L} layers" for L in tones]
fig.legend(
    empty,
    labels,
    loc="outside lower center",
    ncols=5,
    frameon=False,
    fontsize="small",
    columnspacing=1.2,
)
print(
    points.sort_values(["exponent", "key", "place"])[["key", "place", "exponent", "loss"]]
    .iloc[::8]
    .to_string(index=False, float_format="{:.3g}".format)
)

# %% [markdown]
# ## At fixed spectral norm: stable rank acts as scale (I1)
#
# The methods that do not keep the forward variance, on one axis: $-\log$ of the factor by which they shrink mean squared
# features over all layers. Xavier's factor is $\frac12$ in a square layer, PyTorch's $\frac16$ (its biases aside).


# %%
def shrinkage(key, place):
    """Minus the log of the mean growth of squared features per unit over all hidden layers."""
    L, n = architecture(place)
    if key == "pytorch":
        return L * math.log(6)
    if key == "xavier":
        return math.log((784 + n) / 784) + (L - 1) * math.log(2)
    return L * math.log(1 / float(key.split("-")[2])) if "-fixed-" in key else 0.0


scale_keys = ["pytorch", "xavier", "he", "orthogonal", *(k for k in keys if "-fixed-" in k)]
scaled = pd.DataFrame(
    [
        (k, p, shrinkage(k, p), *np.quantile(values(k, p, "final"), [0, 0.5, 1]))
        for p in [*sgd, *adam]
        for k in scale_keys
        if (k, p) in cells
    ],
    columns=["key", "place", "shrinkage", "low", "loss", "high"],
).round(9)
for name, group in scaled.groupby(scaled.place.str.endswith("adam")):
    found = stats.spearmanr(group.shrinkage, group.loss).statistic
    print(
        "Adam:" if name else "SGD:", f"rank correlation of shrinkage and loss {found:.2f}"
    )

# %% mystnb={"figure": {"caption": "Final training loss against the shrinkage of squared features over all hidden layers, median and range of twelve seeds. Stable rank at fixed spectral norm (circles) does what Xavier's and PyTorch's smaller weights do. The vertical line is the border that the pilot suggested.", "name": "fig-init-scale"}, "image": {"alt": "Two panels, SGD and Adam. For SGD the loss is low at the left and jumps to log 10 at a shrinkage of a few units, for all methods at about the same place."}} tags=["hide-input"]
fig, axes = plotting.figure(1, 2, size=(8.4, 4.4), sharey=True)
kinds = {"pytorch": "P", "xavier": "X", "he": "^", "orthogonal": "s"}
for ax, name in zip(axes, ("sgd", "adam"), strict=True):
    for _, row in scaled[scaled.place.str.endswith(name)].iterrows():
        color = tones[int(row.place.split("-")[0][1:])]
        ax.plot(
            [row.shrinkage] * 2, [row.low, row.high], color=color, linewidth=1.2, alpha=0.7
        )
        style = {"marker": kinds.get(row.key, "o"), "edgecolor": "white", "linewidth": 0.6}
        ax.scatter(row.shrinkage, row.loss, s=52, color=[color], zorder=3, **style)
    ax.axvline(border, color="0.3", linewidth=1, linestyle=":")
    ax.axhline(math.log(10), color="0.7", linewidth=1)
    ax.set(xscale="symlog", yscale="log", title={"sgd": "SGD", "adam": "Adam"}[name])
    ax.set_xlim(-0.3, 100)
    ax.set_xlabel(r"$-\log$ of the mean growth over all layers")
axes[0].set_ylabel("final training loss")
empty = [axes[0].scatter([], [], marker=m, color="0.4") for m in [*kinds.values(), "o"]]
empty += [axes[0].scatter([], [], marker="o", color=[c]) for c in tones.values()]
labels = [
    "PyTorch",
    "Xavier",
    "He",
    "orthogonal",
    "two-level, fixed norm",
    *(f"{L} layers" for L in tones),
]
fig.legend(
    empty,
    labels,
    loc="outside lower center",
    ncols=5,
    frameon=False,
    fontsize="small",
    columnspacing=1.2,
)
print(scaled.iloc[::6].to_string(index=False, float_format="{:.3g}".format))

# %% [markdown]
# ## Trainability map (I3)
#
# The predictions first. The relative variance of the tangent kernel at one input (N2), for all networks of the map, lies
# between the two bounds of I3.


# %%
def design(scale, ratio, L, n=128):
    """The random model with the spectral norms of the map."""
    r = max(1.0, ratio * n)
    norm = math.sqrt(2.0) if scale == "fixed" else math.sqrt(2 * n / r)
    return Ensemble((784,) + (n,) * L, r, norm)


grid = (
    maps.groupby(["scale", "ratio", "depth"])[["held_out", "accuracy"]].mean().reset_index()
)
models = [design(*row) for row in grid[["scale", "ratio", "depth"]].itertuples(index=False)]
kernels = [moments.ntk(e) for e in models]
grid["exponent"] = [moments.fluctuation_exponent(e) for e in models]
grid["shrinkage"] = -grid.depth * np.where(grid.scale == "fixed", np.log(grid.ratio), 0.0)
grid["variance"] = [k.relative_variance.item() for k in kernels]
grid["typical"] = [
    -moments.log_growth(e).mean.sum().item() + math.log(128 / 784) for e in models
]
grid = grid.round(9)  # equal values tie
upper = np.array([moments.feature_norm(e).relative_variance[-1].item() for e in models])
share = np.array([(k.layer_means[-1] / k.mean).item() for k in kernels])
display(
    check.bound(
        "I3.upper",
        f"relative variance of the tangent kernel against that of the feature norm, {len(grid)} networks of the map",
        grid.variance,
        upper,
        wrong={"half of the bound": upper / 2},
    ),
    check.bound(
        "I3.lower",
        "squared share of the readout's term times that of the feature norm against the tangent kernel's variance",
        share**2 * upper,
        grid.variance,
        wrong={"the share itself": grid.variance * share},
    ),
)
print(
    "kernel's variance over the upper bound: {:.2f} to {:.2f}".format(
        *np.quantile(grid.variance / upper, [0, 1])
    )
)

# %% [markdown]
# Then the verdict. A network trains if its held-out accuracy, mean of three seeds at the best of three rates, exceeds
# one half. How well does each number separate those that train from those that do not? AUC: the probability that it
# orders a random pair correctly; intervals by bootstrap over the cells of the map.


# %%
def auc(score, good):
    """Probability that a good cell has the lower score than a bad one."""
    n, m = good.sum(), (~good).sum()
    return (
        (m * n + n * (n + 1) / 2 - stats.rankdata(score)[good].sum()) / (n * m)
        if n * m
        else math.nan
    )


def auc_interval(score, good):
    score, good, rng = np.asarray(score), np.asarray(good), np.random.default_rng(seed)
    draws = [
        auc(score[i], good[i])
        for i in rng.integers(len(good), size=(resamples // 2, len(good)))
    ]
    return auc(score, good), *np.nanquantile(draws, [0.025, 0.975])


predictors = {
    "shrinkage L log(n/r)": grid.shrinkage,
    "exponent": grid.exponent,
    "kernel variance": grid.variance,
    "typical shrinkage": grid.typical,
    "depth alone": grid.depth,
    "r/n alone": -grid.ratio,
}


def verdicts(panel):
    """AUC and rank correlation with accuracy of every predictor that varies."""
    scores = {name: x[panel.index] for name, x in predictors.items()}
    scores = {name: x for name, x in scores.items() if x.nunique() > 1}
    good, rank = panel.held_out > 0.5, lambda x: stats.spearmanr(-x, panel.held_out)
    return {n: (auc_interval(x, good), rank(x).statistic) for n, x in scores.items()}


def auc_gap(panel, name):
    """By how much a number separates better than depth alone."""
    good, rng = (panel.held_out > 0.5).to_numpy(), np.random.default_rng(seed)
    x, y = (predictors[k][panel.index].to_numpy() for k in (name, "depth alone"))
    picks = rng.integers(len(good), size=(resamples // 2, len(good)))
    draws = [auc(x[i], good[i]) - auc(y[i], good[i]) for i in picks]
    return auc(x, good) - auc(y, good), *np.nanquantile(draws, [0.025, 0.975])


panels = {scale: grid[grid.scale == scale] for scale in ("fixed", "matched")}
quality = {scale: verdicts(panel) for scale, panel in panels.items()}
for scale, panel in panels.items():
    print(f"{scale}: {(panel.held_out > 0.5).sum()} of {len(panel)} train")
pd.DataFrame(
    {
        f"{scale}, {kind}": {
            name: "{:.2f} [{:.2f}, {:.2f}]".format(*found)
            if kind == "AUC"
            else f"{rank:.2f}"
            for name, (found, rank) in quality[scale].items()
        }
        for scale in quality
        for kind in ("AUC", "rank correlation")
    }
)


# %% [markdown]
# Depth alone does well, because 40 layers are too many for the map's rates and steps whatever the stable rank. The
# differences from it, with all cells and, an afterthought, with up to 30 layers:

# %%
chosen_scores = {"fixed": "shrinkage L log(n/r)", "matched": "exponent"}
gaps = {scale: auc_gap(panels[scale], name) for scale, name in chosen_scores.items()}
for scale, name in chosen_scores.items():
    part = panels[scale][panels[scale].depth <= 30]
    gaps[scale + "-30"] = auc_gap(part, name)
    print(f"{scale}: AUC of {name} minus that of depth {quote(gaps[scale])};", end=" ")
    print(f"up to 30 layers {quote(gaps[scale + '-30'])}")


# %%
def agreement(score, cut, panel):
    return ((score < cut) == (panel.held_out > 0.5)).to_numpy() * 1.0


def best_cut(score, panel):
    """Agreement at the cut that suits the data best: more than fair to an alternative."""
    cuts = [*np.unique(score), np.inf]
    return max((agreement(score, cut, panel) for cut in cuts), key=np.mean)


panel = panels["fixed"]
agrees = agreement(panel.shrinkage, border, panel)
alternatives = {
    "depth alone, best cut": best_cut(panel.depth, panel),
    "r/n alone, best cut": best_cut(-panel.ratio, panel),
}
low = panels["matched"]
typical_border = agreement(low.exponent, 20 * math.log(2), low)
print(
    f"matched scale: exponent below 20 log 2 agrees {typical_border.mean():.2f},", end=" "
)
print(f"at its best cut {best_cut(low.exponent, low).mean():.2f}")
print(
    f"agrees: border from the pilot {agrees.mean():.2f},",
    *[f"{n} {a.mean():.2f}" for n, a in alternatives.items()],
)
display(
    experiment(
        "I3.border",
        "cells of the map at fixed norm on the side of L log(n/r) = 10 log 2 that their accuracy says",
        agrees,
        above=0.75,
        wrong_samples=alternatives,
    )
)

# %% mystnb={"figure": {"caption": "Trainability map: held-out accuracy after 300 steps over depth and stable rank (two-level spectra, width 128, best of three rates, mean of three seeds). Left: at fixed spectral norm, with contours of the mean growth of squared features over all layers. Right: at matched scale, with contours of the fluctuation exponent (solid) and of the relative variance of the tangent kernel (dashed).", "name": "fig-trainability"}, "image": {"alt": "Two heat maps. On the left a bright wedge of trained networks at shallow depth and high stable rank, bounded by the contour of constant growth. On the right all is bright but the corner of deep networks of the lowest stable ranks."}} tags=["hide-input"]
contours = {
    "fixed": [("shrinkage", [2, border, 14], "-", r"$e^{{-{:.2g}}}$")],
    "matched": [
        ("exponent", [1, 4, 14], "-", r"$\epsilon={:g}$"),
        ("variance", [10], "--", "$V={:g}$"),
    ],
}
halo = patheffects.withStroke(linewidth=2.5, foreground="white")
fig, axes = plotting.figure(1, 2, size=(8.8, 5.0))
for ax, (scale, panel) in zip(axes, panels.items(), strict=True):
    wide = panel.pivot(index="depth", columns="ratio", values="held_out")
    image = ax.imshow(
        100 * wide, origin="lower", aspect="auto", cmap="cividis", vmin=10, vmax=95
    )
    ax.set_xticks(
        range(len(wide.columns)), [f"{r:g}" for r in wide.columns], fontsize="small"
    )
    ax.set_yticks(range(len(wide)), wide.index)
    ax.grid(False)
    for i, j in np.ndindex(wide.shape):
        v = 100 * wide.iloc[i, j]
        ax.annotate(
            f"{v:.0f}",
            (j, i),
            ha="center",
            va="center",
            fontsize=7,
            color="white" if v < 55 else "0.15",
        )
    for column, levels, style, form in contours[scale]:
        Z = panel.pivot(index="depth", columns="ratio", values=column)
        options = {"colors": ["#e4572e" if style == "-" else "#d6a2e8"], "linewidths": 2}
        lines = ax.contour(Z, levels=levels, linestyles=style, **options)
        for level, curves in zip(lines.levels, lines.allsegs, strict=True):
            side = (
                1 if style == "-" else -1
            )  # label above the upper end, or below the lower
            x, y = max(np.concatenate(curves), key=lambda point: side * point[1])
            ax.annotate(
                form.format(level),
                (x, y + 0.22 * side),
                ha="center",
                va="center",
                fontsize=9.5,
                color=options["colors"][0],
                path_effects=[halo],
            )
    ax.set(
        xlabel="stable rank over width $r/n$",
        title={"fixed": r"spectral norm $\sqrt{2}$"}.get(scale, "matched scale"),
    )
axes[0].set_ylabel("depth $L$")
fig.colorbar(image, ax=axes, label="held-out accuracy, %", fraction=0.05, pad=0.02)
for scale, panel in panels.items():
    print(scale, *(100 * panel[panel.depth == 20].held_out).round().astype(int))


# %%
def publish(name, found, form=".2f"):
    """An estimate and its interval, as the text quotes them."""
    glue(name, quote(found, form))


quoted = [
    *("pytorch", "xavier", "he", "two_level-fixed-0.5", "two_level-fixed-0.9"),
    *("two_level-matched-0.5", "two_level-matched-0.25", "two_level-matched-0.1"),
    *("two_level-matched-0.02", "projector-matched-0.25"),
]
for L, p in zip(depths, sgd, strict=True):
    for key in quoted:
        cell = entry(loss_ratio, "final", key, "orthogonal", p, ".2f")
        glue(f"loss-{key}-{L}", cell)
    for key in ("orthogonal", "two_level-matched-0.5"):
        for other in ("he", "pytorch"):
            cell = entry(speed_up, "steps", key, other, p, ".2f")
            glue(f"speed-{key}-{other}-{L}", cell)
    gain = effect(difference, "held_out", "orthogonal", "he", p)
    publish(f"accuracy-orthogonal-he-{L}", [100 * v for v in gain], "+.1f")
for p in adam:
    L = p.split("-")[0][1:]
    for key, other in (("orthogonal", "he"), ("two_level-matched-0.5", "orthogonal")):
        publish(f"adam-{key}-{other}-{L}", effect(speed_up, "steps", key, other, p))

# %%
for (name, column), found in pooled.items():
    publish(f"order-{column}-{name.replace('n/r', 'rank')}", interval(mean, found))
for name in ("exponent", "n/r"):
    found = interval(mean, order[name, "steps"]["d5-w128-sgd"])
    publish(f"order-5-{name.replace('n/r', 'rank')}", found)
for (y, x), found in collapse.items():
    publish(f"collapse-{y}-{x}", found)
short = {"shrinkage L log(n/r)": "shrinkage", "depth alone": "depth", "r/n alone": "ratio"}
short |= {"kernel variance": "variance", "typical shrinkage": "typical"}
for scale, found in quality.items():
    for name, (area, _) in found.items():
        publish(f"auc-{scale}-{short.get(name, name)}", area)
for name, found in gaps.items():
    publish(f"auc-gap-{name}", found)
for L, p in zip(depths, sgd, strict=True):
    found = effect(speed_up, "steps", "two_level-matched-0.5", "orthogonal", p)
    publish(f"speed-half-orthogonal-{L}", found)
publish(
    "adam-orthogonal-pytorch-10",
    effect(speed_up, "steps", "orthogonal", "pytorch", adam[-1]),
)
publish("he-projector", effect(speed_up, "steps", "projector-matched-0.5", "he", twenty))


# %%
def listed(found):
    return "; ".join(f"{key}: {', '.join(w)}" for key, w in found.items() if w) or "none"


texts = {
    "faster": listed(faster),
    "winners": listed(winners),
    "accurate": listed(accurate),
    "orthogonal-beats-he": ", ".join(better("orthogonal", "he", "steps")) or "nowhere",
    "half-beats-he": ", ".join(better("two_level-matched-0.5", "he", "steps")) or "nowhere",
    "he-arrived-40": arrived("he", sgd[-1]),
    "orthogonal-arrived-40": arrived("orthogonal", sgd[-1]),
    "equal-half-5": at_equal_rate("two_level-matched-0.5", sgd[0]).split(" (")[0],
}
deepest = grid[(grid.depth == grid.depth.max()) & (grid.ratio == 1)]
of_sgd = scaled[scaled.place.isin(sgd)]
numbers = {
    "quarter-ten": np.median(values("two_level-fixed-0.25", ten, "final")),
    "half-twenty": np.median(values("two_level-fixed-0.5", twenty, "final")),
    "xavier-twenty": np.median(values("xavier", twenty, "final")),
    "near-low": near.loss.min(),
    "near-high": near.loss.max(),
    "agrees": 100 * agrees.mean(),
    "agrees-depth": 100 * alternatives["depth alone, best cut"].mean(),
    "agrees-ratio": 100 * alternatives["r/n alone, best cut"].mean(),
    "agrees-typical": 100 * typical_border.mean(),
    "agrees-exponent": 100 * best_cut(low.exponent, low).mean(),
    "deepest-orthogonal": 100 * deepest.held_out.mean(),
    "trained-fixed": (panels["fixed"].held_out > 0.5).sum(),
    "trained-matched": (panels["matched"].held_out > 0.5).sum(),
    "scale-correlation": stats.spearmanr(of_sgd.shrinkage, of_sgd.loss).statistic,
    "seeds": seeds,
    "networks": len(runs),
    "compared": len(evaluation),
    "diverged": runs.diverged_at.notna().sum(),
    "diverged-compared": diverged.sum(),
    "comparisons": len(comparisons),
    "at-end": sum(map(len, at_end.values())),
    "designs": len(rates),
    "core-hours": provenance["core_minutes"] / 60,
}
for name, text in texts.items():
    glue(name, text)
for name, value in numbers.items():
    glue(name, value)

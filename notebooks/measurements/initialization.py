"""The sweep's tables, read and compared seed by seed, and what predicts their order.

A method is named by its key, such as ``he`` or ``two_level-matched-0.5``, an architecture with its optimizer by its
place, such as ``d10-w128-sgd``.
"""

import json
import math
import warnings
from functools import cache, cached_property
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import optimize, stats

from srlib import Ensemble, feedforward, moments, ntk, spectra

__all__ = [
    "Sweep",
    "agreement",
    "auc",
    "auc_gap",
    "best_cut",
    "cells_interval",
    "depth_of",
    "design",
    "explained",
    "exponent",
    "fourth_moment",
    "head",
    "interval",
    "inverse_rank",
    "mean",
    "mean_squares",
    "predicted_map",
    "quote",
    "short",
    "shrinkage",
    "squared_gradients",
    "title",
]

NAMES = {
    "pytorch": "PyTorch default",
    "xavier": "Xavier",
    "he": "He",
    "orthogonal": "orthogonal",
    "two_level": "two-level",
    "coulomb_gas": "Coulomb gas",
}
REFERENCES = ("pytorch", "he", "orthogonal")


def title(key):
    """A method as tables and figures name it."""
    law, *rest = key.split("-")
    kind = {"matched": "matched", "fixed": "fixed norm"}
    return (
        f"{NAMES.get(law, law)} {rest[1]}, {kind[rest[0]]}" if rest else NAMES.get(law, law)
    )


def depth_of(place):
    """Number of layers."""
    return int(place.split("-")[0][1:])


def head(place):
    """A place as tables name it."""
    return f"{depth_of(place)} layers" + ", Adam" * place.endswith("adam")


def quote(found, form=".2f"):
    """An estimate and its interval, as the text quotes them."""
    return "{} [{}, {}]".format(*(format(v, form) for v in found))


def mean(x, axis=-1):
    """Mean over seeds."""
    return np.mean(x, axis=axis)


def short(predictor):
    """One word for a predictor, for the names of glued numbers."""
    first, *_ = predictor.split()
    return {"n/r": "rank", "r/n": "ratio", "kernel": "variance"}.get(first, first)


def mean_squares(layers, fan_in):
    """Mean squared weight times fan-in of every layer."""
    pairs = zip(fan_in, layers, strict=True)
    return [n * layer.weight.square().mean().item() for n, layer in pairs]


def loss_ratio(a, b, axis=-1):
    """Ratio of losses, geometric mean over seeds, of their logarithms."""
    return np.exp(np.mean(a - b, axis=axis))


def speed_up(a, b, axis=-1):
    """Ratio of mean steps, those of the other method first."""
    return b.mean(axis) / a.mean(axis)


def difference(a, b, axis=-1):
    """Mean difference of accuracies, in percentage points."""
    return 100 * np.mean(a - b, axis=axis)


@cache
def _exchanges(count):
    """All signs of so many differences, shape (2^count, count)."""
    return np.array(list(product((1, -1), repeat=count)))


EFFECTS = {"final": loss_ratio, "steps": speed_up, "held_out": difference}


def interval(statistic, *samples, resamples, seed):
    """Estimate and 95 % bootstrap interval, bias-corrected, the samples' entries (seeds,) resampled together."""
    found, options = statistic(*samples), {"rng": seed, "n_resamples": resamples}
    with warnings.catch_warnings(action="ignore"):  # all resamples equal: no interval
        ends = stats.bootstrap(samples, statistic, paired=True, vectorized=True, **options)
    low, high = ends.confidence_interval
    return (found, low, high) if math.isfinite(low + high) else (found, found, found)


class Sweep:
    """The sweep's tables, one row a network, and how its methods compare, seed by seed.

    Speed is the number of steps to a training loss of ``threshold``; intervals are by bootstrap over seeds. A diverged run,
    or one that ends above the loss of a network that knows nothing, counts with that loss, log 10.
    """

    def __init__(self, folder, threshold, resamples, seed):
        folder = Path(folder)
        runs = pd.read_csv(folder / "runs.csv")
        self.curves = pd.read_csv(folder / "curves.csv")
        self.provenance = json.loads((folder / "provenance.json").read_text())
        if len(runs) != self.provenance["networks"]:
            raise ValueError(f"{folder / 'runs.csv'} is not whole: restore it")
        named = runs.method + np.where(runs.scale == "own", "", "-" + runs.scale)
        runs["key"] = named + runs.ratio.map("-{:g}".format).where(runs.ratio.notna(), "")
        size = "d" + runs.depth.astype(str) + "-w" + runs.width.astype(str)
        runs["place"] = size + "-" + runs.optimizer
        runs["final"] = runs.loss.clip(upper=math.log(10))
        runs["steps"] = runs[f"reached_{threshold:g}"].fillna(np.inf)
        self.runs, self.budget = runs, 10 * self.curves.groupby("id").size().max()
        self.evaluation = runs[runs.phase == "evaluation"]
        self.tuning = runs[runs.phase == "tuning"]
        self.maps = runs[(runs.phase == "map") & (runs.chosen == 1)]
        self._by_seed = self.evaluation.pivot(index=["key", "place"], columns="seed")
        self.cells, self.seeds = set(self._by_seed.index), self._by_seed.final.shape[1]
        self.sgd, self.adam = self._depths("sgd"), self._depths("adam")
        self.places = [*self.sgd, *self.adam]
        keys = self.evaluation.key.unique()
        self.keys = [key for key in keys if (key, self.sgd[0]) in self.cells]
        self.rates = self.evaluation.groupby(["key", "place"]).rate.first()
        self._bootstrap = {"resamples": resamples, "seed": seed}

    def _depths(self, optimizer):
        """Places of width 128."""
        depths = self.evaluation[self.evaluation.optimizer == optimizer].depth
        return [f"d{L}-w128-{optimizer}" for L in sorted(depths.unique())]

    def values(self, key, place, column):
        """One number a seed, in the order of seeds; steps are infinite where the threshold is not reached."""
        return self._by_seed[column].loc[(key, place)].to_numpy()

    def scores(self, key, place, column):
        """What is compared: the logarithm of the final loss, the steps within the budget, the held-out accuracy."""
        found = self.values(key, place, column)
        return np.log(found) if column == "final" else np.minimum(found, self.budget)

    def interval(self, statistic, *samples):
        """Estimate and bootstrap interval."""
        return interval(statistic, *samples, **self._bootstrap)

    def effect(self, column, key, other, place):
        """Effect of one method over another with its interval: loss ratio, speed-up, or difference in accuracy."""
        samples = (self.scores(k, place, column) for k in (key, other))
        return self.interval(EFFECTS[column], *samples)

    def log_ratio(self, key, other, place, column="steps"):
        """Logarithm of the ratio of steps within the budget, or of losses, seed by seed."""
        a, b = (
            np.minimum(self.values(k, place, column), self.budget) for k in (key, other)
        )
        return np.log(a / b)

    @cached_property
    def tests(self):
        """p-values of all comparisons with the references, alone and corrected, by (key, other, place, column)."""
        comparisons = [
            (key, other, place, column)
            for (key, place), other, column in product(
                self._by_seed.index, REFERENCES, EFFECTS
            )
            if key != other and (other, place) in self.cells
        ]
        alone = [self._exchange_test(*comparison) for comparison in comparisons]
        corrected = stats.false_discovery_control(alone, method="by")
        return dict(zip(comparisons, zip(alone, corrected, strict=True), strict=True))

    def _exchange_test(self, key, other, place, column):
        """Two-sided p-value over all exchanges of the two within seeds: `scipy.stats.permutation_test`, all at once."""
        a, b = (self.scores(k, place, column) for k in (key, other))
        sums, found = _exchanges(len(a)) @ (a - b), abs((a - b).sum())
        rounding = 1e-12 * np.abs(a - b).sum()
        return min(1.0, 2 * np.mean(sums >= found - rounding))

    def significant(self, *comparison):
        """Whether one method differs from another, after correction for all comparisons."""
        return comparison in self.tests and self.tests[comparison][1] <= 0.05

    def entry(self, column, key, other, place, form):
        """Effect with its interval and, if significant, a star; empty where the method was not trained."""
        if (key, place) not in self.cells:
            return ""
        star = " *" if self.significant(key, other, place, column) else ""
        return quote(self.effect(column, key, other, place), form) + star

    def table(self, column, other, form, keys=None):
        """Effects over another method: one row a method, one column a depth and optimizer."""
        rows = [key for key in keys or self.keys if key != other]
        return self._table(rows, lambda key, p: self.entry(column, key, other, p, form))

    def equal_rate_table(self):
        """Losses over those of orthogonal initialization at equal rates."""
        rows = [key for key in self.keys if key != "orthogonal"]
        return self._table(rows, self.at_equal_rate)

    def _table(self, rows, entry):
        content = {head(p): [entry(key, p) for key in rows] for p in self.places}
        return pd.DataFrame(content, index=[title(key) for key in rows])

    def ratios(self, column, other, keys):
        """Ratios of final losses, or of mean steps, over another method's, with intervals, and whether they are
        significant, by place of SGD and key.
        """
        pairs = {k: (k, other) if column == "final" else (other, k) for k in keys}
        return {
            p: {
                k: (self.effect(column, *pair, p), self.significant(k, other, p, column))
                for k, pair in pairs.items()
            }
            for p in self.sgd
        }

    def arrived(self, key, place):
        """How many seeds reach the threshold."""
        return f"{np.isfinite(self.values(key, place, 'steps')).sum()} of {self.seeds}"

    def _better(self, key, other, column):
        sign = 1 if column == "held_out" else -1
        where = [p for p in self.places if self.significant(key, other, p, column)]
        means = [[self.scores(k, p, column).mean() for k in (key, other)] for p in where]
        return [p for p, (a, b) in zip(where, means, strict=True) if sign * (a - b) > 0]

    def better(self, key, other, column):
        """Where one method is significantly better than another."""
        return [head(p) for p in self._better(key, other, column)]

    def beats_orthogonal(self, key, column):
        """Where a method beats orthogonal initialization, with the quotient of their rates if not 1."""
        where = self._better(key, "orthogonal", column)
        quotient = {p: self.rates[key, p] / self.rates["orthogonal", p] for p in where}
        notes = {p: "" if q == 1 else f" (rate x {q:.2g})" for p, q in quotient.items()}
        return [head(p) + notes[p] for p in where]

    def at_equal_rate(self, key, place):
        """Loss of the tuning runs over orthogonal's at the smaller of the two chosen rates: geometric mean and range."""
        if (key, place) not in self.cells:
            return ""
        rates = self.rates[key, place], self.rates["orthogonal", place]
        a, b = (self._tuned.loc[(k, place, min(rates))] for k in (key, "orthogonal"))
        mark = " =" if rates[0] == rates[1] else ""
        return (
            f"{stats.gmean(a / b):.2f} ({(a / b).min():.2f} to {(a / b).max():.2f}){mark}"
        )

    @cached_property
    def _tuned(self):
        return self.tuning.pivot(
            index=["key", "place", "rate"], columns="seed", values="final"
        )

    def at_end(self):
        """Cells (key, place) whose chosen rate is the smallest, or the largest, that their optimizer was tuned with."""
        ends = self.tuning.groupby("optimizer").rate.agg(["min", "max"])
        return {
            side: [
                cell
                for cell, rate in self.rates.items()
                if rate == ends.loc[cell[1].split("-")[2], side]
            ]
            for side in ends
        }

    @property
    def matched(self):
        """Methods that keep the forward variance."""
        return [k for k in self.keys if "-matched-" in k or k in ("he", "orthogonal")]

    def correlations(self, predictor, place, column):
        """Spearman correlation of a predictor with the loss, or the steps, over methods at matched scale: (seeds,)."""
        present = [k for k in self.matched if (k, place) in self.cells]
        x = [predictor(k, place) for k in present]
        found = np.array([self.scores(k, place, column) for k in present])
        return np.array([stats.spearmanr(x, y).statistic for y in found.T])

    def matched_table(self, places):
        """Median loss, mean steps, exponent and L/r of methods at matched scale, and the last two over orthogonal's."""
        cells = [(k, p) for p in places for k in self.matched if (k, p) in self.cells]
        table = pd.DataFrame(cells, columns=["key", "place"])
        table["loss"] = [np.median(self.values(*cell, "final")) for cell in cells]
        table["steps"] = [self.scores(*cell, "steps").mean() for cell in cells]
        size = table.place.str.extract(r"d(?P<depth>\d+)-w(?P<width>\d+)").astype(int)
        table = table.join(size)
        table["exponent"] = [exponent(*cell) for cell in cells]
        table["rank"] = [inverse_rank(*cell) for cell in cells]
        table["rank"] *= table.depth / table.width  # L/r
        floor = table[table.key == "orthogonal"].set_index("place")
        table["excess"] = table.exponent - table.place.map(floor.exponent)
        table["slowdown"] = table.steps / table.place.map(floor.steps)
        return table.round(9)  # equal exponents tie, whatever rounding makes of them

    def scale_table(self):
        """Shrinkage, and range and median of the final loss, of the usual methods and of those at fixed spectral norm."""
        keys = [k for k in self.keys if "-fixed-" in k]
        rows = [
            (k, p, shrinkage(k, p), *np.quantile(self.values(k, p, "final"), [0, 0.5, 1]))
            for p, k in product(
                self.places, ["pytorch", "xavier", "he", "orthogonal", *keys]
            )
            if (k, p) in self.cells
        ]
        columns = ["key", "place", "shrinkage", "low", "loss", "high"]
        return pd.DataFrame(rows, columns=columns).round(9)


def design(scale, ratio, L, n=128):
    """The random model with the spectral norms of the trainability map."""
    r = max(1.0, ratio * n)
    norm = math.sqrt(2.0) if scale == "fixed" else math.sqrt(2 * n / r)
    return Ensemble((784,) + (n,) * L, r, norm)


def predicted_map(maps):
    """Held-out accuracy of the map's cells with what theory says of each; and the relative variance of their feature norms
    and the readout's share of the mean kernel, (cells,).
    """
    grid = maps.groupby(["scale", "ratio", "depth"]).held_out.mean().reset_index()
    designs = grid[["scale", "ratio", "depth"]].itertuples(index=False)
    models = [design(*row) for row in designs]
    kernels = [moments.ntk(e) for e in models]
    grid["exponent"] = [moments.fluctuation_exponent(e) for e in models]
    grid["shrinkage"] = -grid.depth * np.where(
        grid.scale == "fixed", np.log(grid.ratio), 0.0
    )
    grid["variance"] = [k.relative_variance.item() for k in kernels]
    growth = [moments.log_growth(e).mean.sum().item() for e in models]
    grid["typical"] = math.log(128 / 784) - np.array(growth)
    upper = [moments.feature_norm(e).relative_variance[-1].item() for e in models]
    share = [(k.layer_means[-1] / k.mean).item() for k in kernels]
    return grid.round(9), np.array(upper), np.array(share)  # rounded: equal values tie


def architecture(place):
    """Depth and width."""
    return (int(part[1:]) for part in place.split("-")[:2])


def exponent(key, place):
    """Fluctuation exponent of a method at matched scale; 5 L / n for He's."""
    (L, n), (law, *rest) = architecture(place), key.split("-")
    if law == "he":
        return 5 * L / n
    law, ratio = (getattr(spectra, law), float(rest[1])) if rest else (spectra.two_level, 1)
    stack = Ensemble((784,) + (n,) * L, max(1, ratio * n), law=law)
    return round(moments.fluctuation_exponent(stack), 9)  # equal ones tie


def inverse_rank(key, place):
    """n/r of a method at matched scale."""
    *_, ratio = key.split("-")
    return {"he": 4.0, "orthogonal": 1.0}.get(key) or 1 / float(ratio)


def shrinkage(key, place):
    """Minus the log of the mean growth of squared features per unit over all hidden layers."""
    L, n = architecture(place)
    if key == "pytorch":
        return L * math.log(6)
    if key == "xavier":
        return math.log((784 + n) / 784) + (L - 1) * math.log(2)
    return L * math.log(1 / float(key.split("-")[2])) if "-fixed-" in key else 0.0


def fourth_moment(weights):
    """E |h_L|^4 over the unit vectors and their mirror images, gates of ReLU: (networks,)."""
    h = torch.cat([torch.eye(weights[0].shape[-1]), -torch.eye(weights[0].shape[-1])])
    for W in weights:
        h = (h @ W.mT).clamp(min=0)
    return h.square().sum(-1).square().mean(1)


def squared_gradients(network, chunk=5_000):
    """Squared gradients of the output in the weights and in the biases of each hidden layer, averaged over the unit
    vectors: (networks, L) each.
    """
    x = torch.eye(network.widths[0])
    parts = [network[i : i + chunk] for i in range(0, len(network.readout), chunk)]
    found = [torch.stack(_squared_gradients(part, x)) for part in parts]
    return torch.cat(found, 1).unbind()


def _squared_gradients(network, x):
    terms = ntk.layers(network, x)[:, :-1].diagonal(dim1=2, dim2=3)
    before = [h.square().sum(-1) for h in feedforward.forward(network, x).post[:-1]]
    # A bias is the weight of a feature that is always 1. Where the features vanish all later gates are closed.
    alone = [
        torch.where(h > 0, T / h, 0.0) for T, h in zip(terms.unbind(1), before, strict=True)
    ]
    return terms.mean(-1), torch.stack(alone, 1).mean(-1)


def explained(x, y):
    """Share of the variance of log y that the best monotone function of x explains."""
    order = np.lexsort((-np.log(y), x))  # ties: falling, so that they get one value
    log_y = np.log(np.asarray(y)[order])
    return 1 - np.var(log_y - optimize.isotonic_regression(log_y).x) / np.var(log_y)


def auc(score, good):
    """Probability that a good cell has the lower score than a bad one."""
    n, m = good.sum(), (~good).sum()
    lower = m * n + n * (n + 1) / 2 - stats.rankdata(score)[good].sum()
    return lower / (n * m) if n * m else math.nan


def auc_gap(score, other, good):
    """By how much a score separates better than another one."""
    return auc(score, good) - auc(other, good)


def cells_interval(statistic, *columns, resamples, seed):
    """Estimate and 95 % bootstrap interval over the entries of columns (cells,), resampled together."""
    columns, rng = [np.asarray(column) for column in columns], np.random.default_rng(seed)
    picks = rng.integers(len(columns[0]), size=(resamples, len(columns[0])))
    draws = [statistic(*(column[i] for column in columns)) for i in picks]
    return statistic(*columns), *np.nanquantile(draws, [0.025, 0.975])


def agreement(score, cut, good):
    """1 for a cell on the side of the cut that its verdict says, else 0: (cells,)."""
    return ((score < cut) == good).to_numpy() * 1.0


def best_cut(score, good):
    """Agreement at the cut that suits the data best: more than fair to an alternative."""
    cuts = [*np.unique(score), np.inf]
    return max((agreement(score, cut, good) for cut in cuts), key=np.mean)

# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Performance: evidence
#
# Two kinds of evidence. How many operations and random variables the fast forms take is counted here, exactly, and
# compared with P1; this is the same on every machine. How long they take was measured by `make bench`, whose results
# lie in `notebooks/data/performance`; here they are only drawn, and held against the costs that P1 predicts.

# %%
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from IPython.display import display
from scipy.optimize import nnls
from torch.utils.flop_counter import FlopCounterMode

from measurements import performance as measure
from srlib import Ensemble, check, ntk, plotting, spectra
from srlib.check import glue

torch.set_default_dtype(torch.float64)  # everything that is compared is in double precision

# %% tags=["parameters"]
run = 1  # which of the stored runs, one with curves, is drawn
networks = 3  # networks of the counted empirical kernel
inputs = 40  # inputs of the counted kernels
rows = 8  # rows of the infinite-width kernel that are computed together
samples = 5  # networks of the counted simulation

# %% [markdown]
# ## Operations (P1)
#
# The empirical kernel: operations of all matrix products, counted by PyTorch, for five shapes of networks. The wrong
# alternatives form each layer's part of the Jacobian and contract it, or leave out the backward pass.

# %%
shapes = [(7, 5), (5, 1, 9), (12, 20, 24, 16), (3, *[8] * 10), (3, *[8] * 20)]


def products(widths, B, N):
    """Operations of the matrix products in P1: through the layers forwards and backwards, and in Gram matrices."""
    forward = sum(m * n for n, m in pairwise(widths))
    backward = forward - widths[0] * widths[1]
    grams = sum(widths) + sum(widths[1:])
    return [2 * B * N * (forward + widths[-1]), 2 * B * N * backward, 2 * B * N**2 * grams]


counted = []
for widths in shapes:
    network = Ensemble(widths, 1).sample(networks)
    x = torch.randn(inputs, widths[0], dtype=torch.float64)
    with FlopCounterMode(display=False) as counter:
        ntk.empirical(network, x)
    counted.append(counter.get_total_flops())
parts = np.array([products(widths, networks, inputs) for widths in shapes])
contraction = [
    2 * networks * inputs**2 * sum(m * n for n, m in pairwise(w)) for w in shapes
]
display(
    check.exact(
        "P1.empirical",
        "operations of the matrix products in the empirical kernel, for five networks",
        counted,
        parts.sum(1),
        wrong={
            "Jacobians contracted": parts[:, :2].sum(1) + contraction,
            "no backward pass": parts[:, [0, 2]].sum(1),
        },
    )
)
print("depth 10 and 20 at width 8:", *counted[-2:])

# %% [markdown]
# The infinite-width kernel: evaluations of the inverse tangent, one for each layer and computed pair of inputs. For a
# kernel of inputs with themselves, a little more than half of all pairs are computed. With one row at a time it is
# exactly those on and above the diagonal.

# %%
pairs = {
    1: inputs * (inputs + 1) / 2,
    rows: inputs * (inputs + rows) / 2,
    inputs: inputs**2,
}
found, expected = [], []
for depth in (1, 6):
    for size, computed in pairs.items():
        ensemble, x = Ensemble((3, *[8] * depth), 2), torch.randn(inputs, 3)
        with measure.Angles() as counter:
            ntk.infinite(ensemble, x, chunk_size=size)
        found.append(counter.total)
        expected.append(depth * computed)
check.exact(
    "P1.infinite",
    "inverse tangents in the infinite-width kernel, for three sizes of chunks and depths 1 and 6",
    found,
    expected,
    wrong={"all pairs": [depth * inputs**2 for depth in (1, 6) for _ in pairs]},
)

# %% [markdown]
# The exact simulation: random variables, for spectra with different numbers of groups.

# %%
simulated = {
    "two-level": (Ensemble((50,) * 11, 7), 2),
    "projector": (Ensemble((50,) * 11, 7, law=spectra.projector), 2),
    "projector with a remainder": (Ensemble((50,) * 11, 7.5, law=spectra.projector), 3),
    "power law": (Ensemble((50,) * 11, 7, law=spectra.power_law), 50),
    "power law, twice the depth": (Ensemble((50,) * 21, 7, law=spectra.power_law), 50),
}
drawn = [measure.variables(ensemble, samples) for ensemble, _ in simulated.values()]
depths = np.array([ensemble.depth for ensemble, _ in simulated.values()])
groups = np.array([g for _, g in simulated.values()])
display(
    check.exact(
        "P1.simulation",
        "random variables of the exact simulation, for five ensembles",
        drawn,
        samples * (depths * (3 * groups + 11) + 2),
        wrong={
            "one for each singular value": samples * (depths * (3 * 50 + 11) + 2),
            "no gates": samples * (depths * (3 * groups + 2) + 2),
        },
    )
)
print(*(f"{name}: {count}" for name, count in zip(simulated, drawn, strict=True)), sep="\n")

# %% [markdown]
# ## The table
#
# Every stored run: median over alternating repeats, and whether it reaches what is wanted.

# %%
runs = [
    json.loads(path.read_text())
    for path in sorted(Path("data/performance").glob("run-*.json"))
]
verdicts = {}
for stored in runs:
    for row in stored["table"]:
        text = f"{row['value']['median']:.3g}" + ("" if row["holds"] else " (missed)")
        verdicts.setdefault((row["id"], row["quantity"]), []).append(text)
for (name, quantity), values in verdicts.items():
    print(f"{name:28} {quantity:10}  {'  '.join(values)}")
reached = sum(row["holds"] for stored in runs for row in stored["table"])
glue("reached", reached)
glue("rows", sum(len(stored["table"]) for stored in runs))
glue("runs", len(runs))


# %% [markdown]
# ## How the cost grows
#
# Seconds are fitted by the costs of P1 with coefficients that are not negative, all points weighted by their relative
# error: the exact simulation by $c_0+c_1L+c_2nL$ over both curves at once, the empirical kernel by $c_0+c_1L$, the
# infinite-width kernel by $c_0+c_1N^2+c_2N^2L$.


# %%
def curve(name):
    """Sizes, median seconds and quartiles of one stored curve of the CPU."""
    points = next(
        c["points"]
        for c in runs[run - 1]["curves"]
        if (c["id"], c["device"]) == (name, "cpu")
    )
    return [
        np.array([p[key] for p in points], float) for key in ("x", "median", "low", "high")
    ]


def fit(terms, seconds):
    """Coefficients that are not negative, and the largest relative deviation."""
    coefficients, _ = nnls(terms / seconds[:, None], np.ones(len(seconds)))
    return coefficients, np.abs(terms @ coefficients / seconds - 1).max()


(n, wide, *_), (L, deep, *_) = (
    curve("simulation-width:power_law"),
    curve("simulation-depth:power_law"),
)
width, depth = np.r_[n, np.full(len(L), 1_000)], np.r_[np.full(len(n), 100), L]
simulation = np.stack([np.ones(len(depth)), depth, depth * width], 1)
(layers, empirical, *_), (N, infinite, *_) = (
    curve("empirical-depth"),
    curve("infinite-inputs"),
)
depths_of, infinite_deep, *_ = curve("infinite-depth")
count, levels = (
    np.r_[N, np.full(len(depths_of), 1_000)],
    np.r_[np.full(len(N), 10), depths_of],
)
fits = {
    "simulation": (simulation, np.r_[wide, deep]),
    "empirical": (np.stack([np.ones(len(layers)), layers], 1), empirical),
    "infinite": (
        np.stack([np.ones(len(count)), count**2, count**2 * levels], 1),
        np.r_[infinite, infinite_deep],
    ),
}
fitted = {}
for name, (terms, seconds) in fits.items():
    fitted[name], deviation = fit(terms, seconds)
    print(f"{name}: largest deviation from the fit {100 * deviation:.0f} %")
    glue(f"deviation-{name}", float(100 * deviation))
tail = slice(-3, None)
slopes = {
    "width": np.polyfit(np.log(n[tail]), np.log(wide[tail]), 1)[0],
    "depth": np.polyfit(np.log(L[tail]), np.log(deep[tail]), 1)[0],
    "inputs": np.polyfit(np.log(N[tail]), np.log(infinite[tail]), 1)[0],
}
for name, slope in slopes.items():
    print(f"exponent in the {name}, last three points: {slope:.2f}")
    glue(f"slope-{name}", float(slope))
glue("largest-simulation", float(wide[-1]))
every_layer, every_value = (float(c) for c in fitted["simulation"][1:])
print(f"a layer costs as much as {every_layer / every_value:.2g} different singular values")
glue("break-even", every_layer / every_value)
glue("nanoseconds", 1e9 * every_value)

# %% mystnb={"figure": {"caption": "One network without its matrices: seconds of exact simulation, one sample, double precision. Left: against width at depth 100. Right: against depth at width 1,000. Lines: the fit of P1's cost to the power law, whose singular values are all different, over both panels at once; points: medians, with quartiles. Two-level spectra do not feel the width. Dashed: what the weights of a dense network of that size would take merely to be copied.", "name": "fig-cost-simulation"}, "image": {"alt": "Two log-log panels. Left, the points of the power law lie on a curve that is flat first and then rises, those of the two-level spectrum stay flat, and a dashed line crosses both and ends five hundred times higher. Right, two rows of points and the dashed line rise in parallel."}} tags=["hide-input"]
fig, axes = plotting.figure(1, 2, size=(8.4, 3.9))
blue, orange = plotting.palette(2)
copying = runs[run - 1]["machines"]["cpu"]["copy"]
panels = ("width", n, (n, 100)), ("depth", L, (1_000, L))
for ax, (name, x, (across, down)) in zip(axes, panels, strict=True):
    grid = np.stack(
        [np.ones(len(x)), down * np.ones(len(x)), across * down * np.ones(len(x))], 1
    )
    plotting.theory(ax, x, grid @ fitted["simulation"], color=blue)
    copied = 2 * 8 * across**2 * down / copying * np.ones(len(x))
    ax.plot(x, copied, "--", color="0.5", label="copying dense weights")
    for law, label, color in (
        ("power_law", "power law", blue),
        ("two_level", "two-level", orange),
    ):
        x, median, low, high = curve(f"simulation-{name}:{law}")
        error = [median - low, high - median]
        plotting.points(ax, x, median, error, color=color, label=label)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel={"width": "width $n$", "depth": "depth $L$"}[name],
    )
axes[0].set_ylabel("seconds")
plotting.legend(axes[0], loc="upper left")
print("seconds at width", " ".join(f"{a:g}: {b:.2g}" for a, b in zip(n, wide, strict=True)))
print("seconds at depth", " ".join(f"{a:g}: {b:.2g}" for a, b in zip(L, deep, strict=True)))

# %% mystnb={"figure": {"caption": "Kernels. Left: the empirical kernel against depth, 100 inputs and width 512. Middle: against the number of inputs, depth 4. Right: the infinite-width kernel of N inputs with depth 10, and against depth for 1,000 inputs. Points: medians with quartiles; solid: fits of P1's cost; dashed: the machine's limit, which is its rate of large matrix products for the empirical kernel, and writing the two results for the infinite one.", "name": "fig-cost-kernels"}, "image": {"alt": "Three log-log panels with rising points. In the first two the dashed limit runs just below the points; in the third it lies far below, since the layers between input and result cost more than writing."}} tags=["hide-input"]
fig, axes = plotting.figure(1, 3, size=(8.4, 3.4))
rate = runs[run - 1]["machines"]["cpu"]["float32 products"]
points_of = {c["id"]: c["points"] for c in runs[run - 1]["curves"] if c["device"] == "cpu"}
panels = (
    (axes[0], "empirical-depth", blue, None),
    (axes[1], "empirical-inputs", blue, None),
    (axes[2], "infinite-inputs", blue, "inputs $N$"),
    (axes[2], "infinite-depth", orange, "depth $L$"),
)
for ax, name, color, label in panels:
    x, median, low, high = curve(name)
    plotting.points(ax, x, median, [median - low, high - median], color=color, label=label)
    limit = [
        p["operations"] / rate if "operations" in p else p["bytes"] / copying
        for p in points_of[name]
    ]
    ax.plot(x, limit, "--", color=color)
    print(name, " ".join(f"{a:g}: {b:.2g}" for a, b in zip(x, median, strict=True)))
    ax.set(xscale="log", yscale="log")
plotting.theory(axes[0], layers, fits["empirical"][0] @ fitted["empirical"], color=blue)
prediction = fits["infinite"][0] @ fitted["infinite"]
plotting.theory(axes[2], N, prediction[: len(N)], color=blue)
plotting.theory(axes[2], depths_of, prediction[len(N) :], color=orange)
axes[0].set(xlabel="depth $L$", ylabel="seconds", title="empirical")
axes[1].set(xlabel="inputs $N$", title="empirical")
axes[2].set(xlabel="inputs, or depth", title="infinite width")
plotting.legend(axes[2], loc="upper left")

# %% mystnb={"figure": {"caption": "Drawing a matrix. Left: seconds for one square matrix in single precision against its side; the dashed line is the time that the products of reflections would take at the machine's rate of matrix products. Middle: the time for each matrix of 32 x 32 in a batch. Right: features at several inputs, exactly in law, against the width (8 inputs) and against the number of inputs (width 10,000), depth 10.", "name": "fig-cost-sampler"}, "image": {"alt": "Three log-log panels. Left, four nearly parallel lines of points, the projector lowest and torch's orthogonal initialization among the upper ones. Middle, points that fall and level off. Right, two rising curves."}} tags=["hide-input"]
fig, axes = plotting.figure(1, 3, size=(8.4, 3.6))
names = {
    "orthogonal_": "orthogonal_",
    "two_level": "two-level",
    "projector": "projector, n/4",
    "power_law": "power law",
}
for (key, label), color in zip(names.items(), ["0.4", *plotting.palette(3)], strict=True):
    x, median, low, high = curve(f"sampler-width:{key}")
    plotting.points(
        axes[0], x, median, [median - low, high - median], color=color, label=label
    )
    print(label, " ".join(f"{a:g}: {b:.2g}" for a, b in zip(x, median, strict=True)))
axes[0].plot(x, 4 / 3 * x**3 / rate, "--", color="0.4")
x, median, low, high = curve("sampler-batch")
plotting.points(
    axes[1], x, median / x, [(median - low) / x, (high - median) / x], color=blue
)
print(
    "seconds a matrix:",
    " ".join(f"{a:g}: {b:.2g}" for a, b in zip(x, median / x, strict=True)),
)
for name, label, color in (
    ("features-width", "width", blue),
    ("features-inputs", "inputs", orange),
):
    x, median, low, high = curve(name)
    plotting.points(
        axes[2], x, median, [median - low, high - median], color=color, label=label
    )
    print(name, " ".join(f"{a:g}: {b:.2g}" for a, b in zip(x, median, strict=True)))
axes[0].set(title="one matrix", xlabel="side $n$", ylabel="seconds")
sides = (128, 512, 2048)
axes[1].set(title="a batch", xlabel="matrices", ylabel="seconds a matrix")
axes[2].set(title="features", xlabel="width, or inputs", ylabel="seconds")
for ax in axes:
    ax.set(xscale="log", yscale="log")
axes[0].set_xticks(sides, sides)
axes[0].minorticks_off()
axes[1].set_yticks((1e-5, 1e-4))
axes[1].minorticks_off()
plotting.legend(axes[0], loc="upper left")
plotting.legend(axes[2], loc="upper left")

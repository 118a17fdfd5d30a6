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
# Checks of S4 (spectra of one stable rank lie between two, and with them the laws of outputs), S1 (the range of the
# quartic trace), S2 (the error of low-rank compression) and S3 (where familiar matrices lie on the axis). The last
# sections measure the layers of a network while it learns to read 4,000 digits: its hidden layers start where S3 says
# and lose most of their stable rank.

# %%
import math
from itertools import pairwise

import numpy as np
import torch
from IPython.display import display

import srlib
from figures import stable_rank as figures
from measurements import stable_rank as measure
from measurements.sampling import LAWS
from srlib import Ensemble, check, haar, rank, spectra
from srlib.check import glue
from srlib.experiments.data import mnist
from srlib.moments import log_growth

torch.set_default_dtype(torch.float64)  # everything that is compared is in double precision

# %% tags=["parameters"]
seed = 1  # of every draw in this notebook
k = 64  # singular values of the spectra in the checks of S1, S2 and S4
draws = 2000  # random spectra
matrices_law = 80_000  # dense 16 x 16 matrices for the law of an output
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
squares = measure.familiar(n, generator)
for name, values in squares.items():
    print(f"{name}: r/n = {values.sum() / n:.2f}")
fig = figures.axis(squares)

# %% [markdown]
# ## S4: one order of all spectra
#
# Every law of the package at stable ranks from 1 to $k$, and spectra drawn without any law: uniform numbers raised to
# a random power, with the largest set to 1.

# %%
axis = torch.linspace(1, k, 80)
by_law = measure.by_law(axis, k, generator)
free = measure.free_spectra(draws, k, generator)
sigma = torch.cat([free, *by_law.values()])
own = torch.Generator().manual_seed(seed + 1000)  # of what S4 draws

r, q = sigma.square().sum(-1), sigma.pow(4).sum(-1)
ends = torch.tensor([rank.quartic_range(x, k) for x in r.clamp(1, k).tolist()])
smallest, largest = ends.T
print(f"{len(sigma)} spectra, stable ranks from {r.min():.2f} to {r.max():.2f}")

# %% [markdown]
# Their partial sums lie between those of the two-level and of the projector spectrum. Both ends are attained.

# %%
j, total = torch.arange(1, k + 1), r[:, None]
least = 1 + (j - 1) * (total - 1) / (k - 1)
heads = sigma.square().cumsum(-1)
text = f"sums of the largest squares of {len(sigma)} spectra"
wrong = {"r without the remainder": torch.minimum(j, (total + 1e-9).floor())}
display(
    check.bound("S4.least", text, least, heads, wrong={"flat": j * total / k}),
    check.bound("S4.most", text, heads, torch.minimum(j, total), wrong=wrong),
)

# %%
predicted = [[rank.energy_range(x, int(i), k) for i in j] for x in axis.tolist()]
ends_found = [by_law[end].square().cumsum(-1) for end in ("two-level", "projector")]
found = torch.stack(ends_found, -1) / axis[:, None, None]
wrong = {"all directions alike, j/k": (j / k).expand(len(axis), k)[..., None]}
text = "share of the squares in the j largest for the two-level and the projector spectrum"
check.exact("S4.ends", text, found, predicted, wrong=wrong)

# %% [markdown]
# **The law of an output**, all of whose convex means are ordered. First without sampling: over all orders of the
# coordinates of one direction their squares are exchangeable, and means are finite sums. Spectra of five singular
# values, directions of six coordinates.

# %%
small = free[::10, ::13].square()
directions = torch.nn.functional.normalize(torch.randn(3, 6, generator=own), dim=-1)
low, middle, high = measure.ordered_means(small, directions)
jensen = torch.stack([f(small.sum(1) / 6) for f in measure.CONVEX])
text = f"means of {len(jensen)} convex functions of an output, {len(small)} spectra"
wrong = {"f of the mean output": jensen}
display(
    check.bound("S4.convex-least", text, low, middle, wrong=wrong),
    check.bound("S4.convex-most", text, middle, high, wrong={"two-level": low}),
)

# %% [markdown]
# Then the two ends themselves, on dense $16\times16$ matrices of stable rank 4: typical growth, cube, and mean excess
# over half, all and five quarters of the mean output, against integrals of beta densities.

# %%
predicted, found = measure.end_means(16, 4), []
for law in (spectra.two_level, spectra.projector):
    W = srlib.sample((16, 16), 4, law=law, batch=matrices_law, generator=own)
    found.append(measure.output_means(W))
wrong = {"the other end's": predicted[::-1], "one law for both": predicted.mean(0)[None]}
text = "log, cube and mean excess over three levels of an output for the ends of the order"
check.sampled("S4.law", text, torch.stack(found, 1), predicted, wrong=wrong, seed=seed)

# %%
power_law = log_growth(Ensemble((16, 16), 4, law=spectra.power_law, negative_slope=1))
typical = {"two_level": predicted[0, 0], "power_law": power_law.mean.item()}
for name, value in (typical | {"projector": predicted[1, 0]}).items():
    print(f"E log ||Wx||^2 at n = 16, r = 4, {name}: {value:.3f}")
    glue(f"log_{name}", value)

# %% mystnb={"figure": {"caption": "One order (S4), for $16\\times16$ matrices of stable rank 4. Left: sums of the $j$ largest squares; every spectrum's lie in the shaded region, between the two-level spectrum's and the projector's. Right: the mean excess of the squared output at a random direction over each level is ordered in the same way. All three begin at the common mean, 1/4.", "name": "fig-order"}, "image": {"alt": "Left: three curves from 0 to 4, the projector's highest and flat from j = 4 on, the power law's concave, the two-level's a kink at 1 and a straight line. Right: three falling curves on a logarithmic scale, the projector's highest and the two-level's lowest."}} tags=["hide-input"]
curves = measure.order_curves(own)
print({name: f"excess over 0.5: {excess[40]:.1e}" for name, (*_, excess) in curves.items()})
fig = figures.order(curves)

# %% [markdown]
# ## S1: what the stable rank says about the quartic trace

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
    wrong={"2r": 2 * r, "half of the smaller of k and r²": (r**2).clamp(max=k) / 2},
)

# %% [markdown]
# Both ends are attained, and the upper end of the participation rank is $\min(k,r^2)$ within a factor of two.

# %%
two_level, projector = (by_law[name].pow(4).sum(-1) for name in ("two-level", "projector"))
flat = axis**2 / k
display(
    check.exact(
        "S1.two-level",
        "quartic trace of the two-level spectrum is the left end",
        two_level,
        1 + (axis - 1) ** 2 / (k - 1),
        wrong={"r²/k of a flat spectrum": flat, "k for k − 1": 1 + (axis - 1) ** 2 / k},
    ),
    check.exact(
        "S1.projector",
        "quartic trace of the projector spectrum is the right end",
        projector,
        axis.floor() + axis.frac() ** 2,
        wrong={"r²/k": flat, "r with the remainder not squared": axis},
    ),
    check.bound(
        "S1.factor-two",
        "kr²/(k + r²) against the participation rank of the two-level spectrum",
        k * axis**2 / (k + axis**2),
        axis**2 / two_level,
        wrong={"p = r": axis},
    ),
)

# %% [markdown]
# The participation rank of a matrix is computed from its entries, without a singular value decomposition; it must
# agree with the spectrum the matrix was made from.

# %%
W = srlib.sample((96, k), 9.5, law=spectra.power_law, generator=generator)
text = "participation rank from the entries of a dense matrix and from its singular values"
predicted, wrong = (
    9.5**2 / spectra.power_law((96, k), 9.5).pow(4).sum(),
    {"stable rank": 9.5, "rank": k},
)
check.exact("S1.entries", text, srlib.participation_rank(W), predicted, wrong=wrong)


# %% mystnb={"figure": {"caption": "What the stable rank leaves open (S1), for $k=64$ singular values. The participation rank lies between the projector's (lower line, touching $p=r$ at whole $r$) and the two-level spectrum's (upper line, within a factor of two of $\\min(k,r^2)$, dashed). Points: laws of the package (mean quartic trace where the law is random).", "name": "fig-region"}, "image": {"alt": "Log-log plot of participation rank against stable rank: a lens-shaped region between the diagonal and a curve that rises as the square and then saturates at 64, with the laws of singular values as points inside and on its border."}} tags=["hide-input"]
shown = [1, 1.5, 2.5, 4, 6, 9.5, 14, 20, 30, 45, 62]
points = {
    f: [measure.participation(g, k, r, generator) for r in shown] for f, g in LAWS.items()
}
for name, p in points.items():
    print(f"{name}: p = {p[5]:.1f} at r = {shown[5]}")
fine = np.linspace(1, k, 2001)
ends = np.array([rank.quartic_range(x, k) for x in fine]).T
fig = figures.region(k, fine, *ends, shown, points)

# %% [markdown]
# ## S2: compression
#
# The bound on the singular values of all these spectra, and the spectra that attain it.

# %%
directions = torch.arange(1, k + 1)  # j + 1
ceiling = r.unsqueeze(-1) / directions
check.bound(
    "S2.spectra",
    f"σ(j+1)² of {len(sigma)} spectra for every j against r/(j+1)",
    sigma**2,
    ceiling,
    wrong={"no square root in S2": ceiling**2, "half of r": ceiling / 2},
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
size = torch.arange(2, k + 1)  # j + 1
level = 1 + 0.4 * (size - 1)
last = [spectra.two_level((n, n), 1 + 0.4 * (n - 1))[-1] for n in range(2, k + 1)]
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
        [spectra.projector((k, k), n)[n - 1] for n in range(2, k + 1)],
        torch.ones(len(size)),
        wrong={"√((r − 1)/(j+1))": ((size - 1) / size).sqrt()},
    ),
)

# %% [markdown]
# **A random input** loses more: of its mean squared output the two-level spectrum, the worst by S4, loses
# $(k-j)(r-1)/((k-1)r)$. Measured on a dense matrix, beside its spectral error.

# %%
n, level, cuts = 256, 16, [1, 16, 64, 128, 240]
W = srlib.sample((n, n), level, generator=own)
lost = measure.output_errors(W, cuts)
kept = torch.tensor([rank.energy_range(level, cut, n)[0] for cut in cuts])
spectral = torch.tensor([rank.truncation_bound(level, cut) for cut in cuts])
shown = lost[2], spectral[2], measure.truncation_errors(W, [64])[0]
for key, value in zip(("rms", "spectral", "own"), shown, strict=True):
    print(f"{key} error of 64 directions of 256 at r = 16: {value:.2f}")
    glue(f"{key}_error", value.item())
wrong = {
    "the spectral bound": spectral,
    "a flat spectrum's": (1 - torch.tensor(cuts) / n).sqrt(),
}
text = "root mean square relative output error of a two-level matrix at random inputs"
check.exact("S2.random-input", text, lost, (1 - kept).sqrt(), wrong=wrong)

# %% [markdown]
# ## S3: familiar matrices on the axis
#
# The two ends of the axis hold exactly.

# %%
tall = [(64, 64), (96, 32), (256, 64)]
matrices = [haar.orthogonal(m, n, generator=generator) for m, n in tall]
matrices.append(haar.orthogonal(96, 32, generator=generator).mT)
column, row = torch.randn(2, 64, generator=generator)
matrices.append(torch.outer(column, row))
text = "stable rank of rectangular orthogonal matrices and of a rank-one matrix"
wrong = {"Gaussian n/4 for all": [16, 8, 16, 8, 16], "longer side": [64, 96, 256, 96, 1]}
found = [srlib.stable_rank(W) for W in matrices]
check.exact("S3.ends", text, found, [64, 32, 64, 32, 1], wrong=wrong)

# %% [markdown]
# **Gaussian matrices, exact at finite size.** For $2\times2$ matrices $\mathbb E\,1/r=\frac12+\frac\pi8$.

# %%
pairs = torch.randn(100_000, 2, 2, generator=generator)
centred = torch.rand(pairs.shape, generator=generator) - 0.5
check.sampled(
    "S3.two-by-two",
    "mean of 1/r over Gaussian 2 × 2 matrices against 1/2 + π/8",
    1 / srlib.stable_rank(pairs),
    1 / 2 + math.pi / 8,
    wrong={"rank one": 1.0, "full rank": 0.5},
    wrong_samples={"uniform entries": 1 / srlib.stable_rank(centred)},
    seed=seed,
)

# %% [markdown]
# **Large Gaussian matrices** are replaced by their bidiagonal form, which has the same singular values in law and
# costs $O(n)$. It is compared with dense matrices first.

# %%
rng = np.random.default_rng(seed)
matrices = torch.randn(dense_replicates, 64, 64, generator=generator)
dense = srlib.stable_rank(matrices).numpy()
check.sampled(
    "S3.bidiagonal",
    "stable rank of dense 64 × 64 Gaussian matrices minus that of bidiagonal ones, relative to n/4",
    dense - measure.gaussian_stable_rank(64, 64, dense_replicates, rng),
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
products = srlib.stable_rank(matrices[1:] @ matrices[:-1])
check.empirical(
    "S3.from-above",
    "mean stable rank of dense 64 × 64 Gaussian matrices over the lower bound",
    dense / floor,
    above=1.0,
    wrong_samples={"product of two Gaussian matrices": products / floor},
    seed=seed,
)

# %% [markdown]
# The edge of the spectrum makes the stable rank exceed its limit by a relative $c\,n^{-2/3}$, so that
# $(4\,\xi_{8n}-\xi_n)/3$ removes it from the ratios $\xi_n$ of the sampled stable ranks to the limit.

# %%
n, aspects = 2048, np.array([1, 2, 4])  # m/n
extrapolated = [measure.extrapolated(a * n, n, replicates, rng) for a in aspects]
limit = aspects / (np.sqrt(aspects) + 1) ** 2  # r/n
check.sampled(
    "S3.gaussian",
    "r/n of m × n Gaussian matrices with m = n and 2n and 4n and n up to 16384 extrapolated to infinite n",
    np.stack(extrapolated, axis=1) * limit,
    limit,
    wrong={
        "full rank": [1.0] * 3,
        "half the rank": [0.5] * 3,
        "n/4 for every shape": [0.25] * 3,
        "m + n for (√m + √n)²/2": aspects / (2 * (aspects + 1)),
    },
    seed=seed,
)

# %% [markdown]
# Only the mean and the fourth moment of the entries matter: uniform entries, as in PyTorch's default initialization,
# come within 5 % of the limit at $n=256$; entries with a mean do not. Those of Student's $t_3$, which have no fourth
# moment, scatter below it, too widely for twenty matrices to be rejected at the claim's confidence.

# %%
uniform = torch.rand(100, 256, 256, generator=generator) - 0.5
gauss = torch.randn(4, 20, 256, 256, generator=generator)
shifted = uniform[:20] + 0.25
student = srlib.stable_rank(gauss[0] / gauss[1:].square().mean(0).sqrt()) / 64
wrong = {"entries of mean a quarter of their width": srlib.stable_rank(shifted) / 64}
print(f"t3 entries: {student.mean():.2f}, from {student.min():.2f} to {student.max():.2f}")
check.empirical(
    "S3.any-entries",
    "stable rank of 256 × 256 matrices with uniform entries over n/4",
    srlib.stable_rank(uniform) / 64,
    above=0.95,
    below=1.05,
    wrong_samples=wrong,
    seed=seed,
)

# %% [markdown]
# ## Real layers
#
# A plain PyTorch network 784–256–256–256–10 with ReLU and default initialization learns 4,000 MNIST digits. Stable and
# participation ranks of its four weight matrices, training loss and accuracy on the held-out digits are recorded
# after each pass over the digits.

# %%
images, labels = mnist(5000, seed=0)
sizes = [784, 256, 256, 256, 10]
limits = np.array([measure.gaussian_limit(m, n) for n, m in pairwise(sizes)])
adam = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
runs = [
    measure.train(sizes, images, labels, train_size, seed=1000 * seed + number, **adam)
    for number in range(networks)
]

# %%
ranks = np.array([run.ranks for run in runs])  # network, time, layer, r or p
loss, accuracy = np.array([[run.loss, run.accuracy] for run in runs]).transpose(1, 0, 2)
print(measure.summary(ranks, loss, accuracy))

# %% tags=["hide-input"]
for key, value in measure.facts(ranks, accuracy, limits).items():
    glue(key, round(float(value), 1))
glue("networks", networks)

# %% mystnb={"figure": {"caption": "A network learns, its layers lose stable rank. Left: stable ranks of the four layers over their largest possible value (lines: means over networks; bands: all networks), with the limits of S3 for random matrices as dotted lines. Right: loss on the first 1,000 training digits and error on the 1,000 held-out ones.", "name": "fig-training"}, "image": {"alt": "Left: stable rank over layer width against training time; the three hidden layers fall quickly from about a quarter or more of the width to below a tenth, the output layer stays nearly level. Right: the training loss falls more than tenfold and the held-out error to less than a tenth."}} tags=["hide-input"]
full = np.array([min(a, b) for a, b in pairwise(sizes)])
share = ranks[..., 0] / full
for layer, (first, *_, last) in enumerate(share.mean(0).T, start=1):
    print(f"layer {layer}: r/k from {first:.3f} to {last:.3f}")
fig = figures.training(np.arange(epochs + 1), share, limits / full, loss, 1 - accuracy)

# %% [markdown]
# Before training the hidden layers are where S3 puts random matrices. Afterwards each of them has less than half of
# that stable rank – an observation about this network and this data, not a theorem.

# %%
kept = ranks[..., :3, 0] / limits[:3]
check.empirical(
    "S3.training",
    "largest share of its random-matrix limit that a hidden layer keeps after training",
    kept[:, -1].max(1),
    below=0.5,
    wrong_samples={"the same layers before training": kept[:, 0].max(1)},
    seed=seed,
    false_alarm=1e-3,  # six networks are few
)

# %% [markdown]
# S1 and S2 are theorems about every matrix, so about these as well.

# %%
layers = [W for run in runs for W in (*run.initial, *run.trained)]
values = [torch.linalg.svdvals(W) for W in layers]
values = [v / v[0] for v in values]
r = torch.stack([v.square().sum() for v in values])
q = torch.stack([v.pow(4).sum() for v in values])
ends = [rank.quartic_range(x.item(), len(v)) for x, v in zip(r, values, strict=True)]
smallest, largest = torch.tensor(ends).T
flat = r**2 / torch.tensor([len(v) for v in values])
display(
    check.bound(
        "S1.layers",
        f"quartic trace of {len(layers)} layers before and after training against the projector's",
        q,
        largest,
        wrong={"r²/k": flat},
    ),
    check.bound(
        "S1.layers-left",
        "the two-level spectrum's quartic trace against that of the same layers",
        smallest,
        q,
        wrong={"r²/k of a flat spectrum": flat},
    ),
)

# %% [markdown]
# The truncation error is measured on the matrices themselves: the rank-$j$ part is subtracted and the norm of the rest
# computed.

# %%
cuts = torch.tensor([1, 2, 4, 8, 16, 32, 64, 128])
hidden = [W for run in runs for W in run.trained[:3]]
hidden_rank = torch.stack([srlib.stable_rank(W) for W in hidden]).unsqueeze(-1)
share = hidden_rank / (cuts + 1)
check.bound(
    "S2.truncation",
    f"error of approximations of rank 1 to 128 of {len(hidden)} trained layers against √(r/(j+1))",
    torch.stack([measure.truncation_errors(W, cuts.tolist()) for W in hidden]),
    share.sqrt(),
    wrong={"r/(j+1)": share, "√(1/(j+1))": (1 / (cuts + 1)).sqrt()},
)

# %%
epsilon = torch.tensor([0.5, 0.2, 0.1])
everything = [*values, *sigma]
r = torch.stack([v.square().sum() for v in everything]).unsqueeze(-1)
check.bound(
    "S2.directions",
    f"directions of {len(everything)} layers and spectra with σ above ε‖W‖ against r/ε²",
    torch.stack([(v.unsqueeze(-1) > epsilon).sum(0) for v in everything]),
    r / epsilon**2,
    wrong={"r directions": r, "r/ε directions": r / epsilon},
)

# %% [markdown]
# What the bound promises for the trained hidden layers at an error of half the norm, and what they need.

# %%
values = torch.stack([torch.linalg.svdvals(W) for W in hidden])
needed = (values > 0.5 * values[:, :1]).sum(-1).double().mean().item()
promised = 4 * hidden_rank.mean().item()  # S2
print(
    f"needed on average {needed:.3g} of 256 directions, S2 promises at most {promised:.3g}"
)
glue("needed", round(needed, 1))
glue("promised", round(promised, 1))

# %% mystnb={"figure": {"caption": "Truncation (S2). Relative spectral error after keeping $j$ singular directions against $(j+1)/r$: every matrix lies below the one curve $\\sqrt{r/(j+1)}$, and none above 1. The orthogonal matrix touches it at $j+1=r=n$, the two-level matrix nearly does at its last direction; trained layers fall off well before $j+1=r$.", "name": "fig-truncation"}, "image": {"alt": "Log-log plot of the relative truncation error against the number of kept directions over stable rank; the bound falls with slope minus one half, and the curves of trained, Gaussian, two-level and orthogonal matrices lie below it."}} tags=["hide-input"]
curves = measure.truncation_curves(measure.compared(runs[0].trained, generator))
for name, (x, s) in curves.items():
    promise = min(1, x[16].item() ** -0.5)
    print(f"{name}: error {s[16]:.2f} after 16 directions, bound {promise:.2f}")
fig = figures.truncation(curves)

# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The space of matrices of given stable rank
#
# The evidence for [the chapter](../book/phases.md). A Gaussian matrix conditioned on its stable rank is one singular pair
# and a matrix beside it: held against plain rejection, against free Gaussian matrices and against the library's draws
# (M5). These are held against quadrature and against an identity that is exact at every size (M3). For wide matrices
# the singular values are a gas between two walls with three phases; its density is checked as the solution of the
# saddle-point equation and against the draws (M4).

# %%
import itertools
import math
from functools import partial

import torch
from IPython.display import display

import srlib
from figures import phases as figures
from measurements import pair
from measurements import phases as measured
from measurements.phases import MULTIPLIER, QUARTIC, at, force, phase, tail, throughout
from srlib import check, spectra
from srlib.check import glue
from srlib.spectra import conditioned, conditioned_gaussian, coulomb, coulomb_gas

torch.set_default_dtype(torch.float64)


def generator(offset):
    return torch.Generator().manual_seed(1000 * seed + offset)


# %% tags=["parameters"]
seed = 4  # of every random number in this notebook
spectra_small = 48_000  # spectra for each comparison at three singular values
matrices = 800_000  # Gaussian matrices for rejection, per shape
pairs = 40_000  # matrices made of a singular pair and what is beside it
spectra_loop = 16_000  # spectra for each shape of the loop equation
spectra_limit = 400  # pairs of spectra for each stable rank of the large-width limit
spectra_curve = 80  # spectra behind each point of a figure
spectra_memory = 250  # chains behind each curve of the autocorrelation

# %% [markdown]
# ## Both laws hit the stable rank

# %%
for label, law in (("M3", conditioned_gaussian), ("M4", coulomb_gas)):
    dense, ranks = measured.dense(law, generator)
    claim = check.exact(
        f"{label}.stable-rank",
        f"stable rank of dense matrices with a spectrum from {law.__name__}, seven shapes, both ends included",
        [srlib.stable_rank(W) for W in dense],
        ranks,
        wrong={
            "the rank": [torch.linalg.matrix_rank(W) for W in dense],
            "squared Frobenius norm": [W.square().sum() for W in dense],
        },
    )
    display(claim)

# %% [markdown]
# ## Plain rejection
#
# Gaussian matrices, of which those are kept whose stable rank falls within $\pm0.01$ of the wanted one. The same
# matrices show why the scale does not matter: among those accepted the Frobenius norm has the law it always had.

# %%
PLAIN = [((4, 4), 1.7), ((3, 5), 1.8)]
drawn = [pair.rejection(*case, matrices, generator(20 + i)) for i, case in enumerate(PLAIN)]
count = min(len(lam) for lam in drawn)
accepted = [lam[:count] for lam in drawn]
relative = [lam[:, 1:] / lam[:, :1] for lam in accepted]
glue("accepted", count)


def against(law, offset):
    tails = [tail(*case, count, generator(offset), law=law) for case in PLAIN]
    return pair.excess(tails, relative, PLAIN)


check.sampled(
    "M3.rejection",
    "each squared singular value and the quartic trace, 4 x 4 and 3 x 5, library minus rejection, in units of r - 1",
    against(conditioned_gaussian, 30),
    [0.0] * 7,
    wrong_samples={"uniform on the sphere": against(spectra.uniform_sphere, 31)},
    scale=1.0,
    seed=seed,
)

# %%
frobenius, spectral = pair.scale(accepted)
check.sampled(
    "M3.scale",
    "squared Frobenius norm of the accepted matrices, and its covariance with the second singular value",
    frobenius,
    [1.0] * 4,
    wrong={"one degree of freedom less": [15 / 16, 14 / 15, 1, 1]},
    wrong_samples={"spectral norm in place of the Frobenius norm": spectral},
    seed=seed,
)

# %% [markdown]
# ## One singular pair, and a matrix beside it
#
# M5 makes the conditioned matrix without any of its singular values: a matrix $X$ of one row and one column less,
# uniform on the Frobenius sphere of squared radius $r-1$, kept with a probability proportional to $\det(1-XX^\top)$,
# and a singular pair of size 1 beside it, turned by a random reflection on either side.

# %%
LARGER = [*PLAIN, ((8, 12), 2.4)]
without = [*relative, tail(*LARGER[2], count, generator(800))]


def weighted(power):
    found = [pair.spectrum(*case, count, generator(801), power) for case in LARGER]
    return pair.excess(found, without, LARGER)


check.sampled(
    "M5.spectrum",
    "each squared singular value of X and the quartic trace, minus 4 x 4 and 3 x 5 by rejection and 8 x 12 by the library, in units of r - 1",
    weighted(1.0),
    [0.0] * 15,
    wrong_samples={"without the weight": weighted(0.0), "with its square": weighted(2.0)},
    scale=1.0,
    seed=seed,
)

# %%
options = {"law": conditioned_gaussian, "batch": pairs, "generator": generator(803)}
library = srlib.sample((4, 6), 1.9, **options)
X = pair.beside((3, 5), 0.9, pairs, generator(802))
turned, wrong = pair.turned(X, generator(804), generator(805))
check.same_law(
    "M5.matrix",
    "four entries of 4 x 6 matrices, the library's draws against those made of a pair and X",
    library[:, :2, :2].flatten(1),
    turned,
    wrong=wrong,
    seed=seed,
)

# %% mystnb={"figure": {"caption": "A Gaussian matrix of width 24, held at stable rank 3.3, in one draw. Left: in the frames of its largest singular pair it is a 1, and beside it a matrix $X$ of small entries, uniform on its Frobenius sphere but for a nearly constant weight. Middle: the same matrix after a random reflection on either side, which is how it looks from outside. Right: its singular values; the line is the edge of the bulk in the limit.", "name": "fig-pair"}, "image": {"alt": "Left: a matrix drawn as a grid of colours, with one dark cell in the upper left corner, zeros in the rest of the first row and column, and faint noise elsewhere. Middle: a grid of noise without structure. Right: one singular value at one, the others fall from about 0.6 to zero."}} tags=["hide-input"]
X = pair.beside((23, 23), at(0.1, 24) - 1, 1, generator(806))
turned = pair.in_frames(X, generator(807))[0]
print(f"stable rank {srlib.stable_rank(turned):.2f}")
fig = figures.pair(pair.parts(X)[0], turned, edge=math.sqrt(4 * 0.1))

# %% [markdown]
# Without conditioning, the radius is random: $X$ is the corner of a Haar matrix of size $m+n+1$, kept
# with probability $r^{-mn/2}$. So the stable rank of a free Gaussian matrix has a law in closed form; for two columns
# its moments are integrals in one variable, and for $2\times2$ its mean is $\pi-2$.

# %%
corners = pair.corners_of_haar((3, 4), pairs, generator)
free = [pair.gaussian((m, 2), 5 * pairs, generator(813))[:, :1] for m in (2, 3, 5)]

check.same_law(
    "M5.corner",
    "stable rank and other squared singular values of free 3 x 4 matrices, against the corner of a Haar matrix",
    pair.gaussian((3, 4), pairs, generator(810)),
    corners.pop("M5"),
    wrong=corners,
    seed=seed,
)

# %%
check.sampled(
    "M5.free-rank",
    "mean and mean square of the stable rank of free Gaussian matrices, 2 x 2 and 3 x 2 and 5 x 2",
    torch.cat([r.pow(p) for r in free for p in (1, 2)], -1),
    [math.pi - 2, *pair.free_stable_rank()[1:]],  # M5 (b)
    wrong={name: pair.free_stable_rank(**way) for name, way in pair.WRONG.items()},
    resolve=0.02,
    seed=seed,
)

# %% [markdown]
# In the condensed phase the weight is nearly constant. The mean quartic trace is then that of the sphere, with what
# differs from the limit at order $1/n$. The printed line shows the share of the weight, and the edge of the phase.

# %%
WIDE = list(itertools.product(((96, 96), (64, 128)), (0.05, 0.1, 0.15, 0.2)))
drawn = {
    (shape, rho): 1 + measured.traces(shape, rho, spectra_limit, generator(820 + i))
    for i, (shape, rho) in enumerate(WIDE)
}
for (shape, rho), q in drawn.items():
    print(f"{shape}, rho = {rho}: off by {q.mean() - measured.formulas(shape, rho)[0]:.3f}")
glue("quartic_formula", measured.formulas((96, 96), 0.2)[0] / 96)
glue("quartic_drawn", drawn[(96, 96), 0.2].mean().item() / 96)
inside = [case for case in WIDE if case[1] < 0.2]
formula, limit, larger = zip(*(measured.formulas(*case) for case in inside), strict=True)

check.sampled(
    "M5.quartic",
    "mean quartic trace of conditioned 96 x 96 and 64 x 128 matrices in the condensed phase",
    torch.stack([drawn[case] for case in inside], -1),
    formula,  # M5 (c)
    wrong={
        "its limit": limit,
        "without the pair": [q - 1 for q in formula],
        "m and n for m - 1 and n - 1": larger,
    },
    resolve=0.02,
    seed=seed,
)

# %% [markdown]
# In the squeezed phase $1-\lambda$ plays the part of $\lambda$, with matrices of $k-1$ rows and $k+2$ columns.

# %%
DUAL = [((4, 5), 2.8), ((4, 8), 2.5), ((6, 10), 3.8)]
direct = [tail(*case, pairs // 2, generator(830)) for case in DUAL]
mirror = pair.mirrors(DUAL, direct, partial(generator, 831))

check.sampled(
    "M5.mirror",
    "each squared singular value and the quartic trace of 4 x 5 and 4 x 8 and 6 x 10, from a matrix of k - 1 rows and k + 2 columns, in units of r - 1",
    mirror.pop("M5"),
    [0.0] * 14,
    wrong_samples=mirror,
    scale=1.0,
    seed=seed,
)

# %% [markdown]
# ## Three singular values: quadrature
#
# For $k=3$ the slice is a segment: $\lambda_2+\lambda_3=r-1$. In the angle of $(\sigma_2,\sigma_3)$ the density has no
# singularity, and one-dimensional quadrature gives every moment. The wrong alternatives change one factor at a time.

# %%
THREE = [(d, r) for d in (0, 2, 5) for r in (1.5, 2.3)]
tails = [tail((3, 3 + d), r, spectra_small, generator(10)) / (r - 1) for d, r in THREE]
larger = torch.stack([lam[:, 0] for lam in tails], 1)
moments = measured.quadratures(THREE)

check.sampled(
    "M3.three-values",
    "moments of the share of the second singular value, 3 x 3 and 3 x 5 and 3 x 8, library against quadrature",
    torch.stack([larger**p for p in (1, 2, 4)], -1),
    moments.pop("M3"),
    wrong=moments,
    seed=seed,
)

# %% [markdown]
# ## Every size: the loop equation
#
# Integration by parts along a vector field that keeps the sum and vanishes on the boundary. With $H=\lambda(1-\lambda)$
# and $F_i=H_i\sum_jH_j(\lambda_i-\lambda_j)$,
#
# $$\mathbb E\Bigl[\sum_i\partial_iF_i+\tfrac{|m-n|-1}2\sum_i\tfrac{F_i}{\lambda_i}-\sum_i\tfrac{F_i}{1-\lambda_i}
# +\sum_{i<j}\tfrac{F_i-F_j}{\lambda_i-\lambda_j}\Bigr]=0$$
#
# exactly. Each factor of the density has a term of its own, so each wrong factor leaves a remainder. All is divided by
# the mean total size of the four terms.

# %%
LOOP = [((8, 8), 5.0), ((16, 16), 8.0), ((9, 14), 4.0), ((9, 12), 4.8), ((10, 25), 6.0)]
tails = [tail(*case, spectra_loop, generator(40 + i)) for i, case in enumerate(LOOP)]
remainders = measured.remainders(tails, LOOP)

check.sampled(
    "M3.loop-equation",
    "integration by parts along a field that keeps the stable rank, five shapes up to 16 x 16 and 10 x 25",
    remainders.pop("M3"),
    [0.0] * len(LOOP),
    wrong_samples=remainders,
    scale=1.0,
    seed=seed,
)

# %% [markdown]
# ## How long the walk remembers
#
# Where the library walks, it starts each chain from the quantiles of the limiting density and makes as many sweeps as
# the next cell prints. All chains of a batch are independent replicates and each gives one draw, so nothing is thinned.
# The memory is measured in equilibrium: correlation of the quartic trace now with that some sweeps later.

# %%
LAGS = (0, 1, 2, 4, 8, 16, 24, 32)
correlation = measured.memories(spectra_memory, LAGS, generator)
at16, at32 = (max(c[i].item() for c, _ in correlation.values()) for i in (5, 7))
glue("sweeps", conditioned.SWEEPS)
glue("memory16", at16)
glue("memory32", at32)
print(
    f"{conditioned.SWEEPS} sweeps; largest correlation after 16 of them {at16:.2f}, after 32 {at32:.2f}"
)

# %%
CHAINS = [((16, 16), 2.5), ((16, 16), 8.5), ((16, 48), 8.5), ((16, 16), 14.5)]
sweeps = measured.sweeps(CHAINS, 3000, generator)

check.sampled(
    "M3.sweeps",
    "mean quartic trace after the library's number of sweeps minus that after twice as many, relative",
    sweeps.pop("library"),
    [0.0] * len(CHAINS),
    wrong_samples=sweeps,
    scale=1.0,
    seed=seed,
)

# %% mystnb={"figure": {"caption": "What the walk remembers: correlation in equilibrium between the quartic trace and the quartic trace a number of sweeps later, for three shapes in the three phases. The horizontal axis ends at a quarter of the sweeps that the library makes. Intervals are two standard errors over the chains.", "name": "fig-memory"}, "image": {"alt": "Three panels, one for each relative stable rank, of correlations that fall from one to about zero within thirty-two sweeps, at nearly the same speed for all three shapes."}} tags=["hide-input"]
for ((m, n), rho), (c, _) in correlation.items():
    print(f"{m} x {n}, rho = {rho}: after 8 sweeps {c[4]:.2f}, after 32 {c[7]:.2f}")
fig = figures.memory(LAGS, correlation)

# %% [markdown]
# ## The limiting density
#
# Mass, mean and quartic trace of `coulomb.density` by quadrature in the angle $\lambda=\lambda_-+(\lambda_+-\lambda_-)\sin^2\psi$, which
# absorbs all singularities at the ends of the support.

# %%
RHO = (0.05, 0.15, 0.25, 0.35, 0.5, 0.65, 0.75, 0.85, 0.97)
GAS = list(itertools.product(RHO, (1.0, 1.5, 4.0)))
check.exact(
    "M4.moments",
    "mass and mean and quartic trace of the density, three shapes, by quadrature",
    [measured.moments(*case) for case in GAS],
    [[1, case[0], coulomb.quartic(*case)] for case in GAS],
    wrong={
        "two-level spectrum": [[1, rho, rho**2] for rho, _ in GAS],
        "square matrices throughout": [[1, x, coulomb.quartic(x)] for x, _ in GAS],
    },
    tolerance=1e-9,
)

# %%
check.exact(
    "M4.quartic",
    "quartic trace of square matrices by quadrature against the formula of each phase",
    [measured.moments(rho, 1.0)[2] for rho in RHO],
    [QUARTIC[phase(rho)](rho) for rho in RHO],
    wrong=throughout(QUARTIC, RHO) | {"n/4 of a free Gaussian": [1 / 8] * len(RHO)},
    tolerance=1e-9,
)

# %% [markdown]
# ## The saddle point
#
# The effective force on a particle, $2\,\mathrm{PV}\!\int\frac{\psi(x)}{\lambda-x}dx+\frac{\varpi-1}\lambda$, must be the
# same everywhere on the support: it is the multiplier of the constraint. The midpoint rule in the angle, read halfway
# between its nodes, integrates the principal value exactly for trigonometric polynomials.

# %%
rectangular = [(rho, aspect) for rho, aspect in GAS if aspect > 1]
square = [MULTIPLIER[phase(rho)](rho) for rho, _ in rectangular]
check.exact(
    "M4.saddle-point",
    "force on the support of square matrices at ten points against one multiplier per stable rank",
    torch.stack([force(rho) for rho in RHO]),
    measured.column([MULTIPLIER[phase(rho)](rho) for rho in RHO]),
    wrong={name: measured.column(v) for name, v in throughout(MULTIPLIER, RHO).items()},
    tolerance=1e-8,
)

# %%
check.exact(
    "M4.saddle-point-shapes",
    "force on the support of rectangular matrices at ten points",
    torch.stack([force(*case) for case in rectangular]),
    measured.column([measured.multiplier(*case) for case in rectangular]),
    wrong={"multiplier of square matrices": measured.column(square)},
    tolerance=1e-8,
)

# %% [markdown]
# Where the support is not the whole interval, particles outside it must be driven back: beyond $4\rho$ the repulsion
# falls short of the multiplier, below $\lambda_-$ it exceeds it. The wrong alternative forgets the constraint.

# %%
repulsion, limits = measured.repulsion([0.05, 0.15, 0.22], [0.78, 0.85, 0.97])
check.bound(
    "M4.outside",
    "repulsion outside the support against the multiplier, condensed and squeezed",
    repulsion,
    limits,
    wrong={"half the multiplier": limits / 2},
)

# %% [markdown]
# ## The two transitions
#
# Across $\rho=1/4$ and $3/4$ the density is continuous, and so are the multiplier and its first derivative; the second
# derivative jumps. The quartic trace is continuous with its slope.

# %%
inner = torch.linspace(0.02, 0.98, 25)
below, above = ([c + side for c in (0.25, 0.75)] for side in (-1e-12, 1e-12))
densities = partial(measured.densities, points=inner)

check.exact(
    "M4.continuity",
    "density just below and just above each transition, at 25 points",
    densities(below),
    densities(above),
    wrong={"0.01 further": densities([c + 0.01 for c in above])},
    tolerance=1e-6,
)

# %%
check.exact(
    "M4.mirror",
    "density of square matrices at 1 - rho read backwards",
    densities(RHO),
    densities([1 - rho for rho in RHO], points=1 - inner),
    wrong={"not read backwards": densities([1 - rho for rho in RHO])},
    tolerance=1e-9,
)

# %%
check.exact(
    "M4.third-order",
    "slope and second derivative, mirrored at 1/2, of the multiplier on both sides of both transitions",
    [measured.one_sided(c, side) for c in (0.25, 0.75) for side in (-1, 1)],
    [[-16, 128], [-16, 0], [-16, 0], [-16, 128]],
    wrong={
        "second order: the slope jumps": [[-16, 128], [-8, 0], [-8, 0], [-16, 128]],
        "no transition": [[-16, 0]] * 4,
    },
    tolerance=5e-3,
)

# %% [markdown]
# ## Wide matrices
#
# Finite width shows at order $1/n$ (the tail of a 48 x 48 matrix is off by up to 1 %, see the printed line), so two
# widths are combined: twice the value at $n=96$ minus the value at $n=48$. What that leaves is of higher order, and was
# at most some 0.1 % in longer runs; the claim notices errors of the size stated in its chip and no smaller ones.

# %%
LIMIT = (0.1, 0.18, 0.35, 0.65, 0.85)
quartic_traces = partial(measured.quartic_traces, LIMIT, count=spectra_limit)


by_width = {
    k: quartic_traces((k, k), generators=map(generator, range(100 + k, 105 + k)))
    for k in (48, 96)
}
limit = torch.tensor([coulomb.quartic(rho) for rho in LIMIT])
for k, x in by_width.items():
    distances = " ".join(f"{v:.3f}" for v in x.mean(0) / limit - 1)
    print(f"n = {k}: relative distance from the limit {distances}")
free = {"n/4 of a free Gaussian": [1 / 8] * len(LIMIT)}
two_level = {"two-level": [rho**2 for rho in LIMIT]}
sphere = quartic_traces(
    (96, 96), generators=map(generator, [300] * 5), law=spectra.uniform_sphere
)

check.sampled(
    "M4.sampled-quartic",
    "quartic trace per singular value of conditioned square matrices, extrapolated from widths 48 and 96",
    2 * by_width[96] - by_width[48],
    limit,
    wrong=throughout(QUARTIC, LIMIT) | free | two_level,
    wrong_samples={"uniform on the sphere": sphere},
    seed=seed,
)

# %% [markdown]
# The same for a rectangular shape, 1 : 2, where the bulk keeps clear of 0.

# %%
wide = {
    k: quartic_traces((k, 2 * k), generators=map(generator, [400 + k] * 5))
    for k in (32, 64)
}
check.sampled(
    "M4.sampled-rectangular",
    "quartic trace per singular value of conditioned n x 2n matrices, extrapolated from n = 32 and 64",
    2 * wide[64] - wide[32],
    [coulomb.quartic(rho, 2.0) for rho in LIMIT],
    wrong={"square matrices": limit} | two_level,
    seed=seed,
)

# %% [markdown]
# The quantiles of the density, which `coulomb_gas` takes for a spectrum, at width 4,001; and the condensation: the
# largest singular value stands alone.

# %%
gas = [coulomb_gas((4001, 4001), at(rho, 4001)) for rho in LIMIT]
gap = 1 - tail((64, 64), at(0.1, 64), spectra_limit, generator(500))[:, 0]
no_gap = 1 - tail((64, 64), at(0.5, 64), spectra_limit, generator(501))[:, 0]

check.exact(
    "M4.quantiles",
    "quartic trace per singular value of coulomb_gas at width 4,001",
    [sigma[1:].pow(4).mean() for sigma in gas],
    limit,
    wrong=throughout(QUARTIC, LIMIT),
    tolerance=1e-5,
)

# %%
check.empirical(
    "M4.condensed-gap",
    "gap between the largest and second squared singular value at rho = 0.1 and width 64",
    gap,
    above=0.55,
    below=0.7,
    wrong_samples={"pushed phase": no_gap},
    seed=seed,
)

# %% mystnb={"figure": {"caption": "The three phases of a square matrix held at its stable rank: squared relative singular values of conditioned Gaussian matrices of width 64 (bars, 80 draws) against the limiting density (line). Condensed: a free bulk on $[0,4\\rho]$, and one value at 1 that carries the norm (arrow). Pushed: the gas fills the interval and leans on both walls. Squeezed: it has left the wall at 0.", "name": "fig-phases"}, "image": {"alt": "Three histograms with a line through the bars. At relative stable rank 0.1 a bulk near zero and a separate value at one, at 0.5 a U shape, at 0.9 all values near one."}} tags=["hide-input"]
panels = measured.panels(spectra_curve, generator)
for (name, _), (lam, (low, high), _) in panels.items():
    inside = 100 * ((lam > low) & (lam < high)).double().mean()
    print(f"{name}: support [{low:.2f}, {high:.2f}], {inside:.1f} % of the tail inside")
fig = figures.phases(panels)

# %% mystnb={"figure": {"caption": "Quartic trace per singular value against the relative stable rank. Left: the limit (line) is quadratic in the condensed phase, linear in the pushed one, quadratic again when squeezed. Right: what exceeds the least possible value $\\rho^2$ is $\\rho^2$, then $\\rho(1-\\rho)-\\frac18$, then $(1-\\rho)^2$; thin lines continue the first and last beyond their phases. Points: conditioned Gaussian matrices of width 64, two standard errors. Grey: the range that the stable rank alone allows.", "name": "fig-phase-quartic"}, "image": {"alt": "Two panels against relative stable rank with transitions marked at one quarter and three quarters. Left: the quartic trace rises from zero to one, straight in the middle. Right: its excess over the square of rho is a symmetric arch with highest value one eighth."}} tags=["hide-input"]
grid = torch.linspace(0.005, 0.995, 199)
exact = torch.tensor([coulomb.quartic(rho.item()) for rho in grid])
SHOWN = [0.03, 0.08, 0.14, 0.2, 0.25, 0.32, 0.4, 0.5, 0.6, 0.68, 0.75, 0.8, 0.87, 0.94]
tails = [tail((64, 64), at(rho, 64), spectra_curve, generator(700)) for rho in SHOWN]
drawn = torch.stack(tails)
traced = drawn.square().mean(-1)
print("q/n, drawn and limit:")
for rho, q in list(zip(SHOWN, traced, strict=True))[2::5]:
    print(f"rho = {rho}: {q.mean():.3f}, {coulomb.quartic(rho):.3f}")
error = 2 * traced.std(1) / math.sqrt(spectra_curve)
fig = figures.quartic(grid, exact, torch.tensor(SHOWN), traced.mean(1), error)

# %% mystnb={"figure": {"caption": "Condensation. Largest of the other squared singular values, and the smallest, against the relative stable rank; points are means at width 64 with bars from the 5th to the 95th percentile. Below one quarter the second value follows the edge of the free bulk, $4\\rho$, far from the first one at 1; above three quarters the smallest follows $4\\rho-3$.", "name": "fig-condensation"}, "image": {"alt": "Second largest and smallest squared singular value against relative stable rank. The second rises along the line four rho until one quarter and stays at one; the smallest is zero until three quarters and then rises to one."}} tags=["hide-input"]
values = measured.ends(grid, drawn)
for label, (_, x) in values.items():
    print(f"{label}: " + " ".join(f"{mean:.2f}" for mean in x.mean(1)[[1, 3, 7, 12]]))
fig = figures.condensation(grid, SHOWN, values)

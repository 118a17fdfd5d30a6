# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Drawing matrices of a given stable rank
#
# The evidence for [the random model](../book/sampling.md). Every law of singular values hits its stable rank to
# rounding (M1), the Kac walk behind the uniform law samples what it should (M1), and the matrices are invariant under
# rotations on both sides (M2). Three wrong samplers are caught on the way: a clipped sphere, a walk that stops too
# early, and the QR factorization without its sign fix.

# %%
import itertools
import math

import torch
from IPython.display import display

import srlib
from figures import sampling as figures
from measurements import sampling as measured
from measurements.sampling import direction, raw_qr, sphere_tail
from srlib import check, haar, rank
from srlib.check import glue
from srlib.spectra import power_law, projector, two_level

torch.set_default_dtype(torch.float64)  # everything that is compared is in double precision


def generator(offset):
    return torch.Generator().manual_seed(1000 * seed + offset)


# %% tags=["parameters"]
seed = 2  # of every random number in this notebook
matrices = 400_000  # replicates where matrices are compared
walks = 40_000  # replicates where spectra are compared
phases = 40_000  # matrices whose eigenvalues are drawn
curve_walks = 400  # spectra behind each point of the convergence figure

# %% [markdown]
# ## Every law hits its stable rank
#
# Square, wide and tall shapes, one and two singular values, and stable ranks from one end of the range to the other.

# %%
CASES = measured.cases(measured.LAWS.values())
draws = [law(shape, r, generator=generator(0)) for law, shape, r in CASES]
ranks = torch.tensor([r for _, _, r in CASES])

check.exact(
    "M1.stable-rank",
    "sum of squares of the singular values, four laws in seven shapes, both ends of the range included",
    [sigma.square().sum() for sigma in draws],
    ranks,  # M1
    wrong={
        "the rank": [(sigma > 0).sum() for sigma in draws],
        "sum of the singular values": [sigma.sum() for sigma in draws],
    },
)

# %% [markdown]
# The control of the second claim has the right Frobenius norm and nothing else: a decay as $1/i$, scaled until its
# squares sum to $r$.

# %%
harmonic = [1 / torch.arange(1, len(sigma) + 1) for sigma in draws]
scales = [(r / h.square().sum()).sqrt() for r, h in zip(ranks, harmonic, strict=True)]

display(
    check.exact(
        "M1.largest",
        "largest singular value relative to the spectral norm",
        [sigma.max() for sigma in draws],
        torch.ones(len(draws)),  # M1
        wrong={"Frobenius norm alone": scales},
        tolerance=1e-15,
    ),
    check.exact(
        "M1.order",
        "singular values against themselves sorted downwards",
        torch.cat(draws),
        torch.cat([sigma.sort(descending=True).values for sigma in draws]),
        wrong={"upwards": torch.cat([sigma.flip(0) for sigma in draws])},
        tolerance=1e-15,
    ),
)

# %%
dense = [
    srlib.sample(shape, r, spectral_norm=3.0, law=law, generator=generator(1))
    for law, shape, r in CASES
]

display(
    check.exact(
        "M1.matrices",
        "stable rank of the dense matrices, from a singular value decomposition",
        [srlib.stable_rank(W) for W in dense],
        ranks,
        wrong={
            "the rank": [torch.linalg.matrix_rank(W) for W in dense],
            "squared Frobenius norm": [W.square().sum() for W in dense],
        },
    ),
    check.exact(
        "M1.spectral-norm",
        "spectral norm of the dense matrices",
        [torch.linalg.matrix_norm(W, 2) for W in dense],
        torch.full((len(dense),), 3.0),
        wrong={"Frobenius norm": [W.norm() for W in dense]},
    ),
)

# %% [markdown]
# The power law's exponent is read off from its second singular value and must then explain all others.

# %%
power_laws = [law(shape, r) for law, shape, r in CASES if law is power_law and r > 1]
second = [(sigma[1], torch.arange(1, len(sigma) + 1)) for sigma in power_laws]

check.exact(
    "M1.power-law",
    "singular values against the power of their index that the second one fixes",
    torch.cat(power_laws),
    torch.cat([i.pow(s.log2()) for s, i in second]),
    wrong={"exponential decay": torch.cat([s ** (i - 1) for s, i in second])},
)

# %% mystnb={"figure": {"caption": "Four spectra of the same stable rank, for three stable ranks of a square matrix of width 64. The sum of squares is the same for all four lines of a panel; what differs is how it is shared out. For the uniform law: the median of 500 draws and the band from the 5th to the 95th percentile.", "name": "fig-spectra"}, "image": {"alt": "Three panels of singular values against relative index, at stable ranks 4, 16 and 40. The two-level spectrum is flat after a first value of one, the projector spectrum is a step, the power law decays fast and the uniform law falls smoothly."}} tags=["hide-input"]
k, quantiles = 64, {}
print("median sigma at i/k = 1/4, 1/2, 3/4")
for r, (name, law) in itertools.product((4.0, 16.0, 40.0), measured.LAWS.items()):
    drawn = law((k, k), r, batch=500, generator=generator(2))
    quantiles[r, name] = drawn.quantile(torch.tensor([0.05, 0.5, 0.95]), dim=0)
    median = quantiles[r, name][1]
    print(f"r = {r:g}, {name}: " + " ".join(f"{median[i]:.2f}" for i in (15, 31, 47)))
fig = figures.spectra(quantiles)

# %% [markdown]
# ## The uniform law: exact moments where the cube does not cut
#
# For $r \le 2$ the sphere of radius $\sqrt{r-1}$ lies inside the cube, and the law is that of a random direction:
# $\mathbb E\sum_{i\ge2}\sigma_i^4/(r-1)^2 = 3/(k+1)$ and $\mathbb E\sum_{i\ge2}\sigma_i^6/(r-1)^3 = 15/((k+1)(k+3))$.

# %%
UNCUT, SIZES = 1.8, (3, 8, 33)


def power_sums(tails, powers):  # one column for each tail and power
    return torch.stack([tail.pow(p).sum(-1) for tail in tails for p in powers], -1)


def uncut_tail(k, count, offset, sweeps=None):
    tail = sphere_tail(k, UNCUT, count, generator(offset + k), sweeps)
    return tail / math.sqrt(UNCUT - 1)


def moments(k):
    return 3 / (k + 1), 15 / ((k + 1) * (k + 3))  # M1


one_sweep = [uncut_tail(k, walks // 2, 4, sweeps=1) for k in SIZES]

check.sampled(
    "M1.uncut",
    "fourth and sixth power sums of the tail for a stable rank below 2, walk against closed form, three sizes",
    power_sums([uncut_tail(k, walks // 2, 4) for k in SIZES], (4, 6)),
    [m for k in SIZES for m in moments(k)],
    wrong={
        "all k coordinates free": [m for k in SIZES for m in moments(k + 1)],
        "uniform in the squares": [m for k in SIZES for m in (2 / k, 6 / (k * (k + 1)))],
        "two-level spectrum": [m for k in SIZES for m in (1 / (k - 1), 1 / (k - 1) ** 2)],
    },
    wrong_samples={"one sweep": power_sums(one_sweep, (4, 6))},
    seed=seed,
)

# %% [markdown]
# ## The uniform law: exact moments where the cube cuts
#
# Three singular values: $(\sigma_2,\sigma_3)=\sqrt{r-1}\,(\cos\psi,\sin\psi)$ with the angle uniform on an arc
# $[\psi_0,\pi/2-\psi_0]$, so that $\mathbb E\cos 4j\psi=-\sin(4j\psi_0)/(2j\Omega)$ with the arc's angle $\Omega$. The
# control puts coordinates that stick out of the cube back to 1, which is what clipping a random direction does.


# %%
def waves(tails):
    angles = [torch.atan2(y, x) for x, y in (tail.T for tail in tails)]
    return torch.stack([torch.cos(4 * j * psi) for psi in angles for j in (1, 2, 3)], -1)


def arc_waves(r):  # M1
    cut = math.acos(min(1, 1 / math.sqrt(r - 1)))
    return [-math.sin(4 * j * cut) / (2 * j * (math.pi / 2 - 2 * cut)) for j in (1, 2, 3)]


THREE = (1.7, 2.2, 2.7)
clipped = [direction(3, r, walks, generator(41)).clamp(max=1) for r in THREE]

check.sampled(
    "M1.arc",
    "three trigonometric moments of the angle between two singular values, below and above the cut",
    waves([sphere_tail(3, r, walks, generator(40)) for r in THREE]),
    [moment for r in THREE for moment in arc_waves(r)],
    wrong={"whole quarter circle": [0.0] * 9},
    wrong_samples={"clipped": waves(clipped)},
    scale=1.0,
    seed=seed,
)

# %% [markdown]
# Four singular values: by Archimedes one coordinate $z$ and the angle of the other two are the natural coordinates of
# the sphere, and $z$ has density proportional to the length of the arc that the square leaves at radius
# $\sqrt{r-1-z^2}$. One-dimensional quadrature gives the mean of every power sum.

# %%
POWERS, FOUR = (1, 4, 6), (2.4, 3.3)
walk = [sphere_tail(4, r, walks // 2, generator(50)) for r in FOUR]
one_sweep = [sphere_tail(4, r, walks // 2, generator(51), sweeps=1) for r in FOUR]
clipped = [direction(4, r, walks // 2, generator(52)).clamp(max=1) for r in FOUR]
free = [3 * (r - 1) ** (p / 2) / (p + 1) for r in FOUR for p in POWERS]

check.sampled(
    "M1.three-dimensional-cut",
    "power sums of three singular values, walk against quadrature over the cut sphere",
    power_sums(walk, POWERS),
    [3 * measured.cut_sphere_mean(r, p) for r in FOUR for p in POWERS],
    wrong={"cube ignored": free},
    wrong_samples={
        "clipped": power_sums(clipped, POWERS),
        "one sweep": power_sums(one_sweep, POWERS),
    },
    seed=seed,
)

# %% [markdown]
# ## The uniform law: against plain rejection
#
# Sixteen singular values at $r=6$: draw directions, keep those inside the cube (about one in nine), and compare with
# the walk, replicate by replicate. Both statistics are divided by the means of the accepted sample, so that their
# differences are relative errors; that common factor does not touch the test.

# %%
proposals = direction(16, 6.0, 10 * walks, generator(60))
accepted = proposals[proposals.amax(-1) <= 1]
glue("accepted", round(100 * len(accepted) / len(proposals)))


def summary(tail):
    largest, median = tail.amax(-1), tail.median(-1).values
    return torch.stack([tail.pow(4).sum(-1), tail.sum(-1), largest, median], -1)


def excess(tail):
    reference = summary(accepted[: len(tail)])
    return (summary(tail) - reference) / reference.mean(0)


clipped = direction(16, 6.0, walks // 2, generator(63)).clamp(max=1)
one_sweep = sphere_tail(16, 6.0, walks // 2, generator(61), sweeps=1)

check.sampled(
    "M1.rejection",
    "quartic trace and sum and maximum and median of fifteen singular values, walk minus rejection",
    excess(sphere_tail(16, 6.0, walks // 2, generator(62))),
    [0.0] * 4,
    wrong_samples={"clipped": excess(clipped), "one sweep": excess(one_sweep)},
    scale=1.0,
    seed=seed,
)

# %% [markdown]
# ## How fast the walk forgets its start
#
# Where the cube does not cut, the mean quartic trace of the tail of $k-1$ coordinates approaches its limit by the
# exact factor $\frac34\frac{k-3}{k-2}$ a sweep ($k$ odd) or $\frac{3k-5}{4(k-1)}$ ($k$ even).


# %%
def factor(k):
    return 3 / 4 * (k - 3) / (k - 2) if k % 2 else (3 * k - 5) / (4 * (k - 1))  # M1


STOPS = [(sweeps, k) for k in (9, 10) for sweeps in (1, 2, 4)]


def traces_after(rate):
    return [
        3 / (k + 1) + (1 / (k - 1) - 3 / (k + 1)) * rate(k) ** sweeps for sweeps, k in STOPS
    ]


tails = [uncut_tail(k, walks, 70 + 20 * sweeps, sweeps) for sweeps, k in STOPS]

check.sampled(
    "M1.rate",
    "fourth power sum after one and two and four sweeps, eight and nine coordinates",
    power_sums(tails, (4,)),
    traces_after(factor),
    wrong={
        "factor 3/4 of wide matrices": traces_after(lambda k: 3 / 4),
        "parity ignored": traces_after(lambda k: factor(9)),
        "one pair a sweep": traces_after(lambda k: 1 - (k + 1) / (2 * (k - 1) * (k - 2))),
    },
    seed=seed,
)

# %% mystnb={"figure": {"caption": "The Kac walk forgets its two-level start. Relative distance of the tail's mean quartic trace from its stationary value against the number of sweeps, for 128 singular values; intervals are two standard errors, and points that cannot be told from zero are left out. The line is the exact law where the cube does not cut (stable rank 2). Where the cube cuts, the walk is seen to be faster. The library makes 64 sweeps.", "name": "fig-kac-walk"}, "image": {"alt": "Distance of the quartic trace from its stationary value on a logarithmic scale falls along a straight line with the number of sweeps for stable rank 2, and faster for four larger stable ranks."}} tags=["hide-input"]
width, times, distances = 128, (0, 1, 2, 4, 8, 12), {}


def tail_trace(share, sweeps, count):
    g = generator(300 + sweeps)
    return sphere_tail(width, share * width, count, g, sweeps).pow(4).sum(-1)


print("relative distance after 0, 1, 2 sweeps")
for share in (2 / width, 0.25, 0.5, 0.75, 0.95):
    limit = tail_trace(share, 64, 2 * curve_walks).mean()
    ratios = torch.stack([tail_trace(share, t, curve_walks) for t in times]) / limit
    gap, error = (1 - ratios.mean(-1)).abs(), 2 * ratios.std(-1) / math.sqrt(curve_walks)
    distances[share] = gap, error
    print(f"r/k = {share:.2g}: " + " ".join(f"{value:.3f}" for value in gap[:3]))
start = 1 - (width + 1) / (3 * (width - 1))
fig = figures.kac_walk(times, distances, start * factor(width) ** torch.arange(25))

# %% [markdown]
# ## The frames are Haar
#
# Five moments of single entries, not averaged over the matrix (averages such as $\sum_j Q_{1j}^2$ hold for every
# orthogonal matrix and would prove nothing), and the same at a fixed rotation of the matrix.


# %%
def haar_moments(n):  # M2, of a^2, a^4, a^2 b^2, a^2 d^2, a b c d
    two = 1 / n / (n + 2)
    return [1 / n, 3 * two, two, two * (n + 1) / (n - 1), -two / (n - 1)]


def turn(n, offset):  # a fixed rotation without symmetry
    return haar.orthogonal(n, generator=torch.Generator().manual_seed(offset))


O4, O5, O3, P4 = turn(4, 1), turn(5, 2), turn(3, 3), turn(4, 4)
square = haar.orthogonal(4, batch=matrices, generator=generator(100))
frames = haar.orthogonal(5, 3, batch=matrices, generator=generator(101))
raw, other = (raw_qr(4, 4, matrices, generator(offset)) for offset in (102, 103))
raw_frames = raw_qr(5, 3, matrices, generator(104))
unfixed = measured.entry_moments(raw, O4 @ other @ P4, O5 @ raw_frames @ O3)
gauss = [1 / 4, 3 / 16, 1 / 16, 1 / 16, -1e-9], [1 / 5, 3 / 25, 1 / 25, 1 / 25, -1e-9]

check.sampled(
    "M2.haar-moments",
    "moments of entries up to order four, square and rotated and three columns of five",
    measured.entry_moments(square, O4 @ square @ P4, O5 @ frames @ O3),
    haar_moments(4) * 2 + haar_moments(5),
    wrong={"independent Gaussian entries": gauss[0] * 2 + gauss[1]},
    wrong_samples={"QR without the sign fix": unfixed},
    seed=seed,
)

# %% [markdown]
# ## The matrices are bi-invariant
#
# For $W$ of shape $m\times n$: $\mathbb EW_{11}^2=s^2r/(mn)$ and
# $\mathbb EW_{11}^4=3s^4(r^2+2q)/(m(m+2)\,n(n+2))$, and the same for $OWO'$ with fixed rotations.

# %%
m, n, r = 5, 3, 1.8
W = srlib.sample((m, n), r, batch=matrices, generator=generator(110))
wide = srlib.sample((n, m), r, batch=matrices, generator=generator(111))
sigma = two_level((m, n), r)
half = frames * sigma
one_sided = measured.corners(half, O5 @ half @ O3, O3 @ half.mT @ O5)


def corner_moments(r, q):  # M2, of W_11^2, W_11^4, W_11^2 W_22^2
    square, fourth = r / (m * n), 3 * (r**2 + 2 * q) / (m * (m + 2) * n * (n + 2))
    aligned = fourth / 3  # E W_11^2 W_12^2 = E W_11^2 W_21^2
    crossed = r**2 / (m * n) - fourth - (m + n - 2) * aligned
    return [square, fourth, crossed / ((m - 1) * (n - 1))]


two_level_q, projector_q = rank.quartic_range(r, n)
check.sampled(
    "M2.rotated",
    "moments of entries of W and of O W O' with fixed rotations, five by three and three by five",
    measured.corners(W, O5 @ W @ O3, O3 @ wide @ O5),
    corner_moments(r, two_level_q) * 3,
    wrong={
        "rows not counted": [x * m for x in corner_moments(r, two_level_q)] * 3,
        "projector's quartic trace": corner_moments(r, projector_q) * 3,
    },
    wrong_samples={"left factor Haar alone": one_sided},
    seed=seed,
)

# %% [markdown]
# One Haar factor is enough where most singular values are equal, part (e): with $Q=UV^\top$ both sides are the same
# matrix. Five pairs of frames, six singular values of which one or two are not $\tau$.

# %%
SPECTRA = torch.tensor(
    [
        [1, 0.4, 0.4, 0.4, 0.4, 0.4],  # two-level
        [1, 1, 0, 0, 0, 0],  # projector
        [1, 0.7, 0.7, 0.7, 0.7, 0.1],  # one on each side
        [1, 1, 1, 1, 0.3, 0],  # with a remainder
    ]
)
U = haar.orthogonal(8, 6, batch=5, generator=generator(115))
V = haar.orthogonal(6, batch=5, generator=generator(116))


def one_factor(values, less):  # the singular values that are not tau have a direction each
    Q, tau = U @ V.mT, values.median()
    directions, spikes = V[..., values != tau], values[values != tau]
    return tau * Q + (Q @ directions * (spikes - less)) @ directions.mT  # M2 (e)


whole = torch.stack([one_factor(values, less=0) for values in SPECTRA])
check.exact(
    "M2.one-factor",
    "matrices from one Haar factor and a few directions against those from two factors",
    torch.stack([one_factor(values, less=values.median()) for values in SPECTRA]),
    torch.stack([(U * values) @ V.mT for values in SPECTRA]),
    wrong={"the common level not taken off": whole},
)

# %% [markdown]
# ## What the sign fix is for
#
# A QR factorization fixes the signs of its columns by itself, and its $Q$ has the mean
# $\operatorname{diag}(M_1,\dots,M_n)$ given in the chapter instead of 0. Then the matrix built from two such
# factors has $\mathbb EW_{11}=s\,G_mG_n$, whatever its spectrum.


# %%
def G(n):  # mean of |nu_1|, nu uniform on the sphere
    return math.gamma(n / 2) / math.sqrt(math.pi) / math.gamma((n + 1) / 2)


def kept(n):  # mean of the other diagonal entries of the first reflection
    return (n - 2 + G(n)) / (n - 1)


def raw_mean(n):  # diagonal of E Q
    own = [-G(n - j) for j in range(n - 1)] + [1]  # the last reflection is the identity
    return [math.prod(kept(n - i) for i in range(j)) * own[j] for j in range(n)]


def four(W, wide):  # entries of W and of O W O', relative to their standard deviation
    turned, wide = O5 @ W @ O3, O3 @ wide @ O5
    entries = W[:, 0, 0], W[:, 1, 1], turned[:, 0, 0], wide[:, 0, 0]
    return torch.stack(entries, -1) / math.sqrt(r / (m * n))


raw = raw_qr(m, n, matrices, generator(112)) * sigma
raw = raw @ raw_qr(n, n, matrices, generator(113)).mT
left, right = (raw_qr(4, 4, matrices, generator(offset)) for offset in (120, 121))
unfixed = [raw_qr(n, n, 50, generator(122)) for n in range(2, 7)]
fixed = [haar.orthogonal(n, batch=50, generator=generator(123)) for n in range(2, 7)]

display(
    check.sampled(
        "M2.mean-zero",
        "mean of entries of W and of O W O' relative to their standard deviation",
        four(W, wide),
        [0.0] * 4,  # M2
        wrong_samples={"QR without the sign fix": four(raw, raw.mT)},
        scale=1.0,
        seed=seed,
    ),
    check.sampled(
        "M2.raw-mean",
        "diagonal of the mean of an unfixed Q of width 4 against its closed form",
        left.diagonal(dim1=1, dim2=2),
        raw_mean(4),
        wrong={
            "Haar": [0.0] * 4,
            "last reflection applied": [*raw_mean(4)[:3], -raw_mean(4)[3]],
            "first column's mean for all": [-G(4)] * 3 + [G(4)],
        },
        seed=seed,
    ),
    check.exact(
        "M2.raw-determinant",
        "determinant of unfixed square Q of width 2 to 6: only half of the orthogonal group is reached",
        [torch.linalg.det(Q).tolist() for Q in unfixed],
        [[(-1.0) ** (n - 1)] * 50 for n in range(2, 7)],
        wrong={"Haar": [torch.linalg.det(Q).tolist() for Q in fixed]},
    ),
)

# %%
products = [(left * law((4, 4), 2.0)) @ right.mT for law in (two_level, projector)]
corner = torch.stack([A[:, 0, 0] for A in products], -1)
glue("raw_corner", round(corner.mean().item(), 3))
print(f"G_4 = {G(4):.4f}, G_4 squared = {G(4) ** 2:.4f}")

check.sampled(
    "M2.raw-corner",
    "mean of W_11 without the sign fix at width 4, two-level and projector spectra of stable rank 2",
    corner,
    [G(4) ** 2] * 2,
    wrong={
        "Haar": [0.0] * 2,
        "weighted by the mean square of the spectrum": [G(4) ** 2 / 2] * 2,
    },
    seed=seed,
)

# %% [markdown]
# The traces of powers see the eigenvalues: for a Haar matrix $\mathbb E\operatorname{tr}Q^j$ is 0 for odd $j$ and 1 for
# even $j$, at every width.

# %%
rotations = haar.orthogonal(5, batch=matrices // 2, generator=generator(130))
unfixed = raw_qr(5, 5, matrices // 2, generator(131))

check.sampled(
    "M2.traces",
    "traces of the first six powers of a Haar matrix of width 5, relative to their number of eigenvalues",
    measured.traces(rotations),
    [0, 1 / 5, 0, 1 / 5, 0, 1 / 5],  # M2
    wrong={"eigenvalues independent and uniform": [0.0] * 6},
    wrong_samples={"QR without the sign fix": measured.traces(unfixed)},
    scale=1.0,
    seed=seed,
)

# %% mystnb={"figure": {"caption": "The same Gaussian matrices, factored with and without the sign fix. Left: the first entry of a matrix of width 4; the line is its density under Haar measure. Right: density of the eigenvalues on the upper half of the unit circle at width 8, eigenvalues at 1 and -1 left out; under Haar measure it is flat (line).", "name": "fig-sign-fix"}, "image": {"alt": "Left: with the fix the histogram of the first entry follows a half circle over the interval from minus one to one; without it only negative values occur. Right: with the fix the eigenvalue density is flat at 1.11 a radian; without it the density is wavy and has a gap around phase 0."}} tags=["hide-input"]
bins = torch.linspace(0, math.pi, 25)
rotations = haar.orthogonal(8, batch=phases, generator=generator(140))
unfixed = raw_qr(8, 8, phases, generator(141))
densities = [measured.phase_density(Q, bins) for Q in (rotations, unfixed)]
print("eigenvalue density near phases 0, pi/2, pi; with and without the sign fix")
for density, _ in densities:
    print(" ".join(f"{density[i]:.2f}" for i in (0, 12, 23)))
fig = figures.sign_fix(square[:, 0, 0], left[:, 0, 0], bins, densities)

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
import math
from unittest.mock import patch

import torch
from IPython.display import display
from scipy.integrate import quad

import srlib
from srlib import check, haar, plotting, rank, spectra
from srlib.check import glue
from srlib.spectra import power_law, projector, two_level, uniform_sphere

torch.set_default_dtype(torch.float64)  # everything that is compared is in double precision

LAWS = {
    "two-level": two_level,
    "projector": projector,
    "power law": power_law,
    "uniform on the sphere": uniform_sphere,
}
COLOUR = dict(zip(LAWS, plotting.palette(len(LAWS)), strict=True))


def generator(offset):
    return torch.Generator().manual_seed(1000 * seed + offset)


# %% tags=["parameters"]
seed = 2  # of every random number in this notebook
matrices = 400_000  # replicates where matrices are compared
walks = 40_000  # replicates where spectra are compared
phases = 40_000  # matrices whose eigenvalues are drawn
curve_walks = 1_000  # spectra behind each point of the convergence figure

# %% [markdown]
# ## Every law hits its stable rank
#
# Square, wide and tall shapes, one and two singular values, and stable ranks from one end of the range to the other.

# %%
SHAPES = [(6, 6), (3, 11), (40, 7), (1, 5), (2, 2), (9, 2), (64, 64)]
CASES = [
    (law, shape, 1 + share * (min(shape) - 1))
    for law in LAWS.values()
    for shape in SHAPES
    for share in ([0, 0.01, 0.3, 0.5, 0.9, 1] if min(shape) > 1 else [0])
]
draws = [
    law(shape, r, generator=generator(0), dtype=torch.float64) for law, shape, r in CASES
]
ranks = torch.tensor([r for _, _, r in CASES], dtype=torch.float64)

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
harmonic = [1 / torch.arange(1, len(sigma) + 1, dtype=torch.float64) for sigma in draws]

display(
    check.exact(
        "M1.largest",
        "largest singular value relative to the spectral norm",
        [sigma.max() for sigma in draws],
        torch.ones(len(draws)),  # M1
        wrong={
            "Frobenius norm alone": [
                math.sqrt(r / h.square().sum())
                for r, h in zip(ranks, harmonic, strict=True)
            ]
        },
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
norm = 3.0
dense = [
    srlib.sample(
        shape, r, spectral_norm=norm, law=law, generator=generator(1), dtype=torch.float64
    )
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
        torch.full((len(dense),), norm),
        wrong={"Frobenius norm": [W.norm() for W in dense]},
    ),
)

# %% [markdown]
# The power law's exponent is read off from its second singular value and must then explain all others.

# %%
power_laws = [
    sigma
    for sigma, (law, _, r) in zip(draws, CASES, strict=True)
    if law is power_law and r > 1
]
index = [torch.arange(1, len(sigma) + 1, dtype=torch.float64) for sigma in power_laws]

check.exact(
    "M1.power-law",
    "singular values against the power of their index that the second one fixes",
    torch.cat(power_laws),
    torch.cat([i.pow(sigma[1].log2()) for i, sigma in zip(index, power_laws, strict=True)]),
    wrong={
        "exponential decay": torch.cat(
            [sigma[1] ** (i - 1) for i, sigma in zip(index, power_laws, strict=True)]
        )
    },
)

# %% mystnb={"figure": {"caption": "Four spectra of the same stable rank, for three stable ranks of a square matrix of width 64. The sum of squares is the same for all four lines of a panel; what differs is how it is shared out. For the uniform law: the median of 2,000 draws and the band from the 5th to the 95th percentile.", "name": "fig-spectra"}, "image": {"alt": "Three panels of singular values against relative index, at stable ranks 4, 16 and 40. The two-level spectrum is flat after a first value of one, the projector spectrum is a step, the power law decays fast and the uniform law falls smoothly."}} tags=["hide-input"]
k, shown = 64, (4.0, 16.0, 40.0)
position = torch.arange(1, k + 1) / k
fig, axes = plotting.figure(1, 3, size=(9.4, 3.4), sharey=True)
lines = ["median sigma at i/k = 1/4, 1/2, 3/4"]
for ax, r in zip(axes, shown, strict=True):
    for name, law in LAWS.items():
        drawn = law((k, k), r, batch=2000, generator=generator(2))
        low, middle, high = drawn.quantile(torch.tensor([0.05, 0.5, 0.95]), dim=0)
        plotting.theory(
            ax, position, middle, color=COLOUR[name], label=name, drawstyle="steps-mid"
        )
        ax.fill_between(
            position, low, high, step="mid", color=COLOUR[name], alpha=0.25, linewidth=0
        )
        lines.append(
            f"r = {r:g}, {name}: " + " ".join(f"{middle[i]:.2f}" for i in (15, 31, 47))
        )
    ax.set(title=f"$r={r:g}$, $r/k={r / k:.3g}$", xlabel="$i/k$", ylim=(-0.02, 1.05))
axes[0].set_ylabel(r"$\sigma_i$")
plotting.legend(axes[2], outside=True)
print("\n".join(lines))

# %% [markdown]
# ## The uniform law: exact moments where the cube does not cut
#
# For $r \le 2$ the sphere of radius $\sqrt{r-1}$ lies inside the cube, and the law is that of a random direction:
# $\mathbb E\sum_{i\ge2}\sigma_i^4/(r-1)^2 = 3/(k+1)$ and $\mathbb E\sum_{i\ge2}\sigma_i^6/(r-1)^3 = 15/((k+1)(k+3))$.

# %%
uncut = 1.8


def tail_moments(k, r, powers=(4, 6), count=walks // 2, offset=4):
    sigma = uniform_sphere(
        (k, k), r, batch=count, generator=generator(offset + k), dtype=torch.float64
    )
    return torch.stack(
        [(sigma[:, 1:] / math.sqrt(r - 1)).pow(power).sum(-1) for power in powers], -1
    )


sizes = (3, 8, 33)
with patch.object(spectra.sphere, "SWEEPS", 1):
    one_sweep = torch.cat([tail_moments(k, uncut) for k in sizes], -1)

check.sampled(
    "M1.uncut",
    "fourth and sixth power sums of the tail for a stable rank below 2, walk against closed form, three sizes",
    torch.cat([tail_moments(k, uncut) for k in sizes], -1),
    [moment for k in sizes for moment in (3 / (k + 1), 15 / ((k + 1) * (k + 3)))],  # M1
    wrong={
        "all k coordinates free": [
            m for k in sizes for m in (3 / (k + 2), 15 / ((k + 2) * (k + 4)))
        ],
        "two-level spectrum": [m for k in sizes for m in (1 / (k - 1), 1 / (k - 1) ** 2)],
    },
    wrong_samples={"one sweep": one_sweep},
    seed=seed,
)

# %% [markdown]
# ## The uniform law: exact moments where the cube cuts
#
# Three singular values: $(\sigma_2,\sigma_3)=\sqrt{r-1}\,(\cos\phi,\sin\phi)$ with the angle uniform on an arc
# $[\phi_0,\pi/2-\phi_0]$, so that $\mathbb E\cos 4j\phi=-\sin(4j\phi_0)/(2j\ell)$ with the arc's length $\ell$. The
# control puts coordinates that stick out of the cube back to 1, which is what clipping a random direction does.


# %%
def direction(k, r, count, offset):
    z = torch.randn(count, k - 1, generator=generator(offset), dtype=torch.float64).abs()
    return math.sqrt(r - 1) * z / z.norm(dim=-1, keepdim=True)


def waves(pair):
    angle = torch.atan2(pair[:, 1], pair[:, 0])
    return torch.stack([torch.cos(4 * j * angle) for j in (1, 2, 3)], -1)


def arc_waves(r):
    cut = math.acos(min(1, 1 / math.sqrt(r - 1)))
    return [-math.sin(4 * j * cut) / (2 * j * (math.pi / 2 - 2 * cut)) for j in (1, 2, 3)]


cut_ranks = (1.7, 2.2, 2.7)
angles = [
    uniform_sphere((3, 3), r, batch=walks, generator=generator(40), dtype=torch.float64)
    for r in cut_ranks
]

check.sampled(
    "M1.arc",
    "three trigonometric moments of the angle between two singular values, below and above the cut",
    torch.cat([waves(sigma[:, 1:]) for sigma in angles], -1),
    [moment for r in cut_ranks for moment in arc_waves(r)],
    wrong={"whole quarter circle": [0.0] * 9},
    wrong_samples={
        "clipped": torch.cat(
            [waves(direction(3, r, walks, 41).clamp(max=1)) for r in cut_ranks], -1
        )
    },
    scale=1.0,
    seed=seed,
)

# %% [markdown]
# Four singular values: by Archimedes one coordinate $z$ and the angle of the other two are the natural coordinates of
# the sphere, and $z$ has density proportional to the length of the arc that the square leaves at radius
# $\sqrt{r-1-z^2}$. One-dimensional quadrature gives the mean of every power sum.


# %%
def arc(squared_radius):  # length of the part of the circle inside the unit square
    return (
        math.pi / 2 - 2 * math.acos(min(1, 1 / math.sqrt(squared_radius)))
        if 0 < squared_radius < 2
        else 0.0
    )


def power_mean(
    r, power
):  # E z^power, z one coordinate of a uniform point of {|u|^2 = r - 1} in the cube of dimension 3
    ends = math.sqrt(max(0, r - 3)), min(1, math.sqrt(r - 1))
    kink = [math.sqrt(r - 2)] if r > 2 else None
    return (
        quad(lambda z: z**power * arc(r - 1 - z**2), *ends, points=kink)[0]
        / quad(lambda z: arc(r - 1 - z**2), *ends, points=kink)[0]
    )


POWERS, FOUR = (1, 4, 6), (2.4, 3.3)


def power_sums(tails):
    return torch.stack([tail.pow(p).sum(-1) for tail in tails for p in POWERS], -1)


def four_values(offset):
    return [
        uniform_sphere(
            (4, 4), r, batch=walks // 2, generator=generator(offset), dtype=torch.float64
        )[:, 1:]
        for r in FOUR
    ]


with patch.object(spectra.sphere, "SWEEPS", 1):
    one_sweep = four_values(51)

check.sampled(
    "M1.three-dimensional-cut",
    "power sums of three singular values, walk against quadrature over the cut sphere",
    power_sums(four_values(50)),
    [3 * power_mean(r, p) for r in FOUR for p in POWERS],
    wrong={
        "cube ignored": [3 * (r - 1) ** (p / 2) / (p + 1) for r in FOUR for p in POWERS]
    },
    wrong_samples={
        "clipped": power_sums([direction(4, r, walks // 2, 52).clamp(max=1) for r in FOUR]),
        "one sweep": power_sums(one_sweep),
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
proposals = direction(16, 6.0, 10 * walks, 60)
accepted = proposals[proposals.amax(-1) <= 1]
glue("accepted", round(100 * len(accepted) / len(proposals)))


def summary(tail):  # quartic trace, sum, largest and median
    return torch.stack(
        [tail.pow(4).sum(-1), tail.sum(-1), tail.amax(-1), tail.median(-1).values], -1
    )


def excess(tail):
    reference = summary(accepted[: len(tail)])
    return (summary(tail) - reference) / reference.mean(0)


def walk_tail(offset, count=walks // 2):
    return uniform_sphere(
        (16, 16), 6.0, batch=count, generator=generator(offset), dtype=torch.float64
    )[:, 1:]


with patch.object(spectra.sphere, "SWEEPS", 1):
    one_sweep = walk_tail(61)

check.sampled(
    "M1.rejection",
    "quartic trace and sum and maximum and median of fifteen singular values, walk minus rejection",
    excess(walk_tail(62)),
    [0.0] * 4,
    wrong_samples={
        "clipped": excess(direction(16, 6.0, walks // 2, 63).clamp(max=1)),
        "one sweep": excess(one_sweep),
    },
    scale=1.0,
    seed=seed,
)

# %% [markdown]
# ## How fast the walk forgets its start
#
# Where the cube does not cut, the mean quartic trace of the tail of $d=k-1$ coordinates approaches its limit by the
# exact factor $\frac34\frac{d-2}{d-1}$ a sweep ($d$ even) or $\frac{3d-2}{4d}$ ($d$ odd).


# %%
def factor(d):
    return 3 / 4 * (d - 2) / (d - 1) if d % 2 == 0 else (3 * d - 2) / (4 * d)  # M1


def trace_after(sweeps, d, rate):
    return 3 / (d + 2) + (1 / d - 3 / (d + 2)) * rate**sweeps


stops = [(sweeps, d) for d in (8, 9) for sweeps in (1, 2, 4)]
few_sweeps = []
for sweeps, d in stops:
    with patch.object(spectra.sphere, "SWEEPS", sweeps):
        few_sweeps.append(
            tail_moments(d + 1, uncut, powers=(4,), count=walks, offset=70 + 20 * sweeps)
        )

check.sampled(
    "M1.rate",
    "fourth power sum after one and two and four sweeps, eight and nine coordinates",
    torch.cat(few_sweeps, -1),
    [trace_after(sweeps, d, factor(d)) for sweeps, d in stops],
    wrong={
        "factor 3/4 of wide matrices": [
            trace_after(sweeps, d, 3 / 4) for sweeps, d in stops
        ],
        "parity ignored": [trace_after(sweeps, d, factor(8)) for sweeps, d in stops],
        "one pair a sweep": [
            trace_after(s, d, 1 - (d + 2) / (2 * d * (d - 1))) for s, d in stops
        ],
    },
    seed=seed,
)

# %% mystnb={"figure": {"caption": "The Kac walk forgets its two-level start. Relative distance of the tail's mean quartic trace from its stationary value against the number of sweeps, for 128 singular values; intervals are two standard errors, and points that cannot be told from zero are left out. The line is the exact law where the cube does not cut (stable rank 2). Where the cube cuts, the walk is seen to be faster. The library makes 64 sweeps.", "name": "fig-kac-walk"}, "image": {"alt": "Distance of the quartic trace from its stationary value on a logarithmic scale falls along a straight line with the number of sweeps for stable rank 2, and faster for four larger stable ranks."}} tags=["hide-input"]
width, times = 128, (0, 1, 2, 4, 8, 12)
shares = (2 / width, 0.25, 0.5, 0.75, 0.95)


def tail_trace(r, sweeps, count):
    with patch.object(spectra.sphere, "SWEEPS", sweeps):
        options = {
            "batch": count,
            "generator": generator(300 + sweeps),
            "dtype": torch.float64,
        }
        return uniform_sphere((width, width), r, **options)[:, 1:].pow(4).sum(-1)


fig, ax = plotting.figure(size=(6.4, 3.8))
lines = ["relative distance after 0, 1, 2 sweeps"]
for share, colour in zip(shares, plotting.palette(shares), strict=True):
    limit = tail_trace(share * width, 64, 2 * curve_walks).mean()
    ratios = torch.stack(
        [tail_trace(share * width, sweeps, curve_walks) / limit for sweeps in times]
    )
    gap, error = (1 - ratios.mean(-1)).abs(), 2 * ratios.std(-1) / math.sqrt(curve_walks)
    seen = gap > 1.5 * error + 1e-3
    style = {
        "color": colour,
        "marker": "osD^v"[shares.index(share)],
        "label": f"$r/k={share:.2g}$",
    }
    plotting.points(ax, torch.tensor(times)[seen], gap[seen], error[seen], **style)
    lines.append(f"r/k = {share:.2g}: " + " ".join(f"{value:.3f}" for value in gap[:3]))
start, steps = 1 - (width + 1) / (3 * (width - 1)), torch.arange(25)
plotting.theory(
    ax,
    steps,
    start * factor(width - 1) ** steps,
    color=plotting.palette(shares)[0],
    label="exact, $r=2$",
)
_ = ax.set(
    yscale="log",
    ylim=(1e-3, 1.2),
    xlim=(-0.5, 16),
    xlabel="sweeps",
    ylabel=r"$|1-q_t/q_\infty|$ of the tail",
)
plotting.legend(ax, loc="upper right")
print("\n".join(lines))

# %% [markdown]
# ## The frames are Haar
#
# Five moments of single entries, not averaged over the matrix (averages such as $\sum_j Q_{1j}^2$ hold for every
# orthogonal matrix and would prove nothing), and the same at a fixed rotation of the matrix.


# %%
def raw_qr(
    m, k, count, offset
):  # the Q of a Gaussian matrix as the factorization returns it, signs not fixed
    G = torch.randn(count, m, k, generator=generator(offset), dtype=torch.float64)
    return torch.linalg.qr(G).Q


def entry_moments(Q):
    a, b, c, d = Q[:, 0, 0], Q[:, 0, 1], Q[:, 1, 0], Q[:, 1, 1]
    return torch.stack([a**2, a**4, a**2 * b**2, a**2 * d**2, a * b * c * d], -1)


def haar_moments(n):
    return [
        1 / n,
        3 / n / (n + 2),
        1 / n / (n + 2),
        (n + 1) / (n - 1) / n / (n + 2),
        -1 / (n - 1) / n / (n + 2),
    ]


def turn(n, offset):  # a fixed rotation without symmetry
    return haar.orthogonal(
        n, generator=torch.Generator().manual_seed(offset), dtype=torch.float64
    )


Q = haar.orthogonal(4, batch=matrices, generator=generator(100), dtype=torch.float64)
frames = haar.orthogonal(
    5, 3, batch=matrices, generator=generator(101), dtype=torch.float64
)
O4, O5, O3 = turn(4, 1), turn(5, 2), turn(3, 3)

check.sampled(
    "M2.haar-moments",
    "moments of entries up to order four, square and rotated and three columns of five",
    torch.cat(
        [
            entry_moments(Q),
            entry_moments(O4 @ Q @ turn(4, 4)),
            entry_moments(O5 @ frames @ O3),
        ],
        -1,
    ),
    haar_moments(4) * 2 + haar_moments(5),  # M2
    wrong={
        "independent Gaussian entries": [1 / 4, 3 / 16, 1 / 16, 1 / 16, -1e-9] * 2
        + [0.2, 0.12, 0.04, 0.04, -1e-9]
    },
    wrong_samples={
        "QR without the sign fix": torch.cat(
            [
                entry_moments(raw_qr(4, 4, matrices, 102)),
                entry_moments(O4 @ raw_qr(4, 4, matrices, 103) @ turn(4, 4)),
                entry_moments(O5 @ raw_qr(5, 3, matrices, 104) @ O3),
            ],
            -1,
        )
    },
    seed=seed,
)

# %% [markdown]
# ## The matrices are bi-invariant
#
# For $W$ of shape $m\times n$: $\mathbb EW_{11}^2=s^2r/(mn)$ and
# $\mathbb EW_{11}^4=3s^4(r^2+2q)/(m(m+2)\,n(n+2))$, and the same for $OWO'$ with fixed rotations.

# %%
m, n, r = 5, 3, 1.8
q = rank.quartic_range(r, n)[0]  # two-level
W = srlib.sample((m, n), r, batch=matrices, generator=generator(110), dtype=torch.float64)
wide = srlib.sample(
    (n, m), r, batch=matrices, generator=generator(111), dtype=torch.float64
)
sigma = two_level((m, n), r, dtype=torch.float64)
half = frames * sigma


def corner(A):
    return torch.stack(
        [A[:, 0, 0] ** 2, A[:, 0, 0] ** 4, (A[:, 0, 0] * A[:, 1, 1]) ** 2], -1
    )


def corner_moments(r, q):
    square, fourth = r / (m * n), 3 * (r**2 + 2 * q) / (m * (m + 2) * n * (n + 2))
    aligned = fourth / 3  # E W_11^2 W_12^2 = E W_11^2 W_21^2
    crossed = (r**2 / (m * n) - fourth - (m + n - 2) * aligned) / (
        (m - 1) * (n - 1)
    )  # E W_11^2 W_22^2
    return [square, fourth, crossed]


check.sampled(
    "M2.rotated",
    "moments of entries of W and of O W O' with fixed rotations, five by three and three by five",
    torch.cat([corner(W), corner(O5 @ W @ O3), corner(O3 @ wide @ O5)], -1),
    corner_moments(r, q) * 3,  # M2
    wrong={
        "rows not counted": [x * m for x in corner_moments(r, q)] * 3,
        "projector's quartic trace": corner_moments(r, rank.quartic_range(r, n)[1]) * 3,
    },
    wrong_samples={
        "left factor Haar alone": torch.cat(
            [corner(half), corner(O5 @ half @ O3), corner(O3 @ half.mT @ O5)], -1
        )
    },
    seed=seed,
)

# %% [markdown]
# One Haar factor is enough where most singular values are equal, part (e): with $Q=UV^\top$ both sides are the same
# matrix. Five pairs of frames, six singular values of which one or two are not $\tau$.

# %%
spectra_e = {
    "two-level": [1, 0.4, 0.4, 0.4, 0.4, 0.4],
    "projector": [1, 1, 0, 0, 0, 0],
    "two of each side": [1, 0.7, 0.7, 0.7, 0.7, 0.1],
    "remainder": [1, 1, 1, 1, 0.3, 0],
}
U = haar.orthogonal(8, 6, batch=5, generator=generator(115), dtype=torch.float64)
V = haar.orthogonal(6, batch=5, generator=generator(116), dtype=torch.float64)
Q, both, single, unspiked = U @ V.mT, [], [], []
for values in torch.tensor([*spectra_e.values()], dtype=torch.float64):
    tau = values.median()
    spikes = values != tau
    directions = V[..., spikes]
    both.append((U * values) @ V.mT)
    correction = (Q @ directions * (values[spikes] - tau)) @ directions.mT
    single.append(tau * Q + correction)  # M2 (e)
    unspiked.append(tau * Q + (Q @ directions * values[spikes]) @ directions.mT)
check.exact(
    "M2.one-factor",
    "matrices from one Haar factor and a few directions against those from two factors",
    torch.stack(single),
    torch.stack(both),
    wrong={"the common level not taken off": torch.stack(unspiked)},
)

# %% [markdown]
# ## What the sign fix is for
#
# A QR factorization fixes the signs of its columns by itself, and its $Q$ has the mean
# $\operatorname{diag}(\mu_1,\dots,\mu_n)$ given in the chapter instead of 0. Then the matrix built from two such
# factors has $\mathbb EW_{11}=s\,c_m c_n$, whatever its spectrum.


# %%
def c(n):  # mean of |u_1|, u uniform on the sphere
    return math.gamma(n / 2) / math.sqrt(math.pi) / math.gamma((n + 1) / 2)


def kept(n):  # mean of the other diagonal entries of the first reflection
    return (n - 2 + c(n)) / (n - 1)


def raw_mean(
    n,
):  # diagonal of E Q; the last reflection of a square factorization is the identity
    return [
        math.prod(kept(n - i) for i in range(j)) * (-c(n - j) if j < n - 1 else 1)
        for j in range(n)
    ]


raw = (raw_qr(m, n, matrices, 112) * sigma) @ raw_qr(n, n, matrices, 113).mT
left, right = raw_qr(4, 4, matrices, 120), raw_qr(4, 4, matrices, 121)
fixed = torch.stack(
    [W[:, 0, 0], W[:, 1, 1], (O5 @ W @ O3)[:, 0, 0], (O3 @ wide @ O5)[:, 0, 0]], -1
)
unfixed = torch.stack(
    [raw[:, 0, 0], raw[:, 1, 1], (O5 @ raw @ O3)[:, 0, 0], (O3 @ raw.mT @ O5)[:, 0, 0]], -1
)

display(
    check.sampled(
        "M2.mean-zero",
        "mean of entries of W and of O W O' relative to their standard deviation",
        fixed / math.sqrt(r / (m * n)),
        [0.0] * 4,  # M2
        wrong_samples={"QR without the sign fix": unfixed / math.sqrt(r / (m * n))},
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
            "first column's mean for all": [-c(4)] * 3 + [c(4)],
        },
        seed=seed,
    ),
    check.exact(
        "M2.raw-determinant",
        "determinant of unfixed square Q of width 2 to 6: only half of the orthogonal group is reached",
        [torch.linalg.det(raw_qr(n, n, 50, 122)).tolist() for n in range(2, 7)],
        [[(-1.0) ** (n - 1)] * 50 for n in range(2, 7)],
        wrong={
            "Haar": [
                torch.linalg.det(
                    haar.orthogonal(
                        n, batch=50, generator=generator(123), dtype=torch.float64
                    )
                ).tolist()
                for n in range(2, 7)
            ]
        },
    ),
)

# %%
corners = []
for law in (two_level, projector):
    A = (left * law((4, 4), 2.0, dtype=torch.float64)) @ right.mT
    corners.append(A[:, 0, 0])
glue("raw_corner", round(torch.stack(corners).mean().item(), 3))
print(f"c_4 = {c(4):.4f}, c_4 squared = {c(4) ** 2:.4f}")

check.sampled(
    "M2.raw-corner",
    "mean of W_11 without the sign fix at width 4, two-level and projector spectra of stable rank 2",
    torch.stack(corners, -1),
    [c(4) ** 2] * 2,
    wrong={
        "Haar": [0.0] * 2,
        "weighted by the mean square of the spectrum": [c(4) ** 2 / 2] * 2,
    },
    seed=seed,
)

# %% [markdown]
# The traces of powers see the eigenvalues: for a Haar matrix $\mathbb E\operatorname{tr}Q^j$ is 0 for odd $j$ and 1 for
# even $j$, at every width.


# %%
def traces(A, powers=6):
    products = [A]
    for _ in range(powers - 1):
        products.append(products[-1] @ A)
    return torch.stack(
        [product.diagonal(dim1=1, dim2=2).sum(-1) for product in products], -1
    )


rotations = haar.orthogonal(
    5, batch=matrices // 2, generator=generator(130), dtype=torch.float64
)

check.sampled(
    "M2.traces",
    "traces of the first six powers of a Haar matrix of width 5, relative to their number of eigenvalues",
    traces(rotations) / 5,
    [0, 1 / 5, 0, 1 / 5, 0, 1 / 5],  # M2
    wrong={"eigenvalues independent and uniform": [0.0] * 6},
    wrong_samples={"QR without the sign fix": traces(raw_qr(5, 5, matrices // 2, 131)) / 5},
    scale=1.0,
    seed=seed,
)

# %% mystnb={"figure": {"caption": "The same Gaussian matrices, factored with and without the sign fix. Left: the first entry of a matrix of width 4; the line is its density under Haar measure. Right: density of the eigenvalues on the upper half of the unit circle at width 8, eigenvalues at 1 and -1 left out; under Haar measure it is flat (line).", "name": "fig-sign-fix"}, "image": {"alt": "Left: with the fix the histogram of the first entry follows a half circle over the interval from minus one to one; without it only negative values occur. Right: with the fix the eigenvalue density is flat at 1.11 a radian; without it the density is wavy and has a gap around phase 0."}} tags=["hide-input"]
fig, axes = plotting.figure(1, 2, size=(9.0, 3.6))
with_fix, without = plotting.palette(2)
edges = torch.linspace(-1, 1, 41)
grid = torch.linspace(-1, 1, 201)
for sample, colour, name in (
    (left, without, "without"),
    (Q, with_fix, "with the sign fix"),
):
    axes[0].hist(sample[:, 0, 0], edges, density=True, color=colour, alpha=0.6, label=name)
plotting.theory(
    axes[0], grid, 2 / math.pi * (1 - grid**2).sqrt(), color="black", label="Haar, exact"
)
axes[0].set(xlabel="$Q_{11}$", ylabel="density", title="first entry, $n=4$")

bins, lines = (
    torch.linspace(0, math.pi, 25),
    ["eigenvalue density near phases 0, pi/2, pi; with and without the sign fix"],
)
rotations = haar.orthogonal(8, batch=phases, generator=generator(140), dtype=torch.float64)
for sample, colour in ((rotations, with_fix), (raw_qr(8, 8, phases, 141), without)):
    phase = torch.linalg.eigvals(sample).angle().abs()
    phase = phase[(phase > 1e-6) & (phase < math.pi - 1e-6)]
    density = torch.histogram(phase, bins.double()).hist / (2 * phases * bins.diff())
    error = 2 * (density / (2 * phases * bins.diff())).sqrt()
    plotting.points(axes[1], (bins[1:] + bins[:-1]) / 2, density, error, color=colour)
    lines.append(" ".join(f"{density[i]:.2f}" for i in (0, 12, 23)))
plotting.theory(axes[1], bins, torch.full((25,), 7 / (2 * math.pi)), color="black")
_ = axes[1].set(
    xlabel=r"phase $\theta$", ylabel="eigenvalues a radian", title="eigenvalues, $n=8$"
)
_ = axes[1].set(
    xticks=[0, math.pi / 2, math.pi],
    xticklabels=["0", r"$\pi/2$", r"$\pi$"],
    ylim=(0, None),
)
plotting.legend(axes[0], loc="upper right")
print("\n".join(lines))

# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Fluctuations of the tangent kernel
#
# At one input the tangent kernel of a random network is a sum of layer terms, and every product of two of them has an
# exact mean at finite width (N2). It is checked without sampling at width two, and against dense networks whose kernel
# is computed by back-propagation. Then: how the kernel's spread grows with depth over participation rank, what this
# says about Gaussian networks, and where the kernel of an infinitely wide network stops being a description of one.

# %%
import itertools
import math
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from IPython.display import display

from figures import ntk_fluctuations as figures
from measurements.feedforward import basis
from measurements.ntk_fluctuations import enumerated
from srlib import Ensemble, Network, check, haar, ntk, spectra
from srlib.check import glue
from srlib.moments import kernel

torch.set_default_dtype(torch.float64)  # everything that is compared is in double precision

# %% tags=["parameters"]
seed = 1  # of every draw; each section adds an offset of its own
networks_reference = 116_000  # networks a law of the strongly fluctuating reference case
networks_mild = 33_000  # networks a law of the mildly fluctuating case
networks_gaussian = 16_000  # independent Gaussian networks
networks_collapse = 1_500  # networks for each group of points of the collapse
networks_depth = 1_500  # networks for each line of the figure over depth

# %% [markdown]
# ## Without sampling: every rotation at width two
#
# The kernel's products are polynomials of degree four in each orthogonal factor. In the plane three rotations, by 0,
# 60 and 120 degrees, integrate these exactly; with the reflections, all gate patterns and three readouts, a network of
# three 2 × 2 layers has finitely many cases, and their mean is the exact one.

# %% [markdown]
# The prediction, and what it would be with one of its ingredients wrong.


# %%
def exact(e, rank_of=None, gates=None):
    """E Theta_l Theta_k, with other participation ranks or with the gates' fluctuations of another slope."""
    means = kernel.ntk(e).log_layer_means
    p = torch.tensor(e.participation_ranks().value if rank_of is None else rank_of)
    a = e.negative_slope if gates is None else gates
    one = torch.ones_like(p)
    other = kernel.kernel_moments(e.widths, one, one, 1 / p, negative_slope=a)
    return (means[:, None] + means + other.log_layer_ratios).exp()


def alternatives(e, *, flat=True):
    """Wrong second moments; for a two-level spectrum the flat one is too close to be told apart."""
    mean, own = kernel.ntk(e).layer_means, exact(e).diagonal().sqrt()
    wrong = {
        "independent terms, or an infinitely wide network": mean[:, None] * mean,
        "perfectly correlated terms": own[:, None] * own,
        "gates without fluctuations, eta_4 = eta^2": exact(e, gates=1.0),
    }
    ranks = [min(shape) for shape in e.shapes]
    return wrong | ({"a flat spectrum, q = r^2 / k": exact(e, ranks)} if flat else {})


def stacked(tables):
    """One table of stacks, from tables with the same names."""
    return {name: torch.stack([table[name] for table in tables]) for name in tables[0]}


# %%
cases = [((1.2, 1.5, 2.0), (1.3, 0.8, 1.7)), ((1.7, 1.1, 1.4), (1.0, 1.5, 0.9))]
slopes = (0.0, 0.2, 1.0)
narrow = [Ensemble((2,) * 4, r, s, negative_slope=a) for r, s in cases for a in slopes]
check.exact(
    "N2.enumeration",
    "E Theta_l Theta_k of three 2 x 2 layers, averaged over all rotations, reflections, gates and readouts",
    torch.stack([enumerated(e) for e in narrow]),
    torch.stack([exact(e) for e in narrow]),
    wrong=stacked([alternatives(e) for e in narrow]),
)

# %% [markdown]
# ## Dense networks (N2)
#
# Widths 6, 10, 12, 8; all ten products. Each network is run on $\pm e_1,\dots,\pm e_6$, and the mean over these
# inputs is one replicate: by rotation invariance it has the expectation of a single input, and far fewer networks
# give the same precision. The same weights serve ReLU, leaky ReLU (0.2) and the linear network.


# %%
def products(network, x):
    """Mean over the inputs of Theta_l Theta_k: (networks, L + 1, L + 1)."""
    some = [ntk.layers(network, y) for y in x.split(8)]  # only a kernel's diagonal counts
    terms = torch.cat([term.diagonal(dim1=-2, dim2=-1) for term in some], -1)
    return terms @ terms.mT / len(x)


def replicates(e, count, generator, chunk=2_000):
    parts = []
    for start in range(0, count, chunk):
        network = e.sample(min(chunk, count - start), generator=generator)
        x = basis(e.widths[0])
        gated = [products(replace(network, negative_slope=a), x) for a in slopes]
        parts.append(torch.stack(gated, 1))
    return torch.cat(parts)


def generator(offset):
    return torch.Generator().manual_seed(seed + 1_000 * offset)


def upper(second):
    i, j = torch.triu_indices(*second.shape[-2:])
    return second[..., i, j]


def compare(name, text, e, draws, **options):
    """The claim for all products and slopes at once."""
    gated = [replace(e, negative_slope=a) for a in slopes]
    wrong = stacked([alternatives(g, **options) for g in gated])
    wrong = {name: upper(table) for name, table in wrong.items()}
    predicted = upper(torch.stack([exact(g) for g in gated]))
    options = {"wrong": wrong, "resolve": 0.06, "seed": seed}
    return check.sampled(name, text, upper(draws), predicted, **options)


# %%
widths, norms = (6, 10, 12, 8), (1.3, 1.7, 2)
mild = Ensemble(widths, (5, 8.5, 7), norms, readout_norm=1.5)
laws = {
    "two-level": spectra.two_level,
    "projector": spectra.projector,
    "conditioned-gaussian": spectra.conditioned_gaussian,
}
claims = []
for i, (name, law) in enumerate(laws.items()):
    e = replace(mild, law=law)
    text = f"all ten E Theta_l Theta_k, stable ranks 5, 8.5, 7, {name} spectrum, three activations"
    draws = replicates(e, networks_mild, generator(i))
    claims.append(compare(f"N2.{name}", text, e, draws, flat=name == "projector"))
    ranks = ", ".join(f"{p:.1f}" for p in e.participation_ranks().value)
    spread = kernel.ntk(e).relative_variance.sqrt()
    print(f"{name}: participation ranks {ranks}; deviation of the ReLU kernel {spread:.2f}")
display(*claims)

# %% [markdown]
# Lower stable ranks, 3.5, 5 and 3, fluctuate more: with as many networks as one cares to draw the precision is less,
# and it is stated on the claim.

# %%
reference = Ensemble(widths, (3.5, 5, 3), norms, readout_norm=1.5)
claims = []
for i, (name, law) in enumerate(itertools.islice(laws.items(), 2)):
    e = replace(reference, law=law)
    draws = replicates(e, networks_reference, generator(10 + i))
    text = f"all ten E Theta_l Theta_k, stable ranks 3.5, 5, 3, {name} spectrum, three activations"
    claims.append(compare(f"N2.{name}-low-rank", text, e, draws))
    if name == "two-level":
        pooled = draws[:, 0]
    spread = kernel.ntk(e).relative_variance.sqrt()
    print(f"{name}: relative deviation of the ReLU kernel {spread:.2f}")
display(*claims)

# %% [markdown]
# The ten ratios of the reference case, two-level spectrum, ReLU: the picture of N2.

# %%
ratios = kernel.ntk(reference).log_layer_ratios.exp()
means = kernel.ntk(reference).layer_means
seen = pooled.mean(0) / (means[:, None] * means)
error = 1.96 * pooled.std(0) / math.sqrt(len(pooled)) / (means[:, None] * means)
for row in range(4):
    print(
        f"row {row + 1}: predicted {', '.join(f'{x:.3f}' for x in ratios[row])};", end=" "
    )
    print(f"largest gap to the simulation {(seen - ratios)[row].abs().max():.2f}")

# %% mystnb={"figure": {"caption": "The layer terms fluctuate, and together. Left: ratio of the second moment of two layer terms to the product of their means, exact (N2), for the reference network; 1 would mean no fluctuation. Right: the same ten numbers, simulated, against the prediction (95 % intervals; grey line: equality). Each is a product of three: spread of the features below both layers, of the Jacobian between them, of the backward signal above both. The readout row has no backward part.", "name": "fig-ratios"}, "image": {"alt": "Left, a four by four heat map of numbers between 1.4 and 2.4, symmetric, largest on the diagonal and smallest for the first layer with the readout. Right, ten points on a diagonal line with short error bars."}} tags=["hide-input"]
fig = figures.ratios(ratios, seen, error)

# %% [markdown]
# ## Bounds and leading order (N2)
#
# Each ratio is within a factor three of the product of one-layer ratios, and to leading order in
# $S=\sum_l1/p_l$ the relative variance is a mean of the exponents $\epsilon_{lk}$.


# %%
def factors(e):
    """One-layer ratios: of each W_l, of its transpose, of the gates; index 0 is not used."""
    p, n = np.array(e.participation_ranks().value), np.array(e.widths, dtype=float)
    gates = 1 + 3 * kappa(e) / (n[1:] + 2)
    linear = [1 + 2 / (m + 2) * (m / p - 1) for m in (n[:-1], n[1:])]
    return [np.concatenate([[1.0], f]) for f in (*linear, gates)]


def kappa(e):
    return ((1 - e.negative_slope**2) / (1 + e.negative_slope**2)) ** 2


def layer_product(e, l, k):
    """Product of the one-layer ratios of everything that Theta_l Theta_k consists of."""
    forward, backward, gates = factors(e)
    linear = forward[:l].prod() * forward[l + 1 : k].prod() * backward[k + 1 :].prod()
    return linear * gates.prod()


def below_product(e, l, k):
    """How far the ratio can lie below that product."""
    return (1 + 2 / e.widths[l]) / 3 if l < k else 1.0


def exponent(e, l, k, *, ranks=None, gates=1.0, between=1 / 3):
    """epsilon_lk: leading order of the ratio of Theta_l and Theta_k less 1; the options spoil it."""
    p, n = (
        np.array(e.participation_ranks().value if ranks is None else ranks),
        np.array(e.widths),
    )
    linear, transposed = 2 / p - 2 / n[:-1], 2 / p - 2 / n[1:]
    gate = 3 * gates * kappa(e) / n[1:]
    below, above = (linear + gate)[: l - 1].sum(), (transposed + gate)[k:].sum()
    return below + between * gate[l - 1 : k - 1].sum() + gate[k - 1 : k].sum() + above


def table(e, entry):
    pairs = range(1, e.depth + 2)
    return np.array([[entry(e, min(l, k), max(l, k)) for k in pairs] for l in pairs])


def entries(networks, entry):
    return np.concatenate([table(e, entry).ravel() for e in networks])


def budget(e):
    return sum(1 / p for p in e.participation_ranks().value)


def equal_layers(n, depth, t, law, slope):
    return Ensemble((n,) * (depth + 1), 1 + t * (n - 1), law=law, negative_slope=slope)


# %%
extremes = (spectra.two_level, spectra.projector)
grid = itertools.product((3, 8, 40), (1, 3, 9), (0.0, 0.1, 0.5, 0.9), extremes, slopes)
ensembles = list(itertools.starmap(equal_layers, grid))
ensembles += [replace(e, negative_slope=a) for e in (mild, reference) for a in slopes]
flat = np.concatenate([kernel.ntk(e).log_layer_ratios.exp().ravel() for e in ensembles])
above, lowest = entries(ensembles, layer_product), entries(ensembles, below_product)
no_gates = entries([replace(e, negative_slope=1) for e in ensembles], layer_product)
display(
    check.bound(
        "N2.product-above",
        f"each ratio is at most the product of its one-layer ratios, for {len(ensembles)} networks",
        flat,
        above,
        wrong={"gates left out": no_gates},
    ),
    check.bound(
        "N2.product-below",
        "each ratio is at least a third of that product times 1 + 2 / n_l, and equal to it on the diagonal",
        lowest * above,
        flat,
        wrong={
            "half in place of a third": np.where(lowest < 1, flat / 1.5, flat),
            "independent terms": np.ones_like(flat),
        },
    ),
)

# %%
grid = itertools.product(
    (3, 12, 60, 300), (1, 4, 12), (0.03, 0.1, 0.4, 1.0), extremes, slopes
)
candidates = [e for e in itertools.starmap(equal_layers, grid) if budget(e) <= 1]
budgets = np.array([budget(e) for e in candidates])
excess = [kernel.ntk(e).log_layer_ratios.expm1().numpy() for e in candidates]


def worst(options=lambda e: {}):
    """Largest gap of each network's ratios to 1 plus the leading order, in units of 20 S^2."""
    orders = [table(e, partial(exponent, **options(e))) for e in candidates]
    gaps = [np.abs(x - order).max() for x, order in zip(excess, orders, strict=True)]
    return np.maximum(gaps, 1e-15) / (20 * budgets**2)


gap = worst()
spoiled = {
    "gates left out": worst(lambda e: {"gates": 0.0}),
    "gates between the two layers count in full": worst(lambda e: {"between": 1.0}),
    "stable rank in place of participation rank": worst(
        lambda e: {"ranks": e.stable_ranks}
    ),
}
glue("leading-constant", float(20 * gap.max()))
glue("leading-networks", len(candidates))
check.bound(
    "N2.leading-order",
    f"ratio less 1 is epsilon_lk up to 20 S^2, where S, the sum of 1 / p_l, is at most 1, for {len(candidates)} networks",
    gap,
    1.0,
    wrong={name: gap / other for name, other in spoiled.items()},
)

# %% [markdown]
# ## Gaussian networks
#
# Independent Gaussian layers have random scale, and only three means of it enter: of $s^2r$, $s^4r^2$ and $s^4q$. The
# same transfer matrices then give the Gaussian kernel.


# %%
def gaussian(widths):
    """Exact moments for entries of variance 2 / fan-in."""
    n, m = torch.tensor(widths[:-1]).double(), torch.tensor(widths[1:]).double()
    return kernel.kernel_moments(widths, 2 * m, 1 + 2 / (m * n), (m + n + 1) / (m * n))


def gaussian_network(widths, count, generator):
    pairs = itertools.pairwise(widths)
    W = [torch.randn(count, m, n, generator=generator) * math.sqrt(2 / n) for n, m in pairs]
    readout = haar.orthogonal(widths[-1], 1, batch=count, generator=generator)
    return Network(tuple(W), readout.squeeze(-1))


# %%
sizes = (16, 32, 28, 30)
draws = products(gaussian_network(sizes, networks_gaussian, generator(20)), basis(16))
predicted = gaussian(sizes)
mean = predicted.layer_means
fixed = Ensemble(sizes, [min(pair) for pair in itertools.pairwise(sizes)]).preserving()
orthogonal = kernel.ntk(fixed).log_layer_ratios.exp() * mean[:, None] * mean
own = predicted.second.diagonal().sqrt()
check.sampled(
    "N2.gaussian",
    "all ten E Theta_l Theta_k of independent Gaussian ReLU layers",
    upper(draws),
    upper(predicted.second),
    resolve=0.06,
    wrong={
        "independent terms, or an infinitely wide network": upper(mean[:, None] * mean),
        "perfectly correlated terms": upper(own[:, None] * own),
        "equal singular values": upper(orthogonal),
    },
    seed=seed,
)

# %% [markdown]
# Hanin and Nica's behaviour, $\exp(5\sum_l1/n_l)$ up to constants: for width $n$ throughout
# the ratio $\mathbb E\Theta^2/(\mathbb E\Theta)^2$ lies between $\frac13\bigl(1+\frac2n\bigr)^{-1}$ and 1 times
# $\bigl(1+\frac5n\bigr)^L$. Its logarithm grows by $\log(1+\frac5n)$ a layer in the end.

# %%
grid = [(n, L) for n in (1, 2, 5, 20, 100) for L in (1, 3, 10, 40, 160)]
log_ratio = np.array([gaussian((n,) * (L + 1)).log_ratio.item() for n, L in grid])
n, L = np.array(grid).T
product = L * np.log1p(5 / n)
deep = [gaussian((n,) * (L + 1)).log_ratio for n in (8, 16) for L in (1000, 1001)]
display(
    check.bound(
        "N2.gaussian-above",
        "E Theta^2 over (E Theta)^2 of a Gaussian ReLU network is at most (1 + 5 / n)^L, for 25 sizes",
        np.exp(log_ratio - product),
        1.0,
        wrong={"orthogonal, (1 + 3 / n)^L": np.exp(L * np.log1p(3 / n) - product)},
    ),
    check.bound(
        "N2.gaussian-below",
        "and at least a third of it over 1 + 2 / n",
        np.exp(product - log_ratio) / (3 * (1 + 2 / n)),
        1.0,
        wrong={
            "half of it in place of a third": 2 / 3,
            "the power (1 + 6 / n)^L": np.exp(product - L * np.log1p(6 / n)),
        },
    ),
    check.exact(
        "N2.gaussian-growth",
        "growth of log E Theta^2 / (E Theta)^2 from depth 1000 to 1001, widths 8 and 16",
        [deep[1] - deep[0], deep[3] - deep[2]],
        np.log1p([5 / 8, 5 / 16]),
        wrong={
            "exponent 3, orthogonal layers": np.log1p([3 / 8, 3 / 16]),
            "leading order 11/3 at all depths": np.log1p([11 / 24, 11 / 48]),
        },
        tolerance=1e-4,
    ),
)


# %%
def log_moment_ratio(network, depth, x):
    """log E Theta^2 / (E Theta)^2 of the first layers, over networks and inputs, and its standard error."""
    part = replace(network, weights=network.weights[:depth])
    theta = ntk.layers(part, x).sum(1).diagonal(dim1=-2, dim2=-1)  # (networks, inputs)
    first, second = theta.mean(1), theta.square().mean(1)
    influence = second / second.mean() - 2 * first / first.mean()
    value = second.mean().log() - 2 * first.mean().log()
    return value.item(), influence.std().item() / math.sqrt(len(theta))


# %%
network = gaussian_network((16,) * 9, networks_depth * 4, generator(21))
simulated = {L: log_moment_ratio(network, L, basis(16)[:8]) for L in (1, 2, 4, 6, 8)}
for L, (value, error) in simulated.items():
    exact_value = gaussian((16,) * (L + 1)).log_ratio
    print(f"depth {L}: exact {exact_value:.2f}, simulated {value:.2f} ± {1.96 * error:.2f}")
curves = {}
for n in (16, 64, 256):
    depths = np.unique(np.linspace(1, 1.2 * n, 17).astype(int))
    curves[n] = depths, [gaussian((n,) * (L + 1)).log_ratio for L in depths]

# %% mystnb={"figure": {"caption": "Gaussian networks: depth over width. Logarithm of the second moment of the kernel over its squared mean against the sum of log(1 + 5/n), which is Hanin and Nica's $5\\sum_l1/n_l$ up to higher order: exact for three widths (lines) and simulated at width 16 (points, 95 % intervals). The bounds leave a band of height log 3 + log(1 + 2/n) below the diagonal (shaded without the second term). The curves start with slope 11/15 (dashed) and end with slope 1.", "name": "fig-hanin"}, "image": {"alt": "Three nearly coincident rising curves just below a dotted diagonal and inside a shaded band; five simulated points with error bars lie on the curve of width 16."}} tags=["hide-input"]
fig = figures.gaussian(curves, simulated)

# %% [markdown]
# ## Collapse: depth over participation rank
#
# Widths 16 and 24, depths 1 to 5, four spectra, three activations, all rescaled to keep the feature norm. The layers of
# one drawn network serve for all its depths.


# %%
def leading(e):
    """Leading order of the kernel's relative variance: mean of the exponents with the layers' shares."""
    share = kernel.ntk(e).layer_means / kernel.ntk(e).mean
    return share.numpy() @ table(e, exponent) @ share.numpy()


# %%
choices = [(1 / 4, spectra.projector), (1 / 2, spectra.projector)]
choices += [(1 / 4, spectra.two_level), (1, spectra.two_level)]
rows = []
for i, (n, (share, law)) in enumerate(itertools.product((16, 24), choices)):
    for a, slope in enumerate(slopes):
        e = Ensemble((n,) * 6, share * n, law=law, negative_slope=slope).preserving()
        network = e.sample(networks_collapse, generator=generator(30 + i))
        for L in range(1, 6):
            tower, s = (n,) * (L + 1), e.spectral_norms[0]
            cut = replace(e, widths=tower, stable_ranks=share * n, spectral_norms=s)
            value, error = log_moment_ratio(network, L, basis(n)[::4])
            predicted = kernel.ntk(cut).log_ratio, leading(cut), budget(cut)
            rows.append([a, *predicted, value, error])
kind, exact_log, order, budgets, value, error = np.array(rows).T
glue("collapse-points", len(rows))
print(
    f"{len(rows)} points; simulated less exact, in standard errors: root mean square",
    f"{np.sqrt(np.mean(((value - exact_log)[error > 1e-3] / error[error > 1e-3]) ** 2)):.1f}",
)

# %% mystnb={"figure": {"caption": "Data collapse. Simulated log of the second moment of the kernel over its squared mean, for widths 16 and 24, depths 1 to 5, four spectra and three activations (95 % intervals; grey: equality). Left: against the exact N2. Middle: against its leading order, the share-weighted mean of the exponents. Right: against the sum of 1 / p alone, which bounds the exponent and orders the points of one activation; what it leaves open are the gates' share, of order 1 / n, and how close p is to n.", "name": "fig-ntk-collapse"}, "image": {"alt": "Three panels. Left, points of three colours on the diagonal. Middle, points in a band around the diagonal that bends down. Right, two fans of points, the linear network's below the other two."}} tags=["hide-input"]
fig = figures.collapse(kind, exact_log, order, budgets, value, error)

# %% [markdown]
# ## Where the infinite-width kernel stops describing the network
#
# The infinitely wide network has a fixed kernel. Its finite relative has one whose deviation, relative to the mean,
# grows with depth, and the faster the lower its participation ranks. All networks are ReLU and keep the feature norm.


# %%
def deviation(n, L, r, law):
    """Relative standard deviation of the kernel of an equal-layer network that keeps the norm."""
    e, one = Ensemble((n, n), r, law=law).preserving(), torch.ones(L)
    gain, p = e.spectral_norms[0] ** 2 * r * one, e.participation_ranks().value[0]
    found = kernel.kernel_moments((n,) * (L + 1), gain, one, one / p)
    return found.relative_variance.sqrt().item()


# %%
n, depths, curves, simulated = 32, (1, 2, 4, 8), {}, {}
lines = np.array([1, 2, 3, 4, 6, 8, 11, 16, 23, 32])
for i, r in enumerate((32, 16, 8, 4)):
    e = Ensemble((n,) * 9, r, law=spectra.projector).preserving()
    network = e.sample(networks_depth, generator=generator(50 + i))
    ratios = np.array([log_moment_ratio(network, L, basis(n)[::8]) for L in depths])
    ends = ratios[:, :1] + 1.96 * ratios[:, 1:] * np.array([-1, 0, 1])
    simulated[r] = depths, np.sqrt(np.expm1(ends))
    curves[r] = lines, [deviation(n, int(L), r, spectra.projector) for L in lines]
    predicted = ", ".join(f"{deviation(n, L, r, spectra.projector):.2f}" for L in depths)
    found = ", ".join(f"{x[1]:.2f}" for x in simulated[r][1])
    print(f"r/n = {r / n:.3g}, depths 1, 2, 4, 8: exact {predicted}; simulated {found}")

# %%
wide, axis = 128, np.unique(np.geomspace(1, 128, 22).round().astype(int))
shares = np.geomspace(1 / 64, 1, 19)
named = {"projector": spectra.projector, "two-level": spectra.two_level}
planes = {
    name: [[deviation(wide, int(L), s * wide, law) for L in axis] for s in shares]
    for name, law in named.items()
}


def usable_depth(s, law):
    """First depth at which the kernel's deviation reaches its mean."""
    return next(L for L in itertools.count(1) if deviation(wide, L, s * wide, law) >= 1)


for name, law in named.items():
    first = [usable_depth(s, law) for s in (1 / 64, 1 / 16, 1 / 4, 1)]
    glue(f"usable-{name}", first[2])
    glue(f"worked-{name}", deviation(256, 10, 64, law))  # the worked network
    print(
        f"{name}, r/n = 1/64, 1/16, 1/4, 1: deviation and mean are equal at depth", *first
    )
glue("usable-orthogonal", first[3])

# %% mystnb={"figure": {"caption": "Where a fixed kernel stops describing the network. ReLU networks that keep the feature norm. Left: relative standard deviation of the kernel against depth at width 32, projector spectra of four stable ranks (exact: lines; simulated: points with 95 % intervals); above the dotted line the deviation exceeds the mean. Middle and right: its level lines over depth and stable rank at width 128. For projectors the usable depth shrinks with r/n, in the end in proportion to it; a two-level spectrum of the same stable rank keeps it until r is near the square root of n.", "name": "fig-breakdown"}, "image": {"alt": "Left, four rising curves on logarithmic axes, lower stable rank higher, with simulated points on them. Middle and right, contour maps with levels a quarter, a half, one and two: diagonal lines for projectors, lines that are vertical except at very low stable rank for two-level spectra."}} tags=["hide-input"]
fig = figures.breakdown(n, curves, simulated, wide, axis, shares, planes)

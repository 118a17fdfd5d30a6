# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The tangent kernel: its mean, and its limit
#
# At one input the mean of every layer's term of the tangent kernel is exact at finite width and carries every *other*
# layer's stable rank as a linear factor (N1). For pairs of inputs the kernel of wide networks tends to a limit in
# which the geometry of the data and the stable ranks are separate factors (N3). Dense networks are drawn and
# differentiated for both; wrong alternatives must be rejected.

# %%
import math
from dataclasses import replace

import torch
from IPython.display import display

from figures import ntk_mean as figures
from measurements import ntk_mean as measure
from srlib import Ensemble, arccos, check, ntk, spectra
from srlib.check import glue
from srlib.experiments import data
from srlib.moments.kernel import ntk as kernel_moments

torch.set_default_dtype(torch.float64)  # everything that is compared is in double precision

# %% tags=["parameters"]
seed = 1  # of every draw; each section adds an offset of its own
networks_reference = 40_000  # dense networks of the uneven reference case
networks = 58_000  # dense networks a law for the layer means
networks_rank = 11_000  # networks for each stable rank of the straight lines
networks_shares = 600  # networks for each profile of the picture of shares
networks_orthogonal = 30_000  # networks of one orthogonal layer
networks_pairs = 11_000  # networks of the largest width for the limit of pairs
networks_figure = 300  # networks of the largest width for each line of the figure
networks_depth = 150  # networks for each depth
networks_digits = 24  # networks of input width 784
networks_low = 600  # networks for each case of stable ranks that grow slower than widths
digits = 40  # images of the kernel matrices


# %% [markdown]
# ## The layer identity (N1)
#
# Two Gram matrices a layer against inner products of the gradients that automatic differentiation finds.


# %%
def generator(offset):
    return torch.Generator().manual_seed(seed + 1_000 * offset)


# %%
reference = Ensemble((12, 20, 24, 16), (5, 7.3, 3), (1.3, 1.7, 2.0), readout_norm=1.5)
slopes = {"relu": 0.0, "leaky": 0.2, "linear": 1.0}
x = torch.randn(9, 12, generator=generator(0))
drawn = [
    replace(reference, negative_slope=a).sample(20, generator=generator(0))
    for a in slopes.values()
]
found = torch.stack([ntk.layers(network, x) for network in drawn])
without_gates = [replace(network, negative_slope=1.0) for network in drawn]
wrong = {
    "backpropagated without gates": [measure.by_gradients(net, x) for net in without_gates],
    "features only": found[:, :, -1:],
}
predicted = torch.stack([measure.by_gradients(network, x) for network in drawn])
text = "all layer terms of 60 networks at 9 inputs against inner products of gradients"
check.exact("N1.identity", text, found, predicted, wrong=wrong)

# %% [markdown]
# ## Means of the layer terms (N1)
#
# The mean over an orthonormal basis and its mirror image is one replicate: the same expectation, less noise.


# %%
def power(e):
    """s_l^2 r_l of every layer, fan-ins, fan-outs."""
    n, m = torch.tensor(e.widths[:-1]), torch.tensor(e.widths[1:])
    return torch.tensor(e.spectral_norms) ** 2 * torch.tensor(e.stable_ranks), n, m


def weight_size(e):
    """Mean squared weight of every layer and of the readout."""
    c, n, m = power(e)
    return torch.cat([c / (n * m), torch.tensor([e.readout_norm**2 / e.widths[-1]])])


# %%
def alternatives(e):
    """What N1 would say if one thing in it were wrong."""
    mean, (c, n, m), one = kernel_moments(e).layer_means, power(e), torch.ones(1)
    gain = (1 + e.negative_slope**2) / 2 * c / n
    return {
        "own factor not removed": mean * torch.cat([gain, one]),
        "one layer dropped": mean / torch.cat([one, gain[:1].expand(e.depth)]),
        "fan-in in the backward pass": mean * torch.cat([m[-1] / m, one]),
        "NTK parametrization": mean * weight_size(e) / weight_size(e)[0],
    } | {name: kernel_moments(other).layer_means for name, other in neighbours(e).items()}


def neighbours(e):
    return {
        "rank in place of stable rank": replace(e, stable_ranks=[min(s) for s in e.shapes]),
        "other gates": replace(e, negative_slope=0.5 if e.negative_slope == 1 else 1.0),
    }


# %%
found = measure.terms(reference, networks_reference, generator(1))[:, 0]
predicted, wrong = kernel_moments(reference).layer_means, alternatives(reference)
print("layers 1, 2, 3 and readout, predicted:", predicted.numpy())
text = "mean of every layer term, widths 12, 20, 24, 16 with stable ranks 5, 7.3, 3, ReLU"
display(check.sampled("N1.reference", text, found, predicted, wrong=wrong, seed=seed))

# %% [markdown]
# Three laws of singular values, one of them random, and three activations.

# %%
mild = Ensemble((6, 12, 16, 10), (4.5, 8, 7), (1.3, 1.7, 2.0), readout_norm=1.5)
laws = (spectra.two_level, spectra.projector, spectra.uniform_sphere)
draws = [
    measure.terms(replace(mild, law=law), networks, generator(2 + i), slopes.values())
    for i, law in enumerate(laws)
]
draws = torch.stack(draws, 1)  # (networks, laws, slopes, L + 1)
for i, (name, a) in enumerate(slopes.items()):
    e, found = replace(mild, negative_slope=a), draws[:, :, i]
    mean, wrong = kernel_moments(e).layer_means.expand(3, 4), alternatives(e)
    text = f"mean of every layer term for three laws, activation of slope {a:g}"
    display(check.sampled(f"N1.{name}", text, found, mean, wrong=wrong, seed=seed))

# %% [markdown]
# ## Multilinear in the stable ranks (N1)
#
# Only the second layer's stable rank moves. The first layer's term and the readout's follow it on straight lines
# through zero; its own term stays where it is.

# %%
line = (4.0, 8.0, 12.0, 16.0)
along = [Ensemble((8, 24, 16), (6, r), (1.3, 1.7), negative_slope=0.2) for r in line]
moved = [measure.terms(e, networks_rank, generator(6), slopes=(0.2,))[:, 0] for e in along]
moved = torch.stack(moved, 1)
means = torch.stack([kernel_moments(e).layer_means for e in along])
factor, own = torch.tensor(line)[:, None] / 16, torch.tensor([0, 1, 0])
wrong = {
    "own term also linear": means * factor**own,
    "square root of the stable rank": means * factor ** ((own - 1) / 2),
    "square of the stable rank": means * factor ** (1 - own),
    "rank in place of stable rank": means * factor ** (own - 1),
}
text = "layer terms as one stable rank goes from 4 to 16: straight lines through 0, but its own is constant"
check.sampled("N1.multilinear", text, moved, means, wrong=wrong, seed=seed)

# %% [markdown]
# ## Layer shares (N1)
#
# The mean term times the mean squared weight of its layer is the same for all layers, the readout included: it is
# $\mathbb E f^2$. So the shares of the mean kernel are proportional to the inverse mean squared weights.

# %%
size = weight_size(mild)
output_square = kernel_moments(mild).layer_means[-1] * size[-1]
number = torch.cat([torch.tensor(mild.shapes).prod(1), torch.tensor([mild.widths[-1]])])
total = kernel_moments(mild).mean
wrong = {
    "equal shares": (size * total / 4).expand(3, 4),
    "shares as numbers of weights": (number / number.sum() * total * size).expand(3, 4),
    "shares as squared weights": (size**2 / size.sum() * total).expand(3, 4),
}
found, predicted = draws[:, :, 0] * size, torch.full((3, 4), output_square)
text = "every layer's term times its mean squared weight has the mean of the squared output, three laws"
check.sampled("N1.shares", text, found, predicted, wrong=wrong, seed=seed)

# %%
profiles = {
    "all $r=16$": (16, 16, 16, 16),
    "falling": (32, 16, 8, 4),
    "rising": (4, 8, 16, 32),
    "one low": (24, 24, 3, 24),
}
shares, simulated, half = {}, {}, {}
for i, (name, ranks) in enumerate(profiles.items()):
    e = Ensemble((32,) * 5, ranks, math.sqrt(2))
    mean = kernel_moments(e).layer_means[:-1]
    T = measure.terms(e, networks_shares, generator(7 + i))[:, 0, :-1]
    shares[name], simulated[name] = mean / mean.sum(), T.mean(0) / T.mean(0).sum()
    ratio = (T - simulated[name] * T.sum(1, keepdim=True)) / T.mean(0).sum()
    half[name] = 1.96 * ratio.std(0) / math.sqrt(networks_shares)
    print(name, "predicted shares", [f"{s:.3f}" for s in shares[name]])

# %% mystnb={"figure": {"caption": "Layers of low stable rank dominate the tangent kernel. Share of each of four layers in the mean kernel of ReLU networks of width 32 with equal spectral norms, for four profiles of stable ranks, which are written under the bars. Bars: N1, proportional to 1/r; points: dense networks, with 95 % intervals.", "name": "fig-layer-shares"}, "image": {"alt": "Four groups of four bars. With equal stable ranks all bars are a quarter high; in the other groups the layer of lowest stable rank has the highest bar, and the simulated points sit on the tops of the bars."}} tags=["hide-input"]
fig = figures.layer_shares(profiles, shares, simulated, half)

# %% [markdown]
# ## The limit, without sampling (N3)
#
# `ntk.infinite` works with angles and the means of N1. The recursion of Gram matrices, as it is usually written down,
# must give the same. Inputs: twelve real digits, and six points of a plane from coincident to opposite.


# %%
def textbook(e, G, gate=arccos.kappa0):
    """Recursion of N3 for the Gram matrix G of the inputs."""
    a, T = e.negative_slope, torch.zeros_like(G)
    for c, (m, n) in zip(power(e)[0], e.shapes, strict=True):
        A = c / n * G
        scale = (A.diagonal()[:, None] * A.diagonal()).sqrt()
        theta = (A / scale).clamp(-1, 1).acos()
        T = gate(theta, a) * (c / m * T + G)
        G = scale * arccos.kappa1(theta, a)
    return G + e.readout_norm**2 * T


def open_gates(theta, a):
    return torch.full_like(theta, (1 + a**2) / 2)  # kappa_0 at angle 0 for all pairs


# %%
images, _ = data.mnist(12)
images = images / images.norm(dim=1, keepdim=True)
angles = torch.arange(0, 181, 36).deg2rad()
plane = torch.stack([angles.cos(), angles.sin()], 1)
stack = Ensemble((784, 60, 90, 70), (40, 22.5, 9), (2.0, 1.7, 2.3), readout_norm=1.5)
stacks = [replace(stack, negative_slope=a) for a in slopes.values()]
full = [replace(e, stable_ranks=[min(s) for s in e.shapes]) for e in stacks]
kernels, G = [ntk.infinite(e, images) for e in stacks], images @ images.T
found = torch.stack([kernel.ntk for kernel in kernels])
predicted = torch.stack([textbook(e, G) for e in stacks])
wrong = {
    "kappa_0 dropped": [textbook(e, G, open_gates) for e in stacks],
    "feature kernel in place of the tangent kernel": [kernel.nngp for kernel in kernels],
    "no stable-rank factors": [textbook(e, G) for e in full],
}
text = "limit kernel of twelve digits, three activations: geometry times N1 against the recursion of Gram matrices"
# the recursion loses digits where it takes the arccosine of nearly 1
check.exact("N3.recursion", text, found, predicted, wrong=wrong, tolerance=1e-9)

# %%
cases = [reference, mild, stack, Ensemble((1, 1, 3), 1), Ensemble((5, 9) * 6, 3.3, 2.0)]
cases = [replace(e, negative_slope=a) for e in cases for a in slopes.values()]
limits = [ntk.infinite(e, torch.eye(e.widths[0])[:1]).ntk.item() for e in cases]
means = torch.tensor([kernel_moments(e).mean for e in cases])
first = torch.stack([kernel_moments(e).layer_means[0] for e in cases])
wrong, found = {"one layer left out": 1 - first / means}, torch.tensor(limits) / means
text = "limit kernel at one input against the exact mean of finite networks, widths from 1 to 784"
check.exact("N3.diagonal", text, found, torch.ones(len(cases)), wrong=wrong)

# %%
low, high = (Ensemble((784, 256, 256), r, s) for r, s in ((8, 1.0), (200, 3.0)))
shallow = Ensemble((784, 256), 200)
low, high, shallow = (ntk.infinite(e, images).nngp for e in (low, high, shallow))
wrong = {
    "one layer fewer": shallow / shallow[0, 0],
    "kernels instead of their correlations": high / low[0, 0],
}
text = "correlations of the feature kernel at stable rank 8 and spectral norm 1 against 200 and 3"
check.exact("N3.separation", text, low / low[0, 0], high / high[0, 0], wrong=wrong)

# %% [markdown]
# ## One orthogonal layer: no limit needed (N3)
#
# A single layer that keeps all norms keeps all angles, and the mean kernel of pairs equals the limit at every width.

# %%
rotation = Ensemble((8, 8), 8, 1.3, readout_norm=1.5)
pairs = torch.nn.functional.pad(plane, (0, 6))
limit = ntk.infinite(rotation, pairs)
found = ntk.empirical(rotation.sample(networks_orthogonal, generator=generator(12)), pairs)
wrong = {
    "kappa_0 dropped": textbook(rotation, pairs @ pairs.T, open_gates)[0],
    "feature kernel in place of the tangent kernel": limit.nngp[0],
}
check.sampled(
    "N3.one-orthogonal-layer",
    "mean kernel of pairs from coincident to opposite, one orthogonal ReLU layer of width 8",
    found[:, 0],
    limit.ntk[0],
    wrong=wrong,
    scale=limit.ntk.max().item(),
    seed=seed,
)

# %% [markdown]
# ## Pairs at finite width (N3)
#
# Only the Gram matrix of the inputs matters, by rotation invariance, so eight digits can be fed to networks of any
# width from 8 on. Two devices take noise out of the mean over networks. The diagonal has a known mean (N1), so its
# deviation, carried over to the pairs, may be subtracted. And the layers of one network in any cyclic order, with
# either sign of the inputs, make another network of the same law; their average is one replicate.


# %%
def square(n, ratio, depth, law):
    return Ensemble((n,) * (depth + 1), ratio * n, law=law).preserving()


# %%
gram = G[:8, :8]
counts = {12: 2 * networks_pairs, 24: networks_pairs, 48: networks_pairs}
drawn = {}
for n, count in counts.items():
    wide, g = square(n, 0.25, 3, spectra.projector), generator(13 + n)
    (drawn[n], _), limit = measure.pairs_of_digits(wide, gram, count, g)
    error = (drawn[n] - limit).mean(1)
    print(
        f"width {n}: mean over networks less the limit, averaged over pairs,",
        f"{error.mean():.4f} +- {error.std() / len(error) ** 0.5:.1g}",
    )

# %% [markdown]
# The error of the mean is of order one over the width, so it cancels to leading order in
# $2\,\mathbb E\Theta^{(48)}-\mathbb E\Theta^{(24)}$. What is left, of order $n^{-2}$, is below the noise here. One replicate
# is a pair of networks, one of each width.

# %%
kernels = ntk.infinite(wide, measure.embedded(gram, 48))
i, j = torch.triu_indices(8, 8, 1)
wrong = {
    "kappa_0 dropped": textbook(wide, gram, open_gates),
    "feature kernel in place of the tangent kernel": kernels.nngp,
    "no stable-rank factors": textbook(replace(wide, stable_ranks=48), gram),
}
check.sampled(
    "N3.pairs",
    "mean kernel of 28 pairs of digits, extrapolated from widths 24 and 48, against the limit",
    2 * drawn[48] - drawn[24],
    limit,
    wrong={name: (K / kernels.ntk[0, 0])[i, j] for name, K in wrong.items()},
    wrong_samples={"not extrapolated, width 12": drawn[12]},
    scale=1.0,
    seed=seed,
)

# %% [markdown]
# The rate itself: from width 12 to width 48 the error falls by more than the root of the width would give, 2. Runs are
# linearized around 2, so that their mean is the ratio of the means. Between networks of one width nothing falls.

# %%
small = (drawn[12] - limit).mean(1).unflatten(0, (-1, 2)).mean(1)  # two networks a run
large = (drawn[48] - limit).mean(1)


def ratio(small, large):
    return 2 + (small - 2 * large) / large.mean()


print(f"the error falls by a factor {ratio(small, large).mean():.1f}")
text = "error of the mean at width 12 over that at width 48: above the root of the width"
wrong = {"width 12 over width 12": ratio(*small.view(2, -1))}
check.empirical(
    "N3.rate-fast", text, ratio(small, large), above=2.0, wrong_samples=wrong, seed=seed
)

# %% [markdown]
# Other stable ranks and depths. Left, the error of the mean; middle and right, the relative error of a *single*
# network, which falls only like the root of the width and grows with depth, beside the exact standard deviation of
# the kernel at one input.

# %%
kinds = {
    r"projector, $r/n=1/4$, $L=3$": (0.25, 3, spectra.projector),
    r"projector, $r/n=1/4$, $L=6$": (0.25, 6, spectra.projector),
    r"projector, $r/n=1/2$, $L=6$": (0.5, 6, spectra.projector),
    r"two-level, $r/n=1/4$, $L=6$": (0.25, 6, spectra.two_level),
}


def deviation(e):
    return math.sqrt(kernel_moments(e).relative_variance)


curves = {}
for k, (name, kind) in enumerate(kinds.items()):
    rows = []
    for n in (12, 24, 48):
        e, g, count = square(n, *kind), generator(100 + 10 * k), networks_figure * 48 // n
        (calm, raw), target = measure.pairs_of_digits(e, gram, count, g)
        if kind == (0.25, 3, spectra.projector):
            calm = drawn[n]  # the larger sample from above
        error, single = (calm - target).mean(1), measure.single_error(raw, target)
        half = 1.96 * error.std() / len(error) ** 0.5
        rows.append([n, error.mean(), half, single, deviation(e)])
    curves[name] = torch.tensor(rows)
    left, right, line = ([f"{v:.2g}" for v in curves[name][:, k]] for k in (1, 3, 4))
    print(f"{kind[2].__name__}, r/n {kind[0]}, L {kind[1]}: error of the mean", *left)
    print(
        "    relative error of one network", *right, "and of the kernel at one input", *line
    )

# %%
depths = (1, 2, 4, 8)
series = {"$r/n=1/4$": 0.25, "$r/n=1/2$": 0.5, "$r/n=1$": 1.0}
growth = {}
for k, (name, share) in enumerate(series.items()):
    errors, ensembles = [], [square(32, share, L, spectra.projector) for L in depths]
    for e in ensembles:
        (_, raw), target = measure.pairs_of_digits(
            e, gram, networks_depth, generator(200 + k)
        )
        errors.append(measure.single_error(raw, target))
    growth[name] = errors, [deviation(e) for e in ensembles]
    shown = [f"{v:.2f}" for v in errors]
    print(f"r/n {share}, depths 1, 2, 4, 8: error of one network", *shown)

# %% mystnb={"figure": {"caption": "From finite width to the limit, for all pairs of eight digits. Left: error of the mean over networks in units of the diagonal, averaged over pairs (95 % intervals); lines of slope -1 through the widest networks. Middle: relative error of a single network (root mean square over pairs); lines: exact relative standard deviation of the kernel at one input (N2), of order one over the root of the width. Right: the same at width 32 for projectors, against depth.", "name": "fig-ntk-convergence"}, "image": {"alt": "Three panels on logarithmic axes. Left, points follow falling lines of slope minus one for four ensembles; middle, points follow falling lines of smaller slope; right, three curves rise with depth, the one of the lowest stable rank highest."}} tags=["hide-input"]
fig = figures.convergence(curves, depths, growth)

# %% [markdown]
# ## Stable ranks that grow slower than widths (N3)
#
# With $r=n^{0.4}$ or $n^{0.7}$ the ratio $r/n$ goes to 0 and spectral norms grow without bound. The limit is the same. One
# network's relative error falls like $p^{-1/2}$, so its product with $\sqrt p$ stays where it is while the width grows
# from 32 to 512.

# %%
claims, scaled = [], []
for k, rate in enumerate((0.4, 0.7)):
    errors, roots = [], []
    for n in (32, 512):
        e = square(n, round(n**rate) / n, 3, spectra.projector)
        errors.append(measure.errors(e, gram, networks_low, generator(300 + 10 * k + n)))
        roots.append(math.sqrt(e.participation_ranks().value[0]))
        scaled.append(roots[-1] * errors[-1].mean().item())
        print(f"r = n^{rate}, n = {n}: root p times error {scaled[-1]:.2f}")
    wrong = {
        "error of width 32": roots[1] * errors[0],
        "width in place of participation rank": math.sqrt(n) * errors[1],
    }
    text = (
        f"root p times relative error of one network of width 512 and stable rank n^{rate}"
    )
    options = {"above": 1.0, "below": 2.5, "wrong_samples": wrong, "seed": seed}
    id = f"N3.low-rank-0{10 * rate:.0f}"
    claims.append(check.empirical(id, text, roots[1] * errors[1], **options))
glue("low-rank-least", min(scaled))
glue("low-rank-most", max(scaled))
display(*claims)

# %% [markdown]
# ## Real digits at their own width (N3)
#
# Inputs of width 784 and three layers of width 256 with $r=64$, a quarter of their width. The size of the kernel
# fluctuates with the norms; its *shape* is what a network and the limit are compared in.

# %%
x, label = data.mnist(digits)
x, label = (
    (x / x.norm(dim=1, keepdim=True))[label.argsort(stable=True)],
    label.sort().values,
)
wide = Ensemble((784, 256, 256, 256), 64).preserving()
limit = ntk.infinite(wide, x)
K = ntk.empirical(wide.sample(networks_digits, generator=generator(300)), x)
others = {
    "kappa_0 dropped": textbook(wide, x @ x.T, open_gates),
    "feature kernel in place of the tangent kernel": limit.nngp,
}
distance = {name: measure.shape_error(K, other) for name, other in others.items()}
own = measure.shape_error(K, limit.ntk)
text = "distance of single networks from the limit over that from the nearest wrong alternative, 40 digits"
check.empirical(
    "N3.digits",
    text,
    own / torch.stack(list(distance.values())).amin(0),
    below=1.0,
    wrong_samples={name: far / own for name, far in distance.items()},
    seed=seed,
)

# %%
facts = {
    "networks-reference": networks_reference,
    "networks": networks,
    "networks-pairs": networks_pairs,
    "networks-digits": networks_digits,
    "digits": digits,
    "shape-error": own.mean().item(),
    "shape-error-features": measure.shape_error(K, limit.nngp).mean().item(),
    "rate": ratio(small, large).mean().item(),
    "error-small": small.mean().item(),
    "error-large": large.mean().item(),
}
for name, value in facts.items():
    glue(name, value)
for name, far in (distance | {"the limit": own}).items():
    print(f"{name}: distance of one network {far.mean():.3f}")
average = measure.shape_error(K.mean(0), limit.ntk)
print(f"mean of the networks against the limit: {average:.3f}")

# %% mystnb={"figure": {"caption": "The limit kernel of 40 MNIST digits, sorted by label (left), and the kernels of drawn networks of width 256, against it (right): each point is a pair of digits, orange for one network and blue for the mean over networks. The feature kernel (grey) has another shape, so no rescaling would bring it onto the diagonal.", "name": "fig-ntk-digits"}, "image": {"alt": "Left: heat map of a 40 by 40 kernel with brighter blocks along the diagonal where digits share a label. Right: scatter of kernel values of networks against the limit; points of the mean lie on the diagonal, those of one network around it, grey ones above it."}} tags=["hide-input"]
fig = figures.digits(limit, K, label)

# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Training: speed, collapse, drift
#
# With a constant tangent kernel, training on a squared loss is solved by the kernel's eigenvectors, and changing the
# stable ranks of all layers mostly changes the unit of time (N4). How far real networks are from that is what the
# kernel's own movement decides (N5). First the statements that are exact, on kernels; then networks, trained on
# digits.

# %%
import math
from dataclasses import replace

import torch
from IPython.display import display

from srlib import Ensemble, Network, check, moments, ntk, plotting, stable_rank
from srlib.check import glue
from srlib.experiments import data, training
from srlib.experiments.gradient_flow import GradientFlow, time_factor

torch.set_default_dtype(torch.float64)  # lazy networks move by a few parts in a million

# %% tags=["parameters"]
seed = 1  # of every draw; each section adds an offset of its own
digits = 40  # images, labelled even or odd
width = 256  # of the networks whose training is compared with predictions
networks = 16  # for each stable rank and depth, one run each
steps = 60  # of gradient descent
step_share = 0.3  # step over the largest stable one of the infinite-width kernel
lazy = 1000.0  # standard deviation of the scaled output at the start: laziness
level = 0.1  # of the initial loss; the time to reach it is the measure of speed
networks_spread = 40  # networks for each depth where only kernels are drawn
width_spread = 96  # their width
steps_drift = 40  # steps of the runs where the kernel is watched
networks_drift = 20  # for each stable rank, width and depth
width_ranks = 64  # width where the layers' stable ranks are followed

# %% [markdown]
# ## Data
#
# Forty digits of unit norm, even ones to $-1$, odd ones to $1$. The first layer meets them only in their span, and
# gradient descent moves it only there. So $W_1$ may be replaced by $W_1Q$, where $Q$ holds an orthonormal basis of
# the span: outputs, kernels and training stay the same, and there is less to compute.

# %%
images, labels = data.mnist(2 * digits)
images = images / images.norm(dim=1, keepdim=True)
basis = torch.linalg.svd(images[:digits], full_matrices=False)[2].T
x, y = images[:digits] @ basis, (2.0 * (labels % 2) - 1)[:digits, None]


def generator(offset):
    return torch.Generator().manual_seed(seed + 1_000 * offset)


def draw(ensembles, count, offset):
    """Networks of several ensembles of equal widths in one batch, as they were drawn."""
    nets = [
        e.sample(count, generator=generator(offset + i)) for i, e in enumerate(ensembles)
    ]
    weights = zip(*(net.weights for net in nets), strict=True)
    readout = torch.cat([net.readout for net in nets])
    return Network(tuple(torch.cat(W) for W in weights), readout)


def in_span(network):
    return replace(network, weights=(network.weights[0] @ basis, *network.weights[1:]))


def equal_layers(depth, ratio, n=width):
    return Ensemble((784,) + (n,) * depth, max(1.0, ratio * n))


# %%
ratios = (0.05, 0.15, 0.4, 1.0)
depths = (3, 6)
small = draw([equal_layers(3, 0.4, 32)], 2, 0)
difference = ntk.empirical(in_span(small), x) - ntk.empirical(small, images[:digits])
print("the same kernel in the span, to 12 digits:", bool(difference.abs().max() < 1e-12))

# %% [markdown]
# ## A constant kernel (N4)
#
# The flow against the matrix exponential, for kernels of networks. Gradient descent against gradient descent itself:
# a linear model whose features have the network's kernel as their Gram matrix is trained step by step, and evaluated
# at forty other digits as well.

# %%
small = draw([equal_layers(3, r, 64) for r in ratios], 3, 1)
everything = ntk.empirical(small, images)  # of 80 digits
K, cross = everything[:, :digits, :digits], everything[:, digits:, :digits]
without_readout = K - ntk.layers(small, images[:digits])[:, -1]
flow, r0 = GradientFlow(K), -y.expand(len(K), -1, -1)
times = torch.tensor([0.1, 1.0, 10.0, 100.0]) / flow.eigenvalues[:, -1:]
found = flow.residuals(r0, times)
exponential = torch.linalg.matrix_exp(-times[..., None, None] * K[:, None])
display(
    check.exact(
        "N4.flow",
        "residuals on 40 digits from eigenvectors against the matrix exponential, 12 kernels of 3 layers",
        found,
        exponential @ r0[:, None],
        wrong={
            "rate of the loss, twice that of the residual": exponential
            @ exponential
            @ r0[:, None],
            "the readout's term dropped": GradientFlow(without_readout).residuals(
                r0, times
            ),
        },
    )
)


# %%
def descend(features, r0, step, count):
    """Gradient descent on a linear model from zero weights: the weights after every step."""
    w = [torch.zeros(len(features), features.shape[-1], 1)]
    for _ in range(count):
        residual = features @ w[-1] + r0
        w.append(w[-1] - step[:, None, None] * features.mT @ residual)
    return torch.stack(w, 1)


values, vectors = torch.linalg.eigh(everything)
features = vectors * values.clamp(min=0).sqrt().unsqueeze(
    -2
)  # their Gram matrix is the kernel
step = 0.9 * flow.largest_step
w = descend(features[:, :digits], r0, step, 100)
times = step[:, None] * torch.arange(101)
trained = features[:, None, :digits] @ w + r0[:, None]
elsewhere = features[:, None, digits:] @ w
options = {"step": step}
display(
    check.exact(
        "N4.descent",
        "residuals against 100 steps of gradient descent on a linear model, step 0.9 of the largest stable one",
        flow.residuals(r0, times, **options),
        trained,
        wrong={
            "gradient flow": flow.residuals(r0, times),
            "one step more": flow.residuals(r0, times + step[:, None], **options),
        },
    ),
    check.exact(
        "N4.elsewhere",
        "outputs at 40 digits outside the training set against the same descent",
        flow.changes(cross, r0, times, **options),
        elsewhere,
        wrong={
            "gradient flow": flow.changes(cross, r0, times),
            "inputs' own order ignored": flow.changes(cross.flip(1), r0, times, **options),
        },
    ),
)

# %% [markdown]
# ## A kernel that moves (N4)
#
# If $\Theta_t$ stays within $(1\pm\varepsilon)\Theta_0$ the residual stays within $\varepsilon/(2\sqrt{1-\varepsilon})$
# of the predicted one, for all times. Kernels that jump every so often between random positions of this range, and the
# worst one that was found: $\Theta_t=(1-\varepsilon)\Theta_0$.


# %%
def symmetric_root(A):
    values, vectors = torch.linalg.eigh(A)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.mT


def random_symmetric(count, n, g):
    E = torch.randn(count, n, n, generator=g)
    E = E + E.mT
    return E / torch.linalg.matrix_norm(E, 2)[:, None, None]


def distance(A, kernels, dt):
    """Largest distance of the residual operators over time, with the kernel held for a time dt each."""
    R, worst = torch.eye(len(A)), 0.0
    for k, B in enumerate(kernels, 1):
        R = torch.linalg.matrix_exp(-dt * B) @ R
        gap = torch.linalg.matrix_norm(R - torch.linalg.matrix_exp(-k * dt * A), 2)
        worst = max(worst, gap.item())
    return worst


# %%
A = K[0, :10, :10]
root, top = symmetric_root(A), torch.linalg.matrix_norm(A, 2).item()
moves = {
    "jumps": random_symmetric(60, 10, generator(2)),
    "worst": -torch.eye(10).expand(60, -1, -1),
}
sizes = torch.tensor([0.02, 0.1, 0.3, 0.6, 0.9])
gaps = torch.tensor(
    [
        [distance(A, A + e * root @ E @ root, 0.2 / top) for E in moves.values()]
        for e in sizes
    ]
)
allowed = sizes / (2 * (1 - sizes).sqrt())
print("eps:", *[f"{e:g}" for e in sizes], "  distance, jumps and worst:")
print([[float(f"{v:.2g}") for v in row] for row in gaps.tolist()])
near = torch.tensor([1e-3, 0.1, 1.0, 10.0]) / top
other = root @ (torch.eye(10) + 0.3 * moves["jumps"][0]) @ root
apart = torch.linalg.matrix_exp(-near[:, None, None] * A) - torch.linalg.matrix_exp(
    -near[:, None, None] * other
)
display(
    check.bound(
        "N4.relative",
        "distance of residual operators when the kernel moves within a factor 1 +- eps, five eps from 0.02 to 0.9",
        gaps,
        allowed[:, None],
        wrong={
            "two thirds of the bound": allowed[:, None] / 1.5,
            "eps squared": sizes[:, None] ** 2,
        },
    ),
    check.bound(
        "N4.absolute",
        "distance of residual operators of two kernels against time times the distance of the kernels",
        torch.linalg.matrix_norm(apart, 2),
        near * torch.linalg.matrix_norm(A - other, 2),
        wrong={"half of it": near * torch.linalg.matrix_norm(A - other, 2) / 2},
    ),
)

# %% [markdown]
# ## Stable ranks rescale time (N4)
#
# Infinite-width kernels. If all mean squared weights, the readout's too, are multiplied by $\rho$, the kernel is
# multiplied by $\rho^L$, exactly. With a readout that stays as it is, the hidden layers' part is multiplied by
# $\rho^{L-1}$ and the readout's by $\rho^L$; the curves then collapse up to what the readout's share allows.


# %%
def limits(e):
    kernels = ntk.infinite(e, images[:digits])
    return kernels.ntk, kernels.nngp


def rescaled(depth, rho, readout):
    e = equal_layers(depth, rho)
    return limits(replace(e, readout_norm=rho ** (readout / 2)))


pairs = [(L, rho) for L in depths for rho in ratios[:-1]]
full = {L: limits(equal_layers(L, 1.0)) for L in depths}
whole = torch.stack([rescaled(L, rho, 1)[0] / (rho**L * full[L][0]) for L, rho in pairs])
same_readout = torch.stack(
    [rescaled(L, rho, 0)[0] / (rho**L * full[L][0]) for L, rho in pairs]
)
hidden = [
    (T - R) / (rho ** (L - 1) * (full[L][0] - full[L][1]))
    for L, rho in pairs
    for T, R in [rescaled(L, rho, 0)]
]
one = torch.ones(())
display(
    check.exact(
        "N4.scaled",
        "limit kernel with all mean squared weights times rho over rho^L times the old one, 3 and 6 layers, 3 rho",
        whole,
        one,
        wrong={
            "the power L - 1": torch.tensor([rho for _, rho in pairs])[:, None, None],
            "the readout left as it is": same_readout,
        },
        tolerance=1e-9,
    ),
    check.exact(
        "N4.hidden",
        "hidden layers' part of the limit kernel with stable ranks times rho over rho^(L-1) times the old one",
        torch.stack(hidden),
        one,
        wrong={"the power L": torch.tensor([1 / rho for _, rho in pairs])[:, None, None]},
        tolerance=1e-9,
    ),
)


# %%
def share_range(T, R):
    """Smallest and largest share of the readout's term in the kernel, over all directions."""
    L = torch.linalg.cholesky(T)
    return torch.linalg.eigvalsh(torch.linalg.solve(L, torch.linalg.solve(L, R).mT))[
        [0, -1]
    ]


def share_bound(depth, rho):
    low, high = share_range(*full[depth])
    mean = full[depth][1][0, 0] / full[depth][0][0, 0]
    eps = (1 - rho) * max(high - mean, mean - low) / (1 - (1 - rho) * mean)
    return eps / (2 * (1 - eps).sqrt())


def share_gap(depth, rho):
    """Largest distance of the residual operators of the two kernels, one at rescaled time."""
    factor = time_factor(equal_layers(depth, rho), equal_layers(depth, 1.0))
    kernels = torch.stack([full[depth][0], rescaled(depth, rho, 0)[0] / factor])
    times = torch.logspace(-2, 3, 60) * GradientFlow(kernels[0]).largest_step
    one, other = GradientFlow(kernels).residuals(torch.eye(digits)[None], times)
    return torch.linalg.matrix_norm(one - other, 2).max()


gaps = torch.stack([share_gap(L, rho) for L, rho in pairs])
allowed = torch.stack([share_bound(L, rho) for L, rho in pairs])
print("distance after rescaling:", *[f"{g:.3f}" for g in gaps])
print("bound:                   ", *[f"{b:.3f}" for b in allowed])
display(
    check.bound(
        "N4.share",
        "distance of residual operators after rescaling time by the predicted factor, 3 and 6 layers, 3 stable ranks",
        gaps,
        allowed,
        wrong={"half of the bound": allowed / 2},
    )
)

# %% [markdown]
# ## Networks on digits (N4)
#
# Networks of 3 and 6 layers of width 256, spectral norm 1, and stable ranks from 5 % of the width to all of it, are
# trained by full-batch gradient descent on $\alpha(f-f_0)$, with $\alpha$ so large that the outputs they start with
# would have standard deviation 1000: the lazy regime. The step is 0.3 of the largest stable one of the limit kernel,
# over $\alpha^2$. Times are those of the flow of $\Theta$, so multiplied by $\alpha^2$. Each network is held against
# the prediction from its own kernel, and all against the prediction from the limit.


# %%
def scale_for(network, size):
    """Factor that gives the outputs at the start this standard deviation over the digits."""
    return size / training.outputs(training.perceptrons(network), x)[..., 0].std(1)


def train(network, step, alpha, count, callback=None):
    """Full-batch gradient descent on alpha (f - f_0), with steps given in the time of the unscaled kernel."""
    options = {"loss": training.squared, "scale": alpha, "callback": callback}
    start = training.perceptrons(network)
    return training.fit(start, x, y, rates=step / alpha**2, steps=count, **options)


def initial(count):
    return -y.expand(count, -1, -1)  # f - y at the start, since f_0 is subtracted


def tail_off(measured, predicted):
    return (predicted / measured).log().abs().amax(1).view(len(ratios), -1)


# %%
runs = {}
for i, L in enumerate(depths):
    stack = [equal_layers(L, r) for r in ratios]
    net = in_span(draw(stack, networks, 10 + 10 * i))
    limit = GradientFlow(torch.stack([limits(e)[0] for e in stack]))
    each = limit.largest_step.repeat_interleave(networks) * step_share
    times, parts = each[:, None] * torch.arange(steps), ntk.layers(net, x)
    losses = train(net, each, scale_for(net, lazy), steps).losses
    K = parts.sum(1)
    own, others = (
        GradientFlow(K),
        {
            "the readout's term dropped": K - parts[:, -1],
            "the first layer's term dropped": K - parts[:, 0],
            "another network's kernel": K.unflatten(0, (4, -1)).roll(1, 1).flatten(0, 1),
            "the kernel of the next lower stable rank": torch.cat(
                [K[:networks], K[:-networks]]
            ),
        },
    )
    arguments, options = (initial(len(each)), times), {"step": each}
    predicted = own.losses(*arguments, **options)
    wrong = {n: GradientFlow(T).losses(*arguments, **options) for n, T in others.items()}
    wrong["gradient flow in place of descent"] = own.losses(*arguments)
    wide = limit.losses(initial(4), times[::networks], step=each[::networks])
    runs[L] = {"times": times, "losses": losses, "own": predicted, "wide": wide}
    off = tail_off(losses, predicted)
    print(
        f"{L} layers: loss at the end over the start",
        *[f"{v:.4f}" for v in (losses[:, -1] / losses[:, 0]).view(4, -1).mean(1)],
        " off by",
        *[f"{v:.3f}" for v in off.mean(1)],
    )
    claim = check.empirical(
        f"N4.lazy-{L}",
        f"largest error of the log loss over {steps} steps and 4 stable ranks, {L} layers, own kernel",
        off.amax(0),
        below=0.05,
        wrong_samples={n: tail_off(losses, p).amax(0) for n, p in wrong.items()},
        seed=seed,
    )
    display(claim)

# %% mystnb={"figure": {"caption": "Training curves of single networks of width 256 on forty digits, against the time of gradient flow: points; predictions from each network's own kernel at the start: lines; from the infinite-width kernel: dashed. From 5 % of the largest stable rank to all of it, the time scale moves by a factor of several hundred with 3 layers, and of several million with 6. The curves keep their shape.", "name": "fig-training-curves"}, "image": {"alt": "Two panels with a logarithmic time axis. In each, four falling loss curves of the same shape are shifted sideways, the one of lowest stable rank far to the right; points lie on the solid lines, dashed lines are close to them."}} tags=["hide-input"]
fig, axes = plotting.figure(1, 2, sharey=True)
colors = plotting.palette(ratios)
shown = torch.tensor([0, 1, 2, 4, 7, 12, 20, 33, 45, 59])
shown = shown[shown < steps]
for ax, (L, run) in zip(axes, runs.items(), strict=True):
    for i, (r, color) in enumerate(zip(ratios, colors, strict=True)):
        b, start = i * networks, run["losses"][0, 0]
        t = run["times"][b, 1:]
        ax.plot(t, run["wide"][i, 1:] / start, "--", color=color, linewidth=1)
        plotting.theory(ax, t, run["own"][b, 1:] / start, color=color)
        k = shown[1:]
        measured = run["losses"][b, k] / start
        plotting.points(ax, run["times"][b, k], measured, color=color, label=f"$r/n={r:g}$")
        print(
            f"L {L}, r/n {r:g}: loss over its start at steps 4, 20:",
            *[f"{v:.3f}" for v in run["losses"][b, [4, 20]] / start],
        )
    ax.set(xscale="log", yscale="log", xlabel="time $t$", title=f"$L={L}$")
axes[0].set(ylabel=r"loss over its start", ylim=(8e-4, 1.3))
axes[0].plot([], [], "--", color="0.4", linewidth=1, label="limit kernel")
plotting.legend(axes[0], loc="lower left")

# %% [markdown]
# ## Collapse (N4)
#
# The time at which a network's loss falls to a tenth, before and after multiplication by the predicted factor: the
# ratio of mean kernels at one input, relative to $r=n$. The spread is the standard deviation of the logarithm over
# the four stable ranks, one number for each of twelve sets of networks.


# %%
def reached(losses, times, share):
    """Time at which the loss falls to a share of its start, interpolated in its logarithm."""
    log, goal = losses.log(), math.log(share) + losses[:, :1].log()
    k = (log < goal).int().argmax(1, keepdim=True)
    if (k == 0).any():
        raise ValueError(
            f"a loss does not fall to {share:g} of its start within {losses.shape[1]} steps"
        )
    (a, b), (s, t) = ((v.gather(1, k - 1), v.gather(1, k)) for v in (log, times))
    return (s + (t - s) * (a - goal) / (a - b)).squeeze(1)


def spread(log_time):
    return log_time.std(0)


# %%
bounds = {3: 0.3, 6: 0.6}
speed = {}
for L, run in runs.items():
    reference = equal_layers(L, 1.0)
    log_time = reached(run["losses"], run["times"], level).log().view(4, -1)
    factors = torch.tensor(
        [time_factor(equal_layers(L, r), reference) for r in ratios]
    ).log()
    log_ratios = torch.tensor(ratios).log()
    after = log_time + factors[:, None]
    wide = reached(run["wide"], run["times"][::networks], level).log()
    speed[L] = {"log_time": log_time, "factors": factors, "wide": wide}
    glue(f"before-{L}", spread(log_time).mean().item())
    glue(f"after-{L}", spread(after).mean().item())
    glue(f"limit-{L}", spread(wide + factors).item())
    glue(f"speed-{L}", (log_time - wide[:, None]).square().mean().sqrt().item())
    glue(f"factor-{L}", math.exp(-factors[0]))
    print(
        f"{L} layers: spread of log time before {spread(log_time).mean():.2f},",
        f"after {spread(after).mean():.2f}, of the limit after {spread(wide + factors):.2f}",
    )
    lower = wide[[0, 0, 1, 2]]  # the next lower stable rank
    claim = check.empirical(
        f"N4.limit-{L}",
        f"rms over 4 stable ranks of the log time to a tenth of the loss over the limit kernel's, {L} layers",
        (log_time - wide[:, None]).square().mean(0).sqrt(),
        below=math.log(1.5),
        wrong_samples={
            "the limit of the next lower stable rank": (log_time - lower[:, None])
            .square()
            .mean(0)
            .sqrt()
        },
        seed=seed,
    )
    display(claim)
    claim = check.empirical(
        f"N4.collapse-{L}",
        f"spread over 4 stable ranks of the log time to a tenth of the loss, rescaled, {L} layers",
        spread(after),
        below=bounds[L],
        wrong_samples={
            "not rescaled": spread(log_time),
            "one power of the stable rank more": spread(after + log_ratios[:, None]),
            "one power less": spread(after - log_ratios[:, None]),
        },
        seed=seed,
    )
    display(claim)

# %% mystnb={"figure": {"caption": "Collapse. Left: time until the loss has fallen to a tenth, against stable rank, for twelve networks each (points); lines: the time for r = n of the infinite-width kernel, divided by the predicted factor. Middle and right: all loss curves against time multiplied by the predicted factor, in units of the inverse largest eigenvalue of the limit kernel for r = n. What spread is left is that of single networks of finite width; it is larger for six layers.", "name": "fig-training-collapse"}, "image": {"alt": "Left: points on two falling lines on logarithmic axes, the line of six layers much steeper. Middle and right: forty-eight falling curves each, which lie on top of each other in a narrow band, wider in the right panel."}} tags=["hide-input"]
fig, axes = plotting.figure(1, 3, size=(10.2, 3.7))
grid = torch.logspace(math.log10(ratios[0]), 0, 30).tolist()
for L, color in zip(depths, plotting.palette(2), strict=True):
    s, reference = speed[L], equal_layers(L, 1.0)
    line = [s["wide"][-1].exp() / time_factor(equal_layers(L, r), reference) for r in grid]
    plotting.theory(axes[0], grid, line, color=color, label=f"$L={L}$")
    for r, row in zip(ratios, s["log_time"].exp(), strict=True):
        axes[0].plot([r] * networks, row, "o", color=color, markersize=3.5, alpha=0.6)
axes[0].set(
    xscale="log", yscale="log", xlabel="$r/n$", ylabel="time to a tenth of the loss"
)
axes[0].set(xticks=ratios, xticklabels=[f"{r:g}" for r in ratios])
axes[0].minorticks_off()
plotting.legend(axes[0])
for ax, (L, run) in zip(axes[1:], runs.items(), strict=True):
    unit = GradientFlow(full[L][0]).eigenvalues[-1]
    for i, color in reversed([*enumerate(colors)]):
        mine = slice(i * networks, (i + 1) * networks)
        t = run["times"][mine, 1:] * speed[L]["factors"][i].exp() * unit
        ax.plot(
            t.T,
            (run["losses"][mine, 1:] / digits * 2).T,
            color=color,
            linewidth=0.6,
            alpha=0.7,
        )
        ax.plot([], [], color=color, label=f"$r/n={ratios[i]:g}$")
    ax.set(xscale="log", yscale="log", ylim=(8e-4, 1.3), title=f"$L={L}$")
    ax.set(xlabel=r"time $\times$ factor $\times\,\lambda_{\max}$")
axes[1].set_ylabel("loss over its start")
plotting.legend(axes[1], loc="lower left")

# %% [markdown]
# ## Where it breaks (N4)
#
# Laziness: the error of the predicted loss against the size of the scaled output at the start. Step size: below the
# largest stable step of a network's own kernel the loss of descent follows its formula, above it grows until the
# network is no longer lazy. Randomness: the kernel of a single network is random (N2), the more so the deeper and the
# lower its stable rank, and so is its speed.

# %%
sizes = (1.0, 10.0, 100.0, 1000.0)
net = in_span(draw([equal_layers(3, r, 128) for r in ratios], 4, 30))
own = GradientFlow(ntk.empirical(net, x))
each = own.largest_step * step_share
times = each[:, None] * torch.arange(steps)
predicted = own.losses(initial(16), times, step=each)
errors = []
for size in sizes:
    measured = train(net, each, scale_for(net, size), steps).losses
    fallen = measured > 0.01 * measured[:, :1]  # not the late times
    error = (measured / predicted).log().abs().where(fallen, torch.zeros(())).amax(1)
    errors.append(error.view(4, -1).mean(1))
    print(
        f"scaled output {size:g}: error of the log loss", *[f"{v:.2g}" for v in errors[-1]]
    )
errors = torch.stack(errors, 1)
glue("off-ordinary", 100 * errors[:, 0].mean().item())

# %%
shares = (0.5, 0.95, 1.05)
one = replace(net, weights=tuple(W[8:9] for W in net.weights), readout=net.readout[8:9])
own, beyond = GradientFlow(ntk.empirical(one, x)), []
for share in shares:
    step = share * own.largest_step
    times = step[:, None] * torch.arange(steps)
    measured = train(one, step, scale_for(one, lazy), steps).losses
    beyond.append((measured[0], own.losses(initial(1), times, step=step)[0]))
    print(
        f"step {share:g} of the largest: loss over its start",
        f"{measured[0, -1] / measured[0, 0]:.2g}",
    )

# %%
deep = (2, 4, 8, 16)
spreads = {}
for r in (0.05, 0.25, 1.0):
    ensembles = [equal_layers(L, r, width_spread).preserving() for L in deep]
    exact = [moments.ntk(e).log_ratio.sqrt().item() for e in ensembles]
    found = []
    for e in ensembles:
        own = GradientFlow(ntk.empirical(in_span(draw([e], networks_spread, 40)), x))
        times = torch.logspace(-2, 3, 200) / ntk.infinite(e, images[:digits]).ntk[0, 0]
        losses = own.losses(initial(networks_spread), times)
        found.append(reached(losses, times.expand(len(losses), -1), 0.5).log().std().item())
    spreads[r] = found, exact
    print(f"r/n {r:g}: spread of log time, depths 2 to 16", *[f"{v:.2f}" for v in found])

# %% mystnb={"figure": {"caption": "Where the constant kernel and the collapse break. Left: largest error of the predicted log loss while the loss falls to a hundredth (width 128, 3 layers), against the standard deviation of the scaled output at the start; only large values are lazy. Middle: loss of one lazy network (points) and of the descent formula (lines) for three steps. Beyond the largest stable step the loss grows, as the formula says. Right: standard deviation over networks of the log time to half the loss, predicted from each network's own kernel (width 96; points), and the exact one of a log-normal kernel at one input with the moments of N2 (lines).", "name": "fig-training-breaks"}, "image": {"alt": "Three panels. Left: errors falling with the scale of the output. Middle: three loss curves against steps, two falling and one rising, points on lines. Right: three rising curves against depth, the lowest stable rank highest."}} tags=["hide-input"]
fig, axes = plotting.figure(1, 3, size=(10.2, 3.8))
for row, r, color in zip(errors, ratios, colors, strict=True):
    axes[0].plot(
        sizes, row, "o-", color=color, markersize=4.5, linewidth=0.8, label=f"$r/n={r:g}$"
    )
axes[0].set(xscale="log", yscale="log", xlabel=r"output scale $\alpha\,\mathrm{std}(f_0)$")
axes[0].set(ylabel="error of the log loss")
for (measured, formula), share, color in zip(
    beyond, shares, plotting.palette(3), strict=True
):
    k = torch.arange(0, steps, 6)
    plotting.theory(axes[1], torch.arange(steps), formula / formula[0], color=color)
    label = rf"$\eta\lambda_{{\max}}/2={share:g}$"
    plotting.points(axes[1], k, measured[k] / measured[0], color=color, label=label)
axes[1].set(yscale="log", xlabel="step", ylabel="loss over its start")
for (r, (found, exact)), color in zip(
    spreads.items(), plotting.palette(range(3)), strict=True
):
    plotting.theory(axes[2], deep, exact, color=color)
    plotting.points(axes[2], deep, found, color=color, label=f"$r/n={r:g}$")
axes[2].set(xscale="log", yscale="log", xlabel="depth $L$", ylabel="spread of the log time")
axes[2].minorticks_off()
axes[2].set(xticks=deep, xticklabels=deep, yticks=(0.2, 0.5, 1), yticklabels=(0.2, 0.5, 1))
for ax in axes:
    plotting.legend(ax)

# %% [markdown]
# ## What moves, and by how much (N5)
#
# Exact first, on small networks that are trained in three regimes, with the outputs as the model has them
# ($\alpha=1$), scaled to standard deviation 1 at the start as in common initializations, and scaled to 100. Squared
# Frobenius norms of the layers: under gradient flow their differences are conserved; under descent they change by the
# difference of the squared increments, and by nothing else.

# %%
regimes = {
    r"$\alpha=1$": None,
    r"$\alpha\,\mathrm{std}(f_0)=1$": 1.0,
    r"$\alpha\,\mathrm{std}(f_0)=100$": 100.0,
}
shares = (0.1, 0.25, 1.0)


def in_regimes(net):
    """The same networks once for each regime, their scales, and steps of a fifth of the largest stable one."""
    one = torch.ones(len(net.readout))
    alpha = torch.cat([one if c is None else scale_for(net, c) for c in regimes.values()])
    net = Network(
        tuple(torch.cat([W] * 3) for W in net.weights), torch.cat([net.readout] * 3)
    )
    return net, alpha, 0.2 * GradientFlow(ntk.empirical(net, x)).largest_step


def preserving(n, depth=3):
    return [equal_layers(depth, r, n).preserving() for r in shares]


def squares(W):
    return W.square().sum((-2, -1))


# %%
net, alpha, step = in_regimes(in_span(draw(preserving(24), networks, 50)))
history = []


def keep(k, nets):
    history.append([W.clone() for W in nets.weights])  # they are updated in place


result = train(net, step, alpha, steps_drift, keep)
W = [
    torch.stack(layer, 1) for layer in zip(*history, strict=True)
]  # (networks, steps + 1, rows, columns)
norms = torch.stack([squares(layer) for layer in W], -1)
increments = torch.stack([squares(layer.diff(dim=1)) for layer in W], -1).cumsum(1)
balance = (norms - norms[:, :1]).diff()[:, 1:]
count = len(step) // 3
far = increments[: 2 * count, -1:].amax(
    2, keepdim=True
)  # of the networks that are not lazy
gained, own = balance[: 2 * count] / far, increments[: 2 * count] / far
lazy_ones = slice(2 * count, None)
moved = sum(squares(layer - layer[:, :1]) for layer in W)[lazy_ones, 1:-1]
fallen = (result.losses[:, :1] - result.losses[:, 1:])[lazy_ones]
time = torch.arange(1, steps_drift) * (step / alpha**2)[lazy_ones, None]
display(
    check.exact(
        "N5.balance",
        "change of the differences of squared layer norms against the increments' own, 72 networks, every step",
        gained,
        own.diff(),
        wrong={
            "conserved, as under the flow": torch.zeros(()),
            "sums in place of differences": own[..., 1:] + own[..., :-1],
        },
        tolerance=1e-7,  # the norms are orders of magnitude larger than the increments
    ),
    check.bound(
        "N5.distance",
        "squared distance of the weights from their start against time times the fall of the loss, lazy descent",
        moved,
        time * fallen / (1 - 0.2),
        wrong={"nine tenths of the bound": 0.9 * time * fallen / (1 - 0.2)},
    ),
)

# %%
first, last = ([layer[:count, k] for layer in W[:-1]] for k in (0, -1))
rank = [
    torch.stack([stable_rank(layer) for layer in layers], 1) for layers in (first, last)
]
size = torch.stack([torch.linalg.matrix_norm(layer, 2) for layer in first], 1)
d = torch.stack([squares(b - a).sqrt() for a, b in zip(first, last, strict=True)], 1) / size
check.bound(
    "N5.range",
    "root of the stable rank at the start against what rank and distance after training allow, 108 layers, alpha = 1",
    rank[0].sqrt(),
    rank[1].sqrt() * (1 + d) + d,
    wrong={
        "the spectral norm kept": rank[1].sqrt() + d,
        "distance left out": rank[1].sqrt(),
    },
)

# %% [markdown]
# ## Kernel drift (N5)
#
# Relative Frobenius distance of the kernel after training from that before, at matched scale: spectral norms are those
# that preserve the mean squared feature norm. Against width for three layers, and against depth. Slopes are fitted to
# single networks of $r/n\ge0.25$; at width 32 the lowest ratio is a stable rank of 3.2, and its networks scatter
# more. The border $-1/4$ lies halfway between no dependence on the width and its root.


# %%
def drifts(ensembles, count, offset):
    """Relative kernel drift: shape (regimes, ensembles, networks)."""
    net, alpha, step = in_regimes(in_span(draw(ensembles, count, offset)))
    result = train(net, step, alpha, steps_drift)
    assert (result.diverged_at == -1).all(), "a network diverged"
    W, before = result.networks.weights, ntk.empirical(net, x)
    after = ntk.empirical(replace(net, weights=W[:-1], readout=W[-1][:, 0]), x)
    return (squares(after - before) / squares(before)).sqrt().view(3, len(ensembles), count)


widths, depths_drift = (32, 64, 128), (2, 4, 8)
by_width = torch.stack([drifts(preserving(n), networks_drift, 60) for n in widths])
by_depth = torch.stack(
    [drifts(preserving(32, L), networks_drift, 70) for L in depths_drift]
)
centred = torch.tensor(widths).log() - torch.tensor(widths).log().mean()
logs = by_width[:, :, 1:].log().mean(2)  # r/n = 0.25 and 1
slopes = (logs * centred[:, None, None]).sum(0) / centred.square().sum()
typical = by_width.log().mean(-1).exp()
for i, name in enumerate(("alpha 1", "output 1", "output 100")):
    print(
        f"{name}: drift, r/n 0.1, 0.25, 1, at width 32 and 128:",
        *[f"{v:.2g}" for v in (*typical[0, i], *typical[-1, i])],
        f" slope {slopes[i].mean():.2f}",
    )
display(
    check.empirical(
        "N5.width",
        "slope of log kernel drift against log width, output of standard deviation 1 at the start",
        slopes[1],
        below=-0.25,
        wrong_samples={"outputs not scaled, alpha = 1": slopes[0]},
        seed=seed,
        false_alarm=1e-3,  # twenty networks of three widths scatter
    ),
    check.empirical(
        "N5.unscaled",
        "slope of log kernel drift against log width, outputs not scaled, alpha = 1",
        slopes[0],
        above=-0.25,
        below=0.25,
        wrong_samples={"output of standard deviation 1": slopes[1]},
        seed=seed,
        false_alarm=1e-3,
    ),
    check.empirical(
        "N5.lazy",
        "log10 of the kernel drift at output scale 100 over that at 1, width 128, mean over stable ranks",
        (by_width[-1, 2] / by_width[-1, 1]).log10().mean(0),
        below=-1.0,
        wrong_samples={
            "outputs not scaled": (by_width[-1, 0] / by_width[-1, 1]).log10().mean(0)
        },
        seed=seed,
    ),
    check.empirical(
        "N5.rank",
        "log of the kernel drift at r/n = 0.1 over that at r/n = 1, matched scale, width 128, alpha = 1",
        (by_width[-1, 0, 0] / by_width[-1, 0, 2]).log(),
        above=math.log(0.5),
        below=math.log(2),
        seed=seed,
    ),
)

# %% mystnb={"figure": {"caption": "Relative movement of the tangent kernel during training on forty digits, geometric means over twenty networks, at matched scale. Left: against width, three layers. With unscaled outputs the kernel changes by a multiple of itself at every width; with outputs of standard deviation 1 or 100 at the start it moves less the wider the network (dotted: slope -1/2). Right: against depth, width 32. Stable rank, in colour, matters little.", "name": "fig-kernel-drift"}, "image": {"alt": "Two panels with logarithmic axes. Left: three groups of curves, one flat near 4 and two falling with width. Right: the same three groups against depth. Within each group the three colours are close together."}} tags=["hide-input"]
fig, axes = plotting.figure(1, 2, sharey=True)
for ax, values, grid in zip(
    axes, (by_width, by_depth), (widths, depths_drift), strict=True
):
    for j, marker in enumerate("o^s"):
        for i, color in enumerate(plotting.palette(range(3))):
            ax.plot(
                grid,
                values[:, j, i].log().mean(-1).exp(),
                marker + "-",
                color=color,
                markersize=5,
                linewidth=0.9,
            )
    ax.set(xscale="log", yscale="log", xticks=grid, xticklabels=grid)
    ax.minorticks_off()
for j in (1, 2):
    guide = typical[0, j].mean() * (torch.tensor(widths) / widths[0]) ** -0.5
    axes[0].plot(widths, guide, ":", color="0.4", linewidth=1)
axes[0].set(xlabel="width $n$", ylabel=r"$\|\Theta_t-\Theta_0\|_F\,/\,\|\Theta_0\|_F$")
axes[1].set(xlabel="depth $L$")
for r, color in zip(shares, plotting.palette(range(3)), strict=True):
    axes[1].plot([], [], color=color, label=f"$r/n={r:g}$")
for name, marker in zip(regimes, "o^s", strict=True):
    axes[1].plot([], [], marker, color="0.4", markersize=5, label=name)
plotting.legend(axes[1], outside=True)

# %% [markdown]
# ## Stable ranks of the layers during training (N5)
#
# The first layer is put together again from its part in the span, which moved, and the rest, which did not.

# %%
original = draw(preserving(width_ranks), networks, 80)
net, alpha, step = in_regimes(in_span(original))
outside = torch.cat([original.weights[0] - original.weights[0] @ basis @ basis.T] * 3)
seen = []


def by_gram(W):
    values = torch.linalg.eigvalsh(
        W @ W.mT
    )  # cheaper than singular values, and accurate enough for a figure
    return values.sum(-1) / values[:, -1]


def watch(k, nets):
    if k % 5 == 0:
        layers = (outside + nets.weights[0] @ basis.T, *nets.weights[1:-1])
        seen.append(torch.stack([by_gram(layer) for layer in layers]))


result = train(net, step, alpha, steps_drift, watch)
ranks = torch.stack(seen, -1)
ranks = (ranks / ranks[..., :1]).view(
    3, 3, len(shares), networks, -1
)  # layer, regime, r/n, network, time
for i, r in enumerate(shares):
    print(
        f"r/n {r:g}: stable ranks of layers 1, 2, 3 over their start: alpha 1",
        *[f"{v:.2f}" for v in ranks[:, 0, i, :, -1].mean(-1)],
        "  output 1",
        *[f"{v:.3f}" for v in ranks[:, 1, i, :, -1].mean(-1)],
    )
display(
    check.empirical(
        "N5.orthogonal",
        "stable rank over its start, mean of layers 2 and 3, which start orthogonal, alpha = 1",
        ranks[1:, 0, 2, :, -1].mean(0),
        below=0.7,
        wrong_samples={"layers that start at r/n = 0.25": ranks[1:, 0, 1, :, -1].mean(0)},
        seed=seed,
    ),
    check.empirical(
        "N5.low",
        "stable rank over its start, mean of 3 layers that start at r/n = 0.25, alpha = 1",
        ranks[:, 0, 1, :, -1].mean(0),
        above=0.9,
        below=1.1,
        wrong_samples={
            "layers 2 and 3, which start orthogonal": ranks[1:, 0, 2, :, -1].mean(0)
        },
        seed=seed,
    ),
    check.empirical(
        "N5.still",
        "stable rank over its start, mean of 3 layers that start orthogonal, output of standard deviation 100",
        ranks[:, 2, 2, :, -1].mean(0),
        above=0.99,
        wrong_samples={"unscaled outputs": ranks[:, 0, 2, :, -1].mean(0)},
        seed=seed,
    ),
)

# %% mystnb={"figure": {"caption": "Stable ranks of the three layers during training, over their start, mean and range of twelve networks of width 64. Solid: unscaled outputs; dashed: outputs of standard deviation 1 at the start. Layers that start orthogonal lose much of their stable rank; two-level layers of low stable rank, which have one singular value far above the others, keep theirs.", "name": "fig-rank-training"}, "image": {"alt": "Three panels for starting stable ranks of 10, 25 and 100 per cent of the width. In the first two the curves stay close to one, in the third the solid curves fall well below one and the dashed ones a little."}} tags=["hide-input"]
fig, axes = plotting.figure(1, 3, size=(9.6, 3.5), sharey=True)
when = torch.arange(0, steps_drift + 1, 5)
for i, (ax, r) in enumerate(zip(axes, shares, strict=True)):
    for l, color in enumerate(plotting.palette(3)):
        curves = ranks[l, 0, i]
        ax.fill_between(
            when, curves.amin(0), curves.amax(0), color=color, alpha=0.2, linewidth=0
        )
        ax.plot(when, curves.mean(0), color=color, label=f"layer {l + 1}")
        ax.plot(when, ranks[l, 1, i].mean(0), "--", color=color, linewidth=1.2)
    ax.set(xlabel="step", title=f"$r/n={r:g}$ at the start")
axes[0].set_ylabel("stable rank over its start")
plotting.legend(axes[0], loc="lower left")

# %%
glue("digits", digits)
glue("rank-first", ranks[0, 0, 2, :, -1].mean().item())
glue("networks", networks)
glue("lazy", lazy)
glue("drift-unscaled", typical[-1, 0].mean().item())
glue("drift-one", typical[-1, 1].mean().item())
glue("drift-lazy", typical[-1, 2].mean().item())
glue("slope-one", slopes[1].mean().item())
glue("slope-unscaled", slopes[0].mean().item())
glue("rank-orthogonal", ranks[1:, 0, 2, :, -1].mean().item())
glue("rank-orthogonal-one", ranks[1:, 1, 2, :, -1].mean().item())
glue("rank-quarter", ranks[:, 0, 1, :, -1].mean().item())

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
from torch.nn.functional import pad

from figures import training as figures
from measurements import training as measure
from measurements.training import listed, log_error, rms
from srlib import Ensemble, Network, check, feedforward, moments, ntk
from srlib.check import glue
from srlib.experiments import data, training
from srlib.experiments.gradient_flow import GradientDescent, GradientFlow, time_factor

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
# Zero inputs of label zero add nothing to a loss; products of matrices are much faster at multiples of 16.
filled = pad(x, (0, 0, 0, -digits % 16)), pad(y[:, 0], (0, -digits % 16))
r0 = -y[None]  # residuals: the outputs that a network starts with are subtracted


def generator(offset):
    return torch.Generator().manual_seed(seed + 1_000 * offset)


def empirical(*arguments, wrong, **options):
    display(check.empirical(*arguments, wrong_samples=wrong, seed=seed, **options))


def draw(ensembles, count, offset):
    """Networks of several ensembles of equal widths in one batch, as they were drawn."""
    seeded = enumerate(ensembles, offset)
    return Network.cat(e.sample(count, generator=generator(i)) for i, e in seeded)


def in_span(network):
    return replace(network, weights=(network.weights[0] @ basis, *network.weights[1:]))


def equal_layers(depth, ratio, n=width):
    return Ensemble((784,) + (n,) * depth, max(1.0, ratio * n))


# %%
ratios, depths = (0.05, 0.15, 0.4, 1.0), (3, 6)
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
without_readout = GradientFlow(K - ntk.layers(small, images[:digits])[:, -1])
flow = GradientFlow(K)
times = torch.tensor([0.1, 1.0, 10.0, 100.0]) / flow.eigenvalues[:, -1:]
exponential = torch.linalg.matrix_exp(-times[..., None, None] * K[:, None])
text = "residuals on 40 digits from eigenvectors against the matrix exponential, 12 kernels of 3 layers"
wrong = {
    "rate of the loss, twice that of the residual": exponential @ exponential @ r0,
    "the readout's term dropped": without_readout.residuals(r0, times),
}
found = flow.residuals(r0, times)
display(check.exact("N4.flow", text, found, exponential @ r0, wrong=wrong))

# %%
features = measure.factor(everything)  # their Gram matrix is the kernel
step = 0.9 * flow.largest_rate
descent, steps_made = GradientDescent(K, step), torch.arange(101)
w = measure.descend(features[:, :digits], r0, step, 100)
times = step[:, None] * steps_made
trained = features[:, None, :digits] @ w + r0
elsewhere = features[:, None, digits:] @ w
text = "residuals against 100 steps of gradient descent on a linear model, step 0.9 of the largest stable one"
later = descent.residuals(r0, steps_made + 1)
wrong = {"gradient flow": flow.residuals(r0, times), "one step more": later}
found = descent.residuals(r0, steps_made)
display(check.exact("N4.descent", text, found, trained, wrong=wrong))
text = "outputs at 40 digits outside the training set against the same descent"
continuous = flow.changes(cross, r0, times)
flipped = descent.changes(cross.flip(1), r0, steps_made)
wrong = {"gradient flow": continuous, "inputs' own order ignored": flipped}
found = descent.changes(cross, r0, steps_made)
display(check.exact("N4.elsewhere", text, found, elsewhere, wrong=wrong))

# %% [markdown]
# ## A kernel that moves (N4)
#
# If $\Theta_t$ stays within $(1\pm\varepsilon)\Theta_0$ the residual stays within $\varepsilon/(2\sqrt{1-\varepsilon})$
# of the predicted one, for all times. Kernels that jump every so often between random positions of this range, and the
# worst one that was found: $\Theta_t=(1-\varepsilon)\Theta_0$.

# %%
A = K[0, :10, :10]
root, top = measure.symmetric_root(A), torch.linalg.matrix_norm(A, 2).item()
jumps = measure.random_symmetric(60, 10, generator(2))
moves = [root @ E @ root for E in (jumps, -torch.eye(10).expand(60, -1, -1))]
sizes = torch.tensor([0.02, 0.1, 0.3, 0.6, 0.9])[:, None]
gaps = [[measure.distance(A, A + e * M, 0.2 / top) for M in moves] for e in sizes]
allowed = sizes / (2 * (1 - sizes).sqrt())
print("eps:", listed(sizes.ravel(), "g"), "  distance, jumps and worst:")
print([[float(f"{v:.2g}") for v in row] for row in gaps])
near = torch.tensor([1e-3, 0.1, 1.0, 10.0]) / top
other = root @ (torch.eye(10) + 0.3 * jumps[0]) @ root
held, moved = (torch.linalg.matrix_exp(-near[:, None, None] * B) for B in (A, other))
shift = near * torch.linalg.matrix_norm(A - other, 2)
text = "distance of residual operators when the kernel moves within a factor 1 +- eps, five eps from 0.02 to 0.9"
wrong = {"two thirds of the bound": allowed / 1.5, "eps squared": sizes**2}
display(check.bound("N4.relative", text, gaps, allowed, wrong=wrong))
text = "distance of residual operators of two kernels against time times the distance of the kernels"
gaps = torch.linalg.matrix_norm(held - moved, 2)
display(check.bound("N4.absolute", text, gaps, shift, wrong={"half of it": shift / 2}))

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


def rescaled(L, rho, readout):
    return limits(replace(equal_layers(L, rho), readout_norm=rho ** (readout / 2)))


def ratio(L, rho, readout):
    """The kernel over rho^L times that for r = n, and its hidden layers' part over rho^(L-1) times the old one."""
    (T, R), (old_T, old_R) = rescaled(L, rho, readout), full[L]
    return T / (rho**L * old_T), (T - R) / (rho ** (L - 1) * (old_T - old_R))


pairs = [(L, rho) for L in depths for rho in ratios[:-1]]
rhos = torch.tensor([rho for _, rho in pairs])[:, None, None]
full = {L: limits(equal_layers(L, 1.0)) for L in depths}
whole = torch.stack([ratio(L, rho, 1)[0] for L, rho in pairs])
same_readout, hidden = torch.stack([torch.stack(ratio(L, rho, 0)) for L, rho in pairs], 1)
text = "limit kernel with all mean squared weights times rho over rho^L times the old one, 3 and 6 layers, 3 rho"
wrong = {"the power L - 1": rhos, "the readout left as it is": same_readout}
display(check.exact("N4.scaled", text, whole, 1.0, wrong=wrong, tolerance=1e-9))
text = "hidden layers' part of the limit kernel with stable ranks times rho over rho^(L-1) times the old one"
wrong = {"the power L": 1 / rhos}
display(check.exact("N4.hidden", text, hidden, 1.0, wrong=wrong, tolerance=1e-9))


# %%
def factor(L, r):
    """Predicted speed of equal layers over that for r = n."""
    return time_factor(equal_layers(L, r), equal_layers(L, 1.0))


def share_gap(L, rho):
    """Largest distance of the residual operators of the two kernels, one at rescaled time."""
    kernels = torch.stack([full[L][0], rescaled(L, rho, 0)[0] / factor(L, rho)])
    times = torch.logspace(-2, 3, 60) * GradientFlow(kernels[0]).largest_rate
    one, other = GradientFlow(kernels).residuals(torch.eye(digits)[None], times)
    return torch.linalg.matrix_norm(one - other, 2).max()


gaps = torch.stack([share_gap(L, rho) for L, rho in pairs])
allowed = torch.stack([measure.share_bound(*full[L], rho) for L, rho in pairs])
print("distance after rescaling:", listed(gaps, ".3f"))
print("bound:                   ", listed(allowed, ".3f"))
text = "distance of residual operators after rescaling time by the predicted factor, 3 and 6 layers, 3 stable ranks"
wrong = {"half of the bound": allowed / 2}
display(check.bound("N4.share", text, gaps, allowed, wrong=wrong))

# %% [markdown]
# ## Networks on digits (N4)
#
# Networks of 3 and 6 layers of width 256, spectral norm 1, and stable ranks from 5 % of the width to all of it, are
# trained by full-batch gradient descent on $b(f-f_0)$, with $b$ so large that the outputs they start with
# would have standard deviation 1000: the lazy regime. The step is 0.3 of the largest stable one of the limit kernel,
# over $b^2$. Times are those of the flow of $\Theta$, so multiplied by $b^2$. Each network is held against
# the prediction from its own kernel, and all against the prediction from the limit.


# %%
def scale_for(network, size):
    """Factor that gives the outputs at the start this standard deviation over the digits."""
    return size / feedforward.forward(network, x).output.std(1)


def train(network, step, b, count, callback=None):
    """Full-batch gradient descent on b (f - f_0), with steps given in the time of the unscaled kernel."""
    options = {"loss": training.squared, "scale": b, "callback": callback}
    return training.fit(network, *filled, rates=step / b**2, steps=count, **options)


# %%
runs = {}
starts = {3: 10, 6: 510}  # six layers: a confirmatory run, on seeds never used before
for L in depths:
    stack = [equal_layers(L, r) for r in ratios]
    net = in_span(draw(stack, networks, starts[L]))
    wide = torch.stack([limits(e)[0] for e in stack])
    step = GradientFlow(wide).largest_rate.repeat_interleave(networks) * step_share
    times, parts = step[:, None] * torch.arange(steps), ntk.layers(net, x)
    b, K = scale_for(net, lazy), parts.sum(1)
    groups = torch.arange(len(net)).split(4)  # so many networks are what caches hold
    losses = torch.cat([train(net[g], step[g], b[g], steps).losses for g in groups])
    lower = torch.cat([K[:networks], K[:-networks]])
    others = {
        "the readout's term dropped": K - parts[:, -1],
        "the first layer's term dropped": K - parts[:, 0],
        "another network's kernel": K.unflatten(0, (4, -1)).roll(1, 1).flatten(0, 1),
        "the kernel of the next lower stable rank": lower,
    }
    k, own = range(steps), GradientDescent(K, step).losses(r0, range(steps))
    wide = GradientDescent(wide, step[::networks]).losses(r0, k)
    wrong = {name: GradientDescent(T, step).losses(r0, k) for name, T in others.items()}
    if L == 3:  # with six layers too close to tell
        wrong["gradient flow in place of descent"] = GradientFlow(K).losses(r0, times)
    runs[L] = {"times": times, "losses": losses, "own": own, "wide": wide}
    end, off = (losses[:, -1] / losses[:, 0]).view(4, -1).mean(1), log_error(losses, own)
    print(f"{L} layers: loss at the end over the start", listed(end, ".4f"), end="  ")
    print("off by", listed(off.mean(1), ".3f"))
    text = f"largest error of the log loss over {steps} steps and 4 stable ranks, {L} layers, own kernel"
    wrong = {name: log_error(losses, other).amax(0) for name, other in wrong.items()}
    empirical(f"N4.lazy-{L}", text, off.amax(0), below=0.05, wrong=wrong)

# %% mystnb={"figure": {"caption": "Training curves of single networks of width 256 on forty digits, against the time of gradient flow: points; predictions from each network's own kernel at the start: lines; from the infinite-width kernel: dashed. From 5 % of the largest stable rank to all of it, the time scale moves by a factor of several hundred with 3 layers, and of several million with 6. The curves keep their shape.", "name": "fig-training-curves"}, "image": {"alt": "Two panels with a logarithmic time axis. In each, four falling loss curves of the same shape are shifted sideways, the one of lowest stable rank far to the right; points lie on the solid lines, dashed lines are close to them."}} tags=["hide-input"]
for L, run in runs.items():
    early = run["losses"][::networks, [4, 20]] / run["losses"][0, 0]
    for r, row in zip(ratios, early, strict=True):
        print(f"L {L}, r/n {r:g}: loss over its start at steps 4, 20:", listed(row, ".3f"))
fig = figures.curves(runs, ratios, networks)

# %% [markdown]
# ## Collapse (N4)
#
# The time at which a network's loss falls to a tenth, before and after multiplication by the predicted factor: the
# ratio of mean kernels at one input, relative to $r=n$. The spread is the standard deviation of the logarithm over
# the four stable ranks, one number for each set of networks.


# %%
bounds, speed, names = {3: 0.3, 6: 0.6}, {}, {3: "3", 6: "6-fresh"}
grid = torch.logspace(math.log10(ratios[0]), 0, 30).tolist()
for L, run in runs.items():
    log_time = measure.reached(run["losses"], run["times"], level).log().view(4, -1)
    wide = measure.reached(run["wide"], run["times"][::networks], level).log()
    factors = torch.tensor([factor(L, r) for r in ratios]).log()
    shifts = (factors, -wide, -wide[[0, 0, 1, 2]])
    after, off, lower = (log_time + shift[:, None] for shift in shifts)
    line = [wide[-1].exp() / factor(L, r) for r in grid]
    unit = factors.exp() * GradientFlow(full[L][0]).eigenvalues[-1]
    speed[L] = log_time.exp(), (grid, line), unit
    glue(f"before-{L}", log_time.std(0).mean())
    glue(f"after-{L}", after.std(0).mean())
    glue(f"limit-{L}", (wide + factors).std(0))
    glue(f"speed-{L}", off.square().mean().sqrt())
    glue(f"factor-{L}", math.exp(-factors[0]))
    print(f"{L} layers: spread of log time before {log_time.std(0).mean():.2f},", end=" ")
    print(f"after {after.std(0).mean():.2f}, limit's after {(wide + factors).std(0):.2f}")
    text = f"rms over 4 stable ranks of the log time to a tenth of the loss over the limit kernel's, {L} layers"
    off, lower = rms(off), rms(lower)
    wrong = {"the limit of the next lower stable rank": lower}
    empirical(f"N4.limit-{names[L]}", text, off, below=math.log(1.5), wrong=wrong)
    text = f"spread over 4 stable ranks of the log time to a tenth of the loss, rescaled, {L} layers"
    wrong = measure.wrong_spreads(log_time, after, ratios)
    empirical(f"N4.collapse-{L}", text, after.std(0), below=bounds[L], wrong=wrong)

# %% [markdown]
# Do curves collapse where the kernel moves, too? Networks of width 128 with outputs of standard deviation 1 at the
# start, the usual size. The ranges are those of the lazy networks; they were entered before the first of these was drawn.

# %%
for L, offset in {3: 910, 6: 920}.items():
    stack = [equal_layers(L, r, 128) for r in ratios]
    net = in_span(draw(stack, networks, offset))
    wide = torch.stack([limits(e)[0] for e in stack])
    step = GradientFlow(wide).largest_rate.repeat_interleave(networks) * step_share
    groups = torch.arange(len(net)).split(8)
    found = [train(net[g], step[g], scale_for(net[g], 1.0), steps).losses for g in groups]
    times = step[:, None] * torch.arange(steps)
    log_time = measure.reached(torch.cat(found), times, level).log().view(4, -1)
    after = log_time + torch.tensor([factor(L, r) for r in ratios]).log()[:, None]
    text = f"spread of the log time to a tenth of the loss, rescaled, output scale 1, width 128, {L} layers"
    wrong = measure.wrong_spreads(log_time, after, ratios)
    empirical(f"N4.ordinary-{L}", text, after.std(0), below=bounds[L], wrong=wrong)
    glue(f"ordinary-before-{L}", log_time.std(0).mean())
    glue(f"ordinary-after-{L}", after.std(0).mean())

# %% mystnb={"figure": {"caption": "Collapse. Left: time until the loss has fallen to a tenth, against stable rank, one point a network; lines: the time for r = n of the infinite-width kernel, divided by the predicted factor. Middle and right: all loss curves against time multiplied by the predicted factor, in units of the inverse largest eigenvalue of the limit kernel for r = n. What spread is left is that of single networks of finite width; it is larger for six layers.", "name": "fig-training-collapse"}, "image": {"alt": "Left: points on two falling lines on logarithmic axes, the line of six layers much steeper. Middle and right: many falling curves, which lie on top of each other in a narrow band, wider in the right panel."}} tags=["hide-input"]
fig = figures.collapse(speed, runs, ratios)

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
kernel = ntk.empirical(net, x)
step = GradientFlow(kernel).largest_rate * step_share
predicted = GradientDescent(kernel, step).losses(r0, range(steps))
errors = []
for size in sizes:
    measured = train(net, step, scale_for(net, size), steps).losses
    errors.append(log_error(measured, predicted, 0.01).mean(1))  # not the late times
    print(f"scaled output {size:g}: error of the log loss", listed(errors[-1], ".2g"))
errors = torch.stack(errors, 1)
glue("off-ordinary", 100 * errors[:, 0].mean())

# %%
one, kernel, beyond = net[8], kernel[8:9], {}
for share in (0.5, 0.95, 1.05):
    step = share * GradientFlow(kernel).largest_rate
    measured = train(one, step, scale_for(one, lazy), steps).losses[0]
    formula = GradientDescent(kernel, step).losses(r0, range(steps))[0]
    beyond[share] = measured / measured[0], formula / formula[0]
    print(f"step {share:g} of the largest: loss over its start {beyond[share][0][-1]:.2g}")


# %%
def log_spread(e):
    """Spread over networks of the log time to half the loss, predicted from each network's own kernel."""
    kernels = ntk.empirical(in_span(draw([e], networks_spread, 40)), x)
    return measure.half_time_spread(kernels, r0, limits(e)[0][0, 0])


deep, spreads = (2, 4, 8, 16), {}
for r in (0.05, 0.25, 1.0):
    ensembles = [equal_layers(L, r, width_spread).preserving() for L in deep]
    exact = [moments.ntk(e).log_ratio.sqrt() for e in ensembles]
    spreads[r] = [log_spread(e) for e in ensembles], exact
    print(f"r/n {r:g}: spread of log time, depths 2 to 16", listed(spreads[r][0], ".2f"))

# %% mystnb={"figure": {"caption": "Where the constant kernel and the collapse break. Left: largest error of the predicted log loss while the loss falls to a hundredth (width 128, 3 layers), against the standard deviation of the scaled output at the start; only large values are lazy. Middle: loss of one lazy network (points) and of the descent formula (lines) for three steps. Beyond the largest stable step the loss grows, as the formula says. Right: standard deviation over networks of the log time to half the loss, predicted from each network's own kernel (width 96; points), and the exact one of a log-normal kernel at one input with the moments of N2 (lines).", "name": "fig-training-breaks"}, "image": {"alt": "Three panels. Left: errors falling with the scale of the output. Middle: three loss curves against steps, two falling and one rising, points on lines. Right: three rising curves against depth, the lowest stable rank highest."}} tags=["hide-input"]
fig = figures.breaks(sizes, errors, ratios, beyond, deep, spreads)

# %% [markdown]
# ## What moves, and by how much (N5)
#
# Exact first, on small networks that are trained in three regimes, with the outputs as the model has them
# ($b=1$), scaled to standard deviation 1 at the start as in common initializations, and scaled to 100. Squared
# Frobenius norms of the layers: under gradient flow their differences are conserved; under descent they change by the
# difference of the squared increments, and by nothing else.

# %%
sizes = (None, 1.0, 100.0)  # standard deviation of the scaled outputs; none: b = 1
shares = (0.1, 0.25, 1.0)


def in_regimes(net):
    """The same networks once for each regime, their scales, and steps of a fifth of the largest stable one."""
    one = torch.ones(len(net.readout))
    b = torch.cat([one if size is None else scale_for(net, size) for size in sizes])
    net = Network.cat([net] * 3)
    return net, b, 0.2 * GradientFlow(ntk.empirical(net, x)).largest_rate


def preserving(n, depth=3):
    return [equal_layers(depth, r, n).preserving() for r in shares]


# %%
net, b, step = in_regimes(in_span(draw(preserving(24), networks, 50)))
history = []


def keep(k, nets):
    history.append([W.clone() for W in nets.matrices])  # they are updated in place


losses = train(net, step, b, steps_drift, keep).losses
W = [torch.stack(layer, 1) for layer in zip(*history, strict=True)]  # all steps of a layer
count = len(step) // 3  # networks of one regime; the last one is lazy, the others are not
gained, own, sums = measure.balance([layer[: 2 * count] for layer in W])
of_lazy = [layer[2 * count :] for layer in (*W, losses, step / b**2)]
moved, allowed = measure.distance_bound(of_lazy[:-2], *of_lazy[-2:], 0.2)
text = f"change of the differences of squared layer norms against the increments' own, {2 * count} networks, every step"
wrong = {"conserved, as under the flow": 0.0, "sums in place of differences": sums}
# The norms are orders of magnitude larger than the increments.
display(check.exact("N5.balance", text, gained, own, wrong=wrong, tolerance=1e-7))
text = "squared distance of the weights from their start against time times the fall of the loss, lazy descent"
wrong = {"nine tenths of the bound": 0.9 * allowed}
display(check.bound("N5.distance", text, moved, allowed, wrong=wrong))

# %%
first, last = ([layer[:count, k] for layer in W[:-1]] for k in (0, -1))
start, end, d = measure.moves(first, last)
text = f"root of the stable rank at the start against what rank and distance after training allow, {start.numel()} layers, b = 1"
wrong = {"the spectral norm kept": end + d, "distance left out": end}
check.bound("N5.range", text, start, end * (1 + d) + d, wrong=wrong)

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
    net, b, step = in_regimes(in_span(draw(ensembles, count, offset)))
    drift = measure.drift(net, train(net, step, b, steps_drift), x)
    return drift.view(3, len(ensembles), count)


# %%
widths, deep = (32, 64, 128), (2, 4, 8)
by_width = torch.stack([drifts(preserving(n), networks_drift, 60) for n in widths])
by_depth = torch.stack([drifts(preserving(32, L), networks_drift, 70) for L in deep])
slopes = measure.slope(widths, by_width[:, :, 1:].log().mean(2))  # r/n = 0.25 and 1
typical, typical_deep = (values.log().nanmean(-1).exp() for values in (by_width, by_depth))
for i, name in enumerate(("b = 1", "output 1", "output 100")):
    ends = listed((*typical[0, i], *typical[-1, i]), ".2g")
    print(f"{name}: drift, r/n 0.1, 0.25, 1, at width 32 and 128:", ends, end="  ")
    print(f"slope {slopes[i].mean():.2f}")
unscaled, one, lazy_drift = by_width[-1]
text = "slope of log kernel drift against log width, output of standard deviation 1 at the start"
wrong = {"outputs not scaled, b = 1": slopes[0]}
scatter = {"false_alarm": 1e-3}  # so few networks of three widths scatter
empirical("N5.width", text, slopes[1], below=-0.25, wrong=wrong, **scatter)
text = "slope of log kernel drift against log width, outputs not scaled, b = 1"
wrong = {"output of standard deviation 1": slopes[1]}
empirical("N5.unscaled", text, slopes[0], above=-0.25, below=0.25, wrong=wrong, **scatter)
text = "log10 of the kernel drift at output scale 100 over that at 1, width 128, mean over stable ranks"
wrong = {"outputs not scaled": (unscaled / one).log10().mean(0)}
empirical("N5.lazy", text, (lazy_drift / one).log10().mean(0), below=-1.0, wrong=wrong)
text = "log of the kernel drift at r/n = 0.1 over that at r/n = 1, matched scale, width 128, b = 1"
found = (unscaled[0] / unscaled[2]).log()
wrong = {"output of standard deviation 1 at r/n = 1": (unscaled[0] / one[2]).log()}
empirical("N5.rank", text, found, above=math.log(0.5), below=math.log(2), wrong=wrong)

# %% mystnb={"figure": {"caption": "Relative movement of the tangent kernel during training on forty digits, geometric means over the networks of one stable rank, at matched scale. Left: against width, three layers. With unscaled outputs the kernel changes by a multiple of itself at every width. With outputs of standard deviation 1 at the start it moves less the wider the network (dotted: slope -1/2). At 100 it hardly moves, and for r = n it does not fall. Right: against depth, width 32. Stable rank, in colour, matters little.", "name": "fig-kernel-drift"}, "image": {"alt": "Two panels with logarithmic axes. Left: three groups of curves, one flat near 4, one that falls with width, and one near a thousandth. Right: the same three groups against depth. Within each group the three colours are close together."}} tags=["hide-input"]
fig = figures.drift(widths, typical, deep, typical_deep, shares)

# %% [markdown]
# ## Stable ranks of the layers during training (N5)
#
# The first layer is put together again from its part in the span, which moved, and the rest, which did not.

# %%
original = draw(preserving(width_ranks), networks, 80)
net, b, step = in_regimes(in_span(original))
outside = torch.cat([original.weights[0] - original.weights[0] @ basis @ basis.T] * 3)
seen = []


def watch(k, nets):
    if k % 5 == 0:
        layers = (outside + nets.weights[0] @ basis.T, *nets.weights[1:])
        seen.append(torch.stack([measure.stable_ranks(layer) for layer in layers]))


train(net, step, b, steps_drift, watch)
ranks = torch.stack(seen, -1)  # layer, regime, r/n, network, time
ranks = (ranks / ranks[..., :1]).view(3, 3, len(shares), networks, -1)
end = ranks[..., -1]
for r, found in zip(shares, end.mean(-1).unbind(2), strict=True):
    print(f"r/n {r:g}: stable ranks of layers 1, 2, 3 over their start: b = 1:", end=" ")
    print(listed(found[:, 0], ".2f"), "  output 1", listed(found[:, 1], ".3f"))
orthogonal, quarter = end[1:, 0, 2].mean(0), end[:, 0, 1].mean(0)
what = "stable rank over its start, mean of"
text = f"{what} layers 2 and 3, which start orthogonal, b = 1"
wrong = {"layers that start at r/n = 0.25": end[1:, 0, 1].mean(0)}
empirical("N5.orthogonal", text, orthogonal, below=0.7, wrong=wrong)
text = f"{what} 3 layers that start at r/n = 0.25, b = 1"
wrong = {"layers 2 and 3, which start orthogonal": orthogonal}
empirical("N5.low", text, quarter, above=0.9, below=1.1, wrong=wrong)
text = f"{what} 3 layers that start orthogonal, output of standard deviation 100"
wrong = {"unscaled outputs": end[:, 0, 2].mean(0)}
empirical("N5.still", text, end[:, 2, 2].mean(0), above=0.99, wrong=wrong)

# %% mystnb={"figure": {"caption": "Stable ranks of the three layers during training, over their start, mean and range over the networks, of width 64. Solid: unscaled outputs; dashed: outputs of standard deviation 1 at the start. Layers that start orthogonal lose much of their stable rank; two-level layers of low stable rank, which have one singular value far above the others, keep theirs.", "name": "fig-rank-training"}, "image": {"alt": "Three panels for starting stable ranks of 10, 25 and 100 per cent of the width. In the first two the curves stay close to one, in the third the solid curves fall well below one and the dashed ones a little."}} tags=["hide-input"]
fig = figures.ranks(range(0, steps_drift + 1, 5), ranks[:, 0], ranks[:, 1], shares)

# %%
glue("digits", digits)
glue("rank-first", end[0, 0, 2].mean())
glue("networks", networks)
glue("lazy", lazy)
regimes = zip(("unscaled", "one", "lazy"), typical[-1], slopes, strict=True)
for name, drift, slope in regimes:
    glue(f"drift-{name}", drift.mean())
    glue(f"slope-{name}", slope.mean())
glue("rank-orthogonal", orthogonal.mean())
glue("rank-orthogonal-one", end[1:, 1, 2].mean())
glue("rank-quarter", quarter.mean())

"""Figures of the notebook on the tangent kernel's mean and its limit."""

import itertools

import torch

from srlib import plotting

__all__ = ["convergence", "digits", "layer_shares"]


def layer_shares(profiles, predicted, simulated, half):
    """Shares of four layers in the mean kernel, by the name of the profile of their stable ranks, (4,) each."""
    fig, ax = plotting.figure(size=(8.2, 3.6))
    colors = plotting.palette(range(4))
    for i, (name, ranks) in enumerate(profiles.items()):
        for l, r in enumerate(ranks):
            x = i + 0.2 * (l - 1.5)
            label = f"layer {l + 1}" if i == 0 else None
            ax.bar(x, predicted[name][l], 0.18, color=colors[l], alpha=0.75, label=label)
            plotting.points(ax, [x], [simulated[name][l]], [half[name][l]], color="0.15")
            style = {"textcoords": "offset points", "ha": "center", "va": "top"}
            ax.annotate(f"{r}", (x, 0), (0, -4), **style)
    ax.set(xticks=range(4), xticklabels=list(profiles), ylim=(0, 0.82))
    ax.set_ylabel(r"share of $\mathbb{E}\,\Theta_l$ in the sum of layers")
    ax.set_xlabel(r"profile, with the stable ranks $r_1,\dots,r_4$ above its name")
    ax.tick_params(axis="x", pad=16, length=0)
    plotting.legend(ax, loc="upper left", ncols=2)
    return fig


def convergence(curves, depths, growth):
    """Errors against width, by name the columns width, error of the mean, its half-interval, error of one network and
    predicted deviation; and errors of one network and predicted deviations against depth, by name.
    """
    fig, (mean, one, deep) = plotting.figure(1, 3, size=(10.2, 4.5))
    span = torch.tensor([10.5, 55.0])
    for (name, c), color in zip(curves.items(), plotting.palette(4), strict=True):
        n, error, half, single, exact = c.T
        plotting.theory(mean, span, error[-1] * n[-1] / span, color=color)
        plotting.points(mean, n, error, half, color=color, label=name)
        plotting.theory(one, n, exact, color=color)
        plotting.points(one, n, single, color=color)
    colors = plotting.palette(range(3))
    for (name, (errors, exact)), color in zip(growth.items(), colors, strict=True):
        plotting.theory(deep, depths, exact, color=color)
        plotting.points(deep, depths, errors, color=color, label=name)
    panels = {
        "mean over networks": (0.005, 0.01, 0.02, 0.05, 0.1),
        "one network": (0.5, 1, 2, 5),
        "one network, $n=32$": (0.2, 0.5, 1, 2),
    }
    for ax, (title, ticks) in zip((mean, one, deep), panels.items(), strict=True):
        ax.set(xscale="log", yscale="log", title=title, xlabel="width $n$")
        ax.minorticks_off()
        ax.set(yticks=ticks, yticklabels=[f"{t:g}" for t in ticks])
    for ax in (mean, one):
        ax.set(xticks=(12, 24, 48), xticklabels=("12", "24", "48"))
    deep.set(xlabel="depth $L$", xticks=depths, xticklabels=depths)
    mean.set_ylabel(r"error of $\mathbb{E}\,\Theta(x,y)$ over $\Theta(x,x)$")
    one.set_ylabel(r"relative error of $\Theta(x,y)$")
    handles, style = mean.get_legend_handles_labels(), {"ncols": 2, "frameon": False}
    fig.legend(*handles, loc="outside lower center", fontsize="small", **style)
    plotting.legend(deep, loc="upper left")
    return fig


def digits(limit, K, label):
    """Limit kernels of the digits, tangent and feature, whose labels ascend, and the kernels of networks,
    (networks, N, N).
    """
    fig, (left, right) = plotting.figure(1, 2, size=(8.8, 4.1))
    tangent, feature = limit.ntk / limit.ntk[0, 0], limit.nngp / limit.nngp[0, 0]
    picture = left.imshow(tangent, cmap="viridis", vmin=0.3)
    left.grid(False)
    edges = torch.searchsorted(label, torch.arange(11)).tolist()
    middle = [(a + b - 1) / 2 for a, b in itertools.pairwise(edges) if b > a]
    present = label.unique().tolist()
    left.set_xticks(middle, present)
    left.set_yticks(middle, present)
    left.set(xlabel="label of $y$", ylabel="label of $x$")
    name = r"limit of $\Theta(x,y)\,/\,\Theta(x,x)$"
    fig.colorbar(picture, ax=left, shrink=0.8, label=name)
    i, j = torch.triu_indices(len(label), len(label), 1)
    one, mean = ((M / M.diagonal().mean())[i, j] for M in (K[0], K.mean(0)))
    (blue, orange), x = plotting.palette(2), tangent[i, j]
    dots = {"linestyle": "none", "marker": ".", "markersize": 3}
    right.plot(x, feature[i, j], color="0.7", label="feature kernel, limit", **dots)
    right.plot(x, one, color=orange, alpha=0.6, label="one network", **dots)
    right.plot(x, mean, color=blue, label=f"mean of {len(K)} networks", **dots)
    plotting.theory(right, (0, 1), (0, 1), color="0.2", linewidth=1)
    right.set(xlabel=name, ylabel="kernel over its mean diagonal")
    right.set(xlim=(0.25, 1), ylim=(0.25, 1))
    plotting.legend(right, loc="lower right", markerscale=3)
    return fig

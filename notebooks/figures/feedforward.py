"""Figures of the notebook on feature norms."""

import math

import torch

from srlib import plotting

__all__ = ["bracket", "collapse", "depth", "spread"]


def depth(clouds, means, ranks, along, slope):
    """Squared feature norms against depth, by r / n: networks, shape (networks, L), and exact means, (L + 1,); and
    those of two layers against the second one's stable rank, shape (networks, ranks), with their slope.
    """
    fig, (left, right) = plotting.figure(1, 2, size=(8.8, 4.2), width_ratios=(1.75, 1))
    levels = range(1, 17)
    for (ratio, X), color in zip(clouds.items(), plotting.palette([*clouds]), strict=True):
        mean, half = X.mean(0), 1.96 * X.std(0) / X.mean(0) / math.sqrt(len(X))
        error = mean * -torch.expm1(-half), mean * torch.expm1(half)
        left.plot(levels, X[:20].T, color=color, alpha=0.16, linewidth=0.7, zorder=1)
        plotting.theory(left, range(17), means[ratio], color=color)
        plotting.points(left, levels, mean, error, color=color)
        style = {"color": color, "va": "center", "fontweight": "bold"}
        at = (16, means[ratio][-1])
        left.annotate(f"$r/n={ratio:g}$", at, (8, 0), textcoords="offset points", **style)
    left.set(yscale="log", xlim=(-0.3, 19.9), xticks=range(0, 17, 2))
    left.set(xlabel="depth $l$", title="exponential in depth")
    left.set_ylabel(r"mean squared feature norm $\mathbb{E}\,\|h_l\|^2 / \|x\|^2$")
    blue, error = plotting.palette(1)[0], 1.96 * along.std(0) / math.sqrt(len(along))
    plotting.theory(right, (0, 16), (0, 16 * slope), color=blue, label=r"F2: $\propto r_2$")
    plotting.points(right, ranks, along.mean(0), error, color=blue, label="dense networks")
    right.set(xlim=(0, 16.5), ylim=(0, None), title="linear in each stable rank")
    right.set_xlabel("stable rank $r_2$ of the second layer")
    right.set_ylabel(r"$\mathbb{E}\,\|h_2\|^2 / \|x\|^2$")
    plotting.legend(right, loc="upper left")
    return fig


def spread(logs):
    """Densities of log squared feature norms, by name; smoothed a little more than by Silverman's rule, since the
    inputs to one network are dependent.
    """
    fig, ax = plotting.figure(size=(6.4, 3.8))
    grid = torch.linspace(-6, 3, 200)
    for (label, X), color in zip(logs.items(), plotting.palette(4), strict=True):
        width = 1.4 * X.std() * len(X) ** -0.2
        bumps = (-((grid[:, None] - X) ** 2) / (2 * width**2)).exp()
        density = bumps.mean(1) / (width * math.sqrt(2 * math.pi))
        ax.plot(grid, density, color=color, label=label)
        ax.fill_between(grid, density, color=color, alpha=0.07)
    ax.axvline(0, color="0.3", linestyle="--", linewidth=1)
    style = {"textcoords": "offset points", "color": "0.3", "va": "top"}
    where = {"xycoords": ("data", "axes fraction")}
    ax.annotate("mean 1\nfor all four", (0, 0.97), (40, 0), **where, **style)
    ax.set(xlabel=r"$\log\,\|h_6\|^2/\|x\|^2$", ylabel="density")
    ax.set(xlim=(-6, 3.4), ylim=(0, None))
    plotting.legend(ax, loc="upper left")
    return fig


def collapse(kind, exact, epsilon, naive, value, error, labels):
    """Simulated log moment ratios and their standard errors against three predictions, one point a network and depth;
    the kind is the index of the point's label.
    """
    fig, axes = plotting.figure(1, 3, size=(9.6, 3.7), sharey=True)
    panels = {
        "exact, F3": (exact, r"$\log$ of the predicted ratio"),
        "leading order": (epsilon, r"fluctuation exponent $\epsilon$"),
        "stable rank only": (naive, r"$\epsilon$ with $r_l$ in place of $p_l$"),
    }
    for ax, (title, (x, name)) in zip(axes, panels.items(), strict=True):
        plotting.theory(ax, (0, 1.75), (0, 1.75), color="0.5")
        for a, (label, color) in enumerate(zip(labels, plotting.palette(3), strict=True)):
            rows = (kind == a) & (x <= 1.75)
            half = 1.96 * error[rows]
            plotting.points(ax, x[rows], value[rows], half, color=color, label=label)
        ax.set(title=title, xlabel=name, xlim=(-0.05, 1.8), ylim=(-0.05, 1.8))
    axes[0].set_ylabel(r"simulated $\log\,\mathbb{E}X_L^2 / (\mathbb{E}X_L)^2$")
    plotting.legend(axes[0], loc="upper left")
    return fig


def bracket(axis, ends, middle, uniform, gaussian):
    """Fluctuation exponent times n / L against r / n: two-level, projector and power-law spectra along an axis,
    uniform ones at some points, and Gaussian matrices, (r / n, exponent).
    """
    fig, ax = plotting.figure(size=(6.4, 3.8))
    names = "two-level (lowest)", "projector (highest)", "power law"
    *lines, fourth, fifth = plotting.palette(5)
    ax.fill_between(axis, ends[0], ends[1], color="0.93")
    for y, color, name in zip(ends, lines, names, strict=True):
        plotting.theory(ax, axis, y, color=color, label=name)
    plotting.points(ax, middle, uniform, color=fourth, label="uniform on the sphere")
    label = "drawn Gaussian matrices"
    plotting.points(ax, *gaussian, color=fifth, marker="D", label=label)
    ax.axhline(3, color="0.4", linestyle=":", linewidth=1)
    ax.set(xlim=(0, 1.02), ylim=(2, 14), xlabel="stable rank over width $r/n$")
    ax.set_ylabel(r"fluctuation exponent $\epsilon\, n/L$")
    plotting.legend(ax, loc="upper right")
    return fig

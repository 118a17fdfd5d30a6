"""Figures of the notebook on signs, typical growth, angles and gradients."""

import math

import numpy as np
import torch

from srlib import arccos, plotting

__all__ = ["angles", "lipschitz", "participation", "singular", "typical"]


def typical(paths, growth):
    """By label, log10 squared norms of networks, shape (networks, L + 1), and the predicted mean and variance of the
    growth of every layer's logarithm.
    """
    fig, axes = plotting.figure(1, 2, size=(8.4, 3.7), sharey=True)
    for ax, (label, y), color in zip(axes, paths.items(), plotting.palette(2), strict=True):
        layers = np.arange(y.shape[1])
        mean, variance = (np.append(0, v.cumsum(0)) for v in growth[label])
        line, spread = mean / math.log(10), 2 * np.sqrt(variance) / math.log(10)
        ax.plot(layers, y.T, color="0.6", linewidth=0.5, zorder=1)
        ax.fill_between(layers, line - spread, line + spread, color=color, alpha=0.15)
        plotting.theory(ax, layers, line, color=color, label="typical, F5")
        ax.axhline(0, color="0.2", linestyle="--", linewidth=1.2, label="mean, F2")
        ax.set(title=label, xlabel="layer $l$")
    axes[0].set_ylabel(r"$\log_{10}\,\|h_l\|^2/\|x\|^2$")
    plotting.legend(axes[0], loc="lower left")
    return fig


def angles(before, after, names, p, spread):
    """Angles after a layer, by name, shape (pairs, angles), against those before it; and deviations of the cosine over
    the squared sine, shape (laws x ranks, angles), against participation ranks, by the laws' names, at width 128.
    """
    fig, (left, right) = plotting.figure(1, 2, size=(8.8, 3.8))
    line = torch.linspace(0, math.pi, 100)
    limit = arccos.next_angle(line).rad2deg()
    plotting.theory(left, line.rad2deg(), limit, color="0.3", label="infinite width")
    colors = plotting.palette(2)
    for i, ((name, y), color) in enumerate(zip(after.items(), colors, strict=True)):
        x = before.rad2deg() + 3 * i - 1.5
        plotting.points(left, x, y.mean(0), y.std(0), color=color, label=name)
    left.set(xlabel=r"angle before $\theta$ (degrees)")
    left.set_ylabel(r"angle after the layer (degrees)")
    plotting.legend(left, loc="upper left")
    axis = 128 - torch.logspace(-2, math.log10(114), 200)
    leading = (1 / axis - 1 / 128).sqrt()
    plotting.theory(right, axis, leading, color="0.3", label=r"$\sqrt{1/p-1/n}$")
    p, spread = p.repeat_interleave(spread.shape[1]), spread.flatten()
    rows = zip(names, p.chunk(3), spread.chunk(3), plotting.palette(3), strict=True)
    for name, x, y, color in rows:
        plotting.points(right, x, y, color=color, label=name)
    right.set(yscale="log", ylim=(0.003, 0.5), xlabel="participation rank $p$")
    right.set_ylabel(r"deviation of $\cos\theta'$ over $\sin^2\theta$")
    plotting.legend(right, loc="lower left")
    return fig


def lipschitz(curve, lines, whole, measured):
    """Growth per layer against r / n: by name, the typical gain along a curve, and at some points the norm of the
    Jacobian and the gain of one input, shape (points, 2).
    """
    fig, axes = plotting.figure(1, 2, size=(8.4, 3.7), sharey=True)
    panels = zip(axes, measured.items(), plotting.palette(2), strict=True)
    root = np.sqrt(curve / 2)
    for ax, (name, y), color in panels:
        bound = {"color": "0.2", "linestyle": "--", "linewidth": 1.2}
        ax.axhline(1, label=r"bound $\prod s_l$", **bound)
        plotting.points(ax, whole, y[:, 0], color=color, marker="D", label=r"$\|J\|_2$")
        plotting.theory(ax, curve, root, color="0.6", label=r"root mean square, F7")
        plotting.theory(ax, curve, lines[name], color=color, label="typical, F5")
        plotting.points(ax, whole, y[:, 1], color=color, label=r"$\|Jx\|$")
        ax.set(title=name, xlabel="stable rank over width $r/n$", ylim=(0, 1.08))
    axes[0].set_ylabel("growth per layer at $s=1$")
    plotting.legend(axes[1], outside=True)
    return fig


def singular(quantiles, depths):
    """Sorted singular values by name, shape (n,) for each depth."""
    fig, axes = plotting.figure(1, 4, size=(10.4, 3.4), sharey=True)
    for ax, (name, curves) in zip(axes, quantiles.items(), strict=True):
        for y, d, color in zip(curves, depths, plotting.palette(depths), strict=True):
            kept = y > 1e-4
            index = np.arange(1, len(y) + 1)[kept]
            ax.plot(index, y[kept], color=color, label=f"$L={d}$")
        ax.axhline(1, color="0.2", linestyle="--", linewidth=1)
        ax.set(title=name, yscale="log", ylim=(1e-4, 30), xlabel="index", xlim=(0, 40))
    axes[0].set_ylabel("singular value of $J$")
    plotting.legend(axes[0], loc="upper right")
    return fig


def participation(curves, depths, points):
    """Participation ranks of the Jacobian against depth, by name: exact and leading order at every depth, and measured
    at some depths with standard errors, shape (depths, 2).
    """
    fig, (rank, inverse) = plotting.figure(1, 2, size=(8.6, 3.8))
    for (name, (exact, leading)), color in zip(
        curves.items(), plotting.palette(3), strict=True
    ):
        x, (p, error) = np.arange(1, len(exact) + 1), points[name].T
        for ax, power in ((rank, 1), (inverse, -1)):
            plotting.theory(ax, x, exact**power, color=color)
            ax.plot(x, leading**power, color=color, linestyle="--", linewidth=1)
            half = 1.96 * error * p ** (power - 1)
            plotting.points(ax, depths, p**power, half, color=color, label=name)
    rank.set(xscale="log", yscale="log", xlabel="depth $L$", ylabel="$p_J$")
    rank.set(xticks=depths, xticklabels=depths, yticks=(1, 3, 10, 30))
    rank.set(yticklabels=("1", "3", "10", "30"))
    rank.minorticks_off()
    inverse.set(xlabel="depth $L$", ylabel="$1/p_J$", ylim=(0, 1.6))
    inverse.set(xticks=(1, 4, 8, 12, 16))
    inverse.plot([], [], color="0.3", linewidth=1.6, label="exact, F8")
    inverse.plot([], [], "--", color="0.3", linewidth=1, label="sum of $1/p$")
    plotting.legend(inverse, loc="upper left")
    return fig

"""Figures of the notebook on exact simulation."""

import math

import numpy as np
import torch

from srlib import plotting

__all__ = ["angles", "depth", "same_law", "wide"]


def same_law(dense, simulated, claim, correlations):
    """Rows of dense and of simulated networks: differences of five distribution functions, beside what the claim allows;
    and Spearman correlations by pair, in dense networks, in simulated ones and with fresh weights.
    """
    dense, simulated = np.asarray(dense), np.asarray(simulated)
    columns = {r"$\|h_3\|^2$": 2, r"$\|\delta_1\|^2$": 3, r"$f^2$": 7}
    columns |= {r"$\Theta_2$": 9, r"$\Theta_3$": 10}
    levels = np.linspace(0.005, 0.995, 100)
    fig, (left, right) = plotting.figure(1, 2, size=(8.4, 4.0))
    allowed = 100 * claim.interval[1] - 100 * claim.estimate
    left.axhspan(-allowed, allowed, color="0.94")
    for (label, column), color in zip(columns.items(), plotting.palette(5), strict=True):
        quantiles = np.quantile(simulated[:, column], levels)
        share = np.searchsorted(np.sort(dense[:, column]), quantiles) / len(dense)
        left.plot(levels, 100 * (share - levels), color=color, label=label)
    left.set(title="Distribution functions", xlabel="quantile level of the simulation")
    left.set(ylabel="difference in percent", ylim=(-4.5, 4.5))
    plotting.theory(right, (-0.05, 1.05), (-0.05, 1.05), color="0.5")
    blue, orange = plotting.palette(2)
    y, x, fresh = (list(found.values()) for found in correlations)
    hollow = {"mfc": "none", "color": orange, "markersize": 6}
    right.plot(x, fresh, "o", label="fresh weights", **hollow)
    plotting.points(right, x, y, color=blue, label="dense networks")
    right.set(title="Spearman correlations", xlabel="simulation", ylabel="dense sampling")
    plotting.legend(left, loc="lower center", ncols=5, columnspacing=0.9)
    plotting.legend(right, loc="upper left")
    return fig


def wide(panels):
    """Histograms and normal densities: for each panel, by label, the draws and the density's mean and variance."""
    fig, axes = plotting.figure(1, 2, size=(8.4, 3.7))
    for ax, (name, curves) in zip(axes, panels.items(), strict=True):
        for (label, (x, m, v)), color in zip(
            curves.items(), plotting.palette(2), strict=True
        ):
            grid = m + v.sqrt() * torch.linspace(-3.5, 3.5, 150)
            density = (-((grid - m) ** 2) / (2 * v)).exp() / (2 * math.pi * v).sqrt()
            ax.hist(x.numpy(), 40, density=True, color=color, alpha=0.3)
            plotting.theory(ax, grid, density, color=color, label=label)
        ax.axvline(0, color="0.3", linestyle="--", linewidth=1)
        ax.set(title=name, xlabel="logarithm", ylim=(0, 1.3 * ax.get_ylim()[1]))
    axes[0].set_ylabel("density")
    plotting.legend(axes[0], loc="upper left")
    return fig


def depth(depths, spread, lines, networks):
    """Spread of the log kernel against depth, by label: over so many simulated networks, and predicted."""
    fig, ax = plotting.figure(size=(6.4, 4.0))
    for (label, y), color in zip(spread.items(), plotting.palette(4), strict=True):
        error = 1.96 * y / math.sqrt(2 * networks)
        plotting.theory(ax, depths, lines[label], color=color)
        plotting.points(ax, depths, y, error, color=color, label=label)
    ax.set(xscale="log", yscale="log", xlabel="depth $L$")
    ax.set_ylabel(r"standard deviation of $\log\,\Theta$")
    plotting.legend(ax, loc="upper left")
    return fig


def angles(limit, simulated, participation, deviations):
    """Angles after each layer: their limit, shape (L + 1,); simulated ones by spectrum, (networks, L + 1), its
    participation rank, and the predicted standard deviations, (L + 1,).
    """
    fig, (left, right) = plotting.figure(1, 2, size=(8.4, 3.7))
    layers = torch.arange(len(limit))
    plotting.theory(left, layers, limit.rad2deg(), color="0.3", label="infinite width")
    for k, (name, color) in enumerate(zip(simulated, plotting.palette(2), strict=True)):
        angle, predicted = simulated[name].rad2deg(), deviations[name].rad2deg()
        mean, spread = angle.mean(0), angle.std(0)
        error = 1.96 * spread / math.sqrt(2 * len(angle))
        style = {"color": color, "label": f"{name}, $p={participation[name]:.0f}$"}
        plotting.points(left, layers + 0.3 * k - 0.15, mean, spread, **style)
        plotting.theory(right, layers[1:], predicted[1:], color=color)
        plotting.points(right, layers[1:], spread[1:], error[1:], **style)
    left.set(xlabel="layer $l$", ylabel=r"angle $\theta_l$ (degrees)")
    right.set(yscale="log", xlabel="layer $l$", ylabel="standard deviation (degrees)")
    right.set_ylim(0.05, 40)
    plotting.legend(left, loc="upper right")
    plotting.legend(right, loc="upper right", ncols=2)
    return fig

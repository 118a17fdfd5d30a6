"""Figures of the notebook on drawing matrices of a given stable rank."""

import math

import torch

from srlib import plotting

__all__ = ["kac_walk", "sign_fix", "spectra"]


def spectra(quantiles):
    """Low, middle and high quantile of the singular values, shape (3, k), by stable rank and name of the law."""
    ranks, names = (list(dict.fromkeys(part)) for part in zip(*quantiles, strict=True))
    colour = dict(zip(names, plotting.palette(len(names)), strict=True))
    fig, axes = plotting.figure(1, len(ranks), size=(9.4, 3.4), sharey=True)
    panels = dict(zip(ranks, axes, strict=True))
    for (r, name), (low, middle, high) in quantiles.items():
        k, ax, color = len(middle), panels[r], colour[name]
        position = torch.arange(1, k + 1) / k
        plotting.theory(
            ax, position, middle, color=color, label=name, drawstyle="steps-mid"
        )
        ax.fill_between(
            position, low, high, step="mid", color=color, alpha=0.25, linewidth=0
        )
        ax.set(title=f"$r={r:g}$, $r/k={r / k:.3g}$", xlabel="$i/k$", ylim=(-0.02, 1.05))
    axes[0].set_ylabel(r"$\sigma_i$")
    plotting.legend(axes[2], outside=True)
    return fig


def kac_walk(sweeps, distances, exact):
    """Distance from the stationary quartic trace after some sweeps, by share r / k: value and interval, shape (times,)
    each, and the exact one after 0, 1, ... sweeps for the first share.
    """
    fig, ax = plotting.figure(size=(6.4, 3.8))
    colours = plotting.palette(list(distances))
    for (share, (gap, error)), color, marker in zip(
        distances.items(), colours, "osD^v", strict=True
    ):
        seen = gap > 1.5 * error + 1e-3
        label = f"$r/k={share:.2g}$"
        x = torch.tensor(sweeps)[seen]
        plotting.points(
            ax, x, gap[seen], error[seen], color=color, marker=marker, label=label
        )
    plotting.theory(ax, range(len(exact)), exact, color=colours[0], label="exact, $r=2$")
    ax.set(yscale="log", ylim=(1e-3, 1.2), xlim=(-0.5, 16), xlabel="sweeps")
    ax.set_ylabel(r"$|1-q_t/q_\infty|$ of the tail")
    plotting.legend(ax, loc="upper right")
    return fig


def sign_fix(fixed, unfixed, bins, densities):
    """First entries of matrices of width 4, with and without the fix, and the eigenvalues' densities at width 8 in
    bins of their phase: value and interval, shape (bins,) each, with and without.
    """
    fig, (left, right) = plotting.figure(1, 2, size=(9.0, 3.6))
    with_fix, without = plotting.palette(2)
    edges, x = torch.linspace(-1, 1, 41), torch.linspace(-1, 1, 201)
    left.hist(unfixed, edges, density=True, color=without, alpha=0.6, label="without")
    left.hist(
        fixed, edges, density=True, color=with_fix, alpha=0.6, label="with the sign fix"
    )
    plotting.theory(
        left, x, 2 / math.pi * (1 - x**2).sqrt(), color="black", label="Haar, exact"
    )
    left.set(xlabel="$Q_{11}$", ylabel="density", title="first entry, $n=4$")
    plotting.legend(left, loc="upper right")
    for (density, error), color in zip(densities, (with_fix, without), strict=True):
        plotting.points(right, (bins[1:] + bins[:-1]) / 2, density, error, color=color)
    plotting.theory(right, bins, torch.full(bins.shape, 7 / (2 * math.pi)), color="black")
    right.set(xlabel="phase", ylabel="eigenvalues a radian", title="eigenvalues, $n=8$")
    right.set_xticks([0, math.pi / 2, math.pi], ["0", r"$\pi/2$", r"$\pi$"])
    right.set_ylim(0, None)
    return fig

"""Figures of the notebook on the tangent kernel's fluctuations."""

import itertools
import math

import numpy as np

from srlib import plotting

__all__ = ["breakdown", "collapse", "gaussian", "ratios"]


def ratios(exact, simulated, error):
    """Four layer terms: exact ratios as a heat map, and simulated ones against them, shape (4, 4) each."""
    fig, (left, right) = plotting.figure(1, 2, size=(8.4, 3.8))
    left.grid(False)
    left.imshow(exact, cmap="viridis", vmin=1, vmax=1.1 * exact.max())
    labels = [r"$\Theta_1$", r"$\Theta_2$", r"$\Theta_3$", r"$\Theta_\mathrm{out}$"]
    left.set_xticks(range(4), labels)
    left.set_yticks(range(4), labels)
    for i, j in itertools.product(range(4), repeat=2):
        left.text(j, i, f"{exact[i, j]:.2f}", ha="center", va="center", color="white")
    left.set_title(
        r"$\mathbb{E}[\Theta_l\Theta_k]/(\mathbb{E}\Theta_l\,\mathbb{E}\Theta_k)$"
    )
    ends = [1, 1.05 * exact.max()]
    plotting.theory(right, ends, ends, color="0.5")
    x, y, error = (table[np.triu_indices(4)] for table in (exact, simulated, error))
    plotting.points(right, x, y, error, color=plotting.palette(1)[0])
    right.set(xlabel="exact ratio", ylabel="simulated ratio", title="ten distinct entries")
    return fig


def gaussian(exact, simulated):
    """Log moment ratios of Gaussian networks: exact ones by width, (depths, values), and those simulated at width 16
    by depth, (value, standard error).
    """
    fig, ax = plotting.figure(size=(5.8, 4.0))
    x = np.linspace(0, 5, 50)
    ax.fill_between(x, np.maximum(x - math.log(3), 0), x, color="0.94")
    ax.plot(x, x, ":", color="0.3", label="upper bound")
    ax.plot(x, 11 / 15 * x, "--", color="0.6", linewidth=1, label="slope 11/15")
    colors = dict(zip(exact, plotting.palette(list(exact)), strict=True))
    for n, (depths, y) in exact.items():
        x = depths * math.log1p(5 / n)
        plotting.theory(ax, x, y, color=colors[n], label=f"exact, $n={n}$")
    x = np.array(list(simulated)) * math.log1p(5 / 16)
    y, error = np.array(list(simulated.values())).T
    label = "simulated, $n=16$"
    plotting.points(ax, x, y, 1.96 * error, color=colors[16], label=label)
    ax.set(xlabel=r"$\sum_l\log(1+5/n_l)$", xlim=(0, 5), ylim=(0, 5))
    ax.set_ylabel(r"$\log\,\mathbb{E}\Theta^2/(\mathbb{E}\Theta)^2$")
    plotting.legend(ax, loc="upper left")
    return fig


def collapse(kind, exact, order, budget, value, error):
    """Simulated log moment ratios against three predictions, one point a network and depth; the kind is 0 for ReLU, 1
    for leaky ReLU, 2 for linear.
    """
    fig, axes = plotting.figure(1, 3, size=(9.6, 3.7), sharey=True)
    panels = {
        "exact, N2": (exact, r"$\log$ of the exact ratio"),
        "leading order": (order, r"mean exponent $\sum_{l,k}w_lw_k\,\epsilon_{lk}$"),
        "participation ranks only": (budget, r"$\sum_l1/p_l$"),
    }
    for ax, (title, (x, name)) in zip(axes, panels.items(), strict=True):
        if ax is not axes[2]:
            plotting.theory(ax, (0, 1.5), (0, 1.5), color="0.5")
        for a, label in enumerate(("ReLU", "leaky, 0.2", "linear")):
            color, i = plotting.palette(3)[a], kind == a
            plotting.points(ax, x[i], value[i], 1.96 * error[i], color=color, label=label)
        ax.set(title=title, xlabel=name)
    axes[0].set_ylabel(r"simulated $\log\,\mathbb{E}\Theta^2/(\mathbb{E}\Theta)^2$")
    plotting.legend(axes[0], loc="upper left")
    return fig


def breakdown(narrow, curves, simulated, wide, grid, shares, planes):
    """The kernel's relative deviation: against depth at the narrow width, by stable rank, exact (depths, values) and
    simulated (depths, (lower end, value, upper end)); and over depths and shares r / n at the wide one, a table by
    spectrum, shape (shares, depths).
    """
    fig, (left, *right) = plotting.figure(1, 3, size=(10.4, 3.8))
    colors = plotting.palette(sorted(curves))[::-1]
    for (r, (depths, y)), color in zip(curves.items(), colors, strict=True):
        plotting.theory(left, depths, y, color=color, label=f"$r/n={r / narrow:.3g}$")
        depths, ends = simulated[r]
        low, mid, high = np.array(ends).T
        plotting.points(left, depths, mid, (mid - low, high - mid), color=color)
    left.axhline(1, color="0.3", linestyle=":", linewidth=1)
    left.set_ylabel(r"$\mathrm{std}\,\Theta\,/\,\mathbb{E}\,\Theta$")
    left.set_title(f"projector, $n={narrow}$")
    for ax, (name, plane) in zip(right, planes.items(), strict=True):
        levels = [0.25, 0.5, 1, 2]
        lines = ax.contour(grid, shares, plane, levels=levels, cmap="viridis_r", norm="log")
        ax.clabel(lines, fontsize=8)
        ax.set(ylabel="$r/n$", title=f"{name}, $n={wide}$")
    for ax in (left, *right):
        ax.set(xscale="log", yscale="log", xlabel="depth $L$")
    plotting.legend(left, loc="upper left")
    return fig

"""Figures of the notebook on the space of matrices of given stable rank."""

import numpy as np
import torch

from srlib import plotting

__all__ = ["condensation", "memory", "pair", "phases", "quartic"]


def memory(lags, correlation):
    """Correlation at each lag and its interval, shape (lags,) each, by shape and relative stable rank."""
    shapes, ranks = (list(dict.fromkeys(part)) for part in zip(*correlation, strict=True))
    fig, axes = plotting.figure(1, 3, size=(9.0, 3.2), sharey=True)
    panels = dict(zip(ranks, axes, strict=True))
    styles = dict(zip(shapes, zip(plotting.palette(3), "osD", strict=True), strict=True))
    for (shape, rho), (c, error) in correlation.items():
        ax, (color, marker) = panels[rho], styles[shape]
        label = rf"${shape[0]}\times{shape[1]}$"
        plotting.points(ax, lags, c, error, color=color, marker=marker, label=label)
        ax.plot(lags, c, color=color, linewidth=0.8, alpha=0.6)
    for rho, ax in panels.items():
        ax.axhline(0, color="0.4", linewidth=0.8)
        ax.set(title=rf"$\rho={rho}$", xlabel="sweeps between", ylim=(-0.1, 1.05))
    axes[0].set_ylabel("correlation of $q$")
    plotting.legend(axes[2], loc="upper right")
    return fig


def pair(parts, turned, *, edge):
    """A matrix in the frames of its first singular pair and as it is, and its singular values with the bulk's edge."""
    fig, axes = plotting.figure(1, 3, size=(9.4, 3.4))
    for ax, A, title in zip(
        axes, (parts, turned), (r"$1\oplus X$", r"$W/s$"), strict=False
    ):
        ax.imshow(A.numpy(), cmap="RdBu_r", vmin=-0.4, vmax=0.4, interpolation="nearest")
        ax.set(title=title, xticks=[], yticks=[])
        ax.grid(False)
    axes[0].annotate(
        "1",
        (0.6, 0),
        (5, 0),
        arrowprops={"arrowstyle": "->"},
        va="center",
        fontsize="large",
    )
    first, rest = plotting.palette(2)
    sigma, index = torch.linalg.svdvals(turned), torch.arange(1, len(parts) + 1)
    axes[2].plot(index[1:], sigma[1:], "o", color=rest, markersize=3.5)
    axes[2].plot(index[:1], sigma[:1], "D", color=first, markersize=6)
    axes[2].text(2.5, 1, "the pair", va="center")
    axes[2].axhline(edge, color="0.4", linestyle="--", linewidth=1)
    axes[2].set(
        title="singular values", xlabel="$i$", ylabel=r"$\sigma_i$", ylim=(-0.02, 1.08)
    )
    return fig


def phases(panels):
    """Drawn squared singular values but the first, ends of the support and limiting density, a function, by name of
    the phase and relative stable rank.
    """
    fig, axes = plotting.figure(1, 3, size=(9.4, 3.3))
    colors = plotting.palette(3)
    for ax, (title, panel), color in zip(axes, panels.items(), colors, strict=True):
        (name, rho), (drawn, (low, high), density) = title, panel
        edges, x = np.linspace(low, high, 25), torch.linspace(low, high, 600)[1:-1]
        ax.hist(drawn.flatten().numpy(), edges, density=True, color=color, alpha=0.35)
        plotting.theory(ax, x, density(x), color=color)
        ax.set(title=rf"{name}, $\rho={rho}$", xlabel=r"$\lambda=\sigma^2$")
        ax.set(xlim=(-0.03, 1.05), ylim=(0, 4.4 * density(torch.tensor((low + high) / 2))))
    arrow = {"arrowstyle": "<-", "color": "0.2"}
    axes[0].annotate("", (1, 0), (1, 2.5), arrowprops=arrow)
    axes[0].text(0.97, 2.6, r"$\sigma_1^2=1$", ha="right")
    axes[0].set_ylabel(r"$\psi(\lambda)$")
    return fig


def quartic(grid, limit, measured, mean, error):
    """Quartic trace per singular value against the relative stable rank, itself and without the least value possible:
    limit, shape (grid,), and mean of the draws with its interval, shape (measured,).
    """
    fig, axes = plotting.figure(1, 2, size=(9.2, 3.8))
    line, dots = plotting.palette(2)
    for less, (ax, height, top) in enumerate(
        zip(axes, (1.03, 0.266), (1.1, 0.285), strict=True)
    ):
        low, high = (1 - less) * grid**2, grid - less * grid**2
        ax.fill_between(grid, low, high, color="0.9", label="range of S1", linewidth=0)
        for c in (0.25, 0.75):
            ax.axvline(c, color="0.4", linestyle=":", linewidth=1)
        plotting.theory(ax, grid, limit - less * grid**2, color=line, label="limit")
        excess = mean - less * measured**2
        plotting.points(ax, measured, excess, error, color=dots, label="$n=64$")
        ax.set(xlabel=r"$\rho=r/n$", xlim=(0, 1), ylim=(0, top))
        for x, name in ((0.125, "condensed"), (0.5, "pushed"), (0.875, "squeezed")):
            ax.text(x, height, name, ha="center", fontsize="small")
    axes[1].plot(grid[:100], grid[:100] ** 2, color="0.45", linewidth=0.8)
    axes[1].plot(grid[-100:], (1 - grid[-100:]) ** 2, color="0.45", linewidth=0.8)
    axes[0].set_ylabel(r"$q/n$")
    axes[1].set_ylabel(r"$q/n-\rho^2$")
    plotting.legend(axes[0], loc="lower right")
    return fig


def condensation(grid, measured, values):
    """Squared singular values against the relative stable rank, by label: limit, shape (grid,), and draws, shape
    (measured, draws), as means and from the 5th to the 95th percentile.
    """
    fig, ax = plotting.figure(size=(6.2, 4.0))
    styles = zip(plotting.palette(2), "os", strict=True)
    for (label, (limit, x)), (color, marker) in zip(values.items(), styles, strict=True):
        plotting.theory(ax, grid, limit, color=color)
        mean, (low, high) = x.mean(1), x.quantile(torch.tensor([0.05, 0.95]), dim=1)
        bars = torch.stack([mean - low, high - mean]).clamp(min=0)
        plotting.points(ax, measured, mean, bars, color=color, marker=marker, label=label)
    ax.axhline(
        1, color="0.3", linewidth=0.8, linestyle="--", label=r"first, $\sigma_1^2=1$"
    )
    ax.set(xlabel=r"$\rho=r/n$", ylabel=r"$\lambda$", xlim=(0, 1), ylim=(-0.03, 1.08))
    plotting.legend(ax, loc="center")
    return fig

"""Figures of the notebook on expressivity."""

import math

import torch

from srlib import plotting

__all__ = ["circle", "kinks", "lengths", "pieces", "regions", "spread"]


def kinks(counts, rank_one, predicted):
    """Kinks of three layers by stable rank, shape (networks, 3), those of rank-one layers, and their predicted mean."""
    layer = torch.arange(1, 4)
    fig, axes = plotting.figure(1, 2, size=(8.8, 3.6))
    for ax, limits in zip(axes, ((0, 27), (23.4, 24.6)), strict=True):
        ax.axhline(predicted, color="0.3", linewidth=1.4, label="X1: $2n_l$")
        colors = plotting.palette(list(counts))
        for i, ((r, c), color) in enumerate(zip(counts.items(), colors, strict=True)):
            half = 1.96 * c.std(0) / math.sqrt(len(c))
            at = layer + 0.11 * (i - 2.5)
            plotting.points(ax, at, c.mean(0), half, color=color, label=f"$r={r:g}$")
        ax.set(xticks=layer, xlabel="layer $l$", ylim=limits)
    rest = {"color": "0.4", "marker": "X", "label": "$r=1$"}
    plotting.points(axes[0], layer, rank_one.mean(0), **rest)
    axes[0].set_ylabel("mean sign changes")
    plotting.legend(axes[0], loc="lower left", ncols=2)
    return fig


def spread(families, tails):
    """Stable and participation ranks of each family of spectra with the relative spreads in layers 3 and 6, shape
    (ranks, 2); and the kinks of layer 3 over their mean, by law, shape (networks,).
    """
    fig, axes = plotting.figure(1, 3, size=(9.6, 3.6))
    axes[1].sharey(axes[0])
    colors = plotting.palette(3)
    for (name, (r, p, v)), color in zip(families.items(), colors, strict=True):
        for ax, x in zip(axes, (r, p), strict=False):
            ax.plot(x, v[:, 0], "s--", color=color, markersize=3.5, alpha=0.45)
            ax.plot(x, v[:, 1], "o-", color=color, markersize=4, label=name)
    for ax, name in zip(axes, ("stable rank $r$", "participation rank $p$"), strict=False):
        ax.set(xscale="log", yscale="log", xlabel=name, xlim=(1, 40))
        ax.set_xticks([1, 2, 5, 10, 30], ["1", "2", "5", "10", "30"])
        ax.set_yticks([0.1, 0.2, 0.5, 1], ["0.1", "0.2", "0.5", "1"])
        ax.minorticks_off()
    axes[0].set_ylabel("relative spread of the kinks")
    plotting.legend(axes[0])
    for (name, x), color in zip(tails.items(), ("#0173b2", "0.4"), strict=True):
        above = 1 - torch.arange(len(x)) / len(x)
        axes[2].step(x.sort().values, above, where="pre", color=color, label=name)
    axes[2].axvline(1, color="0.3", linestyle="--", linewidth=1, label="mean")
    axes[2].set(yscale="log", ylim=(1e-3, 1.3), xlim=(0, 8))
    axes[2].set(xlabel="kinks of layer 3 over $2n$", ylabel="share of networks above")
    plotting.legend(axes[2])
    return fig


def circle(pictures, layers, totals):
    """By stable rank, the curve in each of the layers, shape (points, 2), and the share of its variance shown; and the
    kinks collected after layers 1, 2, ....
    """
    fig, axes = plotting.figure(len(pictures), len(layers), size=(8.6, 7.2))
    colors = plotting.palette(list(pictures))
    for (r, images), line, color in zip(pictures.items(), axes, colors, strict=True):
        for l, ax, (xy, share) in zip(layers, line, images, strict=True):
            ax.plot(*xy.T, color=color, linewidth=0.9)
            ax.set_title(f"{totals[r][l - 1]} kinks" if l else "input", fontsize=8)
            ax.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
            ax.set_xlabel(f"{100 * share:.0f} %", fontsize=8)
        line[0].set_ylabel(f"$r={r:g}$")
    for l, ax in zip(layers[1:], axes[0][1:], strict=True):
        ax.set_title(f"layer {l}\n{ax.get_title()}", fontsize=8)
    return fig


def lengths(measured, gains):
    """By stable rank, the image's lengths after each layer, Euclidean and spherical, shape (networks, layers) each, and
    the predicted mean of the first, from the input on; all in units of the input's.
    """
    fig, axes = plotting.figure(1, 2, size=(8.6, 3.7))
    axes[0].axhline(1, color="0.3", linestyle="--", linewidth=1)
    axes[1].axhline(1, color="0.3", linewidth=1.4, label="X1")
    colors = plotting.palette(list(measured))
    for i, ((r, found), color) in enumerate(zip(measured.items(), colors, strict=True)):
        plotting.theory(axes[0], range(len(gains[r])), gains[r], color=color)
        for ax, l in zip(axes, found, strict=True):
            half = 1.96 * l.std(0) / math.sqrt(len(l))
            at = torch.arange(1, l.shape[1] + 1) + 0.12 * (i - 1.5)
            plotting.points(ax, at, l.mean(0), half, color=color, label=f"$r={r:g}$")
    axes[0].set(xlabel="layer $l$", ylabel="mean length", ylim=(0, 1.08))
    axes[1].set(xlabel="layer $l$", ylabel="mean spherical length", ylim=(0, 2.4))
    plotting.legend(axes[1], loc="upper left", ncols=2)
    return fig


def pieces(ranks, before, after, expected):
    """Pieces of networks before and after training, shape (ranks, networks), and their mean at the start."""
    fig, ax = plotting.figure(size=(7.2, 3.8))
    ax.axhline(expected, color="0.3", linewidth=1.4, label="mean at the start, X1")
    blue, orange = plotting.palette(2)
    for counts, shift, color, name in (
        (before, -0.15, blue, "at the start"),
        (after, 0.15, orange, "trained"),
    ):
        for i, p in enumerate(counts):
            at = i + shift + 0.012 * (torch.arange(len(p)) - len(p) / 2)
            style = {"color": color, "label": name if i == 0 else None}
            ax.plot(at, p, "o", markersize=3.5, alpha=0.6, **style)
            ends = [i + shift - 0.1, i + shift + 0.1]
            ax.plot(ends, [p.mean()] * 2, color=color, linewidth=2)
    ax.set(xticks=range(len(ranks)), xticklabels=[f"{r:g}" for r in ranks], ylim=(0, None))
    ax.set_xlabel("stable rank of the hidden layers at the start")
    ax.set_ylabel("linear pieces on the tour")
    plotting.legend(ax, loc="lower right")
    return fig


def regions(panels, plane):
    """By stable rank and state of the network: colours of the plane's inputs, shape (inputs, 3), points of the kinks on
    the triangle in the plane, shape (kinks, 2), and its number of pieces.
    """
    fig, axes = plotting.figure(2, 3, size=(8.6, 6.2))
    low, high = (plane.middle - plane.reach).tolist(), (plane.middle + plane.reach).tolist()
    box = [low[0], high[0], low[1], high[1]]
    side = math.isqrt(len(plane.inputs))
    picture = {"origin": "lower", "extent": box, "interpolation": "nearest"}
    for ax, ((r, name), (rgb, at, count)) in zip(axes.T.flat, panels.items(), strict=True):
        ax.imshow(rgb.reshape(side, side, 3), **picture)
        triangle = torch.cat([plane.corners, plane.corners[:1]])
        ax.plot(*triangle.T, color="white", linewidth=1.2)
        ax.plot(*at.T, ".", color="black", markersize=2.5)
        ax.set(xticks=[], yticks=[], title=f"$r={r:g}$, {name}: {count} pieces")
        ax.grid(False)
    return fig

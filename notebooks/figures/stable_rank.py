"""Figures of the notebook on what stable rank measures."""

import numpy as np

from srlib import plotting

__all__ = ["axis", "order", "region", "training", "truncation"]


def axis(squares):
    """Squared relative singular values by name, shape (n,) each, and below them their positions on the axis r / n."""
    fig, (top, bottom) = plotting.figure(
        2, 1, size=(6.2, 4.6), sharex=True, height_ratios=[4, 1]
    )
    lifts = 8, 22, 8, 8, 8  # two of the names would overlap
    for (name, values), color, lift in zip(
        squares.items(), plotting.palette(5), lifts, strict=True
    ):
        n = len(values)
        position, edges = values.sum().item() / n, np.append(np.arange(n) / n, 1)
        top.stairs(
            values.numpy(), edges, baseline=None, color=color, linewidth=2, label=name
        )
        bottom.plot(position, 0, "o", markersize=8, color=color, clip_on=False, zorder=3)
        style = {"textcoords": "offset points", "ha": "center", "fontsize": "small"}
        bottom.annotate(name, (position, 0), (0, lift), **style)
    top.set(ylabel=r"$\sigma_i^2$", xlabel="index $i/n$")
    top.tick_params(labelbottom=True)
    bottom.set(xlabel="stable rank $r/n$", yticks=[], ylim=(-0.3, 1.6), xlim=(-0.02, 1.02))
    bottom.spines["left"].set_visible(False)
    plotting.legend(top, outside=True)
    return fig


def order(curves):
    """Partial sums of squares, and mean excesses of squared outputs over levels, by name of the spectrum."""
    fig, (left, right) = plotting.figure(1, 2, size=(8.6, 3.6))
    for (name, (sums, levels, excess)), color in zip(
        curves.items(), plotting.palette(3), strict=True
    ):
        left.plot(range(len(sums)), sums, color=color, linewidth=2, label=name)
        right.plot(levels, excess, color=color, linewidth=2, label=name)
    lowest, *_, highest = (sums for sums, *_ in curves.values())
    left.fill_between(range(len(lowest)), lowest, highest, color="0.93", zorder=0)
    left.set(xlabel="$j$", ylabel=r"$\lambda_1+\dots+\lambda_j$", title="the spectra")
    left.set(xlim=(0, len(lowest) - 1), ylim=(0, None))
    right.set(yscale="log", xlim=(0, levels[-1]), ylim=(1e-5, 0.4), xlabel="level $x$")
    right.set_ylabel(r"$\mathbb{E}\,(\|W\nu\|^2-x)_+$")
    right.set_title("the laws of outputs")
    plotting.legend(left, loc="lower right")
    return fig


def region(k, r, smallest, largest, shown, by_law):
    """Participation rank against stable rank of k singular values: between the ends of the quartic trace at every r,
    shape (points,) each, the means of the laws, by name, at the stable ranks shown.
    """
    fig, ax = plotting.figure()
    ax.fill_between(r, r**2 / largest, r**2 / smallest, color="0.93", zorder=0)
    plotting.theory(ax, r, r**2 / smallest, color="0.35", label="ends of the range (S1)")
    plotting.theory(ax, r, r**2 / largest, color="0.35")
    ax.plot(
        r, np.minimum(k, r**2), "--", color="0.35", linewidth=1, label=r"$\min(k, r^2)$"
    )
    for (name, p), color, marker in zip(
        by_law.items(), plotting.palette(4), "os^D", strict=True
    ):
        plotting.points(ax, shown, p, color=color, label=name, marker=marker)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="stable rank $r$",
        ylabel="participation rank $p$",
    )
    ticks = [1, 2, 4, 8, 16, 32, 64]
    ax.set_xticks(ticks, ticks)
    ax.set_yticks(ticks, ticks)
    ax.minorticks_off()
    plotting.legend(ax, loc="lower right")
    return fig


def training(passes, share, limit_share, loss, error):
    """Stable rank over its largest value, shape (networks, times, layers), with the limit of each layer; training loss
    and held-out error, shape (networks, times) each, all against the passes over the digits.
    """
    fig, (left, right) = plotting.figure(1, 2)
    for layer, color in enumerate(plotting.palette(4)):
        _band(left, passes, share[..., layer], color)
        where = {"xytext": (5, -3), "textcoords": "offset points"}
        left.annotate(
            f"layer {layer + 1}",
            (passes[-1], share[:, -1, layer].mean()),
            color=color,
            **where,
        )
        left.plot(
            passes[[0, -1]], [limit_share[layer]] * 2, ":", color=color, linewidth=1.2
        )
    left.set(xlabel="passes over the digits", ylabel="stable rank $r_l/k_l$", yscale="log")
    left.set_yticks([0.04, 0.1, 0.2, 0.4, 0.8], [0.04, 0.1, 0.2, 0.4, 0.8])
    left.minorticks_off()
    left.plot([], [], ":", color="0.35", linewidth=1.2, label="random matrix (S3)")
    left.set(xlim=(-0.3, 1.27 * passes[-1]), xticks=np.arange(0, passes[-1] + 1, 2))
    plotting.legend(left, loc="upper right", bbox_to_anchor=(1.02, 0.87))
    curves = {"training loss": loss, "held-out error": error}
    for (label, values), color in zip(curves.items(), plotting.palette(6)[4:], strict=True):
        _band(right, passes, values, color, label)
    right.set(xlabel="passes over the digits", ylabel="loss, error", yscale="log")
    plotting.legend(right)
    return fig


def _band(ax, x, values, color, label=None):
    """Mean over the first axis as a line, its range as a band."""
    ax.fill_between(x, values.min(0), values.max(0), color=color, alpha=0.25, linewidth=0)
    ax.plot(x, values.mean(0), color=color, label=label)


def truncation(curves):
    """Relative truncation error against (j + 1) / r: both in a pair, shape (n,) each, by name of the matrix."""
    fig, ax = plotting.figure(size=(7.2, 3.8))
    x = np.geomspace(0.05, 40, 200)
    plotting.theory(
        ax, x, np.minimum(1, x**-0.5), color="0.35", label=r"$\min(1, \sqrt{r/(j+1)})$ (S2)"
    )
    for (name, (x, s)), color, marker in zip(
        curves.items(), plotting.palette(6), "osD^vP", strict=True
    ):
        some = np.unique(np.geomspace(1, len(s), 24).astype(int)) - 1
        plotting.points(ax, x[some], s[some], color=color, label=name, marker=marker)
    ax.set(xscale="log", yscale="log", xlim=(0.05, 40), ylim=(0.04, 1.2))
    ax.set(xlabel="$(j+1)/r$", ylabel=r"$\sigma_{j+1}/\|W\|_2$")
    plotting.legend(ax, outside=True)
    return fig

"""Figures of the notebook on generalization bounds and compression.

Arrays of shape (labels, starts, ...) have true labels first and He's initialization last.
"""

import numpy as np

from srlib import plotting

__all__ = ["bound_gap", "bound_terms", "margins", "network_truncation", "trained_ranks"]

KINDS = ("true labels", "random labels")


def bound_terms(ratios, terms, before):
    """Terms of a bound by label, their sum last, and the prediction before training, shape (labels, starts, runs) each,
    against the ratios r/n of the starts but the last.
    """
    labels = [*list(terms)[:-1], "sum of the three"]
    terms = dict(zip(labels, terms.values(), strict=True))
    fig, axes = plotting.figure(1, 2, size=(8.6, 3.9), sharey=True)
    for k, (ax, kind) in enumerate(zip(axes, KINDS, strict=True)):
        start = {"color": "0.6", "label": "first two, before training"}
        plotting.theory(ax, ratios, before[k].mean(1)[:-1], **start)
        for color, (label, values) in zip(plotting.palette(5), terms.items(), strict=False):
            v = values[k]
            mean, spread = v.mean(1), np.abs(np.stack([v.min(1), v.max(1)]) - v.mean(1))
            plotting.points(ax, ratios, mean[:-1], spread[:, :-1], color=color, label=label)
            ax.plot(ratios, mean[:-1], color=color, linewidth=0.8, alpha=0.6)
            plotting.points(ax, [2.2], mean[-1:], spread[:, -1:], color=color, marker="s")
        ax.set(xscale="log", title=kind)
        ax.set_xlabel(r"$r/n$ of the hidden layers at initialization")
        ax.set_xticks([0.02, 0.1, 0.5, 2.2], ["0.02", "0.1", "0.5", "He"])
        ax.minorticks_off()
    axes[0].set_ylabel(r"$\log_{10}$ of the term")
    plotting.legend(axes[1], outside=True)
    return fig


def bound_gap(bounds, gap, names):
    """Logarithms of two bounds by name, and gaps in percent, shape (labels, starts, runs) each, for named starts."""
    fig, axes = plotting.figure(2, 2, size=(8.8, 6.2), sharex="col", sharey=True)
    colors = [*plotting.palette(names[:-1]), "0.15"]
    for row, (title, values) in zip(axes, bounds.items(), strict=True):
        for k, ax in enumerate(row):
            for i, (name, color) in enumerate(zip(names, colors, strict=True)):
                style = {"color": color, "marker": "s" if name == "He" else "o"}
                plotting.points(ax, gap[k, i], 10 ** values[k, i], label=name, **style)
            ax.axhline(1, color="0.4", linewidth=1)
            ax.set(yscale="log", ylim=(0.4, 1e6))
        row[0].set_ylabel(title)
        where = {"xy": (0.02, 1.2), "xycoords": ("axes fraction", "data")}
        row[0].annotate("vacuous above this line", **where, fontsize=8)
    for ax, top, kind in zip(axes[1], axes[0], KINDS, strict=True):
        ax.set_xlabel("training minus held-out accuracy in %")
        top.set_title(kind)
    plotting.legend(axes[0, 1], outside=True, title="$r/n$ at start")
    return fig


def margins(shares):
    """Distributions of margins in units of the largest output, with true and with random labels, (digits,) each, by
    start.
    """
    fig, ax = plotting.figure(size=(6.8, 3.9))
    levels = np.linspace(0, 1, 200)
    for (name, kinds), color in zip(shares.items(), plotting.palette(4), strict=True):
        for values, style, label in zip(kinds, ("-", "--"), (name, None), strict=True):
            curve = np.maximum(np.quantile(values, levels), 1e-8)
            ax.plot(curve, levels, style, color=color, label=label)
    ax.set(xscale="log", xlim=(1e-6, 1), ylabel="fraction of digits below")
    ax.set_xlabel(r"$\gamma(x)\,/\,B\prod_l\,\|W_l\|_2$")
    plotting.legend(ax, loc="upper right")
    return fig


def trained_ranks(before, after):
    """Mean stable ranks before and after training, shape (labels, starts, layers) each."""
    fig, axes = plotting.figure(1, 2, size=(8.4, 3.7), sharey=True)
    for k, (ax, kind) in enumerate(zip(axes, KINDS, strict=True)):
        plotting.theory(ax, [2, 140], [2, 140], color="0.75")
        for l, color in enumerate(plotting.palette(3)):
            x, y, label = before[k, :, l], after[k, :, l], f"layer {l + 1}" if k else None
            plotting.points(ax, x[:-1], y[:-1], color=color, label=label)
            plotting.points(ax, x[-1:], y[-1:], color=color, marker="X")
        ax.set(xscale="log", yscale="log", title=kind)
        ax.set_xlabel("stable rank at initialization")
    axes[0].set_ylabel("stable rank after training")
    plotting.legend(axes[1], loc="upper left")
    return fig


def network_truncation(ladder, curves):
    """By start: measured error, proved error, proved error from stable ranks, and accuracy kept, shape (labels, ladder)
    each, against the directions kept in every layer.
    """
    fig, axes = plotting.figure(2, 2, size=(8.8, 6.4), sharex=True, sharey="row")
    for k, ((top, bottom), kind) in enumerate(zip(axes.T, KINDS, strict=True)):
        for (name, found), color in zip(curves.items(), plotting.palette(4), strict=True):
            error, proved, from_ranks, kept = (values[k] for values in found)
            plotting.points(top, ladder, error, color=color, label=name)
            plotting.theory(top, ladder, proved, color=color)
            top.plot(ladder, from_ranks, "--", color=color, linewidth=1)
            plotting.points(bottom, ladder, kept, color=color)
            bottom.plot(ladder, kept, color=color, linewidth=0.8, alpha=0.6)
        top.set(yscale="log", title=kind)
        bottom.set(xscale="log", ylim=(0, 1.05))
        bottom.set_xlabel("directions kept in every layer, $j$")
        bottom.set_xticks([4, 8, 16, 32, 64], ["4", "8", "16", "32", "64"])
        bottom.minorticks_off()
    axes[0, 0].set_ylabel("relative error of the output")
    axes[1, 0].set_ylabel("share of training accuracy kept")
    plotting.legend(axes[0, 1], outside=True)
    return fig

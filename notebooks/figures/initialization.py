"""Figures of the notebook on initialization; methods and places are named as in its measurements."""

import math

import numpy as np
from matplotlib import patheffects
from matplotlib.ticker import NullLocator
from scipy import optimize, stats

from measurements.initialization import depth_of, title
from srlib import plotting

__all__ = ["STYLES", "collapse", "curves", "effects", "scale", "survival", "trainability"]

#: Colour and line of the methods whose courses are drawn.
STYLES = {
    "pytorch": (0, "-"),
    "xavier": (1, "-"),
    "two_level-fixed-0.5": (1, "--"),
    "he": (2, "-"),
    "orthogonal": (3, "-"),
    "two_level-matched-0.5": (3, "--"),
    "two_level-matched-0.1": (4, "--"),
    "two_level-matched-0.02": (5, "--"),
}


def _courses(places, draw, **options):
    """Four panels with one line a method, which ``draw`` puts on the axes, and a common legend."""
    fig, axes = plotting.figure(2, 2, size=(7.2, 6.4), sharex=True, sharey=True)
    colors = plotting.palette(6)
    for ax, place in zip(axes.flat, places, strict=True):
        for key, (color, line) in STYLES.items():
            draw(ax, place, key, line, colors[color])
        ax.set(title=f"{depth_of(place)} layers", **options)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    _legend_below(fig, handles, labels, ncols=2)
    return fig, axes


def _legend_below(fig, handles, labels, **options):
    place = {"loc": "outside lower center", "frameon": False, "fontsize": "small"}
    fig.legend(handles, labels, **place, **options)


def survival(steps, budget, threshold):
    """Kaplan-Meier curves of the steps to the threshold, (seeds,) by place and method, infinite where it is not reached
    within the budget.
    """

    def draw(ax, place, key, line, color):
        taken = steps[place][key]
        censored = np.minimum(taken, budget), ~np.isfinite(taken)
        curve = stats.ecdf(stats.CensoredData.right_censored(*censored)).sf
        x, y = np.append(0, curve.quantiles), np.append(1, curve.probabilities)
        x, y = np.append(x, budget), np.append(y, y[-1])
        style = {"color": color, "label": title(key), "linewidth": 1.7}
        ax.step(x, y, line, where="post", **style)

    fig, axes = _courses(steps, draw, ylim=(-0.04, 1.04), xlim=(0, budget))
    for ax in axes[1]:
        ax.set_xlabel("steps")
    for ax in axes[:, 0]:
        ax.set_ylabel(f"share of runs above loss {threshold:g}")
    return fig


def curves(table, places, budget):
    """Training loss against the step: rows with the run's id, step, and low, median and high over seeds."""

    def draw(ax, place, key, line, color):
        curve = table[table.id == f"{key}-{place}"].replace(np.inf, 100.0)
        style = {"color": color, "label": title(key), "linewidth": 1.5}
        ax.plot(curve.step, curve["median"], line, **style)
        band = {"color": color, "alpha": 0.15, "linewidth": 0}
        ax.fill_between(curve.step, curve.low, curve.high, **band)

    options = {"yscale": "log", "xlim": (0, budget), "ylim": (0.002, 3)}
    fig, axes = _courses(places, draw, **options)
    for ax in axes[1]:
        ax.set_xlabel("step")
    for ax in axes[:, 0]:
        ax.set_ylabel("training loss")
    return fig


def effects(losses, steps):
    """Ratios over orthogonal initialization with their intervals, and whether they are significant, by place and method."""
    fig, axes = plotting.figure(2, 4, size=(9.4, 6.6), sharey=True, sharex="row")
    (blue,) = plotting.palette(1)
    for line, found, ticks in zip(
        axes, (losses, steps), ([0.25, 1, 4, 16], [1, 1.5, 2, 3]), strict=True
    ):
        for ax, (place, methods) in zip(line, found.items(), strict=True):
            for row, ((middle, low, high), filled) in enumerate(methods.values()):
                ax.plot([low, high], [row, row], color="0.4", linewidth=1.4, zorder=2)
                style = {"markerfacecolor": blue if filled else "white", "markersize": 5.5}
                ax.plot(middle, row, "o", color=blue, **style)
            ax.axvline(1, color="0.3", linewidth=1)
            ax.set(title=f"{depth_of(place)} layers" if found is losses else None)
            ax.set_xscale("log")
            ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            ax.minorticks_off()
    axes[0, 0].set_yticks(range(len(methods)), [title(key) for key in methods])
    axes[0, 0].invert_yaxis()
    axes[0, 0].set_xlabel("loss over orthogonal's", loc="left")
    axes[1, 0].set_xlabel("steps over orthogonal's", loc="left")
    return fig


def collapse(losses, slowdowns):
    """Losses against the exponent, and slowdowns against its excess over orthogonal's: rows with key, depth and width."""
    markers = dict(
        zip(
            ("orthogonal", "he", "two_level", "projector", "coulomb_gas"),
            "s^oDv",
            strict=True,
        )
    )
    sizes, depths = {64: 20, 128: 42, 256: 85}, sorted(losses.depth.unique())
    tones = dict(zip(depths, plotting.palette(depths), strict=True))
    fig, axes = plotting.figure(1, 2, size=(8.4, 4.9))
    panels = (("exponent", "loss", losses), ("excess", "slowdown", slowdowns))
    for ax, (x, y, table) in zip(axes, panels, strict=True):
        for _, row in table.iterrows():
            shape = {"marker": markers[row.key.split("-")[0]], "s": sizes[row.width]}
            style = {"color": [tones[row.depth]], "edgecolor": "white", "linewidth": 0.6}
            ax.scatter(row[x], row[y], zorder=3, **shape, **style)
        line = table.sort_values(x)
        fit = optimize.isotonic_regression(np.log(line[y].to_numpy())).x
        ax.step(line[x], np.exp(fit), where="mid", color="0.6", linewidth=1.6, zorder=2)
        ax.set(xscale="log", yscale="log")
    axes[0].set(xlabel=r"fluctuation exponent $\epsilon$", ylabel="final training loss")
    axes[1].set_xlabel(r"$\epsilon$ minus that of orthogonal layers")
    axes[1].set_ylabel("steps over those of orthogonal layers")
    axes[1].set_yticks([1, 1.5, 2, 3], ["1", "1.5", "2", "3"])
    axes[1].yaxis.set_minor_locator(NullLocator())
    _keys_below(fig, axes[0], {title(law): m for law, m in markers.items()}, tones)
    return fig


def _keys_below(fig, ax, markers, tones):
    """A legend of markers by name and of colours by depth."""
    empty = [ax.scatter([], [], marker=m, color="0.4") for m in markers.values()]
    empty += [ax.scatter([], [], marker="o", color=[c]) for c in tones.values()]
    labels = [*markers, *(f"{L} layers" for L in tones)]
    _legend_below(fig, empty, labels, ncols=5, columnspacing=1.2)


def scale(table, border):
    """Final loss, with its range over seeds, against the shrinkage: rows with key and place; a border at a shrinkage."""
    fig, axes = plotting.figure(1, 2, size=(8.4, 4.4), sharey=True)
    kinds = {"pytorch": "P", "xavier": "X", "he": "^", "orthogonal": "s"}
    depths = sorted({depth_of(place) for place in table.place})
    tones = dict(zip(depths, plotting.palette(depths), strict=True))
    for ax, name in zip(axes, ("sgd", "adam"), strict=True):
        for _, row in table[table.place.str.endswith(name)].iterrows():
            color, ends = tones[depth_of(row.place)], [row.low, row.high]
            ax.plot([row.shrinkage] * 2, ends, color=color, linewidth=1.2, alpha=0.7)
            style = {"edgecolor": "white", "linewidth": 0.6, "zorder": 3}
            shape = {"marker": kinds.get(row.key, "o"), "s": 52, "color": [color]}
            ax.scatter(row.shrinkage, row.loss, **shape, **style)
        ax.axvline(border, color="0.3", linewidth=1, linestyle=":")
        ax.axhline(math.log(10), color="0.7", linewidth=1)
        ax.set(xscale="symlog", yscale="log", title={"sgd": "SGD", "adam": "Adam"}[name])
        ax.set_xlim(-0.3, 100)
        ax.set_xlabel(r"$-\log$ of the mean growth over all layers")
    axes[0].set_ylabel("final training loss")
    markers = dict(
        zip(("PyTorch", "Xavier", "He", "orthogonal"), kinds.values(), strict=True)
    )
    _keys_below(fig, axes[0], markers | {"two-level, fixed norm": "o"}, tones)
    return fig


def trainability(panels, border):
    """Held-out accuracy over depth and ratio at fixed spectral norm and at matched scale, rows with what is contoured:
    shrinkage (the border's contour in the middle), or exponent and kernel variance.
    """
    contours = {
        "fixed": [("shrinkage", [2, border, 14], "-", r"$e^{{-{:.2g}}}$")],
        "matched": [
            ("exponent", [1, 4, 14], "-", r"$\epsilon={:g}$"),
            ("variance", [10], "--", "${:g}$"),
        ],
    }
    fig, axes = plotting.figure(1, 2, size=(8.8, 5.0))
    for ax, (name, panel) in zip(axes, panels.items(), strict=True):
        image = _heat_map(ax, panel)
        for contour in contours[name]:
            _contour(ax, panel, *contour)
        heading = {"fixed": r"spectral norm $\sqrt{2}$", "matched": "matched scale"}[name]
        ax.set(xlabel="stable rank over width $r/n$", title=heading)
    axes[0].set_ylabel("depth $L$")
    fig.colorbar(image, ax=axes, label="held-out accuracy, %", fraction=0.05, pad=0.02)
    return fig


def _heat_map(ax, panel):
    wide = 100 * panel.pivot(index="depth", columns="ratio", values="held_out")
    options = {"origin": "lower", "aspect": "auto", "cmap": "cividis"}
    image = ax.imshow(wide, vmin=10, vmax=95, **options)
    ratios = [f"{r:g}" for r in wide.columns]
    ax.set_xticks(range(len(ratios)), ratios, fontsize="small")
    ax.set_yticks(range(len(wide)), wide.index)
    ax.grid(False)
    style = {"ha": "center", "va": "center", "fontsize": 7}
    for (i, j), v in np.ndenumerate(wide):
        ax.annotate(f"{v:.0f}", (j, i), color="white" if v < 55 else "0.15", **style)
    return image


def _contour(ax, panel, column, levels, line, form):
    """Contour lines, each with a label above its upper end, or below its lower one if dashed."""
    Z = panel.pivot(index="depth", columns="ratio", values=column)
    color, side = ("#e4572e", 1) if line == "-" else ("#d6a2e8", -1)
    lines = ax.contour(Z, levels=levels, linestyles=line, colors=[color], linewidths=2)
    halo = patheffects.withStroke(linewidth=2.5, foreground="white")
    style = {"ha": "center", "va": "center", "fontsize": 9.5, "path_effects": [halo]}
    for level, segments in zip(lines.levels, lines.allsegs, strict=True):
        x, y = max(np.concatenate(segments), key=lambda point: side * point[1])
        ax.annotate(form.format(level), (x, y + 0.22 * side), color=color, **style)

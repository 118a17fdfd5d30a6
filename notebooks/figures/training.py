"""Figures of the notebook on training."""

import torch

from srlib import plotting

__all__ = ["breaks", "collapse", "curves", "drift", "ranks"]


def curves(runs, ratios, networks):
    """Loss of the first network of each stable rank, by depth: run and predicted from its own kernel, (networks, steps),
    and from the limit kernel, (stable ranks, steps).
    """
    fig, axes = plotting.figure(1, 2, sharey=True)
    for ax, (L, run) in zip(axes, runs.items(), strict=True):
        start, first = run["losses"][0, 0], slice(None, None, networks)
        times, losses, own = (run[key][first] for key in ("times", "losses", "own"))
        k = torch.tensor([1, 2, 4, 7, 12, 20, 33, 45, 59])
        k = k[k < times.shape[1]]
        for i, color in enumerate(plotting.palette(ratios)):
            t, label = times[i], f"$r/n={ratios[i]:g}$"
            ax.plot(t[1:], run["wide"][i, 1:] / start, "--", color=color, linewidth=1)
            plotting.theory(ax, t[1:], own[i, 1:] / start, color=color)
            plotting.points(ax, t[k], losses[i, k] / start, color=color, label=label)
        ax.set(xscale="log", yscale="log", xlabel="time $t$", title=f"$L={L}$")
    axes[0].set(ylabel=r"loss over its start", ylim=(8e-4, 1.3))
    axes[0].plot([], [], "--", color="0.4", linewidth=1, label="limit kernel")
    plotting.legend(axes[0], loc="lower left")
    return fig


def collapse(speed, runs, ratios):
    """By depth: times to a tenth of the loss, shape (stable ranks, networks), their predicted line, (ratios, times), and
    the unit of time, (stable ranks,); and all losses over their start against time in this unit.
    """
    fig, (left, *right) = plotting.figure(1, 3, size=(10.2, 3.7))
    for (L, (reached, line, _)), color in zip(
        speed.items(), plotting.palette(2), strict=True
    ):
        plotting.theory(left, *line, color=color, label=f"$L={L}$")
        for r, row in zip(ratios, reached, strict=True):
            left.plot([r] * len(row), row, "o", color=color, markersize=3.5, alpha=0.6)
    left.set(
        xscale="log", yscale="log", xlabel="$r/n$", ylabel="time to a tenth of the loss"
    )
    left.set(xticks=ratios, xticklabels=[f"{r:g}" for r in ratios])
    left.minorticks_off()
    plotting.legend(left)
    for ax, (L, run) in zip(right, runs.items(), strict=True):
        shape = (len(ratios), -1, run["losses"].shape[1])
        times = run["times"].view(shape) * speed[L][2][:, None, None]
        losses = (run["losses"] / run["losses"][:, :1]).view(shape)
        for i, color in reversed([*enumerate(plotting.palette(ratios))]):
            ax.plot(
                times[i, :, 1:].T, losses[i, :, 1:].T, color=color, linewidth=0.6, alpha=0.7
            )
            ax.plot([], [], color=color, label=f"$r/n={ratios[i]:g}$")
        ax.set(xscale="log", yscale="log", ylim=(8e-4, 1.3), title=f"$L={L}$")
        ax.set_xlabel(r"time $\times$ factor $\times\,\vartheta_{\max}$")
    right[0].set_ylabel("loss over its start")
    plotting.legend(right[0], loc="lower left")
    return fig


def breaks(sizes, errors, ratios, beyond, depths, spreads):
    """Error of the log loss against output size, shape (stable ranks, sizes); by step, the loss over its start, run and
    by the formula, (steps,); by stable rank, spreads of the log time, simulated and exact, (depths,).
    """
    fig, (left, middle, right) = plotting.figure(1, 3, size=(10.2, 3.8))
    for row, r, color in zip(errors, ratios, plotting.palette(ratios), strict=True):
        style = {"color": color, "markersize": 4.5, "linewidth": 0.8}
        left.plot(sizes, row, "o-", label=f"$r/n={r:g}$", **style)
    left.set(xscale="log", yscale="log", xlabel=r"output scale $b\,\mathrm{std}(f_0)$")
    left.set_ylabel("error of the log loss")
    for share, color in zip(beyond, plotting.palette(3), strict=True):
        measured, formula = beyond[share]
        k, label = (
            torch.arange(0, len(measured), 6),
            rf"$\varsigma\vartheta_{{\max}}/2={share:g}$",
        )
        plotting.theory(middle, torch.arange(len(formula)), formula, color=color)
        plotting.points(middle, k, measured[k], color=color, label=label)
    middle.set(yscale="log", xlabel="step", ylabel="loss over its start")
    for r, color in zip(spreads, plotting.palette(range(3)), strict=True):
        found, exact = spreads[r]
        plotting.theory(right, depths, exact, color=color)
        plotting.points(right, depths, found, color=color, label=f"$r/n={r:g}$")
    right.set(
        xscale="log", yscale="log", xlabel="depth $L$", ylabel="spread of the log time"
    )
    right.minorticks_off()
    right.set(xticks=depths, xticklabels=depths)
    right.set(yticks=(0.2, 0.5, 1), yticklabels=(0.2, 0.5, 1))
    for ax in (left, middle, right):
        plotting.legend(ax)
    return fig


def drift(widths, by_width, depths, by_depth, ratios):
    """Kernel drift against width and against depth, shapes (widths, regimes, stable ranks) and (depths, ...)."""
    fig, axes = plotting.figure(1, 2, sharey=True)
    colors = plotting.palette(range(3))
    for ax, values, grid in zip(axes, (by_width, by_depth), (widths, depths), strict=True):
        for j, marker in enumerate("o^s"):
            for i, color in enumerate(colors):
                style = {"color": color, "markersize": 5, "linewidth": 0.9}
                ax.plot(grid, values[:, j, i], marker + "-", **style)
        ax.set(xscale="log", yscale="log", xticks=grid, xticklabels=grid)
        ax.minorticks_off()
    guide = by_width[0, 1].mean() * (torch.tensor(widths) / widths[0]) ** -0.5
    axes[0].plot(widths, guide, ":", color="0.4", linewidth=1)
    axes[0].set(xlabel="width $n$", ylabel=r"$\|\Theta_t-\Theta_0\|_F\,/\,\|\Theta_0\|_F$")
    axes[1].set(xlabel="depth $L$")
    for r, color in zip(ratios, colors, strict=True):
        axes[1].plot([], [], color=color, label=f"$r/n={r:g}$")
    scaled = r"$b\,\mathrm{std}(f_0)="
    regimes = (r"$b=1$", f"{scaled}1$", f"{scaled}100$")
    for name, marker in zip(regimes, "o^s", strict=True):
        axes[1].plot([], [], marker, color="0.4", markersize=5, label=name)
    plotting.legend(axes[1], outside=True)
    return fig


def ranks(steps, unscaled, scaled, ratios):
    """Stable ranks over their start, shape (layers, starting ranks, networks, steps), for unscaled outputs and for
    outputs of standard deviation 1 at the start.
    """
    fig, axes = plotting.figure(1, 3, size=(9.6, 3.5), sharey=True)
    for i, (ax, r) in enumerate(zip(axes, ratios, strict=True)):
        for l, color in enumerate(plotting.palette(3)):
            low, high = unscaled[l, i].amin(0), unscaled[l, i].amax(0)
            ax.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0)
            ax.plot(steps, unscaled[l, i].mean(0), color=color, label=f"layer {l + 1}")
            ax.plot(steps, scaled[l, i].mean(0), "--", color=color, linewidth=1.2)
        ax.set(xlabel="step", title=f"$r/n={r:g}$ at the start")
    axes[0].set_ylabel("stable rank over its start")
    plotting.legend(axes[0], loc="lower left")
    return fig

"""House style of the book's figures: theory is a line, simulation is points with intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

try:
    import matplotlib.pyplot as plt
    import seaborn as sns
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.typing import ColorType
except ModuleNotFoundError as error:
    missing = str(error.name).partition(".")[0]
    raise ModuleNotFoundError(
        f"srlib.plotting needs {missing}, which is not installed: `pip install matplotlib seaborn`, "
        'or `pip install ".[book]"` in a checkout of srlib for all that the notebooks need',
        name=error.name,
    ) from None

__all__ = ["SINGLE", "WIDE", "figure", "legend", "palette", "points", "theory"]

#: Size in inches of a figure with one panel, and of one that fills the page.
SINGLE, WIDE = (5.6, 3.8), (8.4, 3.6)

#: Pixels to the inch.
_DPI = 110


def figure(
    rows: int = 1, columns: int = 1, *, size: tuple[float, float] | None = None, **options: Any
) -> tuple[Figure, Any]:
    """Open a figure in the house style.

    Parameters
    ----------
    rows, columns
        Panels.
    size
        Width and height in inches; :data:`SINGLE` for one column and :data:`WIDE` for more when omitted.
    **options
        Passed on to :func:`matplotlib.pyplot.subplots`, such as ``sharey=True``.

    Returns
    -------
    tuple
        The figure, and its axes: one, or an array of them.

    Examples
    --------
    >>> fig, axes = figure(1, 2)
    >>> axes.shape
    (2,)
    >>> plt.close(fig)
    """
    size = size or (SINGLE if columns == 1 else WIDE)
    with sns.axes_style("ticks"), sns.plotting_context("notebook", font_scale=0.85):
        fig, axes = plt.subplots(rows, columns, figsize=size, dpi=_DPI, layout="constrained", **options)
    for ax in np.ravel(axes):
        ax.grid(True, color="0.92", linewidth=0.8)
        ax.set_axisbelow(True)
        sns.despine(ax=ax)
    return fig, axes


def palette(values: int | Sequence[float]) -> list[ColorType]:
    """Colours that colour-blind readers can tell apart: one for each of a few categories, or for an ordered sequence.

    Parameters
    ----------
    values
        Number of categories (up to 8), or the ordered values themselves, which get a sequential map.

    Returns
    -------
    list
        RGB triples.

    Raises
    ------
    ValueError
        If the number of categories lies outside [1, 8].

    Examples
    --------
    >>> len(palette(3)), len(palette([1, 2, 4, 8]))
    (3, 4)
    """
    if isinstance(values, int):
        if not 1 <= values <= 8:
            raise ValueError(f"the number of categories must lie in [1, 8], got {values}")
        return list(sns.color_palette("colorblind", values))
    return list(sns.color_palette("viridis", len(values) + 1))[: len(values)]


def theory(
    ax: Axes, x: ArrayLike, y: ArrayLike, *, color: ColorType, label: str | None = None, **options: Any
) -> Line2D:
    """Draw a prediction as a line.

    Parameters
    ----------
    ax
        Axes to draw on.
    x, y
        Arrays or tensors of equal length.
    color, label, **options
        As for :meth:`matplotlib.axes.Axes.plot`.

    Returns
    -------
    matplotlib.lines.Line2D
        The line.
    """
    options = {"linewidth": 1.6, "linestyle": "-", **options}
    return ax.plot(np.asarray(x), np.asarray(y), color=color, label=label, zorder=2, **options)[0]


def points(
    ax: Axes,
    x: ArrayLike,
    y: ArrayLike,
    error: ArrayLike | None = None,
    *,
    color: ColorType,
    label: str | None = None,
    marker: str = "o",
    **options: Any,
) -> ErrorbarContainer:
    """Draw a simulation as points with intervals.

    Parameters
    ----------
    ax
        Axes to draw on.
    x, y
        Arrays or tensors of equal length.
    error
        Half-widths of the intervals, or a pair of arrays (below, above); none are drawn when omitted.
    color, label, marker, **options
        As for :meth:`matplotlib.axes.Axes.errorbar`.

    Returns
    -------
    matplotlib.container.ErrorbarContainer
        The points.
    """
    return ax.errorbar(
        np.asarray(x),
        np.asarray(y),
        yerr=None if error is None else np.asarray(error),
        fmt=marker,
        markersize=4.5,
        markeredgecolor="white",
        markeredgewidth=0.5,
        elinewidth=1.2,
        color=color,
        label=label,
        zorder=3,
        **options,
    )


def legend(ax: Axes, *, outside: bool = False, **options: Any) -> None:
    """Place a legend, to the right of the panel if there is no room inside.

    Parameters
    ----------
    ax
        Axes whose labelled artists are listed.
    outside
        Whether to put it to the right of the axes.
    **options
        Passed on to :meth:`matplotlib.axes.Axes.legend`.
    """
    where = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)} if outside else {}
    ax.legend(**({"fontsize": "small", "handlelength": 1.4, "frameon": False} | where | options))

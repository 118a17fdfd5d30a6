import subprocess
import sys

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from srlib import plotting


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_tests_draw_without_a_display():
    assert matplotlib.get_backend().lower() == "agg"


def test_drawing_leaves_the_global_settings_alone():
    before = dict(matplotlib.rcParams)
    _, axes = plotting.figure(2, 2, sharey=True)
    plotting.theory(axes[0, 0], [0, 1], [1, 2], color="k", label="theory")
    plotting.points(axes[0, 0], [0, 1], [1, 2], [0.1, 0.1], color="k", label="simulation")
    plotting.legend(axes[0, 0])
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("panels", "shape", "size"),
    [((), None, plotting.SINGLE), ((2, 1), (2,), plotting.SINGLE), ((2, 3), (2, 3), plotting.WIDE)],
)
def test_figure(panels, shape, size):
    fig, axes = plotting.figure(*panels)
    assert getattr(axes, "shape", None) == shape
    assert tuple(fig.get_size_inches()) == size
    assert fig.get_constrained_layout()
    for ax in np.ravel(axes):
        assert [side for side, spine in ax.spines.items() if spine.get_visible()] == ["left", "bottom"]
        assert all(line.get_visible() for line in ax.get_xgridlines() + ax.get_ygridlines())
        assert ax.get_axisbelow() is True


def test_figure_options():
    fig, axes = plotting.figure(1, 2, size=(3, 2), sharey=True)
    assert tuple(fig.get_size_inches()) == (3, 2)
    axes[0].set_ylim(0, 7)
    assert axes[1].get_ylim() == (0, 7)


@pytest.mark.parametrize("values", [1, 3, 8, [0.5], [1, 2, 4, 8], range(20)])
def test_palette_gives_distinct_colours(values):
    colours = plotting.palette(values)
    count = values if isinstance(values, int) else len(values)
    assert len(set(colours)) == count
    assert all(len(colour) == 3 and all(0 <= channel <= 1 for channel in colour) for colour in colours)


def test_palette_of_ordered_values_brightens():
    brightness = [sum(colour) for colour in plotting.palette([1, 2, 3, 4])]
    assert brightness == sorted(brightness)


def test_simulation_lies_on_top_of_theory():
    _, ax = plotting.figure()
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 5.0])
    line = plotting.theory(ax, x, y, color="C1", label="theory")
    markers, _, (bars,) = plotting.points(ax, x, y, torch.tensor([0.5, 1.0]), color="C2", label="simulation")
    assert (line.get_linestyle(), line.get_marker()) == ("-", "None")
    assert (markers.get_linestyle(), markers.get_marker()) == ("None", "o")
    assert markers.get_zorder() > line.get_zorder()
    np.testing.assert_allclose(line.get_xydata(), [[1, 3], [2, 5]])
    np.testing.assert_allclose(markers.get_xydata(), [[1, 3], [2, 5]])
    np.testing.assert_allclose([bar[:, 1] for bar in bars.get_segments()], [[2.5, 3.5], [4, 6]])


def test_points_without_intervals():
    _, ax = plotting.figure()
    assert not plotting.points(ax, [1], [2], color="k").has_yerr


def test_options_are_passed_on():
    _, ax = plotting.figure()
    assert plotting.theory(ax, [0, 1], [0, 1], color="k", linewidth=3, alpha=0.5).get_linewidth() == 3
    assert plotting.points(ax, [0], [0], color="k", marker="s")[0].get_marker() == "s"


@pytest.mark.parametrize("outside", [False, True])
def test_legend(outside):
    fig, ax = plotting.figure()
    plotting.theory(ax, [0, 1], [0, 1], color="k", label="theory")
    plotting.points(ax, [0, 1], [0, 1], color="k", label="simulation")
    plotting.theory(ax, [0, 1], [1, 0], color="k")
    assert plotting.legend(ax, outside=outside, title="what") is None
    legend = ax.get_legend()
    fig.canvas.draw()
    assert [text.get_text() for text in legend.get_texts()] == ["theory", "simulation"]
    assert legend.get_title().get_text() == "what"
    assert not legend.get_frame_on()
    assert (legend.get_window_extent().x0 >= ax.get_window_extent().x1) == outside
    assert legend.get_window_extent().x1 <= fig.bbox.x1


@pytest.mark.parametrize("missing", ["matplotlib", "seaborn"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(missing):
    code = f"import sys; sys.modules[{missing!r}] = None; import srlib.plotting"
    result = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=False)
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("ModuleNotFoundError: ")]
    assert f"srlib.plotting needs {missing}, which is not installed: `pip install matplotlib seaborn`, or" in line
    assert '`pip install ".[book]"` in a checkout' in line


def test_categories_have_the_colours_that_the_colour_blind_tell_apart():
    import seaborn as sns

    assert plotting.palette(8) == list(sns.color_palette("colorblind", 8))

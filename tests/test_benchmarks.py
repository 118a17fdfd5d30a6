"""The benchmarks: peers that compute the same things, honest bookkeeping, and the runs that are committed."""

import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from srlib import Ensemble, ntk, spectra

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "workflow")]
import performance  # noqa: E402

from benchmarks import __main__ as command  # noqa: E402
from benchmarks import book, curves, measure, peers, rows  # noqa: E402

RUNS = performance.load(ROOT / "notebooks/data/performance")


def test_the_contracted_jacobians_are_the_kernel():
    network, x = rows.network((6, 9, 7), "cpu"), rows.inputs(5, 6, "cpu")
    found = peers.jacobian_contraction(peers.perceptron(network), x, x)
    torch.testing.assert_close(found, ntk.empirical(network, x)[0], rtol=1e-4, atol=1e-4)


def test_the_recursion_on_all_pairs_is_the_infinite_kernel():
    ensemble = Ensemble((6, 9, 5, 8), (3, 4.5, 2), (1.3, 1.7, 2.0), readout_norm=1.5)
    x = rows.inputs(7, 6, "cpu", dtype=torch.float64)
    for found, expected in zip(peers.gram_recursion(ensemble, x), ntk.infinite(ensemble, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_the_dense_law_has_the_shape_of_the_simulated_one(generator):
    x = torch.eye(1, 6)
    assert peers.dense_law(Ensemble((6, 5, 4), 2), x, generator).shape == (1, 3, 1, 1)


@pytest.mark.parametrize(
    "build",
    [
        partial(rows.sampling, 20, spectra.power_law),
        partial(rows.empirical, (6, 9, 7), 5),
        partial(rows.large_products, (6, 9, 7), 5),
        partial(rows.own_products, (6, 9, 7), 5),
        partial(rows.infinite, 20, 2, torch.float32),
        partial(rows.kernel_law, 8, 2, 3),
    ],
)
def test_contests_run_at_any_size(build):
    contest = build("cpu")
    assert contest.worth > 0
    for call in contest.calls.values():
        call()


def test_own_products_are_as_many_operations_as_the_kernels():
    contest = rows.own_products((6, 9, 7, 8), 5, "cpu")
    counts = []
    for call in (contest.ours, contest.peer):
        with rows.FlopCounterMode(display=False) as counter:
            call()
        counts.append(counter.get_total_flops())
    assert counts[0] - counts[1] == 2 * 5 * 8  # the outputs


def test_contenders_take_turns_and_are_timed():
    calls = []
    seconds = measure.alternate(
        {"a": lambda: calls.append("a"), "b": lambda: (calls.append("b"), time.sleep(0.02))}, repeats=3, least=0.0
    )
    assert calls[-6:] == ["a", "b"] * 3
    assert all(value >= 0.02 for value in seconds["b"])
    assert len(seconds["a"]) == 3


@pytest.mark.parametrize(
    ("quantity", "value", "holds"), [("time ratio", 0.25, True), ("speed-up", 4, True), ("share", 4, True)]
)
def test_quantities(quantity, value, holds):
    row = rows.Row("id", "work", "peer", quantity, 0.5, lambda device: None)
    contest = rows.Contest(lambda: None, lambda: None, worth=2)
    assert row.values(contest, {"ours": [1.0], "peer": [2.0]}) == [value]
    assert row.holds(value) == holds
    assert row.holds(0.1) == (quantity == "time ratio")


def test_peak_memory_sees_what_is_allocated():
    code = (
        "import torch; from benchmarks import measure;"
        "print(measure.peak(lambda: torch.ones(2**24).sum(), 'cpu'), measure.peak(lambda: 0, 'cpu'))"
    )
    environment = command.os.environ | measure.RETURNING
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    if "None" in result.stdout:
        pytest.skip("this system does not tell the peak memory of a process")
    large, nothing = map(int, result.stdout.split())
    assert 0.95 * 2**26 <= large < 1.25 * 2**26  # the kernel counts pages in batches
    assert nothing < 2**22


def test_only_what_is_asked_for_is_replaced():
    old = [{"id": "a", "device": "cpu", "v": 1}, {"id": "b", "device": "cpu", "v": 1}]
    new = [{"id": "a", "device": "cpu", "v": 2}, {"id": "a", "device": "cuda", "v": 3}]
    merged = command.merge(old, new, ["b", "a"])
    assert [(entry["id"], entry["device"], entry["v"]) for entry in merged] == [
        ("b", "cpu", 1),
        ("a", "cpu", 2),
        ("a", "cuda", 3),
    ]
    assert command.wanted("table:law", ["table:"])
    assert not command.wanted("curves:law", ["table:", "sample"])


def test_unknown_names_are_refused():
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks", "nonsense"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "nothing is called nonsense: the rows and curves are sample-two_level-1024" in result.stderr


@pytest.mark.parametrize("run", RUNS, ids=range(1, len(RUNS) + 1))
def test_committed_runs_are_complete(run):
    measured = {row["id"]: row for row in run["table"]}
    assert {row.id for row in rows.table()} <= set(measured) <= {row.id for row in rows.table()} | set(book.ROWS)
    for row in rows.table():
        stored = measured[row.id]
        assert (stored["target"], stored["quantity"]) == (row.target, row.quantity)
        assert stored["holds"] == row.holds(stored["value"]["median"])
        assert stored["value"]["low"] <= stored["value"]["median"] <= stored["value"]["high"]
        assert set(stored["peak"]) == ({"ours", "peer"} & set(stored["seconds"]) if row.memory else set())
    assert run["machines"]["cpu"]["cores"] >= 1


def test_the_first_run_holds_the_curves():
    found = {curve["id"]: curve["points"] for curve in RUNS[0]["curves"]}
    assert {curve.id: list(curve.xs) for curve in curves.curves()} == {
        name: [point["x"] for point in points] for name, points in found.items()
    }


def test_the_page_says_what_misses_its_target():
    text = performance.page(RUNS)
    missed = sum(not row["holds"] for run in RUNS for row in run["table"])
    assert text.count("✗") == missed
    assert "No GPU was at hand" in text
    for row in rows.table():
        assert row.work in text

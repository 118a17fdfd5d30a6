"""The benchmarks: peers that compute the same things, honest bookkeeping, and the runs that are committed."""

import json
import re
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


@pytest.mark.parametrize(
    ("word", "picks"),
    [
        ("law", {"table:law"}),
        ("power_law", {"table:sample-power_law-1024", "curves:sampler-width:power_law"}),
        ("1024", {"table:sample-power_law-1024"}),
        ("sampler-width", {"curves:sampler-width:power_law"}),
        ("table:", {"table:law", "table:sample-power_law-1024"}),
        ("curves:sampler", {"curves:sampler-width:power_law"}),
        ("sam", set()),
    ],
)
def test_a_word_picks_what_has_it_as_a_whole_part_of_its_name(word, picks):
    names = {"table:law", "table:sample-power_law-1024", "curves:sampler-width:power_law"}
    assert {name for name in names if command.wanted(name, [word])} == picks
    assert {name for name in names if command.wanted(name, [])} == names


@pytest.fixture
def bench(monkeypatch, tmp_path):
    """The command with one row and one curve that take no time, and results in a folder of their own."""

    def row(name):
        return rows.Row(name, "work", "", "seconds", 1.0, lambda device: rows.Contest(lambda: None), memory=False)

    monkeypatch.setattr(command, "table", lambda: [row("law"), row("sample-power_law")])
    monkeypatch.setattr(command, "curves", lambda: [curves.Curve("grow", (1, 2), lambda x, device: lambda: None)])
    monkeypatch.setattr(command, "OUTPUT", tmp_path / "bench")
    monkeypatch.setattr(measure, "alternate", lambda calls, repeats, least=0: dict.fromkeys(calls, [0.1] * repeats))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["benchmarks", "--device", "cpu", *arguments])
        command.main()
        return json.loads((tmp_path / "bench" / "run-1.json").read_text())

    return run


def test_a_run_goes_to_the_build_folder_and_says_what_it_measures_and_where(bench, capsys):
    published = {path: path.read_bytes() for path in (ROOT / "notebooks/data/performance").iterdir()}
    run = bench("law")
    assert [row["id"] for row in run["table"]] == ["law"]
    assert re.search(r"to be measured for .*bench/run-1.json: law\n", capsys.readouterr().out)
    run = bench()
    machine = measure.name(measure.machine("cpu"))
    assert [(e["id"], e["machine"]) for e in [*run["table"], *run["curves"]]] == [
        (name, machine) for name in ("law", "sample-power_law", "grow")
    ]
    assert performance.page([run]).count("Measured on: ") == 1
    assert {path: path.read_bytes() for path in published} == published
    dry = subprocess.run(["make", "--dry-run", "-o", ".venv/.ready", "bench"], cwd=ROOT, capture_output=True, text=True)
    assert '--output "_build/bench"' in dry.stdout


def test_a_file_belongs_to_one_machine(bench, monkeypatch):
    before = bench("law")
    monkeypatch.setattr(measure, "machine", lambda device: before["machines"]["cpu"] | {"processor": "Another"})
    for words in (["law"], ["grow"], []):
        with pytest.raises(
            SystemExit, match=r"^error: .*run-1.json was measured on another machine .*: choose another"
        ):
            bench(*words)
    assert json.loads((command.OUTPUT / "run-1.json").read_text()) == before
    (command.OUTPUT / "run-1.json").write_text("{")
    with pytest.raises(SystemExit, match=r"^error: .*run-1.json is damaged"):
        bench()


def test_runs_of_several_machines_are_told_apart_on_the_page(bench):
    here = bench("law")
    there = json.loads(json.dumps(here))
    there["machines"]["cpu"]["processor"] = "Another"
    text = performance.page([here, there, here])
    assert "Runs 1, 3 measured on: " in text
    assert "Run 2 measured on: Another, " in text


@pytest.mark.parametrize("arguments", [["nonsense"], ["law", "nonsense"], ["--device", "tpu"]])
def test_unknown_names_are_refused(bench, arguments):
    what = "device tpu: the devices are cpu" if "tpu" in arguments else "called nonsense: the rows and curves are law, "
    with pytest.raises(SystemExit, match=f"^error: .*{what}"):
        bench(*arguments)
    assert not command.OUTPUT.exists()


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
    for entry in [*run["table"], *run["curves"]]:
        assert entry["machine"] == measure.name(run["machines"][entry["device"]])


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

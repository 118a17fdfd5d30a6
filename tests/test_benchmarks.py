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
        partial(rows.sampling, 20, spectra.conditioned_gaussian, share=1 / 5),
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


QUANTITIES = {"time ratio": "≤", "seconds": "≤", "speed-up": "≥", "share": "≥"}


@pytest.mark.parametrize(
    ("quantity", "values"),
    [("time ratio", [0.25, 3.0]), ("speed-up", [4, 1 / 3]), ("share", [4, 1 / 3]), ("seconds", [1.0, 3.0])],
)
def test_quantities(quantity, values):
    row = rows.Row("id", "work", "peer", quantity, 0.5, lambda device: None)
    contest = rows.Contest(lambda: None, lambda: None, worth=2)
    assert row.values(contest, {"ours": [1.0, 3.0], "peer": [2.0, 0.5]}) == values
    wanted = {"≤": [True, True, False], "≥": [False, True, True]}
    assert [row.holds(value) for value in (0.1, 0.5, 0.9)] == wanted[QUANTITIES[quantity]]


def stored(quantity, holds=True):
    """Return a row as a run stores it, no two of whose numbers are equal."""
    return {
        "id": "work-1", "device": "cpu", "work": "the work", "peer": "`torch.nn.init.orthogonal_`",
        "quantity": quantity, "target": 0.7, "value": {"low": 0.123, "median": 0.456, "high": 0.789}, "holds": holds,
        "seconds": {"ours": 0.0123, "peer": 4.56}, "worth": 1.0, "peak": {"ours": 12e6, "peer": None}, "repeats": 5,
    }  # fmt: skip


@pytest.mark.parametrize("holds", [True, False])
@pytest.mark.parametrize("quantity", list(QUANTITIES))
def test_both_tables_say_what_is_wanted_and_what_was_measured(quantity, holds):
    sign, row = QUANTITIES[quantity], stored(quantity, holds)
    target, median = {"share": ("70%", "46%"), "seconds": ("0.7 s", "0.456 s")}.get(quantity, ("0.70×", "0.46×"))
    other = stored(quantity) | {"value": {"low": 0.1, "median": 123.0, "high": 200.0}}
    first = {"share": "12300%", "seconds": "123 s"}.get(quantity, "123×")
    assert performance.cells([row, other]) == [
        "the work; `orthogonal_`", f"{sign} {target}", f"{median}{'' if holds else ' ✗'}, {first}",
        "12.3 ms / 4.56 s", "12 / ?",
    ]  # fmt: skip
    assert performance.cells([row | {"peer": ""}])[0] == "the work"
    (line,) = command.lines({"table": [row]})[1:]
    words = ["work-1", "cpu", "0.456", "0.123", "0.789", sign, "0.7", "ok" if holds else "NO"]
    assert line.split() == [*words, "12.3", "/", "4560.0", "12", "/", "?"]


def test_the_page_orders_runs_and_keeps_devices_apart(tmp_path):
    about = {"processor": "P", "cores": 2, "threads": 1, "system": "S", "torch": "T"}
    rates = {"float32 products": 100e9, "float64 products": 50e9, "copy": 9e9}

    def run(value, device):
        row = stored("speed-up") | {"device": device, "value": {"low": 0.0, "median": value, "high": 9.0}}
        gpu = {"gpu": "G"} if device == "cuda" else {}
        return {
            "table": [row],
            "curves": [],
            "machines": {device: about | {n: v * value for n, v in rates.items()} | gpu},
        }

    for number, (value, device) in enumerate([(3.0, "cpu"), (2.0, "cpu"), (5.0, "cuda")], 1):
        (tmp_path / f"run-{number}.json").write_text(json.dumps(run(value, device)))
    runs = performance.load(tmp_path)
    cpu, cuda = performance.page(runs).split("Products of")[0], performance.page(runs).split("Measured on: G")[0]
    assert "| ≥ 0.70× | 3.0×, 2.0× |" in cpu
    assert "| ≥ 0.70× | 5.0× |" in cuda
    page = performance.page(runs[:2])
    assert (
        "Measured on: P, 2 cores, 1 threads, S, torch T. Products of 2048 × 2048 matrices ran at 200–300 billion"
        in page
    )
    assert "100–150 in double precision; copying moved 18–27 GB a second." in page
    assert page.endswith("No GPU was at hand; on one, the same command measures the same table there too.\n")
    assert "No GPU" not in performance.page(runs)


def test_spread_and_limits_of_the_machine(monkeypatch):
    assert measure.spread([5.0, 1.0, 2.0, 4.0, 3.0]) == {"low": 2.0, "median": 3.0, "high": 4.0}
    monkeypatch.setattr(measure, "PRODUCT", 8)
    monkeypatch.setattr(measure, "COPY", 10)
    monkeypatch.setattr(measure, "alternate", lambda calls, repeats: {name: [1.0, 0.5, 0.25] for name in calls})
    operations, moved = 2 * 8**3, 10 * 4 * 2  # a product and a sum for each entry; read and written, 4 bytes each
    assert measure.limits("cpu") == {
        "float32 products": operations / 0.5, "float64 products": operations / 0.5, "copy": moved / 0.5,
    }  # fmt: skip


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
    old = [{"id": name, "device": "cpu", "v": 1} for name in ("a", "b", "no longer measured")]
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


def test_the_bytes_that_a_curve_counts_are_those_of_its_result():
    counted = [curve for curve in curves.curves() if curve.bytes]
    for curve in counted:
        assert curve.bytes(7) == sum(tensor.nbytes for tensor in curve.build(7, "cpu")())
    assert counted


def test_the_page_says_what_misses_its_target():
    text = performance.page(RUNS)
    missed = sum(not row["holds"] for run in RUNS for row in run["table"])
    assert text.count("✗") == missed
    assert ("No GPU was at hand" in text) == all(row["device"] == "cpu" for run in RUNS for row in run["table"])
    for row in rows.table():
        assert row.work in text

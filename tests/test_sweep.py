"""The initialization sweep: its jobs on a small checkout, its protocol, and the tables that are committed."""

import csv
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import srlib

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "workflow"))
import project  # noqa: E402
import sweep  # noqa: E402
import tables  # noqa: E402

SNAKEMAKE = [sys.executable, "-m", "snakemake", "--snakefile", "workflow/Snakefile"]


@pytest.fixture(autouse=True)
def denormal_numbers():
    """Training a cell switches them off for its process, which a worker's later tests share."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def checkout(tmp_path):
    """A checkout with the real workflow and package, and no notebooks."""
    for folder in ("workflow", "srlib"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "index.md").write_text("# Index\n")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    (tmp_path / "requirements.lock").write_text("")
    return tmp_path


def start(checkout, *options, target="_build/sweep/tiny/tables/provenance.json", jobs=2):
    command = [
        *SNAKEMAKE,
        "--jobs",
        str(jobs),
        "--rerun-incomplete",
        "--nolock",
        *options,
        "--quiet",
        "all",
        "--",
        target,
    ]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    return subprocess.Popen(
        command,
        cwd=checkout,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def stale(checkout):
    """Return the files that a sweep would make again."""
    out, errors = start(checkout, "--summary").communicate(timeout=120)
    rows = list(csv.DictReader(out.splitlines(), delimiter="\t"))
    assert len(rows) == 3 + 3, errors
    return [row["output_file"] for row in rows if row["plan"] != "no update"]


def read(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_an_interrupted_sweep_resumes_without_repeating_or_losing_cells(checkout):
    cells = checkout / "_build" / "sweep" / "tiny" / "cells"
    process = start(checkout, jobs=1)
    deadline = time.monotonic() + 90
    while len(list(cells.glob("*.json"))) < 2 and time.monotonic() < deadline:  # so the workflow has recorded one
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    stamps = {path.name: path.stat().st_mtime_ns for path in cells.glob("*.json")}
    assert all(json.loads((cells / name).read_text())["runs"] for name in stamps)
    first = min(stamps, key=stamps.get)

    out, errors = (process := start(checkout)).communicate(timeout=120)
    assert process.returncode == 0, errors
    assert 1 <= len(out.splitlines()) <= 2, "one line a cell"
    assert first.removesuffix(".json") not in out, "no finished cell twice"
    assert "3 of 3" in out
    assert len(list(cells.glob("*.json"))) == 3
    assert (cells / first).stat().st_mtime_ns == stamps[first]
    assert not list(cells.glob(".*.json.*"))

    folder = checkout / "_build" / "sweep" / "tiny" / "tables"
    runs = read(folder / "runs.csv")
    assert len(runs) == 2 * (1 + 2) + len(sweep.MAP_RATIOS["fixed"]) * len(sweep.MAP_RATES) * sweep.MAP_SEEDS
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["command"] == "make sweep PROFILE=tiny"
    assert provenance["networks"] == len(runs)
    assert provenance["torch"] == torch.__version__

    docstring = checkout / "srlib" / "init.py"
    docstring.write_text(
        docstring.read_text().replace('"""Initialization', '"""# A comment and another word. Initialization', 1)
    )
    assert stale(checkout) == [], "a docstring makes nothing stale"
    docstring.write_text(docstring.read_text() + "\nNEW = 1\n")
    assert len(stale(checkout)) == 3 + 3, "code does: the cells, and their tables"


def test_a_cluster_takes_the_same_jobs(checkout):
    """Dry run of the SLURM executor: one job a cell, and one for the tables."""
    command = [*SNAKEMAKE, "--executor", "slurm", "--jobs", "100", "--dry-run", "--quiet", "reason", "--"]
    command += ["_build/sweep/published/tables/provenance.json"]
    done = subprocess.run(command, cwd=checkout, text=True, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    count = len(sweep.cells("published"))
    assert any(line.split() == ["cell", str(count)] for line in done.stdout.splitlines())
    assert any(line.split() == ["tables", "1"] for line in done.stdout.splitlines())


def test_profiles_and_cells_are_named_in_errors():
    with pytest.raises(project.ProjectError, match=r"no sweep profile 'huge': the profiles are published, quick, tiny"):
        sweep.profile("huge")
    with pytest.raises(project.ProjectError, match="has no cell 'x', such as 'pytorch-d5-w128-sgd'"):
        sweep.find("published", "x")


@pytest.mark.parametrize("name", list(sweep.PROFILES))
def test_design(name):
    size = sweep.profile(name)
    ids = sweep.cells(name)
    assert len(set(ids)) == len(ids) == len(size.cells)
    assert size.steps % sweep.BLOCK == size.tuning_steps % sweep.BLOCK == 0
    for cell in size.cells:
        for ratio in cell.ratios:
            assert ratio is None or 1 / cell.width <= ratio <= 1


def test_the_published_design_is_what_the_book_says():
    size = sweep.profile("published")
    assert size.seeds >= 10
    methods = {(cell.method, cell.scale, cell.ratio) for cell in size.cells if cell.study == "methods"}
    full = {
        (c.method, c.scale, c.ratio, c.depth)
        for c in size.cells
        if (c.optimizer, c.width, c.study) == ("sgd", 128, "methods")
    }
    assert full == {(*method, depth) for method in methods for depth in (5, 10, 20, 40)}
    assert {cell.depth for cell in size.cells if cell.optimizer == "adam"} == {5, 10}
    quick = sweep.profile("quick")
    assert {cell.id for cell in quick.cells} <= {cell.id for cell in size.cells}


def test_initializations():
    """At matched scale every method has He's mean squared weight; at fixed scale the spectral norm."""
    for cell in sweep.profile("published").cells:
        if cell.depth > 10:
            continue
        network = sweep.initialize(cell, cell.ratios[0], seed=3)
        assert network.widths == (784, *[cell.width] * cell.depth)
        assert network.readout.shape == (1, 10, cell.width)
        assert network.readout.square().mean().item() * cell.width == pytest.approx(1, rel=0.2)
        assert not network.biases[-1].any()
        W = network.weights[-1][0].double()
        mean_square = W.square().mean().item() * cell.width
        if cell.scale != "own":
            assert srlib.stable_rank(W).item() == pytest.approx(max(1, cell.ratios[0] * cell.width), rel=1e-4)
        if cell.scale == "fixed":
            assert torch.linalg.matrix_norm(W, 2).item() == pytest.approx(2**0.5, rel=1e-4)
        else:
            wanted = {"pytorch": 1 / 3, "xavier": 1}.get(cell.method, 2)
            assert mean_square == pytest.approx(wanted, rel=0.05)
        assert any(b.any() for b in network.biases) == (cell.method == "pytorch")
    one, same, other = (sweep.initialize(sweep.profile("quick").cells[-1], 0.5, seed).weights[5] for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_choice_of_the_learning_rate():
    def runs(table):
        return [{"rate": rate, "loss": loss} for rate, losses in table.items() for loss in losses]

    infinite = float("inf")
    assert sweep.choose(runs({0.1: [3, 2, 1], 0.2: [1.5, infinite, 0.1], 0.4: [infinite] * 3})) == 0.2
    assert sweep.choose(runs({0.1: [0.1, infinite, infinite], 0.2: [9, 9, 9]})) == 0.2
    marked = runs({0.1: [2], 0.2: [1]})
    sweep.choose(marked)
    assert [entry["chosen"] for entry in marked] == [0, 1]


def test_steps_to_a_threshold():
    assert sweep.first_below([2.0, 0.9, 1.1, 0.4], 1.0) == 2 * sweep.BLOCK
    assert sweep.first_below([2.0, 0.9, 1.1, 0.4], 0.5) == 4 * sweep.BLOCK
    assert sweep.first_below([2.0, float("inf")], 1.0) is None


@pytest.mark.parametrize("count", [2, 3, 4, 5, 12])
def test_quartiles_and_those_of_runs_that_diverged(count):
    losses = [float(value) for value in torch.rand(count, generator=torch.Generator().manual_seed(0))]
    assert project.quartiles(losses) == tuple(statistics.quantiles(losses, n=4, method="inclusive"))
    assert project.quartiles(losses[:1]) == (losses[0],) * 3
    losses[0] = float("inf")
    low, middle, high = project.quartiles(losses)
    assert low <= middle <= high, "none is NaN"


def small(**change):
    return (
        sweep.Profile((), tuning_seeds=1, seeds=4, tuning_steps=20, steps=150)
        if not change
        else replace(small(), **change)
    )


def test_a_diverged_run_is_recorded_and_never_dropped(monkeypatch, tmp_path):
    monkeypatch.setitem(sweep.RATES, "sgd", [1e30])
    cell = sweep.Cell("he", "own", None, 2, 16)
    result = sweep.train(cell, small(steps=20))
    assert len(result["runs"]) == 5
    assert all(entry["diverged_at"] is not None and entry["loss"] == float("inf") for entry in result["runs"])
    assert all(entry["reached_1"] is None for entry in result["runs"])

    monkeypatch.setitem(sweep.PROFILES, "tiny", lambda: sweep.Profile((cell,)))
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / f"{cell.id}.json").write_text(json.dumps(result))
    tables.gather("tiny", tmp_path / "cells", tmp_path / "tables")
    rows = read(tmp_path / "tables" / "runs.csv")
    assert len(rows) == 5
    assert all(row["loss"] == "inf" and int(row["diverged_at"]) < 20 for row in rows)
    assert json.loads((tmp_path / "tables" / "provenance.json").read_text())["diverged"] == 5


def test_a_small_run_points_the_same_way(monkeypatch):
    """Twelve layers: an orthogonal start learns, the same spectral norm at half the stable rank does not (I1)."""
    monkeypatch.setitem(sweep.RATES, "sgd", [0.032])
    losses = {}
    for cell in (sweep.Cell("orthogonal", "own", None, 12, 64), sweep.Cell("two_level", "fixed", 0.5, 12, 64)):
        runs = [entry for entry in sweep.train(cell, small())["runs"] if entry["phase"] == "evaluation"]
        assert len(runs) == 4
        losses[cell.method] = [entry["loss"] for entry in runs]
    assert max(losses["orthogonal"]) < 1.5 < 2.2 < min(losses["two_level"])


@pytest.fixture
def recorded(monkeypatch):
    """Train in no time: the digits' first ten pixels say what every network answers, and every call is kept.

    Three quarters of the answers are right among the digits to train on, a quarter among the others. Losses are made
    up, the same for all networks at one rate and smallest at the second of the rates.
    """
    count = sweep.TRAINING + 1000
    answers, shift = torch.arange(count) % 10, torch.zeros(count, dtype=torch.int64)
    shift[: sweep.TRAINING // 4] = shift[sweep.TRAINING : -250] = 1
    images = torch.rand(count, 784, generator=torch.Generator().manual_seed(0)) / 2
    images[torch.arange(count), answers] = 1.0
    images[sweep.TRAINING :, 100:] += 5.0  # those held out are other digits, which must not count in any average
    calls = []

    def fit(network, x, targets, *, rates, seeds, steps, batch_size, optimizer):
        calls.append({"x": x, "targets": targets, "rates": rates, "seeds": seeds, "steps": steps})
        assert (len(x), batch_size, optimizer) == (sweep.TRAINING, sweep.BATCH, training.sgd)
        best = sorted(set(rates))[min(1, len(set(rates)) - 1)]
        curve = 2.0 ** -(torch.arange(steps) // sweep.BLOCK)
        losses = torch.stack([curve + (rate != best) for rate in rates])
        diverged = torch.full((len(rates),), -1)
        diverged[0] = 0
        read = torch.eye(10, 784).expand(len(rates), -1, -1)
        return training.Training(srlib.Network((), read), losses, diverged)

    from srlib.experiments import data, training

    monkeypatch.setattr(data, "mnist", lambda **options: (images, (answers + shift) % 10))
    monkeypatch.setattr(training, "fit", fit)
    return images, calls


CELL = sweep.Cell("he", "own", None, 1, 16)


def test_networks_are_tuned_on_seeds_and_scored_on_digits_of_their_own(recorded):
    images, calls = recorded
    size = sweep.Profile((CELL,), tuning_seeds=2, seeds=3, tuning_steps=20, steps=80, rates=3)
    runs = sweep.train(CELL, size)["runs"]
    tuning, evaluation = ([run for run in runs if run["phase"] == phase] for phase in ("tuning", "evaluation"))
    middle = sweep.RATES["sgd"][2:5]
    assert sorted(run["rate"] for run in tuning) == sorted(2 * middle), "around the middle"
    assert {run["rate"] for run in evaluation} == {middle[1]}, "the best of them"
    assert [run["chosen"] for run in tuning] == [int(run["rate"] == middle[1]) for run in tuning]
    assert len({run["seed"] for run in tuning}) == 2
    assert sorted(run["seed"] for run in evaluation) == [0, 1, 2]
    assert {run["seed"] for run in tuning}.isdisjoint(run["seed"] for run in evaluation)
    assert [(call["seeds"], call["steps"]) for call in calls] == [
        ([run["seed"] for run in phase], steps) for phase, steps in ((tuning, 20), (evaluation, 80))
    ]
    for call in calls:
        assert call["x"].mean().item() == pytest.approx(0, abs=1e-5)
        assert call["x"].std().item() == pytest.approx(1, rel=1e-5)
        assert torch.equal(call["x"].argmax(1), images[: sweep.TRAINING].argmax(1))
    for run in runs:
        assert (run["accuracy"], run["held_out"]) == (0.75, 0.25)
    last = evaluation[-1]
    assert last["curve"] == [2.0**-k for k in range(8)]
    assert last["loss"] == statistics.fmean(2.0**-k for k in (3, 4, 5, 6, 7))
    assert [last[f"reached_{limit:g}"] for limit in sweep.THRESHOLDS] == [20, 30, 40]
    assert [run["diverged_at"] for run in evaluation] == [0, None, None], "before the first update is a time as well"


@pytest.mark.parametrize("name", list(sweep.PROFILES))
def test_no_network_is_tuned_and_scored_on_one_seed(name, recorded):
    size = replace(sweep.profile(name), cells=(CELL,))
    runs = sweep.train(CELL, size)["runs"]
    seeds = {phase: {run["seed"] for run in runs if run["phase"] == phase} for phase in ("tuning", "evaluation")}
    assert [len(seeds["tuning"]), len(seeds["evaluation"])] == [size.tuning_seeds, size.seeds]
    assert seeds["tuning"].isdisjoint(seeds["evaluation"])


def test_the_map_has_a_best_rate_for_every_ratio(recorded, monkeypatch):
    losses = {("low", 0.1): 1.0, ("low", 0.2): 2.0, ("high", 0.1): 2.0, ("high", 0.2): 1.0}
    monkeypatch.setattr(sweep, "MAP_RATIOS", {"fixed": (0.25, 0.5)})
    monkeypatch.setattr(sweep, "MAP_RATES", [0.1, 0.2])
    made = sweep.choose

    def choose(runs):
        for run in runs:
            run["loss"] = losses["low" if run["ratio"] == 0.25 else "high", run["rate"]]
        return made(runs)

    monkeypatch.setattr(sweep, "choose", choose)
    runs = sweep.train(sweep.Cell("two_level", "fixed", None, 1, 16, study="map"), small())["runs"]
    assert {(run["ratio"], run["rate"]) for run in runs if run["chosen"]} == {(0.25, 0.1), (0.5, 0.2)}
    assert {run["phase"] for run in runs} == {"map"}
    assert len(runs) == 4 * sweep.MAP_SEEDS


def test_tables_of_runs_whose_numbers_are_known(tmp_path, monkeypatch):
    """Three networks, whose curves cross and one of which diverges."""
    monkeypatch.setitem(sweep.PROFILES, "tiny", lambda: sweep.Profile((CELL,)))
    infinite = float("inf")
    curves = [[3.0, 9.0, 4.0], [1.0, 7.0, infinite], [2.0, 8.0, 6.0]]
    runs = [{"phase": "evaluation", "diverged_at": None, "curve": curve} for curve in curves]
    runs[1]["diverged_at"] = 0
    result = {"cell": {"id": CELL.id, "method": "he"}, "device": "cpu", "seconds": 90.0, "runs": runs}
    (tmp_path / f"{CELL.id}.json").write_text(json.dumps(result))
    tables.gather("tiny", tmp_path, tmp_path)
    columns = ("id", "step", "low", "median", "high")
    bands = [tuple(row[name] for name in columns) for row in read(tmp_path / "curves.csv")]
    assert bands == [
        (CELL.id, "10", "1.5", "2", "2.5"),
        (CELL.id, "20", "7.5", "8", "8.5"),
        (CELL.id, "30", "5", "6", "inf"),
    ]
    provenance = json.loads((tmp_path / "provenance.json").read_text())
    assert [provenance[key] for key in ("networks", "diverged", "core_minutes")] == [3, 1, 2]


def test_final_losses_are_those_at_a_step(tmp_path):
    rows = [("a", 10, 3.0), ("a", 20, 2.0), ("a", 30, 1.0), ("b", 10, 6.0), ("b", 20, 5.0)]
    text = "id,step,low,median,high\n" + "".join(f"{id},{step},0,{value},9\n" for id, step, value in rows)
    (tmp_path / "curves.csv").write_text(text)
    assert tables.final_losses(tmp_path / "curves.csv") == {"a": 1.0, "b": 5.0}
    assert tables.final_losses(tmp_path / "curves.csv", 20) == {"a": 2.0, "b": 5.0}
    assert tables.final_losses(tmp_path / "curves.csv", 10) == {"a": 3.0, "b": 6.0}
    assert tables.final_losses(tmp_path / "none.csv") == {}


def test_a_smaller_profile_is_held_to_the_published_losses_at_its_own_last_step(tmp_path, monkeypatch, capsys):
    def curves(folder, *rows):
        folder.mkdir(parents=True)
        text = "".join(f"{id},{step},0,{value},9\n" for id, step, value in rows)
        (folder / "curves.csv").write_text("id,step,low,median,high\n" + text)

    monkeypatch.setattr(tables, "BUILD", tmp_path)
    monkeypatch.setattr(tables, "TABLES", tmp_path / "published")
    curves(tmp_path / "sweep" / "tiny" / "tables", ("a", 10, 8.0), ("a", 20, 2.0), ("b", 20, 1.0))
    curves(tmp_path / "published", ("a", 20, 0.5), ("a", 600, 0.1))
    tables.accept("tiny")
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.endswith("(median loss at 20 steps)")
    assert [line.split() for line in lines] == [["b", "1.000", "nan"], ["a", "2.000", "0.500"]]


@pytest.mark.parametrize("values", [[3.0, 1.0, 2.0], [9.0, 1.0, 5.0, 3.0, 7.0, 2.0]])
def test_quartiles_do_not_depend_on_the_order_and_cut_where_they_say(values):
    expected = tuple(statistics.quantiles(values, n=4, method="inclusive"))
    for order in (values, sorted(values), values[::-1]):
        assert project.quartiles(order) == expected


PUBLISHED = [cell for cell in sweep.profile("published").cells if cell.study == "methods"]
MAPPED = [cell for cell in sweep.profile("published").cells if cell.study == "map"]


@pytest.fixture(scope="module")
def committed():
    return read(tables.TABLES / "runs.csv"), json.loads((tables.TABLES / "provenance.json").read_text())


def test_committed_tables_hold_every_network_of_the_design(committed):
    runs, provenance = committed
    assert provenance["command"] == "make sweep PROFILE=published"
    assert provenance["networks"] == len(runs)
    assert len(provenance["sources"]) == 64
    size = sweep.profile("published")
    key = ("method", "scale", "ratio", "depth", "width", "optimizer")

    def phase(name):
        found = {}
        for row in runs:
            if row["phase"] == name:
                found.setdefault(tuple(row[k] for k in key), []).append(row)
        return found

    def text(cell):
        return tuple("" if getattr(cell, k) is None else f"{getattr(cell, k)}" for k in key)

    evaluation, tuning = phase("evaluation"), phase("tuning")
    assert set(evaluation) == set(tuning) == {text(cell) for cell in PUBLISHED}
    for cell in PUBLISHED:
        rows = evaluation[text(cell)]
        assert sorted(int(row["seed"]) for row in rows) == list(range(size.seeds))
        budget = tuning[text(cell)]
        assert {row["seed"] for row in budget}.isdisjoint(row["seed"] for row in rows)
        assert len(budget) == size.tuning_seeds * len(sweep.RATES[cell.optimizer])
        finals = {}
        for row in budget:
            finals.setdefault(row["rate"], []).append(float(row["loss"]))
        best = min(finals, key=lambda rate: statistics.median(finals[rate]))
        assert {row["rate"] for row in rows} == {best} or statistics.median(finals[best]) == statistics.median(
            finals[rows[0]["rate"]]
        )
    mapped = {(cell.scale, ratio, cell.depth) for cell in MAPPED for ratio in sweep.MAP_RATIOS[cell.scale]}
    made = {(row["scale"], float(row["ratio"]), int(row["depth"])) for row in runs if row["phase"] == "map"}
    assert made == mapped


def test_code_digest_ignores_words_and_sees_code(tmp_path, monkeypatch):
    monkeypatch.setattr(project, "ROOT", tmp_path)
    file = tmp_path / "a.py"

    def digest(text):
        file.write_text(text)
        return project.code_digest("a.py")

    plain = digest("def f(x):\n    return x\n")
    assert plain == digest('"""Words."""\n\n\ndef f(x):  # why\n    """More words."""\n    return x\n')
    assert plain != digest("def f(x):\n    return x + 0\n")

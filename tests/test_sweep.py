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
    out, _ = start(checkout).communicate(timeout=120)
    assert out == "", "a docstring makes nothing stale"
    docstring.write_text(docstring.read_text() + "\nNEW = 1\n")
    out, _ = start(checkout).communicate(timeout=120)
    assert len(out.splitlines()) == 3, "code does"


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


PUBLISHED = [cell for cell in sweep.profile("published").cells if cell.study == "methods"]


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
        assert len(budget) == size.tuning_seeds * len(sweep.RATES[cell.optimizer])
        finals = {}
        for row in budget:
            finals.setdefault(row["rate"], []).append(float(row["loss"]))
        best = min(finals, key=lambda rate: statistics.median(finals[rate]))
        assert {row["rate"] for row in rows} == {best} or statistics.median(finals[best]) == statistics.median(
            finals[rows[0]["rate"]]
        )


def test_code_digest_ignores_words_and_sees_code(tmp_path, monkeypatch):
    monkeypatch.setattr(project, "ROOT", tmp_path)
    file = tmp_path / "a.py"

    def digest(text):
        file.write_text(text)
        return project.code_digest("a.py")

    plain = digest("def f(x):\n    return x\n")
    assert plain == digest('"""Words."""\n\n\ndef f(x):  # why\n    """More words."""\n    return x\n')
    assert plain != digest("def f(x):\n    return x + 0\n")

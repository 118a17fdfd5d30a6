"""Fresh seeds: what is run, what is gathered, and how outcomes are held against their chances."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats
from test_workflow import BODY, ROOT, Checkout

sys.path.insert(0, str(ROOT / "workflow"))
import seeds


def record(id="F2.relu", kind="sampled", verdict="holds", undecided=0.02, **more):
    p_value = 0.5 if kind == "sampled" else None
    alarm = 6e-6 if kind == "sampled" else 0.0
    return {"id": id, "kind": kind, "verdict": verdict, "slack": 0.7, "p_value": p_value, "seed": 1,
            "undecided": undecided, "false_alarm": alarm, "text": "not in the table"} | more  # fmt: skip


def test_every_notebook_runs_under_every_seed_and_no_seed_is_the_published_one():
    paths = [path.split("/") for path in seeds.results(3)]
    assert {path[-1] for path in paths} == {f"{name}.json" for name in seeds.notebooks()}
    fresh = sorted({int(path[-2]) for path in paths})
    assert len(paths) == 3 * len(seeds.notebooks())
    assert len(fresh) == 3
    # Generators are seeded by 1,000 or 10,000 times an offset below 10,000 more: far below the distance of two seeds.
    assert min(np.diff([0, *fresh])) > 10_000 * 10_000


def test_gathered_outcomes_are_one_row_for_each_claim_and_seed(tmp_path):
    paths = []
    for seed, verdict in ((10, "holds"), (20, "undecided"), (30, "fails")):
        path = tmp_path / str(seed) / "04.json"
        path.parent.mkdir()
        path.write_text(json.dumps([record(verdict=verdict), record("I2.gain", "empirical", undecided=0.4)]))
        paths.append(path)
    seeds.gather(tmp_path / "out", paths)
    with (tmp_path / "out" / "outcomes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["seed"], row["id"], row["verdict"]) for row in rows[:3]] == [
        ("10", "F2.relu", "holds"), ("10", "I2.gain", "holds"), ("20", "F2.relu", "undecided")
    ]  # fmt: skip
    sampled, experiment = seeds.load(tmp_path / "out")
    assert (sampled.runs, sampled.not_held, sampled.chance) == (3, 2, pytest.approx(0.02, rel=1e-2))
    assert (experiment.runs, experiment.not_held, experiment.chance) == (3, 0, pytest.approx(0.4))
    assert sampled.p_values == (0.5, 0.5, 0.5)
    assert experiment.p_values == ()
    provenance = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert provenance["command"] == "make seeds SEEDS=3"
    assert set(provenance["notebooks"]) == set(seeds.notebooks())


def outcomes(chances, runs=50, not_held=0):
    verdicts = ("fails",) * not_held + ("holds",) * (runs - not_held)
    return [seeds.Outcomes(f"F2.a-{k}", "sampled", verdicts, (), chance) for k, chance in enumerate(chances)]


def test_the_range_of_a_sum_is_that_of_simulated_sums():
    chances = [0.4, 0.02, 0.0, 6e-6, 0.1]
    low, high = seeds.range_of(outcomes(chances))
    sums = np.random.default_rng(0).binomial(50, chances, (200_000, 5)).sum(1)
    assert np.mean(sums < low) < 0.005
    assert np.mean(sums > high) < 0.005
    assert np.mean(sums < low + 1) > 0.004
    assert np.mean(sums > high - 1) > 0.004
    assert seeds.range_of(outcomes([0.3], runs=20)) == tuple(map(int, stats.binom.interval(0.99, 20, 0.3)))


def test_the_summary_counts_what_did_not_hold():
    lines = seeds.summary(outcomes([0.02, 0.01], not_held=2)).splitlines()
    assert lines[0].startswith("2 sampled claims, 100 runs in all: 4 do not hold, 4 of them fail; expected 1.5, and")


CLAIM = """
# %%
from IPython.display import display

record = {
    "id": "F2.small", "kind": "sampled", "verdict": "holds" if seed % 2 == 0 else "fails", "slack": 0.5,
    "p_value": 0.25, "seed": seed, "false_alarm": 6e-6, "undecided": 0.25, "text": "a claim",
}
display({"application/vnd.srlib.claim+json": record, "text/plain": "a claim"}, raw=True)
"""


def test_the_workflow_runs_every_notebook_under_every_seed_and_keeps_what_is_done(tmp_path):
    checkout = Checkout(tmp_path)
    checkout.write("01_first", BODY + CLAIM)
    command = [sys.executable, "workflow/build.py", "seeds", "2"]

    def made(count):
        done = checkout.script(*command[1:], str(count), "local")
        assert done.returncode == 0, done.stderr
        (outcomes,) = seeds.load(tmp_path / "_build" / "seeds" / f"tables-{count}")
        return outcomes, {path: path.stat().st_mtime_ns for path in tmp_path.glob("_build/seeds/[0-9]*/*.json")}

    first, kept = made(2)
    assert (first.id, first.verdicts, first.p_values, first.chance) == ("F2.small", ("holds",) * 2, (0.25,) * 2, 0.25)
    assert len(kept) == 4, "one file for each seed and notebook"
    more, all_of_them = made(3)
    assert more.verdicts == ("holds",) * 3
    assert len(all_of_them) == 6
    assert kept.items() < all_of_them.items(), "what is done is not done again"


def test_none_of_the_claims_holds_of_a_notebook_that_ends_in_an_error(tmp_path):
    checkout = Checkout(tmp_path)
    checkout.write("01_first", BODY + CLAIM)
    stored, target = tmp_path / "notebooks" / "01_first.ipynb", tmp_path / "out.json"
    done = checkout.script("workflow/execute.py", "notebooks/01_first.py", str(stored))
    assert done.returncode == 0, done.stderr
    checkout.write("01_first", BODY + "\n# %%\nassert seed == 1, 'a network diverged'\n" + CLAIM)
    done = checkout.script("workflow/seeds.py", "execute", "1000000000", "01_first", str(target))
    assert done.returncode == 0, done.stderr
    assert "under the seed 1000000000 no claim holds of notebooks/01_first.py, cell 3: AssertionError" in done.stderr
    (record,) = json.loads(target.read_text())
    assert (record["id"], record["verdict"], record["p_value"]) == ("F2.small", "fails", None)


def test_one_notebook_is_run_with_the_seed_it_was_given(tmp_path):
    """The shortest notebook that draws; its claims with a seed are written, the others are not."""
    target = tmp_path / "13.json"
    command = [sys.executable, "workflow/seeds.py", "execute", "1000000000", "13_performance", str(target)]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(target.read_text()) == []

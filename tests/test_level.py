"""False alarms of sampled claims, counted: the cases, intervals, and the committed table against what claims state."""

import csv
import importlib
import math

import level
import numpy as np
import pytest
from scipy import stats

from srlib import check

sampling = importlib.import_module("srlib.check.sampling")


@pytest.mark.parametrize("name", level.LAWS)
def test_laws_have_the_mean_and_skewness_that_they_state(name):
    law = level.LAWS[name]
    draws = law.draw(np.random.default_rng(0), (400_000, 1)).ravel()
    assert draws.mean() == pytest.approx(law.mean, abs=4.5 * stats.sem(draws))
    groups = stats.skew(draws.reshape(40, -1), axis=1)
    assert groups.mean() == pytest.approx(law.skewness, rel=0.15, abs=0.05)


def test_repetitions_are_counted_as_claims_decide_them(monkeypatch):
    monkeypatch.setattr(level, "BLOCK", 450 * 100)
    monkeypatch.setattr(sampling, "LEVEL", 0.2)
    law = level.LAWS["exponential"]
    made, refused, found = level.alarms(law, 450, 250, seed=3)
    rng, verdicts = np.random.default_rng([3, 450]), []
    for _ in range(3):
        for draws in law.draw(rng, (450, 100)).T:
            try:
                claim = check.sampled("F2.a", "t", draws, 1.0, resolve=9, false_alarm=0.2 * sampling.EXCESS)
                verdicts.append(claim.verdict)
            except ValueError:
                verdicts.append("refused")
    assert (made, refused, found) == (300, verdicts.count("refused"), verdicts.count("fails"))
    assert refused > 20
    assert found > 20


def test_the_interval_of_a_count_is_garwoods():
    low, high = level.interval(7, 2.0)
    assert stats.poisson.sf(6, 2 * low) == pytest.approx(0.025)
    assert stats.poisson.cdf(7, 2 * high) == pytest.approx(0.025)
    assert level.interval(0, 1.0)[0] == 0


def test_the_page_shows_every_case_and_counts_those_that_are_seldom_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(level, "TABLE", tmp_path / "alarms.csv")
    assert level.page() == ""
    rows = ["normal,0,100,5000000,0,30", "skewed,2.5,1000,5000000,50000,20", "heavy,6.18,100,5000000,4999999,9"]
    level.TABLE.write_text("\n".join(["law,skewness,replicates,repetitions,refused,alarms", *rows]) + "\n")
    page = level.page()
    assert "| normal (0) | 100 | 0 % | 1.5 [1, 2.1] |" in page
    assert "| skewed (2.5) | 1000 | 1 % | 1 [0.61, 1.5] |" in page
    assert "| heavy (6.18) | 100 | 100 % | 0.45 [0.21, 0.85] |" in page
    assert "together, 1.25 [0.93, 1.65] times as many as nominal" in page


def test_false_alarms_are_at_most_as_frequent_as_claims_state():
    with level.TABLE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["law"], int(row["replicates"])) for row in rows] == [case[:2] for case in level.DESIGN]
    counted = [row for row in rows if int(row["refused"]) < level.SELDOM * int(row["repetitions"])]
    assert len(counted) >= 6
    found = sum(int(row["alarms"]) for row in counted)
    expected = sum(int(row["repetitions"]) * sampling.LEVEL for row in counted)
    assert level.interval(found, expected)[1] < sampling.EXCESS
    for row in counted:
        low, _ = level.interval(int(row["alarms"]), int(row["repetitions"]) * sampling.LEVEL)
        assert low < sampling.EXCESS
    assert math.isclose(check.FALSE_ALARM, sampling.EXCESS * sampling.LEVEL)

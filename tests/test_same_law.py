import math

import numpy as np
import pytest
from scipy import stats

from srlib.check.same_law import _distances, same_law

N = 4000


def normal(seed, count=N, columns=3):
    return np.random.default_rng(seed).normal(size=(count, columns))


def test_equal_laws_pass_and_wrong_ones_are_rejected():
    wrong = {
        "shifted": normal(2) + np.array([0, 0.3, 0]),
        "wider": normal(3) * [1, 1, 1.3],
        "dependent": normal(4)[:, [0, 0, 1]],
    }
    claim = same_law("C1.a", "t", normal(0), normal(1), wrong=wrong, seed=0)
    assert claim, claim
    assert claim.rejected == tuple(wrong)
    assert (claim.kind, claim.entries, claim.samples, claim.seed) == ("sampled", 35, N, 0)
    assert claim.interval[0] <= claim.estimate <= claim.interval[1]


@pytest.mark.parametrize("seed", [2, 3])
def test_a_wrong_alternative_that_is_not_rejected_fails_the_claim(seed):
    claim = same_law("C1.a", "t", normal(0), normal(1), wrong={"the same": normal(seed)})
    assert not claim
    assert claim.missed == ("the same",)


def test_the_distance_of_a_coordinate_is_that_of_its_distribution_functions():
    x, y = normal(0, 700), np.round(normal(1, 900), 1)  # with ties
    found = _distances(x, y)
    for a, b, distance in zip(x.T, y.T, found[:3], strict=True):
        assert distance == pytest.approx(max(abs((a <= t).mean() - (b <= t).mean()) for t in [*a, *b]), abs=1e-14)
    assert not _distances(x, x).any()


def test_units_and_rounding_do_not_matter():
    x, y = normal(0), normal(1)
    found = same_law("C1.a", "t", x, y)
    assert same_law("C1.a", "t", 1e6 * x + 5, 1e6 * y + 5).estimate == found.estimate
    constant = np.full((N, 1), 1 / 3)
    assert same_law("C1.a", "t", constant, constant * (1 + 1e-15 * x[:, :1])).estimate == 0


def test_false_alarms_are_at_most_nominal():
    rng = np.random.default_rng(0)
    pairs = (rng.normal(size=(2, 600, 2)) for _ in range(400))
    assert np.mean([same_law("C1.a", "t", x, y, false_alarm=0.1).verdict == "fails" for x, y in pairs]) < 0.1


def test_noticeable_distance_is_noticed():
    noticeable = same_law("C1.a", "t", normal(0), normal(1), false_alarm=0.01).noticeable
    shift = 2 * stats.norm.ppf((1 + noticeable) / 2)  # of a normal variable, at this distance
    claims = (
        same_law("C1.a", "t", normal(s), normal(s + 100) + np.array([shift, 0, 0]), false_alarm=0.01) for s in range(60)
    )
    assert sum(map(bool, claims)) <= 3
    bound = math.sqrt(math.log(2 * 35 / 0.01) / N)
    assert noticeable == pytest.approx(bound + 2.326 / math.sqrt(2 * N), rel=0.01)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (normal(0, 400), normal(1), "at least 500, got (400, 3)"),
        (normal(0), normal(1)[:, 0], "shape (N, K)"),
        (normal(0), normal(1, columns=2), "equally many columns, got 3 and 2"),
        (normal(0), np.full((N, 3), math.nan), "finite"),
    ],
)
def test_bad_samples(first, second, message, rejects):
    rejects(ValueError, message, lambda g: same_law("C1.a", "t", first, second))

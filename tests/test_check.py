import importlib
import json
import math
import re
from statistics import NormalDist

import numpy as np
import pytest
import torch
from scipy import optimize, stats

from srlib import check

sampling = importlib.import_module("srlib.check.sampling")


def normal(count, *shape, mean=1.0, deviation=1.0, seed=0):
    return np.random.default_rng(seed).normal(mean, deviation, (count, *shape))


PASSING = {
    "exact": lambda: check.exact("S1.attained", "a < b & c", [1.0, 2.0], [1.0, 2.0], wrong={"twice <it>": [2.0, 4.0]}),
    "bound": lambda: check.bound("S2.tail", "tail", [0.5, 0.25], [1.0, 0.5], wrong={"a third": [1 / 3, 1 / 6]}),
    "sampled": lambda: check.sampled(
        "F2.mean", "mean", normal(1000, 3, deviation=0.1), [1.0, 1.0, 1.0], wrong={"none": 0.0}, seed=7
    ),
    "empirical": lambda: check.empirical(
        "I2.gain", "gain", normal(30, deviation=0.5), above=0.0, seed=3, wrong_samples={"none": normal(30, mean=-2.0)}
    ),
}
UNDECIDED = {
    "exact": lambda: check.exact("S1.attained", "t", 1.0, 1.0, wrong={"near": 1 + 1e-12}),
    "bound": lambda: check.bound("S2.tail", "t", 0.5, 1.0, wrong={"far": 2.0}),
    "sampled": lambda: check.sampled("F2.mean", "t", normal(1000), 1.0, resolve=0.01),
    "empirical": lambda: check.empirical("I2.gain", "gain", normal(30), above=0.8),
}
FAILING = {
    "exact": lambda: check.exact("S1.attained", "a < b & c", [1.0, 2.1], [1.0, 2.0]),
    "bound": lambda: check.bound("S2.tail", "tail", [0.5, 0.75], [1.0, 0.5]),
    "sampled": lambda: check.sampled("F2.mean", "mean", normal(1000, 3), [1.0, 2.0, 1.0]),
    "empirical": lambda: check.empirical("I2.gain", "gain", normal(30), above=3.0),
}
CLAIMS = {f"{kind}, holds": make for kind, make in PASSING.items()}
CLAIMS |= {f"{kind}, undecided": make for kind, make in UNDECIDED.items()}
CLAIMS |= {f"{kind}, fails": make for kind, make in FAILING.items()}

every_claim = pytest.mark.parametrize("name", CLAIMS)


@every_claim
def test_verdict(name):
    claim = CLAIMS[name]()
    kind, verdict = name.split(", ")
    assert claim.verdict == verdict
    assert bool(claim) == (verdict == "holds")
    assert (claim.slack >= 0) == (verdict == "holds" or (verdict == "undecided" and kind != "empirical"))
    assert claim.kind == kind
    assert (claim.samples is None) == (kind in ("exact", "bound"))
    assert (claim.undecided == 0) if claim.samples is None else (0 <= claim.undecided <= 1)
    assert (claim.p_value is None) == (kind != "sampled")


@every_claim
def test_record(name):
    claim = CLAIMS[name]()
    record = json.loads(json.dumps(claim._repr_mimebundle_()[check.MIME], allow_nan=False))
    wanted = "id statement kind prediction estimate interval verdict slack rejected noticeable seed"
    assert set(wanted.split()) <= record.keys()
    assert record["statement"] == record["id"].split(".")[0]
    assert record["verdict"] == name.split(", ")[1]
    low, high = record["interval"]
    assert low <= record["estimate"] <= high


@every_claim
def test_text_is_one_line_that_starts_with_the_id_and_the_verdict(name):
    claim = CLAIMS[name]()
    text = claim._repr_mimebundle_()["text/plain"]
    assert text == str(claim) == repr(claim)
    assert "\n" not in text
    assert text.startswith(f"{claim.id} {claim.verdict} | {claim.text} | ")
    word = {"exact": "predicted", "bound": "bound", "sampled": "predicted", "empirical": "allowed"}[claim.kind]
    assert (f" | {word} " in text) == (not claim)


def test_html_escapes_text_and_names():
    chip = CLAIMS["exact, holds"]()._repr_mimebundle_()["text/html"]
    assert "a &lt; b &amp; c" in chip
    assert "twice &lt;it&gt;" in chip
    assert "<it>" not in chip
    assert "claim-holds" in chip
    for verdict in ("undecided", "fails"):
        assert f"claim-{verdict}" in CLAIMS[f"exact, {verdict}"]()._repr_mimebundle_()["text/html"]


@pytest.mark.parametrize("kind", ["exact", "bound", "sampled"])
def test_a_wrong_alternative_that_is_not_rejected_leaves_the_claim_undecided(kind):
    claim = {
        "exact": lambda w: check.exact("S1.a", "t", 1.0, 1.0, wrong=w),
        "bound": lambda w: check.bound("S1.a", "t", 1.0, 1.0, wrong=w),
        "sampled": lambda w: check.sampled("S1.a", "t", normal(1000), 1.0, wrong=w),
    }[kind]({"far": 0.5, "near": 1 + 1e-12})
    assert claim.verdict == "undecided"
    assert claim.slack >= 0
    assert (claim.rejected, claim.missed) == (("far",), ("near",))
    assert "rejects far" in str(claim)
    assert "DOES NOT REJECT near" in str(claim)


@pytest.mark.parametrize("kind", ["exact", "bound", "sampled", "samples"])
def test_one_entry_is_enough_to_reject_a_wrong_alternative(kind):
    right, wrong = np.ones(3), np.array([1.0, 1.0, 0.5])
    claim = {
        "exact": lambda: check.exact("S1.a", "t", right, right, wrong={"one": wrong}),
        "bound": lambda: check.bound("S1.a", "t", right, right, wrong={"one": wrong}),
        "sampled": lambda: check.sampled("S1.a", "t", normal(1000, 3, deviation=0.1), right, wrong={"one": wrong}),
        "samples": lambda: check.sampled(
            "S1.a", "t", normal(1000, 3, deviation=0.1), right,
            wrong_samples={"one": normal(1000, 3, deviation=0.1, seed=1) * wrong},
        ),
    }[kind]()  # fmt: skip
    assert claim
    assert claim.rejected == ("one",)


@pytest.mark.parametrize("kind", ["sampled", "empirical"])
def test_wrong_samples_have_to_be_rejected(kind):
    def make(wrong):
        controls = {"other": wrong, "far": normal(500, mean=9.0)}
        if kind == "sampled":
            return check.sampled("S1.a", "t", normal(1000), 1.0, wrong_samples=controls, resolve=0.5)
        return check.empirical("S1.a", "t", normal(1000), above=0.5, below=1.5, wrong_samples=controls)

    rejecting, missing = make(normal(500, mean=-3.0)), make(normal(500, seed=1))
    assert missing.undecided > 0.9 > 1e-6 > rejecting.undecided
    assert rejecting
    assert rejecting.rejected == ("other", "far")
    assert not missing
    assert (missing.rejected, missing.missed) == (("far",), ("other",))


@pytest.mark.parametrize(
    ("error", "verdict", "slack"),
    [(0.0, "holds", 1.0), (0.9e-10, "holds", 1.0), (1.1e-10, "fails", -0.1), (-1.1e-10, "fails", -0.1)],
)
def test_exact_is_relative_to_the_largest_prediction(error, verdict, slack):
    prediction = torch.tensor([1.0, -1000.0], dtype=torch.float64)
    claim = check.exact("S1.a", "t", prediction + 1000 * error, prediction)
    assert claim.verdict == verdict
    assert claim.slack == pytest.approx(slack, abs=0.01)
    assert claim.noticeable == 1e-10
    assert claim.entries == 2


def bits(shape, seed):
    """Factors that differ from 1 by a few units of the last place, as the results of two processors do."""
    return 1 + 2.0**-52 * np.random.default_rng(seed).integers(-8, 9, shape)


@pytest.mark.parametrize(
    "make",
    [
        lambda f: check.exact("S1.a", "t", np.arange(50) / 7 * f, np.arange(50) / 7),
        lambda f: check.exact("S1.a", "t", 5 / 32 * f, 5 / 32 * f**2),
        lambda f: check.exact("S1.a", "t", np.append(np.ones(50), 1e-17) * f.mean(), np.append(np.ones(50), 0.0)),
        lambda f: check.exact("S1.a", "t", np.full(50, 1.3) * f, np.full(50, 1.3), tolerance=1e-7),
        lambda f: check.exact("S1.a", "t", (1 + np.arange(50) * 1e-4) * f, np.ones(50), tolerance=1e-2),
        lambda f: check.bound("S2.a", "t", np.linspace(-1, 1, 50) * f, np.ones(50)),
        lambda f: check.bound("S2.a", "t", 0.875 * f, np.ones(50)),
        lambda f: check.sampled("F2.a", "t", normal(200, 50) * f, np.ones(50)),
        lambda f: check.sampled("F2.a", "t", np.repeat(normal(200, 1), 50, 1) * f, np.ones(50)),
        lambda f: check.empirical("I1.a", "t", normal(50) * f, above=0.0, below=2.0),
    ],
)
def test_what_is_recorded_does_not_depend_on_the_last_bits(make):
    records = [check_record(make(np.ones(50)))] + [check_record(make(bits(50, seed))) for seed in range(20)]
    assert len(set(records)) == 1, set(records)


def check_record(claim):
    bundle = claim._repr_mimebundle_()
    return json.dumps(bundle[check.MIME]), bundle["text/plain"], bundle["text/html"]


def test_equal_rows_stay_equal_in_projections():
    """Dead networks share one row; the order in which a product is summed must not put one before another."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 1001, 7)) * (rng.random((2, 1001, 1)) < 0.3)
    pooled = np.concatenate([x, y])
    ranks = np.stack([(stats.rankdata(column) - 0.5) / len(column) - 0.5 for column in pooled.T], 1)
    directions = np.random.default_rng(0).normal(size=(7, 32))
    projected = [[round(math.fsum(row * direction), 10) for row in ranks] for direction in directions.T]
    columns = [*pooled.T, *np.array(projected)]
    naive = [stats.ks_2samp(column[:1001], column[1001:], method="asymp").statistic for column in columns]
    np.testing.assert_allclose(
        importlib.import_module("srlib.check.same_law")._distances(x, y), naive, rtol=0, atol=1e-12
    )


def test_glue_stores_what_is_shown():
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    InteractiveShell.instance()  # which glue displays in
    for value, stored in [(2 / 3, 0.6667), (12345, 12345), ("3 of 4", "'3 of 4'"), (torch.tensor(5 / 32), 0.1562)]:
        with capture_output() as caught:
            check.glue("name", value)
        (output,) = caught.outputs
        assert output.data["application/papermill.record/text/plain"] == str(stored)


def test_exact_tolerance_and_zero_predictions():
    assert check.exact("S1.a", "t", 1.001, 1.0, tolerance=1e-2)
    assert not check.exact("S1.a", "t", 1.02, 1.0, tolerance=1e-2)
    assert check.exact("S1.a", "t", 1e-11, 0.0)
    assert not check.exact("S1.a", "t", 1e-9, 0.0)
    assert not check.exact("S1.a", "t", 1.5e-10, 0.0)


def test_an_entry_that_touches_its_bound_hides_none_that_violates_it():
    assert not check.bound("S2.a", "t", [1 + 3e-7, 2.0], [1.0, 2.0], wrong={"half": [0.5, 1.0]})


def test_bound_reports_its_smallest_slack():
    claim = check.bound("S2.a", "t", [0.5, 0.75], 1.0)
    assert (claim.slack, claim.noticeable, claim.estimate) == (0.25, 0.25, 0.75)
    assert check.bound("S2.a", "rounding is forgiven", 1 + 1e-11, 1.0)
    assert not check.bound("S2.a", "more than rounding is not", 1 + 1e-9, 1.0)
    assert check.bound("S2.a", "negative values", -3.0, 1.0)


@pytest.mark.parametrize(
    ("above", "below", "prediction"), [(0.5, math.inf, 0.5), (-math.inf, 1.5, 1.5), (0.5, 9.0, 0.5), (-9.0, 1.5, 1.5)]
)
def test_empirical_wants_students_interval_inside_the_range(above, below, prediction):
    runs = normal(20, deviation=0.2)
    low, high = stats.t.interval(1 - 1e-3, 19, runs.mean(), stats.sem(runs))
    claim = check.empirical("I1.a", "t", runs, above=above, below=below, false_alarm=1e-3)
    assert claim
    assert claim.allowed == tuple(end if math.isfinite(end) else None for end in (above, below))
    assert claim.interval == pytest.approx((low, high), rel=1e-3)
    assert claim.prediction == prediction
    room = [(low - above, above), (below - high, below)]
    slack = min(gap / abs(end) for gap, end in room if math.isfinite(end))
    assert claim.slack == pytest.approx(slack, abs=0.006)


@pytest.mark.parametrize("shift", [-1e-3, 1e-3])
def test_empirical_is_undecided_when_the_interval_crosses_an_end(shift):
    runs = normal(20, deviation=0.2)
    low, high = stats.t.interval(1 - 1e-3, 19, runs.mean(), stats.sem(runs))
    assert bool(check.empirical("I1.a", "t", runs, above=low + shift, false_alarm=1e-3)) == (shift < 0)
    assert bool(check.empirical("I1.a", "t", runs, below=high + shift, false_alarm=1e-3)) == (shift > 0)


ALPHA, REPETITIONS = 0.01, 4000


@pytest.mark.parametrize(
    ("draw", "mean", "count"),
    [
        (lambda rng, n: rng.lognormal(size=n), math.exp(0.5), 200),
        (lambda rng, n: rng.chisquare(1, n), 1.0, 100),
        (lambda rng, n: -rng.chisquare(1, n), -1.0, 100),
    ],
    ids=["lognormal", "chi-squared", "skewed to the left"],
)
def test_false_alarms_are_nearly_nominal_for_skewed_samples(draw, mean, count):
    rng = np.random.default_rng(0)
    samples = [draw(rng, count) for _ in range(REPETITIONS)]
    levels = [sampling._Mean.of(x, np.ones(()), ALPHA) for x in samples]  # no sample is too small here
    alarms = np.mean([level.slack(mean) < 0 for level in levels])
    student = np.mean([stats.ttest_1samp(x, mean).pvalue < ALPHA for x in samples])
    assert 0.006 < alarms < 0.018
    assert student - ALPHA > 2 * abs(alarms - ALPHA)  # Student's t raises far more


@pytest.mark.parametrize("shape", [0.25, 1.0, 100.0])
def test_replicates_too_few_for_their_skewness_are_refused_and_others_keep_the_level(shape):
    rng, alpha = np.random.default_rng(0), 0.01
    count = int(3 * sampling.PER_SKEWNESS * 4 / shape) + 300  # so that no sample is refused
    samples = [rng.gamma(shape, size=count) / shape for _ in range(1500)]
    claims = [check.sampled("F2.a", "t", x, 1.0, resolve=9, false_alarm=alpha) for x in samples]
    assert np.mean([claim.verdict == "fails" for claim in claims]) < alpha + 2.6 * math.sqrt(alpha / len(samples))
    if shape < 100:
        few = samples[0][: count // 9]
        with pytest.raises(
            ValueError, match=rf"{len(few)} replicates of skewness [\d.]+ would raise more false alarms"
        ):
            check.sampled("F2.a", "t", few, 1.0)


def test_false_alarm_is_split_over_the_entries():
    rng = np.random.default_rng(0)
    claims = [
        check.sampled("F2.a", "t", rng.normal(1, 1, (200, 40)), np.ones(40), false_alarm=0.05) for _ in range(1000)
    ]
    failed = sum(claim.verdict == "fails" for claim in claims)
    assert 0.6 * 0.05 / sampling.EXCESS < failed / 1000 < 1.4 * 0.05 / sampling.EXCESS
    below = [np.mean([claim.p_value <= level for claim in claims]) for level in (0.05, 0.2)]
    assert below == pytest.approx([0.05, 0.18], abs=0.025)  # independent entries: 1 - (1 - level / K)^K


@pytest.mark.parametrize(("fraction", "low", "high"), [(1.0, 0.98, 0.9999), (0.5, 0.2, 0.8)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_noticeable_error_is_noticed_with_probability_99_percent(sign, fraction, low, high):
    count, alpha, deviation = 200, 0.01, 0.5
    noticeable = check.sampled("F2.a", "t", normal(20_000, deviation=deviation), 1.0, false_alarm=alpha).noticeable
    error = sign * fraction * noticeable * math.sqrt(20_000 / count)
    rng = np.random.default_rng(0)
    missed = sum(
        bool(check.sampled("F2.a", "t", rng.normal(1, deviation, count), 1 + error, false_alarm=alpha, resolve=9))
        for _ in range(1500)
    )
    assert low < 1 - missed / 1500 < high


def test_noticeable_error_by_hand():
    draws = normal(1000, deviation=0.5)
    z = NormalDist().inv_cdf
    standard_errors = z(1 - check.FALSE_ALARM / sampling.EXCESS / 2) + z(0.99)
    expected = standard_errors * draws.std(ddof=1) / math.sqrt(1000)
    assert check.sampled("F2.a", "t", draws, 2.0).noticeable == pytest.approx(expected / 2, rel=0.05)
    assert check.sampled("F2.a", "t", draws, 2.0, scale=10.0).noticeable == pytest.approx(expected / 10, rel=0.05)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(
    "draws", [np.random.default_rng(0).lognormal(0, 0.4, 400), normal(400)], ids=["skewed", "normal"]
)
def test_interval_holds_the_predictions_that_pass(draws, sign):
    draws = sign * draws
    low, high = check.sampled("F2.a", "t", draws, draws.mean()).interval
    step = 0.005 * (high - low)
    inside = [bool(check.sampled("F2.a", "t", draws, p, resolve=9)) for p in (low + step, high - step)]
    outside = [bool(check.sampled("F2.a", "t", draws, p, resolve=9)) for p in (low - step, high + step)]
    assert inside == [True, True]
    assert outside == [False, False]


def test_interval_is_halls():
    draws, count = np.random.default_rng(0).gamma(0.5, size=1500), 1500
    skewness = stats.skew(draws) * (1 - 1 / count) ** 1.5  # with the deviation that has N - 1 in it
    error = draws.std(ddof=1) / math.sqrt(count)

    def transformed(mean):
        t = (draws.mean() - mean) / error
        root = math.sqrt(count)
        return t + skewness * t**2 / (3 * root) + skewness**2 * t**3 / (27 * count) + skewness / (6 * root)

    z = stats.t.isf(0.001 / sampling.EXCESS / 2, count - 1)
    ends = [optimize.brentq(lambda p, sign=sign: transformed(p) - sign * z, -10, 10) for sign in (1, -1)]
    claim = check.sampled("F2.a", "t", draws, 0.5, false_alarm=0.001)
    assert claim.interval == pytest.approx(ends, rel=6e-4)  # four digits
    assert ends[1] - draws.mean() > 1.1 * (draws.mean() - ends[0])  # it leans towards the long tail


def test_tightest_entry_is_reported():
    draws = normal(2000, 2, 2)
    prediction = draws.mean(0)
    prediction[1, 0] += 0.05
    claim = check.sampled("F2.a", "t", torch.from_numpy(draws), torch.from_numpy(prediction), seed=5)
    assert claim.entries == 4
    assert claim.prediction == pytest.approx(prediction[1, 0], rel=1e-3)
    assert claim.estimate == pytest.approx(draws.mean(0)[1, 0], rel=1e-3)
    assert (claim.samples, claim.seed, claim.false_alarm) == (2000, 5, check.FALSE_ALARM)


@pytest.mark.parametrize(("prediction", "verdict"), [(2.0, "holds"), (2.0 + 1e-13, "holds"), (2.001, "fails")])
def test_samples_that_do_not_vary(prediction, verdict):
    claim = check.sampled("F2.a", "t", np.full(100, 2.0), prediction)
    assert claim.verdict == verdict
    assert claim.noticeable < 1e-10


def test_prediction_of_zero_takes_a_scale():
    assert check.sampled("F2.a", "t", normal(1000, mean=0), 0.0, scale=5.0)
    assert not check.sampled("F2.a", "t", normal(1000, mean=1), 0.0, scale=2.0)


@pytest.mark.parametrize(
    "id", ["F2", "F2.", "f2.name", "F.name", "F2.Name", "F2.a_b", "F2.a b", "2F.a", "F2.a\n", ".a"]
)
def test_id_format(id):
    with pytest.raises(ValueError, match=re.escape(repr(id))):
        check.exact(id, "t", 1.0, 1.0)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("an array is empty", lambda: check.exact("S1.a", "t", [], [])),
        ("must be finite, got NaN", lambda: check.exact("S1.a", "t", math.nan, 1.0)),
        ("must be finite, got NaN", lambda: check.exact("S1.a", "t", 1.0, 1.0, wrong={"bad": math.inf})),
        ("bounds must be positive, got 0.0", lambda: check.bound("S1.a", "t", 1.0, [1.0, 0.0])),
        ("must be finite, got NaN", lambda: check.bound("S1.a", "t", [math.nan], 1.0)),
        (
            "at least 100 replicates along the first axis, got shape (99,)",
            lambda: check.sampled("S1.a", "t", normal(99), 1.0),
        ),
        ("at least 100 replicates", lambda: check.sampled("S1.a", "t", 1.0, 1.0)),
        (
            "at least 100 replicates",
            lambda: check.sampled("S1.a", "t", normal(200), 1.0, wrong_samples={"few": normal(9)}),
        ),
        ("must be finite, got NaN", lambda: check.sampled("S1.a", "t", np.append(normal(200), math.nan), 1.0)),
        ("a prediction of 0 needs scale=", lambda: check.sampled("S1.a", "t", normal(200, 2), [1.0, 0.0])),
        ("scale must be positive, got 0", lambda: check.sampled("S1.a", "t", normal(200), 1.0, scale=0)),
        (
            "samples must have shape (N, *(2,)), got (200, 3)",
            lambda: check.sampled("S1.a", "t", normal(200, 3), [1.0, 1.0]),
        ),
        ("samples must have shape (N, *()), got (200, 3)", lambda: check.sampled("S1.a", "t", normal(200, 3), 1.0)),
        ("give above=, below= or both", lambda: check.empirical("S1.a", "t", normal(9))),
        (
            "above must be less than below, got 1.0",
            lambda: check.empirical("S1.a", "t", normal(9), above=1.0, below=1.0),
        ),
        ("give truth values", lambda: check.empirical("S1.a", "t", [1.0, 0.0, 1.0], above=0.0)),
        ("deviation must be positive, got 0", lambda: check.samples_needed(0, 0.1)),
        ("resolve must be positive, got -1", lambda: check.samples_needed(1, -1)),
        ("at least 3 runs, got shape (2,)", lambda: check.empirical("S1.a", "t", normal(2), above=0.0)),
        ("at least 3 runs, got shape (4, 2)", lambda: check.empirical("S1.a", "t", normal(4, 2), above=0.0)),
        ("must be finite, got NaN", lambda: check.empirical("S1.a", "t", [1.0, 2.0, math.nan], above=0.0)),
    ],
)
def test_bad_input(message, call):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_a_wrong_alternative_within_noise_of_the_range_is_not_rejected():
    """An interval that is merely not inside the range, as noise makes one, is no rejection."""
    wrong = {"just above": normal(12, mean=0.8, deviation=0.2)}
    claim = check.empirical("I3.a", "t", normal(50, deviation=0.1), above=0.75, wrong_samples=wrong, false_alarm=1e-3)
    assert claim.verdict == "undecided"
    assert claim.missed == ("just above",)


@pytest.mark.parametrize("hits", [0, 3, 57, 64])
def test_proportions_get_wilsons_interval(hits):
    runs = np.arange(64) < hits
    z, p = NormalDist().inv_cdf(1 - 1e-3 / 2), hits / 64
    middle, half = p + z**2 / 128, z * math.sqrt(p * (1 - p) / 64 + z**2 / (4 * 64**2))
    claim = check.empirical("I3.a", "t", runs, above=-0.1, below=1.1, false_alarm=1e-3)
    assert claim.interval == pytest.approx(
        [(middle - half) / (1 + z**2 / 64), (middle + half) / (1 + z**2 / 64)], abs=1e-4
    )


@pytest.mark.parametrize("kind", ["prediction", "samples", "resolution", "empirical", "proportion", "outside"])
def test_the_next_run_is_undecided_as_often_as_this_one_says(kind):
    """Over truths of every size, from hopeless to sure; of each one run states the chance, the next shows it."""
    rng, options = np.random.default_rng(0), {"false_alarm": 0.01}

    def make(truth):
        if kind == "prediction":
            wrong = {"near": 1 + 0.15 * truth}
            return check.sampled("F2.a", "t", rng.normal(1, 0.4, 400), 1.0, wrong=wrong, resolve=9, **options)
        if kind == "samples":
            wrong = {"near": rng.normal(1 + 0.15 * truth, 0.4, 400)}
            return check.sampled("F2.a", "t", rng.normal(1, 0.4, 400), 1.0, wrong_samples=wrong, resolve=9, **options)
        if kind == "resolution":
            deviation = 0.3 + 0.2 * truth
            return check.sampled("F2.a", "t", rng.normal(1, deviation, 400), 1.0, resolve=0.103, **options)
        if kind == "empirical":
            return check.empirical("I1.a", "t", rng.normal(2 * truth, 0.4, 8), above=0.0, **options)
        if kind == "proportion":
            return check.empirical("I1.a", "t", rng.random(60) < truth, above=0.4, **options)
        wrong = {"near": rng.normal(2 * truth, 0.4, 8)}
        return check.empirical("I1.a", "t", 9 + normal(9), above=1.0, wrong_samples=wrong, **options)

    pairs = [(make(truth), make(truth)) for truth in rng.random(2500)]
    stated = np.array([this.undecided for this, _ in pairs])
    found = np.array([not following for _, following in pairs])
    for low, high in ((0.02, 0.2), (0.1, 0.9), (0.8, 0.98)):  # where chances from too small a scatter are too sure
        some = (low < stated) & (stated <= high)
        chance = stated[some].mean()
        assert some.sum() > 40
        assert found[some].mean() == pytest.approx(chance, abs=3 * math.sqrt(chance * (1 - chance) / some.sum()))


def test_samples_needed_resolve_what_is_wanted():
    count = check.samples_needed(0.3, 0.02, entries=7)
    noticeable = [
        check.sampled("F2.a", "t", normal(n, 7, deviation=0.3), np.ones(7), resolve=9).noticeable
        for n in (count, count // 2)
    ]
    assert noticeable[0] == pytest.approx(0.02, rel=0.05)
    assert noticeable[1] > 0.025
    assert check.samples_needed(0.01, 1.0) == 100
    assert check.samples_needed(0.01, 1.0, skewness=-5) == sampling.PER_SKEWNESS * 25

"""Claims of kind empirical: experiments whose range was stated beforehand."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy
from numpy.typing import ArrayLike

from srlib.check.claim import NOTHING, Array, Claim, array, rounded
from srlib.check.sampling import LEVEL

__all__ = ["empirical"]


def empirical(
    id: str,
    text: str,
    samples: ArrayLike,
    *,
    above: float = -math.inf,
    below: float = math.inf,
    wrong_samples: Mapping[str, ArrayLike] = NOTHING,
    seed: int | None = None,
    false_alarm: float = LEVEL,
) -> Claim:
    r"""Claim about an experiment: the mean over independent runs lies in a range that was stated beforehand.

    The claim holds if the interval for the mean, of confidence :math:`1 - \alpha`, lies inside the range, and fails if
    it lies outside; between the two it is undecided. The interval is Student's, and Wilson's for a proportion, that is
    for samples that are true or false.

    Parameters
    ----------
    id, text
        As for :func:`exact`.
    samples
        One number a run, or one truth value, shape ``(N,)``; at least 3.
    above, below
        The range; at least one of the two.
    wrong_samples
        Results of the same measurement where the statement should not hold, by name; the interval of each must lie
        outside the range.
    seed
        First seed of the runs, for the record.
    false_alarm
        :math:`\alpha`: probability at most of holding although the mean lies on the border or outside.

    Returns
    -------
    Claim
        Of kind ``empirical``. Its prediction is the nearer end of the range, its slack the distance of the interval
        from that end, relative to it. Its probability of being undecided takes the next mean to vary about this one by
        the standard errors of both, and the next proportion by a beta-binomial law.

    Raises
    ------
    ValueError
        If ``id`` is not of the form ``F2.name``, no range is given or an empty one, there are fewer than 3 runs, or
        numbers are all 0 or 1, which a proportion gives as truth values.

    References
    ----------
    :cite:t:`wilson1927probable`.

    Examples
    --------
    >>> wrong = {"runs at 0.9": [0.9, 0.91, 0.89]}
    >>> runs = [1.5, 1.51, 1.49]
    >>> empirical("S3.demo", "three runs well above 1", runs, above=1.0, wrong_samples=wrong, false_alarm=0.01)
    S3.demo holds | three runs well above 1 | notices 5.7 % | rejects runs at 0.9
    """
    if above == -math.inf and below == math.inf:
        raise ValueError("an empirical claim needs a range: give above=, below= or both")
    if not above < below:
        raise ValueError(f"above must be less than below, got {above} and {below}")

    runs = _interval(samples, false_alarm)
    others = {name: _interval(draws, false_alarm) for name, draws in wrong_samples.items()}
    low, high = runs.low, runs.high
    room = [(above, low - above), (below, below - high)]
    slack = min(gap / (abs(end) or 1) for end, gap in room if math.isfinite(end))
    nearer = above if low - above <= below - high else below
    outside = [(-math.inf, above), (below, math.inf)]
    return Claim._settle(
        id,
        "empirical",
        text,
        np.array(slack),
        {name: any(other.lies_in(*part) for part in outside) for name, other in others.items()},
        np.array(nearer),
        np.array(runs.estimate),
        (np.array(low), np.array(high)),
        noticeable=np.array((high - low) / 2 / (abs(nearer) or 1)),
        allowed=(_end(above), _end(below)),
        straddles=not any(runs.lies_in(*part) for part in [(above, below), *outside]),
        undecided=1
        - runs.again_in(above, below)
        + sum(1 - sum(other.again_in(*part) for part in outside) for other in others.values()),
        samples=runs.count,
        seed=seed,
    )


def _end(value: float) -> float | None:
    return rounded(value, 6) if math.isfinite(value) else None


@dataclass(frozen=True)
class _Interval:
    """Interval for a mean, and the probability that the next runs' one lies in a given range."""

    estimate: float
    low: float
    high: float
    count: int
    again_in: Callable[[float, float], float]

    def lies_in(self, low: float, high: float) -> bool:
        return low <= self.low and self.high <= high


def _interval(samples: ArrayLike, alpha: float) -> _Interval:
    draws = array(samples)
    if draws.ndim != 1 or len(draws) < 3:
        raise ValueError(f"samples must hold one number for each of at least 3 runs, got shape {draws.shape}")
    if np.asarray(samples).dtype == bool:
        return _wilson(int(draws.sum()), len(draws), alpha)
    if np.isin(draws, (0, 1)).all():
        raise ValueError("samples are all 0 or 1: give truth values, whose mean is a proportion")
    return _student(draws, alpha)


def _student(draws: Array, alpha: float) -> _Interval:
    count, mean = len(draws), draws.mean()
    degrees = count - 1
    critical, error = scipy.stats.t.isf(alpha / 2, degrees), draws.std(ddof=1) / math.sqrt(count)
    # Standard errors as fractions of this run's: the true one and, in the next run, the estimated one.
    quantiles = scipy.stats.chi2.ppf((np.arange(64) + 0.5) / 64, degrees) / degrees
    true = error / np.sqrt(quantiles)[:, None]
    half = critical * true * np.sqrt(quantiles)

    def again_in(low: float, high: float) -> float:
        room = [(end - mean) / (math.sqrt(2) * true) for end in (low + half, high - half)]
        return float(np.maximum(scipy.special.ndtr(room[1]) - scipy.special.ndtr(room[0]), 0).mean())

    half_now = critical * error
    return _Interval(mean, mean - half_now, mean + half_now, count, again_in)


def _wilson(hits: int, count: int, alpha: float) -> _Interval:
    low, high = _wilson_ends(count, alpha)
    chances = scipy.stats.betabinom.pmf(range(count + 1), count, hits + 0.5, count - hits + 0.5)

    def again_in(least: float, most: float) -> float:
        return float(chances[(low >= least) & (high <= most)].sum())

    return _Interval(hits / count, low[hits], high[hits], count, again_in)


@cache
def _wilson_ends(count: int, alpha: float) -> tuple[Array, Array]:
    """Both ends of the interval for every number of hits."""
    tests = [scipy.stats.binomtest(k, count) for k in range(count + 1)]
    low, high = np.array([test.proportion_ci(1 - alpha, "wilson") for test in tests]).T
    return low, high

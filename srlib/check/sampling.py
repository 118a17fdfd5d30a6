"""Claims of kind sampled: Monte Carlo means against exact predictions."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import scipy
from numpy.typing import ArrayLike

from srlib.check.claim import NOTHING, Array, Claim, array

__all__ = ["FALSE_ALARM", "sampled", "samples_needed"]

#: Nominal level of intervals, and the factor by which false alarms may be more frequent where replicates are at least
#: so many for each unit of squared skewness: `make level` measures it.
LEVEL, EXCESS, PER_SKEWNESS = 4e-6, 1.5, 100

#: Probability at most that one sampled claim rejects a true statement: a book of 160 of them stays below 1 in 1,000.
FALSE_ALARM = EXCESS * LEVEL

#: Probability with which the noticeable error is noticed.
POWER = 0.99


def sampled(
    id: str,
    text: str,
    samples: ArrayLike,
    prediction: ArrayLike,
    *,
    wrong: Mapping[str, ArrayLike] = NOTHING,
    wrong_samples: Mapping[str, ArrayLike] = NOTHING,
    scale: float | None = None,
    resolve: float = 0.05,
    seed: int | None = None,
    false_alarm: float = FALSE_ALARM,
) -> Claim:
    r"""Claim that the mean of independent replicates is an exact prediction, tested on both sides.

    With :math:`T = (\bar x - p) / (s / \sqrt N)`, sample skewness :math:`\gamma` and
    :math:`c = \gamma / (3 \sqrt N)`, the statement is rejected if

    .. math:: \Bigl| \frac{(1 + cT)^3 - 1}{3c} + \frac c2 \Bigr| > t_{N-1}\Bigl(1 - \frac{\alpha}{3K}\Bigr)

    for any of the :math:`K` compared entries: Hall's transformation takes the skewness out of Student's statistic,
    which heavy-tailed products of layers have plenty of, and :math:`\alpha` is split over the entries. What is left
    of it is kept small by asking for :math:`N \ge 100\,\gamma^2` replicates, and paid for by testing at the level
    :math:`2\alpha/3`.

    Parameters
    ----------
    id, text
        As for :func:`exact`.
    samples
        Independent replicates along the first axis, shape ``(N, ...)``; at least 100.
    prediction
        Number or array of shape ``(...)``.
    wrong
        Wrong alternatives to ``prediction``, by name; each must be rejected.
    wrong_samples
        Wrong alternatives to ``samples``, by name; each must be rejected against ``prediction``.
    scale
        What the noticeable error is relative to; each entry's own prediction when omitted. Needed if a prediction
        is 0.
    resolve
        Largest noticeable error with which the claim is decided.
    seed
        Seed of the replicates, for the record.
    false_alarm
        Probability :math:`\alpha` at most that a true statement is rejected.

    Returns
    -------
    Claim
        Of kind ``sampled``. Its probability of staying undecided is bounded by the sum, over the wrong alternatives,
        of the smallest probability over entries that an entry misses it, and, over entries, of the probability that
        the noticeable error exceeds ``resolve``.

    Raises
    ------
    ValueError
        If ``id`` is not of the form ``F2.name``, there are too few replicates, also for their skewness, a replicate is
        not finite, or a prediction is 0 and no ``scale`` is given.

    References
    ----------
    :cite:t:`hall1992removal`.

    Examples
    --------
    >>> x = np.random.default_rng(0).exponential(size=100_000)
    >>> sampled("F1.demo", "mean of an exponential", x, 1.0, wrong={"2 % off": 1.02})
    F1.demo holds | mean of an exponential | notices 2.2 % | rejects 2 % off
    """
    predicted = array(prediction)
    if scale is None and (predicted == 0).any():
        raise ValueError("a prediction of 0 needs scale=, the size that the noticeable error is relative to")
    if scale is not None and not scale > 0:
        raise ValueError(f"scale must be positive, got {scale}")
    size = np.abs(predicted) if scale is None else np.full(predicted.shape, float(scale))
    level = false_alarm / EXCESS / max(predicted.size, 1)

    mean = _Mean.of(samples, size, level)
    if (needed := math.ceil(PER_SKEWNESS * mean.skewness.max(initial=0) ** 2)) > mean.count:
        raise ValueError(
            f"{mean.count} replicates of skewness {mean.skewness.max():.3g} would raise more false alarms than stated: "
            f"draw at least {needed}"
        )
    others = {name: _Mean.of(draws, size, level) for name, draws in wrong_samples.items()}
    controls = {name: mean.slack(w) for name, w in wrong.items()}
    controls |= {name: other.slack(predicted) for name, other in others.items()}
    misses = [mean.inside(predicted - array(w)).min() for w in wrong.values()]
    misses += [other.inside(other.mean - predicted, 2).min() for other in others.values()]
    noticeable = mean.noticeable(size)
    return Claim._settle(
        id,
        "sampled",
        text,
        mean.slack(predicted),
        {name: bool(slack.min() < 0) for name, slack in controls.items()},
        predicted,
        mean.mean,
        mean.interval,
        noticeable=noticeable,
        resolve=resolve,
        p_value=mean.p_value(predicted),
        false_alarm=false_alarm,
        undecided=float(sum(misses) + mean.exceeds(noticeable, resolve).sum()),
        samples=mean.count,
        seed=seed,
    )


def samples_needed(
    deviation: float, resolve: float, *, entries: int = 1, skewness: float = 0.0, false_alarm: float = FALSE_ALARM
) -> int:
    r"""Return how many replicates let :func:`sampled` notice an error of a wanted size.

    .. math:: N = \max\Bigl\{ \Bigl(\frac{(z_{1-\alpha/3K} + z_{0.99})\,\sigma}{\text{resolve}}\Bigr)^2,\;
        100\,\gamma^2 \Bigr\} .

    Parameters
    ----------
    deviation
        Standard deviation :math:`\sigma` of one replicate, relative to the prediction.
    resolve
        Relative error to be noticed with probability 0.99.
    entries
        How many numbers :math:`K` are compared at once.
    skewness
        Of one replicate, :math:`\gamma`.
    false_alarm
        As for :func:`sampled`.

    Returns
    -------
    int
        At least 100.

    Raises
    ------
    ValueError
        If a number is not positive (a skewness may be of any sign).

    Examples
    --------
    >>> samples_needed(0.5, 0.02)
    30083
    """
    for name, value in (("deviation", deviation), ("resolve", resolve), ("entries", entries)):
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
    z = NormalDist().inv_cdf
    errors = z(POWER) - z(false_alarm / EXCESS / (2 * entries))
    return math.ceil(max((errors * deviation / resolve) ** 2, PER_SKEWNESS * skewness**2, 100))


@dataclass(frozen=True)
class _Mean:
    """Mean of replicates, entry by entry, and what is tested with it."""

    count: int
    mean: Array
    error: Array  # standard error of the mean
    skewness: Array  # of a replicate, in absolute value
    spread: Array  # standard error of the logarithm of the standard error
    c: Array  # of Hall's transformation
    critical: float

    @classmethod
    def of(cls, samples: ArrayLike, scale: Array, level: float) -> "_Mean":
        draws = array(samples)
        if draws.shape[1:] != scale.shape:
            raise ValueError(f"samples must have shape (N, *{scale.shape}), got {draws.shape}")
        if draws.ndim == 0 or len(draws) < 100:
            raise ValueError(f"samples must hold at least 100 replicates along the first axis, got shape {draws.shape}")
        count = len(draws)
        mean, deviation = draws.mean(0), draws.std(0, ddof=1)
        deviation = np.maximum(deviation, 1e-12 * scale * math.sqrt(count))  # rounding is not randomness
        z = (draws - mean) / deviation
        square = z * z  # a power takes ten times longer
        skewness, kurtosis = (square * z).mean(0), (square * square).mean(0)
        return cls(
            count=count,
            mean=mean,
            error=deviation / math.sqrt(count),
            skewness=np.abs(skewness),
            spread=np.sqrt(np.maximum(kurtosis - 1, 0) / (4 * count)),
            c=skewness / (3 * math.sqrt(count)),
            critical=float(scipy.stats.t.isf(level / 2, count - 1)),
        )

    def statistic(self, prediction: ArrayLike) -> Array:
        return np.abs(_deskew((self.mean - array(prediction)) / self.error, self.c))

    def slack(self, prediction: ArrayLike) -> Array:
        return 1 - self.statistic(prediction) / self.critical

    def p_value(self, prediction: Array) -> float:
        largest = self.statistic(prediction).max()
        return float(2 * prediction.size * scipy.stats.t.sf(largest, self.count - 1))

    @property
    def interval(self) -> tuple[Array, Array]:
        low, high = (_reskew(z, self.c) for z in (self.critical, -self.critical))
        return self.mean - self.error * low, self.mean - self.error * high

    def noticeable(self, scale: Array) -> Array:
        return (self.critical + NormalDist().inv_cdf(POWER)) * self.error / scale

    def inside(self, distance: ArrayLike, variance: float = 1) -> Array:
        """Probability that a fresh mean, this far on average from a number, has it in its interval.

        The variance is in squares of the standard error: 2 where the distance itself was estimated.
        """
        low, high = _reskew(-self.critical, self.c), _reskew(self.critical, self.c)
        t = array(distance) / self.error
        root = math.sqrt(variance)
        inside: Array = scipy.special.ndtr((high - t) / root) - scipy.special.ndtr((low - t) / root)
        return inside

    def exceeds(self, noticeable: Array, resolve: float) -> Array:
        """Probability that the noticeable error of fresh replicates is larger than wanted."""
        gap = np.log(np.maximum(noticeable, 1e-300) / resolve)
        inside: Array = scipy.special.ndtr(gap / np.maximum(math.sqrt(2) * self.spread, 1e-12))
        return inside


def _deskew(t: Array, c: Array) -> Array:
    return t + c * t**2 + c**2 * t**3 / 3 + c / 2


def _reskew(z: float, c: Array) -> Array:
    small = np.abs(c) < 1e-6
    c = np.where(small, 1e-6, c)
    return np.where(small, z, (np.cbrt(1 + 3 * c * (z - c / 2)) - 1) / c)

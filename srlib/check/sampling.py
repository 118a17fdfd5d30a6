"""Claims of kind sampled: Monte Carlo means against exact predictions."""

import math
from collections.abc import Mapping
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from srlib.check.claim import NOTHING, Array, Claim, array

__all__ = ["FALSE_ALARM", "sampled"]

#: Probability that one sampled claim rejects a true statement; a book of 250 such claims stays below 1 in 1,000.
FALSE_ALARM = 4e-6

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
    seed: int | None = None,
    false_alarm: float = FALSE_ALARM,
) -> Claim:
    r"""Claim that the mean of independent replicates is an exact prediction, tested on both sides.

    With :math:`T = (\bar x - p) / (s / \sqrt N)`, sample skewness :math:`\gamma` and
    :math:`c = \gamma / (3 \sqrt N)`, the statement is rejected if

    .. math:: \Bigl| \frac{(1 + cT)^3 - 1}{3c} + \frac c2 \Bigr| > z_{1 - \alpha / 2K} ,

    for any of the :math:`K` compared entries: Hall's transformation takes the skewness out of Student's statistic,
    which heavy-tailed products of layers have plenty of, and :math:`\alpha` is split over the entries. What is left
    shrinks like :math:`1/N`: at a nominal 0.001, 400 replicates of a :math:`\chi^2_1` variable gave 0.0011 (Student:
    0.0023), of a standard log-normal one 0.0019 (Student: 0.0053).

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
    seed
        Seed of the replicates, for the record.
    false_alarm
        Probability :math:`\alpha` that a true statement is rejected.

    Returns
    -------
    Claim
        Of kind ``sampled``.

    Raises
    ------
    ValueError
        If ``id`` is not of the form ``F2.name``, there are too few replicates, a replicate is not finite, or a
        prediction is 0 and no ``scale`` is given.

    References
    ----------
    :cite:t:`hall1992removal`.

    Examples
    --------
    >>> x = np.random.default_rng(0).exponential(size=100_000)
    >>> sampled("F1.demo", "mean of an exponential", x, 1.0, wrong={"2 % off": 1.02})
    F1.demo pass | mean of an exponential | notices 2.2 % | rejects 2 % off
    """
    predicted = array(prediction)
    if scale is None and (predicted == 0).any():
        raise ValueError("a prediction of 0 needs scale=, the size that the noticeable error is relative to")
    if scale is not None and not scale > 0:
        raise ValueError(f"scale must be positive, got {scale}")
    size = np.abs(predicted) if scale is None else np.full(predicted.shape, float(scale))
    critical = NormalDist().inv_cdf(1 - false_alarm / (2 * max(predicted.size, 1)))

    def slacks(mean: Array, error: Array, skew: Array, p: ArrayLike) -> Array:
        return 1 - np.abs(_deskew((mean - array(p)) / error, skew)) / critical

    mean, error, skew = _mean(samples, size)
    slack = slacks(mean, error, skew, predicted)
    controls = {name: slacks(mean, error, skew, w) for name, w in wrong.items()}
    controls |= {name: slacks(*_mean(draws, size), predicted) for name, draws in wrong_samples.items()}
    interval = (mean - error * _reskew(critical, skew), mean - error * _reskew(-critical, skew))
    return Claim._settle(
        id,
        "sampled",
        text,
        slack,
        controls,
        predicted,
        mean,
        interval,
        noticeable=(critical + NormalDist().inv_cdf(POWER)) * error / size,
        false_alarm=false_alarm,
        samples=np.shape(samples)[0],
        seed=seed,
    )


def _mean(samples: ArrayLike, scale: Array) -> tuple[Array, Array, Array]:
    """Mean, its standard error, and the constant c of Hall's transformation."""
    draws = array(samples)
    if draws.shape[1:] != scale.shape:
        raise ValueError(f"samples must have shape (N, *{scale.shape}), got {draws.shape}")
    if draws.ndim == 0 or len(draws) < 100:
        raise ValueError(f"samples must hold at least 100 replicates along the first axis, got shape {draws.shape}")
    mean, deviation = draws.mean(0), draws.std(0, ddof=1)
    deviation = np.maximum(deviation, 1e-12 * scale * math.sqrt(len(draws)))  # rounding is not randomness
    z = (draws - mean) / deviation
    skew = (z * z * z).mean(0) / (3 * math.sqrt(len(draws)))  # a power takes ten times longer
    return mean, deviation / math.sqrt(len(draws)), skew


def _deskew(t: Array, c: Array) -> Array:
    return t + c * t**2 + c**2 * t**3 / 3 + c / 2


def _reskew(z: float, c: Array) -> Array:
    small = np.abs(c) < 1e-6
    c = np.where(small, 1e-6, c)
    return np.where(small, z, (np.cbrt(1 + 3 * c * (z - c / 2)) - 1) / c)

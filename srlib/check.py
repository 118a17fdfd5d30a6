"""Claims: one statement of the book, checked once, with its verdict and the wrong alternatives it rejected.

Every function makes a :class:`~srlib.claim.Claim`. Displayed as the last expression of a notebook cell, a claim is
a coloured chip (HTML), one rounded line (text) and a JSON record under :data:`~srlib.claim.MIME`, which the workflow
collects.
"""

import math
from collections.abc import Mapping
from statistics import NormalDist
from types import MappingProxyType

import numpy as np

from srlib.claim import MIME, Claim

__all__ = ["FALSE_ALARM", "MIME", "Claim", "bound", "empirical", "exact", "sampled"]

#: Probability that one sampled claim rejects a true statement; a book of 100 such claims stays below 1 in 1,000.
FALSE_ALARM = 1e-5

_POWER = 0.99
_NOTHING: Mapping = MappingProxyType({})


def exact(
    id: str,
    text: str,
    value,
    prediction,
    *,
    wrong: Mapping[str, object] = _NOTHING,
    tolerance: float = 1e-10,
) -> Claim:
    r"""Claim that two computations of the same numbers agree up to rounding.

    .. math:: \max_i |v_i - p_i| \le \text{tolerance} \cdot \max_i |p_i| .

    Parameters
    ----------
    id
        Such as ``"S1.attained"``; the part before the point is the statement's label.
    text
        What is compared with what.
    value, prediction
        Numbers or arrays of shapes that broadcast.
    wrong
        Wrong alternatives to ``prediction``, by name; each must be rejected.
    tolerance
        Relative to the largest prediction in absolute value (to 1 if all are 0).

    Returns
    -------
    Claim
        Of kind ``exact``.

    Raises
    ------
    ValueError
        If ``id`` is not of the form ``F2.name``, or there is nothing to compare.

    Examples
    --------
    >>> exact("S3.orthogonal", "stable rank of a 5 x 5 identity", 5.0, 5.0, wrong={"Gaussian n/4": 5 / 4})
    S3.orthogonal pass | stable rank of a 5 x 5 identity | notices 1e-08 % | rejects Gaussian n/4
    """

    def slacks(p):
        v, p = np.broadcast_arrays(_array(value), _array(p))
        return 1 - np.abs(v - p) / (tolerance * (np.abs(p).max() or 1.0))

    v, p = np.broadcast_arrays(_array(value), _array(prediction))
    half = tolerance * (np.abs(p).max() or 1.0)
    return Claim.settle(
        id,
        "exact",
        text,
        slacks(prediction),
        {name: slacks(w) for name, w in wrong.items()},
        p,
        v,
        (v - half, v + half),
        noticeable=np.full(p.shape, tolerance),
    )


def bound(id: str, text: str, value, bound, *, wrong: Mapping[str, object] = _NOTHING) -> Claim:
    r"""Claim that an upper bound holds, entry by entry.

    .. math:: v_i \le b_i \quad\text{(up to a relative rounding of } 10^{-10}\text{)} .

    Parameters
    ----------
    id, text
        As for :func:`exact`.
    value, bound
        Numbers or arrays of shapes that broadcast; bounds are positive. For a lower bound swap the two.
    wrong
        Wrong alternatives to ``bound``, by name; each must be violated somewhere.

    Returns
    -------
    Claim
        Of kind ``exact``. Its slack is the smallest :math:`1 - v_i / b_i`, which is also the smallest relative error
        of the bound that would have been noticed.

    Raises
    ------
    ValueError
        If ``id`` is not of the form ``F2.name``, there is nothing to compare, or a bound is not positive.

    Examples
    --------
    >>> bound("S2.tight", "largest singular value", [1.0, 0.5], 1.0, wrong={"half of it": 0.5})
    S2.tight pass | largest singular value | notices 1e-08 % | rejects half of it
    """
    rounding = 1e-10

    def slacks(b):
        v, b = np.broadcast_arrays(_array(value), _array(b))
        if (b <= 0).any():
            raise ValueError(f"bounds must be positive, got {b.min()}")
        slack = 1 - v / b
        return np.where(np.abs(slack) <= rounding, 0.0, slack)

    v, b = np.broadcast_arrays(_array(value), _array(bound))
    slack = slacks(bound)
    return Claim.settle(
        id,
        "exact",
        text,
        slack,
        {name: slacks(w) for name, w in wrong.items()},
        b,
        v,
        (v, v),
        noticeable=np.maximum(slack.min(), rounding),
    )


def sampled(
    id: str,
    text: str,
    samples,
    prediction,
    *,
    wrong: Mapping[str, object] = _NOTHING,
    wrong_samples: Mapping[str, object] = _NOTHING,
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
    F1.demo pass | mean of an exponential | notices 2.1 % | rejects 2 % off
    """
    prediction = _array(prediction)
    if scale is None and (prediction == 0).any():
        raise ValueError("a prediction of 0 needs scale=, the size that the noticeable error is relative to")
    if scale is not None and not scale > 0:
        raise ValueError(f"scale must be positive, got {scale}")
    scale = np.abs(prediction) if scale is None else np.full(prediction.shape, float(scale))
    critical = NormalDist().inv_cdf(1 - false_alarm / (2 * max(prediction.size, 1)))

    def slacks(draws, p):
        if np.shape(draws)[1:] != prediction.shape:
            raise ValueError(f"samples must have shape (N, *{prediction.shape}), got {np.shape(draws)}")
        mean, error, skew = _mean(draws, scale)
        return 1 - np.abs(_deskew((mean - _array(p)) / error, skew)) / critical

    slack = slacks(samples, prediction)
    controls = {name: slacks(samples, w) for name, w in wrong.items()}
    controls |= {name: slacks(draws, prediction) for name, draws in wrong_samples.items()}
    mean, error, skew = _mean(samples, scale)
    interval = (mean - error * _reskew(critical, skew), mean - error * _reskew(-critical, skew))
    return Claim.settle(
        id,
        "sampled",
        text,
        slack,
        controls,
        prediction,
        mean,
        interval,
        noticeable=(critical + NormalDist().inv_cdf(_POWER)) * error / scale,
        false_alarm=false_alarm,
        samples=len(samples),
        seed=seed,
    )


def empirical(
    id: str,
    text: str,
    samples,
    *,
    above: float = -math.inf,
    below: float = math.inf,
    wrong_samples: Mapping[str, object] = _NOTHING,
    seed: int | None = None,
    false_alarm: float = FALSE_ALARM,
) -> Claim:
    r"""Claim about an experiment: the mean over independent runs lies in a range that was stated beforehand.

    The claim passes if Student's interval for the mean, of confidence :math:`1 - \alpha`, lies inside the range.

    Parameters
    ----------
    id, text
        As for :func:`exact`.
    samples
        One number a run, shape ``(N,)``; at least 3.
    above, below
        The range; at least one of the two.
    wrong_samples
        Results of the same measurement where the statement should not hold, by name; each must fall outside.
    seed
        First seed of the runs, for the record.
    false_alarm
        :math:`\alpha`: probability of passing although the mean lies on the border or outside.

    Returns
    -------
    Claim
        Of kind ``empirical``. Its prediction is the nearer end of the range, its slack the distance of the interval
        from that end, relative to it.

    Raises
    ------
    ValueError
        If ``id`` is not of the form ``F2.name``, no range is given, or there are fewer than 3 runs.

    Examples
    --------
    >>> empirical("S3.demo", "three runs well above 1", [1.5, 1.51, 1.49], above=1.0, false_alarm=0.01)
    S3.demo pass | three runs well above 1 | notices 5.7 %
    """
    if above == -math.inf and below == math.inf:
        raise ValueError("an empirical claim needs a range: give above=, below= or both")
    from scipy.stats import t as student  # here, since importing it costs more than all of this module

    def interval(draws):
        draws = _array(draws)
        if draws.ndim != 1 or len(draws) < 3:
            raise ValueError(f"samples must hold one number for each of at least 3 runs, got shape {draws.shape}")
        half = student.isf(false_alarm / 2, len(draws) - 1) * draws.std(ddof=1) / math.sqrt(len(draws))
        return draws.mean() - half, draws.mean() + half

    def slack(draws):
        low, high = interval(draws)
        room = [(above, low - above), (below, below - high)]
        return min(gap / (abs(end) or 1) for end, gap in room if math.isfinite(end))

    low, high = interval(samples)
    nearer = above if low - above <= below - high else below
    return Claim.settle(
        id,
        "empirical",
        text,
        np.array(slack(samples)),
        {name: np.array(slack(draws)) for name, draws in wrong_samples.items()},
        np.array(nearer),
        np.array((low + high) / 2),
        (np.array(low), np.array(high)),
        noticeable=np.array((high - low) / 2 / (abs(nearer) or 1)),
        false_alarm=0.0,
        samples=len(_array(samples)),
        seed=seed,
    )


def _array(values) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise ValueError("nothing to compare: an array is empty")
    if not np.isfinite(array).all():
        raise ValueError("values to compare must be finite, got NaN or infinity")
    return array


def _mean(samples, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draws = _array(samples)
    if draws.ndim == 0 or len(draws) < 100:
        raise ValueError(f"samples must hold at least 100 replicates along the first axis, got shape {draws.shape}")
    mean, deviation = draws.mean(0), draws.std(0, ddof=1)
    deviation = np.maximum(deviation, 1e-12 * scale * math.sqrt(len(draws)))  # rounding is not randomness
    skew = (((draws - mean) / deviation) ** 3).mean(0) / (3 * math.sqrt(len(draws)))
    return mean, deviation / math.sqrt(len(draws)), skew


def _deskew(t: np.ndarray, c: np.ndarray) -> np.ndarray:
    return t + c * t**2 + c**2 * t**3 / 3 + c / 2


def _reskew(z: float, c: np.ndarray) -> np.ndarray:
    small = np.abs(c) < 1e-6
    c = np.where(small, 1e-6, c)
    return np.where(small, z, (np.cbrt(1 + 3 * c * (z - c / 2)) - 1) / c)

"""Claims of kind sampled: two ways of sampling have the same law."""

import math
from collections.abc import Mapping
from statistics import NormalDist

import numpy as np
import scipy
from numpy.typing import ArrayLike

from srlib.check.claim import NOTHING, Array, Claim, array
from srlib.check.sampling import FALSE_ALARM, POWER

__all__ = ["same_law"]

#: Fixed random projections of the joint vector that are compared besides its coordinates.
_PROJECTIONS = 32


def same_law(
    id: str,
    text: str,
    first: ArrayLike,
    second: ArrayLike,
    *,
    wrong: Mapping[str, ArrayLike] = NOTHING,
    resolve: float = 0.1,
    seed: int | None = None,
    false_alarm: float = FALSE_ALARM,
) -> Claim:
    r"""Claim that two samples come from the same joint law, by Kolmogorov–Smirnov distances.

    The distances of the empirical distribution functions are taken of each of the :math:`K` coordinates, and of
    32 fixed random projections of the vector of their ranks in the pooled sample, which see the dependence between
    coordinates and not the units they are measured in. Values are compared to ten significant digits, so that the
    rounding of constants and of discrete values isn't taken for randomness. The statement is rejected if

    .. math::

        \max_j \sup_t |F_j(t) - G_j(t)| > \sqrt{\tfrac12 \bigl(\tfrac1N + \tfrac1M\bigr)
            \log\tfrac{2 (K + 32)}{\alpha}} ,

    the two-sample Dvoretzky–Kiefer–Wolfowitz bound with :math:`\alpha` split over the distances. Ties, such as zeros
    of dead networks, only make it stricter on false alarms.

    Parameters
    ----------
    id, text
        As for :func:`~srlib.check.exact`.
    first, second
        Independent replicates along the first axis, shapes ``(N, K)`` and ``(M, K)``; at least 500 each.
    wrong
        Wrong alternatives to ``second``, by name; each must be rejected.
    resolve
        Largest noticeable distance with which the claim is decided.
    seed
        Seed of the replicates, for the record.
    false_alarm
        Probability :math:`\alpha` that a true statement is rejected.

    Returns
    -------
    Claim
        Of kind ``sampled``. Its prediction is 0, its estimate the largest distance. The noticeable error is a
        distance of distribution functions that would be noticed with probability at least 0.99, in any of the
        coordinates and projections: the bound plus 2.33 times the largest possible standard error of the distance at
        one point.

    Raises
    ------
    ValueError
        If ``id`` is not of the form ``C1.name``, shapes do not fit, a replicate is not finite, or there are fewer
        than 500.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(2, 40_000, 3))
    >>> same_law("C1.demo", "two normal samples", x, y, wrong={"equal coordinates": y[:, [0, 0, 1]]})
    C1.demo holds | two normal samples | notices 2.8 % | rejects equal coordinates
    """
    first = _rows(first)

    def distances(replicates: ArrayLike) -> tuple[Array, float, float]:
        other = _rows(replicates)
        if other.shape[1] != first.shape[1]:
            raise ValueError(f"samples must have equally many columns, got {first.shape[1]} and {other.shape[1]}")
        scale = math.sqrt(1 / len(first) + 1 / len(other))
        found = _distances(first, other)
        critical = scale * math.sqrt(math.log(2 * len(found) / false_alarm) / 2)
        return found, critical, scale / 2  # the largest possible standard error at one point

    found, critical, error = distances(second)
    others = {name: distances(other) for name, other in wrong.items()}
    # This run's distance and the next one's both vary, hence the root of two.
    misses = [NormalDist(d.max(), math.sqrt(2) * error).cdf(c) for d, c, error in others.values()]
    return Claim._settle(
        id,
        "sampled",
        text,
        1 - found / critical,
        {name: bool(d.max() > c) for name, (d, c, _) in others.items()},
        np.zeros_like(found),
        found,
        (np.maximum(found - critical, 0), np.minimum(found + critical, 1)),
        noticeable=np.array(critical + NormalDist().inv_cdf(POWER) * error),
        resolve=resolve,
        p_value=2 * len(found) * math.exp(-((found.max() / (math.sqrt(2) * error)) ** 2)),
        false_alarm=false_alarm,
        undecided=sum(misses),
        samples=len(first),
        seed=seed,
    )


def _rows(samples: ArrayLike) -> Array:
    draws = array(samples)
    if draws.ndim != 2 or len(draws) < 500:
        raise ValueError(f"samples must have shape (N, K) with N at least 500, got {draws.shape}")
    return _significant(draws)


def _significant(draws: Array, digits: int = 10) -> Array:
    mantissa, exponent = np.frexp(draws)
    return np.ldexp(np.round(mantissa, digits), exponent)


def _distances(x: Array, y: Array) -> Array:
    """Distances of the coordinates, then of the projections of centred pooled ranks."""
    # Ties get their middle rank: no sample is put first.
    ranks = (scipy.stats.rankdata(np.concatenate([x, y]), axis=0) - 0.5) / (len(x) + len(y)) - 0.5
    projected = ranks @ np.random.default_rng(0).normal(size=(x.shape[1], _PROJECTIONS))
    projected = np.round(projected, 10)  # equal rows stay equal, whatever order a product is summed in
    columns = np.concatenate([ranks, projected], 1).T
    return np.array([scipy.stats.ks_2samp(c[: len(x)], c[len(x) :], method="asymp").statistic for c in columns])

"""Claims of kind empirical: experiments whose range was stated beforehand."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from srlib.check.claim import NOTHING, Claim, array
from srlib.check.sampling import FALSE_ALARM

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

    def interval(runs: ArrayLike) -> tuple[float, float]:
        draws = array(runs)
        if draws.ndim != 1 or len(draws) < 3:
            raise ValueError(f"samples must hold one number for each of at least 3 runs, got shape {draws.shape}")
        half = student.isf(false_alarm / 2, len(draws) - 1) * draws.std(ddof=1) / math.sqrt(len(draws))
        return draws.mean() - half, draws.mean() + half

    def slack(runs: ArrayLike) -> float:
        low, high = interval(runs)
        room = [(above, low - above), (below, below - high)]
        return min(gap / (abs(end) or 1) for end, gap in room if math.isfinite(end))

    low, high = interval(samples)
    nearer = above if low - above <= below - high else below
    return Claim._settle(
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
        samples=len(array(samples)),
        seed=seed,
    )

"""Claims of kinds exact and bound: identities and inequalities, up to rounding."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from srlib.check.claim import NOTHING, Array, Claim, array

__all__ = ["bound", "exact"]

#: Relative differences up to this one may be rounding, which every processor does in its own way: none is recorded.
_ROUNDING = 1e-8


def exact(
    id: str,
    text: str,
    value: ArrayLike,
    prediction: ArrayLike,
    *,
    wrong: Mapping[str, ArrayLike] = NOTHING,
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
        Of kind ``exact``. Relative differences up to :math:`10^{-8}` that the tolerance admits count as none: its
        slack is 1 and its estimate the prediction.

    Raises
    ------
    ValueError
        If ``id`` is not of the form ``F2.name``, or there is nothing to compare.

    Examples
    --------
    >>> exact("S3.orthogonal", "stable rank of a 5 x 5 identity", 5.0, 5.0, wrong={"Gaussian n/4": 5 / 4})
    S3.orthogonal holds | stable rank of a 5 x 5 identity | notices 1e-08 % | rejects Gaussian n/4
    """

    v = array(value)

    def compare(predicted: ArrayLike) -> tuple[Array, Array]:
        v_, p = np.broadcast_arrays(v, array(predicted))
        error = np.abs(v_ - p) / (np.abs(p).max() or 1.0)
        same = error <= min(tolerance, _ROUNDING)
        return np.where(same, 1.0, 1 - error / tolerance), np.where(same, p, v_)

    slack, shown = compare(prediction)
    return Claim._settle(
        id,
        "exact",
        text,
        slack,
        {name: bool(compare(w)[0].min() < 0) for name, w in wrong.items()},
        np.broadcast_to(array(prediction), slack.shape),
        shown,
        (shown, shown),
        noticeable=np.full(slack.shape, tolerance),
    )


def bound(id: str, text: str, value: ArrayLike, bound: ArrayLike, *, wrong: Mapping[str, ArrayLike] = NOTHING) -> Claim:
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
        Of kind ``bound``. Its slack is the smallest :math:`1 - v_i / b_i`, which is also the smallest relative error
        of the bound that would have been noticed.

    Raises
    ------
    ValueError
        If ``id`` is not of the form ``F2.name``, there is nothing to compare, or a bound is not positive.

    Examples
    --------
    >>> bound("S2.tight", "largest singular value", [1.0, 0.5], 1.0, wrong={"half of it": 0.5})
    S2.tight holds | largest singular value | notices 1e-08 % | rejects half of it
    """
    rounding = 1e-10

    def slacks(bound: ArrayLike) -> Array:
        v, b = np.broadcast_arrays(array(value), array(bound))
        if (b <= 0).any():
            raise ValueError(f"bounds must be positive, got {b.min()}")
        slack = 1 - v / b
        return np.where(np.abs(slack) <= rounding, 0.0, slack)

    v, b = np.broadcast_arrays(array(value), array(bound))
    slack = slacks(bound)
    return Claim._settle(
        id,
        "bound",
        text,
        slack,
        {name: bool(slacks(w).min() < 0) for name, w in wrong.items()},
        b,
        v,
        (v, v),
        noticeable=np.maximum(slack.min(), rounding),
    )

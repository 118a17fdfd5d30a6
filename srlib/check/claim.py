"""The claim: one statement of the book, checked once, and how it is shown and recorded."""

import html
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["MIME", "Claim", "describe"]

#: Mime type of a claim's JSON record in a notebook's outputs.
MIME = "application/vnd.srlib.claim+json"


#: An array of numbers, as every comparison is made.
Array = NDArray[np.float64]

#: Colour and sign of each verdict.
_MARKS = {"holds": ("#0b6e4f", "✓"), "undecided": ("#8a5a00", "?"), "fails": ("#b3261e", "✗")}

#: No wrong alternatives.
NOTHING: Mapping[str, ArrayLike] = MappingProxyType({})


@dataclass(frozen=True)
class Claim:
    """One statement, checked once.

    Everything recorded is a rounded, continuous function of the data, so that it is the same on any processor: nothing
    is chosen by a difference that rounding decides, and no such difference is recorded.

    Parameters
    ----------
    id
        Statement and name of the check, such as ``"F2.relu"``.
    statement
        Label of the theorem that is checked, such as ``"F2"``.
    kind
        ``"exact"``: an identity, up to rounding; ``"bound"``: an inequality; ``"sampled"``: Monte Carlo against exact
        predictions; ``"empirical"``: an experiment.
    text
        What was compared with what, in a few words.
    prediction, estimate, interval
        Of the entry with the least slack, when arrays were compared; among equals, of the largest prediction. An
        experiment's prediction is the nearer end of what it allows.
    allowed
        Ends of the range that an experiment allows, to six digits, ``None`` where it is open; ``None`` for the other
        kinds.
    entries
        How many numbers were compared.
    verdict
        ``"fails"`` if the statement was rejected; ``"undecided"`` if it was not, but neither was a wrong alternative,
        if an error that the claim asks to notice could have gone unnoticed, or if an experiment's interval crosses an
        end of what it allows; else ``"holds"``.
    slack
        Room left, as a fraction of what the check allows: 1 is a match up to rounding, 0 the border, below 0 a failure.
    rejected, missed
        Names of the wrong alternatives that the same check rejected, and of those it did not.
    noticeable
        Smallest relative error of the prediction that the check would have noticed (with probability 0.99 if it is
        a sampled one).
    resolve
        Largest noticeable error with which a sampled claim is decided; ``None`` for the other kinds.
    p_value
        Probability at most, up to the error of approximate intervals, that the tightest entry of a true statement lies
        as far off as here; ``None`` for kinds other than sampled.
    false_alarm
        Probability at most that the verdict of a sampled check is ``"fails"`` although the statement is true, for a
        fresh seed; 0 for the other kinds.
    undecided
        Probability that the check with a fresh seed does not give ``"holds"`` for other reasons, computed from this
        run's means and standard errors; 0 where nothing was drawn.
    samples, seed
        Number of independent replicates and the seed; ``None`` where nothing was drawn.
    """

    id: str
    statement: str
    kind: str
    text: str
    prediction: float
    estimate: float
    interval: tuple[float, float]
    allowed: tuple[float | None, float | None] | None
    entries: int
    verdict: str
    slack: float
    rejected: tuple[str, ...]
    missed: tuple[str, ...]
    noticeable: float
    resolve: float | None
    p_value: float | None
    false_alarm: float
    undecided: float
    samples: int | None
    seed: int | None

    @classmethod
    def _settle(
        cls,
        id: str,
        kind: str,
        text: str,
        slack: Array,
        controls: Mapping[str, bool],
        prediction: Array,
        estimate: Array,
        interval: tuple[Array, Array],
        *,
        noticeable: Array,
        allowed: tuple[float | None, float | None] | None = None,
        resolve: float | None = None,
        p_value: float | None = None,
        false_alarm: float = 0.0,
        straddles: bool = False,
        undecided: float = 0.0,
        samples: int | None = None,
        seed: int | None = None,
    ) -> Self:
        """Make the claim that the slacks of the statement's entries decide, and whether each control was rejected."""
        if not re.fullmatch(r"[A-Z]\d+\.[a-z0-9-]+", id):
            raise ValueError(f"a claim's id must be a statement and a name, such as 'F2.relu-depth', got {id!r}")
        for name in (text, *controls):
            if "\n" in name or " | " in name:
                raise ValueError(
                    f"a claim is shown on one line, its parts between ' | ': neither may stand in {name!r}"
                )
        tightest = _tightest(slack, prediction)
        low, high = (rounded(end.flat[tightest]) for end in interval)
        rejected = tuple(name for name, rejects in controls.items() if rejects)
        missed = tuple(name for name in controls if name not in rejected)
        coarse = resolve is not None and noticeable.max() > resolve
        if straddles or (slack.min() >= 0 and (missed or coarse)):
            verdict = "undecided"
        else:
            verdict = "fails" if slack.min() < 0 else "holds"
        return cls(
            id=id,
            statement=id.split(".")[0],
            kind=kind,
            text=text,
            prediction=rounded(prediction.flat[tightest]),
            estimate=rounded(estimate.flat[tightest]),
            interval=(low, high),
            allowed=allowed,
            entries=int(slack.size),
            verdict=verdict,
            slack=round(rounded(slack.flat[tightest], 10), 2),
            rejected=rejected,
            missed=missed,
            noticeable=rounded(noticeable.max(), 2),
            resolve=resolve,
            p_value=None if p_value is None else rounded(min(p_value, 1), 2),
            false_alarm=false_alarm,
            undecided=rounded(min(undecided, 1), 2) if undecided > 1e-9 else 0.0,
            samples=samples,
            seed=seed,
        )

    def __bool__(self) -> bool:
        return self.verdict == "holds"

    def __str__(self) -> str:
        parts = [f"{self.id} {self.verdict}", self.text, f"notices {100 * self.noticeable:.2g} %"]
        if self.resolve is not None and self.noticeable > self.resolve:
            parts[-1] += f", NOT THE {100 * self.resolve:.2g} % ASKED FOR"
        if self.rejected:
            parts.append("rejects " + ", ".join(self.rejected))
        if self.missed:
            parts.append("DOES NOT REJECT " + ", ".join(self.missed))
        if not self:
            parts.append(describe(asdict(self)))
        return " | ".join(parts)

    __repr__ = __str__

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, object]:
        return {"text/plain": str(self), "text/html": self._chip(), MIME: asdict(self)}

    def _chip(self) -> str:
        named, *rest = (html.escape(part) for part in str(self).split(" | "))
        name = named.rsplit(" ", 1)[0]
        colour, mark = _MARKS[self.verdict]
        return (
            f'<div class="claim claim-{self.verdict}" id="claim-{self.id}" '
            f'style="border-left:4px solid {colour};padding:.2em .7em">'
            f'<strong style="color:{colour}">{mark} {name}</strong> {rest[0]}<br>'
            f"<small>{' · '.join(rest[1:])}</small></div>"
        )


def describe(record: Mapping[str, Any]) -> str:
    """Say in the words of a claim's kind what was compared and what came out.

    Parameters
    ----------
    record
        The claim's JSON record, the fields of :class:`Claim`.

    Returns
    -------
    str
        Such as ``"predicted 0.25, found 0.2506 in [0.2487, 0.2525]"``.

    Examples
    --------
    >>> describe({"kind": "bound", "prediction": 8.0, "estimate": 6.6})
    'bound 8, attained 6.6'
    """
    estimate = f"{record['estimate']:g}"
    if record["kind"] == "exact":
        return f"predicted {record['prediction']:g}, found {estimate}"
    if record["kind"] == "bound":
        return f"bound {record['prediction']:g}, attained {estimate}"
    low, high = record["interval"]
    inside = f"{estimate} in [{low:g}, {high:g}]"
    if record["kind"] == "sampled":
        return f"predicted {record['prediction']:g}, found {inside}"
    above, below = record["allowed"]
    if below is None:
        return f"allowed above {above:g}, found {inside}"
    if above is None:
        return f"allowed below {below:g}, found {inside}"
    return f"allowed {above:g} to {below:g}, found {inside}"


def array(values: ArrayLike) -> Array:
    """Return finite numbers, at least one, as a float64 array."""
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise ValueError("nothing to compare: an array is empty")
    if not np.isfinite(array).all():
        raise ValueError("values to compare must be finite, got NaN or infinity")
    return array


def _tightest(slack: Array, prediction: Array) -> int:
    """Index of the least slack; ties, plenty in exact checks, go to the largest prediction, then the first."""
    slack, size = np.round(slack.ravel(), 6), np.abs(prediction).ravel()
    return int(np.where(slack == slack.min(), np.round(size / (size.max() or 1), 6), -1).argmax())


def rounded(value: float, digits: int = 4) -> float:
    """Round to significant digits, the same way on every processor.

    Exact halves such as 5/32 = 0.15625 are frequent, and a last bit would turn them: so the value is rounded to ten
    digits first.
    """
    return float(f"{float(f'{float(value):.10g}'):.{digits}g}") + 0.0  # no negative zero

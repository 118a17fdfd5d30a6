"""The claim: one statement of the book, checked once, and how it is shown and recorded."""

import html
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["MIME", "Claim"]

#: Mime type of a claim's JSON record in a notebook's outputs.
MIME = "application/vnd.srlib.claim+json"


#: An array of numbers, as every comparison is made.
Array = NDArray[np.float64]

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
        ``"exact"``: an identity or inequality, up to rounding; ``"sampled"``: Monte Carlo against an exact
        prediction; ``"empirical"``: an experiment.
    text
        What was compared with what, in a few words.
    prediction, estimate, interval
        Of the entry with the least slack, when arrays were compared; among equals, of the largest prediction.
    entries
        How many numbers were compared.
    verdict
        ``"pass"`` if the statement held and every wrong alternative was rejected, else ``"fail"``.
    slack
        Room left, as a fraction of what the check allows: 1 is a match up to rounding, 0 the border, below 0 a failure.
    rejected, missed
        Names of the wrong alternatives that the same check rejected, and of those it did not.
    noticeable
        Smallest relative error of the prediction that the check would have noticed (with probability 0.99 if it is
        a sampled one).
    false_alarm
        Probability that a sampled check rejects a true statement, for a fresh seed; 0 for the other kinds.
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
    entries: int
    verdict: str
    slack: float
    rejected: tuple[str, ...]
    missed: tuple[str, ...]
    noticeable: float
    false_alarm: float
    samples: int | None
    seed: int | None

    @classmethod
    def _settle(
        cls,
        id: str,
        kind: str,
        text: str,
        slack: Array,
        controls: Mapping[str, Array],
        prediction: Array,
        estimate: Array,
        interval: tuple[Array, Array],
        *,
        noticeable: Array,
        false_alarm: float = 0.0,
        samples: int | None = None,
        seed: int | None = None,
    ) -> Self:
        """Make the claim that the slacks decide: of the statement's entries, and of each wrong alternative's."""
        if not re.fullmatch(r"[A-Z]\d+\.[a-z0-9-]+", id):
            raise ValueError(f"a claim's id must be a statement and a name, such as 'F2.relu-depth', got {id!r}")
        for name in (text, *controls):
            if "\n" in name or " | " in name:
                raise ValueError(
                    f"a claim is shown on one line, its parts between ' | ': neither may stand in {name!r}"
                )
        tightest = _tightest(slack, prediction)
        low, high = (rounded(end.flat[tightest]) for end in interval)
        rejected = tuple(name for name, s in controls.items() if s.min() < 0)
        missed = tuple(name for name in controls if name not in rejected)
        return cls(
            id=id,
            statement=id.split(".")[0],
            kind=kind,
            text=text,
            prediction=rounded(prediction.flat[tightest]),
            estimate=rounded(estimate.flat[tightest]),
            interval=(low, high),
            entries=int(slack.size),
            verdict="pass" if slack.min() >= 0 and not missed else "fail",
            slack=round(rounded(slack.flat[tightest], 10), 2),
            rejected=rejected,
            missed=missed,
            noticeable=rounded(noticeable.max(), 2),
            false_alarm=false_alarm,
            samples=samples,
            seed=seed,
        )

    def __bool__(self) -> bool:
        return self.verdict == "pass"

    def __str__(self) -> str:
        parts = [f"{self.id} {self.verdict}", self.text, f"notices {100 * self.noticeable:.2g} %"]
        if self.rejected:
            parts.append("rejects " + ", ".join(self.rejected))
        if self.missed:
            parts.append("DOES NOT REJECT " + ", ".join(self.missed))
        if not self:
            parts.append(f"predicted {self.prediction:g}, found {self.estimate:g} in {list(self.interval)}")
        return " | ".join(parts)

    __repr__ = __str__

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, object]:
        return {"text/plain": str(self), "text/html": self._chip(), MIME: asdict(self)}

    def _chip(self) -> str:
        passed, *rest = (html.escape(part) for part in str(self).split(" | "))
        name = passed.rsplit(" ", 1)[0]
        colour, mark = ("#0b6e4f", "✓") if self else ("#b3261e", "✗")
        return (
            f'<div class="claim claim-{self.verdict}" id="claim-{self.id}" '
            f'style="border-left:4px solid {colour};padding:.2em .7em">'
            f'<strong style="color:{colour}">{mark} {name}</strong> {rest[0]}<br>'
            f"<small>{' · '.join(rest[1:])}</small></div>"
        )


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

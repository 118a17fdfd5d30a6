"""Claims: one statement of the book, checked once: whether it holds, and the wrong alternatives it rejected.

Every function makes a :class:`Claim`. Displayed as the last expression of a notebook cell, a claim is
a coloured chip (HTML), one rounded line (text) and a JSON record under ``MIME``, which the workflow
collects.
"""

from srlib.check.claim import MIME, Claim, describe
from srlib.check.exact import bound, exact
from srlib.check.experiment import empirical
from srlib.check.glue import glue
from srlib.check.same_law import same_law
from srlib.check.sampling import FALSE_ALARM, sampled, samples_needed

__all__ = [
    "FALSE_ALARM",
    "MIME",
    "Claim",
    "bound",
    "describe",
    "empirical",
    "exact",
    "glue",
    "same_law",
    "sampled",
    "samples_needed",
]

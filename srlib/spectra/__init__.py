"""Laws of the singular values at a given stable rank (M1, M3, M4).

Every law has the signature of :class:`Law` and returns relative singular values: descending, the largest exactly 1,
their squares summing to the stable rank.
"""

from srlib.spectra import coulomb
from srlib.spectra.closed_form import power_law, projector, two_level
from srlib.spectra.conditioned import conditioned_gaussian
from srlib.spectra.coulomb import coulomb_gas
from srlib.spectra.law import Average, Law, Levels, deterministic, mean_quartic_trace
from srlib.spectra.sphere import uniform_sphere

__all__ = [
    "Average",
    "Law",
    "Levels",
    "conditioned_gaussian",
    "coulomb",
    "coulomb_gas",
    "deterministic",
    "mean_quartic_trace",
    "power_law",
    "projector",
    "two_level",
    "uniform_sphere",
]

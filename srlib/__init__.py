"""Deep random networks conditioned on the stable ranks of their layers."""

from srlib import arccos, collapsed, ensemble, feedforward, haar, moments, ntk, rank, spectra
from srlib.ensemble import Ensemble, Network, sample
from srlib.rank import participation_rank, stable_rank

__all__ = [
    "Ensemble",
    "Network",
    "arccos",
    "collapsed",
    "ensemble",
    "feedforward",
    "haar",
    "moments",
    "ntk",
    "participation_rank",
    "rank",
    "sample",
    "spectra",
    "stable_rank",
]

__version__ = "0.1.0"

"""Deep random networks conditioned on the stable ranks of their layers."""

from srlib import (
    arccos,
    bounds,
    collapsed,
    ensemble,
    expressivity,
    feedforward,
    gradient_flow,
    haar,
    init,
    moments,
    ntk,
    rank,
    spectra,
    training,
)
from srlib.ensemble import Ensemble, Network, sample
from srlib.rank import participation_rank, stable_rank

__all__ = [
    "Ensemble",
    "Network",
    "arccos",
    "bounds",
    "collapsed",
    "ensemble",
    "expressivity",
    "feedforward",
    "gradient_flow",
    "haar",
    "init",
    "moments",
    "ntk",
    "participation_rank",
    "rank",
    "sample",
    "spectra",
    "stable_rank",
    "training",
]

__version__ = "0.1.0"

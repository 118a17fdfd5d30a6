"""Deep random networks conditioned on the stable ranks of their layers."""

from srlib import arccos, collapsed, ensemble, feedforward, haar, init, moments, network, ntk, rank, spectra
from srlib.ensemble import Ensemble, sample
from srlib.network import Network
from srlib.rank import participation_rank, stable_rank

__all__ = [
    "Ensemble",
    "Network",
    "arccos",
    "collapsed",
    "ensemble",
    "feedforward",
    "haar",
    "init",
    "moments",
    "network",
    "ntk",
    "participation_rank",
    "rank",
    "sample",
    "spectra",
    "stable_rank",
]

__version__ = "0.1.0"

"""Exact linear pieces, kinks and lengths of networks along a curve, and their means (X1, X2, X3)."""

from srlib.experiments.expressivity.curves import Curve, circle, polyline, segment
from srlib.experiments.expressivity.image import Lengths, lengths
from srlib.experiments.expressivity.kinks import Breakpoints, breakpoints
from srlib.experiments.expressivity.means import mean_gain, mean_switches
from srlib.experiments.expressivity.pieces import Switches

__all__ = [
    "Breakpoints",
    "Curve",
    "Lengths",
    "Switches",
    "breakpoints",
    "circle",
    "lengths",
    "mean_gain",
    "mean_switches",
    "polyline",
    "segment",
]

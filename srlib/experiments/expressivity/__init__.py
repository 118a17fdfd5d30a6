"""Exact linear pieces, kinks and lengths of networks along a curve, and their means (X1, X2, X3, X4)."""

from srlib.experiments.expressivity.along import Kinks, kinks
from srlib.experiments.expressivity.curves import Curve, circle, polyline, segment
from srlib.experiments.expressivity.image import Lengths, lengths
from srlib.experiments.expressivity.means import mean_gain, mean_kinks, mean_vertices
from srlib.experiments.expressivity.pieces import LayerKinks

__all__ = [
    "Curve",
    "Kinks",
    "LayerKinks",
    "Lengths",
    "circle",
    "kinks",
    "lengths",
    "mean_gain",
    "mean_kinks",
    "mean_vertices",
    "polyline",
    "segment",
]

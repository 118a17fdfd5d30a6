"""Exact simulation without matrices: networks at one input, both ways (C1), and at several, forwards (C2)."""

from srlib.collapsed.frames import Features, features
from srlib.collapsed.norms import Simulation, simulate

__all__ = ["Features", "Simulation", "features", "simulate"]

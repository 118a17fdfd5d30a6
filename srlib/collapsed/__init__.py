"""Exact simulation without matrices: networks at one input, forwards and backwards (C1)."""

from srlib.collapsed.norms import Simulation, simulate

__all__ = ["Simulation", "simulate"]

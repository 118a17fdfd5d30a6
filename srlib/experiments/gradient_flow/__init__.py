"""Training with a constant tangent kernel: its curves, and how fast they are (N4)."""

from srlib.experiments.gradient_flow.dynamics import GradientDescent, GradientFlow
from srlib.experiments.gradient_flow.least_squares import LeastSquares
from srlib.experiments.gradient_flow.speed import time_factor

__all__ = ["GradientDescent", "GradientFlow", "LeastSquares", "time_factor"]

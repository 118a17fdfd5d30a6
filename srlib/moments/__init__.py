"""Exact finite-width predictions for the random model."""

from srlib.moments.feature import FeatureNorm, feature_norm, fluctuation_exponent
from srlib.moments.growth import LogGrowth, log_growth
from srlib.moments.jacobian import JacobianMoments, jacobian
from srlib.moments.kernel import KernelMoments, kernel_moments, ntk
from srlib.moments.transfer import gate_transfer, layer_transfer

__all__ = [
    "FeatureNorm",
    "JacobianMoments",
    "KernelMoments",
    "LogGrowth",
    "feature_norm",
    "fluctuation_exponent",
    "gate_transfer",
    "jacobian",
    "kernel_moments",
    "layer_transfer",
    "log_growth",
    "ntk",
]

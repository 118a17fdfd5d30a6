"""Exact finite-width predictions for the random model."""

from srlib.moments.feature import FeatureNorm, feature_norm, fluctuation_exponent

__all__ = ["FeatureNorm", "feature_norm", "fluctuation_exponent"]

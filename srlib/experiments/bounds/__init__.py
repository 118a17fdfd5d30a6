"""What stable ranks do to generalization bounds, and to the error of compressing a network (G1, G2, G3).

They hold for bias-free networks whose activation is 1-Lipschitz.
"""

from srlib.experiments.bounds.compression import (
    CompressedSize,
    compressed_size,
    random_projection,
    truncate,
    truncation_error,
)
from srlib.experiments.bounds.cushions import CompressionBound, compression_bound, interlayer_smoothness
from srlib.experiments.bounds.margins import margins
from srlib.experiments.bounds.norm import NormBound, norm_bound
from srlib.experiments.bounds.perturbation import Perturbation, perturbation

__all__ = [
    "CompressedSize",
    "CompressionBound",
    "NormBound",
    "Perturbation",
    "compressed_size",
    "compression_bound",
    "interlayer_smoothness",
    "margins",
    "norm_bound",
    "perturbation",
    "random_projection",
    "truncate",
    "truncation_error",
]

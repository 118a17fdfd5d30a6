"""What stable ranks do to generalization bounds, and to the error of compressing a network (G1, G2).

Networks are bias-free: :class:`~srlib.experiments.training.Perceptrons`, or a sequence of matrices
``(..., n_l, n_{l-1})`` of ReLU networks, the readout last.
"""

from srlib.experiments.bounds.compression import CompressedSize, compressed_size, random_projection, truncate
from srlib.experiments.bounds.cushions import CompressionBound, compression_bound, interlayer_smoothness
from srlib.experiments.bounds.norm import NormBound, margins, norm_bound
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
]

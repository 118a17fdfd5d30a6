"""The neural tangent kernel: of drawn networks, and of infinitely wide ones (N1, N3)."""

from srlib.ntk.drawn import empirical, layers
from srlib.ntk.limit import Kernels, infinite

__all__ = ["Kernels", "empirical", "infinite", "layers"]

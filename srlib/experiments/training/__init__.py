"""Training many small networks at once (N4, N5, I1-I3)."""

from srlib.experiments.training.fit import Training, fit
from srlib.experiments.training.losses import cross_entropy, squared
from srlib.experiments.training.rules import adam, sgd

__all__ = ["Training", "adam", "cross_entropy", "fit", "sgd", "squared"]

"""The columns of an ensemble that its moments are made of."""

from collections.abc import Sequence

import torch
from torch import Tensor

from srlib.ensemble import Ensemble


def column(values: float | Sequence[float] | Sequence[Sequence[float]]) -> Tensor:
    """Return numbers, such as one a layer, as a float64 tensor on the CPU."""
    return torch.tensor(values, dtype=torch.float64, device="cpu")


def widths(ensemble: Ensemble) -> tuple[Tensor, Tensor]:
    """Return the fan-ins and the fan-outs of the layers."""
    sizes = column(ensemble.widths)
    return sizes[:-1], sizes[1:]


def spectra(ensemble: Ensemble) -> tuple[Tensor, Tensor, Tensor]:
    """Return the stable ranks, the spectral norms and the mean quartic traces of the layers."""
    return column(ensemble.stable_ranks), column(ensemble.spectral_norms), column(ensemble.quartic_traces().value)


def gate_moments(ensemble: Ensemble) -> tuple[float, float]:
    """Return the mean second and fourth powers of a gate, eta and eta_4."""
    a = ensemble.negative_slope
    return (1 + a**2) / 2, (1 + a**4) / 2


def accumulate(log_factors: Tensor) -> Tensor:
    """Return the logarithms of all partial products, the empty one first."""
    return torch.cat([log_factors.new_zeros(1), log_factors.cumsum(0)])

"""What all bounds need of a network: that they hold for it, what its layers do, and their spectra."""

from typing import NamedTuple

import torch
from torch import Tensor

from srlib import _validation
from srlib.feedforward import propagate, read
from srlib.network import Network


def checked(network: Network, name: str = "network") -> Network:
    """Return a network for which the bounds hold, in float64."""
    if not isinstance(network, Network):
        raise TypeError(f"{name} must be an srlib.Network, got {_validation.kind(network)}")
    if network.biases is not None:
        raise ValueError(f"{name} must not have biases: the bounds are for bias-free networks, got biases")
    if abs(network.negative_slope) > 1:
        raise ValueError(
            f"{name} must have a negative_slope in [-1, 1], where the activation is 1-Lipschitz, "
            f"got {network.negative_slope}"
        )
    if not all(_validation.finite(W) for W in network.matrices):
        raise ValueError(f"{name} must have finite weights, got NaN or infinity")
    return network.to(dtype=torch.float64)


def checked_at(network: Network, x: Tensor) -> tuple[Network, Tensor]:
    """Return a network for which the bounds hold, and inputs of its dtype, at least one; both in float64."""
    exact = checked(network)
    if not len(_validation.inputs(x, network.widths[0], network.dtype)):
        raise ValueError("x must hold at least one input, got none")
    return exact, x.double()


class Trace(NamedTuple):
    """Features h_0, ..., h_{d-1}, diagonals of D_1, ..., D_{d-1}, and z_1, ..., z_d before them, the outputs last."""

    post: list[Tensor]
    gates: list[Tensor]
    pre: list[Tensor]


def trace(network: Network, h: Tensor) -> Trace:
    """Run a checked network on ``(batch, N, n_0)``; each tensor is ``(batch, N, n)``."""
    run = Trace([h], [], [])
    for a, D, above in propagate(network, h):
        run.pre.append(a)
        run.gates.append(D)
        run.post.append(above)
    output = read(network, run.post[-1])
    run.pre.append(output if output.ndim == 3 else output.unsqueeze(-1))
    return run


def norms(network: Network) -> Tensor:
    """Spectral norms, shape ``(batch, d)``; 0 is allowed."""
    return torch.stack([torch.linalg.matrix_norm(W, 2) for W in network.matrices], -1)


def spectra(network: Network) -> tuple[Tensor, list[Tensor]]:
    """Spectral norms ``(batch, d)``, none of them 0, and all singular values over them, ``(batch, k_l)`` each."""
    sigma = [torch.linalg.svdvals(W) for W in network.matrices]
    largest = torch.stack([s[:, 0] for s in sigma], -1)
    if (largest == 0).any():
        raise ValueError("layers must be nonzero: the stable rank of a zero matrix is not defined, got norm 0")
    return largest, [s / s[:, :1] for s in sigma]

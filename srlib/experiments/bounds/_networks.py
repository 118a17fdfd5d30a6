"""What all bounds need of a network: its checked layers, a forward pass, margins, norms and stable ranks."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from srlib import _validation
from srlib.experiments.training import Perceptrons

#: Bias-free networks: perceptrons, or the matrices of one ReLU network or of a batch of them, readout last.
Networks = Perceptrons | Sequence[Tensor]


def layers(networks: Networks, name: str = "networks") -> tuple[list[Tensor], float]:
    """Weights and slope of bias-free networks, checked."""
    slope = 0.0
    if isinstance(networks, Perceptrons):
        if networks.biases is not None:
            raise ValueError(f"{name} must not have biases: the bounds are for bias-free networks, got biases")
        networks, slope = networks.weights, _validation.number(networks.negative_slope, "negative_slope")
        if abs(slope) > 1:
            raise ValueError(f"negative_slope must lie in [-1, 1], where the activation is 1-Lipschitz, got {slope}")
    if isinstance(networks, Tensor) or not isinstance(networks, Sequence) or not networks:
        raise TypeError(f"{name} must be Perceptrons or a sequence of matrices, got {type(networks).__name__}")
    weights = [_validation.matrix(W, f"layer {l + 1} of {name}") for l, W in enumerate(networks)]
    for l, (below, W) in enumerate(pairwise(weights)):
        if W.shape[-1] != below.shape[-2] or W.shape[:-2] != below.shape[:-2] or W.dtype != below.dtype:
            raise ValueError(
                f"layer {l + 2} of {name} must have shape {(*below.shape[:-2], 'n', below.shape[-2])} and dtype "
                f"{below.dtype}, got {tuple(W.shape)} and {W.dtype}"
            )
    return weights, slope


def inputs(weights: list[Tensor], x: Tensor) -> Tensor:
    """Inputs of the weights' dtype, checked."""
    first = weights[0]
    if not isinstance(x, Tensor) or _validation.compute_dtype(x.dtype) != first.dtype:
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"x must be a tensor of the weights' dtype {first.dtype}, got {kind}")
    if x.ndim != 2 or x.shape[1] != first.shape[-1] or not len(x):
        raise ValueError(f"x must have shape (N, {first.shape[-1]}) with N >= 1, got {tuple(x.shape)}")
    if not torch.isfinite(x).all():
        raise ValueError("x must have finite entries, got NaN or infinity")
    return x.to(first.dtype)


def run(weights: list[Tensor], slope: float, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Features h_0, ..., h_{d-1} and pre-activations x^1, ..., x^d, the outputs last."""
    post, pre = [x], []
    for W in weights:
        pre.append(post[-1] @ W.mT)
        post.append(gates(pre[-1], slope) * pre[-1])
    return post[:-1], pre


def gates(a: Tensor, slope: float) -> Tensor:
    """Diagonal of D_l at pre-activations a."""
    return torch.where(a > 0, a.new_ones(()), a.new_tensor(slope))


def margins_of(f: Tensor, labels: Tensor) -> Tensor:
    """Margins ``(..., N)`` of outputs ``(..., N, C)``."""
    classes = f.shape[-1]
    if classes < 2:
        raise ValueError(f"networks must have at least 2 outputs to have a margin, got {classes}")
    if not isinstance(labels, Tensor) or labels.dtype.is_floating_point or labels.dtype == torch.bool:
        kind = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise TypeError(f"labels must be an integer tensor, got {kind}")
    if labels.shape not in (f.shape[-2:-1], f.shape[:-1]):
        raise ValueError(f"labels must have shape {tuple(f.shape[-2:-1])}, got {tuple(labels.shape)}")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels must lie in [0, {classes - 1}], got {int(labels.min())} to {int(labels.max())}")
    index = labels.long().expand(f.shape[:-1]).unsqueeze(-1)
    return (f.gather(-1, index) - f.scatter(-1, index, -math.inf).amax(-1, keepdim=True)).squeeze(-1)


def positive(value: float | Tensor, shape: torch.Size, like: Tensor, name: str) -> Tensor:
    """One positive number for each network."""
    value = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    if value.shape not in (torch.Size(), shape):
        raise ValueError(f"{name} must be one number or have shape {tuple(shape)}, got shape {tuple(value.shape)}")
    if not (value > 0).all() or not torch.isfinite(value).all():
        raise ValueError(f"{name} must be positive and finite, got {value.min().item()}")
    return value.expand(shape)


def spectral_norm(W: Tensor) -> Tensor:
    """Spectral norm of each matrix; 0 is allowed."""
    return torch.linalg.matrix_norm(W, 2)


def spectra(weights: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Spectral norms and stable ranks, each ``(..., d)``."""
    sigma = [torch.linalg.svdvals(W) for W in weights]
    norms = torch.stack([s[..., 0] for s in sigma], -1)
    if (norms == 0).any():
        raise ValueError("layers must be nonzero: the stable rank of a zero matrix is not defined, got norm 0")
    return norms, torch.stack([(s / s[..., :1]).square().sum(-1) for s in sigma], -1)

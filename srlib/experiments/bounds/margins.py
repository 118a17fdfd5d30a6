"""Margins of a classifier (G1)."""

import math

import torch
from torch import Tensor

from srlib import _validation
from srlib.experiments.bounds._layers import checked_at
from srlib.feedforward import activations
from srlib.network import Network

__all__ = ["margins"]


def margins(network: Network, x: Tensor, labels: Tensor) -> Tensor:
    r"""Margin of every network on every input: positive exactly where the label is predicted.

    .. math:: \gamma(x, y) = f_y(x) - \max_{j \ne y} f_j(x) .

    Parameters
    ----------
    network
        Bias-free networks with several outputs and a slope in [-1, 1].
    x
        Inputs, shape ``(N, n_0)``, of the weights' dtype. Computed in float64, as all bounds are.
    labels
        Integers from 0 to :math:`C - 1`, shape ``(N,)``, or ``(batch, N)`` for labels of each network's own.

    Returns
    -------
    Tensor
        Shape ``(batch, N)``, float64.

    Raises
    ------
    TypeError
        If a tensor has the wrong dtype, or ``network`` is not a network.
    ValueError
        If the networks have biases or fewer than two outputs, or shapes do not fit.

    Examples
    --------
    >>> V = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]])
    >>> margins(Network((), V), torch.tensor([[1.0, 3.0]]), torch.tensor([1]))  # outputs 1, 6, 4
    tensor([[2.]], dtype=torch.float64)
    """
    network, x = checked_at(network, x)
    return of_outputs(activations(network, x).output, labels)


def margin_loss(f: Tensor, labels: Tensor, gamma: Tensor) -> Tensor:
    """Fraction ``(batch,)`` of the inputs whose margin is not above gamma, from outputs ``(batch, N, C)``."""
    return (~(of_outputs(f, labels) > gamma.unsqueeze(-1))).to(f.dtype).mean(-1)  # neither is that of an overflow


def of_outputs(f: Tensor, labels: Tensor) -> Tensor:
    """Margins ``(batch, N)`` of outputs ``(batch, N, C)``."""
    classes = f.shape[2] if f.ndim == 3 else 1
    if classes < 2:
        raise ValueError(f"networks must have at least 2 outputs to have a margin, got {classes}")
    if not isinstance(labels, Tensor) or labels.dtype.is_floating_point or labels.dtype == torch.bool:
        raise TypeError(f"labels must be an integer tensor, got {_validation.kind(labels)}")
    if labels.shape not in (f.shape[1:2], f.shape[:2]):
        also = f"; labels of each network's own have shape {tuple(f.shape[:2])}"
        raise ValueError(f"labels must have shape {tuple(f.shape[1:2])}, got {tuple(labels.shape)}{also}")
    if labels.numel() and (labels.min() < 0 or labels.max() >= classes):
        raise ValueError(f"labels must lie in [0, {classes - 1}], got {int(labels.min())} to {int(labels.max())}")
    index = labels.long().expand(f.shape[:2]).unsqueeze(-1)
    return (f.gather(-1, index) - f.scatter(-1, index, -math.inf).amax(-1, keepdim=True)).squeeze(-1)

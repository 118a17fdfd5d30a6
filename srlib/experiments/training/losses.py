"""What is minimized: one number for every network of a batch."""

from torch import Tensor

__all__ = ["cross_entropy", "squared"]


def squared(f: Tensor, targets: Tensor) -> Tensor:
    r"""Squared loss :math:`\frac12 \sum_{i,j} (f_j(x_i) - y_{ij})^2` of every network, the one of gradient flow (N4).

    Parameters
    ----------
    f
        Outputs, shape ``(batch, N)`` or ``(batch, N, C)``.
    targets
        Of the same shape, or without its batch dimension.

    Returns
    -------
    Tensor
        Shape ``(batch,)``.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import torch
    >>> squared(torch.tensor([[[1.0], [2.0]]]), torch.tensor([[0.0], [0.0]]))
    tensor([2.5000])
    """
    if f.shape[1:] != targets.shape[targets.ndim - f.ndim + 1 :]:
        raise ValueError(f"targets must have the shape {tuple(f.shape[1:])} of the outputs, got {tuple(targets.shape)}")
    return (f - targets).square().flatten(1).sum(1) / 2


def cross_entropy(f: Tensor, targets: Tensor) -> Tensor:
    r"""Mean cross entropy :math:`-\frac1N \sum_i \log \operatorname{softmax}(f(x_i))_{y_i}` of every network.

    Parameters
    ----------
    f
        Outputs, shape ``(batch, N, C)``.
    targets
        Labels from 0 to :math:`C - 1`, shape ``(N,)`` or ``(batch, N)``.

    Returns
    -------
    Tensor
        Shape ``(batch,)``.

    Raises
    ------
    ValueError
        If ``f`` has no classes or no inputs.

    Examples
    --------
    >>> import torch
    >>> cross_entropy(torch.zeros(1, 3, 2), torch.tensor([0, 1, 0]))
    tensor([0.6931])
    """
    if f.ndim != 3 or not f.shape[1]:
        raise ValueError(f"f must have shape (batch, N, C) with N >= 1 and one output a class, got {tuple(f.shape)}")
    labels = targets.expand(f.shape[:2]).unsqueeze(-1)
    return -f.log_softmax(-1).gather(-1, labels).mean((1, 2))

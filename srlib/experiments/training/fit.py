"""Training many small networks at once: one batched pass for all seeds and learning rates (N4, N5, I1-I3)."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from srlib import _validation
from srlib.experiments.training.batches import batches
from srlib.experiments.training.losses import cross_entropy
from srlib.experiments.training.rules import sgd
from srlib.feedforward import activations
from srlib.network import Network

__all__ = ["Training", "fit"]


@dataclass(frozen=True, eq=False)
class Training:
    """What :func:`fit` returns.

    Parameters
    ----------
    network
        The trained networks; the weights of a diverged one are not finite, or of no use.
    losses
        Loss of every network on the batch of every step, before its update, shape ``(batch, steps)``; infinite from
        the step on at which it diverged.
    diverged_at
        Step, from 0, at which a network's loss stopped being finite (``steps`` if only its final weights did); -1 if
        it never did. Shape ``(batch,)``.
    """

    network: Network
    losses: Tensor
    diverged_at: Tensor


def fit(
    network: Network,
    x: Tensor,
    targets: Tensor,
    *,
    rates: float | Sequence[float] | Tensor,
    steps: int,
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    optimizer: Callable[[Tensor, dict[str, Tensor], int], Tensor] = sgd,
    batch_size: int | None = None,
    seeds: Sequence[int] | None = None,
    scale: float | Tensor | None = None,
    callback: Callable[[int, Network], None] | None = None,
    progress: bool = False,
) -> Training:
    r"""Train a batch of networks side by side, each with its own learning rate and its own order of the data.

    .. math:: \chi_i \leftarrow \chi_i - \varsigma_i\, \Delta(\nabla_{\chi_i} \ell_i), \qquad
              i = 1, \dots, \text{batch},

    where :math:`\chi_i` are a network's weights and :math:`\Delta` is the optimizer's direction. Networks do not
    influence each other: one whose loss is no longer finite is recorded as diverged, and the others go on. (The update
    rules are our own because torch's have one learning rate for all entries of a tensor.)

    Parameters
    ----------
    network
        Networks at their start; they are not changed. Half precision is trained in float32.
    x
        Training inputs, shape ``(N, n_0)``, of the weights' dtype and device.
    targets
        What ``loss`` compares with: integer labels ``(N,)`` for :func:`cross_entropy`, floating values ``(N,)`` or,
        for several outputs, ``(N, C)`` for :func:`squared`; or with a leading batch dimension, each network's own.
    rates
        Learning rates :math:`\varsigma_i > 0`: one number, or one for each network.
    steps
        Number of updates, at least 0.
    loss
        Maps outputs ``(batch, N)`` or ``(batch, N, C)`` and targets to losses ``(batch,)``: :func:`cross_entropy`,
        :func:`squared` or your own.
    optimizer
        :func:`sgd`, :func:`adam` or your own.
    batch_size
        Inputs a step, all of them when omitted. Every epoch is a new random order; what is left over at its end is
        not used.
    seeds
        Seed of each network's order of the data; 0, 1, ... when omitted. Networks of one seed see the same batches.
    scale
        If given, :math:`b (f - f_0)` is trained in place of :math:`f`: the lazy regime for large :math:`b`
        (:cite:t:`chizat2019lazy`). One number or one for each network. The gradient grows like :math:`b^2`: divide the
        rates by that.
    callback
        Called with the number of updates made and the current networks, before every update and after the last.
        Their tensors are updated in place: clone what you keep.
    progress
        Whether to show a progress bar (needs tqdm).

    Returns
    -------
    Training
        The trained networks, the losses, and which networks diverged when.

    Raises
    ------
    TypeError
        If ``x`` is not a tensor of the weights' dtype, ``targets`` not a tensor of labels or of values, or a number is
        not one.
    ValueError
        If shapes do not fit, a label lies outside [0, C - 1], a rate is not positive and finite, or ``batch_size`` lies
        outside [1, N].

    References
    ----------
    :cite:t:`chizat2019lazy` for the scale.

    Examples
    --------
    >>> from srlib.experiments.training import squared
    >>> x = torch.tensor([[1.0]])
    >>> fit(Network((), torch.ones(2, 1)), x, 3 * x[:, 0], rates=[0.5, 1.0], steps=2, loss=squared).losses
    tensor([[2.0000, 0.5000],
            [2.0000, 0.0000]])
    """
    if not isinstance(network, Network):
        raise TypeError(f"network must be an srlib.Network, got {_validation.kind(network)}")
    count, dtype = network.batch, network.dtype
    x = _validation.inputs(x, network.widths[0], dtype)
    if not len(x):
        raise ValueError("x must hold at least one input, got none")
    start = network.detach().to(dtype=_validation.compute_dtype(dtype))
    x = x.to(start.dtype)
    rates = _validation.per_network(rates, count, "rates", x)
    number = _validation.number(steps, "steps")
    if number < 0 or number != int(number):
        raise ValueError(f"steps must be an integer of at least 0, got {number}")
    steps = int(number)
    if batch_size is not None and not 1 <= _validation.width(batch_size, "batch_size") <= len(x):
        raise ValueError(f"batch_size must lie in [1, {len(x)}], got {batch_size}")
    seeds = list(range(count)) if seeds is None else [int(seed) for seed in seeds]
    if len(seeds) != count:
        raise ValueError(f"seeds must hold one for each of the {count} networks, got {len(seeds)}")
    if scale is not None:
        scale = _validation.per_network(scale, count, "scale", x)
    each = _each_its_own(targets, network, len(x))
    targets = targets.to(x.dtype) if targets.dtype.is_floating_point else targets.long()

    network = start.with_parameters(p.clone() for p in start.parameters)
    states: list[dict[str, Tensor]] = [{} for _ in network.parameters]
    losses = rates.new_full((count, steps), math.inf)
    order = None if batch_size is None else batches(seeds, len(x), batch_size)
    batch, goal, own = x.expand(count, -1, -1), targets, torch.arange(count, device=x.device).unsqueeze(1)
    f0 = None if scale is None else activations(start, batch).output
    for step in _bar(steps) if progress else range(steps):
        if callback is not None:
            callback(step, network)
        if order is not None:
            index = next(order).to(x.device)
            batch, goal = x[index], targets[own, index] if each else targets[index]
            f0 = None if scale is None else activations(start, batch).output
        leaves = network.with_parameters(p.detach().requires_grad_() for p in network.parameters)
        f = activations(leaves, batch).output
        each_loss = loss(f if scale is None or f0 is None else _like(scale, f) * (f - f0), goal)
        losses[:, step] = each_loss.detach()
        gradients = torch.autograd.grad(each_loss.sum(), leaves.parameters)
        with torch.no_grad():
            for p, gradient, state in zip(network.parameters, gradients, states, strict=True):
                p.addcmul_(_like(rates, p), optimizer(gradient, state, step + 1), value=-1)

    if callback is not None:
        callback(steps, network)
    finite = torch.stack([p.flatten(1).isfinite().all(1) for p in network.parameters]).all(0)
    lost = torch.cat([~losses.isfinite(), ~finite.unsqueeze(1)], 1).cumsum(1) > 0
    diverged_at = torch.where(lost.any(1), lost.int().argmax(1), -1)
    return Training(network.to(dtype=dtype), losses.masked_fill(lost[:, :-1], math.inf), diverged_at)


def _bar(steps: int) -> Iterable[int]:
    from tqdm.auto import tqdm  # here, since only progress bars need it

    return tqdm(range(steps), desc="training", unit="step")


def _each_its_own(targets: Tensor, network: Network, inputs: int) -> bool:
    """Tell whether targets have a leading batch dimension."""
    if not isinstance(targets, Tensor) or targets.dtype == torch.bool or targets.dtype.is_complex:
        raise TypeError(f"targets must be a tensor of labels or of values, got {_validation.kind(targets)}")
    values, outputs = targets.dtype.is_floating_point, network.readout.shape[1:-1]
    wanted = (inputs, *outputs) if values else (inputs,)
    each = targets.ndim == len(wanted) + 1
    if targets.shape != ((network.batch, *wanted) if each else wanted):
        kind = f"values {wanted}" if values else f"labels {wanted}"
        raise ValueError(
            f"targets must be {kind}, with a leading batch dimension if each of the {network.batch} networks has its "
            f"own, got shape {tuple(targets.shape)}"
        )
    if not values and outputs and targets.numel() and not 0 <= targets.min() <= targets.max() < outputs[0]:
        found = f"{int(targets.min())} to {int(targets.max())}"
        raise ValueError(f"targets must be labels in [0, {outputs[0] - 1}], got {found}")
    return each


def _like(number: Tensor, tensor: Tensor) -> Tensor:
    """Give one number for each network the dimensions of a tensor."""
    return number.view(-1, *[1] * (tensor.ndim - 1))

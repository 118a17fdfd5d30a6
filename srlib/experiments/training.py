"""Training many small networks at once: one batched pass for all seeds and learning rates (N4, N5, I1-I3)."""

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from srlib import _validation
from srlib.network import Network

__all__ = ["Perceptrons", "Training", "adam", "cross_entropy", "fit", "outputs", "perceptrons", "sgd", "squared"]

#: Updates between two checkpoints.
_CHECKPOINT = 50


class Perceptrons(NamedTuple):
    r"""A batch of multilayer perceptrons :math:`f(x) = W_{L+1} \varphi(\cdots \varphi(W_1 x + b_1)) + b_{L+1}`.

    Parameters
    ----------
    weights
        :math:`W_1, \dots, W_{L+1}`, each of shape ``(batch, n_l, n_{l-1})``; the last one is the readout.
    biases
        :math:`b_1, \dots, b_{L+1}`, each of shape ``(batch, n_l)``, or nothing for networks without biases.
    negative_slope
        Slope :math:`a` of the activation on negative inputs: 0 is ReLU, 1 is linear.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...] | None = None
    negative_slope: float = 0.0


def perceptrons(network: Network) -> Perceptrons:
    """Return networks of the random model as perceptrons with one output and no biases.

    Parameters
    ----------
    network
        A batch of networks.

    Returns
    -------
    Perceptrons
        The same functions; the tensors are shared.

    Examples
    --------
    >>> from srlib import Ensemble
    >>> network = Ensemble((3, 8), 2).sample(5, generator=torch.Generator().manual_seed(0))
    >>> outputs(perceptrons(network), torch.eye(3, dtype=torch.float64)).shape
    torch.Size([5, 3, 1])
    """
    return Perceptrons((*network.weights, network.readout.unsqueeze(1)), None, network.negative_slope)


def outputs(networks: Perceptrons, x: Tensor) -> Tensor:
    """Run every network on its inputs.

    Parameters
    ----------
    networks
        A batch of networks.
    x
        Inputs of the weights' dtype: ``(N, n_0)``, the same for all networks, or ``(batch, N, n_0)``.

    Returns
    -------
    Tensor
        Shape ``(batch, N, n_{L+1})``.

    Examples
    --------
    >>> W = torch.tensor([[[2.0]], [[3.0]]])
    >>> outputs(Perceptrons((W, W)), torch.tensor([[1.0], [-1.0]])).squeeze(-1)
    tensor([[4., 0.],
            [9., 0.]])
    """
    h, depth = x, len(networks.weights)
    for l, W in enumerate(networks.weights):
        h = h @ W.mT if networks.biases is None else _affine(h, W, networks.biases[l])
        if l < depth - 1:
            h = torch.nn.functional.leaky_relu(h, networks.negative_slope)
    return h


def _affine(h: Tensor, W: Tensor, b: Tensor) -> Tensor:
    return torch.baddbmm(b.unsqueeze(1), h.expand(len(W), *h.shape[-2:]), W.mT)


def squared(f: Tensor, targets: Tensor) -> Tensor:
    r"""Squared loss :math:`\frac12 \sum_{i,c} (f_c(x_i) - y_{ic})^2` of every network, the one of gradient flow (N4).

    Parameters
    ----------
    f
        Outputs, shape ``(batch, N, C)``.
    targets
        Shape ``(N, C)`` or ``(batch, N, C)``.

    Returns
    -------
    Tensor
        Shape ``(batch,)``.

    Examples
    --------
    >>> squared(torch.tensor([[[1.0], [2.0]]]), torch.tensor([[0.0], [0.0]]))
    tensor([2.5000])
    """
    return (f - targets).square().sum((1, 2)) / 2


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

    Examples
    --------
    >>> cross_entropy(torch.zeros(1, 3, 2), torch.tensor([0, 1, 0]))
    tensor([0.6931])
    """
    labels = targets.expand(f.shape[:2]).unsqueeze(-1)
    return -f.log_softmax(-1).gather(-1, labels).mean((1, 2))


def sgd(gradient: Tensor, state: dict, step: int) -> Tensor:
    r"""Direction of plain gradient descent: the gradient.

    Parameters
    ----------
    gradient
        Gradient of one parameter of all networks.
    state
        What the rule remembers about this parameter: nothing.
    step
        Number of the update, from 1.

    Returns
    -------
    Tensor
        What is multiplied by the learning rate and subtracted.

    Examples
    --------
    >>> sgd(torch.tensor([2.0]), {}, 1)
    tensor([2.])
    """
    return gradient


def adam(gradient: Tensor, state: dict, step: int) -> Tensor:
    r"""Direction of Adam with its usual constants, :math:`\hat m / (\sqrt{\hat v} + 10^{-8})`.

    .. math:: m \leftarrow 0.9\, m + 0.1\, g, \quad v \leftarrow 0.999\, v + 0.001\, g^2, \quad
              \hat m = \frac{m}{1 - 0.9^t}, \quad \hat v = \frac{v}{1 - 0.999^t} .

    Parameters
    ----------
    gradient
        Gradient of one parameter of all networks.
    state
        Holds the two averages; empty at first.
    step
        Number :math:`t` of the update, from 1.

    Returns
    -------
    Tensor
        What is multiplied by the learning rate and subtracted.

    References
    ----------
    :cite:t:`kingma2015adam`.

    Examples
    --------
    >>> adam(torch.tensor([2.0, -0.5]), {}, 1)
    tensor([ 1., -1.])
    """
    if not state:
        state |= {"mean": torch.zeros_like(gradient), "square": torch.zeros_like(gradient)}
    mean = state["mean"].lerp_(gradient, 0.1)
    square = state["square"].mul_(0.999).addcmul_(gradient, gradient, value=0.001)
    return mean / square.div(1 - 0.999**step).sqrt_().add_(1e-8).mul_(1 - 0.9**step)


class Training(NamedTuple):
    """What :func:`fit` returns.

    Parameters
    ----------
    networks
        The trained networks; the weights of a diverged one are not finite, or of no use.
    losses
        Loss of every network on the batch of every step, before its update, shape ``(batch, steps)``; infinite from
        the step on at which it diverged.
    diverged_at
        Step, from 0, at which a network's loss stopped being finite (``steps`` if only its final weights did); -1 if
        it never did. Shape ``(batch,)``.
    """

    networks: Perceptrons
    losses: Tensor
    diverged_at: Tensor


def fit(
    networks: Perceptrons,
    x: Tensor,
    targets: Tensor,
    *,
    rates: float | Sequence[float] | Tensor,
    steps: int,
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    optimizer: Callable[[Tensor, dict, int], Tensor] = sgd,
    batch_size: int | None = None,
    seeds: Sequence[int] | None = None,
    scale: float | Tensor | None = None,
    callback: Callable[[int, Perceptrons], None] | None = None,
    checkpoint: str | os.PathLike | None = None,
    progress: bool = False,
) -> Training:
    r"""Train a batch of networks side by side, each with its own learning rate and its own order of the data.

    .. math:: w_b \leftarrow w_b - \eta_b\, d(\nabla_{w_b} \ell_b), \qquad b = 1, \dots, \text{batch},

    where :math:`d` is the optimizer's direction. Networks do not influence each other: one whose loss is no longer
    finite is recorded as diverged, and the others go on. (The update rules are our own because torch's have one
    learning rate for all entries of a tensor.)

    Parameters
    ----------
    networks
        Networks at their start; they are not changed.
    x
        Training inputs, shape ``(N, n_0)``, of the weights' dtype and device.
    targets
        What ``loss`` compares with: integer labels ``(N,)`` for :func:`cross_entropy`, floating values ``(N, C)``
        for :func:`squared`; or with a leading batch dimension, each network's own.
    rates
        Learning rates :math:`\eta_b > 0`: one number, or one for each network.
    steps
        Number of updates, at least 0.
    loss
        Maps outputs ``(batch, N, C)`` and targets to losses ``(batch,)``: :func:`cross_entropy`, :func:`squared` or
        your own.
    optimizer
        :func:`sgd`, :func:`adam` or your own.
    batch_size
        Inputs a step, all of them when omitted. Every epoch is a new random order; what is left over at its end is
        not used.
    seeds
        Seed of each network's order of the data; 0, 1, ... when omitted. Networks of one seed see the same batches.
    scale
        If given, :math:`\alpha (f - f_0)` is trained in place of :math:`f`: the lazy regime for large
        :math:`\alpha` (:cite:t:`chizat2019lazy`). One number or one for each network. The gradient grows like
        :math:`\alpha^2`: divide the rates by that.
    callback
        Called with the number of updates made and the current networks, before every update and after the last.
        Their tensors are updated in place: clone what you keep.
    checkpoint
        File that holds the state every 50 updates. If it exists, training goes on from it, and the result is the
        same as without the interruption.
    progress
        Whether to show a progress bar (needs tqdm).

    Returns
    -------
    Training
        The trained networks, the losses, and which networks diverged when.

    Raises
    ------
    TypeError
        If ``x`` is not a tensor of the weights' dtype, or a number is not one.
    ValueError
        If shapes do not fit, a rate is not positive and finite, ``batch_size`` lies outside [1, N], or the
        checkpoint is that of another training.

    References
    ----------
    :cite:t:`chizat2019lazy` for the scale.

    Examples
    --------
    >>> W = torch.ones(2, 1, 1)
    >>> x = torch.tensor([[1.0]])
    >>> fit(Perceptrons((W,)), x, 3 * x, rates=[0.5, 1.0], steps=2, loss=squared).losses  # 2 (1 - rate)^(2 step)
    tensor([[2.0000, 0.5000],
            [2.0000, 0.0000]])
    """
    count = len(networks.weights[0])
    rates = _per_network(rates, count, "rates").to(networks.weights[0])
    if not isinstance(x, Tensor) or x.dtype != networks.weights[0].dtype:
        raise TypeError(f"x must be a tensor of dtype {networks.weights[0].dtype}, got {getattr(x, 'dtype', type(x))}")
    if x.ndim != 2 or x.shape[1] != networks.weights[0].shape[-1] or not len(x):
        raise ValueError(f"x must have shape (N, {networks.weights[0].shape[-1]}) with N >= 1, got {tuple(x.shape)}")
    steps = _validation.number(steps, "steps")
    if steps < 0 or steps != int(steps):
        raise ValueError(f"steps must be an integer of at least 0, got {steps}")
    steps = int(steps)
    if batch_size is not None and not 1 <= _validation.width(batch_size, "batch_size") <= len(x):
        raise ValueError(f"batch_size must lie in [1, {len(x)}], got {batch_size}")
    seeds = list(range(count)) if seeds is None else [int(seed) for seed in seeds]
    if len(seeds) != count:
        raise ValueError(f"seeds must hold one for each of the {count} networks, got {len(seeds)}")
    if scale is not None:
        scale = _per_network(scale, count, "scale").to(rates)
    each = _each_its_own(targets, count, len(x))

    parameters = [p.detach().clone() for p in (*networks.weights, *(networks.biases or ()))]
    states: list[dict] = [{} for _ in parameters]
    losses = rates.new_full((count, steps), math.inf)
    first = 0
    key = _fingerprint(parameters, x, targets, rates, steps, loss, optimizer, batch_size, seeds, scale)
    if checkpoint is not None and Path(checkpoint).exists():
        first, parameters, states, losses = _load(checkpoint, key, rates.device)
    full = outputs(networks, x) if scale is not None and batch_size is None else None

    for step in _bar(range(first, steps), first, steps, progress):
        if checkpoint is not None and step > first and step % _CHECKPOINT == 0:
            _save(checkpoint, key, (step, parameters, states, losses))
        current = _rebuild(networks, parameters)
        if callback is not None:
            callback(step, current)
        if batch_size is None:
            batch, goal = x, targets
        else:
            index = _batch(seeds, step, len(x), batch_size).to(x.device)
            batch = x[index]
            goal = targets.gather(1, _like(index, targets)) if each else targets[index]
        leaves = [p.detach().requires_grad_() for p in parameters]
        f = outputs(_rebuild(networks, leaves), batch)
        if scale is not None:
            with torch.no_grad():
                f0 = outputs(networks, batch) if full is None else full
            f = scale[:, None, None] * (f - f0)
        each_loss = loss(f, goal)
        losses[:, step] = each_loss.detach()
        gradients = torch.autograd.grad(each_loss.sum(), leaves)
        with torch.no_grad():
            for p, gradient, state in zip(parameters, gradients, states, strict=True):
                p.addcmul_(rates.view(-1, *[1] * (p.ndim - 1)), optimizer(gradient, state, step + 1), value=-1)

    trained = _rebuild(networks, parameters)
    if callback is not None:
        callback(steps, trained)
    if checkpoint is not None:
        _save(checkpoint, key, (steps, parameters, states, losses))
    finite = torch.stack([p.flatten(1).isfinite().all(1) for p in parameters]).all(0)
    lost = torch.cat([~losses.isfinite(), ~finite.unsqueeze(1)], 1).cumsum(1) > 0
    diverged_at = torch.where(lost.any(1), lost.int().argmax(1), -1)
    return Training(trained, losses.masked_fill(lost[:, :-1], math.inf), diverged_at)


def _rebuild(networks: Perceptrons, parameters: Sequence[Tensor]) -> Perceptrons:
    depth = len(networks.weights)
    return networks._replace(
        weights=tuple(parameters[:depth]), biases=tuple(parameters[depth:]) if networks.biases is not None else None
    )


def _per_network(value: float | Sequence[float] | Tensor, count: int, name: str) -> Tensor:
    """Return positive finite numbers, one for each network."""
    numbers = value.tolist() if isinstance(value, Tensor) else value
    if not isinstance(numbers, Sequence):
        numbers = [numbers] * count
    if len(numbers) != count:
        raise ValueError(f"{name} must be one number or one for each of the {count} networks, got {len(numbers)}")
    return torch.tensor([_validation.positive(number, f"{name}[{b}]") for b, number in enumerate(numbers)])


def _each_its_own(targets: Tensor, count: int, inputs: int) -> bool:
    """Tell whether targets have a leading batch dimension: labels (batch, N) or values (batch, N, C)."""
    single = 2 if targets.dtype.is_floating_point else 1
    each = targets.ndim == single + 1
    wanted = (count, inputs) if each else (inputs,)
    if targets.ndim not in (single, single + 1) or targets.shape[: len(wanted)] != wanted:
        kind = "values (N, C)" if single == 2 else "labels (N,)"
        raise ValueError(
            f"targets must be {kind}, with a leading batch dimension if each network has its own, for N = {inputs} "
            f"inputs and {count} networks; got shape {tuple(targets.shape)}"
        )
    return each


def _batch(seeds: Sequence[int], step: int, inputs: int, size: int) -> Tensor:
    """Indices of every network's batch at a step: a function of its seed, so that a resumed run sees the same ones."""
    epoch, position = divmod(step, inputs // size)
    orders = {seed: _order(seed, epoch, inputs) for seed in seeds}
    return torch.stack([orders[seed][position * size : (position + 1) * size] for seed in seeds])


@lru_cache(maxsize=256)
def _order(seed: int, epoch: int, inputs: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epoch):  # each epoch continues the stream of the seed
        torch.randperm(inputs, generator=generator)
    return torch.randperm(inputs, generator=generator)


def _like(index: Tensor, targets: Tensor) -> Tensor:
    """Give an index ``(batch, size)`` the trailing dimensions of the targets."""
    tail = targets.shape[2:]
    return index.view(*index.shape, *[1] * len(tail)).expand(*index.shape, *tail)


def _bar(steps: range, first: int, total: int, progress: bool):
    if not progress:
        return steps
    from tqdm.auto import tqdm  # here, since only progress bars need it

    return tqdm(steps, desc="training", unit="step", initial=first, total=total)


def _fingerprint(parameters: Sequence[Tensor], x: Tensor, targets: Tensor, rates: Tensor, *rest) -> str:
    """Hash of everything that decides a training's result."""
    total = hashlib.sha256()
    for tensor in (*parameters, x, targets, rates):
        total.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    names = [getattr(item, "__qualname__", item) for item in rest]
    total.update(repr([n.tolist() if isinstance(n, Tensor) else n for n in names]).encode())
    return total.hexdigest()


def _save(checkpoint: str | os.PathLike, key: str, state: tuple) -> None:
    """Write beside the file, then rename: a killed run leaves the last whole state."""
    path = Path(checkpoint)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    torch.save((key, *state), scratch)
    scratch.replace(path)


def _load(checkpoint: str | os.PathLike, key: str, device: torch.device) -> tuple:
    found, *state = torch.load(checkpoint, map_location=device, weights_only=True)
    if found != key:
        raise ValueError(f"checkpoint {checkpoint} is that of another training: name another file, or remove it")
    return tuple(state)

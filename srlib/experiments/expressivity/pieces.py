"""Pieces of a curve on which the features of a layer are known in closed form (X3)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from srlib import _validation
from srlib.experiments.expressivity.curves import Curve, evaluate, vanishes
from srlib.network import Network

__all__ = ["LayerKinks", "Pieces"]

#: Points of a curve closer than this part of its parameter interval are one point.
SAME = 1e-12


@dataclass(frozen=True, eq=False)
class LayerKinks:
    """Where the neurons of one layer switch, ordered by network and parameter; all of shape ``(K,)``.

    Parameters
    ----------
    network
        Which network.
    parameter
        Parameter of the curve.
    neuron
        Which neuron of the layer.
    silent
        Whether the features that the layer sees are zero there: all its neurons without a bias switch because the
        features pass through the origin, or fall silent, and not because of a zero of their own.
    """

    network: Tensor
    parameter: Tensor
    neuron: Tensor
    silent: Tensor


class Pieces(NamedTuple):
    """One row for each piece of each network, ordered by network and parameter.

    On a piece the features have the given coefficients, shape ``(P, 2 or 3, n)``; the constant comes last.
    """

    network: Tensor
    start: Tensor
    stop: Tensor
    features: Tensor


#: Numbers that one array of a chunk of networks may hold (8 MB in float64: no more than caches hold).
_CHUNK = 2**20


def checked(network: Network, curve: Curve) -> Network:
    """Return a network that can be followed along the curve, in float64 and without its history."""
    if not isinstance(curve, Curve):
        raise TypeError(f"curve must be made by segment, polyline or circle, got {type(curve).__name__}")
    if not isinstance(network, Network):
        raise TypeError(f"network must be an srlib.Network, got {type(network).__name__}")
    if not network.weights:
        raise ValueError("network must have at least one hidden layer")
    if (n := curve.coefficients.shape[-1]) != network.widths[0]:
        raise ValueError(f"network must take inputs of the curve's length {n}, got {network.widths[0]}")
    if not all(map(_validation.finite, network.parameters)):
        raise ValueError("network must have finite weights and biases, got NaN or infinity")
    return network.detach().to(dtype=torch.float64)


def chunks(network: Network, curve: Curve) -> Iterator[tuple[int, Network]]:
    """Cut a batch of networks into parts that fit into memory, each with the index of its first network."""
    widths = network.widths[1:]
    rows = max(1, _CHUNK // (3 * max(widths) * (len(curve.coefficients) + 2 * sum(widths))))
    for first in range(0, max(network.batch, 1), rows):
        yield first, network[first : first + rows]


def follow(network: Network, curve: Curve) -> Iterator[tuple[Pieces, LayerKinks | None]]:
    """Yield the pieces of the features of every layer, the input first, and where the layer's neurons switch."""
    biases = network.biases or [None] * network.depth
    pieces = _of_input(curve, batch=network.batch, biased=network.biases is not None)
    yield pieces, None
    for W, b in zip(network.weights, biases, strict=False):  # X3; the readout's bias comes last
        pre = _pre_activations(pieces, W, b)
        parent, start, stop = _divide(pieces, pre, curve)
        owner, pre = pieces.network[parent], pre[parent]
        gates = evaluate(pre, (start + stop) / 2, curve.circular) > 0  # X3 (b)
        at, neuron = (gates != gates[_before(owner, curve.closed)]).nonzero(as_tuple=True)
        # features vanish only where a neuron before, or the curve, has a zero: at the border of a piece
        border = start - pieces.start[parent] <= SAME * (curve.knots[-1] - curve.knots[0])
        silent = border & vanishes(pieces.features, pieces.start, curve.circular)[parent]
        kinks = LayerKinks(owner[at], start[at], neuron, silent[at])
        pieces = Pieces(owner, start, stop, torch.where(gates.unsqueeze(1), pre, network.negative_slope * pre))
        yield pieces, kinks


def _of_input(curve: Curve, *, batch: int, biased: bool) -> Pieces:
    coefficients = curve.coefficients
    if biased and curve.circular:
        coefficients = torch.cat([coefficients, torch.zeros_like(coefficients[:, :1])], 1)
    network = torch.arange(batch, device=coefficients.device).repeat_interleave(len(coefficients))
    return Pieces(
        network, curve.knots[:-1].repeat(batch), curve.knots[1:].repeat(batch), coefficients.repeat(batch, 1, 1)
    )


def _pre_activations(pieces: Pieces, W: Tensor, b: Tensor | None) -> Tensor:
    """Coefficients of the pre-activations; those that are rounding errors of zero, with signs at random, are zero."""
    features, count = pieces.features, torch.bincount(pieces.network, minlength=len(W)).tolist()
    empty = features.new_empty(0, features.shape[1], W.shape[1])  # for an empty batch
    pre = torch.cat([empty, *(h @ w.mT for h, w in zip(features.split(count), W, strict=True))])
    if not len(pre):
        return pre
    if b is not None:
        pre[:, -1] += b[pieces.network]
    size, rows = features.norm(dim=-1, keepdim=True), W.norm(dim=-1)
    largest = size.max() * rows.max() + (0 if b is None else b.abs().max())
    if not largest.isfinite():
        raise ValueError("features must stay below 1e154, whose square is finite, got larger ones: scale the weights")
    noise = 4 * torch.finfo(pre.dtype).eps
    if pre.abs().min() > noise * largest:  # most often none is even close
        return pre
    scale = size * rows[pieces.network].unsqueeze(1)
    if b is not None:
        scale[:, -1] += b.abs()[pieces.network]
    return pre.masked_fill(pre.abs() <= noise * scale, 0.0)


def _divide(pieces: Pieces, pre: Tensor, curve: Curve) -> tuple[Tensor, Tensor, Tensor]:
    """Divide the pieces at the zeros of all neurons: parents, starts and stops of the parts."""
    piece, root = _zeros(pieces, pre, curve.circular)
    parent = torch.cat([torch.arange(len(pre), device=pre.device), piece])
    start = torch.cat([pieces.start, root])
    order = in_order(parent, start)
    parent, start = parent[order], start[order]
    end = curve.knots[-1]
    long = _stop(start, pieces.network[parent], end) - start > SAME * (end - curve.knots[0])
    parent, start = parent[long], start[long]
    return parent, start, _stop(start, pieces.network[parent], end)


def _zeros(pieces: Pieces, pre: Tensor, circular: bool) -> tuple[Tensor, Tensor]:
    """Zeros inside the pieces: which piece, and where."""
    left, right = (evaluate(pre, t, circular) for t in (pieces.start, pieces.stop))
    candidate = (left > 0) != (right > 0)
    if pre.shape[1] == 3:  # with a bias a neuron may also return to its sign
        wave, constant = pre[:, :2].norm(dim=1), pre[:, 2].abs()
        candidate |= wave - constant > 16 * torch.finfo(pre.dtype).eps * wave
    piece, neuron = candidate.nonzero(as_tuple=True)  # X3 (a)
    start, stop = pieces.start[piece], pieces.stop[piece]
    if not circular:
        left, right = left[piece, neuron], right[piece, neuron]
        return piece, start + (stop - start) * (left / (left - right))

    a, b, *offset = pre[piece, :, neuron].unbind(-1)  # a cos t + b sin t + c = |(a, b)| cos(t - phase) + c
    phase = torch.atan2(b, a)
    half = torch.acos((-offset[0] / torch.hypot(a, b)).clamp(-1, 1)) if offset else math.pi / 2
    roots = torch.cat([start + torch.remainder(phase + side * half - start, 2 * math.pi) for side in (-1, 1)])
    inside = roots < stop.repeat(2)
    return piece.repeat(2)[inside], roots[inside]


def in_order(group: Tensor, parameter: Tensor) -> Tensor:
    """Indices that sort by group, and by parameter within a group."""
    order = parameter.argsort()
    return order[group[order].argsort(stable=True)]


def begins(network: Tensor) -> Tensor:
    """Tell for each row whether it is the first of its network."""
    return network.diff(prepend=network.new_tensor([-1])) != 0


def _stop(start: Tensor, network: Tensor, end: Tensor) -> Tensor:
    """A piece stops where the next one of its network starts, and the last one at the end of the curve."""
    return torch.where(begins(network).roll(-1), end, start.roll(-1))


def _before(network: Tensor, closed: bool) -> Tensor:
    """Index of the piece before each piece: for the first one the last of its network if closed, otherwise itself."""
    first = begins(network)
    before = torch.arange(len(network), device=network.device) - 1
    before[first] = (first.roll(-1) if closed else first).nonzero().squeeze(1)
    return before

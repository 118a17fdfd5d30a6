"""What breakpoints and lengths need of networks: checked hidden layers, a few networks at a time."""

from collections.abc import Iterator

from torch import Tensor

from srlib import _validation
from srlib.experiments.expressivity.curves import Curve, finite
from srlib.experiments.training import Perceptrons
from srlib.network import Network

#: Weights ``(batch, n_l, n_{l-1})`` and biases ``(batch, n_l)`` of the hidden layers, float64.
Layers = list[tuple[Tensor, Tensor | None]]

#: Numbers that one array of a chunk of networks may hold (8 MB in float64: no more than caches hold).
_CHUNK = 2**20


def layers(networks: Network | Perceptrons, curve: Curve) -> tuple[Layers, float]:
    """Hidden layers and slope of either kind of network, checked against each other and the curve."""
    if not isinstance(curve, Curve):
        raise TypeError(f"curve must be made by segment, polyline or circle, got {type(curve).__name__}")
    if isinstance(networks, Network):
        weights, biases = networks.weights, None
    elif isinstance(networks, Perceptrons):
        weights, biases = networks.weights[:-1], networks.biases
    else:
        raise TypeError(f"networks must be an srlib.Network or Perceptrons, got {type(networks).__name__}")
    if not weights:
        raise ValueError("networks must have at least one hidden layer")
    if biases is None:
        biases = [None] * len(weights)
    elif len(biases) != len(networks.weights):
        raise ValueError(f"biases must be given for all {len(networks.weights)} layers, got {len(biases)}")

    hidden, n = [], curve.coefficients.shape[-1]
    for l, (W, b) in enumerate(zip(weights, biases, strict=False)):  # the readout has a bias too
        W = _validation.matrix(W, f"weights[{l}]").detach().double()
        if W.ndim != 3 or W.shape[-1] != n or (hidden and len(W) != len(hidden[0][0])):
            raise ValueError(f"weights[{l}] must have shape (batch, n_l, {n}), got {tuple(W.shape)}")
        if b is not None:
            b = finite(b, f"biases[{l}]")
            if b.shape != W.shape[:2]:
                raise ValueError(f"biases[{l}] must have shape {tuple(W.shape[:2])}, got {tuple(b.shape)}")
        hidden.append((W, b))
        n = W.shape[1]
    return hidden, _validation.number(networks.negative_slope, "negative_slope")


def chunks(hidden: Layers, curve: Curve) -> Iterator[tuple[int, Layers]]:
    """Cut a batch of networks into parts that fit into memory, each with the index of its first network."""
    batch, widths = len(hidden[0][0]), [W.shape[1] for W, _ in hidden]
    size = 3 * max(widths) * (len(curve.coefficients) + 2 * sum(widths))
    rows = max(1, _CHUNK // size)
    for first in range(0, max(batch, 1), rows):
        part = slice(first, first + rows)
        yield first, [(W[part], None if b is None else b[part]) for W, b in hidden]

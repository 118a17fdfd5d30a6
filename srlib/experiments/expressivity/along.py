"""Kinks: where along a curve the neurons of a network switch (X1, X3)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from srlib.experiments.expressivity.curves import Curve
from srlib.experiments.expressivity.pieces import SAME, LayerKinks, begins, checked, chunks, follow, in_order
from srlib.network import Network

__all__ = ["Kinks", "kinks"]


@dataclass(frozen=True, eq=False)
class Kinks:
    """All points of a curve at which a gate of a network changes.

    Parameters
    ----------
    layers
        The kinks of every hidden layer.
    pieces
        Number of pieces of the curve on which no gate changes, and the network is one affine map, shape ``(batch,)``.
    """

    layers: tuple[LayerKinks, ...]
    pieces: Tensor

    @property
    def counts(self) -> Tensor:
        """Numbers of kinks, shape ``(batch, L)``."""
        return self._count([layer.network for layer in self.layers])

    @property
    def crossings(self) -> Tensor:
        """Numbers of kinks where the features before the layer are not zero, shape ``(batch, L)`` (X1)."""
        return self._count([layer.network[~layer.silent] for layer in self.layers])  # X1 (c)

    def _count(self, networks: list[Tensor]) -> Tensor:
        return torch.stack([torch.bincount(of, minlength=len(self.pieces)) for of in networks], 1)


def kinks(network: Network, curve: Curve) -> Kinks:
    r"""Find all points of a curve at which a neuron switches, layer by layer and without a grid.

    On a piece of the curve on which no neuron of the layers before changes its gate, the pre-activations are

    .. math:: t\, C_1 + C_0 \qquad\text{or}\qquad \cos t\, C_1 + \sin t\, C_2 + C_0

    with known coefficients, so their zeros are known in closed form. They divide the piece; on each part the gates
    are constant, and the features of the next layer are again of this form. A neuron that touches zero without
    changing its sign does not switch. Points closer than :math:`10^{-12}` of the parameter interval are one point.

    Parameters
    ----------
    network
        A batch of networks of any slope, from the random model or trained, with or without biases. Computed in
        float64.
    curve
        From :func:`segment`, :func:`polyline` or :func:`circle`.

    Returns
    -------
    Kinks
        Kinks of every layer, and the number of pieces.

    Raises
    ------
    TypeError
        If ``network`` or ``curve`` is of another type.
    ValueError
        If widths do not fit, or weights are not finite.

    References
    ----------
    :cite:t:`hanin2019regions` count the pieces of networks along lines.

    Examples
    --------
    >>> from srlib import Ensemble
    >>> from srlib.experiments.expressivity import circle
    >>> network = Ensemble((5, 16, 16, 16), 4).sample(200, generator=torch.Generator().manual_seed(0))
    >>> e = torch.eye(5)
    >>> found = kinks(network, circle(e[0], e[1]))
    >>> found.counts.double().mean(0)  # close to 2 n_l = 32 in every layer (X1)
    tensor([32.0000, 31.9000, 32.1000], dtype=torch.float64)
    """
    network = checked(network, curve)
    parts = []
    for first, chunk in chunks(network, curve):
        layers = [layer for _, layer in follow(chunk, curve) if layer is not None]
        parts.append([(k.network + first, k.parameter, k.neuron, k.silent) for k in layers])
    found = tuple(LayerKinks(*map(torch.cat, zip(*layer, strict=True))) for layer in zip(*parts, strict=True))
    return Kinks(found, _count_pieces(found, network.batch, curve))


def _count_pieces(layers: tuple[LayerKinks, ...], batch: int, curve: Curve) -> Tensor:
    network, parameter = (torch.cat([getattr(k, name) for k in layers]) for name in ("network", "parameter"))
    order = in_order(network, parameter)
    network, parameter = network[order], parameter[order]
    new = begins(network)  # layers may miss the same point by SAME to either side
    new[1:] |= parameter.diff() > 2 * SAME * (curve.knots[-1] - curve.knots[0])
    points = torch.bincount(network[new], minlength=batch)
    return points.clamp(min=1) if curve.closed else points + 1  # X3 (b)

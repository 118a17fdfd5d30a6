"""Lengths of the image of a curve in every layer, and of its direction (X1, X2)."""

from typing import NamedTuple

import torch
from torch import Tensor

from srlib import arccos
from srlib.experiments.expressivity.curves import Curve, evaluate, vanishes
from srlib.experiments.expressivity.pieces import Pieces, checked, chunks, follow
from srlib.network import Network

__all__ = ["Lengths", "lengths"]


class Lengths(NamedTuple):
    r"""Lengths of a curve's image in every layer, each of shape ``(batch, L + 1)``, the input first.

    Parameters
    ----------
    euclidean
        Length of :math:`h_l(t)`.
    spherical
        Length of its direction :math:`h_l(t) / \|h_l(t)\|`, over those :math:`t` at which it exists.
    """

    euclidean: Tensor
    spherical: Tensor


def lengths(network: Network, curve: Curve) -> Lengths:
    r"""Length of a curve's image in every layer, and of the image's direction, exactly from its pieces.

    A straight piece has the length of its chord. A circular piece becomes an elliptic arc
    :math:`\cos t\, C_1 + \sin t\, C_2`, whose length is an incomplete elliptic integral. Directions move on a great
    circle in both cases, so the spherical length of a piece is the angle between its ends.

    Parameters
    ----------
    network
        As for :func:`kinks`.
    curve
        A curve; on a circle the networks must have no biases, which would make the pieces leave their planes.

    Returns
    -------
    Lengths
        The input first.

    Raises
    ------
    TypeError
        As for :func:`kinks`.
    ValueError
        As for :func:`kinks`, and for networks with biases along a circle.

    References
    ----------
    :cite:t:`raghu2017expressive` measure networks by the growth of such lengths.

    Examples
    --------
    >>> from srlib import Ensemble
    >>> from srlib.experiments.expressivity import polyline
    >>> network = Ensemble((3, 8), 2).preserving().sample(1, generator=torch.Generator().manual_seed(0))
    >>> right_angle = polyline(torch.eye(3)[:2])
    >>> [round(v[0, 0].item() ** 2, 6) for v in lengths(network, right_angle)]  # 2 and (pi / 2)^2, at the input
    [2.0, 2.467401]
    """
    network = checked(network, curve)
    if network.biases is not None and curve.circular:
        raise ValueError("lengths along a circle need networks without biases, whose pieces stay in planes")
    parts = []
    for _, chunk in chunks(network, curve):
        zero = curve.knots.new_zeros(2, chunk.batch)
        steps = follow(chunk, curve)
        totals = [zero.index_add(1, pieces.network, _measure(pieces, curve.circular)) for pieces, _ in steps]
        parts.append(torch.stack(totals, -1))
    return Lengths(*torch.cat(parts, 1))


def _measure(pieces: Pieces, circular: bool) -> Tensor:
    """Euclidean and spherical length of every piece, shape (2, P)."""
    size = pieces.features.abs().amax((1, 2))
    features = pieces.features / torch.where(size > 0, size, 1.0)[:, None, None]  # or squares might under- or overflow
    length = _arc(pieces, features) if circular else features[:, 0].norm(dim=-1) * (pieces.stop - pieces.start)
    at_ends = [(features, t, circular) for t in (pieces.start, pieces.stop)]
    left, right = (vanishes(*end) for end in at_ends)
    angle = arccos.angle(*(evaluate(*end) for end in at_ends))
    return torch.stack([size * length, angle.masked_fill(left | right, 0.0)])  # into the origin the way is straight


def _arc(pieces: Pieces, features: Tensor) -> Tensor:
    """Lengths of elliptic arcs."""
    from scipy.special import ellipeinc  # here, since importing it costs more than all of this package

    first, second = features.unbind(1)
    a, b, product = first.square().sum(-1), second.square().sum(-1), (first * second).sum(-1)
    spread = torch.hypot((b - a) / 2, product)  # the squared speed is (a + b)/2 + spread cos 2(t - fastest)
    fastest = torch.atan2(-product, (b - a) / 2) / 2
    top = (a + b) / 2 + spread
    modulus = torch.where(top > 0, 2 * spread / top, 0.0).clamp(max=1).cpu().numpy()
    start, stop = (ellipeinc((t - fastest).cpu().numpy(), modulus) for t in (pieces.start, pieces.stop))
    return top.sqrt() * torch.from_numpy(stop - start).to(top)

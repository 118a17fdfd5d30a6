"""How far a change of the weights moves the output (G2)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from srlib import _validation
from srlib.experiments.bounds import _networks
from srlib.experiments.bounds._networks import Networks

__all__ = ["Perturbation", "perturbation"]


class Perturbation(NamedTuple):
    r"""Bounds on the change of a network's output when its weights change from :math:`W_l` to :math:`W_l + U_l` (G2).

    Parameters
    ----------
    relative
        :math:`\varepsilon_l = \|U_l\|_2 / \|W_l\|_2`, shape ``(..., d)``.
    growth
        :math:`g_l = \|W_l + U_l\|_2 / \|W_l\|_2`, shape ``(..., d)``; at most 1 after a truncation.
    scale
        :math:`B \prod_l \|W_l\|_2`, shape ``(...)``.
    """

    relative: Tensor
    growth: Tensor
    scale: Tensor

    @property
    def bound(self) -> Tensor:
        r""":math:`B \prod_l \|W_l\|_2 \cdot \sum_l \varepsilon_l \prod_{i<l} g_i`, shape ``(...)``."""
        before = torch.cat([torch.ones_like(self.growth[..., :1]), self.growth[..., :-1].cumprod(-1)], -1)
        return self.scale * (self.relative * before).sum(-1)  # G2 (a)

    @property
    def product(self) -> Tensor:
        r""":math:`B \prod_l \|W_l\|_2 \cdot (\prod_l (1 + \varepsilon_l) - 1)`, which the growth does not enter."""
        return self.scale * torch.expm1(self.relative.log1p().sum(-1))  # G2 (a)

    @property
    def published(self) -> Tensor:
        r""":math:`e B \prod_l \|W_l\|_2 \sum_l \varepsilon_l` if all :math:`\varepsilon_l \le 1/d`, else infinity."""
        small = (self.relative <= 1 / self.relative.shape[-1]).all(-1)
        return torch.where(small, math.e * self.scale * self.relative.sum(-1), math.inf)


def perturbation(networks: Networks, perturbed: Networks, *, radius: float) -> Perturbation:
    r"""Bounds on how far a change of the weights moves the output, for all inputs of norm at most the radius (G2).

    .. math:: \|f_{W+U}(x) - f_W(x)\| \le B \prod_l \|W_l\|_2 \sum_l \varepsilon_l \prod_{i<l} g_i .

    Parameters
    ----------
    networks
        Bias-free networks, as for :func:`margins`.
    perturbed
        The same networks with other weights.
    radius
        :math:`B > 0`.

    Returns
    -------
    Perturbation
        The terms, and the bounds made of them.

    Raises
    ------
    TypeError
        If a tensor has the wrong dtype, or ``radius`` is not a number.
    ValueError
        If the networks have biases, a layer is zero, or the two differ in shape or slope.

    References
    ----------
    :cite:t:`neyshabur2018pac` for the form with the factor :math:`e`.

    Examples
    --------
    >>> W = torch.eye(2)
    >>> change = perturbation([W, W], [1.1 * W, W], radius=3.0)
    >>> print(f"{change.bound:.3f} {change.published:.3f}")
    0.300 0.815
    """
    (weights, slope), (others, other_slope) = _networks.layers(networks), _networks.layers(perturbed, "perturbed")
    radius = _validation.positive(radius, "radius")
    shapes, other_shapes = [tuple(W.shape[-2:]) for W in weights], [tuple(W.shape[-2:]) for W in others]
    if shapes != other_shapes or slope != other_slope:
        raise ValueError(
            f"perturbed must have the shapes {shapes} and the slope {slope}, got {other_shapes} and {other_slope}"
        )
    norms, _ = _networks.spectra(weights)
    change = torch.stack([_networks.spectral_norm(V - W) for W, V in zip(weights, others, strict=True)], -1)
    new = torch.stack([_networks.spectral_norm(V) for V in others], -1)
    return Perturbation(change / norms, new / norms, radius * norms.prod(-1))

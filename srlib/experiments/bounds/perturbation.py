"""How far a change of the weights moves the output (G2)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from srlib import _validation
from srlib.experiments.bounds._layers import checked, norms, spectra
from srlib.network import Network

__all__ = ["Perturbation", "perturbation"]


@dataclass(frozen=True, eq=False)
class Perturbation:
    r"""Bounds on the change of the output when weights change from :math:`W_l` to :math:`W_l + \Delta_l` (G2).

    Parameters
    ----------
    relative
        :math:`\varepsilon_l = \|\Delta_l\|_2 / s_l`, shape ``(batch, d)``.
    growth
        :math:`\Gamma_l = \|W_l + \Delta_l\|_2 / s_l`, shape ``(batch, d)``; at most 1 after a truncation.
    log_scale
        :math:`\log\bigl(B \prod_l s_l\bigr)`, shape ``(batch,)``.
    """

    relative: Tensor
    growth: Tensor
    log_scale: Tensor

    @property
    def scale(self) -> Tensor:
        r""":math:`B \prod_l s_l`, shape ``(batch,)``."""
        return self.log_scale.exp()

    @property
    def bound(self) -> Tensor:
        r""":math:`B \prod_l s_l \cdot \sum_l \varepsilon_l \prod_{i<l} \Gamma_i`, shape ``(batch,)``."""
        before = torch.cat([torch.zeros_like(self.growth[:, :1]), self.growth[:, :-1].log()], -1).cumsum(-1)
        return (self.log_scale + (self.relative.log() + before).logsumexp(-1)).exp()  # G2 (a)

    @property
    def product(self) -> Tensor:
        r""":math:`B \prod_l s_l \cdot (\prod_l (1 + \varepsilon_l) - 1)`, which the growth does not enter."""
        return (self.log_scale + torch.expm1(self.relative.log1p().sum(-1)).log()).exp()  # G2 (a)

    @property
    def published(self) -> Tensor:
        r""":math:`e B \prod_l s_l \sum_l \varepsilon_l` if all :math:`\varepsilon_l \le 1/d`, else infinity."""
        small = (self.relative <= 1 / self.relative.shape[-1]).all(-1)
        return torch.where(small, (1 + self.log_scale + self.relative.sum(-1).log()).exp(), math.inf)


def perturbation(network: Network, perturbed: Network, *, radius: float) -> Perturbation:
    r"""Bounds on how far a change of the weights moves the output, for all inputs of norm at most the radius (G2).

    .. math:: \|f'(x) - f(x)\| \le B \prod_l s_l \sum_l \varepsilon_l \prod_{i<l} \Gamma_i .

    Parameters
    ----------
    network
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
    >>> W = torch.eye(2).unsqueeze(0)
    >>> change = perturbation(Network((W,), W), Network((1.1 * W,), W), radius=3.0)
    >>> print(f"{change.bound.item():.3f} {change.published.item():.3f}")
    0.300 0.815
    """
    network, perturbed = checked(network), checked(perturbed, "perturbed")
    radius = _validation.positive(radius, "radius")
    kinds = [(*(tuple(W.shape) for W in net.matrices), net.negative_slope) for net in (network, perturbed)]
    if kinds[0] != kinds[1]:
        raise ValueError(f"perturbed must have the shapes and the slope {kinds[0]}, got {kinds[1]}")
    s, _ = spectra(network)
    *hidden, readout = (V - W for V, W in zip(perturbed.matrices, network.matrices, strict=True))
    change = Network(tuple(hidden), readout)
    return Perturbation(norms(change) / s, norms(perturbed) / s, math.log(radius) + s.log().sum(-1))

"""Exact simulation without matrices: all norms of a deep network at one input, drawn in law (C1)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from srlib import _validation
from srlib.collapsed._draws import Draws, blocks
from srlib.ensemble import Ensemble
from srlib.spectra import Levels
from srlib.spectra.law import each, levels

__all__ = ["Simulation", "simulate"]


@dataclass(frozen=True, eq=False)
class Simulation:
    r"""Joint draws of what a random network does at one input of norm 1, kept so that no depth under- or overflows.

    Parameters
    ----------
    log_feature_norm2
        :math:`\log\|h_l\|^2` for :math:`l = 0, \dots, L`, shape ``(samples, L + 1)``; :math:`-\infty` for a dead layer.
    log_backprop_norm2
        :math:`\log\|\delta_l\|^2` for :math:`l = 1, \dots, L`, shape ``(samples, L)``; :math:`-\infty` for a dead
        network.
    output
        :math:`f(x)`, shape ``(samples,)``.
    """

    log_feature_norm2: Tensor
    log_backprop_norm2: Tensor
    output: Tensor

    @property
    def feature_norm2(self) -> Tensor:
        r""":math:`\|h_l\|^2`, shape ``(samples, L + 1)``."""
        return self.log_feature_norm2.exp()

    @property
    def backprop_norm2(self) -> Tensor:
        r""":math:`\|\delta_l\|^2`, shape ``(samples, L)``."""
        return self.log_backprop_norm2.exp()

    @property
    def log_ntk_layers(self) -> Tensor:
        r""":math:`\log\Theta_l` for :math:`l = 1, \dots, L` and the readout, shape ``(samples, L + 1)``."""
        layers = self.log_feature_norm2[:, :-1] + self.log_backprop_norm2
        return torch.cat([layers, self.log_feature_norm2[:, -1:]], -1)

    @property
    def ntk_layers(self) -> Tensor:
        r""":math:`\Theta_l = \|h_{l-1}\|^2 \|\delta_l\|^2`, and :math:`\|h_L\|^2` for the readout, same shape."""
        return self.log_ntk_layers.exp()


def simulate(
    ensemble: Ensemble,
    samples: int,
    *,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> Simulation:
    r"""Draw feature norms, backprop norms, output and tangent kernel at one input, exactly in law.

    No matrix is formed. Each map of the network, linear or gates, is replaced by four numbers
    :math:`(g, A, P, C)`, and what is carried backwards is the cosine :math:`\psi` between the backpropagated
    vector and the forward one:

    .. math::

        \|Mx\|^2 = g\,\|x\|^2 , \qquad
        \|M^\top \xi\|^2 = G\,\|\xi\|^2, \quad G = \psi^2 A + 2\psi\sqrt{1 - \psi^2}\,P + (1 - \psi^2)\,C , \qquad
        \psi \mapsto \psi\,\sqrt{g / G} .

    A layer costs a few random numbers for each *different* singular value, so nothing but this depends on the width
    for two-level and projector spectra. Networks are drawn in blocks, whose size follows from the ensemble alone, so
    memory beside the result stays bounded.

    Parameters
    ----------
    ensemble
        The random model.
    samples
        Number of independent networks, at least 1.
    generator
        Source of randomness; torch's default one when omitted.
    dtype
        Floating dtype of the result. Half precision is computed in float32.
    device
        Device of the result and of ``generator``.

    Returns
    -------
    Simulation
        One row a network.

    Raises
    ------
    TypeError
        If ``ensemble`` is not an ensemble, ``samples`` not an integer or ``dtype`` not floating.
    ValueError
        If ``samples`` is less than 1.

    References
    ----------
    For the forward norms of networks with independent Gaussian weights, :cite:t:`hanin2020products`.

    Examples
    --------
    >>> wide = Ensemble((100_000,) * 101, stable_ranks=500).preserving()
    >>> draw = simulate(wide, 20, generator=torch.Generator().manual_seed(0))
    >>> draw.feature_norm2.shape, draw.ntk_layers.shape
    (torch.Size([20, 101]), torch.Size([20, 101]))
    """
    if not isinstance(ensemble, Ensemble):
        raise TypeError(f"ensemble must be an srlib.Ensemble, got {type(ensemble).__name__}")
    samples, dtype = _validation.width(samples, "samples"), _validation.floating_dtype(dtype)
    compute = _validation.compute_dtype(dtype)

    spectra = each(levels, ensemble.law, ensemble.layers)
    largest = max(min(shape) if d is None else len(d.values) for d, shape in zip(spectra, ensemble.shapes, strict=True))
    sizes = blocks(samples, max(largest, ensemble.depth))
    parts = [_sweep(ensemble, spectra, Draws(size, generator, compute, device)) for size in sizes]
    return Simulation(*(torch.cat(part).to(dtype) for part in zip(*parts, strict=True)))


def _sweep(ensemble: Ensemble, spectra: list[Levels | None], draw: Draws) -> tuple[Tensor, Tensor, Tensor]:
    """Go from the readout to the input once, collecting the forward gains and carrying the cosine (C1)."""
    first = draw.normal(1)  # of the coordinates of the readout, in a basis that starts with h_L
    first.masked_fill_(first == 0, torch.finfo(first.dtype).eps)  # the only one must have a sign
    (others,) = draw.chi2(draw.constant([ensemble.widths[-1] - 1]))
    cosine = first / (first.square() + others).sqrt()
    aligned, log_back = cosine, draw.constant([2 * math.log(ensemble.readout_norm)])
    gains, backprops = [], []
    for layer in reversed(range(ensemble.depth)):
        (m, n), r = ensemble.layers[layer]
        log_s2 = 2 * math.log(ensemble.spectral_norms[layer])

        open_ = draw.coins(m)  # F4
        gates = draw.constant([1.0, ensemble.negative_slope]), torch.cat([open_, m - open_], -1)
        if (spectrum := spectra[layer]) is None:
            sigma = draw.spectrum(ensemble.law, (m, n), r)
            count = torch.ones_like(sigma)
        else:
            sigma, count = (draw.constant(part) for part in spectrum)
        of_gates, of_layer = _degrees(gates[1], m, m, draw), _degrees(count, m, n, draw)
        chi2 = draw.chi2(*of_gates, *of_layer)

        log_gates, log_factor, cosine = _step(cosine, *gates, chi2[:4], m, draw)
        backprops.append(log_back + log_factor)  # delta_l = D_l xi_l
        log_layer, log_factor, cosine = _step(cosine, sigma, count, chi2[4:], m, draw)
        log_back = backprops[-1] + log_s2 + log_factor  # xi_{l-1} = W_l^T delta_l
        gains.append(log_gates + log_s2 + log_layer)

    grown = torch.cat([torch.zeros_like(cosine), *reversed(gains)], -1).cumsum(-1)  # F2
    last = grown[:, -1:]
    backprop = torch.cat(backprops[::-1], -1).masked_fill(last == -math.inf, -math.inf)  # a closed layer stops all
    output = ensemble.readout_norm * aligned * (last / 2).exp()
    return grown, backprop, output.squeeze(-1)


def _degrees(count: Tensor, m: int, n: int, draw: Draws) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Dimensions of a map's groups and of what it cuts off, then the same of its range, without the first of each."""
    k = min(m, n)
    return count, draw.constant([n - k]), (count - 1).clamp(min=0), draw.constant([m - k])


def _step(
    cosine: Tensor, sigma: Tensor, count: Tensor, chi2: tuple[Tensor, ...], m: int, draw: Draws
) -> tuple[Tensor, Tensor, Tensor]:
    """Log forward gain, log backward gain and next cosine of a map to ``m`` numbers with singular values ``sigma``.

    Equal singular values form a group of ``count``; only a group's share of a vector matters. The squared norms
    ``chi2`` have the degrees of freedom of :func:`_degrees`.
    """
    shares, outside, around, beyond = chi2
    shares = shares / (shares.sum(-1, keepdim=True) + outside)  # of nu = V^T x
    stretched = sigma.square() * shares
    gain = stretched.sum(-1, keepdim=True)
    e = torch.where(gain > 0, sigma * shares.sqrt() / gain.sqrt(), 0.0)  # U^T of the forward direction

    w = draw.normal(sigma.shape[-1]) * (count > 0) * (m > 1)  # U^T of the rest, in the direction of each group's share
    w = w - (w * e).sum(-1, keepdim=True) * e
    w2 = w.square() + around  # and in all directions of the group
    length2 = (w2.sum(-1, keepdim=True) + beyond).clamp(min=torch.finfo(w.dtype).tiny)

    A = (sigma * e).square().sum(-1, keepdim=True)
    P = (sigma.square() * e * w).sum(-1, keepdim=True) / length2.sqrt()
    C = (sigma.square() * w2).sum(-1, keepdim=True) / length2
    sine2 = (1 - cosine.square()).clamp(min=0)
    back = cosine.square() * A + 2 * cosine * sine2.sqrt() * P + sine2 * C
    turned = torch.where(back > 0, cosine * (gain / back).sqrt(), 0.0).clamp(-1, 1)
    return gain.log(), back.log(), turned

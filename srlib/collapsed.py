"""Exact simulation without matrices: all norms of a deep network at one input, drawn in law (C1)."""

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from srlib import _validation
from srlib.ensemble import Ensemble
from srlib.spectra import Law

__all__ = ["Simulation", "simulate"]

#: Numbers that one array of a chunk of samples may hold (32 MB in float64).
_CHUNK = 2**22


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
    :math:`(\gamma, A, B, C)`, and what is carried backwards is the cosine :math:`c` between the backpropagated
    vector and the forward one:

    .. math::

        \|Mx\|^2 = \gamma\,\|x\|^2 , \qquad
        \|M^\top y\|^2 = G\,\|y\|^2, \quad G = c^2 A + 2c\sqrt{1 - c^2}\,B + (1 - c^2)\,C , \qquad
        c \mapsto c\,\sqrt{\gamma / G} .

    A layer costs a few random numbers for each *different* singular value, so nothing but this depends on the width
    for two-level and projector spectra.

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

    layers = zip(ensemble.shapes, ensemble.stable_ranks, strict=True)
    different = [_levels(ensemble.law, shape, r) for shape, r in layers]
    largest = max(min(shape) if d is None else len(d[0]) for d, shape in zip(different, ensemble.shapes, strict=True))
    rows = max(1, _CHUNK // max(largest, ensemble.depth))
    parts = [
        _sweep(ensemble, different, _Draw(min(rows, samples - start), generator, compute, device))
        for start in range(0, samples, rows)
    ]
    return Simulation(*(torch.cat(part).to(dtype) for part in zip(*parts, strict=True)))


@dataclass(frozen=True)
class _Draw:
    """Random numbers for a chunk of samples: each of shape ``(samples, size)``."""

    samples: int
    generator: torch.Generator | None
    dtype: torch.dtype
    device: torch.device | str | None

    def constant(self, values) -> Tensor:
        return torch.as_tensor(values, dtype=self.dtype, device=self.device).expand(self.samples, -1)

    def normal(self, size: int) -> Tensor:
        return torch.randn(self.samples, size, generator=self.generator, dtype=self.dtype, device=self.device)

    def chi2(self, degrees: Tensor) -> Tensor:
        if degrees.max() <= 1:
            return degrees * self.normal(degrees.shape[-1]).square()
        return torch.where(degrees > 0, 2 * torch._standard_gamma(degrees / 2, generator=self.generator), 0.0)

    def coins(self, count: int) -> Tensor:
        fair = torch.full_like(self.constant([count]), 0.5)
        return torch.binomial(self.constant([count]).contiguous(), fair, generator=self.generator)

    def spectrum(self, law: Law, shape: tuple[int, int], r: float) -> Tensor:
        options = {"generator": self.generator, "dtype": self.dtype, "device": self.device}
        return law(shape, r, batch=self.samples, **options)


def _sweep(ensemble: Ensemble, different: list, draw: _Draw) -> tuple[Tensor, Tensor, Tensor]:
    """Go from the readout to the input once, collecting the forward gains and carrying the cosine (C1)."""
    first = draw.normal(1)  # of the coordinates of the readout, in a basis that starts with h_L
    cosine = first / (first.square() + draw.chi2(draw.constant([ensemble.widths[-1] - 1]))).sqrt()
    aligned, log_back = cosine, draw.constant([2 * math.log(ensemble.readout_norm)])
    gains, backprops = [], []
    for layer in reversed(range(ensemble.depth)):
        (m, n), r = ensemble.shapes[layer], ensemble.stable_ranks[layer]
        log_s2 = 2 * math.log(ensemble.spectral_norms[layer])

        open_ = draw.coins(m)  # F4
        gates = draw.constant([1.0, ensemble.negative_slope]), torch.cat([open_, m - open_], -1)
        log_gates, log_factor, cosine = _step(cosine, *gates, m, m, draw)
        backprops.append(log_back + log_factor)  # delta_l = D_l b_l

        if different[layer] is None:
            sigma = draw.spectrum(ensemble.law, (m, n), r)
            count = torch.ones_like(sigma)
        else:
            sigma, count = (draw.constant(values) for values in different[layer])
        log_layer, log_factor, cosine = _step(cosine, sigma, count, m, n, draw)
        log_back = backprops[-1] + log_s2 + log_factor  # b_{l-1} = W_l^T delta_l
        gains.append(log_gates + log_s2 + log_layer)

    grown = torch.cat([torch.zeros_like(cosine), *reversed(gains)], -1).cumsum(-1)  # F2
    last = grown[:, -1:]
    backprop = torch.cat(backprops[::-1], -1).masked_fill(last == -math.inf, -math.inf)  # a closed layer stops all
    output = ensemble.readout_norm * aligned * (last / 2).exp()
    return grown, backprop, output.squeeze(-1)


def _step(cosine: Tensor, sigma: Tensor, count: Tensor, m: int, n: int, draw: _Draw) -> tuple[Tensor, Tensor, Tensor]:
    """Log forward gain, log backward gain and next cosine of an ``m x n`` map with singular values ``sigma``.

    Equal singular values form a group of ``count``; only a group's share of a vector matters.
    """
    shares = draw.chi2(count)  # of nu = V^T x
    shares = shares / (shares.sum(-1, keepdim=True) + draw.chi2(draw.constant([n - min(m, n)])))
    stretched = sigma.square() * shares
    gain = stretched.sum(-1, keepdim=True)
    e = torch.where(gain > 0, sigma * shares.sqrt() / gain.sqrt(), 0.0)  # U^T of the forward direction

    w = draw.normal(sigma.shape[-1]) * (count > 0) * (m > 1)  # U^T of the rest, in the direction of each group's share
    w = w - (w * e).sum(-1, keepdim=True) * e
    w2 = w.square() + draw.chi2((count - 1).clamp(min=0))  # and in all directions of the group
    length2 = w2.sum(-1, keepdim=True) + draw.chi2(draw.constant([m - min(m, n)]))
    length2 = length2.clamp(min=torch.finfo(w.dtype).tiny)

    A = (sigma * e).square().sum(-1, keepdim=True)
    B = (sigma.square() * e * w).sum(-1, keepdim=True) / length2.sqrt()
    C = (sigma.square() * w2).sum(-1, keepdim=True) / length2
    sine2 = (1 - cosine.square()).clamp(min=0)
    back = cosine.square() * A + 2 * cosine * sine2.sqrt() * B + sine2 * C
    turned = torch.where(back > 0, cosine * (gain / back).sqrt(), 0.0).clamp(-1, 1)
    return gain.log(), back.log(), turned


@functools.lru_cache(maxsize=64)
def _levels(law: Law, shape: tuple[int, int], stable_rank: float) -> tuple[Tensor, Tensor] | None:
    """Return the different singular values of a law and how often each occurs, ``None`` if the law is random."""
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    first, second = law(shape, stable_rank, batch=2, generator=generator, dtype=torch.float64)
    if not torch.equal(generator.get_state(), before) or not torch.equal(first, second):
        return None
    values, count = first.unique_consecutive(return_counts=True)
    return values, count.double()

"""The compression bound from noise stability (G1)."""

import math
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from srlib import _validation
from srlib.experiments.bounds._layers import Trace, checked_at, spectra, trace
from srlib.experiments.bounds.margins import margin_loss
from srlib.feedforward import gate
from srlib.network import Network

__all__ = ["CompressionBound", "compression_bound", "interlayer_smoothness"]

#: Inputs whose Jacobians are formed together: no more than caches hold.
_CHUNK = 25


@dataclass(frozen=True, eq=False)
class CompressionBound:
    r"""Terms of the compression bound of :cite:t:`arora2018stronger`; constant and logarithms are set to 1.

    Parameters
    ----------
    margin_loss
        Fraction of training inputs whose margin is at most :math:`\gamma`, shape ``(batch,)``.
    contraction
        Activation contraction :math:`\chi`, the largest :math:`\|z_l\| / \|\varphi(z_l)\|`, shape ``(batch,)``.
    log_output
        :math:`\log\bigl(\max_x \|f(x)\|^2 / \gamma^2\bigr)`, shape ``(batch,)``.
    layer_cushions
        :math:`\psi_l`, the smallest :math:`\|W_l h_{l-1}\| / (\|W_l\|_F \|h_{l-1}\|)`, shape ``(batch, d)``.
    interlayer_cushions
        :math:`\psi_{l\to} = \min(n_l^{-1/2}, \min_{j>l} \psi_{l,j})` with :math:`\psi_{l,j}` the smallest
        :math:`\|z_j\| / (\|J^{l,j}\|_F \|z_l\|)`, shape ``(batch, d)``.
    samples
        Number :math:`N` of training inputs.
    """

    margin_loss: Tensor
    contraction: Tensor
    log_output: Tensor
    layer_cushions: Tensor
    interlayer_cushions: Tensor
    samples: int

    @property
    def output(self) -> Tensor:
        r""":math:`\max_x \|f(x)\|^2 / \gamma^2`, shape ``(batch,)``."""
        return self.log_output.exp()

    @property
    def cushioning(self) -> Tensor:
        r""":math:`\sum_l 1 / (\psi_l \psi_{l\to})^2`, shape ``(batch,)``."""
        return self._log_cushioning.exp()

    @property
    def _log_cushioning(self) -> Tensor:
        return (-2 * (self.layer_cushions.log() + self.interlayer_cushions.log())).logsumexp(-1)

    @property
    def log_capacity(self) -> Tensor:
        """Logarithm of the capacity, shape ``(batch,)``; infinite for a network that is dead on an input."""
        depth = self.layer_cushions.shape[-1]
        finite = 2 * (self.contraction.log() + math.log(depth)) + self.log_output + self._log_cushioning
        return torch.where(self._log_cushioning.isinf(), math.inf, finite)  # also of a network that is dead everywhere

    @property
    def capacity(self) -> Tensor:
        r""":math:`\chi^2 d^2 \max_x \|f(x)\|^2 / \gamma^2 \cdot \sum_l (\psi_l \psi_{l\to})^{-2}`, ``(batch,)``."""
        return self.log_capacity.exp()

    @property
    def excess(self) -> Tensor:
        """What the bound allows the test error above the margin loss, the root of the capacity over N."""
        return ((self.log_capacity - math.log(self.samples)) / 2).exp()

    @property
    def value(self) -> Tensor:
        """The bound on the compressed network's probability of error, margin loss plus excess."""
        return self.margin_loss + self.excess

    @property
    def vacuous(self) -> Tensor:
        """Whether the bound is vacuous, that is at least 1, which every probability satisfies."""
        return self.value >= 1


def compression_bound(
    network: Network, x: Tensor, labels: Tensor, *, margin: float | Tensor, probes: int | None = None
) -> CompressionBound:
    r"""Compression bound from noise stability, term by term.

    .. math::

        E_0(\tilde f) \le \hat E_\gamma(f) + \tilde O\Biggl(\sqrt{\frac{\chi^2 d^2 \max_x \|f(x)\|^2}{\gamma^2 N}
        \sum_{l=1}^d \frac1{\psi_l^2 \psi_{l\to}^2}}\Biggr) ,

    where :math:`\tilde f` is a randomly compressed version of :math:`f`, to which alone the bound applies; it asks
    for an interlayer smoothness of at least :math:`3d` (:func:`interlayer_smoothness`). Constant and logarithms are
    not given; they are set to 1 here. With :math:`z_l = W_l h_{l-1}` the pre-activations, :math:`J^{l,j}` is the
    Jacobian of :math:`z_j` as a function of :math:`z_l`. Stable ranks enter through :math:`\psi_l \le r_l^{-1/2}`.

    Parameters
    ----------
    network
        Bias-free networks, as for :func:`margins`.
    x, labels
        The training set, as for :func:`margins`.
    margin
        :math:`\gamma > 0`, one number or one for each network.
    probes
        How many of the inputs, from the first, the cushions and the contraction are taken over; all when omitted.
        Fewer are cheaper and give a smaller bound.

    Returns
    -------
    CompressionBound
        The terms. A network that is dead on an input has infinite capacity.

    Raises
    ------
    TypeError
        If a tensor has the wrong dtype, or a number is not one.
    ValueError
        If the networks have biases, a layer is zero, shapes do not fit, or a number is out of range.

    References
    ----------
    :cite:t:`arora2018stronger`.

    Examples
    --------
    >>> W = torch.diag(torch.tensor([2.0, 1.0])).unsqueeze(0)
    >>> bound = compression_bound(Network((W,), W), torch.eye(2), torch.tensor([0, 1]), margin=0.5)
    >>> bound.layer_cushions.square(), bound.interlayer_cushions.square()  # W_2 D_1 keeps one column of W_2
    (tensor([[0.2000, 0.2000]], dtype=torch.float64), tensor([[0.5000, 0.5000]], dtype=torch.float64))
    """
    network, x = checked_at(network, x)
    probes = len(x) if probes is None else _validation.width(probes, "probes")
    if probes > len(x):
        raise ValueError(f"probes must lie in [1, {len(x)}], got {probes}")
    gamma = _validation.per_network(margin, network.batch, "margin", x)
    spectra(network)  # no layer may be zero
    run = trace(network, x.expand(network.batch, -1, -1))
    loss = margin_loss(run.pre[-1], labels, gamma)
    output = 2 * (run.pre[-1].norm(dim=-1).amax(-1).log() - gamma.log())

    run = Trace(*([t[:, :probes] for t in part] for part in run))
    contraction = [_ratio(a, h).amax(-1) for a, h in zip(run.pre, run.post[1:], strict=False)]
    parts = zip(run.pre, network.matrices, run.post, strict=True)
    layer = [_cushion(a, W.norm(dim=(-2, -1)).unsqueeze(-1), h) for a, W, h in parts]
    c = torch.stack([torch.ones_like(gamma), *contraction]).amax(0)
    return CompressionBound(loss, c, output, torch.stack(layer, -1), _interlayer_cushions(network, run), len(x))


def interlayer_smoothness(
    network: Network, x: Tensor, *, noise: float, generator: torch.Generator | None = None
) -> Tensor:
    r"""Interlayer smoothness: how nearly linear the layers are under noise.

    .. math:: \min_{x,\, l < j} \frac{\|\xi\| \|z_j\|}{\|z_l\| \|z_j(z_l + \xi) - J^{l,j} (z_l + \xi)\|} ,

    with one Gaussian direction :math:`\xi` for each input and :math:`l`, of length ``noise`` :math:`\cdot \|z_l\|`.
    The compression bound asks for at least :math:`3d`, for the noise that its compression makes.

    Parameters
    ----------
    network
        Bias-free networks, as for :func:`margins`.
    x
        Inputs, shape ``(N, n_0)``.
    noise
        Relative length of the noise, positive.
    generator
        Source of randomness; torch's default one when omitted.

    Returns
    -------
    Tensor
        Shape ``(batch,)``; infinite for a linear network or a single layer.

    Raises
    ------
    TypeError
        If a tensor has the wrong dtype, or ``noise`` is not a number.
    ValueError
        If the networks have biases, shapes do not fit, or ``noise`` is not positive.

    References
    ----------
    :cite:t:`arora2018stronger`.

    Examples
    --------
    >>> W = torch.eye(2).unsqueeze(0)
    >>> interlayer_smoothness(Network((W,), W), torch.ones(3, 2), noise=0.1)  # no gate changes
    tensor([inf], dtype=torch.float64)
    """
    network, x = checked_at(network, x)
    noise = _validation.positive(noise, "noise")
    run, slope = trace(network, x.expand(network.batch, -1, -1)), network.negative_slope
    smoothness = x.new_full((network.batch,), math.inf)
    for l in range(network.depth):
        xi = torch.randn(run.pre[l].shape, generator=generator, dtype=x.dtype, device=x.device)
        moved = run.pre[l] + xi * (noise * run.pre[l].norm(dim=-1, keepdim=True) / xi.norm(dim=-1, keepdim=True))
        above = Network(network.weights[l + 1 :], network.readout, negative_slope=slope)
        true, linear = trace(above, gate(moved, slope) * moved).pre, moved
        layers = zip(network.matrices[l + 1 :], run.gates[l:], run.pre[l + 1 :], true, strict=True)
        for W, D, target, found in layers:
            linear = (D * linear) @ W.mT  # J^{l,j} of what moved
            gap = (found - linear).norm(dim=-1)
            rounding = 100 * torch.finfo(x.dtype).eps * linear.norm(dim=-1)
            ratio = torch.where(gap <= rounding, math.inf, noise * target.norm(dim=-1) / gap)
            smoothness = torch.minimum(smoothness, ratio.amin(-1))
    return smoothness


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Ratio of the norms of vectors; infinite where the second vanishes."""
    bottom = denominator.norm(dim=-1)
    return torch.where(bottom > 0, numerator.norm(dim=-1) / bottom, math.inf)


def _cushion(output: Tensor, norm: Tensor, vector: Tensor) -> Tensor:
    """Smallest ratio of an output's norm to what the Frobenius norm of the map allows; 0 where all vanishes."""
    allowed = norm * vector.norm(dim=-1)
    return torch.where(allowed > 0, output.norm(dim=-1) / allowed, 0.0).amin(-1)


def _interlayer_cushions(network: Network, run: Trace) -> Tensor:
    """Minimal interlayer cushions, of one network and few inputs at a time: every input has Jacobians of its own."""
    matrices, inputs = network.matrices, run.pre[0].shape[1]
    least = run.pre[0].new_tensor([W.shape[1] ** -0.5 for W in matrices]).repeat(network.batch, 1)
    for b, start in product(range(network.batch), range(0, inputs, _CHUNK)):
        row = b, slice(start, start + _CHUNK)
        for l in range(network.depth):
            J = None
            for j in range(l + 1, len(matrices)):
                step = matrices[j][b] * run.gates[j - 1][row].unsqueeze(-2)  # W_j D_{j-1}
                J = step if J is None else step @ J
                mu = _cushion(run.pre[j][row], J.norm(dim=(-2, -1)), run.pre[l][row])
                least[b, l] = torch.minimum(least[b, l], mu)
    return least

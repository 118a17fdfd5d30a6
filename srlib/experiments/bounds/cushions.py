"""The compression bound from noise stability (G1)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from srlib import _validation
from srlib.experiments.bounds import _networks
from srlib.experiments.bounds._networks import Networks

__all__ = ["CompressionBound", "compression_bound", "interlayer_smoothness"]


class CompressionBound(NamedTuple):
    r"""Terms of the compression bound of :cite:t:`arora2018stronger`; constant and logarithms are set to 1.

    Parameters
    ----------
    margin_loss
        Fraction of training inputs whose margin is at most :math:`\gamma`, shape ``(...)``.
    contraction
        Activation contraction :math:`c`, the largest :math:`\|x^l\| / \|\varphi(x^l)\|`, shape ``(...)``.
    output
        :math:`\max_x \|f(x)\|^2 / \gamma^2`, shape ``(...)``.
    layer_cushions
        :math:`\mu_l`, the smallest :math:`\|W_l h_{l-1}\| / (\|W_l\|_F \|h_{l-1}\|)`, shape ``(..., d)``.
    interlayer_cushions
        :math:`\mu_{l\to} = \min(n_l^{-1/2}, \min_{j>l} \mu_{l,j})` with :math:`\mu_{l,j}` the smallest
        :math:`\|x^j\| / (\|J^{l,j}\|_F \|x^l\|)`, shape ``(..., d)``.
    samples
        Number :math:`m` of training inputs.
    """

    margin_loss: Tensor
    contraction: Tensor
    output: Tensor
    layer_cushions: Tensor
    interlayer_cushions: Tensor
    samples: int

    @property
    def cushioning(self) -> Tensor:
        r""":math:`\sum_l 1 / (\mu_l \mu_{l\to})^2`, shape ``(...)``."""
        return (self.layer_cushions * self.interlayer_cushions).pow(-2).sum(-1)

    @property
    def capacity(self) -> Tensor:
        r""":math:`c^2 d^2 \cdot \max_x \|f(x)\|^2 / \gamma^2 \cdot \sum_l (\mu_l \mu_{l\to})^{-2}`, shape ``(...)``."""
        finite = (self.contraction * self.layer_cushions.shape[-1]).square() * self.output * self.cushioning
        return torch.where(self.cushioning.isinf(), math.inf, finite)  # also of a network that is dead everywhere

    @property
    def excess(self) -> Tensor:
        """What the bound allows the test error above the margin loss, the root of the capacity over m."""
        return (self.capacity / self.samples).sqrt()

    @property
    def value(self) -> Tensor:
        """The bound on the compressed network's probability of error, margin loss plus excess."""
        return self.margin_loss + self.excess

    @property
    def vacuous(self) -> Tensor:
        """Whether the bound is vacuous, that is at least 1, which every probability satisfies."""
        return self.value >= 1


def compression_bound(
    networks: Networks, x: Tensor, labels: Tensor, *, margin: float | Tensor, probes: int | None = None
) -> CompressionBound:
    r"""Compression bound from noise stability, term by term.

    .. math::

        L_0(\tilde f) \le \hat L_\gamma(f) + \tilde O\Biggl(\sqrt{\frac{c^2 d^2 \max_x \|f(x)\|^2}{\gamma^2 m}
        \sum_{l=1}^d \frac1{\mu_l^2 \mu_{l\to}^2}}\Biggr) ,

    where :math:`\tilde f` is a randomly compressed version of :math:`f`, to which alone the bound applies; it asks
    for an interlayer smoothness of at least :math:`3d` (:func:`interlayer_smoothness`). Constant and logarithms are
    not given; they are set to 1 here. With :math:`x^l = W_l h_{l-1}` the pre-activations, :math:`J^{l,j}` is the
    Jacobian of :math:`x^j` as a function of :math:`x^l`. Stable ranks enter through :math:`\mu_l \le r_l^{-1/2}`.

    Parameters
    ----------
    networks
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
    >>> W = torch.diag(torch.tensor([2.0, 1.0]))
    >>> bound = compression_bound([W, W], torch.eye(2), torch.tensor([0, 1]), margin=0.5)
    >>> bound.layer_cushions.square(), bound.interlayer_cushions.square()  # W_2 D_1 keeps one column of W_2
    (tensor([0.2000, 0.2000]), tensor([0.5000, 0.5000]))
    """
    weights, slope = _networks.layers(networks)
    x = _networks.inputs(weights, x)
    probes = len(x) if probes is None else _validation.width(probes, "probes")
    if probes > len(x):
        raise ValueError(f"probes must lie in [1, {len(x)}], got {probes}")
    post, pre = _networks.run(weights, slope, x)
    gamma = _networks.positive(margin, pre[-1].shape[:-2], x, "margin")
    loss = (_networks.margins_of(pre[-1], labels) <= gamma.unsqueeze(-1)).to(gamma.dtype).mean(-1)
    output = (pre[-1].norm(dim=-1).amax(-1) / gamma).square()
    _networks.spectra(weights)  # no layer may be zero

    post, pre = ([h[..., :probes, :] for h in layers] for layers in (post, pre))
    contraction = [_ratio(a, h).amax(-1) for a, h in zip(pre, post[1:], strict=False)]
    layer = [_cushion(a, W.norm(dim=(-2, -1)).unsqueeze(-1), h) for a, W, h in zip(pre, weights, post, strict=False)]
    interlayer = _interlayer_cushions(weights, slope, pre)
    c = torch.stack([torch.ones_like(gamma), *contraction]).amax(0)
    return CompressionBound(loss, c, output, torch.stack(layer, -1), interlayer, len(x))


def interlayer_smoothness(
    networks: Networks, x: Tensor, *, noise: float, generator: torch.Generator | None = None
) -> Tensor:
    r"""Interlayer smoothness: how nearly linear the layers are under noise.

    .. math:: \rho = \min_{x,\, l < j} \frac{\|\xi\| \|x^j\|}{\|x^l\| \|x^j(x^l + \xi) - J^{l,j} (x^l + \xi)\|} ,

    with one Gaussian direction :math:`\xi` for each input and :math:`l`, of length ``noise`` :math:`\cdot \|x^l\|`.
    The compression bound asks for :math:`\rho \ge 3d`, for the noise that its compression makes.

    Parameters
    ----------
    networks
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
        Shape ``(...)``; infinite for a linear network or a single layer.

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
    >>> W = torch.eye(2)
    >>> interlayer_smoothness([W, W], torch.ones(3, 2), noise=0.1)  # no gate changes
    tensor(inf)
    """
    weights, slope = _networks.layers(networks)
    x = _networks.inputs(weights, x)
    noise = _validation.positive(noise, "noise")
    _, pre = _networks.run(weights, slope, x)
    smoothness = torch.full_like(pre[-1][..., 0, 0], math.inf)
    for l in range(len(weights) - 1):
        xi = torch.randn(pre[l].shape, generator=generator, dtype=x.dtype, device=x.device)
        true = linear = pre[l] + xi * (noise * pre[l].norm(dim=-1, keepdim=True) / xi.norm(dim=-1, keepdim=True))
        for W, a, target in zip(weights[l + 1 :], pre[l:], pre[l + 1 :], strict=False):
            true, linear = (_networks.gates(true, slope) * true) @ W.mT, (_networks.gates(a, slope) * linear) @ W.mT
            gap = (true - linear).norm(dim=-1)
            rounding = 100 * torch.finfo(x.dtype).eps * linear.norm(dim=-1)
            rho = torch.where(gap <= rounding, math.inf, noise * target.norm(dim=-1) / gap)
            smoothness = torch.minimum(smoothness, rho.amin(-1))
    return smoothness


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Ratio of the norms of vectors; infinite where the second vanishes."""
    bottom = denominator.norm(dim=-1)
    return torch.where(bottom > 0, numerator.norm(dim=-1) / bottom, math.inf)


def _cushion(output: Tensor, norm: Tensor, vector: Tensor) -> Tensor:
    """Smallest ratio of an output's norm to what the Frobenius norm of the map allows; 0 where all vanishes."""
    allowed = norm * vector.norm(dim=-1)
    return torch.where(allowed > 0, output.norm(dim=-1) / allowed, 0.0).amin(-1)


def _interlayer_cushions(weights: list[Tensor], slope: float, pre: list[Tensor]) -> Tensor:
    """Minimal interlayer cushions, one network at a time: a Jacobian for every input is large enough."""
    batch = pre[0].shape[:-2]
    flat, activations = ([t.reshape(-1, *t.shape[-2:]) for t in layers] for layers in (weights, pre))
    least = torch.tensor([W.shape[-2] ** -0.5 for W in weights], dtype=pre[0].dtype, device=pre[0].device)
    least = least.repeat(math.prod(batch), 1)
    for b in range(len(least)):
        for l in range(len(weights) - 1):
            J = None
            for j in range(l + 1, len(weights)):
                step = flat[j][b] * _networks.gates(activations[j - 1][b], slope).unsqueeze(-2)  # W_j D_{j-1}
                J = step if J is None else step @ J
                mu = _cushion(activations[j][b], J.norm(dim=(-2, -1)), activations[l][b])
                least[b, l] = torch.minimum(least[b, l], mu)
    return least.reshape(*batch, -1)

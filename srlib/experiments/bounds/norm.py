"""The norm-based bound (G1)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from srlib import _validation
from srlib.experiments.bounds._layers import checked_at, spectra
from srlib.experiments.bounds.margins import margin_loss
from srlib.feedforward import activations
from srlib.network import Network

__all__ = ["NormBound", "norm_bound"]


@dataclass(frozen=True, eq=False)
class NormBound:
    r"""Terms of the norm-based bound of :cite:t:`neyshabur2018pac`; its open constant is set to 1.

    Products over the layers are kept as logarithms, so that no depth under- or overflows.

    Parameters
    ----------
    margin_loss
        Fraction of training inputs whose margin is at most :math:`\gamma`, shape ``(batch,)``.
    log_amplification
        :math:`\log\bigl(B^2 \prod_l s_l^2 / \gamma^2\bigr)`, shape ``(batch,)``.
    stable_ranks
        :math:`r_l = \|W_l\|_F^2 / \|W_l\|_2^2`, shape ``(batch, d)``.
    architecture
        :math:`d^2 \bar n \ln(d \bar n)` for :math:`d` layers of at most :math:`\bar n` outputs.
    confidence
        :math:`\ln(dN / \xi)`.
    samples
        Number :math:`N` of training inputs.
    """

    margin_loss: Tensor
    log_amplification: Tensor
    stable_ranks: Tensor
    architecture: float
    confidence: float
    samples: int

    @property
    def amplification(self) -> Tensor:
        r""":math:`B^2 \prod_l s_l^2 / \gamma^2`, shape ``(batch,)``."""
        return self.log_amplification.exp()

    @property
    def log_capacity(self) -> Tensor:
        """Logarithm of the capacity, shape ``(batch,)``."""
        return math.log(self.architecture) + self.log_amplification + self.stable_ranks.sum(-1).log()  # G1

    @property
    def capacity(self) -> Tensor:
        r""":math:`d^2 \bar n \ln(d \bar n) \cdot B^2 \prod_l s_l^2 / \gamma^2 \cdot \sum_l r_l`, ``(batch,)`` (G1)."""
        return self.log_capacity.exp()

    @property
    def excess(self) -> Tensor:
        """What the bound allows the test error above the margin loss, the root of capacity and confidence over N."""
        confidence = torch.full_like(self.log_capacity, self.confidence).log()
        return ((torch.logaddexp(self.log_capacity, confidence) - math.log(self.samples)) / 2).exp()

    @property
    def value(self) -> Tensor:
        """The bound on the probability of error, margin loss plus excess."""
        return self.margin_loss + self.excess

    @property
    def vacuous(self) -> Tensor:
        """Whether the bound is vacuous, that is at least 1, which every probability satisfies."""
        return self.value >= 1


def norm_bound(
    network: Network, x: Tensor, labels: Tensor, *, margin: float | Tensor, delta: float = 0.01
) -> NormBound:
    r"""Norm-based margin bound, term by term.

    .. math::

        E_0(f) \le \hat E_\gamma(f) + O\Biggl(\sqrt{\frac1N \Bigl( d^2 \bar n \ln(d \bar n)\,
        \frac{B^2 \prod_l \|W_l\|_2^2}{\gamma^2} \sum_{l=1}^d \frac{\|W_l\|_F^2}{\|W_l\|_2^2}
        + \ln\frac{dN}\xi \Bigr)}\Biggr)

    for ReLU networks of :math:`d` layers, with probability :math:`1 - \xi` over the training set, simultaneously
    for all weights. The constant in :math:`O` is not given; it is set to 1 here, so the numbers compare networks and
    give an order of magnitude, not a guarantee. The margin has to be fixed before the data are seen or a grid of
    margins covered; the logarithm that this costs is left out too.

    Parameters
    ----------
    network
        Bias-free networks, as for :func:`margins`.
    x, labels
        The training set, as for :func:`margins`; :math:`B` is the largest norm in it.
    margin
        :math:`\gamma > 0`, one number or one for each network.
    delta
        :math:`\xi \in (0, 1)`, how often the bound may fail.

    Returns
    -------
    NormBound
        The terms.

    Raises
    ------
    TypeError
        If a tensor has the wrong dtype, or a number is not one.
    ValueError
        If the networks have biases, a layer is zero, shapes do not fit, or a number is out of range.

    References
    ----------
    :cite:t:`neyshabur2018pac`; :cite:t:`bartlett2017spectrally` for the earlier bound with :math:`(2, 1)` norms.

    Examples
    --------
    >>> W = torch.diag(torch.tensor([2.0, 1.0])).unsqueeze(0)
    >>> bound = norm_bound(Network((W,), W), torch.eye(2), torch.tensor([0, 1]), margin=0.5)  # margins 4 and 1
    >>> bound.margin_loss, bound.amplification, bound.stable_ranks, bound.vacuous
    (tensor([0.], dtype=torch.float64), tensor([64.0000], dtype=torch.float64), tensor([[1.2500, 1.2500]],
           dtype=torch.float64), tensor([True]))
    """
    network, x = checked_at(network, x)
    gamma = _validation.per_network(margin, network.batch, "margin", x)
    delta = _validation.number(delta, "delta")
    if not 0 < delta < 1:
        raise ValueError(f"delta must lie in (0, 1), got {delta}")
    loss = margin_loss(activations(network, x).output, labels, gamma)
    s, sigma = spectra(network)
    ranks = torch.stack([t.square().sum(-1) for t in sigma], -1)
    d, h, m = len(sigma), max(W.shape[-2] for W in network.matrices), len(x)
    amplification = 2 * (x.norm(dim=-1).max().log() + s.log().sum(-1) - gamma.log())
    return NormBound(loss, amplification, ranks, d**2 * h * math.log(d * h), math.log(d * m / delta), m)  # G1

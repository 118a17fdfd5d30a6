"""Margins, and the norm-based bound (G1)."""

import math
from typing import NamedTuple

from torch import Tensor

from srlib import _validation
from srlib.experiments.bounds import _networks
from srlib.experiments.bounds._networks import Networks

__all__ = ["NormBound", "margins", "norm_bound"]


def margins(networks: Networks, x: Tensor, labels: Tensor) -> Tensor:
    r"""Margin of every network on every input: positive exactly where the label is predicted.

    .. math:: \gamma(x, y) = f_y(x) - \max_{j \ne y} f_j(x) .

    Parameters
    ----------
    networks
        Bias-free networks: :class:`~srlib.experiments.training.Perceptrons`, or a sequence of matrices
        ``(..., n_l, n_{l-1})`` of ReLU networks, the readout last.
    x
        Inputs, shape ``(N, n_0)``, of the weights' dtype.
    labels
        Integers from 0 to :math:`C - 1`, shape ``(N,)``, or ``(..., N)`` for labels of each network's own.

    Returns
    -------
    Tensor
        Shape ``(..., N)``.

    Raises
    ------
    TypeError
        If a tensor has the wrong dtype.
    ValueError
        If the networks have biases or fewer than two outputs, or shapes do not fit.

    Examples
    --------
    >>> import torch
    >>> W = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    >>> margins([W], torch.tensor([[1.0, 3.0]]), torch.tensor([1]))  # outputs 1, 6, 4
    tensor([2.])
    """
    weights, slope = _networks.layers(networks)
    f = _networks.run(weights, slope, _networks.inputs(weights, x))[1][-1]
    return _networks.margins_of(f, labels)


class NormBound(NamedTuple):
    r"""Terms of the norm-based bound of :cite:t:`neyshabur2018pac`; its open constant is set to 1.

    Parameters
    ----------
    margin_loss
        Fraction of training inputs whose margin is at most :math:`\gamma`, shape ``(...)``.
    amplification
        :math:`B^2 \prod_l \|W_l\|_2^2 / \gamma^2`, shape ``(...)``.
    stable_ranks
        :math:`r_l = \|W_l\|_F^2 / \|W_l\|_2^2`, shape ``(..., d)``.
    architecture
        :math:`d^2 h \ln(dh)` for :math:`d` layers of at most :math:`h` outputs.
    confidence
        :math:`\ln(dm / \delta)`.
    samples
        Number :math:`m` of training inputs.
    """

    margin_loss: Tensor
    amplification: Tensor
    stable_ranks: Tensor
    architecture: float
    confidence: float
    samples: int

    @property
    def capacity(self) -> Tensor:
        r""":math:`d^2 h \ln(dh) \cdot B^2 \prod_l \|W_l\|_2^2 / \gamma^2 \cdot \sum_l r_l`, shape ``(...)`` (G1)."""
        return self.architecture * self.amplification * self.stable_ranks.sum(-1)

    @property
    def excess(self) -> Tensor:
        """What the bound allows the test error above the margin loss, the root of capacity and confidence over m."""
        return ((self.capacity + self.confidence) / self.samples).sqrt()

    @property
    def value(self) -> Tensor:
        """The bound on the probability of error, margin loss plus excess."""
        return self.margin_loss + self.excess

    @property
    def vacuous(self) -> Tensor:
        """Whether the bound is vacuous, that is at least 1, which every probability satisfies."""
        return self.value >= 1


def norm_bound(
    networks: Networks, x: Tensor, labels: Tensor, *, margin: float | Tensor, delta: float = 0.01
) -> NormBound:
    r"""Norm-based margin bound, term by term.

    .. math::

        L_0(f) \le \hat L_\gamma(f) + O\Biggl(\sqrt{\frac1m \Bigl( d^2 h \ln(dh)\,
        \frac{B^2 \prod_l \|W_l\|_2^2}{\gamma^2} \sum_{l=1}^d \frac{\|W_l\|_F^2}{\|W_l\|_2^2}
        + \ln\frac{dm}\delta \Bigr)}\Biggr)

    for ReLU networks of :math:`d` layers, with probability :math:`1 - \delta` over the training set, simultaneously
    for all weights. The constant in :math:`O` is not given; it is set to 1 here, so the numbers compare networks and
    give an order of magnitude, not a guarantee. The margin has to be fixed before the data are seen or a grid of
    margins covered; the logarithm that this costs is left out too.

    Parameters
    ----------
    networks
        Bias-free networks, as for :func:`margins`.
    x, labels
        The training set, as for :func:`margins`; :math:`B` is the largest norm in it.
    margin
        :math:`\gamma > 0`, one number or one for each network.
    delta
        :math:`\delta \in (0, 1)`.

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
    >>> import torch
    >>> W = torch.diag(torch.tensor([2.0, 1.0]))
    >>> bound = norm_bound([W, W], torch.eye(2), torch.tensor([0, 1]), margin=0.5)  # margins 4 and 1
    >>> bound.margin_loss, bound.amplification, bound.stable_ranks, bound.vacuous
    (tensor(0.), tensor(64.), tensor([1.2500, 1.2500]), tensor(True))
    """
    weights, slope = _networks.layers(networks)
    x = _networks.inputs(weights, x)
    f = _networks.run(weights, slope, x)[1][-1]
    gamma = _networks.positive(margin, f.shape[:-2], f, "margin")
    delta = _validation.number(delta, "delta")
    if not 0 < delta < 1:
        raise ValueError(f"delta must lie in (0, 1), got {delta}")
    loss = (_networks.margins_of(f, labels) <= gamma.unsqueeze(-1)).to(f.dtype).mean(-1)
    norms, ranks = _networks.spectra(weights)
    d, h, m = len(weights), max(W.shape[-2] for W in weights), len(x)
    amplification = (x.norm(dim=-1).max() * norms.prod(-1) / gamma).square()
    return NormBound(loss, amplification, ranks, d**2 * h * math.log(d * h), math.log(d * m / delta), m)  # G1

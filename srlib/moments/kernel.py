"""Neural tangent kernel at one input: means and second moments of its layer terms (N1, N2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from srlib.ensemble import Ensemble
from srlib.moments._ensemble import accumulate, column, spectra
from srlib.moments.transfer import gate_transfer, layer_transfer

__all__ = ["KernelMoments", "kernel_moments", "ntk"]


@dataclass(frozen=True, eq=False)
class KernelMoments:
    r"""Moments of the layer terms :math:`\Theta_1, \dots, \Theta_L, \Theta_\mathrm{out}`, kept as logarithms.

    Parameters
    ----------
    log_layer_means
        :math:`\log \mathbb{E} \Theta_l`, the readout term last, shape ``(L + 1,)``, float64.
    log_layer_ratios
        :math:`\log\bigl(\mathbb{E}[\Theta_l \Theta_k] / (\mathbb{E} \Theta_l\, \mathbb{E} \Theta_k)\bigr)`, shape
        ``(L + 1, L + 1)``, float64.
    """

    log_layer_means: Tensor
    log_layer_ratios: Tensor

    @property
    def layer_means(self) -> Tensor:
        r""":math:`\mathbb{E} \Theta_l`, the readout term last, shape ``(L + 1,)``."""
        return self.log_layer_means.exp()

    @property
    def second(self) -> Tensor:
        r""":math:`\mathbb{E}[\Theta_l \Theta_k]`, shape ``(L + 1, L + 1)``."""
        return (self.log_layer_means[:, None] + self.log_layer_means + self.log_layer_ratios).exp()

    @property
    def log_mean(self) -> Tensor:
        r""":math:`\log \mathbb{E} \Theta`, of the whole kernel."""
        return self.log_layer_means.logsumexp(0)

    @property
    def log_ratio(self) -> Tensor:
        r""":math:`\log\bigl(\mathbb{E} \Theta^2 / (\mathbb{E} \Theta)^2\bigr)`, of the whole kernel."""
        share = self.log_layer_means - self.log_mean
        return (share[:, None] + share + self.log_layer_ratios).flatten().logsumexp(0)

    @property
    def mean(self) -> Tensor:
        r""":math:`\mathbb{E} \Theta`, of the whole kernel."""
        return self.log_mean.exp()

    @property
    def variance(self) -> Tensor:
        r""":math:`\operatorname{Var} \Theta`, of the whole kernel."""
        return self.relative_variance * self.mean**2

    @property
    def relative_variance(self) -> Tensor:
        r""":math:`\operatorname{Var} \Theta / (\mathbb{E} \Theta)^2`, of the whole kernel."""
        return self.log_ratio.expm1()


def kernel_moments(
    widths: Sequence[int],
    gain: Tensor,
    square: Tensor,
    inverse_rank: Tensor,
    *,
    readout_norm: float = 1.0,
    negative_slope: float = 0.0,
) -> KernelMoments:
    r"""Moments of the tangent kernel's layer terms when the scale of the layers may be random too.

    The layers :math:`W_l = s_l U_l \operatorname{diag}(\sigma_l) V_l^\top` are independent, with any law of
    :math:`(s_l, \sigma_l)` independent of :math:`U_l, V_l`. With
    :math:`R(X) = \mathbb{E} X^2 / (\mathbb{E} X)^2` and :math:`G_{lk} = D_{k-1} W_{k-1} \cdots W_{l+1} D_l`,

    .. math::

        \frac{\mathbb{E}[\Theta_l \Theta_k]}{\mathbb{E} \Theta_l\, \mathbb{E} \Theta_k}
        = R(\|h_{l-1}\|^2)\; R(\|G_{lk}\|_F^2)\; R(\|\delta_k\|^2) \qquad (l < k) ,

    and the same without the middle factor for :math:`l = k`.

    Parameters
    ----------
    widths
        :math:`(n_0, \dots, n_L)`.
    gain
        :math:`\mathbb{E}[s_l^2 r_l]`, the mean squared Frobenius norms, shape ``(L,)``.
    square
        :math:`\mathbb{E}[s_l^4 r_l^2] / (\mathbb{E}[s_l^2 r_l])^2`, 1 for a fixed scale, shape ``(L,)``.
    inverse_rank
        :math:`\mathbb{E}[s_l^4 q_l] / (\mathbb{E}[s_l^2 r_l])^2`, which is :math:`1 / p_l` for a fixed scale, shape
        ``(L,)``.
    readout_norm
        Norm of the readout.
    negative_slope
        Slope of the activation on negative inputs.

    Returns
    -------
    KernelMoments
        At an input of norm 1.

    References
    ----------
    :cite:t:`hanin2020ntk` for independent weights.

    Examples
    --------
    >>> one = torch.ones(1, dtype=torch.float64)
    >>> kernel_moments((1, 1), one, one, one).layer_means  # both terms are 1 if the neuron fires, else 0
    tensor([0.5000, 0.5000], dtype=torch.float64)
    """
    eta, eta4 = (1 + negative_slope**2) / 2, (1 + negative_slope**4) / 2
    n, m = column(widths[:-1]), column(widths[1:])
    gain, square, inverse_rank = gain.double(), square.double(), inverse_rank.double()

    up = accumulate((eta * gain / n).log())  # F2: E|h_l|^2, l = 0..L
    down = accumulate((eta * gain / m).log().flip(0)).flip(0)[1:]  # E|delta_l|^2 up to the two constants, l = 1..L
    readout = 2 * column(readout_norm).log()
    means = up + torch.cat([down + readout + column(eta).log(), down.new_zeros(1)])  # N1

    gates = (1 + 3 * (eta4 / eta**2 - 1) / (m + 2)).log()  # F3: R of one layer of gates ...
    forward = ((square + 2 * inverse_rank) * n / (n + 2)).log()  # ... of W_l
    backward = ((square + 2 * inverse_rank) * m / (m + 2)).log()  # ... and of its transpose
    feature = accumulate(forward + gates)  # R(|h_{l-1}|^2), l = 1..L+1
    backprop = accumulate((backward + gates).flip(0)).flip(0)[1:] + gates
    backprop = torch.cat([backprop, gates.new_zeros(1)])  # R(|delta_l|^2), l = 1..L+1

    ratios = torch.diag(feature + backprop)  # N2, l = k
    layers = zip(widths, widths[1:], square.tolist(), inverse_rank.tolist(), strict=False)
    pairs, scale = gates.new_empty(2, 0), gates.new_empty(0)  # for each l < k: (P_1, P_2) and the log of P_1 + 2 P_2
    for k, (fan_in, width, r2, q) in enumerate(layers, 1):
        start = gates.new_tensor([[1.0], [1 / width]])  # a unit vector against all of a basis, over the width
        pairs = layer_transfer(fan_in, fan_in**2 * r2, fan_in**2 * q) @ pairs  # relative to the squared means
        pairs = gate_transfer(width, 1.0, eta4 / eta**2) @ torch.cat([pairs, start], 1)
        growth = pairs[0] + 2 * pairs[1]  # (1, 2) is a left eigenvector of every matrix here
        pairs, scale = pairs / growth, torch.cat([scale, scale.new_zeros(1)]) + growth.log()
        ratios[:k, k] = ratios[k, :k] = feature[:k] + scale + pairs[0].log() + backprop[k]  # N2 for l and k + 1
    return KernelMoments(means, ratios)


def ntk(ensemble: Ensemble) -> KernelMoments:
    r"""Mean and all second moments of the layer terms of the tangent kernel at one input, exact at finite width.

    With :math:`\|x\| = 1` and :math:`c_l = \eta s_l^2 r_l`,

    .. math::

        \mathbb{E} \Theta_l = \eta\, s_\mathrm{out}^2\, \frac{n_{l-1} n_l}{\prod_{j=0}^L n_j} \prod_{j \ne l} c_j ,
        \qquad \mathbb{E} \Theta_\mathrm{out} = \prod_{j=1}^L \frac{c_j}{n_{j-1}} ;

    the second moments are those of :func:`kernel_moments`.

    Parameters
    ----------
    ensemble
        The random model; of its law only the stable ranks and the mean quartic traces matter, with the error of
        :meth:`~srlib.ensemble.Ensemble.quartic_traces`.

    Returns
    -------
    KernelMoments
        Means, second moments, and mean and variance of the whole kernel.

    References
    ----------
    :cite:t:`hanin2020ntk` for independent weights.

    Examples
    --------
    >>> moments = ntk(Ensemble((16, 16, 16), 4.0).preserving())
    >>> moments.layer_means  # each layer term carries the other layers' growth, which is 1, and the last gates' 1/2
    tensor([0.5000, 0.5000, 1.0000], dtype=torch.float64)
    >>> print(f"{moments.relative_variance:.4f}")
    0.3403
    """
    r, s, q = spectra(ensemble)
    return kernel_moments(
        ensemble.widths,
        s**2 * r,
        torch.ones_like(r),
        q / r**2,
        readout_norm=ensemble.readout_norm,
        negative_slope=ensemble.negative_slope,
    )

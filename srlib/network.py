"""A batch of networks: their weights, and what is fixed about them."""

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Network"]


@dataclass(frozen=True, eq=False)
class Network:
    r"""A batch of bias-free networks :math:`f(x) = v \cdot \varphi(W_L \varphi(\cdots \varphi(W_1 x)))`.

    Parameters
    ----------
    weights
        :math:`W_1, \dots, W_L`, each of shape ``(batch, n_l, n_{l-1})``.
    readout
        :math:`v`, shape ``(batch, n_L)``.
    negative_slope
        Slope :math:`a` of the activation on negative inputs: 0 is ReLU, 1 is linear.
    """

    weights: tuple[Tensor, ...]
    readout: Tensor
    negative_slope: float = 0.0

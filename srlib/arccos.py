"""Arc-cosine maps: what a layer of gates does to two inputs at a given angle (F6)."""

import math

import torch
from torch import Tensor

__all__ = ["angle", "kappa0", "kappa1", "next_angle"]


def angle(x: Tensor, y: Tensor) -> Tensor:
    r"""Angles between vectors, accurate for nearly parallel and nearly opposite ones.

    .. math:: \theta = 2 \operatorname{atan2}\bigl(\|\hat x - \hat y\|, \|\hat x + \hat y\|\bigr) .

    Parameters
    ----------
    x, y
        Vectors along the last axis; the leading shapes broadcast. A zero vector is at a right angle to every other one,
        and at angle 0 to another zero vector.

    Returns
    -------
    Tensor
        In :math:`[0, \pi]`, the broadcast leading shape.

    Examples
    --------
    >>> angle(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0]))
    tensor(1.5708)
    """
    x, y = _unit(x), _unit(y)
    return 2 * torch.atan2(torch.linalg.vector_norm(x - y, dim=-1), torch.linalg.vector_norm(x + y, dim=-1))


def _unit(x: Tensor) -> Tensor:
    largest = x.detach().abs().amax(-1, keepdim=True)
    x = x / largest.masked_fill(largest == 0, 1)  # squares leave the floating range before norms do
    return torch.nn.functional.normalize(x, dim=-1, eps=torch.finfo(x.dtype).tiny)


def kappa0(theta: Tensor, negative_slope: float = 0.0) -> Tensor:
    r"""Mean product of the gates that two inputs at angle :math:`\theta` open.

    .. math:: \kappa_0(\theta) = \mathbb{E}\,\varphi'(z_i)\,\varphi'(z'_i)
              = (1-a)^2\,\frac{\pi - \theta}{2\pi} + a , \qquad \kappa_0(0) = \eta .

    Parameters
    ----------
    theta
        Angles in :math:`[0, \pi]`, any shape.
    negative_slope
        Slope :math:`a` of the activation.

    Returns
    -------
    Tensor
        Of the shape of ``theta``.

    References
    ----------
    :cite:t:`cho2009kernel`, for :math:`a = 0`.

    Examples
    --------
    >>> kappa0(torch.tensor([0.0, math.pi]))
    tensor([0.5000, 0.0000])
    """
    return (1 - negative_slope) ** 2 * (math.pi - theta) / (2 * math.pi) + negative_slope


def kappa1(theta: Tensor, negative_slope: float = 0.0) -> Tensor:
    r"""Mean inner product of the activations of two isotropic inputs at angle :math:`\theta`, relative to their norms.

    .. math:: \kappa_1(\theta) = \frac{\mathbb{E}\langle\varphi(z), \varphi(z')\rangle}{\|z\|\,\|z'\|}
              = (1-a)^2\,\frac{\sin\theta + (\pi - \theta)\cos\theta}{2\pi} + a \cos\theta , \qquad \kappa_1(0) = \eta .

    Parameters
    ----------
    theta
        Angles in :math:`[0, \pi]`, any shape.
    negative_slope
        Slope :math:`a` of the activation.

    Returns
    -------
    Tensor
        Of the shape of ``theta``.

    References
    ----------
    :cite:t:`cho2009kernel`, for :math:`a = 0`.

    Examples
    --------
    >>> kappa1(torch.tensor([0.0, math.pi / 2]))  # 1/2 and 1/(2 pi)
    tensor([0.5000, 0.1592])
    """
    a, cos = negative_slope, theta.cos()
    return (1 - a) ** 2 * (theta.sin() + (math.pi - theta) * cos) / (2 * math.pi) + a * cos


def next_angle(theta: Tensor, negative_slope: float = 0.0) -> Tensor:
    r"""Angle after an infinitely wide layer.

    .. math:: \cos\theta' = \kappa_1(\theta) / \eta ,

    evaluated through :math:`1 - \cos\theta' = 1 - \cos\theta - \frac{(1-a)^2}{2\pi\eta}
    (\sin\theta - \theta\cos\theta)`, which keeps its precision for nearly parallel inputs.

    Parameters
    ----------
    theta
        Angles in :math:`[0, \pi]`, any shape.
    negative_slope
        Slope :math:`a` of the activation.

    Returns
    -------
    Tensor
        In :math:`[0, \pi]`, of the shape of ``theta``.

    Examples
    --------
    >>> next_angle(torch.tensor([0.0, math.pi])).rad2deg()
    tensor([ 0., 90.])
    """
    a = negative_slope
    eta = (1 + a**2) / 2
    loss = 2 * (theta / 2).sin().square()  # 1 - cos theta
    loss = loss - (1 - a) ** 2 / (2 * math.pi * eta) * (theta.sin() - theta * theta.cos())
    return 2 * (loss / 2).clamp(0, 1).sqrt().asin()

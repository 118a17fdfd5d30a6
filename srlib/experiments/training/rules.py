"""Update rules; torch's own have one learning rate for all entries of a tensor."""

import torch
from torch import Tensor

__all__ = ["adam", "sgd"]


def sgd(gradient: Tensor, state: dict[str, Tensor], step: int) -> Tensor:
    r"""Direction of plain gradient descent: the gradient.

    Parameters
    ----------
    gradient
        Gradient of one parameter of all networks.
    state
        What the rule remembers about this parameter: nothing.
    step
        Number of the update, from 1.

    Returns
    -------
    Tensor
        What is multiplied by the learning rate and subtracted.

    Examples
    --------
    >>> sgd(torch.tensor([2.0]), {}, 1)
    tensor([2.])
    """
    return gradient


def adam(gradient: Tensor, state: dict[str, Tensor], step: int) -> Tensor:
    r"""Direction of Adam with its usual constants, :math:`\hat X / (\sqrt{\hat Y} + 10^{-8})`.

    .. math:: X \leftarrow 0.9\, X + 0.1\, G, \quad Y \leftarrow 0.999\, Y + 0.001\, G^2, \quad
              \hat X = \frac{X}{1 - 0.9^j}, \quad \hat Y = \frac{Y}{1 - 0.999^j} ,

    with the gradient :math:`G`.

    Parameters
    ----------
    gradient
        Gradient of one parameter of all networks.
    state
        Holds the two averages; empty at first.
    step
        Number :math:`j` of the update, from 1.

    Returns
    -------
    Tensor
        What is multiplied by the learning rate and subtracted.

    References
    ----------
    :cite:t:`kingma2015adam`.

    Examples
    --------
    >>> adam(torch.tensor([2.0, -0.5]), {}, 1)
    tensor([ 1., -1.])
    """
    if not state:
        state |= {"mean": torch.zeros_like(gradient), "square": torch.zeros_like(gradient)}
    mean = state["mean"].lerp_(gradient, 0.1)
    square = state["square"].mul_(0.999).addcmul_(gradient, gradient, value=0.001)
    return mean / square.div(1 - 0.999**step).sqrt_().add_(1e-8).mul_(1 - 0.9**step)

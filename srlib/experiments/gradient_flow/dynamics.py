"""Training curves that a constant tangent kernel predicts: of gradient flow and of gradient descent (N4)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from srlib.experiments.gradient_flow.least_squares import LeastSquares, fit, real

__all__ = ["GradientDescent", "GradientFlow"]


class GradientFlow(LeastSquares):
    r"""Least squares by gradient flow with a constant kernel (N4).

    .. math:: \dot{\mathbf e} = -\Theta \mathbf e , \qquad
              \mathbf e_t = \sum_i e^{-t \vartheta_i} \langle \mathbf v_i, \mathbf e_0 \rangle \mathbf v_i ,

    where :math:`\mathbf e = \mathbf f - \mathbf y` are the residuals on the training inputs and
    :math:`\vartheta_i, \mathbf v_i` the eigenvalues and eigenvectors of the kernel. The clock of the methods is the
    time :math:`t`.

    Parameters
    ----------
    kernel
        :math:`\Theta` on the training inputs, symmetric and positive semidefinite, shape ``(..., N, N)``: of networks
        (:func:`srlib.ntk.empirical`), of infinite width (:func:`srlib.ntk.infinite`), or any other.

    Raises
    ------
    TypeError
        If ``kernel`` is not a real floating tensor.
    ValueError
        If it is not square, not finite, not symmetric, or has an eigenvalue below 0 by more than rounding explains.

    References
    ----------
    :cite:t:`jacot2018ntk`, :cite:t:`lee2019wide`.

    Examples
    --------
    >>> flow = GradientFlow(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
    >>> flow.losses(torch.tensor([1.0, 1.0]), [0.0, 1.0, 2.0])  # exp(-4 t) / 2 + exp(-2 t) / 2
    tensor([1.0000, 0.0768, 0.0093], dtype=torch.float64)
    >>> flow.changes(torch.tensor([[2.0, 0.0]]), torch.tensor([-1.0, 0.0]), [0.0, 0.5, 50.0]).squeeze(-1)
    tensor([0.0000, 0.6321, 1.0000], dtype=torch.float64)
    """

    def _clock(self, values: Sequence[float] | Tensor) -> Tensor:
        return self._points(values, "times")

    def _decay(self, clock: Tensor) -> Tensor:
        return torch.exp(-clock * self.eigenvalues.unsqueeze(-2))  # N4 (a)

    def _integral(self, clock: Tensor) -> Tensor:
        rates = self.eigenvalues.unsqueeze(-2)
        return torch.where(rates > 0, -torch.expm1(-clock * rates) / rates, clock)


class GradientDescent(LeastSquares):
    r"""Least squares by full-batch gradient descent with a constant kernel (N4).

    .. math:: \mathbf e_{j + 1} = (I - \varsigma\Theta) \mathbf e_j , \quad
              \mathbf e_j = \sum_i (1 - \varsigma\vartheta_i)^j \langle \mathbf v_i, \mathbf e_0 \rangle \mathbf v_i ,

    where the clock of the methods is the number :math:`j` of steps.

    Parameters
    ----------
    kernel
        As for :class:`GradientFlow`.
    rate
        :math:`\varsigma > 0`, one number or one for each kernel, shape ``(...)``; below
        :attr:`LeastSquares.largest_rate` the residuals do not grow.

    Raises
    ------
    TypeError
        As for :class:`GradientFlow`, and if ``rate`` is not a number.
    ValueError
        As for :class:`GradientFlow`, and if ``rate`` is not positive and finite, or has another shape.

    References
    ----------
    :cite:t:`jacot2018ntk`, :cite:t:`lee2019wide`.

    Examples
    --------
    >>> descent = GradientDescent(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), rate=0.5)
    >>> descent.losses(torch.tensor([1.0, 1.0]), [0, 2, 4])  # the first direction in one step
    tensor([1.0000, 0.0312, 0.0020], dtype=torch.float64)
    >>> descent.largest_rate
    tensor(1., dtype=torch.float64)
    """

    def __init__(self, kernel: Tensor, rate: float | Tensor) -> None:
        super().__init__(kernel)
        batch = self.eigenvalues.shape[:-1]
        rate = real(rate, "rate", self.eigenvalues)
        if not fit(rate.shape, batch):
            raise ValueError(
                f"rate must be one number or one for each kernel of the batch {tuple(batch)}, got {tuple(rate.shape)}"
            )
        if (rate <= 0).any():
            raise ValueError(f"rate must be positive, got {rate.min():g}")
        self.rate = rate

    def _clock(self, values: Sequence[float] | Tensor) -> Tensor:
        count = self._points(values, "steps")
        if (count != count.round()).any():
            raise ValueError(f"steps must be whole numbers, got {count[count != count.round()][0]:g}")
        return count

    def _decay(self, clock: Tensor) -> Tensor:
        return (1 - self.rate[..., None, None] * self.eigenvalues.unsqueeze(-2)) ** clock  # N4 (b)

    def _integral(self, clock: Tensor) -> Tensor:
        rates, rate = self.eigenvalues.unsqueeze(-2), self.rate[..., None, None]
        small = -torch.expm1(clock * torch.log1p(-(rate * rates).clamp(max=0.5)))
        risen = torch.where(rate * rates < 0.5, small, 1 - (1 - rate * rates) ** clock)
        return torch.where(rates > 0, risen / rates, clock * rate)

"""Training curves that a constant tangent kernel predicts, and how fast one ensemble trains against another (N4)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from srlib import _validation, moments
from srlib.ensemble import Ensemble

__all__ = ["GradientDescent", "GradientFlow", "time_factor"]

#: Rounding that a kernel may show, in units of its size, its number of inputs and the precision of its dtype.
_ROUNDING = 10


class _LeastSquares:
    """Linear dynamics of the residuals: every eigenvector of the kernel decays by itself.

    ``clock`` is what counts the time: times of the flow, or numbers of steps.
    """

    def __init__(self, kernel: Tensor) -> None:
        Theta = _validation.matrix(kernel, "kernel").double()
        N = Theta.shape[-1]
        if Theta.shape[-2] != N:
            raise ValueError(f"kernel must be square, of shape (..., N, N), got {tuple(kernel.shape)}")
        tolerance = _ROUNDING * N * torch.finfo(kernel.dtype).eps  # the kernel is as exact as its dtype
        size = Theta.abs().amax((-2, -1))
        asymmetry = (Theta - Theta.mT).abs().amax((-2, -1))
        if (asymmetry > tolerance * size).any():
            raise ValueError(f"kernel must be symmetric, got entries that differ by up to {asymmetry.max():.3g}")
        eigenvalues, self.eigenvectors = torch.linalg.eigh((Theta + Theta.mT) / 2)
        lowest = eigenvalues[..., 0]
        if (lowest < -tolerance * N * size).any():
            raise ValueError(f"kernel must be positive semidefinite, got the eigenvalue {lowest.min():.3g}")
        self.eigenvalues = eigenvalues.clamp(min=0)

    @property
    def largest_rate(self) -> Tensor:
        r""":math:`2 / \lambda_{\max}`, below which gradient descent is stable, shape ``(...)``; infinite at 0."""
        return 2 / self.eigenvalues[..., -1]

    def _residuals(self, initial: Tensor, clock: Tensor) -> Tensor:
        components, several = self._components(initial)
        decay = self._decay(clock).unsqueeze(-1)
        return _outputs(self.eigenvectors.unsqueeze(-3) @ (decay * components.unsqueeze(-3)), several)

    def _losses(self, initial: Tensor, clock: Tensor) -> Tensor:
        components, _ = self._components(initial)
        return (self._decay(clock).square() @ components.square().sum(-1, keepdim=True)).squeeze(-1) / 2

    def _changes(self, cross: Tensor, initial: Tensor, clock: Tensor) -> Tensor:
        components, several = self._components(initial)
        cross = _validation.matrix(cross, "cross").double()
        if cross.ndim != self.eigenvectors.ndim or cross.shape[-1] != self.eigenvalues.shape[-1]:
            raise ValueError(
                f"cross must have shape (..., M, N) with the batch dimensions and N = {self.eigenvalues.shape[-1]} of "
                f"the kernel, got {tuple(cross.shape)}"
            )
        integral = self._integral(clock).unsqueeze(-1)
        return _outputs((-cross @ self.eigenvectors).unsqueeze(-3) @ (integral * components.unsqueeze(-3)), several)

    def _decay(self, clock: Tensor) -> Tensor:
        """Factors of the residual's components, shape (..., T, N)."""
        raise NotImplementedError

    def _integral(self, clock: Tensor) -> Tensor:
        """Integral of those factors from 0 on, (1 - factor) / eigenvalue without the loss of digits near 0."""
        raise NotImplementedError

    def _components(self, initial: Tensor) -> tuple[Tensor, bool]:
        """Return the coefficients of the residuals in the eigenvectors, (..., N, C), and whether C was given."""
        if not isinstance(initial, Tensor) or not initial.dtype.is_floating_point:
            kind = initial.dtype if isinstance(initial, Tensor) else type(initial).__name__
            raise TypeError(f"initial must be a real floating tensor, got {kind}")
        several = initial.ndim == self.eigenvectors.ndim
        batch, N = self.eigenvalues.shape[:-1], self.eigenvalues.shape[-1]
        columns = initial if several else initial.unsqueeze(-1)
        if columns.ndim != self.eigenvectors.ndim or columns.shape[-2] != N or not _fit(columns.shape[:-2], batch):
            raise ValueError(
                f"initial must have shape (..., N) or (..., N, C) with the batch dimensions {tuple(batch)} and N = {N} "
                f"of the kernel, got {tuple(initial.shape)}"
            )
        if not torch.isfinite(initial).all():
            raise ValueError("initial must have finite entries, got NaN or infinity")
        return self.eigenvectors.mT @ columns.double(), several

    def _clock(self, values: Sequence[float] | Tensor, name: str) -> Tensor:
        """Return points in time as (..., T, 1)."""
        batch = self.eigenvalues.shape[:-1]
        clock = _real(values, name, self.eigenvalues)
        if clock.ndim == 0 or not _fit(clock.shape[:-1], batch):
            raise ValueError(
                f"{name} must have shape (T,) or (..., T) with the batch dimensions {tuple(batch)} of the kernel, "
                f"got {tuple(clock.shape)}"
            )
        if (clock < 0).any():
            raise ValueError(f"{name} must be at least 0, got {clock.min():g}")
        return clock.unsqueeze(-1)


class GradientFlow(_LeastSquares):
    r"""Least squares by gradient flow with a constant kernel (N4).

    .. math:: \dot r = -\Theta r , \qquad r_t = \sum_i e^{-t \lambda_i} \langle v_i, r_0 \rangle v_i ,

    where :math:`r = f - y` are the residuals on the training inputs and :math:`\lambda_i, v_i` the eigenvalues and
    eigenvectors of the kernel, which are computed once, in float64. Rounding makes eigenvalues near 0 come out
    slightly negative; those are set to 0, so that no curve grows on their account.

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
    >>> flow.losses(torch.tensor([1.0, 1.0]), times=[0.0, 1.0, 2.0])  # exp(-4 t) / 2 + exp(-2 t) / 2
    tensor([1.0000, 0.0768, 0.0093], dtype=torch.float64)
    """

    def residuals(self, initial: Tensor, times: Sequence[float] | Tensor) -> Tensor:
        r"""Residuals :math:`f_t - y` on the training inputs.

        Parameters
        ----------
        initial
            :math:`f_0 - y`, shape ``(..., N)``, or ``(..., N, C)`` for several outputs that share the kernel. Batch
            dimensions are as many as the kernel's, and broadcast with them.
        times
            :math:`t \ge 0`, shape ``(T,)``, or ``(..., T)`` for each kernel its own.

        Returns
        -------
        Tensor
            Shape ``(..., T, N)`` or ``(..., T, N, C)``, float64.

        Raises
        ------
        TypeError
            If an argument is not a floating tensor or a number.
        ValueError
            If shapes do not fit, a value is not finite, or a time is negative.
        """
        return self._residuals(initial, self._clock(times, "times"))

    def losses(self, initial: Tensor, times: Sequence[float] | Tensor) -> Tensor:
        r"""Losses :math:`\frac12 \|f_t - y\|^2 = \frac12 \sum_i e^{-2t\lambda_i} \langle v_i, f_0 - y \rangle^2`.

        Parameters
        ----------
        initial, times
            As for :meth:`residuals`.

        Returns
        -------
        Tensor
            Shape ``(..., T)``, float64, summed over inputs and outputs.

        Raises
        ------
        TypeError
            As for :meth:`residuals`.
        ValueError
            As for :meth:`residuals`.
        """
        return self._losses(initial, self._clock(times, "times"))

    def changes(self, cross: Tensor, initial: Tensor, times: Sequence[float] | Tensor) -> Tensor:
        r"""Change :math:`f_t(x) - f_0(x)` of the outputs at any inputs.

        .. math:: f_t(x) - f_0(x) = -\Theta(x, X)\, \Phi_t (f_0 - y) , \qquad \Phi_t = \int_0^t e^{-s\Theta}\, ds .

        Parameters
        ----------
        cross
            :math:`\Theta(x, X)` between these inputs and the training inputs, shape ``(..., M, N)``.
        initial, times
            As for :meth:`residuals`.

        Returns
        -------
        Tensor
            Shape ``(..., T, M)`` or ``(..., T, M, C)``, float64.

        Raises
        ------
        TypeError
            As for :meth:`residuals`, and if ``cross`` is not a real floating tensor.
        ValueError
            As for :meth:`residuals`, and if ``cross`` does not fit the kernel or is not finite.

        Examples
        --------
        >>> flow = GradientFlow(torch.tensor([[2.0]]))
        >>> flow.changes(torch.tensor([[2.0], [1.0]]), torch.tensor([-1.0]), times=[0.0, 0.5, 50.0])
        tensor([[0.0000, 0.0000],
                [0.6321, 0.3161],
                [1.0000, 0.5000]], dtype=torch.float64)
        """
        return self._changes(cross, initial, self._clock(times, "times"))

    def _decay(self, clock: Tensor) -> Tensor:
        return torch.exp(-clock * self.eigenvalues.unsqueeze(-2))  # N4 (a)

    def _integral(self, clock: Tensor) -> Tensor:
        rates = self.eigenvalues.unsqueeze(-2)
        return torch.where(rates > 0, -torch.expm1(-clock * rates) / rates, clock)


class GradientDescent(_LeastSquares):
    r"""Least squares by full-batch gradient descent with a constant kernel (N4).

    .. math:: r_{k + 1} = (I - \eta\Theta) r_k , \quad r_k = \sum_i (1 - \eta\lambda_i)^k \langle v_i, r_0 \rangle v_i .

    Parameters
    ----------
    kernel
        As for :class:`GradientFlow`.
    rate
        :math:`\eta > 0`, one number or one for each kernel, shape ``(...)``; below :attr:`largest_rate` the residuals
        do not grow.

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
    >>> descent.losses(torch.tensor([1.0, 1.0]), steps=[0, 2, 4])  # the first direction in one step
    tensor([1.0000, 0.0312, 0.0020], dtype=torch.float64)
    >>> descent.largest_rate
    tensor(1., dtype=torch.float64)
    """

    def __init__(self, kernel: Tensor, rate: float | Tensor) -> None:
        super().__init__(kernel)
        batch = self.eigenvalues.shape[:-1]
        rate = _real(rate, "rate", self.eigenvalues)
        if not _fit(rate.shape, batch):
            raise ValueError(
                f"rate must be one number or one for each kernel of the batch {tuple(batch)}, got {tuple(rate.shape)}"
            )
        if (rate <= 0).any():
            raise ValueError(f"rate must be positive, got {rate.min():g}")
        self.rate = rate

    def residuals(self, initial: Tensor, steps: Sequence[int] | Tensor) -> Tensor:
        r"""Residuals :math:`f_k - y` on the training inputs.

        Parameters
        ----------
        initial
            As for :meth:`GradientFlow.residuals`.
        steps
            Numbers :math:`k \ge 0` of steps, shape ``(T,)``, or ``(..., T)`` for each kernel its own.

        Returns
        -------
        Tensor
            Shape ``(..., T, N)`` or ``(..., T, N, C)``, float64.

        Raises
        ------
        TypeError
            If an argument is not a floating tensor or a number.
        ValueError
            If shapes do not fit, a value is not finite, or a number of steps is negative or not whole.
        """
        return self._residuals(initial, self._steps(steps))

    def losses(self, initial: Tensor, steps: Sequence[int] | Tensor) -> Tensor:
        r"""Losses :math:`\frac12 \|f_k - y\|^2`.

        Parameters
        ----------
        initial, steps
            As for :meth:`residuals`.

        Returns
        -------
        Tensor
            Shape ``(..., T)``, float64, summed over inputs and outputs.

        Raises
        ------
        TypeError
            As for :meth:`residuals`.
        ValueError
            As for :meth:`residuals`.
        """
        return self._losses(initial, self._steps(steps))

    def changes(self, cross: Tensor, initial: Tensor, steps: Sequence[int] | Tensor) -> Tensor:
        r"""Change :math:`f_k(x) - f_0(x) = -\Theta(x, X)\, \eta \sum_{j < k} (I - \eta\Theta)^j (f_0 - y)`.

        Parameters
        ----------
        cross
            As for :meth:`GradientFlow.changes`.
        initial, steps
            As for :meth:`residuals`.

        Returns
        -------
        Tensor
            Shape ``(..., T, M)`` or ``(..., T, M, C)``, float64.

        Raises
        ------
        TypeError
            As for :meth:`residuals`, and if ``cross`` is not a real floating tensor.
        ValueError
            As for :meth:`residuals`, and if ``cross`` does not fit the kernel or is not finite.
        """
        return self._changes(cross, initial, self._steps(steps))

    def _steps(self, steps: Sequence[int] | Tensor) -> Tensor:
        count = self._clock(steps, "steps")
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


def time_factor(ensemble: Ensemble, reference: Ensemble) -> float:
    r"""How many times faster one ensemble trains than another, by their mean tangent kernels (N1, N4).

    .. math:: \frac{\mathbb{E}\, \Theta(x, x)}{\mathbb{E}\, \Theta_{\mathrm{ref}}(x, x)} ,

    the same for every input :math:`x \ne 0`. Training curves of the reference against :math:`t`, and of the ensemble
    against this factor times :math:`t`, fall together as far as the two kernels are proportional.

    Parameters
    ----------
    ensemble, reference
        The two random models.

    Returns
    -------
    float
        The factor; 0 or infinity if it leaves the floating range, not if only one of the kernels does.

    References
    ----------
    :cite:t:`jacot2018ntk`.

    Examples
    --------
    >>> low, high = (Ensemble((16, 16, 16), stable_ranks=r) for r in (4, 8))
    >>> print(f"{time_factor(low, high):.3f}")  # between 1/2 for the layers and 1/4 for the readout
    0.450
    """
    return (moments.ntk(ensemble).log_mean - moments.ntk(reference).log_mean).exp().item()


def _real(values: float | Sequence[float] | Tensor, name: str, like: Tensor) -> Tensor:
    """Return finite real numbers in the dtype and on the device of another tensor."""
    if not isinstance(values, Tensor):
        try:
            values = torch.as_tensor(values, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(f"{name} must be real numbers, got {values!r}") from None
    if values.dtype == torch.bool or values.dtype.is_complex:
        raise TypeError(f"{name} must be real numbers, got {values.dtype}")
    if not torch.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return values.to(like)


def _fit(shape: Sequence[int], batch: Sequence[int]) -> bool:
    """Tell whether leading dimensions broadcast with the kernel's, without adding any."""
    pairs = zip(reversed(shape), reversed(batch), strict=False)
    return len(shape) <= len(batch) and all(a == b or 1 in (a, b) for a, b in pairs)


def _outputs(values: Tensor, several: bool) -> Tensor:
    return values if several else values.squeeze(-1)

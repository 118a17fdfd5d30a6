"""Least squares with a constant kernel: what flow and descent share (N4)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from srlib import _validation

__all__ = ["LeastSquares"]

#: Rounding that a kernel may show, in units of its size, its number of inputs and the precision of its dtype.
_ROUNDING = 10


class LeastSquares(ABC):
    r"""Linear dynamics of the residuals :math:`\mathbf e`: each eigenvector of the kernel decays by itself.

    .. math:: \mathbf e_t = \sum_i \xi_i(t) \langle \mathbf v_i, \mathbf e_0 \rangle \mathbf v_i .

    The eigenvalues :math:`\vartheta_i` and eigenvectors :math:`\mathbf v_i` are computed once, in float64. Rounding
    makes eigenvalues near 0 come out slightly negative; those are set to 0, so that no curve grows on their account.

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
        r""":math:`2 / \vartheta_{\max}`, below which gradient descent is stable, shape ``(...)``; infinite at 0."""
        return 2 / self.eigenvalues[..., -1]

    def residuals(self, initial: Tensor, clock: Sequence[float] | Tensor) -> Tensor:
        r"""Residuals :math:`\mathbf e_t = \mathbf f_t - \mathbf y` on the training inputs.

        Parameters
        ----------
        initial
            :math:`\mathbf f_0 - \mathbf y`, shape ``(..., N)``, or ``(..., N, C)`` for several outputs that share the
            kernel. Batch dimensions are as many as the kernel's, and broadcast with them.
        clock
            Times :math:`t \ge 0` of the flow, or whole numbers :math:`j \ge 0` of steps of descent, shape ``(T,)``, or
            ``(..., T)`` for each kernel its own.

        Returns
        -------
        Tensor
            Shape ``(..., T, N)`` or ``(..., T, N, C)``, float64.

        Raises
        ------
        TypeError
            If an argument is not a floating tensor or a number.
        ValueError
            If shapes do not fit, or a value is not finite, negative, or not a whole number of steps.
        """
        components, several = self._components(initial)
        decay = self._decay(self._clock(clock)).unsqueeze(-1)
        return _outputs(self.eigenvectors.unsqueeze(-3) @ (decay * components.unsqueeze(-3)), several)

    def losses(self, initial: Tensor, clock: Sequence[float] | Tensor) -> Tensor:
        r"""Losses :math:`\frac12 |\mathbf e_t|^2 = \frac12 \sum_i \xi_i(t)^2 \langle\mathbf v_i, \mathbf e_0\rangle^2`.

        Parameters
        ----------
        initial, clock
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
        components, _ = self._components(initial)
        decay = self._decay(self._clock(clock))
        return (decay.square() @ components.square().sum(-1, keepdim=True)).squeeze(-1) / 2

    def changes(self, cross: Tensor, initial: Tensor, clock: Sequence[float] | Tensor) -> Tensor:
        r"""Change :math:`f_t(x) - f_0(x) = -\Theta(x, X)\, \Phi_t\, \mathbf e_0` of the outputs at any inputs.

        .. math:: \Phi_t = \int_0^t e^{-t'\Theta}\, dt'
                  \quad\Bigl(\text{descent: } \varsigma \sum_{i < j} (I - \varsigma\Theta)^i\Bigr) .

        Parameters
        ----------
        cross
            :math:`\Theta(x, X)` between these inputs and the training inputs, shape ``(..., M, N)``.
        initial, clock
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
        components, several = self._components(initial)
        cross = _validation.matrix(cross, "cross").double()
        if cross.ndim != self.eigenvectors.ndim or cross.shape[-1] != self.eigenvalues.shape[-1]:
            raise ValueError(
                f"cross must have shape (..., M, N) with the batch dimensions and N = {self.eigenvalues.shape[-1]} of "
                f"the kernel, got {tuple(cross.shape)}"
            )
        integral = self._integral(self._clock(clock)).unsqueeze(-1)
        return _outputs((-cross @ self.eigenvectors).unsqueeze(-3) @ (integral * components.unsqueeze(-3)), several)

    @abstractmethod
    def _clock(self, values: Sequence[float] | Tensor) -> Tensor:
        """Return checked points in time, shape (..., T, 1)."""

    @abstractmethod
    def _decay(self, clock: Tensor) -> Tensor:
        """Factors xi_i of the residual's components, shape (..., T, N)."""

    @abstractmethod
    def _integral(self, clock: Tensor) -> Tensor:
        """Integral of those factors from 0 on, (1 - factor) / eigenvalue without the loss of digits near 0."""

    def _components(self, initial: Tensor) -> tuple[Tensor, bool]:
        """Return the coefficients of the residuals in the eigenvectors, (..., N, C), and whether C was given."""
        if not isinstance(initial, Tensor) or not initial.dtype.is_floating_point:
            raise TypeError(f"initial must be a real floating tensor, got {_validation.kind(initial)}")
        _validation.dense(initial, "initial")
        several = initial.ndim == self.eigenvectors.ndim
        batch, N = self.eigenvalues.shape[:-1], self.eigenvalues.shape[-1]
        columns = initial if several else initial.unsqueeze(-1)
        if columns.ndim != self.eigenvectors.ndim or columns.shape[-2] != N or not fit(columns.shape[:-2], batch):
            raise ValueError(
                f"initial must have shape (..., N) or (..., N, C) with the batch dimensions {tuple(batch)} and N = {N} "
                f"of the kernel, got {tuple(initial.shape)}"
            )
        if not torch.isfinite(initial).all():
            raise ValueError("initial must have finite entries, got NaN or infinity")
        return self.eigenvectors.mT @ columns.double(), several

    def _points(self, values: Sequence[float] | Tensor, name: str) -> Tensor:
        """Return points in time as (..., T, 1)."""
        batch = self.eigenvalues.shape[:-1]
        clock = real(values, name, self.eigenvalues)
        if clock.ndim == 0 or not fit(clock.shape[:-1], batch):
            raise ValueError(
                f"{name} must have shape (T,) or (..., T) with the batch dimensions {tuple(batch)} of the kernel, "
                f"got {tuple(clock.shape)}"
            )
        if (clock < 0).any():
            raise ValueError(f"{name} must be at least 0, got {clock.min():g}")
        return clock.unsqueeze(-1)


def real(values: float | Sequence[float] | Tensor, name: str, like: Tensor) -> Tensor:
    """Return finite real numbers in the dtype and on the device of another tensor."""
    if not isinstance(values, Tensor):
        try:
            values = torch.as_tensor(values, dtype=torch.float64, device=like.device)
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(f"{name} must be real numbers, got {values!r}") from None
    if values.dtype == torch.bool or values.dtype.is_complex:
        raise TypeError(f"{name} must be real numbers, got {values.dtype}")
    if not torch.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return values.to(like)


def fit(shape: Sequence[int], batch: Sequence[int]) -> bool:
    """Tell whether leading dimensions broadcast with the kernel's, without adding any."""
    pairs = zip(reversed(shape), reversed(batch), strict=False)
    return len(shape) <= len(batch) and all(a == b or 1 in (a, b) for a, b in pairs)


def _outputs(values: Tensor, several: bool) -> Tensor:
    return values if several else values.squeeze(-1)

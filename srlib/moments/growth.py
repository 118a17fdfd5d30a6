"""Typical growth: mean and variance of the logarithm of each layer's gain (F5)."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from srlib.ensemble import Ensemble
from srlib.moments._ensemble import column
from srlib.spectra import Average, Law
from srlib.spectra.law import average, drawn, each, kept, levels

__all__ = ["LogGrowth", "log_growth"]

#: Step of the trapezoidal rule. The integrands are analytic and bounded for :math:`|\operatorname{Im} u| < \pi/2`, so
#: its error is of order :math:`e^{-\pi^2 / h} \approx 10^{-17}`.
_STEP = 0.25

#: Standard error of the mean to which a law that draws is averaged.
_PRECISION = 3e-4


@dataclass(frozen=True, eq=False)
class LogGrowth:
    r"""Moments of :math:`\log(g_l t_l) = \log(\|h_l\|^2 / \|h_{l-1}\|^2)` for a network that survives.

    The layers are independent: means, variances and log probabilities of several layers are sums.

    Parameters
    ----------
    mean
        :math:`\mu_l`, the mean given :math:`h_L \ne 0`, shape ``(L,)``, float64.
    variance
        :math:`\omega_l^2`, the variance given :math:`h_L \ne 0`, shape ``(L,)``, float64.
    log_survival
        :math:`\log \pi^{(1)}_l`, of the probability that :math:`h_l \ne 0` given :math:`h_{l-1} \ne 0`, shape ``(L,)``,
        float64; 0 unless the activation is ReLU.
    mean_error, variance_error
        Standard errors of ``mean`` and ``variance``, shape ``(L,)``, float64; 0 for a law that does not draw.
    """

    mean: Tensor
    variance: Tensor
    log_survival: Tensor
    mean_error: Tensor
    variance_error: Tensor


def log_growth(ensemble: Ensemble) -> LogGrowth:
    r"""Mean and variance of the log growth of every layer given survival, exact at finite width.

    With :math:`\nu`, :math:`u_l` uniform on the unit spheres of the fan-in and the fan-out,

    .. math:: \mu_l = \log s_l^2 + \mathbb{E} \log \sum_i \sigma_{l,i}^2 \nu_i^2
              + \mathbb{E}\bigl[\log \|\varphi(u_l)\|^2 \bigm| \varphi(u_l) \ne 0\bigr] .

    Each term is a one-dimensional integral. If :math:`X = \sum_i \sigma_i^2 \xi_i^2` with :math:`\xi` standard Gaussian
    and :math:`Y` is exponential and independent of it, :math:`Z = \log(Y / X)` has the tail

    .. math:: P(Z > z) = \mathbb{E}\, e^{-e^z X} = \prod_i (1 + 2 e^z \sigma_i^2)^{-1/2} ,

    so :math:`\mathbb{E} \log X = \psi(1) - \mathbb{E} Z` and :math:`\operatorname{Var} \log X = \operatorname{Var} Z
    - \pi^2/6`; dividing by :math:`\|\xi\|^2` takes away the moments of the logarithm of a chi-squared variable.

    Parameters
    ----------
    ensemble
        The random model. A law without levels is averaged over its own draws, from a generator of its own with a
        fixed seed, until the standard error of the mean is below 0.0003. Layers of one shape and stable rank share
        their draws, and so their errors.

    Returns
    -------
    LogGrowth
        For :math:`l = 1, \dots, L`.

    References
    ----------
    For independent weights the log-normal limit is that of :cite:t:`hanin2020products`.

    Examples
    --------
    >>> typical = log_growth(Ensemble((16, 16, 16), 4.0).preserving())
    >>> typical.mean  # the mean of ||h||^2 is kept, and yet the typical network shrinks
    tensor([-0.1389, -0.1389], dtype=torch.float64)
    """
    norms = 2 * column(ensemble.spectral_norms).log()
    linear, errors = (column(part) for part in zip(*each(_linear, ensemble.law, ensemble.layers), strict=True))
    gates = column([_gates(abs(ensemble.negative_slope), m) for m in ensemble.widths[1:]])
    dead = 0.5 ** column(ensemble.widths[1:]) * (ensemble.negative_slope == 0)
    mean, variance = (linear + gates).unbind(1)  # F5: independent factors
    return LogGrowth(norms + mean, variance.clamp(min=0), torch.log1p(-dead), *errors.unbind(1))


@kept
def _linear(law: Law, shape: tuple[int, int], r: float) -> Average[tuple[float, float]]:
    """Mean and variance of log sum_i sigma_i^2 nu_i^2, nu uniform on the sphere of the fan-in."""

    def moments(values: Tensor, counts: Tensor) -> Tensor:
        return torch.stack(_moments(_spectral_density(values, counts), math.log(r)))

    spectrum = levels(law, shape, r)
    if spectrum is not None:
        mean, variance = moments(*spectrum).tolist()
        return Average(_on_the_sphere(mean, variance, shape[1]), (0.0, 0.0))
    found = drawn(
        law,
        shape,
        r,
        lambda sigma: torch.stack([moments(row, torch.ones_like(row)) for row in sigma]),
        lambda found: bool(average(found[:, 0]).error <= _PRECISION),
    )
    mean, within = found.unbind(1)
    between = (mean - average(mean).value).square()
    values, errors = average(torch.stack([mean, within + between], 1))
    mean, variance = values.tolist()
    return Average(_on_the_sphere(mean, variance, shape[1]), tuple(errors.tolist()))


@functools.lru_cache(maxsize=4096)
def _gates(slope: float, m: int) -> tuple[float, float]:
    """Mean and variance of log ||phi(u)||^2 given that it is not 0, u uniform on the sphere of the fan-out."""
    if slope == 1:
        return 0.0, 0.0
    log_slope2 = 2 * math.log(slope) if slope else -math.inf
    smallest = min(0.0, log_slope2) if slope else 0.0

    def density(u: Tensor) -> Tensor:
        open_, closed = u + math.log(2), u + math.log(2) + log_slope2
        A, B = (torch.exp(-_softplus(v) / 2) for v in (open_, closed))  # a neuron's transform, gate open or closed
        return m * ((A + B) / 2) ** (m - 1) * (A * open_.sigmoid() + B * closed.sigmoid()) / 4

    mean, variance = _moments(density, math.log(m * (1 + slope**2) / 2), smallest)
    return _on_the_sphere(mean.item(), variance.item(), m)


def _spectral_density(values: Tensor, counts: Tensor) -> Callable[[Tensor], Tensor]:
    """Density of log(Y / X) for X = sum sigma^2 xi^2: minus the derivative of prod (1 + 2 e^u sigma^2)^(-1/2)."""
    values, counts = values[values > 0], counts[values > 0].to(values)

    def density(u: Tensor) -> Tensor:
        v = u.unsqueeze(-1) + math.log(2) + 2 * values.log()
        return torch.exp(-_softplus(v) @ counts / 2) * (v.sigmoid() @ counts) / 2

    size = max(1, 2**21 // len(values))  # 16 MB at a time
    return lambda u: torch.cat([density(part) for part in u.split(size)])


def _moments(density: Callable[[Tensor], Tensor], log_mean: float, smallest: float = 0.0) -> tuple[Tensor, Tensor]:
    """Mean and variance of Z = log(Y / X), conditioned on X > 0, from its density."""
    u = torch.arange(-45.0 - log_mean, 100.0 - smallest, _STEP, dtype=torch.float64, device="cpu")
    weight = density(u)
    weight = weight / weight.sum()
    mean = weight @ u
    return mean, weight @ (u - mean) ** 2


def _on_the_sphere(mean: float, variance: float, n: int) -> tuple[float, float]:
    """Moments of log(X / ||xi||^2) from those of log(Y / X); log Y and log ||xi||^2 have polygamma moments."""
    from scipy.special import digamma, polygamma

    return (
        float(digamma(1) - mean - digamma(n / 2) - math.log(2)),
        float(variance - polygamma(1, 1) - polygamma(1, n / 2)),
    )


def _softplus(v: Tensor) -> Tensor:
    return torch.logaddexp(v, v.new_zeros(()))

"""Feature norms: mean, second moment and fluctuation exponent (F1, F2, F3)."""

from dataclasses import dataclass

from torch import Tensor

from srlib.ensemble import Ensemble
from srlib.moments._ensemble import accumulate, column, gate_moments, spectra, widths

__all__ = ["FeatureNorm", "feature_norm", "fluctuation_exponent"]


@dataclass(frozen=True, eq=False)
class FeatureNorm:
    r"""Moments of :math:`X_l = \|h_l\|^2 / \|x\|^2`, kept as logarithms so that no depth under- or overflows.

    Parameters
    ----------
    log_mean
        :math:`\log \mathbb{E} X_l` for :math:`l = 0, \dots, L`, shape ``(L + 1,)``, float64.
    log_ratio
        Logarithm of the spread :math:`R(X_l) = \mathbb{E} X_l^2 / (\mathbb{E} X_l)^2`, shape ``(L + 1,)``, float64.
    """

    log_mean: Tensor
    log_ratio: Tensor

    @property
    def mean(self) -> Tensor:
        r""":math:`\mathbb{E} X_l`, shape ``(L + 1,)``."""
        return self.log_mean.exp()

    @property
    def second(self) -> Tensor:
        r""":math:`\mathbb{E} X_l^2`, shape ``(L + 1,)``."""
        return (2 * self.log_mean + self.log_ratio).exp()

    @property
    def relative_variance(self) -> Tensor:
        r""":math:`\operatorname{Var} X_l / (\mathbb{E} X_l)^2`, shape ``(L + 1,)``."""
        return self.log_ratio.expm1()


def feature_norm(ensemble: Ensemble) -> FeatureNorm:
    r"""Mean and second moment of the squared feature norm of every layer, exact at finite width.

    With :math:`X_l = \|h_l\|^2 / \|x\|^2`, :math:`\eta = (1 + a^2)/2` and :math:`\eta_4 = (1 + a^4)/2`,

    .. math::

        \frac{\mathbb{E} X_l}{\mathbb{E} X_{l-1}} = \eta\, \frac{s_l^2 r_l}{n_{l-1}}, \qquad
        \frac{\mathbb{E} X_l^2}{\mathbb{E} X_{l-1}^2} =
            s_l^4\, \frac{r_l^2 + 2 q_l}{n_{l-1}(n_{l-1} + 2)} \cdot \frac{(n_l - 1)\eta^2 + 3\eta_4}{n_l + 2} .

    Parameters
    ----------
    ensemble
        The random model; of its law only the stable ranks and the mean quartic traces matter, with the error of
        :meth:`~srlib.ensemble.Ensemble.quartic_traces`.

    Returns
    -------
    FeatureNorm
        For :math:`l = 0, \dots, L`.

    References
    ----------
    For independent Gaussian weights the fluctuations are those of :cite:t:`hanin2020products`.

    Examples
    --------
    >>> feature_norm(Ensemble((16, 16, 16), 4.0)).mean  # a factor 4/16 a layer, and half of it passes the ReLU
    tensor([1.0000, 0.1250, 0.0156], dtype=torch.float64)
    """
    n, m = widths(ensemble)
    r, s, q = spectra(ensemble)
    eta, eta4 = gate_moments(ensemble)

    mean = eta * s**2 * r / n  # F2
    layer = n / (n + 2) * (1 + 2 * q / r**2)  # F3: E|Wx|^4 over (E|Wx|^2)^2
    gates = ((m - 1) + 3 * eta4 / eta**2) / (m + 2)  # F3: E|phi(u)|^4 over (E|phi(u)|^2)^2
    return FeatureNorm(accumulate(mean.log()), accumulate(layer.log() + gates.log()))


def fluctuation_exponent(ensemble: Ensemble) -> float:
    r"""Fluctuation exponent, to leading order in inverse width (F3).

    .. math::

        \log R_L \approx \epsilon = \sum_l \bigl(\epsilon^W_l + \epsilon^\varphi_l\bigr) , \qquad
        \epsilon^W_l = \frac2{p_l} - \frac2{n_{l-1}} , \qquad
        \epsilon^\varphi_l = \frac{3\kappa}{n_l} , \qquad \kappa = \frac{\eta_4}{\eta^2} - 1 ,

    with :math:`R_L = \mathbb{E} X_L^2 / (\mathbb{E} X_L)^2`. It is :math:`5L/n` for square Gaussian ReLU layers and
    :math:`3L/n` for orthogonal ones.

    Parameters
    ----------
    ensemble
        The random model.

    Returns
    -------
    float
        Dimensionless, at least 0 (to rounding).

    References
    ----------
    :cite:t:`hanin2020products` for independent Gaussian weights.

    Examples
    --------
    >>> fluctuation_exponent(Ensemble((30,) * 11, stable_ranks=30))  # orthogonal: 3 * 10 / 30
    1.0
    """
    n, m = widths(ensemble)
    p = column(ensemble.participation_ranks().value)
    eta, eta4 = gate_moments(ensemble)
    return (2 / n * (n / p - 1) + 3 / m * (eta4 / eta**2 - 1)).sum().item()  # F3

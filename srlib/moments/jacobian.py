"""Jacobian at one input: second and fourth moments of its singular values, and its participation rank (F7, F8)."""

from dataclasses import dataclass

from torch import Tensor

from srlib.ensemble import Ensemble
from srlib.moments._ensemble import column, gate_moments, spectra, widths
from srlib.moments.transfer import gate_transfer, layer_transfer

__all__ = ["JacobianMoments", "jacobian"]


@dataclass(frozen=True, eq=False)
class JacobianMoments:
    r"""Moments of the Jacobian :math:`J` of :math:`h_L` at one input, kept as logarithms.

    Parameters
    ----------
    log_frobenius
        :math:`\log \mathbb{E} \|J\|_F^2`, a float64 scalar.
    log_spread
        :math:`\log\bigl(\mathbb{E} \|J\|_F^4 / (\mathbb{E} \|J\|_F^2)^2\bigr)`, a float64 scalar.
    log_participation_rank
        :math:`\log p_J`, a float64 scalar; see :attr:`participation_rank`.
    """

    log_frobenius: Tensor
    log_spread: Tensor
    log_participation_rank: Tensor

    @property
    def log_frobenius_second(self) -> Tensor:
        r""":math:`\log \mathbb{E} \|J\|_F^4`."""
        return 2 * self.log_frobenius + self.log_spread

    @property
    def log_gram(self) -> Tensor:
        r""":math:`\log \mathbb{E} \|J^\top J\|_F^2`."""
        return 2 * self.log_frobenius - self.log_participation_rank

    @property
    def frobenius(self) -> Tensor:
        r""":math:`\mathbb{E} \|J\|_F^2`, the mean sum of squared singular values."""
        return self.log_frobenius.exp()

    @property
    def frobenius_second(self) -> Tensor:
        r""":math:`\mathbb{E} \|J\|_F^4`."""
        return self.log_frobenius_second.exp()

    @property
    def gram(self) -> Tensor:
        r""":math:`\mathbb{E} \|J^\top J\|_F^2`, the mean sum of fourth powers of singular values."""
        return self.log_gram.exp()

    @property
    def participation_rank(self) -> Tensor:
        r""":math:`p_J = (\mathbb{E} \|J\|_F^2)^2 / \mathbb{E} \|J^\top J\|_F^2`, at most :math:`n_0`.

        A ratio of means: it falls below 1 where :math:`\|J\|_F` itself fluctuates strongly.
        """
        return self.log_participation_rank.exp()


def jacobian(ensemble: Ensemble) -> JacobianMoments:
    r"""Moments of the Jacobian's squared and fourth-power singular values at one input, exact at finite width.

    With the transfer matrices :math:`T_l` of :func:`layer_transfer` and :func:`gate_transfer`,

    .. math::

        T_L \cdots T_1 \begin{pmatrix} n_0^2 \\ n_0 \end{pmatrix}
        = \begin{pmatrix} \mathbb{E} \|J\|_F^4 \\ \mathbb{E} \|J^\top J\|_F^2 \end{pmatrix} , \qquad
        \mathbb{E} \|J\|_F^2 = n_0 \prod_{l=1}^L \eta\, \frac{s_l^2 r_l}{n_{l-1}} ,

    and inverse participation ranks add up: their sum is a lower bound, attained to leading order,
    :math:`\frac{1}{p_J} \ge \frac{1}{n_0} + \sum_l \bigl(\frac{1}{p_l} - \frac{1}{n_{l-1}}
    + \frac{\kappa}{n_l}\bigr)`.

    Parameters
    ----------
    ensemble
        The random model; of its law only the stable ranks and the mean quartic traces matter, with the error of
        :meth:`~srlib.ensemble.Ensemble.quartic_traces`.

    Returns
    -------
    JacobianMoments
        Of :math:`J = D_L W_L \cdots D_1 W_1`; no depth under- or overflows its logarithms.

    Examples
    --------
    >>> found = jacobian(Ensemble((400,) * 11, 200).preserving())
    >>> print(f"{found.frobenius:.0f} {found.participation_rank:.1f}")
    400 35.2
    """
    n, _ = widths(ensemble)
    r, s, q = spectra(ensemble)
    eta, eta4 = gate_moments(ensemble)

    mean = n[0].log() + (eta * s**2 * r / n).log().sum()  # F7
    pairs, scale = column([1.0, 1 / ensemble.widths[0]]), n.new_zeros(())  # over all pairs of basis vectors, over n_0^2
    layers = zip(ensemble.widths, ensemble.widths[1:], (q / r**2).tolist(), strict=False)
    for fan_in, width, inverse_rank in layers:
        pairs = layer_transfer(fan_in, fan_in**2, fan_in**2 * inverse_rank) @ pairs  # relative to the squared means
        pairs = gate_transfer(width, 1.0, eta4 / eta**2) @ pairs
        growth = pairs[0] + 2 * pairs[1]  # F8: (1, 2) is a left eigenvector of every matrix here
        pairs, scale = pairs / growth, scale + growth.log()
    spread, inverse = (scale + pairs.log()).unbind()
    return JacobianMoments(mean, spread, -inverse)

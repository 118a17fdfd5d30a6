"""How fast one ensemble trains against another (N1, N4)."""

from srlib import moments
from srlib.ensemble import Ensemble

__all__ = ["time_factor"]


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

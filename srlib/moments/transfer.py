"""Transfer matrices: what one layer does to the second moments of a pair of vectors (F8, N2)."""

from torch import Tensor

from srlib.moments._ensemble import column

__all__ = ["gate_transfer", "layer_transfer"]


def layer_transfer(n: int, square: float, quartic: float) -> Tensor:
    r"""Transfer matrix of a linear layer for :math:`P_1 = \|x\|^2 \|y\|^2` and :math:`P_2 = \langle x, y \rangle^2`.

    .. math::

        \mathbb{E} \begin{pmatrix} \|Wx\|^2 \|Wy\|^2 \\ \langle Wx, Wy \rangle^2 \end{pmatrix}
        = \begin{pmatrix} \alpha & 2\beta \\ \beta & \alpha + \beta \end{pmatrix}
          \begin{pmatrix} P_1 \\ P_2 \end{pmatrix} , \qquad
        \beta = \frac{n\, s^4 q - s^4 r^2}{n (n - 1)(n + 2)} , \quad \alpha = \frac{s^4 r^2 - 2 n \beta}{n^2} .

    Parameters
    ----------
    n
        Fan-in, the length of :math:`x` and :math:`y`; for :math:`n = 1`, :math:`\beta = 0`.
    square
        :math:`s^4 r^2`, or its mean if the scale of the layer is random.
    quartic
        :math:`s^4 q`, or its mean.

    Returns
    -------
    Tensor
        Shape ``(2, 2)``, float64.

    Examples
    --------
    >>> layer_transfer(4, 16.0, 4.0)  # an orthogonal matrix
    tensor([[1., 0.],
            [0., 1.]], dtype=torch.float64)
    """
    beta = (n * quartic - square) / (n * (n - 1) * (n + 2)) if n > 1 else 0.0
    alpha = (square - 2 * n * beta) / n**2
    return column([[alpha, 2 * beta], [beta, alpha + beta]])  # F8


def gate_transfer(m: int, eta: float, eta4: float) -> Tensor:
    r"""Transfer matrix of independent fair gates for the same two numbers.

    For a pair :math:`x, y` in :math:`\mathbb{R}^m` that was turned by a Haar orthogonal matrix,

    .. math::

        \mathbb{E} \begin{pmatrix} \|Dx\|^2 \|Dy\|^2 \\ \langle Dx, Dy \rangle^2 \end{pmatrix}
        = \left[ \eta^2 I + \frac{\eta_4 - \eta^2}{m + 2} \begin{pmatrix} 1 & 2 \\ 1 & 2 \end{pmatrix} \right]
          \begin{pmatrix} P_1 \\ P_2 \end{pmatrix} .

    Parameters
    ----------
    m
        Number of gates.
    eta, eta4
        Mean second and fourth powers of a gate.

    Returns
    -------
    Tensor
        Shape ``(2, 2)``, float64.

    Examples
    --------
    >>> gate_transfer(2, 1.0, 1.0)  # open gates
    tensor([[1., 0.],
            [0., 1.]], dtype=torch.float64)
    """
    both = column([[1.0, 2.0], [1.0, 2.0]])
    return eta**2 * column([[1.0, 0.0], [0.0, 1.0]]) + (eta4 - eta**2) / (m + 2) * both  # F8

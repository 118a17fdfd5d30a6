"""Haar-distributed orthogonal matrices and frames."""

from collections.abc import Sequence

import torch
from torch import Tensor

from srlib import _validation

__all__ = ["orthogonal"]


def orthogonal(
    n: int,
    k: int | None = None,
    *,
    batch: int | Sequence[int] = (),
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    r"""Draw matrices with orthonormal columns, uniformly (Haar measure).

    .. math:: Q = H_1 H_2 \cdots H_k D, \qquad Q \overset{d}{=} O Q O' \quad\text{for all orthogonal } O, O' ,

    where :math:`H_j` is the Householder reflection that a Gaussian vector of length :math:`n - j + 1` would need in a
    QR factorization, and the diagonal signs :math:`D` are the ones that make the triangular factor's diagonal
    positive. The reflectors of a Gaussian matrix are independent, so they are drawn directly and nothing is factored.

    Parameters
    ----------
    n
        Length of the columns.
    k
        Number of columns, at most ``n``; all ``n`` when omitted.
    batch
        Leading dimensions of the result.
    generator
        Source of randomness; torch's default one when omitted.
    dtype
        Floating dtype of the result; torch's default one when omitted. Half precision is computed in float32.
    device
        Device of the result and of ``generator``.

    Returns
    -------
    Tensor
        Shape ``(*batch, n, k)``.

    Raises
    ------
    TypeError
        If a size is not an integer or ``dtype`` is not floating.
    ValueError
        If ``n < 1``, or ``k`` lies outside :math:`[1, n]`, or a batch size is negative.

    References
    ----------
    :cite:t:`stewart1980efficient` for the reflectors, :cite:t:`mezzadri2007how` for the signs.

    Examples
    --------
    >>> Q = orthogonal(5, 3, batch=2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> Q.shape
    torch.Size([2, 5, 3])
    >>> bool(torch.allclose(Q.mT @ Q, torch.eye(3, dtype=torch.float64)))
    True
    """
    n = _validation.width(n, "n")
    k = n if k is None else _validation.width(k, "k")
    if k > n:
        raise ValueError(f"k must lie in [1, n] = [1, {n}], got {k}")
    batch, dtype = _validation.batch_shape(batch), _validation.floating_dtype(dtype)
    if 0 in batch:
        return torch.empty(*batch, n, k, dtype=dtype, device=device)

    options = {"dtype": _validation.compute_dtype(dtype), "device": device}
    columns = torch.randn(*batch, n, k, generator=generator, **options).tril()
    head = columns.diagonal(dim1=-2, dim2=-1)
    norm = torch.linalg.vector_norm(columns, dim=-2)
    sign = torch.where(head < 0, -1.0, 1.0).to(norm)

    # H = I - tau v v^T maps the column to -sign * norm * e_1; v is scaled to start with 1, as LAPACK wants it.
    pivot = head + sign * norm
    tau = pivot.abs() / norm
    reflectors = torch.linalg.householder_product(columns / pivot.unsqueeze(-2), tau)
    return (reflectors * -sign.unsqueeze(-2)).to(dtype)

"""Haar-distributed orthogonal matrices and frames."""

from collections.abc import Sequence

import torch
from torch import Tensor

from srlib import _validation
from srlib._types import Device

__all__ = ["orthogonal", "rotate"]


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

    .. math:: Q = H_1 H_2 \cdots H_k S, \qquad Q \overset{d}{=} O Q O' \quad\text{for all orthogonal } O, O' ,

    where :math:`H_j` is the Householder reflection that a Gaussian vector of length :math:`n - j + 1` would need in a
    QR factorization, and the diagonal signs :math:`S` are the ones that make the triangular factor's diagonal
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

    reflectors, tau, signs = _reflections(n, k, batch, generator, _validation.compute_dtype(dtype), device)
    return torch.linalg.householder_product(reflectors, tau).mul_(signs).to(dtype)


def rotate(A: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    r"""Multiply matrices by independent Haar orthogonal matrices from the right.

    .. math:: A \mapsto A\, Q^\top , \qquad Q = H_1 \cdots H_n S \;\text{Haar} .

    The reflections of :func:`orthogonal` are applied to :math:`A` one after the other. :math:`Q` itself is never
    formed, which saves about half the time.

    Parameters
    ----------
    A
        Matrices, shape ``(*batch, m, n)``, any floating dtype; half precision is computed in float32.
    generator
        Source of randomness; torch's default one when omitted.

    Returns
    -------
    Tensor
        Shape ``(*batch, m, n)``; every matrix of the batch has a :math:`Q` of its own.

    Raises
    ------
    TypeError
        If ``A`` is not a real floating tensor.
    ValueError
        If ``A`` has fewer than two dimensions, an empty side or a non-finite entry.

    References
    ----------
    :cite:t:`stewart1980efficient`.

    Examples
    --------
    >>> A = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
    >>> B = rotate(A, generator=torch.Generator().manual_seed(0))
    >>> bool(torch.allclose(B @ B.mT, A @ A.mT, atol=1e-5))
    True
    """
    matrices = _validation.matrix(A, "A")
    if 0 in A.shape:
        return A.clone()
    *batch, _, n = A.shape
    reflectors, tau, signs = _reflections(n, n, batch, generator, matrices.dtype, A.device)
    return torch.ormqr(reflectors, tau, matrices * signs, left=False, transpose=True).to(A.dtype)


def _reflections(
    n: int, k: int, batch: Sequence[int], generator: torch.Generator | None, dtype: torch.dtype, device: Device
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw ``H_1, ..., H_k`` as LAPACK keeps them, and the signs S as a row."""
    # One column after the other in memory, as LAPACK wants it, too. What a reflection doesn't touch isn't drawn.
    entries = torch.randn(*batch, n * k - k * (k - 1) // 2, generator=generator, dtype=dtype, device=device)
    touched = torch.ones(k, n, dtype=torch.bool, device=device).triu_()
    columns = torch.zeros(*batch, k, n, dtype=dtype, device=device).masked_scatter_(touched, entries).mT
    head = columns.diagonal(dim1=-2, dim2=-1)
    norm = torch.linalg.vector_norm(columns, dim=-2)
    empty = norm == 0  # where a column's only number is 0, as 1 in 10^7 of float32 is: any other one does as well
    head.masked_fill_(empty, 1)
    norm.masked_fill_(empty, 1)
    sign = torch.where(head < 0, -1.0, 1.0).to(norm)

    # H = I - tau v v^T maps the column to -sign * norm * e_1; v is scaled to start with 1.
    pivot = head + sign * norm
    return columns.div_(pivot.unsqueeze(-2)), pivot.abs() / norm, -sign.unsqueeze(-2)

"""Feed-forward maps of the random model."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from srlib import _validation
from srlib.network import Network

__all__ = ["Activations", "forward", "jacobian"]


@dataclass(frozen=True, eq=False)
class Activations:
    r"""What a forward pass computes, for a batch of networks and :math:`N` inputs.

    Parameters
    ----------
    post
        :math:`h_0 = x, h_1, \dots, h_L`, each of shape ``(batch, N, n_l)``.
    gates
        Diagonals of :math:`D_1, \dots, D_L`, :math:`D_l = \operatorname{diag}\varphi'(a_l)`, shape ``(batch, N, n_l)``.
    output
        :math:`f(x) = v \cdot h_L`, shape ``(batch, N)``.
    """

    post: tuple[Tensor, ...]
    gates: tuple[Tensor, ...]
    output: Tensor


def forward(network: Network, x: Tensor) -> Activations:
    r"""Run a batch of networks on the same inputs.

    .. math:: a_l = W_l h_{l-1}, \qquad h_l = D_l a_l = \varphi(a_l), \qquad f(x) = v \cdot h_L .

    Parameters
    ----------
    network
        A batch of networks, from :meth:`~srlib.ensemble.Ensemble.sample` or built from your own weights.
    x
        Inputs, shape ``(N, n_0)``, of the weights' dtype and device; :math:`N` may be 0. Half precision is computed
        in float32.

    Returns
    -------
    Activations
        Post-activations, gates and outputs.

    Raises
    ------
    TypeError
        If ``x`` is not a tensor of the weights' dtype.
    ValueError
        If ``x`` does not have shape ``(N, n_0)`` or holds NaN or infinity.

    Examples
    --------
    >>> import srlib
    >>> network = srlib.Ensemble((3, 8, 8), [2, 4]).sample(5, generator=torch.Generator().manual_seed(0))
    >>> result = forward(network, torch.ones(2, 3, dtype=torch.float64))
    >>> result.post[-1].shape, result.output.shape
    (torch.Size([5, 2, 8]), torch.Size([5, 2]))
    """
    first = network.weights[0]
    if not isinstance(x, Tensor) or x.dtype != first.dtype:
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"x must be a tensor of the weights' dtype {first.dtype}, got {kind}")
    if x.ndim != 2 or x.shape[1] != first.shape[-1]:
        raise ValueError(f"x must have shape (N, n_0) = (N, {first.shape[-1]}), got {tuple(x.shape)}")
    if not _validation.finite(x):
        raise ValueError("x must have finite entries, got NaN or infinity")

    compute = _validation.compute_dtype(x.dtype)
    h = x.to(compute).expand(first.shape[0], *x.shape)
    post, gates = [h], []
    for W in network.weights:
        a = (W.to(compute) @ h.mT).mT  # inputs as columns: BLAS is a fifth faster than on rows
        gate = torch.gt(a.detach(), 0, out=torch.empty_like(a))
        if network.negative_slope:
            gate.masked_fill_(gate == 0, network.negative_slope)
        h = gate * a
        post.append(h)
        gates.append(gate)
    output = torch.einsum("bni,bi->bn", h, network.readout.to(compute))
    return Activations(tuple(h.to(x.dtype) for h in post), tuple(g.to(x.dtype) for g in gates), output.to(x.dtype))


def jacobian(network: Network, x: Tensor, *, chunk_size: int | None = None) -> Tensor:
    r"""Input-output Jacobian of the features at each input.

    .. math:: J = \frac{\partial h_L}{\partial x} = D_L W_L \cdots D_1 W_1 , \qquad \nabla_x f = J^\top v .

    The product is formed from its narrower end. At a kink, such as :math:`x = 0`, a gate counts as closed.

    Parameters
    ----------
    network
        A batch of networks.
    x
        Inputs, as for :func:`forward`.
    chunk_size
        Inputs whose Jacobians are formed together; all when omitted. Beside the result, memory for
        ``2 * batch * chunk_size * min(n_0, n_L) * max(n_l)`` numbers is needed.

    Returns
    -------
    Tensor
        Shape ``(batch, N, n_L, n_0)``, of the dtype of ``x``.

    Raises
    ------
    TypeError
        If ``x`` is not a tensor of the weights' dtype, or ``chunk_size`` not an integer.
    ValueError
        If ``x`` does not have shape ``(N, n_0)`` or holds NaN or infinity, or ``chunk_size`` is less than 1.

    Examples
    --------
    >>> import srlib
    >>> network = srlib.Ensemble((3, 8, 8), [2, 4]).sample(5, generator=torch.Generator().manual_seed(0))
    >>> x = torch.ones(2, 3, dtype=torch.float64)
    >>> J = jacobian(network, x)
    >>> J.shape
    torch.Size([5, 2, 8, 3])
    >>> bool(torch.allclose((J @ x.unsqueeze(-1)).squeeze(-1), forward(network, x).post[-1]))  # homogeneous
    True
    """
    size = None if chunk_size is None else _validation.width(chunk_size, "chunk_size")
    run = forward(network, x)
    if size is None:
        return _chain(network, run.gates, x)
    J = x.new_empty(*run.output.shape, network.readout.shape[1], x.shape[1])
    for start in range(0, len(x), size):
        row = slice(start, start + size)
        J[:, row] = _chain(network, [gate[:, row] for gate in run.gates], x)
    return J


def _chain(network: Network, gates: Sequence[Tensor], x: Tensor) -> Tensor:
    """Multiply ``D_L W_L ... D_1 W_1`` from its narrower end."""
    compute = _validation.compute_dtype(x.dtype)
    layers = [(W.to(compute), D.unsqueeze(-2).to(compute)) for W, D in zip(network.weights, gates, strict=True)]
    shape = (*gates[0].shape[:2], network.weights[-1].shape[-2], x.shape[1])
    narrow = min(shape[2:])
    product = torch.eye(narrow, dtype=compute, device=x.device).expand(*shape[:2], narrow, narrow)
    if narrow == shape[2]:
        for W, D in reversed(layers):  # J D_l W_l
            product = _times(product * D, W)
        return product.to(x.dtype)
    for W, D in layers:  # (D_l W_l J)^T
        product = _times(product, W.mT) * D
    return product.mT.to(x.dtype)


def _times(A: Tensor, W: Tensor) -> Tensor:
    """Multiply ``(batch, N, k, n)`` by ``(batch, n, m)`` without a copy of ``W`` for each input."""
    return (A.flatten(1, 2) @ W).reshape(*A.shape[:-1], W.shape[-1])

"""The neural tangent kernel of drawn networks (N1)."""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from srlib import _validation
from srlib.feedforward import Activations, forward
from srlib.network import Network

__all__ = ["empirical", "layers"]


def empirical(network: Network, x1: Tensor, x2: Tensor | None = None, *, chunk_size: int | None = None) -> Tensor:
    r"""Neural tangent kernel of every network of a batch, all weights and the readout trained.

    .. math::

        \Theta(x, y) = \sum_{l=1}^L \langle h_{l-1}(x), h_{l-1}(y)\rangle \langle\delta_l(x), \delta_l(y)\rangle
                       + \langle h_L(x), h_L(y)\rangle , \qquad
        \delta_L = D_L v, \quad \delta_l = D_l W_{l+1}^\top \delta_{l+1} .

    Two Gram matrices and an entrywise product a layer; the Jacobian, whose rows these are the inner products of, is
    never formed.

    Parameters
    ----------
    network
        A batch of networks.
    x1, x2
        Inputs, shapes ``(N1, n_0)`` and ``(N2, n_0)``, of the weights' dtype and device; ``x2`` is ``x1`` when
        omitted. Half precision is computed in float32.
    chunk_size
        Rows of the kernel that are computed together; all when omitted. Beside the kernel and the activations,
        memory for ``2 * batch * chunk_size * N2`` numbers is needed.

    Returns
    -------
    Tensor
        Shape ``(batch, N1, N2)``.

    Raises
    ------
    TypeError
        If an input is not a tensor of the weights' dtype, or ``chunk_size`` not an integer.
    ValueError
        If an input does not have shape ``(N, n_0)`` or holds NaN or infinity, or ``chunk_size`` is less than 1.

    References
    ----------
    :cite:t:`jacot2018ntk`; :cite:t:`novak2022fast` for the saving over Jacobians.

    Examples
    --------
    >>> import srlib
    >>> network = srlib.Ensemble((3, 8, 8), [2, 4]).sample(5, generator=torch.Generator().manual_seed(0))
    >>> x = torch.eye(3, dtype=torch.float64)
    >>> empirical(network, x, x[:2]).shape
    torch.Size([5, 3, 2])
    """
    size = _chunk(chunk_size)
    passes = _passes(network, x1, x2)
    f, g = passes[0].output, passes[-1].output
    kernel = f.new_zeros(*f.shape, g.shape[1])
    for first, second in _factors(network, passes):
        for row in _rows(f.shape[1], size or f.shape[1]):
            grams = [a[:, row] @ b.mT for a, b in zip(first, second, strict=True)]
            if len(grams) == 2:
                kernel[:, row].addcmul_(*grams)
            else:
                kernel[:, row].add_(*grams)
    return kernel.to(x1.dtype)


def layers(network: Network, x1: Tensor, x2: Tensor | None = None) -> Tensor:
    r"""Terms of the neural tangent kernel: one for each layer's weights, and the readout's.

    .. math::

        \Theta_l = \langle h_{l-1}(x), h_{l-1}(y)\rangle \langle\delta_l(x), \delta_l(y)\rangle, \quad l = 1, \dots, L,
        \qquad \Theta_{\mathrm{out}} = \langle h_L(x), h_L(y)\rangle .

    Parameters
    ----------
    network
        A batch of networks.
    x1, x2
        Inputs, as for :func:`empirical`.

    Returns
    -------
    Tensor
        Shape ``(batch, L + 1, N1, N2)``, the readout last; the sum over the second axis is :func:`empirical`.

    Raises
    ------
    TypeError
        If an input is not a tensor of the weights' dtype.
    ValueError
        If an input does not have shape ``(N, n_0)`` or holds NaN or infinity.

    Examples
    --------
    >>> import srlib
    >>> network = srlib.Ensemble((3, 8, 8), [2, 4]).sample(5, generator=torch.Generator().manual_seed(0))
    >>> layers(network, torch.eye(3, dtype=torch.float64)).shape
    torch.Size([5, 3, 3, 3])
    """
    factors = _factors(network, _passes(network, x1, x2))
    terms = [math.prod(a @ b.mT for a, b in zip(first, second, strict=True)) for first, second in factors]
    return torch.stack(terms[::-1], 1).to(x1.dtype)


def _passes(network: Network, x1: Tensor, x2: Tensor | None) -> list[Activations]:
    return [_forward(network, x) for x in ([x1] if x2 is None else [x1, x2])]


def _factors(network: Network, passes: list[Activations]) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Yield, for each term of the kernel, the vectors of either input whose Gram matrices are its factors.

    The readout's term comes first, ``[h_L]``, then those of layers L, ..., 1: ``[h_{l-1}, delta_l]``.
    """
    yield [passes[0].post[-1]], [passes[-1].post[-1]]
    back = network.readout.to(passes[0].output.dtype).unsqueeze(1)
    deltas = [run.gates[-1] * back for run in passes]
    for l in reversed(range(len(network.weights))):
        yield [passes[0].post[l], deltas[0]], [passes[-1].post[l], deltas[-1]]
        if l:
            W = network.weights[l].to(back.dtype)
            deltas = [(W.mT @ delta.mT).mT.mul_(run.gates[l - 1]) for run, delta in zip(passes, deltas, strict=True)]


def _chunk(size: int | None) -> int | None:
    return None if size is None else _validation.width(size, "chunk_size")


def _rows(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, max(1, size))]


def _forward(network: Network, x: Tensor) -> Activations:
    """Run the network in at least float32."""
    dtype = network.weights[0].dtype
    if isinstance(x, Tensor) and x.dtype == dtype:
        wide = _validation.compute_dtype(dtype)
        weights = tuple(W.to(wide) for W in network.weights)
        network, x = replace(network, weights=weights, readout=network.readout.to(wide)), x.to(wide)
    return forward(network, x)

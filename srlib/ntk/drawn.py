"""The neural tangent kernel of drawn networks (N1)."""

from collections.abc import Iterator

import torch
from torch import Tensor

from srlib import _validation
from srlib.feedforward import Activations, activations
from srlib.network import Network

__all__ = ["empirical", "layers"]


def empirical(network: Network, x1: Tensor, x2: Tensor | None = None, *, chunk_size: int | None = None) -> Tensor:
    r"""Neural tangent kernel of every network of a batch, all weights, biases and the readout trained.

    .. math::

        \Theta(x, y) = \sum_{l=1}^L \langle h_{l-1}(x), h_{l-1}(y)\rangle \langle\delta_l(x), \delta_l(y)\rangle
                       + \langle h_L(x), h_L(y)\rangle , \qquad
        \delta_L = D_L v, \quad \delta_l = D_l W_{l+1}^\top \delta_{l+1} .

    Each output :math:`c` of several has its own :math:`\delta^c_l`, and :math:`\Theta_{cc'}` their inner products; the
    readout's term stands on the diagonal. With biases, 1 is added to every :math:`\langle h, h\rangle`. Two Gram
    matrices and an entrywise product a layer; the Jacobian, whose rows these are the inner products of, is never
    formed.

    Parameters
    ----------
    network
        A batch of networks.
    x1, x2
        Inputs, shapes ``(N1, n_0)`` and ``(N2, n_0)``, of the weights' dtype and device; ``x2`` is ``x1`` when
        omitted. A leading batch dimension gives each network its own. Half precision is computed in float32.
    chunk_size
        Rows of the kernel that are computed together; all when omitted. Beside the kernel and the activations,
        memory for ``2 * batch * chunk_size * N2 * C ** 2`` numbers is needed.

    Returns
    -------
    Tensor
        Shape ``(batch, N1, N2)``, or ``(batch, N1, N2, C, C)`` for several outputs.

    Raises
    ------
    TypeError
        If an input is not a tensor of the weights' dtype, or ``chunk_size`` not an integer.
    ValueError
        If an input does not have one of these shapes, or holds NaN or infinity, or ``chunk_size`` is less than 1.

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
    size = None if chunk_size is None else _validation.width(chunk_size, "chunk_size")
    network, runs = _runs(network, x1, x2)
    N, terms = runs[0].output.shape[1], _factors(network, runs)
    kernel = _readout(*_grams(network, *next(terms)))
    for factors in terms:
        for start in range(0, N, size or max(1, N)):
            row = slice(start, start + (size or N))
            kernel[:, row].addcmul_(*_grams(network, *factors, row))
    return _arranged(network, kernel).to(x1.dtype)


def layers(network: Network, x1: Tensor, x2: Tensor | None = None) -> Tensor:
    r"""Terms of the neural tangent kernel: one for each layer, and the readout's.

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
        Shape ``(batch, L + 1, N1, N2)``, with ``C, C`` behind for several outputs, the readout last; the sum over the
        second axis is :func:`empirical`.

    Raises
    ------
    TypeError
        If an input is not a tensor of the weights' dtype.
    ValueError
        If an input does not have one of these shapes, or holds NaN or infinity.

    Examples
    --------
    >>> import srlib
    >>> network = srlib.Ensemble((3, 8, 8), [2, 4]).sample(5, generator=torch.Generator().manual_seed(0))
    >>> layers(network, torch.eye(3, dtype=torch.float64)).shape
    torch.Size([5, 3, 3, 3])
    """
    network, runs = _runs(network, x1, x2)
    grams = (_grams(network, *factors) for factors in _factors(network, runs))
    terms = [h * d for h, d in grams]
    return torch.stack([_arranged(network, term) for term in terms[::-1]], 1).to(x1.dtype)


def _runs(network: Network, x1: Tensor, x2: Tensor | None) -> tuple[Network, list[Activations]]:
    """Check the inputs and run the network on them, in at least float32."""
    given = {"x1": x1} if x2 is None else {"x1": x1, "x2": x2}
    for name, x in given.items():
        _validation.inputs(x, network.widths[0], network.dtype, batch=network.batch, name=name)
    network = network.to(dtype=_validation.compute_dtype(network.dtype))
    return network, [activations(network, x.to(network.dtype)) for x in given.values()]


def _factors(network: Network, runs: list[Activations]) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Yield, for each term of the kernel, the vectors of all inputs whose Gram matrices are its factors.

    Features ``(batch, N, n)``, and sensitivities of every output to what they feed ``(batch, N, C, n)``: unit vectors,
    left out, for the readout, which comes first, and then delta_l for layers L, ..., 1.
    """
    yield [run.post[-1] for run in runs], []
    *weights, V = network.matrices
    deltas = [V.unsqueeze(1)] * len(runs)
    for l in reversed(range(network.depth)):
        if l < network.depth - 1:
            deltas = [_back(delta, weights[l + 1]) for delta in deltas]
        deltas = [run.gates[l].unsqueeze(2) * delta for run, delta in zip(runs, deltas, strict=True)]
        yield [run.post[l] for run in runs], deltas


def _back(delta: Tensor, W: Tensor) -> Tensor:
    """W^T delta for every input and output: (batch, N, C, n_l) to (batch, N, C, n_{l-1})."""
    return (W.mT @ delta.flatten(1, 2).mT).mT.unflatten(1, delta.shape[1:3])


def _grams(
    network: Network, features: list[Tensor], deltas: list[Tensor], row: slice = slice(None)
) -> tuple[Tensor, Tensor]:
    """Inner products of features and of sensitivities, as (batch, N1, 1, N2, 1) and (batch, N1, C, N2, C)."""
    h = features[0][:, row] @ features[-1].mT
    if network.biases is not None:
        h = h + 1  # a bias is the weight of a feature that is always 1
    h = h[:, :, None, :, None]
    if not deltas:
        C = network.matrices[-1].shape[1]
        return h, torch.eye(C, dtype=h.dtype, device=h.device).unsqueeze(1)
    left, right = deltas[0][:, row], deltas[-1]
    d = left.flatten(1, 2) @ right.flatten(1, 2).mT
    return h, d.reshape(*left.shape[:3], *right.shape[1:3])


def _readout(h: Tensor, unit: Tensor) -> Tensor:
    """The readout's term; with one output it is the Gram matrix itself, of which no second one is needed."""
    return h if unit.shape[-1] == 1 else h * unit


def _arranged(network: Network, kernel: Tensor) -> Tensor:
    """Bring the outputs behind the inputs; one output has no axes."""
    return kernel[:, :, 0, :, 0] if network.readout.ndim == 2 else kernel.permute(0, 1, 3, 2, 4)

"""A batch of networks: the one type that is drawn, run, trained and measured."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import SupportsIndex

import torch
from torch import Tensor, nn

from srlib import _validation

__all__ = ["Network"]


@dataclass(frozen=True, eq=False, repr=False)
class Network:
    r"""A batch of deep networks :math:`f(x) = v \varphi(W_L \cdots \varphi(W_1 x + b_1) \cdots + b_L) + b_{L+1}`.

    Parameters
    ----------
    weights
        :math:`W_1, \dots, W_L`, each of shape ``(batch, n_l, n_{l-1})``; none of them for linear maps.
    readout
        One output: a vector :math:`v`, shape ``(batch, n_L)``. Several: a matrix of as many rows, ``(batch, C, n_L)``.
    biases
        :math:`b_1, \dots, b_L`, each of shape ``(batch, n_l)``, and the readout's, ``(batch,)`` or ``(batch, C)``;
        omitted for networks without biases.
    negative_slope
        Slope :math:`a` of the activation :math:`\varphi` on negative inputs: 0 is ReLU, 1 is linear.

    Raises
    ------
    TypeError
        If a tensor is not one, is not of the readout's floating dtype, or ``negative_slope`` not a number.
    ValueError
        If a shape or a device does not fit, or the number of biases is not that of the layers.

    Examples
    --------
    >>> network = Network((torch.ones(5, 8, 3),), torch.ones(5, 8))
    >>> network
    Network(batch=5, widths=(3, 8), outputs=1, biases=False, negative_slope=0, dtype=float32, device=cpu)
    >>> network[1:3].batch, network.to(dtype=torch.float64).dtype
    (2, torch.float64)
    """

    weights: tuple[Tensor, ...]
    readout: Tensor
    biases: tuple[Tensor, ...] | None = None
    negative_slope: float = 0.0

    def __post_init__(self) -> None:
        slope = _validation.number(self.negative_slope, "negative_slope")
        if not isinstance(self.readout, Tensor) or not self.readout.dtype.is_floating_point:
            raise TypeError(f"readout must be a real floating tensor, got {_validation.kind(self.readout)}")
        self._dense(self.readout, "readout")
        if self.readout.ndim not in (2, 3) or 0 in self.readout.shape[1:]:
            raise ValueError(
                f"readout must have shape (batch, n_L) or (batch, C, n_L), got {tuple(self.readout.shape)}"
            )
        weights = self._alike(self.weights, "weights")
        for l, W in enumerate(weights):
            fan_in = weights[l - 1].shape[1] if l else W.shape[-1] if W.ndim else 0
            self._shaped(W, ("n", fan_in or "n"), f"weights[{l}]")
        if weights and weights[-1].shape[1] != self.readout.shape[-1]:
            wanted = weights[-1].shape[1]
            raise ValueError(f"readout must have {wanted} columns, one a neuron, got {tuple(self.readout.shape)}")
        biases = self.biases
        if biases is not None:
            biases = self._alike(biases, "biases")
            sizes = [*((W.shape[1],) for W in weights), self.readout.shape[1:-1]]
            if len(biases) != len(sizes):
                raise ValueError(f"biases must be given for all {len(sizes)} layers or for none, got {len(biases)}")
            for l, (b, size) in enumerate(zip(biases, sizes, strict=True)):
                self._shaped(b, size, f"biases[{l}]")
        for name, value in {"weights": weights, "biases": biases, "negative_slope": slope}.items():
            object.__setattr__(self, name, value)

    def _alike(self, tensors: Iterable[Tensor], name: str) -> tuple[Tensor, ...]:
        """Return a tuple of tensors of the readout's dtype and device."""
        if isinstance(tensors, Tensor) or not isinstance(tensors, Iterable):
            raise TypeError(f"{name} must be a sequence of tensors, got {_validation.kind(tensors)}")
        tensors = tuple(tensors)
        for l, tensor in enumerate(tensors):
            if not isinstance(tensor, Tensor) or tensor.dtype != self.dtype:
                raise TypeError(
                    f"{name}[{l}] must be a tensor of the readout's dtype {self.dtype}, got {_validation.kind(tensor)}"
                )
            self._dense(tensor, f"{name}[{l}]")
            if tensor.device != self.device:
                raise ValueError(f"{name}[{l}] must lie on the readout's device {self.device}, got {tensor.device}")
        return tensors

    @staticmethod
    def _dense(tensor: Tensor, name: str) -> None:
        """Refuse a sparse or nested tensor; one on the meta device has all that a network checks."""
        if not tensor.is_meta:
            _validation.dense(tensor, name)

    def _shaped(self, tensor: Tensor, sizes: Sequence[int | str], name: str) -> None:
        """Refuse a tensor of another shape than the batch and these sizes, of which ``"n"`` is any but 0."""
        wanted = (self.batch, *sizes)
        fits = [found == size or (size == "n" and found) for found, size in zip(tensor.shape, wanted, strict=False)]
        if tensor.ndim != len(wanted) or not all(fits) or (self.batch and not tensor.numel()):
            shape = ", ".join(str(size) for size in wanted)
            raise ValueError(f"{name} must have shape ({shape}), got {tuple(tensor.shape)}")

    @classmethod
    def from_module(cls, module: nn.Module) -> Network:
        """Return the network that a plain torch module is, as a batch of one.

        Parameters
        ----------
        module
            An :class:`torch.nn.Sequential` of linear layers with one and the same ReLU or leaky ReLU between any two
            of them. Biases are those of the layers, 0 where a layer has none and another has.

        Returns
        -------
        Network
            With a readout ``(1, C, n_L)``. Its tensors are views of the module's parameters.

        Raises
        ------
        TypeError
            If ``module`` is not an :class:`torch.nn.Sequential`, or holds a module of another kind.
        ValueError
            If linear layers and activations do not alternate, slopes differ, or a layer has no shape yet.

        Examples
        --------
        >>> module = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> Network.from_module(module)
        Network(batch=1, widths=(3, 8), outputs=2, biases=True, negative_slope=0, dtype=float32, device=cpu)
        """
        if not isinstance(module, nn.Sequential):
            raise TypeError(f"module must be a torch.nn.Sequential, got {_validation.kind(module)}")
        parts = list(module)
        slopes = [_slope(part, 2 * l + 1) for l, part in enumerate(parts[1::2])]
        layers = [_linear(part, 2 * l) for l, part in enumerate(parts[::2])]
        if len(layers) != len(slopes) + 1:
            raise ValueError(f"module must start and end with a torch.nn.Linear, got {len(parts)} modules in a row")
        if len(set(slopes)) > 1:
            raise ValueError(f"module must have one activation, got the negative slopes {slopes}")
        *weights, readout = (layer.weight.unsqueeze(0) for layer in layers)
        biases = None
        if any(layer.bias is not None for layer in layers):
            given = [
                layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias for layer in layers
            ]
            biases = tuple(b.unsqueeze(0) for b in given)
        return cls(tuple(weights), readout, biases, slopes[0] if slopes else 0.0)

    @classmethod
    def cat(cls, networks: Iterable[Network]) -> Network:
        """Join batches of networks of one kind into one batch.

        Parameters
        ----------
        networks
            At least one, of the same widths, outputs, slope and dtype, all with biases or all without.

        Returns
        -------
        Network
            All of them, in this order.

        Raises
        ------
        ValueError
            If there is none, or they differ in kind.

        Examples
        --------
        >>> one = Network((torch.ones(5, 8, 3),), torch.ones(5, 8))
        >>> Network.cat([one, one[:2]]).batch
        7
        """
        networks = list(networks)
        kinds = {(*(p.shape[1:] for p in net.parameters), net.depth, net.negative_slope, net.dtype) for net in networks}
        if len(kinds) != 1:
            raise ValueError(f"networks must be at least one, and all of one kind, got {networks}")
        return networks[0].with_parameters(map(torch.cat, zip(*(net.parameters for net in networks), strict=True)))

    @property
    def batch(self) -> int:
        """Number of networks."""
        return len(self.readout)

    @property
    def depth(self) -> int:
        """Number of layers :math:`L`, the readout not counted."""
        return len(self.weights)

    @property
    def widths(self) -> tuple[int, ...]:
        r""":math:`(n_0, \dots, n_L)`, input first."""
        return (*(W.shape[2] for W in self.weights), self.readout.shape[-1])

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of all tensors."""
        return self.readout.dtype

    @property
    def device(self) -> torch.device:
        """Device of all tensors."""
        return self.readout.device

    @property
    def matrices(self) -> tuple[Tensor, ...]:
        """All :math:`L + 1` matrices, the readout last as ``(batch, C, n_L)`` with :math:`C = 1` for one output."""
        return (*self.weights, self.readout if self.readout.ndim == 3 else self.readout.unsqueeze(1))

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """All tensors, weights first, then the readout, then biases if there are any."""
        return (*self.weights, self.readout, *(self.biases or ()))

    def with_parameters(self, parameters: Iterable[Tensor]) -> Network:
        """Return networks of the same kind with other tensors.

        Parameters
        ----------
        parameters
            In the order of :attr:`parameters`.

        Returns
        -------
        Network
            Of this slope.

        Raises
        ------
        TypeError
            As for the constructor.
        ValueError
            As for the constructor, and if there are more or fewer than this one has.
        """
        tensors = tuple(parameters)
        if len(tensors) != len(self.parameters):
            raise ValueError(f"parameters must be {len(self.parameters)} tensors, got {len(tensors)}")
        return self._with(tensors)

    def _with(self, tensors: tuple[Tensor, ...]) -> Network:
        biases = None if self.biases is None else tensors[self.depth + 1 :]
        return Network(tensors[: self.depth], tensors[self.depth], biases, self.negative_slope)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Network:
        """Move all tensors.

        Parameters
        ----------
        device, dtype
            As for :meth:`torch.Tensor.to`; unchanged when omitted.

        Returns
        -------
        Network
            This one if nothing changes.
        """
        device, dtype = self.device if device is None else torch.device(device), dtype or self.dtype
        return self if (device, dtype) == (self.device, self.dtype) else self._map(lambda p: p.to(device, dtype))

    def detach(self) -> Network:
        """Cut off the history of gradients.

        Returns
        -------
        Network
            The tensors are shared.
        """
        return self._map(Tensor.detach)

    def __getitem__(self, index: SupportsIndex | slice | Sequence[int] | Tensor) -> Network:
        """Choose networks of the batch; a single one is a batch of one."""
        if isinstance(index, slice) or (isinstance(index, Tensor) and index.ndim):
            return self._map(lambda p: p[index])
        chosen = list(index) if isinstance(index, Sequence) else [operator.index(index)]
        for number in chosen:
            if not -self.batch <= number < self.batch:
                raise IndexError(f"index must lie in [{-self.batch}, {self.batch - 1}], got {number}")
        return self._map(lambda p: p[chosen])

    def __len__(self) -> int:
        return self.batch

    def __repr__(self) -> str:
        shown = {
            "batch": self.batch,
            "widths": self.widths,
            "outputs": self.matrices[-1].shape[1],
            "biases": self.biases is not None,
            "negative_slope": f"{self.negative_slope:g}",
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": self.device,
        }
        return f"Network({', '.join(f'{name}={value}' for name, value in shown.items())})"

    def _map(self, function: Callable[[Tensor], Tensor]) -> Network:
        return self._with(tuple(map(function, self.parameters)))


def _linear(layer: nn.Module, position: int) -> nn.Linear:
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"module[{position}] must be a torch.nn.Linear, got {_validation.kind(layer)}")
    if nn.parameter.is_lazy(layer.weight):
        raise ValueError(f"module[{position}] has no shape yet: run one forward pass first")
    return layer


def _slope(activation: nn.Module, position: int) -> float:
    if isinstance(activation, nn.ReLU):
        return 0.0
    if isinstance(activation, nn.LeakyReLU):
        return activation.negative_slope
    raise TypeError(
        f"module[{position}] must be a torch.nn.ReLU or torch.nn.LeakyReLU, got {_validation.kind(activation)}"
    )

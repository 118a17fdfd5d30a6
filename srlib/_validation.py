"""Argument checks shared by the public functions: name the value, name the admissible range, change nothing."""

import math
from collections.abc import Iterable, Sequence
from numbers import Integral, Real

import torch
from torch import Tensor


def layer_shape(shape: Sequence[int]) -> tuple[int, int]:
    """Return ``(m, n)`` as positive integers."""
    try:
        m, n = shape
    except (TypeError, ValueError):
        raise ValueError(f"shape must be a pair (rows, columns), got {shape!r}") from None
    return width(m, "number of rows"), width(n, "number of columns")


def width(value: int, name: str) -> int:
    """Return a layer width as a positive integer."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return int(value)


def number(value: float, name: str, *, finite: bool = True) -> float:
    """Return a (finite) real number (a Python number or a zero-dimensional tensor or array) as a float."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a real number, got {value!r}")
    if finite and not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
    return float(value)


def positive(value: float, name: str) -> float:
    """Return a positive finite number as a float."""
    value = number(value, name)
    if value <= 0:
        raise ValueError(f"{name} must be positive, got {value}")
    return value


def stable_rank(value: float, k: int, name: str = "stable_rank") -> float:
    """Return a stable rank inside ``[1, k]`` as a float."""
    value = number(value, name, finite=False)
    if not 1 <= value <= k:  # neither does NaN
        raise ValueError(f"{name} must lie in [1, min(m, n)] = [1, {k}], got {value}")
    return value


def batch_shape(batch: int | Sequence[int]) -> tuple[int, ...]:
    """Return leading batch dimensions (each may be 0) as a tuple."""
    if not isinstance(batch, Integral | Iterable):
        raise TypeError(f"batch must be an integer or a sequence of integers, got {batch!r}")
    sizes = (batch,) if isinstance(batch, Integral) else tuple(batch)
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, Integral):
            raise TypeError(f"batch sizes must be integers of at least 0, got {batch!r}")
        if size < 0:
            raise ValueError(f"batch sizes must be integers of at least 0, got {batch!r}")
    return tuple(int(size) for size in sizes)


def floating_dtype(dtype: torch.dtype | None) -> torch.dtype:
    """Return a real floating dtype, torch's default one for ``None``."""
    dtype = torch.get_default_dtype() if dtype is None else dtype
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype must be a real floating type such as torch.float32, got {dtype}")
    return dtype


def matrix(W: Tensor, name: str = "W") -> Tensor:
    """Return a floating, finite tensor ``(..., m, n)`` in at least float32."""
    if not isinstance(W, Tensor) or not W.dtype.is_floating_point:
        raise TypeError(f"{name} must be a real floating tensor, got {kind(W)}")
    dense(W, name)
    if W.ndim < 2 or 0 in W.shape[-2:]:
        raise ValueError(f"{name} must have shape (..., m, n) with m, n >= 1, got {tuple(W.shape)}")
    if not finite(W):
        raise ValueError(f"{name} must have finite entries, got NaN or infinity")
    return W.to(compute_dtype(W.dtype))


def dense(x: Tensor, name: str) -> None:
    """Refuse a tensor that is nested or sparse, or that has a shape but no numbers."""
    if x.is_nested or x.layout is not torch.strided:
        raise TypeError(f"{name} must be a dense tensor, got {'a nested one' if x.is_nested else x.layout}")
    if x.is_meta:
        raise ValueError(f"{name} must hold numbers, got a tensor on the meta device")


def kind(value: object) -> str:
    """Return what a message calls a value of the wrong type: the dtype of a tensor, the type of anything else."""
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__


def inputs(
    x: Tensor,
    width: int,
    dtype: torch.dtype | None = None,
    *,
    batch: int | None = None,
    name: str = "x",
    of: str = "the weights' dtype",
) -> Tensor:
    """Return finite inputs ``(N, width)`` of a floating dtype; with ``batch`` also ``(batch, N, width)``."""
    if not isinstance(x, Tensor) or not x.dtype.is_floating_point or x.dtype != (dtype or x.dtype):
        wanted = "a floating tensor" if dtype is None else f"a tensor of {of} {dtype}"
        raise TypeError(f"{name} must be {wanted}, got {kind(x)}")
    dense(x, name)
    own = x.ndim == 3 and len(x) == batch
    if (x.ndim != 2 and not own) or x.shape[-1] != width:
        also = "" if batch is None else f"; inputs of each network's own have shape ({batch}, N, {width})"
        raise ValueError(f"{name} must have shape (N, n_0) = (N, {width}), got {tuple(x.shape)}{also}")
    if not finite(x):
        raise ValueError(f"{name} must have finite entries, got NaN or infinity")
    return x


def per_network(value: float | Sequence[float] | Tensor, batch: int, name: str, like: Tensor) -> Tensor:
    """Return one positive finite number for each network, in the dtype and on the device of another tensor."""
    numbers = value.tolist() if isinstance(value, Tensor) else value
    numbers = numbers if isinstance(numbers, Sequence) else [numbers] * batch
    if len(numbers) != batch:
        raise ValueError(f"{name} must be one number or one for each of the {batch} networks, got {len(numbers)}")
    result = like.new_tensor([positive(number, f"{name}[{b}]") for b, number in enumerate(numbers)])
    for b in (~((result > 0) & result.isfinite())).nonzero().flatten().tolist():
        raise ValueError(f"{name}[{b}] must lie in the range of {like.dtype}, got {numbers[b]}")
    return result


def finite(x: Tensor) -> bool:
    """Tell whether no entry is NaN or infinite, in one pass: both extremes of a tensor tell."""
    dense(x, "the tensor")
    x = x.detach().float() if x.dtype.itemsize == 1 else x.detach()  # eight bits have no extremes in torch
    return x.numel() == 0 or bool(torch.stack(x.aminmax()).isfinite().all())


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype to compute in: the given one, or float32 for anything shorter."""
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32

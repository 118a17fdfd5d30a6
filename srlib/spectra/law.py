"""What a law of singular values is, what it says of itself, and averages over its draws."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar, cast

import torch
from torch import Tensor

from srlib import _validation
from srlib._types import BatchFactory, Device, Factory, Sizes

__all__ = ["Average", "Law", "Levels", "deterministic", "mean_quartic_trace"]

#: Standard error, relative to the mean, to which a quartic trace is averaged.
PRECISION = 1e-3

#: Fewest draws that an average is taken over: the standard error is estimated from them.
FEWEST = 128


class Law(Protocol):
    r"""A law of relative singular values: any callable with this signature can be given to the random model.

    A law that does not draw may say so by an attribute ``levels(shape, stable_rank)``, which returns its
    :class:`Levels`; :func:`deterministic` makes such a law. Averages over it are then exact, and samples and exact
    simulations cheaper. Without the attribute a law is taken for one that draws.

    A law that has a shorter way to the whole matrix than singular values between Haar frames may offer it by an
    attribute ``matrices(shape, stable_rank, *, batch, generator, dtype, device)``, ``dtype`` float32 or float64. It
    returns matrices of spectral norm 1, shape ``(*batch, m, n)``, of the law that the frames would give them, or
    ``None`` where it has no such way at this shape and stable rank. :func:`srlib.ensemble.sample` asks it first;
    without the attribute it takes the frames.

    Parameters
    ----------
    shape
        Rows and columns :math:`(m, n)` of the matrix; :math:`k = \min(m, n)`.
    stable_rank
        :math:`r \in [1, k]`.
    batch
        Leading dimensions of the result.
    generator
        Source of randomness; torch's default one when omitted. Deterministic laws do not draw from it.
    dtype
        Floating dtype of the result; torch's default one when omitted. The computation is in float64.
    device
        Device of the result and of ``generator``.

    Returns
    -------
    Tensor
        Shape ``(*batch, k)``, descending, :math:`\sigma_1 = 1`, :math:`\sum_i \sigma_i^2 = r`.

    Raises
    ------
    TypeError
        If a size is not an integer, ``stable_rank`` not a number or ``dtype`` not floating.
    ValueError
        If ``stable_rank`` lies outside :math:`[1, k]`, or a side or batch size is out of range.
    """

    def __call__(
        self,
        shape: Sequence[int],
        stable_rank: float,
        *,
        batch: Sizes = (),
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: Device = None,
    ) -> Tensor: ...


class Levels(NamedTuple):
    """The one spectrum of a law that does not draw.

    Parameters
    ----------
    values
        Distinct singular values, descending, float64 on the CPU.
    multiplicities
        How often each occurs, integers.
    """

    values: Tensor
    multiplicities: Tensor


class _Deterministic(Law, Protocol):
    def levels(self, shape: Sequence[int], stable_rank: float) -> Levels: ...


T = TypeVar("T")
L = TypeVar("L", bound=Law)

#: What a spectrum is given as: singular values in descending order, and how often each occurs.
Spectrum = tuple[Sequence[float] | Tensor, Sequence[int] | Tensor]


class Average(NamedTuple, Generic[T]):
    """A mean over the draws of a law.

    Parameters
    ----------
    value
        The mean.
    error
        Its standard error; 0 where nothing is drawn.
    """

    value: T
    error: T


#: Laws that are functions of their arguments alone. What is computed of them is kept; any other callable may change.
_STATELESS: list[Law] = []


def stateless(law: L) -> L:
    """Mark a law of this package as a function of its arguments alone."""
    _STATELESS.append(law)
    return law


def kept(compute: Callable[..., T]) -> Callable[..., T]:
    """Keep the results of ``compute(law, ...)`` for stateless laws."""
    known: Callable[..., T] = functools.lru_cache(maxsize=4096)(compute)

    @functools.wraps(compute)
    def call(law: Law, *arguments: object) -> T:
        return (known if any(law is own for own in _STATELESS) else compute)(law, *arguments)

    return call


def offering(matrices: Callable[..., Tensor | None]) -> Callable[[L], L]:
    """Give a law of this package a way of its own to the whole matrix."""

    def offer(law: L) -> L:
        vars(law)["matrices"] = matrices
        return law

    return offer


def deterministic(spectrum: Callable[[tuple[int, int], float], Spectrum]) -> _Deterministic:
    """Make a law that does not draw from its spectrum.

    Parameters
    ----------
    spectrum
        Function of ``shape`` and ``stable_rank`` that returns the singular values in descending order, the largest
        exactly 1, and how often each occurs. It is called with arguments that are in range.

    Returns
    -------
    Law
        Of the name and the documentation of ``spectrum``, with an attribute ``levels``.

    Examples
    --------
    >>> @deterministic
    ... def one_gap(shape, stable_rank):
    ...     return (1.0, ((stable_rank - 2) / 2) ** 0.5, 0.0), (2, 2, min(shape) - 4)
    >>> one_gap((6, 8), 2.5)
    tensor([1.0000, 1.0000, 0.5000, 0.5000, 0.0000, 0.0000])
    >>> one_gap.levels((6, 8), 2.5)
    Levels(values=tensor([1.0000, 0.5000, 0.0000], dtype=torch.float64), multiplicities=tensor([2, 2, 2]))
    """

    def levels(shape: Sequence[int], stable_rank: float) -> Levels:
        sides = _validation.layer_shape(shape)
        given = spectrum(sides, _validation.stable_rank(stable_rank, min(sides)))
        values = torch.as_tensor(given[0], dtype=torch.float64, device="cpu")
        counts = torch.as_tensor(given[1], device="cpu")
        values, level = values[counts > 0].unique_consecutive(return_inverse=True)
        return Levels(values, torch.zeros_like(values, dtype=torch.int64).index_add_(0, level, counts[counts > 0]))

    def law(
        shape: Sequence[int],
        stable_rank: float,
        *,
        batch: Sizes = (),
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: Device = None,
    ) -> Tensor:
        sigma = torch.repeat_interleave(*levels(shape, stable_rank))
        batch, dtype = _validation.batch_shape(batch), _validation.floating_dtype(dtype)
        return torch.empty(*batch, len(sigma), dtype=dtype, device=device).copy_(sigma)

    own = {name: getattr(spectrum, name) for name in ("__module__", "__name__", "__qualname__", "__doc__")}
    for name, value in (own | {"levels": levels}).items():
        setattr(law, name, value)
    return cast("_Deterministic", law)


def levels(law: Law, shape: tuple[int, int], stable_rank: float) -> Levels | None:
    """Return the levels of a law, ``None`` of one that draws."""
    own = getattr(law, "levels", None)
    return None if own is None else Levels(*own(shape, stable_rank))


def matrices(law: Law, shape: tuple[int, int], stable_rank: float, options: BatchFactory) -> Tensor | None:
    """Return what a law draws in a way of its own, ``None`` if it has none."""
    own = getattr(law, "matrices", None)
    return None if own is None else cast("Tensor | None", own(shape, stable_rank, **options))


def each(compute: Callable[..., T], law: Law, layers: Sequence[tuple[tuple[int, int], float]]) -> list[T]:
    """Return ``compute(law, shape, stable_rank)`` of every layer, computed once for equal ones."""
    found = {layer: compute(law, *layer) for layer in dict.fromkeys(layers)}
    return [found[layer] for layer in layers]


def drawn(
    law: Law,
    shape: tuple[int, int],
    stable_rank: float,
    statistic: Callable[[Tensor], Tensor],
    enough: Callable[[Tensor], bool],
) -> Tensor:
    """Return a statistic of a law's own draws, from a generator with a fixed seed, of as many as are enough."""
    generator = torch.Generator().manual_seed(0)
    options: Factory = {"generator": generator, "dtype": torch.float64, "device": "cpu"}

    def draw(count: int) -> Tensor:
        sigma = law(shape, stable_rank, batch=count, **options)
        if not _validation.finite(sigma):  # no number of draws would be enough
            raise ValueError(f"law must draw finite singular values, got NaN or infinity at shape {shape}")
        return statistic(sigma)

    values = draw(2)
    while len(values) < FEWEST or not enough(values):
        values = torch.cat([values, draw(min(len(values), 2**22 // min(shape) + 1))])  # 32 MB at a time
    return values


def average(values: Tensor) -> Average[Tensor]:
    """Return the mean over the first dimension and its standard error, 0 if all are equal."""
    deviations = values - values[0]
    return Average(values[0] + deviations.mean(0), deviations.std(0) / math.sqrt(len(values)))


def mean_quartic_trace(law: Law, shape: Sequence[int], stable_rank: float) -> Average[float]:
    r"""Mean quartic trace of a law, the one number beyond the stable rank that second moments depend on.

    .. math:: q = \mathbb{E} \sum_i \sigma_i^4 .

    Exact for a law with :class:`Levels`. Any other one is averaged over its own draws, from a generator of its own
    with a fixed seed, until the standard error is below 1 part in 1,000.

    Parameters
    ----------
    law
        The law of the singular values.
    shape, stable_rank
        As for :class:`Law`.

    Returns
    -------
    Average
        The mean, within the range of :func:`srlib.rank.quartic_range`, and its standard error.

    Raises
    ------
    TypeError
        As the law itself.
    ValueError
        As the law itself, and if it draws what is not finite.

    Examples
    --------
    >>> from srlib.spectra import two_level
    >>> mean_quartic_trace(two_level, (4, 4), 1.75)
    Average(value=1.1875, error=0.0)
    """
    shape = _validation.layer_shape(shape)
    return _mean_quartic_trace(law, shape, _validation.stable_rank(stable_rank, min(shape)))


@kept
def _mean_quartic_trace(law: Law, shape: tuple[int, int], stable_rank: float) -> Average[float]:
    spectrum = levels(law, shape, stable_rank)
    if spectrum is not None:
        return Average((spectrum.values**4 @ spectrum.multiplicities.double()).item(), 0.0)

    def enough(traces: Tensor) -> bool:
        mean, error = average(traces)
        return bool(error <= PRECISION * mean)

    traces = drawn(law, shape, stable_rank, lambda sigma: sigma.pow(4).sum(-1), enough)
    return Average(*(part.item() for part in average(traces)))


def layer(shape: Sequence[int], stable_rank: float) -> tuple[int, float]:
    """Return the number of singular values and the checked stable rank of a layer."""
    k = min(_validation.layer_shape(shape))
    return k, _validation.stable_rank(stable_rank, k)

"""Laws of the singular values at a given stable rank (M1).

Every law has the signature of :class:`Law` and returns relative singular values: descending, the largest exactly 1,
their squares summing to the stable rank.
"""

import functools
import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from srlib import _validation

__all__ = ["Law", "mean_quartic_trace", "power_law", "projector", "two_level", "uniform_sphere"]

#: Sweeps of disjoint pair rotations that :func:`uniform_sphere` makes; see its docstring for the measurement.
SWEEPS = 64


class Law(Protocol):
    r"""A law of relative singular values: any callable with this signature can be given to the random model.

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
        batch: int | Sequence[int] = (),
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor: ...


def two_level(shape, stable_rank, *, batch=(), generator=None, dtype=None, device=None) -> Tensor:
    r"""One singular value at 1, all others equal: the smallest quartic trace at its stable rank (S1).

    .. math:: \sigma = \Bigl(1, \sqrt{\tfrac{r-1}{k-1}}, \dots, \sqrt{\tfrac{r-1}{k-1}}\Bigr) .

    Arguments, result and errors are those of :class:`Law`.

    Examples
    --------
    >>> two_level((3, 5), 1.5)
    tensor([1.0000, 0.5000, 0.5000])
    """
    k, r = _layer(shape, stable_rank)
    squares = torch.full((k,), (r - 1) / max(k - 1, 1), dtype=torch.float64)
    squares[0] = 1
    return _repeat(squares.sqrt(), batch, dtype, device)


def projector(shape, stable_rank, *, batch=(), generator=None, dtype=None, device=None) -> Tensor:
    r"""A projection of rank :math:`r`, with a remainder if :math:`r` is not whole: the largest quartic trace (S1).

    .. math::

        \sigma = \bigl(\underbrace{1, \dots, 1}_{\lfloor r\rfloor}, \sqrt{r - \lfloor r\rfloor}, 0, \dots, 0\bigr) .

    Arguments, result and errors are those of :class:`Law`.

    Examples
    --------
    >>> projector((4, 4), 2.25)
    tensor([1.0000, 1.0000, 0.5000, 0.0000])
    """
    k, r = _layer(shape, stable_rank)
    squares = (r - torch.arange(k, dtype=torch.float64)).clamp(0, 1)
    return _repeat(squares.sqrt(), batch, dtype, device)


def power_law(shape, stable_rank, *, batch=(), generator=None, dtype=None, device=None) -> Tensor:
    r"""Singular values that decay as a power of their index.

    .. math:: \sigma_i = i^{-\alpha}, \qquad \sum_{i=1}^k i^{-2\alpha} = r ,

    with the one exponent :math:`\alpha \in [0, \infty]` that solves the second equation, found by bracketing.

    Arguments, result and errors are those of :class:`Law`.

    Examples
    --------
    >>> power_law((3, 3), 1 + 1 / 4 + 1 / 9)
    tensor([1.0000, 0.5000, 0.3333])
    """
    k, r = _layer(shape, stable_rank)
    index = torch.arange(1, k + 1, dtype=torch.float64)
    squares = (index == 1).double() if r == 1 else index.pow(-2 * _decay_exponent(k, r))
    if 1 < r < k:
        squares[1:] *= (r - 1) / squares[1:].sum()  # the root's rounding error, spread over the tail
    return _repeat(squares.sqrt(), batch, dtype, device)


def uniform_sphere(shape, stable_rank, *, batch=(), generator=None, dtype=None, device=None) -> Tensor:
    r"""Uniform on the singular values allowed at this stable rank: a piece of a sphere inside a cube.

    .. math:: (\sigma_2, \dots, \sigma_k) \sim \mathrm{Unif}\,\bigl\{ u \in [0, 1]^{k-1} : \|u\|^2 = r - 1 \bigr\},
              \qquad \sigma_1 = 1 ,

    in descending order. Drawn by a Kac walk: pairs :math:`(\sigma_i, \sigma_j) = R\,(\cos\phi, \sin\phi)` get a
    new angle, uniform on the arc inside the square, which leaves the law unchanged; a sweep does this for
    disjoint random pairs of all coordinates at once. Started from the two-level spectrum, the mean quartic trace
    reaches its stationary value to 1 part in 1,000 within 32 sweeps at the slowest setting measured
    (:math:`k` from 3 to 256, :math:`r/k` from 0.05 to 0.95); the walk makes 64.

    Arguments, result and errors are those of :class:`Law`.

    Examples
    --------
    >>> sigma = uniform_sphere((6, 6), 2.5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> f"{sigma.max():.1f}, {sigma.square().sum():.6f}"
    '1.0, 2.500000'
    """
    k, r = _layer(shape, stable_rank)
    batch, dtype = _validation.batch_shape(batch), _validation.floating_dtype(dtype)
    sigma = two_level(shape, r, batch=batch, dtype=torch.float64, device=device)
    if 1 < r < k and k > 2:
        tail = sigma[..., 1:]
        for _ in range(SWEEPS):
            tail = _rotate_pairs(tail, generator)
        tail *= ((r - 1) / tail.square().sum(-1, keepdim=True)).sqrt()  # undo the drift of the walk's rounding
        sigma[..., 1:] = tail.clamp(max=1).sort(dim=-1, descending=True).values
    return sigma.to(dtype)


def mean_quartic_trace(law: Law, shape: Sequence[int], stable_rank: float) -> float:
    r"""Mean quartic trace of a law, the one number beyond the stable rank that second moments depend on.

    .. math:: q = \mathbb{E} \sum_i \sigma_i^4 .

    Exact for a deterministic law. A law that draws is averaged over its own draws, from a generator of its own with
    a fixed seed, until the standard error is below 1 part in 1,000.

    Parameters
    ----------
    law
        The law of the singular values.
    shape, stable_rank
        As for :class:`Law`.

    Returns
    -------
    float
        Within the range of :func:`srlib.rank.quartic_range`.

    Raises
    ------
    TypeError, ValueError
        As the law itself.

    Examples
    --------
    >>> mean_quartic_trace(two_level, (4, 4), 2.5)
    1.75
    """
    shape = _validation.layer_shape(shape)
    return _mean_quartic_trace(law, shape, _validation.stable_rank(stable_rank, min(shape)))


@functools.lru_cache(maxsize=4096)
def _mean_quartic_trace(law: Law, shape: tuple[int, int], stable_rank: float) -> float:
    generator = torch.Generator().manual_seed(0)

    def draw(count: int) -> Tensor:
        return law(shape, stable_rank, batch=count, generator=generator, dtype=torch.float64).pow(4).sum(-1)

    before = generator.get_state()
    traces = draw(2)
    if traces[0] == traces[1] and torch.equal(generator.get_state(), before):
        return traces[0].item()  # nothing was drawn: a deterministic law
    while len(traces) < 128 or traces.std() > 1e-3 * traces.mean() * math.sqrt(len(traces)):
        traces = torch.cat([traces, draw(min(len(traces), 2**22 // min(shape) + 1))])  # 32 MB at a time
    return traces.mean().item()


def _layer(shape: Sequence[int], stable_rank: float) -> tuple[int, float]:
    k = min(_validation.layer_shape(shape))
    return k, _validation.stable_rank(stable_rank, k)


def _repeat(sigma: Tensor, batch: int | Sequence[int], dtype: torch.dtype | None, device) -> Tensor:
    batch, dtype = _validation.batch_shape(batch), _validation.floating_dtype(dtype)
    return sigma.to(device, dtype).repeat(*batch, 1)


def _decay_exponent(k: int, r: float) -> float:
    if r == k:
        return 0.0
    from scipy.optimize import brentq  # here, since importing it costs more than all of srlib

    index = torch.arange(2, k + 1, dtype=torch.float64)
    steepest = math.log2((k - 1) / (r - 1)) / 2 + 1  # every term of the tail is at most 2^(-2 alpha); 1 for rounding
    return brentq(lambda alpha: index.pow(-2 * alpha).sum().item() - (r - 1), 0.0, steepest, xtol=1e-15)


def _rotate_pairs(tail: Tensor, generator: torch.Generator | None) -> Tensor:
    *batch, size = tail.shape
    options = {"generator": generator, "dtype": tail.dtype, "device": tail.device}
    order = torch.rand(tail.shape, **options).argsort(-1)
    first, second = order[..., : size // 2], order[..., size // 2 : 2 * (size // 2)]
    x, y = tail.gather(-1, first), tail.gather(-1, second)
    radius = torch.hypot(x, y)
    lowest = torch.arccos((1 / radius).clamp(max=1))  # beyond radius 1 the square cuts both ends of the arc
    angle = lowest + (math.pi / 2 - 2 * lowest) * torch.rand(*batch, size // 2, **options)
    tail = tail.scatter(-1, first, (radius * angle.cos()).clamp(max=1))
    return tail.scatter(-1, second, (radius * angle.sin()).clamp(max=1))

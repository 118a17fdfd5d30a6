"""What a law of singular values is, and the one number of it that second moments need."""

import functools
import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from srlib import _validation

__all__ = ["Law", "mean_quartic_trace"]


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
    >>> from srlib.spectra import two_level
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


def layer(shape: Sequence[int], stable_rank: float) -> tuple[int, float]:
    """Return the number of singular values and the checked stable rank of a layer."""
    k = min(_validation.layer_shape(shape))
    return k, _validation.stable_rank(stable_rank, k)


def repeat(sigma: Tensor, batch: int | Sequence[int], dtype: torch.dtype | None, device) -> Tensor:
    """Return one deterministic spectrum for the whole batch."""
    batch, dtype = _validation.batch_shape(batch), _validation.floating_dtype(dtype)
    return sigma.to(device, dtype).repeat(*batch, 1)

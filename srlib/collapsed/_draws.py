"""What both simulations draw: random numbers for a chunk of networks, and the groups of equal singular values."""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from srlib import _validation
from srlib.spectra import Law

#: Numbers that one array of a chunk of networks may hold (32 MB in float64).
_BUDGET = 2**22


def chunks(samples: int, chunk_size: int | None, numbers: int) -> list[int]:
    """Return the sizes of the chunks, where a network takes an array of so many ``numbers``."""
    size = max(1, _BUDGET // numbers) if chunk_size is None else _validation.width(chunk_size, "chunk_size")
    return [min(size, samples - start) for start in range(0, samples, size)]


@dataclass(frozen=True)
class Draws:
    """Random numbers for a chunk of samples: each of shape ``(samples, size)``."""

    samples: int
    generator: torch.Generator | None
    dtype: torch.dtype
    device: torch.device | str | None

    def constant(self, values) -> Tensor:
        return torch.as_tensor(values, dtype=self.dtype, device=self.device).expand(self.samples, -1)

    def normal(self, size: int) -> Tensor:
        return torch.randn(self.samples, size, generator=self.generator, dtype=self.dtype, device=self.device)

    def chi2(self, degrees: Tensor) -> Tensor:
        if degrees.max() <= 1:
            return degrees * self.normal(degrees.shape[-1]).square()
        return torch.where(degrees > 0, 2 * torch._standard_gamma(degrees / 2, generator=self.generator), 0.0)

    def coins(self, count: int) -> Tensor:
        fair = torch.full_like(self.constant([count]), 0.5)
        return torch.binomial(self.constant([count]).contiguous(), fair, generator=self.generator)

    def spectrum(self, law: Law, shape: tuple[int, int], r: float) -> Tensor:
        options = {"generator": self.generator, "dtype": self.dtype, "device": self.device}
        return law(shape, r, batch=self.samples, **options)


@functools.lru_cache(maxsize=64)
def levels(law: Law, shape: tuple[int, int], stable_rank: float) -> tuple[Tensor, Tensor] | None:
    """Return the different singular values of a law and how often each occurs, ``None`` if the law is random."""
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    first, second = law(shape, stable_rank, batch=2, generator=generator, dtype=torch.float64)
    if not torch.equal(generator.get_state(), before) or not torch.equal(first, second):
        return None
    values, count = first.unique_consecutive(return_counts=True)
    return values, count.double()

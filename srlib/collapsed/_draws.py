"""What both simulations draw: random numbers for a block of networks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor

from srlib._types import Device, Factory
from srlib.spectra import Law

#: Numbers in the largest array of a block of networks (32 MB in float64). Blocks draw one after the other, so this is
#: a part of the stream: another value gives other networks of the same law.
BLOCK = 2**22


def blocks(samples: int, numbers: int) -> list[int]:
    """Return the sizes of the blocks, where a network takes an array of so many ``numbers``."""
    size = max(1, BLOCK // numbers)
    return [min(size, samples - start) for start in range(0, samples, size)]


@dataclass(frozen=True)
class Draws:
    """Random numbers for a block of samples: each of shape ``(samples, size)``."""

    samples: int
    generator: torch.Generator | None
    dtype: torch.dtype
    device: Device

    def constant(self, values: Sequence[float] | Tensor) -> Tensor:
        return torch.as_tensor(values, dtype=self.dtype, device=self.device).expand(self.samples, -1)

    def normal(self, size: int) -> Tensor:
        return _normal(self.samples, size, generator=self.generator, dtype=self.dtype, device=self.device)

    def chi2(self, degrees: Tensor) -> Tensor:
        return chi2(degrees, self.generator)

    def coins(self, count: int) -> Tensor:
        fair = torch.full_like(self.constant([count]), 0.5)
        return torch.binomial(self.constant([count]).contiguous(), fair, generator=self.generator)

    def spectrum(self, law: Law, shape: tuple[int, int], r: float) -> Tensor:
        options: Factory = {"generator": self.generator, "dtype": self.dtype, "device": self.device}
        return law(shape, r, batch=self.samples, **options)


def chi2(degrees: Tensor, generator: torch.Generator | None) -> Tensor:
    r"""Draw chi-squared variables of whole degrees of freedom: the squared norms of Gaussian vectors.

    Up to one degree it is a square. Beyond, :math:`2d(1 + t)^3` with :math:`d = \nu/2 - 1/3` and
    :math:`t = z / \sqrt{9d}`, accepted with probability
    :math:`\exp\bigl(3d(\log(1 + t) - t + t^2/2 - t^3/3)\bigr)` (Marsaglia and Tsang 2000), more than 0.95 on average.
    Only what was rejected is drawn again. Another processor decides otherwise, and then draws other numbers from there
    on, only where both sides agree to rounding: once in about :math:`10^{15}` decisions in float64.
    """
    options: Factory = {"generator": generator, "dtype": degrees.dtype, "device": degrees.device}
    every = degrees.flatten()
    z = _normal(len(every), **options)
    result = every.clamp(max=1) * z.square()
    left = (every > 1).nonzero().squeeze(1)
    d, z = every[left] / 2 - 1 / 3, z[left]
    while len(left):
        t = z / (9 * d).sqrt()
        result[left] = 2 * d * (1 + t) ** 3
        likelihood = 3 * d * (t.log1p() - t + t.square() / 2 - t**3 / 3)  # not a number for t < -1
        rejected = ~(torch.rand(len(left), **options).log() < likelihood)
        left, d = left[rejected], d[rejected]
        z = _normal(len(left), **options)
    return result.view(degrees.shape)


def _normal(*shape: int, **options: Unpack[Factory]) -> Tensor:
    """Draw standard normal numbers, none of them exactly 0: a vector of one number must have a direction."""
    z = torch.randn(*shape, **options)
    return z.masked_fill_(z == 0, torch.finfo(z.dtype).eps)

"""What both simulations draw: random numbers for a block of networks."""

from collections.abc import Sequence
from dataclasses import dataclass

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
        return torch.randn(self.samples, size, generator=self.generator, dtype=self.dtype, device=self.device)

    def chi2(self, *degrees: Tensor) -> tuple[Tensor, ...]:
        return chi2(torch.cat(degrees, -1), self.generator).split([part.shape[-1] for part in degrees], -1)

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
    result, left = torch.zeros_like(every), every.nonzero().squeeze(1)
    nu, z = every[left], torch.randn(len(left), **options)
    result[left] = z.square().clamp_(min=torch.finfo(z.dtype).tiny)  # a vector of one number must have a direction
    more = nu > 1
    left, d, z = left[more], nu[more].div_(2).sub_(1 / 3), z[more]
    while len(left):
        t = z / (9 * d).sqrt_()
        result[left] = (1 + t).pow_(3).mul_(d).mul_(2)
        log_probability = (t.log1p() - t * (1 - t * (1 / 2 - t / 3))).mul_(d).mul_(3)  # not a number for t < -1
        rejected = ~(torch.rand(len(left), **options).log_() < log_probability)
        left, d = left[rejected], d[rejected]
        z = torch.randn(len(left), **options)
    return result.view(degrees.shape)

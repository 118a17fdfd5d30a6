"""Types that several signatures share."""

from collections.abc import Sequence
from typing import TypedDict

import torch

#: Where a tensor lies; torch's default device for ``None``.
Device = torch.device | str | None
#: Leading dimensions of a batch.
Sizes = int | Sequence[int]


class Factory(TypedDict, total=False):
    """How a tensor is made: the options that torch's random factories share."""

    generator: torch.Generator | None
    dtype: torch.dtype | None
    device: Device


class BatchFactory(Factory, total=False):
    """Those of the package's own: a batch besides."""

    batch: Sizes

"""Minibatches: the order of the data of every network."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def batches(seeds: Sequence[int], inputs: int, size: int) -> Iterator[Tensor]:
    """Yield the indices ``(batch, size)`` of one step after the other, for ever.

    Every epoch is a new random order of all inputs, one for each seed; what is left over at its end is not used.
    """
    generators = {seed: torch.Generator("cpu").manual_seed(seed) for seed in seeds}
    while True:
        orders = {seed: torch.randperm(inputs, generator=g, device="cpu") for seed, g in generators.items()}
        none = torch.empty(0, inputs, dtype=torch.int64, device="cpu")
        epoch = torch.stack([orders[seed] for seed in seeds]) if seeds else none
        yield from epoch.split(size, 1)[: inputs // size]

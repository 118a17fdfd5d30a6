"""The scaling curves: seconds of one call against width, depth, inputs or batch, and the machine's limit for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

import srlib
from benchmarks.measure import Call
from benchmarks.rows import inputs, network
from srlib import Ensemble, collapsed, ntk, spectra


@dataclass(frozen=True)
class Curve:
    """How one call grows."""

    id: str
    xs: Sequence[int]
    build: Callable[[int, str], Call]  # from a point and a device
    operations: Callable[[int], float] | None = None  # of matrix products in a call
    bytes: Callable[[int], float] | None = None  # that a call has to write


def orthogonal(n: int, device: str) -> Call:
    W = torch.empty(n, n, device=device)
    return lambda: torch.nn.init.orthogonal_(W)


def sampler(law: spectra.Law) -> Callable[[int, str], Call]:
    return lambda n, device: lambda: srlib.sample((n, n), n / 4, law=law, dtype=torch.float32, device=device)


def batched(n: int) -> Callable[[int, str], Call]:
    return lambda batch, device: lambda: srlib.sample((n, n), n / 4, batch=batch, dtype=torch.float32, device=device)


def empirical(width: int, depth: int, count: int, batch: int, device: str) -> Call:
    widths = (784, *[width] * depth)
    net, x = network(widths, device, batch=batch), inputs(count, 784, device)
    return lambda: ntk.empirical(net, x)


def operations(*size: int) -> float:
    with FlopCounterMode(display=False) as counter:
        empirical(*size, "cpu")()
    return counter.get_total_flops()


def infinite(count: int, depth: int, device: str) -> Call:
    ensemble = Ensemble((784, *[512] * depth), 128).preserving()
    x = inputs(count, 784, device, dtype=torch.float64)
    return lambda: ntk.infinite(ensemble, x)


def simulation(width: int, depth: int, samples: int, law: spectra.Law, device: str) -> Call:
    ensemble = Ensemble((width,) * (depth + 1), width / 4, law=law).preserving()
    return lambda: collapsed.simulate(ensemble, samples, device=device)


def features(width: int, depth: int, count: int, device: str) -> Call:
    ensemble = Ensemble((width,) * (depth + 1), width / 4).preserving()
    x = inputs(count, width, device, dtype=torch.float64)
    return lambda: collapsed.features(ensemble, x, 1, device=device)


def curves() -> list[Curve]:
    """Return the published curves. A label after a colon tells the curves of one panel apart."""
    sides = (128, 256, 512, 1024, 2048)
    haar = lambda n: 4 / 3 * n**3  # noqa: E731  (products of reflections)
    laws = [spectra.two_level, spectra.projector, spectra.power_law]
    wide, deep = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000), (10, 30, 100, 300, 1_000, 3_000, 10_000)
    return [
        Curve("sampler-width:orthogonal_", sides, orthogonal),
        *(Curve(f"sampler-width:{law.__name__}", sides, sampler(law), haar) for law in laws),
        Curve("sampler-batch", (1, 10, 100, 1_000, 10_000), batched(32)),
        Curve(
            "empirical-depth",
            (1, 2, 4, 8, 16, 32),
            lambda depth, device: empirical(512, depth, 100, 1, device),
            lambda depth: operations(512, depth, 100, 1),
        ),
        Curve(
            "empirical-inputs",
            (10, 30, 100, 300, 1_000, 3_000),
            lambda count, device: empirical(512, 4, count, 1, device),
            lambda count: operations(512, 4, count, 1),
        ),
        Curve(
            "empirical-batch",
            (1, 3, 10, 30, 100),
            lambda batch, device: empirical(256, 4, 100, batch, device),
            lambda batch: operations(256, 4, 100, batch),
        ),
        Curve(
            "infinite-inputs",
            (100, 300, 1_000, 3_000, 6_000),
            lambda count, device: infinite(count, 10, device),
            bytes=lambda count: 2 * 8 * count**2,
        ),
        Curve(
            "infinite-depth",
            (1, 3, 10, 30, 100),
            lambda depth, device: infinite(1_000, depth, device),
            bytes=lambda depth: 2 * 8 * 1_000**2,
        ),
        Curve("simulation-width:power_law", wide, lambda n, device: simulation(n, 100, 1, spectra.power_law, device)),
        Curve("simulation-width:two_level", wide, lambda n, device: simulation(n, 100, 1, spectra.two_level, device)),
        Curve("simulation-depth:power_law", deep, lambda L, device: simulation(1_000, L, 1, spectra.power_law, device)),
        Curve("simulation-depth:two_level", deep, lambda L, device: simulation(1_000, L, 1, spectra.two_level, device)),
        Curve(
            "simulation-batch:power_law",
            (1, 10, 100, 1_000),
            lambda samples, device: simulation(1_000, 10, samples, spectra.power_law, device),
        ),
        Curve(
            "simulation-batch:two_level",
            (1, 10, 100, 1_000, 10_000, 100_000),
            lambda samples, device: simulation(1_000, 10, samples, spectra.two_level, device),
        ),
        Curve("features-width", wide, lambda n, device: features(n, 10, 8, device)),
        Curve("features-inputs", (1, 3, 10, 30, 100), lambda count, device: features(10_000, 10, count, device)),
    ]

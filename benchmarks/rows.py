"""The table: what is measured, against which recipe, and what is wanted."""

import contextlib
import io
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

import srlib
from benchmarks import measure, peers
from benchmarks.measure import Call
from srlib import Ensemble, collapsed, ntk, spectra


@dataclass(frozen=True)
class Contest:
    """Our call, that of the peer if there is one, and how many calls of the peer one of ours is worth."""

    ours: Call
    peer: Call | None = None
    worth: float = 1.0

    @property
    def calls(self) -> dict[str, Call]:
        return {"ours": self.ours} | ({} if self.peer is None else {"peer": self.peer})


@dataclass(frozen=True)
class Row:
    """One comparison."""

    id: str
    work: str
    peer: str
    quantity: str  # time ratio (ours over theirs), speed-up (theirs over ours), share (of the peer's rate), seconds
    target: float  # at most for a time ratio and for seconds, at least otherwise
    build: Callable[[str], Contest]  # from a device
    memory: bool = True  # whether its memory is that of the process

    def values(self, contest: Contest, seconds: dict[str, list[float]]) -> list[float]:
        """Return the quantity, repeat by repeat."""
        if self.quantity == "seconds":
            return seconds["ours"]
        pairs = zip(seconds["ours"], seconds["peer"], strict=True)
        ratios = [ours / (contest.worth * peer) for ours, peer in pairs]
        return ratios if self.quantity == "time ratio" else [1 / ratio for ratio in ratios]

    def holds(self, value: float) -> bool:
        return value <= self.target if self.quantity in ("time ratio", "seconds") else value >= self.target


def network(widths: tuple[int, ...], device: str, *, batch: int = 1) -> srlib.Network:
    generator = torch.Generator(device).manual_seed(0)
    ensemble = Ensemble(widths, min(widths) / 4).preserving()
    return ensemble.sample(batch, generator=generator, dtype=torch.float32, device=device)


def inputs(count: int, width: int, device: str, *, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator(device).manual_seed(1), dtype=dtype, device=device)


def sampling(n: int, law: spectra.Law, device: str, *, share: float = 1 / 4) -> Contest:
    W = torch.empty(n, n, device=device)
    draw = partial(srlib.sample, (n, n), share * n, law=law, dtype=torch.float32, device=device)
    return Contest(draw, lambda: torch.nn.init.orthogonal_(W))


def empirical(widths: tuple[int, ...], count: int, device: str) -> Contest:
    net, x = network(widths, device), inputs(count, widths[0], device)
    model = peers.perceptron(net)
    return Contest(lambda: ntk.empirical(net, x), lambda: peers.jacobian_contraction(model, x, x))


def large_products(widths: tuple[int, ...], count: int, device: str) -> Contest:
    """The kernel against products of large matrices with as many operations in all."""
    net, x = network(widths, device), inputs(count, widths[0], device)
    call, operations = measure.product(torch.float32, device)
    with FlopCounterMode(display=False) as counter:
        ntk.empirical(net, x)
    return Contest(lambda: ntk.empirical(net, x), call, worth=counter.get_total_flops() / operations)


def own_products(widths: tuple[int, ...], count: int, device: str) -> Contest:
    """The kernel against nothing but its own matrix products."""
    net, x = network(widths, device), inputs(count, widths[0], device)
    layers = [W[0] for W in net.weights]
    features, deltas = ([torch.randn(n, count, device=device) for n in sizes] for sizes in (widths, widths[1:]))

    def products() -> None:
        for W, h in zip(layers, features, strict=False):
            W @ h
        for W, delta in zip(layers[1:], deltas[1:], strict=True):
            W.mT @ delta
        for vectors in (*features, *deltas):
            vectors.mT @ vectors

    return Contest(lambda: ntk.empirical(net, x), products)


def infinite(count: int, depth: int, dtype: torch.dtype, device: str) -> Contest:
    ensemble = Ensemble((784, *[512] * depth), 128).preserving()
    x = inputs(count, 784, device, dtype=dtype)
    return Contest(lambda: ntk.infinite(ensemble, x), lambda: peers.gram_recursion(ensemble, x))


def kernel_law(width: int, depth: int, networks: int, device: str) -> Contest:
    ensemble = Ensemble((width,) * (depth + 1), width / 4).preserving()
    generator = torch.Generator(device).manual_seed(0)
    x = torch.nn.functional.normalize(inputs(1, width, device), dim=-1)
    return Contest(
        lambda: collapsed.simulate(ensemble, networks, generator=generator, dtype=torch.float32, device=device),
        lambda: peers.dense_law(ensemble, x, generator),
        worth=networks,
    )


def importing(device: str) -> Contest:
    def call(name: str) -> Call:
        return lambda: subprocess.run([sys.executable, "-c", f"import {name}"], check=True)

    return Contest(call("srlib"), call("torch"))


def quick_start(device: str) -> Contest:
    readme = (Path(__file__).resolve().parent.parent / "README.md").read_text()
    code = compile(re.search(r"```python\n(.*?)```", readme, re.DOTALL)[1], "README.md", "exec")

    def call() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(code, {})

    return Contest(call)


def table() -> list[Row]:
    """Return the published rows."""
    rows = []
    targets = {
        "two_level": ("a two-level matrix", 0.75),
        "projector": ("a projector of rank n/4", 0.3),
        "power_law": ("any spectrum: power law", 1.3),
        "uniform_sphere": ("any spectrum: uniform law", 1.3),
    }
    for name, (text, target) in targets.items():
        rows += [
            Row(
                f"sample-{name}-{n}",
                f"draw {text}, n = {n}",
                "`torch.nn.init.orthogonal_`",
                "time ratio",
                target,
                partial(sampling, n, getattr(spectra, name)),
            )
            for n in (1024, 2048)
        ]
    rows += [
        Row(
            f"sample-conditioned_gaussian-{n}",
            f"draw a Gaussian matrix of stable rank n/5, n = {n}",
            "`torch.nn.init.orthogonal_`",
            "time ratio",
            2,
            partial(sampling, n, spectra.conditioned_gaussian, share=1 / 5),
        )
        for n in (256, 1024)
    ]
    for widths, count in (((784, *[512] * 4), 100), ((784, *[1024] * 6), 60)):
        work = f"empirical kernel, 784 → {widths[1]} × {len(widths) - 1}, {count} inputs"
        key = f"{widths[1]}x{len(widths) - 1}"
        contraction = "`torch.func` Jacobians, contracted"
        rows += [
            Row(f"empirical-{key}", work, contraction, "speed-up", 100, partial(empirical, widths, count)),
            Row(f"large-{key}", work, "large matrix products", "share", 0.7, partial(large_products, widths, count)),
            Row(f"own-{key}", work, "its own matrix products", "share", 0.7, partial(own_products, widths, count)),
        ]
    rows += [
        Row(
            f"infinite-{name}",
            f"infinite-width kernel, 3,000 inputs, depth 10, {name}",
            "recursion on all pairs",
            "speed-up",
            8,
            partial(infinite, 3000, 10, getattr(torch, name)),
        )
        for name in ("float32", "float64")
    ]
    dense = "dense networks and one pass"
    work = "law of one input's kernel, width 1,024, depth 10"
    return [
        *rows,
        Row("law", work, dense, "speed-up", 1000, partial(kernel_law, 1024, 10, 1000)),
        Row("import", "`import srlib`, in a new process", "`import torch`", "time ratio", 1.25, importing, False),
        Row("quick-start", "the quick start of the README, after its imports", "", "seconds", 1, quick_start),
    ]

"""Seconds of contenders in turn, peak memory of one call, and what the machine itself can do."""

import os
import platform
import re
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from timeit import Timer

import torch
from torch.utils.benchmark import timer

from workflow.project import processor, quartiles

Call = Callable[[], object]

#: Sizes at which the machine's own limits are measured: side of a matrix product, numbers in a copy.
PRODUCT, COPY = 2048, 2**25


def alternate(calls: Mapping[str, Call], repeats: int, least: float = 0.2) -> dict[str, list[float]]:
    """Return the seconds that a call takes, for each contender, measured in turn so that drift hits all alike.

    A measurement repeats a call until about ``least`` seconds have passed; a first one, not counted, warms up.
    """
    clocks = {name: Timer(call, timer=timer) for name, call in calls.items()}  # torch's waits for a GPU
    counts = {}
    for name, clock in clocks.items():
        clock.timeit(1)
        counts[name] = max(1, round(least / clock.timeit(1)))
    rounds = [{name: clock.timeit(counts[name]) for name, clock in clocks.items()} for _ in range(repeats)]
    return {name: [seconds[name] / counts[name] for seconds in rounds] for name in calls}


def spread(values: list[float]) -> dict[str, float]:
    """Return the median and the quartiles."""
    return dict(zip(("low", "median", "high"), quartiles(values), strict=True))


def product(dtype: torch.dtype, device: str) -> tuple[Call, float]:
    """Return a square matrix product, whose rate is the machine's own, and its number of operations."""
    A = torch.randn(PRODUCT, PRODUCT, dtype=dtype, device=device)
    return lambda: A @ A, 2.0 * PRODUCT**3


def limits(device: str, repeats: int = 5) -> dict[str, float]:
    """Return the rates of matrix products in operations a second, and of copying in bytes a second."""
    source = torch.zeros(COPY, device=device)
    target = torch.empty_like(source)
    kinds = {"float32": torch.float32, "float64": torch.float64}
    products = {name: product(dtype, device) for name, dtype in kinds.items()}
    calls = {name: call for name, (call, _) in products.items()} | {"copy": lambda: target.copy_(source)}
    seconds = {name: statistics.median(values) for name, values in alternate(calls, repeats).items()}
    rates = {f"{name} products": count / seconds[name] for name, (_, count) in products.items()}
    return rates | {"copy": 2 * source.numel() * source.element_size() / seconds["copy"]}


def peak(call: Call, device: str) -> int | None:
    """Return how many bytes a call needs at its peak beside what is there before it; None where no system tells.

    On the CPU this is the resident memory of the process, so it is meant for a process of its own in which freed
    memory goes back to the system at once (:data:`RETURNING`).
    """
    call()
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    try:
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    except OSError:
        return None
    before = resident("VmRSS")
    call()
    return max(0, resident("VmHWM") - before)


#: Environment in which glibc gives freed memory back.
RETURNING = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def resident(field: str) -> int:
    return 1024 * int(re.search(rf"^{field}:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)[1])


def machine(device: str) -> dict[str, object]:
    """Describe the machine, as far as it can be told from inside."""
    about = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    return about if device == "cpu" else about | {"gpu": torch.cuda.get_device_name(device)}


def name(about: dict[str, object]) -> str:
    """Return in one line what :func:`machine` found: two machines with the same name count as one."""
    parts = [about["gpu"]] if "gpu" in about else []
    parts += [about["processor"], f"{about['cores']} cores", f"{about['threads']} threads", about["system"]]
    return ", ".join([*parts, f"Python {about['python']}", f"torch {about['torch']}"])

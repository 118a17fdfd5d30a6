"""The initialization sweep: its design, and the training of one cell of it.

Used by the workflow (`make sweep`), one job a cell; by hand:

    .venv/bin/python workflow/sweep.py quick he-d20-w128-sgd out.json
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from project import ProjectError, imported, run, write

# The code that decides a result: a change in it makes every cell stale.
SOURCES = ["workflow/sweep.py", *imported("workflow/sweep.py")]

THRESHOLDS = (1.0, 0.5, 0.25)  # losses whose first crossing is recorded
BLOCK = 10  # steps over which the loss is averaged for a crossing or a point of a curve
TRAINING, BATCH = 4_000, 64  # digits to train on, the other 1,000 are held out; digits a step
FIXED_NORM = 2**0.5  # the spectral norm of an orthogonal matrix with the gain of ReLU


@dataclass(frozen=True)
class Cell:
    """One initialization of one architecture under one optimizer."""

    method: str  # pytorch, he, xavier, orthogonal, or a law of srlib.spectra
    scale: str  # own; for a law: matched (forward variance kept) or fixed (spectral norm)
    ratio: float | None  # stable rank over width, for a law; nothing for the map, whose cells hold all ratios
    depth: int  # hidden layers
    width: int = 128
    optimizer: str = "sgd"
    study: str = "methods"  # or map: the same few rates for all, no tuning

    @property
    def id(self) -> str:
        method = [part for part in (self.method, self.scale) if part != "own"]
        ratio = [] if self.ratio is None else [f"{self.ratio:g}"]
        study = ["map"] if self.study == "map" else []
        return "-".join([*method, *ratio, f"d{self.depth}", f"w{self.width}", self.optimizer, *study])

    @property
    def ratios(self) -> tuple[float | None, ...]:
        return MAP_RATIOS[self.scale] if self.study == "map" else (self.ratio,)


@dataclass(frozen=True)
class Profile:
    """A size of the sweep."""

    cells: tuple[Cell, ...]
    tuning_seeds: int = 3
    seeds: int = 12
    tuning_steps: int = 300
    steps: int = 600
    rates: int | None = None  # how many of the optimizer's rates, around its middle; all when omitted


# Learning rates a factor of 2 apart, the same for every method; the published run says where an end was chosen.
RATES = {"sgd": [0.004 * 2**k for k in range(7)], "adam": [1.2e-4 * 2**k for k in range(6)]}
MAP_RATES, MAP_SEEDS = [0.016, 0.064, 0.256], 3
MAP_RATIOS = {
    "fixed": (0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 1.0),
    "matched": (0.008, 0.016, 0.03, 0.06, 0.12, 0.25, 0.5, 1.0),
}


def published() -> Profile:
    standard = [(name, "own", None) for name in ("pytorch", "he", "xavier", "orthogonal")]
    fixed = [("two_level", "fixed", ratio) for ratio in (0.25, 0.5, 0.75, 0.9)]
    matched = [
        *(("two_level", "matched", ratio) for ratio in (0.02, 0.1, 0.25, 0.5, 0.75)),
        *(("projector", "matched", ratio) for ratio in (0.1, 0.25, 0.5)),
        ("coulomb_gas", "matched", 0.5),
    ]
    adam = [*standard, *fixed[1:3], *(("two_level", "matched", ratio) for ratio in (0.02, 0.1, 0.5))]
    spread = [
        *(("he", "own", None), ("orthogonal", "own", None), ("two_level", "matched", 0.02)),
        *(("two_level", "matched", 0.1), ("projector", "matched", 0.25)),
    ]
    cells = [Cell(*method, depth) for depth in (5, 10, 20, 40) for method in (*standard, *fixed, *matched)]
    cells += [Cell(*method, depth, optimizer="adam") for depth in (5, 10) for method in adam]
    cells += [Cell(*method, 20, 64) for method in spread] + [Cell(*method, 20, 256) for method in spread[:3]]
    cells += [
        Cell("two_level", scale, None, depth, study="map")
        for depth in (2, 4, 7, 10, 15, 20, 30, 40)
        for scale in MAP_RATIOS
    ]
    return Profile(tuple(cells))


def quick() -> Profile:
    methods = [
        *(("he", "own", None), ("orthogonal", "own", None), ("two_level", "fixed", 0.5)),
        *(("two_level", "matched", ratio) for ratio in (0.02, 0.5)),
    ]
    cells = tuple(Cell(*method, 20) for method in methods)
    return Profile(cells, tuning_seeds=1, seeds=5, steps=300, rates=3)


def tiny() -> Profile:
    """For tests of the workflow itself."""
    size = {"depth": 2, "width": 16}
    methods = [Cell("he", "own", None, **size), Cell("two_level", "matched", 0.5, **size)]
    cells = (*methods, Cell("two_level", "fixed", None, study="map", **size))
    return Profile(cells, tuning_seeds=1, seeds=2, tuning_steps=10, steps=20, rates=1)


PROFILES: dict[str, Callable[[], Profile]] = {"published": published, "quick": quick, "tiny": tiny}


def profile(name: str) -> Profile:
    if name not in PROFILES:
        raise ProjectError(f"there is no sweep profile {name!r}: the profiles are {', '.join(PROFILES)}")
    return PROFILES[name]()


def cells(name: str) -> list[str]:
    """Return the ids of a profile's cells, the most expensive first."""
    return [cell.id for cell in sorted(profile(name).cells, key=lambda cell: -cell.depth * cell.width**2)]


def find(name: str, id: str) -> Cell:
    found = [cell for cell in profile(name).cells if cell.id == id]
    if not found:
        raise ProjectError(f"the sweep {name!r} has no cell {id!r}, such as {profile(name).cells[0].id!r}")
    return found[0]


def initialize(cell: Cell, ratio: float | None, seed: int):
    """Return one network as its user would build it: hidden layers by the method, the readout always the same way."""
    import torch
    from torch import nn

    from srlib import Network, init, spectra

    torch.manual_seed(seed)
    widths = [784, *[cell.width] * cell.depth]
    hidden = [nn.Linear(n, m) for n, m in pairwise(widths)]  # PyTorch's own initialization
    readout = nn.Linear(cell.width, 10)
    nn.init.normal_(readout.weight, std=cell.width**-0.5)
    nn.init.zeros_(readout.bias)
    standard = {
        "he": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
        "xavier": nn.init.xavier_normal_,
        "orthogonal": partial(nn.init.orthogonal_, gain=nn.init.calculate_gain("relu")),
    }
    for layer in hidden:
        if cell.method in standard:
            standard[cell.method](layer.weight)
            nn.init.zeros_(layer.bias)
        elif cell.method != "pytorch":
            norm = {"matched": None, "fixed": FIXED_NORM}[cell.scale]
            init.module_(layer, ratio, law=getattr(spectra, cell.method), spectral_norm=norm)
    layers = [part for layer in hidden for part in (layer, nn.ReLU())]
    return Network.from_module(nn.Sequential(*layers, readout)).detach()


def train(cell: Cell, size: Profile) -> dict:
    """Tune the learning rate on seeds of its own, then train the seeds that count at the best one."""
    import torch

    from srlib import Network, feedforward
    from srlib.experiments import data, training

    torch.set_flush_denormal(True)  # vanishing networks would otherwise be slow
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images, labels = data.mnist(dtype=torch.float32)
    images, labels = ((images - images[:TRAINING].mean()) / images[:TRAINING].std()).to(device), labels.to(device)

    def fit(rates: list[float], seeds: list[int], steps: int, phase: str) -> list[dict]:
        """Train every ratio and seed at every rate in one batched pass; return one record a network."""
        models = {(ratio, seed): initialize(cell, ratio, seed) for ratio in cell.ratios for seed in seeds}
        runs = [(ratio, rate, seed) for ratio in cell.ratios for rate in rates for seed in seeds]
        trained = training.fit(
            Network.cat(models[ratio, seed] for ratio, _, seed in runs).to(device),
            images[:TRAINING],
            labels[:TRAINING],
            rates=[rate for _, rate, _ in runs],
            seeds=[seed for _, _, seed in runs],
            steps=steps,
            batch_size=BATCH,
            optimizer=getattr(training, cell.optimizer),
        )
        with torch.no_grad():
            right = (feedforward.forward(trained.network, images).output.argmax(-1) == labels).double()
        curves = trained.losses.unflatten(1, (-1, BLOCK)).mean(-1).tolist()
        return [
            {
                "ratio": ratio,
                "phase": phase,
                "rate": rate,
                "seed": seed,
                "loss": statistics.fmean(curve[-5:]),
                "accuracy": hits[:TRAINING].mean().item(),
                "held_out": hits[TRAINING:].mean().item(),
                "diverged_at": diverged if diverged >= 0 else None,
                **{f"reached_{limit:g}": first_below(curve, limit) for limit in THRESHOLDS},
                "curve": curve,
            }
            for (ratio, rate, seed), curve, hits, diverged in zip(
                runs, curves, right, trained.diverged_at.tolist(), strict=True
            )
        ]

    began = time.monotonic()
    if cell.study == "map":
        runs = fit(MAP_RATES, list(range(MAP_SEEDS)), size.tuning_steps, "map")
        for ratio in cell.ratios:
            choose([entry for entry in runs if entry["ratio"] == ratio])
    else:
        rates = RATES[cell.optimizer]
        if size.rates is not None:
            middle = (len(rates) - size.rates) // 2
            rates = rates[middle : middle + size.rates]
        runs = fit(rates, [1_000 + k for k in range(size.tuning_seeds)], size.tuning_steps, "tuning")
        runs += fit([choose(runs)], list(range(size.seeds)), size.steps, "evaluation")
    seconds = time.monotonic() - began
    return {"cell": asdict(cell) | {"id": cell.id}, "device": device, "seconds": seconds, "runs": runs}


def first_below(curve: list[float], limit: float) -> int | None:
    """Return the number of steps until a block's mean loss is below the limit; nothing if it never is."""
    return next(((k + 1) * BLOCK for k, value in enumerate(curve) if value < limit), None)


def choose(runs: list[dict]) -> float:
    """Return the rate of the lowest median final loss, where a diverged run counts as infinite, and mark its runs."""
    finals = {
        rate: [entry["loss"] for entry in runs if entry["rate"] == rate] for rate in {entry["rate"] for entry in runs}
    }
    chosen = min(sorted(finals), key=lambda rate: statistics.median(finals[rate]))
    for entry in runs:
        entry["chosen"] = int(entry["rate"] == chosen)
    return chosen


def cell_job(name: str, id: str, output: Path) -> None:
    result = train(find(name, id), profile(name))
    for entry in result["runs"]:
        if entry["phase"] != "evaluation":  # of the others only the end is used
            del entry["curve"]
    write({output: json.dumps(result)})
    last = [entry["loss"] for entry in result["runs"] if entry["phase"] == result["runs"][-1]["phase"]]
    done = len(list(output.parent.glob("*.json")))
    print(
        f"{done:4d} of {len(profile(name).cells)}  {id}: median loss {statistics.median(last):.3f}, "
        f"{result['seconds']:.0f} s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile", choices=PROFILES)
    parser.add_argument("cell", help="id of the cell, such as he-d20-w128-sgd")
    parser.add_argument("output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    cell_job(arguments.profile, arguments.cell, arguments.output)


if __name__ == "__main__":
    run(main)

"""Every sampled claim and experiment under fresh seeds: `make seeds`.

seeds.py execute SEED NOTEBOOK OUTPUT    run one notebook with that seed, and write the records of its claims
seeds.py gather OUTPUT RESULT...         gather them into the folder OUTPUT: outcomes.csv and provenance.json
seeds.py accept FOLDER                   make those the committed ones, and say how they compare with their chances
"""

import csv
import importlib.metadata
import io
import json
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from project import (
    BUILD,
    REFERENCES,
    ROOT,
    notebook_digest,
    notebooks,
    processor,
    read_json,
    read_notebook,
    run,
    write,
)

FOLDER = BUILD / "seeds"
#: What the book shows; committed.
TABLES = ROOT / "notebooks" / "data" / "seeds"
#: Fresh seeds are multiples of this, so that no notebook's offsets lead from one of them to another.
STRIDE = 1_000_000_000
COLUMNS = ("seed", "id", "kind", "verdict", "slack", "p_value", "chance")


def results(count: int) -> list[str]:
    """Return what `make seeds` makes: one file for each seed and each notebook."""
    folder = FOLDER.relative_to(ROOT)
    return [f"{folder}/{STRIDE * k}/{name}.json" for k in range(1, count + 1) for name in notebooks()]


def execute(seed: int, name: str, output: Path) -> None:
    """Run one notebook with a seed, where it has one, and write the records of the claims that depend on it.

    If it ends in an error, none of its claims holds.
    """
    import jupytext
    from claims import made_in
    from execute import CellError, execute, normalize, parameters

    source = Path("notebooks", f"{name}.py")
    notebook, made = jupytext.read(source), []
    if "seed" in parameters(notebook, source):
        try:
            made = made_in(normalize(execute(notebook, source, parameters={"seed": seed}), source), name)
        except CellError as error:
            print(f"under the seed {seed} no claim holds of {error}", file=sys.stderr)
            failed = {"verdict": "fails", "slack": None, "p_value": None}
            made = [record | failed for record in made_in(read_notebook(REFERENCES / f"{name}.ipynb"), name)]
    drawn = [record for record in made if record["seed"] is not None]
    write({output: json.dumps(drawn, indent=1, ensure_ascii=False) + "\n"})


def gather(output: Path, paths: Iterable[Path]) -> None:
    """Write one row for each claim and seed, and how they were made."""
    rows = []
    for path in paths:
        for record in read_json(path):
            chance = record["false_alarm"] + record["undecided"]
            rows.append(record | {"seed": path.parent.name, "chance": f"{chance:.3g}"})
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    provenance = {
        "command": f"make seeds SEEDS={len({row['seed'] for row in rows})}",
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
        "processor": processor(),
        "notebooks": {name: notebook_digest(name) for name in notebooks()},
    }
    contents = {"outcomes.csv": file.getvalue(), "provenance.json": json.dumps(provenance, indent=2) + "\n"}
    write({output / name: content for name, content in contents.items()})


@dataclass(frozen=True)
class Outcomes:
    """What one claim came to under fresh seeds."""

    id: str
    kind: str
    verdicts: tuple[str, ...]
    p_values: tuple[float, ...]  # none for an experiment
    chance: float  # that it does not hold, as the runs compute it from their own samples, on average

    @property
    def runs(self) -> int:
        return len(self.verdicts)

    @property
    def not_held(self) -> int:
        return self.runs - self.verdicts.count("holds")


def load(folder: Path = TABLES) -> list[Outcomes]:
    """Return the outcomes of every claim, in the order of the book; none where there is no table."""
    if not (folder / "outcomes.csv").exists():
        return []
    with (folder / "outcomes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(row["id"], []).append(row)
    return [
        Outcomes(
            id=name,
            kind=group[0]["kind"],
            verdicts=tuple(row["verdict"] for row in group),
            p_values=tuple(float(row["p_value"]) for row in group if row["p_value"]),
            chance=float(np.mean([min(float(row["chance"]), 1) for row in group])),
        )
        for name, group in groups.items()
    ]


def range_of(outcomes: list[Outcomes], confidence: float = 0.99) -> tuple[int, int]:
    """Return the range within which, with that probability, the number of runs lies that do not hold."""
    from scipy.stats import binom

    law = np.ones(1)
    for outcome in outcomes:
        law = np.convolve(law, binom.pmf(np.arange(outcome.runs + 1), outcome.runs, outcome.chance))
    below = np.cumsum(law)
    tail = (1 - confidence) / 2
    return int(np.searchsorted(below, tail)), int(np.searchsorted(below, 1 - tail))


def summary(outcomes: list[Outcomes]) -> str:
    """Return how many outcomes there are, and how many of them were to be expected not to hold."""
    lines = []
    for kind, name in (("sampled", "sampled claims"), ("empirical", "experiments")):
        mine = [outcome for outcome in outcomes if outcome.kind == kind]
        runs, expected = sum(o.runs for o in mine), sum(o.runs * o.chance for o in mine)
        low, high = range_of(mine)
        failed = sum(outcome.verdicts.count("fails") for outcome in mine)
        lines.append(
            f"{len(mine)} {name}, {runs} runs in all: {sum(o.not_held for o in mine)} do not hold, {failed} of them "
            f"fail; expected {expected:.2g}, and with probability 0.99 between {low} and {high}."
        )
    return "\n".join(lines)


def page() -> str:
    """Return Markdown for the Claims page: the counts, the claims that did not always hold, and the p-values."""
    outcomes = load()
    seeds = max((outcome.runs for outcome in outcomes), default=0)
    if not seeds:
        return ""
    made = read_json(TABLES / "provenance.json")["notebooks"]
    stale = [name for name in notebooks() if made.get(name) != notebook_digest(name)]
    lines = [
        f"Every notebook was run with {seeds} fresh seeds.",
        *(f"- {line}" for line in summary(outcomes).splitlines()),
    ]
    if stale:
        lines += ["", f"Since these runs the code of {', '.join(f'`{name}`' for name in stale)} has changed."]
    lines += ["", "| claim | runs | did not hold | expected |", "|---|--:|--:|--:|"]
    shown = [outcome for outcome in outcomes if outcome.not_held or outcome.runs * outcome.chance >= 0.5]
    lines += [f"| `{o.id}` | {o.runs} | {o.not_held} | {o.runs * o.chance:.2g} |" for o in shown]
    p_values = np.array([p for outcome in outcomes for p in outcome.p_values])
    levels = (0.5, 0.2, 0.1, 0.05, 0.01, 0.001)
    lines += [
        "",
        f"The p-values of the {len(p_values)} sampled runs, each corrected for the numbers that its claim compares, so "
        "that at most the level of them may lie below it:",
        "",
        "| level |" + "".join(f" {level:g} |" for level in levels),
        "|---|" + "--:|" * len(levels),
        "| share of p-values below |" + "".join(f" {(p_values < level).mean():.2g} |" for level in levels),
    ]
    return "\n".join(lines) + "\n"


def accept(folder: Path) -> None:
    write({TABLES / path.name: path.read_bytes() for path in folder.iterdir()})
    print(summary(load()))
    print(f"the outcomes are in {TABLES.relative_to(ROOT)}; `make book` shows them")


def main() -> None:
    match sys.argv[1:]:
        case ["execute", seed, name, output]:
            execute(int(seed), name, Path(output))
        case ["gather", output, *paths]:
            gather(Path(output), map(Path, paths))
        case ["accept", folder]:
            accept(Path(folder))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    run(main)

"""The tables of the initialization sweep: gather its cells, then keep them or hold them to the published ones."""

import argparse
import csv
import io
import json
import platform
from pathlib import Path

from project import BUILD, ROOT, code_digest, quartiles, read_json, run, write
from sweep import BLOCK, PROFILES, SOURCES, profile

TABLES = ROOT / "notebooks/data/initialization"


def gather(name: str, folder: Path, output: Path) -> None:
    """Gather all cells of a profile into runs.csv, curves.csv and provenance.json."""
    import torch

    results = [read_json(folder / f"{cell.id}.json") for cell in profile(name).cells]
    runs, curves = [], []
    for result in results:
        design = {key: value for key, value in result["cell"].items() if key != "id"}
        for entry in result["runs"]:
            curve = entry.pop("curve", None)
            runs.append(design | {"chosen": 1} | entry)
            if curve is not None:
                curves.append((result["cell"]["id"], curve))
    groups = {}
    for id, curve in curves:
        groups.setdefault(id, []).append(curve)
    bands = [
        {"id": id, "step": (k + 1) * BLOCK} | dict(zip(("low", "median", "high"), values, strict=True))
        for id, group in groups.items()
        for k, values in enumerate(map(quartiles, zip(*group, strict=True)))
    ]
    provenance = {
        "command": f"make sweep PROFILE={name}",
        "sources": code_digest(*SOURCES),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "devices": sorted({result["device"] for result in results}),
        "core_minutes": round(sum(result["seconds"] for result in results) / 60),
        "cells": len(results),
        "networks": len(runs),
        "diverged": sum(row["diverged_at"] is not None for row in runs),
    }
    contents = {
        "runs.csv": table(runs),
        "curves.csv": table(bands),
        "provenance.json": json.dumps(provenance, indent=2) + "\n",
    }
    write({output / name: content for name, content in contents.items()})


def table(rows: list[dict]) -> str:
    """Return rows as CSV, numbers with four digits."""

    def text(value):
        return f"{value:.4g}" if isinstance(value, float) else value

    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: text(value) for key, value in row.items()} for row in rows)
    return file.getvalue()


def accept(name: str) -> None:
    """Make a profile's tables the committed ones (the published one), or hold them to those (any other)."""
    folder = BUILD / "sweep" / name / "tables"
    if name == "published":
        write({TABLES / path.name: path.read_bytes() for path in folder.iterdir()})
        print(f"the tables are in {TABLES.relative_to(ROOT)}; `make book` redraws what depends on them")
        return
    print(f"{'cell':44} {'here':>8} {'published':>10}   (median loss at {profile(name).steps} steps)")
    here, there = final_losses(folder / "curves.csv"), final_losses(TABLES / "curves.csv", profile(name).steps)
    for id, loss in sorted(here.items(), key=lambda item: item[1]):
        print(f"{id:44} {loss:8.3f} {there.get(id, float('nan')):10.3f}")


def final_losses(path: Path, step: int | None = None) -> dict[str, float]:
    """Return each cell's median loss at a step, the last one when omitted."""
    if not path.is_file():
        return {}
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if step is None or int(row["step"]) <= step]
    return {row["id"]: float(row["median"]) for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    jobs = parser.add_subparsers(dest="job", required=True)
    table = jobs.add_parser("gather", help="gather the cells of a profile")
    table.add_argument("profile", choices=PROFILES)
    table.add_argument("folder", type=Path, help="folder of the cells' results")
    table.add_argument("output", type=Path, help="folder for the tables")
    keep = jobs.add_parser("accept", help="keep the published tables, or hold a smaller profile to them")
    keep.add_argument("profile", choices=PROFILES)
    arguments = parser.parse_args()
    if arguments.job == "gather":
        gather(arguments.profile, arguments.folder, arguments.output)
    else:
        accept(arguments.profile)


if __name__ == "__main__":
    run(main)

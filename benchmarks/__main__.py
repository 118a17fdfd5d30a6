"""Measure the table and the scaling curves, print them, and store them with the machine that they were measured on.

make bench                 the first of the published runs
make bench RUN=2           another one beside it
make bench ROWS="law"      only the rows and curves whose names contain a word; the others are kept
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks import measure
from benchmarks.curves import Curve, curves
from benchmarks.rows import Row, table

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "notebooks/data/performance"


def measure_row(row: Row, device: str, repeats: int) -> dict:
    torch.manual_seed(0)
    contest = row.build(device)
    seconds = measure.alternate(contest.calls, repeats)
    value = measure.spread(row.values(contest, seconds))
    return {
        "id": row.id,
        "device": device,
        "work": row.work,
        "peer": row.peer,
        "quantity": row.quantity,
        "target": row.target,
        "value": value,
        "holds": row.holds(value["median"]),
        "seconds": {name: measure.spread(values)["median"] for name, values in seconds.items()},
        "worth": contest.worth,
        "peak": {side: peak_of(row, side, device) for side in contest.calls},
        "repeats": repeats,
    }


def peak_of(row: Row, side: str, device: str) -> int | None:
    """Measure a side's peak memory in a process of its own."""
    command = [sys.executable, "-m", "benchmarks", "--peak", row.id, side, "--device", device]
    environment = os.environ | measure.RETURNING
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{row.id}: measuring the peak memory of {side} failed:\n{result.stderr}")
    return json.loads(result.stdout)


def measure_curve(curve: Curve, device: str, repeats: int) -> dict:
    torch.manual_seed(0)
    points = []
    for x in curve.xs:
        seconds = measure.alternate({"ours": curve.build(x, device)}, repeats, least=0.05)["ours"]
        points.append({"x": x} | measure.spread(seconds))
        for name in ("operations", "bytes"):
            if (count := getattr(curve, name)) is not None:
                points[-1][name] = count(x)
    return {"id": curve.id, "device": device, "points": points}


def lines(run: dict) -> list[str]:
    """Return the table as text."""
    text = [f"{'':34} {'median':>8}  {'quartiles':>15}  {'wanted':>8}   {'ours / peer, ms':>18}   peak memory, MB"]
    for row in run["rows"]:
        value, sign = row["value"], "≤" if row["quantity"] in ("time ratio", "seconds") else "≥"
        seconds = [f"{1e3 * value:.1f}" for value in row["seconds"].values()]
        memory = [f"{bytes / 1e6:.0f}" if bytes is not None else "?" for bytes in row["peak"].values()]
        text.append(
            f"{row['id']:28} {row['device']:5} {value['median']:8.3g}  {value['low']:7.3g}{value['high']:8.3g}  "
            f"{sign} {row['target']:<6g} {'ok' if row['holds'] else 'NO'} {' / '.join(seconds):>18}   {' / '.join(memory)}"
        )
    return text


def wanted(name: str, words: list[str]) -> bool:
    return not words or any(word in name for word in words)


def merge(old: list[dict], new: list[dict], names: list[str]) -> list[dict]:
    """Replace what was measured anew, in the order of the published list."""
    entries = {(entry["id"], entry["device"]): entry for entry in [*old, *new] if entry["id"] in names}
    return sorted(entries.values(), key=lambda entry: (entry["device"], names.index(entry["id"])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="only rows and curves whose names contain one of these")
    parser.add_argument("--run", type=int, default=1, help="number of the run, which names the file")
    parser.add_argument("--repeats", type=int, default=9, help="alternating repeats of each row")
    parser.add_argument("--device", action="append", help="default: the CPU, and a GPU if torch finds one")
    parser.add_argument("--output", type=Path, default=DATA, help="folder of the results")
    parser.add_argument("--peak", nargs=2, metavar=("ROW", "SIDE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    devices = arguments.device or ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]

    if arguments.peak:
        id, side = arguments.peak
        (row,) = [row for row in table() if row.id == id]
        print(json.dumps(measure.peak(getattr(row.build(devices[0]), side), devices[0])))
        return

    rows = [row for row in table() if wanted(row.id, arguments.words)]
    chosen = [curve for curve in curves() if wanted(curve.id, arguments.words)]
    if not rows and not chosen:
        names = ", ".join(entry.id for entry in [*table(), *curves()])
        sys.exit(f"error: nothing is called {' or '.join(arguments.words)}: the rows and curves are {names}")
    path = arguments.output / f"run-{arguments.run}.json"
    run = json.loads(path.read_text()) if path.exists() and arguments.words else {"rows": [], "curves": []}
    run["machines"] = {device: measure.machine(device) | measure.limits(device) for device in devices}
    jobs = [(measure_row, entry, "rows") for entry in rows] + [(measure_curve, entry, "curves") for entry in chosen]
    names = {"rows": [row.id for row in table()], "curves": [curve.id for curve in curves()]}
    for device in devices:
        for job, entry, kind in (bar := tqdm(jobs, desc=device)):
            bar.set_postfix_str(entry.id)
            repeats = arguments.repeats if kind == "rows" else max(1, arguments.repeats // 3)
            run[kind] = merge(run[kind], [job(entry, device, repeats)], names[kind])
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(run, indent=1) + "\n")
    scratch.replace(path)
    print("\n".join(lines(run)))
    print(f"stored in {path}")


if __name__ == "__main__":
    main()

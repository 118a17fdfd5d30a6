"""Measure the table and the scaling curves, print them, and store them with the machine that they were measured on.

make bench                   all rows and curves, into _build/bench/run-1.json
make bench RUN=2             another run beside it
make bench ONLY="law"        only what has a word as its name or as a part of it (parts stand between - and :);
                             the rest of the file is kept
make bench ONLY="table:"     only the table
make bench ONLY="book"       how long the whole book and all tests take, in a fresh clone: half an hour
make bench OUTPUT=notebooks/data/performance    for publication: into the file that the book reads

A file belongs to one machine: on another one choose another run or folder.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks import book, measure
from benchmarks.curves import Curve, curves
from benchmarks.rows import Row, table
from workflow.project import write

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "_build/bench"


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
        "peak": peak_of(row, device) if row.memory else {},
        "repeats": repeats,
    }


def peak_of(row: Row, device: str) -> dict[str, int | None]:
    """Measure the peak memory of either side in a process of its own."""
    command = [sys.executable, "-m", "benchmarks", "--peak", row.id, "--device", device]
    environment = os.environ | measure.RETURNING
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{row.id}: measuring the peak memory failed:\n{result.stderr}")
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
    for row in run["table"]:
        value, sign = row["value"], "≤" if row["quantity"] in ("time ratio", "seconds") else "≥"
        seconds = [f"{1e3 * value:.1f}" for value in row["seconds"].values()]
        memory = [f"{bytes / 1e6:.0f}" if bytes is not None else "?" for bytes in row["peak"].values()]
        verdict = "ok" if row["holds"] else "NO"
        text.append(
            f"{row['id']:28} {row['device']:5} {value['median']:8.3g}  {value['low']:7.3g}{value['high']:8.3g}  "
            f"{sign} {row['target']:<6g} {verdict} {' / '.join(seconds):>18}   {' / '.join(memory)}"
        )
    return text


def wanted(name: str, words: list[str]) -> bool:
    """Whether a name, such as ``table:sample-power_law-1024``, has one of the words as whole parts of it."""
    return not words or any(re.search(rf"(^|[-:]){re.escape(word.rstrip(':'))}($|[-:])", name) for word in words)


def merge(old: list[dict], new: list[dict], names: list[str]) -> list[dict]:
    """Replace what was measured anew, in the order of the published list."""
    entries = {(entry["id"], entry["device"]): entry for entry in [*old, *new] if entry["id"] in names}
    return sorted(entries.values(), key=lambda entry: (entry["device"], names.index(entry["id"])))


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        sys.exit(f"error: {message}")


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="only rows and curves whose names have one of these as a part")
    parser.add_argument("--run", type=int, default=1, help="number of the run, which names the file")
    parser.add_argument("--repeats", type=int, default=5, help="alternating repeats of each row")
    parser.add_argument("--device", action="append", help="cpu or cuda; default: the CPU, and a GPU if torch finds one")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder of the results")
    parser.add_argument("--peak", metavar="ROW", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    present = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    devices = arguments.device or present
    if missing := set(devices) - set(present):
        sys.exit(f"error: there is no device {' or '.join(missing)}: the devices are {', '.join(present)}")

    if arguments.peak:
        (row,) = [row for row in table() if row.id == arguments.peak]
        calls = row.build(devices[0]).calls
        print(json.dumps({side: measure.peak(call, devices[0]) for side, call in calls.items()}))
        return

    entries = {"table": table(), "curves": curves()}
    names = {kind: [entry.id for entry in listed] for kind, listed in entries.items()}
    for word in arguments.words:
        if word != "book" and not any(wanted(f"{kind}:{id}", [word]) for kind, ids in names.items() for id in ids):
            known = ", ".join([*names["table"], *names["curves"], "book"])
            sys.exit(f"error: nothing is called {word}: the rows and curves are {known}")
    names["table"] += book.ROWS
    jobs = [(kind, entry) for kind, listed in entries.items() for entry in listed]
    jobs = [(kind, entry) for kind, entry in jobs if wanted(f"{kind}:{entry.id}", arguments.words)]
    whole = "book" in arguments.words
    machines = {device: measure.machine(device) for device in present}
    here = {device: measure.name(about) for device, about in machines.items()}

    path = arguments.output / f"run-{arguments.run}.json"
    run = load(path, list(here.values()))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"error: OUTPUT={path.parent}: no folder for the results ({error.strerror}): choose another")
    print(f"to be measured for {path}: {', '.join([*(entry.id for _, entry in jobs), *(book.ROWS if whole else [])])}")
    for device in {*(devices if jobs else []), *(["cpu"] if whole else [])}:
        if device not in run["machines"] or not arguments.words:
            run["machines"][device] = machines[device] | measure.limits(device)
    if whole:
        found = [row | {"machine": here["cpu"]} for row in book.rows()]
        run["table"] = merge(run["table"], found, names["table"])
        write({path: json.dumps(run, indent=1) + "\n"})
    for device in devices if jobs else []:
        for kind, entry in (bar := tqdm(jobs, desc=device)):
            bar.set_postfix_str(entry.id)
            if kind == "table":
                found = measure_row(entry, device, arguments.repeats)
            else:
                found = measure_curve(entry, device, max(1, arguments.repeats // 2))
            found["machine"] = here[device]
            run[kind] = merge(run[kind], [found], names[kind])
            write({path: json.dumps(run, indent=1) + "\n"})  # at once: a run that dies keeps what it has
    print("\n".join(lines(run)))
    print(f"stored in {path}")


def load(path: Path, here: list[str]) -> dict:
    """Return what a file holds already, refusing one that was not measured here."""
    if not path.exists():
        return {"table": [], "curves": [], "machines": {}}
    try:
        run = json.loads(path.read_text())
    except ValueError:
        sys.exit(f"error: {path} is damaged: delete it, or choose another run or folder with RUN= or OUTPUT=")
    for entry in [*run["table"], *run["curves"]]:
        if entry.get("machine") not in here:
            sys.exit(
                f"error: {path} was measured on another machine ({entry.get('machine', 'not known which')}; this is "
                f"{' and '.join(here)}): choose another run or folder with RUN= or OUTPUT=, or delete the file"
            )
    return run


if __name__ == "__main__":
    main()

"""Collect the claims out of executed notebooks, and see whether they hold.

claims.py collect OUTPUT NOTEBOOK...    write the records, each with its notebook and cell
claims.py verify CLAIMS                 fail on a claim that does not hold or cannot fail, that has another's name, or
                                        an experiment whose range was changed

Whether each has its theorem, and each theorem a claim, is checked where Sphinx knows the theorems: book/_ext.
"""

import csv
import json
import sys
from collections import Counter
from pathlib import Path

from project import ROOT, ProjectError, read_json, read_notebook, run, write

from srlib.check import MIME, describe

#: Every range that an experiment was ever held to, by date; lines are added and never changed.
RANGES = ROOT / "book" / "ranges.csv"
#: The range of an entry that withdraws an experiment.
OPEN = (None, None)

#: Probability that the checks of the whole book together reject a true statement, for a fresh seed.
FALSE_ALARM = 1e-3


def collect(paths: list[Path]) -> list[dict]:
    """Return the records of all claims, in the order of the notebooks."""
    return [record for path in paths for record in made_in(read_notebook(path), path.stem)]


def made_in(notebook, name: str) -> list[dict]:
    """Return the records of an executed notebook's claims."""
    found = [
        (output.data[MIME], cell.id)
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if MIME in output.get("data", {})
    ]
    return [{**record, "notebook": name, "cell": cell} for record, cell in found]


def problems(records: list[dict], entries: list[dict]) -> list[str]:
    """Return everything that keeps the book from being published, one line each."""
    lines = []
    for record in records:
        where = f"claim {record['id']}"
        if record["verdict"] != "holds":
            missed = f"; it does not reject {', '.join(record['missed'])}" if record["missed"] else ""
            if record["resolve"] is not None and record["noticeable"] > record["resolve"]:
                missed += f"; it notices {record['noticeable']:g} and asks for {record['resolve']:g}: draw more samples"
            state = {"fails": "fails", "undecided": "is undecided"}[record["verdict"]]
            lines.append(
                f"{where} {state} (notebooks/{record['notebook']}, {record['cell']}): {record['text']}: "
                f"{describe(record)}{missed}"
            )
        if not record["rejected"] and not record["missed"]:
            lines.append(f"{where} has no negative control: give it a wrong alternative to reject")
    counts = Counter(record["id"] for record in records)
    lines += [
        f"claim {name} is made {count} times: give each its own name" for name, count in counts.items() if count > 1
    ]
    total = sum(record["false_alarm"] for record in records)
    if total > FALSE_ALARM:
        lines.append(f"the sampled claims together raise a false alarm with probability {total:.1e} > {FALSE_ALARM:g}")
    return lines + moved(records, entries)


def moved(records: list[dict], entries: list[dict]) -> list[str]:
    """Return where experiments allow another range than the one that was entered when they were made."""
    entered = {entry["id"]: entry for entry in entries}  # a later entry withdraws an earlier one
    frozen = {name: allowed(entry) for name, entry in entered.items() if allowed(entry) != OPEN}
    made = {record["id"]: tuple(record["allowed"]) for record in records if record["kind"] == "empirical"}
    lines = []
    for name, here in made.items():
        if name not in entered:
            lines.append(f"claim {name} has no entry in {shown()}: enter its range, {here}, with today's date")
        elif name not in frozen:
            lines.append(f"claim {name} was withdrawn on {entered[name]['date']}: give the new one a new id")
        elif here != frozen[name]:
            lines.append(
                f"claim {name} allows {here}, but its range has been {frozen[name]} since {entered[name]['date']}: "
                f"give the new range a new id, and enter both changes in {shown()}"
            )
    lines += [
        f"claim {name} is in {shown()} but not made: make it, or enter that it was withdrawn, and why"
        for name in frozen.keys() - made.keys()
    ]
    return lines


def allowed(entry: dict) -> tuple[float | None, float | None]:
    above, below = (float(entry[end]) if entry[end] else None for end in ("above", "below"))
    return above, below


def shown() -> Path:
    return RANGES.relative_to(ROOT)


def entries(path: Path = RANGES) -> list[dict]:
    """Return the entries of the ranges that experiments allow, oldest first."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def main() -> None:
    match sys.argv[1:]:
        case ["collect", output, *notebooks]:
            records = collect([Path(path) for path in notebooks])
            write({Path(output): json.dumps(records, indent=1, ensure_ascii=False) + "\n"})
        case ["verify", claims]:
            records = read_json(Path(claims))
            if lines := problems(records, entries()):
                raise ProjectError("\nerror: ".join(lines))
            print(f"{len(records)} claims hold", file=sys.stderr)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    run(main)

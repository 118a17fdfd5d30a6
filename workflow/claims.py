"""Collect the claims out of executed notebooks, and see whether they hold.

claims.py collect OUTPUT NOTEBOOK...    write the records, each with its notebook and cell
claims.py verify CLAIMS                 fail on a claim that failed or cannot fail, or that has another's name

Whether each has its theorem, and each theorem a claim, is checked where Sphinx knows the theorems: book/_ext.
"""

import json
import sys
from collections import Counter
from pathlib import Path

from project import ProjectError, read_json, read_notebook, run, write

from srlib.check import MIME

#: Probability that the checks of the whole book together reject a true statement, for a fresh seed.
FALSE_ALARM = 1e-3


def collect(notebooks: list[Path]) -> list[dict]:
    """Return the records of all claims, in the order of the notebooks."""
    records = []
    for path in notebooks:
        for cell in read_notebook(path).cells:
            outputs = cell.get("outputs", [])
            found = [output.data[MIME] for output in outputs if MIME in output.get("data", {})]
            records += [{**record, "notebook": path.stem, "cell": cell.id} for record in found]
    return records


def problems(records: list[dict]) -> list[str]:
    """Return everything that keeps the book from being published, one line each."""
    lines = []
    for record in records:
        if record["verdict"] != "pass":
            missed = f"; it does not reject {', '.join(record['missed'])}" if record["missed"] else ""
            lines.append(
                f"claim {record['id']} failed (notebooks/{record['notebook']}, {record['cell']}): {record['text']}: "
                f"predicted {record['prediction']}, found {record['estimate']} in {record['interval']}{missed}"
            )
        if record["kind"] != "empirical" and not record["rejected"]:
            lines.append(f"claim {record['id']} has no negative control: give it a wrong alternative to reject")
    counts = Counter(record["id"] for record in records)
    lines += [
        f"claim {name} is made {count} times: give each its own name" for name, count in counts.items() if count > 1
    ]
    total = sum(record["false_alarm"] for record in records)
    if total > FALSE_ALARM:
        lines.append(f"the sampled claims together raise a false alarm with probability {total:.1e} > {FALSE_ALARM:g}")
    return lines


def main() -> None:
    match sys.argv[1:]:
        case ["collect", output, *notebooks]:
            records = collect([Path(path) for path in notebooks])
            write({Path(output): json.dumps(records, indent=1, ensure_ascii=False) + "\n"})
        case ["verify", claims]:
            records = read_json(Path(claims))
            if lines := problems(records):
                raise ProjectError("\nerror: ".join(lines))
            print(f"{len(records)} claims hold", file=sys.stderr)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    run(main)

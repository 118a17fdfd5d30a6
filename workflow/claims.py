"""Collect the claims out of executed notebooks, and hold them against the book's theorems.

claims.py collect OUTPUT NOTEBOOK...    write the records, each with its notebook and cell
claims.py verify CLAIMS CHAPTER...      fail on a failed claim, a theorem without one, a claim without a theorem
"""

import json
import re
import sys
from collections import Counter
from pathlib import Path

from project import ProjectError, read_json, read_notebook, run

from srlib.check import MIME

#: Probability that the checks of the whole book together reject a true statement, for a fresh seed.
FALSE_ALARM = 1e-3

_THEOREM = re.compile(
    r"^`{3,}\{prf:(?P<kind>theorem|proposition|lemma|corollary)\}(?P<title>[^\n]*)\n(?::label:\s*(?P<label>\S+))?",
    re.MULTILINE,
)


def collect(notebooks: list[Path]) -> list[dict]:
    """Return the records of all claims, in the order of the notebooks."""
    records = []
    for path in notebooks:
        for cell in read_notebook(path).cells:
            outputs = cell.get("outputs", [])
            found = [output.data[MIME] for output in outputs if MIME in output.get("data", {})]
            records += [{**record, "notebook": path.stem, "cell": cell.id} for record in found]
    return records


def theorems(chapters: list[Path]) -> dict[str, Path]:
    """Return the labels of all theorems, propositions, lemmas and corollaries, with the chapter each stands in."""
    labels = {}
    for chapter in chapters:
        for match in _THEOREM.finditer(chapter.read_text()):
            if match["label"] is None:
                raise ProjectError(
                    f"{chapter}: {match['kind']}{match['title']} has no label: put `:label: F2` below it"
                )
            labels[match["label"]] = chapter
    return labels


def problems(records: list[dict], labels: dict[str, Path]) -> list[str]:
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
        if record["statement"] not in labels:
            lines.append(f"claim {record['id']} has no theorem: no chapter labels one {record['statement']}")
    checked = {record["statement"] for record in records}
    lines += [f"{labels[label]}: theorem {label} has no claim" for label in labels if label not in checked]
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
            Path(output).write_text(json.dumps(records, indent=1, ensure_ascii=False) + "\n")
        case ["verify", claims, *chapters]:
            records = read_json(Path(claims))
            lines = problems(records, theorems([Path(path) for path in chapters]))
            if lines:
                raise ProjectError("\nerror: ".join(lines))
            print(f"{len(records)} claims hold", file=sys.stderr)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    run(main)

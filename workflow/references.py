"""Hold a fresh run against the committed reference notebooks, or accept it as the new references.

references.py compare    print the claims and compared outputs that differ, naming the first differing cell
references.py accept     copy the executed notebooks over notebooks/*.ipynb, and the landing picture with them
"""

import shutil
import sys

import nbformat
from claims import collect
from project import EXECUTED, REFERENCES, ROOT, ProjectError, notebooks, run
from publish import figures

#: The picture of the README and the landing page.
PICTURE = "fig-depth"


def compared(output) -> dict:
    """Return the part of an output that nbval compares: everything but pictures and bookkeeping."""
    if output.output_type == "stream":
        return {output.name: output.text}
    data = output.get("data", {})
    return {mime: value for mime, value in data.items() if not mime.startswith("image/")}


def first_difference(fresh, reference) -> str | None:
    """Describe the first cell in which two versions of a notebook differ, or return None."""
    if len(fresh.cells) != len(reference.cells):
        return f"{len(fresh.cells)} cells, {len(reference.cells)} in the reference"
    for number, (new, old) in enumerate(zip(fresh.cells, reference.cells, strict=True)):
        head = next((line for line in new.source.splitlines() if line.strip()), "")
        if new.source != old.source:
            return f"cell {number} has another source: {head}"
        news = [compared(output) for output in new.get("outputs", [])]
        olds = [compared(output) for output in old.get("outputs", [])]
        if news != olds:
            detail = next((f"\n    fresh:     {a}\n    reference: {b}" for a, b in lines(news, olds) if a != b), "")
            return f"cell {number} has another output: {head}{detail}"
    return None


def lines(news: list[dict], olds: list[dict]):
    """Pair up the text lines of two lists of outputs; a missing one is empty."""

    def texts(outputs):
        plain = [output.get("text/plain", output.get("stdout", "")) for output in outputs]
        return "\n".join("".join(text) for text in plain).splitlines()

    a, b = texts(news), texts(olds)
    length = max(len(a), len(b))
    return zip(a + [""] * (length - len(a)), b + [""] * (length - len(b)), strict=True)


def claims(notebook) -> dict[str, dict]:
    """Return the claims of a notebook by name, without the place where they stand."""
    return {record.pop("id"): record for record in collect([notebook]) if record.pop("cell")}


def compare() -> int:
    """Print what differs and return how many notebooks do."""
    different = 0
    for name in notebooks():
        fresh_path, reference_path = EXECUTED / f"{name}.ipynb", REFERENCES / f"{name}.ipynb"
        if not fresh_path.exists():
            raise ProjectError(f"{name} has not been executed: run `make book` first")
        if not reference_path.exists():
            print(f"{name}: no committed reference; `make accept` makes one")
            different += 1
            continue
        old, new = claims(reference_path), claims(fresh_path)
        difference = first_difference(
            nbformat.read(fresh_path, as_version=4), nbformat.read(reference_path, as_version=4)
        )
        print(f"{name}: {difference or 'same'}")
        for key in sorted(old.keys() | new.keys()):
            before, now = old.get(key, {"verdict": "absent"}), new.get(key, {"verdict": "absent"})
            fields = [field for field in before if field in now and before[field] != now[field]]
            if before != now:
                moved = "".join(f"; {field} {before[field]} → {now[field]}" for field in fields if field != "verdict")
                print(f"  claim {key}: {before['verdict']} in the reference, {now['verdict']} now{moved}")
        different += difference is not None
    return different


def accept() -> None:
    for name in notebooks():
        if not (EXECUTED / f"{name}.ipynb").exists():
            raise ProjectError(f"{name} has not been executed: run `make book` first")
    for name in notebooks():
        shutil.copy(EXECUTED / f"{name}.ipynb", REFERENCES / f"{name}.ipynb")
    picture, _ = figures(EXECUTED / f"{name}.ipynb" for name in notebooks())[PICTURE]
    (ROOT / "book" / "_static" / "overview.png").write_bytes(picture)
    print(f"accepted {len(notebooks())} notebooks; look at `git diff --stat notebooks/` and commit")


def main() -> None:
    match sys.argv[1:]:
        case ["compare"]:
            sys.exit(1 if compare() else 0)
        case ["accept"]:
            accept()
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    run(main)

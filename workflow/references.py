"""Hold a fresh run against the committed reference notebooks, or accept it as the new references.

references.py compare [FOLDER]   print every claim, glued number and output that differs, and by how much relative to
                                 its rounding; FOLDER holds executed notebooks, such as another machine's
references.py accept             make the executed notebooks notebooks/*.ipynb, and the landing picture with them

Differences are an answer and no error: as with `git diff`, the exit status is 0 all the same.
"""

import csv
import subprocess
import sys
from pathlib import Path

from differences import differences
from project import EXECUTED, REFERENCES, ROOT, ProjectError, notebooks, read_notebook, run, write
from publish import figures

#: The picture of the README and the landing page.
PICTURE = "fig-depth"


def pending() -> dict[str, str]:
    """Return the notebooks that `make book` would execute, with the reason: the workflow decides what is stale."""
    command = [sys.executable, "workflow/build.py", "snakemake", "--summary", "executed"]
    result = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines() or ["Snakemake failed without a word"]
        last = next((line for line in lines if line.startswith("error: ")), lines[-1])
        raise ProjectError(f"what is stale cannot be told: {last.removeprefix('error: ')}")
    rows = csv.DictReader(result.stdout.splitlines(), delimiter="\t")
    files = {Path(row["output_file"]): row for row in rows if row["plan"] != "no update"}
    return {
        path.stem: "stale: it changed since it was executed" if (ROOT / path).exists() else "not executed"
        for path, row in files.items()
        if (ROOT / path).parent == EXECUTED
    }


def compare(folder: Path | None = None) -> None:
    waiting = pending() if folder is None else {}
    folder = folder or EXECUTED
    if not any((folder / f"{name}.ipynb").exists() for name in notebooks()):
        todo = "run `make book` first" if folder == EXECUTED else "name the folder with WITH="
        raise ProjectError(f"{folder} holds no executed notebook of the book: {todo}")
    for name in notebooks():
        fresh, reference = folder / f"{name}.ipynb", REFERENCES / f"{name}.ipynb"
        if name in waiting:
            lines = [f"{waiting[name]}; run `make book`"]
        elif not fresh.exists():
            lines = [f"not in {folder}"]
        elif not reference.exists():
            lines = ["no committed reference; `make accept` makes one"]
        else:
            found = differences(read_notebook(fresh), read_notebook(reference), name)
            count = f"{len(found)} value{' differs' if len(found) == 1 else 's differ'}, reference → fresh"
            lines = [count, *map(str, found)] if found else []
        print(f"{name}: " + "\n  ".join(lines or ["same"]))


def accept() -> None:
    """Take the whole run or nothing of it."""
    from claims import collect, entries, problems  # here, since importing srlib would slow a comparison down

    if waiting := pending():
        raise ProjectError(
            f"the run is not complete: {', '.join(f'{name} is {why}' for name, why in waiting.items())}; "
            "run `make book` first"
        )
    paths = [EXECUTED / f"{name}.ipynb" for name in notebooks()]
    for path in paths:
        read_notebook(path)
    if lines := problems(collect(paths), entries()):
        raise ProjectError("\nerror: ".join([*lines, "a run with these cannot become the reference"]))
    pictures = figures(paths)
    if PICTURE not in pictures:
        raise ProjectError(f"no notebook has the figure {PICTURE}, the landing page's picture: name one so, or mend it")
    contents = {REFERENCES / path.name: path.read_bytes() for path in paths}
    contents[ROOT / "book" / "_static" / "overview.png"] = pictures[PICTURE][0]
    write(contents)
    print(f"accepted {len(paths)} notebooks; look at `git diff --stat notebooks/` and commit")


def main() -> None:
    sys.stdout.reconfigure(errors="backslashreplace")  # printed lines are UTF-8, a terminal may not be
    match sys.argv[1:]:
        case ["compare", *folder] if len(folder) <= 1:
            compare(*map(Path, folder))
        case ["accept"]:
            accept()
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    run(main)

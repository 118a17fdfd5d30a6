"""What the workflow knows about the checkout: its notebooks and pages, and what makes an executed notebook stale."""

import ast
import hashlib
import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
LOGS = BUILD / "logs"
SOURCE = BUILD / "src"  # the site's source: pages, configuration and executed notebooks
EXECUTED = SOURCE / "notebooks"
REFERENCES = ROOT / "notebooks"
CLAIMS = BUILD / "claims.json"
LOCK = ROOT / "requirements.lock"

_PARAMETERS = re.compile(r"^# %%.*tags=\[[^\]]*\"parameters\"", re.MULTILINE)


class ProjectError(Exception):
    """Something a person has to put right; the message is one line that says what to do."""


def run(main) -> None:
    """Call ``main``; print a project error as its one line and exit with status 1."""
    try:
        main()
    except ProjectError as error:
        sys.exit(f"error: {error}")


def toc_files(toc: Path = ROOT / "_toc.yml") -> list[str]:
    """Return every page of the table of contents, in reading order, without suffixes."""

    def walk(node):
        if isinstance(node, dict):
            yield from (node[key] for key in ("root", "file") if key in node)
            for key in ("parts", "chapters", "sections"):
                yield from walk(node.get(key, []))
        elif isinstance(node, list):
            for item in node:
                yield from walk(item)

    return list(walk(yaml.safe_load(toc.read_text())))


def notebooks(root: Path = ROOT) -> list[str]:
    """Return the names of the book's notebooks, in reading order, or say what keeps them from being executed."""
    listed = [Path(file).name for file in toc_files(root / "_toc.yml") if file.startswith("notebooks/")]
    present = {path.stem for path in (root / "notebooks").glob("[0-9]*.py")}
    for name in listed:
        source = f"notebooks/{name}.py"
        if name not in present:
            raise ProjectError(f"_toc.yml lists {source}, which does not exist: restore it, or take it out of _toc.yml")
        if not _PARAMETERS.search((root / source).read_text()):
            raise ProjectError(
                f"{source} has no parameters cell: tag the cell that assigns its scalars with "
                '`# %% tags=["parameters"]`'
            )
    for name in sorted(present - set(listed)):
        raise ProjectError(f"notebooks/{name}.py is not in _toc.yml: list it there, or move it out of notebooks/")
    return listed


def package_files(root: Path = ROOT) -> list[str]:
    """Return the files of ``srlib``, relative to the checkout."""
    return sorted(str(path.relative_to(root)) for path in (root / "srlib").rglob("*.py"))


def data_files(name: str, root: Path = ROOT) -> list[str]:
    """Return the committed tables that a notebook reads, ``notebooks/data/topic/`` for ``NN_topic``."""
    folder = root / "notebooks" / "data" / name.partition("_")[2]
    return sorted(str(path.relative_to(root)) for path in folder.rglob("*") if path.is_file())


def page_files(root: Path = ROOT) -> list[str]:
    """Return the hand-written files of the book, relative to the checkout."""
    pages = [path for path in (root / "book").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return sorted(str(path.relative_to(root)) for path in pages)


def digest(*files: str | Path) -> str:
    """Return a hash of the files' names and contents."""
    total = hashlib.sha256()
    for file in files:
        content = (ROOT / file).read_bytes()
        total.update(f"{file} {len(content)}\n".encode() + content)
    return total.hexdigest()


def code_digest(*files: str | Path) -> str:
    """Return a hash of what Python files do, whatever their docstrings and comments say."""
    total = hashlib.sha256()
    for file in files:
        tree = ast.parse((ROOT / file).read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
                del node.body[0]
        total.update(f"{file}\n{ast.dump(tree)}\n".encode())
    return total.hexdigest()

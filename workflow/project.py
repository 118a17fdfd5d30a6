"""What the workflow knows about the checkout: its notebooks and pages, and what makes an executed notebook stale.

Also what several of its scripts, and the benchmarks, need: files read and written whole, quartiles, processor, pins.
"""

import ast
import errno
import hashlib
import json
import os
import platform
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
LOGS = BUILD / "logs"
SOURCE = BUILD / "src"  # the site's source: pages, configuration and executed notebooks
EXECUTED = SOURCE / "notebooks"
REFERENCES = ROOT / "notebooks"
CLAIMS = BUILD / "claims.json"
LOCK = ROOT / "requirements.lock"
ERRORS = "BOOK_ERRORS"  # environment variable: the file in which a build collects the errors of its jobs

_HEADER = re.compile(r"\A# ---\n(?:#.*\n)*?# ---\n")
_PARAMETERS = re.compile(r"^# %%.*tags=\[[^\]]*\"parameters\"", re.MULTILINE)


class ProjectError(Exception):
    """Something a person has to put right; the message is one line that says what to do."""


def run(main) -> None:
    """Call ``main``; report what a person has to put right as one line and exit with status 1."""
    try:
        main()
    except ProjectError as error:
        report(f"error: {error}")
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            raise
        report(f"error: {error.filename or ROOT} cannot be written: {error.strerror}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def report(line: str) -> None:
    """Exit with a line on stderr; within a build, which shows all of them when it ends, leave it to the build."""
    try:
        with open(os.environ[ERRORS], "a", encoding="utf-8") as file:
            file.write(line + "\n")
    except (KeyError, OSError):
        sys.exit(line)
    sys.exit(1)


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

    return list(walk(yaml.safe_load(toc.read_text(encoding="utf-8"))))


def notebooks(root: Path = ROOT) -> list[str]:
    """Return the names of the book's notebooks, in reading order, or say what keeps them from being executed."""
    pages = toc_files(root / "_toc.yml")
    listed = [Path(file).name for file in pages if file.startswith("notebooks/")]
    present = {path.stem for path in (root / "notebooks").glob("[0-9]*.py")}
    sources = {f"notebooks/{name}.py": name for name in listed}
    for source in [*sources, *(f"{page}.md" for page in pages if page.startswith("book/"))]:
        if not (root / source).is_file():
            raise ProjectError(f"_toc.yml lists {source}, which does not exist: restore it, or take it out of _toc.yml")
    for source in sources:
        if not _PARAMETERS.search((root / source).read_text(encoding="utf-8")):
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


def data_files(name: str = "", root: Path = ROOT) -> list[str]:
    """Return the committed tables that a notebook reads, ``notebooks/data/topic/`` for ``NN_topic``; all, for none."""
    folder = root / "notebooks" / "data" / name.partition("_")[2]
    return sorted(str(path.relative_to(root)) for path in folder.rglob("*") if path.is_file())


def page_files(root: Path = ROOT) -> list[str]:
    """Return the hand-written files of the book, relative to the checkout."""
    pages = [path for path in (root / "book").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return sorted(str(path.relative_to(root)) for path in pages)


def read_notebook(path: Path):
    """Return a notebook, or say that its file is damaged and how to get it back."""
    import nbformat  # here, since importing it would slow down every start of the workflow

    try:
        return nbformat.read(path, as_version=4)
    except (ValueError, KeyError, AttributeError, nbformat.ValidationError) as error:
        raise damaged(path, "notebook", error) from None


def read_json(path: Path):
    """Return what a JSON file holds, or say that it is damaged and how to get it back."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise damaged(path, "JSON file", error) from None


def damaged(path: Path, kind: str, error: Exception) -> ProjectError:
    made, kept = BUILD in path.resolve().parents, REFERENCES in path.resolve().parents
    how = "remove it and run make again" if made else "`git checkout` restores it" if kept else "copy it again"
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    return ProjectError(f"{os.path.relpath(path)} is no whole {kind} ({reason}): {how}")


def write(contents: Mapping[Path, str | bytes]) -> None:
    """Write all files beside their targets before the first is renamed: a killed run, or one that cannot write one of
    them, leaves each file as it was.
    """
    scratch = {target: target.with_name(f".{target.name}.{os.getpid()}") for target in contents}
    try:
        for target, content in contents.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            scratch[target].write_bytes(content.encode() if isinstance(content, str) else content)
        for target, path in scratch.items():
            path.replace(target)
    finally:
        for path in scratch.values():
            path.unlink(missing_ok=True)


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile; infinite values are larger than all others."""
    ordered = sorted(values)

    def at(quarters: int) -> float:
        k, rest = divmod(quarters * (len(ordered) - 1), 4)
        # Not statistics.quantiles, to which nothing of an infinite neighbour is NaN.
        return ((4 - rest) * ordered[k] + rest * ordered[k + 1]) / 4 if rest else ordered[k]

    return at(1), at(2), at(3)


def processor() -> str:
    """Return what the machine calls its processor."""
    try:
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def pins() -> dict[str, str]:
    """Return the version of every package that the lock pins."""
    lines = (line.partition("#")[0].strip() for line in LOCK.read_text(encoding="utf-8").splitlines())
    pinned = [Requirement(line) for line in lines if line]
    return {requirement.name: str(requirement.specifier).removeprefix("==") for requirement in pinned}


def digest(*files: str | Path) -> str:
    """Return a hash of the files' names and contents."""
    total = hashlib.sha256()
    for file in files:
        content = (ROOT / file).read_bytes()
        total.update(f"{file} {len(content)}\n".encode() + content)
    return total.hexdigest()


def notebook_digest(name: str) -> str:
    """Return a hash of everything that decides what a notebook prints: its cells and its kernel, the tables it reads,
    the code of ``srlib`` that it imports, the pinned versions, and the scripts that execute it.
    """
    source = f"notebooks/{name}.py"
    text = (ROOT / source).read_text(encoding="utf-8")
    header = _HEADER.match(text)
    kernel = re.findall(r"^# +name: .*$", header[0], re.MULTILINE) if header else []
    scripts = [file for file in ("workflow/execute.py", "workflow/kernel.py") if (ROOT / file).exists()]
    parts = [
        *kernel,
        text[header.end() if header else 0 :],
        digest("requirements.lock", *data_files(name, ROOT)),
        code_digest(*scripts, *imported(source)),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def imported(source: str) -> list[str]:
    """Return the files of this checkout that a Python file imports, directly or through others.

    What a package hands on, as ``from srlib import ntk`` asks for, is followed to where it is defined: a notebook does
    not depend on all that ``srlib/__init__.py`` imports. So a package's ``__init__.py`` must only hand on.
    """
    found, seen, queue = set(), set(), [name for _, name in _facts(source)[1]]
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        file, rest = _module(name)
        if file is None:
            continue
        names = _facts(file)[1]
        handed_on = dict(names)
        if rest and rest[0] in handed_on and file.endswith("__init__.py"):
            queue.append(".".join([handed_on[rest[0]], *rest[1:]]))
        elif file not in found:
            found.add(file)
            queue += [name for _, name in names]
    return sorted(found)


def _module(name: str) -> tuple[str | None, list[str]]:
    """Return the file of the longest part of a dotted name that is a module, if any, and what is left of the name.

    Kernels run in ``notebooks/``, so its packages are modules as well.
    """
    parts = name.split(".")
    for k in range(len(parts), 0, -1):
        path = "/".join(parts[:k])
        for file in (f"{root}{path}{end}" for root in ("", "notebooks/") for end in (".py", "/__init__.py")):
            if os.path.isfile(ROOT / file):
                return file, parts[k:]
    return None, []


def code_digest(*files: str) -> str:
    """Return a hash of what Python files do, whatever their docstrings and comments say."""
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file}\n{_facts(file)[0]}\n".encode())
    return total.hexdigest()


def _facts(file: str) -> tuple[str, list[tuple[str, str]]]:
    try:
        return _analyse(file, (ROOT / file).read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ProjectError(f"{file}, line {error.lineno}: {error.msg}") from None


@cache
def _analyse(file: str, text: str) -> tuple[str, list[tuple[str, str]]]:
    """Return the syntax tree of a Python file without its docstrings, and what each imported name stands for."""
    tree, names = ast.parse(text), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:  # `import a.b` gives all of a, too
                parts = alias.name.split(".")
                names += [(alias.asname or alias.name, ".".join(parts[:k])) for k in range(1, len(parts) + 1)]
        elif isinstance(node, ast.ImportFrom):
            package = Path(file).parts[: -node.level] if node.level else ()
            base = ".".join([*package, *filter(None, [node.module])])
            names += [(alias.asname or alias.name, f"{base}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.dump(tree), names

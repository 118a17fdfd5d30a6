"""Execute one notebook from its source: py:percent → jupytext → papermill → normalized .ipynb.

Used by the workflow for the published run, and by hand to try other parameters:

    make run NOTEBOOK=02_sampling PARAMETERS="seed=7 walks=1000"
"""

import argparse
import ast
import io
import logging
import os
import re
import sys
import tempfile
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jupytext
import nbformat
import papermill
from jupyter_client.kernelspec import NoSuchKernel
from jupyter_client.manager import AsyncKernelManager
from kernel import environment, manager
from papermill.exceptions import PapermillExecutionError
from project import BUILD, LOGS, ROOT, SOURCE, ProjectError, run, write

# Metadata that a reference's cells keep. The last is jupytext's: without it syncing the pair would move blank lines.
KEPT = ("mystnb", "tags", "lines_to_next_cell")


def main() -> None:
    arguments = parse()
    source = find(arguments.notebook)
    output = arguments.output or Path(os.path.relpath(BUILD / "runs" / f"{source.stem}.ipynb"))
    published = SOURCE in output.resolve().parents
    notebook = jupytext.read(source)
    known = parameters(notebook, source)
    given = override(known, arguments.parameters, source)
    for folder in (output.parent, LOGS):
        check_writable(folder)
    if arguments.announce and not given:
        print(describe(known, source), flush=True)
    try:
        executed = execute(
            notebook, source, parameters=given, position=arguments.position, progress=None if published else output
        )
        write({output: nbformat.writes(normalize(executed, source)) + "\n"})
    except ProjectError as error:
        if published:
            raise
        raise ProjectError(f"{error} (the notebook as far as it got: {output})") from None
    except OSError as error:  # such as a full disk
        raise ProjectError(f"{source}, to be written to {output}: {error}") from None
    if arguments.announce:
        announce(output)


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise ProjectError(message)


def parse() -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", help="its source, such as notebooks/02_sampling.py, its name or its number")
    parser.add_argument("output", type=Path, nargs="?", help="executed notebook to write; by default in _build/runs/")
    parser.add_argument(
        "-p",
        dest="parameters",
        nargs=argparse.REMAINDER,  # a value may begin with a dash, such as -1e-3
        default=[],
        metavar="NAME=VALUE",
        help="override parameters of the notebook with all that follows; NAME VALUE does as well",
    )
    parser.add_argument("--position", type=int, default=0, help="line of the progress bar among parallel ones")
    parser.add_argument(
        "--announce", action="store_true", help="list the parameters where none is given, and how the claims fared"
    )
    return parser.parse_args()


def find(name: str) -> Path:
    """Return the source that is meant by a path to it or its notebook, a name, a number or a part of a name."""
    path = Path(name)
    if path.name and path.with_suffix(".py").is_file():
        return path.with_suffix(".py")
    folder = Path(os.path.relpath(ROOT / "notebooks"))
    names = sorted(source.stem for source in folder.glob("[0-9]*.py"))
    wanted = path.stem if path.suffix in (".py", ".ipynb") else path.name
    if not wanted or path.parent.name not in ("", "notebooks"):
        found = []
    elif wanted.isdecimal():
        found = [known for known in names if int(re.match(r"\d+", known)[0]) == int(wanted)]
    else:
        found = [known for known in names if known == wanted] or [known for known in names if wanted in known]
    if len(found) == 1:
        return folder / f"{found[0]}.py"
    if found:
        raise ProjectError(f"{name} could be {' or '.join(found)}: name one of them")
    listed = ", ".join(f"{known}.py" for known in names) or "missing altogether"
    if not name:
        raise ProjectError(f'name a notebook, as in make run NOTEBOOK=2 PARAMETERS="seed=7": the sources are {listed}')
    raise ProjectError(f"there is no notebook {name}: the sources are {listed}")


class Parameter(NamedTuple):
    text: str  # its default as it stands in the source
    default: object
    comment: str


def parameters(notebook: nbformat.NotebookNode, source: Path) -> dict[str, Parameter]:
    """Return what the notebook's parameters cell assigns."""
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ProjectError(
            f"{source} has {len(cells)} parameters cells: tag exactly one, the one that assigns its scalars, with "
            '`# %% tags=["parameters"]`'
        )
    code = cells[0].source
    try:
        statements = ast.parse(code).body
    except SyntaxError as error:
        raise ProjectError(f"{source}, parameters cell, line {error.lineno}: {error.msg}") from None
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    comments = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    known = {}
    for name, value in (pair for statement in statements for pair in assignments(statement)):
        try:
            default = ast.literal_eval(value)
        except ValueError:
            default = None
        known[name] = Parameter(ast.get_source_segment(code, value), default, comments.get(value.end_lineno, ""))
    return known


def assignments(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    """Yield each name that a statement assigns, with the expression it gets."""
    pairs = []
    if isinstance(statement, ast.Assign):
        pairs = [(target, statement.value) for target in statement.targets]
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        pairs = [(statement.target, statement.value)]
    for target, value in pairs:
        if isinstance(target, ast.Name):
            yield target.id, value
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for inner in zip(target.elts, value.elts, strict=False):
                yield from assignments(ast.Assign([inner[0]], inner[1]))


READERS = {int: int, float: float, str: str, bool: lambda text: {"true": True, "false": False}[text.lower()]}


def override(known: dict[str, Parameter], words: list[str], source: Path) -> dict[str, object]:
    """Read ``name=value`` or ``name value``, one after another; each value is of its default's type."""
    given = {}
    rest = iter(words)
    for word in rest:
        name, equals, text = word.partition("=")
        if name not in known:
            raise ProjectError(f"{source} has no parameter {name!r}: its parameters are {', '.join(known) or 'none'}")
        if not equals and (text := next(rest, None)) is None:
            raise ProjectError(f"parameter {name} has no value: write {name}={known[name].text}")
        kind = type(known[name].default)
        if kind not in READERS:
            raise ProjectError(
                f"parameter {name} of {source} is {known[name].text}, neither number, text nor truth value: "
                "edit the source to change it"
            )
        try:
            given[name] = READERS[kind](text)
        except (ValueError, KeyError):
            takes = "true or false" if kind is bool else f"a value of type {kind.__name__}"
            raise ProjectError(
                f"parameter {name} of {source} takes {takes} (default {known[name].text}), not {text!r}"
            ) from None
    return given


def describe(known: dict[str, Parameter], source: Path) -> str:
    """Return the notebook's parameters, one a line."""
    lines = [f"{name} = {parameter.text}" for name, parameter in known.items()]
    width = max(map(len, lines), default=0)
    comments = [f"  # {parameter.comment}" if parameter.comment else "" for parameter in known.values()]
    listed = [f"    {line:{width}}{comment}".rstrip() for line, comment in zip(lines, comments, strict=True)]
    return "\n".join([f'{source} runs with its published parameters; PARAMETERS="name=value" changes them:', *listed])


def check_writable(folder: Path) -> None:
    """Refuse now what would otherwise fail after the whole run."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x")
    except OSError as error:
        raise ProjectError(
            f"{folder} cannot be written ({error.strerror}): put that right, or work in a copy of the checkout"
        ) from None


class CellError(ProjectError):
    """A cell of a notebook raised an error, as opposed to a kernel that is missing or died."""


def execute(
    notebook: nbformat.NotebookNode,
    source: Path,
    *,
    parameters: Mapping[str, object] | None = None,
    sees: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
    position: int = 0,
    progress: Path | None = None,
) -> nbformat.NotebookNode:
    """Run all cells in the kernel that the notebook names, with a progress bar that names the notebook.

    ``sees`` is the kernel's environment, by default ``kernel.environment()``, and ``arguments`` are added to its
    command, as ``--IPKernelApp.exec_files=FILE``, which runs before the first cell. The notebook as far as it got is
    in ``progress`` after every cell; without it, the traceback of a failing cell is in the logs.
    """
    logging.getLogger("papermill").setLevel(logging.ERROR)
    bar = {"desc": source.stem, "position": position}
    if not sys.stderr.isatty():  # a file or a CI log gets a line now and then
        bar |= {"position": 0, "mininterval": 20, "maxinterval": 20}
    try:
        return papermill.execute_notebook(
            notebook,
            progress,
            parameters=parameters,
            cwd=source.parent,
            progress_bar=bar,
            start_timeout=120,
            kernel_manager_class=manager(AsyncKernelManager, environment() if sees is None else sees),
            # The interrupt at shutdown is no error of ours.
            extra_arguments=["--IPKernelApp.log_level=50", *arguments],
        )
    except NoSuchKernel as error:
        raise ProjectError(
            f"{source} wants the kernel {error.name!r}, which is not installed: set kernelspec.name to python3, "
            f"or install it with `{Path(sys.executable).name} -m ipykernel install --sys-prefix --name {error.name}`"
        ) from None
    except RuntimeError as error:
        raise ProjectError(
            f"{source}: its kernel died ({error}): run it again, with more memory if it dies again"
        ) from None
    except KeyboardInterrupt:
        raise ProjectError(f"{source} was interrupted") from None
    except PapermillExecutionError as error:
        message = f"{source}, cell {error.cell_index}: {error.ename}"
        if error.evalue.strip():
            message += f": {first_line(error.evalue)}"
        if progress is None:
            log = LOGS / f"{source.stem}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text("\n".join(error.traceback), encoding="utf-8")
            message += f" (traceback in {log.relative_to(ROOT)}; `make run NOTEBOOK={source.stem}` runs it alone)"
        raise CellError(message) from None


def first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "a blank line")


def normalize(notebook: nbformat.NotebookNode, source: Path) -> nbformat.NotebookNode:
    """Strip everything that differs between two runs of the same source; refuse warnings and lost figures."""
    keep = {"name", "file_extension", "mimetype", "pygments_lexer"}
    language = {key: value for key, value in notebook.metadata.get("language_info", {}).items() if key in keep}
    notebook.metadata = nbformat.from_dict({"kernelspec": notebook.metadata.kernelspec, "language_info": language})
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
        cell.metadata = nbformat.from_dict(
            {key: value for key, value in cell.metadata.items() if key in KEPT and value not in ([], {})}
        )
        if cell.cell_type != "code":
            continue
        cell.outputs = merge_streams(cell.outputs)
        for output in cell.outputs:
            if output.get("name") == "stderr":
                raise ProjectError(
                    f"{source}, cell {number} wrote to stderr: {first_line(output.text)}: mend what it warns of"
                )
        if "figure" in cell.metadata.get("mystnb", {}):
            images = [output for output in cell.outputs if "image/png" in output.get("data", {})]
            if len(images) != 1:
                raise ProjectError(
                    f"{source}, cell {number} has a caption and {len(images)} figures: leave exactly one figure open"
                )
    return notebook


def merge_streams(outputs: list) -> list:
    """Join neighbouring pieces of one stream: how they are cut depends on timing."""
    merged: list = []
    for output in outputs:
        if merged and output.output_type == "stream" and merged[-1].get("name") == output.name:
            merged[-1].text += output.text
        else:
            merged.append(output)
    return merged


def announce(output: Path) -> None:
    """Say where the executed notebook is and how its claims fared."""
    from claims import collect  # here, since importing srlib would slow every job of the workflow down

    records = collect([output])
    parts = [f"{output}: {len(records)} claims"]
    for verdict, words in (("fails", "fail"), ("undecided", "undecided")):
        found = [record["id"] for record in records if record["verdict"] == verdict]
        parts.append(f"{len(found)} {words}{': ' if found else ''}{', '.join(found)}")
    print("; ".join(parts))


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # comments are UTF-8, a terminal may not be
    run(main)

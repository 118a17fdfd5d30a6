"""Execute one notebook from its source: py:percent → jupytext → papermill → normalized .ipynb.

Used by the workflow for the published run, and by hand to try other parameters:

    make run NOTEBOOK=02_sampling PARAMETERS="-p seed 7"
"""

import argparse
import ast
import logging
import os
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
import papermill
import yaml
from jupyter_client.kernelspec import NoSuchKernel
from papermill.exceptions import PapermillExecutionError
from project import LOGS, ROOT, ProjectError, run
from traitlets.config import Config

# Metadata that a reference's cells keep. The last is jupytext's: without it syncing the pair would move blank lines.
KEPT = ("mystnb", "tags", "lines_to_next_cell")
# One thread and fixed hashes make reruns byte-identical; Agg would erase inline figures without an error.
KERNEL_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "TQDM_DISABLE": "1"}


def main() -> None:
    arguments = parse()
    notebook = read(arguments.source)
    parameters = check_parameters(notebook, arguments.source, dict(arguments.parameters))
    executed = execute(notebook, arguments.source, parameters, arguments.position)
    write(normalize(executed, arguments.source), arguments.output)
    if arguments.announce:
        announce(arguments.output)


def announce(output: Path) -> None:
    """Say where the executed notebook is and how its claims fared."""
    from claims import collect  # here, since importing srlib would slow every job of the workflow down

    records = collect([output])
    failed = [record["id"] for record in records if record["verdict"] != "pass"]
    print(f"{output}: {len(records)} claims, {len(failed)} failed{': ' if failed else ''}{', '.join(failed)}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="notebook source, such as notebooks/02_sampling.py")
    parser.add_argument("output", type=Path, help="executed notebook to write")
    parser.add_argument(
        "-p",
        dest="parameters",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="override one parameter of the notebook (repeatable)",
    )
    parser.add_argument("--position", type=int, default=0, help="line of the progress bar among parallel ones")
    parser.add_argument("--announce", action="store_true", help="say where it is and how its claims fared")
    return parser.parse_args()


def read(source: Path) -> nbformat.NotebookNode:
    if not source.is_file():
        raise ProjectError(f"there is no notebook {source}: the sources are {', '.join(sources(source.parent))}")
    return jupytext.read(source)


def sources(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("[0-9]*.py")) or ["missing altogether"]


def check_parameters(notebook: nbformat.NotebookNode, source: Path, given: dict[str, str]) -> dict[str, object]:
    """Return the overriding parameters with their values parsed; refuse names the notebook does not have."""
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ProjectError(
            f"{source} has {len(cells)} parameters cells: tag exactly one, the one that assigns its scalars, with "
            '`# %% tags=["parameters"]`'
        )
    statements = ast.parse(cells[0].source).body
    known = {target.id for s in statements if isinstance(s, ast.Assign) for target in s.targets}
    for name in given:
        if name not in known:
            raise ProjectError(f"{source} has no parameter {name!r}: its parameters are {', '.join(sorted(known))}")
    return {name: yaml.safe_load(value) for name, value in given.items()}


def execute(
    notebook: nbformat.NotebookNode, source: Path, parameters: dict[str, object], position: int
) -> nbformat.NotebookNode:
    """Run all cells in the kernel that the notebook names, with a progress bar that names the notebook."""
    log = LOGS / f"{source.stem}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("papermill").setLevel(logging.ERROR)
    bar = {"desc": source.stem, "position": position}
    if not sys.stderr.isatty():  # a file or a CI log gets a line now and then
        bar |= {"position": 0, "mininterval": 20, "maxinterval": 20}
    import tqdm.auto  # noqa: F401  (reads TQDM_DISABLE on import: before it is set for the kernel)

    os.environ.update(KERNEL_ENVIRONMENT)
    os.environ.pop("MPLBACKEND", None)
    try:
        with tempfile.TemporaryDirectory() as sockets:
            # Sockets in a folder of its own: kernels that start at the same moment cannot take each other's port.
            transport = {"transport": "ipc", "ip": f"{sockets}/kernel"}
            return papermill.execute_notebook(
                notebook,
                None,
                parameters=parameters,
                cwd=source.parent,
                progress_bar=bar,
                start_timeout=120,
                config=Config({"KernelManager": transport}),
                extra_arguments=["--IPKernelApp.log_level=50"],  # the interrupt at shutdown is no error of ours
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
    except PapermillExecutionError as error:
        log.write_text("\n".join(error.traceback))
        raise ProjectError(
            f"{source}, cell {error.cell_index}: {error.ename}: {error.evalue.strip().splitlines()[0]} "
            f"(traceback in {log.relative_to(ROOT)}; `make run NOTEBOOK={source.stem}` runs it alone)"
        ) from None


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
                first = output.text.strip().splitlines()[0]
                raise ProjectError(f"{source}, cell {number} wrote to stderr: {first}: mend what it warns of")
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


def write(notebook: nbformat.NotebookNode, output: Path) -> None:
    """Write beside the target, then rename: a killed run leaves no half-written notebook."""
    output.parent.mkdir(parents=True, exist_ok=True)
    scratch = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        nbformat.write(notebook, scratch)
        scratch.replace(output)
    finally:
        scratch.unlink(missing_ok=True)


if __name__ == "__main__":
    run(main)

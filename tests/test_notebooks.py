"""The committed notebooks: paired, readable, described, and small. That they still run is nbval's part."""

import ast
import json
import os
import shutil
from pathlib import Path

import jupytext
import nbformat
import pytest
from jupytext.cli import jupytext as jupytext_command
from jupytext.compare import compare_notebooks

from srlib.check import MIME

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "notebooks").glob("[0-9]*.py"))
LONGEST_DEFINITION = 10  # lines; what is longer is library

pytestmark = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def reference(source: Path) -> nbformat.NotebookNode:
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)


def code_cells(source: Path) -> list:
    return [cell for cell in reference(source).cells if cell.cell_type == "code"]


def test_source_and_reference_are_the_same_notebook(source):
    compare_notebooks(reference(source), jupytext.read(source), fmt="py:percent")


@pytest.mark.parametrize("newer", [".ipynb", ".py"])
def test_syncing_the_pair_leaves_the_source_as_it_is(source, newer, tmp_path):
    for path in (source, source.with_suffix(".ipynb"), source.with_name("jupytext.toml")):
        shutil.copy(path, tmp_path)
        os.utime(tmp_path / path.name, (1e9, 1e9 + (path.suffix == newer)))
    jupytext_command(["--quiet", "--sync", f"{tmp_path / source.stem}.ipynb"])
    assert (tmp_path / source.name).read_bytes() == source.read_bytes()


def test_the_reference_is_normalized(source):
    notebook = reference(source)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert "version" not in notebook.metadata.language_info
    assert [cell.id for cell in notebook.cells] == [f"cell-{i:02d}" for i in range(len(notebook.cells))]
    counts = [cell.execution_count for cell in code_cells(source)]
    assert counts == list(range(1, len(counts) + 1)), "every cell ran once, in order"
    assert source.with_suffix(".ipynb").stat().st_size < 1.5e6


def test_parameters_are_scalars_with_a_comment(source):
    (cell,) = [cell for cell in code_cells(source) if "parameters" in cell.metadata.get("tags", [])]
    for line, statement in zip(cell.source.splitlines(), ast.parse(cell.source).body, strict=True):
        assert isinstance(ast.literal_eval(statement.value), int | float | str | bool)
        assert "# " in line


def test_definitions_are_short(source):
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            assert node.end_lineno - node.lineno < LONGEST_DEFINITION, f"{node.name}: move it into srlib"


def test_nothing_is_computed_in_single_precision(source):
    """Its last bits, which differ between processors, reach the digits that are shown, above all after training."""
    text = source.read_text(encoding="utf-8")
    assert "torch.set_default_dtype(torch.float64" in text.replace("(\n    torch", "(torch")
    names = {node.attr for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)}
    assert names.isdisjoint({"float", "float16", "float32", "bfloat16", "half"}), "use torch.float64"


def test_every_figure_has_a_caption_a_name_and_a_description(source):
    pictures = [cell for cell in code_cells(source) if any("image/png" in o.get("data", {}) for o in cell.outputs)]
    assert pictures, "Agg erases inline figures without an error"
    for cell in pictures:
        metadata = cell.metadata.mystnb
        assert metadata.figure.name.startswith("fig-")
        assert len(metadata.figure.caption) > 40
        assert len(metadata.image.alt) > 40


def test_stored_claims_hold_and_their_records_are_complete(source):
    bundles = [output.data for cell in code_cells(source) for output in cell.outputs if "data" in output]
    records = [bundle[MIME] for bundle in bundles if MIME in bundle]
    assert records
    fields = {"id", "statement", "kind", "prediction", "estimate", "interval", "verdict", "slack", "rejected", "seed"}
    for record in records:
        assert fields | {"noticeable", "false_alarm"} <= set(json.loads(json.dumps(record)))
        assert record["verdict"] == "holds"
        assert record["rejected"] or record["kind"] == "empirical"


def test_glued_numbers_have_the_digits_that_are_shown(source):
    record = "application/papermill.record/text/plain"
    for cell in code_cells(source):
        for output in cell.outputs:
            value = ast.literal_eval(output.get("data", {}).get(record, "0"))
            assert not isinstance(value, float) or value == float(f"{value:.4g}"), output.metadata

"""Comparing a run with the references, value by value, and making it the new ones, all or nothing."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import nbval.plugin
import pytest
from jupytext.cli import jupytext as jupytext_command
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from test_workflow import HEADER, ROOT, Checkout, claims_body

sys.path.insert(0, str(ROOT / "workflow"))
import project
from differences import Difference, differences, units
from execute import normalize

PICTURE = """
# %% mystnb={"figure": {"caption": "Another line.", "name": "fig-other"}, "image": {"alt": "Another line."}}
import matplotlib.pyplot as plt
_ = plt.plot([1, 0])

# %% mystnb={"figure": {"caption": "A line.", "name": "fig-depth"}, "image": {"alt": "A line."}}
print("before the picture")
_ = plt.plot([0, 1])
"""


def stream(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def shown(data, **metadata):
    return new_output("display_data", data=data, metadata=metadata)


def claim(estimate=0.03307, text="F2.depth holds", html="<b>F2.depth</b>", **more):
    record = {"id": "F2.depth", "estimate": estimate, "interval": [0.03, 0.04], "verdict": "holds"} | more
    return shown({"application/vnd.srlib.claim+json": record, "text/html": html, "text/plain": text})


def glued(text, name="slope"):
    return shown({"application/papermill.record/text/plain": text}, scrapbook={"name": name})


def notebook(*outputs, source="print(1)"):
    return new_notebook(cells=[new_code_cell(source, id="cell-00", outputs=list(outputs))])


def brief(found):
    return [(d.kind, d.name, d.reference, d.fresh, d.units) for d in found]


@pytest.mark.parametrize(
    ("reference", "fresh", "expected"),
    [
        ([claim()], [claim(0.03333)], [("claim", "F2.depth estimate", "0.03307", "0.03333", 26)]),
        ([claim()], [claim(interval=[0.03, 0.05])], [("claim", "F2.depth interval[1]", "0.04", "0.05", 1)]),
        ([stream("moved\n")], [stream("moved\n", "stderr")], [("output", "moved", "moved", "", None)]),
        ([claim()], [claim(verdict="fails", text="F2.depth fails")],
         [("claim", "F2.depth verdict", "holds", "fails", None)]),
        ([claim(html="<b>1 %</b>")], [claim(html="<b>3 %</b>")], [("claim", "F2.depth", "1", "3", 2)]),
        ([claim()], [], [("claim", "F2.depth", "F2.depth holds", "", None)]),
        ([], [claim()], [("claim", "F2.depth", "", "F2.depth holds", None)]),
        ([glued("1.05")], [glued("1.1")], [("glue", "slope", "1.05", "1.1", 5)]),
        ([glued("1.0", "a"), glued("2.0")], [glued("2.5")],
         [("glue", "a", "1.0", "", None), ("glue", "slope", "2.0", "2.5", 5)]),
        ([stream("a\nloss 1,200 at 3e-05\n")], [stream("a\nloss 1,203 at 5e-05\n")],
         [("output", "loss 1,200 at 3e-05", "1,200", "1,203", 3),
          ("output", "loss 1,200 at 3e-05", "3e-05", "5e-05", 2)]),
        ([stream("one\ntwo\n")], [stream("one\nand\ntwo\n")], [("output", "and", "", "and", None)]),
        ([stream("a"), stream("1")], [stream("a2")], [("output", "a1", "a1", "a2", None)]),
        ([stream("a\n")], [stream("a")], [("output", "", "", "", None)]),
        ([shown({"text/plain": "x", "text/html": "<td>7</td>"})],
         [shown({"text/plain": "x", "text/html": "<td>-7</td>"})], [("output", "<td>7</td>", "7", "-7", 14)]),
        ([shown({"text/plain": "Figure", "image/png": "A"})], [shown({"text/plain": "Figure", "image/png": "B"})], []),
        ([stream("warned", "stderr")], [], [("output", "warned", "warned", "", None)]),
        ([], [new_output("error", ename="ValueError", evalue="no", traceback=["1"])],
         [("output", "ValueError: no", "", "ValueError: no", None)]),
        ([stream("a"), glued("1")], [glued("1"), stream("a")], []),
    ],
)  # fmt: skip
def test_every_value_that_nbval_would_miss_is_named(reference, fresh, expected):
    found = differences(notebook(*fresh), notebook(*reference), "01_first")
    assert brief(found) == expected
    assert {(d.notebook, d.cell) for d in found} <= {("01_first", "cell-00")}


def test_bookkeeping_is_not_compared():
    a, b = notebook(claim(), glued("1")), notebook(claim(), glued("1"))
    a.cells[0].execution_count, a.cells[0].metadata.tags, a.metadata.kernelspec = 3, ["x"], {"name": "other"}
    assert differences(a, b) == []


RECORD = {"id": "F2.depth", "estimate": 1.0, "rejected": ["rank", "depth", "law"], "verdict": "holds"}
TYPES = {  # one output with one value, and another value of it
    "stdout": (lambda value: stream(f"loss {value}\n"), 1, 2),
    "stderr": (lambda value: stream(f"loss {value}\n", "stderr"), 1, 2),
    "name of an error": (lambda name: new_output("error", ename=name, evalue="no"), "ValueError", "TypeError"),
    "words of an error": (lambda words: new_output("error", ename="ValueError", evalue=words), "no", "not at all"),
    "traceback": (lambda line: new_output("error", ename="E", evalue="no", traceback=[line]), "here", "there"),
    "result": (lambda value: new_output("execute_result", data={"text/plain": value}, execution_count=1), "1", "2"),
    "last entry of a record": (
        lambda last: shown({"application/vnd.srlib.claim+json": RECORD | {"rejected": ["rank", "depth", last]}}),
        *("law", "norm"),
    ),
    **{
        mime: (lambda value, mime=mime: shown({"text/plain": "same", mime: value}), "1 and 2", "1 and 3")
        for mime in (
            *("text/plain", "text/html", "text/latex", "text/markdown", "application/javascript"),
            *("image/png", "image/jpeg", "image/svg+xml", "video/mp4", "application/vnd.of-a-kind-of-its-own"),
        )
    },
    **{
        mime: (lambda value, mime=mime: shown({mime: {"a": [1, {"b": value}]}, "text/plain": "same"}), 2, 3)
        for mime in ("application/json", "application/vnd.jupyter.widget-view+json", "application/vnd.table+json")
    },
}


@pytest.fixture
def nbval_accepts(request, tmp_path):
    """Whether nbval passes a cell with these outputs whose stored ones are those."""
    path = tmp_path / "one.ipynb"
    nbformat.write(notebook(), path)
    (cell,) = nbval.plugin.IPyNbFile.from_parent(request.session, path=path).collect()
    cell.colors = nbval.plugin.nocolors
    return cell.compare_outputs


@pytest.mark.parametrize("place", ["alone", "first", "in the middle", "last"])
@pytest.mark.parametrize("kind", list(TYPES))
def test_what_nbval_compares_is_compared(kind, place, nbval_accepts):
    """Changed, missing or new, and wherever it stands among other outputs."""
    make, one, other = TYPES[kind]
    others = [claim(), stream("words\n"), glued("1"), stream("warned\n", "stderr"), shown({"text/plain": "text"})]
    before, after = {"alone": (0, 5), "first": (0, 0), "in the middle": (2, 2), "last": (5, 5)}[place]
    same, changed = ([*others[:before], make(value), *others[after:]] for value in (one, other))
    without = [*others[:before], *others[after:]]
    for reference, fresh in ((same, changed), (same, without), (without, same)):
        passes = nbval_accepts(fresh, reference)
        assert (differences(notebook(*fresh), notebook(*reference)) == []) == passes
    ignored = kind in ("traceback", "image/png", "image/jpeg", "application/vnd.jupyter.widget-view+json")
    assert nbval_accepts(changed, same) == ignored, "what is ignored is known"


@pytest.mark.parametrize("mime", [kind for kind in TYPES if "/" in kind and kind != "text/plain"])
def test_a_type_that_only_one_version_has_is_a_difference(mime, nbval_accepts):
    make, value, _ = TYPES[mime]
    plain, both = [shown({"text/plain": "same"})], [make(value)]
    for reference, fresh in ((plain, both), (both, plain)):
        assert (differences(notebook(*fresh), notebook(*reference)) == []) == nbval_accepts(fresh, reference)


def test_every_changed_number_of_a_line_is_named():
    found = differences(notebook(stream("1, 2 and 30\n")), notebook(stream("1, 3 and 31\n")))
    assert [(d.reference, d.fresh) for d in found] == [("3", "2"), ("31", "30")]


def test_cells_are_paired_by_their_sources():
    old = new_notebook(cells=[new_markdown_cell("# A", id="a"), new_code_cell("x", id="b", outputs=[stream("1")])])
    new = new_notebook(
        cells=[new_code_cell("y", id="c", outputs=[stream("5")]), *notebook(stream("2"), source="x").cells]
    )
    new.cells.insert(0, new_markdown_cell("# A", id="d"))
    assert differences(new, old) == [
        Difference("", "c", "cell", "", "", "y"),
        Difference("", "b", "output", "1", "1", "2", 1.0),
    ]
    edited = notebook(stream("1"), source="seed = 2\nx")
    assert brief(differences(edited, notebook(stream("1"), source="seed = 1\nx"))) == [
        ("source", "seed = 2", "seed = 1", "seed = 2", None)
    ]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [("0.03307", "0.03333", 26), ("3.5e5", "2.8e+5", 7), ("0.033", "0.03307", 7), ("1e-9", "3e-9", 2), ("−2", "2", 4)],
)  # fmt: skip
def test_units_of_the_last_shown_digit(a, b, expected):
    assert units(a, b) == units(b, a) == expected


def test_a_difference_is_one_short_line():
    line = str(Difference("01_first", "cell-03", "claim", "F2.depth estimate", "0.03307", "0.03333", 26.0))
    assert line == "cell-03, claim F2.depth estimate: 0.03307 → 0.03333, 26 units of the last shown digit"
    said = [str(Difference("01_first", "c", "output", "x", "1.0", "1.1", units)) for units in (0.0, 1.0)]
    assert [text.split("→ 1.1, ")[1] for text in said] == [
        "0 units of the last shown digit",
        "1 unit of the last shown digit",
    ]
    assert len(str(Difference("01_first", "cell-03", "output", "x" * 500, "y" * 500, ""))) < 250


LAYOUT = (
    HEADER
    + """\
# %% [markdown]
# Text between two blank lines and a definition.


# %%
def f():
    return 1


# %%
f()
"""
)


def test_a_reference_remembers_how_its_source_is_laid_out(tmp_path):
    (tmp_path / "01_first.py").write_text(LAYOUT)
    shutil.copy(ROOT / "notebooks" / "jupytext.toml", tmp_path)
    reference = normalize(jupytext.read(tmp_path / "01_first.py"), Path("01_first.py"))
    os.utime(tmp_path / "01_first.py", (0, 0))
    nbformat.write(reference, tmp_path / "01_first.ipynb")
    jupytext_command(["--quiet", "--sync", f"{tmp_path}/01_first.ipynb"])
    assert (tmp_path / "01_first.py").read_text() == LAYOUT


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A checkout with one claim, the landing page's picture, and an executed run."""
    checkout = Checkout(tmp_path_factory.mktemp("executed"))
    checkout.write("01_first", claims_body() + PICTURE)
    assert checkout.run() == (0, "")
    return checkout


@pytest.fixture
def checkout(executed, tmp_path):
    """A copy of it, whose references are accepted."""
    copy = object.__new__(Checkout)
    copy.root = Path(shutil.copytree(executed.root, tmp_path / "copy"))
    for name in ("01_first", "02_second"):
        shutil.copy(copy.executed(name), copy.root / "notebooks")
    return copy


def call(checkout, *arguments):
    return checkout.script("workflow/references.py", *arguments)


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_from_an_edit_to_the_new_reference(checkout):
    for path in (checkout.root / "notebooks").iterdir():
        path.touch()
    same = call(checkout, "compare")
    assert (same.returncode, same.stdout) == (0, "01_first: same\n02_second: same\n")

    edit(checkout.root / "notebooks" / "01_first.py", "1.02", "1.04")
    (checkout.root / "notebooks" / "02_second.ipynb").unlink()
    stale = call(checkout, "compare")
    assert stale.returncode == 0
    assert stale.stdout.splitlines() == [
        "01_first: stale: it changed since it was executed; run `make book`",
        "02_second: no committed reference; `make accept` makes one",
    ]
    assert checkout.run() == (0, "")
    changed = call(checkout, "compare").stdout
    assert "cell-02, claim F2.depth estimate: 1.02 → 1.04, 2 units of the last shown digit\n" in changed
    assert "cell-02, source from IPython.display import display: " in changed

    accepted = call(checkout, "accept")
    assert accepted.returncode == 0, accepted.stderr
    for name in ("01_first", "02_second"):
        assert (checkout.root / "notebooks" / f"{name}.ipynb").read_bytes() == checkout.executed(name).read_bytes()
    drawn = [
        output.data["image/png"]
        for cell in nbformat.read(checkout.executed("01_first"), as_version=4).cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert (checkout.root / "book" / "_static" / "overview.png").read_bytes() == base64.b64decode(drawn[1])
    assert not list(checkout.root.rglob(".*.ipynb*"))

    edit(checkout.root / "requirements.lock", "torch", "numpy==2.4.6\ntorch")
    assert call(checkout, "compare").stdout.count("stale") == 2


def test_compare_with_the_run_of_another_machine(checkout):
    folder = checkout.root / "from there"
    folder.mkdir()
    nothing = call(checkout, "compare", "from there")
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert nothing.stderr == "error: from there holds no executed notebook of the book: name the folder with WITH=\n"
    text = checkout.executed("02_second").read_text()
    (folder / "02_second.ipynb").write_text(text.replace("seed 1", "seed 4"))
    edit(
        checkout.root / "notebooks" / "02_second.py", "seed = 1", "seed = 2"
    )  # what is stale here does not matter there
    there = call(checkout, "compare", "from there")
    assert (there.returncode, there.stdout) == (
        0,
        "01_first: not in from there\n02_second: 1 value differs, reference → fresh\n"
        "  cell-01, output seed 1: 1 → 4, 3 units of the last shown digit\n",
    )
    (folder / "02_second.ipynb").write_text(text[:100])
    broken = call(checkout, "compare", "from there")
    assert broken.returncode == 1
    assert re.fullmatch(
        r"error: from there/02_second.ipynb is no whole notebook \(.*\): copy it again\n", broken.stderr
    )


def test_make_compare_fails_without_a_run_and_tells_what_is_there(checkout):
    (checkout.root / "Makefile").write_text((ROOT / "Makefile").read_text())
    python = checkout.root / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (checkout.root / ".venv" / ".ready").touch()
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL")}

    def make():
        command = ["make", "--old-file", ".venv/.ready", "compare"]
        return subprocess.run(command, cwd=checkout.root, env=environment, text=True, capture_output=True, check=False)

    checkout.executed("01_first").unlink()
    some = make()
    assert (some.returncode, some.stderr) == (0, "")
    assert some.stdout == "01_first: not executed; run `make book`\n02_second: same\n"
    shutil.rmtree(checkout.root / "_build")
    nothing = make()
    assert nothing.returncode != 0
    assert nothing.stderr.startswith("error: ")
    assert "_build/src/notebooks holds no executed notebook of the book: run `make book` first\n" in nothing.stderr


def spoil_claim(checkout):
    edit(checkout.executed("01_first"), '"verdict": "holds"', '"verdict": "fails"')


def spoil_freshness(checkout):
    edit(checkout.root / "notebooks" / "02_second.py", "seed = 1", "seed = 2")
    checkout.executed("01_first").unlink()


def spoil_picture(checkout):
    edit(checkout.executed("01_first"), '"name": "fig-depth"', '"name": "fig-other"')


def spoil_list(checkout):
    (checkout.root / "notebooks" / "02_second.py").unlink()


def spoil_file(checkout):
    checkout.executed("02_second").write_text("{")


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (spoil_claim, "claim F2.depth fails (notebooks/01_first, cell-02): what was compared"),
        (spoil_freshness, "01_first is not executed, 02_second is stale: it changed since it was executed"),
        (spoil_picture, "no notebook has the figure fig-depth"),
        (spoil_list, "_toc.yml lists notebooks/02_second.py, which does not exist"),
        (spoil_file, "02_second.ipynb is no whole notebook"),
    ],
)
def test_accept_takes_nothing_of_a_run_that_is_wrong_stale_or_incomplete(checkout, spoil, line):
    def committed():
        return {
            path: path.read_bytes() for path in checkout.root.rglob("*.*") if path.parts[-2] in ("notebooks", "book")
        }

    spoil(checkout)
    before = committed()
    refused = call(checkout, "accept")
    assert refused.returncode == 1
    assert all(shown.startswith("error: ") for shown in refused.stderr.splitlines())
    assert line in refused.stderr
    assert committed() == before


def test_accept_that_cannot_write_all_writes_nothing(tmp_path):
    targets = [tmp_path / "a", tmp_path / "b"]
    targets[0].write_text("old")
    (tmp_path / f".b.{os.getpid()}").mkdir()  # in the way of the second file
    with pytest.raises(IsADirectoryError):
        project.write({target: "new" for target in targets})
    assert targets[0].read_text() == "old"


def test_the_references_differ_from_themselves_in_nothing_and_by_one_digit_in_one_value():
    path = ROOT / "notebooks" / "02_sampling.ipynb"
    reference = nbformat.read(path, as_version=4)
    assert differences(reference, reference) == []
    fresh = nbformat.reads(json.dumps(reference), as_version=4)
    record = next(
        output.data["application/vnd.srlib.claim+json"]
        for cell in fresh.cells
        for output in cell.get("outputs", [])
        if "application/vnd.srlib.claim+json" in output.get("data", {})
    )
    record["prediction"] = record["prediction"] * 2
    (found,) = differences(fresh, reference, Path(path).stem)
    assert (found.kind, found.name) == ("claim", f"{record['id']} prediction")
    assert found.units > 0

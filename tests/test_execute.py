"""Running one notebook: which is meant, its typed parameters, what a failed run leaves, and what bad input says."""

import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from test_workflow import BODY, HEADER, ROOT, Checkout, seen

sys.path.insert(0, str(ROOT / "workflow"))
import execute
from project import ProjectError

PARAMETERS = """\
seed: int = 1  # of every draw
rate = 1e-3  # of Adam
small, large = 400_000, "two # words"  # a pair
exact = True
first = last = -2  # both
shape = (3, 4)
"""


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


@pytest.fixture
def known():
    notebook = jupytext.reads(HEADER + '# %% tags=["parameters"]\n' + PARAMETERS, fmt="py:percent")
    return execute.parameters(notebook, Path("notebooks/01_first.py"))


def test_every_kind_of_assignment_is_a_parameter(known):
    assert {name: parameter.default for name, parameter in known.items()} == {
        "seed": 1, "rate": 1e-3, "small": 400_000, "large": "two # words", "exact": True,
        "first": -2, "last": -2, "shape": (3, 4),
    }  # fmt: skip
    assert known["seed"].comment == "of every draw"
    assert known["large"].comment == "a pair"
    assert known["exact"].comment == ""
    assert "    small = 400_000        # a pair\n" in execute.describe(known, Path("notebooks/01_first.py"))


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (["seed", "7"], {"seed": 7}),
        (["seed=7", "small=010"], {"seed": 7, "small": 10}),
        (["seed", "-7", "rate=1e-4"], {"seed": -7, "rate": 1e-4}),
        (["rate", "2"], {"rate": 2.0}),
        (["exact=false", "first=-3"], {"exact": False, "first": -3}),
        (["large=a = {b", "exact", "True"], {"large": "a = {b", "exact": True}),
        (["large", "1e-3"], {"large": "1e-3"}),
        ([], {}),
    ],
)
def test_a_value_has_the_type_of_its_default(known, words, given):
    read = execute.override(known, words, Path("notebooks/01_first.py"))
    assert read == given
    assert [type(value) for value in read.values()] == [type(value) for value in given.values()]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed", "abc"], "parameter seed of notebooks/01_first.py takes a value of type int (default 1), not 'abc'"),
        (["seed=1.0"], "takes a value of type int (default 1), not '1.0'"),
        (
            ["small={a"],
            "parameter small of notebooks/01_first.py takes a value of type int (default 400_000),",
        ),
        (["rate=fast"], "takes a value of type float (default 1e-3), not 'fast'"),
        (["exact=1"], "takes true or false (default True), not '1'"),
        (["seed"], "parameter seed has no value: write seed=1"),
        (["sede=7"], "notebooks/01_first.py has no parameter 'sede': its parameters are seed, rate, small, large,"),
        (["shape=(1, 2)"], "parameter shape of notebooks/01_first.py is (3, 4), neither number, text nor truth value"),
    ],
)
def test_other_values_and_names_are_refused(known, words, message):
    with pytest.raises(ProjectError) as refused:
        execute.override(known, words, Path("notebooks/01_first.py"))
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("notebooks/02_sampling.py", "02_sampling"),
        ("notebooks/02_sampling.ipynb", "02_sampling"),
        ("02_sampling.ipynb", "02_sampling"),
        ("02_sampling", "02_sampling"),
        ("02", "02_sampling"),
        ("2", "02_sampling"),
        ("sampling", "02_sampling"),
        ("10", "10_ntk_mean"),
        ("ntk", "10_ntk_mean or 11_ntk_more: name one of them"),
        ("3", "there is no notebook 3: the sources are 02_sampling.py, 10_ntk_mean.py, 11_ntk_more.py"),
        ("book/02_sampling", "there is no notebook book/02_sampling: the sources are 02_sampling.py"),
        ("", 'name a notebook, as in make run NOTEBOOK=2 PARAMETERS="seed=7": the sources are 02_sampling.py'),
    ],
)
def test_whatever_names_one_notebook_is_understood(monkeypatch, tmp_path, name, file):
    monkeypatch.setattr(execute, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notebooks").mkdir()
    for known in ("02_sampling", "10_ntk_mean", "11_ntk_more"):
        (tmp_path / "notebooks" / f"{known}.py").touch()
    if " " not in file:
        assert execute.find(name) == Path("notebooks") / f"{file}.py"
    else:
        with pytest.raises(ProjectError) as refused:
            execute.find(name)
        assert file in str(refused.value)


def stream(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def picture():
    return new_output("display_data", data={"image/png": "A", "text/plain": "<Figure>"})


KERNEL = {"name": "python3", "display_name": "Python 3"}


def normalized(*outputs, **metadata) -> list:
    """Return what is kept of these outputs of a notebook's second code cell."""
    last = new_code_cell("2", outputs=copy.deepcopy(list(outputs)), metadata=metadata)
    cells = [new_code_cell("1"), new_markdown_cell("Text"), last]
    about = {"kernelspec": KERNEL, "language_info": {"name": "python", "version": "3.11"}, "papermill": {}}
    notebook = execute.normalize(new_notebook(cells=cells, metadata=about), Path("notebooks/01_first.py"))
    assert notebook.metadata == {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    assert [cell.id for cell in notebook.cells] == ["cell-00", "cell-01", "cell-02"]
    return notebook.cells[2].outputs


FIGURE = {"figure": {"caption": "A line.", "name": "fig-line"}}


@pytest.mark.parametrize("before", [[], [stream("1")], [stream("1"), picture()], [picture(), stream("1")]])
@pytest.mark.parametrize("after", [[], [stream("2")], [picture()]])
def test_what_a_cell_writes_to_stderr_is_refused_wherever_it_stands(before, after):
    with pytest.raises(ProjectError, match=r"01_first\.py, cell 2 wrote to stderr: shaky: mend what it warns of"):
        normalized(*before, stream("shaky\nmore", "stderr"), *after)
    assert len(normalized(*before, picture(), *after)) == len(before) + 1 + len(after)


@pytest.mark.parametrize(
    "outputs", [[], [stream("1")], [picture(), picture()], [picture(), stream("1"), picture()]], ids=len
)
def test_a_cell_with_a_caption_has_one_figure(outputs):
    found = sum("data" in output for output in outputs)
    with pytest.raises(ProjectError, match=f"cell 2 has a caption and {found} figures: leave exactly one figure open"):
        normalized(*outputs, mystnb=FIGURE)
    assert normalized(stream("1"), picture(), stream("2"), mystnb=FIGURE)[1] == picture()


def test_only_neighbouring_pieces_of_one_stream_are_joined():
    pieces = [stream("a"), stream("b"), picture(), stream("c"), stream("d", "stderr"), stream("e", "stderr")]
    merged = execute.merge_streams(pieces)
    assert [output.get("text", "") for output in merged] == ["ab", "", "c", "de"]
    assert [output.get("name", "") for output in merged] == ["stdout", "", "stdout", "stderr"]


def test_a_run_says_which_claims_failed(tmp_path, capsys):
    def made(id, verdict):
        record = {"id": id, "verdict": verdict}
        return new_output("display_data", data={"application/vnd.srlib.claim+json": record, "text/plain": id})

    outputs = [made("F2.a", "holds"), made("F2.b", "fails"), made("F3.c", "undecided"), made("F3.d", "fails")]
    nbformat.write(new_notebook(cells=[new_code_cell("1", outputs=outputs)]), tmp_path / "01.ipynb")
    execute.announce(tmp_path / "01.ipynb")
    assert capsys.readouterr().out == f"{tmp_path}/01.ipynb: 4 claims; 2 fail: F2.b, F3.d; 1 undecided: F3.c\n"


def by_hand(checkout, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "workflow/execute.py", "01_first", *arguments],
        cwd=checkout.root, text=True, capture_output=True, timeout=120, check=False, env=os.environ | environment,
    )  # fmt: skip


def error_line(process) -> str:
    """Return the one line that a failed run ends in, after its progress bar."""
    assert process.returncode == 1
    (line,) = seen(process.stderr)
    return line


def result(checkout) -> nbformat.NotebookNode:
    return nbformat.read(checkout.root / "_build" / "runs" / "01_first.ipynb", as_version=4)


def test_make_run_passes_names_and_values_on(checkout):
    parameters = BODY.replace("seed = 1", 'name = "x"; rate = 0.1; seed = 1')
    checkout.write("01_first", parameters + "\n# %%\nprint(name, rate)\n")
    for file in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / file, checkout.root)
    (checkout.root / ".venv").symlink_to(sys.prefix)
    make = ["make", "-o", ".venv/.ready", "run", "NOTEBOOK=1"]
    run = {"cwd": checkout.root, "text": True, "capture_output": True, "timeout": 120, "check": True}

    given = subprocess.run([*make, "PARAMETERS=seed=7 name='a \"b' rate -1e-3"], **run)
    assert [cell.outputs[0].text for cell in result(checkout).cells[-2:]] == ["seed 7\n", 'a "b -0.001\n']
    assert given.stdout == "_build/runs/01_first.ipynb: 0 claims; 0 fail; 0 undecided\n"

    listed = subprocess.run(make, **run).stdout.splitlines()
    assert listed[0].startswith("notebooks/01_first.py runs with its published parameters")
    assert listed[1:4] == ['    name = "x"  # seed', "    rate = 0.1  # seed", "    seed = 1    # seed"]
    assert result(checkout).cells[-2].outputs[0].text == "seed 1\n"


def test_a_source_by_its_path_runs_into_a_given_file(checkout):
    execute = ["workflow/execute.py", "notebooks/01_first.py", "_build/runs/01_first.ipynb"]
    assert checkout.script(*execute, "-p", "seed", "7").returncode == 0
    assert result(checkout).cells[-1].outputs[0].text == "seed 7\n"
    missing = checkout.script("workflow/execute.py", "notebooks/09_none.py", "out.ipynb")
    assert "there is no notebook notebooks/09_none.py: the sources are 01_first.py, 02_second.py" in missing.stderr
    assert "the following arguments are required: notebook" in error_line(checkout.script("workflow/execute.py"))


@pytest.mark.parametrize(
    ("cell", "line"),
    [
        ("assert seed == 1", "notebooks/01_first.py, cell 3: AssertionError (the notebook as far as it got:"),
        (
            'raise ValueError("\\né")',
            "cell 3: ValueError: é (the notebook as far as it got: _build/runs/01_first",
        ),
        ("import sys\nprint(file=sys.stderr)", "cell 3 wrote to stderr: a blank line: mend what it warns of (the note"),
        ("import os\nos._exit(1)", "notebooks/01_first.py: its kernel died (Kernel died): run it again"),
    ],
    ids=["empty message", "later lines", "blank line", "killed"],
)
def test_a_failed_run_leaves_its_own_notebook_as_far_as_it_got(checkout, cell, line):
    (checkout.root / "_build" / "runs").mkdir(parents=True)
    (checkout.root / "_build" / "runs" / "01_first.ipynb").write_text("of an earlier run")
    checkout.write("01_first", BODY + f"\n# %%\n{cell}\n")
    assert line in error_line(by_hand(checkout, "-p", "seed=7", LC_ALL="C.UTF-8"))
    text = str(result(checkout))
    assert "seed 7" in text
    assert ("output_type': 'error'" in text) == ("Error" in line)


def test_a_published_run_that_fails_leaves_its_traceback_in_the_logs(checkout):
    checkout.write("01_first", BODY.replace("# seed", "# é") + '\n# %%\nraise ValueError("é")\n')
    failed = by_hand(checkout, "_build/src/notebooks/01_first.ipynb", "--announce", LC_ALL="C", PYTHONUTF8="0")
    assert "cell 2: ValueError: \\xe9 (traceback in _build/logs/01_first.log; `make run" in error_line(failed)
    assert "ValueError" in (checkout.root / "_build" / "logs" / "01_first.log").read_text(encoding="utf-8")
    assert list((checkout.root / "_build" / "src" / "notebooks").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(checkout):
    checkout.write("01_first", BODY + '\n# %%\nopen("ran", "w").close()\n')
    (checkout.root / "_build").touch()
    assert error_line(by_hand(checkout)).startswith("error: _build/runs cannot be written (")
    assert not (checkout.root / "notebooks" / "ran").exists()


def test_broken_parameters_cells_are_named(checkout):
    checkout.write("01_first", BODY.replace("seed = 1", "seed = = 1"))
    assert error_line(by_hand(checkout)) == "error: notebooks/01_first.py, parameters cell, line 1: invalid syntax"


def test_another_environment_and_a_file_that_runs_first_can_be_passed(checkout):
    checkout.write(
        "01_first", BODY + '\n# %%\nimport os\n\nprint(before, os.environ["OMP_NUM_THREADS"], os.environ["A"])\n'
    )
    (checkout.root / "before it.py").write_text("before = 'ran'\n")
    program = """
import sys; sys.path.insert(0, "workflow")
from pathlib import Path
import jupytext
from execute import execute, normalize
from kernel import environment

source = Path("notebooks/01_first.py")
arguments = [f"--IPKernelApp.exec_files={Path('before it.py').resolve()}"]
sees = environment(threads=2) | {"A": "b"}
notebook = execute(jupytext.read(source), source, sees=sees, arguments=arguments)
print(normalize(notebook, source).cells[-1].outputs[0].text)
"""
    assert checkout.script("-c", program).stdout == "ran 2 b\n\n"

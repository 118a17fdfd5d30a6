"""Stand-ins for other machines: they differ where processors do, and find outputs that depend on it."""

import dataclasses
import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook, new_output
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "workflow"))
import kernel  # noqa: E402
import portable  # noqa: E402
from jitter import Jitter  # noqa: E402
from project import pins  # noqa: E402


def test_jitter_turns_last_bits_of_sums_and_functions():
    A = torch.randn(50, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for call in (lambda: A @ A, lambda: A.sum(0), lambda: A.exp(), lambda: torch.linalg.qr(A).R):
        plain = call()
        with Jitter():
            other, again = call(), call()
        assert not torch.equal(plain, other)
        assert not torch.equal(other, again)
        torch.testing.assert_close(other, plain, rtol=1e-11, atol=1e-11)


def test_jitter_leaves_exact_arithmetic_alone():
    A = torch.randn(50, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    calls = [
        lambda: A + A.mT,
        lambda: (A > 0).double().mean(0),
        lambda: A.sign() @ A.sign(),
        lambda: torch.eye(3).matmul(torch.arange(9.0).view(3, 3)),
        lambda: torch.rand(9, generator=torch.Generator().manual_seed(0)),
        lambda: torch.randint(9, (9,), generator=torch.Generator().manual_seed(0)),
    ]
    for call in calls:
        plain = call()
        with Jitter():
            assert torch.equal(call(), plain)


def test_jitter_keeps_draws_but_for_their_last_bits():
    def draws():
        return torch.randn(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    plain, state = draws(), torch.get_rng_state()
    with Jitter():
        other = draws()
    assert not torch.equal(plain, other)
    torch.testing.assert_close(plain, other, rtol=1e-14, atol=0)
    assert torch.equal(torch.get_rng_state(), state)


def test_gradients_flow_through_jitter():
    A = torch.randn(5, 5, dtype=torch.float64, requires_grad=True)
    with Jitter():
        (A @ A).exp().sum().backward()
    other, A.grad = A.grad, None
    (A @ A).exp().sum().backward()
    torch.testing.assert_close(other, A.grad, rtol=1e-11, atol=1e-11)


PROBE = """
import json, torch
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
on = [name for name in __cpu_dispatch__ if __cpu_features__[name]]
print(json.dumps([torch.backends.cpu.get_cpu_capability(), torch.get_num_threads(), on]))
"""


@functools.cache
def probe(name: str) -> tuple[str, int, list[str]]:
    machine = portable.MACHINES[name]
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROBE], env=portable.sees(machine), text=True, capture_output=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return json.loads(result.stdout)


def test_machines_are_what_they_say():
    assert probe("plain") == ["DEFAULT", 1, []]
    own = probe("own")
    assert (own[1], probe("threads")[1]) == (1, 2)
    if own[0] in ("AVX2", "AVX512"):
        assert probe("avx2")[0] == "AVX2"
        assert not [name for name in probe("avx2")[2] if "512" in name or "V4" in name]


def test_the_oldest_versions_are_those_of_the_metadata():
    oldest = portable.oldest()
    assert set(oldest) == set(portable.PACKAGES)
    for name, version in oldest.items():
        assert Version(version) <= Version(pins()[name])


def test_how_a_machine_is_called_makes_nothing_stale_and_what_it_is_does():
    machine = portable.AVX2
    assert repr(dataclasses.replace(machine, about="another name")) == repr(machine)
    for change in ({"threads": 2}, {"variables": {}}, {"without": "."}, {"prelude": Path("a.py")}, {"home": Path("b")}):
        assert repr(dataclasses.replace(machine, **change)) != repr(machine)


HEADER = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% tags=["parameters"]
seed = 1  # seed

# %%
import torch

x = torch.randn(1000, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).exp().sum().item()
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    root = tmp_path_factory.mktemp("portable") / "a b é"
    for folder in ("workflow", "srlib"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "notebooks").mkdir()
    (root / "book").mkdir()
    shutil.copy(ROOT / "requirements.lock", root)
    shutil.copy(ROOT / "pyproject.toml", root)
    (root / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nchapters:\n- file: notebooks/01_exact\n- file: notebooks/02_rounded\n"
    )
    (root / "book" / "index.md").write_text("# Index\n")
    (root / "notebooks" / "01_exact.py").write_text(HEADER + '\n# %%\nprint("sum", x)\n', encoding="utf-8")
    (root / "notebooks" / "02_rounded.py").write_text(HEADER + '\n# %%\nprint(f"sum {x:.6g}")\n', encoding="utf-8")
    for name in ("01_exact", "02_rounded"):
        done = script(root, "workflow/execute.py", f"notebooks/{name}.py", f"notebooks/{name}.ipynb")
        assert done.returncode == 0, done.stderr
    return root


def script(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(root)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=root, env=environment, text=True, capture_output=True, check=False
    )


def test_an_output_that_depends_on_the_last_bits_is_found(checkout):
    done = script(checkout, "workflow/portable.py", "run", "2", "jitter")
    assert done.returncode == 1
    assert "jitter: 01_exact, cell-02, output sum" in done.stdout
    assert "jitter: 02_rounded" not in done.stdout
    assert "every rounding at random: 2 outputs of 2 notebooks, 1 cell differs" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("error: stored outputs depend on the machine")

    only = script(checkout, "workflow/portable.py", "run", "2", "jitter", "02_rounded")
    assert only.returncode == 0, only.stderr
    assert "1 outputs of 1 notebook, no cells differ" in only.stdout

    planned = ["workflow/build.py", "snakemake", "--summary", "_build/portable/jitter/02_rounded.ipynb"]
    for file, old, new in (
        ("portable", "prelude=JITTER", "prelude=JITTER, threads=2"),
        ("jitter", "SEED = 1", "SEED = 2"),
    ):
        path = checkout / "workflow" / f"{file}.py"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
        assert "update pending" in script(checkout, *planned).stdout, f"{file}.py decides what that machine shows"
        path.write_text(text, encoding="utf-8")

    (published,) = (checkout / "notebooks" / "data" / "portable").iterdir()
    results = json.loads(published.read_text(encoding="utf-8"))["machines"]["jitter"]
    assert [len(results[name]["differ"]) for name in ("01_exact", "02_rounded")] == [1, 0], "one does not undo another"
    assert results["01_exact"]["versions"]["numpy"] == np.__version__


def test_unknown_machines_and_notebooks_are_named(checkout):
    done = script(checkout, "workflow/portable.py", "run", "2", "vax")
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no machine or notebook 'vax': the machines are own, threads,")
    assert len(done.stderr.splitlines()) == 1


def test_every_compared_output_counts_in_the_digest(monkeypatch, tmp_path):
    """And nothing else, so that a table of the book is about the outputs that are stored."""

    def digest(*outputs):
        cells = [new_code_cell("1", id="a"), new_code_cell("2", id="b", outputs=list(outputs))]
        nbformat.write(new_notebook(cells=cells), tmp_path / "01.ipynb")
        return portable.digest("01")

    def shown(text, picture="A"):
        return new_output("display_data", data={"text/plain": text, "image/png": picture})

    monkeypatch.setattr(portable, "REFERENCES", tmp_path)
    one = digest(shown("1"), shown("2"), shown("3"))
    assert one == digest(shown("1"), shown("2"), shown("3", picture="B"))
    for outputs in (["0", "2", "3"], ["1", "0", "3"], ["1", "2", "0"], ["1", "2"], ["1", "2", "3", "4"]):
        assert digest(*map(shown, outputs)) != one


def test_a_new_result_replaces_the_old_one_of_its_notebook_and_machine_only(monkeypatch, tmp_path):
    monkeypatch.setattr(portable, "ROOT", tmp_path)
    monkeypatch.setattr(portable, "TABLES", tmp_path)
    portable.publish({"plain": {"01": "old", "02": "old"}, "jitter": {"01": "old"}})
    portable.publish({"plain": {"02": "new"}})
    (path,) = tmp_path.iterdir()
    found = json.loads(path.read_text(encoding="utf-8"))["machines"]
    assert found == {name: {} for name in portable.MACHINES} | {
        "plain": {"01": "old", "02": "new"},
        "jitter": {"01": "old"},
    }


def test_versions_are_those_of_the_kernel_that_ran(monkeypatch, tmp_path, capsys):
    notebook = new_notebook(cells=[new_code_cell("1", id="a", outputs=[new_output("stream", text="1")])])
    for folder in ("stored", "there/plain"):
        (tmp_path / folder).mkdir(parents=True)
        nbformat.write(notebook, tmp_path / folder / "01.ipynb")
    monkeypatch.setattr(portable, "REFERENCES", tmp_path / "stored")
    monkeypatch.setattr(portable, "FOLDER", tmp_path / "there")
    assert portable.compare("plain", "01")["versions"]["torch"] == torch.__version__
    notebook.metadata["versions"], notebook.cells[0].outputs[0].text = dict.fromkeys(portable.PACKAGES, "1"), "4"
    nbformat.write(notebook, tmp_path / "there" / "plain" / "01.ipynb")
    found = portable.compare("plain", "01")
    assert (found["versions"]["torch"], found["outputs"], len(found["differ"])) == ("1", 1, 1)
    assert capsys.readouterr().out == "plain: 01, a, output 1: 1 → 4, 3 units of the last shown digit\n"


def test_the_page_shows_what_is_about_the_stored_outputs_only(monkeypatch, tmp_path):
    monkeypatch.setattr(portable, "TABLES", tmp_path)
    first, second = portable.notebooks()[:2]
    result = {"versions": dict.fromkeys(portable.PACKAGES, "1"), "outputs": 1200, "differ": []}
    differ = [{"cell": "cell-01"}, {"cell": "cell-01"}]
    now, then = ({"stored": stored} | result for stored in (portable.digest(first), "before"))
    machines = {
        "threads": {first: now, second: then},
        "plain": {first: now | {"differ": differ}},
        "avx2": {second: then},
    }
    (tmp_path / "p.json").write_text(json.dumps({"processor": "P", "system": "S", "machines": machines}))
    assert portable.page().splitlines() == [
        "On P, S:",
        "",
        "| machine | torch, numpy, scipy | compared |",
        "|---|---|---|",
        "| two threads | 1, 1, 1 | 1,200 outputs of 1 notebook, no cells differ |",
        "| no vectors | 1, 1, 1 | 1,200 outputs of 1 notebook, 1 cell differs |",
    ]


def test_a_kernel_keeps_the_variables_that_choose_the_processor():
    chosen = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "AVX2", "NPY_DISABLE_CPU_FEATURES": "X86_V4"}
    assert chosen.items() <= kernel.environment(chosen).items()

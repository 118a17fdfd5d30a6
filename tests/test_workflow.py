"""The workflow on a small checkout: what is executed when, what a killed run leaves, what bad input says."""

import ast
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "workflow"), str(ROOT / "book" / "_ext")]
import claims  # noqa: E402
import offline  # noqa: E402
import project  # noqa: E402

HEADER = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

"""
BODY = """\
# %% tags=["parameters"]
seed = 1  # seed

# %%
print("seed", seed)
"""


def seen(text: str) -> list[str]:
    """Return the lines that a person reads: not progress bars, and not make's own lines."""
    return [line for line in text.splitlines() if not re.search(r"^$|cell/s|s/cell|^make(\[\d+\])?: ", line)]


def put(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


class Checkout:
    """A project with the real workflow and two notebooks that take no time; its files lie as deep as the real ones."""

    def __init__(self, root: Path):
        self.root = root
        shutil.copytree(ROOT / "workflow", root / "workflow", ignore=shutil.ignore_patterns("__pycache__"))
        files = {
            "srlib/__init__.py": "",
            "srlib/moments/__init__.py": "",
            "srlib/moments/feature.py": "FACTOR = 1\n",
            "notebooks/data/second/runs.csv": "1\n",
            "requirements.lock": "torch==2.13.0\n",
            "book/index.md": "# Index\n",
            "book/_static/book.css": "",
            "book/ranges.csv": "date,id,above,below,note\n",
        }
        put(root, files)
        self.list("01_first", "02_second")
        self.write("01_first")
        self.write("02_second")

    def list(self, *names: str) -> None:
        chapters = "".join(f"  - file: {name if '/' in name else f'notebooks/{name}'}\n" for name in names)
        (self.root / "_toc.yml").write_text(f"format: jb-book\nroot: book/index\nchapters:\n{chapters}")

    def write(self, name: str, body: str = BODY, header: str = HEADER) -> None:
        (self.root / "notebooks" / f"{name}.py").write_text(header + body)

    def executed(self, name: str) -> Path:
        return self.root / "_build" / "src" / "notebooks" / f"{name}.ipynb"

    def start(self, *targets: str, **options) -> subprocess.Popen:
        command = [sys.executable, "-m", "snakemake", "--snakefile", "workflow/Snakefile", "--jobs", "2"]
        command += ["--quiet", "all", "--rerun-incomplete", "--nolock", *(targets or ["executed"])]
        return subprocess.Popen(
            command, cwd=self.root, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
        )

    def run(self, *targets: str) -> tuple[int, str]:
        """Run the workflow to the executed notebooks; return the exit status and what a person sees."""
        process = self.start(*targets)
        _, errors = process.communicate(timeout=120)
        return process.returncode, "\n".join(seen(errors))

    def stamps(self) -> dict[str, int]:
        return {path.stem: path.stat().st_mtime_ns for path in self.executed("x").parent.glob("*.ipynb")}

    def script(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, *arguments], cwd=self.root, text=True, capture_output=True, timeout=120, check=False
        )


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def test_only_stale_notebooks_are_executed_and_content_decides(checkout):
    module, table = checkout.root / "srlib" / "moments" / "feature.py", checkout.root / "notebooks/data/second/runs.csv"
    checkout.write("01_first", BODY + "\n# %%\nif not seed:\n    import srlib.moments.feature\n")
    assert checkout.run() == (0, "")
    first = checkout.stamps()
    assert set(first) == {"01_first", "02_second"}

    module.write_text('"""Words."""\n\nFACTOR = 1  # more words\n')
    (checkout.root / "notebooks" / "01_first.py").touch()
    checkout.write("00_new")
    checkout.list("00_new", "01_first", "02_second")
    assert checkout.run() == (0, "")
    second = checkout.stamps()
    assert second.items() > first.items(), "no words, no date, and no place in the book makes anything stale"

    for file, text in ((module, "FACTOR = 2\n"), (table, "2\n")):
        file.write_text(text)
        os.utime(file, (0, 0))  # an edit stays an edit under an old date
    assert checkout.run() == (0, "")
    third = checkout.stamps()
    assert {name for name in third if third[name] != second[name]} == {"01_first", "02_second"}


IMPORTING = """
# %%
if not seed:  # what a notebook can import counts, whether or not this run does
    import srlib.moments.feature
    from figures import second
    from srlib import plotting
"""
PACKAGE = {
    "__init__.py": "from srlib.ensemble import sample\n",
    "ensemble.py": "def sample():\n    from . import haar\n",
    "haar.py": "SIGN = 1\n",
    "moments/__init__.py": "from .growth import *\n",
    "moments/feature.py": "NORM = 1\n",
    "moments/growth.py": "from .. import rank\n",
    "plotting.py": "COLOUR = 1\n",
    "rank.py": "def rank():\n    return 1\n",
    "training.py": "STEPS = 1\n",
}


def test_a_notebook_is_stale_by_the_code_that_it_imports_and_the_data_that_it_reads(tmp_path, monkeypatch):
    checkout = Checkout(tmp_path)
    shutil.rmtree(tmp_path / "srlib")
    files = {f"srlib/{name}": text for name, text in PACKAGE.items()}
    files |= {"notebooks/data/second/part/runs.csv": "1\n", "requirements.lock": "torch==2.13.0\n"}
    files |= {
        "notebooks/figures/second.py": "from measurements import one\n\nfrom figures.parts import axis\n",
        "notebooks/figures/parts/__init__.py": "from .line import axis\n",
        "notebooks/figures/parts/line.py": "from . import colour\n\naxis = 1\n",
        "notebooks/figures/parts/colour.py": "BLUE = 1\n",
        "notebooks/figures/parts/other.py": "",
        "notebooks/measurements/one.py": "A = 1\n",
    }
    put(tmp_path, files)
    checkout.write("02_second", BODY + IMPORTING)
    monkeypatch.setattr(project, "ROOT", tmp_path)

    def digests():
        return {name: project.notebook_digest(name) for name in ("01_first", "02_second")}

    fresh = digests()

    def stale(name, text):
        """Return the notebooks that are stale once a file reads otherwise; restore it."""
        (tmp_path / name).write_text(text)
        found = {notebook for notebook, digest in digests().items() if digest != fresh[notebook]}
        (tmp_path / name).write_text(files[name]) if name in files else (tmp_path / name).unlink()
        return found

    for name in set(PACKAGE) - {"training.py"}:
        assert stale(f"srlib/{name}", PACKAGE[name] + "NEW = 1\n") == {"02_second"}, name
        assert stale(f"srlib/{name}", f'"""Words."""\n# more words\n{PACKAGE[name]}') == set(), name
    for name in ("training.py", "new.py", "moments/new.py"):
        assert stale(f"srlib/{name}", "NEW = 1\n") == set(), "nothing imports it"
    for name in ("figures/second.py", "figures/parts/line.py", "figures/parts/colour.py", "measurements/one.py"):
        assert stale(f"notebooks/{name}", files[f"notebooks/{name}"] + "NEW = 1\n") == {"02_second"}, name
    assert stale("notebooks/figures/parts/__init__.py", "from .other import axis\n") == {"02_second"}
    for name in ("figures/other.py", "figures/parts/other.py", "measurements/other.py"):
        assert stale(f"notebooks/{name}", "NEW = 1\n") == set(), name
    assert stale("notebooks/data/second/part/runs.csv", "2\n") == {"02_second"}
    assert stale("notebooks/data/second/part/more.csv", "1\n") == {"02_second"}
    assert stale("requirements.lock", "torch==2.14.0\n") == {"01_first", "02_second"}
    (tmp_path / "notebooks/data/second/part/runs.csv").rename(tmp_path / "notebooks/data/second/part/other.csv")
    assert digests()["02_second"] != fresh["02_second"], "a table's name counts"
    for script in ("execute", "kernel"):
        fresh = digests()
        (tmp_path / "workflow" / f"{script}.py").write_text("THREADS = 2\n")
        assert all(digest != fresh[name] for name, digest in digests().items()), script

    fresh = digests()
    checkout.write("01_first", header=HEADER.replace("Python 3 (ipykernel)", "Python 3"))
    assert digests() == fresh
    checkout.write("01_first", header=HEADER.replace("name: python3", "name: julia"))
    assert digests()["01_first"] != fresh["01_first"]


def test_what_a_package_hands_on_is_followed_to_where_it_is_defined(tmp_path, monkeypatch):
    """`from srlib import ntk` does not depend on all that srlib/__init__.py imports; `import srlib` does."""
    files = {
        "srlib/__init__.py": "from srlib import ntk, rank\nfrom srlib.rank import stable_rank\nVERSION = 1\n",
        "srlib/ntk/__init__.py": "from srlib.ntk.drawn import empirical\nfrom srlib.ntk.limit import infinite\n",
        "srlib/ntk/drawn.py": "def empirical(): ...\n",
        "srlib/ntk/limit.py": "import torch\n",
        "srlib/rank.py": "def stable_rank(): ...\n",
    }
    put(tmp_path, files)
    monkeypatch.setattr(project, "ROOT", tmp_path)

    def imported(text):
        (tmp_path / "source.py").write_text(text)
        return {file.removeprefix("srlib/") for file in project.imported("source.py")}

    assert imported("from srlib import stable_rank\n") == {"rank.py"}
    assert imported("from srlib.ntk import empirical as kernel\n") == {"ntk/drawn.py"}
    assert imported("from srlib import ntk\n") == {"ntk/__init__.py", "ntk/drawn.py", "ntk/limit.py"}
    assert imported("from srlib import VERSION\n") == {name.removeprefix("srlib/") for name in files}
    assert imported("import srlib\n") == imported("from srlib import VERSION\n")
    assert imported("def f():\n    from srlib import rank\n") == {"rank.py"}
    (tmp_path / "srlib" / "rank.py").write_text("from srlib.ntk.drawn import empirical\nempirical = min(empirical)\n")
    assert imported("from srlib.rank import empirical\n") == {"rank.py", "ntk/drawn.py"}, "only packages hand on"


def test_packages_only_hand_on_and_nobody_asks_for_all_experiments():
    """What `project.imported` takes for granted."""
    files = [path for folder in ("srlib", "notebooks") for path in (ROOT / folder).rglob("*.py")]
    for path in files:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if path.name == "__init__.py":
            rest = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom | ast.Expr)]
            defined = {ast.unparse(getattr(node, "targets", [node])[0]).partition("(")[0] for node in rest}
            assert defined <= {"__all__", "__version__", "def __getattr__"}, path
        experiments = [name for _, name in project._analyse(str(path), path.read_text(encoding="utf-8"))[1]]
        assert "srlib.experiments" not in experiments, f"{path}: they load when asked for; name the one that is used"


def test_pages_are_listed_in_reading_order_at_any_depth(tmp_path):
    contents = {
        "root": "a",
        "parts": [
            {"chapters": [{"file": "b", "sections": [{"file": "c", "sections": [{"file": "d"}]}]}, {"file": "e"}]},
            {"chapters": [{"file": "f"}]},
        ],
        "format": "jb-book",
    }
    for shown, pages in ((contents, "abcdef"), ({"root": "a", "chapters": [{"file": "b"}]}, "ab")):
        (tmp_path / "_toc.yml").write_text(yaml.safe_dump(shown))
        assert project.toc_files(tmp_path / "_toc.yml") == list(pages)


def test_reruns_are_byte_identical(checkout):
    checkout.write(
        "01_first",
        BODY
        + """
# %% mystnb={"figure": {"caption": "A line.", "name": "fig-line"}, "image": {"alt": "A line."}}
import matplotlib.pyplot as plt
_ = plt.plot([0, seed])
for word in "many pieces of one stream".split():
    print(word, flush=True)
""",
    )
    copies = []
    for _ in range(2):
        shutil.rmtree(checkout.root / "_build", ignore_errors=True)
        assert checkout.run("_build/src/notebooks/01_first.ipynb") == (0, "")
        copies.append(checkout.executed("01_first").read_bytes())
    assert b"image/png" in copies[0]
    assert copies[0] == copies[1]


WAITING = """
# %%
import time
from pathlib import Path

print("begun", flush=True)
while not Path("../go").exists():
    time.sleep(0.05)
print("done")
"""


def test_a_killed_run_leaves_nothing_half_written_and_the_next_one_finishes(checkout):
    checkout.write("02_second", BODY + WAITING)
    process = checkout.start(start_new_session=True)
    deadline = time.monotonic() + 60
    while not checkout.executed("01_first").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert set(checkout.stamps()) == {"01_first"}, "only the finished notebook is there"
    nbformat.validate(nbformat.read(checkout.executed("01_first"), as_version=4))

    (checkout.root / "go").touch()
    assert checkout.run() == (0, "")
    cells = nbformat.read(checkout.executed("02_second"), as_version=4).cells
    assert cells[-1].outputs[0].text == "begun\ndone\n"


def bad_missing(checkout):
    (checkout.root / "notebooks" / "02_second.py").unlink()


def bad_renamed(checkout):
    (checkout.root / "notebooks" / "02_second.py").rename(checkout.root / "notebooks" / "02_other.py")
    checkout.list("01_first")


def bad_parameters(checkout):
    checkout.write("02_second", BODY.replace(' tags=["parameters"]', ""))


def bad_syntax(checkout):
    checkout.write("02_second", BODY + "\n# %%\nseed = = 2\n")


def bad_kernel(checkout):
    checkout.write("02_second", header=HEADER.replace("name: python3", "name: julia"))


def bad_cell(checkout):
    checkout.write("02_second", BODY + "\n# %%\nseed / 0\n")


def bad_output(checkout):  # as `normalize` finds it, whose other findings tests/test_execute.py has
    checkout.write("02_second", BODY + '\n# %%\nprint(1)\nimport warnings\n\nwarnings.warn("shaky")\n')


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (bad_missing, "_toc.yml lists notebooks/02_second.py, which does not exist: restore it, or take it out"),
        (bad_renamed, "notebooks/02_other.py is not in _toc.yml: list it there"),
        (bad_parameters, "notebooks/02_second.py has no parameters cell: tag the cell"),
        (bad_syntax, "notebooks/02_second.py, line 16: invalid syntax"),
        (bad_kernel, "notebooks/02_second.py wants the kernel 'julia', which is not installed: set kernelspec.name"),
        (bad_output, "notebooks/02_second.py, cell 2 wrote to stderr"),
        (bad_cell, "notebooks/02_second.py, cell 2: ZeroDivisionError: division by zero"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_bad_input_stops_with_one_line_that_says_what_to_do(checkout, spoil, line):
    spoil(checkout)
    status, message = checkout.run("_build/src/notebooks/02_second.ipynb")
    assert status != 0
    assert message.startswith("error: ")
    assert len(message.splitlines()) == 1, message
    assert line in message
    assert not checkout.executed("02_second").exists()


CLAIM = """
# %%
from IPython.display import display

record = {{"id": "{id}", "statement": "{statement}", "kind": "exact", "text": "what was compared", "prediction": 1.0,
          "estimate": 1.02, "interval": [1.0, 1.0], "verdict": "{verdict}", "rejected": {rejected}, "missed": [],
          "false_alarm": {false_alarm}, "noticeable": 0.01, "resolve": None}}
display({{"application/vnd.srlib.claim+json": record, "text/plain": "claim"}}, raw=True)
"""


def claims_body(id="F2.depth", verdict="holds", rejected='["rank"]', false_alarm=0.0):
    return BODY + CLAIM.format(
        id=id, statement=id.split(".")[0], verdict=verdict, rejected=rejected, false_alarm=false_alarm
    )


@pytest.mark.parametrize("verdict", ["holds", "undecided", "fails"])
def test_claims_of_the_executed_notebooks_decide_whether_the_workflow_goes_on(checkout, verdict):
    checkout.list("01_first")
    (checkout.root / "notebooks" / "02_second.py").unlink()
    checkout.write("01_first", claims_body(verdict=verdict))
    status, message = checkout.run("_build/claims.verified")
    records = json.loads((checkout.root / "_build" / "claims.json").read_text())
    assert [(record["id"], record["notebook"], record["cell"]) for record in records] == [
        ("F2.depth", "01_first", "cell-02")
    ]
    if verdict == "holds":
        assert (status, message) == (0, "1 claims hold")
    else:
        assert status != 0
        state = {"undecided": "is undecided", "fails": "fails"}[verdict]
        assert message.startswith(f"error: claim F2.depth {state} (notebooks/01_first, cell-02): what was compared:")
        assert not (checkout.root / "_build" / "claims.verified").exists()


def record(id="F2.depth", **change):
    return {
        "id": id, "statement": id.split(".")[0], "kind": "exact", "text": "what was compared", "prediction": 1.0,
        "estimate": 1.02, "interval": [1.0, 1.0], "verdict": "holds", "rejected": ["rank"], "missed": [],
        "false_alarm": 0.0, "noticeable": 0.01, "resolve": None, "allowed": None, "undecided": 0.0, "samples": None,
        "slack": 1.0, "entries": 1, "seed": None, "notebook": "01_first", "cell": "cell-02",
    } | change  # fmt: skip


def experiment(**change):
    return record(**{"id": "I2.gain", "kind": "empirical", "allowed": [0.25, None], "interval": [1.0, 1.1]} | change)


@pytest.mark.parametrize(
    ("records", "line"),
    [
        ([record()], None),
        ([record(verdict="fails")], "claim F2.depth fails (notebooks/01_first, cell-02"),
        ([record(verdict="undecided", missed=["a", "b"])], "predicted 1, found 1.02; it does not reject a, b"),
        ([record(verdict="undecided", kind="sampled", noticeable=0.03, resolve=0.02)],
         "it notices 0.03 and asks for 0.02: draw more samples"),
        ([record(rejected=[])], "claim F2.depth has no negative control"),
        ([experiment(rejected=[])], "claim I2.gain has no negative control"),
        ([experiment()], None),
        ([experiment(id="I2.zero", allowed=[0.0, None])], None),
        ([experiment(allowed=[0.5, None])], "claim I2.gain allows (0.5, None), but its range has been (0.25, None)"),
        ([experiment(allowed=[0.25, 2.0])], "claim I2.gain allows (0.25, 2.0), but its range has been (0.25, None)"),
        ([experiment(id="I2.other"), experiment()], "claim I2.other has no entry in"),
        ([experiment(id="I2.gone"), experiment()], "claim I2.gone was withdrawn on 2026-01-03: give"),
        ([record(), experiment(id="I2.gain", kind="sampled")], "claim I2.gain is in"),
        ([record(), record()], "claim F2.depth is made 2 times"),
        ([record(false_alarm=0.01)], "false alarm with probability 1.0e-02 > 0.001"),
        ([record(id=f"F2.a-{k}", false_alarm=6e-4) for k in range(2)], "false alarm with probability 1.2e-03 > 0.001"),
    ],
    ids=lambda value: None if isinstance(value, list) else value,
)  # fmt: skip
def test_claims_that_do_not_hold_are_named(tmp_path, monkeypatch, capsys, records, line):
    (tmp_path / "claims.json").write_text(json.dumps(records))
    monkeypatch.setattr(sys, "argv", ["claims.py", "verify", f"{tmp_path}/claims.json"])
    entries = [("2026-01-01", "I2.gone", "1", "", "first"), ("2026-01-03", "I2.gone", "", "", "withdrawn")]
    made = {record["id"] for record in records}
    entered = [("I2.gain", "0.25"), ("I2.zero", "0")]
    entries[1:1] = [("2026-01-02", name, above, "", "second") for name, above in entered if name in made]
    names = ("date", "id", "above", "below", "note")
    monkeypatch.setattr(claims, "entries", lambda: [dict(zip(names, entry, strict=True)) for entry in entries])
    if line:
        with pytest.raises(SystemExit) as stopped:
            project.run(claims.main)
        (shown,) = stopped.value.code.splitlines()
        assert shown.startswith("error: ")
        assert line in shown
    else:
        project.run(claims.main)
        assert capsys.readouterr().err == f"{len(records)} claims hold\n"


def test_every_claim_is_collected_wherever_it_stands(tmp_path):
    def made(id):
        return new_output("display_data", data={claims.MIME: {"id": id}, "text/plain": id})

    words, picture = new_output("stream", text="words"), new_output("display_data", data={"image/png": "A"})
    cells = [
        new_markdown_cell("Text", id="cell-00"),
        new_code_cell("1", id="cell-01", outputs=[words, made("F2.a"), picture, made("F2.b")]),
        new_code_cell("2", id="cell-02"),
        new_code_cell("3", id="cell-03", outputs=[made("F3.c")]),
    ]
    paths = [tmp_path / name for name in ("02_b.ipynb", "01_a.ipynb")]
    nbformat.write(new_notebook(cells=cells), paths[0])
    nbformat.write(new_notebook(cells=cells[3:]), paths[1])
    found = [(record["id"], record["notebook"], record["cell"]) for record in claims.collect(paths)]
    first = [("F2.a", "02_b", "cell-01"), ("F2.b", "02_b", "cell-01"), ("F3.c", "02_b", "cell-03")]
    assert found == [*first, ("F3.c", "01_a", "cell-03")]


def test_all_that_keeps_a_book_from_being_published_is_said_at_once(tmp_path, monkeypatch):
    (tmp_path / "claims.json").write_text("[]")
    monkeypatch.setattr(sys, "argv", ["claims.py", "verify", f"{tmp_path}/claims.json"])
    monkeypatch.setattr(claims, "problems", lambda *_: ["one", "two", "three"])
    with pytest.raises(SystemExit) as stopped:
        project.run(claims.main)
    assert stopped.value.code.splitlines() == ["error: one", "error: two", "error: three"]


THEOREM = "```{{prf:theorem}} {label}, depth\n:label: {label}\n\nText.\n```\n"


@pytest.mark.parametrize(
    ("theorem", "warnings"),
    [
        (THEOREM.format(label="F2"), []),
        (THEOREM.format(label="F2") + THEOREM.replace("theorem", "lemma").format(label="F3"),
         ["book/index.md: WARNING: lemma F3 has no claim"]),
        (THEOREM.format(label="F2").replace("theorem", "remark"),
         ["notebooks/01_first.md: WARNING: claim F2.depth has no theorem: no chapter labels one F2"]),
        ("```{prf:theorem} F2\n\nText.\n```\n",
         ["book/index.md: WARNING: a theorem has no label: put `:label: F2` below it",
          "notebooks/01_first.md: WARNING: claim F2.depth has no theorem: no chapter labels one F2"]),
        ("", ["notebooks/01_first.md: WARNING: claim F2.depth has no theorem: no chapter labels one F2"]),
    ],
    ids=["all is well", "no claim", "no theorem", "no label", "no proofs at all"],
)  # fmt: skip
def test_claims_and_theorems_are_held_against_each_other(tmp_path, theorem, warnings):
    files = {
        "conf.py": f"import sys\n\nsys.path.insert(0, {str(ROOT / 'book' / '_ext')!r})\n"
        'extensions = ["myst_parser", "sphinx_proof", "claim_chips"]\nroot_doc = "book/index"\n',
        "claims.json": json.dumps([record()]),
        "book/index.md": "# Index\n\n```{toctree}\n../notebooks/01_first\n```\n\n" + theorem,
        "notebooks/01_first.md": "# Notebook\n",
    }
    put(tmp_path, files)
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "dummy", "-W", "--keep-going", tmp_path, tmp_path / "site"]
    done = subprocess.run(command, text=True, capture_output=True, check=False, env=os.environ | {"NO_COLOR": "1"})
    assert done.stderr.replace(f"{tmp_path}/", "").splitlines() == warnings
    assert (done.returncode != 0) == bool(warnings)


def test_the_site_brings_mathjax_along_and_loads_nothing_of_thebe(tmp_path):
    """What this theme asks for but needs a network; a script is a name or, with attributes or a body, an object."""
    body = SimpleNamespace(attributes={"body": "const thebe_selector = 1"})
    scripts = ["_static/sphinx-thebe.js", "https://unpkg.com/Thebe@0.8", body, "_static/theme.js"]
    context = {"script_files": list(scripts)}
    offline.drop_thebe(None, "page", "page.html", context, None)
    assert context["script_files"] == scripts[3:]
    app = SimpleNamespace(builder=SimpleNamespace(format="html"), outdir=tmp_path)
    offline.copy_mathjax(app, ValueError("the build failed"))
    assert list(tmp_path.iterdir()) == []
    offline.copy_mathjax(app, None)
    mathjax = tmp_path / "_static" / "mathjax"
    assert (mathjax / "tex-chtml-full.js").stat().st_size > 1e6
    assert list((mathjax / "output/chtml/fonts/woff-v2").glob("*.woff")) != []
    assert (mathjax / "input/tex/extensions/ams.js").is_file()


@pytest.mark.parametrize("factor", [1.02, 0.98])
def test_a_wrong_constant_in_the_feature_norm_fails_the_build_and_names_the_claim(tmp_path, factor):
    checkout = Checkout(tmp_path)
    shutil.rmtree(tmp_path / "srlib")
    shutil.copytree(ROOT / "srlib", tmp_path / "srlib", ignore=shutil.ignore_patterns("__pycache__"))
    source = (tmp_path / "srlib" / "moments" / "feature.py").read_text()
    wrong = source.replace("mean = eta * s**2 * r / n  # F2", f"mean = {factor} * eta * s**2 * r / n")
    assert wrong != source
    (tmp_path / "srlib" / "moments" / "feature.py").write_text(wrong)
    notebook = (ROOT / "notebooks" / "04_feedforward.py").read_text()
    exact, heading, _ = notebook.partition("# %% [markdown]\n# ## Dense networks (F2, F3)\n")
    assert heading
    (tmp_path / "notebooks" / "04_feedforward.py").write_text(exact)
    for package in ("figures", "measurements"):
        shutil.copytree(ROOT / "notebooks" / package, tmp_path / "notebooks" / package)
    checkout.list("04_feedforward")
    for name in ("01_first", "02_second"):
        (tmp_path / "notebooks" / f"{name}.py").unlink()

    process = checkout.start("_build/claims.verified", env=os.environ | {"PYTHONPATH": str(tmp_path)})
    _, message = process.communicate(timeout=300)
    assert process.returncode != 0
    assert re.search(r"claim F2\.[a-z0-9-]+ (fails|is undecided) \(notebooks/04_feedforward", message), message


def test_addresses_come_from_the_publishing_workflow_only(checkout):
    (checkout.root / "_config.yml").write_text((ROOT / "_config.yml").read_text())
    stage = "import publish; publish.SOURCE.mkdir(parents=True, exist_ok=True); publish.stage_configuration()"
    staged = checkout.root / "_build" / "src" / "_config.yml"
    run = {"args": [sys.executable, "-c", stage], "cwd": checkout.root / "workflow", "check": True}
    plain = {key: value for key, value in os.environ.items() if not key.startswith("BOOK_")}

    subprocess.run(**run, env=plain)
    assert "repository" not in yaml.safe_load(staged.read_text())
    subprocess.run(**run, env=plain | {"BOOK_REPOSITORY_URL": "https://example.org/book"})
    config = yaml.safe_load(staged.read_text())
    assert config["repository"] == {"url": "https://example.org/book", "branch": "main"}
    assert config["html"]["use_repository_button"] is True


@pytest.mark.parametrize(
    ("cores", "named"),
    [("model name\t: First one\nflags: a\n\nmodel name\t: Second one\n", "First one"), ("flags: a\n", None)],
)
def test_a_processor_is_called_what_its_first_core_is_called(monkeypatch, cores, named):
    monkeypatch.setattr(Path, "read_text", lambda path, encoding: cores)
    assert project.processor() == (named or platform.processor() or platform.machine())

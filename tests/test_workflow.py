"""The workflow on a small checkout: what is executed when, what a killed run leaves, what bad input says."""

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "workflow"))
import claims  # noqa: E402
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


class Checkout:
    """A project with the real workflow and two notebooks that take no time."""

    def __init__(self, root: Path):
        self.root = root
        shutil.copytree(ROOT / "workflow", root / "workflow", ignore=shutil.ignore_patterns("__pycache__"))
        for folder in ("srlib", "notebooks", "book"):
            (root / folder).mkdir()
        (root / "srlib" / "moments.py").write_text("FACTOR = 1\n")
        (root / "requirements.lock").write_text("torch==2.13.0\n")
        (root / "book" / "index.md").write_text("# Index\n")
        self.list("01_first", "02_second")
        self.write("01_first")
        self.write("02_second")

    def list(self, *names: str) -> None:
        chapters = "".join(f"  - file: notebooks/{name}\n" for name in names)
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
    module = checkout.root / "srlib" / "moments.py"
    checkout.write("01_first", BODY + "\n# %%\nif not seed:\n    import srlib.moments\n")
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

    checkout.write("02_second", BODY + '\n# %%\nprint("more")\n')
    module.write_text("FACTOR = 2\n")
    os.utime(module, (0, 0))  # an edit stays an edit under an old date
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
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
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
    (tmp_path / "workflow" / "execute.py").write_text("THREADS = 2\n")
    assert all(digest != fresh[name] for name, digest in digests().items())

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
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
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


def bad_warning(checkout):
    checkout.write("02_second", BODY + '\n# %%\nimport warnings\n\nwarnings.warn("shaky")\n')


def bad_figure(checkout):
    checkout.write(
        "02_second", BODY + '\n# %% mystnb={"figure": {"caption": "A line.", "name": "fig-line"}}\nprint(1)\n'
    )


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (bad_missing, "_toc.yml lists notebooks/02_second.py, which does not exist: restore it, or take it out"),
        (bad_renamed, "notebooks/02_other.py is not in _toc.yml: list it there"),
        (bad_parameters, "notebooks/02_second.py has no parameters cell: tag the cell"),
        (bad_syntax, "notebooks/02_second.py, line 16: invalid syntax"),
        (bad_kernel, "notebooks/02_second.py wants the kernel 'julia', which is not installed: set kernelspec.name"),
        (bad_cell, "notebooks/02_second.py, cell 2: ZeroDivisionError: division by zero"),
        (bad_warning, "notebooks/02_second.py, cell 2 wrote to stderr"),
        (bad_figure, "notebooks/02_second.py, cell 2 has a caption and 0 figures"),
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
          "false_alarm": {false_alarm}}}
display({{"application/vnd.srlib.claim+json": record, "text/plain": "claim"}}, raw=True)
"""


def claims_body(id="F2.depth", verdict="pass", rejected='["rank"]', false_alarm=0.0):
    return BODY + CLAIM.format(
        id=id, statement=id.split(".")[0], verdict=verdict, rejected=rejected, false_alarm=false_alarm
    )


@pytest.mark.parametrize("verdict", ["pass", "fail"])
def test_claims_of_the_executed_notebooks_decide_whether_the_workflow_goes_on(checkout, verdict):
    checkout.list("01_first")
    (checkout.root / "notebooks" / "02_second.py").unlink()
    checkout.write("01_first", claims_body(verdict=verdict))
    status, message = checkout.run("_build/claims.verified")
    records = json.loads((checkout.root / "_build" / "claims.json").read_text())
    assert [(record["id"], record["notebook"], record["cell"]) for record in records] == [
        ("F2.depth", "01_first", "cell-02")
    ]
    if verdict == "pass":
        assert (status, message) == (0, "1 claims hold")
    else:
        assert status != 0
        assert message.startswith("error: claim F2.depth failed (notebooks/01_first, cell-02): what was compared:")
        assert not (checkout.root / "_build" / "claims.verified").exists()


def record(id="F2.depth", **change):
    return {
        "id": id, "statement": id.split(".")[0], "kind": "exact", "text": "what was compared", "prediction": 1.0,
        "estimate": 1.02, "interval": [1.0, 1.0], "verdict": "pass", "rejected": ["rank"], "missed": [],
        "false_alarm": 0.0, "notebook": "01_first", "cell": "cell-02",
    } | change  # fmt: skip


@pytest.mark.parametrize(
    ("records", "line"),
    [
        ([record()], None),
        ([record(verdict="fail")], "claim F2.depth failed (notebooks/01_first, cell-02"),
        ([record(rejected=[])], "claim F2.depth has no negative control"),
        ([record(), record()], "claim F2.depth is made 2 times"),
        ([record(false_alarm=0.01)], "false alarm with probability 1.0e-02 > 0.001"),
    ],
    ids=["all is well", "failed", "no control", "twice", "too many alarms"],
)
def test_claims_that_do_not_hold_are_named(tmp_path, monkeypatch, capsys, records, line):
    (tmp_path / "claims.json").write_text(json.dumps(records))
    monkeypatch.setattr(sys, "argv", ["claims.py", "verify", f"{tmp_path}/claims.json"])
    if line:
        with pytest.raises(SystemExit) as stopped:
            project.run(claims.main)
        (shown,) = stopped.value.code.splitlines()
        assert shown.startswith("error: ")
        assert line in shown
    else:
        project.run(claims.main)
        assert capsys.readouterr().err == "1 claims hold\n"


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
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "dummy", "-W", "--keep-going", tmp_path, tmp_path / "site"]
    done = subprocess.run(command, text=True, capture_output=True, check=False, env=os.environ | {"NO_COLOR": "1"})
    assert done.stderr.replace(f"{tmp_path}/", "").splitlines() == warnings
    assert (done.returncode != 0) == bool(warnings)


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
    assert re.search(r"claim F2\.[a-z0-9-]+ failed \(notebooks/04_feedforward", message), message


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

"""The commands of the Makefile on a small checkout: in any folder, with POSIX tools, nothing lost or left running."""

import csv
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from functools import partial
from pathlib import Path

import build
import pytest
from filelock import FileLock
from test_workflow import BODY, ROOT, WAITING, Checkout, put, seen

POSIX = "awk cat cp dirname env expr false getconf grep ln ls mkdir mv rm sed sh sleep sort tail test touch tr true"
TOOLS = [*POSIX.split(), "bash", "make"]  # Snakemake wants bash
CONFIGURATION = """
title: Träume
only_build_toc_files: true
execute: {execute_notebooks: "off"}
html: {extra_footer: ""}
"""


class Made(Checkout):
    """A checkout with the real Makefile, and this interpreter's environment as its installation."""

    def __init__(self, root: Path):
        root.mkdir(parents=True, exist_ok=True)
        super().__init__(root)
        for name in ("Makefile", "pyproject.toml"):
            shutil.copy(ROOT / name, root)
        (root / "_config.yml").write_text(CONFIGURATION, encoding="utf-8")
        (root / "notebooks" / "data" / "performance").mkdir(parents=True)
        (root / ".venv").symlink_to(sys.prefix)

    def make(self, *arguments: str, **options) -> subprocess.Popen:
        options = {"start_new_session": True} | options
        return subprocess.Popen(
            ["make", "--assume-old", ".venv/.ready", *arguments],
            cwd=self.root,
            text=True,
            encoding="utf-8",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )

    def made(self, *arguments: str, **options) -> tuple[int, str]:
        """Return the exit status and what a person sees but for progress bars and make's own lines."""
        process = self.make(*arguments, **options)
        out, errors = process.communicate(timeout=300)
        return process.returncode, "".join(f"{line}\n" for line in seen(out + errors))

    def planned(self) -> dict[str, dict[str, str]]:
        """Return what the workflow says of every file that it makes for the book."""
        done = self.script("workflow/build.py", "snakemake", "--detailed-summary", "book")
        assert done.returncode == 0, done.stderr
        return {row["output_file"]: row for row in csv.DictReader(done.stdout.splitlines(), delimiter="\t")}


def files(root: Path, *places: str) -> set[str]:
    """Return the files at these places and below, relative to ``root``."""
    found = [path for place in places for path in [root / place, *(root / place).rglob("*")] if path.is_file()]
    return {str(path.relative_to(root)) for path in found if "__pycache__" not in path.parts}


@pytest.fixture
def checkout(tmp_path):
    return Made(tmp_path / "checkout")


HEADING = "# %% [markdown]\n# # Chapter\n\n"


def test_the_site_of_a_checkout_in_any_folder_is_replaced_whole_or_not_at_all(tmp_path):
    """With a space and an umlaut in the path, a locale that knows neither, no home, and no program beyond POSIX."""
    checkout = Made(tmp_path / "a b é")
    for name in ("01_first", "02_second"):
        checkout.write(name, HEADING + BODY)
    checkout.list("01_first", "02_second", "book/extra")
    removed = ("book/extra.md", "book/_static/deep/more.css", "notebooks/data/second/part/table.csv")
    put(checkout.root, dict.fromkeys(removed, "# Extra\n"))
    index = checkout.root / "book" / "index.md"
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in TOOLS:
        (tools / name).symlink_to(shutil.which(name))
    environment = os.environ | {"PATH": str(tools), "LC_ALL": "C", "PYTHONUTF8": "0", "HOME": "/dev/null/home"}

    def pages():
        return {path.name: path.read_bytes() for path in (checkout.root / "_build" / "html").rglob("*.html")}

    status, seen = checkout.made("book", env=environment)
    assert status == 0, seen
    first = pages()
    assert {"index.html", "01_first.html", "02_second.html", "extra.html"} <= set(first)
    assert not list((checkout.root / "_build" / "html").rglob("*.map"))

    shown = ("book", "notebooks/data", "srlib", "_build/src/notebooks", "_config.yml", "_toc.yml", "requirements.lock")
    planned = checkout.planned()["_build/site.built"]
    assert planned["plan"] == "no update"
    sources = set(planned["input-file(s)"].split(","))
    scripts = {name for name in sources if name.startswith("workflow/")}
    assert sources == files(checkout.root, *shown) | scripts | {"_build/claims.verified"}
    assert scripts >= {f"workflow/{name}.py" for name in ("publish", "performance", "portable", "differences", "seeds")}
    for name in ("book/_static/deep/more.css", "srlib/moments/feature.py"):  # no notebook depends on these
        (checkout.root / name).write_text("# an edit under an old date\n")
        os.utime(checkout.root / name, (0, 0))
    assert checkout.planned()["_build/site.built"]["plan"] == "update pending"

    built = checkout.root / "_build" / "html"
    built.rename(built.with_name("html.previous"))  # as a run leaves it that is killed in the middle of the swap
    index.write_text("# Index\n\n[nowhere](nowhere.md)\n")
    status, seen = checkout.made("book", env=environment)
    assert status != 0
    assert re.search(r"^error: book/index.md:3: WARNING: .*nowhere", seen, re.MULTILINE), seen
    assert seen.endswith("make book failed; its logs are in _build/logs/; _build/html is still the previous site\n")
    assert pages() == first

    index.write_text("# Neuer Index\n", encoding="utf-8")
    checkout.list("01_first")
    for name in ("notebooks/02_second.py", *removed):
        (checkout.root / name).unlink()
    status, seen = checkout.made("book", env=environment)
    assert status == 0, seen
    assert set(first) - set(pages()) == {"02_second.html", "extra.html"}
    left = files(checkout.root, "_build/html", "_build/src")
    gone = {Path(name).stem for name in ("02_second", *removed)}
    assert [name for name in left if Path(name).stem in gone] == [], "from the site and from its source"
    assert "Neuer Index" in pages()["index.html"].decode()
    assert not list((checkout.root / "_build").glob("html?*"))
    shutil.rmtree(built)
    assert checkout.planned()["_build/site.built"]["plan"] == "update pending", "a site that was removed is made again"


@pytest.fixture
def signals():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_build_says_what_failed_in_this_run_and_nothing_of_an_earlier_one(tmp_path, monkeypatch, capsys, signals):
    monkeypatch.setattr(build, "BUILD", tmp_path)
    monkeypatch.setattr(build, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(build, "FileLock", partial(FileLock, is_singleton=True))  # all builds here are of one process

    def said(status=1, **written):
        def snakemake(arguments, environment):
            for name, text in written.items():
                Path(environment[name]).write_text(text)
            return status

        monkeypatch.setattr(build, "snakemake", snakemake)
        if status:
            with pytest.raises(SystemExit) as stopped:
                build.build("book", [])
            assert stopped.value.code == status
        else:
            build.build("book", [])
        return capsys.readouterr().err.splitlines()

    end = "make book failed; its logs are in _build/logs/"
    assert said(BOOK_ERRORS="error: one\nerror: two\n", BOOK_LOG="one, too") == ["error: one", "error: two", end]
    assert said(BOOK_LOG="a file\n  is missing\n") == ["error: a file is missing", end], "Snakemake's own"
    assert said() == [end]
    assert said(BOOK_ERRORS="error: three\n", status=3) == ["error: three", end]
    assert said(status=0) == []


def test_independent_notebooks_go_on_and_all_failures_are_summed_up(checkout):
    checkout.list("01_first", "02_second", "03_third")
    checkout.write("01_first", BODY + "\n# %%\nseed / 0\n")
    checkout.write("02_second", BODY + "\n# %%\nseedy\n")
    checkout.write("03_third")
    status, seen = checkout.made("book", "JOBS=1")
    assert status != 0
    first, second, last = sorted(seen.splitlines())
    assert first.startswith("error: notebooks/01_first.py, cell 2: ZeroDivisionError")
    assert second.startswith("error: notebooks/02_second.py, cell 2: NameError")
    assert last == "make book failed; its logs are in _build/logs/"
    assert seen.endswith(last + "\n")
    assert set(checkout.stamps()) == {"03_third"}
    assert (checkout.root / "_build" / "logs" / "01_first.log").stat().st_size > 0


RECORDING = """
# %%
import os
from pathlib import Path

Path(f"../pid-{os.getpid()}").touch()
Path(f"../pid-{os.getppid()}").touch()
"""


def wait(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition()


def alive(pid: int) -> bool:
    status = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], text=True, capture_output=True, check=False).stdout
    return bool(status.strip()) and not status.startswith("Z")


@pytest.mark.parametrize("death", ["interrupt", "terminate", "kill the group", "kill make"])
def test_a_build_that_ends_early_leaves_nothing_running(checkout, death):
    checkout.list("02_second")
    (checkout.root / "notebooks" / "01_first.py").unlink()
    checkout.write("02_second", BODY + RECORDING + WAITING)
    process = checkout.make("book", "JOBS=2")
    wait(lambda: len(list(checkout.root.glob("pid-*"))) == 2)
    match death:
        case "interrupt":  # as a terminal does
            os.killpg(process.pid, signal.SIGINT)
        case "terminate":
            process.terminate()
        case "kill the group":
            os.killpg(process.pid, signal.SIGKILL)
        case "kill make":
            process.kill()
    _, errors = process.communicate(timeout=60)  # its end closes the streams of all that it started
    assert process.returncode != 0
    assert "Traceback" not in errors
    if death in ("interrupt", "terminate"):
        assert seen(errors) == ["make book was stopped; what is finished is kept: run it again to go on"]
    pids = [int(path.name.removeprefix("pid-")) for path in checkout.root.glob("pid-*")]
    wait(lambda: not any(map(alive, pids)))
    (checkout.root / "go").touch()
    again = subprocess.run(
        [sys.executable, "workflow/build.py", "book", "2", "executed"],
        cwd=checkout.root,
        capture_output=True,
        timeout=60,
    )
    assert again.returncode == 0
    assert b"waiting" not in again.stderr


def test_a_second_build_says_that_it_waits_and_goes_on_when_the_first_has_ended(checkout):
    checkout.write("02_second", BODY + WAITING)
    command = [sys.executable, "workflow/build.py", "book", "2", "executed"]
    options = {"cwd": checkout.root, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    first = subprocess.Popen(command, **options)
    wait(lambda: (checkout.root / "_build" / "logs").exists() and list(checkout.executed("x").parent.glob("*")))
    second = subprocess.Popen(command, **options)
    said = second.stderr.readline()
    assert said == "another make book or make portable runs in this checkout: waiting for it to end\n"
    assert first.poll() is None
    (checkout.root / "go").touch()
    assert first.communicate(timeout=60)[1] is not None
    assert second.communicate(timeout=60)[1] == ""
    assert (first.returncode, second.returncode) == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["book", "JOBS=abc"], "error: JOBS=abc: give a whole number of at least 1, such as JOBS=2"),
        (["book", "JOBS=0"], "error: JOBS=0: give a whole number of at least 1, such as JOBS=2"),
        (["book", "JOBS="], "error: JOBS=: give a whole number of at least 1, such as JOBS=2"),
        (["sweep", "JOBS=-1"], "error: JOBS=-1: give a whole number of at least 1, such as JOBS=2"),
        (["sweep", "PROFILE=qick"],
         "error: there is no sweep profile 'qick': the profiles are published, quick, tiny"),
        (["sweep", "PROFILE=tiny", "EXECUTOR=slrm"],
         "error: EXECUTOR=slrm: give local, slurm, or another for which snakemake-executor-plugin-slrm is installed"),
        (["serve"], "error: there is no site yet: run make book first"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_variable_with_no_sense_is_named_in_one_line(checkout, arguments, line):
    status, seen = checkout.made(*arguments)
    assert (status, seen) == (2, line + "\n")
    assert not (checkout.root / "_build").exists()


def test_a_missing_chapter_is_named_in_one_line(checkout):
    (checkout.root / "book" / "index.md").unlink()
    status, seen = checkout.made("book")
    assert status != 0
    assert seen.splitlines()[0] == (
        "error: _toc.yml lists book/index.md, which does not exist: restore it, or take it out of _toc.yml"
    )
    assert seen.splitlines()[1:] == ["make book failed; its logs are in _build/logs/"]


@pytest.mark.parametrize("port", ["taken", "abc", "0", "65536", ""])
def test_a_port_that_cannot_be_served_is_named_in_one_line(checkout, port):
    (checkout.root / "_build" / "html").mkdir(parents=True)
    (checkout.root / "_build" / "html" / "index.html").touch()
    with socket.create_server(("127.0.0.1", 0)) as server:
        if port == "taken":
            port = str(server.getsockname()[1])
        status, seen = checkout.made("serve", f"PORT={port}")
    assert status == 2
    assert re.fullmatch(rf"error: PORT={port}: .*such as PORT=\d+\n", seen), seen


def test_the_site_is_served_until_ctrl_c(checkout):
    (checkout.root / "_build" / "html").mkdir(parents=True)
    (checkout.root / "_build" / "html" / "index.html").write_text("the book")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    process = checkout.make("serve", f"PORT={port}", env=os.environ | {"BROWSER": "true"})
    address = process.stdout.readline().split()[0]
    with urllib.request.urlopen(address) as page:
        assert page.read() == b"the book"
    os.killpg(process.pid, signal.SIGINT)
    assert "Traceback" not in process.communicate(timeout=60)[1]


def test_slurm_is_left_alone_unless_it_is_asked_for(checkout, tmp_path):
    clients = tmp_path / "clients"
    clients.mkdir()
    for name in ("sacct", "sacctmgr", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun"):
        (clients / name).write_text(f"#!/bin/sh\ntouch '{tmp_path}/asked'\nexit 1\n")
        (clients / name).chmod(0o755)
    (tmp_path / "torch.py").write_text("raise ImportError('nothing is trained here')\n")
    path = f"{clients}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(tmp_path)}
    for executor, asked in ("local", False), ("slurm", True):
        command = [sys.executable, "workflow/build.py", "sweep", "1", "tiny", executor]
        process = subprocess.Popen(command, cwd=checkout.root, env=environment, stderr=subprocess.PIPE)
        if asked:  # it would ask again until it believes the answer
            wait((tmp_path / "asked").exists)
            process.terminate()
        assert process.communicate(timeout=60)
        assert (tmp_path / "asked").exists() == asked


DEBIAN = """#!/bin/sh
# A Python whose venv has no ensurepip, as Debian ships it: half an environment, and advice.
case "$*" in
  *venv*) mkdir -p .venv/bin; ln -s "$0" .venv/bin/python; echo "The virtual environment was not created"; exit 1 ;;
  *pip*) echo "No module named pip" >&2; exit 1 ;;
esac
"""
PIP = """#!/bin/sh
# A Python that says what it is asked for, and makes environments of itself.
echo "$*" >> calls
case "$*" in *venv*) mkdir -p .venv/bin; ln -s "$0" .venv/bin/python ;; esac
"""


def install(tmp_path, python, *arguments):
    """Run the installation with a stand-in for Python; return its exit status and messages, and where it ran."""
    root = tmp_path / "a b é"
    root.mkdir(exist_ok=True)
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy2(ROOT / name, root)  # with its date, which decides what is installed again
    (tmp_path / "python").write_text(python)
    (tmp_path / "python").chmod(0o755)
    done = subprocess.run(
        ["make", "setup", f"PYTHON={tmp_path}/python", *arguments],
        cwd=root,
        text=True,
        capture_output=True,
        check=False,
    )
    return done.returncode, re.sub(r"^make: .*\n", "", done.stderr, flags=re.MULTILINE), root


def test_a_python_without_venv_says_what_to_install_and_leaves_nothing(tmp_path):
    status, message, root = install(tmp_path, DEBIAN)
    assert status != 0
    assert re.fullmatch(r"error: .*apt install python3-venv.*\n", message)
    assert not (root / ".venv").exists()


def test_an_environment_without_pip_says_so(tmp_path):
    (tmp_path / "a b é" / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / "a b é" / ".venv" / "bin" / "python").symlink_to(tmp_path / "python")
    status, message, root = install(tmp_path, DEBIAN)
    assert status != 0
    assert re.fullmatch(r"error: .venv has no pip: .*\n", message)
    assert not (root / ".venv" / ".ready").exists()


@pytest.mark.parametrize("index", ["", "/some/index"])
def test_torch_alone_comes_from_the_index_that_is_named(tmp_path, index):
    status, message, root = install(tmp_path, PIP, f"TORCH_INDEX={index}")
    assert status == 0, message
    installs = [line for line in (root / "calls").read_text().splitlines() if "pip install" in line]
    torch = re.search(r"^torch==\S+$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)[0]
    named = [line for line in installs if "index" in line]
    assert len(named) == bool(index)
    if index:
        assert installs[0].endswith(f"--no-deps --index-url {index} {torch}")
    assert installs[-2].endswith("--requirement requirements.lock")
    assert (root / ".venv" / ".ready").exists()


def test_other_versions_than_those_installed_are_installed_when_they_are_asked_for(tmp_path):
    def installed(*arguments):
        status, message, root = install(tmp_path, PIP, *arguments)
        calls = root / "calls"
        lines = calls.read_text().splitlines() if calls.exists() else []
        calls.unlink(missing_ok=True)
        before = "-m pip install --quiet --disable-pip-version-check "
        return status, message, [line.removeprefix(before) for line in lines if line.startswith(before)]

    editable = "--no-deps --editable ."
    pinned = (0, "", ["--requirement requirements.lock", editable])
    newest = (0, "", ["--upgrade .[book,test]", editable])
    assert installed() == pinned
    assert installed() == (0, "", [])
    assert installed("VERSIONS=newest") == newest
    assert installed("VERSIONS=newest") == (0, "", [])
    assert installed() == (0, "", []), "what is there does for a command that asks for nothing else"
    assert installed("VERSIONS=pinned") == pinned
    (tmp_path / "a b é" / ".venv" / ".ready").write_text("")  # as it was made before it named the versions
    assert installed() == (0, "", [])
    assert installed("VERSIONS=newest") == newest
    status, message, asked = installed("VERSIONS=oldest")
    assert (status, message, asked) == (2, "error: VERSIONS=oldest: give pinned or newest\n", [])

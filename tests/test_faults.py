"""Faults that a machine or a person makes: each ends in a correct book or in one clear line, and nothing is lost."""

import json
import os
import shutil
import subprocess
import sys

import project
import pytest
import tables
from test_make import Made
from test_workflow import BODY, ROOT, claims_body, seen


@pytest.fixture
def checkout(tmp_path):
    made = Made(tmp_path / "checkout")
    made.write("01_first", claims_body())
    made.list("01_first")
    (made.root / "notebooks" / "02_second.py").unlink()
    return made


def to_claims(checkout) -> tuple[int, list[str]]:
    """Run the workflow as far as the claims; return the exit status and what a person sees."""
    done = checkout.script("workflow/build.py", "book", "2", "_build/claims.verified")
    return done.returncode, seen(done.stdout + done.stderr)


def test_a_damaged_result_is_named_and_made_again(checkout):
    assert to_claims(checkout) == (0, ["1 claims hold"])
    for file, kind in (("_build/src/notebooks/01_first.ipynb", "notebook"), ("_build/claims.json", "JSON file")):
        path = checkout.root / file
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        for stale in {"claims.verified", "claims.json"} - {path.name}:
            (checkout.root / "_build" / stale).unlink()
        status, lines = to_claims(checkout)
        assert status != 0
        assert lines[0].startswith(f"error: {file} is no whole {kind} (")
        assert lines[0].endswith("): remove it and run make again")
        assert len(lines) == 2, lines
        path.unlink()
        assert to_claims(checkout) == (0, ["1 claims hold"])
        assert path.read_bytes() == whole


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"[1]", b'{"cells": ['])
def test_whatever_is_no_notebook_is_named(tmp_path, content):
    (tmp_path / "01.ipynb").write_bytes(content)
    with pytest.raises(project.ProjectError, match=r"01.ipynb is no whole notebook \(.*\): copy it again"):
        project.read_notebook(tmp_path / "01.ipynb")


def test_a_damaged_cell_of_a_sweep_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(project, "BUILD", tmp_path)
    (tmp_path / "cells").mkdir()
    for cell in tables.profile("tiny").cells:
        (tmp_path / "cells" / f"{cell.id}.json").write_text('{"runs": [')
    with pytest.raises(project.ProjectError, match=r"he-d2-w16-sgd.json is no whole JSON file .*: remove it and run"):
        tables.gather("tiny", tmp_path / "cells", tmp_path / "tables")


def test_a_damaged_table_stops_the_notebook_that_reads_it(tmp_path, monkeypatch):
    """Fewer rows would give a book that looks whole and says something else."""
    monkeypatch.syspath_prepend(ROOT / "notebooks")
    from measurements.initialization import Sweep

    def load():
        return Sweep(folder, threshold=0.5, resamples=100, seed=1)

    folder = tmp_path / "initialization"
    shutil.copytree(ROOT / "notebooks" / "data" / "initialization", folder)
    assert len(load().runs) == load().provenance["networks"]
    lines = (folder / "runs.csv").read_text().splitlines(keepends=True)
    (folder / "runs.csv").write_text("".join(lines[: len(lines) // 2]))
    with pytest.raises(ValueError, match=r"runs.csv is not whole: restore it"):
        load()


def test_a_damaged_committed_file_says_how_to_restore_it():
    path = ROOT / "notebooks" / "data" / "performance" / "no-run.json"
    error = project.damaged(path, "JSON file", ValueError("Expecting value"))
    assert str(error).endswith("no-run.json is no whole JSON file (Expecting value): `git checkout` restores it")


def mount(*arguments) -> None:
    """Mount something, or skip the test where this process may not."""
    command = ["mount", *map(str, arguments)]
    if os.name != "posix" or not shutil.which("mount") or os.geteuid() != 0:
        pytest.skip("only root can mount a small or a read-only file system")
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this system does not let root mount: {done.stderr.strip()}")


@pytest.fixture
def unmount():
    mounted = []
    yield mounted.append
    for path in reversed(mounted):
        subprocess.run(["umount", path], check=True)


def test_a_full_disk_ends_in_one_line_and_the_next_run_finishes(checkout, unmount):
    checkout.write("01_first", claims_body() + '\n# %%\nprint("x" * 4_000_000)\n')
    build = checkout.root / "_build"
    build.mkdir()
    mount("-t", "tmpfs", "-o", "size=3m", "tmpfs", build)
    unmount(build)
    status, lines = to_claims(checkout)
    assert status != 0
    assert len(lines) == 2, lines
    assert lines[0].startswith("error: ")
    assert "No space left on device" in lines[0]
    assert not checkout.executed("01_first").exists()

    subprocess.run(["mount", "-o", "remount,size=60m", build], check=True)
    assert to_claims(checkout) == (0, ["1 claims hold"])


def test_a_read_only_checkout_is_refused_before_anything_runs(checkout, unmount):
    mount("--bind", checkout.root, checkout.root)
    unmount(checkout.root)
    mount("-o", "remount,bind,ro", checkout.root)
    status, lines = to_claims(checkout)
    assert status != 0
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert lines[0].endswith("cannot be written: Read-only file system")


def test_another_locale_time_zone_and_home_give_the_same_notebook(checkout, tmp_path):
    checkout.write("01_first", BODY + '\n# %%\nprint("Grüße", f"{1234.5:n}", __import__("time").tzname[0])\n')
    made = []
    for change in ({}, {"LC_ALL": "C", "PYTHONUTF8": "0", "TZ": "Asia/Tokyo", "HOME": f"{tmp_path}/nowhere"}):
        shutil.rmtree(checkout.root / "_build", ignore_errors=True)
        command = [sys.executable, "workflow/build.py", "book", "2", "executed"]
        subprocess.run(
            command, cwd=checkout.root, env=os.environ | change, check=True, capture_output=True, timeout=120
        )
        made.append(checkout.executed("01_first").read_bytes())
    assert made[0] == made[1]
    assert json.loads(made[0])["cells"][-1]["outputs"][0]["text"] == ["Grüße 1234.5 UTC\n"]

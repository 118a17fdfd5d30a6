"""Planting errors: what an entry of the catalogue must be, and what becomes of one that no test sees."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "workflow"))
import mutants  # noqa: E402
from project import ProjectError  # noqa: E402

ERROR = mutants.Error("sum", "code.py", "a sum is a difference", "a + b", "a - b", ("tests/test_code.py",))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"text": "a * b"}, "its text occurs no times in code.py"),
        ({"text": "b", "becomes": "a"}, "its text occurs 2 times"),
        ({"becomes": "(a + b)"}, "it changes nothing"),
        ({"becomes": "a +"}, "it is no Python"),
    ],
)
def test_a_stale_entry_says_why(change, line):
    with pytest.raises(ProjectError, match="error sum of the catalogue is stale") as refused:
        replace(ERROR, **change).planted("def f(a, b):\n    return a + b\n")
    assert line in str(refused.value)


def test_the_catalogue_fits_the_code():
    errors = mutants.catalogue()
    assert len(errors) >= 100
    assert all(error.about and (ROOT / test.partition("::")[0]).exists() for error in errors for test in error.tests)


@pytest.mark.parametrize(
    ("part", "words", "found"),
    [("1/1", [], "abcd"), ("2/2", [], "bd"), ("8/2", [], "bd"), ("1/3", ["y/"], "d"), ("1/1", ["y/", "a"], "acd")],
)
def test_parts_and_words_choose(part, words, found):
    files = dict(zip("abcd", ("x/1.py", "x/2.py", "y/1.py", "y/2.py"), strict=True))
    errors = [replace(ERROR, id=name, file=file) for name, file in files.items()]
    assert "".join(error.id for error in mutants.chosen(errors, part, words)) == found


@pytest.mark.parametrize(("part", "words", "line"), [("3", [], "PART=3: give k/n"), ("1/1", ["z"], "no error 'z'")])
def test_what_chooses_nothing_is_refused(part, words, line):
    with pytest.raises(ProjectError, match=line):
        mutants.chosen([ERROR], part, words)


CODE = "def f(a, b):\n    return a + b\n\n\ndef g(a):\n    return a > 0\n"
TESTS = "from code_ import f, g\n\n\ndef test_f():\n    assert f(2, 1) == 3\n\n\ndef test_g():\n    assert g(1)\n"
ENTRIES = """
[tests]
"code_" = ["test_code.py"]

[[error]]
id = "sum"
file = "code_.py"
about = "a sum is a difference"
text = "a + b"
becomes = "a - b"

[[error]]
id = "zero"
file = "code_.py"
about = "zero is positive"
text = "a > 0"
becomes = "a >= 0"
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    files = {"code_.py": CODE, "test_code.py": TESTS, "mutants.toml": ENTRIES, "pytest.ini": "[pytest]\n"}
    files["workflow/warm.py"] = (ROOT / "workflow" / "warm.py").read_text(encoding="utf-8")
    (tmp_path / "workflow").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    places = {"ROOT": tmp_path, "CATALOGUE": tmp_path / "mutants.toml", "FOLDER": tmp_path / "_build"}
    for name, value in (places | {"TABLES": tmp_path / "data"}).items():
        monkeypatch.setattr(mutants, name, value)
    return tmp_path


def test_a_survivor_fails_until_a_test_sees_it_and_what_is_known_is_not_run_again(checkout, capsys):
    with pytest.raises(ProjectError, match=r"no test sees zero in code_.py: zero is positive\nerror: write a test"):
        mutants.mutants("1", "1/1", [])
    assert "caught" in capsys.readouterr().out
    assert not (checkout / "data").exists()
    assert (checkout / "code_.py").read_text() == CODE

    (checkout / "mutants.toml").write_text(ENTRIES + 'equivalent = "nobody asks"\n')
    mutants.mutants("1", "1/1", [])
    assert capsys.readouterr().out.startswith("1 of 1 errors caught\n"), "the other one is known"
    rows = mutants.published()
    assert [(row["id"], row["outcome"]) for row in rows] == [("sum", "caught"), ("zero", "equivalent")]
    assert rows[0]["test"] == "test_code.py::test_f"
    assert "| all | 0 |" in mutants.page(rows[:0])

    (checkout / "mutants.toml").write_text(ENTRIES)
    (checkout / "test_code.py").write_text(TESTS + "    assert not g(0)\n")
    mutants.mutants("1", "1/1", [])
    assert {row["outcome"] for row in mutants.published()} == {"caught"}
    keys = [json.loads(line)["key"] for line in (checkout / "_build" / "results.jsonl").read_text().splitlines()]
    assert len(set(keys)) == len(keys)


def test_tests_that_fail_without_an_error_are_named(checkout):
    (checkout / "test_code.py").write_text(TESTS.replace("== 3", "== 4"))
    with pytest.raises(ProjectError, match=r"test_code\.py::test_f fails where no error is planted"):
        mutants.mutants("1", "1/1", ["sum"])

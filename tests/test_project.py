"""What the checkout promises to newcomers: one list of pins, a README that runs, commands that exist."""

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from project import pins
from release import examples

import srlib

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def tracked() -> list[Path]:
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, text=True, capture_output=True, check=True).stdout.split()
    return [ROOT / name for name in names if (ROOT / name).suffix in {".yml", ".yaml", ".toml", ".lock", ".cfg", ""}]


def test_there_is_one_list_of_pins():
    pin = re.compile(r"^[\s\"-]*[a-z][\w-]*==\d", re.MULTILINE)
    pinning = [path.name for path in tracked() if pin.search(path.read_text())]
    assert pinning == ["requirements.lock"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert {"pip": ["-r requirements.lock", "-e ."]} in environment["dependencies"]


def test_every_dependency_is_pinned():
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [metadata["dependencies"], *metadata["optional-dependencies"].values()]
    wanted = [Requirement(text) for texts in lists for text in texts]
    assert {"torch", "jupyter-book", "nbval"} <= {requirement.name for requirement in wanted}
    pinned = {canonicalize_name(name): version for name, version in pins().items()}
    for requirement in wanted:
        assert pinned[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.mark.parametrize(("code", "shown"), examples(README))
def test_each_example_in_the_readme_runs_alone_and_says_what_it_shows(code, shown, tmp_path):
    assert 8 <= len([line for line in code.splitlines() if line.strip()]) <= 14
    result = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, cwd=tmp_path, check=False)
    assert result.returncode == 0, result.stderr
    assert shown == result.stdout.splitlines()


def test_the_citation_has_a_year_and_this_version_and_so_has_the_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "type", "authors", "license"} <= set(citation)
    assert citation["version"] == srlib.__version__
    assert citation["date-released"].year >= 2026  # becomes the year in BibTeX
    (paper,) = citation["references"]
    assert paper["title"] in citation["title"]
    assert paper["year"] == 2021
    identifier = paper["identifiers"][0]["value"].removeprefix("arXiv:")
    assert paper["url"].endswith(f"/{identifier}")
    assert f"eprint = {{{identifier}}}" in (ROOT / "book" / "references.bib").read_text(encoding="utf-8")


def test_the_changelog_starts_with_what_comes_and_then_this_version():
    sections = re.findall(
        r"^## \[(.+?)\](?: - (.+))?$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert sections[:2] == [("Unreleased", ""), (srlib.__version__, str(citation["date-released"]))]


def labels(text: str) -> list[str]:
    """``"F1–F3"`` or ``"N1, N3"`` as a list."""
    found = []
    for part in text.split(", "):
        first, last = part[1:].split("–")[0], part.split("–")[-1][1:]
        found += [f"{part[0]}{number}" for number in range(int(first), int(last) + 1)]
    return found


def test_the_design_page_leads_from_every_chapter_to_its_notebook_modules_and_tests():
    page = (ROOT / "book" / "design.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in re.findall(r"^\| [A-Z]\d.*", page, re.MULTILINE)
    ]
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"][0]["chapters"]
    wanted = [(part["file"], *(section["file"] for section in part["sections"])) for part in contents]
    places = [re.fullmatch(r"\{doc\}`(\w+)`, `(\w+)`", row[1]).groups() for row in rows]
    assert wanted == [(f"book/{chapter}", f"notebooks/{notebook}") for chapter, notebook in places]
    for (stated, _, modules, tests), (chapter, _) in zip(rows, places, strict=True):
        text = (ROOT / "book" / f"{chapter}.md").read_text("utf-8")
        proved = re.findall(r"^:label: ([A-Z]\d+)$", text, re.MULTILINE)
        assert labels(stated) == proved
        for module in re.findall(r"`(.+?)`", modules):
            importlib.import_module(f"srlib.{module}")
        assert [name for name in re.findall(r"`(.+?)`", tests) if not (ROOT / "tests" / f"{name}.py").exists()] == []


def test_what_an_installation_leaves_behind_is_ignored():
    for name in (
        "build/lib/srlib/rank.py",
        "dist/srlib-0.1.0.tar.gz",
        "srlib.egg-info/PKG-INFO",
        "_build/bench/run-1.json",
    ):
        assert subprocess.run(["git", "check-ignore", "-q", name], cwd=ROOT, check=False).returncode == 0, name


def test_commands_in_the_documentation_exist():
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    for page in [*ROOT.glob("*.md"), *(ROOT / "book").glob("*.md")]:
        for name in re.findall(r"`make ([a-z]+)[ `]|^make ([a-z]+)(?:$| +#| [A-Z]+=)", page.read_text(), re.MULTILINE):
            assert set(name) - {""} <= targets, f"{page.name}: make {name}"


def test_before_a_commit_runs_what_continuous_integration_runs():
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert local["repo"] == "local"
    assert [hook["entry"] for hook in local["hooks"]] == ["make lint"]
    assert "make lint" in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    linted = re.search(r"^lint:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[1]
    assert linted.split("\n\t") == ["\t$(BIN)/ruff check .", "$(BIN)/ruff format --check .", "$(BIN)/mypy\n"]


def test_files_named_in_the_readme_and_its_neighbours_exist():
    for page in ROOT.glob("*.md"):
        for name in re.findall(r"\]\(([^)#:]+)\)|src=\"([^\":]+)\"", page.read_text(encoding="utf-8")):
            assert (ROOT / "".join(name)).exists(), name


def test_actions_are_pinned_and_run_commands_that_exist():
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        text = path.read_text(encoding="utf-8")
        for step in re.findall(r"uses: (.*)", text):
            assert re.fullmatch(r"(actions|pypa)/[\w/-]+@[0-9a-f]{40} # v[\d.]+", step), step
        for line in re.findall(r"run: make (.*)", text):
            assert {word for word in line.split() if "=" not in word} <= targets
        assert yaml.safe_load(text)["permissions"] == {"contents": "read"}, "a job that needs more says so"

"""What is built holds the package and nothing else; ``make wheel`` installs it and runs its examples."""

import shutil
import zipfile

from release import ROOT, build, examples


def test_the_wheel_holds_the_package_with_its_types_and_nothing_else(tmp_path):
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "srlib", checkout / "srlib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("tests", "workflow", "notebooks"):
        (checkout / name).mkdir()
        (checkout / name / "__init__.py").touch()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    with zipfile.ZipFile(build(tmp_path / "dist", checkout, "--no-isolation")) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == {str(path.relative_to(checkout)) for path in (checkout / "srlib").rglob("*") if path.is_file()}
    assert "srlib/py.typed" in names


def test_the_examples_of_a_page_come_with_what_they_print():
    page = "```python\nx = 1\nprint(x)  # 1\n```\n```console\nmake\n```\n```python\npass\n```\n"
    assert examples(page) == [("x = 1\nprint(x)  # 1\n", ["1"]), ("pass\n", [])]

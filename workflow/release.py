"""The package as a stranger gets it: built, installed with what it needs to run and no more, tried in an empty folder.

Run by ``make wheel``, and by the workflow that makes a release of a tag.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from project import BUILD, LOCK, ROOT, pins

DIST = BUILD / "dist"

#: Runs the examples of all docstrings but those of modules that need more than the wheel does.
DOCTESTS = """
import doctest, importlib, pkgutil, sys, srlib

more = ("srlib.plotting", "srlib.check.glue", "srlib.experiments.data")
names = [module.name for module in pkgutil.walk_packages(srlib.__path__, "srlib.") if module.name not in more]
results = [doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE) for name in names]
print(f"{srlib.__file__}: {sum(result.attempted for result in results)} examples in {len(names)} modules")
sys.exit(any(result.failed for result in results) or not any(result.attempted for result in results))
"""


def build(folder: Path, root: Path = ROOT, *options: str) -> Path:
    """Build the source distribution and, from it, the wheel; return the wheel."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(
        [sys.executable, "-P", "-m", "build", "--outdir", folder, *options, root], check=True, stdout=sys.stderr
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def examples(text: str) -> list[tuple[str, list[str]]]:
    """Python blocks of a page, each with the lines that its comments say it prints."""
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return [(code, re.findall(r"print\(.*#\s*(.+)$", code, re.MULTILINE)) for code in blocks]


def install(wheel: Path, environment: Path) -> Path:
    """Install the wheel with its dependencies, as pinned, into a new environment; return its interpreter."""
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if index := os.environ.get("TORCH_INDEX"):  # as the Makefile does it
        subprocess.run([*pip, "--no-deps", "--index-url", index, f"torch=={pins()['torch']}"], check=True)
    subprocess.run([*pip, "--constraint", LOCK, wheel], check=True)
    return python


def main() -> None:
    wheel = build(DIST)
    with tempfile.TemporaryDirectory() as folder:
        python, empty = install(wheel, Path(folder) / "environment"), Path(folder) / "empty"
        empty.mkdir()
        for code, shown in examples((ROOT / "README.md").read_text(encoding="utf-8")):
            done = subprocess.run([python, "-I", "-c", code], cwd=empty, text=True, stdout=subprocess.PIPE, check=True)
            if done.stdout.splitlines() != shown:
                sys.exit(f"error: the README says {shown}, its example prints {done.stdout.splitlines()}")
        subprocess.run([python, "-I", "-c", DOCTESTS], cwd=empty, check=True)
    print(f"{wheel.relative_to(ROOT)} is ready")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: the wheel does not pass: {error}")

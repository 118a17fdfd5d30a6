"""Stage pages and executed notebooks under ``_build/src``, build the site, and move it to ``_build/html``."""

import base64
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys

import level
import mutants
import performance
import portable
import seeds
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from project import (
    BUILD,
    CLAIMS,
    EXECUTED,
    LOGS,
    ROOT,
    SOURCE,
    ProjectError,
    notebooks,
    pins,
    processor,
    read_notebook,
    run,
)

SITE = BUILD / "html"
PREVIOUS = BUILD / "html.previous"
SCRATCH = BUILD / "site"


def main() -> None:
    if PREVIOUS.exists() and not SITE.exists():  # a run was killed between the two renames of the swap
        PREVIOUS.rename(SITE)
    stage_pages()
    stage_configuration()
    generated = SOURCE / "book" / "generated"
    generated.mkdir()
    pages = {
        "environment": environment(),
        "parameters": parameters(),
        "portable": portable.page(),
        "seeds": seeds.page(),
        "level": level.page(),
        "mutants": mutants.page(mutants.published()),
    }
    shutil.copytree(ROOT / "notebooks" / "data", generated / "data")
    pages["performance"] = performance.page(performance.load(generated / "data" / "performance"))
    for name, (image, lead) in figures(EXECUTED / f"{name}.ipynb" for name in notebooks()).items():
        (generated / f"{name}.png").write_bytes(image)
        pages[name] = lead
    for name, text in pages.items():
        (generated / f"{name}.md").write_text(text, encoding="utf-8")
    build()


def stage_pages() -> None:
    shutil.rmtree(SOURCE / "book", ignore_errors=True)
    shutil.copytree(ROOT / "book", SOURCE / "book", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CLAIMS, SOURCE / "claims.json")
    for path in EXECUTED.glob("*.ipynb"):
        if path.stem not in notebooks():
            path.unlink()


def stage_configuration() -> None:
    """Copy the configuration; the publishing workflow's addresses come in through the environment."""
    shutil.copy(ROOT / "_toc.yml", SOURCE / "_toc.yml")
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    if address := os.environ.get("BOOK_REPOSITORY_URL"):
        config["repository"] = {"url": address, "branch": os.environ.get("BOOK_REPOSITORY_BRANCH", "main")}
        config["html"] |= {"use_repository_button": True, "use_issues_button": True}
    if hub := os.environ.get("BOOK_BINDERHUB_URL"):
        config["launch_buttons"] = {"binderhub_url": hub}
    (SOURCE / "_config.yml").write_text(yaml.safe_dump(config, sort_keys=False))


def environment() -> str:
    """Return a Markdown table of the machine and the versions that made this book."""
    direct = {canonicalize_name(Requirement(line).name) for line in importlib.metadata.requires("srlib")}
    rows = [("Python", platform.python_version())]
    rows += [(name, importlib.metadata.version(name)) for name in pins() if canonicalize_name(name) in direct]
    rows += [("operating system", f"{platform.system()} {platform.machine()}")]
    rows += [("processor", processor()), ("cores", str(os.cpu_count()))]
    return "| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in rows)


def parameters() -> str:
    """Return, for each notebook, its parameters cell as it stands in the source."""
    parts = []
    for name in notebooks():
        cells = read_notebook(EXECUTED / f"{name}.ipynb").cells
        cell = next(cell for cell in cells if "parameters" in cell.metadata.get("tags", []))
        parts.append(f"`{name}`\n\n```python\n{cell.source}\n```\n")
    return "\n".join(parts)


def figures(paths) -> dict[str, tuple[bytes, str]]:
    """Return the captioned figures of the executed notebooks by name: the PNG, and Markdown that leads a chapter."""
    found = {}
    for path in paths:
        for cell in read_notebook(path).cells:
            about = cell.metadata.get("mystnb", {})
            name = about.get("figure", {}).get("name")
            for output in cell.get("outputs", []):
                if name and "image/png" in output.get("data", {}):
                    lead = (
                        f"```{{image}} generated/{name}.png\n:alt: {about['image']['alt']}\n:align: center\n```\n\n"
                        f"```{{div}} lead-caption\n{{numref}}`{name}`. {about['figure']['caption']}\n```\n"
                    )
                    found[name] = base64.b64decode(output.data["image/png"]), lead
    return found


def build() -> None:
    """Build into a scratch folder, then swap: the previous site stays until the new one is whole."""
    shutil.rmtree(SCRATCH, ignore_errors=True)
    LOGS.mkdir(exist_ok=True)
    log = LOGS / "site.log"
    print("building the site", file=sys.stderr)
    # Not the script `jupyter-book`: its first line cannot name an interpreter whose path has a space.
    command = [sys.executable, "-Pc", "from jupyter_book.cli.main import main; main()", "build", str(SOURCE)]
    with log.open("w", encoding="utf-8") as stream:
        result = subprocess.run(
            [*command, "--path-output", str(SCRATCH), "-W", "-n", "--keep-going", "-q"],
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            check=False,
        )
    text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(encoding="utf-8", errors="replace"))
    if result.returncode != 0:
        warnings = [line for line in text.replace(f"{SOURCE}/", "").splitlines() if re.search("WARNING|Error", line)]
        lines = [*dict.fromkeys(warnings), f"the site was not built: all that was said is in {log.relative_to(ROOT)}"]
        raise ProjectError("\nerror: ".join(lines))
    built = SCRATCH / "_build" / "html"
    for path in built.rglob("*.map"):  # for debugging the theme's own scripts and styles
        path.unlink()
    shutil.rmtree(PREVIOUS, ignore_errors=True)
    if SITE.exists():
        SITE.rename(PREVIOUS)
    built.rename(SITE)
    shutil.rmtree(PREVIOUS, ignore_errors=True)
    shutil.rmtree(SCRATCH)


if __name__ == "__main__":
    run(main)

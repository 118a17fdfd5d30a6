"""Stage pages and executed notebooks under ``_build/src``, build the site, and move it to ``_build/html``."""

import base64
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import performance
import yaml
from project import BUILD, CLAIMS, EXECUTED, LOCK, LOGS, ROOT, SOURCE, ProjectError, notebooks, run

SITE = BUILD / "html"
SCRATCH = BUILD / "site"


def main() -> None:
    stage_pages()
    stage_configuration()
    generated = SOURCE / "book" / "generated"
    generated.mkdir()
    (generated / "environment.md").write_text(environment())
    (generated / "parameters.md").write_text(parameters())
    shutil.copytree(ROOT / "notebooks" / "data", generated / "data")
    (generated / "performance.md").write_text(performance.page(performance.load(generated / "data" / "performance")))
    for name, (image, lead) in figures(EXECUTED / f"{name}.ipynb" for name in notebooks()).items():
        (generated / f"{name}.png").write_bytes(image)
        (generated / f"{name}.md").write_text(lead)
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
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    if address := os.environ.get("BOOK_REPOSITORY_URL"):
        config["repository"] = {"url": address, "branch": os.environ.get("BOOK_REPOSITORY_BRANCH", "main")}
        config["html"] |= {"use_repository_button": True, "use_issues_button": True}
    if hub := os.environ.get("BOOK_BINDERHUB_URL"):
        config["launch_buttons"] = {"binderhub_url": hub}
    (SOURCE / "_config.yml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def environment() -> str:
    """Return a Markdown table of the machine and the versions that made this book."""
    pinned = re.findall(r"^([A-Za-z0-9_.-]+)==", LOCK.read_text(), re.MULTILINE)
    direct = {re.split(r"[<>=]", line)[0] for line in requirements()}
    rows = [("Python", platform.python_version())]
    rows += [(name, importlib.metadata.version(name)) for name in pinned if name.lower() in direct]
    rows += [("operating system", f"{platform.system()} {platform.machine()}")]
    rows += [("processor", processor()), ("cores", str(os.cpu_count()))]
    return "| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in rows)


def requirements() -> list[str]:
    metadata = importlib.metadata.metadata("srlib")
    return [line.split(";")[0].strip().lower() for line in metadata.get_all("Requires-Dist", [])]


def processor() -> str:
    try:
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        names = []
    return names[0] if names else platform.processor() or "not reported"


def parameters() -> str:
    """Return, for each notebook, its parameters cell as it stands in the source."""
    parts = []
    for name in notebooks():
        cells = nbformat.read(EXECUTED / f"{name}.ipynb", as_version=4).cells
        cell = next(cell for cell in cells if "parameters" in cell.metadata.get("tags", []))
        parts.append(f"`{name}`\n\n```python\n{cell.source}\n```\n")
    return "\n".join(parts)


def figures(paths) -> dict[str, tuple[bytes, str]]:
    """Return the captioned figures of the executed notebooks by name: the PNG, and Markdown that leads a chapter."""
    found = {}
    for path in paths:
        for cell in nbformat.read(path, as_version=4).cells:
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
    """Build into a scratch folder, then swap: a failed or killed build leaves no half-written site."""
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.rmtree(SCRATCH, ignore_errors=True)
    LOGS.mkdir(exist_ok=True)
    log = LOGS / "site.log"
    print("building the site", file=sys.stderr)
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    command = [str(jupyter_book), "build", str(SOURCE), "--path-output", str(SCRATCH)]
    with log.open("w") as stream:
        result = subprocess.run(
            [*command, "-W", "-n", "--keep-going", "-q"], stdout=stream, stderr=subprocess.STDOUT, cwd=ROOT, check=False
        )
    text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text())
    if result.returncode != 0:
        warnings = [line for line in text.splitlines() if re.search(r"WARNING|ERROR|Error", line)]
        raise ProjectError(
            "the site was not built:\n  " + "\n  ".join(warnings or text.splitlines()[-5:]) + f"\n  (all in {log})"
        )
    for path in (SCRATCH / "_build" / "html").rglob("*.map"):  # for debugging the theme's own scripts and styles
        path.unlink()
    (SCRATCH / "_build" / "html").rename(SITE)
    shutil.rmtree(SCRATCH)


if __name__ == "__main__":
    run(main)

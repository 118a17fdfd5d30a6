"""Hold the notebooks to their stored outputs as other machines would execute them: `make portable`.

portable.py run JOBS [MACHINE|NOTEBOOK]...   execute, compare, and print what differs; by default everything
portable.py execute MACHINE NOTEBOOK OUTPUT       one notebook on one machine (a job of the workflow)
portable.py install FOLDER                        an environment with the oldest torch, numpy and scipy admitted
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from differences import differences, outputs
from project import BUILD, EXECUTED, REFERENCES, ROOT, ProjectError, notebooks, read_json, read_notebook, run

FOLDER = BUILD / "portable"
OLDEST = Path("_build", "oldest")
#: Tables that the book shows, one for each kind of processor that `make portable` ran on with all notebooks.
TABLES = ROOT / "notebooks" / "data" / "portable"
JITTER = Path("workflow", "jitter.py")
PACKAGES = ("torch", "numpy", "scipy")


@dataclasses.dataclass(frozen=True)
class Machine:
    """A stand-in for another machine: what makes its last bits differ."""

    about: str  # as the table of the book says it
    variables: dict[str, str] = dataclasses.field(default_factory=dict)
    without: str = ""  # numpy's optional processor features whose names this matches are off
    threads: int = 1
    prelude: Path | None = None  # executed by the kernel before the first cell
    home: Path | None = None  # an environment of its own


MACHINES = {
    "own": Machine("this processor as it is"),
    # On a busy machine threads that wait for each other must not do so at full speed.
    "threads": Machine("two threads", {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}, threads=2),
    "avx2": Machine("256-bit vectors", {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2"}, without="512|V4"),
    "plain": Machine("no vectors", {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE"}, without="."),
    "jitter": Machine("every rounding at random", prelude=JITTER),
    "oldest": Machine("oldest torch, numpy, scipy", home=OLDEST),
}


def execute(machine: Machine, name: str, output: Path) -> None:
    """Execute one notebook as that machine would."""
    if machine.home and Path(sys.prefix) != ROOT / machine.home:
        sys.exit(subprocess.run([ROOT / machine.home / "bin" / "python", *sys.argv], check=False).returncode)
    import jupytext
    from execute import execute, normalize, write

    source = Path("notebooks", f"{name}.py")
    prelude = [f"--IPKernelApp.exec_files={ROOT / machine.prelude}"] if machine.prelude else []
    executed = normalize(execute(jupytext.read(source), source, sees=sees(machine), arguments=prelude), source)
    executed.metadata["versions"] = {package: importlib.metadata.version(package) for package in PACKAGES}
    write(executed, output)


def sees(machine: Machine) -> dict[str, str]:
    """Return the environment of that machine's kernels."""
    from kernel import environment

    optional = features(machine.without) if machine.without else []
    numpy = {"NPY_DISABLE_CPU_FEATURES": " ".join(optional)} if optional else {}
    return environment(threads=machine.threads) | machine.variables | numpy


def features(pattern: str) -> list[str]:
    """Return numpy's optional features of this processor that match; it warns of names that it does not know."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    return [name for name in __cpu_dispatch__ if __cpu_features__[name] and re.search(pattern, name)]


def oldest() -> dict[str, str]:
    """Return the oldest versions that the package's metadata admits."""
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return dict(requirement.split(">=") for requirement in metadata["project"]["dependencies"])


def install(folder: Path) -> None:
    """Make an environment of the pinned versions, but with the oldest ones that the metadata admits."""
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    old = [f"{name}=={version}" for name, version in oldest().items()]
    pinned = [line for line in lock.splitlines() if "==" in line and line.split("==")[0] not in oldest()]
    index = ["--index-url", os.environ["TORCH_INDEX"]] if os.environ.get("TORCH_INDEX") else []
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *index, *(line for line in old if line.startswith("torch=="))], check=True)
    subprocess.run([*pip, "--no-deps", *old, *pinned, "--editable", ROOT], check=True)


def digest(paths: list[Path]) -> str:
    """Return a hash of the stored outputs that are compared."""
    shown = [outputs(cell) for path in paths for cell in read_notebook(path).cells]
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()


def result(machine: str, name: str) -> Path:
    """Return where a notebook as a machine executes it lies; this processor's own are those of the book."""
    return (EXECUTED if machine == "own" else FOLDER / machine) / f"{name}.ipynb"


def compare(machines: list[str], names: list[str]) -> dict:
    """Return the table: for each machine what was compared, and what differs."""
    references = {name: read_notebook(REFERENCES / f"{name}.ipynb") for name in names}
    here = {package: importlib.metadata.version(package) for package in PACKAGES}
    rows = []
    for machine in machines:
        found, versions, count = [], {}, 0
        for name, reference in references.items():
            executed = read_notebook(result(machine, name))
            versions = executed.metadata.get("versions") or here
            count += sum(len(outputs(cell)) for cell in reference.cells)
            found += differences(executed, reference, name)
        rows.append(
            {
                "machine": machine,
                "about": MACHINES[machine].about,
                "versions": versions,
                "notebooks": len(names),
                "outputs": count,
                "differences": [dataclasses.asdict(difference) for difference in found],
            }
        )
        for difference in found:
            print(f"{machine}: {difference.notebook}, {difference}")
    from publish import processor

    return {
        "processor": processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "outputs": digest([REFERENCES / f"{name}.ipynb" for name in names]),
        "rows": rows,
    }


def portable(jobs: str, words: list[str]) -> None:
    from build import build, check_jobs

    check_jobs(jobs)
    known = notebooks()
    if unknown := [word for word in words if word not in {*MACHINES, *known}]:
        raise ProjectError(
            f"there is no machine or notebook {unknown[0]!r}: the machines are {', '.join(MACHINES)}; "
            f"the notebooks are {', '.join(known)}"
        )
    machines = [name for name in MACHINES if name in words] or list(MACHINES)
    names = [name for name in known if name in words] or known
    targets = [os.path.relpath(result(machine, name), ROOT) for machine in machines for name in names]
    build("portable", ["--jobs", jobs, "--", *targets])
    table = compare(machines, names)
    text = json.dumps(table, indent=1, ensure_ascii=False) + "\n"
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "table.json").write_text(text, encoding="utf-8")
    for row in table["rows"]:
        print(f"{row['about']:28} {row['outputs']:5} outputs of {row['notebooks']} notebooks, {differ(row)} differ")
    if names == known:
        publish(table)
    if any(row["differences"] for row in table["rows"]):
        raise ProjectError("stored outputs depend on the machine: round what is shown, or compute it more exactly")


def publish(table: dict) -> None:
    """Put the rows into this kind of processor's table in the book; those of machines not tried now stay."""
    stem = re.sub(r"[^a-z0-9]+", "-", f"{table['processor']} {table['system']}".lower()).strip("-")
    path = TABLES / f"{stem}.json"
    rows = {row["machine"]: row for row in table["rows"]}
    if path.exists() and (old := read_json(path))["outputs"] == table["outputs"]:
        rows = {row["machine"]: row for row in old["rows"]} | rows
    table = table | {"rows": [rows[machine] for machine in MACHINES if machine in rows]}
    TABLES.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"the table for the book is in {path.relative_to(ROOT)}")


def differ(row: dict) -> int:
    return len({(difference["notebook"], difference["cell"]) for difference in row["differences"]})


def page() -> str:
    """Return Markdown: the committed tables, one for each kind of processor."""
    parts = []
    for path in sorted(TABLES.glob("*.json")):
        table = read_json(path)
        same = table["outputs"] == digest([REFERENCES / f"{name}.ipynb" for name in notebooks()])
        lines = [["emulated", "versions", "outputs compared", "cells that differ"], ["---"] * 4]
        for row in table["rows"]:
            versions = ", ".join(f"{package} {version}" for package, version in row["versions"].items())
            lines.append([row["about"], versions, f"{row['outputs']:,}", str(differ(row))])
        parts.append(
            f"On {table['processor']}, {table['system']}, Python {table['python']}"
            f"{'' if same else '; for stored outputs that have changed since'}:\n\n"
            + "".join(f"| {' | '.join(line)} |\n" for line in lines)
        )
    return "\n".join(parts)


def main() -> None:
    match sys.argv[1:]:
        case ["run", jobs, *words]:
            portable(jobs, words)
        case ["execute", machine, name, output]:
            execute(MACHINES[machine], name, Path(output))
        case ["install", folder]:
            install(Path(folder))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    run(main)

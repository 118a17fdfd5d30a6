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
from packaging.requirements import Requirement
from project import (
    BUILD,
    EXECUTED,
    REFERENCES,
    ROOT,
    ProjectError,
    notebooks,
    pins,
    processor,
    read_json,
    read_notebook,
    run,
    write,
)

FOLDER = BUILD / "portable"
OLDEST = Path("_build", "oldest")
#: Tables that the book shows, one for each kind of processor that `make portable` ran on.
TABLES = ROOT / "notebooks" / "data" / "portable"
JITTER = Path("workflow", "jitter.py")
PACKAGES = ("torch", "numpy", "scipy")


@dataclasses.dataclass(frozen=True)
class Machine:
    """A stand-in for another machine: what makes its last bits differ."""

    about: str = dataclasses.field(repr=False)  # as the table of the book says it: words make no result stale
    variables: dict[str, str] = dataclasses.field(default_factory=dict)
    without: str = ""  # numpy's optional processor features whose names this matches are off
    threads: int = 1
    prelude: Path | None = None  # executed by the kernel before the first cell
    home: Path | None = None  # an environment of its own


AVX2 = Machine("256-bit vectors", {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2"}, without="512|V4")
_X86 = platform.machine() in ("x86_64", "AMD64")
MACHINES = {
    "own": Machine("this processor as it is"),
    # On a busy machine threads that wait for each other must not do so at full speed.
    "threads": Machine("two threads", {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}, threads=2),
    **({"avx2": AVX2} if _X86 else {}),
    "plain": Machine("no vectors", {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE"}, without="."),
    "jitter": Machine("every rounding at random", prelude=JITTER),
    "oldest": Machine("oldest torch, numpy, scipy", home=OLDEST),
}


def execute(machine: Machine, name: str, output: Path) -> None:
    """Execute one notebook as that machine would."""
    if machine.home and Path(sys.prefix) != ROOT / machine.home:
        sys.exit(subprocess.run([ROOT / machine.home / "bin" / "python", *sys.argv], check=False).returncode)
    import jupytext
    import nbformat
    from execute import execute, normalize

    source = Path("notebooks", f"{name}.py")
    prelude = [f"--IPKernelApp.exec_files={ROOT / machine.prelude}"] if machine.prelude else []
    try:
        executed = normalize(execute(jupytext.read(source), source, sees=sees(machine), arguments=prelude), source)
    except ProjectError as error:
        raise ProjectError(f"{machine.about}: {error}") from None
    executed.metadata["versions"] = {package: importlib.metadata.version(package) for package in PACKAGES}
    write({output: nbformat.writes(executed) + "\n"})


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
    requirements = map(Requirement, metadata["project"]["dependencies"])
    return {requirement.name: str(requirement.specifier).removeprefix(">=") for requirement in requirements}


def install(folder: Path) -> None:
    """Make an environment of the pinned versions, but with the oldest ones that the metadata admits."""
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        install_into(folder)
    except subprocess.CalledProcessError:
        wanted = ", ".join(f"{name} {version}" for name, version in oldest().items())
        raise ProjectError(
            f"the oldest versions ({wanted}) cannot be installed for Python {platform.python_version()}, as pip said: "
            "use an older Python, or leave out the machine oldest"
        ) from None


def install_into(folder: Path) -> None:
    wanted = [f"{name}=={version}" for name, version in (pins() | oldest()).items()]
    index = ["--index-url", os.environ["TORCH_INDEX"]] if os.environ.get("TORCH_INDEX") else []
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *index, f"torch=={oldest()['torch']}"], check=True)
    subprocess.run([*pip, "--no-deps", *wanted, "--editable", ROOT], check=True)


def digest(name: str) -> str:
    """Return a hash of a notebook's stored outputs, as far as they are compared."""
    shown = [outputs(cell) for cell in read_notebook(REFERENCES / f"{name}.ipynb").cells]
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:16]


def result(machine: str, name: str) -> Path:
    """Return where a notebook as a machine executes it lies; this processor's own are those of the book."""
    return (EXECUTED if machine == "own" else FOLDER / machine) / f"{name}.ipynb"


def compare(machine: str, name: str) -> dict:
    """Return how many outputs of a notebook were compared, and which differ."""
    executed, reference = read_notebook(result(machine, name)), read_notebook(REFERENCES / f"{name}.ipynb")
    found = differences(executed, reference, name)
    for difference in found:
        print(f"{machine}: {name}, {difference}")
    here = {package: importlib.metadata.version(package) for package in PACKAGES}
    return {
        "stored": digest(name),
        "versions": executed.metadata.get("versions") or here,
        "outputs": sum(len(outputs(cell)) for cell in reference.cells),
        "differ": [dataclasses.asdict(difference) for difference in found],
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
    for name in names:
        if not (REFERENCES / f"{name}.ipynb").exists():
            raise ProjectError(f"notebooks/{name}.ipynb does not exist: make book and make accept make it")
    build("portable", ["--jobs", jobs, "--", *targets])
    found = {machine: {name: compare(machine, name) for name in names} for machine in machines}
    for machine, results in found.items():
        print(f"{MACHINES[machine].about}: {summary(results)}")
    publish(found)
    if any(result["differ"] for results in found.values() for result in results.values()):
        raise ProjectError("stored outputs depend on the machine: round what is shown, or compute it more exactly")


def summary(results: dict[str, dict]) -> str:
    """Say in a few words what was compared and what differs."""
    cells = {(name, difference["cell"]) for name, result in results.items() for difference in result["differ"]}
    count = sum(result["outputs"] for result in results.values())
    differ = f"{len(cells) or 'no'} cell{'s differ' if len(cells) != 1 else ' differs'}"
    return f"{count:,} outputs of {len(results)} notebook{'s' * (len(results) != 1)}, {differ}"


def publish(found: dict[str, dict]) -> None:
    """Put the results into the table that the book has for this kind of processor; others in it stay."""
    about = {"processor": processor(), "system": f"{platform.system()} {platform.machine()}"}
    stem = re.sub(r"[^a-z0-9]+", "-", " ".join(about.values()).lower()).strip("-")
    path = TABLES / f"{stem}.json"
    old = read_json(path)["machines"] if path.exists() else {}
    merged = {machine: old.get(machine, {}) | found.get(machine, {}) for machine in MACHINES}
    table = about | {"machines": {machine: dict(sorted(results.items())) for machine, results in merged.items()}}
    write({path: json.dumps(table, indent=1, ensure_ascii=False) + "\n"})
    print(f"the table for the book is in {path.relative_to(ROOT)}")


def page() -> str:
    """Return Markdown: the committed tables, as far as they are about the outputs that are stored now."""
    stored = [name for name in notebooks() if (REFERENCES / f"{name}.ipynb").exists()]  # a new notebook is not yet
    now, parts = {name: digest(name) for name in stored}, []
    for path in sorted(TABLES.glob("*.json")):
        table = read_json(path)
        lines = ["| machine | torch, numpy, scipy | compared |\n|---|---|---|\n"]
        for machine, results in table["machines"].items():
            valid = {name: result for name, result in results.items() if result["stored"] == now.get(name)}
            versions = {", ".join(result["versions"][package] for package in PACKAGES) for result in valid.values()}
            if valid and machine in MACHINES:
                lines.append(f"| {MACHINES[machine].about} | {'; '.join(sorted(versions))} | {summary(valid)} |\n")
        if len(lines) > 1:
            parts.append(f"On {table['processor']}, {table['system']}:\n\n" + "".join(lines))
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

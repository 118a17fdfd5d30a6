"""Plant errors, one at a time, and see that a test catches each: `make mutants`.

mutants.py JOBS PART [ID|FILE]...   PART=k/n: every n-th error of the catalogue, tests/mutants.toml, from the k-th on

An error is planted in a copy of the checkout, JOBS of them side by side, and never in the checkout itself. A result is
kept until the error, its file or its tests change, so a run that was interrupted goes on where it stopped.
"""

import ast
import csv
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from queue import SimpleQueue

from build import check_jobs
from filelock import FileLock
from project import BUILD, ROOT, ProjectError, processor, run, write
from tables import table

CATALOGUE = ROOT / "tests" / "mutants.toml"
FOLDER = BUILD / "mutants"
#: The table that the book shows.
TABLES = ROOT / "notebooks" / "data" / "mutants"
#: What a test has beyond five times the seconds it takes without an error: a slow machine catches nothing.
PATIENCE = 60
TIMEOUT, STATUS = "does not end", "pytest ends with status"
#: Parts of the code, as the table of the book counts them.
PARTS = {
    "srlib/": "The package",
    "srlib/check/": "Checks of claims",
    "workflow/": "The workflow",
    "book/_ext/": "Extensions of the book",
    "notebooks/": "Measurements and figures of the notebooks",
}


@dataclass(frozen=True)
class Error:
    """An error: a text that a file holds exactly once, and what stands in its place."""

    id: str
    file: str
    about: str
    text: str
    becomes: str
    tests: tuple[str, ...]  # test files, or tests as pytest names them, that should see it
    equivalent: str = ""  # why it changes nothing that a test could see
    operator: str = ""  # what drew it; nothing for an error that was thought of

    def planted(self, source: str) -> str:
        """Return the source with the error in it, or say why the entry is stale."""
        count = source.count(self.text)
        why = f"its text occurs {count or 'no'} times in {self.file}" if count != 1 else ""
        changed = source.replace(self.text, self.becomes)
        if not why and self.file.endswith(".py"):
            try:
                why = "it changes nothing" if ast.dump(ast.parse(changed)) == ast.dump(ast.parse(source)) else ""
            except SyntaxError as error:
                why = f"it is no Python: {error.msg} in line {error.lineno}"
        if why:
            raise ProjectError(f"error {self.id} of the catalogue is stale: {why}: fit it to the code as it is now")
        return changed

    @property
    def digest(self) -> str:
        """A short hash of the error itself, by which the table of the book knows it."""
        shown = astuple(replace(self, tests=()))
        return hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:12]

    @property
    def key(self) -> str:
        """A hash of the error, and of its file and its tests as they are now."""
        files = sorted({self.file, *(test.partition("::")[0] for test in self.tests)})
        parts = [self.digest, *self.tests, *((ROOT / file).read_text(encoding="utf-8") for file in files)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def catalogue() -> list[Error]:
    """Return all errors, each of which can be planted, or say which cannot."""
    path = CATALOGUE
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    errors = []
    for given in content["error"]:
        where = max((start for start in content["tests"] if given["file"].startswith(start)), key=len, default="")
        tests = given.get("tests") or content["tests"].get(where, ())
        try:
            errors.append(Error(**given | {"tests": tuple(tests)}))
        except TypeError as error:
            raise ProjectError(f"{path.name}, {given.get('id')}: {error}") from None
    for name, count in Counter(error.id for error in errors).items():
        if count > 1:
            raise ProjectError(f"{path.name}: {count} errors are called {name}: give each a name of its own")
    for error in errors:
        if not error.tests:
            raise ProjectError(f"{path.name}, {error.id}: no test is named for {error.file}: name one under [tests]")
        error.planted((ROOT / error.file).read_text(encoding="utf-8"))
    return errors


def chosen(errors: list[Error], part: str, words: Sequence[str]) -> list[Error]:
    """Return every n-th error from the k-th on, for a part k/n, that a word names or whose file begins with one."""
    match = re.fullmatch(r"(\d+)/([1-9]\d*)", part)
    if not match:
        raise ProjectError(f"PART={part}: give k/n for every n-th error from the k-th on, such as PART=3/10")

    def named(error: Error, word: str) -> bool:
        return error.id == word or error.file.startswith(word)

    for word in words:
        if not any(named(error, word) for error in errors):
            raise ProjectError(f"the catalogue has no error {word!r}, and none in a file whose name begins so")
    k, n = map(int, match.groups())
    every = [error for i, error in enumerate(errors, 1) if (i - k) % n == 0]
    return [error for error in every if not words or any(named(error, word) for word in words)]


class Copy:
    """A copy of the checkout, and a process in it that runs its tests."""

    def __init__(self, folder: Path):
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, text=True, capture_output=True, check=True).stdout
        for file in filter(None, files.split("\0")):
            if (ROOT / file).is_file():  # it may have been removed and not yet committed
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / file, folder / file)
        # Without bytecode: that of an error of the same size and second would stand for the file's own.
        sees = dict.fromkeys(("PYTHONDONTWRITEBYTECODE", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            [sys.executable, "workflow/warm.py"],
            cwd=folder,
            env=os.environ | sees | {"PYTHONPATH": str(folder)},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def test(self, tests: Sequence[str], limit: float | None = None) -> tuple[str, float]:
        """Run tests until one fails; return its name, nothing if none does, and the seconds that it took."""
        began = time.monotonic()
        request = [limit, ["-x", "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider", *tests]]
        print(json.dumps(request), file=self.process.stdin, flush=True)
        status, output = json.loads(self.process.stdout.readline())
        seconds = time.monotonic() - began
        if not status:
            return ("" if status == 0 else TIMEOUT), seconds
        found = re.search(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", output, re.MULTILINE)
        return (found[1] if found else f"{STATUS} {status}"), seconds

    def close(self) -> None:
        """End the process; it ends the tests that it runs."""
        self.process.kill()
        self.process.communicate()


class Copies:
    """Copies in which errors are planted side by side."""

    def __init__(self, count: int):
        self.all = [Copy(FOLDER / f"copy-{k + 1}") for k in range(count)]
        self.free: SimpleQueue[Copy] = SimpleQueue()
        self.sound: dict[tuple[str, ...], float] = {}
        self.lock = threading.Lock()
        for copy in self.all:
            self.free.put(copy)

    def examine(self, error: Error, before: str = "") -> dict:
        """Plant an error and return what catches it: the test that did ``before``, or the first of all its tests."""
        copy = self.free.get()
        try:
            for tests in [(before,), error.tests] if before else [error.tests]:
                limit = PATIENCE + 5 * self.seconds(copy, tests)
                path = copy.folder / error.file
                source = path.read_text(encoding="utf-8")
                try:
                    path.write_text(error.planted(source), encoding="utf-8")
                    test, seconds = copy.test(tests, limit)
                finally:
                    path.write_text(source, encoding="utf-8")
                if test:
                    break
        finally:
            self.free.put(copy)
        outcome = "timeout" if test == TIMEOUT else "caught" if test else "survived"
        return {"outcome": outcome, "test": test, "seconds": round(seconds, 1)}

    def seconds(self, copy: Copy, tests: tuple[str, ...]) -> float:
        """Return how long tests take without an error, which they must pass."""
        with self.lock:  # each only once
            if tests not in self.sound:
                failed, self.sound[tests] = copy.test(tests)
                if failed:
                    raise ProjectError(f"{failed} fails where no error is planted: mend it first")
        return self.sound[tests]

    def trust(self, tests: Sequence[str]) -> bool:
        """See in one run that single tests pass without an error; tell whether all of them still exist."""
        failed, seconds = self.all[0].test(tests)
        if failed and not failed.startswith(STATUS):
            raise ProjectError(f"{failed} fails where no error is planted: mend it first")
        self.sound |= {(test,): seconds for test in tests}
        return not failed

    def close(self) -> None:
        for copy in self.all:
            copy.close()


def examined(errors: Sequence[Error], jobs: int) -> Iterator[tuple[Error, dict]]:
    """Plant errors, that many at once; yield each with what came of it."""
    copies, pool = Copies(jobs), ThreadPoolExecutor(jobs)
    try:
        before = {row["id"]: row["test"] for row in published() if row["outcome"] == "caught"}
        before = {error.id: before[error.id] for error in errors if error.id in before}
        if before and not copies.trust(sorted({*before.values()})):
            before = {}
        waiting = {pool.submit(copies.examine, error, before.get(error.id, "")): error for error in errors}
        for future in as_completed(waiting):
            yield waiting[future], future.result()
    finally:  # also after an interrupt
        pool.shutdown(wait=False, cancel_futures=True)
        copies.close()


def mutants(jobs: str, part: str, words: Sequence[str]) -> None:
    """Plant the chosen errors, and fail if one is not caught."""
    check_jobs(jobs)
    errors = catalogue()
    keys = {error.id: error.key for error in errors}  # as the copies have the files, whatever is edited meanwhile
    wanted = [error for error in chosen(errors, part, words) if not error.equivalent]
    FOLDER.mkdir(parents=True, exist_ok=True)
    with FileLock(FOLDER / ".lock"), (FOLDER / "results.jsonl").open("a+", encoding="utf-8") as file:
        file.seek(0)
        known = {row.pop("key"): row for row in map(json.loads, file)}
        left = [error for error in wanted if not known.get(keys[error.id], {}).get("test")]
        for error, result in examined(left, min(int(jobs), len(left))) if left else ():
            known[keys[error.id]] = result
            file.write(json.dumps({"key": keys[error.id]} | result) + "\n")
            file.flush()
            print(f"{result['outcome']:8} {result['seconds']:5.1f} s  {error.id}  {result['test']}", flush=True)
    survivors = [error for error in wanted if not known[keys[error.id]]["test"]]
    print(f"{len(wanted) - len(survivors)} of {len(wanted)} errors caught")
    if survivors:
        lines = [f"no test sees {error.id} in {error.file}: {error.about}" for error in survivors]
        raise ProjectError("\nerror: ".join([*lines, "write a test that does, or say in the catalogue why none can"]))
    if all(error.equivalent or keys[error.id] in known for error in errors):
        publish(errors, {id: known.get(key, {}) for id, key in keys.items()})


def publish(errors: Sequence[Error], results: Mapping[str, dict]) -> None:
    """Make the results of the whole catalogue, by id, the table that the book shows."""
    nothing = {"outcome": "equivalent", "seconds": ""}
    rows = [
        {"id": error.id, "file": error.file, "error": error.about, "operator": error.operator, "digest": error.digest}
        | ({"test": error.equivalent} | nothing if error.equivalent else results[error.id])
        for error in errors
    ]
    provenance = {
        "command": "make mutants",
        "processor": processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    write({TABLES / "caught.csv": table(rows), TABLES / "provenance.json": json.dumps(provenance, indent=2) + "\n"})
    print(f"the table for the book is in {TABLES.relative_to(ROOT)}")


def published() -> list[dict[str, str]]:
    """Return the rows of the committed table, none where there is none."""
    path = TABLES / "caught.csv"
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) if path.exists() else []


def page(rows: Sequence[Mapping[str, str]]) -> str:
    """Return Markdown: how many errors were caught, part by part, and then each of them."""
    counts = ["| part | errors | caught | median seconds | equivalent |", "|---|--:|--:|--:|--:|"]
    lists = []
    for start, name in [*PARTS.items(), ("", "all")]:
        here = [row for row in rows if start in ("", part(row["file"]))]
        seconds = [float(row["seconds"]) for row in here if row["outcome"] != "equivalent"]
        median = f"{statistics.median(seconds):.0f}" if seconds else ""
        if start and not here:
            continue
        counts.append(f"| {name} | {len(here)} | {len(seconds)} | {median} | {len(here) - len(seconds)} |")
        if start:
            lists += ["", f"## {name}", "", "| error | caught by | seconds |", "|---|---|--:|"]
            lists += [line(row, start) for row in here]
    return "\n".join([*counts, *lists, ""])


def line(row: Mapping[str, str], start: str) -> str:
    test = row["test"].partition("[")[0].rpartition("::")[2]
    words = test.replace("_", " ").removeprefix("test ")  # a name that long would not break into lines
    by = f"no test: {row['test']}" if row["outcome"] == "equivalent" else f"*{words}*"
    return f"| `{row['file'].removeprefix(start)}`: {row['error']} | {by} | {row['seconds']} |"


def part(file: str) -> str:
    return max((start for start in PARTS if file.startswith(start)), key=len)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    match sys.argv[1:]:
        case [jobs, part, *words]:
            mutants(jobs, part, words)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    run(main)

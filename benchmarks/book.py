"""The rows about the whole book: how long a newcomer waits for it, and for all tests."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROWS = ["book-cold", "book-again", "tests"]


def rows() -> list[dict]:
    """Measure in a fresh clone of what is committed, after the installation."""
    work = dict(
        zip(
            ROWS,
            [
                ("the whole book from nothing, after the installation", "make book", 600),
                ("the book again, with nothing to do", "make book", 5),
                ("all tests", "make test", 600),
            ],
            strict=True,
        )
    )
    folder = Path(tempfile.mkdtemp())
    try:
        clone = folder / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        run("make setup", clone)
        return [row(id, text, target, run(command, clone)) for id, (text, command, target) in work.items()]
    finally:
        shutil.rmtree(folder)


def run(command: str, folder: Path) -> float:
    """Return the seconds that a command takes; what it prints goes to stderr, like the progress of the rest."""
    print(f"{command} in a fresh clone", file=sys.stderr)
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL")}
    began = time.monotonic()
    subprocess.run(command.split(), cwd=folder, env=environment, stdout=sys.stderr, check=True)
    return time.monotonic() - began


def row(id: str, text: str, target: float, seconds: float) -> dict:
    return {
        "id": id,
        "device": "cpu",
        "work": text,
        "peer": "",
        "quantity": "seconds",
        "target": target,
        "value": {"median": seconds, "low": seconds, "high": seconds},
        "holds": seconds <= target,
        "seconds": {"ours": seconds},
        "worth": 1.0,
        "peak": {},
        "repeats": 1,
    }

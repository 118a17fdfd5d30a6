"""The ranges of experiments: entries are added and never changed."""

import subprocess
import sys
from datetime import date

import pytest
from test_workflow import ROOT

sys.path.insert(0, str(ROOT / "workflow"))
import claims


def test_entries_are_dated_in_order_and_say_something():
    entries = claims.entries()
    dates = [date.fromisoformat(entry["date"]) for entry in entries]
    assert dates == sorted(dates)
    assert all(entry["note"] for entry in entries)
    seen = {}
    for entry in entries:
        if claims.allowed(entry) != claims.OPEN:
            assert entry["id"] not in seen, f"{entry['id']} has a range already: a new range has a new id"
            seen[entry["id"]] = entry
        else:
            assert entry["id"] in seen, f"{entry['id']} is withdrawn before it was entered"
            assert entry["note"].startswith("withdrawn: ")


def test_no_entry_was_ever_changed():
    """As far back as this checkout's history goes."""
    command = ["git", "log", "--format=", "-p", "--unified=0", "--", "book/ranges.csv"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this is no git checkout")
    gone = [line for line in done.stdout.splitlines() if line.startswith("-") and not line.startswith("---")]
    assert not gone, "entries are only added"

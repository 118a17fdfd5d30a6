"""In which values two versions of a notebook differ, and by how much relative to their rounding.

Compared are the cells' sources, and of the outputs what nbval compares: everything but bitmaps, and the numbers that
widgets get at random.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # importing it would slow down every start of the workflow
    from nbformat import NotebookNode

_GLUED = "application/papermill.record/"
_NOT_COMPARED = {"image/png", "image/jpeg", "application/vnd.jupyter.widget-view+json"}
_NUMBER = re.compile(r"(?<![\w.])[-+−]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Difference:
    """One value that differs; what only one of the two versions has is empty in the other."""

    notebook: str
    cell: str  # its id
    kind: str  # "claim", "glue", "output", "source", or "cell" for one that only one version has
    name: str  # the claim and its field, the glued name, or the line that the value stands in
    reference: str
    fresh: str
    units: float | None = None  # between two numbers, in units of the last digit that either shows

    def __str__(self) -> str:
        by = ""
        if self.units is not None:
            count = f"{self.units:,.0f}" if self.units < 1e6 else f"{self.units:.0e}"
            by = f", {count} unit{'s' * (self.units != 1)} of the last shown digit"
        what = f"{self.kind} {short(self.name)}".strip()
        return f"{self.cell}, {what}: {short(self.reference) or 'absent'} → {short(self.fresh) or 'absent'}{by}"


def differences(fresh: NotebookNode, reference: NotebookNode, notebook: str = "") -> list[Difference]:
    """Return all values in which two versions of a notebook differ, cell by cell."""
    return [
        Difference(notebook, (old or new).get("id", ""), *found)
        for old, new in paired(reference.cells, fresh.cells, lambda cell: (cell.cell_type, cell.source))
        for found in [*changed_source(old, new), *changed_outputs(old, new)]
    ]


def changed_source(old: NotebookNode | None, new: NotebookNode | None) -> Iterator[tuple]:
    if old is None or new is None:
        yield "cell", "", *(head(cell.source) if cell else "" for cell in (old, new))
    elif (old.cell_type, old.source) != (new.cell_type, new.source):
        lines = zip_longest(old.source.splitlines(), new.source.splitlines(), fillvalue="")
        yield "source", head(new.source), *next((pair for pair in lines if pair[0] != pair[1]), ("", ""))


def changed_outputs(old: NotebookNode | None, new: NotebookNode | None) -> Iterator[tuple]:
    if old is None or new is None:
        return
    for before, after in paired(outputs(old), outputs(new), lambda output: output[:2]):
        kind, name, content = before or after
        if before is None or after is None:
            shown = head(str(content.get("text/plain", next(iter(content.values())))))
            yield kind, name or shown, shown if before else "", shown if after else ""
            continue
        # The types of one output show the same values: the first that differs tells them all.
        for mime in [*content, *(mime for mime in after[2] if mime not in content)]:
            if found := list(changed_values(name, *(items(output[2].get(mime, "")) for output in (before, after)))):
                yield from ((kind, *values) for values in found)
                break


def outputs(cell: NotebookNode) -> list[tuple[str, str, dict]]:
    """Return kind, name and compared contents by type of a cell's outputs; like nbval, join the pieces of a stream."""
    streams, shown = {}, []
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            streams[output.name] = streams.get(output.name, "") + output.text
            continue
        if output.output_type == "error":
            shown.append(("output", "", {"error": f"{output.ename}: {output.evalue}"}))
            continue
        data = {mime: content for mime, content in output.data.items() if mime not in _NOT_COMPARED}
        first = sorted(data, key=lambda mime: (not mime.endswith("json"), mime != "text/plain", mime))
        content = {mime: data[mime] for mime in first}
        record = next((value for value in data.values() if isinstance(value, dict) and "id" in value), None)
        if record:
            shown.append(("claim", record["id"], content))
        elif any(mime.startswith(_GLUED) for mime in data):
            shown.append(("glue", output.metadata.scrapbook.name, content))
        elif content:
            shown.append(("output", "", content))
    return [("output", "", {name: text}) for name, text in streams.items()] + shown


def items(content, path: str = "") -> list[tuple[str, str, str]]:
    """Cut a content into what pairs it up, its name and its text: the fields of a record, or the lines of a text."""
    if isinstance(content, dict):
        return [item for key, value in sorted(content.items()) for item in items(value, f"{path} {key}".strip())]
    if isinstance(content, list):
        return [item for i, value in enumerate(content) for item in items(value, f"{path}[{i}]")]
    if path:
        return [(path, path, str(content))]
    return [(_NUMBER.sub("#", line), "", line) for line in str(content).split("\n")]


def changed_values(name: str, olds: list, news: list) -> Iterator[tuple]:
    for old, new in paired(olds, news, lambda item: item[0]):
        before, after = (item[2] if item else "" for item in (old, new))
        about = f"{name} {(old or new)[1]}".strip() or (before or after).strip()
        if old is None or new is None or _NUMBER.sub("#", before) != _NUMBER.sub("#", after):
            yield about, before, after
            continue
        for a, b in zip(_NUMBER.findall(before), _NUMBER.findall(after), strict=True):
            if a != b:
                yield about, a, b, units(a, b)


def units(a: str, b: str) -> float:
    """Return how far apart two numbers are, in units of the last digit that either of them shows."""
    x, y = (Decimal(text.replace(",", "").replace("−", "-")) for text in (a, b))
    return float(abs(x - y).scaleb(-min(x.as_tuple().exponent, y.as_tuple().exponent)))


def paired(olds: list, news: list, key: Callable) -> Iterator[tuple]:
    """Pair two lists up, what has equal keys together; what is left over has None beside it."""
    matcher = SequenceMatcher(None, [key(old) for old in olds], [key(new) for new in news], autojunk=False)
    for _, i, i_end, j, j_end in matcher.get_opcodes():
        yield from zip_longest(olds[i:i_end], news[j:j_end])


def head(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def short(text: str) -> str:
    return text if len(text) <= 72 else f"{text[:71]}…"

r"""The notation page holds the chapters to it: a symbol occurs where the page says that it comes first, and not before.

A letter is read off a chapter's mathematics, with its subscript where the page lists that one by itself: :math:`s` and
:math:`s_{\rm out}` are two symbols, :math:`n_l` and :math:`n_0` are one. Letters in subscripts are indices.
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

import srlib

ROOT = Path(__file__).resolve().parent.parent

#: Commands that are letters; others, such as \sum or \le, are not.
GREEK = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi pi varpi rho varrho "
    "sigma varsigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell"
)
ALPHABETS = ("mathbf", "mathcal", "mathbb", "mathfrak", "boldsymbol", "bm")
#: What looks like a letter and is none: differentials, equality in law, the normal law, the exponential function.
NO_LETTERS = (
    r"\\frac\{d\}\{d[^{}]*\}|\\overset\s*\{?d\}?|\\,\s*d(?=\\?[a-zA-Z])[a-z]?|(?<![A-Za-z\\_])d[tsx](?![a-zA-Z])"
    r"|(?<![A-Za-z\\])N(?=\\?\(|\(0)|(?<![A-Za-z\\])e(?=\^)"
)
#: Symbols whose plain letter has a common meaning as well: time, and two numbers.
ONLY_WITH_SUBSCRIPT = ("t", "e", "\\pi")
#: Letters that the page gave up, and the chapters that may have them all the same.
RETIRED = {"\\varrho": set(), "\\gamma": {"generalization"}}


class Symbol(NamedTuple):
    letter: str  # "n", "\\rho" or "\\mathbf y"
    subscript: str  # "", "l", "out" or "l-1"


class Row(NamedTuple):
    symbols: tuple[Symbol, ...]
    names: str
    chapter: str


def mathematics(text: str) -> Iterator[str]:
    """Yield the formulas of a page, without those in code."""
    prose = re.sub(r"(?:\{[\w:]+\})?(?<!`)`[^`\n]+`(?!`)", "", without_code(text))
    for display, inline in re.findall(r"\$\$(.+?)\$\$|(?<![\\$])\$([^$]+?)\$", prose, flags=re.S):
        yield display or inline


def without_code(text: str) -> str:
    """Return a page without its blocks of code; the content of theorems, proofs and notes stays."""
    lines, fences = [], []
    for line in text.splitlines():
        fence = re.match(r"\s*(`{3,}|:{3,})\s*(.*)", line)
        if fence and fences and not fence[2] and fence[1] == fences[-1][0]:
            fences.pop()
        elif fence:
            fences.append((fence[1], not re.match(r"\{(?:prf:\w+|note|admonition|div)\}", fence[2])))
        elif not any(code for _, code in fences):
            lines.append(line)
    assert not fences, f"a block of code is not closed: {fences}"
    return "\n".join(lines)


def symbols(formula: str) -> Iterator[Symbol]:
    """Yield the letters of a formula with their subscripts."""
    formula = re.sub(r"\\(?:operatorname\*?|text\w*|mathrm|label|ref|tag|begin|end)\s*\{[^{}]*\}", " ", formula)
    formula = re.sub(r"\{\\rm\s+(\w+)\}|\\mathrm\{(\w+)\}", r"{\\rm@\1\2}", formula)
    formula = re.sub(NO_LETTERS, " ", formula)
    # An accent, also one with braces, is no part of the letter.
    formula = re.sub(r"\\(?:bar|hat|tilde|dot|ddot|widetilde|widehat|overline)(?![A-Za-z])", " ", formula)
    alphabets = "|".join(ALPHABETS)
    letter = rf"\\(?:{alphabets})\s*(?:\{{\\?\w+\}}|\\?\w)|\\(?:{GREEK.replace(' ', '|')})(?![A-Za-z])|(?<!\\)[A-Za-z]"
    script = r"[_^](?:\{(?:[^{}]|\{[^{}]*\})*\}|\\[A-Za-z]+|[^\s{}\\])"
    for match in re.finditer(rf"(\\rm@\w+)|({letter})((?:'*\s*{script})*)|\\[A-Za-z]+|\\.", formula):
        if not match[2]:
            continue
        name = re.sub(r"[{}]", "", re.sub(rf"\\({alphabets})\s*\{{?\s*", r"\\\1 ", match[2]))
        scripts = re.findall(script, match[3])
        below = [part[1:].strip("{}").removeprefix("\\rm@") for part in scripts if part[0] == "_"]
        yield Symbol(name, "".join(below))
        for part in scripts:
            if part[0] == "^":
                yield from symbols(part[1:])


@cache
def page() -> tuple[Row, ...]:
    """Return the rows of the notation page's tables."""
    lines = (ROOT / "book" / "notation.md").read_text(encoding="utf-8").splitlines()
    rows = []
    for line in lines:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|(?![^$`]*\$(?:[^$]*\$[^$]*\$)*[^$]*$)", line)][1:-1]
        if len(cells) == 4 and cells[0].startswith("$"):
            found = [next(symbols(formula)) for formula in re.findall(r"\$([^$]+)\$", cells[0])]
            rows.append(Row(tuple(found), cells[2], re.search(r"\{doc\}`(\w+)`", cells[3])[1]))
    return tuple(rows)


@cache
def chapters() -> tuple[str, ...]:
    """Return the names of the chapters in the order of the table of contents."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    return tuple(Path(chapter["file"]).name for chapter in toc["parts"][0]["chapters"])


def index(subscript: str) -> bool:
    """Tell whether a subscript runs, or is one value of one that does."""
    return not re.fullmatch(r"\d|[A-Z]|[a-z]{2,}", subscript)


@cache
def first_uses() -> dict[Symbol, str]:
    """Return the chapter where each symbol of the page comes first, by its letter and what a fixed subscript says."""
    place = {name: i for i, name in enumerate(chapters())}
    found: dict[Symbol, str] = {}
    for row in sorted(page(), key=lambda row: place[row.chapter]):
        for symbol in row.symbols:
            found.setdefault(entry(symbol), row.chapter)
    return found


def entry(symbol: Symbol) -> Symbol:
    return Symbol(symbol.letter, "" if index(symbol.subscript) else symbol.subscript)


def used(chapter: str) -> set[Symbol]:
    """Return the entries of the page that a chapter uses."""
    text = (ROOT / "book" / f"{chapter}.md").read_text(encoding="utf-8")
    listed, found = first_uses(), set()
    for symbol in (symbol for formula in mathematics(text) for symbol in symbols(formula)):
        letter = Symbol(symbol.letter, "")
        if entry(symbol) in listed and entry(symbol) != letter:
            found.add(entry(symbol))
        elif letter in listed and (symbol.subscript or symbol.letter not in ONLY_WITH_SUBSCRIPT):
            found.add(letter)
    return found


def retired(chapter: str) -> set[str]:
    text = (ROOT / "book" / f"{chapter}.md").read_text(encoding="utf-8")
    letters = {symbol.letter for formula in mathematics(text) for symbol in symbols(formula)}
    return {letter for letter in letters & RETIRED.keys() if chapter not in RETIRED[letter]}


@pytest.mark.parametrize(
    ("formula", "found"),
    [
        (r"\rho_c+\varrho", ["\\rho c", "\\varrho "]),
        (r"s_{\rm out}^2\,s_l", ["s out", "s l"]),
        (r"\operatorname{rank}W+\text{if }x", ["W ", "x "]),
        (r"e^{-t\vartheta_i}\mathbf e_{t'}", ["t ", "\\vartheta i", "\\mathbf e t'"]),
        (r"\mathbf{y}+\mathcal L_l", ["\\mathbf y ", "\\mathcal L l"]),
        (r"R^W_l+\pi^{(j)}_l", ["R l", "W ", "\\pi l", "j "]),
        (r"\int_0^t f\,dt,\ \frac{d}{dt}x\overset d=N(0,1)", ["t ", "f ", "x "]),
        (r"\bar\sigma_j\hat u", ["\\sigma j", "u "]),
    ],
)
def test_letters_are_read_off_formulas(formula, found):
    assert [f"{symbol.letter} {symbol.subscript}" for symbol in symbols(formula)] == found


def test_code_and_roles_are_no_mathematics():
    text = "```python\nx = '$a$'\n```\n{glue:text}`b$c$` `$d$` $y$\n\n```{prf:proof}\n$$\nz\n$$\n```\n$w$\n"
    assert [formula.strip() for formula in mathematics(text)] == ["y", "z", "w"]


def test_the_page_has_each_symbol_once():
    entries = [entry(symbol) for row in page() for symbol in row.symbols]
    assert len(entries) > 70
    scripted = {"R", "\\epsilon", "\\Theta", "\\beta", "n"}  # with and without a script that runs or stands above
    twice = {symbol.letter for symbol in entries if entries.count(symbol) > 1}
    assert twice <= scripted


@pytest.mark.parametrize("chapter", sorted({row.chapter for row in page()}))
def test_first_uses_are_chapters_and_have_the_symbol(chapter):
    assert chapter in chapters()
    missing = {symbol for symbol, first in first_uses().items() if first == chapter} - used(chapter)
    assert not missing, f"book/notation.md says that {chapter} has them first: {shown(missing)}"


@pytest.mark.parametrize("chapter", chapters())
def test_no_symbol_comes_before_its_first_use(chapter):
    place = {name: i for i, name in enumerate(chapters())}
    early = {symbol for symbol in used(chapter) if place[first_uses()[symbol]] > place[chapter]}
    assert not early, f"book/notation.md gives them another meaning, first used later: {shown(early)}"


@pytest.mark.parametrize("chapter", chapters())
def test_retired_letters_do_not_come_back(chapter):
    assert not retired(chapter)


def shown(found: set[Symbol]) -> str:
    return ", ".join(sorted(f"{s.letter}_{s.subscript}" if s.subscript else s.letter for s in found))


@cache
def words() -> frozenset[str]:
    """Return the names of all arguments and fields of the public functions and classes."""
    found = set()
    for module in pkgutil.walk_packages(srlib.__path__, "srlib."):
        if "plotting" in module.name:
            continue
        for thing in vars(importlib.import_module(module.name)).values():
            if inspect.isfunction(thing) or inspect.isclass(thing):
                members = [thing, *(vars(thing).values() if inspect.isclass(thing) else ())]
                for member in filter(callable, members):
                    try:
                        found |= inspect.signature(member).parameters.keys()
                    except (ValueError, TypeError):
                        continue
    return frozenset(found)


@pytest.mark.parametrize("row", [row for row in page() if row.names], ids=lambda row: row.names)
def test_the_names_exist(row):
    for name in re.findall(r"`([\w.]+)`", row.names):
        if "." in name:
            pkgutil.resolve_name(name if name.startswith("srlib") else f"srlib.{name}")
        else:
            assert name in words() or any(hasattr(part, name) for part in (srlib, srlib.moments, srlib.spectra))

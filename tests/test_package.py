"""What holds for every public module: documentation, ``__all__``, cheap imports, no global state."""

import ast
import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from functools import cached_property
from pathlib import Path

import pytest
import torch
from numpydoc.docscrape import get_doc_object
from numpydoc.validate import get_validation_checks, validate
from raised import constructors, raised

import srlib
from srlib import check, experiments, haar, spectra

ROOT = Path(__file__).resolve().parent.parent
MODULES = {
    name: importlib.import_module(name)
    for package in (srlib, experiments)
    for name in sorted(f"{package.__name__}.{module.name}" for module in pkgutil.iter_modules(package.__path__))
    if not name.rpartition(".")[2].startswith("_")
}
FORBIDDEN = {"matplotlib", "mlxtend", "pandas", "scipy", "seaborn", "sklearn"}
FORBIDDEN |= {"srlib.check", "srlib.experiments", "srlib.plotting"}  # the core is below them

#: The order of the argument: each module imports only from those before it, also inside functions.
ORDER = [
    *("_types", "_validation", "rank", "haar", "spectra", "network", "ensemble", "arccos", "feedforward", "ntk"),
    *("moments", "collapsed", "init", ""),  # the last is srlib itself, the core and no more
    "experiments",
    *(f"experiments.{name}" for name in ("data", "training", "gradient_flow", "expressivity", "bounds")),
    *("check", "plotting"),
]

#: What numpydoc may ask for and this package does without.
NOT_ASKED = {
    "ES01": "where a sentence and a formula say all, there is no extended summary",
    "EX01": "functions have an example, which is tested below; a method's stands with its class",
    "PR04": "types stand in the signature",
    "SA01": "neighbours stand on the same page",
    "SS05": "what a function returns is often named by a noun, such as 'Angles'",
}
CHECKS = get_validation_checks({"all", *NOT_ASKED})

#: Prints, as JSON, what a fresh interpreter looks like before and after the import.
PROBE = """
import json, random, sys
import numpy, torch

def state():
    torchs = torch.get_rng_state().tolist(), torch.is_grad_enabled(), torch.get_num_threads()
    return torchs, str(torch.get_default_dtype()), repr(numpy.random.get_state()), repr(random.getstate())

before, loaded = state(), set(sys.modules)
import srlib
loaded = {name for name in set(sys.modules) - loaded if name.count(".") == name.startswith("srlib.")}
print(json.dumps({"unchanged": state() == before, "loaded": sorted(loaded)}))
"""


@pytest.fixture(scope="module")
def fresh():
    return json.loads(subprocess.run([sys.executable, "-c", PROBE], check=True, capture_output=True, text=True).stdout)


def public(module):
    """Public functions and classes, ``(label, object)``, of a module."""
    named = ((name, getattr(module, name)) for name in module.__all__)
    return [(f"{module.__name__}.{name}", thing) for name, thing in named if callable(thing)]


DOCUMENTED = dict(pair for module in MODULES.values() for pair in public(module))
METHODS = {
    f"{label}.{name}": getattr(thing, name)
    for label, thing in DOCUMENTED.items()
    if inspect.isclass(thing)
    for name, method in vars(thing).items()
    if not name.startswith("_")
    and (isinstance(method, property | cached_property | classmethod | staticmethod) or inspect.isfunction(method))
}


def parameters(thing):
    return [name for name in inspect.signature(thing).parameters if name != "self"]


def is_law(thing):
    return (
        inspect.isfunction(thing)
        and thing.__module__.startswith("srlib.spectra.")
        and parameters(thing) == parameters(spectra.two_level)
    )


def test_import_loads_nothing_that_only_some_functions_need(fresh):
    assert "srlib" in fresh["loaded"]
    assert FORBIDDEN.isdisjoint(fresh["loaded"])


def test_import_touches_no_global_state(fresh):
    assert fresh["unchanged"]


def unit(name):
    """The module or experiment, as ``ORDER`` names it, that a dotted name belongs to."""
    _, *parts = name.split(".")
    return ".".join(parts[:2] if parts[0] == "experiments" else parts[:1])


def imported(source):
    """Modules of the package that a file imports, at its top or anywhere below."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (unit(name) for name in names if name.startswith("srlib."))


def late(importer, source):
    """What a file imports although it does not come before it."""
    return {name for name in imported(source) if name != importer and ORDER.index(name) > ORDER.index(importer)}


@pytest.mark.parametrize("path", sorted((ROOT / "srlib").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_import_only_from_those_before_them(path):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    assert late(unit(name) if name != "srlib" else "", path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    ("importer", "source", "found"),
    [
        ("rank", "def f():\n    from srlib.experiments.training import fit", {"experiments.training"}),
        ("", "from srlib import check, ntk", {"check"}),
        ("experiments.bounds", "import srlib.plotting", {"plotting"}),
        ("feedforward", "from srlib import ensemble, moments", {"moments"}),
    ],
)
def test_an_import_against_the_order_is_found(importer, source, found):
    assert late(importer, source) == found


@pytest.mark.parametrize("name", ["srlib", *MODULES])
def test_all_lists_what_is_public(name):
    module = importlib.import_module(name)
    assert module.__doc__
    assert len(set(module.__all__)) == len(module.__all__)
    assert all(hasattr(module, entry) for entry in module.__all__)
    defined = {
        key
        for key, thing in vars(module).items()
        if not key.startswith("_") and getattr(thing, "__module__", None) == name and callable(thing)
    }
    assert defined <= set(module.__all__)


def test_top_level_names():
    assert {"Ensemble", "Network", "participation_rank", "sample", "stable_rank"} <= set(srlib.__all__)
    assert srlib.stable_rank is srlib.rank.stable_rank
    assert srlib.sample is srlib.ensemble.sample


@pytest.mark.parametrize("label", DOCUMENTED | METHODS)
def test_docstrings_are_those_that_numpydoc_asks_for(label):
    # Arguments and results of a law are those of Law, and what Law describes are the arguments of its call.
    elsewhere = {"PR01", "PR02", "RT01"} if is_law(DOCUMENTED.get(label)) or label == "srlib.spectra.Law" else set()
    assert [error for error in validate(label)["errors"] if error[0] in CHECKS - elsewhere] == []


def documented(thing):
    """Names of the exceptions in a docstring's Raises section."""
    return {name for entry in get_doc_object(thing)["Raises"] for name in entry.type.split(", ")}


@pytest.mark.parametrize("label", DOCUMENTED | METHODS)
def test_every_exception_that_is_raised_is_documented(label):
    thing = (DOCUMENTED | METHODS)[label]
    if inspect.isclass(thing):
        functions = constructors(thing)
    else:
        functions = [getattr(thing, "fget", None) or getattr(thing, "func", None) or thing]
    found = set().union(*(raised(function, DOCUMENTED.values()) for function in functions))
    assert found <= documented(spectra.Law if is_law(thing) else thing)


def test_an_exception_that_a_helper_raises_is_found():
    assert raised(haar.orthogonal, DOCUMENTED.values()) == {"TypeError", "ValueError"}
    assert raised(srlib.Network.from_module, DOCUMENTED.values()) == {"TypeError", "ValueError"}
    assert raised(check.empirical, DOCUMENTED.values()) == {"ValueError"}  # also by functions defined in it


def test_an_exception_of_a_function_that_is_only_returned_is_not():
    def outer():
        def returned():
            raise KeyError

        def called():
            raise TypeError

        called()
        return returned

    assert raised(outer, ()) == {"TypeError"}


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_is_on_the_page_of_the_interface(name):
    shown = dict(re.findall(r"automodule:: (\S+)\n   :members:(.*)", (ROOT / "book" / "api.md").read_text("utf-8")))
    module = MODULES[name]
    public = {entry for entry in module.__all__ if not inspect.ismodule(getattr(module, entry))}
    if public and shown[name]:  # without names, all of them are shown
        assert set(shown[name].strip().split(", ")) == public


@pytest.mark.parametrize("label", [label for label, thing in DOCUMENTED.items() if is_law(thing)])
def test_laws_share_one_signature_and_one_description(label):
    law = DOCUMENTED[label]
    assert "those of :class:`Law`" in inspect.getdoc(law)
    assert str(inspect.signature(law)) == str(inspect.signature(spectra.two_level))
    assert {"Parameters", "Returns", "Raises"} <= {title for title, text in get_doc_object(spectra.Law).items() if text}


@pytest.mark.parametrize(
    "label", [label for label, thing in DOCUMENTED.items() if inspect.isfunction(thing) and "plotting" not in label]
)
def test_functions_have_an_example(label):
    assert ">>>" in "".join(get_doc_object(DOCUMENTED[label])["Examples"])


def test_a_check_leaves_torchs_generator_alone(generator):
    before = torch.get_rng_state()
    check.sampled("F2.a", "t", torch.randn(100, generator=generator), 0.1)
    assert torch.equal(torch.get_rng_state(), before)

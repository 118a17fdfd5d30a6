"""What holds for every public module: documentation, ``__all__``, cheap imports, no global state."""

import importlib
import inspect
import json
import pkgutil
import subprocess
import sys

import pytest
import torch

import srlib
from srlib import check, experiments, feedforward, haar, moments, spectra

MODULES = sorted(
    f"{package.__name__}.{module.name}"
    for package in (srlib, experiments)
    for module in pkgutil.iter_modules(package.__path__)
    if not module.name.startswith("_")
)
FORBIDDEN = {"matplotlib", "mlxtend", "pandas", "scipy", "seaborn", "sklearn"}
FORBIDDEN |= {"srlib.check", "srlib.experiments", "srlib.plotting"}  # the core is below them

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


DOCUMENTED = dict(pair for name in MODULES for pair in public(importlib.import_module(name)))
METHODS = {
    f"{label}.{name}": method
    for label, thing in DOCUMENTED.items()
    if inspect.isclass(thing)
    for name, method in vars(thing).items()
    if not name.startswith("_") and isinstance(method, property) | inspect.isfunction(method)
}


def sections(thing):
    """Sections of a numpydoc docstring: title to text."""
    lines = inspect.getdoc(thing).splitlines()
    found, title = {"": []}, ""
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if below and set(below) == {"-"}:
            title = line
        found.setdefault(title, []).append(line)
    return {title: "\n".join(text[2:] if title else text) for title, text in found.items()}


def parameters(thing):
    return [name for name in inspect.signature(thing).parameters if name != "self"]


def described(thing):
    """Names that a docstring's Parameters section describes."""
    lines = sections(thing).get("Parameters", "").splitlines()
    return [name.strip() for line in lines if line and not line.startswith(" ") for name in line.split(",")]


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
def test_docstring_starts_with_a_sentence(label):
    summary = sections((DOCUMENTED | METHODS)[label])[""].split("\n\n")[0]
    assert summary.rstrip().endswith((".", ":", ")"))
    assert summary[0].isupper() or summary.startswith(":math:")


@pytest.mark.parametrize("label", [label for label, thing in DOCUMENTED.items() if not is_law(thing)])
def test_docstring_describes_every_parameter_and_the_result(label):
    thing = DOCUMENTED[label]
    if label == "srlib.spectra.Law":
        wanted = parameters(spectra.two_level)
    else:
        wanted = parameters(thing)
    assert described(thing) == wanted
    if inspect.isfunction(thing) and "return" in inspect.get_annotations(thing):
        assert bool({"Returns", "Yields"} & sections(thing).keys()) == (
            inspect.get_annotations(thing)["return"] is not None
        )


@pytest.mark.parametrize("label", [label for label, thing in DOCUMENTED.items() if is_law(thing)])
def test_laws_share_one_signature_and_one_description(label):
    law = DOCUMENTED[label]
    assert "those of :class:`Law`" in sections(law)[""]
    assert "Examples" in sections(law)
    assert str(inspect.signature(law)) == str(inspect.signature(spectra.two_level))
    assert {"Parameters", "Returns", "Raises"} <= sections(spectra.Law).keys()


@pytest.mark.parametrize(
    "label", [label for label, thing in DOCUMENTED.items() if inspect.isfunction(thing) and "plotting" not in label]
)
def test_functions_have_an_example(label):
    assert ">>>" in sections(DOCUMENTED[label]).get("Examples", "")


ENSEMBLE = srlib.Ensemble((4, 5, 3), 2.5, law=spectra.uniform_sphere)


@pytest.mark.parametrize(
    "call",
    [
        lambda g: haar.orthogonal(4, generator=g),
        *(
            lambda g, law=law: law((4, 4), 2.5, batch=2, generator=g)
            for law in (spectra.two_level, spectra.uniform_sphere)
        ),
        lambda g: srlib.sample((4, 5), 2.5, law=spectra.uniform_sphere, generator=g),
        lambda g: feedforward.forward(ENSEMBLE.sample(2, generator=g), torch.ones(1, 4, dtype=torch.float64)),
        lambda g: moments.feature_norm(ENSEMBLE),
        lambda g: check.sampled("F2.a", "t", torch.randn(100, generator=g), 0.1),
    ],
)
def test_an_explicit_generator_is_the_only_source_of_randomness(call, generator):
    before = torch.get_rng_state()
    call(generator)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "draw",
    [
        lambda **o: haar.orthogonal(4, **o),
        lambda **o: spectra.uniform_sphere((4, 4), 2.5, **o),
        lambda **o: srlib.sample((4, 5), 2.5, **o),
        lambda **o: ENSEMBLE.sample(2, **o).weights[1],
    ],
)
def test_without_a_generator_torchs_default_one_is_used(draw):
    with torch.random.fork_rng():
        first, second = (torch.manual_seed(5) and draw() for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(first, draw(generator=torch.Generator().manual_seed(5)))

"""What holds for every public function: memory layouts, empty batches, numbers that are none, and dtypes."""

import inspect
import math
import sys
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from interface import EXAMPLES, Given, function, parts, public, tensors
from torch import Tensor

every_example = pytest.mark.parametrize("label", EXAMPLES)


def starting(*names: str) -> set[str]:
    return {label for label in EXAMPLES if label.startswith(names)}


#: Computed in float64 and returned in it, whatever the dtype of the arguments.
DOUBLE = starting("moments.", "spectra.coulomb.density")
DOUBLE |= starting(*(f"experiments.{name}." for name in ("bounds", "expressivity", "gradient_flow")))
DOUBLE -= starting("experiments.bounds.compression.random_projection", "experiments.bounds.compression.truncate")

#: Pure functions of torch's, as exact as the dtype that they are given.
PURE = starting("arccos.", "experiments.training.losses.", "experiments.training.rules.")
PURE |= starting(*(f"feedforward.{name}" for name in ("activations", "gate", "propagate", "read")))

#: Tensors, by their place in an example, that its result does not depend on.
UNREAD = {
    "init.module_": {0: "is overwritten", 1: "is overwritten", 2: "is overwritten", 3: "is overwritten"},
    "init.module_, a batch": dict.fromkeys(range(8), "is overwritten"),
    "init.stable_rank_": {0: "is overwritten"},
    "feedforward.gate": {0: "counts as closed; the pre-activation that the gate multiplies stays no number"},
    "feedforward.jacobian": {3: "the readout"},
    "feedforward.propagate": {3: "the readout"},
    "feedforward.read": dict.fromkeys([0, 1, 2, 4, 5, 6], "a hidden layer"),
    "ntk.drawn.empirical": {7: "the readout's bias, whose derivative is 1"},
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)


def run(label: str, **options) -> object:
    return EXAMPLES[label](Given(generator=seeded(), **options))


# The table


def kinds(value: object) -> set[type]:
    """Classes of a result and of what it is made of."""
    found = set(type(value).__mro__)
    inner = value if isinstance(value, tuple | list) else getattr(value, "__dict__", {}).values()
    return found.union(*(kinds(item) for item in inner if not isinstance(item, Tensor)))


def test_every_public_function_has_an_example():
    called = {label.partition(",")[0] for label in EXAMPLES}
    assert called <= set(public())
    returned = set().union(*(kinds(run(label)) for label in EXAMPLES))
    missing = {label for label, thing in public().items() if label not in called and thing not in returned}
    described = {
        "spectra.law.Law",  # what a law may be called with
        "spectra.law.Levels",  # what a law says of itself
        "experiments.expressivity.pieces.Pieces",  # what kinks and lengths go through
        "experiments.gradient_flow.least_squares.LeastSquares",  # abstract
    }
    assert missing == described


@every_example
def test_examples_call_what_they_are_named_after(label):
    thing, seen = function(label), set()
    code = inspect.unwrap(thing.__init__ if inspect.isclass(thing) else thing).__code__
    sys.setprofile(lambda frame, event, argument: seen.add(frame.f_code))
    try:
        run(label)
    finally:
        sys.setprofile(None)
    assert code in seen


@every_example
def test_no_result_of_an_example_is_empty_or_no_number(label):
    """Or nothing below would be compared."""
    found = dict(parts(run(label)))
    assert found
    for value in found.values():
        value = torch.as_tensor(value)
        assert value.numel()
        assert not value.isnan().all()


# Layouts


def gaps(i, value):
    """The same numbers with something else between any two of them."""
    return torch.stack([value, torch.full_like(value, math.nan)], -1)[..., 0] if isinstance(value, Tensor) else value


def transposed(i, value):
    return value.mT.contiguous().mT if isinstance(value, Tensor) and value.ndim > 1 else value


def same(found: dict[str, object], expected: dict[str, object], *, rtol: float, atol: float = 0.0) -> None:
    """Assert that two results agree, up to a share of the largest number of each part."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        value, other = (torch.as_tensor(v) for v in (value, found[name]))
        assert other.shape == value.shape, name
        finite = value.double()[value.double().isfinite()].abs()
        size = finite.max().item() if finite.numel() else 0.0
        torch.testing.assert_close(other, value, rtol=rtol, atol=max(rtol * size, atol), equal_nan=True)


@pytest.mark.parametrize("layout", [gaps, transposed])
@every_example
def test_the_layout_in_memory_does_not_matter(label, layout):
    same(dict(parts(run(label, plant=layout))), dict(parts(run(label))), rtol=1e-11)


# Nothing


@pytest.mark.parametrize("size", ["batch", "count"])
@every_example
def test_nothing_is_a_batch_too_or_is_refused(label, size):
    """With none of them every result has the shape that it has with some, or one error says what is admissible."""
    some = tensors(run(label))
    try:
        none = tensors(run(label, **{size: 0}))
    except (TypeError, ValueError) as error:
        if "got" not in str(error):
            raise
        return
    unusual = {"batch": (11, 22), "count": (13,)}[size]
    for name, value in some.items():
        if "layers." in name and "kinks" in label:
            continue  # one row a kink
        assert none[name].shape == tuple(0 if n in unusual else n for n in value.shape), name
        assert not none[name].isnan().any()


# Numbers that are none


def planted(at: int, bad: float) -> Callable:
    """Replace a number, or the last one of a tensor, which belongs to the last member of a batch."""

    def plant(i, value):
        if i != at:
            return value
        if not isinstance(value, Tensor):
            return bad
        value = value.clone()
        value.view(-1)[-1] = bad
        return value

    return plant


def broken(label: str, at: int, bad: float) -> dict[str, object] | None:
    """What an example returns with a bad number at one place, or nothing if it refuses that."""
    try:
        return dict(parts(run(label, plant=planted(at, bad))))
    except (TypeError, ValueError) as error:
        if "got" not in str(error):
            raise


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@every_example
def test_what_is_no_number_is_refused_or_comes_out_as_none(label, bad):
    """And it comes out of no other member of its batch."""
    shapes = []
    expected = dict(parts(run(label, plant=lambda i, value: shapes.append(getattr(value, "shape", ())) or value)))
    for at, shape in enumerate(shapes):
        found = broken(label, at, bad)
        if found is None or at in UNREAD.get(label, ()):
            continue
        spoilt = [not torch.as_tensor(value).isfinite().all() for value in found.values()]
        outside = label == "spectra.coulomb.density" and math.isinf(bad)  # the density is 0 there
        assert any(spoilt) or outside, at
        for name, value in found.items() if shape[:1] == (11,) else ():
            if isinstance(value, Tensor) and value.shape[:1] == (11,) == expected[name].shape[:1]:
                torch.testing.assert_close(value[:-1], expected[name][:-1], rtol=1e-12, atol=0, equal_nan=True)


# Dtypes


def floating(value: object, **options: bool) -> dict[str, Tensor]:
    return {name: leaf for name, leaf in tensors(value, **options).items() if leaf.dtype.is_floating_point}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@every_example
def test_dtype_of_the_result(label, dtype):
    wanted = torch.float64 if label in DOUBLE else dtype
    assert {leaf.dtype for leaf in floating(run(label, dtype=dtype)).values()} <= {wanted}


@pytest.mark.parametrize("label", sorted(DOUBLE))
def test_what_is_computed_in_double_precision_is_not_less_exact_in_single(label):
    """The numbers of an example are those of half precision: every dtype holds them."""
    single, double = (dict(parts(run(label, dtype=dtype))) for dtype in (torch.float32, torch.float64))
    same(single, double, rtol=1e-14)


def draws(label: str) -> bool:
    return "generator" in inspect.signature(function(label)).parameters


@pytest.mark.parametrize("label", [label for label in EXAMPLES if label not in DOUBLE and not draws(label)])
def test_single_precision_is_rounded_double_precision(label):
    single, double = run(label, dtype=torch.float32), run(label, dtype=torch.float64)
    wanted = {name: leaf.float() for name, leaf in floating(double).items()}
    same(floating(single), wanted, rtol=2e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@every_example
def test_half_precision_is_that_of_single_rounded_once_or_is_refused(label, dtype):
    if label in PURE:
        assert {leaf.dtype for leaf in floating(run(label, dtype=dtype)).values()} == {dtype}
        return
    halves = lambda i, value: value.to(dtype).to(value.dtype) if isinstance(value, Tensor) else value  # noqa: E731
    try:
        half = floating(run(label, dtype=dtype), derived=False)
    except TypeError as error:
        if "got" not in str(error):
            raise
        return
    single = floating(run(label, dtype=torch.float32, plant=halves), derived=False)
    assert half.keys() == single.keys()
    for name, value in half.items():
        if label in DOUBLE:
            torch.testing.assert_close(value, single[name], rtol=1e-14, atol=0)
        elif value.dtype == dtype:  # the losses of training stay in single precision
            torch.testing.assert_close(value, single[name].to(dtype), rtol=0, atol=0, equal_nan=True)


# Any sizes


@settings(max_examples=8)
@given(
    widths=st.lists(st.integers(2, 8), min_size=4, max_size=4, unique=True).map(tuple),
    batch=st.integers(1, 3),
    count=st.integers(5, 7),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    slope=st.sampled_from([0.0, 0.3, -0.5, 1.0]),
    seed=st.integers(0, 99),
)
@every_example
def test_any_sizes(label, widths, batch, count, dtype, slope, seed):
    """Numbers of the dtype that is documented, as many for each network as before, in every layout the same."""
    if min(widths) < 3:
        widths = tuple(n + 1 for n in widths)
    options = {"widths": widths, "batch": batch, "count": count, "dtype": dtype, "slope": slope, "seed": seed}
    found, other = (dict(parts(run(label, **options, **more))) for more in ({}, {"plant": gaps}))
    wanted = torch.float64 if label in DOUBLE else dtype
    for value in found.values():
        if isinstance(value, Tensor) and value.dtype.is_floating_point:
            assert value.dtype == wanted
            assert not value.isnan().any()
    if "kinks" not in label:
        same(other, found, rtol=1e-4 if dtype == torch.float32 else 1e-9)

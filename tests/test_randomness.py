"""Every draw comes from the generator that it is given, and from no other source; law by law, function by function."""

import functools
import inspect
import math

import pytest
import torch
from interface import EXAMPLES, Given, function, parts, tensors

from srlib import Ensemble, moments, spectra
from srlib.spectra import conditioned

LAWS = [getattr(spectra, name) for name in spectra.__all__ if hasattr(getattr(spectra, name), "levels")]
DRAWN = [spectra.uniform_sphere, spectra.conditioned_gaussian]


def options(label: str) -> set[str]:
    return set(inspect.signature(function(label)).parameters)


#: Whatever takes a generator, but for laws that say that they do not draw.
DRAWS = [label for label in EXAMPLES if "generator" in options(label) and not hasattr(function(label), "levels")]
#: And whatever draws the spectra of a law.
OF_LAWS = [label for label in DRAWS if "law" in options(label) or "ensemble" in label or label.startswith("collapsed.")]

every_draw = pytest.mark.parametrize("label", DRAWS)


def seeded(seed=0):
    return torch.Generator("cpu").manual_seed(seed)


def drawn(label, seed=0, **more):
    """Tensors that an example draws, but for those that are 0 or 1 in any draw."""
    found = tensors(EXAMPLES[label](Given(generator=seeded(seed), **more)), derived=False)
    return {name: leaf for name, leaf in found.items() if leaf.dtype.is_floating_point and leaf.any()}


def alike(one, other):
    assert one.keys() == other.keys()
    return [torch.equal(one[name], other[name]) for name in one]


def test_all_that_draws_is_found():
    assert {"haar.orthogonal", "haar.rotate", "init.module_, a batch", "spectra.sphere.uniform_sphere"} <= set(DRAWS)
    assert {"ensemble.sample", "ensemble.Ensemble.sample", "collapsed.frames.features", "init.module_"} <= set(OF_LAWS)
    assert {law.__name__ for law in LAWS} == {"two_level", "projector", "power_law", "coulomb_gas"}


@every_draw
def test_the_generator_is_the_only_source(label):
    """Whatever torch's own holds, the same draw; it stays as it was, and the given one moves on."""
    found = []
    with torch.random.fork_rng():
        for seed in (1, 2):
            torch.manual_seed(seed)
            generator = seeded()
            before, default = generator.get_state(), torch.get_rng_state()
            EXAMPLES[label](Given(generator=generator))
            assert torch.equal(torch.get_rng_state(), default)
            assert not torch.equal(generator.get_state(), before)
            found.append(drawn(label))
    assert all(alike(*found))


@every_draw
def test_another_seed_is_another_draw(label):
    """Every tensor of the result, all of its draws."""
    one, other = drawn(label), drawn(label, 1)
    assert one
    assert not any(alike(one, other))


@every_draw
def test_successive_draws_differ(label):
    generator = seeded()
    one, other = (tensors(EXAMPLES[label](Given(generator=generator)), derived=False) for _ in range(2))
    assert not all(alike(one, other))


@every_draw
def test_without_a_generator_torchs_own_is_used(label):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = tensors(EXAMPLES[label](Given()), derived=False)
        state = torch.get_rng_state()
    expected = EXAMPLES[label](Given(generator=(own := seeded())))
    assert all(alike(found, tensors(expected, derived=False)))
    assert torch.equal(own.get_state(), state)


@pytest.mark.parametrize("law", DRAWN)
@pytest.mark.parametrize("label", OF_LAWS)
def test_spectra_are_drawn_from_it_too(label, law, monkeypatch):
    monkeypatch.setattr(conditioned, "SWEEPS", 4)
    found = []
    with torch.random.fork_rng():
        for seed in (1, 2):
            torch.manual_seed(seed)
            default = torch.get_rng_state()
            found.append(drawn(label, law=law))
            assert torch.equal(torch.get_rng_state(), default)
    assert all(alike(*found))
    assert not any(alike(found[0], drawn(label, 1, law=law)))


@pytest.mark.parametrize("law", LAWS)
def test_laws_that_do_not_draw_leave_it_alone(law):
    generator = seeded()
    before = generator.get_state()
    law((6, 5), 2.5, batch=3, generator=generator)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("law", [spectra.two_level, functools.partial(spectra.uniform_sphere)])  # of which none is kept
@pytest.mark.parametrize("label", EXAMPLES)
def test_nothing_else_draws(label, law, monkeypatch):
    """Numerical averages have a generator of their own."""
    if label.endswith("mean_gain") and not hasattr(law, "levels"):
        return
    monkeypatch.setattr(moments.growth, "_PRECISION", 0.03)
    monkeypatch.setattr(spectra.law, "PRECISION", 0.03)
    given = Given(generator=seeded(), law=law)
    state, default = given.generator.get_state(), torch.get_rng_state()
    EXAMPLES[label](given)
    assert torch.equal(torch.get_rng_state(), default)
    assert label in DRAWS or torch.equal(given.generator.get_state(), state)


# Standard errors of numerical averages


def coin(seed: int, probability: float = 0.25):
    """A law that is one spectrum or another, from a stream of its own: an average over it is one of many."""
    own = torch.Generator().manual_seed(seed)

    def law(shape, stable_rank, *, batch=(), generator=None, dtype=None, device=None):
        low, high = (
            end(shape, stable_rank, batch=batch, dtype=dtype) for end in (spectra.two_level, spectra.projector)
        )
        return torch.where(torch.rand(batch, 1, generator=own) < probability, high, low)

    return law


def honest(values, errors, truth):
    """Assert that deviations have the size that their standard errors say: 60 of them, five standard deviations."""
    deviations = (torch.tensor(values, dtype=torch.float64) - truth) / torch.tensor(errors, dtype=torch.float64)
    assert 1 - 5 / math.sqrt(2 * 60) < deviations.square().mean().sqrt() < 1 + 5 / math.sqrt(2 * 60)
    assert abs(deviations.mean()) < 5 / math.sqrt(60)


def test_quartic_traces_have_the_stated_error():
    found = [Ensemble((7, 9), 4, law=coin(seed)).quartic_traces() for seed in range(60)]
    ends = [law.levels((9, 7), 4) for law in (spectra.two_level, spectra.projector)]
    low, high = ((values**4 @ counts.double()).item() for values, counts in ends)
    values, errors = ([column[0] for column in part] for part in zip(*found, strict=True))
    honest(values, errors, 0.75 * low + 0.25 * high)
    assert all(0.5e-3 < error / value <= 1e-3 for value, error in zip(values, errors, strict=True))


def test_log_growths_have_the_stated_errors(monkeypatch):
    monkeypatch.setattr(moments.growth, "_PRECISION", 1e-2)
    found = [moments.log_growth(Ensemble((7, 9), 2, law=coin(seed))) for seed in range(60)]
    low, high = (moments.log_growth(Ensemble((7, 9), 2, law=law)) for law in (spectra.two_level, spectra.projector))
    mean = 0.75 * low.mean + 0.25 * high.mean
    variance = 0.75 * low.variance + 0.25 * high.variance + 0.1875 * (low.mean - high.mean) ** 2
    honest([f.mean.item() for f in found], [f.mean_error.item() for f in found], mean.item())
    honest([f.variance.item() for f in found], [f.variance_error.item() for f in found], variance.item())


@pytest.mark.parametrize("law", DRAWN)
def test_averages_agree_with_a_longer_run(law, monkeypatch):
    """Of the same law from another stream, ten times as long: by five of both standard errors."""
    monkeypatch.setattr(conditioned, "SWEEPS", 32)
    monkeypatch.setattr(spectra.law, "PRECISION", 1e-2)
    shape, r = (9, 5), 2.5
    average = spectra.law._mean_quartic_trace.__wrapped__(law, shape, r)
    long = law(shape, r, batch=4_000, generator=seeded(7), dtype=torch.float64).pow(4).sum(-1)
    assert abs(average.value - long.mean().item()) < 5 * math.hypot(average.error, long.std().item() / math.sqrt(4_000))
    assert 0 < average.error <= 1e-2 * average.value
    assert dict(parts(average)) == dict(parts(spectra.law._mean_quartic_trace.__wrapped__(law, shape, r)))

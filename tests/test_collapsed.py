import functools
import math
from dataclasses import replace

import pytest
import torch
from scipy import stats

from srlib import Ensemble, check, feedforward, moments, spectra
from srlib.check.same_law import same_law
from srlib.collapsed import simulate
from srlib.collapsed._draws import blocks, chi2
from srlib.moments.kernel import ntk

MIXED = Ensemble((12, 20, 24, 16), (5, 7.3, 3), (1.3, 1.7, 2.0), readout_norm=1.5)
NARROW = Ensemble((3, 1, 2, 4, 1), (1, 1, 1.5, 1), 1.3)
N = 6000


def shuffled_two_level(shape, stable_rank, *, batch=(), generator=None, dtype=None, device=None):
    """A two-level law that draws, so that equal singular values aren't grouped."""
    torch.rand(1, generator=generator, device=device)
    return spectra.two_level(shape, stable_rank, batch=batch, dtype=dtype, device=device)


#: Ensemble, and the one whose dense networks have the law of its simulation.
CASES = {
    "ReLU": MIXED,
    "leaky, projector": replace(MIXED, negative_slope=0.3, law=spectra.projector),
    "negative slope, power law": replace(MIXED, negative_slope=-0.5, law=spectra.power_law),
    "random spectrum": replace(MIXED, law=spectra.uniform_sphere),
    "linear": replace(MIXED, negative_slope=1),
    "narrow": NARROW,
    "narrow, leaky": replace(NARROW, negative_slope=0.3),
    "not grouped": replace(MIXED, law=shuffled_two_level),
}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def rows(feature, backprop, output):
    """All quantities of the statement, one row a network."""
    f = output.unsqueeze(-1)
    return torch.cat([feature[:, 1:], backprop, f, f**2, feature[:, :-1] * backprop], -1)


@functools.cache
def dense(name):
    """Naive twin: dense networks and explicit backpropagation."""
    network = CASES[name].sample(N, generator=seeded(0))
    x = torch.eye(CASES[name].widths[0], dtype=torch.float64)[:1]
    run = feedforward.forward(network, x)
    vector, norms = network.readout, []
    for gate, W in zip(reversed(run.gates), reversed(network.weights), strict=True):
        delta = gate[:, 0] * vector
        norms.insert(0, delta.square().sum(-1))
        vector = (W.mT @ delta.unsqueeze(-1)).squeeze(-1)
    feature = torch.stack([h[:, 0].square().sum(-1) for h in run.post], -1)
    return rows(feature, torch.stack(norms, -1), run.output[:, 0])


def simulated(ensemble, count, seed=1, **options):
    return rows_of(simulate(ensemble, count, generator=seeded(seed), **options))


def rows_of(draw):
    return rows(draw.feature_norm2, draw.backprop_norm2, draw.output)


@pytest.mark.parametrize("name", CASES)
def test_same_law_as_dense_networks(name):
    claim = same_law("C1.a", "t", simulated(CASES[name], 12_000), dense(name), resolve=0.2)
    assert claim, claim


@pytest.mark.parametrize(
    "wrong",
    [
        replace(MIXED, law=spectra.projector),
        replace(MIXED, negative_slope=0.3),
        replace(MIXED, readout_norm=1.6),
        replace(MIXED, stable_ranks=(5, 7.3, 3.2)),
    ],
    ids=["spectrum", "slope", "readout", "stable rank"],
)
def test_other_ensembles_are_noticed(wrong):
    assert not same_law("C1.a", "t", simulated(wrong, 40_000), dense("ReLU"), resolve=0.2)


@pytest.mark.parametrize("part", [slice(3, 6), slice(6, 8)], ids=["backprop", "output"])
def test_dependence_is_noticed(part):
    shuffled = simulated(MIXED, 40_000)
    shuffled[:, part] = shuffled[:, part].roll(1, 0)
    assert not same_law("C1.a", "t", shuffled, dense("ReLU"), resolve=0.2)


@pytest.mark.parametrize("name", ["ReLU", "leaky, projector"])
def test_moments(name):
    ensemble = CASES[name]
    draw = simulate(ensemble, 400_000, generator=seeded(2))
    feature, kernel, theta = moments.feature_norm(ensemble), ntk(ensemble), draw.ntk_layers
    i, j = torch.triu_indices(4, 4)
    for samples, prediction, noticed in (
        (draw.feature_norm2, feature.mean, 0.02),
        (draw.feature_norm2**2, feature.second, 0.05),
        (theta, kernel.layer_means, 0.02),
        (theta[:, i] * theta[:, j], kernel.second[i, j], 0.05),
    ):
        claim = check.sampled("C1.a", "t", samples, prediction, resolve=0.2)
        assert claim, claim
        assert claim.noticeable <= noticed


def test_fields():
    draw = simulate(MIXED, 7, generator=seeded(0))
    shapes = [draw.feature_norm2.shape, draw.backprop_norm2.shape, draw.output.shape, draw.ntk_layers.shape]
    assert shapes == [(7, 4), (7, 3), (7,), (7, 4)]
    assert (draw.feature_norm2[:, 0] == 1).all()
    torch.testing.assert_close(draw.ntk_layers[:, :3], draw.feature_norm2[:, :3] * draw.backprop_norm2)
    assert torch.equal(draw.ntk_layers[:, 3], draw.feature_norm2[:, 3])
    assert draw.output.dtype == torch.float64
    assert simulate(MIXED, 7, dtype=torch.float16).output.dtype == torch.float16


def test_dead_networks_are_zero_without_nan():
    draw = simulate(NARROW, 4000, generator=seeded(0))
    dead = draw.feature_norm2[:, -1] == 0
    alive = 1 / 2 * 3 / 4 * 15 / 16 * 1 / 2
    assert dead.double().mean().item() == pytest.approx(1 - alive, abs=0.03)
    assert (draw.output[dead] == 0).all()
    assert (draw.backprop_norm2[dead] == 0).all()
    assert (draw.ntk_layers[dead] == 0).all()
    assert (draw.log_backprop_norm2[dead] == -math.inf).all()
    assert (draw.backprop_norm2[~dead] > 0).all()
    for values in (draw.feature_norm2, draw.backprop_norm2, draw.output, draw.ntk_layers):
        assert torch.isfinite(values).all()


def test_linear_orthogonal_layers_keep_every_norm():
    draw = simulate(Ensemble((30,) * 40, 30, negative_slope=1, readout_norm=2), 50, generator=seeded(0))
    assert draw.log_feature_norm2.abs().max() < 1e-11
    assert (draw.log_backprop_norm2 - math.log(4)).abs().max() < 1e-11


def test_one_neuron_a_layer():
    draw = simulate(Ensemble((1,) * 5, 1, 3, negative_slope=1, readout_norm=2), 50, generator=seeded(0))
    torch.testing.assert_close(draw.output.abs(), torch.full_like(draw.output, 2 * 3**4))
    torch.testing.assert_close(draw.backprop_norm2, 4 * 9.0 ** torch.arange(3, -1, -1).double().expand(50, 4))


def test_great_width_and_depth():
    draw = simulate(Ensemble((100_000,) * 301, 1000, 0.01), 10, generator=seeded(0))
    for logs in (draw.log_feature_norm2, draw.log_backprop_norm2):
        assert torch.isfinite(logs).all()
    assert draw.log_feature_norm2[:, -1].max() < -2000


@pytest.mark.parametrize("law", [spectra.two_level, spectra.uniform_sphere])
def test_blocks_are_calls_in_turn(law, monkeypatch):
    largest = 20 if law == spectra.uniform_sphere else 3  # singular values of a layer, or layers
    monkeypatch.setattr("srlib.collapsed._draws.BLOCK", 20 * largest)
    ensemble, g = replace(MIXED, law=law), seeded(1)
    parts = torch.cat([rows_of(simulate(ensemble, size, generator=g)) for size in (20, 20, 13)])
    assert torch.equal(simulated(ensemble, 53), parts)
    assert len(parts.unique(dim=0)) == 53


def test_the_blocks_of_the_stream():
    """Another rule would be another stream: a change of what a seed gives."""
    assert blocks(10_000_000, 3) == [1_398_101] * 7 + [213_293]
    assert blocks(3, 2**23) == [1, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("degrees", [1, 2, 3, 10, 101, 100_000])
def test_chi2_has_its_law(degrees, dtype):
    drawn = chi2(torch.full((200, 1_000), degrees, dtype=dtype), seeded(1))
    assert drawn.dtype == dtype
    drawn = drawn.flatten().double().numpy()
    assert stats.kstest(drawn, stats.chi2(degrees).cdf).pvalue > 1e-3
    scale = math.sqrt(2 * degrees)
    for wrong in (stats.chi2(degrees, loc=0.02 * scale), stats.chi2(degrees, scale=1 + 0.02 * scale / degrees)):
        assert stats.kstest(drawn, wrong.cdf).pvalue < 1e-3


def test_chi2_of_mixed_degrees():
    degrees = torch.tensor([0.0, 1.0, 7.0, 0.0, 4000.0, 1.0], dtype=torch.float64)
    drawn = chi2(degrees.expand(20_000, -1), seeded(1))
    assert (drawn[:, degrees == 0] == 0).all()
    for column, nu in zip(drawn[:, degrees > 0].T, degrees[degrees > 0], strict=True):
        assert stats.kstest(column.numpy(), stats.chi2(nu.item()).cdf).pvalue > 1e-3
    upper = torch.corrcoef(drawn[:, degrees > 0].T).triu(1)
    assert upper.abs().max() < 5 / math.sqrt(20_000)
    assert chi2(degrees[:0], seeded(0)).shape == (0,)


def test_chi2_draws_from_its_generator_alone():
    degrees = torch.full((50,), 5.0, dtype=torch.float64)
    before = torch.get_rng_state()
    first, again, other = (chi2(degrees, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.isclose(first, other).any()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_normal_number_of_zero_is_no_vector_without_direction(monkeypatch):
    monkeypatch.setattr(torch, "randn", lambda *size, generator, **options: torch.zeros(*size, **options))
    draw = simulate(Ensemble((1, 1, 1), 1, negative_slope=1), 3, generator=seeded(0), dtype=torch.float32)
    assert (draw.output.abs() == 1).all()
    assert (draw.ntk_layers == 1).all()


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (TypeError, "ensemble must be an srlib.Ensemble, got int", lambda g: simulate(3, 5, generator=g)),
        (TypeError, "samples must be an integer, got 2.5", lambda g: simulate(MIXED, 2.5, generator=g)),
        (ValueError, "samples must be at least 1, got 0", lambda g: simulate(MIXED, 0, generator=g)),
        (TypeError, "torch.int64", lambda g: simulate(MIXED, 5, generator=g, dtype=torch.int64)),
    ],
)
def test_bad_arguments(error, message, call, rejects):
    rejects(error, message, call)

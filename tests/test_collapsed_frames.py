import functools
import math
from dataclasses import replace

import pytest
import torch

from srlib import Ensemble, arccos, check, feedforward, spectra
from srlib.check.same_law import same_law
from srlib.collapsed import Features, features, simulate

MIXED = Ensemble((12, 20, 24, 16), (5, 7.3, 3), (1.3, 1.7, 2.0), readout_norm=1.5)
NARROW = Ensemble((3, 1, 2, 4, 1), (1, 1, 1.5, 1), 1.3)
N = 4000


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def generic(count, width):
    return torch.randn(count, width, generator=seeded(9), dtype=torch.float64)


def special(width):
    """Two independent inputs, one of them twice, its opposite, zero."""
    x, y = generic(2, width)
    return torch.stack([x, y, x, -x, torch.zeros_like(x)])


def undecided_two_level(shape, stable_rank, *, batch=(), generator=None, dtype=None, device=None):
    """A two-level law that draws, so that equal singular values aren't grouped."""
    torch.rand(1, generator=generator, device=device)
    return spectra.two_level(shape, stable_rank, batch=batch, dtype=dtype, device=device)


#: Ensemble, and the inputs.
CASES = {
    "ReLU": (MIXED, generic(3, 12)),
    "leaky, projector": (replace(MIXED, negative_slope=0.3, law=spectra.projector), generic(3, 12)),
    "negative slope, power law": (replace(MIXED, negative_slope=-0.5, law=spectra.power_law), generic(2, 12)),
    "random spectrum": (replace(MIXED, law=spectra.uniform_sphere), generic(3, 12)),
    "linear": (replace(MIXED, negative_slope=1), generic(2, 12)),
    "special inputs": (MIXED, special(12)),
    "more inputs than neurons": (Ensemble((4, 6, 3, 9), (2.5, 3, 1.5)), generic(5, 4)),
    "narrow": (NARROW, special(3)),
    "narrow, leaky": (replace(NARROW, negative_slope=0.3), generic(4, 3)),
    "not grouped": (replace(MIXED, law=undecided_two_level), generic(2, 12)),
}


def rows(gram, output):
    """All inner products beyond the inputs', and the outputs, one row a network."""
    norm = gram.diagonal(dim1=-2, dim2=-1).sqrt()
    gram = gram.masked_fill(gram.abs() <= 1e-12 * norm.unsqueeze(-1) * norm.unsqueeze(-2), 0)  # disjoint supports
    i, j = torch.triu_indices(*gram.shape[-2:])
    return torch.cat([gram[:, 1:, i, j].flatten(1), output, output**2], -1)


@functools.cache
def dense(name):
    """Naive twin: dense networks."""
    ensemble, x = CASES[name]
    run = feedforward.forward(ensemble.sample(N, generator=seeded(0)), x)
    return rows(torch.stack([h @ h.mT for h in run.post], 1), run.output)


def simulated(ensemble, x, count, seed=1, **options):
    draw = features(ensemble, x, count, generator=seeded(seed), **options)
    return rows(draw.gram, draw.output)


@pytest.mark.parametrize("name", CASES)
def test_same_law_as_dense_networks(name):
    claim = same_law("C2.a", "t", simulated(*CASES[name], 2 * N), dense(name), resolve=0.2)
    assert claim, claim


@pytest.mark.parametrize(
    "wrong",
    [
        replace(MIXED, law=spectra.projector),
        replace(MIXED, negative_slope=0.3),
        replace(MIXED, readout_norm=1.7),
        replace(MIXED, stable_ranks=(5, 7.3, 3.4)),
    ],
    ids=["spectrum", "slope", "readout", "stable rank"],
)
def test_other_ensembles_are_noticed(wrong):
    assert not same_law("C2.a", "t", simulated(wrong, CASES["ReLU"][1], 3 * N), dense("ReLU"), resolve=0.2)


def test_inputs_share_their_networks():
    ensemble, x = CASES["ReLU"]

    def table(draws):
        return torch.cat([torch.cat([d.log_feature_norm2[:, 1:], d.output.unsqueeze(1)], 1) for d in draws], -1)[:, -2:]

    together = table([features(ensemble, x, N, generator=seeded(1))]).flatten(1)
    alone = table([features(ensemble, row.unsqueeze(0), N, generator=seeded(i)) for i, row in enumerate(x)]).flatten(1)
    assert not same_law("C2.a", "t", alone, together, resolve=0.2)
    for column in range(together.shape[1]):
        assert same_law("C2.a", "t", alone[:, [column]], together[:, [column]], resolve=0.2)


@pytest.mark.parametrize("ensemble", [MIXED, replace(NARROW, negative_slope=0.3)], ids=["mixed", "narrow"])
def test_one_input_agrees_with_simulate(ensemble):
    x = torch.eye(ensemble.widths[0], dtype=torch.float64)[:1]
    here = features(ensemble, x, 2 * N, generator=seeded(1))
    there = simulate(ensemble, 2 * N, generator=seeded(2))
    here = torch.cat([here.log_feature_norm2.squeeze(-1), here.output, here.output**2], -1)
    output = there.output.unsqueeze(-1)
    assert same_law("C2.a", "t", here, torch.cat([there.log_feature_norm2, output, output**2], -1), resolve=0.2)


def test_mean_after_an_isometric_layer():
    ensemble = Ensemble((40, 50), 40, negative_slope=0.2)
    x = generic(2, 40)
    norm, theta = x.norm(dim=-1), arccos.angle(x[0], x[1])
    mean = norm.prod() * arccos.kappa1(theta, 0.2)  # F6
    draws = features(ensemble, x, 3000, generator=seeded(0)).gram[:, 1, 0, 1]
    claim = check.sampled("F6.a", "t", draws, mean, wrong={"linear": norm.prod() * theta.cos()}, resolve=0.2)
    assert claim, claim


def test_fields():
    ensemble, x = CASES["special inputs"]
    draw = features(ensemble, x, 7, generator=seeded(0))
    shapes = [draw.log_feature_norm2.shape, draw.direction.shape, draw.gram.shape, draw.angle.shape, draw.output.shape]
    assert shapes == [(7, 4, 5), (7, 4, 5, 5), (7, 4, 5, 5), (7, 4, 5, 5), (7, 5)]
    torch.testing.assert_close(draw.gram[:, 0], (x @ x.mT).expand(7, 5, 5))
    torch.testing.assert_close(draw.gram.diagonal(dim1=-2, dim2=-1), draw.feature_norm2)
    torch.testing.assert_close(draw.angle[:, 0, 0, [1, 3]], arccos.angle(x[0], x[[1, 3]]).expand(7, 2))
    assert (draw.angle[:, :, 0, 2] < 1e-14).all()
    torch.testing.assert_close(draw.output[:, 0], draw.output[:, 2])
    assert (draw.output[:, 4] == 0).all()
    assert draw.output.dtype == torch.float64
    short = features(ensemble, x.half(), 7, dtype=torch.float16, generator=seeded(0))
    assert short.gram.dtype == short.output.dtype == torch.float16


def test_dead_networks_are_zero_without_nan():
    draw = features(NARROW, special(3), 500, generator=seeded(0))
    dead = draw.feature_norm2[:, -1] == 0
    assert dead.any()
    assert not dead[:, :4].all()
    assert (draw.output[dead] == 0).all()
    for values in (draw.feature_norm2, draw.direction, draw.gram, draw.angle, draw.output):
        assert torch.isfinite(values).all()


def test_linear_orthogonal_layers_keep_the_gram_matrix():
    x = special(30)
    draw = features(Ensemble((30,) * 41, 30, negative_slope=1), x, 20, generator=seeded(0))
    torch.testing.assert_close(draw.gram, (x @ x.mT).expand(20, 41, 5, 5), rtol=1e-11, atol=1e-11)


def test_wider_layers_embed():
    x = generic(6, 3)
    draw = features(Ensemble((3, 8, 30), (3, 8), negative_slope=1), x, 20, generator=seeded(0))
    torch.testing.assert_close(draw.gram, (x @ x.mT).expand(20, 3, 6, 6))


@pytest.mark.parametrize("norm", [None, 0.01])
def test_great_depth(norm):
    ensemble = Ensemble((64,) * 1001, 60).preserving()
    ensemble = ensemble if norm is None else replace(ensemble, spectral_norms=(norm,) * 1000)
    draw = features(ensemble, generic(3, 64), 3, generator=seeded(0))
    assert torch.isfinite(draw.log_feature_norm2).all()
    assert torch.isfinite(draw.gram).all()
    assert (draw.angle[:, -1] < 0.1).all()
    last = draw.log_feature_norm2[:, -1]
    assert (last < -4000).all() if norm else (last.abs() < 200).all()


def test_inputs_of_very_different_size():
    x = generic(2, 12)
    scale = 2.0 ** torch.tensor([[700.0], [-600.0]], dtype=torch.float64)
    plain, scaled = (features(MIXED, inputs, 5, generator=seeded(0)) for inputs in (x, scale * x))
    assert torch.equal(plain.direction, scaled.direction)
    shift = (2 * scale.log().squeeze(-1)).expand(5, 4, 2)
    torch.testing.assert_close(scaled.log_feature_norm2 - plain.log_feature_norm2, shift)


@pytest.mark.parametrize("law", [spectra.two_level, spectra.uniform_sphere])
def test_blocks_are_calls_in_turn(law, monkeypatch):
    monkeypatch.setattr("srlib.collapsed._draws.BLOCK", 4 * 24 * 2)
    ensemble, x, g = replace(MIXED, law=law), generic(2, 12), seeded(0)
    parts = [features(ensemble, x, size, generator=g) for size in (4, 4, 2)]
    whole = features(ensemble, x, 10, generator=seeded(0))
    for name in ("log_feature_norm2", "direction", "output"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(part, name) for part in parts]))
    assert len(whole.output.unique(dim=0)) == 10


def test_blocks_have_the_same_law(monkeypatch):
    monkeypatch.setattr("srlib.collapsed._draws.BLOCK", 50 * 24 * 3)
    assert same_law("C2.a", "t", simulated(*CASES["ReLU"], N), dense("ReLU"), resolve=0.2)


def test_no_inputs():
    draw = features(MIXED, torch.empty(0, 12, dtype=torch.float64), 3)
    assert isinstance(draw, Features)
    assert [draw.gram.shape, draw.angle.shape, draw.output.shape] == [(3, 4, 0, 0), (3, 4, 0, 0), (3, 0)]


X = generic(2, 12)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (TypeError, "ensemble must be an srlib.Ensemble, got int", lambda g: features(3, X, 5, generator=g)),
        (TypeError, "samples must be an integer, got 2.5", lambda g: features(MIXED, X, 2.5, generator=g)),
        (ValueError, "samples must be at least 1, got 0", lambda g: features(MIXED, X, 0, generator=g)),
        (TypeError, "torch.int64", lambda g: features(MIXED, X, 5, generator=g, dtype=torch.int64)),
        (TypeError, "dtype torch.float64, got list", lambda g: features(MIXED, [[1.0]], 5)),
        (TypeError, "got torch.float32", lambda g: features(MIXED, X.float(), 5, generator=g)),
        (ValueError, "(N, n_0) = (N, 12), got (2, 3)", lambda g: features(MIXED, X[:, :3], 5, generator=g)),
        (ValueError, "(N, n_0) = (N, 12), got (12,)", lambda g: features(MIXED, X[0], 5, generator=g)),
        (ValueError, "finite entries", lambda g: features(MIXED, X * math.nan, 5, generator=g)),
    ],
)
def test_bad_arguments(error, message, call, rejects):
    rejects(error, message, call)


def test_rounding_does_not_choose_the_network():
    """At parallel and opposite inputs too: a root along directions that only rounding decides would."""
    from jitter import Jitter

    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.stack([x[0], x[1], x[0], -x[0], 0 * x[0]])
    narrow = Ensemble((4, 6, 3, 9), (2.5, 3, 1.5), law=spectra.projector)

    def draw():
        return features(narrow, x, 2000, generator=torch.Generator().manual_seed(1))

    plain = draw()
    with Jitter():
        other = draw()
    size = plain.feature_norm2.sqrt()
    allowed = 1e-9 * size.unsqueeze(-1) * size.unsqueeze(-2) + 1e-200
    assert ((plain.gram - other.gram).abs() <= allowed).all()
    torch.testing.assert_close(other.output, plain.output, rtol=1e-7, atol=1e-9)

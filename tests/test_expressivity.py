import itertools
import math
from dataclasses import replace

import pytest
import torch

from srlib import Ensemble, Network, arccos, check, feedforward, haar, spectra
from srlib.experiments import expressivity
from srlib.experiments.expressivity import circle, kinks, lengths, pieces, polyline, segment
from srlib.moments import feature_norm

SLOPES = [0.0, 0.2, -0.5]
F64 = torch.float64


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def network(*weights, slope=0.0):
    """One network from nested lists."""
    W = tuple(torch.tensor([w], dtype=F64) for w in weights)
    return Network(W, torch.ones(1, W[-1].shape[1], dtype=F64), negative_slope=slope)


def drawn(slope=0.0, *, batch=4, widths=(5, 7, 6, 8), ranks=3.0, **options):
    return Ensemble(widths, ranks, negative_slope=slope, **options).preserving().sample(batch, generator=generator())


def with_biases(slope=0.0, *, batch=4, seed=3):
    net = drawn(slope, batch=batch)
    g = generator(seed)
    sizes = [*(W.shape[:2] for W in net.weights), (batch,)]
    return replace(net, biases=[0.3 * torch.randn(size, generator=g, dtype=F64) for size in sizes])


def gates(net, x):
    """Whether each hidden neuron of each network is open, by a plain forward pass: one (batch, N, n_l) a layer."""
    h, found = x.expand(net.batch, *x.shape), []
    for l, W in enumerate(net.weights):
        a = h @ W.mT
        if net.biases is not None:
            a = a + net.biases[l].unsqueeze(1)
        found.append(a > 0)
        h = torch.where(a > 0, a, net.negative_slope * a)
    return found


def on_a_grid(net, curve, points=40_001):
    """The naive twin: gate changes from point to point of a fine grid, (batch, L), and where they are."""
    t = torch.linspace(curve.knots[0], curve.knots[-1], points, dtype=F64)
    changes = [(g[:, 1:] != g[:, :-1]).nonzero() for g in gates(net, curve.at(t))]
    counts = torch.stack([torch.bincount(c[:, 0], minlength=net.batch) for c in changes], 1)
    return counts, [(c[:, 0], t[c[:, 1]], t[c[:, 1] + 1], c[:, 2]) for c in changes]


def recursive(weights, h0, h1, slope, t0=0.0, t1=1.0, layer=0):
    """The other naive twin: gate patterns of one network along one segment, piece by piece, number by number.

    ``h0`` and ``h1`` are the features at the ends of the piece, on which they are affine.
    """
    if layer == len(weights):
        return [(t0, t1, ())]
    a0, a1 = ([sum(w * x for w, x in zip(row, h, strict=True)) for row in weights[layer]] for h in (h0, h1))
    cuts = sorted({0.0, 1.0, *(p / (p - q) for p, q in zip(a0, a1, strict=True) if p * q < 0)})
    pieces = []
    for s0, s1 in itertools.pairwise(cuts):
        left, right, middle = ([p + s * (q - p) for p, q in zip(a0, a1, strict=True)] for s in (s0, s1, (s0 + s1) / 2))
        pattern = tuple(m > 0 for m in middle)
        ends = [[x if g else slope * x for x, g in zip(a, pattern, strict=True)] for a in (left, right)]
        span = t0 + s0 * (t1 - t0), t0 + s1 * (t1 - t0)
        pieces += [(u, v, (pattern, *rest)) for u, v, rest in recursive(weights, *ends, slope, *span, layer + 1)]
    return pieces


def curves(n=5):
    e = haar.orthogonal(n, generator=generator(7), dtype=F64)
    corners = torch.randn(4, n, generator=generator(8), dtype=F64)
    return {
        "segment": segment(corners[0], corners[1]),
        "polyline": polyline(corners),
        "polygon": polyline(corners, closed=True),
        "circle": circle(e[0], e[1]),
        "ellipse": circle(2 * e[0], e[0] + 0.5 * e[1]),
    }


# Against the naive twins


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("name", curves())
def test_against_a_fine_grid(name, slope, biases):
    net, curve = with_biases(slope) if biases else drawn(slope), curves()[name]
    counts, places = on_a_grid(net, curve)
    found = kinks(net, curve)
    assert torch.equal(found.counts, counts)
    for layer, (b, left, right, neuron) in zip(found.layers, places, strict=True):
        order = sorted(zip(b.tolist(), left.tolist(), right.tolist(), neuron.tolist(), strict=True))
        mine = sorted(zip(*(v.tolist() for v in (layer.network, layer.parameter, layer.neuron)), strict=True))
        slack = 1e-9
        for (b_, t, i), (c, low, high, j) in zip(mine, order, strict=True):
            assert (b_, i) == (c, j)
            assert low - slack <= t <= high + slack


@pytest.mark.parametrize("slope", SLOPES)
def test_against_the_recursion_over_pieces(slope):
    net = drawn(slope, batch=3)
    a, b = torch.randn(2, 5, generator=generator(4), dtype=F64)
    found = kinks(net, segment(a, b))
    for one in range(3):
        pieces = recursive([W[one].tolist() for W in net.weights], a.tolist(), b.tolist(), slope)
        changes = [(p, q) for p, q in itertools.pairwise(pieces) if p[2] != q[2]]
        assert found.pieces[one] == len(changes) + 1
        times = torch.cat([s.parameter[s.network == one] for s in found.layers]).sort().values
        expected = [
            p[1]
            for p, q in changes
            for m, n in zip(p[2], q[2], strict=True)
            for _ in range(sum(x != y for x, y in zip(m, n, strict=True)))
        ]
        torch.testing.assert_close(times, torch.tensor(expected, dtype=F64), rtol=0, atol=1e-12)


def test_one_missed_kink_in_a_hundred_is_noticed():
    net, curve = drawn(batch=40, widths=(5, 8, 8, 8)), curves()["circle"]
    found, (counts, _) = kinks(net, curve).counts, on_a_grid(net, curve, 4_001)
    drop = torch.binomial(found.double(), torch.full_like(found, 0.99, dtype=F64), generator=generator(1))
    layer1 = torch.full((40,), 16.0)
    assert check.exact("X1.tests", "first layer", found[:, 0], layer1)
    assert not check.exact("X1.tests", "first layer", drop[:, 0], layer1)
    assert (found >= counts).all(), "a coarse grid can only miss kinks in pairs"
    assert (found - counts).sum() <= 0.01 * found.sum()
    assert (drop.sum() - found.sum()).abs() > (found - counts).sum()


@pytest.mark.parametrize("name", curves())
def test_every_switch_is_a_zero_of_its_neuron(name):
    net, curve = with_biases(0.2), curves()[name]
    for l, layer in enumerate(kinks(net, curve).layers):
        h = curve.at(layer.parameter).unsqueeze(1)
        for W, b in zip(net.weights[: l + 1], net.biases, strict=False):
            a = h @ W[layer.network].mT + b[layer.network].unsqueeze(1)
            h = torch.nn.functional.leaky_relu(a, 0.2)
        value = a[:, 0].gather(1, layer.neuron.unsqueeze(1))
        assert value.abs().max() < 1e-11
        assert not layer.silent.any()


def test_order_of_the_switches():
    for layer in kinks(drawn(), curves()["polygon"]).layers:
        key = layer.network * 10 + layer.parameter
        assert (key.diff() >= 0).all()


def columns(found):
    return [value for layer in found.layers for value in vars(layer).values()]


def test_chunks_change_nothing(monkeypatch):
    net, curve = drawn(batch=7), curves()["circle"]
    whole, long = kinks(net, curve), lengths(net, curve)
    monkeypatch.setattr(pieces, "_CHUNK", 1)
    parts, long_parts = kinks(net, curve), lengths(net, curve)
    assert torch.equal(whole.pieces, parts.pieces)
    for one, other in zip((*columns(whole), *long), (*columns(parts), *long_parts), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


# Made by hand


def line(a=-1.0, b=3.0, n=1):
    first, second = torch.zeros(n, dtype=F64), torch.zeros(n, dtype=F64)
    first[0], second[0] = a, b
    return segment(first, second)


def test_a_known_kink():
    found = kinks(network([[2.0]]), line())
    assert found.layers[0].parameter.tolist() == [0.25]
    assert found.layers[0].network.tolist() == found.layers[0].neuron.tolist() == [0]
    assert found.layers[0].silent.tolist() == [True]  # the input itself passes through the origin
    assert found.pieces.tolist() == [2]
    assert found.counts.tolist() == [[1]]
    assert found.crossings.tolist() == [[0]]


def test_a_sawtooth():
    fold = [[2.0, -4.0], [2.0, -4.0]]  # with biases: x -> 2 relu(x) - 4 relu(x - 1/2), the tent map
    W = [torch.tensor([w], dtype=F64) for w in ([[1.0], [1.0]], fold, fold, fold, [[1.0, 1.0]])]
    shift = torch.tensor([[0.0, -0.5]], dtype=F64)
    net = Network(W[:-1], W[-1], (shift, shift, shift, shift, torch.zeros(1, 1, dtype=F64)))
    found = kinks(net, line(-0.5, 1.5))
    inside = [s.parameter * 2 - 0.5 for s in found.layers]
    assert [t[(t > 1e-9) & (t < 1 - 1e-9)].tolist() for t in inside] == [
        [k / 2**l for k in range(1, 2**l, 2)] for l in range(1, 5)
    ]


def test_never_switching_dead_and_coincident_neurons():
    # two neurons at one point, a third that is always open, a fourth that is always closed, one with no input at all
    first = [[1.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0], [0.0, 0.0]]
    second = [[1.0, 1.0, 0.0, 3.0, 5.0], [0.0, 0.0, 1.0, 0.0, 0.0]]
    points = torch.tensor([[-1.0, 1.0], [3.0, 1.0]], dtype=F64)
    found = kinks(network(first, second), segment(*points))
    assert found.layers[0].neuron.tolist() == [0, 1]
    assert found.layers[0].parameter.tolist() == [0.25, 0.25]
    assert found.counts.tolist() == [[2, 0]]  # relu(x) + relu(-2x) touches zero there, and does not switch
    assert found.pieces.tolist() == [2]


def test_touching_zero_at_a_border_and_crossing_it_there():
    points = torch.tensor([[-1.0, 1.0], [1.0, 1.0]], dtype=F64)
    first = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]
    second = [[1.0, 1.0, 0.0], [-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [0.7, 0.7, -0.7]]  # |x|, -|x|, x, 0.7 (|x| - 1)
    found = kinks(network(first, second), segment(*points))
    assert found.layers[1].neuron.tolist() == [2]
    assert found.layers[1].parameter.tolist() == [0.5]
    assert found.pieces.tolist() == [2]


def test_a_tangent_circle_does_not_switch():
    W, v = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]], dtype=F64), torch.ones(1, 2, dtype=F64)
    for bias, counts in ((-1.0, 0), (1.0, 0), (0.5, 4), (-0.999999, 4), (2.0, 0)):
        net = Network((W,), v, (torch.full((1, 2), bias, dtype=F64), torch.zeros(1, dtype=F64)))
        found = kinks(net, circle(*torch.eye(2)))
        assert found.counts.item() == counts
        assert found.pieces.item() == max(counts, 1)


def test_a_dead_layer_stops_all_layers_behind_it():
    net = network([[-1.0, 0.0], [-2.0, 0.0]], [[1.0, 1.0], [1.0, -1.0]])
    found = kinks(net, segment(*torch.tensor([[1.0, 0.0], [2.0, 1.0]])))
    assert found.counts.tolist() == [[0, 0]]
    assert found.pieces.tolist() == [1]
    assert lengths(net, segment(*torch.tensor([[1.0, 0.0], [2.0, 1.0]]))).spherical[0, 1:].tolist() == [0, 0]


def test_switches_of_silent_layers_are_marked():
    net = network([[1.0, 0.0], [1.0, 0.1]], [[1.0, 1.0], [1.0, -0.5]])  # silent on half of the circle
    found = kinks(net, circle(*torch.eye(2)))
    assert found.counts.tolist() == [[4, 4]]
    assert found.layers[1].silent.sum() == 3  # both end with the layer; one of them has a zero of its own before
    assert found.crossings.tolist() == [[4, 1]]
    assert found.pieces.tolist() == [5]


def test_nearly_zero_is_zero():
    """A neuron orthogonal to its features up to rounding does not switch at random."""
    e = haar.orthogonal(6, generator=generator(), dtype=F64)
    net = Network((e[2:].unsqueeze(0),), torch.ones(1, 4, dtype=F64))
    assert kinks(net, circle(e[0], e[1])).counts.item() == 0


def test_a_plateau_at_zero_stays_closed():
    """Biases that cancel up to rounding: phi(wx + b) - phi(wx + c) - (b - c) is 0 on the right and negative before."""
    batch, g = 100, generator()
    w = torch.rand(batch, 1, generator=g, dtype=F64) + 0.5
    b = torch.rand(batch, 2, generator=g, dtype=F64) - torch.tensor([0.0, 1.0])
    second = torch.tensor([[1.0, -1.0]], dtype=F64).expand(batch, 1, 2) * w.unsqueeze(-1)
    weights = w.unsqueeze(-1).expand(batch, 2, 1), second
    biases = (b, w * (b[:, 1:] - b[:, :1]), torch.zeros(batch, dtype=F64))
    found = kinks(Network(weights, torch.ones(batch, 1, dtype=F64), biases), line(-4.0, 4.0))
    assert (found.counts == torch.tensor([2, 0])).all()
    assert (found.pieces == 3).all()


def test_a_closed_curve_may_start_anywhere():
    net = drawn(batch=6)
    e = haar.orthogonal(5, generator=generator(7), dtype=F64)
    W = torch.stack([e[0], e[1]])
    zero = net.weights[0][0, 0] @ W.mT  # start where a neuron of the first network is zero
    shifts = [0.0, 1.0, math.atan2(-zero[0], zero[1])]
    runs = [
        kinks(net, circle(math.cos(s) * e[0] + math.sin(s) * e[1], -math.sin(s) * e[0] + math.cos(s) * e[1]))
        for s in shifts
    ]
    for run, s in zip(runs, shifts, strict=True):
        assert torch.equal(run.counts, runs[0].counts)
        assert torch.equal(run.pieces, runs[0].pieces)
        assert (run.counts % 2 == 0).all()
        turned = ((run.layers[2].parameter + s) % (2 * math.pi)).sort().values
        torch.testing.assert_close(turned, runs[0].layers[2].parameter.sort().values, rtol=0, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-100, 1e-3, 1e60])
@pytest.mark.parametrize("name", ["polygon", "circle"])
def test_scale_moves_no_kink(scale, name):
    net, curve = drawn(0.2), curves()[name]
    other = replace(net, weights=[scale * W for W in net.weights])
    one, two = kinks(net, curve), kinks(other, curve)
    assert torch.equal(one.counts, two.counts)
    assert torch.equal(one.crossings, two.crossings)
    for a, b in zip(one.layers, two.layers, strict=True):
        torch.testing.assert_close(a.parameter, b.parameter, rtol=1e-9, atol=1e-12)
    power = scale ** torch.arange(4.0, dtype=F64)
    factors = {"rtol": 1e-9, "atol": 0}
    torch.testing.assert_close(lengths(other, curve).euclidean, lengths(net, curve).euclidean * power, **factors)
    torch.testing.assert_close(lengths(other, curve).spherical, lengths(net, curve).spherical, **factors)


def test_biases_of_zero_and_single_precision():
    net, curve = drawn(), curves()["circle"]
    zero = with_biases()
    zero = replace(zero, biases=[0 * b for b in zero.biases])
    for name, other in curves().items():
        assert torch.equal(kinks(zero, other).counts, kinks(net, other).counts), name
    single = net.to(dtype=torch.float32)
    double = single.to(dtype=torch.float64)
    assert torch.equal(kinks(single, curve).layers[2].parameter, kinks(double, curve).layers[2].parameter)


def test_weights_with_a_history():
    net = drawn()
    live = Network(tuple(W.clone().requires_grad_() for W in net.weights), net.readout)
    for name in ("circle", "polygon"):
        assert torch.equal(kinks(live, curves()[name]).pieces, kinks(net, curves()[name]).pieces)
        assert torch.equal(lengths(live, curves()[name]).euclidean, lengths(net, curves()[name]).euclidean)


@pytest.mark.parametrize("net", [drawn(batch=0), with_biases(batch=0)])
def test_an_empty_batch(net):
    assert kinks(net, line(n=5)).counts.shape == (0, 3)
    assert kinks(net, line(n=5)).pieces.shape == (0,)
    assert lengths(net, line(n=5)).euclidean.shape == (0, 4)


# Lengths, X2


@pytest.mark.parametrize("slope", [0.0, 0.3])
@pytest.mark.parametrize("name", curves())
def test_lengths_against_a_fine_grid(name, slope):
    net, curve = drawn(slope), curves()[name]
    t = torch.linspace(curve.knots[0], curve.knots[-1], 150_001, dtype=F64)
    found = lengths(net, curve)
    for l, h in enumerate(feedforward.forward(net, curve.at(t)).post):
        chords = h.diff(dim=1).norm(dim=-1).sum(1)
        torch.testing.assert_close(found.euclidean[:, l], chords, rtol=1e-4, atol=0)
        unit = torch.nn.functional.normalize(h, dim=-1)
        alive = unit.norm(dim=-1) > 0.5  # across a silent stretch there is no direction
        steps = unit.diff(dim=1).norm(dim=-1) * (alive[:, 1:] & alive[:, :-1])
        torch.testing.assert_close(found.spherical[:, l], steps.sum(1), rtol=1e-3, atol=0)


def test_known_lengths():
    e = torch.eye(3, dtype=F64)
    turned = haar.orthogonal(3, batch=1, generator=generator(), dtype=F64)
    orthogonal = Network((turned,), turned[:, 0], negative_slope=1.0)
    assert [v.tolist() for v in lengths(orthogonal, circle(e[0], e[1]))] == [[[pytest.approx(2 * math.pi)] * 2]] * 2
    flat = network([[1.0, 0.0, 0.0], [0.0, 1e-9, 0.0]], slope=1.0)  # nearly a segment, there and back
    found = lengths(flat, circle(e[0], e[1]))
    assert found.euclidean[0, 1] == pytest.approx(4, rel=1e-12)
    assert found.spherical[0, 1] == pytest.approx(2 * math.pi, rel=1e-9)
    single = network([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])  # rank one: each half of the circle has one direction
    assert lengths(single, circle(e[0], e[1])).spherical[0, 1] == 0


@pytest.mark.parametrize("slope", SLOPES)
def test_a_jump_of_the_direction_at_the_origin_does_not_count(slope):
    net, a = drawn(slope), curves()["polyline"].at(torch.tensor([0.0, 1.0, 2.0]))
    ray = segment(a[0], -0.3 * a[0])
    assert lengths(net, ray).spherical.abs().max() < 1e-12
    assert kinks(net, ray).crossings.sum() == 0
    corners = torch.stack([a[1], a[0], -a[0], a[2], torch.zeros_like(a[0])])
    length = arccos.angle(a[0], a[1]) + arccos.angle(-a[0], a[2])
    for closed in (False, True):  # closed, it leaves the origin on the ray that it began on
        found = polyline(corners, closed=closed)
        torch.testing.assert_close(lengths(net, found).spherical[:, 0], length.expand(4))
        assert len(found.knots) == len(corners) + closed + 1
        torch.testing.assert_close(found.at(torch.arange(5.0)), corners)


def test_lengths_with_biases_on_segments():
    net, curve = with_biases(), curves()["polyline"]
    h = curve.at(torch.linspace(0, 3, 60_001, dtype=F64)).expand(4, -1, -1)
    for W, b in zip(net.weights, net.biases, strict=False):
        h = (h @ W.mT + b.unsqueeze(1)).relu()
    torch.testing.assert_close(
        lengths(net, curve).euclidean[:, -1], h.diff(dim=1).norm(dim=-1).sum(1), rtol=1e-4, atol=0
    )


# The theorems


@pytest.mark.parametrize("slope", [0.0, 0.3, -0.5])
def test_mean_kinks_of_narrow_layers(slope):
    ensemble = Ensemble((3, 3, 4), 2.0, negative_slope=slope)
    e = torch.eye(3)
    found = kinks(ensemble.sample(20_000, generator=generator()), circle(e[0], e[1]))
    predicted = expressivity.mean_kinks(ensemble)
    assert predicted.tolist() == [6, pytest.approx(8 * (0.5 if slope == 0 else 1))]
    wrong = {"other slope": predicted * torch.tensor([1, 0.5 if slope else 2]), "2 % off": 1.02 * predicted}
    claim = check.sampled("X1.tests", "sign changes", found.crossings, predicted, wrong=wrong, resolve=0.2)
    assert claim, claim
    kept = torch.full_like(found.crossings, 0.99, dtype=F64)
    drop = torch.binomial(found.crossings.double(), kept, generator=generator(1))
    assert not check.sampled("X1.tests", "sign changes", drop, predicted, resolve=0.2)


def test_mean_kinks_along_a_segment():
    ensemble = Ensemble((3, 6, 8), 2.5, law=spectra.projector)
    a, b = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([-1.0, 1.0, 0.0])
    found = kinks(ensemble.sample(20_000, generator=generator()), segment(a, b))
    assert check.sampled(
        "X1.tests", "segment", found.crossings, expressivity.mean_kinks(ensemble, 3 * math.pi / 4), resolve=0.2
    )
    assert not check.sampled(
        "X1.tests", "segment", found.crossings, expressivity.mean_kinks(ensemble, math.pi / 2), resolve=0.2
    )


def naive_vertices(net, frame):
    """Zeros of pairs of neurons on the sphere of a 3-plane, one network, gate pattern and pair at a time."""
    counts = torch.zeros(net.batch, net.depth, dtype=torch.int64)
    for b in range(net.batch):
        cells = [(frame, torch.zeros(0, 3, dtype=F64))]
        for l, W in enumerate(net.weights):
            following = []
            for features, walls in cells:
                Z = W[b] @ features
                for i, j in itertools.combinations(range(len(Z)), 2):
                    point = torch.linalg.cross(Z[i], Z[j])
                    counts[b, l] += sum(bool((side * walls @ point > 0).all()) for side in (1.0, -1.0))
                for gates in itertools.product((1.0, 0.0), repeat=len(Z)):
                    gates = torch.tensor(gates, dtype=F64)
                    slopes = torch.where(gates > 0, 1.0, net.negative_slope)
                    if (slopes != 0).sum() >= 3:  # or features vanish wherever two neurons do
                        signed = (2 * gates - 1).unsqueeze(1) * Z
                        following.append((slopes.unsqueeze(1) * Z, torch.cat([walls, signed])))
            cells = following
    return counts


def mirrored(net):
    """A network with the rows of every hidden layer but the last flipped in all ways, and the next layer's columns."""
    sizes = [W.shape[1] for W in net.weights[:-1]]
    signs = torch.tensor(list(itertools.product((1.0, -1.0), repeat=sum(sizes))), dtype=F64).split(sizes, 1)
    one = torch.ones(len(signs[0]), net.widths[0], dtype=F64)
    weights = [
        W * left.unsqueeze(2) * right.unsqueeze(1)
        for W, left, right in zip(net.weights, [*signs, torch.ones(1, 1, dtype=F64)], [one, *signs], strict=True)
    ]
    return Network(weights, net.readout.expand(len(one), -1), negative_slope=net.negative_slope)


def in_triangles(net, frame, i, j, cuts=160):
    """Common zeros of two neurons of layer 2 on the sphere, found on a fine triangulation of an octahedron."""
    step = torch.arange(cuts + 1, dtype=F64) / cuts
    u, v = torch.meshgrid(step, step, indexing="ij")
    total = 0
    for signs in itertools.product((1.0, -1.0), repeat=3):
        grid = torch.stack([u, v, 1 - u - v], -1) * torch.tensor(signs, dtype=F64)
        hidden = torch.nn.functional.leaky_relu(grid @ frame.mT @ net.weights[0][0].mT, net.negative_slope)
        z = (hidden @ net.weights[1][0].mT)[..., [i, j]]
        inside = (u + v <= 1 + 1e-9)[1:, 1:]
        corners = [
            (z[:-1, :-1], z[1:, :-1], z[:-1, 1:], (u + v)[:-1, :-1] < 1 - 1e-9),
            (z[1:, 1:], z[1:, :-1], z[:-1, 1:], inside),
        ]
        for a, b, c, there in corners:
            areas = [p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0] for p, q in ((a, b), (b, c), (c, a))]
            around = torch.stack(areas, -1)
            total += (((around > 0).all(-1) | (around < 0).all(-1)) & there).sum().item()
    return total


@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_the_naive_count_of_vertices_against_a_triangulation(slope):
    net = drawn(slope, batch=1, widths=(3, 5, 2), ranks=2.0)
    frame = torch.eye(3, dtype=F64)
    assert naive_vertices(net, frame)[0].tolist() == [20, in_triangles(net, frame, 0, 1)]


@pytest.mark.parametrize("slope", SLOPES)
def test_mean_vertices_over_all_mirrors_of_a_network(slope):
    """X4 holds for the mean over mirrors of almost any network, not only for the mean over the model."""
    ensemble = Ensemble((5, 4, 4, 3), 3.0, law=spectra.projector, negative_slope=slope)
    predicted = expressivity.mean_vertices(ensemble, 3)
    assert predicted.tolist() == [
        12,
        pytest.approx(12 if slope else 12 * 5 / 16),
        pytest.approx(6 if slope else 6 * 25 / 256),
    ]
    net = ensemble.sample(1, generator=generator(2))
    if slope:
        net, predicted = Network(net.weights[:2], net.weights[2][:, 0], negative_slope=slope), predicted[:2]
    mirrors = mirrored(net)
    assert naive_vertices(mirrors, torch.eye(5, dtype=F64)[:, :3]).double().mean(0).tolist() == exactly(predicted)


def exactly(values):
    return [pytest.approx(v, rel=1e-12) for v in values.tolist()]


@pytest.mark.parametrize("slope", SLOPES)
def test_mean_kinks_over_all_mirrors_of_a_network(slope):
    ensemble = Ensemble((4, 3, 4, 5), 2.0, law=spectra.projector, negative_slope=slope)
    found = kinks(mirrored(ensemble.sample(1, generator=generator())), circle(*torch.eye(4)[:2]))
    assert found.crossings.double().mean(0).tolist() == exactly(expressivity.mean_kinks(ensemble))


def test_mean_vertices_where_hardly_any_pattern_of_gates_is_open():
    """The probability is a difference of numbers that agree in all of their digits but these."""
    assert expressivity.mean_vertices(Ensemble((60,) * 3, 60), 60)[1].item() == pytest.approx(120 * 2.0**-60, rel=1e-12)
    exact = sum(math.comb(60, i) for i in range(56, 61))
    found = expressivity.mean_vertices(Ensemble((60,) * 3, 60), 56)[1].item()
    assert found == pytest.approx(2 * math.comb(60, 55) * exact * 2.0**-60, rel=1e-12)


def test_mean_vertices_of_narrow_layers():
    ensemble = Ensemble((4, 4, 3), 1.6)
    net = ensemble.sample(2_000, generator=generator())
    frame = haar.orthogonal(4, 3, generator=generator(1), dtype=F64)
    found, predicted = naive_vertices(net[:300], frame)[:, 1:], expressivity.mean_vertices(ensemble, 3)[1:]
    wrong = {"as for a circle": 6 * 11 / 16, "every gate open": 6.0}
    claim = check.sampled("X4.tests", "pairs of zeros", found, predicted, wrong=wrong, resolve=2.0)
    assert claim, claim


@pytest.mark.parametrize("dimension", [2, 3, 5])
def test_mean_vertices_against_all_patterns_of_gates(dimension):
    ensemble = Ensemble((6, 6, 5, 8), (5.5, 4.2, 4.5))
    open_ = [1.0]
    for n in ensemble.widths[1:-1]:
        patterns = [sum(gates) >= dimension for gates in itertools.product((0, 1), repeat=n)]
        open_.append(open_[-1] * sum(patterns) / len(patterns))
    subsets = [len(list(itertools.combinations(range(n), dimension - 1))) for n in ensemble.widths[1:]]
    expected = [2 * c * p for c, p in zip(subsets, open_, strict=True)]
    assert expressivity.mean_vertices(ensemble, dimension).tolist() == pytest.approx(expected, rel=1e-12)
    if dimension == 2:
        assert expressivity.mean_kinks(ensemble).tolist() == pytest.approx(expected, rel=1e-12)


def test_mean_vertices_of_wide_layers():
    found = expressivity.mean_vertices(Ensemble((5000,) * 3, 400), 300)
    assert found.tolist() == [math.inf] * 2
    assert expressivity.mean_vertices(Ensemble((5000,) * 3, 400), 3).tolist() == [5000 * 4999] * 2


def test_rank_one_breaks_the_law():
    found = kinks(Ensemble((6, 8, 8, 8), 1.0).sample(4_000, generator=generator()), curves(6)["circle"])
    assert (found.counts[:, 0] == 16).all()
    assert found.crossings[:, 1:].sum() == 0
    assert found.counts.double().mean(0)[1:].tolist() == [pytest.approx(8, rel=0.1), pytest.approx(4, rel=0.15)]


@pytest.mark.parametrize("slope", [0.0, 0.3])
@pytest.mark.parametrize("law", [spectra.two_level, spectra.projector])
def test_mean_gain(law, slope):
    ensemble = Ensemble((6, 9, 7), (2.5, 4.0), (1.3, 0.7), law=law, negative_slope=slope)
    post = feedforward.forward(ensemble.sample(40_000, generator=generator()), torch.eye(6, dtype=F64)[:1]).post
    norms = torch.stack([h[:, 0].norm(dim=-1) for h in post[1:]], 1)
    gain = expressivity.mean_gain(ensemble)
    root = feature_norm(ensemble).mean.sqrt()
    assert gain[0] == 1
    assert check.sampled("X2.tests", "norms", norms, gain[1:], wrong={"root mean square": root[1:]}, resolve=0.2)
    assert (gain[1:] < root[1:]).all()


def test_mean_gain_in_closed_form():
    n, r = 12, 5
    gain = expressivity.mean_gain(Ensemble((n, n), r, law=spectra.projector, negative_slope=1.0))[1].item()
    logs = [math.lgamma(v) for v in ((r + 1) / 2, r / 2, n / 2, (n + 1) / 2)]
    assert gain == pytest.approx(math.exp(logs[0] - logs[1] + logs[2] - logs[3]), rel=1e-12)
    m = 5
    gates = [math.comb(m, k) / 2**m * math.exp(math.lgamma((k + 1) / 2) - math.lgamma(k / 2)) for k in range(1, m + 1)]
    expected = sum(gates) * math.exp(math.lgamma(m / 2) - math.lgamma((m + 1) / 2))
    assert expressivity.mean_gain(Ensemble((m, m), m))[1].item() == pytest.approx(expected, rel=1e-12)
    assert (
        expressivity.mean_gain(Ensemble((1000,) * 3, 1000, negative_slope=1.0)).tolist()
        == [pytest.approx(1, rel=1e-12)] * 3
    )


# Curves and bad input


def test_points_of_the_curves():
    a, b = torch.tensor([1.0, 2.0]), torch.tensor([3.0, -2.0])
    t = torch.tensor([0.0, 0.25, 1.0])
    torch.testing.assert_close(segment(a, b).at(t), (a + t[:, None] * (b - a)).double())
    corners = torch.randn(5, 3, generator=generator())
    torch.testing.assert_close(
        polyline(corners, closed=True).at(torch.arange(6.0)), corners[[0, 1, 2, 3, 4, 0]].double()
    )
    t = torch.linspace(0, 2 * math.pi, 50, dtype=F64)
    expected = t.cos()[:, None] * a.double() + t.sin()[:, None] * b.double()
    torch.testing.assert_close(circle(a, b).at(t), expected)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (TypeError, "a must be a real floating tensor, got list", lambda: segment([1.0], torch.ones(1))),
        (TypeError, "got torch.int64", lambda: segment(torch.ones(2), torch.tensor([1, 2]))),
        (ValueError, "one shape (n_0,), got (2,) and (3,)", lambda: segment(torch.ones(2), torch.zeros(3))),
        (ValueError, "two vertices in a row must differ", lambda: segment(torch.ones(2), torch.ones(2))),
        (ValueError, "points must have shape (N, n_0), got (3,)", lambda: polyline(torch.ones(3))),
        (ValueError, "at least 3 vertices, got 2", lambda: polyline(torch.eye(2), closed=True)),
        (ValueError, "finite entries", lambda: polyline(torch.tensor([[0.0], [math.nan]]))),
        (ValueError, "linearly independent", lambda: circle(torch.ones(2), -2 * torch.ones(2))),
        (ValueError, "linearly independent", lambda: circle(torch.ones(2), torch.zeros(2))),
        (ValueError, "one shape (n_0,), got (2,) and (3,)", lambda: circle(torch.ones(2), torch.ones(3))),
        (TypeError, "curve must be made by", lambda: kinks(drawn(), torch.eye(5))),
        (TypeError, "network must be an srlib.Network, got list", lambda: kinks([], line())),
        (ValueError, "inputs of the curve's length 1, got 5", lambda: kinks(drawn(), line())),
        (
            ValueError,
            "at least one hidden layer",
            lambda: kinks(Network((), torch.ones(1, 1)), line()),
        ),
        (ValueError, "finite weights", lambda: kinks(network([[math.inf]]), line())),
        (ValueError, "must stay below 1e154", lambda: kinks(network([[1e200], [1e200]], [[1.0, 1.0]]), line())),
        (ValueError, "must lie in [0, 1], got 1.5", lambda: line().at(torch.tensor([0.5, 1.5]))),
        (ValueError, "must lie in [0, 3], got nan", lambda: curves()["polyline"].at(torch.tensor([math.nan]))),
        (ValueError, "without biases", lambda: lengths(with_biases(), curves()["circle"])),
        (ValueError, "stable rank above 1", lambda: expressivity.mean_kinks(Ensemble((3, 4), 1))),
        (
            ValueError,
            "spherical_length must be positive, got 0",
            lambda: expressivity.mean_kinks(Ensemble((3, 4), 2), 0),
        ),
        (
            TypeError,
            "dimension must be an integer, got 2.5",
            lambda: expressivity.mean_vertices(Ensemble((3, 4), 2), 2.5),
        ),
        (ValueError, "dimension must be at least 2, got 1", lambda: expressivity.mean_vertices(Ensemble((3, 4), 2), 1)),
        (
            ValueError,
            "rank of at least the dimension 3, got 2",
            lambda: expressivity.mean_vertices(Ensemble((3, 4), 2, law=spectra.projector), 3),
        ),
        (
            ValueError,
            "rank of at least the dimension 2, got 1",
            lambda: expressivity.mean_vertices(Ensemble((3, 4), 1, law=spectra.uniform_sphere), 2),
        ),
        (ValueError, "with levels", lambda: expressivity.mean_gain(Ensemble((3, 4), 2, law=spectra.uniform_sphere))),
    ],
)
def test_bad_input(rejects, error, message, call):
    rejects(error, message, lambda _: call())


def test_inputs_are_left_alone():
    net, curve = drawn(), curves()["circle"]
    before = [t.clone() for t in (*net.weights, curve.coefficients)]
    kinks(net, curve)
    lengths(net, curve)
    assert all(torch.equal(a, b) for a, b in zip(before, (*net.weights, curve.coefficients), strict=True))

import math
import re
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

import srlib
from srlib import init, moments, spectra


def matrix(W):
    return W.detach().flatten(1).double()


@pytest.mark.parametrize("law", [spectra.two_level, spectra.projector, spectra.coulomb_gas])
@pytest.mark.parametrize("shape", [(7, 12), (12, 7), (6, 4, 3), (5, 3, 2, 2), (4, 2, 2, 1, 3), (1, 9), (9, 1)])
def test_stable_rank_and_forward_variance(shape, law, generator):
    W = torch.empty(shape)
    m, n = shape[0], W[0].numel()
    r = 1 + 0.6 * (min(m, n) - 1)
    assert init.stable_rank_(W, r, law=law, generator=generator) is W
    assert srlib.stable_rank(matrix(W)).item() == pytest.approx(r, rel=1e-5)
    assert matrix(W).square().mean().item() == pytest.approx(2 / n, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "gain"),
    [
        ({"nonlinearity": "linear"}, 1),
        ({"nonlinearity": "tanh"}, 5 / 3),
        ({"nonlinearity": "leaky_relu", "param": 0.5}, math.sqrt(1.6)),
    ],
)
def test_gain_is_torchs(options, gain, generator):
    W = init.stable_rank_(torch.empty(8, 5), 2.5, generator=generator, **options)
    assert W.square().mean().item() == pytest.approx(gain**2 / 5, rel=1e-5)


def test_spectral_norm_is_kept_if_given(generator):
    W = init.stable_rank_(torch.empty(8, 5, 3), 2.5, spectral_norm=3.0, nonlinearity="tanh", generator=generator)
    assert torch.linalg.matrix_norm(matrix(W), 2).item() == pytest.approx(3, rel=1e-5)


def test_is_the_models_own_sample(generator):
    state = generator.get_state()
    W = init.stable_rank_(torch.empty(6, 4, dtype=torch.float64), 2.5, spectral_norm=1.5, generator=generator)
    generator.set_state(state)
    drawn = srlib.sample((6, 4), 2.5, spectral_norm=1.5, generator=generator, dtype=torch.float64)
    assert torch.equal(W, drawn)


def test_same_mean_square_features_as_he(generator):
    """At matched scale a ReLU stack keeps E h^2 per neuron, as F2 says; fan-out in place of fan-in would not."""
    widths, r = (48, 96, 32), 8.0
    layers = [torch.empty(m, n) for n, m in pairwise(widths)]
    norms = [torch.linalg.matrix_norm(init.stable_rank_(W, r, generator=generator), 2).item() for W in layers]
    mean = moments.feature_norm(srlib.Ensemble(widths, r, norms)).mean
    assert (mean / torch.tensor(widths) * widths[0]).tolist() == pytest.approx([1, 1, 1], rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(6, 4), (5, 3, 2, 2)])
def test_contract_of_orthogonal(shape, dtype, generator):
    """Same shape, dtype, device, storage and grad flags as torch.nn.init.orthogonal_ leaves."""
    for fill in (lambda t: nn.init.orthogonal_(t), lambda t: init.stable_rank_(t, 2.0, generator=generator)):
        if fill.__code__.co_names[0] == "nn" and dtype in (torch.float16, torch.bfloat16):
            continue  # torch's QR has no half precision; ours is computed in float32
        base = torch.zeros(2, *shape, dtype=dtype)
        tensor = base[1].requires_grad_()
        pointer, version = tensor.data_ptr(), tensor._version
        assert fill(tensor) is tensor
        assert (tensor.shape, tensor.dtype, tensor.device.type) == (shape, dtype, "cpu")
        assert (tensor.data_ptr(), tensor.requires_grad, tensor.is_leaf, tensor.grad_fn) == (pointer, True, True, None)
        assert tensor._version > version
        assert not base[0].any()
        assert base[1].any()


def test_not_contiguous(generator):
    state = generator.get_state()
    W = init.stable_rank_(torch.empty(4, 6).mT, 3.0, generator=generator)
    generator.set_state(state)
    assert torch.equal(W, init.stable_rank_(torch.empty(6, 4), 3.0, generator=generator))


BAD = [
    (ValueError, "stable_rank must lie in [1, min(m, n)] = [1, 4], got 0.99", {"stable_rank": 0.99}),
    (ValueError, "stable_rank must lie in [1, min(m, n)] = [1, 4], got 4.01", {"stable_rank": 4.01}),
    (ValueError, "stable_rank must lie in [1, min(m, n)] = [1, 4], got nan", {"stable_rank": math.nan}),
    (TypeError, "stable_rank must be a real number, got '2'", {"stable_rank": "2"}),
    (ValueError, "spectral_norm must be positive, got 0.0", {"spectral_norm": 0.0}),
    (ValueError, "spectral_norm must be finite, got inf", {"spectral_norm": math.inf}),
    (ValueError, "Unsupported nonlinearity swiss", {"nonlinearity": "swiss"}),
]


@pytest.mark.parametrize(("error", "message", "options"), BAD)
def test_bad_numbers_leave_the_tensor_unchanged(error, message, options, rejects):
    tensor = torch.full((6, 4), 7.0)
    rejects(error, message, lambda g: init.stable_rank_(tensor, **{"stable_rank": 2.0, "generator": g} | options))
    assert torch.equal(tensor, torch.full((6, 4), 7.0))


@pytest.mark.parametrize(
    ("error", "message", "tensor"),
    [
        (ValueError, "at least two dimensions, none of them 0, got shape (5,)", torch.ones(5)),
        (ValueError, "at least two dimensions, none of them 0, got shape (0, 4)", torch.ones(0, 4)),
        (ValueError, "at least two dimensions, none of them 0, got shape (4, 3, 0)", torch.ones(4, 3, 0)),
        (TypeError, "tensor must be a real floating tensor, got torch.int64", torch.ones(4, 4, dtype=torch.int64)),
        (TypeError, "tensor must be a real floating tensor, got torch.complex64", torch.ones(4, 4) + 0j),
        (TypeError, "tensor must be a real floating tensor, got list", [[1.0, 2.0], [3.0, 4.0]]),
    ],
)
def test_bad_tensors(error, message, tensor, rejects):
    rejects(error, message, lambda g: init.stable_rank_(tensor, 1.0, generator=g))


def small_cnn():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, groups=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 4 * 4, 10),
    )


def test_a_users_network(generator):
    """An existing network of ten lines, two lines changed: an import, and this call."""
    network = small_cnn()
    batch_norm = {name: value.clone() for name, value in network[1].state_dict().items()}
    assert init.module_(network, 0.5, law=spectra.projector, generator=generator) is network
    ranks = [
        srlib.stable_rank(matrix(W)).item() for W in (network[0].weight, *network[3].weight.chunk(2), network[6].weight)
    ]
    assert ranks == pytest.approx([4, 4, 4, 5], rel=1e-5)
    assert not any(network[l].bias.any() for l in (0, 3, 6))
    assert all(torch.equal(value, batch_norm[name]) for name, value in network[1].state_dict().items())

    x, y = torch.randn(16, 1, 8, 8, generator=generator), torch.arange(16) % 10
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_low_ratios_mean_stable_rank_one(generator):
    layer = init.module_(nn.Linear(6, 4), 0.01, generator=generator)
    assert srlib.stable_rank(layer.weight).item() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (TypeError, "torch.nn.Module or an srlib.Network, got Tensor", lambda g: init.module_(torch.ones(3, 3), 0.5)),
        (ValueError, "ratio must lie in (0, 1], got 0.0", lambda g: init.module_(nn.Linear(3, 3), 0.0, generator=g)),
        (ValueError, "ratio must lie in (0, 1], got 1.5", lambda g: init.module_(nn.Linear(3, 3), 1.5, generator=g)),
        (ValueError, "ratio must lie in (0, 1], got nan", lambda g: init.module_(nn.Linear(3, 3), math.nan)),
        (ValueError, "got ReLU with none", lambda g: init.module_(nn.ReLU(), 0.5, generator=g)),
        (
            ValueError,
            "layer '1' has no shape yet",
            lambda g: init.module_(nn.Sequential(nn.Linear(3, 3), nn.LazyLinear(3)), 0.5),
        ),
        (
            ValueError,
            "layer '' computes its weight by a parametrization",
            lambda g: init.module_(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)), 0.5, generator=g),
        ),
    ],
)
def test_bad_modules(error, message, call):
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    with pytest.raises(error) as caught:
        call(generator)
    assert message in str(caught.value)
    assert torch.equal(generator.get_state(), state)


def some_module(last=None):
    """Two layers and a last one that may be another."""
    return nn.ModuleDict({"first": nn.Linear(9, 7), "rest": nn.Sequential(nn.Linear(7, 3), last or nn.Linear(3, 2))})


def refuse_two_rows(shape, stable_rank, **options):
    if shape[0] == 2:
        raise ValueError("no such spectrum")
    return spectra.two_level(shape, stable_rank, **options)


@pytest.mark.parametrize(
    ("message", "module", "options"),
    [
        ("no such spectrum", some_module(), {"law": refuse_two_rows}),
        ("layer 'rest.1' has no shape yet", some_module(nn.LazyLinear(2)), {}),
        ("'rest.1' computes", some_module(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))), {}),
        ("Unsupported nonlinearity", some_module(), {"nonlinearity": "swiss"}),
    ],
)
def test_a_bad_last_layer_leaves_all_layers_alone(message, module, options, generator):
    kept = [p for p in module.parameters() if not nn.parameter.is_lazy(p)]
    before = [p.detach().clone() for p in kept]
    with pytest.raises(ValueError, match=re.escape(message)):
        init.module_(module, 0.5, generator=generator, **options)
    assert len(before) >= 4
    assert all(map(torch.equal, kept, before))


def test_a_bad_last_layer_leaves_a_batch_of_networks_alone(generator):
    ones = srlib.Network(
        (torch.ones(4, 7, 9), torch.ones(4, 3, 7)), torch.ones(4, 2, 3), [torch.ones(4, n) for n in (7, 3, 2)]
    )
    with pytest.raises(ValueError, match="no such spectrum"):
        init.module_(ones, 0.5, law=refuse_two_rows, generator=generator)
    assert all((p == 1).all() for p in ones.parameters)


def test_a_batch_of_networks(generator):
    ensemble = srlib.Ensemble((7, 12, 5), 2)
    drawn = ensemble.sample(3, generator=generator, dtype=torch.float32)
    network = srlib.Network(drawn.weights, torch.ones(3, 4, 5), [torch.ones(3, n) for n in (12, 5, 4)])
    assert init.module_(network, 0.6, generator=generator) is network
    for W, r in zip(network.matrices, (0.6 * 7, 0.6 * 5, 0.6 * 4), strict=True):
        assert srlib.stable_rank(W).tolist() == pytest.approx([r] * 3, rel=1e-5)
        assert W.square().mean((1, 2)).tolist() == pytest.approx([2 / W.shape[2]] * 3, rel=1e-5)
        assert not torch.allclose(W[0], W[1])
    assert not any(b.any() for b in network.biases)
    assert drawn.weights[0] is network.weights[0]  # in place


def test_a_network_of_expanded_tensors_is_left_alone(rejects):
    network = srlib.Network((torch.zeros(3, 4, 4), torch.ones(1, 4, 4).expand(3, -1, -1)), torch.zeros(3, 4))
    rejects(ValueError, "got one with expanded tensors", lambda g: init.module_(network, 0.5, generator=g))
    assert not network.weights[0].any()


def test_only_the_given_generator_decides_what_a_module_starts_from():
    modules = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        modules.append(nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.ReLU(), nn.Linear(6, 5)))
        before = torch.get_rng_state()
        init.module_(modules[-1], 0.4, law=spectra.uniform_sphere, generator=torch.Generator().manual_seed(0))
        assert torch.equal(torch.get_rng_state(), before)
    for one, other in zip(*(module.parameters() for module in modules), strict=True):
        assert torch.equal(one, other)


def test_biases_add_to_the_mean_kernel_what_they_are_said_to_add(generator):
    n, L, growth = 12, 3, 1 / 4
    net = srlib.Ensemble((n,) * (L + 1), growth * n, math.sqrt(2)).sample(6_000, generator=generator)
    zeros = [torch.zeros(net.batch, n, dtype=net.dtype)] * L
    biased = replace(net, biases=(*zeros, torch.zeros(net.batch, dtype=net.dtype)))
    x = torch.eye(n, dtype=net.dtype)[:1]
    added = (srlib.ntk.empirical(biased, x) - srlib.ntk.empirical(net, x)).flatten()
    exact = 1 + sum(growth ** (L - l) / 2 for l in range(1, L + 1))  # I1
    assert abs(added.mean() - exact) < 5 * added.std() / math.sqrt(len(added))
    assert added.std() / math.sqrt(len(added)) < 0.01


def test_he_fluctuates_more_exactly_where_it_is_said_to():
    n, L = 3, 4
    r = (math.sqrt(270) - 9) / 7  # n/p = 2 + 2/n
    he = L * math.log(1 + 5 / n)
    for factor, sign in ((1, 0), (1.05, -1), (0.99, 1)):
        ours = moments.feature_norm(srlib.Ensemble((n,) * (L + 1), factor * r)).log_ratio[-1].item()
        assert round(ours - he, 9) * sign > 0 or sign == 0 == round(ours - he, 9)  # I2

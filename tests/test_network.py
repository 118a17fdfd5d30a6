import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from srlib import Ensemble, Network, feedforward, ntk

WIDTHS, CLASSES = (4, 6, 3, 5), 2  # no two of them equal


def network(*, batch=3, outputs=CLASSES, biases=True, slope=0.3, dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=g, dtype=torch.float64).to(dtype)

    weights = [normal(batch, m, n) for m, n in zip(WIDTHS[1:], WIDTHS[:-1], strict=True)]
    tail = () if outputs is None else (outputs,)
    shifts = [normal(batch, n) for n in WIDTHS[1:]] + [normal(batch, *tail)] if biases else None
    return Network(weights, normal(batch, *tail, WIDTHS[-1]), shifts, slope)


def inputs(count=7, seed=1, dtype=torch.float64):
    return torch.randn(count, WIDTHS[0], generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


KINDS = pytest.mark.parametrize(("outputs", "biases"), [(None, False), (None, True), (1, True), (2, False), (2, True)])


def naive(net, b, x):
    """One network at one input, as anyone would write it."""
    for l, W in enumerate(net.weights):
        a = W[b] @ x + (net.biases[l][b] if net.biases else 0)
        x = torch.where(a > 0, a, net.negative_slope * a)
    return net.readout[b] @ x + (net.biases[-1][b] if net.biases else 0)


# What it is


def test_what_it_knows():
    net = network()
    assert (net.batch, len(net), net.depth, net.widths) == (3, 3, 3, WIDTHS)
    assert (net.dtype, net.device.type) == (torch.float64, "cpu")
    assert [tuple(W.shape) for W in net.matrices] == [(3, 6, 4), (3, 3, 6), (3, 5, 3), (3, 2, 5)]
    assert network(outputs=None).matrices[-1].shape == (3, 1, 5)
    assert len(net.parameters) == 8
    assert isinstance(net.weights, tuple)
    assert repr(net) == (
        "Network(batch=3, widths=(4, 6, 3, 5), outputs=2, biases=True, negative_slope=0.3, dtype=float64, device=cpu)"
    )


def test_slices_of_the_batch():
    net, x = network(), inputs()
    whole = feedforward.forward(net, x).output
    for index in (1, -1, slice(0, 2), [2, 0], torch.tensor([1, 1]), torch.tensor([True, False, True])):
        part = net[index]
        expected = whole[[index]] if isinstance(index, int) else whole[index]
        torch.testing.assert_close(feedforward.forward(part, x).output, expected)
    for index in (np.int64(1), torch.tensor(1), (1,)):
        assert torch.equal(net[index].readout, net.readout[1:2])
    for index in (3, -4, [0, 3]):
        with pytest.raises(IndexError, match=r"index must lie in \[-3, 2\], got"):
            net[index]


def test_batches_are_joined(rejects):
    net = network()
    assert all(map(torch.equal, Network.cat([net[:1], net[1:]]).parameters, net.parameters))
    rejects(ValueError, "at least one, and all of one kind, got []", lambda _: Network.cat([]))
    for other in (
        network(slope=0.0),
        network(biases=False),
        network(outputs=1),
        network(outputs=None),
        network(dtype=torch.float32),
    ):
        rejects(ValueError, "all of one kind, got [Network(batch=3", lambda _, other=other: Network.cat([net, other]))


def test_moves_and_histories():
    net = network()
    assert net.to() is net
    assert net.to("cpu", torch.float32).dtype == torch.float32
    assert net.to("meta").device.type == "meta"
    live = net.with_parameters(p.clone().requires_grad_() for p in net.parameters)
    assert live.readout.requires_grad
    assert not live.detach().readout.requires_grad
    assert live.negative_slope == net.negative_slope
    for parameters in (net.parameters[:-1], (*net.parameters, torch.zeros(7))):
        with pytest.raises(ValueError, match="parameters must be 8 tensors, got"):
            net.with_parameters(parameters)


def test_linear_networks_without_layers():
    net, x = Network((), torch.ones(2, 3, 4)), torch.eye(4)
    assert (net.depth, net.widths) == (0, (4,))
    assert feedforward.forward(net, x).output.eq(1).all()
    assert torch.equal(feedforward.jacobian(net, x)[0, 0], torch.eye(4))
    assert torch.equal(ntk.empirical(net, x)[..., 0, 0], torch.eye(4).expand(2, -1, -1))


# The forward pass and the kernel, with biases and several outputs


@KINDS
@pytest.mark.parametrize("slope", [0.0, 0.3, -0.5])
def test_forward_against_one_network_at_one_input(outputs, biases, slope):
    net, x = network(outputs=outputs, biases=biases, slope=slope), inputs()
    run = feedforward.forward(net, x)
    expected = torch.stack([torch.stack([naive(net, b, v) for v in x]) for b in range(3)])
    torch.testing.assert_close(run.output, expected)
    own = torch.stack([x, 2 * x, x.flip(0)])
    for b, part in enumerate(own):
        torch.testing.assert_close(feedforward.forward(net, own).output[b], feedforward.forward(net, part).output[b])


@KINDS
def test_kernel_against_jacobians(outputs, biases):
    """Inner products of the rows of the Jacobian in all parameters, at inputs that differ."""
    net, x1, x2 = network(outputs=outputs, biases=biases), inputs(5), inputs(4, seed=2)

    def rows(b, x):
        one = [p[b] for p in net.parameters]

        def shaped(tensors):
            return net[b].with_parameters(p.unsqueeze(0) for p in tensors)

        J = torch.func.jacrev(lambda tensors: feedforward.activations(shaped(tensors), x).output[0])(one)
        lead = (len(x),) if outputs is None else (len(x), outputs)
        return torch.cat([part.reshape(*lead, -1) for part in J], -1)

    found = ntk.empirical(net, x1, x2)
    pattern = "ip,jp->ij" if outputs is None else "icp,jdp->ijcd"
    for b in range(3):
        torch.testing.assert_close(found[b], torch.einsum(pattern, rows(b, x1), rows(b, x2)))
    torch.testing.assert_close(ntk.layers(net, x1, x2).sum(1), found)
    torch.testing.assert_close(ntk.empirical(net, x1, x2, chunk_size=2), found)
    torch.testing.assert_close(ntk.empirical(net, x1), ntk.empirical(net, x1, x1))


def test_kernel_at_inputs_of_each_networks_own():
    net, x = network(), inputs()
    own = torch.stack([x, 2 * x, x.flip(0)])
    found = ntk.empirical(net, own, x[:2])
    for b in range(3):
        torch.testing.assert_close(found[b], ntk.empirical(net[b], own[b], x[:2])[0])


# The pure part


def test_vmap_over_inputs_and_over_networks():
    net, x = network(), inputs(6)
    expected = feedforward.forward(net, x).output
    over_inputs = torch.func.vmap(lambda v: feedforward.activations(net, v.unsqueeze(0)).output[:, 0], out_dims=1)(x)
    torch.testing.assert_close(over_inputs, expected)

    def alone(*parameters):
        return feedforward.activations(net[0].with_parameters(p.unsqueeze(0) for p in parameters), x).output[0]

    torch.testing.assert_close(torch.func.vmap(alone)(*net.parameters), expected)


def test_gradients_of_the_pure_part_and_of_the_kernel():
    net, x = network(outputs=None), inputs(3)

    def run(*parameters):
        return feedforward.activations(net.with_parameters(parameters), x).output

    def kernel(*parameters):
        return ntk.empirical(net.with_parameters(parameters), x)

    live = [p.clone().requires_grad_() for p in net.parameters]
    assert torch.autograd.gradcheck(run, live)
    assert torch.autograd.gradcheck(kernel, live)


def test_compiled_without_a_break():
    net, x = network(), inputs()
    compiled = torch.compile(lambda x: feedforward.activations(net, x).output, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), feedforward.forward(net, x).output)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_jacobian_is_that_of_the_forward_pass(dtype):
    net = network(outputs=None, biases=False, slope=0.99).to(dtype=dtype)
    x = inputs(dtype=dtype)
    J, h = feedforward.jacobian(net, x).double(), feedforward.forward(net, x).post[-1].double()
    found = (J @ x.double().unsqueeze(-1)).squeeze(-1)  # homogeneous
    torch.testing.assert_close(found, h, rtol=0, atol=4 * torch.finfo(dtype).eps * h.abs().max().item())


def test_kernel_of_one_output_is_held_once():
    """Beside the kernel and its chunk nothing of its size is made."""
    net, x, sizes = network(outputs=None, biases=False), inputs(200), []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.untyped_storage().nbytes() >= 8 * 3 * 200 * 200:
                sizes.append(result.untyped_storage().data_ptr())
            return result

    with Sizes():
        ntk.empirical(net, x, chunk_size=10)
    assert len(set(sizes)) == 1


# From a module


def test_from_a_module():
    module = nn.Sequential(
        nn.Linear(4, 6), nn.LeakyReLU(0.2), nn.Linear(6, 3, bias=False), nn.LeakyReLU(0.2), nn.Linear(3, 2)
    )
    net, x = Network.from_module(module), inputs(dtype=torch.float32)
    torch.testing.assert_close(feedforward.forward(net, x).output[0], module(x))
    assert net.weights[0].data_ptr() == module[0].weight.data_ptr()
    plain = Network.from_module(nn.Sequential(nn.Linear(4, 2, bias=False)))
    assert (plain.depth, plain.biases) == (0, None)
    relu = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 1))
    assert Network.from_module(relu).negative_slope == 0


@pytest.mark.parametrize(
    ("error", "message", "parts"),
    [
        (TypeError, "module must be a torch.nn.Sequential, got Linear", None),
        (TypeError, "module[1] must be a torch.nn.ReLU or torch.nn.LeakyReLU, got Tanh", [nn.Tanh(), nn.Linear(6, 2)]),
        (TypeError, "module[2] must be a torch.nn.Linear, got BatchNorm1d", [nn.ReLU(), nn.BatchNorm1d(6), nn.ReLU()]),
        (ValueError, "module must start and end with a torch.nn.Linear, got 2 modules in a row", [nn.ReLU()]),
        (
            ValueError,
            "module must have one activation, got the negative slopes [0.0, 0.1]",
            [nn.ReLU(), nn.Linear(6, 5), nn.LeakyReLU(0.1), nn.Linear(5, 2)],
        ),
        (ValueError, "module[2] has no shape yet", [nn.ReLU(), nn.LazyLinear(2)]),
        (
            ValueError,
            "weights[1] must have shape (1, n, 6), got (1, 2, 5)",
            [nn.ReLU(), nn.Linear(5, 2), nn.ReLU(), nn.Linear(2, 2)],
        ),
    ],
)
def test_modules_it_cannot_take(rejects, error, message, parts):
    first = nn.Linear(4, 6)
    rejects(error, message, lambda _: Network.from_module(first if parts is None else nn.Sequential(first, *parts)))


# Bad input

W, V = torch.ones(3, 6, 4), torch.ones(3, 6)


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (TypeError, "readout must be a real floating tensor, got list", ((), [1.0])),
        (TypeError, "readout must be a real floating tensor, got torch.int64", ((), V.long())),
        (ValueError, "readout must have shape (batch, n_L) or (batch, C, n_L), got (6,)", ((W,), V[0])),
        (ValueError, "readout must have 6 columns, one a neuron, got (3, 5)", ((W,), V[:, :5])),
        (TypeError, "weights must be a sequence of tensors, got torch.float32", (W, V)),
        (TypeError, "weights must be a sequence of tensors, got int", (1, V)),
        (
            TypeError,
            "weights[0] must be a tensor of the readout's dtype torch.float32, got torch.float64",
            ((W.double(),), V),
        ),
        (ValueError, "weights[0] must have shape (3, n, 4), got (2, 6, 4)", ((W[:2],), V)),
        (ValueError, "weights[0] must have shape (3, n, 4), got (6, 4)", ((W[0],), V)),
        (ValueError, "weights[1] must have shape (3, n, 6), got (3, 6, 4)", ((W, W), V)),
        (ValueError, "weights[0] must have shape (3, n, 4), got (3, 0, 4)", ((W[:, :0],), V)),
        (ValueError, "weights[0] must lie on the readout's device cpu, got meta", ((W.to("meta"),), V)),
        (ValueError, "weights[0] must have shape (3, n, n), got ()", ((torch.tensor(1.0),), V)),
        (ValueError, "weights[0] must have shape (0, n, n), got (0, 6, 0)", ((torch.ones(0, 6, 0),), V[:0])),
        (TypeError, "readout must be a dense tensor, got torch.sparse_coo", ((), V.to_sparse())),
        (TypeError, "weights[0] must be a dense tensor, got torch.sparse_coo", ((W.to_sparse(),), V)),
        (ValueError, "biases must be given for all 2 layers or for none, got 1", ((W,), V, (V,))),
        (ValueError, "biases[0] must have shape (3, 6), got (3, 5)", ((W,), V, (V[:, :5], V[:, 0]))),
        (ValueError, "biases[1] must have shape (3), got (3, 1)", ((W,), V, (V, V[:, :1]))),
        (TypeError, "negative_slope must be a real number, got 'relu'", ((W,), V, None, "relu")),
        (ValueError, "negative_slope must be finite, got nan", ((W,), V, None, math.nan)),
    ],
)
def test_bad_input(rejects, error, message, arguments):
    rejects(error, message, lambda _: Network(*arguments))


def test_replaced_fields_are_checked_again():
    net = Ensemble((4, 6), 2).sample(3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="readout must have 6 columns"):
        replace(net, readout=net.readout[:, :5])


def test_the_first_network_from_the_end_and_none_before_it():
    net = network(batch=3)
    assert torch.equal(net[-3].readout, net.readout[:1])
    assert torch.equal(net[2].readout, net.readout[2:])
    for beyond in (-4, 3):
        with pytest.raises(IndexError, match=rf"\[-3, 2\], got {beyond}"):
            net[beyond]

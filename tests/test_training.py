import copy
import math

import pytest
import torch
from torch import nn

from srlib import Ensemble, Network
from srlib.experiments import training


def stack(generator, batch=3, widths=(5, 7, 6, 4), biases=True, slope=0.0, dtype=torch.float64):
    pairs = list(zip(widths[1:], widths[:-1], strict=True))
    weights = tuple(torch.randn(batch, m, n, generator=generator, dtype=dtype) / math.sqrt(n) for m, n in pairs)
    b = tuple(torch.randn(batch, m, generator=generator, dtype=dtype) / 4 for m, _ in pairs) if biases else None
    return Network(weights[:-1], weights[-1], b, slope)


def data(generator, count=24, inputs=5, classes=4, dtype=torch.float64):
    return torch.randn(count, inputs, generator=generator, dtype=dtype), torch.arange(count) % classes


class Naive(nn.Module):
    """One network of the batch, as anyone would write it."""

    def __init__(self, networks, b):
        super().__init__()
        self.weights = nn.ParameterList([W[b].clone() for W in networks.matrices])
        self.biases = nn.ParameterList([v[b].clone() for v in networks.biases or ()])
        self.slope = networks.negative_slope

    def forward(self, x):
        for l, W in enumerate(self.weights):
            x = x @ W.T + (self.biases[l] if len(self.biases) else 0)
            if l < len(self.weights) - 1:
                x = torch.where(x > 0, x, self.slope * x)
        return x


def naive_fit(networks, b, x, targets, *, rate, steps, loss, optimizer, batches=None, scale=None):
    """Train one network with torch's own optimizers; return its parameters and losses."""
    model = Naive(networks, b)
    start = copy.deepcopy(model)
    optimizer = optimizer(model.parameters(), lr=rate)
    losses = []
    for step in range(steps):
        index = slice(None) if batches is None else batches[step]
        f = model(x[index])
        if scale is not None:
            f = scale * (f - start(x[index]).detach())
        value = loss(f, targets[index])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return [p.detach() for p in model.parameters()], losses


LOSSES = {
    training.cross_entropy: nn.functional.cross_entropy,
    training.squared: lambda f, y: (f - y).square().sum() / 2,
}


@pytest.mark.parametrize("optimizer", [training.sgd, training.adam])
@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize(
    ("biases", "slope", "scale"), [(True, 0.0, None), (False, 0.2, None), (True, 0.0, [3.0, 5.0, 1.0])]
)
def test_batched_training_is_training_one_by_one(optimizer, loss, biases, slope, scale, generator):
    networks, (x, y) = stack(generator, biases=biases, slope=slope), data(generator)
    targets = nn.functional.one_hot(y).double() if loss is training.squared else y
    rates = [0.002, 0.01, 0.005] if scale is None else [0.0002, 0.0004, 0.005]
    trained = training.fit(networks, x, targets, rates=rates, steps=12, loss=loss, optimizer=optimizer, scale=scale)
    twin = {training.sgd: torch.optim.SGD, training.adam: torch.optim.Adam}[optimizer]
    for b, rate in enumerate(rates):
        options = {"rate": rate, "steps": 12, "loss": LOSSES[loss], "optimizer": twin}
        parameters, losses = naive_fit(networks, b, x, targets, scale=scale and scale[b], **options)
        torch.testing.assert_close(trained.losses[b], torch.tensor(losses, dtype=torch.float64))
        found = [p[b] for p in trained.network.parameters]
        for p, q in zip(found, parameters, strict=True):
            torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)
        assert losses[-1] < losses[0]


def test_minibatches_are_a_shuffle_an_epoch_and_a_seed(generator):
    """Batches seen through the inputs themselves: each epoch uses every input at most once, equal seeds agree."""
    x = torch.arange(10.0, dtype=torch.float64).unsqueeze(1)
    seen = []

    def loss(f, targets):
        seen.append(targets.squeeze(-1))
        return f.sum((1, 2))

    networks = Network((), torch.ones(3, 1, 1, dtype=torch.float64))
    training.fit(networks, x, x, rates=1e-9, steps=7, loss=loss, batch_size=3, seeds=[4, 5, 4])
    seen = torch.stack(seen, 1)  # (batch, steps, 3)
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], seen[1])
    for epoch in (seen[0, :3], seen[0, 3:6], seen[1, :3]):
        assert len(set(epoch.flatten().tolist())) == 9
    assert not torch.equal(seen[0, :3], seen[0, 3:6])


@pytest.mark.parametrize("own", [False, True])
def test_minibatch_training_is_training_one_by_one(own, generator):
    networks, (x, y) = stack(generator), data(generator)
    labels = torch.stack([y, y.flip(0), y.roll(1)])
    trained = training.fit(networks, x, labels if own else y, rates=0.05, steps=9, batch_size=10, seeds=[3, 1, 2])
    for b, seed in enumerate([3, 1, 2]):
        shuffle = torch.Generator().manual_seed(seed)
        orders = [torch.randperm(24, generator=shuffle) for _ in range(5)]
        batches = [order[k : k + 10] for order in orders for k in (0, 10)]
        options = {"loss": nn.functional.cross_entropy, "optimizer": torch.optim.SGD, "batches": batches}
        _, losses = naive_fit(networks, b, x, labels[b] if own else y, rate=0.05, steps=9, **options)
        torch.testing.assert_close(trained.losses[b], torch.tensor(losses, dtype=torch.float64))


def test_input_networks_are_not_changed_and_nothing_is_drawn(generator):
    networks, (x, y) = stack(generator), data(generator)
    before = [p.clone() for p in networks.parameters]
    state = torch.get_rng_state()
    training.fit(networks, x, y, rates=0.1, steps=3, batch_size=4)
    assert all(torch.equal(p, q) for p, q in zip(networks.parameters, before, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_one_output_is_trained_as_one_of_several(generator):
    one = Ensemble((5, 8, 7), (3, 2), negative_slope=0.3).sample(4, generator=generator)
    several = Network(one.weights, one.readout.unsqueeze(1), negative_slope=0.3)
    x, y = torch.randn(6, 5, generator=generator, dtype=torch.float64), torch.arange(6.0, dtype=torch.float64)
    options = {"rates": 0.001, "steps": 5, "loss": training.squared}
    first, second = training.fit(one, x, y, **options), training.fit(several, x, y.unsqueeze(1), **options)
    torch.testing.assert_close(first.losses, second.losses)
    own = training.fit(one, x, y.expand(4, -1), batch_size=4, **options)
    torch.testing.assert_close(own.losses, training.fit(one, x, y, batch_size=4, **options).losses)
    with pytest.raises(ValueError, match="one output a class, got"):
        training.fit(one, x, torch.arange(6) % 2, rates=0.1, steps=1)


def test_diverged_networks_are_recorded_and_leave_the_others_alone(generator):
    networks, (x, y) = stack(generator), data(generator)
    targets = nn.functional.one_hot(y).double()
    options = {"steps": 60, "loss": training.squared}
    together = training.fit(networks, x, targets, rates=[0.002, 50.0, 0.004], **options)
    alone = training.fit(networks, x, targets, rates=[0.002, 0.002, 0.004], **options)
    assert together.diverged_at.tolist()[::2] == [-1, -1]
    at = together.diverged_at[1].item()
    assert 0 < at < 60
    assert together.losses[1, :at].isfinite().all()
    assert together.losses[1, at:].eq(math.inf).all()
    assert torch.equal(together.losses[::2], alone.losses[::2])


def test_divergence_at_the_last_update_is_recorded():
    networks = Network((), torch.ones(1, 1, 1))
    one = torch.ones(1, 1)
    trained = training.fit(networks, one, one, rates=100.0, steps=1, loss=lambda f, y: 1e38 * f.sum((1, 2)))
    assert trained.losses.isfinite().all()
    assert trained.diverged_at.tolist() == [1]


@pytest.mark.parametrize("entry", [0, -1])
@pytest.mark.parametrize("broken", range(6))
def test_divergence_of_one_entry_of_one_tensor_is_recorded(broken, entry, generator):
    """Of three weights and three biases; the last update, after which no loss tells."""
    networks, (x, y) = stack(generator), data(generator)
    wrong = networks.parameters[broken]

    def optimizer(gradient, state, step):
        direction = torch.zeros(gradient.shape, dtype=gradient.dtype)
        if gradient.shape == wrong.shape:
            direction[1].view(-1)[entry] = math.inf
        return direction

    assert [p.shape for p in networks.parameters].count(wrong.shape) == 1
    trained = training.fit(networks, x, y, rates=0.1, steps=1, optimizer=optimizer)
    assert trained.losses.isfinite().all()
    assert trained.diverged_at.tolist() == [-1, 1, -1]


def test_callback_sees_every_step(generator):
    networks, (x, y) = stack(generator), data(generator)
    seen = []
    trained = training.fit(
        networks, x, y, rates=0.1, steps=3, callback=lambda step, now: seen.append((step, now.weights[0].clone()))
    )
    assert [step for step, _ in seen] == [0, 1, 2, 3]
    assert torch.equal(seen[0][1], networks.weights[0])
    assert torch.equal(seen[3][1], trained.network.weights[0])


def test_progress_bar(generator, capsys):
    networks, (x, y) = stack(generator), data(generator)
    training.fit(networks, x, y, rates=0.1, steps=3, progress=True)
    assert "training: 100%" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "message", "change"),
    [
        (ValueError, "rates must be one number or one for each of the 3 networks, got 2", {"rates": [0.1, 0.2]}),
        (ValueError, "rates[1] must be positive, got 0.0", {"rates": [0.1, 0.0, 0.1]}),
        (ValueError, "rates[0] must be finite, got nan", {"rates": math.nan}),
        (TypeError, "rates[0] must be a real number, got 'fast'", {"rates": ["fast", 1, 2]}),
        (ValueError, "steps must be an integer of at least 0, got -1.0", {"steps": -1}),
        (ValueError, "steps must be an integer of at least 0, got 1.5", {"steps": 1.5}),
        (ValueError, "batch_size must lie in [1, 24], got 25", {"batch_size": 25}),
        (ValueError, "batch_size must be at least 1, got 0", {"batch_size": 0}),
        (ValueError, "seeds must hold one for each of the 3 networks, got 1", {"seeds": [1]}),
        (ValueError, "scale[0] must be positive, got -1.0", {"scale": -1.0}),
        (
            TypeError,
            "the weights' dtype torch.float64, got torch.float32",
            {"x": torch.ones(24, 5)},
        ),
        (ValueError, "x must have shape (N, n_0) = (N, 5), got (24, 6)", {"x": torch.ones(24, 6).double()}),
        (ValueError, "x must hold at least one input, got none", {"x": torch.ones(0, 5).double()}),
        (ValueError, "targets must be labels (24,)", {"targets": torch.zeros(23, dtype=torch.int64)}),
        (ValueError, "targets must be values (24, 4)", {"targets": torch.zeros(24).double()}),
        (ValueError, "targets must be values (24, 4)", {"targets": torch.zeros(24, 1).double()}),
        (ValueError, "targets must be labels in [0, 3], got 0 to 9", {"targets": torch.arange(24) % 10}),
        (TypeError, "targets must be a tensor of labels or of values, got list", {"targets": [0] * 24}),
        (ValueError, "got shape (2, 24)", {"targets": torch.zeros(2, 24, dtype=torch.int64)}),
    ],
)
def test_bad_input(error, message, change, generator):
    networks, (x, y) = stack(generator), data(generator)
    options = {"x": x, "targets": y, "rates": 0.1, "steps": 2} | change
    with pytest.raises(error) as caught:
        training.fit(networks, options.pop("x"), options.pop("targets"), **options)
    assert message in str(caught.value)


def test_half_precision_is_trained_in_single(generator):
    networks, (x, y) = stack(generator, dtype=torch.float32), data(generator, dtype=torch.float32)
    half, single = networks.to(dtype=torch.float16), networks.to(dtype=torch.float16).to(dtype=torch.float32)
    options = {"rates": 1e-2, "steps": 5, "optimizer": training.adam}
    found = training.fit(half, x.half(), y, **options)
    expected = training.fit(single, x.half().float(), y, **options)
    assert found.network.dtype == torch.float16
    assert torch.equal(found.losses, expected.losses)
    assert (found.diverged_at == -1).all()


def test_rates_stay_in_the_range_of_their_dtype(generator):
    networks, (x, y) = stack(generator, dtype=torch.float32), data(generator, dtype=torch.float32)
    for rate in (1e-50, 1e50):
        with pytest.raises(ValueError, match=r"rates\[0\] must lie in the range of torch.float32"):
            training.fit(networks, x, y, rates=rate, steps=1)


def test_labels_of_any_integer_type_and_no_networks(generator):
    networks, (x, y) = stack(generator), data(generator)
    expected = training.fit(networks, x, y, rates=0.1, steps=2).losses
    assert torch.equal(training.fit(networks, x, y.to(torch.uint8), rates=0.1, steps=2).losses, expected)
    assert training.fit(networks[:0], x, y, rates=0.1, steps=2, batch_size=4).losses.shape == (0, 2)


@pytest.mark.parametrize("spoilt", [0, 1, 2])
def test_a_network_has_diverged_if_one_of_its_tensors_has(generator, spoilt):
    network = Network((torch.ones(2, 4, 3), torch.ones(2, 5, 4)), torch.ones(2, 5))
    shape = network.parameters[spoilt].shape

    def optimizer(gradient, state, step):
        return torch.full_like(gradient, math.inf) if gradient.shape == shape else gradient

    options = {"rates": 1e-6, "steps": 1, "loss": training.squared, "optimizer": optimizer}
    found = training.fit(network, torch.randn(3, 3, generator=generator), torch.zeros(3), **options)
    assert found.diverged_at.tolist() == [1, 1]


def test_the_start_is_subtracted_on_the_inputs_of_every_batch(generator):
    network, x = Network((), torch.randn(2, 5, generator=generator)), torch.randn(6, 5, generator=generator)
    y = torch.randn(6, generator=generator)
    options = {"rates": 1e-12, "steps": 3, "loss": training.squared, "scale": 3.0, "batch_size": 2}
    losses = training.fit(network, x, y, **options).losses
    torch.testing.assert_close(losses.sum(1), y.square().sum().expand(2) / 2)  # one epoch, in which nothing moves

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from srlib import Ensemble, moments, ntk
from srlib.experiments import gradient_flow
from srlib.experiments.gradient_flow import GradientDescent, GradientFlow, time_factor

F64 = torch.float64


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def features(*shape, seed=0):
    """Gradients of a linear model: the kernel is J J^T."""
    return torch.randn(*shape, generator=generator(seed), dtype=F64)


def descent(J, targets, step, count, others):
    """The naive twin: full-batch gradient descent on f(x) = J(x) w from w = 0, and its outputs at other inputs."""
    w = torch.zeros(J.shape[1], targets.shape[1], dtype=F64)
    residuals, elsewhere = [], []
    for _ in range(count + 1):
        residuals.append(J @ w - targets)
        elsewhere.append(others @ w)
        w = w - step * J.T @ residuals[-1]
    return torch.stack(residuals), torch.stack(elsewhere)


def euler(kernel, residual, t, count):
    """Explicit Euler integration of the flow."""
    for _ in range(count):
        residual = residual - t / count * kernel @ residual
    return residual


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("parameters", [4, 30])  # fewer than inputs: a singular kernel
@pytest.mark.parametrize("share", [0.3, 0.99])  # of the largest stable step
def test_gradient_descent_of_a_linear_model(outputs, parameters, share):
    J, others, targets = features(7, parameters), features(5, parameters, seed=1), features(7, outputs, seed=2)
    flow = GradientFlow(J @ J.T)
    rate, steps = share * flow.largest_rate.item(), torch.arange(41)
    exact = GradientDescent(J @ J.T, rate)
    residuals, elsewhere = descent(J, targets, rate, 40, others)
    torch.testing.assert_close(exact.residuals(-targets, steps), residuals, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(exact.losses(-targets, steps), residuals.square().sum((1, 2)) / 2)
    found = exact.changes(others @ J.T, -targets, steps)
    torch.testing.assert_close(found, elsewhere, rtol=1e-9, atol=1e-9)
    assert (flow.residuals(-targets, rate * steps) - residuals).abs().max() > 1e-3  # the flow is not the descent


def test_the_flow_is_the_matrix_exponential():
    J, r = features(6, 9), features(6, seed=1)
    kernel = J @ J.T
    flow, times = GradientFlow(kernel), torch.tensor([0.0, 0.01, 0.3, 5.0], dtype=F64)
    expected = torch.stack([torch.linalg.matrix_exp(-t * kernel) @ r for t in times])
    torch.testing.assert_close(flow.residuals(r, times), expected, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(flow.losses(r, times), expected.square().sum(1) / 2, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(flow.residuals(r, [0.3])[0], euler(kernel, r, 0.3, 20_000), rtol=1e-3, atol=1e-4)


@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 2**16), st.floats(1e-6, 1e3))
def test_cross_prediction_at_the_training_inputs_is_the_residual(inputs, parameters, seed, t):
    J, r = features(inputs, parameters, seed=seed), features(inputs, seed=seed + 1)
    kernel = J @ J.T
    flow, descent = GradientFlow(kernel), GradientDescent(kernel, t / 3)
    runs = [(flow, [0.0, t])] + [(descent, [0, 3])] * bool(descent.rate < flow.largest_rate)
    for run, clock in runs:
        moved = run.residuals(r, clock) - r
        torch.testing.assert_close(run.changes(kernel, r, clock), moved, rtol=1e-7, atol=1e-7)


@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 2**16))
def test_losses_fall_and_steps_of_half_the_size_come_nearer_to_the_flow(inputs, parameters, seed):
    J, r = features(inputs, parameters, seed=seed), features(inputs, seed=seed + 1)
    flow = GradientFlow(J @ J.T)
    rate, steps = flow.largest_rate / 4, torch.arange(9)
    exact = flow.losses(r, rate * steps)
    coarse, fine = (GradientDescent(J @ J.T, rate / k).losses(r, k * steps) for k in (1, 2))
    assert (exact.diff() <= 0).all()
    assert (coarse <= fine + 1e-12).all()
    assert (fine <= exact + 1e-12).all()  # 1 - x <= exp(-x)


def test_batched_equals_looped():
    J, others, r = features(2, 3, 5, 8), features(2, 3, 4, 8, seed=1), features(2, 3, 5, 2, seed=2)
    kernel, cross = J @ J.mT, others @ J.mT
    rate = GradientFlow(kernel).largest_rate / 3
    assert rate.shape == (2, 3)

    def everything(run, cross, r, clock):
        return (
            run.residuals(r, clock),
            run.changes(cross, r, clock),
            run.losses(r, clock),
            run.residuals(r[..., 0], clock),
        )

    steps = torch.arange(6).expand(2, 3, -1)
    for make, clock in ((GradientFlow, rate.unsqueeze(-1) * steps), (GradientDescent, steps)):
        options = (rate,) if make is GradientDescent else ()
        found = everything(make(kernel, *options), cross, r, clock)
        assert [tuple(f.shape) for f in found] == [(2, 3, 6, 5, 2), (2, 3, 6, 4, 2), (2, 3, 6), (2, 3, 6, 5)]
        for i in range(2):
            for j in range(3):
                one = make(kernel[i, j], *(value[i, j] for value in options))
                expected = everything(one, cross[i, j], r[i, j], clock[i, j])
                for f, e in zip(found, expected, strict=True):
                    torch.testing.assert_close(f[i, j], e, rtol=1e-10, atol=1e-10)


def test_batch_dimensions_broadcast():
    J, r = features(5, 8), features(4, 5, seed=1)
    one, many = GradientFlow((J @ J.T)[None]), GradientFlow((J @ J.T).expand(4, 5, 5))
    times = torch.tensor([0.0, 0.2], dtype=F64)
    torch.testing.assert_close(one.residuals(r, times), many.residuals(r, times.expand(4, 2)))
    torch.testing.assert_close(many.losses(r[:1], times), one.losses(r[:1], times).expand(4, 2))


def test_small_and_zero_eigenvalues_keep_their_digits():
    kernel, ones = torch.diag(torch.tensor([0.0, 1e-20, 1.0], dtype=F64)), torch.ones(3, dtype=F64)
    flow = GradientFlow(kernel)
    for run, clock in ((flow, [3.0]), (GradientDescent(kernel, 0.5), [6])):
        change = run.changes(torch.eye(3, dtype=F64), -ones, clock)[0]
        assert change[:2].tolist() == pytest.approx([3.0, 3.0], rel=1e-12)  # the integral of 1, from either formula
    assert flow.residuals(ones, [1e30])[0].tolist() == pytest.approx([1.0, 0.0, 0.0])


def test_a_zero_kernel_stands_still():
    still = GradientDescent(torch.zeros(2, 2, dtype=F64), 1.0)
    assert still.largest_rate == math.inf
    assert still.losses(torch.ones(2), [0, 10**9]).tolist() == [1.0, 1.0]


def test_beyond_the_largest_rate_descent_grows():
    fast, border = (GradientDescent(torch.eye(2, dtype=F64), rate) for rate in (2.5, 2.0))
    assert fast.residuals(torch.ones(2), [3]).tolist() == [[-3.375] * 2]  # (1 - 2.5)^3
    assert border.losses(torch.ones(2), [2]).item() == 1.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, F64])
def test_rounding_of_every_precision_is_accepted(dtype):
    J = features(3, 40, 5)  # rank 5 of 40: most eigenvalues are rounding, of either sign
    kernel = (J @ J.mT).to(dtype)
    if dtype == torch.float32:
        kernel = kernel + 1e-7 * kernel.abs().amax() * features(3, 40, 40, seed=1).float().clamp(-1, 1)
    assert torch.linalg.eigvalsh(kernel.double()).min() < 0
    flow = GradientFlow(kernel)
    assert (flow.eigenvalues >= 0).all()
    assert (flow.losses(torch.ones(3, 40), [0.0, 1e3, 1e9]).diff() <= 0).all()


def test_networks_and_their_limit():
    ensemble = Ensemble((4, 64, 64), (2, 32)).preserving()
    x, y = features(6, 4), features(3, 4, seed=1)
    network = ensemble.sample(5, generator=generator())
    flow = GradientFlow(ntk.empirical(network, x))
    r = features(5, 6, seed=2)
    assert flow.changes(ntk.empirical(network, y, x), r, [1.0]).shape == (5, 1, 3)
    limit = GradientFlow(ntk.infinite(ensemble, x).ntk)
    assert limit.losses(r.T, [1.0]).item() == pytest.approx(
        sum(limit.losses(row, [1.0]).item() for row in r), rel=1e-10
    )


def test_arguments_are_left_alone():
    J, r = features(5, 8), features(5, seed=1)
    kernel, times = J @ J.T, torch.tensor([0.0, 1.0], dtype=F64)
    before = [t.clone() for t in (kernel, r, times)]
    flow = GradientFlow(kernel)
    flow.losses(r, times)
    GradientDescent(kernel, 0.01).changes(kernel, r, times)
    assert all(torch.equal(a, b) for a, b in zip(before, (kernel, r, times), strict=True))


def test_a_planted_error_is_noticed(monkeypatch):
    J, targets = features(7, 9), features(7, 1, seed=2)
    rate = GradientFlow(J @ J.T).largest_rate.item() / 2
    residuals, _ = descent(J, targets, rate, 8, J)
    right = GradientDescent._decay
    monkeypatch.setattr(GradientDescent, "_decay", lambda self, k: right(self, 1.01 * k).nan_to_num(0.0))
    found = GradientDescent(J @ J.T, rate).residuals(-targets, torch.arange(9))
    assert (found - residuals).abs().max() > 1e-3


# The time factor


def test_time_factor_is_the_ratio_of_mean_kernels():
    one, other = (Ensemble((5, 7, 6), r, s, readout_norm=1.3) for r, s in ((2, 1.5), ((3, 4.5), 1.1)))
    expected = moments.ntk(one).mean / moments.ntk(other).mean
    assert time_factor(one, other) == pytest.approx(expected.item(), rel=1e-12)
    assert time_factor(one, other) * time_factor(other, one) == pytest.approx(1.0, rel=1e-12)


def test_time_factor_of_a_thousand_layers():
    low, high = (Ensemble((16,) * 1001, r, readout_norm=math.sqrt(r)) for r in (8, 8.001))
    assert moments.ntk(low).mean == 0  # underflows, the ratio does not
    assert time_factor(high, low) == pytest.approx((8.001 / 8) ** 1000, rel=1e-9)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_kernels_of_scaled_weights_are_proportional(depth):
    """N4: all mean squared weights times rho, so the kernel times rho^L and the curves collapse."""
    rho, widths = 0.4, (6,) + (12,) * depth
    full = Ensemble(widths, 5.0, 1.3, readout_norm=1.7, negative_slope=0.1)
    low = Ensemble(widths, 5.0 * rho, 1.3, readout_norm=1.7 * math.sqrt(rho), negative_slope=0.1)
    x, r = features(7, 6), features(7, seed=3)
    assert time_factor(low, full) == pytest.approx(rho**depth, rel=1e-12)
    slow, fast = (GradientFlow(ntk.infinite(e, x).ntk) for e in (low, full))
    times = torch.tensor([0.0, 0.1, 1.0, 30.0], dtype=F64)
    torch.testing.assert_close(slow.losses(r, times / rho**depth), fast.losses(r, times), rtol=1e-9, atol=1e-12)


# Bad input

EYE, ONES = torch.eye(3, dtype=F64), torch.ones(3, dtype=F64)


@pytest.mark.parametrize(
    ("error", "message", "kernel"),
    [
        (TypeError, "kernel must be a real floating tensor, got list", [[1.0]]),
        (TypeError, "got torch.int64", torch.ones(2, 2, dtype=torch.int64)),
        (ValueError, "square, of shape (..., N, N), got (2, 3)", torch.ones(2, 3)),
        (ValueError, "got (3,)", torch.ones(3)),
        (ValueError, "got (0, 0)", torch.ones(0, 0)),
        (ValueError, "finite entries, got NaN", torch.full((2, 2), math.nan)),
        (ValueError, "symmetric, got entries that differ by up to 0.001", EYE + 1e-3 * EYE.roll(1, 0).triu()),
        (ValueError, "semidefinite, got the eigenvalue -0.001", torch.diag(torch.tensor([1.0, -1e-3]))),
    ],
)
def test_bad_kernels(rejects, error, message, kernel):
    rejects(error, message, lambda _: GradientFlow(kernel))
    if isinstance(kernel, torch.Tensor) and kernel.shape == (3, 3):  # one bad kernel of a batch
        rejects(error, message, lambda _: GradientFlow(torch.stack([EYE, kernel])))


@pytest.mark.parametrize(
    ("error", "message", "change"),
    [
        (TypeError, "initial must be a real floating tensor, got list", {"initial": [1.0] * 3}),
        (TypeError, "got torch.int64", {"initial": torch.ones(3, dtype=torch.int64)}),
        (ValueError, "N = 3 of the kernel, got (4,)", {"initial": torch.ones(4)}),
        (ValueError, "got (1, 1, 3)", {"initial": torch.ones(1, 1, 3)}),
        (ValueError, "initial must have finite entries", {"initial": math.inf * ONES}),
        (TypeError, "times must be real numbers, got 'soon'", {"times": "soon"}),
        (TypeError, "times must be real numbers, got torch.bool", {"times": torch.tensor([True])}),
        (ValueError, "times must have shape (T,)", {"times": 1.0}),
        (ValueError, "got (2, 1)", {"times": [[1.0], [2.0]]}),
        (ValueError, "times must be at least 0, got -0.5", {"times": [1.0, -0.5]}),
        (ValueError, "times must be finite", {"times": [math.inf]}),
    ],
)
def test_bad_arguments(rejects, error, message, change):
    initial, clock = ({"initial": ONES, "times": [0.0, 1.0]} | change).values()
    for run in (GradientFlow(EYE), GradientDescent(EYE, 0.5)):
        text = message if isinstance(run, GradientFlow) else message.replace("times", "steps")
        rejects(error, text, lambda _, run=run: run.residuals(initial, clock))
        rejects(error, text, lambda _, run=run: run.losses(initial, clock))
        rejects(error, text, lambda _, run=run: run.changes(EYE, initial, clock))


@pytest.mark.parametrize(
    ("error", "message", "rate"),
    [
        (ValueError, "rate must be positive, got 0", 0.0),
        (ValueError, "rate must be finite", math.nan),
        (TypeError, "rate must be real numbers, got 'big'", "big"),
        (ValueError, "one for each kernel of the batch (), got (2,)", [0.5, 0.5]),
    ],
)
def test_bad_rates(rejects, error, message, rate):
    rejects(error, message, lambda _: GradientDescent(EYE, rate))


def test_steps_are_whole(rejects):
    descent = GradientDescent(EYE, 0.5)
    rejects(ValueError, "steps must be whole numbers, got 0.7", lambda _: descent.losses(ONES, [0.0, 0.7]))


@pytest.mark.parametrize("cross", [torch.ones(2, 4), torch.ones(1, 2, 3)])
def test_bad_cross_kernels(rejects, cross):
    rejects(ValueError, f"got {tuple(cross.shape)}", lambda _: GradientFlow(EYE).changes(cross, ONES, [1.0]))


def test_public_names():
    assert gradient_flow.__all__ == ["GradientDescent", "GradientFlow", "LeastSquares", "time_factor"]


def test_descent_is_stable_below_the_largest_rate_and_not_above():
    kernel = torch.diag(torch.tensor([3.0, 0.5, 0.0], dtype=torch.float64))
    largest = GradientFlow(kernel).largest_rate.item()
    for factor, grows in ((0.99, False), (1.01, True)):
        before, after = GradientDescent(kernel, factor * largest).losses(torch.ones(3), [0, 1000])
        assert (after > before) == grows

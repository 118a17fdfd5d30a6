import itertools
import math

import pytest
import torch
from scipy.integrate import quad

from srlib import arccos, check, haar

SLOPES = [0.0, 0.2, 1.0, -0.5]
ANGLES = torch.tensor([0.0, 1e-9, 0.3, 1.2, math.pi / 2, 2.5, math.pi], dtype=torch.float64)

slopes = pytest.mark.parametrize("slope", SLOPES)


def act(z, slope):
    return z if z > 0 else slope * z


def gate(z, slope):
    return 1.0 if z > 0 else slope


def circle(function, theta):
    """Mean of f(cos w, cos(w - theta)) over the circle, split where either sign changes."""
    kinks = sorted({(k * math.pi / 2 + shift) % (2 * math.pi) for shift in (0, theta) for k in (1, 3)})
    ends = [0.0, *kinks, 2 * math.pi]
    pieces = (
        quad(lambda w: function(math.cos(w), math.cos(w - theta)), low, high, epsabs=1e-12)[0]
        for low, high in itertools.pairwise(ends)
        if high - low > 1e-12
    )
    return sum(pieces) / (2 * math.pi)


@slopes
@pytest.mark.parametrize("theta", ANGLES.tolist())
def test_closed_forms_are_means_over_the_circle(slope, theta):
    angle = torch.tensor(theta, dtype=torch.float64)
    gates = circle(lambda x, y: gate(x, slope) * gate(y, slope), theta)
    products = 2 * circle(lambda x, y: act(x, slope) * act(y, slope), theta)
    assert arccos.kappa0(angle, slope).item() == pytest.approx(gates, abs=1e-8)
    assert arccos.kappa1(angle, slope).item() == pytest.approx(products, abs=1e-8)


@slopes
def test_ends_and_derivative(slope):
    zero, half_turn = ANGLES[0], ANGLES[-1]
    eta = (1 + slope**2) / 2
    assert arccos.kappa0(zero, slope).item() == pytest.approx(eta)
    assert arccos.kappa1(zero, slope).item() == pytest.approx(eta)
    assert arccos.kappa0(half_turn, slope).item() == pytest.approx(slope, abs=1e-15)
    assert arccos.kappa1(half_turn, slope).item() == pytest.approx(-slope, abs=1e-15)
    theta = torch.linspace(0.1, 3, 30, dtype=torch.float64, requires_grad=True)
    (derivative,) = torch.autograd.grad(arccos.kappa1(theta, slope).sum(), theta)
    torch.testing.assert_close(derivative, -arccos.kappa0(theta, slope) * theta.sin())  # d kappa1 / d cos = kappa0


@pytest.mark.parametrize("gap", [1e-9, 1e-6, 1e-3, 0.03])
def test_what_is_small_at_nearly_opposite_inputs(gap):
    """Relative to itself: of order pi - theta for gates, of its cube for activations."""
    theta = math.pi - torch.tensor(gap, dtype=torch.float64)
    gap = math.pi - theta.item()
    assert arccos.kappa0(theta).item() == pytest.approx(gap / (2 * math.pi), rel=1e-12, abs=0)
    if gap > 1e-4:  # sin and cos cancel
        cube = gap**3 * (1 / 3 - gap**2 / 30) / (2 * math.pi)
        assert arccos.kappa1(theta).item() == pytest.approx(cube, rel=1e-6, abs=0)
    for slope in (0.2, 1.0, -0.5):
        assert arccos.kappa0(theta, slope).item() - slope == pytest.approx(
            (1 - slope) ** 2 * gap / (2 * math.pi), rel=1e-6, abs=0 if slope < 1 else 1e-15
        )


@slopes
def test_next_angle(slope):
    eta = (1 + slope**2) / 2
    found = arccos.next_angle(ANGLES, slope)
    torch.testing.assert_close(found.cos(), arccos.kappa1(ANGLES, slope) / eta, rtol=0, atol=1e-14)
    tiny = torch.tensor([1e-12, 1e-9, 1e-6], dtype=torch.float64)
    torch.testing.assert_close(arccos.next_angle(tiny, slope), tiny, rtol=1e-5, atol=0)  # no cancellation
    if slope == 1:
        torch.testing.assert_close(found, ANGLES, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("theta", [*ANGLES.tolist(), 1e-12, 1e-6])
def test_angle_is_accurate_at_both_ends(theta, generator):
    frame = haar.orthogonal(5, 2, generator=generator, dtype=torch.float64)
    x, y = 3 * frame[:, 0], 0.1 * (math.cos(theta) * frame[:, 0] + math.sin(theta) * frame[:, 1])
    assert arccos.angle(x, y).item() == pytest.approx(theta, rel=1e-6, abs=1e-15)
    assert math.pi - arccos.angle(x, -y).item() == pytest.approx(theta, rel=1e-6, abs=1e-15)


@pytest.mark.parametrize(("dtype", "exponent"), [(torch.float32, 37), (torch.float64, 300)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_angle_at_every_scale(dtype, exponent, sign):
    x, y = torch.tensor([[1.0, 0.0, 1.0], [0.0, 2.0, 1.0]], dtype=dtype)
    expected = arccos.angle(x, y)
    torch.testing.assert_close(arccos.angle(x * 10.0 ** (sign * exponent), y / 10.0 ** (sign * exponent)), expected)


def test_angle_broadcasts_and_allows_zero_vectors():
    x = torch.eye(3, dtype=torch.float64)
    angles = arccos.angle(x.unsqueeze(1), x)
    torch.testing.assert_close(angles, math.pi / 2 * (1 - x))
    assert arccos.angle(x, torch.zeros(3, dtype=torch.float64)).isfinite().all()


@pytest.mark.parametrize("slope", SLOPES[:2])
def test_exact_for_four_neurons(slope, generator):
    theta = torch.tensor([0.5, 2.0], dtype=torch.float64)
    Q = haar.orthogonal(4, 2, batch=60_000, generator=generator, dtype=torch.float64)
    a, b = Q[..., :1], Q @ torch.stack([theta.cos(), theta.sin()])
    phi = [torch.where(z > 0, z, slope * z) for z in (a, b)]
    claim = check.sampled(
        "F6.tests", "4 neurons", (phi[0] * phi[1]).sum(1), arccos.kappa1(theta, slope), scale=0.5, resolve=0.2
    )
    assert claim, claim
    assert claim.noticeable < 0.02

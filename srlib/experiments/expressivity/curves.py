"""Curves of inputs that are affine or circular between their knots (X3)."""

import math
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from srlib import _validation
from srlib.arccos import angle

__all__ = ["Curve", "circle", "polyline", "segment"]

#: A vector this much shorter than the coefficients it is combined from is zero.
_ZERO = 1e-11


@dataclass(frozen=True, eq=False)
class Curve:
    r"""A curve of inputs that is affine or circular between its knots.

    Between the knots :math:`t_s` and :math:`t_{s+1}` it is :math:`t\,C_1 + C_0`, or :math:`\cos t\,C_1 + \sin t\,C_2`
    if ``circular``. Made by :func:`segment`, :func:`polyline` and :func:`circle`.

    Parameters
    ----------
    knots
        Increasing parameters :math:`t_0 < \dots < t_S`, shape ``(S + 1,)``, float64.
    coefficients
        :math:`(C_1, C_0)` or :math:`(C_1, C_2)` between them, shape ``(S, 2, n_0)``, float64.
    circular
        Whether the two basis functions are cosine and sine.
    closed
        Whether the end is the start.
    """

    knots: Tensor
    coefficients: Tensor
    circular: bool = False
    closed: bool = False

    def at(self, t: Tensor) -> Tensor:
        """Points of the curve.

        Parameters
        ----------
        t
            Parameters between the first and the last knot, or any on a circle, shape ``(N,)``.

        Returns
        -------
        Tensor
            Shape ``(N, n_0)``, float64.

        Raises
        ------
        ValueError
            If a parameter lies beyond the ends of a straight curve.

        Examples
        --------
        >>> segment(torch.zeros(2), torch.tensor([2.0, 4.0])).at(torch.tensor([0.0, 0.5]))
        tensor([[0., 0.],
                [1., 2.]], dtype=torch.float64)
        """
        t = t.to(self.knots).contiguous()  # or torch warns that it makes a copy
        start, end = self.knots[0], self.knots[-1]
        beyond = t[~((start <= t) & (t <= end))]
        if len(beyond) and not self.circular:
            raise ValueError(f"t must lie in [{start:g}, {end:g}], got {beyond[0]:g}")
        piece = torch.searchsorted(self.knots[1:-1].contiguous(), t, right=True)
        return evaluate(self.coefficients[piece], t, self.circular)


def segment(a: Tensor, b: Tensor) -> Curve:
    r"""Straight segment between two inputs, with :math:`t \in [0, 1]`.

    .. math:: x(t) = a + t\,(b - a) .

    Parameters
    ----------
    a, b
        Its ends, shape ``(n_0,)``.

    Returns
    -------
    Curve
        One segment.

    Raises
    ------
    TypeError
        If an end is not a floating tensor.
    ValueError
        If the ends do not have one shape ``(n_0,)``, are not finite, or coincide.

    Examples
    --------
    >>> from srlib import Network
    >>> from srlib.experiments.expressivity import kinks
    >>> V = Network((torch.tensor([[[1.0], [-1.0]]]),), torch.ones(1, 2))  # |x|
    >>> found = kinks(V, segment(torch.tensor([-1.0]), torch.tensor([3.0])))
    >>> found.pieces, found.layers[0].parameter  # both neurons switch at x = 0
    (tensor([2]), tensor([0.2500, 0.2500], dtype=torch.float64))
    """
    return polyline(torch.stack(_pair(a, b, "a", "b")))


def polyline(points: Tensor, *, closed: bool = False) -> Curve:
    r"""Straight segments from input to input, with :math:`t = 0, 1, 2, \dots` at the inputs.

    There is a further knot where a segment passes through the origin, since its direction jumps there.

    Parameters
    ----------
    points
        Vertices, shape ``(N, n_0)``; two in a row must differ.
    closed
        Whether a last segment leads back to the first vertex; needs at least three.

    Returns
    -------
    Curve
        :math:`N - 1` segments, or :math:`N`.

    Raises
    ------
    TypeError
        If ``points`` is not a floating tensor.
    ValueError
        If it does not have shape ``(N, n_0)`` with enough vertices, is not finite, or two vertices in a row coincide.

    Examples
    --------
    >>> triangle = polyline(torch.eye(3), closed=True)
    >>> triangle.knots.tolist(), triangle.at(torch.tensor([2.5])).tolist()
    ([0.0, 1.0, 2.0, 3.0], [[0.5, 0.0, 0.5]])
    """
    vertices = _points(points, "points", "(N, n_0)")
    least = 3 if closed else 2
    if len(vertices) < least:
        raise ValueError(f"points must hold at least {least} vertices, got {len(vertices)}")
    if closed:
        vertices = torch.cat([vertices, vertices[:1]])
    step = vertices.diff(dim=0)
    if not step.any(-1).all():
        raise ValueError("two vertices in a row must differ: a segment of length 0 has no direction")
    knots = torch.arange(len(vertices), dtype=torch.float64, device=vertices.device)
    base = vertices[:-1] - knots[:-1, None] * step
    coefficients = torch.stack([step, base], 1)
    nearest = -(step * base).sum(-1) / step.square().sum(-1)  # to the origin
    through = (knots[:-1] < nearest) & (nearest < knots[1:]) & vanishes(coefficients, nearest, circular=False)
    knots = torch.cat([knots, nearest[through]]).sort().values
    return Curve(knots, coefficients.repeat_interleave(1 + through.long(), 0), closed=closed)


def circle(e1: Tensor, e2: Tensor) -> Curve:
    r"""Closed curve around the origin, a great circle if the two vectors are orthonormal, with :math:`t \in [0, 2\pi]`.

    .. math:: x(t) = \cos t\, e_1 + \sin t\, e_2 .

    Parameters
    ----------
    e1, e2
        Two independent vectors, shape ``(n_0,)``.

    Returns
    -------
    Curve
        Four quarters.

    Raises
    ------
    TypeError
        If a vector is not a floating tensor.
    ValueError
        If the vectors do not have one shape ``(n_0,)``, are not finite, or are parallel.

    Examples
    --------
    >>> from srlib import Ensemble
    >>> from srlib.experiments.expressivity import kinks
    >>> e = torch.eye(5)
    >>> network = Ensemble((5, 8), 2).sample(3, generator=torch.Generator().manual_seed(0))
    >>> kinks(network, circle(e[0], e[1])).counts.flatten()  # each of 8 neurons has two zeros
    tensor([16, 16, 16])
    """
    e1, e2 = _pair(e1, e2, "e1", "e2")
    if not (e1.any() and e2.any() and angle(e1, e2).sin() > _ZERO):
        raise ValueError("e1 and e2 must be linearly independent: the circle would pass through the origin")
    knots = torch.arange(5, dtype=torch.float64, device=e1.device) * (math.pi / 2)
    return Curve(knots, torch.stack([e1, e2]).expand(4, -1, -1), circular=True, closed=True)


def evaluate(coefficients: Tensor, t: Tensor, circular: bool) -> Tensor:
    """Values at one parameter for each row: (P, 2 or 3, n) to (P, n), the constant last."""
    one = torch.ones_like(t)
    basis = [t.cos(), t.sin(), one] if circular else [t, one]
    return reduce(torch.add, (b.unsqueeze(-1) * c for b, c in zip(basis, coefficients.unbind(1), strict=False)))


def vanishes(coefficients: Tensor, t: Tensor, circular: bool) -> Tensor:
    """Tell for each row whether the value is zero, up to rounding; by largest entries, whose squares may underflow."""
    size = coefficients.abs().amax((1, 2)) * (1 if circular else t.clamp(min=1))
    return evaluate(coefficients, t, circular).abs().amax(-1) <= _ZERO * size


def finite(value: Tensor, name: str) -> Tensor:
    """Return floating, finite vectors ``(..., n)``, none or more, in float64 and without their history."""
    column = value.unsqueeze(-1) if isinstance(value, Tensor) else value
    return _validation.matrix(column, name).detach().squeeze(-1).double()


def _points(value: Tensor, name: str, shape: str) -> Tensor:
    if isinstance(value, Tensor) and (value.ndim != len(shape.split()) or not value.numel()):
        raise ValueError(f"{name} must have shape {shape}, got {tuple(value.shape)}")
    return finite(value, name)


def _pair(a: Tensor, b: Tensor, *names: str) -> list[Tensor]:
    a, b = (_points(value, name, "(n_0,)") for value, name in zip((a, b), names, strict=True))
    if a.shape != b.shape:
        raise ValueError(f"{' and '.join(names)} must have one shape (n_0,), got {tuple(a.shape)} and {tuple(b.shape)}")
    return [a, b]

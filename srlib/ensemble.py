"""The random model: one layer, and a network of independent layers (M1, M2)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral, Real
from typing import cast

import torch
from torch import Tensor

from srlib import _validation, haar, spectra
from srlib._types import BatchFactory
from srlib.network import Network
from srlib.spectra import Average, Law, Levels
from srlib.spectra.law import each, levels, matrices

__all__ = ["Ensemble", "sample"]


def sample(
    shape: Sequence[int],
    stable_rank: float,
    *,
    spectral_norm: float = 1.0,
    law: Law = spectra.two_level,
    batch: int | Sequence[int] = (),
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    r"""Draw matrices of a given stable rank and spectral norm, invariant under rotations on both sides.

    .. math:: W = s\, U \operatorname{diag}(\sigma)\, V^\top ,

    with :math:`U, V` the first :math:`k = \min(m, n)` columns of independent Haar orthogonal matrices and
    :math:`\sigma` from the law. Where its levels say that at least half of the singular values are equal, as for
    two-level and projector spectra, one Haar factor and a few directions of the other one suffice (M2). A law may have
    a way of its own to the whole matrix, as :func:`srlib.spectra.conditioned_gaussian` has at low stable rank (M5).

    Parameters
    ----------
    shape
        Rows and columns :math:`(m, n)`.
    stable_rank
        :math:`r \in [1, \min(m, n)]`; every draw has it, to rounding.
    spectral_norm
        :math:`s > 0`.
    law
        Law of the relative singular values, from :mod:`srlib.spectra` or your own.
    batch
        Leading dimensions of the result.
    generator
        Source of randomness; torch's default one when omitted.
    dtype
        Floating dtype of the result; torch's default one when omitted. Half precision is computed in float32.
    device
        Device of the result and of ``generator``.

    Returns
    -------
    Tensor
        Shape ``(*batch, m, n)``.

    Raises
    ------
    TypeError
        If a size is not an integer, a number not real or ``dtype`` not floating.
    ValueError
        If ``stable_rank`` lies outside its range, ``spectral_norm`` is not positive and finite, or a size is out of
        range.

    Examples
    --------
    >>> import srlib
    >>> W = sample((64, 32), 8.0, spectral_norm=2.0, generator=torch.Generator().manual_seed(0))
    >>> print(f"{srlib.stable_rank(W):.3f} {torch.linalg.matrix_norm(W, 2):.3f}")
    8.000 2.000
    """
    m, n = _validation.layer_shape(shape)
    k = min(m, n)
    r = _validation.stable_rank(stable_rank, k)
    s = _validation.positive(spectral_norm, "spectral_norm")
    batch, dtype = _validation.batch_shape(batch), _validation.floating_dtype(dtype)

    compute = _validation.compute_dtype(dtype)
    options: BatchFactory = {"batch": batch, "generator": generator, "dtype": compute, "device": device}
    whole = matrices(law, (m, n), r, options)
    if whole is not None:
        return (s * whole).contiguous().to(dtype)
    sigma = s * law((m, n), r, **options)
    tall = _tall(max(m, n), k, sigma, levels(law, (m, n), r), options)
    return (tall if m > n else tall.mT).contiguous().to(dtype)


def _tall(m: int, n: int, sigma: Tensor, spectrum: Levels | None, options: BatchFactory) -> Tensor:
    """Draw ``U diag(sigma) V^T`` with ``m >= n``, by the cheapest of three ways."""
    middle, start, end = _middle(spectrum, n)
    others = n - (end - start)
    if others > n / 2:
        U = haar.orthogonal(m, n, **options)
        return haar.rotate(U * sigma.unsqueeze(-2), generator=options["generator"])
    spikes = torch.cat([sigma[..., :start], sigma[..., end:]], -1).unsqueeze(-2)
    if others and middle == 0:
        return _product(haar.orthogonal(m, others, **options) * spikes, haar.orthogonal(n, others, **options))
    tau = sigma[..., start, None, None]
    Q = haar.orthogonal(m, n, **options)  # M2 (e)
    if not others:
        return Q.mul_(tau)
    V = haar.orthogonal(n, others, **options)
    return _product((Q @ V) * (spikes - tau), V).add_(tau * Q)


def _middle(spectrum: Levels | None, n: int) -> tuple[float, int, int]:
    """Return the singular value in the middle, which any that more than half are equal to is, and where it stands."""
    if spectrum is None:
        return math.nan, 0, 0
    ends = spectrum.multiplicities.cumsum(0)
    level = int((ends <= n // 2).sum())
    end = int(ends[level])
    return spectrum.values[level].item(), end - int(spectrum.multiplicities[level]), end


def _product(A: Tensor, V: Tensor) -> Tensor:
    """Return ``A V^T``, column by column in memory as the Haar factors are."""
    return (V @ A.mT).mT


@dataclass(frozen=True, init=False)
class Ensemble:
    r"""Random deep networks whose layers have given stable ranks and spectral norms.

    Layer :math:`l` is drawn by :func:`sample`, independently of the others; the readout is
    :math:`s_\mathrm{out}` times a uniform unit vector.

    Parameters
    ----------
    widths
        :math:`(n_0, \dots, n_L)`, input first; at least two.
    stable_ranks
        :math:`r_l \in [1, \min(n_l, n_{l-1})]`: one number for all layers, or one for each of the :math:`L` layers.
    spectral_norms
        :math:`s_l > 0`: one number, or one for each layer.
    law
        Law of the relative singular values of every layer.
    readout_norm
        :math:`s_\mathrm{out} > 0`.
    negative_slope
        Slope :math:`a` of the activation :math:`\varphi(z) = z` for :math:`z > 0`, :math:`az` otherwise.

    Raises
    ------
    TypeError
        If a width is not an integer or another argument not a real number.
    ValueError
        If a value lies outside its range, or a list has another length than there are layers.

    Examples
    --------
    >>> ensemble = Ensemble((784, 256, 256), stable_ranks=[64, 32.5], spectral_norms=1.5)
    >>> ensemble.depth, ensemble.spectral_norms
    (2, (1.5, 1.5))
    >>> network = ensemble.sample(10, generator=torch.Generator().manual_seed(0))
    >>> [tuple(W.shape) for W in network.weights]
    [(10, 256, 784), (10, 256, 256)]
    """

    widths: tuple[int, ...]
    stable_ranks: tuple[float, ...]
    spectral_norms: tuple[float, ...]
    law: Law
    readout_norm: float
    negative_slope: float

    def __init__(
        self,
        widths: Sequence[int],
        stable_ranks: float | Sequence[float],
        spectral_norms: float | Sequence[float] = 1.0,
        *,
        law: Law = spectra.two_level,
        readout_norm: float = 1.0,
        negative_slope: float = 0.0,
    ) -> None:
        if not isinstance(widths, Iterable):
            raise TypeError(f"widths must be a sequence (n_0, ..., n_L), got {widths!r}")
        widths = tuple(_validation.width(n, f"widths[{l}]") for l, n in enumerate(widths))
        if len(widths) < 2:
            raise ValueError(f"widths must hold at least the input and one layer, got {widths}")
        ranks = _per_layer(stable_ranks, len(widths) - 1, "stable_ranks")
        norms = _per_layer(spectral_norms, len(widths) - 1, "spectral_norms")
        shapes = list(zip(widths[1:], widths[:-1], strict=True))
        values = {
            "widths": widths,
            "stable_ranks": tuple(
                _validation.stable_rank(r, min(shape), f"stable_ranks[{l}]")
                for l, (r, shape) in enumerate(zip(ranks, shapes, strict=True))
            ),
            "spectral_norms": tuple(_validation.positive(s, f"spectral_norms[{l}]") for l, s in enumerate(norms)),
            "law": law,
            "readout_norm": _validation.positive(readout_norm, "readout_norm"),
            "negative_slope": _validation.number(negative_slope, "negative_slope"),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def depth(self) -> int:
        """Number of layers :math:`L`, the readout not counted."""
        return len(self.widths) - 1

    @cached_property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Shapes ``(n_l, n_{l-1})`` of the layers."""
        return tuple(zip(self.widths[1:], self.widths[:-1], strict=True))

    @cached_property
    def layers(self) -> tuple[tuple[tuple[int, int], float], ...]:
        """Shape and stable rank of each layer."""
        return tuple(zip(self.shapes, self.stable_ranks, strict=True))

    def quartic_traces(self) -> Average[tuple[float, ...]]:
        r"""Mean quartic traces of the layers, exact or by simulation: :func:`srlib.spectra.mean_quartic_trace`.

        Returns
        -------
        Average
            The means :math:`q_l`, one a layer, and their standard errors.

        Examples
        --------
        >>> Ensemble((4, 4, 4), [1.75, 4]).quartic_traces()
        Average(value=(1.1875, 4.0), error=(0.0, 0.0))
        """
        return Average(*zip(*each(spectra.mean_quartic_trace, self.law, self.layers), strict=True))

    def participation_ranks(self) -> Average[tuple[float, ...]]:
        r"""Participation ranks of the layers, :math:`p_l = r_l^2 / q_l`.

        Returns
        -------
        Average
            The ranks, one a layer, and their standard errors, from those of :meth:`quartic_traces`.

        Examples
        --------
        >>> Ensemble((4, 4), 2, law=spectra.projector).participation_ranks()
        Average(value=(2.0,), error=(0.0,))
        """
        quartic = zip(self.stable_ranks, *self.quartic_traces(), strict=True)
        return Average(*zip(*((r**2 / q, r**2 / q * (error / q)) for r, q, error in quartic), strict=True))

    def preserving(self) -> Ensemble:
        r"""The same ensemble with the spectral norms that keep :math:`\mathbb{E}\|h_l\|^2` constant (F2).

        .. math:: s_l^2 = \frac{n_{l-1}}{\eta\, r_l}, \qquad \eta = \frac{1 + a^2}{2} .

        Returns
        -------
        Ensemble
            Equal to this one but for ``spectral_norms``.

        Examples
        --------
        >>> Ensemble((16, 8), 2).preserving().spectral_norms
        (4.0,)
        """
        eta = (1 + self.negative_slope**2) / 2
        return replace(self, spectral_norms=tuple(math.sqrt(n / (eta * r)) for (_, n), r in self.layers))

    def sample(
        self,
        batch: int,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> Network:
        """Draw independent networks.

        Parameters
        ----------
        batch
            How many; 0 is allowed.
        generator
            Source of randomness; torch's default one when omitted.
        dtype
            Floating dtype of the weights. Half precision is computed in float32.
        device
            Device of the weights and of ``generator``.

        Returns
        -------
        Network
            Weights ``(batch, n_l, n_{l-1})`` and readout ``(batch, n_L)``.

        Raises
        ------
        TypeError
            If ``batch`` is not an integer or ``dtype`` not floating.
        ValueError
            If ``batch`` is negative.
        """
        if isinstance(batch, bool) or not isinstance(batch, Integral):
            raise TypeError(f"batch must be an integer of at least 0, got {batch!r}")
        options: BatchFactory = {"batch": batch, "generator": generator, "dtype": dtype, "device": device}
        layers = zip(self.layers, self.spectral_norms, strict=True)
        weights = tuple(sample(*layer, spectral_norm=s, law=self.law, **options) for layer, s in layers)
        dtype = weights[0].dtype
        options["dtype"] = _validation.compute_dtype(dtype)
        readout = self.readout_norm * haar.orthogonal(self.widths[-1], 1, **options).squeeze(-1)
        return Network(weights, readout.to(dtype), negative_slope=self.negative_slope)


def _per_layer(value: float | Sequence[float], depth: int, name: str) -> tuple[float, ...]:
    if isinstance(value, Real) or getattr(value, "ndim", None) == 0:
        return (cast("float", value),) * depth
    if not isinstance(value, Iterable):
        raise TypeError(f"{name} must be one real number or {depth} of them, one a layer, got {value!r}")
    values = tuple(value)
    if len(values) != depth:
        raise ValueError(f"{name} must be one number or {depth} numbers, one a layer, got {len(values)}: {value!r}")
    return values

"""Initialization by stable rank, in the convention of :mod:`torch.nn.init` (I1, I2)."""

import math

import torch
from torch import Tensor, nn

from srlib import _validation, spectra
from srlib._types import BatchFactory
from srlib.ensemble import sample
from srlib.network import Network
from srlib.spectra import Law

__all__ = ["module_", "stable_rank_"]


@torch.no_grad()
def stable_rank_(
    tensor: Tensor,
    stable_rank: float,
    *,
    law: Law = spectra.two_level,
    spectral_norm: float | None = None,
    nonlinearity: str = "relu",
    param: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Fill a weight with a random matrix of given stable rank, invariant under rotations on both sides.

    .. math:: W = s\, U \operatorname{diag}(\sigma)\, V^\top \in \mathbb{R}^{m \times n}, \qquad
              s = \text{gain}\, \sqrt{m / r} \quad \text{by default},

    where :math:`m` is the number of outputs, :math:`n` the fan-in and the gain that of the nonlinearity. The default
    keeps the forward variance: the mean squared weight is :math:`\text{gain}^2 / n`, as with He's initialization
    :cite:p:`he2015delving`, but exactly so for every draw. What the stable rank then changes is the fluctuation from
    draw to draw, which the participation rank of the law governs (F3): low stable ranks of the two-level law, and
    projectors, fluctuate more. At :math:`r = \min(m, n)` the matrix is orthogonal up to scale, the safe choice for
    deep networks. With a fixed ``spectral_norm`` the forward variance falls with the stable rank instead, by the
    factor :math:`s^2 r / m` over its kept value :math:`\text{gain}^2` a layer.

    Parameters
    ----------
    tensor
        Weight of at least two dimensions, ``(m, n)`` or a convolution's ``(out, in, *kernel)``, which is filled as
        the matrix ``(out, in * prod(kernel))``. Half precision is computed in float32.
    stable_rank
        :math:`r \in [1, \min(m, n)]`.
    law
        Law of the relative singular values, from :mod:`srlib.spectra` or your own.
    spectral_norm
        :math:`s > 0`; what keeps the forward variance when omitted.
    nonlinearity, param
        What follows the layer, as for :func:`torch.nn.init.calculate_gain`: ``"relu"``, ``"linear"``, ``"tanh"``,
        or ``"leaky_relu"`` with its slope as ``param``. Not used if ``spectral_norm`` is given.
    generator
        Source of randomness; torch's default one when omitted.

    Returns
    -------
    Tensor
        The tensor itself.

    Raises
    ------
    TypeError
        If ``tensor`` is not a real floating tensor, or a number not real.
    ValueError
        If the tensor has fewer than two dimensions or an empty one, ``stable_rank`` lies outside its range,
        ``spectral_norm`` is not positive and finite, or the nonlinearity is unknown. The tensor is then unchanged.

    References
    ----------
    :cite:t:`saxe2014exact` for orthogonal matrices, :cite:t:`he2015delving` for the gain.

    Examples
    --------
    >>> import srlib
    >>> layer = torch.nn.Conv2d(16, 32, 3)
    >>> W = stable_rank_(layer.weight, 8.0, generator=torch.Generator().manual_seed(0))
    >>> W is layer.weight, W.shape
    (True, torch.Size([32, 16, 3, 3]))
    >>> print(f"{srlib.stable_rank(W.flatten(1)):.3f} {W.square().mean() * 16 * 9:.3f}")  # r, and gain^2
    8.000 2.000
    """
    W = _draw(tensor, stable_rank, law, spectral_norm, nonlinearity, param, generator)
    return tensor.copy_(W)


@torch.no_grad()
def module_(
    module: nn.Module | Network,
    ratio: float,
    *,
    law: Law = spectra.two_level,
    spectral_norm: float | None = None,
    nonlinearity: str = "relu",
    param: float | None = None,
    generator: torch.Generator | None = None,
) -> nn.Module | Network:
    r"""Initialize every linear and convolutional layer of a module by stable rank, all biases with 0.

    .. math:: r_l = \max(1, \rho \min(m_l, n_l)) .

    Each group of a grouped convolution is a matrix of its own. Other layers stay as they are: normalizations,
    embeddings, recurrent and transposed layers.

    Parameters
    ----------
    module
        Any module, such as a whole network, or a batch of :class:`~srlib.network.Network`, readout included.
    ratio
        :math:`\rho \in (0, 1]`, the stable rank of each layer over its largest possible one; 1 is orthogonal.
    law, spectral_norm, nonlinearity, param, generator
        As for :func:`stable_rank_`, the same for all layers.

    Returns
    -------
    torch.nn.Module or Network
        The module itself.

    Raises
    ------
    TypeError
        If ``module`` is neither, or a number not real.
    ValueError
        If ``ratio`` lies outside (0, 1], the module has no linear or convolutional layer, or one whose weight has no
        shape yet or is computed by a parametrization; otherwise as for :func:`stable_rank_`. The module is then
        unchanged.

    Examples
    --------
    >>> network = torch.nn.Sequential(torch.nn.Linear(784, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    >>> import srlib
    >>> _ = module_(network, 0.5, generator=torch.Generator().manual_seed(0))
    >>> [round(srlib.stable_rank(layer.weight).item(), 3) for layer in (network[0], network[2])]
    [32.0, 5.0]
    """
    if not isinstance(module, nn.Module | Network):
        raise TypeError(f"module must be a torch.nn.Module or an srlib.Network, got {type(module).__name__}")
    ratio = _validation.number(ratio, "ratio", finite=False)
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio must lie in (0, 1], got {ratio}")
    options = (law, spectral_norm, nonlinearity, param, generator)
    if isinstance(module, Network):
        if any(0 in W.stride() and W.numel() > 1 for W in module.parameters):
            raise ValueError("module must be a network whose tensors can be written, got one with expanded tensors")
        shaped = [(W.new_empty(W.shape[1:]), ratio * min(W.shape[1:])) for W in module.matrices]
        draws = [_draw(like, max(1.0, r), *options, batch=(module.batch,)) for like, r in shaped]
        for W, new in zip(module.matrices, draws, strict=True):
            W.copy_(new)
        for b in module.biases or ():
            b.zero_()
        return module
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, _LAYERS)}
    if not layers:
        raise ValueError(f"module must hold a linear or convolutional layer, got {type(module).__name__} with none")
    for name, layer in layers.items():
        if nn.parameter.is_lazy(layer.weight):
            raise ValueError(f"layer {name!r} has no shape yet: run one forward pass first")
        if not isinstance(layer.weight, nn.Parameter):
            raise ValueError(f"layer {name!r} computes its weight by a parametrization: initialize it before that")

    draws = []  # all of them before anything is changed
    for layer in layers.values():
        blocks = layer.weight.chunk(getattr(layer, "groups", 1))
        k = min(len(blocks[0]), blocks[0][0].numel())
        draws.append(torch.cat([_draw(block, max(1.0, ratio * k), *options) for block in blocks]))
    for layer, W in zip(layers.values(), draws, strict=True):
        layer.weight.copy_(W)
        if layer.bias is not None:
            layer.bias.zero_()
    return module


_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def _draw(
    tensor: Tensor,
    stable_rank: float,
    law: Law,
    spectral_norm: float | None,
    nonlinearity: str,
    param: float | None,
    generator: torch.Generator | None,
    batch: tuple[int, ...] = (),
) -> Tensor:
    """Draw what :func:`stable_rank_` writes, with these batch dimensions in front."""
    if not isinstance(tensor, Tensor) or not tensor.dtype.is_floating_point:
        raise TypeError(f"tensor must be a real floating tensor, got {_validation.kind(tensor)}")
    if tensor.ndim < 2 or 0 in tensor.shape:
        raise ValueError(f"tensor must have at least two dimensions, none of them 0, got shape {tuple(tensor.shape)}")
    m, n = tensor.shape[0], tensor[0].numel()
    r = _validation.stable_rank(stable_rank, min(m, n))
    if spectral_norm is None:
        gain = nn.init.calculate_gain(nonlinearity, param)  # type: ignore[arg-type]  # torch refuses unknown names
        spectral_norm = gain * math.sqrt(m / r)  # I2: s^2 r / m = gain^2
    dtype = _validation.compute_dtype(tensor.dtype)
    options: BatchFactory = {"batch": batch, "generator": generator, "dtype": dtype, "device": tensor.device}
    return sample((m, n), r, spectral_norm=spectral_norm, law=law, **options).reshape(*batch, *tensor.shape)

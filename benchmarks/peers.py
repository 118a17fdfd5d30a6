"""The recipes that users would otherwise reach for, written as they are usually written."""

import math

import torch
from torch import Tensor
from torch.func import functional_call, jacrev, vmap

from srlib import Ensemble, Network, ntk


def perceptron(network: Network) -> torch.nn.Sequential:
    """Return the one ReLU network of a batch of size 1 as a torch module."""
    layers = []
    for (W,) in [*network.weights, network.readout.unsqueeze(1)]:
        linear = torch.nn.Linear(W.shape[1], W.shape[0], bias=False, dtype=W.dtype, device=W.device)
        linear.weight = torch.nn.Parameter(W)
        layers += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def jacobian_contraction(model: torch.nn.Module, x1: Tensor, x2: Tensor) -> Tensor:
    """Empirical tangent kernel by torch.func: the Jacobian at every input of either set, then all inner products."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def output(parameters, x):
        return functional_call(model, parameters, (x.unsqueeze(0),)).squeeze(0)

    first, second = (vmap(jacrev(output), (None, 0))(parameters, x) for x in (x1, x2))
    return sum(torch.einsum("iaf,jaf->ij", first[name].flatten(2), second[name].flatten(2)) for name in parameters)


def gram_recursion(ensemble: Ensemble, x: Tensor) -> tuple[Tensor, Tensor]:
    """Infinite-width kernels of a ReLU network by the recursion of Gram matrices, each operation on all pairs."""
    gram = x @ x.mT
    tangent = torch.zeros_like(gram)
    for (m, n), s, r in zip(ensemble.shapes, ensemble.spectral_norms, ensemble.stable_ranks, strict=True):
        pre = s**2 * r / n * gram
        norm = pre.diagonal().sqrt()
        scale = norm[:, None] * norm
        cos = (pre / scale).clamp(-1, 1)
        theta = cos.acos()
        tangent = (s**2 * r / m * tangent + gram) * (math.pi - theta) / (2 * math.pi)
        gram = scale * (theta.sin() + (math.pi - theta) * cos) / (2 * math.pi)
    return gram, gram + ensemble.readout_norm**2 * tangent


def dense_law(ensemble: Ensemble, x: Tensor, generator: torch.Generator) -> Tensor:
    """Terms of the tangent kernel at the inputs, for one dense network."""
    network = ensemble.sample(1, generator=generator, dtype=x.dtype, device=x.device)
    return ntk.layers(network, x)

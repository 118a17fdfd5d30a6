"""The kernel's products at width two, as means over finitely many cases."""

import itertools
import math

import torch

__all__ = ["enumerated"]


def enumerated(e):
    """Return E Theta_l Theta_k, shape (L + 1, L + 1), of 2 x 2 layers: the mean over all rotations, reflections,
    gates and readouts.
    """
    h, below, jacobians = _cases(e)
    v = _rotations()[:, 0]  # the readout, a unit vector in one of three directions
    delta = [(v @ J).square().sum(-1) for J in jacobians]
    terms = [b[:, None] * d for b, d in zip(below, delta, strict=True)]
    terms = torch.stack([*terms, h.square().sum(-1, keepdim=True).expand(-1, 3)]).flatten(1)
    return terms @ terms.T / terms.shape[1]


def _cases(e):
    """Return h_L, the squared norms of h_0, ..., h_{L-1}, and the Jacobians of h_L by the pre-activations; each has one
    row for every case.
    """
    gates = torch.tensor(list(itertools.product((1.0, e.negative_slope), repeat=2)))
    h, below, jacobians = torch.tensor([[1.0, 0.0]]), [], []
    for r, s in zip(e.stable_ranks, e.spectral_norms, strict=True):
        h, A = _paired(h, _choices(r, s, gates))
        times = len(A) // len(below[0]) if below else 1
        below = [b.repeat_interleave(times, 0) for b in below] + [h.square().sum(-1)]
        jacobians = [A[:, 0] @ J.repeat_interleave(times, 0) for J in jacobians] + [A[:, 1]]
        h = (A[:, 0] @ h[..., None])[..., 0]
    return h, below, jacobians


def _choices(r, s, gates):
    """Return every pair D W, D of a layer and a gate pattern, shape (cases, 2, 2, 2)."""
    W, D = _paired(_layers(r, s), torch.diag_embed(gates))
    return torch.stack([D @ W, D], 1)


def _layers(r, s):
    """Return all U diag(sigma) V^T, shape (18, 2, 2): three rotations and their reflections on the left, three
    rotations on the right.
    """
    left = torch.cat([_rotations(), _rotations() * torch.tensor([1.0, -1.0])])
    sigma = s * torch.tensor([1.0, math.sqrt(r - 1)])
    return torch.einsum("aij,j,bkj->abik", left, sigma, _rotations()).reshape(-1, 2, 2)


def _rotations():
    t = torch.arange(3) * math.pi / 3
    return torch.stack([t.cos(), -t.sin(), t.sin(), t.cos()], -1).reshape(3, 2, 2)


def _paired(A, B):
    """Return both, repeated so that every element of one meets every element of the other."""
    return A.repeat_interleave(len(B), 0), B.repeat(len(A), *[1] * (B.ndim - 1))

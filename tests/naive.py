"""Slow twins: the definitions written out, with none of the library's shortcuts."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor


def haar(n: int, k: int, count: int, generator: torch.Generator, *, signs: bool = True) -> Tensor:
    """Orthonormal factor of a Gaussian matrix; ``signs=False`` forgets to make the diagonal of R positive."""
    Q, R = torch.linalg.qr(torch.randn(count, n, k, generator=generator, dtype=torch.float64))
    return Q * R.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2) if signs else Q


def gram_schmidt(A: Tensor) -> Tensor:
    """The one QR factor Q that belongs to a positive diagonal of R."""
    Q = torch.zeros_like(A)
    for j in range(A.shape[1]):
        column = A[:, j].clone()
        for _ in range(2):  # a second pass removes what rounding left
            column -= Q[:, :j] @ (Q[:, :j].T @ column)
        Q[:, j] = column / column.norm()
    return Q


def householder_qr(G: Tensor) -> tuple[Tensor, Tensor]:
    """Householder QR of the matrix A whose column j stands as ``G[:, j]`` when its turn comes: return A and Q.

    If G is Gaussian so is A, since the reflections of the earlier columns are independent of column j.
    """
    n, k = G.shape
    A, H, signs = torch.empty_like(G), torch.eye(n, dtype=G.dtype), []
    for j in range(k):
        A[:, j] = H @ G[:, j]
        u = G[:, j].clone()
        u[:j] = 0
        signs.append(math.copysign(1, -u[j]))  # of R's diagonal
        u[j] -= signs[j] * u.norm()
        H = H @ (torch.eye(n, dtype=G.dtype) - 2 * torch.outer(u, u) / (u @ u))
    return A, H[:, :k] * torch.tensor(signs, dtype=G.dtype)


def relative_singular_values(W: Tensor) -> np.ndarray:
    sigma = np.linalg.svd(W.double().numpy(), compute_uv=False)
    return sigma / sigma[0]


def stable_rank(W: Tensor) -> float:
    return float(sum(relative_singular_values(W) ** 2))


def participation_rank(W: Tensor) -> float:
    sigma = relative_singular_values(W)
    return float(sum(sigma**2) ** 2 / sum(sigma**4))


def energy(squares: list, kept: int) -> float:
    """Share of the sum in the largest squares."""
    return sum(sorted(squares, reverse=True)[:kept]) / sum(squares)


def largest_square_after(kept: int, r: float, k: int) -> float:
    """Largest square number kept + 1 of all 1 = lambda_1 >= ... >= lambda_k >= 0 with sum r, by a linear program."""
    goal = np.zeros(k)
    goal[kept] = -1
    descending = np.diff(np.eye(k), axis=0)
    bounds = [(1, 1)] + [(0, 1)] * (k - 1)
    return -linprog(goal, descending, np.zeros(k - 1), np.ones((1, k)), [r], bounds).fun


def permuted_mean(function: Callable[[float], float], squares: list, shares: list) -> float:
    """Mean of f(sum_i lambda_i nu_i^2) over all orders of the coordinates of one direction."""
    values = [
        function(sum(square * share for square, share in zip(squares, order, strict=False)))
        for order in itertools.permutations(shares)
    ]
    return sum(values) / len(values)


def uniform_sphere(k: int, r: float, count: int, generator: torch.Generator, *, reject: bool = True) -> Tensor:
    """Uniform directions of length sqrt(r - 1), kept if they lie in the unit cube; ``reject=False`` clips them."""
    g = torch.randn(count, k - 1, generator=generator, dtype=torch.float64).abs()
    tail = math.sqrt(r - 1) * g / g.norm(dim=-1, keepdim=True)
    tail = tail[(tail <= 1).all(-1)] if reject else tail.clamp(max=1)
    return torch.cat([torch.ones(len(tail), 1, dtype=torch.float64), tail.sort(descending=True).values], dim=-1)


def conditioned_matrices(m: int, n: int, r: float, count: int, generator: torch.Generator) -> Tensor:
    """A uniform singular pair of size 1, beside it a corner on the sphere, kept by its determinant; one by one (M5)."""
    kept = []
    while len(kept) < count:
        B = torch.randn(m - 1, n - 1, generator=generator, dtype=torch.float64)
        B *= math.sqrt((r - 1) / B.square().sum())
        left = [1 - sigma**2 for sigma in torch.linalg.svdvals(B).tolist()]
        largest = (1 - (r - 1) / len(left)) ** len(left)
        if min(left) > 0 and torch.rand(1, generator=generator).item() * largest < math.prod(left):
            U, V = (haar(side, side, 1, generator)[0] for side in (m, n))
            kept.append(U @ torch.block_diag(torch.ones(1, 1, dtype=B.dtype), B) @ V.T)
    return torch.stack(kept)


def forward(weights: list, readout: list, slope: float, x: list) -> tuple[list, list, float]:
    """One network at one input, number by number: post-activations, gates, output."""
    post, gates = [x], []
    for W in weights:
        a = [sum(w * h for w, h in zip(row, post[-1], strict=True)) for row in W]
        gates.append([1.0 if z > 0 else slope for z in a])
        post.append([z if z > 0 else slope * z for z in a])
    return post, gates, sum(v * h for v, h in zip(readout, post[-1], strict=True))

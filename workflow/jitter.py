"""A processor with other last bits: run by a kernel before its first cell, it makes torch round at random.

Processors sum in another order and take exponentials from another table; each real one is one sample of that. Here
every number that enters a sum or a product of matrices, and every value of an elementary function, is multiplied by
1 + k ε with k = -2 … 2 at random. Whole numbers stay whole, since every processor adds them exactly.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

SEED = 1

#: Operations whose result depends on the order in which numbers are added.
SUMS = set(
    "mm bmm addmm baddbmm addmv mv dot sum mean var std var_mean std_mean cumsum prod cumprod norm linalg_vector_norm "
    "logsumexp logcumsumexp _softmax _log_softmax convolution _cdist_forward linalg_qr geqrf ormqr linalg_lstsq "
    "linalg_householder_product linalg_svd _linalg_svd _linalg_eigh linalg_eig _linalg_det _linalg_slogdet "
    "linalg_lu_factor_ex linalg_cholesky_ex linalg_inv_ex _linalg_solve_ex linalg_solve_triangular".split()
)

#: Functions that processors evaluate with different last bits, and the normal draws made of them.
FUNCTIONS = set(
    "exp expm1 log log1p log2 log10 sin cos tan asin acos atan atan2 sinh cosh tanh sigmoid erf erfc erfinv pow lgamma "
    "digamma igamma igammac special_ndtri special_log_ndtr normal normal_ randn exponential_ log_normal_".split()
)


class Jitter(TorchDispatchMode):
    """Perturb what enters sums and what leaves functions by a few units of the last place."""

    def __init__(self, seed: int = SEED):
        super().__init__()
        self.steps = torch.randint(-2, 3, (2**22 + 7,), generator=torch.Generator().manual_seed(seed))
        self.factors = {}
        self.offset = 0

    def noisy(self, x):
        if not (isinstance(x, torch.Tensor) and x.is_floating_point() and x.layout == torch.strided and x.numel()):
            return x
        if x.dtype not in self.factors:
            self.factors[x.dtype] = 1 + torch.finfo(x.dtype).eps * self.steps.to(x.dtype)
        factors, count = self.factors[x.dtype], x.numel()
        start = self.offset = (self.offset + 104_729) % max(1, len(factors) - count)  # another part each time
        if count > len(factors):
            factors, start = factors.repeat(-(-count // len(factors))), 0
        factors = factors[start : start + count].view(x.shape).to(x.device)
        return torch.where(x == x.round(), x, x * factors)  # infinity is whole; NaN stays NaN

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name, kwargs = func.overloadpacket.__name__, kwargs or {}
        plain = name.removesuffix("_")
        if plain in SUMS or name in SUMS:
            written = 1 if name.endswith("_") else 0  # an operation in place writes its first argument
            args = (*args[:written], *tree_map(self.noisy, args[written:]))
        result = func(*args, **kwargs)
        if plain in FUNCTIONS or name in FUNCTIONS:
            if name.endswith("_"):
                return result.copy_(self.noisy(result))
            return tree_map(self.noisy, result)
        return result


if __name__ == "__main__":
    Jitter().__enter__()

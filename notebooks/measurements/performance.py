"""What is counted while the package's functions run."""

from unittest.mock import patch

from torch.utils._python_dispatch import TorchDispatchMode

from srlib import collapsed
from srlib.collapsed._draws import Draws

__all__ = ["Angles", "variables"]


class Angles(TorchDispatchMode):
    """Count inverse tangents."""

    total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.total += result.numel() if function.__name__.split(".")[0] == "atan2" else 0
        return result


def variables(ensemble, samples):
    """Number of normal, chi-squared and binomial variables that the exact simulation draws."""
    total = 0

    def counting(method):
        def call(*arguments):
            nonlocal total
            result = method(*arguments)
            total += sum(
                t.numel() for t in (result if isinstance(result, tuple) else [result])
            )
            return result

        return call

    methods = {name: counting(getattr(Draws, name)) for name in ("normal", "chi2", "coins")}
    with patch.multiple(Draws, **methods):
        collapsed.simulate(ensemble, samples)
    return total

"""What the chapters train and measure with the random model; the core of the package imports none of it."""

from importlib import import_module
from types import ModuleType

__all__ = ["bounds", "data", "expressivity", "gradient_flow", "training"]


def __getattr__(name: str) -> ModuleType:
    """Load an experiment when it is first asked for: a notebook depends on those that it uses."""
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

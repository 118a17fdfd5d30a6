"""What the chapters train and measure with the random model; the core of the package imports none of it."""

__all__ = ["bounds", "data", "expressivity", "gradient_flow", "training"]

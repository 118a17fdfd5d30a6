"""Figures of the notebooks, one module a topic."""

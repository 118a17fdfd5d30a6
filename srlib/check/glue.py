"""Numbers of a notebook that the book's prose quotes."""

from typing import Any

from srlib.check.claim import rounded

__all__ = ["glue"]


def glue(name: str, value: Any, digits: int = 4) -> None:
    """Store a number under a name, rounded, for ``{glue:text}`` to put into a page's prose.

    A cell's output is compared between machines, so no digits are stored that nobody is shown.

    Parameters
    ----------
    name
        Unique within the notebook.
    value
        Number, array or tensor of one element, or text; whole numbers of type ``int`` and texts are stored as they are.
    digits
        Significant digits.

    Raises
    ------
    ValueError
        If an array has more than one element.

    Examples
    --------
    >>> glue("share", 2 / 3)
    """
    from myst_nb import glue  # here, since only notebooks have it

    value = value if isinstance(value, int | str) else getattr(value, "item", lambda: value)()
    glue(name, value if isinstance(value, int | str) else rounded(value, digits), display=False)

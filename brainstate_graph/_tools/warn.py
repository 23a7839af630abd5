"""Warnings at the line of the user's that led to them."""

from __future__ import annotations

import sys
import warnings
from types import FrameType

__all__ = ["warn"]

_LIBRARIES = ("brainstate_graph", "brainstate_nn", "brainstate_transform", "jax", "jaxlib")


def warn(text: str) -> None:
    """Warn at the line that called into this library, however many lines of it and of JAX are between.

    Example:
        >>> import warnings
        >>> from brainstate_graph.extend import warn
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn("the rate is changed at each call")
        >>> print(caught[0].message)
        the rate is changed at each call
    """
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _LIBRARIES:
        frame = frame.f_back
        level += 1
    warnings.warn(text, stacklevel=level)

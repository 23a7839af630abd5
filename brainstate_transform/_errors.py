"""Exceptions of the package."""

from __future__ import annotations

from brainstate_graph import BrainStateError

__all__ = ["BatchAxisError"]


class BatchAxisError(BrainStateError, ValueError):
    """A mapped function wrote a value that differs per lane to a state that is not mapped."""

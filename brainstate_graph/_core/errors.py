"""Every exception of the package, each with its cause."""

from __future__ import annotations

__all__ = ["BrainStateError", "GraphError", "StateArgumentError", "StructureError", "TraceContextError"]


class BrainStateError(Exception):
    """The base of every error that this project raises on its own account."""


class TraceContextError(BrainStateError):
    """A value of one trace was about to reach a state of another, or a state outlived its trace."""


class GraphError(BrainStateError, ValueError):
    """A graph holds something that cannot be taken apart, or data that does not fit a graph."""


class StructureError(BrainStateError, ValueError):
    """A function changes the structure of its graph where only values can be changed."""


class StateArgumentError(BrainStateError, TypeError, ValueError):
    """A bare State was passed to, or returned from, a transformed function.

    It is both a TypeError and a ValueError, because the guides promise the one and the
    reference system raises the other.
    """

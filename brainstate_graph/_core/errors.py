"""Every exception of the package, each with its cause."""

from __future__ import annotations

__all__ = ["BrainStateError", "GraphError", "StateArgumentError", "StructureError", "TraceContextError"]


class BrainStateError(Exception):
    """The base of the error classes of these packages: catch it to catch all of them."""


class TraceContextError(BrainStateError):
    """A traced value was about to leave its trace through a state, or a state was used after its trace had ended."""


class GraphError(BrainStateError, ValueError):
    """A graph holds something that cannot be split into data, or data do not fit the graph that they are given to."""


class StructureError(BrainStateError, ValueError):
    """A function changes the structure of its model where only the values of states can change."""


class StateArgumentError(BrainStateError, TypeError, ValueError):
    """A bare State was passed to, or returned from, a transformed function.

    It is both a TypeError and a ValueError, so that code written for brainstate catches it either way.
    """

"""``Follower``: the base of what keeps arrays for the parameters of a model, as an optimizer and an average do.

A moment of Adam belongs to one parameter and lies on the devices as that parameter does. Only the object that keeps it
knows which array belongs to which parameter, and says so in `followed`. The rules that lay a model out over devices
ask every follower, so that they need to know no optimizer by name. A follower moves nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from brainstate_graph import Node, State

__all__ = ["Follower", "StateLeaf"]

# One array of a state: the state, and the index of the array among the leaves of its value.
StateLeaf = tuple[State[Any], int]


class Follower(Node):
    """The abstract base of a node that keeps arrays for parameters; a subclass defines `followed`."""

    def followed(self) -> Iterator[tuple[StateLeaf, StateLeaf]]:
        """Iterate over the arrays that are kept for a parameter, each with the array of the parameter."""
        raise NotImplementedError(f"define `def followed(self): ...` in {type(self).__name__}")

"""The lanes that parts of a model are in: those of the members of an ensemble, and of the layers of a Stack.

Who puts something else in the place of a part does so in each lane. How many lanes there are around a part its states
tell, without those that come from a Stack inside of it; for a part without states, the parts around it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from brainstate_graph import Node, State, nodes, states
from brainstate_graph.extend import locate
from brainstate_transform import in_lanes, lane_axes, lane_sizes

from .._core.module import Module
from .._core.paths import Path
from .._core.random import RandomState

__all__ = ["PartLanes"]

T = TypeVar("T", bound=Node)
Stacks = list[tuple[Path, Any]]


class PartLanes:
    """The lanes around the parts of a model.

    Args:
        model: A module, or a container of them.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._stacks = _stacks_in(model)
        # Most models have no lanes, and then nothing is asked of a part.
        self._any = bool(self._stacks) or any("lane_ndim" in state.metadata for state in states(model).values())

    def run(self, make: Callable[[], T], part: Any, path: Path) -> T:
        """Call a function that makes another part, in each lane around a part.

        Args:
            make: The function, which returns a node that holds what it made.
            part: The part, a node or state.
            path: Its path in the model.

        Raises:
            ValueError: What it makes holds a state from elsewhere, which the layers of a Stack cannot share.
        """
        if not self._any:
            return make()
        around = [(at, stack) for at, stack in self._around(path) if not _among(part, stack.shared)]
        own = _outer_lanes(part)
        self._refuse_silent(own, around)
        new = in_lanes(make, own, self._sizes(path, around))
        for _, stack in around:
            own.update(dict.fromkeys(states(stack.shared).values(), 0))
        for state in states(new).values() if around else ():
            if state not in own and not lane_axes(state):
                raise ValueError(
                    f"the new part of {locate(around[-1][1])} holds {locate(state)}, which existed before and does not "
                    "belong to the layers: make it inside of the function, or replace the Stack by a Sequential of "
                    "its `unstack()`"
                )
        return new

    def _around(self, path: Path) -> Stacks:
        """Return the Stacks through whose layers a path leads, with their paths."""
        return [(at, stack) for at, stack in self._stacks if path[: len(at) + 1] == (*at, "layers")]

    def _refuse_silent(self, own: dict[State[Any], int], around: Stacks) -> None:
        """Refuse states of the layers of a Stack that were put there by hand, and do not say that they are stacked."""
        shared = [set(states(stack.shared).values()) for _, stack in around]
        for state, count in own.items():
            if count < sum(state not in common for common in shared):
                raise ValueError(
                    f"{locate(state)} has the values of all layers of a Stack, but does not declare how many axes one "
                    f"layer has: write `{type(state).__name__}(value, lane_ndim=1)`, with that number"
                )

    def _sizes(self, path: Path, around: Stacks) -> tuple[int, ...]:
        """Return the numbers of lanes around a part: those of its states, or of those nearest to it."""
        items = [self._model]
        for key in path:
            items.append(getattr(items[-1], key) if isinstance(items[-1], Node) else items[-1][key])
        for depth in reversed(range(len(items))):
            above = [pair for pair in self._around(path[:depth]) if pair in around]
            common = {state for _, stack in above for state in states(stack.shared).values()}
            found = {state: count for state, count in _outer_lanes(items[depth]).items() if state not in common}
            # A stream may be one for all members. What else has no lanes stands beside an ensemble, and is no member.
            found = {s: count for s, count in found.items() if not isinstance(s, RandomState)} or found
            if found:
                least = min(found, key=lambda state: found[state])
                below = (stack.n for at, stack in around if (at, stack) not in above)
                return (*lane_sizes(least)[: found[least]], *below)
        return tuple(stack.n for _, stack in around)


def _stacks_in(node: Any) -> Stacks:
    return [(path, module) for path, module in nodes(node, Module).items() if module.stacks_layers]


def _among(part: Any, shared: list[Any]) -> bool:
    return any(part is item for found in (nodes(shared), states(shared)) for item in found.values())


def _outer_lanes(part: Any) -> dict[State[Any], int]:
    """Return the states of a part, each with the number of its lanes that come from outside of the part."""
    if isinstance(part, State):
        return {part: len(lane_axes(part))}
    inside = [((*at, "layers"), set(states(stack.shared).values())) for at, stack in _stacks_in(part)]
    return {
        state: len(lane_axes(state)) - sum(path[: len(at)] == at and state not in shared for at, shared in inside)
        for path, state in states(part).items()
    }

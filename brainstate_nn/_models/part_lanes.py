"""The lanes that parts of a model stand in: those of the members of an ensemble, and of the layers of a Stack.

Who puts something else in the place of a part does so in each lane. How many lanes there are around a part its states
tell, without those that come from a Stack inside of it; of a part without states, what stands around it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from brainstate_graph import Node, State, nodes, states
from brainstate_graph.extend import locate
from brainstate_transform import in_lanes, lane_axes, lane_sizes

from .._core.module import Module
from .._core.paths import Path

__all__ = ["PartLanes"]

T = TypeVar("T", bound=Node)


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
        around = [stack for at, stack in self._stacks if _leads_through(path, at) and not _among(part, stack.shared)]
        own = _outer_lanes(part)
        if own:
            deepest = max(own, key=lambda state: own[state])
            sizes = lane_sizes(deepest)[: own[deepest]]
        else:
            sizes = (*self._members_around(path), *(stack.n for stack in around))
        new = in_lanes(make, own, sizes)
        for stack in around:
            own.update(dict.fromkeys(states(stack.shared).values(), 0))
        for state in states(new).values() if around else ():
            if state not in own and not lane_axes(state):
                raise ValueError(
                    f"what takes the place of a part of {locate(around[-1])} holds {locate(state)}, which was there "
                    "before and is none of the layers': make it inside of the function, or put a Sequential of "
                    "`unstack()` in the place of the Stack"
                )
        return new

    def _members_around(self, path: Path) -> tuple[int, ...]:
        """Return the sizes of the ensembles of which the states nearest to a path are members."""
        items = [self._model]
        for key in path[:-1]:
            items.append(getattr(items[-1], key) if isinstance(items[-1], Node) else items[-1][key])
        for depth in reversed(range(len(items))):
            found = _outer_lanes(items[depth])
            for at, stack in self._stacks:
                if _leads_through(path[:depth], at):
                    shared = set(states(stack.shared).values())
                    found = {state: count - (state not in shared) for state, count in found.items()}
            if found:
                least = min(found, key=lambda state: found[state])
                return lane_sizes(least)[: max(found[least], 0)]
        return ()


def _stacks_in(node: Any) -> list[tuple[Path, Any]]:
    return [(path, module) for path, module in nodes(node, Module).items() if module.stacks_layers]


def _leads_through(path: Path, stack: Path) -> bool:
    """Tell whether a path leads through the layers of the Stack at another one."""
    return path[: len(stack) + 1] == (*stack, "layers")


def _among(part: Any, shared: list[Any]) -> bool:
    return any(part is item for found in (nodes(shared), states(shared)) for item in found.values())


def _outer_lanes(part: Any) -> dict[State[Any], int]:
    """Return the states of a part, each with the number of its lanes that come from outside of the part."""
    if isinstance(part, State):
        return {part: len(lane_axes(part))}
    inside = [(at, set(states(stack.shared).values())) for at, stack in _stacks_in(part)]
    return {
        state: len(lane_axes(state)) - sum(_leads_through(path, at) and state not in shared for at, shared in inside)
        for path, state in states(part).items()
    }

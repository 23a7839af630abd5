"""How a kind of state behaves under a mapped axis: the second and last door for extensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from brainstate_graph import Overlay, State

__all__ = ["Lanes", "register_lanes"]

_kinds: dict[type[State[Any]], tuple[Callable[[Any, Any], Any], Callable[[Any], Any]]] = {}


def register_lanes(kind: type[State[Any]], enter: Callable[[Any, Any], Any], leave: Callable[[Any], Any]) -> None:
    """Declare what states of a kind hold in each lane of a mapped function.

    Args:
        kind: The class of the states, and of those derived from it.
        enter: ``enter(value, lane) -> value``: what lane number `lane` (an int32 scalar) sees of the common value.
        leave: ``leave(value) -> value``: what the common value is afterwards, if a lane wrote the state.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import register_lanes
        >>> class Ticket(State):
        ...     pass
        >>> register_lanes(Ticket, lambda value, lane: value + lane, lambda value: value + 1000)
    """
    _kinds[kind] = (enter, leave)


class Lanes(Overlay):
    """The overlay of one lane of a mapped function.

    Args:
        lane: The number of the lane.
    """

    __slots__ = ("_common", "_lane")

    def __init__(self, lane: Any) -> None:
        super().__init__()
        self._lane = lane
        self._common: dict[State[Any], Any] = {}

    def enter(self, state: State[Any], value: Any) -> Any:
        """Give the lane its own value of a state whose kind asks for it."""
        for kind in type(state).__mro__:
            if kind in _kinds:
                self._common[state] = value
                return _kinds[kind][0](value, self._lane)
        return value

    def written(self) -> list[tuple[State[Any], Any]]:
        """Return what was written, the common value for states that had one per lane."""
        return [(s, self._leave(s) if s in self._common else v) for s, v in super().written()]

    def _leave(self, state: State[Any]) -> Any:
        kind = next(k for k in type(state).__mro__ if k in _kinds)
        return _kinds[kind][1](self._common[state])

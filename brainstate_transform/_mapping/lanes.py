"""Kinds of state that differ per lane of `vmap` or shard of `shard_map` though nobody maps them, as random streams do.

`register_lanes` is the second and last door for extensions, beside `lift`: this package knows no concrete kind.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

from brainstate_graph import Overlay, State
from brainstate_graph.extend import declare, read_values

from .lane_axes import laned

__all__ = ["Lanes", "check_rngs", "has_lanes", "register_lanes"]

_Behaviour = tuple[Callable[[Any, Any], Any], Callable[[Any], Any]]  # enter and leave, see `register_lanes`

_behaviours: dict[type[State[Any]], _Behaviour] = {}


def _behaviour_of(state: State[Any]) -> _Behaviour | None:
    """What is declared for the kind of a state; the most derived class decides."""
    return next((_behaviours[kind] for kind in type(state).__mro__ if kind in _behaviours), None)


def register_lanes(kind: type[State[Any]], enter: Callable[[Any, Any], Any], leave: Callable[[Any], Any]) -> None:
    """Declare the value that shared states of a kind have in each lane or shard.

    So a random stream draws other numbers in each lane. `enter` is called at the first access to such a state in a
    lane. If a lane writes the state, its value afterwards is what `leave` returns, once for all lanes.

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
        >>> import jax.numpy as jnp
        >>> from brainstate_transform import vmap
        >>> ticket = Ticket(jnp.int32(0))
        >>> vmap(lambda x: x + ticket.value)(jnp.zeros(3, jnp.int32)).tolist()
        [0, 1, 2]
    """
    _behaviours[kind] = (enter, leave)


def has_lanes(state: State[Any]) -> bool:
    """Tell whether each lane gets its own value of a state, as declared for its kind."""
    return _behaviour_of(state) is not None


def check_rngs(rngs: str, where: str) -> None:
    """Refuse what is no way in which random streams behave.

    Raises:
        ValueError: It is none; the message says `where` they draw.
    """
    if rngs not in ("split", "share"):
        raise ValueError(f'rngs={rngs!r}: give "split" for different draws {where}, or "share" for the same draws')


# A read that falls through this overlay has the value of all lanes; `Overlay.enter` is asked what the lane sees of it.
class Lanes(Overlay):
    """The overlay of one lane of a mapped function.

    Args:
        lane: The number of the lane; None where the kinds of state that differ per lane are to be the same in all.
        own: The states whose value of this lane is what leaves it.
        new: The axis that the states get which are made in the lane; None where that is not known before its end.
    """

    __slots__ = ("_common", "_lane", "_new", "_own")

    def __init__(self, lane: Any, own: Container[State[Any]] = (), new: int | None = None) -> None:
        super().__init__()
        self._lane = lane
        self._own = own
        self._new = new
        self._common: dict[State[Any], None] = {}  # the states of such kinds that were used, which others share

    def born(self, state: State[Any], value: Any, trace: Any) -> None:
        """Take in a state that is made in the lane, and declare its axis of lanes before any graph holds it."""
        super().born(state, value, trace)
        if self._new is not None:
            declare(state, **laned(state.metadata, value, self._new))

    def enter(self, state: State[Any], value: Any) -> Any:
        """Give the lane its own value of a state whose kind asks for it."""
        behaviour = None if self._lane is None else _behaviour_of(state)
        if behaviour is None:
            return value
        self._common[state] = None
        return behaviour[0](value, self._lane)

    def written(self) -> list[tuple[State[Any], Any]]:
        """Return what was written, the common value for states that had one per lane."""
        return [(s, self._leave(s) if s in self._common and s not in self._own else v) for s, v in super().written()]

    def _leave(self, state: State[Any]) -> Any:
        behaviour = _behaviour_of(state)
        assert behaviour is not None
        # Read again, from below: the value that entered may belong to a trace inside the lane, which is over.
        return behaviour[1](read_values([state], False)[0])

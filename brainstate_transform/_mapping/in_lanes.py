"""``in_lanes``: run a function once for each lane of some states, as their model is built of lanes already.

`vmap` is told which states have an axis; here the states themselves tell, see ``lane_axes.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from brainstate_graph import State

from .lane_axes import lane_axes, lane_sizes
from .vmap import vmap

__all__ = ["in_lanes"]

T = TypeVar("T")


def in_lanes(
    fun: Callable[[], T],
    states: Mapping[State[Any], int] | Iterable[State[Any]],
    sizes: Sequence[int] | None = None,
) -> T:
    """Call `fun` once for each lane of states: states that it makes get the lanes, and its results are stacked.

    Args:
        fun: A function without arguments; it sets the nodes that it makes on a node, or returns them.
        states: The states. Or for each state how many of its lanes, from the outermost, are meant.
        sizes: The numbers of lanes, from the outermost; None for those of the states.

    Returns:
        What `fun` returns; outside of all lanes, where there are none.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_graph import Node, State
        >>> from brainstate_transform import in_lanes, vmap
        >>> class Scale(Node):
        ...     def __init__(self):
        ...         self.factor = State(jnp.ones(3))
        >>> scales = vmap(Scale, axis_size=5, new_states=0)()
        >>> def widen():
        ...     scales.factor = State(jnp.concatenate([scales.factor.value, jnp.zeros(1)]))
        >>> in_lanes(widen, [scales.factor])
        >>> scales.factor.value.shape
        (5, 4)
    """
    if not isinstance(states, Mapping):
        states = {state: len(lane_axes(state)) for state in states}
    if sizes is None:
        sizes = max(map(lane_sizes, states), key=len, default=())
    if not sizes:
        return fun()
    by_axis: dict[Any, list[State[Any]]] = {}
    for state, count in states.items():
        if count:
            by_axis.setdefault(lane_axes(state)[0], []).append(state)
    inner = {state: count - 1 for state, count in states.items() if count > 1}
    return vmap(lambda: in_lanes(fun, inner, sizes[1:]), in_states=by_axis or None, new_states=0, axis_size=sizes[0])()

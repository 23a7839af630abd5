"""Lane axes: the axes of the arrays of a state that stand for lanes, before or among those that one lane has.

An ensemble, made by `vmap`, has the members along the first axis of each state. The layers of a Stack are lanes, too.
What is said of one layer, as a penalty or a sharding, is said of each lane, so whoever reads it asks `lane_axes`.

The one place for that is the metadata of the state: `lane_ndim` is how many axes the first of its arrays has in one
lane.  So inside of a lane, where the value is that of one, there are none, and nobody has to take the word back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from brainstate_graph import State
from brainstate_graph.extend import read_values, redeclared, with_metadata

from .._engine.results import Made

__all__ = ["each_lane", "lane_axes", "lane_sizes", "laned", "with_lanes"]


def lane_axes(state: State[Any]) -> tuple[int, ...]:
    """Return the axes of the arrays of a state that count lanes, from the outermost lanes to the innermost.

    `vmap` gives such axes to the states made inside, ``new_states=0``, and a Stack to those of its layers. Each axis is
    counted without the lanes before it: an ensemble of ensembles has ``(0, 0)``. For a state that you have stacked
    yourself, declare how many axes one lane has, ``State(value, lane_ndim=2)``, and ``lane_axes=(1,)`` if the lanes are
    not the first axes.

    Args:
        state: The state.

    Returns:
        The axes; none for a state without lanes, and inside of a lane.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_graph import Node, State
        >>> from brainstate_transform import lane_axes, vmap
        >>> class Scale(Node):
        ...     def __init__(self):
        ...         self.factor = State(jnp.ones(3))
        >>> scales = vmap(Scale, axis_size=5, new_states=0)()
        >>> scales.factor.value.shape, lane_axes(scales.factor)
        ((5, 3), (0,))
    """
    metadata = state.metadata
    return _axes(metadata, read_values([state], False)[0]) if "lane_ndim" in metadata else ()


def lane_sizes(state: State[Any]) -> tuple[int, ...]:
    """Return the numbers of lanes of a state, one for each of its `lane_axes`.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_graph import State
        >>> from brainstate_transform import lane_sizes
        >>> lane_sizes(State(jnp.ones((5, 3)), lane_ndim=1))
        (5,)
    """
    axes = lane_axes(state)
    shape = list(np.shape(jax.tree.leaves(read_values([state], False)[0])[0])) if axes else []
    return tuple([shape.pop(axis) for axis in axes])


def each_lane(
    fun: Callable[..., Any], *axes: Sequence[int], out: Sequence[Sequence[int]] | None = None
) -> Callable[..., Any]:
    """Return a pure function of arrays that calls `fun` for each lane of them.

    Args:
        fun: A function of arrays of one lane.
        *axes: For each argument its axes of lanes, as `lane_axes` returns them.
        out: The same for each result; None for those of the first argument.

    Returns:
        The function; `fun` itself where there are no lanes.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_transform import each_lane
        >>> each_lane(jnp.cumsum, (1,))(jnp.ones((3, 2))).tolist()
        [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]
    """
    depth = max(map(len, axes), default=0)
    # From the innermost lanes on, as the outermost are those of the outermost `vmap`.
    for level in reversed(range(depth)):
        before = tuple(part[level] if level < len(part) else None for part in axes)
        after = tuple(part[level] for part in ([axes[0]] if out is None else out))
        fun = jax.vmap(fun, before, after[0] if len(after) == 1 else after)
    return fun


def laned(metadata: Mapping[str, Any], value: Any, axis: int) -> dict[str, Any]:
    """Return the metadata to declare for a state that gets an axis of lanes.

    Args:
        metadata: Its metadata.
        value: Its value in one lane.
        axis: The axis.

    Returns:
        Metadata, in which None takes an entry away.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_transform import laned
        >>> laned({}, jnp.ones((3, 2)), 0)
        {'lane_ndim': 2, 'lane_axes': None}
    """
    leaves = jax.tree.leaves(value)
    if not leaves:
        return {}
    axes = (axis, *_axes(metadata, value))
    return {"lane_ndim": metadata.get("lane_ndim", np.ndim(leaves[0])), "lane_axes": axes if any(axes) else None}


def with_lanes(out: Any, axes: Any) -> Any:
    """Declare the lanes of the states in nodes that a mapped function has made and returns.

    Args:
        out: Its result, sealed, in one lane.
        axes: The axes of results, as the user gave them.
    """
    if not any(map(_is_made, jax.tree.leaves(out, is_leaf=_is_made))):
        return out

    def declared(axis: int | None, part: Any) -> Any:
        return jax.tree.map(lambda item: _with_lanes(item, axis), part, is_leaf=_is_made)

    return jax.tree.map(declared, axes, out, is_leaf=lambda item: item is None)


def _with_lanes(item: Any, axis: int | None) -> Any:
    if axis is None or not _is_made(item):
        return item
    metas = [item.shape.rows[number].extra for number in item.shape.state_rows]
    new = [redeclared(m, laned(dict(m), value, axis)) for m, value in zip(metas, item.values, strict=True)]
    return Made(item.values, with_metadata(item.shape, new), item.known)


def _is_made(item: Any) -> bool:
    return isinstance(item, Made)


def _axes(metadata: Mapping[str, Any], value: Any) -> tuple[int, ...]:
    """Return the axes of lanes of a value, which may be that of an outer lane, or of one lane alone."""
    leaves = jax.tree.leaves(value)
    count = max(np.ndim(leaves[0]) - metadata["lane_ndim"], 0) if leaves and "lane_ndim" in metadata else 0
    axes = metadata.get("lane_axes") or (0,) * count
    return axes[len(axes) - count :]

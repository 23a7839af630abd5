"""Parameters with lanes as one array for each lane, for transformations of optax that look at whole arrays.

The trust ratio of LAMB, the factors of Adafactor, and the matrices of Muon are of one layer. A Stack has one array for
all layers, and an ensemble one for all members.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph import State
from brainstate_transform import lane_axes, lane_sizes

from .._core.paths import Path

__all__ = ["lanes_apart", "lanes_together"]


def lanes_apart(states: Mapping[Path, State[Any]], values: Iterable[Any]) -> Iterator[tuple[Path, Any]]:
    """Iterate over values for states by path, those with lanes once for each lane.

    The number of the lane is in the path before the name of the state, so that masks by the ends of names hold.
    """
    for (path, state), value in zip(states.items(), values, strict=True):
        yield from _apart(path, value, lane_axes(state), lane_sizes(state))


def lanes_together(path: Path, state: State[Any], parts: Mapping[Path, Any]) -> Any:
    """Return the value for one state, of the values for its lanes."""
    return _together(path, parts, lane_axes(state), lane_sizes(state))


def _apart(path: Path, value: Any, axes: Sequence[int], sizes: Sequence[int]) -> Iterator[tuple[Path, Any]]:
    if not axes:
        yield path, value
    for i in range(sizes[0] if axes else 0):
        lane = jax.tree.map(lambda x: jax.lax.index_in_dim(x, i, axes[0], keepdims=False), value)  # noqa: B023
        yield from _apart(_of_lane(path, i), lane, axes[1:], sizes[1:])


def _together(path: Path, parts: Mapping[Path, Any], axes: Sequence[int], sizes: Sequence[int]) -> Any:
    if not axes:
        return parts[path]
    lanes = [_together(_of_lane(path, i), parts, axes[1:], sizes[1:]) for i in range(sizes[0])]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, axes[0]), *lanes)


def _of_lane(path: Path, number: int) -> Path:
    return (*path[:-1], number, *path[-1:])

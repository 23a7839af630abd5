"""Lanes that are spread over an explicit mesh: `vmap` along an axis that is split over devices.

JAX maps such an axis if all that is mapped is spread over the same axes of the mesh.  Users spread an argument or a
state; the numbers of the lanes, states from before, and what is whole on each device are brought there.
"""

from __future__ import annotations

from typing import Any

import jax
from jax.core import Tracer
from jax.sharding import NamedSharding, PartitionSpec

from .._checks.layout import Layout, axes_in

__all__ = ["spread_alike"]


def spread_alike(axes: tuple[Any, ...], trees: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what is mapped, its lanes spread as those of the first array that has them spread.

    Args:
        axes: Prefixes of `trees`: the axis along which each array is mapped, or None.
        trees: What `jax.vmap` is to be given.
    """
    found: list[tuple[Any, Any]] = []

    def look(axis: int | None, tree: Any) -> None:
        if axis is None:
            return
        for leaf in jax.tree.leaves(tree):
            over = Layout.of(jax.typeof(leaf)).spec[axis]
            if over is not None:
                sharding = jax.typeof(leaf).sharding if isinstance(leaf, Tracer) else leaf.sharding
                found.append((sharding.mesh, over))

    _each(look, axes, trees)
    if not found:
        return trees
    mesh, over = found[0]

    def spread(axis: int | None, tree: Any) -> Any:
        return tree if axis is None else jax.tree.map(lambda leaf: _spread(leaf, axis, mesh, over), tree)

    return _each(spread, axes, trees)


def _each(fun: Any, axes: Any, trees: Any) -> Any:
    return jax.tree.map(fun, axes, trees, is_leaf=lambda axis: axis is None)


def _spread(array: Any, axis: int, mesh: Any, over: Any) -> Any:
    own = Layout.of(jax.typeof(array)).spec
    if own[axis] is not None:  # two that are spread differently are for JAX to refuse
        return array
    spec = [None if set(axes_in(part)) & set(axes_in(over)) else part for part in own]
    spec[axis] = over
    return jax.reshard(array, NamedSharding(mesh, PartitionSpec(*spec)))

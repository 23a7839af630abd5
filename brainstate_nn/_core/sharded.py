"""Arrays on an explicit mesh: layers bring what they make to the sharding of what they are given.

On explicit axes JAX refuses two arrays of different shardings where on automatic ones it would move them. What a layer
makes by itself, as a mask of dropout or the running mean of a batch, lies on no axis, so it has to be brought to where
the input or the old value lies. Off a mesh, all of these return what they are given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

__all__ = [
    "axes_in",
    "beside",
    "mask_like",
    "named_sharding",
    "on_explicit_axes",
    "replicated",
    "resharded",
    "resharded_like",
    "spec_of",
    "spread_as",
    "with_sharding",
    "with_spec",
]


T = TypeVar("T")


def mask_like(mask: jax.Array, x: jax.Array) -> jax.Array:
    """Return a mask that goes with `x`, in its sharding, so that `where` takes both."""
    if not any(jax.typeof(x).sharding.spec):
        return mask
    if isinstance(x, Tracer):
        return mask | jnp.zeros(x.shape, bool, out_sharding=jax.typeof(x).sharding)
    # works whether a mesh is set or not, unlike `out_sharding`
    # `device_put` works whether a mesh is set or not, which `out_sharding` needs.
    return mask | jax.device_put(jnp.zeros(x.shape, bool), x.sharding)


def replicated(x: jax.Array) -> jax.Array:
    """Return an array that is whole on each device, for operations that JAX cannot split by itself."""
    return resharded(x, PartitionSpec(), x) if any(jax.typeof(x).sharding.spec) else x


def resharded_like(new: jax.Array, old: jax.Array) -> jax.Array:
    """Bring the new value of a state to the sharding of the old one, which a loop that carries it cannot change."""
    spec = jax.typeof(old).sharding.spec
    return new if jax.typeof(new).sharding.spec == spec else resharded(new, spec, old)


def spread_as(part: jax.Array, x: jax.Array) -> jax.Array:
    """Bring a part of a carry to the sharding of an input of its shape, where that one is spread."""
    return resharded_like(part, x) if any(jax.typeof(x).sharding.spec) else part


def resharded(x: jax.Array, spec: PartitionSpec, beside: jax.Array) -> jax.Array:
    """Give an array a spec on the mesh of another one, whether a mesh is set or not."""
    ours = named_sharding(beside)
    return x if ours is None else jax.sharding.reshard(x, NamedSharding(ours.mesh, spec))


def named_sharding(x: Any) -> NamedSharding | None:
    """Return the sharding of an array on a mesh, with the devices where they are known; None where it is on none."""
    sharding = jax.typeof(x).sharding if isinstance(x, Tracer) else getattr(x, "sharding", None)
    return sharding if isinstance(sharding, NamedSharding) else None


def on_explicit_axes(x: jax.Array) -> bool:
    """Tell whether an array lies on a mesh with explicit axes, spread over them or whole on each device."""
    return AxisType.Explicit in jax.typeof(x).sharding.mesh.axis_types


def beside(tree: T, others: Any) -> T:
    """Put new arrays, such as counts, whole on each device of the mesh on which other arrays lie.

    A compiled step puts them there anyway, and would be compiled once more for where they began.
    """
    shardings = map(named_sharding, jax.tree.leaves(others))
    meshes = {sharding.mesh for sharding in shardings if sharding is not None and isinstance(sharding.mesh, Mesh)}
    if len(meshes) != 1:
        return tree
    whole = NamedSharding(meshes.pop(), PartitionSpec())

    def moved(x: Any) -> Any:
        free = isinstance(x, jax.Array) and not isinstance(x, Tracer) and not x.committed
        return jax.device_put(x, whole) if free else x

    return jax.tree.map(moved, tree)


def with_sharding(x: jax.Array, sharding: Any) -> jax.Array:
    """Give a new array a sharding of a mesh; None, and one that splits no axis, change nothing."""
    spec = getattr(sharding, "spec", sharding)
    return jax.device_put(jnp.asarray(x), sharding) if spec is not None and any(spec) and jnp.ndim(x) else x


def axes_in(entry: Any) -> tuple[Any, ...]:
    """Return the axes of a mesh that one entry of a PartitionSpec names: None is none, a tuple several."""
    return () if entry is None else tuple(entry) if isinstance(entry, (tuple, list)) else (entry,)


def spec_of(split: Iterable[Sequence[Any]]) -> PartitionSpec:
    """Return the PartitionSpec for the axes of a mesh that split each dimension."""
    return PartitionSpec(*(tuple(axes) if len(axes) > 1 else next(iter(axes), None) for axes in split))


def with_spec(sharding: Any, spec: PartitionSpec) -> Any:
    """Return a sharding, given as a NamedSharding or a bare PartitionSpec, with another spec."""
    return NamedSharding(sharding.mesh, spec) if isinstance(sharding, NamedSharding) else spec

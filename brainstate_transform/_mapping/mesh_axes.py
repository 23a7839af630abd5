"""The axes of a mesh that one call of `shard_map` maps over, and whether an array fits its PartitionSpec there.

JAX checks these things too, but names the position of an array in a flat list; here the error names the argument,
result or state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from .._checks.layout import Layout, axes_in
from .._engine.core import Core

__all__ = ["MeshAxes"]


class MeshAxes(NamedTuple):
    """The axes of one call.

    Attributes:
        mesh: The mesh as JAX is to get it; None for the one that is set around the call.
        sizes: The axes over which the function is mapped, with their sizes.
        explicit: Those of them that are explicit: JAX knows which arrays are spread over them, and moves none itself.
        check_vma: Whether JAX tells over which axes a value varies.
    """

    mesh: Mesh | AbstractMesh | None
    sizes: Mapping[Any, int]
    explicit: Collection[Any]
    check_vma: bool

    @staticmethod
    def of(core: Core, mesh: Mesh | AbstractMesh | None, names: Collection[Any], check_vma: bool) -> MeshAxes:
        """Find the axes of a call.

        Args:
            core: The user's function.
            mesh: The mesh that the user gave, or None.
            names: The axes that the user named; none for all.
            check_vma: As for `shard_map`.

        Raises:
            ValueError: There is no mesh or no such axis, or the call is mapped over an axis already.
        """
        around = jax.sharding.get_abstract_mesh()
        given, mesh = mesh, around if mesh is None else mesh
        if mesh.empty:
            raise ValueError(f"there is no mesh to map `{core.__qualname__}` over: give `mesh=`, or use `jax.set_mesh`")
        unknown = [name for name in names if name not in mesh.shape]
        if unknown:
            raise ValueError(f"axis_names={unknown} are not axes of the mesh, which has {dict(mesh.shape)}")
        sizes = {name: size for name, size in mesh.shape.items() if not names or name in names}
        kinds = zip(around.axis_names, around.axis_types, strict=True)
        taken = [name for name, kind in kinds if kind == AxisType.Manual]
        if not set(taken).isdisjoint(sizes):
            raise ValueError(
                f"`{core.__qualname__}` already runs on the shards of {taken}, and cannot be mapped over them "
                "again: name the other axes of the mesh in axis_names"
            )
        # Inside another `shard_map`, JAX takes the mesh from around.
        inside = taken and dict(mesh.shape) == dict(around.shape)
        kind_of = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
        explicit = {name for name in sizes if kind_of[name] == AxisType.Explicit}
        return MeshAxes(None if inside else given, sizes, explicit, check_vma)

    @property
    def shard_number(self) -> Any:
        """The number of the shard that asks."""
        return jax.lax.axis_index(tuple(self.sizes))

    def of_each_dimension(self, spec: PartitionSpec, name: Callable[[], str]) -> list[tuple[Any, ...]]:
        """Return the axes that a spec names, for each dimension of an array.

        Raises:
            ValueError: They are not among those that are mapped over; the message begins with `name`.
        """
        dimensions = [axes_in(part) for part in spec]
        unknown = [axis for axes in dimensions for axis in axes if axis not in self.sizes]
        if unknown:
            raise ValueError(f"{name()} has the spec {spec}, but `shard_map` maps only over {dict(self.sizes)}")
        return dimensions

    def check_fit(self, name: Callable[[], str], array: Any, spec: PartitionSpec, whole: bool) -> None:
        """Refuse a spec that an array cannot have.

        Args:
            name: Returns what it is called, for the message.
            array: The array.
            spec: Its spec.
            whole: Whether it is all of the array, and not one shard.

        Raises:
            ValueError: The array has not so many dimensions, or cannot be split evenly.
        """
        sizes = np.shape(array)
        dimensions = self.of_each_dimension(spec, name)
        if len(dimensions) > len(sizes):
            raise ValueError(f"{name()} has shape {list(sizes)}: the spec {spec} is for {len(dimensions)} axes or more")
        for size, axes in zip(sizes, dimensions, strict=False):
            shards = math.prod(self.sizes[axis] for axis in axes)
            if whole and size % shards:
                raise ValueError(
                    f"{name()} has shape {list(sizes)}: {size} cannot be split evenly into {shards} shards"
                )

    def check_lies(self, name: Callable[[], str], array: Any, spec: PartitionSpec) -> None:
        """Refuse an argument that lies in another way on explicit axes, where JAX asks the user to move it.

        Raises:
            ValueError: It does.
        """
        wanted = self._laid(array, spec)
        if wanted is not None:
            raise ValueError(
                f"{name()} lies as {jax.typeof(array).sharding.spec} on a mesh with the explicit axes "
                f"{sorted(self.explicit)}, and its spec is {spec}: pass `jax.reshard(x, NamedSharding(mesh, {spec}))`, "
                "or leave the axis to JAX, `axis_types=(AxisType.Auto,)` of `jax.make_mesh`"
            )

    def laid_out(self, value: Any, spec: PartitionSpec) -> Any:
        """Return the value of a state as its spec says that it lies; off explicit axes JAX sees to it."""

        def moved(leaf: Any) -> Any:
            wanted = self._laid(leaf, spec)
            if wanted is None:
                return leaf
            return jax.reshard(leaf, wanted if self.mesh is None else NamedSharding(self.mesh, wanted))

        return jax.tree.map(moved, value)

    def _laid(self, array: Any, spec: PartitionSpec) -> PartitionSpec | None:
        """The spec of the whole array on explicit axes, where its own differs on those that are mapped over."""
        if not self.explicit or not isinstance(array, jax.Array):
            return None
        own = [axes_in(part) for part in Layout.of(jax.typeof(array)).spec]
        asked = [axes_in(part) for part in spec] + [()] * (len(own) - len(spec))
        now = [[axis for axis in axes if axis in self.explicit] for axes in own]
        then = [[axis for axis in axes if axis in self.explicit] for axes in asked]
        if now == then:
            return None
        rest = [[axis for axis in axes if axis not in self.explicit] for axes in own]
        return PartitionSpec(*[(*a, *b) or None for a, b in zip(then, rest, strict=True)])

    def varies(self, shard: Any, spec: PartitionSpec) -> list[Any]:
        """Return the axes over which a shard of an array varies though its spec says that it does not."""
        varying = Layout.of(jax.typeof(shard)).varying
        named = {axis for part in spec for axis in axes_in(part)}
        return [axis for axis in self.sizes if axis not in named and axis in varying]

"""Where an array lies on a mesh: what its abstract value says besides its shape and dtype.

*Spread*: on an explicit mesh JAX knows of each array which axes split its dimensions.  *Varies*: inside `shard_map`, an
array has another value on each shard of the axes that it varies over.  JAX refuses a loop or a branch in which either
changes; a number that is spread further, or that counts as varying, is the same number.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
from jax.sharding import NamedSharding, PartitionSpec

__all__ = ["Layout", "axes_in", "element_of"]


class Layout(NamedTuple):
    """Where an array lies.

    Attributes:
        spec: For each dimension the axes of an explicit mesh over which it is spread, or None.
        varying: The axes of a mesh over whose shards it varies.
        sharding: The mesh, with the spec; None for none.
    """

    spec: tuple[Any, ...]
    varying: frozenset[Any]
    sharding: Any

    @staticmethod
    def of(aval: Any) -> Layout:
        """Return the layout of an abstract array, or of a ``jax.ShapeDtypeStruct``."""
        spec = tuple(getattr(aval.sharding, "spec", ()))
        spec += (None,) * (len(aval.shape) - len(spec))  # a user may leave out the last of a ShapeDtypeStruct
        kind = aval.manual_axis_type  # of a ShapeDtypeStruct it may be None
        return Layout(spec, frozenset(() if kind is None else kind.varying), aval.sharding)

    def joined(self, other: Layout) -> Layout | None:
        """Return where both can be brought to; None where they are spread over different axes."""
        pairs = list(zip(self.spec, other.spec, strict=True))
        spec = tuple([a if b is None else b for a, b in pairs])
        named = [axis for part in spec for axis in axes_in(part)]
        if any(a != b for a, b in pairs if None not in (a, b)) or len(set(named)) < len(named):
            return None
        one = self.sharding if any(self.spec) else other.sharding
        sharding = NamedSharding(one.mesh, PartitionSpec(*spec)) if any(spec) else one
        return Layout(spec, self.varying | other.varying, sharding)

    def given_to(self, value: Any) -> Any:
        """Return an array in this layout, to which its own can be brought."""
        own = Layout.of(jax.typeof(value))
        if own.spec != self.spec:
            value = jax.reshard(value, self.sharding)
        more = self.varying - own.varying
        return jax.lax.pcast(value, tuple(sorted(more, key=str)), to="varying") if more else value


def axes_in(part: Any) -> tuple[Any, ...]:
    """Return the axes in one part of a PartitionSpec."""
    if part is None or part is PartitionSpec.UNCONSTRAINED:
        return ()
    return part if isinstance(part, tuple) else (part,)


def element_of(x: Any) -> jax.ShapeDtypeStruct:
    """Return the abstract value of one step of an input, as JAX makes it: on the mesh of the whole."""
    aval = jax.typeof(x)
    where = aval.sharding
    return jax.ShapeDtypeStruct(
        aval.shape[1:],
        aval.dtype,
        weak_type=aval.weak_type,
        sharding=None if where.mesh.empty else NamedSharding(where.mesh, PartitionSpec(*where.spec[1:])),
        manual_axis_type=aval.manual_axis_type,
    )

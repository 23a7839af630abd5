"""``KVCache``: the keys and values of the positions that attention has seen, so that a decoder computes each only once.

It is room of a fixed length, filled from the front, because a compiled program needs arrays of one shape.
`MultiHeadAttention` makes it, reads it and writes it; `init_all_states` makes those of a whole model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.sharding import PartitionSpec

from brainstate_graph import Node
from brainstate_graph.extend import assign_values

from .._core.arguments import as_dtype, as_size, as_sizes
from .._core.sharded import on_explicit_axes, resharded, with_sharding
from .._core.states import ShortTermState

__all__ = ["CacheState", "KVCache"]


class CacheState(ShortTermState):
    """A state of a cache: what a layer has computed for positions that it has seen.

    Example:
        >>> from brainstate_nn import CacheState, MultiHeadAttention
        >>> attention = MultiHeadAttention(2, 8)
        >>> attention.init_cache(batch_size=3, max_length=10)
        >>> attention.states(CacheState)["cache", "key"]
        CacheState(f32[3,10,2,4])
    """

    __slots__ = ()


class KVCache(Node):
    """Room for the keys and values of a number of positions, filled from the front.

    All sequences of a batch are equally long; under `vmap` each lane may have a length of its own.

    Args:
        batch_size: The sizes of the axes in front, one or several; None for none.
        max_length: The number of positions that there is room for.
        num_heads: The number of heads of keys and values.
        head_size: The number of features of a head.
        dtype: The dtype of what is kept.
        out_sharding: The sharding of the arrays, a NamedSharding or, where a mesh is set, a PartitionSpec.

    Attributes:
        key: CacheState of shape ``(*batch_size, max_length, num_heads, head_size)``.
        value: CacheState of the same shape.
        length: CacheState, an int32: how many positions are filled.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import KVCache
        >>> cache = KVCache(2, 5, num_heads=1, head_size=4)
        >>> new = jnp.ones((2, 3, 1, 4))  # three positions at once
        >>> cache.assign(*cache.extended(new, new), 3)
        >>> int(cache.length.value), float(cache.key.value.sum())
        (3, 24.0)
    """

    def __init__(
        self,
        batch_size: int | Sequence[int] | None,
        max_length: int,
        *,
        num_heads: int,
        head_size: int,
        dtype: Any = jnp.float32,
        out_sharding: Any = None,
    ) -> None:
        batch = () if batch_size is None or batch_size == () else as_sizes("batch_size", batch_size)
        self.max_length = as_size("max_length", max_length)
        shape = (*batch, self.max_length, as_size("num_heads", num_heads), as_size("head_size", head_size))
        dtype = as_dtype(dtype)
        self.key = CacheState(with_sharding(jnp.zeros(shape, dtype), out_sharding))
        self.value = CacheState(with_sharding(jnp.zeros(shape, dtype), out_sharding))
        self.length = CacheState(jnp.zeros((), jnp.int32))

    def has_room(self, count: int) -> bool | jax.Array:
        """Tell whether `count` more positions fit: a bool or, while a function is traced, a boolean array."""
        end = self.length.value + count
        fits = end <= self.max_length
        # Under a trace the length is not known, so the answer is an array.
        return fits if isinstance(end, Tracer) else bool(fits)

    def extended(self, key: jax.Array, value: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return all keys and values with new ones behind those that are filled; the cache stays as it is.

        Args:
            key: An array of shape ``(*batch_size, count, num_heads, head_size)``.
            value: An array of the same shape.
        """
        # All indices of one dtype, which `dynamic_update_slice` insists on.
        zero = jnp.zeros((), jnp.int32)
        start = (*[zero] * (key.ndim - 3), self.length.value, zero, zero)
        keys, key = _alike(self.key.value, key)
        values, value = _alike(self.value.value, value)
        return (
            jax.lax.dynamic_update_slice(keys, key.astype(keys.dtype), start),
            jax.lax.dynamic_update_slice(values, value.astype(values.dtype), start),
        )

    def assign(self, keys: jax.Array, values: jax.Array, count: int) -> None:
        """Keep what `extended` returned, with `count` positions more."""
        assign_values((self.key, self.value, self.length), (keys, values, self.length.value + count))

    def reset(self) -> None:
        """Begin anew; what stands in the arrays is seen no more."""
        # The arrays stay: what stands behind the length is masked, and overwritten in time.
        self.length.value = jnp.zeros_like(self.length.value)


def _alike(cached: jax.Array, new: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Bring what a cache has and what comes new to one sharding, as explicit axes ask for.

    It is that of the cache, if it is spread over some axes; else that of the new positions, with all positions in one
    place: a cache that was made before its batch lies as the batch does.
    """
    ours, theirs = jax.typeof(cached).sharding, jax.typeof(new).sharding
    if ours == theirs or not (on_explicit_axes(cached) or on_explicit_axes(new)):
        return cached, new
    if any(ours.spec) or theirs.mesh.empty:
        return cached, resharded(new, ours.spec, cached)
    spec = PartitionSpec(*theirs.spec[:-3], None, *theirs.spec[-2:])
    return resharded(cached, spec, new), resharded(new, spec, new)

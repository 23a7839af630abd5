"""``KVCache``: the keys and values of the positions that attention has seen, so that a decoder computes each only once.

It is room of a fixed length, filled from the front, because a compiled program needs arrays of one shape. Where queries
see a window only, it has room for one window, and is a ring: what is seen no more is written over.
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

    All sequences of a batch are equally long; under `vmap` each lane may have a length of its own. With a `window` that
    is smaller than `max_length` there is room for that many positions: position ``i`` has slot ``i % window``.

    Args:
        batch_size: The sizes of the axes in front, one or several; None for none.
        max_length: The number of positions that there is room for.
        num_heads: The number of heads of keys and values.
        head_size: The number of features of a head.
        window: How many positions a query sees, its own among them; None for all.
        dtype: The dtype of what is kept.
        out_sharding: The sharding of the arrays, a NamedSharding or, where a mesh is set, a PartitionSpec.

    Attributes:
        key: CacheState of shape ``(*batch_size, room, num_heads, head_size)``, with `room` the smaller one of
            `max_length` and `window`.
        value: CacheState of the same shape.
        length: CacheState, an int32: how many positions there were.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import KVCache
        >>> cache = KVCache(2, 5, num_heads=1, head_size=4)
        >>> new = jnp.ones((2, 3, 1, 4))  # three positions at once
        >>> cache.assign(*cache.extended(new, new), 3)
        >>> int(cache.length.value), float(cache.key.value.sum())
        (3, 24.0)
        >>> KVCache(2, 5000, num_heads=1, head_size=4, window=4).key
        CacheState(f32[2,4,1,4])
    """

    def __init__(
        self,
        batch_size: int | Sequence[int] | None,
        max_length: int,
        *,
        num_heads: int,
        head_size: int,
        window: int | None = None,
        dtype: Any = jnp.float32,
        out_sharding: Any = None,
    ) -> None:
        batch = () if batch_size is None or batch_size == () else as_sizes("batch_size", batch_size)
        self.max_length = as_size("max_length", max_length)
        room = self.max_length if window is None else min(self.max_length, as_size("window", window))
        shape = (*batch, room, as_size("num_heads", num_heads), as_size("head_size", head_size))
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

    @property
    def room(self) -> int:
        """How many positions the arrays hold."""
        return self.key.value.shape[-3]

    def new_positions(self, count: int) -> jax.Array:
        """Return the positions of `count` new ones, of shape ``(count,)``."""
        return self.length.value + jnp.arange(count, dtype=jnp.int32)

    def extended(self, key: jax.Array, value: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return all keys and values with new ones among them; the cache stays as it is.

        A single new position is in its slot. Several new positions of a ring come after all slots, because the first of
        them still sees what the last will overwrite.

        Args:
            key: An array of shape ``(*batch_size, count, num_heads, head_size)``.
            value: An array of the same shape.

        Returns:
            A pair of arrays of shape ``(*batch_size, keys, num_heads, head_size)``.
        """
        keys, key = _alike(self.key.value, key)
        values, value = _alike(self.value.value, value)
        key, value = key.astype(keys.dtype), value.astype(values.dtype)
        if self._stand_behind(key.shape[-3]):
            return jnp.concatenate([keys, key], -3), jnp.concatenate([values, value], -3)
        # All indices of one dtype, which `dynamic_update_slice` insists on.
        zero = jnp.zeros((), jnp.int32)
        slot = self.length.value % self.room if self._is_ring else self.length.value
        start = (*[zero] * (key.ndim - 3), slot, zero, zero)
        return (jax.lax.dynamic_update_slice(keys, key, start), jax.lax.dynamic_update_slice(values, value, start))

    def positions(self, count: int) -> jax.Array:
        """Return the positions of the keys of `extended` for `count` new ones, negative where there is none."""
        if not self._is_ring:
            return jnp.arange(self.room, dtype=jnp.int32)
        if not self._stand_behind(count):
            return self._in_slots(self.length.value + 1)
        return jnp.concatenate([self._in_slots(self.length.value), self.new_positions(count)])

    def seen(self, count: int, window: int | None = None) -> jax.Array:
        """Return which of these keys each of `count` new positions sees, of shape ``(count, keys)``."""
        at = self.positions(count)[None, :]
        back = self.new_positions(count)[:, None] - at
        seen = back >= 0 if window is None else (back >= 0) & (back < window)
        return seen & (at >= 0) if self._is_ring else seen

    def of_keys(self, pattern: jax.Array, count: int) -> jax.Array:
        """Return of a pattern over all positions, on its last axis, what concerns these keys."""
        if not self._is_ring or pattern.shape[-1] == 1:
            return pattern
        return jnp.take(pattern, self.positions(count), axis=-1, mode="clip")

    def of_positions(self, weights: jax.Array, count: int) -> jax.Array:
        """Return weights of these keys, on the last axis, as those of all positions, 0 where there is no key."""
        if not self._is_ring:
            return weights
        at, end = jnp.arange(self.max_length, dtype=jnp.int32), self.length.value + count
        first = self.length.value - self.room + (0 if self._stand_behind(count) else 1)
        there = (at >= first) & (at < end)
        all_weights = jnp.take(weights, self._index(at, count), axis=-1, mode="clip")
        return jnp.where(there.reshape((1,) * (weights.ndim - 1) + there.shape), all_weights, 0)

    def assign(self, keys: jax.Array, values: jax.Array, count: int) -> None:
        """Keep what `extended` returned, with `count` positions more."""
        end = self.length.value + count
        if self._stand_behind(count):
            # each slot gets the last one of the positions that it is for
            index = self._index(self._in_slots(end), count)
            keys, values = (jnp.take(x, index, axis=-3, mode="clip") for x in (keys, values))
        assign_values((self.key, self.value, self.length), (keys, values, end))

    @property
    def _is_ring(self) -> bool:
        return self.room < self.max_length

    def _stand_behind(self, count: int) -> bool:
        return self._is_ring and count != 1

    def _in_slots(self, end: jax.Array) -> jax.Array:
        """Return the positions that the slots of a ring have, where there were `end`; negative where there is none."""
        return end - 1 - (end - 1 - jnp.arange(self.room, dtype=jnp.int32)) % self.room

    def _index(self, positions: jax.Array, count: int) -> jax.Array:
        """Return which of the keys of `extended` these positions have, in a ring."""
        slots = positions % self.room
        behind = self.room + positions - self.length.value
        return jnp.where(positions >= self.length.value, behind, slots) if self._stand_behind(count) else slots

    def reset(self) -> None:
        """Begin anew: no query sees the old positions any more."""
        # The arrays stay: what is behind the length is masked, and overwritten in time.
        self.length.value = jnp.zeros_like(self.length.value)


def _alike(cached: jax.Array, new: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Bring what a cache has and what comes new to one sharding, as explicit axes ask for.

    It is that of the cache, if it is spread over some axes; else that of the new positions, with all positions in one
    place: a cache that was made before its batch gets the sharding of the batch.
    """
    ours, theirs = jax.typeof(cached).sharding, jax.typeof(new).sharding
    if ours == theirs or not (on_explicit_axes(cached) or on_explicit_axes(new)):
        return cached, new
    if any(ours.spec) or theirs.mesh.empty:
        return cached, resharded(new, ours.spec, cached)
    spec = PartitionSpec(*theirs.spec[:-3], None, *theirs.spec[-2:])
    return resharded(cached, spec, new), resharded(new, spec, new)

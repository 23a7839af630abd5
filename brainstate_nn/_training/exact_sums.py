"""Exact sums: counts that do not overflow and float32 sums that keep growing, each in an array of two words.

A metric of a whole evaluation adds up more than one word holds: an int32 overflows after 2e9 pixels, and a float32 sum
of ones stays at 16,777,216, where adding 1 changes nothing. JAX has no 64-bit types unless `jax_enable_x64` is on.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

__all__ = ["add_to_count", "add_to_sum", "count_as_float", "sum_as_float", "zero_count", "zero_sum"]


def zero_count(shape: tuple[int, ...] = ()) -> jax.Array:
    """Return counts of zero: the high word of each, and the low word."""
    return jnp.zeros((2, *shape), jnp.uint32)


def add_to_count(count: jax.Array, more: jax.Array) -> jax.Array:
    """Add whole numbers below 2^32."""
    low = count[1] + more.astype(jnp.uint32)
    # An unsigned sum that is less than a part of it has overflowed once.
    return jnp.stack([count[0] + (low < count[1]).astype(jnp.uint32), low])


def count_as_float(count: jax.Array) -> jax.Array:
    """Return a count as float32."""
    return count[0].astype(jnp.float32) * 2.0**32 + count[1].astype(jnp.float32)


def zero_sum() -> jax.Array:
    """Return a sum of zero: its float32, and what that has lost by rounding."""
    return jnp.zeros(2, jnp.float32)


def add_to_sum(total: jax.Array, more: jax.Array) -> jax.Array:
    """Add a float32, and keep what rounding loses (Knuth, The Art of Computer Programming, 4.2.2, theorem B)."""
    new = total[0] + more
    part = new - total[0]
    lost = (total[0] - (new - part)) + (more - part)
    # Infinity minus infinity is nan, and would stay in the second word for good.
    return jnp.stack([new, total[1] + jnp.where(jnp.isfinite(new), lost, 0.0)])


def sum_as_float(total: jax.Array) -> jax.Array:
    """Return a sum as float32."""
    return total[0] + total[1]

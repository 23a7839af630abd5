"""Numbers in two words, for a whole evaluation: counts that do not overflow, and float32 sums that stay exact.

An int32 overflows after 2e9 pixels, and a float32 sum of 2e7 ones stays at 16,777,216, where adding 1 changes nothing.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

__all__ = ["add_count", "add_sum", "no_count", "no_sum", "of_count", "of_sum"]


def no_count(shape: tuple[int, ...] = ()) -> jax.Array:
    """Return counts of zero: the high word of each, and the low word."""
    return jnp.zeros((2, *shape), jnp.uint32)


def add_count(count: jax.Array, more: jax.Array) -> jax.Array:
    """Add whole numbers below 2^32."""
    low = count[1] + more.astype(jnp.uint32)
    return jnp.stack([count[0] + (low < count[1]), low])


def of_count(count: jax.Array) -> jax.Array:
    """Return a count as float32."""
    return count[0].astype(jnp.float32) * 2.0**32 + count[1].astype(jnp.float32)


def no_sum() -> jax.Array:
    """Return a sum of zero: its float32, and what that has lost by rounding."""
    return jnp.zeros(2, jnp.float32)


def add_sum(total: jax.Array, more: jax.Array) -> jax.Array:
    """Add a float32 (Knuth, The Art of Computer Programming, volume 2, section 4.2.2, theorem B)."""
    new = total[0] + more
    part = new - total[0]
    lost = (total[0] - (new - part)) + (more - part)
    return jnp.stack([new, total[1] + jnp.where(jnp.isfinite(new), lost, 0.0)])


def of_sum(total: jax.Array) -> jax.Array:
    """Return a sum as float32."""
    return total[0] + total[1]

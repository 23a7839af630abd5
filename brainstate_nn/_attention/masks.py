"""Masks for attention: boolean arrays, True where a query may see a key.

They are plain functions, and go to `MultiHeadAttention` as its argument `mask`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .._core.arguments import as_size

__all__ = ["causal_mask", "combine_masks", "padding_mask"]


def causal_mask(length: int, key_length: int | None = None, *, window: int | None = None) -> jax.Array:
    """Return the mask with which each position sees itself and what comes before it.

    Args:
        length: The number of queries.
        key_length: The number of keys; None for as many as queries.
        window: How many positions each sees at most, its own among them; None for all that come before.

    Returns:
        A boolean array of shape ``(length, key_length)``.

    Example:
        >>> from brainstate_nn import causal_mask
        >>> causal_mask(4, window=2).astype(int).tolist()
        [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    """
    queries = as_size("length", length)
    keys = queries if key_length is None else as_size("key_length", key_length)
    back = jnp.arange(queries)[:, None] - jnp.arange(keys)[None, :]
    return back >= 0 if window is None else (back >= 0) & (back < as_size("window", window))


def padding_mask(lengths: Any, max_length: int) -> jax.Array:
    """Return the mask that hides what lies behind the end of each sequence.

    Args:
        lengths: How many positions of each sequence count: whole numbers of any shape, usually ``(batch,)``.
        max_length: The number of positions that the sequences are padded to.

    Returns:
        A boolean array of shape ``(*lengths.shape, 1, 1, max_length)``: the same for all heads and queries.

    Raises:
        TypeError: The lengths are not whole numbers.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import padding_mask
        >>> mask = padding_mask(jnp.array([1, 3]), 3)
        >>> mask.shape, mask[:, 0, 0].astype(int).tolist()
        ((2, 1, 1, 3), [[1, 0, 0], [1, 1, 1]])
    """
    lengths = jnp.asarray(lengths)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise TypeError(f"lengths must be whole numbers, not {lengths.dtype}")
    positions = jnp.arange(as_size("max_length", max_length))
    return positions.reshape((1,) * (lengths.ndim + 2) + (-1,)) < lengths[..., None, None, None]


def combine_masks(*masks: jax.Array | None) -> jax.Array | None:
    """Return the mask that lets through what all masks do.

    Args:
        *masks: Boolean arrays, all of one rank, with 1 where they are the same along an axis; one of shape
            ``(queries, keys)`` goes with any. A None among them is left out.

    Returns:
        The mask, or None where there is none.

    Raises:
        TypeError: A mask is not boolean.
        ValueError: The ranks or shapes do not fit each other.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import causal_mask, combine_masks, padding_mask
        >>> combine_masks(causal_mask(3), padding_mask(jnp.array([1, 3]), 3), None).shape
        (2, 1, 3, 3)
    """
    given = [jnp.asarray(mask) for mask in masks if mask is not None]
    if not given:
        return None
    rank = max(mask.ndim for mask in given)
    for mask in given:
        if mask.dtype != bool:
            raise TypeError(f"a mask must be boolean, True where a query may see a key, not {mask.dtype}")
        if mask.ndim not in (2, rank):
            raise ValueError(
                f"masks of shapes {[m.shape for m in given]} do not fit each other: give each an axis for the heads, "
                "as in `mask[:, None]`"
            )
    try:
        shape = jnp.broadcast_shapes(*[mask.shape for mask in given])
    except ValueError:
        raise ValueError(f"masks of shapes {[m.shape for m in given]} do not fit each other") from None
    # Begins as one element, so that what no mask needs is not made.
    combined = jnp.ones((1,) * len(shape), bool)
    for mask in given:
        combined = combined & mask.reshape((1,) * (rank - mask.ndim) + mask.shape)
    return combined

"""Attention written out, for what needs its weights: JAX's function keeps them to itself.

It computes what `jax.nn.dot_product_attention` does, step by step: two products, which a quantiser may compute, and
between them a softcap, which JAX's function does not have, and room for who drops weights or returns them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .._core.arguments import as_size
from .._core.inputs import wide_dtype
from .masks import causal_mask

__all__ = ["attention_weights", "finite_bias", "sides_of", "weighted_sum"]

# Called as `jax.lax.dot_general` is.
Product = Callable[..., Any]


def sides_of(window: int | None, is_causal: bool) -> tuple[int, int] | None:
    """Return how many positions JAX's function sees before a query and after it."""
    return None if window is None else (window - 1, 0 if is_causal else window - 1)


def finite_bias(bias: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    """Return what is added to logits, in the dtype of these, and nowhere so low that a sum is no number.

    Where -inf, or the least number of a dtype, stands for "not seen", a query that may see nothing then gets equal
    weights and not NaN, as with a mask.
    """
    wide = wide_dtype(dtype)
    return jnp.maximum(bias.astype(wide), _lowest(wide))


def attention_weights(
    product: Product,
    query: jax.Array,
    key: jax.Array,
    bias: jax.Array | None,
    mask: jax.Array | None,
    *,
    is_causal: bool = False,
    window: int | None = None,
    scale: float | None = None,
    softcap: float | None = None,
) -> jax.Array:
    """Return ``softmax(cap(scale * q k^T) + bias)``, with ``cap(x) = softcap * tanh(x / softcap)``.

    Args:
        product: What multiplies queries and keys.
        query: An array of shape ``(batch, queries, heads, head_size)``.
        key: An array of shape ``(batch, keys, kv_heads, head_size)``.
        bias: What is added to the logits, which goes with ``(batch, heads, queries, keys)``, or None.
        mask: A boolean array of such a shape, or None.
        is_causal: Whether a query sees only the keys up to its own position.
        window: How many positions a query sees to each side, its own among them; None for all.
        scale: What products are multiplied by; None for ``1 / sqrt(head_size)``.
        softcap: What no logit exceeds; None for no such bound.

    Returns:
        An array of shape ``(batch, heads, queries, keys)`` in the dtype of `key`.
    """
    batch, queries, heads, size = query.shape
    keys, groups = key.shape[1], key.shape[2]
    grouped = query.reshape((batch, queries, groups, heads // groups, size))
    wide = wide_dtype(query.dtype)
    # summed over the features, for each of the batch and each head of keys
    logits = product(grouped, key, (((4,), (3,)), ((0, 2), (0, 2))), precision=None, preferred_element_type=wide)
    logits = logits.astype(wide).swapaxes(2, 3).reshape((batch, heads, queries, keys))
    logits = logits * (1.0 / math.sqrt(size) if scale is None else scale)
    if softcap is not None:
        logits = softcap * jnp.tanh(logits / softcap)
    if bias is not None:
        logits = logits + bias
    near = _near(queries, keys, is_causal, window)
    for seen in (near, mask):
        if seen is not None:
            logits = jnp.where(seen, logits, _lowest(wide))
    return jax.nn.softmax(logits, axis=-1).astype(key.dtype)


def weighted_sum(product: Product, weights: jax.Array, value: jax.Array) -> jax.Array:
    """Return the sums of values by weights, of shape ``(batch, queries, heads, head_size)``."""
    batch, heads, queries, keys = weights.shape
    groups = value.shape[2]
    weights = weights.reshape((batch, groups, heads // groups, queries, keys))
    x = product(weights, value, (((4,), (1,)), ((0, 1), (0, 2))), precision=None).astype(value.dtype)
    return x.transpose((0, 3, 1, 2, 4)).reshape((batch, queries, heads, value.shape[-1]))


def _near(queries: int, keys: int, is_causal: bool, window: int | None) -> jax.Array | None:
    """Return where a query sees a key by their positions, with axes for batch and heads; None for everywhere."""
    if is_causal:
        return causal_mask(queries, keys, window=window)[None, None]
    if window is None:
        return None
    away = jnp.arange(queries)[:, None] - jnp.arange(keys)[None, :]
    return (jnp.abs(away) < as_size("window", window))[None, None]


def _lowest(dtype: jax.typing.DTypeLike) -> jax.Array:
    # A finite number and not -inf, so that a query that may see nothing gets equal weights and not NaN; 0.7 of the
    # least one, so that adding a bias cannot make it infinite. JAX's function does the same.
    return jnp.asarray(0.7 * jnp.finfo(dtype).min, dtype)

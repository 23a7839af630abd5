"""What attention is made and called with: arguments that fit each other, masks and biases with all axes, or errors."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brainstate_graph.extend import describe, locate

from .._core.arguments import as_fraction, as_size
from .._core.inputs import as_input, as_mask
from .._core.module import Module

__all__ = [
    "as_bias", "as_flag", "as_heads", "as_inputs", "as_pattern", "is_usual", "refuse_misfits", "with_one_axis_in_front",
]  # fmt: skip


def as_heads(
    num_heads: int, in_size: int, num_kv_heads: int | None, head_size: int | None
) -> tuple[int, int, int, int]:
    """Return numbers that fit each other, or raise.

    Args:
        num_heads: The number of heads.
        in_size: The number of features.
        num_kv_heads: The number of heads of keys and values; None for as many.
        head_size: The number of features of a head; None for what divides `in_size`.
    """
    heads, features = as_size("num_heads", num_heads), as_size("in_size", in_size)
    kv_heads = heads if num_kv_heads is None else as_size("num_kv_heads", num_kv_heads)
    if heads % kv_heads:
        raise ValueError(f"num_kv_heads={num_kv_heads} must divide num_heads={num_heads} without a remainder")
    if head_size is None and features % heads:
        raise ValueError(
            f"num_heads={num_heads} must divide in_size={in_size} without a remainder, or give the size of a head: "
            "write `head_size=64`"
        )
    return heads, features, kv_heads, features // heads if head_size is None else as_size("head_size", head_size)


def refuse_misfits(head_size: int, rotary: Any, attention_fn: Any, dropout: Any, **others: Any) -> None:
    """Refuse arguments of a constructor that do not go with each other.

    Args:
        head_size: The number of features of a head.
        rotary: What turns queries and keys, or None.
        attention_fn: The function that computes attention.
        dropout: The probability to drop an attention weight.
        **others: What else needs the weights, or None.
    """
    if rotary is not None and getattr(rotary, "head_size", None) != head_size:
        raise ValueError(
            f"rotary must be made for heads of {head_size} features, not {rotary!r}: write "
            f"`rotary=RotaryEmbedding({head_size})`"
        )
    drops = as_fraction("dropout", dropout, "the probability to drop an attention weight")
    for name, given in {"dropout": drops or None, **others}.items():
        if given is not None and not is_usual(attention_fn):
            raise ValueError(
                f"{name} needs the weights of attention, which another attention_fn does not return: leave out one of "
                "them"
            )
    if not callable(attention_fn):
        raise TypeError(
            "attention_fn must be a function (query, key, value, *, mask, is_causal) -> array, not "
            f"{type(attention_fn).__name__}"
        )


def is_usual(attention_fn: Any) -> bool:
    """Tell whether attention is computed by JAX's function, or as that does it."""
    return attention_fn is jax.nn.dot_product_attention


def as_flag(layer: Module, name: str, flag: Any) -> bool:
    """Return what chooses the program as a bool, or raise: no array can choose it."""
    if not isinstance(flag, (bool, np.bool_)):
        raise TypeError(
            f"{locate(layer)} takes True or False for `{name}`, not {describe(flag)}: in a compiled "
            "function write it as a constant, or name it in `static_argnames`"
        )
    return bool(flag)


def as_inputs(layer: Module, query: Any, key: Any, value: Any, sizes: tuple[int, int]) -> tuple[Any, Any, Any]:
    """Return the inputs for queries, keys and values as arrays that fit each other, or raise.

    Args:
        layer: The layer.
        query: An array of shape ``(..., queries, in_size)``.
        key: An array of shape ``(..., keys, kv_size)``; None for `query`.
        value: An array of the shape of `key`; None for `key`.
        sizes: The pair ``in_size, kv_size``.
    """
    in_size, kv_size = sizes
    query = as_input(query, layer, "query", size=in_size, rank=2)
    if key is None and value is not None:
        raise ValueError(f"{locate(layer)} got `value` without `key`: give both, or `key` alone for both")
    name = "query" if key is None else "key"
    key = as_input(query if key is None else key, layer, name, size=kv_size, rank=2)
    value = key if value is None else as_input(value, layer, "value", size=kv_size, rank=2)
    for name, given, wanted in (("key", key.shape[:-2], query.shape[:-2]), ("value", value.shape, key.shape)):
        if given != wanted:
            other = "query" if name == "key" else "key"
            raise ValueError(
                f"{locate(layer)} takes a `{name}` whose axes fit `{other}`, which is "
                f"{describe(query if name == 'key' else key)}, not {describe(key if name == 'key' else value)}"
            )
    return query, key, value


def as_pattern(layer: Module, mask: Any, full: tuple[int, ...]) -> jax.Array | None:
    """Return a mask with all axes, or raise where it is none or does not fit.

    Args:
        layer: The layer.
        mask: What was given, or None.
        full: The shape ``(..., heads, queries, keys)``.
    """
    if mask is None:
        return None
    meaning = "a boolean `mask`, True where a query may see a key, not {}"
    number = not isinstance(mask, (str, bytes)) and jnp.issubdtype(getattr(mask, "dtype", bool), jnp.floating)
    mask = as_mask(mask, layer, meaning + (": numbers to add to logits are for `bias`" if number else ""))
    return _with_all_axes(layer, "mask", mask, full)


def as_bias(layer: Module, bias: Any, full: tuple[int, ...]) -> jax.Array | None:
    """Return what is added to logits with all axes, or raise as `as_pattern` does."""
    if bias is None:
        return None
    bias = as_input(bias, layer, "bias")
    if bias.dtype == bool or jnp.issubdtype(bias.dtype, jnp.complexfloating):
        hint = ": booleans are for `mask`" if bias.dtype == bool else ""
        raise TypeError(f"{locate(layer)} takes real numbers for `bias`, not {describe(bias)}{hint}")
    return _with_all_axes(layer, "bias", bias, full)


def _with_all_axes(layer: Module, name: str, given: jax.Array, full: tuple[int, ...]) -> jax.Array:
    shape = given.shape
    if len(shape) == len(full) - 1 > 2:
        shape = (*shape[:-2], 1, *shape[-2:])
    elif len(shape) == 2:
        shape = (1,) * (len(full) - 2) + shape
    if len(shape) != len(full) or any(a not in (1, b) for a, b in zip(shape, full, strict=True)):
        raise ValueError(
            f"{locate(layer)} takes a `{name}` of shape {full}, with 1 where it is the same along an axis, or of "
            f"shape {full[-2:]}, not {describe(given)}"
        )
    return given.reshape(shape)


def with_one_axis_in_front(pattern: jax.Array | None, leading: tuple[int, ...]) -> jax.Array | None:
    """Join the axes of a mask or bias in front of heads, queries and keys, as those of the inputs are joined."""
    if pattern is None or len(leading) == 1:
        return pattern
    # What is the same for the whole batch stays one, and is not repeated in memory.
    front = leading if any(size != 1 for size in pattern.shape[:-3]) else (1,) * len(leading)
    pattern = jnp.broadcast_to(pattern, (*front, *pattern.shape[-3:]))
    return pattern.reshape((math.prod(front), *pattern.shape[-3:]))

"""Inputs of a layer: what it is called with, checked and brought to the dtype in which it computes.

A call happens inside a model, so the errors name the path of the layer, and the argument. What a constructor takes is
the matter of `arguments`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph import Node, State
from brainstate_graph.extend import describe, locate

__all__ = [
    "along_axis", "as_indices", "as_input", "as_mask", "at_least_float32", "common_dtype", "promote",
    "squared_magnitude", "wide_dtype",
]  # fmt: skip


def as_input(
    x: Any, layer: Node, argument: str = "x", *, size: int | None = None, axis: int = -1, rank: int = 0
) -> Any:
    """Return an argument of a call as an array of numbers, or raise with the path of the layer and the argument.

    Args:
        x: What was given.
        layer: The layer.
        argument: The name of the argument.
        size: The number of features along `axis`; None for any.
        axis: The axis of the features.
        rank: How many axes there must be at least.

    Raises:
        TypeError: It is not an array of numbers.
        ValueError: It has too few axes, or another number of features.
    """
    # JAX refuses most of these too, in errors that know nothing of layers.
    if x is None or isinstance(x, (str, bytes, Mapping, State, Node)):
        given = f"a {type(x).__name__}" if x is not None else "None"
        raise TypeError(f"{locate(layer)} takes an array for `{argument}`, not {given}")
    x = jnp.asarray(x)
    if not (jnp.issubdtype(x.dtype, jnp.number) or x.dtype == bool):
        raise TypeError(f"{locate(layer)} takes numbers for `{argument}`, which is {describe(x)}")
    if x.ndim < rank:
        raise ValueError(f"{locate(layer)} needs at least {rank} axes of `{argument}`, which is {describe(x)}")
    if size is not None and (not -x.ndim <= axis < x.ndim or x.shape[axis] != size):
        raise ValueError(
            f"{locate(layer)} expects {size} features along axis {axis} of `{argument}`, which is {describe(x)}"
        )
    return x


def as_indices(x: Any, layer: Node, argument: str = "x") -> Any:
    """Return an argument of a call as an array of whole numbers, or raise as `as_input` does."""
    x = as_input(x, layer, argument)
    if not jnp.issubdtype(x.dtype, jnp.integer):
        raise TypeError(f"{locate(layer)} takes whole numbers for `{argument}`, which is {describe(x)}")
    return x


def as_mask(mask: Any, layer: Node, meaning: str = "True and False for `mask`, which is {}") -> Any:
    """Return the argument `mask` of a call as an array of booleans, or raise as `as_input` does.

    Args:
        mask: What was given.
        layer: The layer.
        meaning: What the message says that the layer takes, with ``{}`` for what was given.
    """
    mask = as_input(mask, layer, "mask")
    if mask.dtype != bool:
        raise TypeError(f"{locate(layer)} takes {meaning.format(describe(mask))}")
    return mask


def wide_dtype(dtype: Any) -> Any:
    """Return a dtype of numbers in single precision or more, which whole numbers are computed with too."""
    # Not by `jnp.promote_types`, which knows no dtype for two under strict promotion, from JAX 0.12 on.
    wide = jnp.issubdtype(dtype, jnp.inexact) and jnp.finfo(dtype).bits >= 32
    return jnp.dtype(dtype if wide else jnp.float32)


def common_dtype(*arrays: Any) -> Any:
    """Return the inexact dtype that JAX's promotion gives for these arrays; a None among them is left out."""
    dtype = jnp.result_type(*[a for a in arrays if a is not None])
    # Whole numbers are computed with in float32, as JAX divides them.
    return dtype if jnp.issubdtype(dtype, jnp.inexact) else wide_dtype(dtype)


def promote(*arrays: Any, dtype: Any = None) -> list[Any]:
    """Bring arrays to one inexact dtype.

    Args:
        *arrays: Arrays or numbers; None stays None.
        dtype: The dtype to compute in; None for the one that JAX's promotion gives.
    """
    if dtype is None:
        dtype = common_dtype(*arrays)
    return [None if a is None else jnp.asarray(a, dtype) for a in arrays]


def at_least_float32(x: jax.Array) -> jax.Array:
    """Return `x` in single precision or more.

    A sum in half precision ends at 256 (bfloat16) or 2048 (float16), where adding 1 changes nothing any more.
    """
    return x.astype(wide_dtype(x.dtype))


def squared_magnitude(x: jax.Array) -> jax.Array:
    """Return ``abs(x) ** 2``, without the root, whose derivative at 0 is not finite."""
    return jnp.square(x.real) + jnp.square(x.imag) if jnp.iscomplexobj(x) else jnp.square(x)


def along_axis(vector: jax.Array, ndim: int, axis: int = -1) -> jax.Array:
    """Shape a vector so that it is along `axis` of an array with `ndim` axes.

    Broadcasting would do it silently for the last axis, and raises where the user asked JAX for strict ranks.
    """
    shape = [1] * ndim
    shape[axis] = vector.shape[0]
    return vector.reshape(shape)

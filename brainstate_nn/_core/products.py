"""Products: the one door through which layers multiply by their weights, and a quantiser comes in.

A layer says how by three attributes: `precision`, `preferred_element_type`, and `dot_general`, which is called in place
of `jax.lax.dot_general`. Convolutions have `conv_general_dilated` in the same way. JAX's functions are looked up at
each call, so that a tool that puts others into `jax.lax` for a while is heard too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from brainstate_graph.extend import describe, locate

from .arguments import as_dtype

__all__ = [
    "DotGeneral", "as_element_type", "as_function", "contract", "convolve", "matmul", "multiply", "with_bias",
]  # fmt: skip

DotGeneral = Callable[..., Any]


def as_element_type(dtype: Any) -> Any:
    """Return the dtype that products are added up in and have, or raise."""
    return as_dtype(dtype, "preferred_element_type", "to add up products in")


def as_function(name: str, function: Any) -> Any:
    """Return a function that replaces one of `jax.lax`, or None, or raise with the name of the argument."""
    if isinstance(function, type) or not (function is None or callable(function)):
        given = f"the class {function.__name__}" if isinstance(function, type) else repr(function)
        raise TypeError(f"{name} must be a function with the arguments of jax.lax.{_usual(name)}, or None, not {given}")
    return function


def contract(layer: Any, x: jax.Array, weight: jax.Array, numbers: Any, out_sharding: Any = None) -> jax.Array:
    """Return a product of two arrays of one dtype, as the layer wants it.

    Args:
        layer: The layer, with the three attributes.
        x: What is multiplied.
        weight: What it is multiplied by.
        numbers: The axes that are summed over and those of the batch, as for `jax.lax.dot_general`.
        out_sharding: The sharding of the result; None where JAX can tell it.
    """
    return multiply(layer, "dot_general", x, weight, numbers, **_options(layer, out_sharding))


def matmul(layer: Any, x: jax.Array, weight: jax.Array, out_sharding: Any = None) -> jax.Array:
    """Return the product of the last axis of `x` with the first one of a matrix, as the layer wants it."""
    return contract(layer, x, weight, (((x.ndim - 1,), (0,)), ((), ())), out_sharding)


def convolve(layer: Any, x: jax.Array, kernel: jax.Array, out_sharding: Any = None, **options: Any) -> jax.Array:
    """Return a convolution of two arrays of one dtype, as the layer wants it.

    Args:
        layer: The layer, with the three attributes.
        x: What the kernel moves over.
        kernel: The kernel.
        out_sharding: The sharding of the result; None where JAX can tell it.
        **options: How it moves, as for `jax.lax.conv_general_dilated`.
    """
    return multiply(layer, "conv_general_dilated", x, kernel, **options, **_options(layer, out_sharding))


def with_bias(y: jax.Array, bias: jax.Array | None) -> jax.Array:
    """Return a product plus a bias along its last axes, in the dtype of the product."""
    # Of one rank and dtype: where JAX is strict it refuses anything else.
    return y if bias is None else y + bias.astype(y.dtype).reshape((1,) * (y.ndim - bias.ndim) + bias.shape)


def multiply(layer: Any, name: str, x: jax.Array, y: jax.Array, *args: Any, **options: Any) -> jax.Array:
    """Multiply by JAX's function, or by the user's in its place, which must return an array of the same shape.

    Args:
        layer: The layer.
        name: Which of its attributes is the user's function, or None: the name of JAX's, or one that ends in that.
        x: One array.
        y: The other.
        *args: Further arguments for JAX's function.
        **options: The same by name.
    """
    usual, own = getattr(jax.lax, _usual(name)), getattr(layer, name, None)
    if own is None:
        return usual(x, y, *args, **options)
    z = own(x, y, *args, **options)
    shape = jax.eval_shape(lambda x, y: usual(x, y, *args, **options), x, y).shape
    if getattr(z, "shape", None) != shape:
        raise ValueError(
            f"`{name}` of {locate(layer)} must return an array of shape {shape}, as jax.lax.{_usual(name)} does, not "
            f"{describe(z)}"
        )
    return z


def _usual(name: str) -> str:
    return "conv_general_dilated" if name.endswith("conv_general_dilated") else "dot_general"


def _options(layer: Any, out_sharding: Any) -> dict[str, Any]:
    """Return the options of a product; what is not asked for is left out, as functions of quantisers lack some."""
    # A layer of a model that is read from an older file may have none of the attributes.
    wider, precision = (getattr(layer, name, None) for name in ("preferred_element_type", "precision"))
    options = {"preferred_element_type": wider, "out_sharding": out_sharding}
    return {"precision": precision} | {name: value for name, value in options.items() if value is not None}

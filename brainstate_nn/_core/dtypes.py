"""Dtypes of layers: the one to compute in, the one of parameters, and single precision where sums need it.

A layer has two: `param_dtype`, in which its parameters are kept, and `dtype`, in which it computes. Where `dtype` is
None, JAX's own promotion of inputs and parameters decides.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["as_dtype", "as_param_dtype", "at_least_float32", "common_dtype", "promote", "squared_magnitude"]


def as_param_dtype(dtype: Any) -> Any:
    """Return the dtype of parameters, or raise where it is none that can be trained."""
    found = _dtype("param_dtype must be a dtype such as jnp.float32", dtype)
    if not jnp.issubdtype(found, jnp.inexact):
        raise TypeError(f"param_dtype must be a float or complex dtype, not {found}")
    return found


def as_dtype(dtype: Any) -> Any:
    """Spell a dtype in one way, so that ``jnp.float32`` and ``"float32"`` make the same program."""
    if dtype is None:
        return None
    found = _dtype("dtype must be a dtype such as jnp.float32, or None", dtype)
    if not jnp.issubdtype(found, jnp.inexact):
        raise TypeError(f"dtype must be a float or complex dtype to compute in, or None, not {found}")
    return found


def _dtype(demand: str, dtype: Any) -> Any:
    try:
        return jnp.dtype(dtype)
    except TypeError:
        raise TypeError(f"{demand}, not {dtype!r}") from None


def common_dtype(*arrays: Any) -> Any:
    """Return the inexact dtype that JAX's promotion gives for these arrays; None among them does not count."""
    dtype = jnp.result_type(*[a for a in arrays if a is not None])
    # Whole numbers are computed with in float32, as JAX divides them.
    return dtype if jnp.issubdtype(dtype, jnp.inexact) else jnp.promote_types(jnp.float32, dtype)


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
    return x.astype(jnp.promote_types(jnp.float32, x.dtype))


def squared_magnitude(x: jax.Array) -> jax.Array:
    """Return ``abs(x) ** 2``, without the root, whose derivative at 0 is not finite."""
    return jnp.square(x.real) + jnp.square(x.imag) if jnp.iscomplexobj(x) else jnp.square(x)

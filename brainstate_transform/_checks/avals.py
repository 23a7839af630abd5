"""Abstract arrays as users see them: a shape, a dtype and a weak type as a ``jax.ShapeDtypeStruct``."""

from __future__ import annotations

from typing import Any

import jax

__all__ = ["shape_of", "struct"]


def struct(aval: Any) -> jax.ShapeDtypeStruct:
    """Return an abstract array as JAX shows it to users."""
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)


def shape_of(leaf: Any) -> jax.ShapeDtypeStruct:
    """Return the shape and dtype of an array or number."""
    return struct(jax.typeof(leaf))

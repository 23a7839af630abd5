"""Shapes and dtypes of what a serialized program takes and returns.

They have no weak types, as ``jax.export`` keeps none, and a dimension of what is taken may be a symbol that any size
fits.
"""

from __future__ import annotations

from typing import Any

import jax

__all__ = ["fits", "strong", "struct_of"]


def strong(aval: Any) -> jax.ShapeDtypeStruct:
    """Return the shape and dtype of an abstract array, and nothing else of it."""
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype)


def struct_of(leaf: Any) -> jax.ShapeDtypeStruct:
    """Return the same of an array or number."""
    return strong(leaf if isinstance(leaf, jax.ShapeDtypeStruct) else jax.typeof(leaf))


def fits(given: Any, wanted: Any) -> bool:
    """Tell whether a program takes a value.

    Args:
        given: A tree of abstract arrays; a weakly typed one, as of a Python number, takes any dtype.
        wanted: The tree that the program was made for.
    """
    return jax.tree.structure(given) == jax.tree.structure(wanted) and all(
        map(_array_fits, jax.tree.leaves(given), jax.tree.leaves(wanted))
    )


def _array_fits(given: Any, wanted: Any) -> bool:
    sizes = len(given.shape) == len(wanted.shape) and all(
        not isinstance(w, int) or g == w for g, w in zip(given.shape, wanted.shape, strict=True)
    )
    return sizes and (given.dtype == wanted.dtype or given.weak_type)

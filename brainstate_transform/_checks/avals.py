"""Abstract arrays as users see them: a shape, a dtype and a weak type as a ``jax.ShapeDtypeStruct``."""

from __future__ import annotations

from typing import Any

import jax

from brainstate_graph.extend import alike, describe

from .._engine.placeholders import is_placeholder

__all__ = ["both_in_words", "first_difference", "shape_of", "shapes_of", "struct"]


def struct(aval: Any) -> jax.ShapeDtypeStruct:
    """Return an abstract array as JAX shows it to users."""
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)


def shape_of(leaf: Any) -> jax.ShapeDtypeStruct:
    """Return the shape and dtype of an array or number."""
    return struct(jax.typeof(leaf))


def shapes_of(tree: Any) -> Any:
    """Return a tree of arrays, numbers and shapes as one of shapes."""
    return jax.tree.map(lambda x: x if isinstance(x, jax.ShapeDtypeStruct) else shape_of(x), tree)


def first_difference(left: Any, right: Any) -> tuple[str, Any, Any]:
    """Find where two trees differ first: the path, and what is there in each, as shapes or nodes."""
    left, right = shapes_of(left), shapes_of(right)
    lefts, rights = [jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_placeholder) for tree in (left, right)]
    if [path for path, _ in lefts] == [path for path, _ in rights]:
        for (path, one), (_, other) in zip(lefts, rights, strict=True):
            if not (one == other if is_placeholder(one) or is_placeholder(other) else alike(one, other)):
                return jax.tree_util.keystr(path), one, other
    return "", left, right


def both_in_words(left: Any, right: Any) -> tuple[str, str]:
    """Describe what is different in two trees."""
    one, other = describe(left), describe(right)
    return one, f"another {other}" if one == other else other

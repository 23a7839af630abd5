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
    return _difference("", shapes_of(left), shapes_of(right))


def _difference(path: str, left: Any, right: Any) -> tuple[str, Any, Any]:
    # Of containers the keys tell more than the leaves, which are fewer where one of two structures is empty.
    if type(left) is type(right) and isinstance(left, (dict, list, tuple)) and _keys(left) == _keys(right):
        for key in _keys(left):
            if not alike(left[key], right[key]):
                return _difference(f"{path}[{key!r}]", left[key], right[key])
    lefts, rights = [jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_placeholder) for tree in (left, right)]
    if len(lefts) > 1 and [at for at, _ in lefts] == [at for at, _ in rights]:
        for (at, one), (_, other) in zip(lefts, rights, strict=True):
            if not alike(one, other):
                return path + jax.tree_util.keystr(at), one, other
    return path, left, right


def _keys(container: Any) -> list[Any]:
    return list(container) if isinstance(container, dict) else list(range(len(container)))


def both_in_words(left: Any, right: Any) -> tuple[str, str]:
    """Describe what is different in two trees."""
    one, other = describe(left), describe(right)
    return one, f"another {other}" if one == other else other

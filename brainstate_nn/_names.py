"""Paths as dotted names, one for each state or array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from brainstate_graph import GraphError

__all__ = ["dotted_names", "leaf_names"]


def dotted_names(paths: Sequence[tuple[Any, ...]]) -> list[str]:
    """Spell each path as ``layers.0.weight``.

    Raises:
        GraphError: Two paths have one name, such as ``("a", 1)`` and ``("a", "1")``.
    """
    found: dict[str, tuple[Any, ...]] = {}
    for path in paths:
        name = ".".join(map(str, path))
        if name in found:
            raise GraphError(
                f"the paths {found[name]!r} and {path!r} would both be named {name!r}: rename one attribute or key"
            )
        found[name] = path
    return list(found)


def leaf_names(path: tuple[Any, ...], value: Any) -> tuple[list[tuple[Any, ...]], list[Any], Any]:
    """Take the value at a path apart: for each array a path, the arrays, and the tree to put them together."""
    pairs, treedef = jax.tree_util.tree_flatten_with_path(value)
    return [(*path, *map(_key_of, keys)) for keys, _ in pairs], [leaf for _, leaf in pairs], treedef


def _key_of(entry: Any) -> Any:
    for attribute in ("name", "key", "idx"):
        if hasattr(entry, attribute):
            return getattr(entry, attribute)
    return str(entry)

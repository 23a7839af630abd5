"""Paths as dotted names, one for each state or array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from brainstate_graph import GraphDef, GraphError

__all__ = ["alias_paths", "dotted_name", "dotted_names", "leaf_names"]

Path = tuple[Any, ...]


def dotted_name(path: Path) -> str:
    """Spell a path as ``layers.0.weight``."""
    return ".".join(map(str, path))


def dotted_names(paths: Sequence[Path]) -> list[str]:
    """Spell each path as `dotted_name` does.

    Raises:
        GraphError: Two paths have one name, such as ``("a", 1)``, ``("a", "1")`` and ``("a.1",)``.
    """
    found: dict[str, Path] = {}
    for path in paths:
        name = dotted_name(path)
        if name in found:
            raise GraphError(
                f"the paths {found[name]!r} and {path!r} would both be named {name!r}: rename one attribute or key"
            )
        found[name] = path
    return list(found)


def leaf_names(path: Path, value: Any) -> tuple[list[Path], list[Any], Any]:
    """Take the value at a path apart: for each array a path, the arrays, and the tree to put them together."""
    pairs, treedef = jax.tree_util.tree_flatten_with_path(value)
    return [(*path, *map(_key_of, keys)) for keys, _ in pairs], [leaf for _, leaf in pairs], treedef


def _key_of(entry: Any) -> Any:
    for attribute in ("name", "key", "idx"):
        if hasattr(entry, attribute):
            return getattr(entry, attribute)
    return str(entry)


def alias_paths(shape: GraphDef) -> dict[Path, Path]:
    """Return the other paths of what stands in several places: for each the path where the state is met first.

    Not those that lead through the root or another object above themselves, of which there is no end.
    """
    found: dict[Path, Path] | None = shape.memo.get("aliases")
    if found is None:
        found = shape.memo["aliases"] = {}
        if len(shape.targets) >= len(shape.rows):  # a tree has one edge less than objects
            states = [shape.path(row) for row in shape.state_rows]
            for owner, row in enumerate(shape.rows):
                for place, key in enumerate(row.edge_keys, shape.starts[owner]):
                    target = shape.targets[place]
                    first, other = shape.path(target), (*shape.path(owner), key)
                    if other != first and other[: len(first)] != first:
                        below = [path for path in states if path[: len(first)] == first]
                        found.update({(*other, *path[len(first) :]): path for path in below})
    return found

"""Paths in a model: spelled as dotted names, and the orders in which what they lead to is gone through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import jax

from brainstate_graph import GraphDef, GraphError, Snapshot

__all__ = ["Path", "alias_paths", "dotted_name", "dotted_names", "from_below", "leaf_names", "nearest"]

T = TypeVar("T")

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


def nearest(root: Any, kind: type[T]) -> Iterator[tuple[Path, T]]:
    """Iterate over the nearest objects of a class below a node, each once, with the path that leads to it directly.

    Args:
        root: A node, or a container of them; it is not among them.
        kind: The class; what is below one of its objects is not looked at.
    """
    snap = Snapshot(root)
    shape, objects = snap.graphdef, snap.objects
    met: set[int] = set()
    stack: list[tuple[int, Path]] = [(0, ())]
    while stack:
        number, path = stack.pop()
        if number in met:
            continue
        met.add(number)
        if number and isinstance(objects[number], kind):
            yield path, objects[number]
            continue
        row, edges = shape.rows[number], shape.edges(number)
        stack.extend((edges[i], (*path, row.keys[i])) for i in reversed(row.visits))  # type: ignore[misc]


def from_below(parts: Iterable[tuple[Path, T]]) -> Iterator[tuple[Path, T]]:
    """Iterate over parts by path, each after those below it, where they are given each before those, as by `nodes`."""
    above: list[tuple[Path, T]] = []
    for path, part in parts:
        while above and path[: len(above[-1][0])] != above[-1][0]:
            yield above.pop()
        above.append((path, part))
    yield from reversed(above)

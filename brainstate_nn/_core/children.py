"""Ways through a model: to what a node holds directly, and from below."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from brainstate_graph import Snapshot

__all__ = ["from_below", "nearest"]

T = TypeVar("T")


def nearest(root: Any, kind: type[T]) -> Iterator[tuple[tuple[Any, ...], T]]:
    """Iterate over the nearest objects of a class below a node, each once, with the path that leads to it directly.

    Args:
        root: A node, or a container of them; it is not among them.
        kind: The class; what is below one of its objects is not looked at.
    """
    snap = Snapshot(root)
    shape, objects = snap.graphdef, snap.objects
    met: set[int] = set()
    stack: list[tuple[int, tuple[Any, ...]]] = [(0, ())]
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


def from_below(parts: Iterable[tuple[tuple[Any, ...], T]]) -> Iterator[tuple[tuple[Any, ...], T]]:
    """Iterate over parts by path, each after those below it, where they are given each before those, as by `nodes`."""
    above: list[tuple[tuple[Any, ...], T]] = []
    for path, part in parts:
        while above and path[: len(above[-1][0])] != above[-1][0]:
            yield above.pop()
        above.append((path, part))
    yield from reversed(above)

"""Copies and pickles of graphs: first all nodes, empty, then what each holds.

So no node is entered from inside another, and the depth of a graph is no limit to ``copy.deepcopy`` and ``pickle``.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Self, SupportsIndex

from .clock import Slots, fields_of, new_node, stamp

__all__ = ["Copied"]


class Copied(Slots):
    """An object that is copied and pickled with its attributes, each object of the graph once."""

    __slots__ = ()

    def __getstate__(self) -> dict[str, Any]:
        return fields_of(self).copy()

    def __setstate__(self, state: dict[str, Any]) -> None:
        fields_of(self).update(state)
        stamp(self)

    def __copy__(self) -> Self:
        new: Self = new_node(type(self))
        new.__setstate__(self.__getstate__())
        return new

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        nodes = [n for n in _reach(self) if id(n) not in memo and type(n).__deepcopy__ is Copied.__deepcopy__]
        nodes += [self] if self not in nodes else []  # of a class that calls this method from its own
        for node in nodes:
            memo[id(node)] = new_node(type(node))
        for node in nodes:
            memo[id(node)].__setstate__(copy.deepcopy(node.__getstate__(), memo))
        return memo[id(self)]

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        if type(self).__reduce__ is not object.__reduce__:  # the class has its own way
            return self.__reduce__()  # type: ignore[return-value]
        if id(self) in _progress.nodes:
            return new_node, (type(self),)
        return _root_of, (_Pickled(self),)


class _Progress(threading.local):
    """The nodes of the graphs that this thread is pickling, by id: such a node goes in empty."""

    def __init__(self) -> None:
        self.nodes: set[int] = set()


_progress = _Progress()


class _Pickled:
    """A graph as pickle sees it: a mapping that it fills item by item, nodes before what they hold."""

    def __init__(self, root: Copied | None = None) -> None:
        self.root = root

    def __reduce__(self) -> tuple[Any, ...]:
        return _Pickled, (), None, None, self._items()

    def _items(self) -> Iterator[tuple[Any, Any]]:
        nodes = [n for n in _reach(self.root) if id(n) not in _progress.nodes]
        added = set(map(id, nodes))
        _progress.nodes |= added
        try:
            yield from ((None, node) for node in nodes)
            yield from ((node, node.__getstate__()) for node in nodes)
            yield None, self.root  # pickle asks for an item before it has written the one before
        finally:
            _progress.nodes -= added

    def __setitem__(self, node: Copied | None, item: Any) -> None:
        if node is None:
            self.root = item
        else:
            node.__setstate__(item)


def _root_of(pickled: _Pickled) -> Copied | None:
    return pickled.root


def _reach(root: Any) -> Iterable[Copied]:
    """Return the nodes that are reached through attributes and plain containers, `root` first."""
    found: dict[int, Copied] = {}
    seen: set[int] = set()
    stack = [root]
    while stack:
        item = stack.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Copied):
            found[id(item)] = item
            stack.extend(fields_of(item).values())
        elif isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, (list, tuple)):
            stack.extend(item)
    return found.values()

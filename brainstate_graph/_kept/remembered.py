"""``Remembered``: what is kept of the calls of one function, each with the nodes that it was called with.

Nothing that is kept keeps a model alive: it is kept with a node of it, and goes with that.
"""

from __future__ import annotations

import itertools
import types
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from .._core.clock import notes
from .._core.node import Node

__all__ = ["PARTNERS", "Remembered", "node_in"]


class _Kept(Protocol):
    @property
    def is_current(self) -> Callable[..., bool]: ...


K = TypeVar("K", bound=_Kept)
PARTNERS = 64  # models in turn that one model may be called with, before some are taken apart again
_UNUSED = 256  # calls of a model after which what none of them has used is dropped, as its partner may be


class _WithNode(Generic[K]):
    """What is kept with one first node: items by all nodes of their call, and when each was used last."""

    __slots__ = ("calls", "items")

    def __init__(self) -> None:
        self.items: dict[tuple[int, ...], tuple[K, list[int]]] = {}
        self.calls = 0

    def find(self, key: tuple[int, ...]) -> K | None:
        self.calls = calls = self.calls + 1
        if not calls % _UNUSED:
            self._drop(lambda used: used <= calls - _UNUSED)
        found = self.items.get(key)
        if found is None:
            return None
        found[1][0] = calls
        return found[0]

    def keep(self, key: tuple[int, ...], item: K, most: int) -> None:
        if key not in self.items and len(self.items) >= most:
            oldest = sorted(used[0] for _, used in tuple(self.items.values()))[len(self.items) - most]
            self._drop(lambda used: used <= oldest)
        self.items[key] = item, [self.calls]

    def _drop(self, old: Callable[[int], bool]) -> None:
        for key, (_, used) in tuple(self.items.items()):  # a copy: other threads drop and add as well
            if old(used[0]):
                self.items.pop(key, None)


class Remembered(Generic[K]):
    """What is kept of the calls of one function, for the next call with the same nodes among its arguments.

    It is kept with the first of these nodes, so that the function keeps no model alive.  What is kept holds the other
    nodes of its call as well: it goes when others were used more recently.

    Args:
        most: How many items are kept with one first node.

    Attributes:
        current: Of calls without nodes among the arguments: the usual case.
    """

    def __init__(self, most: int = 2) -> None:
        self.current: K | None = None
        self._most = most
        self._token = _Token()

    def last(self, nodes: Sequence[Node]) -> K | None:
        """Return what was kept for these nodes, whether or not it still holds."""
        if not nodes:
            return self.current
        kept: _WithNode[K] | None = notes(nodes[0]).get(self._token)
        return None if kept is None else kept.find(tuple(map(id, nodes)))

    def find(self, nodes: Sequence[Node]) -> K | None:
        """Return what was kept for these nodes, if it still holds."""
        found = self.last(nodes)
        return found if found is not None and found.is_current() else None

    def keep(self, nodes: Sequence[Node], item: K) -> None:
        """Keep `item` for calls with these nodes."""
        if not nodes:
            self.current = item
            return
        kept: _WithNode[K] = notes(nodes[0]).setdefault(self._token, _WithNode())
        kept.keep(tuple(map(id, nodes)), item, self._most)  # which holds the nodes: the ids stay theirs

    def forget(self) -> None:
        """Drop all that is kept."""
        self.current = None
        self._token = _Token()


class _Token:
    """Under this the notes on a node are one function's; a new token makes the old notes worthless."""

    __slots__ = ("__weakref__",)


_LOOKED_INTO = 256  # objects that are looked into for a node


def node_in(instance: Any) -> Node | None:
    """Return a node that an object with slots holds, itself or in what it holds."""
    items = [instance]
    for item in items:
        if isinstance(item, Node):
            return item
        if len(items) < _LOOKED_INTO and not isinstance(item, (type, types.ModuleType, types.FunctionType)):
            members = [member for kind in type(item).__mro__ for member in vars(kind).values()]
            slots = [member for member in members if isinstance(member, types.MemberDescriptorType)]
            items += [getattr(item, slot.__name__, None) for slot in slots]
            held = item if isinstance(item, dict) else getattr(item, "__dict__", {})
            items += itertools.islice(item if isinstance(item, (list, tuple)) else held.values(), _LOOKED_INTO)
    return None

"""``Remembered``: what is kept of the calls of one function, each with the nodes that it was called with.

Nothing that is kept keeps a model alive: it is kept with a node of it, and goes with that.
"""

from __future__ import annotations

import itertools
import types
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from .._core.node import Node
from .._records.clock import notes

__all__ = ["PARTNERS", "Remembered", "node_in"]


class _Kept(Protocol):
    @property
    def is_current(self) -> Callable[..., bool]: ...


K = TypeVar("K", bound=_Kept)
PARTNERS = 64  # models in turn that one model may be called with, before some are taken apart again
_RECENT = 2  # calls with other nodes that are kept in any case: more would hold a batch of data that is a node
_UNUSED = 256  # calls of a model after which what none of them has used is dropped, as its partner may be
_Key = tuple[int, ...]


class _WithNode(Generic[K]):
    """What is kept with one first node, by all nodes of a call.

    Each item holds the other nodes of its call. So only the last ones are kept, and those of *partners*: nodes that
    were met again, when what was kept for them had gone already.
    """

    __slots__ = ("_calls", "_gone", "_partners", "_recent")

    def __init__(self) -> None:
        self._recent: dict[_Key, tuple[K, list[weakref.ref[Node]]]] = {}
        self._partners: dict[_Key, tuple[K, list[int]]] = {}  # with the number of the call that used it last
        self._gone: dict[_Key, list[weakref.ref[Node]]] = {}
        self._calls = 0

    def find(self, key: _Key) -> K | None:
        self._calls = calls = self._calls + 1
        if not calls % _UNUSED:
            self._drop(calls - _UNUSED)
        recent = self._recent.get(key)
        if recent is not None:
            return recent[0]
        found = self._partners.get(key)
        if found is None:
            return None
        found[1][0] = calls
        return found[0]

    def keep(self, key: _Key, nodes: Sequence[Node], item: K, partners: int) -> None:
        met = self._gone.pop(key, ())
        if key in self._partners or (partners and met and all(ref() is n for ref, n in zip(met, nodes, strict=True))):
            if key not in self._partners and len(self._partners) >= partners:
                self._drop(min(used[0] for _, used in tuple(self._partners.values())))
            self._partners[key] = item, [self._calls]
            return
        if key not in self._recent:
            for old in tuple(self._recent)[: 1 - _RECENT]:  # a copy: other threads drop and add as well
                _, self._gone[old] = self._recent.pop(old, (None, []))
            for old in tuple(self._gone)[:-PARTNERS]:
                self._gone.pop(old, None)
        self._recent[key] = item, list(map(weakref.ref, nodes))

    def _drop(self, used_until: int) -> None:
        for key, (_, used) in tuple(self._partners.items()):
            if used[0] <= used_until:
                self._partners.pop(key, None)


class Remembered(Generic[K]):
    """What is kept of the calls of one function, for the next call with the same nodes among its arguments.

    It is kept with the first of these nodes, so that the function keeps no model alive. A state among them, which may
    stand for a node, has no room for notes: where there are states alone, the last calls are kept here.

    Args:
        partners: With how many others in turn a node is remembered, beside the last two.

    Attributes:
        current: Of calls without nodes among the arguments: the usual case.
    """

    def __init__(self, partners: int = 0) -> None:
        self.current: K | None = None
        self._partners = partners
        self._token = _Token()
        self._of_states: dict[Any, Any] = {}  # the notes of calls with states alone

    def last(self, nodes: Sequence[Node]) -> K | None:
        """Return what was kept for these nodes, whether or not it still holds."""
        if not nodes:
            return self.current
        first = nodes[0]
        kept: _WithNode[K] | None = (notes(first) if isinstance(first, Node) else self._notes(nodes)).get(self._token)
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
        kept: _WithNode[K] = self._notes(nodes).setdefault(self._token, _WithNode())
        kept.keep(tuple(map(id, nodes)), nodes, item, self._partners)  # it holds the nodes: the ids stay theirs

    def forget(self) -> None:
        """Drop all that is kept."""
        self.current = None
        self._token = _Token()
        self._of_states.clear()

    def _notes(self, nodes: Sequence[Any]) -> Any:
        first = next((node for node in nodes if isinstance(node, Node)), None)
        return self._of_states if first is None else notes(first)


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

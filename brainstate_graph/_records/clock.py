"""The clock of structural change, and the record that a node has beside its attributes.

Setting or deleting an attribute of a node stamps the node with the next tick of one process-wide clock.  "Has anything
changed since?" is then one comparison for a whole model, and one comparison per node when something, somewhere, did.
Assigning ``State.value`` is not structural and does not tick.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from typing import Any, final

from .._tools.at_once import for_all

__all__ = [
    "NodeBase", "StateBase", "born_after", "clock", "fields_of", "fill_nodes", "new_node", "new_nodes", "notes", "now",
    "raw_fields", "record_of", "set_fields", "stamp", "stamping",
]  # fmt: skip


@final
class _Clock:
    """Counts structural changes; `now` never again shows a tick that it has shown before."""

    __slots__ = ("next", "now")

    def __init__(self) -> None:
        self.next = itertools.count(1).__next__  # atomic, so that no two threads get one tick
        self.now = 0

    def tick(self) -> None:
        """Make everybody look whether something changed."""
        self.now = self.next()

    def stamp(self, node: NodeBase) -> None:
        record = node.__graph__
        if record.shared:
            record = _own(node)
        tick = self.next()
        # In this order: another thread that sees the clock move must find the node changed.
        record.tick = tick
        self.now = tick


clock = _Clock()


@final
class Record:
    """The record of a node, which is none of its attributes.

    Attributes:
        tick: Of the last change.
        born: The tick when it was made.
        shared: Whether other nodes have the same record, as those merged together until one of them changes.
        snapshot: The cached structure of the graph below.
        notes: What others remember.
    """

    __slots__ = ("born", "notes", "shared", "snapshot", "tick")

    def __init__(self, tick: int, shared: bool) -> None:
        self.tick = self.born = tick
        self.shared = shared
        self.snapshot: Any = None
        self.notes: weakref.WeakKeyDictionary[Any, Any] | None = None


class StateBase:
    """A base for `State`, by which the files below that of State tell one."""

    __slots__ = ()

    def refuse_replacement(self, name: str, by: Any) -> None:
        """Raise where an attribute `name`, which holds this state, may not be given another value."""


class NodeBase:
    """A base for `Node`: an object with attributes and, in a slot beside them, its record."""

    __slots__ = ("__dict__", "__graph__", "__weakref__")

    __graph__: Record


# `Node.__dict__` is a property, as who asks for the dictionary may write to it (see `fields`). These go past it, in C:
# `raw_fields` is `fields_of` without its Python frame, for the traversal.
raw_fields = NodeBase.__dict__["__dict__"].__get__
set_fields = NodeBase.__dict__["__dict__"].__set__
_set_record = NodeBase.__dict__["__graph__"].__set__
_get_record = NodeBase.__dict__["__graph__"].__get__
_set_tick: Any = Record.__dict__["tick"].__set__
_set_now: Any = _Clock.__dict__["now"].__set__


def _own(node: NodeBase) -> Record:
    record = Record(node.__graph__.born, shared=False)
    _set_record(node, record)
    return record


def record_of(node: NodeBase) -> Record:
    """Return the record of a node, for writing."""
    return _own(node) if node.__graph__.shared else node.__graph__


def fields_of(node: NodeBase) -> dict[str, Any]:
    """Return the attribute dictionary of a node, for reading: no tick."""
    return raw_fields(node)


def now() -> int:
    """Return the current tick of the clock of structural change."""
    return clock.now


def born_after(node: NodeBase, tick: int) -> bool:
    """Tell whether `node` was made after the clock showed `tick`."""
    return node.__graph__.born > tick


def notes(node: NodeBase) -> weakref.WeakKeyDictionary[Any, Any]:
    """Return room for what others remember about a node, by who remembers it; it goes when either goes."""
    record = record_of(node)
    if record.notes is None:
        record.notes = weakref.WeakKeyDictionary()
    return record.notes


def stamp(node: NodeBase) -> None:
    """Record that the structure of `node` changed; for code that goes past its attributes."""
    clock.stamp(node)


def stamping(nodes: Sequence[NodeBase]) -> Iterable[Any]:
    """Return what stamps nodes, for `at_once`; after what is set of them, as in ``clock.stamp``."""
    for node in nodes:
        if node.__graph__.shared:
            _own(node)  # none is shared from here on
    tick = clock.next()
    return chain(map(_set_tick, map(_get_record, nodes), repeat(tick)), map(_set_now, (clock,), (tick,)))


def new_node(kind: type[Any]) -> Any:
    """Make a node without calling its constructor, as merging does."""
    node = object.__new__(kind)
    record = object.__new__(Record)  # as its constructor would, without the frame: a quarter of the time
    record.tick = record.born = tick = clock.next()
    record.shared = False
    record.snapshot = record.notes = None
    _set_record(node, record)
    clock.now = tick
    return node


def new_nodes(kinds: Iterable[type[Any]]) -> list[Any]:
    """Make many nodes without calling their constructors; they share a record until one of them changes."""
    nodes = list(map(object.__new__, kinds))
    tick = clock.next()
    # Most nodes of a merged model never change, so one record does for all of them until one does.
    for_all(map(_set_record, nodes, repeat(Record(tick, shared=True))))
    clock.now = tick
    return nodes


def fill_nodes(nodes: Sequence[NodeBase], fields: Iterable[dict[str, Any]]) -> None:
    """Give new nodes their attributes, past any ``__setattr__``: none may run on a half-built object."""
    for_all(map(set_fields, nodes, fields))

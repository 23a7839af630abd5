"""Journals: which attributes of nodes a piece of code sets, so that it can be undone, or told to others.

While a journal is open in a thread, setting or deleting an attribute of a node that was there before notes what the
attribute was.  A journal that ends with an exception puts it back; one that ends well hands its notes to the journal
around it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, NamedTuple

from .clock import Slots, clock, raw_fields

__all__ = ["ABSENT", "Edit", "Journal", "note_edit", "put_field"]


class _Absent:
    """What an attribute is that is not there."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ABSENT"

    def __reduce__(self) -> str:
        return "ABSENT"


ABSENT: Any = _Absent()


class Edit(NamedTuple):
    """An attribute that was set or deleted.

    Attributes:
        node: The node.
        name: The name of the attribute.
        old: Its value before, or ABSENT.
        new: Its value now, or ABSENT.
    """

    node: Any
    name: str
    old: Any
    new: Any


class _Top(threading.local):
    journal: Journal | None = None


_top = _Top()
_lock = threading.Lock()
open_count = 0  # in the whole process: what setting an attribute looks at first, 10 ns where a thread-local costs 50


class Journal:
    """A block in which changes of attributes are noted, and undone if it ends with an exception.

    Example:
        >>> from brainstate_graph import Node
        >>> from brainstate_graph.extend import Journal
        >>> node = Node()
        >>> node.rate = 1
        >>> with Journal() as journal:
        ...     node.rate = 2
        >>> [(edit.name, edit.old, edit.new) for edit in journal.edits()]
        [('rate', 1, 2)]
    """

    __slots__ = ("_parent", "_since", "notes")

    def __init__(self) -> None:
        self.notes: dict[tuple[int, str], tuple[Slots, str, Any]] = {}  # the nodes in it keep their ids
        self._parent: Journal | None = None
        self._since = 0

    def __enter__(self) -> Journal:
        global open_count
        self._since = clock.now
        self._parent, _top.journal = _top.journal, self
        with _lock:
            open_count += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        global open_count
        with _lock:
            open_count -= 1
        inner = _top.journal
        while inner is not None and inner is not self:
            self._take(inner)  # was left open above this one, and ends with it
            inner = inner._parent
        if inner is self:
            _top.journal = self._parent
        if kind is not None:
            self.undo()
        elif self._parent is not None and self.notes:
            self._parent._take(self)
        self._parent = None

    def note(self, node: Slots, name: str) -> None:
        """Note what an attribute is, before it changes; only the first time counts."""
        if node.__graph__.born <= self._since:  # what was made inside is nobody's business outside
            self.notes.setdefault((id(node), name), (node, name, raw_fields(node).get(name, ABSENT)))

    def _take(self, other: Journal) -> None:
        for key, entry in other.notes.items():
            if entry[0].__graph__.born <= self._since:
                self.notes.setdefault(key, entry)

    @property
    def noted(self) -> set[int]:
        """The ids of the nodes whose attributes were set, even if to what they were."""
        return {number for number, _ in self.notes}

    def edits(self) -> list[Edit]:
        """Return what has changed."""
        found = [Edit(n, name, old, raw_fields(n).get(name, ABSENT)) for n, name, old in self.notes.values()]
        return [edit for edit in found if edit.new is not edit.old]

    def undo(self, edits: Iterable[Edit] | None = None) -> None:
        """Put back what has changed, or some of it."""
        for node, name, old, _ in self.edits() if edits is None else edits:
            _store(node, name, old)


def note_edit(node: Slots, name: str) -> None:
    """Note in the journal of this thread, if there is one, that an attribute is about to change."""
    journal = _top.journal
    if journal is not None:
        journal.note(node, name)


def _store(node: Slots, name: str, value: Any) -> None:
    if value is ABSENT:
        raw_fields(node).pop(name, None)
    else:
        raw_fields(node)[name] = value
    clock.stamp(node)


def put_field(node: Slots, name: str, value: Any) -> None:
    """Set an attribute, or delete it where `value` is ABSENT, past any ``__setattr__`` of the class.

    Example:
        >>> from brainstate_graph import Node
        >>> from brainstate_graph.extend import put_field
        >>> node = Node()
        >>> put_field(node, "rate", 2)
        >>> node.rate
        2
    """
    note_edit(node, name)
    _store(node, name, value)

"""``Journal``: the attributes of nodes that a piece of code sets, and what they were before.

They are set at once, as a traced function must see what it has set; the journal notes what they were.  One that ends
with an exception puts them back.  Both ways it hands its notes to the journal around it.  Each overlay opens one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, NamedTuple

from .._tools.at_once import at_once, holding
from .clock import NodeBase, clock, raw_fields, stamping

__all__ = ["ABSENT", "Edit", "Journal", "above", "note_edit", "put_field", "put_fields", "storing"]


class _Here(threading.local):
    journal: Journal | None = None  # the one on top in this thread


_here = _Here()
# The journals that are open in the whole process: what setting an attribute looks at.  See `overlay.open_overlays`.
open_journals: set[Journal] = set()


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

    __slots__ = ("_parent", "_since", "kept", "notes")

    def __init__(self) -> None:
        self.notes: dict[tuple[int, str], tuple[NodeBase, str, Any]] = {}  # the nodes in it keep their ids
        self.kept = False  # whether it stays even after an exception, as what belongs to it was written
        self._parent: Journal | None = None
        self._since = 0

    def __enter__(self) -> Journal:
        self._since = clock.now
        self._parent = _here.journal
        try:
            open_journals.add(self)
            _here.journal = self
        except BaseException:
            self.close(failed=True)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(failed=kind is not None)

    def close(self, failed: bool) -> None:
        """End the block, if it has not ended yet.

        A signal may come before or into `__exit__`. So where a journal or an overlay surrounds what must not be
        half done, the code around it catches the exception and calls this: one signal does not come in the way of both.

        Args:
            failed: Whether to put back what was set, unless it is `kept`.
        """
        if self not in open_journals:
            return
        inner, found = ([], True) if _here.journal is self else above(self, _here.journal)
        for journal in inner:
            self._take(journal)  # was left open above this one, and ends with it
        if failed and not self.kept:
            self.undo()
        if self._parent is not None and self.notes:  # what was put back too: it was this thread that changed the node
            self._parent._take(self)
        if found:
            _here.journal = self._parent
        open_journals.difference_update((*inner, self))
        self._parent = None

    def keep(self) -> Iterable[Any]:
        """Return what makes the journal `kept`, for `at_once`."""
        return map(_set_kept, (self,), (True,))

    def note(self, node: NodeBase, name: str) -> None:
        """Note what an attribute is, before it changes; only the first time counts."""
        if node.__graph__.born <= self._since:  # what was made inside is nobody's business outside
            self.notes.setdefault((id(node), name), (node, name, raw_fields(node).get(name, ABSENT)))

    def _take(self, other: Journal) -> None:
        for key, entry in other.notes.items():
            if entry[0].__graph__.born <= self._since:
                self.notes.setdefault(key, entry)

    def disturbed(self, nodes: Iterable[NodeBase]) -> bool:
        """Tell whether another thread has set attributes of these nodes since, even if to what they were."""
        noted = self.noted
        records = [node.__graph__ for node in nodes if id(node) not in noted]
        return any([record.born <= self._since < record.tick for record in records])

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
        at_once(*storing([(node, name, old) for node, name, old, _ in (self.edits() if edits is None else edits)]))


_set_kept: Any = Journal.__dict__["kept"].__set__


def above(layer: Any, top: Any) -> tuple[list[Any], bool]:
    """Return the journals or overlays of this thread that are above one, and whether it is among them itself."""
    found: list[Any] = []
    while top is not None and top is not layer:
        found.append(top)
        top = top._parent
    return (found, True) if top is layer else ([], False)


def note_edit(node: NodeBase, name: str) -> None:
    """Note in the journal of this thread, if there is one, that an attribute is about to change."""
    journal = _here.journal
    if journal is not None:
        journal.note(node, name)


def storing(changes: Sequence[tuple[NodeBase, str, Any]]) -> list[Iterable[Any]]:
    """Note that attributes are about to change, and return what sets or deletes them, for `at_once`.

    Args:
        changes: For each the node, the name, and the value or ABSENT.
    """
    if not changes:
        return []
    for node, name, _ in changes:
        note_edit(node, name)
    fields: Any = raw_fields
    # Asked for where it is written: another thread may get the dictionary handed out meanwhile (see `fields`).  As of a
    # plain dict, also where it was handed out: what is put back is no further change.
    new = [change for change in changes if change[2] is not ABSENT]
    gone = [change for change in changes if change[2] is ABSENT]
    return [
        map(
            dict.__setitem__, map(fields, [n for n, _, _ in new]), [name for _, name, _ in new], [v for _, _, v in new]
        ),
        map(dict.pop, map(fields, [n for n, _, _ in gone]), [name for _, name, _ in gone], repeat(None)),
        stamping([node for node, _, _ in changes]),
        holding(*[fields(node).get(name) for node, name, _ in changes]),
    ]


def put_fields(changes: Sequence[tuple[NodeBase, str, Any]]) -> None:
    """Set or delete attributes of nodes in one step, as `put_field` does one."""
    at_once(*storing(changes))


def put_field(node: NodeBase, name: str, value: Any) -> None:
    """Set an attribute, or delete it where `value` is ABSENT, past any ``__setattr__`` of the class.

    Example:
        >>> from brainstate_graph import Node
        >>> from brainstate_graph.extend import put_field
        >>> node = Node()
        >>> put_field(node, "rate", 2)
        >>> node.rate
        2
    """
    put_fields([(node, name, value)])

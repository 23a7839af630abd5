"""A graph that was taken apart, brought up to date where little has changed, without taking it apart again.

*Patch*: the difference between what the nodes of a graph held and what they hold now, where it is one of two kinds.
*Plain attributes* came, went or have other values: a row is another one then, as after ``eval()``.  *A state stands in
the place of another one* of its kind: a row stays, and has another object, as after ``init_state()``.  Whatever else
may have changed is no patch.

A graph of 1,000 modules is taken apart in 20 milliseconds, and patched where all of them have changed in 3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from operator import is_
from typing import Any, final

from .clock import raw_fields
from .flatten import visible_fields
from .graphdef import Const, GraphDef, Row
from .node import Node
from .overlay import ABSENT
from .state import State
from .static import EXACT, static_key

__all__ = ["Form", "Patch", "same_fields"]

Form = tuple[type[Any], tuple[str, ...]]
_PLAIN = EXACT | {float, complex}


def same_fields(node: Node, form: Form, values: tuple[Any, ...]) -> bool:
    """Tell whether a node has the very attributes that it had."""
    kind, names = form
    fields: Any = visible_fields(node) if kind.graph_invisible_attrs else raw_fields(node)
    return (
        len(fields) == len(names)
        and all(map(is_, fields.values(), values))
        and tuple(fields) == names
        and type(node) is kind
    )


@final
class Patch:
    """What has become of some of the nodes of a graph.

    Args:
        graphdef: The shape of the graph as it was.
        objects: Its objects.

    Attributes:
        forms: For each node that has changed, by its index, its class and the names of its attributes.
        fields: The values of these.
    """

    def __init__(self, graphdef: GraphDef, objects: Sequence[Any]) -> None:
        self._before = graphdef
        self._objects = objects
        self._rows: dict[int, Row] = {}
        self._alike: dict[Any, Row] = {}
        self._states: dict[int, State[Any]] = {}  # those in the place of others, by row
        self.forms: dict[int, Form] = {}
        self.fields: dict[int, tuple[Any, ...]] = {}

    def add(self, index: int, node: Node, form: Form, values: tuple[Any, ...]) -> bool:
        """Take in a node that has changed.

        Args:
            index: Its index among the nodes.
            node: The node.
            form: Its class, and the names of the attributes that it had.
            values: Their values.

        Returns:
            Whether what has changed is a patch.
        """
        if type(node) is not form[0]:
            return False
        number = self._before.node_rows[index]
        before = dict(zip(form[1], values, strict=True))
        fields = visible_fields(node)
        plain: list[tuple[str, Any]] = []
        for name, value in fields.items():
            old = before.pop(name, ABSENT)
            if value is old:
                continue
            if type(value) in _PLAIN and (old is ABSENT or type(old) in _PLAIN):
                plain.append((name, value))
            elif not (isinstance(value, State) and self._replace(number, name, old, value)):
                return False
        for name, old in before.items():
            if type(old) not in _PLAIN:
                return False
            plain.append((name, ABSENT))
        if plain:
            self._rows[number] = self._row(self._before.rows[number], plain)
        self.forms[index] = form if tuple(fields) == form[1] else (form[0], tuple(fields))
        self.fields[index] = tuple(fields.values())
        return True

    def _row(self, row: Row, plain: list[tuple[str, Any]]) -> Row:
        """Return a row with some other plain values; ABSENT takes one away."""
        key = row, tuple([(name, None if value is ABSENT else static_key(value)) for name, value in plain])
        found = self._alike.get(key)
        if found is None:
            consts = dict(zip(row.keys, row.consts, strict=True))
            for name, value in plain:
                if value is ABSENT:
                    del consts[name]
                else:
                    consts[name] = Const.of(value)
            order = sorted(consts)
            found = self._alike[key] = Row.of(row.kind, row.type, order, [consts[name] for name in order], row.extra)
        return found

    def _replace(self, number: int, name: str, old: Any, new: State[Any]) -> bool:
        """Put a state in the place of another one; tell whether nothing but the object of its row is another then."""
        if type(old) is not type(new) or (old._meta != new._meta and static_key(old._meta) != static_key(new._meta)):
            return False
        shape = self._before
        target = shape.targets[shape.starts[number] + shape.rows[number].edge_keys.index(name)]
        self._states[target] = new
        return target in _held_once(shape)

    def result(self) -> tuple[GraphDef, list[Any]] | None:
        """Return the shape and the objects of the graph as it is now; None where they are not known without a look."""
        before, objects = self._before, list(self._objects)
        if self._states:
            new = set(map(id, self._states.values()))
            if len(new) < len(self._states) or not new.isdisjoint(map(id, objects)):
                return None  # it stands elsewhere as well
            for row, state in self._states.items():
                objects[row] = state
        if not self._rows:
            return before, objects
        rows = list(before.rows)
        for number, row in self._rows.items():
            rows[number] = row
        after = GraphDef.of(before.root, rows, before.targets, before.first_edges)
        # No edge is another one, so what is worked out from the edges is the same.
        for name in ("starts", "state_rows", "node_rows", "steps", "layout", "_containers"):
            if name in before.__dict__:
                after.__dict__.setdefault(name, before.__dict__[name])
        return after, objects


def _held_once(graphdef: GraphDef) -> frozenset[int]:
    """Return the rows to which one edge leads."""
    found = graphdef.memo.get(_held_once)
    if found is None:
        counts = Counter(graphdef.targets)
        found = graphdef.memo[_held_once] = frozenset([row for row, count in counts.items() if count == 1])
    return found

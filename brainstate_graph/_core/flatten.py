"""The only traversal: from objects to a GraphDef and their states, sharing and cycles kept.

It goes depth first with a stack of its own, so that the depth of a model is no limit.  Each object gets a number and a
row when it is first visited; an edge to it is that number.

Most of a model are states, plain values and nodes that look alike, and those take the short way.  A plain value is
known by its exact type.  A state that comes next is visited without going through the stack.  Nodes of one class whose
attributes have the same names and types follow one *pattern*, so that a look at their constants finds their row.
"""

from __future__ import annotations

import types
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import accumulate
from typing import Any, Protocol, final

import numpy as np

from .._records.clock import raw_fields
from .._tools.words import dotted
from .errors import GraphError
from .fields import Fields
from .foreign import foreign_type_of, refuse_equal_keys
from .graphdef import CONTAINERS, Const, GraphDef, Row
from .node import Node
from .pattern import DICTS, LISTS, OBJECTS, STATIC, Pattern, is_static
from .state import State
from .static import ATOMS, static_key
from .watch import Watch, one_level, watch_dict, watch_foreign, watch_list, watch_pytree, watch_static

__all__ = ["Flat", "flatten"]

_HOLDERS = LISTS | {tuple}  # containers that may be large
_SIZED = frozenset({tuple, set, frozenset, bytearray, np.ndarray})  # static values that may be large
# Types of static values that hold nothing large.
_SMALL = ATOMS | {float, complex, type, types.FunctionType, types.BuiltinFunctionType, np.dtype}


class Larges(Protocol):
    """What tells the large things of one graph, see `brainstate_graph._kept.large`."""

    def find(self, item: Any) -> Any: ...
    def digest(self, item: Any) -> Any: ...
    def holding(self, value: Any) -> Any: ...


@final
class Flat:
    """A graph taken apart, and what must stay as it is for that to stay true.

    Attributes:
        graphdef: The shape.
        objects: The live object of each row.
        nodes: The nodes among them.
        ticks: For each node its tick when it was looked at.
        forms: For each node its class, and the names of its attributes.
        fields: For each node the values of these attributes.
        watches: One test for each mutable thing that is not a node: "is it as it was?"
        larges: What went in as a digest: the number of the row that holds it, the path from there, and its text.
    """

    __slots__ = ("fields", "forms", "graphdef", "larges", "nodes", "objects", "ticks", "watches")

    graphdef: GraphDef

    def __init__(self) -> None:
        self.objects: list[Any] = []
        self.nodes: list[Node] = []
        self.ticks: list[int] = []
        self.forms: list[tuple[type[Any], tuple[str, ...]]] = []
        self.fields: list[tuple[Any, ...]] = []
        self.watches: list[Watch] = []
        self.larges: list[tuple[int, tuple[Any, ...], str]] = []


@final
class _Traversal:
    """One traversal, depth first, in the order of `visit_order`."""

    def __init__(self, known: Callable[[Any], int | None] | None, own_root: bool, larges: Larges | None) -> None:
        self.own_root = own_root
        self.larges = larges
        self.flat = Flat()
        self.known = known
        self.objects, self.nodes, self.ticks = self.flat.objects, self.flat.nodes, self.flat.ticks
        self.rows: list[Row] = []
        self.targets: list[int] = []
        self.first_edges: list[int] = []  # for each row but the first the index of the target that led to it
        # The number of each object by its id. `objects` keeps the objects alive, so that no id is used again; `kept`
        # does the same for what pytrees made for us to look at.
        self.numbers: dict[int, int] = {}
        self.kept: list[Any] = []
        # What waits to be visited, and the index of the target that gets its number.
        self.items: list[Any] = []
        self.slots: list[int] = []
        # What looks alike: patterns by class, names and types of attributes; the last one of each class; and rows, by
        # pattern and constants among others.
        self.patterns: dict[tuple[Any, ...], Pattern] = {}
        self.last: dict[type[Any], Pattern] = {}
        self.alike: dict[Hashable, Row] = {}
        self.container_again = False

    def run(self, root: Any) -> Flat:
        if is_static(root, type(root)):
            self.flat.graphdef = GraphDef.of(self._const(root, -1, None), (), ())
            return self.flat
        items, slots, rows, targets, first_edges = self.items, self.slots, self.rows, self.targets, self.first_edges
        number_of, known = self.numbers.setdefault, self.known
        number_of(id(root), 0)
        self._visit(root)
        while items:
            item, slot, count = items.pop(), slots.pop(), len(rows)
            targets[slot] = number = number_of(id(item), count)
            if number < count:
                self.container_again = self.container_again or rows[number].kind in CONTAINERS
                continue
            first_edges.append(slot)
            if known is None and isinstance(item, Node):
                self._visit_node(item, type(item), number)
            else:
                self._visit(item)
        if self.container_again:
            self._refuse_container_cycles()
        self.flat.graphdef = GraphDef.of(0, self.rows, targets, self.first_edges)
        return self.flat

    def _visit(self, item: Any) -> None:
        """Give an object its row."""
        kind = type(item)
        number = len(self.rows)
        if self.known is not None and isinstance(item, (Node, State)) and (name := self.known(item)) is not None:
            self.objects.append(item)
            self.rows.append(Row.of("known", kind, (), (), name))
            return
        if isinstance(item, Node):
            self._visit_node(item, kind, number)
            return
        self.objects.append(item)
        if isinstance(item, State):
            self.rows.append(self._state_row(item, kind))
        elif number and kind in _HOLDERS and self.larges is not None and (large := self.larges.find(item)) is not None:
            self.rows.append(Row.of("large", kind, (), (), large.digest))
            self.flat.watches.append(large.unchanged)
            self.flat.larges.append((number, (), large.digest.text))
        elif kind is list:
            items = tuple(item)  # one look, for another thread may be changing it
            self.flat.watches.append(watch_list(item, items))
            self._visit_container("list", kind, range(len(items)), items)
        elif kind in DICTS:
            fields = dict(item)
            if not self.own_root or self.rows:
                self.flat.watches.append(watch_dict(item, fields))
            extra = (item.default_factory,) if kind is defaultdict else ()
            kind = dict if kind is Fields else kind
            self._visit_container("dict", kind, list(fields), list(fields.values()), extra)
        elif kind is tuple:
            self._visit_container("tuple", kind, range(len(item)), item)
        elif isinstance(item, tuple) and hasattr(kind, "_fields"):
            self._visit_container("namedtuple", kind, getattr(kind, "_fields", ()), item)
        else:
            self._visit_other(item, kind, number)

    def _visit_node(self, node: Node, kind: type[Any], number: int) -> None:
        self.objects.append(node)
        self.nodes.append(node)
        self.ticks.append(node.__graph__.tick)  # before looking: a change while we look must show
        fields = raw_fields(node).copy()  # one look, for another thread may be changing it
        for hidden in kind.graph_invisible_attrs:
            fields.pop(hidden, None)
        names, values = tuple(fields), tuple(fields.values())
        kinds = tuple(map(type, values))
        pattern = self.last.get(kind)  # as a rule a node looks like the one before it of its class
        if pattern is None or pattern.kinds != kinds or pattern.names != names:
            pattern = self.patterns.get((kind, names, kinds))
            if pattern is None:
                pattern = self.patterns[kind, names, kinds] = Pattern(kind, names, kinds)
            self.last[kind] = pattern
        self.flat.forms.append(pattern.form)
        self.flat.fields.append(values)
        if pattern.pick is None:
            self._visit_mixed_node(kind, pattern.order, fields, number)
            return
        # In the loop below a state is visited at once, as long as nothing before it waits: that would come first. The
        # metadata of a state is part of its row, so one that has some waits too.
        consts = pattern.pick(values)
        if pattern.consts != consts:
            pattern.row = self.alike.get((pattern, consts))
            if pattern.row is None:
                row = Row.of(
                    "node",
                    kind,
                    pattern.order,
                    self._consts(pattern.order, [fields[name] for name in pattern.order], number),
                )
                pattern.row = self.alike[pattern, consts] = row
            pattern.consts = consts
        rows, targets, first_edges, objects = self.rows, self.targets, self.first_edges, self.objects
        rows.append(pattern.row)
        number_of, all_new = self.numbers.setdefault, self.known is None
        ahead: list[Any] = []
        slots: list[int] = []
        for position, state_row in pattern.edges:
            value = values[position]
            if state_row is None or ahead or value._meta or not all_new:
                ahead.append(value)
                slots.append(len(targets))
                targets.append(-1)
                continue
            count = len(rows)
            found = number_of(id(value), count)
            if found == count:
                first_edges.append(len(targets))
                objects.append(value)
                rows.append(state_row)
            targets.append(found)
        if ahead:
            self._wait(ahead, slots)

    def _visit_mixed_node(self, kind: type[Any], order: Sequence[str], fields: dict[str, Any], number: int) -> None:
        """Give a row to a node that has attributes whose type does not tell whether they are static."""
        consts = self._consts(order, [fields[name] for name in order], number)
        key = (kind, order, tuple([None if const is None else const.key for const in consts]))
        row = self.alike.get(key)
        if row is None:
            row = self.alike[key] = Row.of("node", kind, order, consts)
        self.rows.append(row)
        first = len(self.targets)
        self.targets += [-1] * len(row.visits)
        self._wait([fields[name] for name in row.edge_keys], range(first, len(self.targets)))

    def _consts(self, keys: Iterable[Any], values: Iterable[Any], number: int) -> list[Const | None]:
        """For each attribute or item the constant that it is, or None where an edge leads on."""
        consts: list[Const | None] = []
        for name, value in zip(keys, values, strict=True):
            kind = type(value)
            if kind in ATOMS:  # what `Const.of` would find in two frames more; most attributes are of these types
                consts.append(Const(value, (kind, value), True))
            elif kind in _SIZED and self.larges is not None and (large := self.larges.find(value)) is not None:
                consts.append(self._large(large.digest, number, name))
                self.flat.watches.append(large.unchanged)
            elif kind in STATIC or (not issubclass(kind, OBJECTS) and is_static(value, kind)):
                consts.append(self._const(value, number, name))
            else:
                consts.append(None)
        return consts

    def _large(self, digest: Any, number: int, name: Any) -> Const:
        """Return the constant of a static value that is large, or holds what is."""
        self.flat.larges.append((number, (name,), digest.text))
        return Const(digest, digest, True)

    def _const(self, value: Any, number: int, name: Any) -> Const:
        larges = self.larges
        try:
            if larges is not None and type(value) not in _SMALL:
                digest = larges.holding(value)
                if digest is not None:
                    self.flat.watches.append(watch_static(value, digest.content, larges.digest))
                    return self._large(digest, number, name)
            const = Const.of(value)
        except GraphError as error:
            raise GraphError(f"at {self._where(number, name)}: {error}") from None
        except RecursionError:
            where = self._where(number, name)
            raise GraphError(f"at {where}: a {type(value).__name__} that holds itself, or is nested too deep") from None
        if not const.frozen:
            self.flat.watches.append(watch_static(value, const.key))
        return const

    def _state_row(self, state: State[Any], kind: type[Any]) -> Row:
        key = (kind, state._meta and static_key(state._meta))
        row = self.alike.get(key)
        if row is None:
            row = self.alike[key] = Row.of("state", kind, (), (), state._meta)
        return row

    def _visit_other(self, item: Any, kind: type[Any], number: int) -> None:
        foreign = foreign_type_of(kind)
        try:
            if foreign is not None:
                keys, children, extra = foreign.parts(item)
                self.flat.watches.append(watch_foreign(item, foreign))
            else:
                children, extra, keys = one_level(item)
                refuse_equal_keys(kind, keys)
                if not getattr(kind, "graph_unchanging", False):
                    self.flat.watches.append(watch_pytree(item))
        except GraphError as error:
            raise GraphError(f"at {self._where(number)}: {error}") from None
        self.kept.append(children)
        self._visit_container("pytree" if foreign is None else "foreign", kind, keys, children, extra)

    def _visit_container(
        self, kind: str, cls: type[Any], keys: Iterable[Any], children: Sequence[Any], extra: Any = ()
    ) -> None:
        number = len(self.rows)
        keys = tuple(keys)
        consts: list[Const | None] = [None] * len(keys)
        if not all([issubclass(c, OBJECTS) for c in set(map(type, children))]):
            consts = self._consts(keys, children, number)
        try:
            row = Row.of(kind, cls, keys, consts, extra)
        except GraphError as error:
            raise GraphError(f"at {self._where(number)}, in the keys of the {cls.__name__}: {error}") from None
        self.rows.append(row)
        items = [children[i] for i in row.visits]
        if self.known is None and all(isinstance(item, State) for item in items):
            self._visit_states(items)  # here and now, as nothing before them waits
            return
        first = len(self.targets)
        self.targets += [-1] * len(items)
        self._wait(items, range(first, len(self.targets)))

    def _visit_states(self, states: Iterable[State[Any]]) -> None:
        rows, targets, number_of = self.rows, self.targets, self.numbers.setdefault
        for state in states:
            count = len(rows)
            found = number_of(id(state), count)
            if found == count:
                self.first_edges.append(len(targets))
                self.objects.append(state)
                rows.append(self._state_row(state, type(state)))
            targets.append(found)

    def _wait(self, items: Sequence[Any], slots: Sequence[int]) -> None:
        self.items.extend(reversed(items))
        self.slots.extend(reversed(slots))

    def _refuse_container_cycles(self) -> None:
        """Refuse a container that holds itself other than through a node: it could never be built."""
        shape = GraphDef.of(0, self.rows, self.targets, self.first_edges)
        number = shape.in_itself
        if number is not None:
            name = self.rows[number].type.__name__
            raise GraphError(f"at {dotted(shape.path(number))}: a {name} holds itself. Hold it in a Node, or copy it.")

    def _where(self, number: int, key: Any = None) -> str:
        """Spell the path of what `key` leads to from the row `number`, in the middle of the traversal."""
        path = [] if key is None or number < 0 else [key]
        starts = list(accumulate([len(row.visits) for row in self.rows], initial=0))  # as those of a GraphDef
        while number > 0:
            edge = self.first_edges[number - 1]
            number = bisect_right(starts, edge) - 1  # whose edge it is
            path.append(self.rows[number].edge_keys[edge - starts[number]])
        return dotted(tuple(reversed(path)))


def flatten(
    root: Any,
    known: Callable[[Any], int | None] | None = None,
    own_root: bool = False,
    larges: Larges | None = None,
) -> Flat:
    """Take a graph apart.

    Args:
        root: A node, or a container that holds nodes or states.
        known: Gives the number of a node or state that the caller holds already, else None; such an object is named,
            not entered.
        own_root: Whether nobody but the caller has the root, a dict, so that it need not be watched.
        larges: Tells the containers and arrays that go in as digests, see `Snapshot`.

    Returns:
        The shape and the live objects.

    Raises:
        GraphError: Something in the graph can be neither followed nor compared; the message has its path.

    Example:
        >>> from brainstate_graph import State, flatten
        >>> flat = flatten({"k": State(3.0)})
        >>> flat.graphdef, flat.objects[1]
        (GraphDef(dict, nodes=0, states=1), State(3.0))
    """
    return _Traversal(known, own_root, larges).run(root)

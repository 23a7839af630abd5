"""The only traversal: objects to a GraphDef and their states, and its inverse, sharing and cycles kept.

Both directions work with an explicit stack, so that the depth of a model is no limit.
"""

from __future__ import annotations

import types
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from operator import is_
from typing import Any

import jax
import numpy as np

from ._errors import GraphError
from ._graphdef import Edge, GraphDef, Row, treedef_key, visit_order
from ._node import Node, fields_of, new_node, stamp
from ._show import dotted
from ._state import State, make_state
from ._static import Const, Static, is_frozen, static_key
from ._tree import StateTree

__all__ = ["Flat", "flatten", "unflatten", "watch"]

# What an attribute mostly is: settled by one look at its exact type.
_STATIC = frozenset(
    {bool, int, float, complex, str, bytes, type(None), type, types.FunctionType, types.BuiltinFunctionType,
     types.MethodType, np.ndarray, set, frozenset, slice, np.dtype, GraphDef, Static}
)  # fmt: skip
_DICTS = frozenset({dict, OrderedDict, defaultdict})

_BUILT_LAST = ("tuple", "namedtuple", "pytree")  # in a cycle, these need something that can be made empty and filled

Watch = Callable[[], bool]
_UNBUILT: Any = object()


class Flat:
    """A graph taken apart, and what must stay as it is for that to stay true.

    Attributes:
        graphdef: The shape.
        objects: The live object of each row.
        nodes: The nodes among them.
        ticks: For each node its tick when it was looked at.
        watches: One test for each mutable thing that is not a node: "is it as it was?"
    """

    __slots__ = ("graphdef", "nodes", "objects", "ticks", "watches")

    graphdef: GraphDef

    def __init__(self) -> None:
        self.objects: list[Any] = []
        self.nodes: list[Node] = []
        self.ticks: list[int] = []
        self.watches: list[Watch] = []


def _compared_by_identity(items: Sequence[Any]) -> bool:
    """Tell whether ``==`` of lists of these is ``is`` of each, as for nodes and states: six times as fast in C."""
    return all(type(item).__eq__ is object.__eq__ for item in items)


def _watch_list(live: list[Any], items: tuple[Any, ...]) -> Watch:
    if _compared_by_identity(items):
        before = list(items)
        return lambda: live == before
    count = len(items)
    return lambda: len(live) == count and all(map(is_, live, items))


def _watch_dict(live: dict[Any, Any], items: dict[Any, Any]) -> Watch:
    keys, values = list(items), list(items.values())
    count = len(keys)

    def unchanged() -> bool:
        return len(live) == count and all(map(is_, live.values(), values)) and all(map(is_, live, keys))

    if type(live) is defaultdict:
        factory = live.default_factory
        return lambda: live.default_factory is factory and unchanged()
    if _compared_by_identity(values) and all(type(key) is str for key in keys):
        return lambda: list(live.values()) == values and list(live) == keys
    return unchanged


def watch(container: list[Any] | dict[Any, Any]) -> Watch:
    """Return a test without arguments: does the container hold the same objects in the same order as now?

    Example:
        >>> from brainstate_graph.extend import watch
        >>> items = [1, 2]
        >>> unchanged = watch(items)
        >>> items[0] = 3
        >>> unchanged()
        False
    """
    return (
        _watch_dict(container, dict(container))
        if isinstance(container, dict)
        else _watch_list(container, tuple(container))
    )


def _watch_static(live: Any, key: Any) -> Watch:
    return lambda: static_key(live) == key


def _watch_pytree(live: Any) -> Watch:
    before, treedef, _ = _one_level(live)
    key = treedef_key(treedef)

    def unchanged() -> bool:
        now, treedef, _ = _one_level(live)
        return len(now) == len(before) and all(map(is_, now, before)) and treedef_key(treedef) == key

    return unchanged


def _one_level(item: Any) -> tuple[list[Any], Any, list[Any]]:
    """The children, treedef and keys of one registered pytree node."""
    entered: list[bool] = []

    def below(_: Any) -> bool:  # true for all but the first that is asked about, even for the item in itself
        entered.append(True)
        return len(entered) > 1

    pairs, treedef = jax.tree_util.tree_flatten_with_path(item, is_leaf=below)
    keys = [_key_of(path[0]) for path, _ in pairs]
    return [child for _, child in pairs], treedef, keys


def _key_of(entry: Any) -> Any:
    return next((v for a in ("name", "key", "idx") if (v := getattr(entry, a, None)) is not None), str(entry))


def _plain_constants(items: tuple[Any, ...], depth: int = 8) -> bool:
    """Tell whether a tuple holds frozen values only, so that it is one static value."""
    return all(
        _plain_constants(x, depth - 1) if type(x) is tuple and depth else type(x) in _STATIC and is_frozen(x)
        for x in items
    )


class _Walk:
    """One traversal, depth first, in the order of `visit_order`."""

    def __init__(self, known: Callable[[Any], int | None] | None) -> None:
        self.flat = Flat()
        self.known = known
        self.rows: list[tuple[str, type[Any], tuple[Any, ...], list[Edge], Any]] = []
        self.above: list[tuple[int, Any]] = []
        self.numbers: dict[int, int] = {}  # by id; `flat.objects` keeps the objects alive
        self.stack: list[tuple[list[Edge], int, Any, int, Any]] = []

    def run(self, root: Any) -> Flat:
        holder: list[Edge] = [0]
        self.stack.append((holder, 0, root, -1, None))
        while self.stack:
            edges, slot, item, parent, key = self.stack.pop()
            number = self.numbers.get(id(item))
            if number is None:
                edges[slot] = self._meet(item, parent, key)
            else:
                if self.rows[number][0] == "pytree" and self._holds_itself(number, parent):
                    raise GraphError(f"at {self._where(parent, key)}: a {type(item).__name__} holds itself")
                edges[slot] = number
        table = [Row(kind, cls, keys, tuple(edges), extra) for kind, cls, keys, edges, extra in self.rows]
        self.flat.graphdef = GraphDef.of(holder[0], table)
        return self.flat

    def _meet(self, item: Any, parent: int, key: Any) -> Edge:
        """Give an object its row, or find that it is static."""
        kind = type(item)
        if isinstance(item, (State, Node)):
            if self.known is not None and (held := self.known(item)) is not None:
                return self._add("known", item, parent, key, extra=held)
            if isinstance(item, State):
                return self._add("state", item, parent, key, extra=item._meta)
            return self._meet_node(item, parent, key)
        if kind is list:
            items = tuple(item)  # one look, for another thread may be changing it
            self.flat.watches.append(_watch_list(item, items))
            return self._add("list", item, parent, key, range(len(items)), items)
        if kind in _DICTS:
            held = dict(item)
            self.flat.watches.append(_watch_dict(item, held))
            extra = (item.default_factory,) if kind is defaultdict else ()
            return self._add("dict", item, parent, key, list(held), list(held.values()), extra)
        if kind is tuple and not _plain_constants(item):
            return self._add("tuple", item, parent, key, range(len(item)), item, shared=False)
        if isinstance(item, tuple) and hasattr(kind, "_fields"):
            return self._add("namedtuple", item, parent, key, getattr(kind, "_fields", ()), item, shared=False)
        if kind in _STATIC or kind is tuple or jax.tree_util.all_leaves([item]):
            return self._meet_static(item, parent, key)
        children, treedef, keys = _one_level(item)
        if len({static_key(k) for k in keys}) < len(keys):
            raise GraphError(
                f"at {self._where(parent, key)}: a {kind.__name__} flattens to children of equal keys {keys}"
            )
        if not isinstance(item, StateTree):  # which does not change
            self.flat.watches.append(_watch_pytree(item))
        return self._add("pytree", item, parent, key, keys, children, treedef)

    def _meet_node(self, node: Node, parent: int, key: Any) -> Edge:
        self.flat.nodes.append(node)
        self.flat.ticks.append(node._graph_tick)  # before looking: a change while we look must show
        fields = dict(fields_of(node))  # one look, for another thread may be changing it
        if node._graph_exposed:  # somebody may hold the dictionary, and write to it past the node
            self.flat.watches.append(_watch_dict(fields_of(node), fields))
        hidden = type(node).graph_invisible_attrs
        names = sorted(n for n in fields if n not in hidden) if hidden else sorted(fields)
        return self._add("node", node, parent, key, names, [fields[n] for n in names])

    def _meet_static(self, item: Any, parent: int, key: Any) -> Edge:
        try:
            const = Const.of(item)
        except GraphError as error:
            raise GraphError(f"at {self._where(parent, key)}: {error}") from None
        if not is_frozen(item):
            self.flat.watches.append(_watch_static(item, const.key))
        return const

    def _add(
        self, kind: str, item: Any, parent: int, key: Any, keys: Sequence[Any] = (), children: Sequence[Any] = (),
        extra: Any = (), shared: bool = True,
    ) -> int:  # fmt: skip
        number = len(self.rows)
        edges: list[Edge] = [0] * len(keys)
        self.rows.append((kind, type(item), tuple(keys), edges, extra))
        self.flat.objects.append(item)
        self.above.append((parent, key))
        if shared:
            self.numbers[id(item)] = number
        self.stack.extend((edges, i, children[i], number, keys[i]) for i in reversed(visit_order(kind, keys)))
        return number

    def _holds_itself(self, number: int, below: int) -> bool:
        """Tell whether a pytree is reached from itself through what must be built after its children."""
        while below > number and self.rows[below][0] in _BUILT_LAST:
            below = self.above[below][0]
        return below == number

    def _where(self, parent: int, key: Any) -> str:
        path = [key] if parent >= 0 else []
        while parent > 0:
            parent, key = self.above[parent]
            path.append(key)
        return dotted(tuple(reversed(path)))


def flatten(root: Any, known: Callable[[Any], int | None] | None = None) -> Flat:
    """Take a graph apart.

    Args:
        root: A node, or a container that holds nodes or states.
        known: Gives the number of a node or state that the caller holds already, else None; such an object is named,
            not entered.

    Returns:
        The shape and the live objects.

    Raises:
        GraphError: Something in the graph can be neither followed nor compared; the message has its path.
    """
    return _Walk(known).run(root)


def unflatten(graphdef: GraphDef, values: Sequence[Any], known: Sequence[Any] = ()) -> tuple[Any, list[Any]]:
    """Put a graph together.

    Args:
        graphdef: Its shape.
        values: The value of each state, in the order of ``graphdef.state_rows``.
        known: The objects that the shape names by number.

    Returns:
        The root, and the new live object of each row.
    """
    rows = graphdef.rows
    made: list[Any] = [_UNBUILT] * len(rows)
    given = iter(values)
    for number, row in enumerate(rows):  # first what can be made empty, so that cycles find it
        if row.kind == "state":
            made[number] = make_state(row.type, next(given), row.extra)
        elif row.kind == "node":
            made[number] = new_node(row.type)
        elif row.kind == "known":
            made[number] = known[row.extra]
        elif row.kind == "list":
            made[number] = []
        elif row.kind == "dict":
            made[number] = row.type(*row.extra)
    order = list(graphdef.build_order)
    for number in order:  # then from the inside out
        row = rows[number]
        children = [made[e] if isinstance(e, int) else e.fresh() for e in row.edges]
        if any(child is _UNBUILT for child in children):
            order.append(number)  # in a cycle with a pytree: it is filled when that is there
            continue
        if row.kind == "node":
            # straight into the dictionary: no __setattr__ may run on a half-built object
            fields_of(made[number]).update(zip(row.keys, children, strict=True))
            stamp(made[number])
        elif row.kind == "list":
            made[number].extend(children)
        elif row.kind == "dict":
            made[number].update(zip(row.keys, children, strict=True))
        elif row.kind == "tuple":
            made[number] = tuple(children)
        elif row.kind == "namedtuple":
            made[number] = row.type._make(children)
        elif row.kind == "pytree":
            made[number] = jax.tree.unflatten(row.extra, children)
    root = graphdef.root
    return (made[root] if isinstance(root, int) else root.fresh()), made

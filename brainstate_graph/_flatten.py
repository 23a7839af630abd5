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
from ._graphdef import Edge, GraphDef, Row
from ._layout import sibling_order
from ._node import Node, fields_of, new_node, stamp
from ._show import dotted
from ._state import State, make_state
from ._static import Const, is_frozen, static_key
from ._tree import StateTree

__all__ = ["Flat", "flatten", "unflatten"]

# What an attribute mostly is: settled by one look at its exact type.
_STATIC = frozenset(
    {bool, int, float, complex, str, bytes, type(None), type, types.FunctionType, types.BuiltinFunctionType,
     types.MethodType, np.ndarray, set, frozenset, slice, np.dtype}
)  # fmt: skip
_DICTS = frozenset({dict, OrderedDict, defaultdict})


class Flat:
    """A graph taken apart, and what must stay as it is for that to stay true.

    Attributes:
        graphdef: The shape.
        objects: The live object of each row.
        nodes: The nodes among them.
        watches: One test for each mutable thing that is not a node: "is it as it was?"
    """

    __slots__ = ("graphdef", "nodes", "objects", "watches")

    def __init__(
        self, graphdef: GraphDef, objects: list[Any], nodes: list[Node], watches: list[Callable[[], bool]]
    ) -> None:
        self.graphdef = graphdef
        self.objects = objects
        self.nodes = nodes
        self.watches = watches


def _watch_list(live: list[Any]) -> Callable[[], bool]:
    items = tuple(live)
    count = len(items)
    return lambda: len(live) == count and all(map(is_, live, items))


def _watch_dict(live: dict[Any, Any]) -> Callable[[], bool]:
    keys, values = tuple(live), tuple(live.values())
    count = len(keys)
    return lambda: len(live) == count and all(map(is_, live.values(), values)) and all(map(is_, live, keys))


def _watch_static(live: Any, key: Any) -> Callable[[], bool]:
    return lambda: static_key(live) == key


def _watch_pytree(live: Any) -> Callable[[], bool]:
    before = _one_level(live)[0]
    return lambda: len(now := _one_level(live)[0]) == len(before) and all(map(is_, now, before))


def _one_level(item: Any) -> tuple[list[Any], Any, list[Any]]:
    """The children, treedef and keys of one registered pytree node."""
    pairs, treedef = jax.tree_util.tree_flatten_with_path(item, is_leaf=lambda x: x is not item)
    keys = []
    for path, _ in pairs:
        entry = path[0] if path else None
        keys.append(next((v for a in ("name", "key", "idx") if (v := getattr(entry, a, None)) is not None), str(entry)))
    return [child for _, child in pairs], treedef, keys


def _plain_constants(items: tuple[Any, ...], depth: int = 8) -> bool:
    """Tell whether a tuple holds frozen values only, so that it is one static value."""
    return all(
        _plain_constants(x, depth - 1) if type(x) is tuple and depth else type(x) in _STATIC and is_frozen(x)
        for x in items
    )


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
    rows: list[Row] = []
    edges_of: list[list[Edge]] = []
    objects: list[Any] = []
    nodes: list[Node] = []
    watches: list[Callable[[], bool]] = []
    numbers: dict[int, int] = {}
    above: list[tuple[int, Any]] = []
    keep: list[Any] = []  # temporaries whose ids are in `numbers`
    holder: list[Edge] = [0]
    stack: list[tuple[list[Edge], int, Any, int, Any]] = [(holder, 0, root, -1, None)]

    def add(
        kind: str, item: Any, parent: int, key: Any, keys: Sequence[Any], children: Sequence[Any], extra: Any = ()
    ) -> int:
        number = len(rows)
        edges: list[Edge] = [0] * len(keys)
        rows.append(Row(kind, type(item), tuple(keys), (), extra))
        edges_of.append(edges)
        objects.append(item)
        above.append((parent, key))
        if len(keys) > 1 and kind not in ("list", "tuple"):
            slot = {k: i for i, k in enumerate(keys)}
            visit = [slot[k] for k in sibling_order(keys)] if kind != "node" else range(len(keys))
        else:
            visit = range(len(keys))
        stack.extend((edges, i, children[i], number, keys[i]) for i in reversed(visit))
        return number

    def where(parent: int, key: Any) -> str:
        path = [key] if parent >= 0 else []
        while parent >= 0:
            parent, key = above[parent]
            if parent >= 0:
                path.append(key)
        return dotted(tuple(reversed(path)))

    while stack:
        edges, slot, item, parent, key = stack.pop()
        kind = type(item)
        number = numbers.get(id(item))
        if number is not None:
            edges[slot] = number
            continue
        if known is not None and isinstance(item, (State, Node)) and (held := known(item)) is not None:
            numbers[id(item)] = edges[slot] = add("known", item, parent, key, (), (), held)
        elif isinstance(item, State):
            numbers[id(item)] = edges[slot] = add("state", item, parent, key, (), (), item._meta)
        elif isinstance(item, Node):
            fields = fields_of(item)
            hidden = kind.graph_invisible_attrs
            names = sorted(n for n in fields if n not in hidden) if hidden else sorted(fields)
            nodes.append(item)
            numbers[id(item)] = edges[slot] = add("node", item, parent, key, names, [fields[n] for n in names])
        elif kind is list:
            watches.append(_watch_list(item))
            numbers[id(item)] = edges[slot] = add("list", item, parent, key, range(len(item)), item)
        elif kind in _DICTS:
            watches.append(_watch_dict(item))
            extra = (item.default_factory,) if kind is defaultdict else ()
            numbers[id(item)] = edges[slot] = add("dict", item, parent, key, list(item), list(item.values()), extra)
        elif kind is tuple and not _plain_constants(item):
            edges[slot] = add("tuple", item, parent, key, range(len(item)), item)
        elif isinstance(item, tuple) and hasattr(kind, "_fields"):
            edges[slot] = add("namedtuple", item, parent, key, getattr(kind, "_fields", ()), item)
        elif kind in _STATIC or kind is tuple or jax.tree_util.all_leaves([item]):
            try:
                edges[slot] = const = Const(item)
            except GraphError as error:
                raise GraphError(f"at {where(parent, key)}: {error}") from None
            if not is_frozen(item):
                watches.append(_watch_static(item, const.key))
        else:
            children, treedef, keys = _one_level(item)
            if not children:  # all structure, as a GraphDef is
                edges[slot] = Const(item)
                continue
            keep.append(item)
            if not isinstance(item, StateTree):  # which does not change
                watches.append(_watch_pytree(item))
            numbers[id(item)] = edges[slot] = add("pytree", item, parent, key, keys, children, treedef)
    table = [
        Row(row.kind, row.type, row.keys, tuple(edges), row.extra) for row, edges in zip(rows, edges_of, strict=True)
    ]
    return Flat(GraphDef.of(holder[0], table), objects, nodes, watches)


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
    made: list[Any] = [None] * len(rows)
    given = iter(values)
    for number, row in enumerate(rows):  # first what can be made empty or needs no child
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

    def child(edge: Edge) -> Any:
        return made[edge] if type(edge) is int else edge.value  # type: ignore[index, union-attr]

    for number in range(len(rows) - 1, -1, -1):  # children of what cannot be filled later have higher numbers
        row = rows[number]
        if row.kind == "tuple":
            made[number] = tuple(map(child, row.edges))
        elif row.kind == "namedtuple":
            made[number] = row.type(*map(child, row.edges))
        elif row.kind == "pytree":
            made[number] = jax.tree.unflatten(row.extra, [child(e) for e in row.edges])
    for number, row in enumerate(rows):
        if row.kind == "node":
            # straight into the dictionary: no __setattr__ may run on a half-built object
            fields_of(made[number]).update(zip(row.keys, map(child, row.edges), strict=True))
            stamp(made[number])
        elif row.kind == "list":
            made[number].extend(map(child, row.edges))
        elif row.kind == "dict":
            made[number].update(zip(row.keys, map(child, row.edges), strict=True))
    return child(graphdef.root), made

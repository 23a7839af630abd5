"""The appearance of nodes, states, state trees and GraphDefs; these look like the live graph, without values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

from .._core.door import look
from .._core.errors import TraceContextError
from .._core.graphdef import Edge, GraphDef
from .._core.node import Node
from .._core.state import State
from .._records.clock import fields_of
from .._tools.definition import defaults_of, definition_order
from .._tools.words import Words, short
from .._trees.leaf import TreefyState
from .._trees.nesting import nested
from .._trees.tree import FlattedDict, NestedDict, layout_of
from .appearance import Appearance, Member, appearance_of, attribute, mapping, opens, safe_appearance, unlabelled

__all__ = ["RowView", "view_of"]


@appearance_of.register(Node)
def _(node: Node) -> Appearance:
    kind, fields = type(node), fields_of(node).copy()
    if kind.graph_invisible_attrs:
        fields = {name: value for name, value in fields.items() if name not in kind.graph_invisible_attrs}
    return _of_node(kind, fields)


def _of_node(kind: type[Any], fields: dict[str, Any], mark: Any = None) -> Appearance:
    return Appearance(
        kind, lambda: _attributes(kind, fields), fields.values(), f"{kind.__name__}(", mark=mark, boxed=True
    )


def _attributes(kind: type[Any], fields: dict[str, Any]) -> list[Member]:
    """Return the lines of the attributes that are of interest: plain ones, then states, then nodes and containers.

    What is as the constructor has it by default is left out, as in a call of it. In each group those that the
    constructor sets come first, in its order, then the others by name: a clone prints as its original.
    """
    order, defaults = definition_order(kind), defaults_of(kind)

    def rank(entry: tuple[str, Any]) -> tuple[int, int, str]:
        return _group(entry[1]), order.get(entry[0], len(order)), entry[0]

    named = [
        (name, value)
        for name, value in fields.items()
        if value is not None and not name.startswith("_") and not _same(value, defaults.get(name))
    ]
    return [attribute(*entry) for entry in sorted(named, key=rank)]


def _same(value: Any, default: Any) -> bool:
    """Tell whether an attribute is what it is by default, as far as that is plain; a number may stand for all axes."""
    if value is default:
        return True
    kind = type(value)
    if kind is tuple:
        defaults = default if type(default) is tuple else (default,) * len(value)
        return len(value) == len(defaults) and bool(value) and all(map(_same, value, defaults))
    return kind in (bool, int, float, str) and kind is type(default) and value == default


def _group(value: Any) -> int:
    if not opens(value):
        return 0
    found = safe_appearance(value)
    return 1 if found is not None and found.is_state else 2


@appearance_of.register(State)
def _(state: State[Any]) -> Appearance:
    try:
        value = look(state)  # printing is no read of the program
    except TraceContextError:
        return _of_state(type(state), _value(Words("<made inside a transform>")), state._meta, ())
    return _of_state(type(state), _value(value), state._meta, value)


def _value(value: Any) -> Member:
    return Member("", ("value",), ".value", value)


def _of_state(kind: type[Any], first: Member | None, meta: Iterable[tuple[str, Any]], value: Any) -> Appearance:
    """Say how a state of this class looks: the line of its value, then its metadata; `value` is what is counted."""

    def members() -> Iterable[Member]:
        if first is not None:
            yield first
        for name, item in meta:
            if name == "tag":  # a frozenset, whose order is another in each process
                item = Words("{" + ", ".join(sorted(map(short, item))) + "}")
            yield Member(f"{name}=", (name,), f".metadata[{name!r}]", item)

    return Appearance(kind, members, (), f"{kind.__name__}(", value=value, counted_as=kind.__name__)


@appearance_of.register(TreefyState)
def _(ref: TreefyState) -> Appearance:
    found = _of_state(TreefyState, _value(ref.value), ref.metadata.items(), ref.value)
    kind = ref.type.__name__
    return found._replace(opening=f"TreefyState({kind}, ", counted_as=kind)


@appearance_of.register(NestedDict)
def _(tree: NestedDict) -> Appearance:
    levels = nested(layout_of(tree), list(tree.to_flat().values()).__getitem__)
    return mapping(NestedDict, levels, tuple(levels.values()))


@appearance_of.register(FlattedDict)
def _(tree: FlattedDict) -> Appearance:
    layout = layout_of(tree)
    return mapping(FlattedDict, map(layout.path, range(len(layout))), list(tree.values()))


# ----------------------------------------------------------------------------------------------- a graph without values


@final
class RowView:
    """An object of a GraphDef, to be looked at.

    Args:
        shape: The GraphDef.
        number: The number of the row.
    """

    __slots__ = ("number", "shape")

    def __init__(self, shape: GraphDef, number: int) -> None:
        self.shape = shape
        self.number = number


def view_of(shape: GraphDef, edge: Edge) -> Any:
    """Return what an edge of the GraphDef `shape` leads to: a static value, or an object to be looked at."""
    return RowView(shape, edge) if isinstance(edge, int) else edge.value


@appearance_of.register(GraphDef)
def _(shape: GraphDef) -> Appearance:
    root = view_of(shape, shape.root)
    return Appearance(GraphDef, lambda: [Member("", (), "", root)], (root,), "GraphDef(")


@appearance_of.register(RowView)
def _(view: RowView) -> Appearance:
    shape, row, mark = view.shape, view.shape.rows[view.number], (id(view.shape), view.number)
    kind, name = row.type, row.type.__name__
    if row.kind == "state":
        return _of_state(kind, None, row.extra, ())._replace(mark=mark)
    if row.kind == "known":
        return Appearance(kind, tuple[Member], (), f"<known {row.extra}: {name}", ">", mark=mark)
    held = [view_of(shape, edge) for edge in shape.edges(view.number)]
    if row.kind == "node":
        return _of_node(kind, dict(zip(row.keys, held, strict=True)), mark)
    if row.kind == "dict":
        return mapping(kind, row.keys, held)._replace(mark=mark)
    line = attribute if row.kind in ("namedtuple", "foreign") else unlabelled
    opening, closing = {"list": "[]", "tuple": "()"}.get(row.kind, (f"{name}(", ")"))
    shared = row.kind not in ("tuple", "namedtuple")
    return Appearance(
        kind, lambda: map(line, row.keys, held), held, opening, closing, len(held), mark=mark, shared=shared
    )

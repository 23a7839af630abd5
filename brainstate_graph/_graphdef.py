"""``GraphDef``: the immutable shape of a graph, as a flat table; a pytree without leaves.

Each row is one object of the graph in the order of the first visit: a node, a container or a state.  An edge
is the number of a row, or a `Const`.  Equal graphs have one GraphDef *object*: equality is identity.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import jax

from ._layout import Layout, StateSpec, intern, restrict, sibling_order
from ._looks import Part, Shown
from ._print import page, show
from ._rows import view_of
from ._static import Const, static_key

__all__ = ["Edge", "GraphDef", "Row", "treedef_key", "visit_order"]

Edge = int | Const


class Row(NamedTuple):
    """One object of a graph.

    Attributes:
        kind: "node", "list", "dict", "tuple", "namedtuple", "pytree", "state" or "known".
        type: Its class.
        keys: The keys of its edges, in the order in which they are put back.
        edges: For each key a row number or a Const.
        extra: Metadata of a state, default factory of a dict, treedef of a pytree, number of a known object.
    """

    kind: str
    type: type[Any]
    keys: tuple[Any, ...]
    edges: tuple[Edge, ...]
    extra: Any = ()


def _edge_key(edge: Edge) -> Hashable:
    return edge if isinstance(edge, int) else edge.key


def treedef_key(treedef: Any) -> Hashable:
    """Return a key of one level of a registered pytree, with its static data compared by type and value."""
    data = treedef.node_data()
    return (data[0], static_key(data[1])) if data is not None else treedef


def visit_order(kind: str, keys: Sequence[Any]) -> Sequence[int]:
    """Return the order in which the edges of a row are followed: by position in a list, else by sorted key."""
    if len(keys) < 2 or kind in ("list", "tuple", "node"):  # the keys of a node are sorted already
        return range(len(keys))
    slot = {static_key(key): i for i, key in enumerate(keys)}
    return [slot[static_key(key)] for key in sibling_order(keys)]


def _row_key(row: Row) -> Hashable:
    return (
        row.kind,
        row.type,
        tuple(map(static_key, row.keys)) if row.kind not in ("list", "tuple") else len(row.keys),
        tuple([_edge_key(e) for e in row.edges]),
        treedef_key(row.extra) if row.kind == "pytree" else static_key(row.extra),
    )


class GraphDef:
    """The static shape of a graph: classes, attribute names, static values, sharing; no array.

    Made by `graphdef`, `treefy_split` and their like. Equal graphs have the same GraphDef object, so comparing is
    ``is``. As a pytree it has no leaves: it passes through JAX as structure, and is part of every cache key.

    Attributes:
        root: The edge that leads to the root.
        rows: The table of objects.

    Example:
        >>> from brainstate_graph import Node, State, graphdef
        >>> class Gain(Node):
        ...     def __init__(self, k):
        ...         self.k = State(k)
        >>> graphdef(Gain(1.0)) is graphdef(Gain(2.0))
        True
    """

    __slots__ = ("__dict__", "__weakref__", "root", "rows")

    root: Edge
    rows: tuple[Row, ...]

    @staticmethod
    def of(root: Edge, rows: Sequence[Row]) -> GraphDef:
        """Return the interned GraphDef with this table."""
        table = tuple(rows)

        def make() -> GraphDef:
            graphdef = object.__new__(GraphDef)
            graphdef.root, graphdef.rows = root, table
            return graphdef

        return intern((GraphDef, _edge_key(root), tuple(map(_row_key, table))), make)

    def __reduce__(self) -> tuple[Any, ...]:
        return GraphDef.of, (self.root, self.rows)

    def __copy__(self) -> GraphDef:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> GraphDef:
        return self

    def __repr__(self) -> str:
        if not self.rows:
            return f"GraphDef({self.root!r})"
        kinds = [row.kind for row in self.rows]
        return f"GraphDef({self.rows[0].type.__name__}, nodes={kinds.count('node')}, states={len(self.state_rows)})"

    def __str__(self) -> str:
        nodes, states = [row.kind for row in self.rows].count("node"), len(self.state_rows)
        return f"{show(self)}  # {nodes:,} node{'s' * (nodes != 1)}, {states:,} state{'s' * (states != 1)}"

    def __treescope_repr__(self, path: str | None, subtree_renderer: Any) -> Any:
        return page(self, None, subtree_renderer)  # what is shown is not reached by attributes

    def _shown_(self) -> Shown:
        root = view_of(self, self.root)
        return Shown(GraphDef, lambda: [Part("", (), "", root)], (root,), "GraphDef(")

    def edges(self, number: int) -> tuple[Edge, ...]:
        """Return the edges of a row, one for each of its keys: the number of a row, or a Const."""
        return self.rows[number].edges

    @cached_property
    def state_rows(self) -> tuple[int, ...]:
        """The row numbers of the states, in order."""
        return tuple(i for i, row in enumerate(self.rows) if row.kind == "state")

    @cached_property
    def entries(self) -> tuple[tuple[int, Any], ...]:
        """For each row where it was first met: the row above it (-1 for the root) and the key there."""
        found: list[tuple[int, Any] | None] = [None] * len(self.rows)
        stack: list[tuple[Edge, int, Any]] = [(self.root, -1, None)]
        while stack:
            edge, parent, key = stack.pop()
            if not isinstance(edge, int) or found[edge] is not None:
                continue
            found[edge] = (parent, key)
            row = self.rows[edge]
            stack.extend((row.edges[i], edge, row.keys[i]) for i in reversed(visit_order(row.kind, row.keys)))
        return tuple(found)  # type: ignore[arg-type]

    @cached_property
    def build_order(self) -> tuple[int, ...]:
        """The row numbers, each after those that its edges lead to, but where a cycle forbids it."""
        order: list[int] = []
        seen: set[int] = set()
        stack: list[tuple[Edge, bool]] = [(self.root, False)]
        while stack:
            edge, done = stack.pop()
            if not isinstance(edge, int):
                continue
            if done:
                order.append(edge)
            elif edge not in seen:
                seen.add(edge)
                stack.append((edge, True))
                stack.extend((e, False) for e in self.rows[edge].edges)
        return tuple(order)

    def layout_of(self, rows: Sequence[int]) -> Layout:
        """Return the paths of these rows."""
        # row i is entry i - 1, so that the root, row 0, is entry -1
        entries = [(parent - 1, key) for parent, key in self.entries[1:]]
        specs = [
            StateSpec(row.type, row.extra) if row.kind == "state" else None for row in (self.rows[i] for i in rows)
        ]
        return restrict(entries, [i - 1 for i in rows], specs)

    @cached_property
    def layout(self) -> Layout:
        """The paths of all states."""
        return self.layout_of(self.state_rows)

    @cached_property
    def partitions(self) -> dict[Hashable, tuple[tuple[Layout, tuple[int, ...]], ...]]:
        """What groups of filters select, remembered where it depends on the GraphDef alone."""
        return {}

    @cached_property
    def positions(self) -> dict[Layout, list[int | None]]:
        """Where the values of a layout belong among the states of this graph, remembered."""
        return {}


jax.tree_util.register_static(GraphDef)

"""Look at what a graph holds: states, nodes and leaves, each once, by path.

The *depth* of something is the number of nodes on its path, without the root.  What the root holds has depth 0, also in
its lists and dicts.  A node below the root has one more than the node above it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from .._core.foreign import foreign_type_of
from .._core.graphdef import NODES, Const, Edge, GraphDef, Row, visit_order
from .._core.layout import Layout, Path
from .._core.snapshot import Snapshot
from .._kept.cached import snapshot
from .._records.clock import fields_of
from .._trees.filters import Filter
from .._trees.tree import FlattedDict, make_tree
from .treefy import selected

__all__ = ["iter_leaf", "iter_node", "live_states", "nodes", "states"]

_ALL = (0, math.inf)


def states(node: Any, *filters: Filter, allowed_hierarchy: tuple[int, float] = _ALL) -> Any:
    """Return the live states of a graph by path.

    Args:
        node: A Node, or a container of them.
        *filters: As for `treefy_states`.
        allowed_hierarchy: The least and the greatest depth. What the root holds itself has depth 0, what a node below
            it holds has depth 1.

    Returns:
        A FlattedDict from path to State; a tuple of them for two filters or more. A shared state comes once, under
        the first path that leads to it.

    Example:
        >>> from brainstate_graph import State, states
        >>> states({"a": State(1.0), "b": [State(2.0)]})
        FlattedDict({('a',): State(1.0), ('b', 0): State(2.0)})
    """
    snap = snapshot(node)
    groups = selected(snap, filters, exhaustive=False)
    if _limited(allowed_hierarchy):
        depths = _depths(snap.graphdef)
        inside = [_between(depths[row], allowed_hierarchy) for row in snap.graphdef.state_rows]
        groups = tuple(_picked(layout, chosen, inside) for layout, chosen in groups)
    return live_states(snap, groups)


def live_states(snap: Snapshot, groups: Sequence[tuple[Layout, Sequence[int]]]) -> Any:
    """Return the live states of each group by path: a FlattedDict, or a tuple of them."""
    found: list[FlattedDict] = []
    for layout, chosen in groups:
        # Without specs: the values are live States here, which know their kind and metadata themselves.
        plain = Layout.of(layout.parents, layout.keys, layout.leaves, (None,) * len(layout))
        found.append(make_tree(FlattedDict, plain, [snap.states[i] for i in chosen]))
    return tuple(found) if len(found) > 1 else found[0]


def nodes(node: Any, *filters: Filter, allowed_hierarchy: tuple[int, float] = _ALL) -> Any:
    """Return the nodes of a graph by path: each before those below it, the root under ``()``.

    Args:
        node: A Node, or a container of them.
        *filters: As for `treefy_states`; a class selects its instances.
        allowed_hierarchy: The least and the greatest depth; the root has depth 0, a node that it holds depth 1.

    Returns:
        A FlattedDict from path to Node; a tuple of them for two filters or more.

    Example:
        >>> from brainstate_graph import Node, nodes
        >>> list(nodes([Node(), Node()]))
        [(0,), (1,)]
    """
    snap = snapshot(node)
    shape = snap.graphdef
    rows = _node_rows(shape, allowed_hierarchy)
    layout = None if _limited(allowed_hierarchy) else shape.memo.get(nodes)
    if layout is None:
        layout = shape.layout_of(rows)
        if not _limited(allowed_hierarchy):
            shape.memo[nodes] = layout
    found = make_tree(FlattedDict, layout, [snap.objects[row] if row else snap.root for row in rows])
    return found.filter(*filters) if filters else found


def iter_node(node: Any, allowed_hierarchy: tuple[int, float] = _ALL) -> Iterator[tuple[Path, Any]]:
    """Iterate over the nodes of a graph with their paths, in the order of `nodes`.

    Args:
        node: A Node, or a container of them.
        allowed_hierarchy: The least and the greatest depth, as for `nodes`.

    Returns:
        An iterator of ``(path, node)`` over the graph as it was at the call.

    Example:
        >>> from brainstate_graph import Node, iter_node
        >>> model = Node()
        >>> model.layers = [Node()]
        >>> [path for path, _ in iter_node(model)]
        [(), ('layers', 0)]
    """
    snap = snapshot(node)
    rows = _node_rows(snap.graphdef, allowed_hierarchy)
    return ((snap.graphdef.path(row), snap.object_at(row)) for row in rows)


def iter_leaf(node: Any, allowed_hierarchy: tuple[int, float] = _ALL) -> Iterator[tuple[Path, Any]]:
    """Iterate over the leaves of a graph with their paths: states, arrays and plain values.

    A state comes once, under the first path that leads to it; a plain value comes once for each place that holds it. A
    tuple of plain values, such as a shape, is one leaf. None and empty containers are not leaves.

    Args:
        node: A Node, or a container of them.
        allowed_hierarchy: The least and the greatest depth, as for `states`.

    Returns:
        An iterator of ``(path, leaf)`` over the graph as it was at the call. A path is made when it is reached.

    Example:
        >>> from brainstate_graph import Node, State, iter_leaf
        >>> model = Node()
        >>> model.shape, model.w = (2, 3), State(1.0)
        >>> list(iter_leaf(model))
        [(('shape',), (2, 3)), (('w',), State(1.0))]
    """
    snap = snapshot(node)
    if not snap.graphdef.rows:  # the root is a tuple of plain values
        return iter([((), node)] if node and _between(0, allowed_hierarchy) else [])
    path = snap.graphdef.path
    depths = _depths(snap.graphdef) if _limited(allowed_hierarchy) else None
    found = [
        (row, key, leaf)
        for row, key, leaf in _leaves(snap, node)
        if depths is None or _between(depths[row], allowed_hierarchy)
    ]
    return ((path(row) if key is _WHOLE else (*path(row), key), leaf) for row, key, leaf in found)


_WHOLE: Any = object()  # in place of a key: the object of the row itself


def _leaves(snap: Snapshot, root: Any) -> Iterator[tuple[int, Any, Any]]:
    """Go through a graph depth first: for each leaf a row, the key there, and the live leaf."""
    shape = snap.graphdef
    seen: set[int] = set()
    stack: list[tuple[int, Any, Edge, Any]] = [(-1, None, shape.root, root)]
    while stack:
        parent, key, edge, item = stack.pop()
        if isinstance(edge, Const):
            if item is not None and not (type(item) is tuple and not item):
                yield parent, key, item
        elif edge not in seen:
            seen.add(edge)
            row = shape.rows[edge]
            item = snap.object_at(edge)
            if row.kind == "state":
                yield edge, _WHOLE, item
                continue
            edges = shape.edges(edge)
            held = _held(row, item, edges)
            stack.extend((edge, row.keys[i], edges[i], held[i]) for i in reversed(visit_order(row.kind, row.keys)))


def _held(row: Row, item: Any, edges: Sequence[Edge]) -> Sequence[Any]:
    """What an object holds, for each key of its row."""
    if row.kind == "node":
        return [fields_of(item)[key] for key in row.keys]
    if row.kind == "dict":
        return [item[key] for key in row.keys]
    if row.kind == "pytree":
        return row.extra.flatten_up_to(item)
    foreign = foreign_type_of(row.type)
    if row.kind == "foreign" and foreign is not None:
        return foreign.parts(item)[1]
    if row.kind in ("list", "tuple", "namedtuple"):
        return item
    return [edge.value if isinstance(edge, Const) else None for edge in edges]


def _limited(allowed: tuple[int, float]) -> bool:
    """Tell whether not every depth is allowed.

    Raises:
        ValueError: It is no pair of depths.
    """
    pair = (
        isinstance(allowed, (tuple, list)) and len(allowed) == 2 and all(isinstance(d, (int, float)) for d in allowed)
    )
    if not pair or not 0 <= allowed[0] <= allowed[1]:
        raise ValueError(f"allowed_hierarchy must be the least and the greatest depth, as in (0, 1), not {allowed!r}")
    return allowed[0] > 0 or allowed[1] < math.inf


def _between(depth: int, allowed: tuple[int, float]) -> bool:
    return allowed[0] <= depth <= allowed[1]


def _depths(shape: GraphDef) -> list[int]:
    """For each row the nodes on its path below the root, itself included."""
    depths = [0] * len(shape.rows)
    for step, above in enumerate(shape.steps[0]):  # row i is step i - 1
        depths[step + 1] = depths[above + 1] + (shape.rows[step + 1].kind in NODES)
    return depths


def _node_rows(shape: GraphDef, allowed: tuple[int, float]) -> Sequence[int]:
    rows = shape.memo.get(_node_rows)
    if rows is None:
        rows = shape.memo[_node_rows] = [i for i, row in enumerate(shape.rows) if row.kind in NODES]
    if not _limited(allowed):
        return rows
    depths = _depths(shape)
    return [i for i in rows if _between(depths[i], allowed)]


def _picked(layout: Layout, chosen: Sequence[int], inside: Sequence[bool]) -> tuple[Layout, list[int]]:
    """Return what of a layout, and of the states whose paths it has, is inside."""
    kept = [index for index, i in enumerate(chosen) if inside[i]]
    return layout.pick(kept), [chosen[index] for index in kept]

"""The verbs: take a graph apart, put it together, look at it, write to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

import jax
import numpy as np

from ._bulk import read_values
from ._errors import GraphError
from ._filter import Filter, of_shape, partition
from ._flatten import unflatten
from ._graphdef import GraphDef
from ._layout import Layout
from ._show import dotted
from ._snapshot import Snapshot, snapshot
from ._state import State
from ._tree import FlattedDict, NestedDict, StateTree, join

__all__ = ["clone", "graphdef", "nodes", "states", "treefy_merge", "treefy_split", "treefy_states", "update_states"]

N = TypeVar("N")


def graphdef(node: Any) -> GraphDef:
    """Return the shape of a graph.

    Args:
        node: A Node, or a container of them.

    Example:
        >>> from brainstate_graph import Node, State, graphdef
        >>> class Gain(Node):
        ...     def __init__(self):
        ...         self.k = State(1.0)
        >>> graphdef(Gain())
        GraphDef(Gain, nodes=1, states=1)
    """
    return snapshot(node).graphdef


def _selected(
    snap: Snapshot, filters: tuple[Filter, ...], exhaustive: bool
) -> tuple[tuple[Layout, Sequence[int]], ...]:
    """For each filter the layout and the numbers of the states that it selects."""
    shape = snap.graphdef
    layout = shape.layout
    if not filters:
        return ((layout, range(len(snap.states))),)
    static = all(map(of_shape, filters))  # then the answer holds for every graph of this shape
    key = (exhaustive, filters)
    found = shape.partitions.get(key) if static else None
    if found is None:
        groups = partition(filters, layout.path, snap.states.__getitem__, len(snap.states), exhaustive)
        found = tuple((layout.pick(group), tuple(group)) for group in groups)
        if static:
            shape.partitions[key] = found
    return found


def _trees(snap: Snapshot, filters: tuple[Filter, ...], exhaustive: bool) -> tuple[NestedDict, ...]:
    states = snap.states
    return tuple(
        NestedDict._of(layout, _apart(read_values([states[i] for i in chosen])))
        for layout, chosen in _selected(snap, filters, exhaustive)
    )


def treefy_split(node: Any, *filters: Filter) -> tuple[Any, ...]:
    """Split a graph into its shape and its state trees.

    Args:
        node: A Node, or a container of them.
        *filters: One tree is returned for each; each state goes to the first that accepts it. Together they must
            accept all; ``...`` as the last takes the rest. None given: one tree with all.

    Returns:
        ``(graphdef, tree)`` or ``(graphdef, tree1, tree2, ...)``.

    Raises:
        ValueError: No filter accepts some state.

    Example:
        >>> from brainstate_graph import Node, State, treefy_merge, treefy_split
        >>> class Gain(Node):
        ...     def __init__(self):
        ...         self.k = State(3.0)
        >>> shape, tree = treefy_split(Gain())
        >>> treefy_merge(shape, tree).k
        State(3.0)
    """
    snap = snapshot(node)
    return (snap.graphdef, *_trees(snap, filters, exhaustive=True))


def treefy_states(node: Any, *filters: Filter) -> Any:
    """Return the state tree of a graph, without its shape.

    Args:
        node: A Node, or a container of them.
        *filters: As for `treefy_split`, but what none accepts is left out.

    Returns:
        A NestedDict; a tuple of them for two filters or more.

    Example:
        >>> from brainstate_graph import State, treefy_states
        >>> treefy_states({"k": State(3.0)}).to_pure_dict()
        {'k': 3.0}
    """
    trees = _trees(snapshot(node), filters, exhaustive=False)
    return trees if len(filters) > 1 else trees[0]


def _as_tree(data: Any, layout: Layout) -> StateTree:
    """Read what was given as a state tree; the layout tells a dict that is a value from one that is a level."""
    if isinstance(data, StateTree):
        if any(isinstance(v, State) for v in data._values):  # as `states` returns
            return data._of(data._layout, [v.value if isinstance(v, State) else v for v in data._values])
        return data
    if not isinstance(data, Mapping):
        raise TypeError(f"expected a state tree or a nested dict of values, not {type(data).__name__}")
    if data and all(isinstance(k, tuple) for k in data):
        return FlattedDict(data)
    flat: list[tuple[Any, Any]] = []
    stack: list[tuple[tuple[Any, ...], int | None, Any]] = [((), -1, data)]
    while stack:
        path, entry, item = stack.pop()
        if isinstance(item, Mapping) and entry not in layout.place_of:
            stack.extend(((*path, k), layout.steps.get((entry, k)) if entry is not None else None, v)
                         for k, v in item.items())  # fmt: skip
        else:
            flat.append((path, item.value if isinstance(item, State) else item))
    return FlattedDict.from_flat(flat)


def _place(shape: GraphDef, layout: Layout) -> list[int | None]:
    places = shape.positions.get(layout)
    if places is None:
        places = shape.positions[layout] = layout.positions_in(shape.layout)
    return places


_CONTAINERS = frozenset({dict, list})


def _apart(values: list[Any]) -> list[Any]:
    """Give containers among the values to the tree as copies; it does not change with its model."""
    if _CONTAINERS.isdisjoint(map(type, values)):
        return values
    return [jax.tree.map(lambda x: x, v) if type(v) in _CONTAINERS else v for v in values]


_ABSENT = object()


def treefy_merge(graphdef: GraphDef, *trees: Any) -> Any:
    """Put a graph together from its shape and its state trees.

    Args:
        graphdef: The shape, from `treefy_split`.
        *trees: State trees that together hold every state once; nested dicts of plain values will do.

    Returns:
        The root: new nodes with new states.

    Raises:
        GraphError: A state is missing, unexpected, or given twice; the message lists the paths.

    Example:
        >>> from brainstate_graph import State, treefy_merge, treefy_split
        >>> shape, tree = treefy_split({"k": State(3.0)})
        >>> treefy_merge(shape, {"k": 4.0})
        {'k': State(4.0)}
    """
    if not isinstance(graphdef, GraphDef):
        raise TypeError(
            f"treefy_merge needs a GraphDef first, not {type(graphdef).__name__}: `treefy_merge(graphdef, tree)`"
        )
    values: list[Any] = [_ABSENT] * len(graphdef.state_rows)
    problems: list[str] = []
    for data in trees:
        tree = _as_tree(data, graphdef.layout)
        for number, (place, value) in enumerate(zip(_place(graphdef, tree._layout), tree._values, strict=True)):
            if place is None:
                problems.append(f"unexpected: {dotted(tree._layout.path(number))}")
            elif values[place] is not _ABSENT:
                problems.append(f"given twice: {dotted(tree._layout.path(number))}")
            else:
                values[place] = value
    problems += [f"missing: {dotted(graphdef.layout.path(i))}" for i, v in enumerate(values) if v is _ABSENT]
    if problems:
        raise GraphError("the state trees do not fit the graph: " + "; ".join(problems))
    return unflatten(graphdef, values)[0]


def update_states(node: Any, *trees: Any) -> None:
    """Write the values of state trees to the live states at the same paths; all or none.

    Args:
        node: A Node, or a container of them.
        *trees: State trees, or nested dicts of plain values. Where a path stands in several, the last one wins.

    Raises:
        GraphError: The graph has no state at some path, or its kind differs; the message lists all, nothing is written.

    Example:
        >>> from brainstate_graph import State, update_states
        >>> model = {"k": State(3.0)}
        >>> update_states(model, {"k": 5.0})
        >>> model
        {'k': State(5.0)}
    """
    snap = snapshot(node)
    tree = join([_as_tree(t, snap.graphdef.layout) for t in trees], FlattedDict, last_wins=True)
    problems: list[str] = []
    chosen: list[State[Any]] = []
    for number, place in enumerate(_place(snap.graphdef, tree._layout)):
        spec = tree._layout.specs[number]
        if place is None:
            problems.append(f"unexpected: {dotted(tree._layout.path(number))}")
        elif spec is not None and spec.kind is not type(snap.states[place]):
            live = type(snap.states[place]).__name__
            problems.append(f"{dotted(tree._layout.path(number))} is a {live}, not a {spec.kind.__name__}")
        else:
            chosen.append(snap.states[place])
    if problems:
        raise GraphError("the state trees do not fit the graph: " + "; ".join(problems))
    before = read_values(chosen, record=False)
    done = 0
    try:
        for state, value in zip(chosen, tree._values, strict=True):
            state.value = value
            done += 1
    except BaseException:
        for state, value in zip(chosen[:done], before, strict=False):
            state.value = value
        raise


def states(node: Any, *filters: Filter) -> Any:
    """Return the live states of a graph by path.

    Args:
        node: A Node, or a container of them.
        *filters: As for `treefy_states`.

    Returns:
        A FlattedDict from path to State; a tuple of them for two filters or more. A shared state stands once, under
        the path where it is met first.

    Example:
        >>> from brainstate_graph import State, states
        >>> states({"a": State(1.0), "b": [State(2.0)]})
        FlattedDict({('a',): State(1.0), ('b', 0): State(2.0)})
    """
    snap = snapshot(node)
    found = tuple(
        FlattedDict._of(_bare(layout), [snap.states[i] for i in chosen])
        for layout, chosen in _selected(snap, filters, exhaustive=False)
    )
    return found if len(filters) > 1 else found[0]


def _bare(layout: Layout) -> Layout:
    return Layout.of(layout.entries, layout.leaves, (None,) * len(layout))


def nodes(node: Any, *filters: Filter) -> Any:
    """Return the nodes of a graph by path, the root under ``()``.

    Args:
        node: A Node, or a container of them.
        *filters: As for `treefy_states`; a class selects its instances.

    Returns:
        A FlattedDict from path to Node; a tuple of them for two filters or more.

    Example:
        >>> from brainstate_graph import Node, nodes
        >>> list(nodes([Node(), Node()]))
        [(0,), (1,)]
    """
    snap = snapshot(node)
    rows = [i for i, row in enumerate(snap.graphdef.rows) if row.kind == "node"]
    found = FlattedDict._of(snap.graphdef.layout_of(rows), [snap.objects[i] if i else node for i in rows])
    return found.filter(*filters) if filters else found


def clone(node: N) -> N:
    """Return a copy of a graph: new nodes and states, the same values, sharing kept.

    Args:
        node: A Node, or a container of them.

    Example:
        >>> from brainstate_graph import State, clone
        >>> shared = State(1.0)
        >>> a, b = clone([shared, shared])
        >>> a is b, a is shared
        (True, False)
    """
    snap = snapshot(node)
    values = [_copied(value) for value in read_values(snap.states)]
    return cast(N, unflatten(snap.graphdef, values)[0])


def _copied(value: Any) -> Any:
    """Return a value that shares no container and no NumPy buffer with the given one."""
    if isinstance(value, jax.Array):
        return value
    return jax.tree.map(lambda x: x.copy() if isinstance(x, np.ndarray) else x, value)

"""The first verbs: take a graph apart, put it together, copy it.

A split reads the values of the states through the door and gives them the layout that the shape has for them; a merge
is the way back.  What filters select depends, as a rule, on the shape alone, and is remembered with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, cast, final

import jax

from .._core.door import object_in, read_values
from .._core.errors import GraphError
from .._core.graphdef import GraphDef
from .._core.layout import Layout
from .._core.snapshot import Snapshot
from .._core.unflatten import build
from .._core.values import detached
from .._kept.cached import snapshot
from .._tools.arrays import ARRAYS, PLAIN, deleted_leaf
from .._tools.words import dotted
from .._trees.filters import Filter
from .._trees.partition import depends_on_shape, partition
from .._trees.tree import NestedDict, layout_of, make_tree, values_of
from .given import merge_values

__all__ = [
    "check_values", "clone", "detached_values", "graphdef", "selected", "treefy_merge", "treefy_split", "treefy_states",
    "trees_of",
]  # fmt: skip

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


def selected(snap: Snapshot, filters: tuple[Filter, ...], exhaustive: bool) -> tuple[tuple[Layout, Sequence[int]], ...]:
    """Return for each filter the layout and the indices of the states that it selects."""
    shape = snap.graphdef
    layout = shape.layout
    if not filters:
        return ((layout, range(len(snap.states))),)
    # Then the answer holds for every graph of this shape, and is remembered with it: a split by filters at every step
    # costs one look-up.
    static = all(map(depends_on_shape, filters))
    key = (partition, exhaustive, filters)
    found = shape.memo.get(key) if static else None
    if found is None:
        groups = partition(filters, layout, snap.states.__getitem__, exhaustive)
        found = tuple((layout.pick(group), tuple(group)) for group in groups)
        if static:
            shape.memo[key] = found
    return found


def trees_of(snap: Snapshot, filters: tuple[Filter, ...], exhaustive: bool) -> tuple[NestedDict, ...]:
    """Return for each filter the tree of the states that it selects."""
    states = snap.states
    return tuple(
        make_tree(NestedDict, layout, detached_values(read_values([states[i] for i in chosen])))
        for layout, chosen in selected(snap, filters, exhaustive)
    )


def treefy_split(node: Any, *filters: Filter) -> tuple[Any, ...]:
    """Split a graph into its shape and its state trees.

    Args:
        node: A Node, or a container of them.
        *filters: One tree is returned for each; each state goes to the first that accepts it. Together they must
            accept all; ``...`` as the last takes the rest. Without filters there is one tree with all states.

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
    return (snap.graphdef, *trees_of(snap, filters, exhaustive=True))


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
    trees = trees_of(snapshot(node), filters, exhaustive=False)
    return trees if len(filters) > 1 else trees[0]


@final
class _NothingKnown:
    """In place of the objects that a shape names by number, where there are none."""

    def __getitem__(self, name: Any) -> Any:
        raise GraphError(
            "the graph refers to parts of an earlier `treefy_split` in its `split_context`: merge both in one "
            "`merge_context`, in the order in which they were split"
        )


_NOTHING_KNOWN = cast(Sequence[Any], _NothingKnown())


def detached_values(values: Sequence[Any]) -> Sequence[Any]:
    """Return the values with copies of the containers among them: a tree does not change with its model."""
    if PLAIN.issuperset(map(type, values)):
        return values
    return [v if type(v) in PLAIN else detached(v) for v in values]


def treefy_merge(graphdef: GraphDef, *trees: Any) -> Any:
    """Put a graph together from its shape and its state trees.

    Args:
        graphdef: The shape, from `treefy_split`.
        *trees: State trees that together hold every state once; nested dicts of plain values will do.

    Returns:
        The root: new nodes with new states.

    Raises:
        GraphError: A state is missing, unexpected, of another kind, or given twice; the message lists the paths.

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
    if len(trees) == 1 and isinstance(trees[0], NestedDict) and layout_of(trees[0]) is graphdef.layout:
        values: Sequence[Any] = values_of(trees[0])  # the common case, where nothing can be wrong
    else:
        values = merge_values(graphdef, trees)
    check_values(graphdef, values)
    return build(graphdef, detached_values(values), _NOTHING_KNOWN)


def check_values(graphdef: GraphDef, values: Sequence[Any]) -> None:
    """Refuse to put a graph together from values of which one holds a State or Node, or an array that was deleted.

    Raises:
        GraphError: There is one; the message names the path.
    """
    for index, value in enumerate(values):
        kind = type(value)
        if kind in PLAIN and (kind not in ARRAYS or not value.is_deleted()):  # as nearly all of them
            continue
        if kind not in PLAIN and object_in(jax.tree.leaves(value)) is not None:
            where = dotted(graphdef.layout.path(index))
            raise GraphError(
                f"the value for {where} holds a State or Node: give `state.value`, or `treefy_states(node)`"
            )
        if (place := deleted_leaf(value)) is not None:
            raise GraphError(
                f"the array for {dotted(graphdef.layout.path(index))}{place} was deleted, as it was donated to a "
                "compiled call: keep a copy before the call, `jnp.array(x)`"
            )


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
    values = [detached(value, arrays=True) for value in read_values(snap.states)]
    check_values(snap.graphdef, values)
    return cast(N, build(snap.graphdef, values))

"""Graphs inside ordinary pytrees: each node of a pytree becomes plain data that JAX can carry, and a node again.

A node is a leaf to JAX, and an opaque one.  `NodeStates` is the form in which it goes through `jax.jit`, `jax.vmap` or
`jax.lax.scan`; what two nodes of the pytree share is held by the first of them only, and comes back shared.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import partial
from typing import Any, final

import jax
from jax.tree_util import GetAttrKey, keystr

from .._core.errors import GraphError
from .._core.flatten import flatten
from .._core.graphdef import GraphDef
from .._core.layout import Path
from .._core.node import Node
from .._core.state import State
from .._core.static import static_key
from .._tools.refmap import RefMap
from .._tools.words import dotted
from .._trees.tree import FlattedDict
from .contexts import MergeContext, SplitContext, merge_context, split_context
from .problems import Problems
from .walk import states

__all__ = ["NodeStates", "graph_to_tree", "tree_to_graph"]

Split = Callable[[SplitContext, Any, Any, Any], Any]
Merge = Callable[[MergeContext, Any, Any, Any], Any]


@final
class NodeStates:
    """The plain-data form of one node inside a pytree: its shape, which is static, and its state trees.

    It is immutable. `graph_to_tree` makes it, `tree_to_graph` makes the node again.

    Attributes:
        states: The state trees, a tuple.

    Example:
        >>> import jax
        >>> from brainstate_graph import NodeStates, State, treefy_split
        >>> item = NodeStates.from_split(*treefy_split({"k": State(3.0)}))
        >>> jax.tree.map(lambda x: 2 * x, item).state["k"].value
        6.0
    """

    __slots__ = ("_graphdef", "states")

    _graphdef: GraphDef | None
    states: tuple[Any, ...]

    def __init__(self, graphdef: GraphDef | None, states: Iterable[Any]) -> None:
        object.__setattr__(self, "_graphdef", graphdef)
        object.__setattr__(self, "states", tuple(states))

    @classmethod
    def from_split(cls, graphdef: GraphDef, /, *states: Any) -> NodeStates:
        """Return the form of what `treefy_split` returned."""
        return cls(graphdef, states)

    @classmethod
    def from_states(cls, *states: Any) -> NodeStates:
        """Return the form of state trees without a shape: a result whose shape the caller has."""
        return cls(None, states)

    @classmethod
    def from_prefixes(cls, prefixes: Iterable[Any]) -> NodeStates:
        """Return a prefix for the trees of a split by filters, such as one entry of ``in_axes`` for each."""
        return cls(None, prefixes)

    @property
    def graphdef(self) -> GraphDef:
        """The shape.

        Raises:
            ValueError: It was made without one.
        """
        if self._graphdef is None:
            raise ValueError("this NodeStates has no graphdef: it was made by `from_states` or `from_prefixes`")
        return self._graphdef

    @property
    def state(self) -> Any:
        """The state tree, where there is one.

        Raises:
            ValueError: There are several, or none.
        """
        if len(self.states) != 1:
            raise ValueError(f"this NodeStates has {len(self.states)} state trees: use `.states`")
        return self.states[0]

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(
            f"a NodeStates is immutable, so {name!r} stays: make another one, `NodeStates.from_split(...)`"
        )

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a NodeStates is immutable, so {name!r} stays")

    def __reduce__(self) -> tuple[Any, ...]:
        return NodeStates, (self._graphdef, self.states)

    def __repr__(self) -> str:
        return f"NodeStates({', '.join(map(repr, (self._graphdef, *self.states)))})"


# The shape is a child, one without leaves: so a prefix without a shape, as in `in_axes`, fits every NodeStates.
jax.tree_util.register_pytree_with_keys(
    NodeStates,
    lambda item: (((GetAttrKey("graphdef"), item._graphdef), (GetAttrKey("states"), item.states)), None),
    lambda _, children: _rebuilt(*children),
    lambda item: ((item._graphdef, item.states), None),
)


def _rebuilt(graphdef: Any, states: Any) -> NodeStates:
    item = object.__new__(NodeStates)  # JAX puts anything in place of the children
    object.__setattr__(item, "_graphdef", graphdef)
    object.__setattr__(item, "states", states)
    return item


def graph_to_tree(
    tree: Any, /, *, prefix: Any = None, split_fn: Split | None = None, check_aliasing: bool = True
) -> tuple[Any, FlattedDict]:
    """Turn each Node and State in a pytree into plain data that JAX can carry.

    Args:
        tree: A pytree with Nodes and States among its leaves.
        prefix: A prefix of the pytree, such as ``in_axes``, for `split_fn` and for the check.
        split_fn: ``split_fn(ctx, path, prefix, item)`` calls ``ctx.treefy_split`` and returns the data for a Node or
            State. By default that is a NodeStates with one state tree.
        check_aliasing: Whether one node or state under two different prefixes is an error.

    Returns:
        The pytree, with a NodeStates for each Node and State, and the live states by path.

    Raises:
        GraphError: A node or state is under two different prefixes; the message lists all.
        ValueError: The prefix does not fit the pytree.

    Example:
        >>> import jax
        >>> from brainstate_graph import State, graph_to_tree, tree_to_graph
        >>> shared = State(1.0)
        >>> tree, live = graph_to_tree({"a": shared, "b": shared, "x": 2.0})
        >>> jax.tree.leaves(tree)
        [1.0, 2.0]
        >>> again = tree_to_graph(tree)
        >>> again["a"] is again["b"]
        True
    """
    try:
        leaves, treedef = jax.tree_util.tree_flatten_with_path(tree)
    except (RecursionError, SystemError):  # as JAX says it
        raise ValueError("the pytree holds itself, or is nested too deep: hold the parts in a Node") from None
    prefixes = _broadcast(prefix, tree, None)
    if check_aliasing and prefix is not None:
        _refuse_two_prefixes(leaves, prefixes)
    split = split_fn or _split
    with split_context() as ctx:
        found = [
            split(ctx, path, at, leaf) if isinstance(leaf, (Node, State)) else leaf
            for (path, leaf), at in zip(leaves, prefixes, strict=True)
        ]
    return treedef.unflatten(found), _live(treedef.unflatten(_graphs_only(leaf) for _, leaf in leaves))


def tree_to_graph(tree: Any, /, *, prefix: Any = None, merge_fn: Merge | None = None) -> Any:
    """Turn the plain data of `graph_to_tree` into Nodes and States again: new ones, sharing kept.

    Args:
        tree: A pytree with NodeStates.
        prefix: A prefix of the pytree, for `merge_fn`.
        merge_fn: ``merge_fn(ctx, path, prefix, item)`` calls ``ctx.treefy_merge`` and returns the object for a
            NodeStates. By default all its state trees are merged.

    Returns:
        The pytree, with a Node or State for each NodeStates.

    Raises:
        GraphError: State trees do not fit their shape, or a part that others share with is missing.
        ValueError: The prefix does not fit the pytree, or a NodeStates has no shape.

    Example:
        >>> from brainstate_graph import State, graph_to_tree, tree_to_graph
        >>> tree, _ = graph_to_tree([State(1.0), 2.0])
        >>> tree_to_graph(tree)
        [State(1.0), 2.0]
    """
    leaves, treedef = jax.tree_util.tree_flatten_with_path(tree, is_leaf=_is_node_states)
    prefixes = _broadcast(prefix, tree, _is_node_states)
    merge = merge_fn or _merge
    found: list[Any] = []
    with merge_context() as ctx:
        for (path, leaf), at in zip(leaves, prefixes, strict=True):
            try:
                found.append(merge(ctx, path, at, leaf) if _is_node_states(leaf) else leaf)
            except ValueError as error:
                if type(error) not in (GraphError, ValueError):  # one of `merge_fn`, which may take other arguments
                    raise
                raise type(error)(f"at {keystr(path, simple=True, separator='.') or '(root)'}: {error}") from error
    return treedef.unflatten(found)


def _split(ctx: SplitContext, path: Any, prefix: Any, item: Any) -> NodeStates:
    return NodeStates.from_split(*ctx.treefy_split(item))


def _merge(ctx: MergeContext, path: Any, prefix: Any, item: NodeStates) -> Any:
    return ctx.treefy_merge(item.graphdef, *item.states)


def _is_node_states(item: Any) -> bool:
    return isinstance(item, NodeStates)


def _graphs_only(leaf: Any) -> Any:
    return leaf if isinstance(leaf, (Node, State)) else None


def _live(graphs: Any) -> FlattedDict:
    """Return the live states in a pytree whose leaves are nodes and states."""
    if isinstance(graphs, State):
        return FlattedDict({(): graphs})
    found: FlattedDict = states(graphs) if jax.tree.leaves(graphs) else FlattedDict()
    return found


def _broadcast(prefix: Any, tree: Any, is_leaf: Callable[[Any], bool] | None) -> list[Any]:
    """Return what a prefix says of each leaf; None is a value of it."""
    values, shape = jax.tree.flatten(prefix, is_leaf=lambda x: x is None)
    try:
        parts = shape.flatten_up_to(tree)
    except ValueError as error:
        raise ValueError(f"the prefix does not fit the pytree: {error}") from None
    return [
        value
        for value, part in zip(values, parts, strict=True)
        for _ in jax.tree.leaves(part, is_leaf=is_leaf)
    ]  # fmt: skip


def _refuse_two_prefixes(leaves: Iterable[tuple[Any, Any]], prefixes: Iterable[Any]) -> None:
    """Raise if a node or state is reached under two prefixes."""
    numbers: RefMap[int] = RefMap()
    first: list[tuple[Hashable, Any, Callable[[], Path]]] = []  # of each object the prefix, and where it was
    problems = Problems()
    for (path, leaf), prefix in zip(leaves, prefixes, strict=True):
        if not isinstance(leaf, (Node, State)):
            continue
        # What is known is not entered: whatever stands below it has its prefix, or was found out before.
        shape, objects = (flat := flatten(leaf, numbers.get)).graphdef, flat.objects
        for number, (row, item) in enumerate(zip(shape.rows, objects, strict=True)):
            where = partial(_below, path, shape, number)
            if row.kind != "known":
                if isinstance(item, (Node, State)):
                    numbers[item] = len(first)
                    first.append((static_key(prefix), prefix, where))
            elif first[row.extra][0] != static_key(prefix):
                _, other, there = first[row.extra]
                words = f"{dotted(there())} has {other!r}, " if problems.room else ""
                problems.note(where, f"{words}{{path}} has {prefix!r}")
    problems.refuse(
        "one object stands under two prefixes: ",
        ". Give both places the same prefix, or make one of them a `clone`",
    )


def _below(outer: Any, shape: GraphDef, row: int) -> Path:
    return (*(keystr((entry,), simple=True) for entry in outer), *shape.path(row))

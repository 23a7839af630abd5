"""Values for the states of a graph, as users give them: matched with the states, one by one.

A state tree, a mapping by path and a nested dictionary say the same, and may hold values, States or TreefyStates.  Each
value that is found becomes a ``Given`` with the *index* of its state among the states of the graph.  A state that is
held in several places is found by each of their paths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, cast, final

from .._core.graphdef import Edge, GraphDef
from .._core.layout import Layout, Path, path_to
from .._core.node import Node
from .._core.state import State
from .._tools.words import describe, dotted
from .._trees.tree import StateTree, TreefyState, layout_of, values_of
from .problems import Problems

__all__ = ["EdgeLookup", "Given", "given_for", "merge_values", "note_unexpected", "plain_indices", "wrong_kind"]

_ABSENT: Any = object()


class _Paths(Protocol):
    def path(self, number: int, /) -> Path: ...


class Given(NamedTuple):
    """One value.

    Attributes:
        state_index: The index of its state among the states of the graph; None where the graph has no state.
        item: The value, or the State or TreefyState that holds it.
        kind: The class of the state that it is the value of, or None for a plain value.
        paths: What knows its path, a Layout as a rule: a path is made only when somebody looks.
        number: The number of its path there.
    """

    state_index: int | None
    item: Any
    kind: type[Any] | None
    paths: _Paths
    number: int

    @property
    def value(self) -> Any:
        """The value alone."""
        return self.item.value if isinstance(self.item, (State, TreefyState)) else self.item

    def path(self) -> Path:
        """Return the keys that lead to it."""
        return self.paths.path(self.number)


@final
class EdgeLookup:
    """The edges of a graph by the keys that lead to them."""

    def __init__(self, graphdef: GraphDef) -> None:
        self._graphdef = graphdef
        self._known: dict[int, dict[Any, Edge]] = {}  # by row

    def below(self, edge: Edge | None, key: Any) -> Edge | None:
        """Return the edge under `key` of the object to which `edge` leads, or None where there is none."""
        if not isinstance(edge, int):
            return None
        found = self._known.get(edge)
        if found is None:
            row = self._graphdef.rows[edge]
            found = self._known[edge] = dict(zip(row.keys, self._graphdef.edges(edge), strict=True))
        return found.get(key)

    def at(self, path: Path) -> Edge | None:
        """Return the last edge of a path from the root, or None where there is no such path."""
        edge: Edge | None = self._graphdef.root
        for key in path:
            edge = self.below(edge, key)
        return edge


def note_unexpected(problems: Problems, graphdef: GraphDef, given: Given) -> None:
    """Note that there is no state for a value, with what the graph has in its place."""
    instead = _in_its_place(graphdef, given.path()) if problems.room else ""
    problems.note(given.path, "unexpected: {path}" + instead, mild=True)


def _in_its_place(graphdef: GraphDef, path: Path) -> str:
    """Say what the graph has at a path that leads to no state, or on the way there."""
    lookup, edge = EdgeLookup(graphdef), graphdef.root
    for length, key in enumerate(path):
        if isinstance(edge, int) and graphdef.rows[edge].kind == "state":
            return f" (part of the value of the state {dotted(path[:length])}, whose whole value must be given)"
        following = lookup.below(edge, key)
        if following is None:
            return ""
        edge = following
    if isinstance(edge, int):
        return f" (a {graphdef.rows[edge].type.__name__}, not a state)"
    return f" (the static value {describe(edge.value)}, not a state)"


def given_for(graphdef: GraphDef, data: Any) -> Sequence[Given]:
    """Return the values in some data, each with the index of its state.

    Args:
        graphdef: The shape of the graph.
        data: A state tree, a mapping by path, or a nested dict; of values, States or TreefyStates.

    Raises:
        TypeError: It is something else.
    """
    if isinstance(data, StateTree):
        return _of_tree(data, _indices(graphdef, layout_of(data)))
    if isinstance(data, Mapping):
        return list(_DictWalk(graphdef).read(data))
    remedy = ": write `treefy_states(node)`" if isinstance(data, Node) else ""
    raise TypeError(f"expected a state tree or a nested dict of values, not {type(data).__name__}{remedy}")


def plain_indices(graphdef: GraphDef, data: Any) -> Sequence[int] | None:
    """Return the indices of the states whose values a state tree holds, if nothing can be wrong with any of them.

    That is so where each value is that of another state of the graph and of its kind, as in what a split of the same
    shape returned. It is the way for thousands of states at every step; for all else there is `given_for`.
    """
    if not isinstance(data, StateTree):
        return None
    layout = layout_of(data)
    indices = _indices(graphdef, layout)
    if None in indices or len(set(indices)) < len(indices) or any(isinstance(item, State) for item in values_of(data)):
        return None
    found = cast(Sequence[int], indices)
    rows, state_rows = graphdef.rows, graphdef.state_rows
    kinds = [rows[state_rows[index]].type for index in found]
    return found if kinds == [None if spec is None else spec.kind for spec in layout.specs] else None


def _of_tree(tree: StateTree, indices: Sequence[int | None]) -> list[Given]:
    layout = layout_of(tree)
    return [
        Given(index, item, type(item) if isinstance(item, State) else spec and spec.kind, layout, number)
        for number, (index, item, spec) in enumerate(zip(indices, values_of(tree), layout.specs, strict=True))
    ]


def _indices(graphdef: GraphDef, layout: Layout) -> Sequence[int | None]:
    """For each path of a layout the index of the state there, remembered with the shape."""
    indices: Sequence[int | None] | None = graphdef.memo.get((_indices, layout))
    if indices is None:
        indices = layout.indices_in(graphdef.layout)
        if None in indices:  # the layout of a graph names a shared state by its first path only
            lookup, index_of = EdgeLookup(graphdef), _index_of_rows(graphdef)
            edges: list[Edge | None] = []
            for parent, key in layout.steps():
                edges.append(lookup.below(graphdef.root if parent < 0 else edges[parent], key))
            ends = [graphdef.root if leaf < 0 else edges[leaf] for leaf in layout.leaves]
            indices = [index_of.get(edge) if isinstance(edge, int) else None for edge in ends]
        graphdef.memo[_indices, layout] = indices
    return indices


def _index_of_rows(graphdef: GraphDef) -> dict[int, int]:
    return {row: index for index, row in enumerate(graphdef.state_rows)}


@final
class _DictWalk:
    """The walk through nested or flat dictionaries, beside the graph; their paths are held as the steps of a trie."""

    def __init__(self, graphdef: GraphDef) -> None:
        self.graphdef = graphdef
        self.lookup = EdgeLookup(graphdef)
        self.index_of = _index_of_rows(graphdef)
        self.parents: list[int] = []
        self.keys: list[Any] = []

    def path(self, step: int) -> Path:
        return path_to(self.parents, self.keys, step)

    def read(self, data: Mapping[Any, Any]) -> Iterator[Given]:
        if self._by_path(data):
            for path, item in data.items():
                yield self._given(*self._go(self.graphdef.root, -1, path), item)
            return
        stack: list[tuple[Edge | None, int, Any]] = [(self.graphdef.root, -1, data)]
        while stack:  # the graph tells a dict that is a value from one that is a level
            edge, step, item = stack.pop()
            if not isinstance(item, Mapping) or (isinstance(edge, int) and edge in self.index_of):
                yield self._given(edge, step, item)
            elif isinstance(item, StateTree):
                stack.extend((*self._go(edge, step, path), v) for path, v in reversed(list(item.to_flat().items())))
            else:
                stack.extend((*self._go(edge, step, (key,)), v) for key, v in reversed(list(item.items())))

    def _by_path(self, data: Mapping[Any, Any]) -> bool:
        """Tell whether the keys are paths, and not keys of the root that happen to be tuples."""
        if not data or not all(isinstance(key, tuple) for key in data):
            return False
        root = self.graphdef.root
        return any(self.lookup.below(root, key) is None for key in data)

    def _go(self, edge: Edge | None, step: int, path: Path) -> tuple[Edge | None, int]:
        for key in path:
            edge = self.lookup.below(edge, key)
            self.parents.append(step)
            self.keys.append(key)
            step = len(self.keys) - 1
        return edge, step

    def _given(self, edge: Edge | None, step: int, item: Any) -> Given:
        index = self.index_of.get(edge) if isinstance(edge, int) else None
        kind = type(item) if isinstance(item, State) else item.type if isinstance(item, TreefyState) else None
        return Given(index, item, kind, self, step)


def wrong_kind(live: type[Any], given: type[Any]) -> str:
    """Say that a value belongs to a state of another class."""
    other = given.__name__ if given.__name__ != live.__name__ else f"{given.__name__} of another definition"
    return f"{{path}} is a {live.__name__}, not a {other}"


def merge_values(graphdef: GraphDef, trees: Sequence[Any]) -> list[Any]:
    """Return the values that trees hold together, one for each state of the graph.

    Raises:
        GraphError: A state is missing, unexpected, of another kind, or given twice; the message lists all.
    """
    found: list[Any] = [_ABSENT] * len(graphdef.state_rows)
    problems = Problems()
    for data in trees:
        indices = plain_indices(graphdef, data)
        if indices is not None and all(found[index] is _ABSENT for index in indices):
            for index, value in zip(indices, values_of(data), strict=True):
                found[index] = value
            continue
        for given in given_for(graphdef, data):
            if given.state_index is None:
                note_unexpected(problems, graphdef, given)
                continue
            kind = graphdef.rows[graphdef.state_rows[given.state_index]].type
            if found[given.state_index] is not _ABSENT:
                problems.note(given.path, "given twice: {path}")
            elif given.kind is not None and given.kind is not kind:
                problems.note(given.path, wrong_kind(kind, given.kind))
            found[given.state_index] = given.value
    for index, value in enumerate(found):
        if value is _ABSENT:
            problems.note(partial(graphdef.layout.path, index), "missing: {path}")
    problems.refuse("the state trees do not fit the graph: ")
    return found

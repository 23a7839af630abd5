"""What is given for the states of a graph: data of any form, value by value, each with its place in the graph.

A state tree, a mapping by path and a nested dict say the same.  A state that is held in several places is found by
each of their paths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, cast

from .._core.errors import GraphError
from .._core.graphdef import Edge, GraphDef
from .._core.layout import Layout, Path
from .._core.node import Node
from .._core.state import State
from .._tools.words import describe, dotted
from .._trees.tree import StateTree, TreefyState, layout_of, values_of

__all__ = ["Given", "Problems", "Steps", "merge_values", "read", "straight", "wrong_kind"]

_SHOWN = 100  # problems that an error spells out; paths of a deep graph are long
_ABSENT: Any = object()


class _Paths(Protocol):
    def path(self, place: int, /) -> Path: ...


class Given(NamedTuple):
    """One value.

    Attributes:
        place: The number of its state among the states of the graph; None where the graph has no state.
        item: The value, or the State or TreefyState that holds it.
        kind: The class of the state that it is the value of, or None for a plain value.
        source: What knows its path, a Layout as a rule.
        number: Which path of those.
    """

    place: int | None
    item: Any
    kind: type[Any] | None
    source: _Paths
    number: int

    @property
    def value(self) -> Any:
        """The value alone."""
        return self.item.value if isinstance(self.item, (State, TreefyState)) else self.item

    def path(self) -> Path:
        """Return the keys that lead to it."""
        return self.source.path(self.number)


class Problems:
    """All that is wrong, for one error.

    Attributes:
        mild: Whether something is wrong that a caller may choose to overlook.
    """

    def __init__(self) -> None:
        self.mild = False
        self._count = 0
        self._texts: list[str] = []

    @property
    def room(self) -> bool:
        """Whether the next one will be spelled out."""
        return self._count < _SHOWN

    def note(self, path: Callable[[], Path], text: str, mild: bool = False) -> None:
        """Note a problem; ``{path}`` in the text stands for where it is."""
        self.mild = self.mild or mild
        if self.room:
            self._texts.append(text.replace("{path}", dotted(path())))
        self._count += 1

    def unexpected(self, graphdef: GraphDef, given: Given) -> None:
        """Note a path at which the graph has no state, with what is there instead."""
        what = _found(graphdef, given.path()) if self.room else ""
        self.note(given.path, "unexpected: {path}" + what, mild=True)

    def refuse(self, what: str, remedy: str = "") -> None:
        """Raise if there are any."""
        if self._count:
            more = f"; and {self._count - _SHOWN} more" if self._count > _SHOWN else ""
            raise GraphError(what + "; ".join(self._texts) + more + remedy)


class Steps:
    """The edges of a graph, by the key of the step."""

    def __init__(self, graphdef: GraphDef) -> None:
        self._graphdef = graphdef
        self._known: dict[int, dict[Any, Edge]] = {}

    def to(self, edge: Edge | None, key: Any) -> Edge | None:
        """Return where a step from the end of an edge leads, or None where there is no such step."""
        if not isinstance(edge, int):
            return None
        found = self._known.get(edge)
        if found is None:
            row = self._graphdef.rows[edge]
            found = self._known[edge] = dict(zip(row.keys, self._graphdef.edges(edge), strict=True))
        return found.get(key)

    def along(self, path: Path) -> Edge | None:
        """Return where a path leads."""
        edge: Edge | None = self._graphdef.root
        for key in path:
            edge = self.to(edge, key)
        return edge


def _found(graphdef: GraphDef, path: Path) -> str:
    """Say what the graph has at a path that leads to no state, or on the way there."""
    steps, edge = Steps(graphdef), graphdef.root
    for length, key in enumerate(path):
        if isinstance(edge, int) and graphdef.rows[edge].kind == "state":
            return f" (part of the value of the state {dotted(path[:length])}, which is given as a whole)"
        following = steps.to(edge, key)
        if following is None:
            return ""
        edge = following
    if isinstance(edge, int):
        return f" (a {graphdef.rows[edge].type.__name__}, not a state)"
    return f" (the static value {describe(edge.value)}, not a state)"


def read(graphdef: GraphDef, data: Any) -> Sequence[Given]:
    """Return the values in some data, each with its place in the graph.

    Args:
        graphdef: The shape of the graph.
        data: A state tree, a mapping by path, or a nested dict; of values, States or TreefyStates.

    Raises:
        TypeError: It is something else.
    """
    if isinstance(data, StateTree):
        return _of_tree(data, _places(graphdef, layout_of(data)))
    if isinstance(data, Mapping):
        return list(_Trail(graphdef).read(data))
    remedy = ": write `treefy_states(node)`" if isinstance(data, Node) else ""
    raise TypeError(f"expected a state tree or a nested dict of values, not {type(data).__name__}{remedy}")


def straight(graphdef: GraphDef, data: Any) -> Sequence[int] | None:
    """Return the places of the values of a state tree, if nothing more has to be known about them.

    That is so where each value is that of another state of the graph and of its kind, as in what a split of the same
    shape returned: the way for thousands of states at every step.
    """
    if not isinstance(data, StateTree):
        return None
    layout = layout_of(data)
    places = _places(graphdef, layout)
    if None in places or len(set(places)) < len(places) or any(isinstance(item, State) for item in values_of(data)):
        return None
    found = cast(Sequence[int], places)
    rows, state_rows = graphdef.rows, graphdef.state_rows
    kinds = [rows[state_rows[place]].type for place in found]
    return found if kinds == [spec and spec.kind for spec in layout.specs] else None


def _of_tree(tree: StateTree, places: Sequence[int | None]) -> list[Given]:
    layout = layout_of(tree)
    return [
        Given(place, item, type(item) if isinstance(item, State) else spec and spec.kind, layout, number)
        for number, (place, item, spec) in enumerate(zip(places, values_of(tree), layout.specs, strict=True))
    ]


def _places(graphdef: GraphDef, layout: Layout) -> Sequence[int | None]:
    """For each path of a layout the number of the state there, remembered."""
    places = graphdef.positions.get(layout)
    if places is None:
        places = layout.positions_in(graphdef.layout)
        if None in places:  # the layout of a graph names a shared state by its first path only
            steps, of_row = Steps(graphdef), _places_of_rows(graphdef)
            edges: list[Edge | None] = []
            for parent, key in layout.entries:
                edges.append(steps.to(graphdef.root if parent < 0 else edges[parent], key))
            ends = [graphdef.root if leaf < 0 else edges[leaf] for leaf in layout.leaves]
            places = [of_row.get(edge) if isinstance(edge, int) else None for edge in ends]
        graphdef.positions[layout] = places
    return places


def _places_of_rows(graphdef: GraphDef) -> dict[int, int]:
    return {row: place for place, row in enumerate(graphdef.state_rows)}


class _Trail:
    """The walk through nested or flat dicts, beside the graph; its paths are held as single steps."""

    def __init__(self, graphdef: GraphDef) -> None:
        self.graphdef = graphdef
        self.steps = Steps(graphdef)
        self.places = _places_of_rows(graphdef)
        self.above: list[tuple[int, Any]] = []

    def path(self, number: int) -> Path:
        keys: list[Any] = []
        while number >= 0:
            number, key = self.above[number]
            keys.append(key)
        return tuple(reversed(keys))

    def read(self, data: Mapping[Any, Any]) -> Iterator[Given]:
        if self._flat(data):
            for path, item in data.items():
                yield self._end(*self._go(self.graphdef.root, -1, path), item)
            return
        stack: list[tuple[Edge | None, int, Any]] = [(self.graphdef.root, -1, data)]
        while stack:  # the graph tells a dict that is a value from one that is a level
            edge, number, item = stack.pop()
            if not isinstance(item, Mapping) or (isinstance(edge, int) and edge in self.places):
                yield self._end(edge, number, item)
            elif isinstance(item, StateTree):
                stack.extend((*self._go(edge, number, path), v) for path, v in reversed(list(item.to_flat().items())))
            else:
                stack.extend((*self._go(edge, number, (key,)), v) for key, v in reversed(list(item.items())))

    def _flat(self, data: Mapping[Any, Any]) -> bool:
        """Tell whether the keys are paths, and not keys of the root that happen to be tuples."""
        if not data or not all(isinstance(key, tuple) for key in data):
            return False
        root = self.graphdef.root
        return any(self.steps.to(root, key) is None for key in data)

    def _go(self, edge: Edge | None, number: int, path: Path) -> tuple[Edge | None, int]:
        for key in path:
            edge = self.steps.to(edge, key)
            self.above.append((number, key))
            number = len(self.above) - 1
        return edge, number

    def _end(self, edge: Edge | None, number: int, item: Any) -> Given:
        place = self.places.get(edge) if isinstance(edge, int) else None
        kind = type(item) if isinstance(item, State) else item.type if isinstance(item, TreefyState) else None
        return Given(place, item, kind, self, number)


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
        places = straight(graphdef, data)
        if places is not None and all(found[place] is _ABSENT for place in places):
            for place, value in zip(places, values_of(data), strict=True):
                found[place] = value
            continue
        for given in read(graphdef, data):
            if given.place is None:
                problems.unexpected(graphdef, given)
                continue
            kind = graphdef.rows[graphdef.state_rows[given.place]].type
            if found[given.place] is not _ABSENT:
                problems.note(given.path, "given twice: {path}")
            elif given.kind is not None and given.kind is not kind:
                problems.note(given.path, wrong_kind(kind, given.kind))
            found[given.place] = given.value
    for place, value in enumerate(found):
        if value is _ABSENT:
            problems.note(partial(graphdef.layout.path, place), "missing: {path}")
    problems.refuse("the state trees do not fit the graph: ")
    return found

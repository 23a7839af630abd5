"""Change a graph that is there: write values to its states, and take states out of it; all or nothing.

Both verbs first find out all that would go wrong, and say it in one error.  Then they act, and put back what they did
if something fails all the same, such as a hook or the ``__setattr__`` of a class.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast, final

from .._core import door
from .._core.door import assign_values, read_values
from .._core.foreign import foreign_type_of
from .._core.graphdef import NODES, GraphDef
from .._core.layout import Layout, Path, StateSpec
from .._core.node import Node
from .._core.snapshot import Snapshot
from .._core.state import State, make_state
from .._kept.cached import snapshot
from .._records.clock import fields_of, stamping
from .._tools.arrays import PLAIN, deleted_leaf
from .._tools.at_once import at_once, filling
from .._tools.words import dotted, some
from .._trees.filters import Filter
from .._trees.tree import TreefyState, layout_of, values_of
from .fit import fitted
from .given import EdgeLookup, Given, given_for, note_unexpected, plain_indices, wrong_kind
from .problems import Problems
from .treefy import selected
from .walk import live_states

__all__ = ["pop_states", "update_states"]

_NUMBERS = frozenset({bool, int, float, complex, type(None)})


def update_states(node: Any, *trees: Any, strict: bool = True, allow_new: bool = False) -> None:
    """Write the values of state trees to the live states at the same paths; all or none.

    States that no tree names keep their values. A value fits if it has the tree structure, shapes and dtypes of the
    current one. A Python number fits an array without axes and takes its dtype; a state that holds None takes any
    value. A state that is held in several places may be named by any of its paths.

    Args:
        node: A Node, or a container of them.
        *trees: State trees, or dicts, nested or by path, of values or States. Where several name a path, the
            last one wins.
        strict: False to let shapes and dtypes change, and to ignore values for which the graph has no state.
        allow_new: True to attach States, also those in a state tree, where a node or dict of the graph has nothing.

    Raises:
        GraphError: A path is unexpected, or a value is of another kind, structure, shape or dtype; the message lists
            all, and nothing is written.

    Example:
        >>> from brainstate_graph import State, update_states
        >>> model = {"k": State(3.0)}
        >>> update_states(model, {"k": 5.0})
        >>> model
        {'k': State(5.0)}
    """
    snap = snapshot(node)
    problems = Problems()
    new: dict[_Place, Given] = {}
    indices = plain_indices(snap.graphdef, trees[0]) if len(trees) == 1 else None
    if indices is not None:
        path, given = layout_of(trees[0]).path, values_of(trees[0])
    else:
        known, new = _matched(snap, trees, strict, allow_new, problems)
        indices, items = list(known), list(known.values())
        path, given = lambda i: items[i].path(), [item.value for item in items]
    chosen = [snap.states[index] for index in indices]
    values = _fitting(chosen, given, path, strict, problems)
    problems.refuse(
        "nothing was written, the state trees do not fit the graph: ",
        ". With `strict=False`, shapes and dtypes may change, and unexpected values are left out" * problems.mild,
    )
    # New states are attached before values are written, as a `__setattr__` may refuse and nothing is written then.
    with _all_or_nothing(place.holder for place in new):
        for place, given in new.items():
            place.attach(_state_of(given))
        assign_values(chosen, values)


def pop_states(node: Any, *filters: Filter) -> Any:
    """Take states out of a graph: remove them from every attribute and dict that holds them; all or none.

    Args:
        node: A Node, or a container of them.
        *filters: Which states, as for `states`; ``...`` for all.

    Returns:
        A FlattedDict from the path to the live State; a tuple of them for two filters or more. A state that was held
        in several places comes once, under the first path that leads to it.

    Raises:
        GraphError: A state is in a list, tuple or other container, from which none can be removed; the message lists
            all, and nothing is removed.
        ValueError: There is no filter, or a text selects no state.

    Example:
        >>> from brainstate_graph import State, pop_states
        >>> model = {"a": State(1.0, tag="old"), "b": State(2.0)}
        >>> pop_states(model, "old")
        FlattedDict({('a',): State(1.0, tag={'old'})})
        >>> model
        {'b': State(2.0)}
    """
    if not filters:
        raise ValueError(
            "pop_states needs a filter: `pop_states(node, ParamState)`, or `pop_states(node, ...)` for all"
        )
    snap = snapshot(node)
    groups = selected(snap, filters, exhaustive=False)
    _refuse_unknown(snap, filters, groups)
    going = {snap.graphdef.state_rows[i] for _, chosen in groups for i in chosen}
    places = _places_of(snap, going)
    with _all_or_nothing(place.holder for place in places):
        for place in places:
            place.detach()
    return live_states(snap, groups)


def _refuse_unknown(
    snap: Snapshot, filters: tuple[Filter, ...], groups: Sequence[tuple[Layout, Sequence[int]]]
) -> None:
    """Refuse a text that names nothing: it is a slip of the pen, where a class only asks what there is."""
    for given, (_, chosen) in zip(filters, groups, strict=True):
        if isinstance(given, str) and not chosen and not selected(snap, (given,), exhaustive=False)[0][1]:
            layout = snap.graphdef.layout
            there = some((dotted(layout.path(i)) for i in range(len(layout))), len(layout)) or "no state"
            raise ValueError(f"nothing was popped: {given!r} selects no state; the node has {there}")


@final
class _Place:
    """An attribute of a node, or a key of a dict."""

    __slots__ = ("holder", "key")

    def __init__(self, holder: Any, key: Any) -> None:
        self.holder = holder
        self.key = key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Place) and self.holder is other.holder and self.key == other.key

    def __hash__(self) -> int:
        return hash((id(self.holder), self.key))

    def attach(self, item: Any) -> None:
        foreign = foreign_type_of(type(self.holder))
        if isinstance(self.holder, Node):
            setattr(self.holder, self.key, item)
        elif foreign is not None:
            foreign.set_key(self.holder, self.key, item)
        else:
            self.holder[self.key] = item

    def detach(self) -> None:
        foreign = foreign_type_of(type(self.holder))
        if isinstance(self.holder, Node):
            delattr(self.holder, self.key)
        elif foreign is not None:
            foreign.pop_key(self.holder, self.key)
        else:
            del self.holder[self.key]


def _contents(holder: Any) -> dict[Any, Any]:
    foreign = foreign_type_of(type(holder))
    if foreign is not None:
        keys, held, _ = foreign.parts(holder)
        return dict(zip(keys, held, strict=True))
    return fields_of(holder) if isinstance(holder, Node) else holder


@contextmanager
def _all_or_nothing(holders: Iterable[Any]) -> Generator[None]:
    """Put back what the nodes and dicts hold if the block fails."""
    before = {id(holder): (holder, dict(_contents(holder))) for holder in holders}
    try:
        yield
    except BaseException:
        plain = [pair for pair in before.values() if foreign_type_of(type(pair[0])) is None]
        loops = [loop for holder, contents in plain for loop in filling(_contents(holder), contents)]
        at_once(*loops, stamping([holder for holder, _ in plain if isinstance(holder, Node)]))
        for holder, contents in before.values():
            _put_back(holder, contents)
        raise


def _put_back(holder: Any, contents: dict[Any, Any]) -> None:
    foreign = foreign_type_of(type(holder))
    if foreign is not None:
        foreign.clear(holder)
        for key, held in contents.items():
            foreign.set_key(holder, key, held)


def _places_of(snap: Snapshot, going: set[int]) -> list[_Place]:
    """Return every place that holds one of these rows.

    Raises:
        GraphError: One is held where nothing can be taken away.
    """
    shape = snap.graphdef
    places: list[_Place] = []
    problems = Problems()
    for number, row in enumerate(shape.rows):
        for key, edge in zip(row.keys, shape.edges(number), strict=True):
            if not isinstance(edge, int) or edge not in going:
                continue
            if row.kind in NODES or row.kind == "dict":
                places.append(_Place(snap.object_at(number), key))
            else:
                problems.note(partial(_held_at, shape, number, key), f"{{path}} is in a {row.type.__name__}")
    problems.refuse(
        "nothing was popped, because states can be taken out of attributes and dicts only: ",
        ". Hold them there, or make a new container without them, as in `model.items = [...]`",
    )
    return places


def _held_at(shape: GraphDef, row: int, key: Any) -> Path:
    return (*shape.path(row), key)


def _matched(
    snap: Snapshot, trees: Iterable[Any], strict: bool, allow_new: bool, problems: Problems
) -> tuple[dict[int, Given], dict[_Place, Given]]:
    """Return what is given for states by their indices, and for places that hold nothing yet."""
    known: dict[int, Given] = {}
    new: dict[_Place, Given] = {}
    lookup = EdgeLookup(snap.graphdef)
    for data in trees:
        mine: dict[int, Given] = {}
        for given in given_for(snap.graphdef, data):
            if given.state_index is None:
                place = _room_for(snap, lookup, given) if allow_new else None
                if place is not None and place in new:
                    first = dotted(new[place].path())
                    problems.note(given.path, f"given twice: {{path}} and {first} are one place")
                elif place is not None:
                    new[place] = given
                elif strict:
                    note_unexpected(problems, snap.graphdef, given)
            elif given.kind is not None and given.kind is not type(snap.states[given.state_index]):
                problems.note(given.path, wrong_kind(type(snap.states[given.state_index]), given.kind))
            elif given.state_index in mine:
                first = dotted(mine[given.state_index].path())
                problems.note(given.path, f"given twice: {{path}} and {first} are one state")
            else:
                mine[given.state_index] = given
        known |= mine
    return known, new


def _fitting(
    chosen: Sequence[State[Any]], given: Sequence[Any], path: Callable[[int], Path], strict: bool, problems: Problems
) -> list[Any]:
    """Return what to write to the chosen states."""
    values: list[Any] = []
    for i, (state, now, new) in enumerate(zip(chosen, read_values(chosen, record=False), given, strict=True)):
        kind = type(new)
        if kind not in _NUMBERS and (place := deleted_leaf(new)) is not None:
            problems.note(partial(path, i), f"deleted array: {{path}}{place} was donated to a compiled call")
            continue
        alike = kind is type(now) and kind in PLAIN
        if alike and (kind in _NUMBERS or (now.shape == new.shape and now.dtype == new.dtype)):
            values.append(new)  # as most do; what follows costs five times as much
            continue
        # Asked before anything is written; `assign_values` would ask too, in the middle.
        door.refuse_foreign(state, new)
        value, wrong, mild = fitted(now, new)
        for words in wrong if strict or not mild else ():
            problems.note(partial(path, i), words, mild)
        values.append(value)
    return values


def _room_for(snap: Snapshot, lookup: EdgeLookup, given: Given) -> _Place | None:
    """Return the place at which a state that the graph does not have can be attached, if there is one."""
    path = given.path()
    above = lookup.at(path[:-1])
    if not path or given.kind is None or not isinstance(above, int):
        return None
    kind = snap.graphdef.rows[above].kind
    place = _Place(snap.object_at(above), path[-1])
    if kind == "node" and (place.key in type(place.holder).graph_invisible_attrs or place.key == "__graph__"):
        return None  # the graph would not have it
    if kind in ("dict", "foreign") or (kind == "node" and isinstance(place.key, str)):
        return None if place.key in _contents(place.holder) else place
    return None


def _state_of(given: Given) -> State[Any]:
    """Return the live state that is given, or a new one."""
    if isinstance(given.item, State):
        return given.item
    if isinstance(given.item, TreefyState):
        return given.item.to_state()
    layout = cast(Layout, given.paths)  # a value by itself has a kind where it comes from a state tree
    spec = cast(StateSpec, layout.specs[given.number])
    return make_state(spec.kind, given.item, spec.meta)

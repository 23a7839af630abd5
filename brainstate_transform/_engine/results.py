"""Nodes in results, and changes of structure: JAX sees placeholders and data in their stead.

A node that a function returns comes back as itself if the caller could hold it already, and is made anew outside if it
was made inside.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax

from brainstate_graph import GraphDef, Overlay, Snapshot, State, StateArgumentError
from brainstate_graph.extend import (
    Renewal,
    born_after,
    filling,
    flatten,
    make_states,
    read_values,
    storing,
    unflatten,
    write_results,
)  # fmt: skip

from .._messages.source import name_of
from .placeholders import OBJECTS, Constant, Held, Known, Placeholder, Slot

if TYPE_CHECKING:
    from .touched import Inputs, TouchedGraph

__all__ = [
    "Carriage",
    "Made",
    "finished",
    "hold_known",
    "holds_nodes",
    "renewed_in_place",
    "seal_result",
    "unseal_result",
]


class Made:
    """The nodes made inside that a result holds: it stands for the first, a `Slot` for each other one.

    Attributes:
        values: The values of their states.
        shape: The shape of the list of them.
        known: What they refer to that was there before.
    """

    __slots__ = ("known", "shape", "values")

    def __init__(self, values: Any, shape: GraphDef, known: tuple[Any, ...]) -> None:
        self.values = values
        self.shape = shape
        self.known = known

    def __repr__(self) -> str:
        return f"<a new {self.shape.rows[1].type.__name__}>"


# Read and made by JAX without a call into Python: 0.5 microseconds of a call that makes nodes.
jax.tree_util.register_dataclass(Made, data_fields=["values"], meta_fields=["shape", "known"])


class Carriage(NamedTuple):
    """One change, as it crosses JAX.

    Attributes:
        row: The row of the node or container in the touched graph.
        name: The attribute; None for the whole contents of a list or dict.
        value: The new value; ABSENT where the attribute was deleted.
    """

    row: int
    name: str | None
    value: Any


class Edits(NamedTuple):
    """Changes of structure, without the values of states.

    Attributes:
        shape: The shape of the list of the nodes made inside, then of the new values.
        known: What they refer to that was there before.
        plain: Whether there is no placeholder in the result itself.
        places: For each new value the row and attribute that it is for.
    """

    shape: GraphDef
    known: tuple[Any, ...]
    plain: bool
    places: tuple[tuple[int, str | None], ...]


class Changed:
    """A result, and the changes of structure that come with it.

    One object with its values, as JAX makes it on every call: two take 0.4 microseconds more.

    Attributes:
        out: The result, with a `Slot` for each node made inside.
        values: The values of the states made inside.
        edits: The changes.
    """

    __slots__ = ("edits", "out", "values")

    def __init__(self, out: Any, values: Any, edits: Edits) -> None:
        self.out = out
        self.values = values
        self.edits = edits

    @property
    def made(self) -> Made:
        """The list of the nodes made inside, then of the new values."""
        return Made(self.values, self.edits.shape, self.edits.known)


jax.tree_util.register_dataclass(Changed, data_fields=["out", "values"], meta_fields=["edits"])


def seal_result(
    out: Any,
    overlay: Overlay,
    graph: TouchedGraph | None,
    user: Callable[..., Any],
    carried: Sequence[Carriage] = (),
) -> tuple[Any, bool]:
    """Put placeholders for the nodes in a result, while the overlay in which it was made is open.

    Args:
        out: What the user's function returned.
        overlay: The overlay that it ran in.
        graph: The touched graph whose rows stand for objects that the caller knows, where the program is of one.
        user: The user's function, for the error message.
        carried: The changes of structure that leave with the result.

    Returns:
        The result, its structure as it was, and whether it holds placeholders.
    """
    leaves = jax.tree.leaves(out)
    if not carried and not any([isinstance(leaf, OBJECTS) for leaf in leaves]):
        return out, False
    for path, leaf in jax.tree_util.tree_leaves_with_path(out):
        if isinstance(leaf, State) and not leaf.graph_as_argument:
            raise StateArgumentError(
                f"result{jax.tree_util.keystr(path)} of `{name_of(user)}` is a State, {leaf!r}. States are not "
                "returned from transformed functions: return its `.value`, or the Node that holds it."
            )

    def before(item: Any) -> Held | Known | None:
        if overlay.created(item) if isinstance(item, State) else born_after(item, overlay.since):
            return None
        row = None if graph is None else graph.row_of().get(id(item))
        return Held(item) if row is None else Known(row)

    known: list[Any] = []
    numbers: dict[int, int] = {}

    def number_of(item: Any) -> int | None:
        held = before(item)
        if held is not None and id(item) not in numbers:
            numbers[id(item)] = len(known)
            known.append(held)
        return numbers.get(id(item))

    made = list({id(x): x for x in leaves if isinstance(x, OBJECTS) and before(x) is None}.values())
    slots: dict[int, Any] = {id(node): Slot(i) for i, node in enumerate(made)}
    first: Any = None
    if made or carried:
        flat = flatten([*made, *(change.value for change in carried)], number_of)
        values = read_values([flat.objects[i] for i in flat.graphdef.state_rows])
        first = Made(values, flat.graphdef, tuple(known))

    def placeholder(leaf: Any) -> Any:
        nonlocal first
        if not isinstance(leaf, OBJECTS):
            return leaf
        if made and not carried and leaf is made[0] and first is not None:
            stand_in, first = first, None
            return stand_in
        return slots.get(id(leaf)) or before(leaf)

    out = jax.tree.map(placeholder, out)
    if not carried:
        return out, True
    edits = Edits(first.shape, first.known, not holds_nodes(out), tuple((c.row, c.name) for c in carried))
    return Changed(out, first.values, edits), True


def _stands_in(item: Any) -> bool:
    return isinstance(item, (Placeholder, Made, Changed)) and type(item) is not Constant


def holds_nodes(tree: Any) -> bool:
    """Tell whether sealed arguments, or a sealed result, have placeholders for nodes."""
    return any(map(_stands_in, jax.tree.leaves(tree, is_leaf=_stands_in)))


def unseal_result(out: Any, objects: Sequence[Any] = ()) -> tuple[Any, list[Iterable[Any]]]:
    """Put nodes for their placeholders, the caller's own or new ones.

    Args:
        out: A result of a transform.
        objects: The objects of the touched graph, by row.

    Returns:
        The result, and what stores the changes of structure that come with it, together with the values of states.
    """
    if type(out) is Changed:
        found: list[Any] = _unflattened(out.made, objects)
        places = out.edits.places
        changes = [(objects[r], name, new) for (r, name), new in zip(places, found[-len(places) :], strict=True)]
        loops = storing([(item, name, value) for item, name, value in changes if name is not None])
        loops += [loop for item, name, value in changes if name is None for loop in filling(item, value)]
        return out.out if out.edits.plain else _with_nodes(out.out, found, objects), loops
    leaves = jax.tree.leaves(out, is_leaf=_stands_in)
    if any(map(_stands_in, leaves)):
        out = _with_nodes(out, next((_unflattened(m, objects) for m in leaves if isinstance(m, Made)), ()), objects)
    return out, []


def finished(out: Any, inputs: Inputs) -> tuple[Any, list[Iterable[Any]], Callable[[], None] | None]:
    """Put nodes for the placeholders in the result of a call.

    Args:
        out: The result.
        inputs: The states that were passed.

    Returns:
        As of `unseal_result`; and what brings the inputs up to date when it is stored, where the call has only made
        states anew.
    """
    graph = inputs.graph
    if type(out) is Changed and not graph.strays:
        edits, renewal = graph.renewal
        if edits is not out.edits:
            renewal = _renewal_of(out.edits, graph.snapshot)
            graph.renewal = out.edits, renewal
        if renewal is not None and (since := renewal.begin()) is not None:
            states = renewal.new_states(out.values)
            result = out.out if out.edits.plain else _with_nodes(out.out, (), graph.objects)
            return result, renewal.storing(states), functools.partial(inputs.renewed, renewal, states, since)
    return *unseal_result(out, graph.objects), None


def renewed_in_place(out: Any, inputs: Inputs, values: Sequence[Any]) -> bool:
    """Write the results of a call that makes the same states anew at each call; tell whether that was possible.

    Args:
        out: The result, of the last outcome.
        inputs: The states that were passed.
        values: The values of the states that were written.
    """
    edits, renewal = inputs.graph.renewal
    return (
        type(out) is Changed
        and edits is out.edits
        and edits.plain
        and renewal is not None
        and inputs.write_results is write_results
        and renewal.again(out.values, inputs.last[1], values)
    )


def _renewal_of(edits: Edits, snapshot: Snapshot) -> Renewal | None:
    """Return where a result puts states, if that is all that it changes in a graph."""
    kinds, targets = _states_alone(edits.shape), edits.shape.targets
    if kinds is None or len(edits.places) != len(kinds) or targets != tuple(range(1, len(kinds) + 1)):
        return None
    return Renewal.of(snapshot, edits.places, kinds)


def _states_of(made: Made) -> list[State[Any]]:
    """Return new states for a list of states and no more."""
    kinds = _states_alone(made.shape) or ()
    states = make_states(kinds, [()] * len(kinds), made.values)
    return [states[target - 1] for target in made.shape.targets]


def _own(item: Placeholder, objects: Sequence[Any]) -> Any:
    return objects[item.item] if isinstance(item, Known) else item.item


def _unflattened(made: Made, objects: Sequence[Any]) -> Any:
    if _states_alone(made.shape) is not None:  # 4 of 6 microseconds less
        return _states_of(made)
    return unflatten(made.shape, made.values, [_own(k, objects) for k in made.known])[0]


def _states_alone(shape: GraphDef) -> list[type[State[Any]]] | None:
    """Return the classes of the states in a list of states and no more, as `init_all_states` makes them; else None."""
    memo = shape.memo
    if _states_alone not in memo:
        first, *others = shape.rows
        alone = len(first.keys) == len(first.visits) and all(r.kind == "state" and not r.extra for r in others)
        memo[_states_alone] = [row.type for row in others] if alone else None
    found: list[type[State[Any]]] | None = memo[_states_alone]
    return found


def _with_nodes(out: Any, nodes: Sequence[Any], objects: Sequence[Any]) -> Any:
    def node(item: Any) -> Any:
        if isinstance(item, Made):
            return nodes[0]
        if isinstance(item, Slot):
            return nodes[item.item]
        return _own(item, objects) if isinstance(item, Placeholder) else item

    return jax.tree.map(node, out, is_leaf=_stands_in)


def hold_known(out: Any, objects: Sequence[Any]) -> Any:
    """Turn rows of one touched graph into the objects themselves, where another one goes on."""

    def held(item: Any) -> Any:
        if isinstance(item, Changed):
            known = tuple(map(held, item.edits.known))
            return Changed(hold_known(item.out, objects), item.values, item.edits._replace(known=known))
        if isinstance(item, Made):
            return Made(item.values, item.shape, tuple(held(k) for k in item.known))
        return Held(objects[item.item]) if isinstance(item, Known) else item

    return jax.tree.map(held, out, is_leaf=_stands_in)

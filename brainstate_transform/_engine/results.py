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
from .placeholders import ARRAYS, OBJECTS, Constant, Held, Known, Placeholder, Slot

if TYPE_CHECKING:
    from .touched import Inputs, TouchedGraph
    from .values import Written

__all__ = ["Carriage", "Made", "finished", "hold_known", "holds_nodes", "seal_result", "unseal_result"]


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


class Changed:
    """A result, and the changes of structure that come with it.

    Attributes:
        out: The result, with a `Slot` for each node made inside.
        made: The list of these nodes, then of the new values.
        edits: For each new value the row and attribute that it is for.
    """

    __slots__ = ("edits", "made", "out")

    def __init__(self, out: Any, made: Made, edits: tuple[tuple[int, str | None], ...]) -> None:
        self.out = out
        self.made = made
        self.edits = edits


jax.tree_util.register_dataclass(Changed, data_fields=["out", "made"], meta_fields=["edits"])


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
    return (Changed(out, first, tuple((c.row, c.name) for c in carried)) if carried else out), True


def _stands_in(item: Any) -> bool:
    return isinstance(item, (Placeholder, Made)) and type(item) is not Constant


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
        changes = [(objects[r], name, new) for (r, name), new in zip(out.edits, found[-len(out.edits) :], strict=True)]
        loops = storing([(item, name, value) for item, name, value in changes if name is not None])
        loops += [loop for item, name, value in changes if name is None for loop in filling(item, value)]
        return out.out if isinstance(out.out, ARRAYS) else _with_nodes(out.out, found, objects), loops
    leaves = jax.tree.leaves(out, is_leaf=_stands_in)
    if any(map(_stands_in, leaves)):
        out = _with_nodes(out, next((_unflattened(m, objects) for m in leaves if isinstance(m, Made)), ()), objects)
    return out, []


def finished(
    out: Any, inputs: Inputs, written: Written
) -> tuple[Any, list[Iterable[Any]] | None, Callable[[], None] | None]:
    """Put nodes for the placeholders in the result of a call.

    Args:
        out: The result.
        inputs: The states that were passed.
        written: What the call has written.

    Returns:
        As of `unseal_result`, or None for what stores if all is stored already; and what brings the inputs up to date
        when it is stored, where the call has only made states anew.
    """
    graph = inputs.graph
    if type(out) is Changed and not graph.strays:
        made = out.made
        edits, shape, renewal = graph.renewal
        if edits is not out.edits or shape is not made.shape:
            renewal = _renewal_of(out, graph.snapshot)
            graph.renewal = out.edits, made.shape, renewal
        if renewal is not None:
            result = out.out if isinstance(out.out, ARRAYS) else _with_nodes(out.out, (), graph.objects)
            values = [made.values[target - 1] for target in made.shape.targets]
            outcome, others, _ = inputs.last
            if (
                outcome is written.outcome
                and inputs.write_results is write_results
                and renewal.again(values, others, written.values)
            ):
                return result, None, None
            if (since := renewal.begin()) is not None:
                states = renewal.new_states(values)
                return result, renewal.storing(states), functools.partial(inputs.renewed, renewal, states, since)
    return *unseal_result(out, graph.objects), None


def _renewal_of(out: Changed, snapshot: Snapshot) -> Renewal | None:
    """Return where a result puts states, if that is all that it changes in a graph."""
    kinds, targets = _states_alone(out.made.shape), out.made.shape.targets
    if kinds is None or len(out.edits) != len(targets):
        return None
    return Renewal.of(snapshot, out.edits, [kinds[target - 1] for target in targets])


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
        if isinstance(item, Made):
            return Made(item.values, item.shape, tuple(held(k) for k in item.known))
        return Held(objects[item.item]) if isinstance(item, Known) else item

    return jax.tree.map(held, out, is_leaf=_stands_in)

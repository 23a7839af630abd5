"""The way back: from a GraphDef and values to objects.

What to do for a shape is worked out once, as a *plan* that is kept with it; then states and nodes are made kind by
kind, and alike nodes are filled attribute by attribute, in loops that run in C.
"""

from __future__ import annotations

import gc
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import repeat
from operator import setitem
from typing import Any

import jax

from .._tools.words import dotted
from .clock import fill_nodes, for_all, new_nodes
from .door import note_checked
from .errors import GraphError
from .foreign import foreign_of
from .graphdef import GraphDef, Row
from .state import make_states

__all__ = ["build", "unflatten"]


class _Plan:
    """In which order the objects of a shape are made, and where in the *pool* of those made each child is found."""

    __slots__ = ("alike", "containers", "foreign", "kinds", "known", "metas", "node_kinds", "of_row")

    def __init__(self, graphdef: GraphDef) -> None:
        if graphdef.in_itself is not None:
            raise GraphError(f"at {dotted(graphdef.path(graphdef.in_itself))}: a container holds itself")
        rows = graphdef.rows
        nodes: dict[Row, list[int]] = {}
        others: dict[str, list[int]] = {"known": [], "foreign": []}
        for number, row in enumerate(rows):
            if row.kind == "node":
                nodes.setdefault(row, []).append(number)
            elif row.kind in others:
                others[row.kind].append(number)
        groups = list(nodes.items())
        order = [*graphdef.state_rows, *(n for _, numbers in groups for n in numbers), *others["known"]]
        order += [*others["foreign"], *graphdef.containers]
        self.of_row = [0] * len(rows)  # for each row its place in the pool
        for place, number in enumerate(order):
            self.of_row[number] = place
        self.kinds = [rows[i].type for i in graphdef.state_rows]
        self.metas = [rows[i].extra for i in graphdef.state_rows]
        for meta in filter(None, self.metas):
            note_checked(meta)
        self.node_kinds = [row.type for row, numbers in groups for _ in numbers]
        self.alike = [(row, self._columns(graphdef, row, numbers), len(numbers)) for row, numbers in groups]
        self.known = [rows[i].extra for i in others["known"]]
        self.foreign = [(rows[i], self._children(graphdef, i)) for i in others["foreign"]]
        self.containers = [(rows[i], self._children(graphdef, i)) for i in graphdef.containers]

    def _children(self, graphdef: GraphDef, number: int) -> list[int]:
        return [self.of_row[t] for t in graphdef.targets[graphdef.starts[number] : graphdef.starts[number + 1]]]

    def _columns(self, graphdef: GraphDef, row: Row, numbers: Sequence[int]) -> list[list[int]]:
        """For each edge of alike nodes, where in the pool the child of each of them is."""
        starts, targets, of_row = graphdef.starts, graphdef.targets, self.of_row
        firsts = [starts[n] for n in numbers]
        return [[of_row[targets[first + edge]] for first in firsts] for edge in range(len(row.visits))]


def _plan(graphdef: GraphDef) -> _Plan:
    plan: _Plan | None = graphdef.memo.get(_Plan)
    if plan is None:
        plan = graphdef.memo[_Plan] = _Plan(graphdef)
    return plan


def unflatten(graphdef: GraphDef, values: Sequence[Any], known: Sequence[Any] = ()) -> tuple[Any, list[Any]]:
    """Put a graph together.

    Args:
        graphdef: Its shape.
        values: The value of each state, in the order of ``graphdef.state_rows``.
        known: The objects that the shape names by number.

    Returns:
        The root, and the new live object of each row.

    Example:
        >>> from brainstate_graph import State, graphdef, unflatten
        >>> root, _ = unflatten(graphdef({"k": State(3.0)}), [4.0])
        >>> root
        {'k': State(4.0)}
    """
    if not isinstance(graphdef.root, int):
        return graphdef.root.fresh(), []
    plan = _plan(graphdef)
    pool = _pool(plan, values, known)
    made = [pool[place] for place in plan.of_row]
    return made[graphdef.root], made


def build(graphdef: GraphDef, values: Sequence[Any], known: Sequence[Any] = ()) -> Any:
    """Put a graph together and return its root."""
    if not isinstance(graphdef.root, int):
        return graphdef.root.fresh()
    plan = _plan(graphdef)
    return _pool(plan, values, known)[plan.of_row[graphdef.root]]


@contextmanager
def _no_collection(count: int) -> Generator[None]:
    """Hold the garbage collector while many objects are made that all stay: it would look at all of them, many times.

    With 100,000 states it takes longer than the work itself.
    """
    pause = count > 10_000 and gc.isenabled()
    if pause:
        gc.disable()
    try:
        yield
    finally:
        if pause:
            gc.enable()


def _pool(plan: _Plan, values: Sequence[Any], known: Sequence[Any]) -> list[Any]:
    with _no_collection(len(plan.of_row)):
        return _made(plan, values, known)


def _made(plan: _Plan, values: Sequence[Any], known: Sequence[Any]) -> list[Any]:
    pool: list[Any] = make_states(plan.kinds, plan.metas, values)
    first = len(pool)
    pool += new_nodes(plan.node_kinds)
    pool += [known[number] for number in plan.known]
    empty = len(pool)
    pool += [_foreign(row) for row, _ in plan.foreign]
    for row, children in plan.containers:  # from the inside out
        pool.append(_container(row, _held(row, [pool[i] for i in children])))
    for row, columns, count in plan.alike:
        fill_nodes(pool[first : first + count], _attributes(row, columns, count, pool))
        first += count
    for number, (row, children) in enumerate(plan.foreign, empty):
        _fill_foreign(pool[number], row, [pool[i] for i in children])
    return pool


def _attributes(row: Row, columns: Sequence[Sequence[int]], count: int, pool: list[Any]) -> list[dict[str, Any]]:
    """The attribute dictionaries of alike nodes."""
    constant = {k: const and const.value for k, const in zip(row.keys, row.consts, strict=True)}
    fields = [constant.copy() for _ in range(count)]
    for name, column in zip(row.edge_keys, columns, strict=True):
        for_all(map(setitem, fields, repeat(name), map(pool.__getitem__, column)))
    for name, const in zip(row.keys, row.consts, strict=True):
        if const is not None and not const.frozen:
            for_all(map(setitem, fields, repeat(name), [const.fresh() for _ in range(count)]))
    return fields


def _held(row: Row, children: list[Any]) -> list[Any]:
    """What a container holds, in the order of its keys."""
    if len(children) == len(row.keys) and row.kind in ("list", "tuple"):
        return children
    held: list[Any] = [const and const.fresh() for const in row.consts]
    for place, child in zip(row.visits, children, strict=True):
        held[place] = child
    return held


def _container(row: Row, held: list[Any]) -> Any:
    if row.kind == "list":
        return held
    if row.kind == "tuple":
        return tuple(held)
    if row.kind == "namedtuple":
        return row.type._make(held)
    if row.kind == "dict":
        made = row.type(*row.extra)
        made.update(zip(row.keys, held, strict=True))
        return made
    return jax.tree.unflatten(row.extra, held)


def _foreign(row: Row) -> Any:
    foreign = foreign_of(row.type)
    if foreign is None:
        raise GraphError(
            f"the class {row.type.__name__} is not known here: `register_graph_node_type({row.type.__name__}, ...)`"
        )
    return foreign.create(row.type, row.extra)


def _fill_foreign(node: Any, row: Row, children: list[Any]) -> None:
    foreign = foreign_of(row.type)
    if foreign is not None:
        for key, child in zip(row.keys, _held(row, children), strict=True):
            foreign.set_key(node, key, child)

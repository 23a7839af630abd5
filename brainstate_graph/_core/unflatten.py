"""The way back: from a GraphDef and values to objects.

*Pool*: all objects of the graph in the order in which they are made: states, nodes, objects that the caller holds,
foreign nodes, containers from the inside out.  Nodes are made empty and filled in the end, as they may lead back.
*Assembly*: that order, and where in the pool each object finds what it holds; worked out once for a shape, and kept
with it.  States and nodes are then made kind by kind, and alike nodes are filled attribute by attribute, in loops that
run in C.
"""

from __future__ import annotations

import gc
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import repeat
from operator import setitem
from typing import Any, final

import jax

from .._records.clock import fill_nodes, new_nodes
from .._tools.at_once import for_all
from .._tools.words import dotted
from .errors import GraphError
from .foreign import foreign_type_of
from .graphdef import GraphDef, Row
from .state import make_states
from .values import note_checked

__all__ = ["build", "unflatten"]


@final
class _Assembly:
    """How the objects of a shape are put together.

    Attributes:
        indices: For each row the index of its object in the pool.
        kinds: The classes of the states.
        metas: Their metadata.
        node_kinds: The classes of the nodes.
        alike: The nodes by row: the row, for each of its edges the indices of the children, and how many they are.
        known: The numbers of the objects that the caller holds.
        foreign: The rows of foreign nodes, each with the indices of its children.
        containers: The same of containers.
    """

    __slots__ = ("alike", "containers", "foreign", "indices", "kinds", "known", "metas", "node_kinds")

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
        self.indices = [0] * len(rows)
        for index, number in enumerate(order):
            self.indices[number] = index
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
        return [self.indices[t] for t in graphdef.targets[graphdef.starts[number] : graphdef.starts[number + 1]]]

    def _columns(self, graphdef: GraphDef, row: Row, numbers: Sequence[int]) -> list[list[int]]:
        """For each edge of alike nodes the index of the child of each of them."""
        starts, targets, indices = graphdef.starts, graphdef.targets, self.indices
        firsts = [starts[n] for n in numbers]
        return [[indices[targets[first + edge]] for first in firsts] for edge in range(len(row.visits))]


def _assembly_of(graphdef: GraphDef) -> _Assembly:
    assembly: _Assembly | None = graphdef.memo.get(_Assembly)
    if assembly is None:
        assembly = graphdef.memo[_Assembly] = _Assembly(graphdef)
    return assembly


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
    assembly = _assembly_of(graphdef)
    pool = _pool(assembly, values, known)
    made = [pool[index] for index in assembly.indices]
    return made[graphdef.root], made


def build(graphdef: GraphDef, values: Sequence[Any], known: Sequence[Any] = ()) -> Any:
    """Put a graph together and return its root."""
    if not isinstance(graphdef.root, int):
        return graphdef.root.fresh()
    assembly = _assembly_of(graphdef)
    return _pool(assembly, values, known)[assembly.indices[graphdef.root]]


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


def _pool(assembly: _Assembly, values: Sequence[Any], known: Sequence[Any]) -> list[Any]:
    with _no_collection(len(assembly.indices)):
        return _filled_pool(assembly, values, known)


def _filled_pool(assembly: _Assembly, values: Sequence[Any], known: Sequence[Any]) -> list[Any]:
    # In the order of `_Assembly`: states need nothing, containers hold what is there by then, nodes are filled last.
    pool: list[Any] = make_states(assembly.kinds, assembly.metas, values)
    first = len(pool)
    pool += new_nodes(assembly.node_kinds)
    pool += [known[number] for number in assembly.known]
    empty = len(pool)
    pool += [_empty_foreign(row) for row, _ in assembly.foreign]
    for row, children in assembly.containers:  # from the inside out
        pool.append(_container(row, _contents(row, [pool[i] for i in children])))
    for row, columns, count in assembly.alike:
        fill_nodes(pool[first : first + count], _attributes(row, columns, count, pool))
        first += count
    for number, (row, children) in enumerate(assembly.foreign, empty):
        _fill_foreign(pool[number], row, [pool[i] for i in children])
    return pool


def _attributes(row: Row, columns: Sequence[Sequence[int]], count: int, pool: list[Any]) -> list[dict[str, Any]]:
    """Return the attribute dictionaries of alike nodes."""
    # One dictionary with all keys in their order is copied for each node; values that can change are made anew.
    constant = {k: None if const is None else const.value for k, const in zip(row.keys, row.consts, strict=True)}
    fields = [constant.copy() for _ in range(count)]
    for name, column in zip(row.edge_keys, columns, strict=True):
        for_all(map(setitem, fields, repeat(name), map(pool.__getitem__, column)))
    for name, const in zip(row.keys, row.consts, strict=True):
        if const is not None and not const.frozen:
            for_all(map(setitem, fields, repeat(name), [const.fresh() for _ in range(count)]))
    return fields


def _contents(row: Row, children: list[Any]) -> list[Any]:
    """Return what a container holds, children and static values, in the order of its keys."""
    if len(children) == len(row.keys) and row.kind in ("list", "tuple"):
        return children
    contents: list[Any] = [None if const is None else const.fresh() for const in row.consts]
    for position, child in zip(row.visits, children, strict=True):
        contents[position] = child
    return contents


def _container(row: Row, contents: list[Any]) -> Any:
    if row.kind == "list":
        return contents
    if row.kind == "tuple":
        return tuple(contents)
    if row.kind == "namedtuple":
        return row.type._make(contents)
    if row.kind == "dict":
        made = row.type(*row.extra)
        made.update(zip(row.keys, contents, strict=True))
        return made
    return jax.tree.unflatten(row.extra, contents)


def _empty_foreign(row: Row) -> Any:
    foreign = foreign_type_of(row.type)
    if foreign is None:
        raise GraphError(
            f"the class {row.type.__name__} is not known here: `register_graph_node_type({row.type.__name__}, ...)`"
        )
    return foreign.create(row.type, row.extra)


def _fill_foreign(node: Any, row: Row, children: list[Any]) -> None:
    foreign = foreign_type_of(row.type)
    if foreign is not None:
        for key, child in zip(row.keys, _contents(row, children), strict=True):
            foreign.set_key(node, key, child)

"""Paths in a model: spelled as dotted names, and the orders in which what they lead to is gone through.

A path is the tuple of attributes, keys and indices that leads from the root to a node, a state, or one array inside the
value of a state. Its dotted name, ``layers.0.weight``, is what checkpoints, rules and messages use. What a model holds
in several places has several paths: the one where it is met first, and its *aliases*.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import jax

from brainstate_graph import Any as AnyOf
from brainstate_graph import (
    Filter,
    FlattedDict,
    GraphDef,
    GraphError,
    Named,
    NestedDict,
    Snapshot,
    State,
    graphdef,
    states,
)
from brainstate_graph.extend import definition_order, fields_of, some

__all__ = [
    "Path",
    "StateArrays",
    "alias_paths",
    "defined",
    "dotted_name",
    "dotted_names",
    "first_paths",
    "from_below",
    "leaf_paths",
    "refuse_nothing",
    "state_arrays",
]

T = TypeVar("T")

Path = tuple[Any, ...]


# --------------------------------------------------------------------------------------------------------------- names


def dotted_name(path: Path) -> str:
    """Spell a path as ``layers.0.weight``; that of the root is empty."""
    return ".".join(map(str, path))


def dotted_names(paths: Sequence[Path]) -> list[str]:
    """Spell each path as `dotted_name` does.

    Raises:
        GraphError: Two paths have one name, such as ``("a", 1)``, ``("a", "1")`` and ``("a.1",)``.
    """
    found: dict[str, Path] = {}
    for path in paths:
        name = dotted_name(path)
        if name in found:
            raise GraphError(
                f"the paths {found[name]!r} and {path!r} would both be named {name!r}: rename one attribute or key"
            )
        found[name] = path
    return list(found)


# -------------------------------------------------------------------------------------------------------------- arrays


class StateArrays(NamedTuple):
    """The arrays of one state of a model, by all names under which they can be found.

    Attributes:
        path: Where the state is met first.
        aliases: Its other paths, where the model holds it in several places.
        state: The live state.
        paths: For each array the path that leads to it through `path`.
        names: The same as dotted names, which no other array of the model has.
        leaves: The arrays.
        treedef: The tree that puts them together.
    """

    path: Path
    aliases: list[Path]
    state: State[Any]
    paths: list[Path]
    names: list[str]
    leaves: list[Any]
    treedef: Any

    def alias_paths(self, index: int) -> list[Path]:
        """Return the other paths of the array with this index."""
        inside = self.paths[index][len(self.path) :]
        return [(*alias, *inside) for alias in self.aliases]


def state_arrays(node: Any, filters: Sequence[Filter] = ()) -> list[StateArrays]:
    """Return the arrays of all states that a model holds, or of those that a filter accepts.

    Raises:
        GraphError: Two arrays have one name.
    """
    aliases: dict[Path, list[Path]] = {}
    first_of: dict[Any, Path] = first_paths(node)
    for alias, first in first_of.items():
        aliases.setdefault(first, []).append(alias)
    found = states(node, *((AnyOf(*filters),) if filters else ()))
    named = [(first_of.get(path) or path, state) for path, state in found.items()]
    parts = [(path, state, *leaf_paths(path, state.value)) for path, state in named]
    names = iter(dotted_names([path for _, _, paths, _, _ in parts for path in paths]))
    return [
        StateArrays(path, aliases.get(path, []), state, paths, [next(names) for _ in paths], leaves, treedef)
        for path, state, paths, leaves, treedef in parts
    ]


def refuse_nothing(node: Any, filters: Sequence[Filter], verb: str) -> None:
    """Refuse filters that select no state of a model or state tree, for a verb that writes what they name.

    A text alone must name some, which is a slip of the pen otherwise; of classes there may be no state.

    Raises:
        GraphError: They select none; the message lists what there is.
    """
    there = node.to_flat() if isinstance(node, (NestedDict, FlattedDict)) else states(node)
    if not there:
        raise GraphError(f"{verb}: {type(node).__name__} holds no state")
    texts = [given for given in filters if isinstance(given, (str, Named)) and not there.filter(given)]
    if texts or (filters and not there.filter(AnyOf(*filters))):
        given = ", ".join(map(repr, texts or filters))
        names = some(map(dotted_name, there), len(there))
        raise GraphError(f"{verb}: {given} selects no state of {type(node).__name__}; its states are {names}")


def leaf_paths(path: Path, value: Any) -> tuple[list[Path], list[Any], Any]:
    """Take the value at a path apart: for each array a path, the arrays, and the tree to put them together."""
    pairs, treedef = jax.tree_util.tree_flatten_with_path(value)
    return [(*path, *map(_key_of, keys)) for keys, _ in pairs], [leaf for _, leaf in pairs], treedef


def _key_of(entry: Any) -> Any:
    # JAX has a class for each kind of key, and a fourth attribute, `key`, for both dicts and custom nodes
    for attribute in ("name", "key", "idx"):
        if hasattr(entry, attribute):
            return getattr(entry, attribute)
    return str(entry)


def alias_paths(shape: GraphDef) -> dict[Path, Path]:
    """Return the other paths of what is in several places: for each the path where the state is met first.

    Not those that lead through the root or another object above themselves, of which there is no end.
    """
    # Kept beside the GraphDef, which is one object for all models of this structure.
    found: dict[Path, Path] | None = shape.memo.get("aliases")
    if found is None:
        found = shape.memo["aliases"] = {}
        # A tree, in which nothing is shared, has one edge less than objects: most models, and no more is asked of them.
        if len(shape.targets) >= len(shape.rows):
            state_paths = [shape.path(row) for row in shape.state_rows]
            for owner, row in enumerate(shape.rows):
                for edge, key in enumerate(row.edge_keys, shape.starts[owner]):
                    first, other = shape.path(shape.targets[edge]), (*shape.path(owner), key)
                    # Each edge but the one by which an object is met first makes another path, for it and for all
                    # states below it. A path that begins with the first one leads around in a circle.
                    if other != first and other[: len(first)] != first:
                        below = [path for path in state_paths if path[: len(first)] == first]
                        found.update({(*other, *path[len(first) :]): path for path in below})
    return found


def first_paths(node: Any) -> dict[Path, Path]:
    """Return for each other path of a state the one that is met first in the order in which the model was defined.

    A walk goes through attributes and dicts sorted, since equal models are to have one GraphDef. A file is named by the
    order of the user: ``{"net": net, "ema": ema}`` has the weights under `net`.
    """
    sorted_first = alias_paths(graphdef(node))
    if not sorted_first:
        return {}
    defined = _defined_paths(Snapshot(node))
    names: dict[Path, list[Path]] = {}
    for other, first in sorted_first.items():
        names.setdefault(first, [first]).append(other)
    return {path: defined[first] for first, paths in names.items() for path in paths if path != defined[first]}


def _defined_paths(snap: Snapshot) -> dict[Path, Path]:
    """Return for the path of each state by a sorted walk that by a walk in the order of definition."""
    shape, found = snap.graphdef, _in_order_of_definition(snap)
    return {shape.path(row): found[row] for row in shape.state_rows}


def defined(node: Any, kind: type[T], nearest: bool = False) -> Iterator[tuple[Path, T]]:
    """Iterate over the objects of a class in the order in which a model is defined, each before those below it.

    Args:
        node: The model, a node or a container of them.
        kind: The class.
        nearest: Whether to leave out the model itself, and what is below one of the objects found.
    """
    snap = Snapshot(node)
    for row, path in _in_order_of_definition(snap, kind if nearest else None).items():
        found = snap.object_at(row)
        if isinstance(found, kind) and (row or not nearest):
            yield path, found


def _in_order_of_definition(snap: Snapshot, within: type[Any] | None = None) -> dict[int, Path]:
    """Return the rows of a graph in the order in which it is defined, each with the path where it is met first.

    What is below an object of the class `within`, other than the root, is not looked at.
    """
    shape = snap.graphdef
    found: dict[int, Path] = {}
    stack: list[tuple[int, Path]] = [(0, ())]
    while stack:
        number, path = stack.pop()
        if number in found:
            continue
        found[number] = path
        live = snap.object_at(number)
        if number and within is not None and isinstance(live, within):
            continue
        row, edges = shape.rows[number], shape.edges(number)
        order = _order(row.kind, live)
        visits = sorted(row.visits, key=lambda i: order.get(row.keys[i], i))
        # In reverse, since the last one that is put on the stack is looked at first.
        stack.extend((edges[i], (*path, row.keys[i])) for i in reversed(visits))  # type: ignore[misc]
    return found


def _order(kind: str, live: Any) -> dict[Any, int]:
    """Return the place of each attribute or key: as the class sets them, then as the object has them."""
    if kind == "dict":
        return {key: i for i, key in enumerate(live)}
    if kind != "node":
        return {}
    by_class = definition_order(type(live))
    keys = sorted(fields_of(live), key=lambda key: by_class.get(key, len(by_class)))
    return {key: i for i, key in enumerate(keys)}


# -------------------------------------------------------------------------------------------------------------- orders


def from_below(parts: Iterable[tuple[Path, T]]) -> Iterator[tuple[Path, T]]:
    """Turn the order in which `nodes` and `states` list parts around, so that each comes after those below it."""
    above: list[tuple[Path, T]] = []
    for path, part in parts:
        while above and path[: len(above[-1][0])] != above[-1][0]:
            yield above.pop()
        above.append((path, part))
    yield from reversed(above)

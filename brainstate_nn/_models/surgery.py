"""Model surgery: ``get_at`` finds a part by its path, ``rewrite`` puts other parts in the place of chosen ones.

It changes modules and states themselves. Other values in the same states are the business of `from_flat_dict` and
`update_states`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from brainstate_graph import Filter, GraphError, Named, Node, PathGlob, Snapshot, State, nodes, states, to_predicate
from brainstate_graph.extend import dotted, fields_of, put_field

from .._core.module import Module
from .._core.paths import Path, dotted_names, from_below
from .._core.undo import all_or_nothing
from .part_lanes import PartLanes

__all__ = ["get_at", "modules_at", "parts_at", "replace_parts", "rewrite"]


def get_at(node: Any, path: str | tuple[Any, ...], /) -> Any:
    """Return what a model holds at a path: a module, a state, a list, or a plain value.

    Args:
        node: A module, or a container of them.
        path: The dotted path, as in ``"layers.0.weight"``; ``""`` for the node itself. Or a tuple, as trees have it.

    Raises:
        TypeError: The path is not a text.
        KeyError: There is nothing; the message lists the paths that are most like it.

    Example:
        >>> from brainstate_nn import Linear, Sequential, get_at
        >>> net = Sequential(Linear(2, 3))
        >>> get_at(net, "layers.0") is net.layers[0], get_at(net, "layers.0.bias") is net.layers[0].bias
        (True, True)
    """
    if not isinstance(path, str):
        text = dotted(path) if isinstance(path, tuple) else "layers.0"
        raise TypeError(f"path must be dotted text, not {path!r}: write `get_at(model, {text!r})`")
    found = node
    path = path if isinstance(path, str) else ".".join(map(str, path))
    for step in path.split(".") if path else ():
        matching = [item for key, item in _parts_of(found) if str(key) == step]
        if not matching:
            raise KeyError(f"there is nothing at {path!r} in {type(node).__name__}" + _nearest(path, _paths_in(node)))
        found = matching[0]
    return found


def rewrite(node: Any, where: Filter, fn: Callable[[Any], Any], /) -> dict[str, Any]:
    """Replace parts of a model by others, each in every place that holds it; all of them or, after an error, none.

    A part that is held in several places is given to `fn` once, and stays shared. What is below a chosen part is
    rewritten before it, so that `fn` sees it with its new parts. `node` itself is not replaced.

    Inside of a Stack or an ensemble `fn` is run as by `vmap`: what it sees is one layer or member, what it makes is
    made for each of them, and random numbers differ.

    Args:
        node: A module, or a container of them.
        where: Which nodes and states: a path or glob, as ``"layers.*.attention"``, or a tag; a class; a function that
            is given the path where a part is met first, a tuple, and the part; or another filter.
        fn: Given a part, returns what to put in its place: a State for a State, else a module or a function. It may
            hold the old part, or be the old part itself, which is then left.

    Returns:
        The new parts, by the dotted paths of the old ones.

    Raises:
        ValueError: `where` chooses nothing; the message lists what is most like it. Or what is put into a Stack holds a
            state that was there before and is none of the layers'.
        TypeError: `fn` returns something else, such as None.

    Example:
        >>> from brainstate_nn import Dropout, Linear, Sequential, rewrite
        >>> net = Sequential(Linear(2, 3), Dropout(0.5), Linear(3, 1))
        >>> rewrite(net, Dropout, lambda drop: Dropout(0.1, rng=drop.rng))["layers.1"].rate
        0.1
        >>> list(rewrite(net, "layers.[02]", lambda linear: Sequential(linear)))
        ['layers.0', 'layers.2']
        >>> net.layers[2].layers[0].out_size
        1
    """
    lanes = PartLanes(node)

    def fn_in_lanes(old: Any, path: Path) -> Any:
        new = _New()

        def make() -> _New:
            new.part = fn(old)
            _check_replacement(old, new.part, dotted(path))
            return new

        return lanes.run(make, old, path).part

    return replace_parts(node, where, fn_in_lanes)


class _New(Node):
    """Holds a new part, which may be a state: so `vmap` finds what is made in its lanes."""

    part: Any = None


def replace_parts(node: Any, where: Filter, fn: Callable[[Any, Path], Any]) -> dict[str, Any]:
    """Replace parts of a model as `rewrite` does, but with `fn` given the part of all lanes at once, and its path."""
    with all_or_nothing(node) as snap:
        holders = _Holders(snap)
        if isinstance(where, str):
            at = set(map(id, parts_at(node, where)))
            rows = [row for _, row in from_below(holders.parts()) if id(snap.objects[row]) in at]
        else:
            chosen = to_predicate(where)
            rows = [row for path, row in from_below(holders.parts()) if chosen(path, snap.objects[row])]
        if not rows:
            raise ValueError(f"{where!r} chooses no node or state of {type(node).__name__}" + _advice(where, node))
        for row in rows:
            old, path = snap.objects[row], snap.graphdef.path(row)
            new = fn(old, path)
            _check_replacement(old, new, dotted(path))
            holders.replace(row, new)
        # In the order in which `nodes` lists them, and no longer from below.
        rows.sort()
        names = dotted_names([snap.graphdef.path(row) for row in rows])
        return dict(zip(names, [holders.objects[row] for row in rows], strict=True))


def parts_at(node: Any, pattern: str) -> list[Any]:
    """Return the nodes and states that a text names: at a path or a glob, in any place that holds them, or by a tag.

    Raises:
        ValueError: It is a tag of some states and the path of others.
    """
    found = _parts_placed(node, pattern)
    tagged = {state for state in states(node).values() if Named(pattern).is_tag_of(state)}
    below = set(states([part if isinstance(part, Node) else [part] for part in found]).values()) if tagged else tagged
    Named(pattern).one_meaning(tagged, below)
    return found or list(tagged)


def modules_at(node: Any, where: Filter, below: bool = False) -> dict[Path, Module]:
    """Return the modules of a model that a filter chooses, by the paths where they are met first.

    Args:
        node: The model.
        where: As for `rewrite`.
        below: Whether to leave out the model itself.

    Raises:
        ValueError: It chooses none.
    """
    found = {path: module for path, module in nodes(node, Module).items() if path or not below}
    chosen: Callable[..., bool]
    if isinstance(where, str):
        at = set(map(id, parts_at(node, where)))
        chosen = lambda path, module: id(module) in at  # noqa: E731
    else:
        chosen = to_predicate(where)
    kept = {path: module for path, module in found.items() if chosen(path, module)}
    if not kept and where is not ...:
        names = ", ".join(dotted_names([path for path in found if path]))
        raise ValueError(f"{where!r} chooses no module below {type(node).__name__}, which holds {names}")
    return kept


def _parts_placed(node: Any, pattern: str) -> list[Any]:
    # A path without a glob is walked step by step, without taking the whole graph apart.
    if not any(character in pattern for character in "*?["):
        try:
            return [get_at(node, pattern)]
        except KeyError:
            return []
    holders, fits = _Holders(Snapshot(node)), PathGlob(pattern)
    return [
        holders.objects[row]
        for _, row in holders.parts()
        if any(fits((*holders.shape.path(holder), key), None) for holder, key in holders.places[row])
    ]


class _Holders:
    """A graph taken apart, with what holds each of its objects.

    Attributes:
        shape: The GraphDef, in whose table each object has a row.
        live: The objects before anything was replaced.
        objects: The objects now.
        places: For each row that is held, the rows of what holds it, each with the attribute, key or index.
    """

    def __init__(self, snap: Snapshot) -> None:
        self.shape = snap.graphdef
        self.live = snap.objects
        self.objects = list(snap.objects)
        self.places: dict[int, list[tuple[int, Any]]] = {}
        for row, holder in enumerate(self.shape.rows):
            for key, edge in zip(holder.keys, self.shape.edges(row), strict=True):
                if isinstance(edge, int):
                    self.places.setdefault(edge, []).append((row, key))

    def parts(self) -> Iterator[tuple[tuple[Any, ...], int]]:
        """Iterate over the rows of nodes and states by path, without the root."""
        kinds = [row.kind for row in self.shape.rows]
        return ((self.shape.path(r), r) for r, kind in enumerate(kinds) if r and kind in ("node", "foreign", "state"))

    def replace(self, row: int, new: Any) -> None:
        """Put `new` into every place that holds the object of a row."""
        # `fn` returned the part itself, or a tuple that was built again has nothing new.
        if new is self.objects[row]:
            return
        self.objects[row] = new
        rebuilt: dict[int, dict[Any, Any]] = {}
        for holder, key in self.places.get(row, ()):
            kind, item = self.shape.rows[holder].kind, self.live[holder]
            if kind == "node":
                put_field(item, key, new)
            elif kind in ("list", "dict"):
                item[key] = new
            # A tuple does not change, so another one takes its place, in all that holds it; the root has no place.
            elif kind in ("tuple", "namedtuple") and holder:
                rebuilt.setdefault(holder, {})[key] = new
            else:
                raise GraphError(
                    f"{dotted(self.shape.path(row))} is held by a {type(item).__name__}, in which nothing can be "
                    "replaced: hold it in an attribute, list, dict or tuple"
                )
        for holder, items in rebuilt.items():
            old = self.objects[holder]
            keys = self.shape.rows[holder].keys
            parts = [items.get(key, part) for key, part in zip(keys, old, strict=True)]
            self.replace(holder, tuple(parts) if type(old) is tuple else type(old)(*parts))


def _check_replacement(old: Any, new: Any, path: str) -> None:
    wanted = "a State" if isinstance(old, State) else "a module or a function"
    if isinstance(new, State) != isinstance(old, State) or not (isinstance(new, (Node, State)) or callable(new)):
        raise TypeError(
            f"what replaces the {type(old).__name__} at {path} must be {wanted}, not {new!r}: return the part itself "
            "to keep it"
        )


def _parts_of(item: Any) -> Iterator[tuple[Any, Any]]:
    """Iterate over what an object holds directly, by attribute, key or index."""
    if isinstance(item, Node):
        yield from fields_of(item).items()
    elif isinstance(item, Mapping):
        yield from item.items()
    elif isinstance(item, tuple) and hasattr(item, "_asdict"):
        yield from item._asdict().items()  # type: ignore[attr-defined]
    elif isinstance(item, (list, tuple)):
        yield from enumerate(item)


def _paths_in(node: Any) -> list[str]:
    return [dotted(path) for found in (nodes(node), states(node)) for path in found if path]


def _nearest(path: str, known: list[str]) -> str:
    near = difflib.get_close_matches(path, known, n=3, cutoff=0.3)
    return f"; the nearest are {', '.join(near)}" if near else f"; it holds {', '.join(known[:5]) or 'nothing'}"


def _advice(where: Any, node: Any) -> str:
    if isinstance(where, str):
        return _nearest(where, _paths_in(node))
    kinds = {type(item).__name__ for found in (nodes(node), states(node)) for path, item in found.items() if path}
    return f"; it holds {', '.join(sorted(kinds)) or 'nothing'}"

"""A matching of the weights of a model with names elsewhere: the rules of its layers, put together along the paths.

A rule says how the weights of one layer are spelled below it. On the way from the root to an array an outer layer is
asked before those that it holds, so that it may spell theirs, as attention does with its projections. What no rule
spells keeps its name. The arrays that one rule spells together make one *match*; whatever it may be spelled like is a
*conversion*. No framework is known here but by its rules and by how it joins the parts of a name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from brainstate_graph import Filter, Node, State, states
from brainstate_graph.extend import fields_of
from brainstate_transform import lane_axes, lane_sizes

from .._core.paths import Path, dotted_name, state_arrays
from .._core.states import BatchState
from .._layers.stack import Stack
from .weight_maps import WeightMap, WeightRule, named

__all__ = ["Conversion", "Match", "match_weights"]

Arrays = Sequence[Any]


class Conversion(NamedTuple):
    """One spelling of some weights: a `WeightMap` for sequences of arrays, with names from the root on.

    While it is put together, a name is the tuple of its parts, in which a `_Key` stands for a key of a list or dict.

    Attributes:
        names: The names of their arrays.
        to_theirs: Given our arrays, returns theirs.
        to_ours: Given theirs, returns ours.
    """

    names: tuple[Any, ...]
    to_theirs: Callable[[Arrays], Arrays]
    to_ours: Callable[[Arrays], Arrays]

    def under(self, *parts: Any) -> Conversion:
        """Return the same, seen from further up."""
        return self._replace(names=tuple((*parts, *name) for name in self.names))


class Match(NamedTuple):
    """Some weights of ours, and how they may be spelled.

    Attributes:
        ours: The names under which `to_flat_dict` has them.
        at: The names under which they were met: others, where a weight is tied.
        conversions: The spellings, of which the first is written.
    """

    ours: tuple[str, ...]
    at: tuple[str, ...]
    conversions: tuple[Conversion, ...]

    def chosen(self, present: Collection[str]) -> Conversion:
        """Return the spelling that is present as a whole, if there is one, and with the most names of those."""

        def presence(conversion: Conversion) -> tuple[bool, int]:
            count = sum(name in present for name in conversion.names)
            return count == len(conversion.names), count

        return max(self.conversions, key=presence)


class _Key(NamedTuple):
    """A key of a list or dictionary, as a part of a name; linen joins it by another sign than an attribute."""

    key: Any


class _Array(NamedTuple):
    """One array of a state where it is met.

    Attributes:
        name: The name under which `to_flat_dict` has it.
        path: The path where it is met.
        state: The state.
        layers: The layers on the way there, each with the number of keys of the path that lead to it.
    """

    name: str
    path: Path
    state: State[Any]
    layers: list[tuple[int, Any]]


def match_weights(
    model: Any, filters: Sequence[Filter], framework: str, rules: Mapping[type, WeightRule], problems: list[str]
) -> list[Match]:
    """Return the matches of all chosen arrays.

    Args:
        model: A Node, or a container of them.
        filters: Which states.
        framework: The name of the other framework.
        rules: The rule of each class of layers, which its subclasses inherit.
        problems: Where to note what cannot be spelled.
    """
    book = _RuleBook(framework, rules, problems)
    spelled_together: dict[tuple[Path, Any], dict[str, _Array]] = {}
    for array in _arrays(model, filters):
        start, key = book.speller(array)
        spelled_together.setdefault((array.path[:start], key), {})[dotted_name(array.path[start:])] = array
    found: list[Match] = []
    for (path, key), arrays in spelled_together.items():
        # Of a layer that the framework cannot have, which is noted already.
        if key is None:
            continue
        wanted = key if isinstance(key, tuple) else (key,)
        lacking = [name for name in wanted if name not in arrays]
        if lacking:
            problems.append(
                f"{_below(path, lacking[0])} belongs together with {_below(path, next(iter(arrays)))}, but the "
                "filters do not choose it"
            )
        else:
            first = arrays[wanted[0]]
            conversions = (book.with_text_names(c, first.state) for c in book.conversions(first, len(path), key))
            ours = tuple(arrays[name].name for name in wanted)
            found.append(Match(ours, tuple(_below(path, name) for name in wanted), tuple(conversions)))
    return found


def _below(path: Path, name: str) -> str:
    return f"{dotted_name(path)}.{name}" if path else name


def _arrays(model: Any, filters: Sequence[Filter]) -> Iterator[_Array]:
    """Iterate over the arrays of a model, each at every path where it is met."""
    for found in state_arrays(model, filters):
        for i, name in enumerate(found.names):
            for path in (found.paths[i], *found.alias_paths(i)):
                yield _Array(name, path, found.state, _layers_on(model, path))


def _layers_on(model: Any, path: Path) -> list[tuple[int, Any]]:
    """Return the nodes on a path, each with the number of keys that lead to it."""
    item = model
    found = [(0, item)] if isinstance(item, Node) else []
    for depth, key in enumerate(path[:-1], 1):
        # The rest of the path leads into its value, where there are no layers.
        if isinstance(item, State):
            break
        if isinstance(item, Node):
            item = fields_of(item)[key]
        else:
            item = getattr(item, key) if hasattr(item, "_fields") and isinstance(key, str) else item[key]
        if isinstance(item, Node):
            found.append((depth, item))
    return found


class _RuleBook:
    """The rules of a framework, each asked once for each layer.

    Args:
        framework: The name of the framework.
        rules: The rule of each class of layers.
        problems: Where to note which layers the framework cannot have.
    """

    def __init__(self, framework: str, rules: Mapping[type, WeightRule], problems: list[str]) -> None:
        self._framework, self._rules, self._problems = framework, rules, problems
        self._asked: dict[int, Mapping[Any, Any] | None] = {}

    def rule(self, layer: Any, path: Path) -> Mapping[Any, Any] | None:
        """Return the rule of a layer; None where the framework has no such layer, which is noted."""
        if id(layer) not in self._asked:
            rule: Any = next((self._rules[kind] for kind in type(layer).__mro__ if kind in self._rules), {})
            try:
                found: Any = rule(layer) if callable(rule) else rule
                self._asked[id(layer)] = found
            except ValueError as error:
                self._asked[id(layer)] = None
                name = type(layer).__name__
                self._problems.append(
                    f"{dotted_name(path) or 'the model'} is a {name}, which {self._framework} does not have: {error}; "
                    f"write `layers={{{name}: {{}}}}` to keep its own names"
                )
        return self._asked[id(layer)]

    def speller(self, array: _Array) -> tuple[int, Any]:
        """Return the first layer on the way that spells an array, by its depth, and the key of its rule."""
        start = 0
        for start, layer in array.layers:
            rule, name = self.rule(layer, array.path[:start]), dotted_name(array.path[start:])
            if rule is None:
                return start, None
            for key in rule:
                if name == key or (isinstance(key, tuple) and name in key):
                    return start, key
        return start, dotted_name(array.path[start:])

    def conversions(self, array: _Array, start: int, key: Any) -> list[Conversion]:
        """Return the spellings of what the layer at this depth spells, with names from the root on."""
        found = self._of_one_member(array, start, key)
        ways = [(item, array.path[at:below]) for (at, item), (below, _) in pairwise(array.layers)]
        over = sum(_is_of_layers(item, way, array.state) for item, way in ways)
        # The members of an ensemble, outside of all Stacks; other frameworks stack them as we do.
        sizes = lane_sizes(array.state)
        members = sizes[: len(sizes) - over]
        if any(lane_axes(array.state)[: len(members)]):
            self._problems.append(f"{array.name} has the members of an ensemble along another axis than the first")
        for size in reversed(members):
            found = [_stacked(conversion, size) for conversion in found]
        return found

    def _of_one_member(self, array: _Array, start: int, key: Any) -> list[Conversion]:
        layers = [pair for pair in array.layers if pair[0] <= start]
        spelling = (self.rule(layers[-1][1], ()) or {}).get(key) if layers else None
        if spelling is None:
            found = [_conversion(named(""))._replace(names=(_parts(array.path[start:], inside=bool(layers)),))]
        else:
            found = [_conversion(each) for each in (spelling if isinstance(spelling, list) else [spelling])]
        while layers:
            depth, _ = layers.pop()
            if not layers:
                return [conversion.under(*map(_Key, array.path[:depth])) for conversion in found]
            above, holder = layers[-1]
            way = array.path[above:depth]
            parts = self.parts_of_way(holder, way)
            if _is_of_layers(holder, way, array.state):
                # A list of layers or one array with an axis for them: both are read, and torch, which has no such axis,
                # gets the first.
                both = [(_stacked(c, holder.n).under(*parts), _apart(c, holder.n)) for c in found]
                found = [c for pair in both for c in (pair[::-1] if self._framework == "torch" else pair)]
            else:
                found = [conversion.under(*parts) for conversion in found]
        return found

    def parts_of_way(self, holder: Any, way: Path) -> tuple[Any, ...]:
        """Spell the way from a layer to one that it holds, by the longest part of it that its rule names."""
        rule = self.rule(holder, ()) or {}
        for count in range(len(way), 0, -1):
            name = rule.get(dotted_name(way[:count]))
            if isinstance(name, str):
                return (*_split(name), *map(_Key, way[count:]))
        return _parts(way)

    def with_text_names(self, conversion: Conversion, state: State[Any]) -> Conversion:
        """Return the conversion with its names as text, in linen below the collection of the state."""
        linen = self._framework == "linen"
        top = (("batch_stats",) if isinstance(state, BatchState) else ("params",)) if linen else ()
        names = tuple(_text((*top, *name), "_" if linen else ".") for name in conversion.names)
        return conversion._replace(names=names)


def _is_of_layers(holder: Any, way: Path, state: State[Any]) -> bool:
    """Tell whether a way leads from a Stack to its layers, and the state is not one that they share."""
    return isinstance(holder, Stack) and way == ("layers",) and state not in states(holder.shared).values()


def _parts(path: Path, *, inside: bool = True) -> tuple[Any, ...]:
    """Return the parts of a name: behind the attribute of a layer there are keys."""
    return (str(path[0]), *map(_Key, path[1:])) if inside else tuple(map(_Key, path))


def _split(name: str) -> tuple[str, ...]:
    return tuple(name.split(".")) if name else ()


def _text(parts: tuple[Any, ...], before_key: str) -> str:
    text = ""
    for part in parts:
        join = before_key if isinstance(part, _Key) and text not in ("params", "batch_stats") else "."
        text += f"{join if text else ''}{part.key if isinstance(part, _Key) else part}"
    return text


def _conversion(spelling: str | WeightMap) -> Conversion:
    """Return the conversion of a spelling, whose functions take and return single arrays where there is one."""
    turn = named(spelling) if isinstance(spelling, str) else spelling
    names = (turn.names,) if isinstance(turn.names, str) else turn.names

    def to_theirs(ours: Arrays) -> Arrays:
        theirs = turn.to_theirs(*ours)
        return (theirs,) if isinstance(turn.names, str) else theirs

    def to_ours(theirs: Arrays) -> Arrays:
        ours = turn.to_ours(*theirs)
        return ours if isinstance(ours, (tuple, list)) else (ours,)

    return Conversion(tuple(map(_split, names)), to_theirs, to_ours)


def _stacked(conversion: Conversion, n: int) -> Conversion:
    """Return the conversion of the layers of a Stack, given that of each, where theirs have an axis of layers too."""

    def for_each(turn: Callable[[Arrays], Arrays]) -> Callable[[Arrays], Arrays]:
        def turned(arrays: Arrays) -> Arrays:
            layers = [turn([x[i] for x in arrays]) for i in range(n)]
            return [np.stack(parts) for parts in zip(*layers, strict=True)]

        return turned

    return Conversion(conversion.names, for_each(conversion.to_theirs), for_each(conversion.to_ours))


def _apart(conversion: Conversion, n: int) -> Conversion:
    """Return the conversion of the layers of a Stack, given that of each, where theirs are the items of a list."""
    count = len(conversion.names)

    def to_theirs(ours: Arrays) -> Arrays:
        return [theirs for i in range(n) for theirs in conversion.to_theirs([x[i] for x in ours])]

    def to_ours(theirs: Arrays) -> Arrays:
        layers = [conversion.to_ours(theirs[i * count : (i + 1) * count]) for i in range(n)]
        return [np.stack(parts) for parts in zip(*layers, strict=True)]

    names = tuple((_Key(i), *name) for i in range(n) for name in conversion.names)
    return Conversion(names, to_theirs, to_ours)

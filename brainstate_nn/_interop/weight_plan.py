"""Which weights of a model are which in another framework: the rules of its layers, put together along the paths.

A rule says how the weights of one layer are spelled below it. An outer layer is asked before those that it holds, so
that it may spell theirs, as attention does with its projections. What no rule spells keeps its name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from brainstate_graph import Any as AnyOf
from brainstate_graph import Filter, Node, State, graphdef, states
from brainstate_graph.extend import fields_of

from .._core.names import alias_paths, dotted_name, dotted_names, leaf_names
from .._core.states import BatchState
from .._layers.stack import Stack
from .weight_maps import Rule, WeightMap, named

__all__ = ["Binding", "Form", "plan"]

Path = tuple[Any, ...]


class _Item(NamedTuple):
    """A key of a list or dictionary, as a part of a name."""

    key: Any


class Form(NamedTuple):
    """One spelling of some weights: their names, and functions from sequences of arrays to such.

    The names are tuples of their parts until all of these are known, and then strings.
    """

    names: tuple[Any, ...]
    to_theirs: Any
    to_ours: Any

    def under(self, *parts: Any) -> Form:
        """Return the same, seen from further up."""
        return self._replace(names=tuple((*parts, *name) for name in self.names))


class Binding(NamedTuple):
    """Some weights of ours and how they may be spelled.

    Attributes:
        ours: The names under which `to_flat_dict` has them.
        at: The names of the places where they are met: others, where a weight is tied.
        forms: The spellings, of which the first is written.
    """

    ours: tuple[str, ...]
    at: tuple[str, ...]
    forms: tuple[Form, ...]

    def chosen(self, present: Collection[str]) -> Form:
        """Return the spelling that is there, as a whole if there is one, and with the most names of those."""
        return max(self.forms, key=lambda form: _presence(form, present))


def _presence(form: Form, present: Collection[str]) -> tuple[bool, int]:
    count = sum(name in present for name in form.names)
    return count == len(form.names), count


class _Leaf(NamedTuple):
    """One array of a state: its name, where it is met, and the layers on the way there, each with the path so far."""

    name: str
    path: Path
    state: State[Any]
    chain: list[tuple[int, Any]]


def plan(
    model: Any, filters: Sequence[Filter], framework: str, rules: Mapping[type, Rule], problems: list[str]
) -> list[Binding]:
    """Return the bindings of all chosen arrays.

    Args:
        model: A Node, or a container of them.
        filters: Which states.
        framework: The name of the other framework.
        rules: The rule of each class of layers, which its subclasses inherit.
        problems: Where to note what cannot be spelled.
    """
    book = _Book(framework, rules, problems)
    claims: dict[tuple[Path, Any], dict[str, _Leaf]] = {}
    for leaf in _leaves(model, filters):
        start, key = book.claim(leaf)
        claims.setdefault((leaf.path[:start], key), {})[dotted_name(leaf.path[start:])] = leaf
    found: list[Binding] = []
    for (place, key), leaves in claims.items():
        if key is None:  # of a layer that is refused
            continue
        wanted = key if isinstance(key, tuple) else (key,)
        lacking = [name for name in wanted if name not in leaves]
        if lacking:
            problems.append(
                f"{_below(place, lacking[0])} goes together with {_below(place, next(iter(leaves)))}, and is not "
                "among the weights that are chosen"
            )
        else:
            first = leaves[wanted[0]]
            forms = tuple(book.spelled(form, first.state) for form in book.forms(first, len(place), key))
            found.append(Binding(tuple(leaves[n].name for n in wanted), tuple(_below(place, n) for n in wanted), forms))
    return found


def _below(place: Path, name: str) -> str:
    return f"{dotted_name(place)}.{name}" if place else name


def _leaves(model: Any, filters: Sequence[Filter]) -> Iterator[_Leaf]:
    found = states(model, AnyOf(*filters))
    parts = [(path, state, leaf_names(path, state.value)[0]) for path, state in found.items()]
    names = iter(dotted_names([inner for _, _, inners in parts for inner in inners]))
    others: dict[Path, list[Path]] = {}
    for other, first in alias_paths(graphdef(model)).items():
        others.setdefault(first, []).append(other)
    for path, state, inners in parts:
        for inner, name in zip(inners, names, strict=False):
            for place in (path, *others.get(path, ())):
                yield _Leaf(name, (*place, *inner[len(path) :]), state, _chain(model, place))


def _chain(item: Any, path: Path) -> list[tuple[int, Any]]:
    chain = [(0, item)] if isinstance(item, Node) else []
    for depth, key in enumerate(path[:-1], 1):
        if isinstance(item, Node):
            item = fields_of(item)[key]
        else:
            item = getattr(item, key) if hasattr(item, "_fields") and isinstance(key, str) else item[key]
        if isinstance(item, Node):
            chain.append((depth, item))
    return chain


class _Book:
    """The rules, each asked once for each layer."""

    def __init__(self, framework: str, rules: Mapping[type, Rule], problems: list[str]) -> None:
        self.framework, self.rules, self.problems = framework, rules, problems
        self.known: dict[int, Mapping[Any, Any] | None] = {}

    def rule(self, layer: Any, path: Path) -> Mapping[Any, Any] | None:
        """Return the rule of a layer; None where the framework has no such layer, which is noted."""
        if id(layer) not in self.known:
            rule: Any = next((self.rules[kind] for kind in type(layer).__mro__ if kind in self.rules), {})
            try:
                said: Any = rule(layer) if callable(rule) else rule
                self.known[id(layer)] = said
            except ValueError as error:
                self.known[id(layer)] = None
                name = type(layer).__name__
                self.problems.append(
                    f"{dotted_name(path) or 'the model'} is a {name} that {self.framework} cannot have: {error}; write "
                    f"`layers={{{name}: {{}}}}` for the names that it has here"
                )
        return self.known[id(layer)]

    def claim(self, leaf: _Leaf) -> tuple[int, Any]:
        """Return the first layer on the way that spells an array, by its depth, and the key of its rule."""
        start = 0
        for start, layer in leaf.chain:
            rule, name = self.rule(layer, leaf.path[:start]), dotted_name(leaf.path[start:])
            if rule is None:
                return start, None
            for key in rule:
                if name == key or (isinstance(key, tuple) and name in key):
                    return start, key
        return start, dotted_name(leaf.path[start:])

    def forms(self, leaf: _Leaf, start: int, key: Any) -> list[Form]:
        """Return the spellings of what the layer at this depth claims, with names from the root on."""
        chain = [pair for pair in leaf.chain if pair[0] <= start]
        said = (self.rule(chain[-1][1], ()) or {}).get(key) if chain else None
        if said is None:
            found = [_form(named(""))._replace(names=(_parts(leaf.path[start:], inside=bool(chain)),))]
        else:
            found = [_form(each) for each in (said if isinstance(said, list) else [said])]
        while chain:
            depth, _ = chain.pop()
            if not chain:
                return [form.under(*map(_Item, leaf.path[:depth])) for form in found]
            above, holder = chain[-1]
            way = leaf.path[above:depth]
            parts = self.way(holder, way)
            if isinstance(holder, Stack) and way == ("layers",) and leaf.state not in states(holder.shared).values():
                both = [(_stacked(form, holder.n).under(*parts), _apart(form, holder.n)) for form in found]
                found = [form for pair in both for form in (pair[::-1] if self.framework == "torch" else pair)]
            else:
                found = [form.under(*parts) for form in found]
        return found

    def way(self, holder: Any, way: Path) -> tuple[Any, ...]:
        """Spell the way from a layer to one that it holds, by the longest part of it that its rule names."""
        rule = self.rule(holder, ()) or {}
        for count in range(len(way), 0, -1):
            said = rule.get(dotted_name(way[:count]))
            if isinstance(said, str):
                return (*_split(said), *map(_Item, way[count:]))
        return _parts(way)

    def spelled(self, form: Form, state: State[Any]) -> Form:
        """Return the form with its names as strings."""
        linen = self.framework == "linen"
        top = (("batch_stats",) if isinstance(state, BatchState) else ("params",)) if linen else ()
        return form._replace(names=tuple(_text((*top, *name), "_" if linen else ".") for name in form.names))


def _parts(path: Path, *, inside: bool = True) -> tuple[Any, ...]:
    """The parts of a name: behind the attribute of a layer there are items."""
    return (str(path[0]), *map(_Item, path[1:])) if inside else tuple(map(_Item, path))


def _split(name: str) -> tuple[str, ...]:
    return tuple(name.split(".")) if name else ()


def _text(parts: tuple[Any, ...], before_item: str) -> str:
    text = ""
    for part in parts:
        join = before_item if isinstance(part, _Item) and text not in ("params", "batch_stats") else "."
        text += f"{join if text else ''}{part.key if isinstance(part, _Item) else part}"
    return text


def _form(said: str | WeightMap) -> Form:
    """Return the form of a rule, which speaks of single arrays where there is one."""
    said = named(said) if isinstance(said, str) else said
    names = (said.names,) if isinstance(said.names, str) else said.names

    def to_theirs(ours: Sequence[Any]) -> Sequence[Any]:
        theirs = said.to_theirs(*ours)
        return (theirs,) if isinstance(said.names, str) else theirs

    def to_ours(theirs: Sequence[Any]) -> Sequence[Any]:
        ours = said.to_ours(*theirs)
        return ours if isinstance(ours, (tuple, list)) else (ours,)

    return Form(tuple(map(_split, names)), to_theirs, to_ours)


def _stacked(form: Form, n: int) -> Form:
    """The form of the layers of a Stack, of which it is the form of each: theirs have the axis of the layers too."""

    def each(turn: Any) -> Any:
        def turned(arrays: Sequence[Any]) -> Sequence[Any]:
            layers = [turn([x[i] for x in arrays]) for i in range(n)]
            return [np.stack(parts) for parts in zip(*layers, strict=True)]

        return turned

    return Form(form.names, each(form.to_theirs), each(form.to_ours))


def _apart(form: Form, n: int) -> Form:
    """The same where theirs are the items of a list."""
    count = len(form.names)

    def to_theirs(ours: Sequence[Any]) -> Sequence[Any]:
        return [theirs for i in range(n) for theirs in form.to_theirs([x[i] for x in ours])]

    def to_ours(theirs: Sequence[Any]) -> Sequence[Any]:
        layers = [form.to_ours(theirs[i * count : (i + 1) * count]) for i in range(n)]
        return [np.stack(parts) for parts in zip(*layers, strict=True)]

    return Form(tuple((_Item(i), *name) for i in range(n) for name in form.names), to_theirs, to_ours)

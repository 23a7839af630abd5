"""State trees: the values of a graph's states, keyed by path; ``NestedDict`` and ``FlattedDict`` are two views.

Both are immutable mappings over the same two things, an interned `Layout` and one flat tuple of values.  As pytrees
they flatten to that tuple with the layout as static part: one Python call for the whole tree, none per state.  Paths
and TreefyStates are made when somebody looks; a training step needs neither.
"""

from __future__ import annotations

import abc
import copy
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, Sequence, ValuesView
from typing import Any, Self, TypeVar, final

import jax
import numpy as np
from jax.tree_util import GetAttrKey

from .._core.errors import GraphError
from .._core.layout import Layout, Path
from .._tools.words import dotted
from .filters import Filter
from .leaf import TreefyState, spec_of, treefy, untreefied, value_of
from .nesting import conflicts, find_by_path, find_nested, nested, respelled, unnested
from .partition import partition

__all__ = ["FlattedDict", "NestedDict", "StateTree", "TreefyState", "layout_of", "make_tree", "values_of"]

S = TypeVar("S", bound="StateTree")


class StateTree(Mapping[Any, Any]):
    """What the two views have in common: a layout and the values at its leaves."""

    __slots__ = ("_layout", "_owners", "_values")

    graph_unchanging = True  # so that a graph that holds one as a pytree need not watch it

    _layout: Layout
    _owners: Callable[[], StateTree]  # see `owners.py`
    _values: tuple[Any, ...]

    @classmethod
    def from_flat(cls: type[S], items: Mapping[Path, Any] | Iterable[tuple[Path, Any]] | StateTree) -> S:
        """Return the tree with these paths.

        Args:
            items: A mapping or pairs; paths are tuples of keys. TreefyStates give their kind to the tree.

        Raises:
            TypeError: A path is not a tuple.
            GraphError: A path occurs twice.
        """
        if isinstance(items, StateTree):
            return make_tree(cls, items._layout, items._values)
        pairs = list(items.items() if isinstance(items, Mapping) else items)
        for path, _ in pairs:
            if not isinstance(path, tuple):
                raise TypeError(f"a path must be a tuple of keys, not {path!r}: write `{(path,)!r}`")
        layout, order = Layout.from_paths([p for p, _ in pairs], [spec_of(v) for _, v in pairs])
        return make_tree(cls, layout, [untreefied(pairs[i][1]) for i in order])

    @classmethod
    def from_nest(cls: type[S], items: Mapping[Any, Any]) -> S:
        """Return the tree of a nested mapping."""
        return cls.from_flat(NestedDict(items))

    def _item(self, index: int) -> Any:
        spec = self._layout.specs[index]
        return self._values[index] if spec is None else treefy(spec, self._values[index])

    def _with(self, values: Sequence[Any]) -> Self:
        return make_tree(type(self), self._layout, values)

    def to_flat(self) -> FlattedDict:
        """Return the view keyed by path tuples."""
        return make_tree(FlattedDict, self._layout, self._values)

    def to_nest(self) -> NestedDict:
        """Return the view keyed level by level.

        Raises:
            GraphError: A path is empty, or the beginning of another.
        """
        if problems := conflicts(self._layout):
            raise GraphError("the tree cannot be nested: " + "; ".join(problems))
        return make_tree(NestedDict, self._layout, self._values)

    def replace_by_pure_dict(self, data: Mapping[Any, Any], *, strict: bool = True) -> Self:
        """Return the same tree with other values.

        Args:
            data: The values, in the form in which `to_pure_dict` returns them, or as a state tree.
            strict: Whether there must be a value for each path; if not, the other paths keep theirs.

        Raises:
            GraphError: A path of `data` is not in the tree or, if `strict`, the other way round; the message lists all.
        """
        if isinstance(data, StateTree):
            at = data._layout.indices_in(self._layout)
            found = {index: value for index, value in zip(at, data._values, strict=True) if index is not None}
            unexpected = [data._layout.path(i) for i, index in enumerate(at) if index is None]
        else:
            found, unexpected = self._find(data)
        problems = [f"unexpected: {dotted(path)}" for path in unexpected]
        if strict:
            problems += [f"missing: {dotted(self._layout.path(i))}" for i in range(len(self._values)) if i not in found]
        if problems:
            raise GraphError("the values do not fit the tree: " + "; ".join(problems))
        return self._with([value_of(found[i]) if i in found else value for i, value in enumerate(self._values)])

    @abc.abstractmethod
    def _find(self, data: Mapping[Any, Any]) -> tuple[dict[int, Any], list[Path]]: ...

    def copy(self) -> Self:
        """Return another tree of the same values."""
        return self._with(self._values)

    def split(self: S, first: Filter, /, *rest: Filter) -> tuple[S, ...]:
        """Split by filters into one tree each; every value must be accepted by one of them.

        Raises:
            ValueError: Some value is accepted by none.
        """
        return self._parts((first, *rest), exhaustive=True)

    def filter(self, first: Filter, /, *rest: Filter) -> Any:
        """Return the tree of what a filter accepts; a tuple of trees for several filters."""
        parts = self._parts((first, *rest), exhaustive=False)
        return parts if rest else parts[0]

    def _parts(self: S, filters: tuple[Filter, ...], exhaustive: bool) -> tuple[S, ...]:
        layout = self._layout
        groups = partition(filters, layout, self._item, exhaustive)
        return tuple(make_tree(type(self), layout.pick(group), [self._values[i] for i in group]) for group in groups)

    @classmethod
    def merge(cls: type[S], first: StateTree, /, *rest: StateTree) -> S:
        """Return one tree with the paths of all; where several have a path, the last one wins.

        A plain value that takes the place of a state's takes its kind and metadata too, as in `update_states`.
        """
        return cls.from_flat(_join((first, *rest)))

    def __or__(self: S, other: Any) -> S:
        if not isinstance(other, StateTree):
            return NotImplemented
        return self.merge(self, other)

    def __sub__(self: S, other: Any) -> S:
        if not isinstance(other, StateTree):
            return NotImplemented
        kept = [i for i, at in enumerate(self._layout.indices_in(other._layout)) if at is None]
        return make_tree(type(self), self._layout.pick(kept), [self._values[i] for i in kept])

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        if self._layout is not other._layout:
            return False
        mine, theirs = jax.tree.flatten(self._values), jax.tree.flatten(other._values)
        return mine[1] == theirs[1] and all(map(_same, mine[0], theirs[0]))

    __hash__ = None

    def __reduce__(self) -> tuple[Any, ...]:
        return make_tree, (type(self), self._layout, self._values)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self._with(copy.deepcopy(self._values, memo))

    def __delitem__(self, key: Any) -> None:
        raise TypeError(f"a {type(self).__name__} is immutable. Write `tree = tree.filter(~PathPrefix(path))`.")

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError(
            f"a {type(self).__name__} is immutable. Write "
            f"`tree = tree | {type(self).__name__}.from_flat({{path: value}})`, or map it: `jax.tree.map(f, tree)`."
        )


def _same(left: Any, right: Any) -> bool:
    if left is right:
        return True
    if isinstance(left, (jax.Array, np.ndarray)) or isinstance(right, (jax.Array, np.ndarray)):
        return bool(jax.numpy.array_equal(left, right))
    return bool(left == right)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


@final
class NestedDict(StateTree):
    """A state tree keyed level by level; the values show as `TreefyState`.

    Args:
        items: A nested mapping with TreefyStates or plain values at the ends.

    Example:
        >>> from brainstate_graph import NestedDict
        >>> tree = NestedDict({"layers": {0: {"w": 1.0}, 1: {"w": 2.0}}})
        >>> tree["layers"][1]["w"], list(tree.to_flat())
        (2.0, [('layers', 0, 'w'), ('layers', 1, 'w')])
    """

    __slots__ = ()

    def __new__(cls, items: Mapping[Any, Any] = {}) -> NestedDict:
        if isinstance(items, StateTree):
            return items.to_nest()
        if not isinstance(items, Mapping):
            raise TypeError(
                f"a NestedDict takes a nested mapping, not {items!r}; for pairs write `NestedDict.from_flat`"
            )
        steps, leaves, found = unnested(items, _parts_of)
        layout, order = Layout.from_steps(steps, leaves, [spec_of(item) for item in found])
        return make_tree(NestedDict, layout, [untreefied(found[i]) for i in order]).to_nest()

    @classmethod
    def from_flat(cls, items: Any) -> NestedDict:
        """Return the tree with these paths; none may be the beginning of another."""
        return super().from_flat(items).to_nest()

    def __getitem__(self, key: Any) -> Any:
        step = self._layout.step_below.get((-1, key))
        if step is None:
            meant = respelled(self._layout, key)
            write = "" if meant is None else f": write {''.join(f'[{each!r}]' for each in meant)}"
            raise KeyError(f"{key!r}{write or f'; the keys here are [{_some(list(map(repr, self)))}]'}")
        return self._at(step)

    def __contains__(self, key: Any) -> bool:
        return (-1, key) in self._layout.step_below

    def _at(self, step: int) -> Any:
        index = self._layout.index_at.get(step)
        if index is not None:
            return self._item(index)
        layout, first, last = self._layout.below(step)
        return make_tree(NestedDict, layout, self._values[first:last])

    def __getattr__(self, name: str) -> Any:
        # Copying, pickling and Jupyter ask any object for names that begin so; a state is never meant.
        if not name.startswith("_"):
            step = self._layout.step_below.get((-1, name))
            if step is not None:
                return self._at(step)
        raise AttributeError(f"{type(self).__name__!r} has no attribute or key {name!r}")

    def __iter__(self) -> Iterator[Any]:
        return (key for parent, key in self._layout.steps() if parent == -1)

    def __len__(self) -> int:
        return sum(parent == -1 for parent, _ in self._layout.steps())

    def to_pure_dict(self) -> dict[Any, Any]:
        """Return nested plain dictionaries with the bare values at the ends."""
        return nested(self._layout, lambda index: value_of(self._values[index]))

    def _find(self, data: Mapping[Any, Any]) -> tuple[dict[int, Any], list[Path]]:
        return find_nested(self._layout, data, self._values)


@final
class FlattedDict(StateTree):
    """A state tree keyed by path tuples; the values may also be live States or Nodes.

    Args:
        items: A mapping from path tuples to values.

    Example:
        >>> from brainstate_graph import FlattedDict
        >>> FlattedDict({("b",): 1.0, ("a", "w"): 2.0})
        FlattedDict({('a', 'w'): 2.0, ('b',): 1.0})
    """

    __slots__ = ()

    def __new__(cls, items: Mapping[Path, Any] = {}) -> FlattedDict:
        return cls.from_flat(items)

    def _index(self, path: Any) -> int | None:
        step = self._layout.find(path) if isinstance(path, tuple) else None
        return None if step is None else self._layout.index_at.get(step)

    def __getitem__(self, path: Path) -> Any:
        index = self._index(path)
        if index is None:
            meant = respelled(self._layout, path)
            if meant is not None and self._index(meant) is not None:
                raise KeyError(f"no state at {path!r}: write [{meant!r}]")
            near = [dotted(self._layout.path(i)) for i in range(min(8, len(self)))]
            raise KeyError(f"no state at {path!r}; there are {', '.join(near) or 'none'}{', ...' * (len(self) > 8)}")
        return self._item(index)

    def __contains__(self, path: Any) -> bool:
        return self._index(path) is not None

    def __iter__(self) -> Iterator[Path]:
        return iter(self._layout.paths)

    def __len__(self) -> int:
        return len(self._values)

    def values(self) -> ValuesView[Any]:
        """Return a view of the values, without making the paths."""
        return _Values(self)

    def items(self) -> ItemsView[Path, Any]:
        """Return a view of the pairs of path and value."""
        return _Items(self)

    def to_pure_dict(self) -> dict[Path, Any]:
        """Return a plain dictionary of the bare values by path, of live States too."""
        return dict(zip(self._layout.paths, map(value_of, self._values), strict=True))

    to_dict_values = to_pure_dict

    def _find(self, data: Mapping[Any, Any]) -> tuple[dict[int, Any], list[Path]]:
        return find_by_path(self._layout, data)


@final
class _Values(ValuesView[Any]):
    """The values, as `FlattedDict.values` gives them."""

    __slots__ = ()
    _mapping: FlattedDict

    def __iter__(self) -> Iterator[Any]:
        return map(self._mapping._item, range(len(self._mapping)))


@final
class _Items(ItemsView[Any, Any]):
    """The pairs of path and value, as `FlattedDict.items` gives them."""

    __slots__ = ()
    _mapping: FlattedDict

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return zip(self._mapping._layout.paths, self._mapping.values(), strict=True)


# Functions and not methods, as a NestedDict shows its keys as attributes: a method would hide the key of its name.


def layout_of(tree: StateTree) -> Layout:
    """Return the paths of a state tree."""
    return tree._layout


def values_of(tree: StateTree) -> tuple[Any, ...]:
    """Return the values of a state tree, in the order of its layout."""
    return tree._values


def make_tree(kind: type[S], layout: Layout, values: Iterable[Any]) -> S:
    """Return the state tree of this kind with these values, in the order of the layout; nothing is checked."""
    tree = object.__new__(kind)
    tree._layout = layout
    tree._values = tuple(values)
    return tree


def _parts_of(item: Any) -> tuple[Layout, Sequence[Any]] | None:
    return (item._layout, list(item.to_flat().values())) if isinstance(item, StateTree) else None


def _join(trees: Sequence[StateTree]) -> FlattedDict:
    """Return one tree with the paths of all; of two values for one path the last one wins."""
    steps: list[tuple[int, Any]] = []
    leaves: list[int] = []
    for tree in trees:
        first = len(steps)
        steps.extend((parent if parent < 0 else first + parent, key) for parent, key in tree._layout.steps())
        leaves.extend(leaf if leaf < 0 else first + leaf for leaf in tree._layout.leaves)
    specs = [spec for tree in trees for spec in tree._layout.specs]
    values = [value for tree in trees for value in tree._values]
    layout, order = Layout.from_steps(steps, leaves, specs, last_wins=True)
    pairs = zip(layout.specs, (values[i] for i in order), strict=True)
    # a live State at the path of a known one gives its value
    return make_tree(FlattedDict, layout, [value if spec is None else value_of(value) for spec, value in pairs])


def _register(cls: type[StateTree]) -> None:
    # One standard key per value whose string is the state's path: `.layers.0.weight`.
    def with_keys(tree: StateTree) -> tuple[Any, ...]:
        keys = [GetAttrKey(dotted(path)) for path in tree._layout.paths]
        return tuple(zip(keys, tree._values, strict=True)), tree._layout

    jax.tree_util.register_pytree_with_keys(
        cls, with_keys, lambda layout, values: make_tree(cls, layout, values), lambda tree: (tree._values, tree._layout)
    )


_register(NestedDict)
_register(FlattedDict)

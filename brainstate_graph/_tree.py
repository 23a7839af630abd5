"""State trees: the values of a graph's states, keyed by path; ``NestedDict`` and ``FlattedDict`` are two views.

Both are immutable mappings over the same two things, an interned `Layout` and one flat tuple of values.  As pytrees
they flatten to that tuple with the layout as static part: one Python call for the whole tree, none per state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.tree_util import GetAttrKey

from ._filter import Filter, partition
from ._layout import Layout, Path, StateSpec
from ._looks import Shown, bare, look_of_state, mapping
from ._print import call, page, show
from ._show import dotted
from ._state import State, make_state
from ._static import Static

__all__ = ["FlattedDict", "NestedDict", "TreefyState", "join"]

S = TypeVar("S", bound="StateTree")


class TreefyState:
    """The plain-data form of one State: a pytree that holds its value and names its kind.

    Args:
        type: The class of the State.
        value: Its value.
        **metadata: Its name, tags and declared metadata.

    Example:
        >>> from brainstate_graph import State, TreefyState
        >>> TreefyState(State, 1.0).to_state()
        State(1.0)
    """

    __slots__ = ("_meta", "type", "value")

    def __init__(self, type: type[State[Any]], value: Any, **metadata: Any) -> None:
        if metadata.get("tag") is not None:
            tag = metadata["tag"]
            metadata["tag"] = frozenset((tag,)) if isinstance(tag, str) else frozenset(tag)
        self.type = type
        self.value = value
        self._meta = tuple(sorted((k, v) for k, v in metadata.items() if v is not None))

    @property
    def name(self) -> str | None:
        """The name given to the state, or None."""
        return dict(self._meta).get("name")

    @property
    def tag(self) -> frozenset[str] | None:
        """The tags of the state, or None."""
        return dict(self._meta).get("tag")

    @property
    def metadata(self) -> dict[str, Any]:
        """What was declared about the state besides its value."""
        return dict(self._meta)

    def replace(self, value: Any) -> TreefyState:
        """Return the same with another value."""
        return _treefy(StateSpec(self.type, self._meta), value)

    def to_state(self) -> State[Any]:
        """Return a new live State of this kind, value and metadata."""
        return make_state(self.type, self.value, self._meta)

    def __repr__(self) -> str:
        return call("TreefyState", {"type": self.type, "value": self.value, "tag": None, **dict(self._meta)})

    __treescope_repr__ = page

    def _shown_(self) -> Shown:
        shown = look_of_state(TreefyState, bare("value", self.value), self._meta, self.value)
        kind = self.type.__name__
        return shown._replace(opening=f"TreefyState({kind}, ", counted_as=kind)

    def __getstate__(self) -> tuple[Any, ...]:
        return (self.type, self.value, self._meta)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.type, self.value, self._meta = state


def _treefy(spec: StateSpec, value: Any) -> TreefyState:
    ref = object.__new__(TreefyState)
    ref.type, ref._meta, ref.value = spec.kind, spec.meta, value
    return ref


def _treefy_flatten_keys(ref: TreefyState) -> tuple[Any, ...]:
    return ((GetAttrKey("value"), ref.value),), _static_part(ref)


def _static_part(ref: TreefyState) -> Static:
    return Static((ref.type, ref._meta))  # compared by type and value


jax.tree_util.register_pytree_with_keys(
    TreefyState,
    _treefy_flatten_keys,
    lambda static, children: _treefy(StateSpec(*static.value), next(iter(children))),
    lambda ref: ((ref.value,), _static_part(ref)),
)


class StateTree(Mapping[Any, Any]):
    """What the two views have in common."""

    __slots__ = ("_layout", "_values")

    _layout: Layout
    _values: tuple[Any, ...]

    @classmethod
    def _of(cls: type[S], layout: Layout, values: Sequence[Any]) -> S:
        tree = object.__new__(cls)
        tree._layout = layout
        tree._values = tuple(values)
        return tree

    @classmethod
    def from_flat(cls: type[S], items: Mapping[Path, Any] | Iterable[tuple[Path, Any]] | FlattedDict) -> S:
        """Return the tree with these paths.

        Args:
            items: A mapping or pairs; paths are tuples of keys. TreefyStates give their kind to the tree.
        """
        if isinstance(items, StateTree):
            return cls._of(items._layout, items._values)
        pairs = list(items.items() if isinstance(items, Mapping) else items)
        for path, _ in pairs:
            if not isinstance(path, tuple):
                raise TypeError(f"a path is a tuple of keys, not {path!r}: write `{(path,)!r}`")
        layout, order = Layout.from_paths([p for p, _ in pairs], [_spec(v) for _, v in pairs])
        return cls._of(layout, [_payload(pairs[i][1]) for i in order])

    def _item(self, place: int) -> Any:
        spec = self._layout.specs[place]
        return self._values[place] if spec is None else _treefy(spec, self._values[place])

    def to_flat(self) -> FlattedDict:
        """Return the view keyed by path tuples."""
        return FlattedDict._of(self._layout, self._values)

    def to_nest(self) -> NestedDict:
        """Return the view keyed level by level.

        Raises:
            ValueError: A path is empty, or the beginning of another.
        """
        parents = {parent for parent, _ in self._layout.entries}
        for place, leaf in enumerate(self._layout.leaves):
            if leaf < 0 or leaf in parents:
                raise ValueError(
                    f"the path {self._layout.path(place)!r} is the beginning of another: it cannot be nested"
                )
        return NestedDict._of(self._layout, self._values)

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
        groups = partition(filters, self._layout.path, self._item, len(self._layout), exhaustive)
        return tuple(self._of(self._layout.pick(g), [self._values[i] for i in g]) for g in groups)

    @classmethod
    def merge(cls: type[S], first: StateTree, /, *rest: StateTree) -> S:
        """Return one tree with the paths of all; where a path stands in several, the last one wins."""
        merged = join((first, *rest), cls, last_wins=True)
        return cls.from_flat(merged)

    def __or__(self: S, other: Any) -> S:
        if not isinstance(other, StateTree):
            return NotImplemented
        return self.merge(self, other)

    def __sub__(self: S, other: Any) -> S:
        if not isinstance(other, StateTree):
            return NotImplemented
        kept = [i for i, at in enumerate(self._layout.positions_in(other._layout)) if at is None]
        return self._of(self._layout.pick(kept), [self._values[i] for i in kept])

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self) or self._layout is not other._layout:
            return False
        mine, theirs = jax.tree.flatten(self._values), jax.tree.flatten(other._values)
        return mine[1] == theirs[1] and all(map(_same, mine[0], theirs[0]))

    __hash__ = None

    __repr__ = show
    __treescope_repr__ = page

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._layout, self._values)

    def __delitem__(self, key: Any) -> None:
        raise TypeError(f"a {type(self).__name__} does not change. Write `tree = tree.filter(Not(PathContains(key)))`.")

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError(
            f"a {type(self).__name__} does not change. Write "
            f"`tree = tree | {type(self).__name__}.from_flat({{path: value}})`, or map it: `jax.tree.map(f, tree)`."
        )


def _same(left: Any, right: Any) -> bool:
    if left is right:
        return True
    if isinstance(left, (jax.Array, np.ndarray)) or isinstance(right, (jax.Array, np.ndarray)):
        return bool(jax.numpy.array_equal(left, right))
    return bool(left == right)


def _rebuild(cls: type[S], layout: Layout, values: tuple[Any, ...]) -> S:
    return cls._of(layout, values)


def _spec(item: Any) -> StateSpec | None:
    return StateSpec(item.type, item._meta) if isinstance(item, TreefyState) else None


def _payload(item: Any) -> Any:
    return item.value if isinstance(item, TreefyState) else item


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
        flat: list[tuple[Path, Any]] = []
        stack: list[tuple[Path, Any]] = [((), items)]
        while stack:
            path, item = stack.pop()
            if isinstance(item, StateTree):
                flat.extend((path + p, v) for p, v in item.to_flat().items())
            elif isinstance(item, Mapping):
                stack.extend(((*path, k), v) for k, v in item.items())
            else:
                flat.append((path, item))
        return cls.from_flat(flat)

    @classmethod
    def from_flat(cls, items: Any) -> NestedDict:
        """Return the tree with these paths; none may be the beginning of another."""
        return super().from_flat(items).to_nest()

    def __getitem__(self, key: Any) -> Any:
        entry = self._layout.steps.get((-1, key))
        if entry is None:
            raise KeyError(f"{key!r}; the keys here are {list(self)}")
        return self._at(entry)

    def _at(self, entry: int) -> Any:
        place = self._layout.place_of.get(entry)
        if place is not None:
            return self._item(place)
        layout, first, last = self._layout.below(entry)
        return NestedDict._of(layout, self._values[first:last])

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            entry = self._layout.steps.get((-1, name))
            if entry is not None:
                return self._at(entry)
        raise AttributeError(f"{type(self).__name__!r} has no attribute or key {name!r}")

    def __iter__(self) -> Iterator[Any]:
        return (key for parent, key in self._layout.entries if parent == -1)

    def __len__(self) -> int:
        return sum(parent == -1 for parent, _ in self._layout.entries)

    def to_pure_dict(self) -> dict[Any, Any]:
        """Return nested plain dictionaries with the bare values at the ends."""
        return self._nested(lambda place: self._values[place])

    def _nested(self, item: Any) -> dict[Any, Any]:
        root: dict[Any, Any] = {}
        made: list[Any] = []
        for entry, (parent, key) in enumerate(self._layout.entries):
            place = self._layout.place_of.get(entry)
            value = {} if place is None else item(place)
            made.append(value)
            (root if parent < 0 else made[parent])[key] = value
        return root

    def _shown_(self) -> Shown:
        items = self._nested(self._item)
        return mapping(NestedDict, items, tuple(items.values()))


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

    def __getitem__(self, path: Path) -> Any:
        entry = self._layout.find(path) if isinstance(path, tuple) else None
        place = None if entry is None else self._layout.place_of.get(entry)
        if place is None:
            near = ", ".join(dotted(p) for p in list(self)[:8])
            raise KeyError(f"no state at {path!r}; there are {near or 'none'}")
        return self._item(place)

    def __iter__(self) -> Iterator[Path]:
        return iter(self._layout.paths)

    def __len__(self) -> int:
        return len(self._values)

    def to_dict_values(self) -> dict[Path, Any]:
        """Return the current values by path, of live States too."""
        return {p: v.value if isinstance(v, (State, TreefyState)) else v for p, v in self.items()}

    def _shown_(self) -> Shown:
        places = range(len(self))
        return mapping(FlattedDict, map(self._layout.path, places), [self._item(place) for place in places])


def join(trees: Sequence[StateTree], cls: type[S], *, last_wins: bool) -> S:
    """Return one tree with the paths of all.

    Raises:
        ValueError: A path stands in two trees, unless `last_wins`.
    """
    if len(trees) == 1:
        return cls._of(trees[0]._layout, trees[0]._values)
    items: dict[Path, Any] = {}
    for tree in trees:
        for place, path in enumerate(tree._layout.paths):
            if path in items and not last_wins:
                raise ValueError(f"the state {dotted(path)} stands in two of the trees")
            items[path] = tree._item(place)
    return cls.from_flat(items)


def _register(cls: type[StateTree]) -> None:
    # One standard key per value whose string is the state's path: `.layers.0.weight`.
    def with_keys(tree: StateTree) -> tuple[Any, ...]:
        return tuple(
            (GetAttrKey(dotted(path)), value) for path, value in zip(tree._layout.paths, tree._values, strict=True)
        ), tree._layout

    def rebuild(layout: Layout, values: Any) -> StateTree:
        tree = object.__new__(cls)
        tree._layout = layout
        tree._values = tuple(values)
        return tree

    jax.tree_util.register_pytree_with_keys(cls, with_keys, rebuild, lambda tree: (tree._values, tree._layout))


_register(NestedDict)
_register(FlattedDict)

"""``Layout``: the paths of a state tree as one immutable, interned object.

A *step* is one key of a path, and paths that begin alike share their first steps: a layout holds them as a trie in
pre-order, each step with its *parent*, the step before it.  So a chain of 100,000 nodes costs 100,000 steps and not 5
billion.  A value belongs to the last step of its path, its *leaf*.  Tuples of keys are made only when somebody looks.

Sibling keys stand in one fixed order, so that two trees with the same paths have the same layout object, however they
came to be.  A layout is the static part of a state tree as a pytree: JAX compares it on every call.
"""

from __future__ import annotations

import threading
import weakref
from bisect import bisect_left
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, final

from .._tools.words import dotted
from .errors import GraphError
from .static import EXACT, static_key

__all__ = ["Layout", "Path", "StateSpec", "intern", "keys_key", "path_to", "restrict", "sibling_order"]

Path = tuple[Any, ...]

_interned: weakref.WeakValueDictionary[Hashable, Any] = weakref.WeakValueDictionary()
_intern_lock = threading.RLock()  # making one thing may intern another


def intern(key: Hashable, make: Any) -> Any:
    """Return the one live object with this key, made now if there is none.

    JAX compares the static parts of two pytrees with ``is`` before ``==``: one object for equal structure makes that
    comparison free on every call.
    """
    found = _interned.get(key)
    if found is None:
        # Two threads that split equal models must get one object, or one of them would compile again.
        with _intern_lock:
            found = _interned.get(key)
            if found is None:
                found = _interned[key] = make()
    return found


def _order_key(key: Any) -> tuple[str, Any]:
    # The order of two keys must not depend on which others there are.
    kind = type(key)
    return (kind.__name__, key if kind in (bool, int, float, str, bytes) else repr(key))


def sibling_order(keys: Iterable[Any]) -> list[Any]:
    """Sort the keys of one level: by type, then by value, or by ``repr`` where values do not compare."""
    keys = list(keys)
    if all(type(key) is str for key in keys):
        return sorted(keys)
    return sorted(keys, key=_order_key)


@final
class StateSpec:
    """What a state tree knows of one state besides its value: its kind and metadata; equal ones are one object."""

    __slots__ = ("__weakref__", "kind", "meta")

    kind: type[Any]
    meta: tuple[tuple[str, Any], ...]

    def __new__(cls, kind: type[Any], meta: tuple[tuple[str, Any], ...] = ()) -> StateSpec:
        def make() -> StateSpec:
            spec = object.__new__(StateSpec)
            spec.kind, spec.meta = kind, meta
            return spec

        return intern((StateSpec, kind, static_key(meta)), make)

    def __reduce__(self) -> tuple[Any, ...]:
        return StateSpec, (self.kind, self.meta)

    def __repr__(self) -> str:
        return f"StateSpec({self.kind.__name__}, {dict(self.meta)})"


_SHOWN = 8  # values of a layout in its text, and three times as many where they are of unusual kinds


def _in_words(spec: StateSpec | None) -> str:
    if spec is None:
        return "a value"
    return spec.kind.__name__ + (f"({', '.join(f'{k}={v!r}' for k, v in spec.meta)})" if spec.meta else "")


def keys_key(keys: tuple[Any, ...]) -> Hashable:
    """Return a key of many path steps, compared by type and value; strings stand for themselves."""
    kinds = set(map(type, keys))
    if kinds <= _NAMES:
        return keys
    if kinds <= EXACT:
        return keys, tuple(map(type, keys))
    return tuple(map(static_key, keys))


_NAMES = frozenset({str})


@final
class Layout:
    """Where the values of a state tree belong.

    Attributes:
        parents: For each step the step before it, -1 for the root.
        keys: For each step its key.
        leaves: For each value the last step of its path (-1: the value is the tree itself).
        specs: For each value its StateSpec, or None for a plain value.
    """

    __slots__ = ("__dict__", "__weakref__", "keys", "leaves", "parents", "specs")

    parents: tuple[int, ...]
    keys: tuple[Any, ...]
    leaves: tuple[int, ...]
    specs: tuple[StateSpec | None, ...]

    @staticmethod
    def of(
        parents: Iterable[int], keys: Iterable[Any], leaves: Iterable[int], specs: Iterable[StateSpec | None]
    ) -> Layout:
        """Return the interned layout with these parts."""
        parts = (tuple(parents), tuple(keys), tuple(leaves), tuple(specs))

        def make() -> Layout:
            layout = object.__new__(Layout)
            layout.parents, layout.keys, layout.leaves, layout.specs = parts
            return layout

        return intern((Layout, parts[0], keys_key(parts[1]), *parts[2:]), make)

    @staticmethod
    def from_paths(paths: Sequence[Path], specs: Sequence[StateSpec | None]) -> tuple[Layout, list[int]]:
        """Return the layout of these paths, and for each of its values the index into `paths`.

        Raises:
            GraphError: Paths stand twice, or keys of one level are equal but of different type.
            TypeError: A key is not hashable.
        """
        steps: list[tuple[int, Any]] = []
        leaves: list[int] = []
        for path in paths:
            step = -1
            for key in path:
                steps.append((step, key))
                step = len(steps) - 1
            leaves.append(step)
        return Layout.from_steps(steps, leaves, specs)

    @staticmethod
    def from_steps(
        steps: Iterable[tuple[int, Any]],
        leaves: Sequence[int],
        specs: Sequence[StateSpec | None],
        last_wins: bool = False,
    ) -> tuple[Layout, list[int]]:
        """Return the layout of a trie in any order, and for each of its values the index into `leaves`.

        Args:
            steps: Pairs of parent and key, each step after its parent; the same one may stand several times.
            leaves: For each value its last step.
            specs: For each value its StateSpec, or None for a plain value.
            last_wins: Whether a value replaces an earlier one of its path; a plain one then takes its StateSpec too.

        Raises:
            GraphError: Two values have one path, or keys of one level are equal but of different type.
            TypeError: A key is not hashable.
        """
        trie = _Trie()
        step_of = trie.grow(steps)
        index_of: dict[int, int] = {}
        spec_of: dict[int, StateSpec | None] = {}
        twice: dict[int, None] = {}
        for i, leaf in enumerate(leaves):
            step = -1 if leaf < 0 else step_of[leaf]
            if step in index_of:
                twice[step] = None
            index_of[step] = i
            spec_of[step] = specs[i] or spec_of.get(step)
        if twice and not last_wins:
            raise GraphError("; ".join(f"the path {trie.path_to(step)!r} occurs twice" for step in twice))
        parents, keys, old = trie.in_order()
        new = {-1: -1, **{step: i for i, step in enumerate(old)}}
        kept = sorted(index_of, key=new.__getitem__)
        layout = Layout.of(parents, keys, [new[step] for step in kept], [spec_of[step] for step in kept])
        return layout, [index_of[step] for step in kept]

    def __reduce__(self) -> tuple[Any, ...]:
        return Layout.of, (self.parents, self.keys, self.leaves, self.specs)

    def __repr__(self) -> str:  # JAX prints it, where it says how two trees differ
        usual = max(dict.fromkeys(self.specs), key=self.specs.count, default=None)
        shown = [i for i, spec in enumerate(self.specs) if i < _SHOWN or spec is not usual]
        lines = [f"{dotted(self.path(i))}: {_in_words(self.specs[i])}" for i in shown[: 3 * _SHOWN]]
        more = [f"... and {len(self) - len(lines)} more"] if len(lines) < len(self) else []
        return f"Layout({', '.join([*lines, *more])})"

    def __len__(self) -> int:
        return len(self.leaves)

    def path(self, index: int) -> Path:
        """Return the path of a value."""
        return path_to(self.parents, self.keys, self.leaves[index])

    def path_to(self, step: int) -> Path:
        """Return the path that ends with a step."""
        return path_to(self.parents, self.keys, step)

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """The paths of all values, in order."""
        return tuple(map(self.path, range(len(self.leaves))))

    def steps(self) -> Iterator[tuple[int, Any]]:
        """Return the parent and the key of each step."""
        return zip(self.parents, self.keys, strict=True)

    @cached_property
    def step_below(self) -> dict[tuple[int, Any], int]:
        """By a step and a key the step that follows."""
        return {step: number for number, step in enumerate(self.steps())}

    @cached_property
    def index_at(self) -> dict[int, int]:
        """By the last step of its path the index of a value."""
        return {step: index for index, step in enumerate(self.leaves)}

    def find(self, path: Path) -> int | None:
        """Return the last step of a path (-1 for the empty one), or None if it is not here."""
        step: int | None = -1
        for key in path:
            step = self.step_below.get((step, key))
            if step is None:
                return None
        return step

    def below(self, step: int) -> tuple[Layout, int, int]:
        """Return the layout of the sub-tree below a step, and the range of its values in this one."""
        end = step + 1
        while end < len(self.parents) and self.parents[end] >= step:
            end += 1
        parents = [max(parent - step - 1, -1) for parent in self.parents[step + 1 : end]]
        first, last = bisect_left(self.leaves, step), bisect_left(self.leaves, end)
        leaves = [max(leaf - step - 1, -1) for leaf in self.leaves[first:last]]
        return Layout.of(parents, self.keys[step + 1 : end], leaves, self.specs[first:last]), first, last

    def pick(self, indices: Sequence[int]) -> Layout:
        """Return the layout of some of the values; `indices` in increasing order."""
        if len(indices) == len(self.leaves):
            return self
        leaves, specs = [self.leaves[i] for i in indices], [self.specs[i] for i in indices]
        return restrict(self.parents, self.keys, leaves, specs)

    def indices_in(self, other: Layout) -> list[int | None]:
        """Return for each value of this layout its index in `other`, or None where `other` has no such path."""
        if self is other:
            return list(range(len(self.leaves)))
        theirs: list[int | None] = []  # for each step the one of the same path; the last is that of the root, step -1
        for parent, key in self.steps():
            above = -1 if parent < 0 else theirs[parent]
            theirs.append(None if above is None else other.step_below.get((above, key)))
        theirs.append(-1)
        return [None if (step := theirs[leaf]) is None else other.index_at.get(step) for leaf in self.leaves]


def path_to(parents: Sequence[int], keys: Sequence[Any], step: int) -> Path:
    """Return the keys that lead to a step of a trie."""
    path: list[Any] = []
    while step >= 0:
        path.append(keys[step])
        step = parents[step]
    return tuple(reversed(path))


@final
class _Trie:
    """The steps of many paths while they are collected, each once."""

    def __init__(self) -> None:
        self.parents: list[int] = []
        self.keys: list[Any] = []
        self.below: list[dict[Hashable, int]] = [{}]  # of the root, then of each step, those that follow, by key

    def path_to(self, step: int) -> Path:
        return path_to(self.parents, self.keys, step)

    def grow(self, steps: Iterable[tuple[int, Any]]) -> list[int]:
        """Add steps, and return for each its number here."""
        numbers: list[int] = []
        for parent, key in steps:
            above = -1 if parent < 0 else numbers[parent]
            exact = key if type(key) is str else static_key(key)
            level = self.below[above + 1]
            found = level.get(exact)
            if found is None:
                found = level[exact] = len(self.keys)
                self.parents.append(above)
                self.keys.append(key)
                self.below.append({})
                if exact is not key:
                    self._check(found, key)
            numbers.append(found)
        return numbers

    def _check(self, step: int, key: Any) -> None:
        try:
            hash(key)
        except TypeError:
            raise TypeError(
                f"the keys of a state tree must be hashable, not {key!r} as in {self.path_to(step)!r}"
            ) from None

    def in_order(self) -> tuple[list[int], list[Any], list[int]]:
        """Return the steps in pre-order with siblings in their order: parents, keys, and the number that each had."""
        parents: list[int] = []
        old: list[int] = []
        stack = [(-1, -1)]
        while stack:
            step, parent = stack.pop()
            here = -1
            if step >= 0:
                here = len(old)
                parents.append(parent)
                old.append(step)
            level = self.below[step + 1]
            if level:
                stack.extend((child, here) for child in reversed(self._siblings(level)))
        return parents, [self.keys[step] for step in old], old

    def _siblings(self, level: dict[Hashable, int]) -> list[int]:
        if len(level) == 1:
            return list(level.values())
        children: dict[Any, int] = {}
        for child in level.values():
            twin = children.setdefault(self.keys[child], child)
            # 1 and True are two keys for a graph, but one for the dictionaries that a tree shows.
            if twin != child:
                paths = f"{self.path_to(twin)!r} and {self.path_to(child)!r}"
                raise GraphError(f"two keys of one level are equal but of different type: {paths}")
        return [children[key] for key in sibling_order(children)]


def restrict(
    parents: Sequence[int], keys: Sequence[Any], leaves: Sequence[int], specs: Sequence[StateSpec | None]
) -> Layout:
    """Return the layout of the given leaves, without the steps that lead to none of them."""
    # Where every step is a leaf or a parent, none is to be left out: what is no leaf has something below it, and that
    # has, and so on.
    if len({-1, *parents, *leaves}) == len(parents) + 1:
        return Layout.of(parents, keys, leaves, specs)
    needed = [False] * (len(parents) + 1)  # the last one is the root, step -1
    for step in leaves:
        needed[step] = True
    for step in range(len(parents) - 1, -1, -1):  # below before above
        if needed[step]:
            needed[parents[step]] = True
    kept = [step for step in range(len(parents)) if needed[step]]
    new = {step: i for i, step in enumerate(kept)}
    new[-1] = -1
    return Layout.of([new[parents[s]] for s in kept], [keys[s] for s in kept], [new[leaf] for leaf in leaves], specs)

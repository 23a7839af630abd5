"""``Layout``: the paths of a state tree as one immutable, interned object.

Paths share their prefixes, so they are held as a trie in pre-order: a chain of 100,000 nodes costs 100,000
entries and not 5 billion.  Tuples of keys are made only when somebody looks.  Sibling keys stand in one fixed
order, so that two trees with the same paths have the same layout object, however they came to be.
"""

from __future__ import annotations

import threading
import weakref
from bisect import bisect_left
from collections.abc import Hashable, Iterable, Sequence
from functools import cached_property
from typing import Any

from .._tools.words import dotted
from .errors import GraphError
from .static import EXACT, static_key

__all__ = ["Layout", "Path", "StateSpec", "intern", "keys_key", "path_of", "restrict", "sibling_order"]

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


class StateSpec:
    """What a state tree knows of one state besides its value; equal ones are one object."""

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


def keys_key(keys: tuple[Any, ...]) -> Hashable:
    """Return a key of many path steps, compared by type and value; strings stand for themselves."""
    kinds = set(map(type, keys))
    if kinds <= _NAMES:
        return keys
    if kinds <= EXACT:
        return keys, tuple(map(type, keys))
    return tuple(map(static_key, keys))


_NAMES = frozenset({str})


class Layout:
    """Where the values of a state tree belong.

    Attributes:
        parents: The trie in pre-order: for each entry the entry above it, -1 for the root.
        keys: For each entry the key of the step that leads to it.
        leaves: For each value the entry that it hangs on (-1: the root itself).
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
        """Return the layout of these paths, and for each of its places the index into `paths`.

        Raises:
            GraphError: Paths stand twice, or keys of one level are equal but of different type.
            TypeError: A key is not hashable.
        """
        entries: list[tuple[int, Any]] = []
        leaves: list[int] = []
        for path in paths:
            entry = -1
            for key in path:
                entries.append((entry, key))
                entry = len(entries) - 1
            leaves.append(entry)
        return Layout.from_entries(entries, leaves, specs)

    @staticmethod
    def from_entries(
        entries: Iterable[tuple[int, Any]],
        leaves: Sequence[int],
        specs: Sequence[StateSpec | None],
        last_wins: bool = False,
    ) -> tuple[Layout, list[int]]:
        """Return the layout of a trie in any order, and for each of its places the index into `leaves`.

        Args:
            entries: As those of a layout, each after its parent; the same step may stand several times.
            leaves: For each value the entry that it hangs on.
            specs: For each value its StateSpec, or None for a plain value.
            last_wins: Whether a value takes the place of an earlier one; a plain one then takes its StateSpec too.

        Raises:
            GraphError: Two values hang on one path, or keys of one level are equal but of different type.
            TypeError: A key is not hashable.
        """
        trie = _Trie()
        entry_of = trie.grow(entries)
        number: dict[int, int] = {}
        spec_of: dict[int, StateSpec | None] = {}
        twice: dict[int, None] = {}
        for i, leaf in enumerate(leaves):
            entry = -1 if leaf < 0 else entry_of[leaf]
            if entry in number:
                twice[entry] = None
            number[entry] = i
            spec_of[entry] = specs[i] or spec_of.get(entry)
        if twice and not last_wins:
            raise GraphError("; ".join(f"the path {path_of(trie.entries, entry)!r} stands twice" for entry in twice))
        ordered, old = trie.in_order()
        new = {-1: -1, **{entry: i for i, entry in enumerate(old)}}
        kept = sorted(number, key=new.__getitem__)
        parents, keys = [parent for parent, _ in ordered], [key for _, key in ordered]
        layout = Layout.of(parents, keys, [new[e] for e in kept], [spec_of[e] for e in kept])
        return layout, [number[e] for e in kept]

    def __reduce__(self) -> tuple[Any, ...]:
        return Layout.of, (self.parents, self.keys, self.leaves, self.specs)

    def __repr__(self) -> str:  # JAX prints it, where it says how two trees differ
        return f"Layout({', '.join(dotted(self.path(i)) for i in range(min(len(self), 8)))}{', ...' * (len(self) > 8)})"

    def __len__(self) -> int:
        return len(self.leaves)

    def path(self, place: int) -> Path:
        """Return the path of the value at `place`."""
        steps: list[Any] = []
        entry = self.leaves[place]
        while entry >= 0:
            steps.append(self.keys[entry])
            entry = self.parents[entry]
        return tuple(reversed(steps))

    @cached_property
    def entries(self) -> tuple[tuple[int, Any], ...]:
        """For each entry of the trie its parent and its key."""
        return tuple(zip(self.parents, self.keys, strict=True))

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """All paths, in order."""
        return tuple(map(self.path, range(len(self.leaves))))

    @cached_property
    def steps(self) -> dict[tuple[int, Any], int]:
        """The entry that a step leads to, by (parent entry, key)."""
        return {(parent, key): entry for entry, (parent, key) in enumerate(self.entries)}

    @cached_property
    def place_of(self) -> dict[int, int]:
        """The place of the value that hangs on an entry."""
        return {entry: place for place, entry in enumerate(self.leaves)}

    def find(self, path: Path) -> int | None:
        """Return the entry that `path` leads to (-1 for the root), or None."""
        entry: int | None = -1
        for key in path:
            entry = self.steps.get((entry, key))
            if entry is None:
                return None
        return entry

    def end_of(self, entry: int) -> int:
        """Return the entry after the last one below `entry`."""
        end = entry + 1
        while end < len(self.parents) and self.parents[end] >= entry:
            end += 1
        return end

    def below(self, entry: int) -> tuple[Layout, int, int]:
        """Return the layout of the sub-tree at `entry`, and the range of its values in this one."""
        end = self.end_of(entry)
        parents = [max(p - entry - 1, -1) for p in self.parents[entry + 1 : end]]
        first, last = bisect_left(self.leaves, entry), bisect_left(self.leaves, end)
        leaves = [max(leaf - entry - 1, -1) for leaf in self.leaves[first:last]]
        return Layout.of(parents, self.keys[entry + 1 : end], leaves, self.specs[first:last]), first, last

    def pick(self, places: Sequence[int]) -> Layout:
        """Return the layout of some of the values; `places` in increasing order."""
        if len(places) == len(self.leaves):
            return self
        leaves, specs = [self.leaves[i] for i in places], [self.specs[i] for i in places]
        return restrict(self.parents, self.keys, leaves, specs)

    def positions_in(self, other: Layout) -> list[int | None]:
        """Return for each value of this layout its place in `other`, or None where `other` has no such path."""
        if self is other:
            return list(range(len(self.leaves)))
        mapped: list[int | None] = []
        for parent, key in self.entries:
            above = -1 if parent < 0 else mapped[parent]
            mapped.append(None if above is None else other.steps.get((above, key)))
        places = other.place_of
        return [
            places.get(-1) if leaf < 0 else None if mapped[leaf] is None else places.get(mapped[leaf])  # type: ignore[arg-type]
            for leaf in self.leaves
        ]


def path_of(entries: Sequence[tuple[int, Any]], entry: int) -> Path:
    """Return the path that leads to an entry of a trie."""
    keys: list[Any] = []
    while entry >= 0:
        entry, key = entries[entry]
        keys.append(key)
    return tuple(reversed(keys))


class _Trie:
    """The steps of many paths while they are collected, each once."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, Any]] = []
        self.below: list[dict[Hashable, int]] = [{}]  # of the root, then of each entry

    def grow(self, entries: Iterable[tuple[int, Any]]) -> list[int]:
        """Add entries, and return for each its number here."""
        numbers: list[int] = []
        for parent, key in entries:
            above = -1 if parent < 0 else numbers[parent]
            step = key if type(key) is str else static_key(key)
            level = self.below[above + 1]
            found = level.get(step)
            if found is None:
                found = level[step] = len(self.entries)
                self.entries.append((above, key))
                self.below.append({})
                if step is not key:
                    self._check(found, key)
            numbers.append(found)
        return numbers

    def _check(self, entry: int, key: Any) -> None:
        try:
            hash(key)
        except TypeError:
            raise TypeError(
                f"a key of a state tree is hashable, not {key!r} as in {path_of(self.entries, entry)!r}"
            ) from None

    def in_order(self) -> tuple[list[tuple[int, Any]], list[int]]:
        """The entries in pre-order with siblings in their order, and the number that each of them had."""
        ordered: list[tuple[int, Any]] = []
        old: list[int] = []
        stack = [(-1, -1)]
        while stack:
            entry, parent = stack.pop()
            here = -1
            if entry >= 0:
                here = len(ordered)
                ordered.append((parent, self.entries[entry][1]))
                old.append(entry)
            level = self.below[entry + 1]
            if level:
                stack.extend((child, here) for child in reversed(self._siblings(level)))
        return ordered, old

    def _siblings(self, level: dict[Hashable, int]) -> list[int]:
        if len(level) == 1:
            return list(level.values())
        children: dict[Any, int] = {}
        for child in level.values():
            twin = children.setdefault(self.entries[child][1], child)
            if twin != child:
                paths = f"{path_of(self.entries, twin)!r} and {path_of(self.entries, child)!r}"
                raise GraphError(f"two keys of one level are equal but of different type: {paths}")
        return [children[key] for key in sibling_order(children)]


def restrict(
    parents: Sequence[int], keys: Sequence[Any], leaves: Sequence[int], specs: Sequence[StateSpec | None]
) -> Layout:
    """Return the layout of the given leaves, without the entries that lead to none of them."""
    if len({-1, *parents, *leaves}) == len(parents) + 1:  # what is no leaf has something below it, and that has, ...
        return Layout.of(parents, keys, leaves, specs)
    needed = [False] * (len(parents) + 1)  # the last one is the root, entry -1
    for entry in leaves:
        needed[entry] = True
    for entry in range(len(parents) - 1, -1, -1):  # below before above
        if needed[entry]:
            needed[parents[entry]] = True
    kept = [entry for entry in range(len(parents)) if needed[entry]]
    new = {entry: i for i, entry in enumerate(kept)}
    new[-1] = -1
    return Layout.of([new[parents[e]] for e in kept], [keys[e] for e in kept], [new[e] for e in leaves], specs)

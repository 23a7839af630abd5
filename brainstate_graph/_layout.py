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
from typing import Any, NamedTuple

from ._show import dotted
from ._static import static_key

__all__ = ["Layout", "Path", "StateSpec", "intern", "sibling_order"]

Path = tuple[Any, ...]

_interned: weakref.WeakValueDictionary[Hashable, Any] = weakref.WeakValueDictionary()
_intern_lock = threading.Lock()


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


class StateSpec(NamedTuple):
    """What a state tree knows of one state besides its value."""

    kind: type[Any]
    meta: tuple[tuple[str, Any], ...]


class Layout:
    """Where the values of a state tree belong.

    Attributes:
        entries: The trie in pre-order: for each entry its parent (-1 for the root) and the key of the step.
        leaves: For each value the entry that it hangs on (-1: the root itself).
        specs: For each value its StateSpec, or None for a plain value.
    """

    __slots__ = ("__dict__", "__weakref__", "entries", "leaves", "specs")

    entries: tuple[tuple[int, Any], ...]
    leaves: tuple[int, ...]
    specs: tuple[StateSpec | None, ...]

    @staticmethod
    def of(entries: Sequence[tuple[int, Any]], leaves: Sequence[int], specs: Sequence[StateSpec | None]) -> Layout:
        """Return the interned layout with these parts."""
        parts = (tuple(entries), tuple(leaves), tuple(specs))

        def make() -> Layout:
            layout = object.__new__(Layout)
            layout.entries, layout.leaves, layout.specs = parts
            return layout

        key = (
            Layout,
            tuple([(parent, static_key(step)) for parent, step in parts[0]]),
            parts[1],
            tuple([s and (s.kind, static_key(s.meta)) for s in parts[2]]),
        )
        return intern(key, make)

    @staticmethod
    def from_paths(paths: Sequence[Path], specs: Sequence[StateSpec | None]) -> tuple[Layout, list[int]]:
        """Return the layout of these paths, and for each of its places the index into `paths`.

        Raises:
            ValueError: A path stands twice.
        """
        trie: dict[Any, Any] = {}
        end = object()
        for number, path in enumerate(paths):
            level = trie
            for key in path:
                level = level.setdefault(static_key(key), (key, {}))[1]
            if end in level:
                raise ValueError(f"the path {path!r} stands twice")
            level[end] = number
        entries: list[tuple[int, Any]] = []
        leaves: list[int] = []
        order: list[int] = []
        stack: list[tuple[int, Any, dict[Any, Any]]] = [(-2, None, trie)]
        while stack:
            parent, key, level = stack.pop()
            here = -1
            if parent >= -1:
                here = len(entries)
                entries.append((parent, key))
            if end in level:
                leaves.append(here)
                order.append(level[end])
            children = dict(pair for step, pair in level.items() if step is not end)
            if len(children) + (end in level) != len(level):  # 1 and True in one level
                raise ValueError("two keys of one level are equal but of different type")
            stack.extend((here, key, children[key]) for key in reversed(sibling_order(children)))
        return Layout.of(entries, leaves, [specs[i] for i in order]), order

    def __reduce__(self) -> tuple[Any, ...]:
        return Layout.of, (self.entries, self.leaves, self.specs)

    def __repr__(self) -> str:  # JAX prints it, where it says how two trees differ
        return f"Layout({', '.join(dotted(self.path(i)) for i in range(min(len(self), 8)))}{', ...' * (len(self) > 8)})"

    def __len__(self) -> int:
        return len(self.leaves)

    def path(self, place: int) -> Path:
        """Return the path of the value at `place`."""
        keys = []
        entry = self.leaves[place]
        while entry >= 0:
            entry, key = self.entries[entry]
            keys.append(key)
        return tuple(reversed(keys))

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
        while end < len(self.entries) and self.entries[end][0] >= entry:
            end += 1
        return end

    def below(self, entry: int) -> tuple[Layout, int, int]:
        """Return the layout of the sub-tree at `entry`, and the range of its values in this one."""
        end = self.end_of(entry)
        entries = [(max(p - entry - 1, -1), k) for p, k in self.entries[entry + 1 : end]]
        first, last = bisect_left(self.leaves, entry), bisect_left(self.leaves, end)
        leaves = [max(leaf - entry - 1, -1) for leaf in self.leaves[first:last]]
        return Layout.of(entries, leaves, self.specs[first:last]), first, last

    def pick(self, places: Sequence[int]) -> Layout:
        """Return the layout of some of the values; `places` in increasing order."""
        return restrict(self.entries, [self.leaves[i] for i in places], [self.specs[i] for i in places])

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


def restrict(entries: Sequence[tuple[int, Any]], leaves: Sequence[int], specs: Sequence[StateSpec | None]) -> Layout:
    """Return the layout of the given leaves, without the entries that lead to none of them."""
    needed: set[int] = set()
    for entry in leaves:
        while entry >= 0 and entry not in needed:
            needed.add(entry)
            entry = entries[entry][0]
    kept = sorted(needed)
    new = {entry: i for i, entry in enumerate(kept)}
    new[-1] = -1
    return Layout.of([(new[entries[e][0]], entries[e][1]) for e in kept], [new[e] for e in leaves], specs)

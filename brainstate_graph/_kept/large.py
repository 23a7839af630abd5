"""``Large``: a plain container or array that is too large to be compared by content each time.

What a node holds beside its states is part of the shape of its graph, and compared by content.  For a list of 100,000
that takes 1.5 milliseconds, for a set of a million 1.7 seconds, and an array of 40 MB would be copied with each shape.
So where a shape is only a key, as that of a compiled program, what is large goes in as its *digest*, which is worked
out once for an object.  Whether it is as it was is asked of its size and a few of its items: a change of others, in
place, is not seen.  Put another object in its place, and that is.

A container with nodes or states in it is never large: it is watched in full.

Where that is dear it is told once, with the path and what to write instead, see `Larges.tell`.
"""

from __future__ import annotations

import hashlib
import itertools
import marshal
import time
import weakref
from collections.abc import Callable, Hashable
from operator import is_, itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, final

import jax
import numpy as np

from .._core.foreign import foreign_type_of
from .._core.node import Node
from .._core.state import State
from .._core.static import EXACT, static_key
from .._tools.identity import ByIdentity
from .._tools.warn import warn
from .._tools.words import amount, describe, dotted

if TYPE_CHECKING:
    from .._core.snapshot import Snapshot

__all__ = ["Digest", "Large", "Larges"]

ITEMS = 64  # of a small container: to compare so many costs a microsecond
BYTES = 4096  # of a small array
_WHOLE = 2048  # plain values in small containers within one another, before the outermost is large
_SAMPLE = 16  # items that are looked at each time: half a microsecond
_DEAR_BYTES = 10**7  # of an array, the digest of which takes 7 milliseconds
_DEAR_VALUES = 200_000  # in a container: 6 milliseconds for numbers, more for others
_DEAR_BESIDE = 20_000  # plain items beside nodes or states: 0.3 milliseconds at each call

_CONTAINERS = (list, tuple, dict, set, frozenset)
_SORTED = frozenset({int, str, bytes})
_MARSHALLED = EXACT | {float, complex, *_CONTAINERS}


class Digest(NamedTuple):
    """What stands for a large thing in a shape: equal ones are of one type, one size and one content."""

    text: str
    content: Hashable

    def __repr__(self) -> str:
        return f"<{self.text}>"


@final
class Large:
    """One large thing.

    Args:
        item: It.
        kinds: The types of what it holds.
        told: Whether its price was told.

    Attributes:
        item: It.
        unchanged: Tells whether it seems to be as it was.
        digest: What stands for it.
        seconds: How long it took to work that out.
        told: Whether that was told.
    """

    __slots__ = ("__weakref__", "digest", "item", "seconds", "told", "unchanged")

    def __init__(self, item: Any, kinds: set[type[Any]], told: bool = False) -> None:
        self.item = item
        self.unchanged = _watch(item)  # made before the content is gone through: a change meanwhile must show
        began = time.perf_counter()
        self.digest = _digest(item, kinds)
        self.seconds = time.perf_counter() - began
        self.told = told


# By id. Each holds its item, so that the id stays that of the item; and is held by the graphs that it is in.
_known: weakref.WeakValueDictionary[int, Large] = weakref.WeakValueDictionary()


def _find(item: Any) -> Large | None:
    """Return what is known of a large thing; None if it is small, or holds nodes or states."""
    found = _known.get(id(item))
    if found is not None and found.unchanged():
        return found
    kinds: set[type[Any]] = set()
    if not _is_large(item, kinds):
        return None
    try:
        _known[id(item)] = found = Large(item, kinds, found is not None and found.told)
    except (RecursionError, ValueError):  # it holds itself: that is refused with its path where it is taken apart
        return None
    return found


def _is_large(item: Any, kinds: set[type[Any]]) -> bool:
    if isinstance(item, np.ndarray):
        return item.nbytes > BYTES and not item.dtype.hasobject
    if type(item) is bytearray:
        return len(item) > BYTES
    if not isinstance(item, _CONTAINERS):
        return False
    count = _count(item, kinds)
    return count is not None and (len(item) > ITEMS or count > _WHOLE)


@final
class Larges:
    """The large things of one graph, which keeps what is known of them.

    Attributes:
        used: The texts of those whose digest was used.
    """

    def __init__(self) -> None:
        self.used: list[str] = []
        self._held: dict[int, Large] = {}
        self._dear: list[Large] = []  # those whose price is to be told
        self._beside: dict[int, int] = {}  # by the id of a container with nodes in it: how many plain items it has

    def find(self, item: Any) -> Large | None:
        """Return what is known of a large thing; None if it is small, or holds nodes or states."""
        found = self._held.get(id(item))
        if found is None or not found.unchanged():
            found = _find(item)
            if found is not None:
                self._held[id(item)] = found
                if not found.told and _is_dear(item):
                    self._dear.append(found)
            elif isinstance(item, (list, tuple, dict)) and len(item) >= _DEAR_BESIDE:
                self._beside[id(item)] = _plain(item)
        return found

    def tell(self, snapshot: Snapshot) -> None:
        """Warn of what is dear in a graph that was taken apart with these, once of each object."""
        if self._dear:
            texts = {large.digest.text: large.seconds for large in self._dear}
            for large in self._dear:
                large.told = True
            for path, text in snapshot.large:
                seconds = max((seconds for inner, seconds in texts.items() if inner in text), default=None)
                if seconds is not None:
                    warn(_price(dotted(path), text, seconds))
        self._dear.clear()
        for row, item in enumerate(snapshot.objects if self._beside else ()):
            if self._beside.get(id(item), 0) >= _DEAR_BESIDE and id(item) not in _told_beside:
                _told_beside.add(id(item))
                warn(_price_beside(dotted(snapshot.graphdef.path(row)), type(item).__name__, len(item)))
        self._beside.clear()

    def digest(self, item: Any) -> Digest | None:
        """Return what stands for a large thing in the key of a static value that holds it, see `static_key`."""
        found = self.find(item)
        if found is None:
            return None
        self.used.append(found.digest.text)
        return found.digest

    def holding(self, value: Any) -> Digest | None:
        """Return what stands for a static value that holds something large; None if nothing in it is."""
        self.used.clear()
        key = static_key(value, self.digest)
        return Digest(f"{type(value).__name__} with a {' and a '.join(self.used)}", key) if self.used else None


_told_beside: set[int] = set()  # ids of containers that may be gone: then another one at its place is not told


def _price(path: str, text: str, seconds: float) -> str:
    """Return the warning for something large."""
    if "[" in text:  # of an array
        line = f", `{path} = State({path})`," if all(map(str.isidentifier, path.split("."))) else ""
        cure = f"Hold it in a State{line} or pass it as an argument."
    else:
        cure = (
            "Pass what the function needs of it as an argument, or hold that in a State; where it needs nothing, name "
            "the attribute in `graph_invisible_attrs` of the class."
        )
    return (
        f"{path} ({text}) is part of the programs that are compiled with the model. To read it all took "
        f"{1000 * seconds:.0f} ms, and takes as long again for each new object in its place. {cure}"
    )


def _price_beside(path: str, kind: str, count: int) -> str:
    """Return the warning for plain items beside nodes or states."""
    return (
        f"{path} ({kind} of {count:,}) holds nodes or states among plain items. All items are part of the programs "
        "that are compiled with the model, and each call compares all of them. Hold the nodes and states in a "
        "container of their own."
    )


def _is_dear(item: Any) -> bool:
    if isinstance(item, np.ndarray):  # a file that is mapped into memory is not read
        return item.nbytes >= _DEAR_BYTES and not isinstance(item, np.memmap)
    if isinstance(item, bytearray):
        return len(item) >= _DEAR_BYTES
    values, todo = 0, [item]
    while todo and values < _DEAR_VALUES:
        held = todo.pop()
        items = list(held.values() if isinstance(held, dict) else held)
        values += len(items)
        todo += [inner for inner in items if isinstance(inner, _CONTAINERS)]
    return values >= _DEAR_VALUES


def _plain(item: Any) -> int:
    """Count the items of a container that are no nodes or states."""
    held: Any = item.values() if isinstance(item, dict) else item
    return sum([not isinstance(inner, (Node, State)) for inner in list(held)])


def _count(item: Any, kinds: set[type[Any]]) -> int | None:
    """Count the plain values in a container, without those in large ones within it; collect the types of all.

    Returns:
        None if it holds a node, a state, or what a graph takes apart.
    """
    count, seen = 0, set[int]()
    todo: list[tuple[Any, bool]] = [(item, True)]
    while todo:
        holder, counts = todo.pop()
        if id(holder) in seen:
            continue
        seen.add(id(holder))
        held: Any = [*holder, *holder.values()] if isinstance(holder, dict) else holder
        counts = counts and (holder is item or len(holder) <= ITEMS)
        count += len(held) if counts else 0
        inside = set(map(type, held))
        kinds |= inside
        for kind in inside - EXACT:
            if issubclass(kind, (State, Node)) or foreign_type_of(kind) is not None:
                return None
            some = [inner for inner in held if type(inner) is kind]
            if not (kind in _CONTAINERS or issubclass(kind, tuple) or jax.tree_util.all_leaves(some[:1])):
                return None
            if issubclass(kind, _CONTAINERS):
                todo += [(inner, counts) for inner in some]
    return count


def _digest(item: Any, kinds: set[type[Any]]) -> Digest:
    kind = type(item)
    if isinstance(item, np.ndarray):
        text = f"{describe(item)}, {amount(item.nbytes)}"
        # A file that is mapped into memory is not read for this.
        content: Hashable = ByIdentity(item) if isinstance(item, np.memmap) else _hash(_bytes_of(item))
        return Digest(text, (kind, item.dtype, item.shape, content))
    if kind is bytearray:
        return Digest(f"bytearray, {amount(len(item))}", (kind, _hash(item)))
    if isinstance(item, (set, frozenset)) and len(kinds) == 1 and kinds <= _SORTED:
        content = _hash(marshal.dumps(sorted(item), 2))  # a third of the time
    elif kinds <= _MARSHALLED:
        # Version 2 spells values alone, and no sharing among them; the items of a set in one order.
        content = _hash(marshal.dumps(next(base(item) for base in _CONTAINERS if isinstance(item, base)), 2))
    else:
        content = _Hashed(static_key(item, lambda inner: None if inner is item else _digest_of(inner)))
    return Digest(f"{kind.__name__} of {len(item):,}", (kind, getattr(item, "default_factory", None), content))


def _digest_of(item: Any) -> Digest | None:
    found = _find(item)
    return None if found is None else found.digest


def _bytes_of(array: Any) -> Any:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _hash(content: Any) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


@final
class _Hashed:
    """A long key that knows its hash."""

    __slots__ = ("_hash", "_key")

    def __init__(self, key: Hashable) -> None:
        self._key = key
        self._hash = hash(key)

    def __eq__(self, other: object) -> bool:
        return type(other) is _Hashed and self._hash == other._hash and self._key == other._key

    def __hash__(self) -> int:
        return self._hash


def _watch(item: Any) -> Callable[[], bool]:
    """Watch the size of a large thing and a few of its items."""
    if isinstance(item, np.ndarray):
        return _watch_array(item)
    kind, count = type(item), len(item)
    step = max(1, count // _SAMPLE)
    if kind is bytearray:
        some = bytes(item[::step])
        return lambda: len(item) == count and item[::step] == some
    if isinstance(item, dict):
        return _watch_dict(item, count, step)
    if isinstance(item, (set, frozenset)):
        sample = frozenset(itertools.islice(item, _SAMPLE))
        return lambda: len(item) == count and sample <= item
    pick = itemgetter(*range(0, count, step), count - 1)
    before = pick(item)
    return lambda: len(item) == count and all(map(is_, pick(item), before))


def _watch_dict(item: dict[Any, Any], count: int, step: int) -> Callable[[], bool]:
    keys = [*itertools.islice(item, 0, None, step)]
    before, get = [item[key] for key in keys], item.get  # which makes no item of a defaultdict
    last, factory = next(reversed(item)), getattr(item, "default_factory", None)
    return lambda: (
        len(item) == count
        and all(map(is_, map(get, keys), before))
        and next(iter(item), None) is keys[0]
        and next(reversed(item), None) is last
        and getattr(item, "default_factory", None) is factory
    )


def _watch_array(item: Any) -> Callable[[], bool]:
    shape, dtype = item.shape, item.dtype
    # A grid, as a view: it can be taken of any layout, and looks at the array itself.
    each = max(1, int(64.1 ** (1 / max(1, item.ndim))))
    sample = item[(..., *[slice(None, None, max(1, -(-size // each))) for size in shape])]
    before = sample.tobytes()
    return lambda: item.shape == shape and item.dtype is dtype and sample.tobytes() == before

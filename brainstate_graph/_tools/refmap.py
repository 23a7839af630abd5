"""``RefMap``: a mapping from particular objects, told apart by identity and not by equality."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from reprlib import recursive_repr
from typing import Any, TypeVar

__all__ = ["RefMap"]

V = TypeVar("V")


class RefMap(MutableMapping[Any, V]):
    """A mapping whose keys are objects, not values: two equal objects are two keys, and any object will do.

    It keeps its keys alive, in the order in which they came.

    Args:
        items: A mapping, or pairs of a key and its value.

    Raises:
        KeyError: The object that is looked up is not a key.

    Example:
        >>> from brainstate_graph import RefMap
        >>> a, b = [], []
        >>> numbers = RefMap([(a, 0), (b, 1)])
        >>> numbers[b], [] in numbers
        (1, False)
    """

    __slots__ = ("__weakref__", "_pairs")

    def __init__(self, items: Mapping[Any, V] | Iterable[tuple[Any, V]] = ()) -> None:
        self._pairs: dict[int, tuple[Any, V]] = {}  # by id; the pair keeps the key alive, so that its id is not reused
        self.update(items)

    def __getitem__(self, key: Any) -> V:
        pair = self._pairs.get(id(key))
        if pair is None:
            raise KeyError(key)
        return pair[1]

    def __setitem__(self, key: Any, value: V) -> None:
        self._pairs[id(key)] = (key, value)

    def __delitem__(self, key: Any) -> None:
        if self._pairs.pop(id(key), None) is None:
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return id(key) in self._pairs

    def __iter__(self) -> Iterator[Any]:
        return (key for key, _ in self._pairs.values())

    def __len__(self) -> int:
        return len(self._pairs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RefMap):
            return NotImplemented
        return self._pairs.keys() == other._pairs.keys() and all(
            value is other[key] or value == other[key] for key, value in self._pairs.values()
        )

    __hash__ = None

    def __reduce__(self) -> tuple[Any, ...]:
        # As items and not as arguments, so that a map may hold itself. The copies of the keys are the new keys.
        return type(self), (), None, None, iter(list(self._pairs.values()))

    @recursive_repr("RefMap([...])")
    def __repr__(self) -> str:
        return f"RefMap([{', '.join(f'({key!r}, {value!r})' for key, value in self._pairs.values())}])"

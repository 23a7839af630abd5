"""Keys for what can only be itself: equal to that of the same object, and to no other.

An id alone is none, as it is used again once the object is gone.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Hashable
from typing import Any, final

__all__ = ["ByIdentity", "Mark", "by_identity"]


@final
class ByIdentity:
    """A key for what can only be itself; keeps it alive, so that its identity is not reused."""

    __slots__ = ("item",)

    def __init__(self, item: Any) -> None:
        self.item = item

    def __eq__(self, other: object) -> bool:
        return type(other) is ByIdentity and self.item is other.item

    def __hash__(self) -> int:
        return id(self.item)

    def __repr__(self) -> str:
        return f"{type(self.item).__name__} at {id(self.item):#x}"


@final
class Mark:
    """A key for what can only be itself, which does not keep it alive; see `by_identity`."""

    __slots__ = ("__weakref__", "_text")

    def __init__(self, item: Any) -> None:
        self._text = getattr(item, "__qualname__", None) or f"{type(item).__name__} at {id(item):#x}"

    def __repr__(self) -> str:
        return self._text


_marks: dict[int, tuple[weakref.ref[Any], Mark]] = {}  # by the id of what they stand for


def by_identity(item: Any) -> Hashable:
    """Return the key of an object that can only be itself; it keeps alive only what takes no weak reference."""
    number = id(item)
    found = _marks.get(number)
    if found is not None and found[0]() is item:
        return found[1]
    try:
        alive = weakref.ref(item, functools.partial(_forget, number))
    except TypeError:
        return ByIdentity(item)
    mark = Mark(item)
    if found is not None:  # of an object that is gone
        _marks[number] = alive, mark
        return mark
    return _marks.setdefault(number, (alive, mark))[1]  # of two threads the first


def _forget(number: int, gone: Any) -> None:
    found = _marks.get(number)
    if found is not None and found[0] is gone:
        del _marks[number]

"""Is a State or Node hidden in what a graph takes for one value?  It looks into containers and plain objects."""

from __future__ import annotations

import types
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

__all__ = ["find_hidden"]

_MOST = 1000  # objects looked at: a data set that a model holds is not gone through
_CLOSED = (str, bytes, bytearray, int, float, complex, type, types.ModuleType, types.CodeType, jax.Array)


def find_hidden(value: Any, wanted: tuple[type[Any], ...]) -> Any:
    """Return an object of the wanted classes that `value` holds, or None; functions are not looked into."""
    seen: set[int] = set()
    kept: list[Any] = []  # so that an id is not used again
    stack: list[Iterator[Any]] = [iter((value,))]
    while stack and len(kept) < _MOST:
        item = next(stack[-1], stack)
        if item is stack:
            stack.pop()
        elif isinstance(item, wanted):
            return item
        elif id(item) not in seen and not isinstance(item, _CLOSED):
            seen.add(id(item))
            kept.append(item)
            stack.append(iter(_held(item)))
    return None


def _held(item: Any) -> Iterable[Any]:
    if isinstance(item, (dict, types.MappingProxyType)):
        return [*item.keys(), *item.values()]
    if isinstance(item, (list, tuple, set, frozenset, deque)):
        return list(item)
    if isinstance(item, np.ndarray):
        return list(item.flat) if item.dtype.hasobject else ()
    if isinstance(item, (ChainMap, UserDict, UserList)):
        return vars(item).values()
    if callable(item):
        return ()
    slots = [name for kind in type(item).__mro__ for name in _slots(kind)]
    inside = [found for name in slots if (found := getattr(item, name, None)) is not None]
    return [*getattr(item, "__dict__", {}).values(), *inside]


def _slots(kind: type[Any]) -> Iterable[str]:
    slots = kind.__dict__.get("__slots__", ()) if kind.__module__ != "builtins" else ()
    return [name for name in ([slots] if isinstance(slots, str) else slots) if not name.startswith("__")]

"""What a function is made of: two functions made of the same parts are one, though they are different objects.

The parts are its code and what it was given: its variables, defaults, bound object and arguments.  What these lead to
by name is no part: whoever runs the one in place of the other watches that (`brainstate_transform._places.capture`).
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable, Sequence
from typing import Any

from brainstate_graph import GraphError
from brainstate_graph.extend import static_key

from .._engine.lifted import Lifted
from .._places.values import is_value
from .._places.weak_method import WeakMethod

__all__ = ["parts_of", "same_parts"]


def parts_of(*funs: Any) -> list[Any] | None:
    """Return what tells functions from others.

    Args:
        *funs: The functions.

    Returns:
        The parts; None if a variable of one of them has no value yet.
    """
    walk = _Walk()
    return walk.parts if all(map(walk.take_apart, funs)) else None


class _Walk:
    """One look at functions and what they were given.

    Attributes:
        parts: What was found.
    """

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self._seen: dict[int, Any] = {}  # by id, which stays that of the thing

    def take_apart(self, item: Any) -> bool:
        """Add the parts of something; tell whether it has them all."""
        kind = type(item)
        if id(item) in self._seen:
            self.parts += (_Again, list(self._seen).index(id(item)))  # or (a, b, a) would be (a, b, b)
            return True
        if issubclass(kind, types.FunctionType):
            self._seen[id(item)] = item
            try:
                held = [cell.cell_contents for cell in item.__closure__ or ()]
            except ValueError:  # a variable without a value yet
                return False
            self.parts += (item.__code__, item.__globals__)
            return self._all([*held, item.__defaults__, item.__kwdefaults__, item.__dict__.get("__wrapped__")])
        if kind is types.MethodType:
            return self._all([item.__func__, item.__self__])
        if kind is WeakMethod:
            return self._all([item.fun, item.instance()])
        if kind is functools.partial:
            return self._all([item.func, item.args, item.keywords])
        if issubclass(kind, Lifted):
            self.parts.append(kind)
            return self._all(item.parts)
        if kind in (list, tuple, dict) and not is_value(item):
            self._seen[id(item)] = item
            self.parts += (kind, len(item))
            return self._all(item if kind is not dict else [*item, *item.values()])
        self.parts.append(item)
        return True

    def _all(self, items: Iterable[Any]) -> bool:
        return all(map(self.take_apart, items))


class _Again:
    """Stands before the number of a part that was met before."""


def same_parts(left: Sequence[Any], right: Sequence[Any]) -> bool:
    """Tell whether two functions are made of the same parts."""
    return len(left) == len(right) and all(a is b or _equal(a, b) for a, b in zip(left, right, strict=True))


def _equal(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, types.CodeType):
        return a == b
    try:
        return is_value(a) and is_value(b) and static_key(a) == static_key(b)
    except GraphError:
        return False

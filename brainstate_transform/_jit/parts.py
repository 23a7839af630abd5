"""What a function is made of: two functions made of the same parts are one, though they are different objects."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from brainstate_graph import Node, State
from brainstate_graph.extend import static_key

from .._engine.reach import Binding, is_foreign, is_open, is_ours, names_in, steps

__all__ = ["parts_of", "same_parts"]

_PLAIN = (bool, int, float, complex, str, bytes)
# What cannot change; and nodes and states, whose changes are seen elsewhere.
_FIXED = (
    *_PLAIN, type(None), types.CodeType, types.BuiltinFunctionType, jax.Array, np.dtype, Node, State,
)  # fmt: skip


def parts_of(*funs: Any) -> list[Any] | None:
    """Return what tells functions from others, with all that they reach by name.

    Args:
        *funs: The functions.

    Returns:
        The parts; None if something is reached that can change without being seen, as a NumPy array.
    """
    walk = _Walk()
    return walk.found() if walk.all(funs) else None


class _Walk:
    """One look at functions and what they reach.

    Attributes:
        parts: What was found.
    """

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self._seen: dict[int, Any] = {}  # by id, which stays that of the thing
        self._numbers: list[tuple[str, Any]] = []  # in attributes of plain objects, with their names
        self._assigned: set[str] = set()  # the names that the functions assign, such as a count of their calls

    def found(self) -> list[Any]:
        return self.parts + [value for name, value in self._numbers if name not in self._assigned]

    def all(self, items: Iterable[Any]) -> bool:
        """Take each apart; tell whether nothing in them can change unseen."""
        return all(map(self._take_apart, items))

    def _take_apart(self, item: Any) -> bool:
        parts = self.parts
        if isinstance(item, _FIXED):
            parts.append(item)
            return True
        parts.append(type(item))
        if isinstance(item, types.ModuleType):
            parts.append(item)
            return True
        if isinstance(item, np.generic):
            parts.append(item.item())
            return isinstance(item, (np.number, np.bool_))
        if id(item) in self._seen:
            parts.append(list(self._seen).index(id(item)))  # or (a, b, a) would be (a, b, b)
            return True
        self._seen[id(item)] = item
        if isinstance(item, (list, tuple)):
            parts.append(len(item))
            return self.all(item)
        if type(item) is dict:
            parts.append(len(item))
            return self.all([*item, *item.values()])
        if isinstance(item, types.FunctionType) and not is_foreign(item):
            parts.append(item.__code__)
            self._assigned |= names_in(item.__code__).stored
            if not all(map(_filled, item.__closure__ or ())):  # a variable without a value yet
                return False
            return self.all([step.value for step in steps(item)])
        if isinstance(item, type):
            parts.append(item)
            return is_foreign(item) or issubclass(item, (Node, State)) or self._fields(_class_fields(item))
        if not _is_known(item):
            parts.append(item)
            return callable(item) and (is_foreign(type(item)) or is_foreign(item))
        found = steps(item)
        owned = {s.name: s.value for s in found if isinstance(s.place, Binding) and s.place.owned}
        if owned or not isinstance(item, (types.FunctionType, types.MethodType)):
            parts.append("\n".join(s.name for s in found))
        return self._fields(owned) and self.all(
            [*([type(item)] if owned else []), *(s.value for s in found if s.name not in owned)]
        )

    def _fields(self, fields: dict[str, Any]) -> bool:
        self.parts += fields
        self._numbers += [(name, value) for name, value in fields.items() if type(value) in _PLAIN]
        return self.all(value for value in fields.values() if type(value) not in _PLAIN)


def _is_known(item: Any) -> bool:
    """Tell whether all that an object leads to is known from `steps`."""
    if isinstance(item, (functools.partial, types.MethodType)):
        return True
    if is_ours(type(item)):
        return hasattr(item, "functions")
    return (
        not isinstance(item, (types.ModuleType, types.FunctionType))
        and not (callable(item) and (is_foreign(type(item)) or is_foreign(item)))
        and is_open(type(item))
        and hasattr(item, "__dict__")
        and not hasattr(item, "__wrapped__")
    )


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - looked at, to see whether it is there
    except ValueError:
        return False
    return True


def _class_fields(cls: type[Any]) -> dict[str, Any]:
    """The attributes of a class that are data."""
    return {
        name: value
        for base in cls.__mro__[-2::-1]  # all but object, the most derived one last
        for name, value in vars(base).items()
        if not name.startswith("__") and not callable(value) and not hasattr(value, "__get__")
    }


def same_parts(left: Sequence[Any], right: Sequence[Any]) -> bool:
    """Tell whether two functions are made of the same parts."""
    return len(left) == len(right) and all(a is b or _equal(a, b) for a, b in zip(left, right, strict=True))


def _equal(a: Any, b: Any) -> bool:
    return type(a) is type(b) and type(a) in _PLAIN and static_key(a) == static_key(b)

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

from ._capture import is_foreign, is_open, is_ours
from ._constants import names_in

__all__ = ["parts_of", "same_parts"]

_PLAIN = (bool, int, float, complex, str, bytes)
# What cannot change; and nodes and states, whose changes are seen elsewhere.
_FIXED = (
    *_PLAIN, type(None), type, types.CodeType, types.BuiltinFunctionType, jax.Array, np.dtype, Node, State,
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
        self._seen: set[int] = set()
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
        if isinstance(item, np.generic):
            parts.append(item.item())
            return isinstance(item, (np.number, np.bool_))
        if id(item) in self._seen:
            return True
        self._seen.add(id(item))
        if isinstance(item, (list, tuple)):
            parts.append(len(item))
            return self.all(item)
        if type(item) is dict:
            parts.append(len(item))
            return self.all([*item, *item.values()])
        if isinstance(item, functools.partial):
            parts.append(len(item.args))
            return self.all([item.func, *item.args, dict(item.keywords)])
        if isinstance(item, types.MethodType):
            return self.all([item.__func__, item.__self__])
        if isinstance(item, types.FunctionType) and not is_foreign(item):
            return self._function(item)
        parts.append(item)
        if is_ours(type(item)):  # made by a transform
            return hasattr(item, "functions") and self.all(vars(item)["functions"])
        if isinstance(item, types.ModuleType) or (callable(item) and (is_foreign(type(item)) or is_foreign(item))):
            return True
        return is_open(type(item)) and hasattr(item, "__dict__") and self._object(item)

    def _function(self, fun: types.FunctionType) -> bool:
        try:
            held = [cell.cell_contents for cell in fun.__closure__ or ()]
        except ValueError:  # a variable without a value yet
            return False
        names = names_in(fun.__code__)
        self._assigned |= names.stored
        self.parts.append(fun.__code__)
        for name in () if is_ours(fun) else names.loaded:  # the globals of our own wrappers are what they are
            if name in fun.__globals__:
                value = fun.__globals__[name]
                held.append(value)
                if isinstance(value, types.ModuleType) and not is_foreign(value):
                    table = vars(value)
                    held += [table[used] for used in names.used if used in table]
        return self.all([*held, *(fun.__defaults__ or ()), *(fun.__kwdefaults__ or {}).values()])

    def _object(self, item: Any) -> bool:
        fields = dict(vars(item))
        self.parts += fields
        numbers = {name for name, value in fields.items() if type(value) in _PLAIN}
        self._numbers += [(name, fields[name]) for name in fields if name in numbers]
        others = [value for name, value in fields.items() if name not in numbers]
        return self.all([*others, type(item).__call__] if callable(item) else others)


def same_parts(left: Sequence[Any], right: Sequence[Any]) -> bool:
    """Tell whether two functions are made of the same parts."""
    return len(left) == len(right) and all(a is b or _equal(a, b) for a, b in zip(left, right, strict=True))


def _equal(a: Any, b: Any) -> bool:
    return type(a) is type(b) and type(a) in _PLAIN and static_key(a) == static_key(b)

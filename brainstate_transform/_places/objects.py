"""What functions, objects and classes have, asked in ways that run none of the user's code."""

from __future__ import annotations

import array
import functools
import operator
import types
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from brainstate_graph import Node, State

from .owners import OPEN, Owner, is_nn, owner_of, package_of, reads_settings
from .values import FEW, PLAIN, is_value
from .weak_method import WeakMethod

__all__ = [
    "DESCRIPTORS", "GETTERS", "MAKING", "UNCALLED", "VIEWS", "WEAK", "constants_of", "function_of",
    "identity_of", "is_kept", "leads_on", "may_be_a_model", "may_be_given", "names_of", "own_table", "unnamed",
    "was_given_nothing", "why_unwatched", "wrapped_by",
]  # fmt: skip

# Methods that Python calls for an operator or a statement, so that no code names them.
UNCALLED = frozenset({
    "__class_getitem__", "__del__", "__dir__", "__format__", "__getstate__", "__init_subclass__", "__reduce__",
    "__reduce_ex__", "__repr__", "__setstate__", "__sizeof__", "__str__", "__subclasshook__", "__annotate__",
})  # fmt: skip
_COMPARING = frozenset({"__eq__", "__ne__"})  # which code does by a sign of its own, see `names_in`
MAKING = frozenset({"__init__", "__new__", "__post_init__"})  # what they assign is of an object that is made there


def identity_of(fun: types.FunctionType) -> tuple[Any, ...]:
    """Return the code of a function and the plain values among its defaults.

    Not the function, which may hold tracers.
    """
    defaults = (*(fun.__defaults__ or ()), *(fun.__kwdefaults__ or {}).values())
    return (fun.__code__, *[value for value in defaults if type(value) in PLAIN or is_value(value)])


def own_table(item: Any) -> dict[str, Any] | None:
    """Return the attribute dictionary of an object, whatever its class makes of being asked for it."""
    try:
        table = object.__getattribute__(item, "__dict__")
    except Exception:  # none, or a property that raises
        return None
    return table if type(table) is dict else None


def wrapped_by(item: Any) -> Any:
    """Return the function of the user that a library has wrapped; what else has such an attribute may make it up."""
    return getattr(item, "__wrapped__", None) if package_of(type(item)) in ("functools", "jax", "jaxlib") else None


def was_given_nothing(item: Any) -> bool:
    """Tell whether this is a function of a library, such as ``jax.nn.relu``, that holds nothing of the user's."""
    while not isinstance(item, types.FunctionType):
        item = getattr(item, "__wrapped__", None) if owner_of(type(item)) is Owner.LIBRARY else None
        if item is None:
            return False
    return owner_of(item) is Owner.LIBRARY and item.__closure__ is None


def unnamed(classes: Sequence[type[Any]]) -> set[str]:
    """Return the methods of these classes that operators and statements call, which no code names."""
    names = {name for cls in classes for name in list(vars(cls)) if name.startswith("__")}
    names -= UNCALLED | MAKING | _COMPARING
    return {name for name in names if any(callable(vars(cls).get(name)) for cls in classes)}


def leads_on(item: Any) -> bool:
    kind = type(item)
    return issubclass(kind, (types.MethodType, functools.partial, WeakMethod)) or (
        not issubclass(kind, types.FunctionType) and (owner_of(kind) is not Owner.LIBRARY or kind in OPEN)
    )


def may_be_given(value: Any) -> bool:
    """Tell whether something that a library holds may be, or hold, a function or a model of the user."""
    kind = type(value)
    if issubclass(kind, (Node, State, types.FunctionType, types.MethodType, functools.partial)):
        return True
    if issubclass(kind, (list, tuple, dict)):
        return len(value) <= FEW
    if issubclass(kind, (type, types.ModuleType, jax.Array, np.ndarray)) or is_value(value):
        return False
    return own_table(value) is not None or callable(value)


def may_be_a_model(value: Any) -> bool:
    """Tell whether a global of ours may be, or lead to, a model or what is set for a process."""
    if isinstance(value, types.ModuleType):
        return reads_settings(value)
    return value is None or isinstance(value, (Node, State)) or (type(value) is types.FunctionType and is_nn(value))


def constants_of(row: Any) -> Iterator[tuple[Any, Any]]:
    for key, const in zip(row.keys, row.consts, strict=True):
        if const is not None and type(const.value) not in PLAIN:
            yield key, const.value


def why_unwatched(item: Any) -> str | None:
    """Say in words what of a thing that is known by identity is not watched; None where that is nothing."""
    kind = type(item)
    if issubclass(kind, np.ndarray):
        return "the contents of a NumPy array"
    if kind is types.BuiltinMethodType:
        held = item.__self__
        plain = isinstance(held, (types.ModuleType, type)) or is_value(held)
        return None if plain else f"a built-in method of a {type(held).__name__}"
    if issubclass(kind, WEAK):
        return "what is held weakly"
    if issubclass(kind, (bytearray, array.array)):
        return f"the contents of a {kind.__name__}"
    if kind is functools._lru_cache_wrapper:
        return "results kept by functools"
    if callable(item) or issubclass(kind, (jax.Array, np.dtype)) or kind.__module__ == "builtins":
        return None
    return f"the inside of a {kind.__module__}.{kind.__name__}"


def function_of(member: Any) -> Any:
    """Return the function that a member of a class runs which is none itself, such as a property; else None."""
    if isinstance(member, (staticmethod, classmethod)):
        return member.__func__
    if isinstance(member, functools.cached_property):
        return member.func
    return member.fget if isinstance(member, property) else None


# To watch what they hold would keep it alive.
WEAK = (weakref.ref, weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet)
VIEWS = (type({}.keys()), type({}.values()), type({}.items()))
GETTERS = (operator.attrgetter, operator.methodcaller)


def names_of(getter: Any) -> set[str]:
    """Return the names by which a getter of `operator` takes attributes."""
    return {part for text in getter.__reduce__()[1] if type(text) is str for part in text.split(".")}


DESCRIPTORS = (types.MemberDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType)


def is_kept(member: Any) -> bool:
    """Tell whether a member of a class puts what it computes into the object."""
    return isinstance(member, functools.cached_property)

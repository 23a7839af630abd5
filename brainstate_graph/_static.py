"""When two static values are the same: by type and by value.

Python says that ``2 == 2.0 == True`` and ``0.0 == -0.0``; a compiled program may not.  So a static value is
compared by a key in which types differ, the sign of zero shows, and nan equals itself.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Hashable
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from ._errors import GraphError
from ._node import Node
from ._state import State

__all__ = ["ByIdentity", "Const", "Static", "is_frozen", "static_key"]

# Types whose instances never change and compare exactly within their type.
_EXACT = frozenset({bool, bytes, int, str, type(None), type(...)})
_FROZEN = _EXACT | {
    float,
    complex,
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    np.dtype,
}


class ByIdentity:
    """A key for what can only be itself; keeps it alive, so that its identity is not reused."""

    __slots__ = ("item",)

    def __init__(self, item: Any) -> None:
        self.item = item

    def __eq__(self, other: object) -> bool:
        return type(other) is ByIdentity and self.item is other.item

    def __hash__(self) -> int:
        return id(self.item)


def is_frozen(value: Any) -> bool:
    """Tell whether a static value cannot change behind our back, so that it need not be watched."""
    kind = type(value)
    if kind in _FROZEN:
        return True
    if kind is tuple:
        return all(map(is_frozen, value))
    if kind in (list, dict, set, bytearray, np.ndarray, types.SimpleNamespace):
        return False
    if dataclasses.is_dataclass(value):
        # by declaration only: a frozen dataclass may hold a list
        frozen: bool = kind.__dataclass_params__.frozen
        return frozen and all(is_frozen(getattr(value, f.name, None)) for f in dataclasses.fields(value))
    return True


def static_key(value: Any) -> Hashable:
    """Return a hashable key that two static values share exactly when one may stand for the other.

    Args:
        value: Any Python value that is not part of the graph.

    Returns:
        A key; keys of equal values of equal types are equal.

    Raises:
        GraphError: The value holds a State or Node where the graph cannot see it, or a tracer.
    """
    kind = type(value)
    if kind in _EXACT:
        return (kind, value)
    if kind is float:
        return (kind, value.hex())
    if kind is complex:
        return (kind, value.real.hex(), value.imag.hex())
    if isinstance(value, (tuple, list)):
        return (kind, *map(static_key, value))
    if isinstance(value, dict):
        return (kind, *((static_key(k), static_key(v)) for k, v in value.items()))
    if isinstance(value, (set, frozenset)):
        return (kind, frozenset(map(static_key, value)))
    if isinstance(value, (State, Node)):
        raise GraphError(
            f"a {type(value).__name__} is hidden where the graph cannot see it. Hold it in an attribute of a Node, "
            "or in a list, tuple or dict."
        )
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            return ByIdentity(value)
        return (kind, value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, np.generic):
        return (kind, value.dtype.str, value.tobytes())
    if isinstance(value, Tracer):
        raise GraphError("a traced value cannot be a static attribute. Hold it in a State: `self.x = State(value)`.")
    if isinstance(value, functools.partial):
        return (kind, static_key(value.func), static_key(value.args), static_key(value.keywords))
    if isinstance(value, slice):
        return (kind, static_key(value.start), static_key(value.stop), static_key(value.step))
    if kind is types.SimpleNamespace:
        return (kind, static_key(vars(value)))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in dataclasses.fields(value)]
        return (kind, *((name, static_key(getattr(value, name, None))) for name in names))
    try:
        hash(value)
    except TypeError:
        return ByIdentity(value)  # arrays of jax among them: immutable, so identity is sound
    return (kind, value)


class Const:
    """A static value as an edge of a GraphDef, compared by its key."""

    __slots__ = ("key", "value")

    def __init__(self, value: Any, key: Hashable | None = None) -> None:
        self.value = value
        self.key = static_key(value) if key is None else key

    def __repr__(self) -> str:
        return repr(self.value)

    def __reduce__(self) -> tuple[Any, ...]:
        return Const, (self.value,)


@jax.tree_util.register_static
class Static:
    """A static value as a pytree without leaves, so that it passes through JAX as structure.

    Args:
        value: Any value; compared by type and value, see `static_key`.

    Example:
        >>> import jax
        >>> from brainstate_graph import Static
        >>> jax.tree.leaves(Static("relu")), Static(2) == Static(2.0)
        ([], False)
    """

    __slots__ = ("_key", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self._key = static_key(value)

    def __eq__(self, other: object) -> bool:
        return type(other) is Static and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"Static({self.value!r})"

"""Static values, which are part of a program and not of its data: two are the same by type and by value.

Python says that ``2 == 2.0 == True`` and ``0.0 == -0.0``; a compiled program may not.  So a static value is
compared by a key in which types differ, the sign of zero shows, and nan equals itself.

``Const`` is a static value within a GraphDef, ``Static`` one that goes through JAX by itself.  What can change behind
our back, such as a list, is compared by its contents, copied when it is kept, and watched (see ``watch``).
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import functools
import pathlib
import types
from collections.abc import Callable, Hashable
from typing import Any, final

import jax
import numpy as np
from jax.core import Tracer

from .._tools.at_once import pairs_of
from .._tools.identity import ByIdentity, Mark
from .errors import GraphError
from .locate import find_hidden
from .node import Node
from .state import State

__all__ = ["ATOMS", "EXACT", "Static", "is_frozen", "static_key"]


# Types whose instances never change and compare exactly within their type: of values, and of those and keys.
EXACT = frozenset({bool, bytes, int, str, type(None), type(...)})
ATOMS = EXACT | {ByIdentity, Mark, types.CodeType}
_FROZEN = ATOMS | {
    float,
    complex,
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    np.dtype,
}


# What is compared by content and can change behind our back.
_CONTENT = (list, dict, set, bytearray, np.ndarray, types.SimpleNamespace, functools.partial)

# What may be equal and spelled otherwise: 2.0 and 2.00, one time in two zones, a path of Windows.
_SPELLED = (decimal.Decimal, datetime.datetime, datetime.time, pathlib.PurePath)


def is_frozen(value: Any) -> bool:
    """Tell whether the key of a static value cannot change, so that it need not be watched or copied."""
    if type(value) in _FROZEN:
        return True
    if isinstance(value, tuple):
        return all(map(is_frozen, value))
    if isinstance(value, _CONTENT):
        return False
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # by declaration only: a frozen dataclass may hold a list
        frozen: bool = type(value).__dataclass_params__.frozen  # type: ignore[attr-defined]
        return frozen and all(is_frozen(getattr(value, f.name, None)) for f in dataclasses.fields(value))
    return True  # compared by identity, or hashable, which promises that it stays equal to itself


def static_key(value: Any, short: Callable[[Any], Hashable | None] | None = None) -> Hashable:
    """Return a hashable key that two static values share exactly when one may stand for the other.

    Args:
        value: Any Python value that is not part of the graph.
        short: Returns the part of the key for a value that is too large to be compared by content, else None.

    Returns:
        A key; keys of equal values of equal types are equal.

    Raises:
        GraphError: The value holds a State or Node where the graph cannot see it, or a tracer.
    """
    kind = type(value)
    if kind in ATOMS:
        return (kind, value)
    if kind is Static:
        return (kind, value._key)
    # As text 0.0 and -0.0 differ, and nan equals itself.
    if isinstance(value, float) and not isinstance(value, np.generic):
        return (kind, value.hex())
    if kind is complex:
        return (kind, value.real.hex(), value.imag.hex())
    key: Any = static_key
    if short is not None:
        found = short(value)
        if found is not None:
            return found
        key = functools.partial(static_key, short=short)
    if isinstance(value, (tuple, list)):
        return (kind, *map(key, value))
    # The order of a dictionary is part of it: code that goes through it makes another program.
    if isinstance(value, dict):
        items = tuple((key(k), key(v)) for k, v in pairs_of(value))
        return (kind, items, key(getattr(value, "default_factory", None)))
    if isinstance(value, (set, frozenset)):
        return (kind, frozenset(map(key, list(value))))
    if isinstance(value, (State, Node)):
        raise _hidden(value)
    if isinstance(value, (np.ndarray, np.generic)):
        return _key_of_array(value)
    if isinstance(value, Tracer):
        raise GraphError("a traced value cannot be a static attribute. Hold it in a State: `self.x = State(value)`.")
    if isinstance(value, functools.partial):
        return (kind, key(value.func), key(value.args), key(value.keywords))
    if isinstance(value, types.MethodType):
        return (kind, key(value.__func__), key(value.__self__))
    if isinstance(value, bytearray):
        return (kind, bytes(value))
    if isinstance(value, (slice, range)):  # empty ranges are equal in Python, wherever they start
        return (kind, key(value.start), key(value.stop), key(value.step))
    if isinstance(value, _SPELLED):
        return (kind, repr(value))
    if kind is types.SimpleNamespace:
        return (kind, key(vars(value)))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in dataclasses.fields(value)]
        return (kind, *((name, key(getattr(value, name, None))) for name in names))
    if not callable(value):
        hidden = find_hidden(value, (State, Node))
    else:  # a function may well lead to a model, but holds no state itself
        hidden = next((item for item in getattr(value, "__dict__", {}).values() if isinstance(item, State)), None)
    if hidden is not None:
        raise _hidden(hidden, value if hasattr(value, "functions") else None)  # as what `custom_vjp` returns
    try:
        hash(value)
    except TypeError:
        return ByIdentity(value)  # arrays of jax among them: immutable, so identity is sound
    return (kind, value)


def _key_of_array(value: Any) -> Hashable:
    if isinstance(value, np.generic):
        return (type(value), value.dtype, value.tobytes())
    if not value.dtype.hasobject:
        return (type(value), value.dtype, value.shape, value.tobytes())
    hidden = find_hidden(value, (State, Node))
    if hidden is not None:
        raise _hidden(hidden)
    return ByIdentity(value)  # the bytes of an array of objects are addresses


def _hidden(item: Any, function: Any = None) -> GraphError:
    cure = "Hold it in an attribute of a Node, or in a list, tuple or dict."
    if function is not None:
        cure = f"Make the {type(function).__name__} that names it inside of the method that calls it."
    return GraphError(f"a {type(item).__name__} is hidden where the graph cannot see it. {cure}")


@final
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

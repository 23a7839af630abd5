"""Loops and branches outside any trace: compiled once for each function, not at each call."""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable, Hashable
from typing import Any

from brainstate_graph.extend import untraced

from ._core import without_jit
from ._jit import JittedFunction, jit

__all__ = ["compiled_once"]

_NAME = "_brainstate_compiled"
_KEPT = 8  # compiled forms of one function


def compiled_once(fun: Any, key: Hashable, make: Callable[[], Callable[..., Any]]) -> JittedFunction | None:
    """Return the compiled form of an operation on a function; it is kept with the function, and goes with it.

    Args:
        fun: The user's function.
        key: What the operation is.
        make: Makes the function to compile.

    Returns:
        The compiled function; None inside a trace, and for what cannot keep it, such as a bound method.
    """
    if type(fun) is not types.FunctionType or without_jit() or not untraced():
        return None
    table: dict[Hashable, tuple[weakref.ref[Any], JittedFunction]] = fun.__dict__.setdefault(_NAME, {})
    found = table.get(key)
    # functools.wraps hands the attributes of one function to another
    if found is None or found[0]() is not fun:
        while len(table) >= _KEPT:
            table.pop(next(iter(table)))
        found = table[key] = (weakref.ref(fun), jit(make()))
    return found[1]

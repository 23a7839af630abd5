"""A user's function seen from outside: its name in messages, and the transform that is written above it.

JAX names programs, and the parts of a profile, after the function that it gets.  A transform that hands it a function
of its own names that one like the user's.

Nothing here looks inside a function; what it reaches is the matter of `brainstate_transform._places.capture`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import CodeType, FunctionType, MethodType
from typing import Any, TypeVar

from brainstate_graph import Node

__all__ = ["code_of", "decorator", "name_of", "named_like", "source_of"]

_F = TypeVar("_F", bound=Callable[..., Any])


def name_of(fun: Any) -> str:
    """Return the name of a function in messages; of an object that can be called, that of its class."""
    return getattr(fun, "__qualname__", None) or type(fun).__name__


def code_of(fun: Any) -> Any:
    """Return the code behind a function, which a lambda that is made anew has again; of other objects, their class."""
    while not hasattr(fun, "__code__"):
        inside = next((getattr(fun, name) for name in ("__func__", "__wrapped__", "func") if hasattr(fun, name)), None)
        if inside is None:
            return type(fun)
        fun = inside
    return fun.__code__


def source_of(fun: Any) -> CodeType | None:
    """Return the code that the user wrote of a function, or of the `__call__` of an object; None for what has none.

    JAX says of a function where its ``__code__`` stands, and ``<unknown>`` of what has none.
    """
    while (inside := _inside(fun)) is not None:
        fun = inside
    found = getattr(fun, "__code__", None) if isinstance(fun, FunctionType) else None
    return found or getattr(type(fun).__call__, "__code__", None)


def _inside(fun: Any) -> Any:
    """Return the function that another one is made of; an object of the user's is not asked for attributes."""
    if isinstance(fun, functools.partial):
        return fun.func
    if isinstance(fun, MethodType):
        return fun.__func__
    if isinstance(fun, Node):
        return None
    try:
        held = object.__getattribute__(fun, "__dict__")
    except AttributeError:
        return None
    return held.get(_USER) or held.get("__wrapped__")


_USER = "_users_"  # the attribute by which a function of ours knows the user's function in it


def named_like(fun: _F, user: Any) -> _F:
    """Give a function the name of the user's function in it, and return it."""
    named: Any = fun
    named.__name__ = getattr(user, "__name__", None) or type(user).__name__
    named.__qualname__ = name_of(user)
    named.__dict__[_USER] = user
    return fun


def decorator(transform: Callable[..., Any], options: Mapping[str, Any]) -> Callable[..., Any]:
    """Return the decorator that a transform is where it is called without its function.

    Args:
        transform: The transform; its first parameter is called `fun`.
        options: The arguments of the call by name, `fun` among them. As the first line of a transform:
            ``if fun is None: return decorator(vmap, locals())``.

    Returns:
        The transform with these arguments, still to be given its function.
    """
    return functools.partial(transform, **{name: value for name, value in options.items() if name != "fun"})

"""A user's function in messages: its name, its place in the user's files, and the names of its arguments.

JAX names programs, the parts of a profile, and what an error is about, after the function that it gets.  A function of
ours that goes to JAX in the place of the user's is named like that one, and says where that one stands.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable
from types import CodeType, FunctionType, MethodType
from typing import Any, TypeVar

import jax

from brainstate_graph import Node

__all__ = ["argument_name", "handed", "name_of", "named_like", "short_name_of", "source_of"]

_F = TypeVar("_F", bound=Callable[..., Any])


def name_of(fun: Any) -> str:
    """Return the name of a function in messages; of an object that can be called, that of its class."""
    while isinstance(fun, functools.partial):
        fun = fun.func
    return getattr(fun, "__qualname__", None) or type(fun).__name__


def short_name_of(fun: Any) -> str:
    """Return the same without the names of what it is defined in, as programs are named."""
    while isinstance(fun, functools.partial):
        fun = fun.func
    return getattr(fun, "__name__", None) or type(fun).__name__


def source_of(fun: Any) -> CodeType | None:
    """Return the code that the user wrote of a function, or of the `__call__` of an object; None for what has none.

    JAX says of a function where its ``__code__`` stands, and ``<unknown>`` of what has none.
    """
    while (inside := _inside(fun)) is not None:
        fun = inside
    if isinstance(fun, type):
        fun = fun.__init__
    own = fun.__code__ if isinstance(fun, FunctionType) else _attributes(fun).get("__code__")
    return own or getattr(type(fun).__call__, "__code__", None)


def _inside(fun: Any) -> Any:
    """Return the function that another one is made of."""
    if isinstance(fun, functools.partial):
        return fun.func
    if isinstance(fun, MethodType):
        return fun.__func__
    attributes = _attributes(fun)
    return attributes.get(_USER) or attributes.get("__wrapped__")


def _attributes(fun: Any) -> Any:
    """Return the attributes of a function or object of ours; one of the user's may answer whatever it is asked for."""
    if isinstance(fun, Node):
        return {}
    try:
        return object.__getattribute__(fun, "__dict__")
    except AttributeError:
        return {}


_USER = "_users_"  # the attribute by which a function of ours knows the user's function in it


def named_like(fun: _F, user: Any) -> _F:
    """Give a function the name of the user's function in it, and return it."""
    named: Any = fun
    named.__name__, named.__qualname__ = short_name_of(user), name_of(user)
    named.__dict__[_USER] = user
    return fun


class _Source:
    """A user's function as JAX finds it behind one of ours."""

    def __init__(self, fun: Any) -> None:
        self.__name__, self.__code__ = short_name_of(fun), source_of(fun)


def handed(fun: _F, user: Any, signature: inspect.Signature | None = None) -> _F:
    """Give a function that is handed to JAX the name of the user's function in it and its place, and return it.

    Args:
        fun: The function.
        user: The user's function, or the core of it.
        signature: The names of the arguments; None for those that `fun` has.
    """
    named: Any = named_like(fun, user)
    named.__signature__ = inspect.signature(fun) if signature is None else signature
    named.__wrapped__ = _Source(user)
    return fun


def argument_name(path: tuple[Any, ...], user: Callable[..., Any]) -> str:
    """Name an argument as the user's function does, with the way inside it.

    Args:
        path: The keys of a part of ``(args, kwargs)``, as JAX gives them.
        user: The user's function.
    """
    keyword, key = path[0].idx, path[1]
    name = key.key if keyword else key.idx
    if not keyword:
        with contextlib.suppress(TypeError, ValueError, IndexError):
            positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
            name = [p.name for p in inspect.signature(user).parameters.values() if p.kind in positional][name]
    return f"argument {name!r}{jax.tree_util.keystr(path[2:])}"

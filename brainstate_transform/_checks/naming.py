"""``named_call`` and ``named_scope``: names for parts of a program, in profiles and in the text of a program.

They change nothing else: there is no core and no rule here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from .._engine.user_function import decorator

__all__ = ["named_call", "named_scope"]


def named_call(fun: Callable[..., Any] | None = None, *, name: str | None = None) -> Any:
    """Give the operations of a function a name in programs and profiles; nothing else changes.

    Args:
        fun: Any function or module that can be called; without it, a decorator is returned.
        name: The name; that of the function, or of the class of the module, if None.

    Returns:
        The function, which compiles nothing of its own.

    Raises:
        TypeError: `fun` is not a function, or `name` is not a text.

    Example:
        >>> import jax
        >>> from brainstate_transform import named_call
        >>> double = named_call(lambda x: x * 2.0, name="double")
        >>> "double/mul" in jax.jit(double).lower(1.0).as_text(debug_info=True)
        True
    """
    if fun is None:
        return decorator(named_call, locals())
    if not callable(fun):
        raise TypeError(f"named_call takes a function, not {fun!r}")
    scope = name if name is not None else getattr(fun, "__name__", None) or type(fun).__name__
    named_scope(scope)  # which checks the name

    @functools.wraps(fun, updated=())
    def named(*args: Any, **kwargs: Any) -> Any:
        with named_scope(scope):
            return fun(*args, **kwargs)

    return named


def named_scope(name: str) -> Any:
    """Give the operations inside a name in programs and profiles: a context manager, and a decorator.

    Args:
        name: The name.

    Returns:
        What ``jax.named_scope`` returns.

    Raises:
        TypeError: `name` is not a text.

    Example:
        >>> import jax
        >>> from brainstate_transform import named_scope
        >>> @jax.jit
        ... def f(x):
        ...     with named_scope("head"):
        ...         return x * 2.0
        >>> "head/mul" in f.lower(1.0).as_text(debug_info=True)
        True
    """
    if not isinstance(name, str):
        raise TypeError(f"named_scope takes a name, not {name!r}: `with named_scope('encoder'):`, or `@named_call`")
    return jax.named_scope(name)

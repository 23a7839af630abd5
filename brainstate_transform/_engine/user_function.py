"""A user's function seen from outside: the code that tells it from others, and the transform written above it.

Nothing here looks inside a function; what it reaches is the matter of `brainstate_transform._places.capture`.  Its name
and place in messages are that of `brainstate_transform._messages.source`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from .._messages.source import name_of, named_like

__all__ = ["code_of", "decorator", "name_of", "named_like"]


def code_of(fun: Any) -> Any:
    """Return the code behind a function, which a lambda that is made anew has again; of other objects, their class."""
    while not hasattr(fun, "__code__"):
        inside = next((getattr(fun, name) for name in ("__func__", "__wrapped__", "func") if hasattr(fun, name)), None)
        if inside is None:
            return type(fun)
        fun = inside
    return fun.__code__


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

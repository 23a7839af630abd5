"""``WeakMethod``: a method that does not keep its object alive."""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
import weakref
from collections.abc import Callable
from typing import Any

__all__ = ["WeakMethod"]


class WeakMethod:
    """A function bound to an object that it does not keep alive."""

    def __init__(self, fun: Callable[..., Any], instance: Any) -> None:
        functools.update_wrapper(self, fun)
        self.fun = fun
        self.instance = weakref.ref(instance)
        with contextlib.suppress(TypeError, ValueError):
            self.__signature__ = inspect.signature(types.MethodType(fun, instance))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fun(self.instance(), *args, **kwargs)

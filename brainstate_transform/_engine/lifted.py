"""``Lifted``: what `lift` returns, a function that handles states, to be called and used as a method."""

from __future__ import annotations

import abc
import functools
import types
from collections.abc import Callable, Sequence
from typing import Any, Self

from brainstate_graph import Node

from .._places.weak_method import BoundMethods
from .core import Core

__all__ = ["Lifted"]


class Lifted(abc.ABC):
    """A function that runs through a JAX transform and handles states; what `lift` returns.

    It can be called, and used as a method.  ``__wrapped__`` is the user's function.

    Example:
        >>> import jax
        >>> from brainstate_transform import lift
        >>> lift(jax.checkpoint, abs)
        <Lifted of 'abs'>
    """

    def __init__(self, cores: tuple[Core, ...], name: str | None = None) -> None:
        self.cores = cores
        self.functions = tuple([core.fun for core in cores])
        self.__wrapped__ = cores[0].fun
        functools.update_wrapper(self, cores[0].fun, updated=())
        if name is not None:
            self.__name__ = name
        self.__qualname__ = getattr(self, "__qualname__", cores[0].__qualname__)  # a callable object has none
        self._bound = BoundMethods[Self]()

    __name__: str
    __qualname__: str

    @abc.abstractmethod
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""

    @property
    @abc.abstractmethod
    def parts(self) -> Sequence[Any]:
        """What it was made with: two of one class that were made with the same are one."""

    @abc.abstractmethod
    def _like(self, fun: Callable[..., Any]) -> Self:
        """Return the same of `fun`, the function as a method of an object that is no Node."""

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        if instance is None:
            return self
        if isinstance(instance, Node):  # an argument like others: models of one shape share a program
            return types.MethodType(self, instance)
        return self._bound.of(instance, self.functions[0], self._like)

    def __repr__(self) -> str:
        return f"<Lifted of {getattr(self, '__qualname__', self.functions[0])!r}>"

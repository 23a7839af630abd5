"""``WeakMethod``: a method that does not keep its object alive; ``BoundMethods``: what was made of such methods."""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar, final

from brainstate_graph.extend import node_in, notes

__all__ = ["BoundMethods", "WeakMethod", "WeakSlots"]

T = TypeVar("T")
_SLOTTED = 8  # objects of classes with slots for which one node keeps what is made of their methods


@final
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


@final
class WeakSlots:
    """The slots of an object as a table that does not keep it alive."""

    __slots__ = ("instance",)

    def __init__(self, instance: Any) -> None:
        self.instance = weakref.ref(instance)

    def get(self, name: str, default: Any) -> Any:
        try:
            return object.__getattribute__(self.instance(), name)
        except AttributeError:
            return default


@final
class BoundMethods(Generic[T]):
    """What is made of one function as a method, for each object once; it keeps no object alive."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[weakref.ref[Any], T]] = {}  # by identity; an entry goes with its object
        # The same of objects that take no weak reference. What is made holds such an object, and is held by a node of
        # it, as long as that lives; or, where it holds no node, by us.
        self._slotted: weakref.WeakValueDictionary[int, T] = weakref.WeakValueDictionary()
        self._without_node: deque[T] = deque(maxlen=_SLOTTED)

    def of(self, instance: Any, fun: Callable[..., Any], make: Callable[[Callable[..., Any]], T]) -> T:
        """Return what is made for an object.

        Args:
            instance: The object.
            fun: The function.
            make: Makes it of the bound method.
        """
        found = self._made.get(id(instance))
        if found is not None and found[0]() is instance:
            return found[1]
        try:
            gone = weakref.ref(instance, functools.partial(self._forget, id(instance)))
        except TypeError:  # no weak reference to it: an object of a class with slots
            return self._of_slotted(instance, types.MethodType(fun, instance), make)
        made = make(WeakMethod(fun, instance))
        self._made[id(instance)] = (gone, made)
        return made

    def _of_slotted(self, instance: Any, method: types.MethodType, make: Callable[[Callable[..., Any]], T]) -> T:
        made = self._slotted.get(id(instance))
        if made is None:
            made = self._slotted[id(instance)] = make(method)
            node = node_in(instance)
            kept = self._without_node if node is None else notes(node).setdefault(self, deque(maxlen=_SLOTTED))
            kept.append(made)
        return made

    def _forget(self, key: int, _: Any) -> None:
        self._made.pop(key, None)

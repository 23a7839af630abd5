"""Which graph does a call of this function touch?

The *touched graph* is every node and state that the function reaches by name: its bound ``self``, closure cells,
defaults, arguments of partials, the globals that its code loads, and the same of the functions among those.
It is found before tracing, so that one trace is enough.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import types
import weakref
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from brainstate_graph import Node, State
from brainstate_graph.extend import StateTree, watch

from ._constants import Constants, cell_unchanged, names_in

__all__ = ["Capture", "WeakMethod", "is_foreign", "is_open", "is_ours"]

_FOREIGN = frozenset(sys.stdlib_module_names) | {"jax", "jaxlib", "numpy", "scipy", "optax", "flax"}
_OURS = ("brainstate_graph", "brainstate_transform")
_MAPPINGS = (dict, OrderedDict, defaultdict, StateTree)
_CONTAINERS = (list, tuple, *_MAPPINGS)
_Step = tuple[str, Any, Callable[[], bool] | None]  # a name, what is there, and the test of the place
_Chain = Any  # None, or the test of a place, who has the place, and the rest of the chain
_SKIPPED = {*_FOREIGN, *_OURS, "brainstate_nn"}  # whose methods reach no model but their own
_PLAIN = frozenset({bool, int, float, complex, str, bytes})
_LEAVES = frozenset({bool, int, float, complex, str, bytes, type(None), type, types.ModuleType})


def _package(item: Any) -> str:
    name = item.__name__ if isinstance(item, types.ModuleType) else getattr(item, "__module__", None)
    return (name or "").partition(".")[0]


def is_foreign(item: Any) -> bool:
    """Tell whether a function, class or module belongs to Python or to a library that reaches no model."""
    return _package(item) in _FOREIGN


def is_ours(item: Any) -> bool:
    """Tell whether a function, class or module is a part of this library."""
    return _package(item) in _OURS


def is_open(kind: type[Any]) -> bool:
    """Tell whether the attributes of such an object are what users put there."""
    return not is_foreign(kind) or kind.__module__ in ("types", "argparse")  # SimpleNamespace, Namespace


def _entry_unchanged(table: dict[str, Any], name: str, value: Any) -> Callable[[], bool]:
    return lambda: table.get(name) is value


def _identity(fun: types.FunctionType) -> tuple[Any, ...]:
    """The code of a function and the plain values that it was made with; not the function, which may hold tracers.

    Without those that it assigns itself, see `Constants`.
    """
    made_with = [*(fun.__defaults__ or ()), *(fun.__kwdefaults__ or {}).values()]
    stored = names_in(fun.__code__).stored
    for name, cell in zip(fun.__code__.co_freevars, fun.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not assigned yet
            made_with += [cell.cell_contents] if name not in stored else []
    return (fun.__code__, *(value for value in made_with if type(value) in _LEAVES))


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


class Capture:
    """The touched graph of one function, and the tests that tell whether it is still that one.

    Args:
        fun: The user's function.

    Attributes:
        roots: The nodes and states, the plain values beside them in a container, and the numbers and texts that the
            function and those that it calls find in variables around them, by the name of their place.
        slots: One test for each place on the way to a root: "does it still hold the same object?"
        functions: What tells one function on the way to a root from another, `fun` itself left out.
    """

    def __init__(self, fun: Callable[..., Any]) -> None:
        self._found: dict[str, Any] = {}
        self.roots: dict[str, Any] = {}
        self.slots: list[Callable[[], bool]] = []
        self._slots: list[Callable[[], bool]] = []
        self.functions: list[Any] = []
        self._watched: set[int] = set()
        self._seen: set[int] = set()
        self._keep: list[Any] = []  # keeps the ids in `_seen` from being reused while we look
        self._classes: set[type[Any]] = set()
        self._constants = Constants()
        self._follow([("", fun, None)])

    def follow_methods(self, classes: set[type[Any]]) -> bool:
        """Follow the methods of classes of nodes, which reach globals of their own; tell whether that led to more."""
        before = len(self._found)
        for cls in classes - self._classes:
            self._classes.add(cls)
            for base in cls.__mro__:
                if base is Node or _package(base) in _SKIPPED:
                    break
                self._follow([("", m, None) for m in vars(base).values() if callable(m) and not isinstance(m, type)])
        return len(self._found) > before

    def _follow(self, stack: list[tuple[str, Any, _Chain]]) -> None:
        # Objects in the order in which a reader of the function meets them, each with the chain of places that leads
        # to it: a place in the middle may be rebound too.
        while stack:
            place, item, chain = stack.pop()
            if item is None and chain is not None and chain[0] is not None:
                self._watch(chain)  # a place for something that is not there yet
            if type(item) in _LEAVES or isinstance(item, type):
                if type(item) in _PLAIN and chain is not None and not isinstance(chain[1], _CONTAINERS):
                    self._constants.note(place, item, chain[1])
                continue
            if isinstance(item, (Node, State)):
                self._watch(chain)
                if id(item) not in self._seen:
                    self._add(place, item)
                    if place in ("", "self") and isinstance(item, Node) and callable(item):
                        stack.append(("", type(item).__call__, None))
            elif id(item) not in self._seen:
                if isinstance(item, _CONTAINERS):
                    steps = self._items(place, item) if _holds_graph(item) else []
                elif callable(item) or hasattr(item, "__dict__"):
                    steps = list(self._steps(item))
                else:
                    steps = []
                stack.extend((name, value, (slot, item, chain)) for name, value, slot in reversed(steps))
            self._seen.add(id(item))
            self._keep.append(item)
        constants, tests = self._constants.found()
        self.roots = {**self._found, **constants}
        self.slots = [*self._slots, *tests]

    def _items(self, place: str, container: Any) -> list[_Step]:
        """What a container holds; its plain values are taken down, for they stand beside a model."""
        unchanged = None if isinstance(container, (tuple, StateTree)) else watch(container)
        pairs = container.items() if isinstance(container, _MAPPINGS) else enumerate(container)
        steps: list[_Step] = []
        for key, value in list(pairs):
            name = f"{place}[{key!r}]"
            if type(value) in _LEAVES:
                self._add(name, value)
            steps.append((name, value, unchanged))
        return steps

    def _watch(self, chain: _Chain) -> None:
        while chain is not None:
            slot, holder, chain = chain
            if slot is not None and id(slot) not in self._watched:
                self._watched.add(id(slot))
                self._slots.append(slot)
            if chain is not None and isinstance(holder, types.FunctionType) and id(holder) not in self._watched:
                self._watched.add(id(holder))
                self.functions.append(_identity(holder))

    def _add(self, place: str, item: Any) -> None:
        name, number = place or "function", 2
        while name in self._found:
            name, number = f"{place}#{number}", number + 1
        self._found[name] = item

    def _steps(self, item: Any) -> Iterator[_Step]:
        """What can be reached from a function or a plain object in one step, and the test of each place."""
        if isinstance(item, functools.partial):
            yield "", item.func, None
            for i, value in enumerate(item.args):
                yield f"partial[{i}]", value, None
            for name, value in item.keywords.items():
                yield name, value, _entry_unchanged(item.keywords, name, value)
        elif isinstance(item, types.MethodType):
            yield "self", item.__self__, None
            yield "", item.__func__, None
        elif isinstance(item, WeakMethod):
            yield "self", item.instance(), None
            yield "", item.fun, None
        elif isinstance(item, types.FunctionType):
            if not is_foreign(item):
                self._constants.look_at(item)
                yield from self._function_steps(item)
        elif is_ours(type(item)):
            for fun in getattr(item, "functions", ()):  # what a lifted function runs; the rest of it is machinery
                yield "", fun, None
        elif hasattr(item, "__wrapped__"):
            yield "", item.__wrapped__, None
        elif not isinstance(item, types.ModuleType) and is_open(type(item)) and hasattr(item, "__dict__"):
            table = vars(item)
            for name, value in list(table.items()):
                yield name, value, _entry_unchanged(table, name, value)
            if callable(item):
                yield "", type(item).__call__, None

    def _function_steps(self, fun: types.FunctionType) -> Iterator[_Step]:
        for name, cell in zip(fun.__code__.co_freevars, fun.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
            yield name, value, cell_unchanged(cell, value)
        code = fun.__code__
        defaults = fun.__defaults__ or ()
        named = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
        yield from ((name, value, None) for name, value in zip(named, defaults, strict=True))
        for name, value in (fun.__kwdefaults__ or {}).items():
            yield name, value, None
        if is_ours(fun):
            return  # the globals of our own wrappers hold no state; their closures lead on
        names = names_in(code)
        for name in names.loaded:
            if name not in fun.__globals__:
                continue
            value = fun.__globals__[name]
            yield name, value, _entry_unchanged(fun.__globals__, name, value)
            if isinstance(value, types.ModuleType) and not is_foreign(value):
                table = vars(value)  # `models.net(x)` reaches the global `net` of the module `models`
                for attribute in names.used:
                    if attribute in table:
                        found = table[attribute]
                        yield f"{name}.{attribute}", found, _entry_unchanged(table, attribute, found)


def _holds_graph(container: Any) -> bool:
    """Tell whether a container holds a node, a state, or a function that may reach some, at any depth."""
    seen: set[int] = set()
    stack = [container]
    while stack:
        item = stack.pop()
        if isinstance(item, (Node, State)) or (callable(item) and not isinstance(item, type)):
            return True
        if id(item) in seen:
            continue
        if isinstance(item, _MAPPINGS):
            seen.add(id(item))
            stack.extend(item.values())
        elif isinstance(item, (list, tuple)):
            seen.add(id(item))
            stack.extend(item)
    return False

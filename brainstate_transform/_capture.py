"""Which graph does a call of this function touch?

The *touched graph* is every node and state that the function reaches by name: its bound ``self``, closure cells,
defaults, arguments of partials, the globals that its code loads, and the same of the functions among those.
It is found before tracing, so that one trace is enough.
"""

from __future__ import annotations

import dis
import functools
import sys
import types
import weakref
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from brainstate_graph import Node, State
from brainstate_graph.extend import StateTree

__all__ = ["Capture", "WeakMethod"]

_FOREIGN = frozenset(sys.stdlib_module_names) | {"jax", "jaxlib", "numpy", "scipy", "optax", "flax"}
_OURS = ("brainstate_graph", "brainstate_transform")
_MAPPINGS = (dict, OrderedDict, defaultdict, StateTree)
_CONTAINERS = (list, tuple, *_MAPPINGS)
_Chain = Any  # None, or a test and the rest of the chain
_LEAVES = frozenset({bool, int, float, complex, str, bytes, type(None), type, types.ModuleType})


@functools.lru_cache(maxsize=4096)
def _names_in(code: types.CodeType) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The globals that this code and the code inside it load, and all names that it uses, attributes among them."""
    names: dict[str, None] = {}
    used: dict[str, None] = {}
    todo = [code]
    for current in todo:
        for step in dis.get_instructions(current):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                names[step.argval] = None
        used.update(dict.fromkeys(current.co_names))
        todo.extend(c for c in current.co_consts if isinstance(c, types.CodeType))
    return tuple(names), tuple(used)


def _foreign(item: Any) -> bool:
    package = (getattr(item, "__module__", None) or "").partition(".")[0]
    return package in _FOREIGN


def _cell_unchanged(cell: types.CellType, value: Any) -> Callable[[], bool]:
    def unchanged() -> bool:
        try:
            return cell.cell_contents is value
        except ValueError:  # emptied
            return False

    return unchanged


def _entry_unchanged(table: dict[str, Any], name: str, value: Any) -> Callable[[], bool]:
    return lambda: table.get(name) is value


class WeakMethod:
    """A function bound to an object that it does not keep alive."""

    def __init__(self, fun: Callable[..., Any], instance: Any) -> None:
        functools.update_wrapper(self, fun)
        self.fun = fun
        self.instance = weakref.ref(instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fun(self.instance(), *args, **kwargs)


class Capture:
    """The touched graph of one function, and the tests that tell whether it is still that one.

    Args:
        fun: The user's function.

    Attributes:
        roots: The nodes, states, and containers that hold some, by the name under which they were found.
        slots: One test for each place where a root was found: "does it still hold the same object?"
    """

    def __init__(self, fun: Callable[..., Any]) -> None:
        self.roots: dict[str, Any] = {}
        self.slots: list[Callable[[], bool]] = []
        self._watched: set[int] = set()
        self._follow(fun)

    def _follow(self, fun: Any) -> None:
        seen: set[int] = set()
        keep: list[Any] = []  # keeps the ids in `seen` from being reused while we look
        # Objects in the order in which a reader of the function meets them, each with the chain of places that leads
        # to it: a place in the middle may be rebound too.
        stack: list[tuple[str, Any, _Chain]] = [("", fun, None)]
        while stack:
            place, item, chain = stack.pop()
            if type(item) in _LEAVES or isinstance(item, type):
                continue
            if isinstance(item, (Node, State)) or (isinstance(item, _CONTAINERS) and _holds_graph(item)):
                self._watch(chain)
                if id(item) not in seen:
                    self._add(place, item)
                    if place in ("", "self") and isinstance(item, Node) and callable(item):
                        stack.append(("", type(item).__call__, None))
            elif id(item) not in seen and (callable(item) or hasattr(item, "__dict__")):
                steps = list(self._steps(item))
                stack.extend((name, value, (slot, chain)) for name, value, slot in reversed(steps))
            seen.add(id(item))
            keep.append(item)

    def _watch(self, chain: _Chain) -> None:
        while chain is not None:
            slot, chain = chain
            if slot is not None and id(slot) not in self._watched:
                self._watched.add(id(slot))
                self.slots.append(slot)

    def _add(self, place: str, item: Any) -> None:
        name, number = place or "function", 2
        while name in self.roots:
            name, number = f"{place}#{number}", number + 1
        self.roots[name] = item

    def _steps(self, item: Any) -> Iterator[tuple[str, Any, Callable[[], bool] | None]]:
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
            if not _foreign(item):
                yield from self._function_steps(item)
        elif type(item).__module__.partition(".")[0] in _OURS:
            for fun in getattr(item, "functions", ()):  # what a lifted function runs; the rest of it is machinery
                yield "", fun, None
        elif hasattr(item, "__wrapped__"):
            yield "", item.__wrapped__, None
        elif not isinstance(item, types.ModuleType) and not _foreign(type(item)) and hasattr(item, "__dict__"):
            table = vars(item)
            for name, value in list(table.items()):
                yield name, value, _entry_unchanged(table, name, value)
            if callable(item):
                yield "", type(item).__call__, None

    def _function_steps(self, fun: types.FunctionType) -> Iterator[tuple[str, Any, Callable[[], bool] | None]]:
        for name, cell in zip(fun.__code__.co_freevars, fun.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
            yield name, value, _cell_unchanged(cell, value)
        code = fun.__code__
        defaults = fun.__defaults__ or ()
        named = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
        yield from ((name, value, None) for name, value in zip(named, defaults, strict=True))
        for name, value in (fun.__kwdefaults__ or {}).items():
            yield name, value, None
        if (fun.__globals__.get("__name__") or "").partition(".")[0] in _OURS:
            return  # the globals of our own wrappers hold no state; their closures lead on
        loaded, used = _names_in(code)
        for name in loaded:
            if name not in fun.__globals__:
                continue
            value = fun.__globals__[name]
            yield name, value, _entry_unchanged(fun.__globals__, name, value)
            if isinstance(value, types.ModuleType) and value.__name__.partition(".")[0] not in _FOREIGN:
                table = vars(value)  # `models.net(x)` reaches the global `net` of the module `models`
                for attribute in used:
                    if attribute in table:
                        found = table[attribute]
                        yield f"{name}.{attribute}", found, _entry_unchanged(table, attribute, found)


def _holds_graph(container: Any) -> bool:
    """Tell whether a container holds a node or state at any depth."""
    seen: set[int] = set()
    stack = [container]
    while stack:
        item = stack.pop()
        if isinstance(item, (Node, State)):
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

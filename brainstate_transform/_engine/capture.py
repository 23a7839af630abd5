"""``Capture``: the touched graph of a function, found before it is traced.

The *touched graph* is every node and state that the function reaches by name: its bound ``self``, closure cells,
defaults, arguments of partials, the globals that its code loads, and the same of the functions among those.  It is
found before tracing, so that one trace is enough.  Numbers and texts in the variables around its functions, and in
plain objects that these use, are part of it too: a program is made from them.

What one thing leads to in one step is said by `reach`; this file follows the steps, and keeps a test for each place on
the way: a place in the middle may be rebound too.
"""

from __future__ import annotations

import types
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

from brainstate_graph import Node, State
from brainstate_graph.extend import StateTree, watch

from .reach import FOREIGN, OURS, Binding, Cell, Step, names_in, package_of, steps

__all__ = ["Capture"]

Test = Callable[[], bool]
_MAPPINGS = (dict, OrderedDict, defaultdict, StateTree)
_CONTAINERS = (list, tuple, *_MAPPINGS)
_SKIPPED = {*FOREIGN, *OURS, "brainstate_nn"}  # whose methods reach no model but their own
_PLAIN = frozenset({bool, int, float, complex, str, bytes})
_LEAVES = frozenset({*_PLAIN, type(None), type, types.ModuleType})


class _Link(NamedTuple):
    """How something was reached: the step, the test whether it still leads there, who took it, and how that was."""

    step: Step
    test: Test | None
    holder: Any
    above: _Link | None


class Capture:
    """The touched graph of one function, and the tests that tell whether it is still that one.

    Args:
        fun: The user's function.

    Attributes:
        roots: The nodes and states, the plain values beside them in a container, and the numbers and texts that the
            function and those that it calls find in variables around them, by the name of their place.
        tests: One for each place on the way to a root: "does it still hold the same object?"
        functions: What tells one function on the way to a root from another, `fun` itself left out.
    """

    def __init__(self, fun: Callable[..., Any]) -> None:
        self.roots: dict[str, Any] = {}
        self.tests: list[Test] = []
        self.functions: list[Any] = []
        self._found: dict[str, Any] = {}
        self._tests: dict[int, Test] = {}
        self._met: dict[int, Any] = {}  # by id, which stays that of the thing
        self._identified: set[int] = set()
        self._classes: set[type[Any]] = set()
        # Numbers and texts, by place.  Of plain objects only the attributes that the functions use; and nothing that
        # the functions assign themselves, such as a count of the traces: each call would trace anew.
        self._constants: dict[Any, Step] = {}
        self._used: set[str] = set()
        self._assigned: set[Any] = set()
        self._follow([(Step("", fun), None)])

    def follow_methods(self, classes: set[type[Any]]) -> bool:
        """Follow the methods of classes of nodes, which reach globals of their own; tell whether that led to more."""
        before, methods = len(self._found), list[Any]()
        for cls in classes - self._classes:
            self._classes.add(cls)
            for base in cls.__mro__:
                if base is Node or package_of(base) in _SKIPPED:
                    break
                methods += [m for m in vars(base).values() if callable(m) and not isinstance(m, type)]
        if methods:
            self._follow([(Step("", method), None) for method in methods])
        return len(self._found) > before

    def _follow(self, stack: list[tuple[Step, _Link | None]]) -> None:
        # In the order in which a reader of the function meets the things, each with the whole way to it.
        while stack:
            step, link = stack.pop()
            item, kind = step.value, type(step.value)
            if item is None and link is not None and link.test is not None:
                self._watch(link)  # a place for something that is not there yet
            if kind in _LEAVES or isinstance(item, type):
                if kind in _PLAIN and step.place is not None:
                    self._constants[step.place.key()] = step
                continue
            if isinstance(item, (Node, State)):
                self._watch(link)
                if id(item) not in self._met:
                    self._add(self._found, step.name or "function", item)
                    if step.name in ("", "self") and isinstance(item, Node) and callable(item):
                        stack.append((Step("", type(item).__call__), None))
            elif id(item) not in self._met:
                if kind is types.FunctionType:
                    self._note_names(item)
                if isinstance(item, _CONTAINERS):
                    inside, test = self._inside(step.name, item)
                else:
                    test = None
                    inside = steps(item)[::-1] if callable(item) or hasattr(item, "__dict__") else ()
                for s in inside:
                    place = s.place
                    stack.append((s, _Link(s, test or (place and place.unchanged(s.value)), item, link)))
            self._met[id(item)] = item
        constants, tests = self._counting()
        self.roots = {**self._found, **constants}
        self.tests = [*self._tests.values(), *tests]

    def _inside(self, name: str, container: Any) -> tuple[list[Step], Test | None]:
        """Return what a container leads to, the last first, and the test for all of it."""
        if not _holds_graph(container):
            return [], None
        test = None if isinstance(container, (tuple, StateTree)) else watch(container)
        pairs = list(container.items() if isinstance(container, _MAPPINGS) else enumerate(container))
        held = [Step(f"{name}[{key!r}]", value) for key, value in pairs]
        for step in held:
            if type(step.value) in _LEAVES:  # plain values stand beside a model
                self._add(self._found, step.name, step.value)
        return held[::-1], test

    def _watch(self, link: _Link | None) -> None:
        """Keep the tests on the way to something, and what tells the functions on it from others."""
        while link is not None:
            if link.test is not None:
                self._tests[id(link.test)] = link.test
            holder = link.holder
            if link.above is not None and isinstance(holder, types.FunctionType) and id(holder) not in self._identified:
                self._identified.add(id(holder))
                self.functions.append(_identity(holder))
            link = link.above

    def _add(self, to: dict[str, Any], name: str, item: Any) -> None:
        """Add something under a name, or the next one that is free."""
        free, number = name, 2
        while free in to:
            free, number = f"{name}#{number}", number + 1
        to[free] = item

    def _note_names(self, fun: types.FunctionType) -> None:
        """Take note of the names that a function uses and assigns."""
        names = names_in(fun.__code__)
        self._used.update(names.used)
        if names.stored:
            cells = zip(fun.__code__.co_freevars, fun.__closure__ or (), strict=True)
            self._assigned |= {id(cell) for name, cell in cells if name in names.stored}
            self._assigned |= {(id(fun.__globals__), name) for name in names.stored}
            self._assigned |= names.stored

    def _counting(self) -> tuple[dict[str, Any], list[Test]]:
        """Return the numbers and texts that count, by name, and tests that tell whether they are still the same."""
        named: dict[str, Any] = {}
        tests: list[Test] = []
        tables: dict[int, tuple[dict[str, Any], list[str], list[Any]]] = {}
        bound: list[Step] = []
        for key, step in self._constants.items():
            place = step.place
            if isinstance(place, Cell):
                if key not in self._assigned:
                    self._add(named, f"variable {step.name}", step.value)
                    tests.append(place.unchanged(step.value))
            elif isinstance(place, Binding):
                counts = place.name in self._used and place.name not in self._assigned
                if counts if place.owned else key not in self._assigned:
                    bound.append(step)
                    _, names, values = tables.setdefault(id(place.table), (place.table, [], []))
                    names.append(place.name)
                    values.append(step.value)
        for step in bound:
            self._add(named, f"variable {step.name}", step.value)
        return named, tests + [_names_unchanged(*table) for table in tables.values()]


def _identity(fun: types.FunctionType) -> tuple[Any, ...]:
    """Return the code of a function and the plain values that it was made with, without those that it assigns itself.

    Not the function, which may hold tracers.
    """
    stored = names_in(fun.__code__).stored
    made_with = [s.value for s in steps(fun) if s.place is None or (isinstance(s.place, Cell) and s.name not in stored)]
    return (fun.__code__, *[value for value in made_with if type(value) in _LEAVES])


def _names_unchanged(table: dict[str, Any], names: list[str], values: list[Any]) -> Test:
    # all names of a table in one test: 40 nanoseconds each, where a function for each takes 90
    get, ids = table.get, list(map(id, values))
    return lambda: list(map(id, map(get, names))) == ids and bool(values)  # which keeps the ids theirs


def _holds_graph(container: Any) -> bool:
    """Tell whether a container holds a node, a state, or a function that may reach some, at any depth."""
    seen: set[int] = set()
    stack = [container]
    while stack:
        item = stack.pop()
        if isinstance(item, (Node, State)) or (callable(item) and not isinstance(item, type)):
            return True
        if isinstance(item, _CONTAINERS) and id(item) not in seen:
            seen.add(id(item))
            stack.extend(item.values() if isinstance(item, _MAPPINGS) else item)
    return False

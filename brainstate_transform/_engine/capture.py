"""Which graph does a call of this function touch?

The *touched graph* is every node and state that the function reaches by name: its bound ``self``, closure cells,
defaults, arguments of partials, the globals that its code loads, and the same of the functions among those.
It is found before tracing, so that one trace is enough.  Numbers and texts in the variables around its functions,
and in plain objects that these use, are part of it too: a program is made from them.
"""

from __future__ import annotations

import types
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

from brainstate_graph import Node, State
from brainstate_graph.extend import StateTree, watch

from .reach import FOREIGN, OURS, Cell, Entry, Step, names_in, package_of, steps

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


def _identity(fun: types.FunctionType) -> tuple[Any, ...]:
    """The code of a function and the plain values that it was made with; not the function, which may hold tracers.

    Without those that it assigns itself.
    """
    stored = names_in(fun.__code__).stored
    made_with = [s.value for s in steps(fun) if s.place is None or (isinstance(s.place, Cell) and s.name not in stored)]
    return (fun.__code__, *(value for value in made_with if type(value) in _LEAVES))


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
        self._constants = _Constants()
        self._follow([(Step("", fun), None)])

    def follow_methods(self, classes: set[type[Any]]) -> bool:
        """Follow the methods of classes of nodes, which reach globals of their own; tell whether that led to more."""
        before = len(self._found)
        for cls in classes - self._classes:
            self._classes.add(cls)
            for base in cls.__mro__:
                if base is Node or package_of(base) in _SKIPPED:
                    break
                methods = [m for m in vars(base).values() if callable(m) and not isinstance(m, type)]
                self._follow([(Step("", m), None) for m in methods])
        return len(self._found) > before

    def _follow(self, stack: list[tuple[Step, _Link | None]]) -> None:
        # In the order in which a reader of the function meets the things, each with the whole way to it: a place in the
        # middle may be rebound too.
        while stack:
            step, link = stack.pop()
            item = step.value
            if item is None and link is not None and link.test is not None:
                self._watch(link)  # a place for something that is not there yet
            if type(item) in _LEAVES or isinstance(item, type):
                if type(item) in _PLAIN and isinstance(step.place, (Cell, Entry)):
                    self._constants.note(step)
                continue
            if isinstance(item, (Node, State)):
                self._watch(link)
                if id(item) not in self._met:
                    self._found[_free(self._found, step.name or "function")] = item
                    if step.name in ("", "self") and isinstance(item, Node) and callable(item):
                        stack.append((Step("", type(item).__call__), None))
            elif id(item) not in self._met:
                if isinstance(item, types.FunctionType):
                    self._constants.look_at(item)
                inside, test = self._inside(step.name, item)
                stack.extend(
                    (s, _Link(s, test or (s.place and s.place.unchanged(s.value)), item, link)) for s in inside
                )
            self._met[id(item)] = item
        constants, tests = self._constants.found()
        self.roots = {**self._found, **constants}
        self.tests = [*self._tests.values(), *tests]

    def _inside(self, name: str, item: Any) -> tuple[list[Step], Test | None]:
        """What something leads to, the last first; of a container, the test for all of it."""
        if not isinstance(item, _CONTAINERS):
            return list(steps(item))[::-1] if callable(item) or hasattr(item, "__dict__") else [], None
        if not _holds_graph(item):
            return [], None
        test = None if isinstance(item, (tuple, StateTree)) else watch(item)
        pairs = list(item.items() if isinstance(item, _MAPPINGS) else enumerate(item))
        held = [Step(f"{name}[{key!r}]", value) for key, value in pairs]
        for step in held:
            if type(step.value) in _LEAVES:  # plain values stand beside a model
                self._found[_free(self._found, step.name)] = step.value
        return held[::-1], test

    def _watch(self, link: _Link | None) -> None:
        while link is not None:
            if link.test is not None:
                self._tests.setdefault(id(link.test), link.test)
            holder = link.holder
            if link.above is not None and isinstance(holder, types.FunctionType) and id(holder) not in self._identified:
                self._identified.add(id(holder))
                self.functions.append(_identity(holder))
            link = link.above


def _free(taken: dict[str, Any], name: str) -> str:
    """Return a name that is free yet."""
    free, number = name, 2
    while free in taken:
        free, number = f"{name}#{number}", number + 1
    return free


class _Constants:
    """Numbers and texts in variables around functions and in plain objects there: they are part of the program.

    Of objects only the attributes that the functions use.  Not what the functions assign themselves, such as a count
    of the traces: each call would trace anew.
    """

    def __init__(self) -> None:
        self._noted: dict[Any, Step] = {}  # by place
        self._used: set[str] = set()
        self._assigned: set[Any] = set()

    def look_at(self, fun: types.FunctionType) -> None:
        """Take note of what a function uses and assigns."""
        names = names_in(fun.__code__)
        self._used.update(names.used)
        if names.stored:
            cells = zip(fun.__code__.co_freevars, fun.__closure__ or (), strict=True)
            self._assigned.update(id(cell) for name, cell in cells if name in names.stored)
            self._assigned.update((id(fun.__globals__), name) for name in names.stored)
            self._assigned.update(names.stored)

    def note(self, step: Step) -> None:
        """Take note of a value in a variable or attribute."""
        assert step.place is not None
        self._noted[step.place.key()] = step

    def _counts(self, step: Step) -> bool:
        place = step.place
        if isinstance(place, Entry) and place.owned:
            return place.name in self._used and place.name not in self._assigned
        return place is not None and place.key() not in self._assigned

    def found(self) -> tuple[dict[str, Any], list[Test]]:
        """Return the values by place, and tests that tell whether they are still the same."""
        counting = [step for step in self._noted.values() if self._counts(step)]
        named: dict[str, Any] = {}
        tests: list[Test] = []
        by_table: dict[int, tuple[dict[str, Any], list[str], list[Any]]] = {}
        for step in sorted(counting, key=lambda s: not isinstance(s.place, Cell)):
            named[_free(named, f"variable {step.name}")] = step.value
            if isinstance(step.place, Cell):
                tests.append(step.place.unchanged(step.value))
            elif isinstance(step.place, Entry):
                _, names, values = by_table.setdefault(id(step.place.table), (step.place.table, [], []))
                names.append(step.place.name)
                values.append(step.value)
        return named, tests + [_names_unchanged(*entry) for entry in by_table.values()]


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

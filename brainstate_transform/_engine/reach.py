"""What a function reaches by name: the one reading of functions, for all who ask.

*Step*: what one thing leads to.  A function leads to what its closure, its defaults and the globals that its code loads
hold; a method to its object; a partial to its arguments; a plain object to its attributes.  What belongs to Python or
to a library is not entered.
*Place*: where such a thing is held by a name, and where another may be put: a `Cell` or a `Binding`.

`Capture` follows the steps from a function to its *touched graph*: every node and state on the way.  That is found
before the function is traced, so that one trace is enough, and each place on the way gets a test, as a place in the
middle may be rebound too.  Numbers and texts in the variables around its functions, and in plain objects that these
use, are part of it: a program is made from them.

`brainstate_transform._jit.parts` asks the same steps whether two functions are made of the same parts.
"""

from __future__ import annotations

import dis
import functools
import sys
import types
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from brainstate_graph import Node, State
from brainstate_graph.extend import StateTree, watch

from .user_function import WeakMethod

__all__ = ["Binding", "Capture", "Cell", "Place", "Step", "is_foreign", "is_open", "is_ours", "names_in", "steps"]

FOREIGN = frozenset(sys.stdlib_module_names) | {"jax", "jaxlib", "numpy", "scipy", "optax", "flax"}
OURS = ("brainstate_graph", "brainstate_transform")


def package_of(item: Any) -> str:
    """Return the top-level package of a function, class or module."""
    name = item.__name__ if isinstance(item, types.ModuleType) else getattr(item, "__module__", None)
    return (name or "").partition(".")[0]


def is_foreign(item: Any) -> bool:
    """Tell whether a function, class or module belongs to Python or to a library that reaches no model."""
    return package_of(item) in FOREIGN


def is_ours(item: Any) -> bool:
    """Tell whether a function, class or module is a part of this library."""
    return package_of(item) in OURS


def is_open(kind: type[Any]) -> bool:
    """Tell whether the attributes of such an object are what users put there."""
    return not is_foreign(kind) or kind.__module__ in ("types", "argparse")  # SimpleNamespace, Namespace


class Names(NamedTuple):
    """The names in a piece of code and the code inside it."""

    loaded: tuple[str, ...]  # globals
    used: tuple[str, ...]  # all, attributes among them
    stored: frozenset[str]  # globals, variables of functions around it, and attributes that it assigns


@functools.lru_cache(maxsize=4096)
def names_in(code: types.CodeType) -> Names:
    """Return the names in a piece of code and the code inside it."""
    loaded: dict[str, None] = {}
    used: dict[str, None] = {}
    stored: set[str] = set()
    todo = [code]
    for current in todo:
        for step in dis.get_instructions(current):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                loaded[step.argval] = None
            elif step.opname in ("STORE_GLOBAL", "STORE_DEREF", "STORE_ATTR", "DELETE_GLOBAL", "DELETE_DEREF"):
                stored.add(step.argval)
        used.update(dict.fromkeys(current.co_names))
        todo += [c for c in current.co_consts if isinstance(c, types.CodeType)]
    return Names(tuple(loaded), tuple(used), frozenset(stored))


class Cell(NamedTuple):
    """A variable of a function around another one."""

    cell: types.CellType

    def key(self) -> Any:
        return id(self.cell)

    def unchanged(self, value: Any) -> Callable[[], bool]:
        """Return the test whether it still holds this very object."""
        cell = self.cell

        def unchanged() -> bool:
            try:
                return cell.cell_contents is value
            except ValueError:  # emptied
                return False

        return unchanged


class Binding(NamedTuple):
    """A name in a table: a global, an attribute of a module or plain object, a keyword of a partial."""

    table: dict[str, Any]
    name: str
    owned: bool = False  # whether the table is that of an object, of which only used names count

    def key(self) -> Any:
        return id(self.table), self.name

    def unchanged(self, value: Any) -> Callable[[], bool]:
        """Return the test whether it still holds this very object."""
        table, name = self.table, self.name
        return lambda: table.get(name) is value


Place = Cell | Binding


class Step(NamedTuple):
    """One thing that something leads to.

    Attributes:
        name: How the function knows it; "" for what runs itself.
        value: The thing.
        place: Where it may be rebound; None where it cannot.
    """

    name: str
    value: Any
    place: Place | None = None


def steps(item: Any) -> list[Step]:
    """Return what can be reached from a function or a plain object in one step."""
    kind = type(item)
    if kind is types.FunctionType:
        return [] if is_foreign(item) else _of_function(item)
    if kind is types.MethodType:
        return [Step("self", item.__self__), Step("", item.__func__)]
    if isinstance(item, functools.partial):
        arguments = [Step(f"partial[{i}]", value) for i, value in enumerate(item.args)]
        keywords = [Step(name, value, Binding(item.keywords, name)) for name, value in item.keywords.items()]
        return [Step("", item.func), *arguments, *keywords]
    if kind is WeakMethod:
        return [Step("self", item.instance()), Step("", item.fun)]
    if package_of(kind) in OURS:
        return [Step("", fun) for fun in getattr(item, "functions", ())]  # what a lifted function runs
    if hasattr(item, "__wrapped__"):
        return [Step("", item.__wrapped__)]
    if isinstance(item, types.ModuleType) or not is_open(kind) or not hasattr(item, "__dict__"):
        return []
    table = vars(item)
    found = [Step(name, value, Binding(table, name, True)) for name, value in list(table.items())]
    return [*found, Step("", kind.__call__)] if callable(item) else found


def _of_function(fun: types.FunctionType) -> list[Step]:
    found: list[Step] = []
    code = fun.__code__
    for name, cell in zip(code.co_freevars, fun.__closure__ or (), strict=True):
        try:  # `contextlib.suppress` takes four times as long, and eager loops ask at each call
            found.append(Step(name, cell.cell_contents, Cell(cell)))
        except ValueError:  # not assigned yet
            continue
    defaults = fun.__defaults__
    if defaults:
        found += map(Step, code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount], defaults)
    if fun.__kwdefaults__:
        found += map(Step, fun.__kwdefaults__, fun.__kwdefaults__.values())
    table = fun.__globals__
    if package_of(fun) in OURS:
        return found  # the globals of our own wrappers hold no state; their closures lead on
    names = names_in(code)
    for name in names.loaded:
        if name not in table:
            continue
        value = table[name]
        found.append(Step(name, value, Binding(table, name)))
        if isinstance(value, types.ModuleType) and not is_foreign(value):
            inside = vars(value)  # `models.net(x)` reaches the global `net` of the module `models`
            found += [Step(f"{name}.{key}", inside[key], Binding(inside, key)) for key in names.used if key in inside]
    return found


# -- the touched graph -------------------------------------------------------------------------------------------------


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
                if isinstance(item, types.FunctionType):
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
            if isinstance(item, StateTree):  # whose leaves JAX finds without a call for each of them
                stack += jax.tree.leaves(item)
            else:
                stack += item.values() if isinstance(item, _MAPPINGS) else item
    return False

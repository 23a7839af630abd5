"""The steps from a function: what it leads to by name.  The one reading of functions, for all who ask.

A function leads to what its closure, its defaults and the globals that its code loads hold; a method to its object; a
partial to its arguments; a plain object to its attributes.  What belongs to Python or to a library is not entered.

A *place* is where such a thing is held by a name, and where another may be put: a `Cell` or a `Binding`.  `capture`
follows the steps to find a model, and watches the places; `parts` compares two functions by what they lead to.
"""

from __future__ import annotations

import contextlib
import dis
import functools
import inspect
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Binding", "Cell", "Place", "Step", "WeakMethod", "is_foreign", "is_open", "is_ours", "names_in", "package_of",
           "steps"]  # fmt: skip

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
        with contextlib.suppress(ValueError):  # not assigned yet
            found.append(Step(name, cell.cell_contents, Cell(cell)))
    defaults = fun.__defaults__ or ()
    found += map(Step, code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount], defaults)
    found += map(Step, fun.__kwdefaults__ or {}, (fun.__kwdefaults__ or {}).values())
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

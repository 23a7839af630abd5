"""Which numbers and texts is a program made from?

Those in variables around its functions (closure cells, globals, attributes of modules), and in plain objects that the
functions use.
"""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Constants", "cell_unchanged", "names_in"]


class _Names(NamedTuple):
    """The names in a piece of code and the code inside it."""

    loaded: tuple[str, ...]  # globals
    used: tuple[str, ...]  # all, attributes among them
    stored: frozenset[str]  # globals, variables of functions around it, and attributes that it assigns


@functools.lru_cache(maxsize=4096)
def names_in(code: types.CodeType) -> _Names:
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
        todo.extend(c for c in current.co_consts if isinstance(c, types.CodeType))
    return _Names(tuple(loaded), tuple(used), frozenset(stored))


def cell_unchanged(cell: types.CellType, value: Any) -> Callable[[], bool]:
    def unchanged() -> bool:
        try:
            return cell.cell_contents is value
        except ValueError:  # emptied
            return False

    return unchanged


class Constants:
    """Numbers and texts in variables around functions and in plain objects there: they are part of the program.

    Of objects only the attributes that the functions use.  Not what the functions assign themselves, such as a count
    of the traces: each call would trace anew.
    """

    def __init__(self) -> None:
        self._cells: dict[int, tuple[str, Any, Any]] = {}  # by id: the name, the cell, the value
        self._entries: dict[tuple[int, str], tuple[str, dict[str, Any], str, Any]] = {}  # place, table, name, value
        self._objects: set[int] = set()  # the tables that are attributes of objects
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

    def note(self, place: str, value: Any, holder: Any) -> None:
        """Take note of a value at a place of a function or plain object."""
        if not isinstance(holder, types.FunctionType):
            name, table = place.rpartition(".")[2], vars(holder)
            self._objects.add(id(table))
        else:
            for own, cell in zip(holder.__code__.co_freevars, holder.__closure__ or (), strict=True):
                if own == place:
                    self._cells[id(cell)] = (place, cell, value)
                    return
            module, _, name = place.rpartition(".")
            table = vars(holder.__globals__[module]) if module else holder.__globals__
        if table.get(name) is value:
            self._entries[id(table), name] = (place, table, name, value)

    def _counts(self, key: tuple[int, str]) -> bool:
        if key[0] in self._objects:
            return key[1] in self._used and key[1] not in self._assigned
        return key not in self._assigned

    def found(self) -> tuple[dict[str, Any], list[Callable[[], bool]]]:
        """Return the values by place, and tests that tell whether they are still the same."""
        cells = [entry for key, entry in self._cells.items() if key not in self._assigned]
        entries = [entry for key, entry in self._entries.items() if self._counts(key)]
        named: dict[str, Any] = {}
        for place, value in [(c[0], c[2]) for c in cells] + [(e[0], e[3]) for e in entries]:
            name, number = f"variable {place}", 2
            while name in named:
                name, number = f"variable {place}#{number}", number + 1
            named[name] = value
        tests = [cell_unchanged(cell, value) for _, cell, value in cells]
        by_table: dict[int, tuple[dict[str, Any], list[str], list[Any]]] = {}
        for _, table, name, value in entries:
            _, names, values = by_table.setdefault(id(table), (table, [], []))
            names.append(name)
            values.append(value)
        return named, tests + [_names_unchanged(*entry) for entry in by_table.values()]


def _names_unchanged(table: dict[str, Any], names: list[str], values: list[Any]) -> Callable[[], bool]:
    # all names of a table in one test: 40 nanoseconds each, where a function for each takes 90
    get, ids = table.get, list(map(id, values))
    return lambda: list(map(id, map(get, names))) == ids and bool(values)  # which keeps the ids theirs

"""Places: where a function finds things by name, and the tests whether they still hold the same.

*Place*: a variable, a name in a table, an item: where another thing may be put.
"""

from __future__ import annotations

import contextvars
import threading
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, final

from brainstate_graph.extend import ABSENT

from .question import Held
from .values import Test, values_of

__all__ = [
    "Binding",
    "Cell",
    "Found",
    "Items",
    "Known",
    "OfContext",
    "OfThread",
    "Place",
    "Places",
    "Slots",
    "held_by",
    "key_of",
]


class Cell(NamedTuple):
    """A variable of a function around another one."""

    cell: types.CellType

    def now(self) -> Any:
        """Return what it holds."""
        try:
            return self.cell.cell_contents
        except ValueError:  # emptied
            return ABSENT


class Binding(NamedTuple):
    """A name in a table: a global, an attribute of a module or plain object, an item of a dict."""

    table: Any  # with a method `get`
    name: Any

    def now(self) -> Any:
        """Return what it holds."""
        return self.table.get(self.name, ABSENT)


Place = Cell | Binding


def key_of(place: Place) -> Any:
    """Return what tells a place from others."""
    return id(place.cell) if isinstance(place, Cell) else (id(place.table), place.name)


@final
class Items:
    """The items of a list or deque as a table."""

    __slots__ = ("items",)

    def __init__(self, items: Any) -> None:
        self.items = items

    def get(self, index: int, default: Any) -> Any:
        try:
            return self.items[index]
        except IndexError:
            return default


@final
class OfThread:
    """The attributes that an object has in the thread that asks, as a table."""

    __slots__ = ("item",)

    def __init__(self, item: threading.local) -> None:
        self.item = item

    def get(self, name: str, default: Any) -> Any:
        try:
            return threading.local.__getattribute__(self.item, name)
        except AttributeError:
            return default

    def __contains__(self, name: str) -> bool:
        return name in threading.local.__getattribute__(self.item, "__dict__")

    def __getitem__(self, name: str) -> Any:
        return self.get(name, ABSENT)


@final
class OfContext:
    """What a variable has in the context that asks, as a table of one name."""

    __slots__ = ("variable",)

    def __init__(self, variable: contextvars.ContextVar[Any]) -> None:
        self.variable = variable

    def get(self, _: str, default: Any) -> Any:
        return self.variable.get(default)


@final
class Slots:
    """The slots of an object as a table."""

    __slots__ = ("item",)

    def __init__(self, item: Any) -> None:
        self.item = item

    def get(self, name: str, default: Any) -> Any:
        try:
            return object.__getattribute__(self.item, name)
        except AttributeError:
            return default


def held_by(place: Place, value: Any) -> Held:
    """Return the place with what it held, for a question."""
    if isinstance(place, Binding):
        table = place.table
        if type(table) not in (dict, types.MappingProxyType):
            return Held("table", table.get, place.name, value)
        return Held("gap" if value is ABSENT else "item", table, place.name, value)
    return Held("empty variable" if value is ABSENT else "variable", place.cell, None, value)


class Found(NamedTuple):
    """A thing at a place that a program depends on.

    Attributes:
        path: Where it is, as the function knows it: ``trainer.config.rate``.
        value: What it is as part of a key; ABSENT where it is none.
        unchanged: Tells whether it is still there.
        container: The list, dict or set that it is; None for what is none.
    """

    path: str
    value: Any
    unchanged: Test
    container: Any = None


class Places:
    """The places on which the program of a function depends.

    Attributes:
        unwatched: What the function reads and what is not watched, in words.
        stages: Whether JAX keeps traces of functions of the user that it meets in the program.
    """

    def __init__(
        self, watched: Sequence[Found], undecided: Sequence[Found], unwatched: Sequence[str], stages: bool
    ) -> None:
        self.stages = stages
        self._watched = watched
        self._undecided = undecided
        self.unwatched = tuple(unwatched)

    def ask_again(self, known: Known, made: Callable[[Any], bool]) -> list[Test]:
        """Find out, when a trace has ended, what it has changed itself.

        Args:
            known: What is known of the places of the function, which learns from it.
            made: Tells whether a thing was made in the trace.

        Returns:
            Tests for the places of which it is known now that the program depends on them.
        """
        for found in self._watched:
            # Another thread may have changed it: then the trace is given up, see `Core.moved`.
            alone = threading.active_count() == 1
            if not found.unchanged() and (alone or any(map(made, values_of(found.container or ())))):
                known.own.add(found.path)
        known.traced = True
        undecided, self._undecided = self._undecided, ()
        kept: list[Test] = []
        for found in undecided:
            if found.unchanged():
                if found.value is not ABSENT:
                    known.decided.setdefault(found.path, []).append(found.value)
                kept.append(found.unchanged)
            else:
                known.own.add(found.path)
        return kept


@final
class Known:
    """What traces have shown of the places of one function, by their paths.

    Attributes:
        own: Those that the function changes itself while it is traced.
        decided: Those that it seems to change, and does not, with what they were at the first trace: the programs of
            that are those whose key says nothing of the place.
        traced: Whether there was a trace yet. What is found only later is part of the key, whatever the code seems to
            do: the programs of before know nothing of it.
    """

    __slots__ = ("decided", "own", "traced")

    def __init__(self) -> None:
        self.own: set[str] = set()
        self.decided: dict[str, list[Any]] = {}  # several places may have one path, as a name in a class and above it
        self.traced = False

"""What a function reaches by name: the one reading of functions, for all who ask.

*Place*: where Python finds a thing by a name, and where another may be put: a variable, an attribute, an item.
*Step*: what one thing leads to.  A function leads to what its closure, its defaults and the globals that its code loads
hold; a method to its object; a partial to its arguments; a plain object to those of its attributes, and of the members
of its class, that the code names.  What belongs to Python or to a library is not entered, but for the functions that it
was given.

`Capture` follows the steps from a function to all that its program depends on:

- its *touched graph*: every node and state on the way;
- *watched places*: where plain values, functions and arrays were found.  Each is asked "does it hold the same object?"
  at each call, and so is every place on the way to it.  What plain values are is part of the program's key;
- *unwatched places*: what was found there can change inside, and to compare it would cost too much.

What a place is to hold may be changed by the function itself while it is traced, such as a count of the traces.  Such a
place is no part of the program.  Nobody can tell that from the code alone, so places that the code seems to change are
*undecided* until the first trace is over: see `Places.ask_again`.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer

from brainstate_graph import Node, Snapshot, State, Static
from brainstate_graph.extend import ABSENT, StateTree, dotted

from . import objects
from .code import WHOLE, names_in
from .findings import Findings, Link
from .owners import OPEN, is_foreign, is_ours, is_users
from .places import Binding, Cell, Known, Place, Slots
from .values import (
    CONTAINERS,
    FEW,
    FEW_BYTES,
    MAPPINGS,
    Test,
    by_identity,
    copied,
    holds_graph,
    is_value,
    items_of,
    same_bytes,
    same_content,
    values_of,
    watch_items,
)  # fmt: skip
from .weak_method import WeakMethod

__all__ = ["Capture"]

_MOST_OF_LIBRARIES = 2000  # things that are looked at inside of libraries


class _Opened(NamedTuple):
    """A thing of which those attributes are followed that the code names.

    Attributes:
        item: The object, module, function or class.
        table: Its own attributes.
        slots: Those in slots.
        classes: Where the rest is found: the classes of the user among its bases, the most derived one first.
        link: How it was reached.
        taken: The names that were followed.
    """

    item: Any
    table: Any
    slots: Slots | None
    classes: Sequence[type[Any]]
    link: Link | None
    taken: set[str]


class Capture:
    """All that the program of one function depends on, as far as names lead.

    Args:
        fun: The user's function.
        known: What earlier traces have shown of its places.

    Attributes:
        found: What was found.
    """

    def __init__(self, fun: Callable[..., Any], known: Known) -> None:
        self.found = Findings(known)
        self._met: dict[int, Any] = {}  # by id, which stays that of the thing
        self._opened: list[_Opened] = []
        self._tables: dict[int, Any] = {}  # of a class, by id: each `vars` of it is another object
        self._uses: dict[str, set[Any]] = {}
        self._called: set[str] = set()
        self._texts: set[str] = set()
        self._first: Any = fun
        self._in_libraries = 0
        self._follow([Link("", "", None, fun, None, None)])

    # -- the walk ------------------------------------------------------------------------------------------------------

    def follow_nodes(self, snapshot: Snapshot) -> bool:
        """Follow what nodes lead to beside other nodes: methods of their classes, functions and plain objects.

        Returns:
            Whether that led to more.
        """
        before = self.found.size()
        stack: list[Link] = []
        first = {row: number for number, row in reversed(list(enumerate(snapshot.graphdef.rows)))}  # alike rows are one
        for row, number in reversed(first.items()):
            for key, const in objects.constants_of(row):
                if id(const) not in self._met and not is_value(const):
                    path = dotted((*snapshot.graphdef.path(number), key))
                    stack.append(Link(str(key), path, None, const, None, None))
            if issubclass(row.type, Node) and id(row.type) not in self._met:
                self._met[id(row.type)] = row.type
                self._open_class(row.type, None)
        self._follow(stack[::-1])
        return before != self.found.size()

    def _follow(self, stack: list[Link]) -> None:
        # In the order in which a reader of the function meets the things, each with the whole way to it.
        while True:
            while stack:
                link = stack.pop()
                stack.extend(reversed(list(self._take(link))))
            # What has been opened leads on by the names that were met since.
            names = sorted({*self._uses, *self._called, *self._texts})
            for opened in tuple(self._opened):
                new = [name for name in names if name not in opened.taken]
                opened.taken.update(new)
                stack.extend(step for name in new for step in self._attribute(opened, name))
            stack.reverse()
            if not stack:
                return

    def _take(self, link: Link) -> Iterator[Link]:
        """Note what was reached, and return what it leads to."""
        item, kind = link.value, type(link.value)
        if is_value(item):
            self.found.note(link, item)
            return
        if issubclass(kind, Tracer):  # of a trace around this one; nothing may keep it
            return
        if issubclass(kind, (Node, State)):
            self.found.watch(link)
            if id(item) not in self._met:
                self._met[id(item)] = item
                self.found.add(link.name or "function", item)
            return
        if issubclass(kind, types.FunctionType) and not is_foreign(item):
            if link.above is not None or link.place is not None:
                self.found.watch(link)
            if id(item) not in self._met:
                self._met[id(item)] = item
                yield from self._function(item, link)
            return
        if issubclass(kind, CONTAINERS):
            if id(item) not in self._met:
                self._met[id(item)] = item
                yield from self._container(item, link)
            else:
                self.found.watch(link)
            return
        if issubclass(kind, types.ModuleType):
            if id(item) not in self._met:
                self._met[id(item)] = item
                self._opened.append(_Opened(item, vars(item), None, (), link, set()))
            return
        if id(item) in self._met:
            if issubclass(kind, type) or not objects.leads_on(item):
                self.found.note(link, by_identity(item))
            else:
                self.found.watch(link)
            return
        self._met[id(item)] = item
        yield from self._object(item, kind, link)

    def _step(
        self, above: Link | None, name: str, value: Any, place: Place | None = None,
        test: Test | None = None, path: str | None = None,
    ) -> Link:  # fmt: skip
        return Link(name, path or name, place, value, test, above)

    # -- what functions lead to ----------------------------------------------------------------------------------------

    def _function(self, fun: types.FunctionType, link: Link) -> Iterator[Link]:
        if fun is not self._first:
            self.found.functions.append(objects.identity_of(fun))
        names = names_in(fun.__code__)
        for name, uses in names.uses.items():
            self._uses.setdefault(name, set()).update(uses)
        self._called |= names.called
        self._texts |= names.texts
        if fun.__name__ not in objects.MAKING:
            self.found.assigned |= names.assigned
        yield from self._cells(fun, link)
        yield from self._defaults(fun, link)
        table = fun.__globals__
        for name in names.loaded:
            value = table.get(name, ABSENT)
            # Of our own globals only what may be a model, as the random stream of the process, counts; and functions of
            # ours that use such.
            if value is ABSENT or (is_ours(fun) and not objects.may_be_a_model(value)):
                continue
            yield self._step(link, name, value, Binding(table, name))
        for name in names.imports:
            module = sys.modules.get(name)
            if module is not None:
                yield self._step(link, name, module)
                yield self._step(link, name.partition(".")[0], sys.modules.get(name.partition(".")[0]))
        if fun.__dict__:
            self._opened.append(_Opened(fun, fun.__dict__, None, (), link, set()))
            if "__wrapped__" in fun.__dict__:
                yield self._step(link, "", fun.__dict__["__wrapped__"])

    def _cells(self, fun: types.FunctionType, link: Link) -> Iterator[Link]:
        for name, cell in zip(fun.__code__.co_freevars, fun.__closure__ or (), strict=True):
            place = Cell(cell)
            value = place.now()
            if value is ABSENT:  # not assigned yet
                self.found.note(self._step(link, name, value, place), ABSENT)
            else:
                yield self._step(link, name, value, place)

    def _defaults(self, fun: types.FunctionType, link: Link) -> Iterator[Link]:
        code, defaults = fun.__code__, fun.__defaults__ or ()
        names = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
        for name, value in (*zip(names, defaults, strict=True), *(fun.__kwdefaults__ or {}).items()):
            if not is_value(value):
                yield self._step(link, name, value)

    # -- what containers lead to ---------------------------------------------------------------------------------------

    def _container(self, item: Any, link: Link) -> Iterator[Link]:
        """Return what a container leads to: what the code takes of it by key, or all."""
        path, uses = link.path, self._uses.get(link.name)
        if uses is not None and not uses and link.place is not None:
            return  # the code only puts something in
        keyed = uses is not None and WHOLE not in uses and link.place is not None
        if isinstance(item, MAPPINGS) and not isinstance(item, StateTree) and keyed:
            for key in sorted(uses or (), key=repr):
                if key in item:
                    yield self._step(link, str(key), item[key], Binding(item, key), path=f"{path}[{key!r}]")
            return
        graph = holds_graph(item)
        if not graph and len(item) > FEW:
            self.found.note(link, by_identity(item))
            self.found.say_unwatched(path, f"{type(item).__name__} of {len(item):,} items, known by identity")
            return
        values = values_of(item)
        if not graph and all(map(is_value, values)) and not isinstance(item, tuple):
            self.found.note(link, Static(copied(item)), same_content(item))
            return
        test = None if isinstance(item, (tuple, frozenset, StateTree)) else watch_items(item)
        pairs = items_of(item)
        if graph:
            self.found.watch(link)
        for key, value in pairs:
            name = f"{link.name}[{key!r}]"
            if is_value(value):
                if graph:  # plain values stand beside a model
                    self.found.add(name, value)
                continue
            yield self._step(link, name, value, None, test, f"{path}[{key!r}]")
        plain = [value for _, value in pairs if is_value(value)]
        if not graph and plain:
            self.found.note(link, tuple(plain), test)

    # -- what objects lead to ------------------------------------------------------------------------------------------

    def _object(self, item: Any, kind: type[Any], link: Link) -> Iterator[Link]:
        path = link.path
        if kind is types.MethodType:
            yield self._step(link, "self", item.__self__)
            yield self._step(link, "", item.__func__, path=path)
        elif issubclass(kind, functools.partial):
            self.found.watch(link)
            yield self._step(link, "", item.func, path=path)
            for i, value in enumerate(item.args):
                yield self._step(link, f"partial[{i}]", value)
            for name, value in item.keywords.items():
                yield self._step(link, name, value, Binding(item.keywords, name))
        elif kind is WeakMethod:
            yield self._step(link, "self", item.instance())
            yield self._step(link, "", item.fun, path=path)
        elif issubclass(kind, types.FunctionType):  # of a library: what it was given
            if link.place is not None:
                self.found.note(link, by_identity(item))
            cells = zip(item.__code__.co_freevars, map(Cell, item.__closure__ or ()), strict=True)
            yield from self._inside_library([(name, cell.now()) for name, cell in cells], link)
            others = [item.__dict__.get("__wrapped__"), *(item.__defaults__ or ())]
            yield from self._inside_library([("", other) for other in others], link)
        elif issubclass(kind, type):
            self.found.note(link, by_identity(item))
            if is_users(item):
                self._open_class(item, link)
        elif is_ours(kind):
            self.found.watch(link)
            for fun in getattr(item, "functions", ()):  # what a lifted function runs; the rest of it is machinery
                yield self._step(link, "", fun, path=path)
        elif not is_foreign(kind) or kind.__module__ in OPEN:
            self.found.watch(link)
            self._open(item, kind, link)
        else:
            small = issubclass(kind, np.ndarray) and not item.dtype.hasobject and item.nbytes <= FEW_BYTES
            if small:
                self.found.note(link, Static(item.copy()), same_bytes(item))
                return
            if link.place is not None:
                self.found.note(link, by_identity(item))
            if (why := objects.why_unwatched(item)) is not None:
                self.found.say_unwatched(path, why)
            own = [
                (name, value) for name, value in (objects.own_table(item) or {}).items() if not name.startswith("__")
            ]
            pairs = [("", objects.quietly(item, "__wrapped__")), *own]
            yield from self._inside_library(pairs, link)

    def _inside_library(self, pairs: Iterable[tuple[str, Any]], link: Link | None) -> Iterator[Link]:
        """Return the functions and objects of users, and models, that something of a library holds."""
        for name, value in pairs:
            if self._in_libraries < _MOST_OF_LIBRARIES and id(value) not in self._met and objects.may_be_given(value):
                self._in_libraries += 1
                yield self._step(link, name, value, path=(link and link.path) or name)

    def _open(self, item: Any, kind: type[Any], link: Link | None) -> None:
        slots = Slots(item) if any("__slots__" in vars(base) for base in kind.__mro__) else None
        self._opened.append(_Opened(item, objects.own_table(item), slots, self._classes_of(kind), link, set()))
        self._called |= objects.unnamed(self._opened[-1].classes)

    def _open_class(self, cls: type[Any], link: Link | None) -> None:
        classes = self._classes_of(cls)
        self._opened.append(_Opened(cls, None, None, classes, link, set()))
        self._called |= objects.unnamed(classes)
        if link is not None:  # the code makes objects of it
            self._called |= objects.MAKING

    def _classes_of(self, kind: type[Any]) -> list[type[Any]]:
        return [base for base in kind.__mro__ if base is not object and is_users(base)]

    def _attribute(self, opened: _Opened, name: str) -> Iterator[Link]:
        """Return what an attribute of something that was opened leads to."""
        item, table, link = opened.item, opened.table, opened.link
        prefix = f"{link.path}." if link is not None and link.path else ""
        path = f"{prefix}{name}"
        if isinstance(item, types.ModuleType) and is_ours(item):
            yield from self._inside_library([(name, table.get(name))], link)
            return
        if isinstance(item, types.ModuleType) and is_foreign(item):
            found = table.get(name)
            constant = is_value(found) or callable(found) or isinstance(found, (types.ModuleType, jax.Array))
            if name in self._uses and not constant:
                self.found.say_unwatched(path, "of a library")  # as `os.environ`
            return
        if table is not None and name in table:
            yield from self._named(link, name, table[name], Binding(table, name), path)
            return
        if opened.slots is not None and name in objects.slots_of(type(item)):
            yield from self._named(link, name, opened.slots.get(name, ABSENT), Binding(opened.slots, name), path)
            return
        gaps: list[Place] = [Binding(table, name)] if table is not None else []
        for cls in opened.classes:
            own = self._tables.setdefault(id(cls), vars(cls))
            if name not in own:
                gaps.append(Binding(own, name))
                continue
            if name.startswith("__") and name in objects.UNCALLED:
                return
            for gap in gaps:  # where another one may be put before it
                self.found.expect(gap)
            at = Binding(own, name)
            yield from self._named(link, name, own[name], at, f"{cls.__name__}.{name}" if table is None else path)
            return
        if name in self._texts and gaps and not isinstance(item, types.ModuleType) and not isinstance(item, Node):
            self.found.expect(gaps[0])  # asked for by ``getattr(config, "rate", 1.0)``

    def _named(self, link: Link | None, name: str, value: Any, place: Place, path: str) -> Iterator[Link]:
        """Return what is behind a name: a member of a class stands for the functions that it runs."""
        step = self._step(link, name, value, place, path=path)
        kind = type(value)
        runs = objects.function_of(value)
        if runs is not None:
            self.found.watch(step)
            yield self._step(step, name, runs, path=path)
        elif kind in (types.MemberDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType):
            return
        elif name in self._uses or name in self._texts or not is_value(value):  # a number is not called
            yield step

"""What a function reaches by name: the one reading of functions, for all parts of the package.

*Place*: where Python finds a thing by a name, and where another may be put: a variable, an attribute, an item.
*Step*: what one thing leads to.  A function leads to what its closure, its defaults and the globals in its code hold.
A method leads to its object, and a partial to its arguments.  A plain object leads to those of its attributes, and of
the members of its class, that the code names.  Objects of Python or of a library lead to the functions in them alone.

`Capture` follows the steps from a function to all that its program depends on:

- its *touched graph*: every node and state on the way;
- *watched places*: where plain values, functions and arrays were found.  Each is asked "does it hold the same object?"
  at each call, and so is every place on the way to it.  What plain values are is part of the program's key;
- *unwatched places*: what was found there can change inside, and to compare it would cost too much.

What a place is to hold may be changed by the function itself while it is traced, such as a count of the traces.  Such a
place is not part of the program.  The code alone does not show that, so places that the code seems to change are
*undecided* until the first trace is over: see `Places.ask_again`.
"""

from __future__ import annotations

import contextvars
import functools
import sys
import types
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from jax.core import Tracer

from brainstate_graph import Node, Snapshot, State, Static
from brainstate_graph.extend import ABSENT, StateTree, by_identity, dotted, fields_of, pairs_of

from . import objects
from .attributes import Attributes
from .code import WHOLE, Vocabulary, names_in
from .findings import Findings, Link
from .owners import OPEN, Owner, is_nn, is_older, owner_of, package_of, reads_settings, stages
from .places import Binding, Cell, Items, Known, OfContext, Place, Slots
from .values import (
    CONTAINERS,
    FEW,
    FEW_BYTES,
    MAPPINGS,
    PLAIN,
    Test,
    all_values,
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

_MOST_OF_LIBRARIES = 500  # things that are looked at inside of libraries
_NO_VALUES = (Node, State, types.FunctionType, types.ModuleType, list, dict, type)


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
        self._words = Vocabulary()
        self._attributes = Attributes(self.found, self._words)
        self._met_invisible: dict[int, Any] = {}
        self._in_libraries = 0
        self._follow([Link("", "", None, fun, None, None)])

    # -- the walk ------------------------------------------------------------------------------------------------------

    def follow_nodes(self, snapshot: Snapshot) -> bool:
        """Follow what nodes lead to beside other nodes: methods of their classes, functions and plain objects.

        Returns:
            Whether that led to more nodes or states.
        """
        before = len(self.found.objects)
        stack: list[Link] = []
        first = {row: number for number, row in reversed(list(enumerate(snapshot.graphdef.rows)))}  # alike rows are one
        for row, number in reversed(first.items()):
            for key, const in objects.constants_of(row) if number else ():  # those of the root are what was found
                # The content of an array is part of the graph, but for large ones: see `Snapshot.large`.
                known = isinstance(const, np.ndarray) and not const.dtype.hasobject
                if not known and id(const) not in self._met and not is_value(const):
                    path = (*snapshot.graphdef.path(number), key)
                    stack.append(Link(str(key), dotted(path), None, const, None, None))
            if issubclass(row.type, Node) and id(row.type) not in self._met:
                self._met[id(row.type)] = row.type
                self._attributes.open_class(row.type, None)
        for item in snapshot.objects:
            if isinstance(item, Node) and item.graph_invisible_attrs:
                stack += self._invisible(item)
        self._follow(stack[::-1])
        return before != len(self.found.objects)

    def _follow(self, stack: list[Link]) -> None:
        # In the order in which a reader of the function meets the things, each with the whole way to it.
        while True:
            while stack:
                link = stack.pop()
                stack.extend(reversed(list(self._take(link))))
            stack = self._attributes.new_steps()[::-1]
            if not stack:
                return

    def _invisible(self, node: Node) -> list[Link]:
        """Return what the attributes of a node lead to that are not part of its graph."""
        if id(node) in self._met_invisible:
            return []
        self._met_invisible[id(node)] = node
        table = fields_of(node)
        paths = {name: f"{type(node).__name__}.{name}" for name in node.graph_invisible_attrs if name in table}
        return [Link(name, path, Binding(table, name), table[name], None, None) for name, path in paths.items()]

    def _take(self, link: Link) -> Iterator[Link]:
        """Note what was reached, and return what it leads to."""
        item, kind = link.value, type(link.value)
        # A frozen dataclass may be changed past its guard.
        if kind in PLAIN or (
            not issubclass(kind, _NO_VALUES) and not hasattr(kind, "__dataclass_fields__") and is_value(item)
        ):
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
        if issubclass(kind, types.FunctionType) and owner_of(item) is not Owner.LIBRARY:
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
                if owner_of(kind) is Owner.USER:  # a dict with attributes
                    self._attributes.open(item, link)
            else:
                self.found.watch(link)
            return
        if issubclass(kind, types.ModuleType):
            if id(item) not in self._met:
                self._met[id(item)] = item
                self._attributes.open_module(item, link)
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
        self.found.functions += objects.identity_of(fun)
        owner = owner_of(fun)
        if link.given and owner is Owner.USER:
            self.found.stages = True
        if owner is not Owner.OURS:
            self.found.read_function(fun)
        yield from self._cells(fun, link)
        yield from self._defaults(fun, link)
        if owner is Owner.OURS and not (is_nn(fun) or fun.__closure__):  # which reaches only what it was given
            return
        names = names_in(fun.__code__)
        # By the names in code of ours it looks at no object of the user's, but at modules.
        if owner is not Owner.OURS or reads_settings(fun):
            self._words.add(names)
        if fun.__name__ not in objects.MAKING:
            self.found.assigned |= names.assigned
            self.found.changes_unnamed |= names.changes_unnamed
        for name in names.computed if owner is Owner.USER else ():
            self.found.say_unwatched(f"{name} in {fun.__qualname__}", "what it reads is not in the code")
        table = fun.__globals__
        for name in names.loaded:
            value = table.get(name, ABSENT)
            # Of our own globals only what may be a model, as the random stream of the process, counts; and functions of
            # ours that use such.
            if owner is Owner.OURS and not objects.may_be_a_model(value):
                continue
            if value is ABSENT:  # not there yet; one that hides a name of Python may come as well
                self.found.expect(name, name, Binding(table, name), link)
                continue
            yield self._step(link, name, value, Binding(table, name))
        for name in names.imports:
            module = sys.modules.get(name)
            if module is not None:
                yield self._step(link, name, module)
                yield self._step(link, name.partition(".")[0], sys.modules.get(name.partition(".")[0]))
        if fun.__dict__:
            self._attributes.open_function(fun, link)
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
            if type(value) not in PLAIN and not is_value(value):
                yield self._step(link, name, value)

    # -- what containers lead to ---------------------------------------------------------------------------------------

    def _container(self, item: Any, link: Link) -> Iterator[Link]:
        """Return what a container leads to: what the code takes of it by key, or all."""
        path, uses = link.path, self._words.uses.get(link.name)
        if uses is not None and not uses and link.place is not None:
            return  # the code only puts something in
        keyed = uses is not None and WHOLE not in uses and link.place is not None
        if isinstance(item, MAPPINGS) and not isinstance(item, StateTree) and keyed:
            for key in sorted(uses or (), key=repr):
                at, where = Binding(item, key), f"{path}[{key!r}]"
                if (value := at.now()) is ABSENT:
                    self.found.expect(str(key), where, at, link)
                else:
                    yield self._step(link, str(key), value, at, path=where)
            return
        if isinstance(item, (list, deque)) and keyed and all(type(key) is int for key in uses or ()):
            table = Items(item)
            for key in sorted(uses or ()):
                if (value := table.get(key, ABSENT)) is not ABSENT:
                    yield self._step(link, f"{link.name}[{key}]", value, Binding(table, key), path=f"{path}[{key}]")
            return
        graph = holds_graph(item)
        if not graph and len(item) > FEW:
            self.found.note(link, by_identity(item))
            self.found.say_unwatched(path, f"{type(item).__name__} of {len(item):,} items, known by identity")
            return
        if not (graph or isinstance(item, tuple)) and all_values(values_of(item)):
            self.found.note(link, Static(copied(item)), same_content(item))
            return
        test = None if isinstance(item, (tuple, frozenset, StateTree)) else watch_items(item)
        pairs, plain = items_of(item), list[Any]()
        if graph:
            self.found.watch(link)
        for key, value in pairs:
            name = f"{link.name}[{key!r}]"
            if issubclass(type(value), _NO_VALUES) or not is_value(value):
                yield Link(name, f"{path}[{key!r}]", None, value, test, link, link.given)
            elif graph:  # plain values stand beside a model
                self.found.add(name, value)
            else:
                plain.append(value)
        if plain:
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
            for name, value in pairs_of(item.keywords):
                yield self._step(link, name, value, Binding(item.keywords, name))
        elif kind is WeakMethod:
            yield self._step(link, "self", item.instance())
            yield self._step(link, "", item.fun, path=path)
        elif issubclass(kind, types.FunctionType):  # of a library: what it was given
            self.found.stages = self.found.stages or stages(package_of(item), item.__name__)
            if not link.given:
                self.found.note(link, by_identity(item))
            cells = zip(item.__code__.co_freevars, map(Cell, item.__closure__ or ()), strict=True)
            yield from self._inside_library([(name, cell.now()) for name, cell in cells], link)
            others = [item.__dict__.get("__wrapped__"), *(item.__defaults__ or ())]
            yield from self._inside_library([("", other) for other in others], link)
        elif issubclass(kind, type):
            self.found.note(link, by_identity(item))
            if owner_of(item) is Owner.USER or is_older(item):
                self._attributes.open_class(item, link)
        elif (owner := owner_of(kind)) is Owner.OURS:
            self.found.watch(link)
            for fun in getattr(item, "functions", ()):  # what a lifted function runs; the rest of it is machinery
                yield self._step(link, "", fun, path=path)
        elif owner is Owner.USER or kind in OPEN:
            self.found.watch(link)
            self._attributes.open(item, link)
        else:
            yield from self._object_of_library(item, kind, link)

    def _object_of_library(self, item: Any, kind: type[Any], link: Link) -> Iterator[Link]:
        path = link.path
        if kind in objects.VIEWS:
            yield self._step(link, link.name, item.mapping, path=path)
        elif kind is contextvars.ContextVar:
            place = Binding(OfContext(item), "value")
            self.found.watch(link)
            if (value := place.now()) is ABSENT:
                self.found.expect(link.name, path, place, link)
            else:
                yield self._step(link, link.name, value, place, path=path)
        elif kind in objects.GETTERS:
            self.found.note(link, by_identity(item))
            self._words.texts |= objects.names_of(item)
        elif issubclass(kind, (UserDict, UserList, ChainMap)):
            self.found.watch(link)
            self.found.know_by_attributes(item)
            if not isinstance(item, ChainMap):
                yield self._step(link, link.name, item.data, Binding(Slots(item), "data"), path=path)
                return
            maps = self._step(link, link.name, item.maps, Binding(Slots(item), "maps"), path=path)
            self.found.watch(maps)
            for number, part in enumerate(item.maps):
                yield self._step(maps, link.name, part, Binding(Items(item.maps), number), path=path)
        else:
            if issubclass(kind, np.ndarray) and not item.dtype.hasobject and item.nbytes <= FEW_BYTES:
                self.found.note(link, Static(item.copy()), same_bytes(item))
                return
            if not link.given:
                self.found.note(link, by_identity(item))
            if not link.given and (why := objects.why_unwatched(item)) is not None:
                self.found.say_unwatched(path, why)
            if issubclass(kind, objects.WEAK) or objects.was_given_nothing(item):
                return
            table = pairs_of(objects.own_table(item) or {})
            own = [(name, value) for name, value in table if not name.startswith("__")]
            pairs = [("", objects.wrapped_by(item)), *own]
            yield from self._inside_library(pairs, link)

    def _inside_library(self, pairs: Iterable[tuple[str, Any]], link: Link | None) -> Iterator[Link]:
        """Return the functions and objects of users, and models, that something of a library holds."""
        for name, value in pairs:
            if self._in_libraries < _MOST_OF_LIBRARIES and id(value) not in self._met and objects.may_be_given(value):
                self._in_libraries += 1
                yield Link(name, (link and link.path) or name, None, value, None, link, given=True)

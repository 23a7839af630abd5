"""Attributes: of objects, modules, functions and classes those are followed that the code names.

Which names the code has is known only when all functions have been read, and an attribute may lead to another function.
So what was reached is *opened*, and asked again as long as there are new names.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax

from brainstate_graph import Node
from brainstate_graph.extend import ABSENT

from . import objects
from .code import Vocabulary
from .findings import Findings, Link
from .owners import is_foreign, is_ours, is_users
from .places import Binding, Place, Slots
from .values import is_value

__all__ = ["Attributes"]


class Opened(NamedTuple):
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


class Attributes:
    """What attributes lead to.

    Args:
        found: Gets what was found.
        words: The names in the code.
    """

    def __init__(self, found: Findings, words: Vocabulary) -> None:
        self._found = found
        self._words = words
        self._opened: list[Opened] = []
        self._tables: dict[int, Any] = {}  # of a class, by id: each `vars` of it is another object
        self._asked = 0  # how many of the opened things were asked for all names
        self._names: list[str] = []  # those they were asked for

    def open(self, item: Any, link: Link | None) -> None:
        """Open an object."""
        kind = type(item)
        slots = Slots(item) if any("__slots__" in vars(base) for base in kind.__mro__) else None
        classes = self._of_class(kind)
        self._opened.append(Opened(item, objects.own_table(item), slots, classes, link, set()))
        self._words.called |= objects.unnamed(classes)
        self._found.know_by_attributes(item)
        if any("__getattr__" in vars(cls) or "__getattribute__" in vars(cls) for cls in classes):
            self._found.say_unwatched(link.path if link else "self", "attributes that its class computes")

    def open_class(self, cls: type[Any], link: Link | None) -> None:
        """Open a class."""
        classes = self._of_class(cls)
        above = [base for base in inspect.getmro(type(cls)) if is_users(base) and base not in (object, type)]
        self._opened.append(Opened(cls, None, None, [*classes, *above], link, set()))
        self._words.called |= objects.unnamed(classes)
        if link is not None:  # the code makes objects of it
            self._words.called |= objects.MAKING
        if issubclass(cls, Node):
            self._words.called.add("update")  # which `Module.__call__` looks for
        # What our own classes call, a class of the user's may have in place of it.
        ours = [base for base in cls.__mro__ if is_ours(base)]
        self._words.called |= {
            name for own in classes for name in list(vars(own)) if any(name in vars(o) for o in ours)
        }

    def open_module(self, module: types.ModuleType, link: Link) -> None:
        """Open a module."""
        self._opened.append(Opened(module, vars(module), None, (), link, set()))
        if not (is_foreign(module) or is_ours(module)) and "__getattr__" in vars(module):
            self._found.say_unwatched(link.path, "attributes that it computes")

    def open_function(self, fun: types.FunctionType, link: Link) -> None:
        """Open a function, for the attributes that it has been given."""
        self._opened.append(Opened(fun, fun.__dict__, None, (), link, set()))

    def _of_class(self, kind: type[Any]) -> list[type[Any]]:
        classes = [base for base in kind.__mro__ if base is not object and is_users(base)]
        for cls in classes:
            self._found.look_at_bases(cls)
        return classes

    def new_steps(self) -> list[Link]:
        """Return what was opened since leads to, and what all that is open leads to by new names."""
        names = self._words.names()
        first = self._asked if names == self._names else 0
        self._names, self._asked = names, len(self._opened)
        steps: list[Link] = []
        for opened in self._opened[first : self._asked]:
            new = [name for name in names if name not in opened.taken]
            opened.taken.update(new)
            steps += [step for name in new for step in self._attribute(opened, name)]
        return steps

    def _attribute(self, opened: Opened, name: str) -> Iterator[Link]:
        """Return what an attribute of something that was opened leads to."""
        item, table, link = opened.item, opened.table, opened.link
        path = f"{link.path}.{name}" if link is not None and link.path else name
        if isinstance(item, types.ModuleType) and not is_users(item):
            yield from self._of_library(item, link, name, path)
            return
        if table is not None and name in table:
            yield from self._named(link, name, table[name], Binding(table, name), path)
            return
        if opened.slots is not None and name in objects.slots_of(type(item)):
            yield from self._named(link, name, opened.slots.get(name, ABSENT), Binding(opened.slots, name), path)
            return
        if name in objects.UNCALLED:
            return
        gaps: list[Place] = [] if table is None else [Binding(table, name)]
        found = False
        for cls in opened.classes:
            own = self._tables.setdefault(id(cls), vars(cls))
            if name not in own:
                gaps.append(Binding(own, name))
                continue
            if objects.is_kept(own[name]):  # what it computes at first use is put before it
                gaps = gaps[1:]
            found = True
            where = f"{cls.__name__}.{name}" if table is None else path
            # All of them, not the first alone: one may call the next, by `super()`.
            yield from self._named(link, name, own[name], Binding(own, name), where)
        kind = item if isinstance(item, type) else type(item)
        asked = name in self._words.texts and not isinstance(item, (types.ModuleType, Node))
        if found or asked or any(name in vars(base) for base in kind.__mro__):
            for gap in gaps:  # where another one may be put before it
                self._found.expect(name, path, gap, link)

    def _of_library(self, module: types.ModuleType, link: Link | None, name: str, path: str) -> Iterator[Link]:
        found = vars(module).get(name, ABSENT)
        if is_ours(module):
            if objects.may_be_given(found):
                yield Link(name, path, None, found, None, link, given=True)
        elif found is ABSENT or not self._words.reads(name):
            return
        elif is_value(found):
            yield Link(name, path, Binding(vars(module), name), found, None, link)
        elif not (callable(found) or isinstance(found, (types.ModuleType, jax.Array))):
            self._found.say_unwatched(path, "of a library")  # as `os.environ`

    def _named(self, link: Link | None, name: str, value: Any, place: Place, path: str) -> Iterator[Link]:
        """Return what is behind a name: a member of a class stands for the functions that it runs."""
        step = Link(name, path, place, value, None, link)
        runs = objects.function_of(value)
        if runs is not None:
            self._found.watch(step)
            yield Link(name, path, None, runs, None, step)
        elif isinstance(value, objects.DESCRIPTORS):
            return
        elif self._words.reads(name) or not is_value(value):  # a number is not called
            yield step

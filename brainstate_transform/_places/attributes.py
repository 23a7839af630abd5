"""Attributes: of objects, modules, functions and classes those are followed that the code names.

Which names the code has is known only when all functions have been read, and an attribute may lead to another function.
So what was reached is *opened*, and asked again as long as there are new names.
"""

from __future__ import annotations

import abc
import enum
import threading
import types
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from brainstate_graph import Node
from brainstate_graph.extend import ABSENT, pairs_of

from . import objects
from .code import Vocabulary
from .findings import Findings, Link
from .owners import Owner, is_older, owner_of, reads_settings, stages
from .places import Binding, OfThread, Place, Slots
from .values import is_value
from .weak_method import WeakMethod, WeakSlots

__all__ = ["Attributes"]


class _Kind(NamedTuple):
    """What is known of a class.

    Attributes:
        classes: Where its members are found that are the user's: those among its bases, the most derived one first.
        names: The names of all members, those of Python and of libraries as well.
        slots: Those that are slots.
        called: Methods that no code names, as operators and statements call them.
        computes: Whether it computes attributes.
    """

    classes: Sequence[type[Any]]
    names: frozenset[str]
    slots: frozenset[str]
    called: frozenset[str]
    computes: bool


_NO_KIND = _Kind((), frozenset(), frozenset(), frozenset(), False)
_COMPUTING = frozenset({"__getattr__", "__getattribute__"})
_SIMPLE = (type, abc.ABCMeta, enum.EnumMeta)  # metaclasses without a member of the user's


class _Opened(NamedTuple):
    """A thing of which those attributes are followed that the code names.

    Attributes:
        item: The object, module, function or class.
        table: Its own attributes.
        slots: Those in slots.
        kind: What is known of its class; of a class, of that itself.
        link: How it was reached.
        taken: The names that were followed, and whether as those of values.
    """

    item: Any
    table: Any
    slots: Slots | WeakSlots | None
    kind: _Kind
    link: Link | None
    taken: set[tuple[str, bool]]


class Attributes:
    """What attributes lead to.

    Args:
        found: Gets what was found.
        words: The names in the code.
    """

    def __init__(self, found: Findings, words: Vocabulary) -> None:
        self._found = found
        self._words = words
        self._opened: list[_Opened] = []
        self._kinds: dict[type[Any], _Kind] = {}
        self._tables: dict[int, Any] = {}  # of a class, by id: each `vars` of it is another object
        self._asked = 0  # how many of the opened things were asked for all names
        self._names: list[tuple[str, bool]] = []  # those they were asked for

    def open(self, item: Any, link: Link | None) -> None:
        """Open an object."""
        kind = self._kind_of(type(item))
        weakly = link is not None and link.above is not None and type(link.above.value) is WeakMethod
        slots = (WeakSlots(item) if weakly else Slots(item)) if kind.slots else None
        table = OfThread(item) if isinstance(item, threading.local) else objects.own_table(item)
        self._opened.append(_Opened(item, table, slots, kind, link, set()))
        self._found.know_by_attributes(item, weakly)
        if kind.computes:
            self._found.say_unwatched(link.path if link else "self", "attributes that its class computes")

    def open_class(self, cls: type[Any], link: Link | None) -> None:
        """Open a class."""
        kind = self._kind_of(cls)
        if not kind.classes and issubclass(cls, Node):
            self._found.look_at_call(cls)
        if type(cls) not in _SIMPLE:
            above = self._kind_of(type(cls))
            kind = kind._replace(classes=[*kind.classes, *above.classes], names=kind.names | above.names)
        if link is not None:  # the code makes objects of it
            self._words.called |= objects.MAKING
        if kind.classes:
            self._opened.append(_Opened(cls, None, None, kind, link, set()))

    def open_module(self, module: types.ModuleType, link: Link) -> None:
        """Open a module."""
        self._opened.append(_Opened(module, vars(module), None, _NO_KIND, link, set()))
        if owner_of(module) is Owner.USER and "__getattr__" in vars(module):
            self._found.say_unwatched(link.path, "attributes that it computes")

    def open_function(self, fun: types.FunctionType, link: Link) -> None:
        """Open a function, for the attributes that it has been given."""
        self._opened.append(_Opened(fun, fun.__dict__, None, _NO_KIND, link, set()))

    def _kind_of(self, cls: type[Any]) -> _Kind:
        kind = self._kinds.get(cls)
        if kind is None:
            classes, ours, tables = list[type[Any]](), set[str](), list(map(vars, cls.__mro__))
            for base, table in zip(cls.__mro__, tables, strict=True):
                owner = owner_of(base)
                if owner is Owner.USER or (owner is Owner.OURS and reads_settings(base)):
                    classes.append(base)
                    self._found.look_at_bases(base)
                elif owner is Owner.OURS:
                    ours.update(table)
            names = frozenset().union(*tables)
            own = set[str]().union(*map(vars, classes))
            # What our own classes call, a class of the user's may have in place of it.
            called = {name for name in own & ours if not name.startswith("__")} | objects.unnamed(classes)
            if issubclass(cls, Node):
                called.add("update")  # which `Module.__call__` looks for
            members = [member for table in tables for member in pairs_of(table)]
            slots = [name for name, member in members if type(member) is types.MemberDescriptorType]
            kind = _Kind(classes, names, frozenset(slots), frozenset(called), not _COMPUTING.isdisjoint(own))
            self._kinds[cls] = kind
        self._words.called |= kind.called
        return kind

    def new_steps(self) -> list[Link]:
        """Return what was opened since leads to, and what all that is open leads to by new names."""
        names = self._words.names()
        first = self._asked if names == self._names else 0
        self._names, self._asked = names, len(self._opened)
        steps: list[Link] = []
        for opened in self._opened[first : self._asked]:
            item, table, taken, known = opened.item, opened.table or {}, opened.taken, opened.kind.names
            new = [name for name in names if name not in taken]
            taken.update(new)
            if isinstance(item, types.ModuleType) and owner_of(item) is not Owner.USER:
                for name, read in [each for each in new if each[0] in table]:
                    steps += self._of_library(opened, name, read, table[name])
                continue
            # By text it may be asked for what is not there.
            asked = frozenset[str]() if isinstance(item, (types.ModuleType, Node)) else self._words.texts
            for name, read in [each for each in new if each[0] in table or each[0] in known or each[0] in asked]:
                steps += self._attribute(opened, name, read)
        return steps

    def _attribute(self, opened: _Opened, name: str, read: bool) -> Sequence[Link]:
        """Return what an attribute of something that was opened leads to."""
        table, link, kind = opened.table, opened.link, opened.kind
        path = f"{link.path}.{name}" if link is not None and link.path else name
        if table is not None and name in table:
            return self._named(link, name, read, table[name], Binding(table, name), path)
        if opened.slots is not None and name in kind.slots:
            return self._named(link, name, read, opened.slots.get(name, ABSENT), Binding(opened.slots, name), path)
        if name in objects.UNCALLED:
            return ()
        gaps: list[Place] = [] if table is None else [Binding(table, name)]
        steps: list[Link] = []
        for cls in kind.classes:
            own = self._tables.setdefault(id(cls), vars(cls))
            if name not in own:
                gaps.append(Binding(own, name))
                continue
            if objects.is_kept(own[name]):  # what it computes at first use is put before it
                gaps = gaps[1:]
            where = f"{cls.__name__}.{name}" if table is None else path
            # All of them, not the first alone: one may call the next, by `super()`.
            steps += self._named(link, name, read, own[name], Binding(own, name), where)
        for gap in gaps:  # where another one may be put before it
            self._found.expect(name, path, gap, link)
        return steps

    def _of_library(self, opened: _Opened, name: str, read: bool, found: Any) -> Sequence[Link]:
        link = opened.link
        path = f"{link.path}.{name}" if link is not None and link.path else name
        if owner_of(opened.item) is Owner.OURS:
            ours = is_older(found) or (isinstance(found, types.ModuleType) and owner_of(found) is Owner.OURS)
            return (
                [Link(name, path, None, found, None, link, given=True)] if ours or objects.may_be_given(found) else ()
            )
        package = opened.item.__name__.partition(".")[0]
        self._found.stages = self._found.stages or stages(package, name)
        if isinstance(found, types.ModuleType):
            return [Link(name, path, None, found, None, link)] if package == "jax" else ()
        if not read:
            return ()
        if is_value(found):
            return [Link(name, path, Binding(opened.table, name), found, None, link)]
        if not (callable(found) or isinstance(found, jax.Array)):
            self._found.say_unwatched(path, "of a library")  # as `os.environ`
        return ()

    def _named(self, link: Link | None, name: str, read: bool, value: Any, place: Place, path: str) -> Sequence[Link]:
        """Return what is behind a name: a member of a class stands for the functions that it runs."""
        step = Link(name, path, place, value, None, link)
        runs = objects.function_of(value)
        if runs is not None:
            self._found.watch(step)
            return [Link(name, path, None, runs, None, step)]
        if isinstance(value, objects.DESCRIPTORS):
            return ()
        return [step] if read or not is_value(value) else ()  # a number is not called

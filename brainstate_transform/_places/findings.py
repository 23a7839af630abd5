"""What was found by reading a function: models, constants, and the places on the way to them.

*Link*: one thing that was reached, with where it is and what led to it.
*Constant*: a thing that is part of the key of a program: a plain value, or what is compared by identity.
"""

from __future__ import annotations

import types
import weakref
from typing import Any, NamedTuple

from brainstate_graph.extend import ABSENT, ATOMS, Const, by_identity, static_key

from .code import ANY
from .places import Binding, Found, Known, Place, Places, held_by, key_of
from .question import Held, questions
from .values import CHANGEABLE, CONTAINERS, Test

__all__ = ["FUNCTIONS", "VARIABLE", "Constant", "Findings", "Link"]

FUNCTIONS = "functions"  # the root of what tells functions from others
VARIABLE = "variable "  # before the path of a place, where it stands among the roots


class Link(NamedTuple):
    """How a thing was reached: where, and from what.

    Attributes:
        name: How the code knows it: the name of a variable or attribute, the key of an item; "" for what runs itself.
        path: The names up to here.
        place: Where it may be rebound; None where it cannot.
        value: What is there.
        test: The test of a container that holds it.
        above: How that was reached.
        given: Whether a library was given it: what holds it stands for it in the key.
    """

    name: str
    path: str
    place: Place | None
    value: Any
    test: Test | None
    above: Link | None
    given: bool = False


class Constant(NamedTuple):
    """A thing that is part of the key.

    Attributes:
        link: How it was reached.
        value: What it is as part of the key; ABSENT where only the place counts.
        content: The test of what is in it, where that may change; None where it cannot.
    """

    link: Link
    value: Any
    content: Test | None


def _found(constant: Constant) -> Found:
    link, content = constant.link, constant.content
    now, before = None if link.place is None else link.place.now, link.value

    def unchanged() -> bool:
        return (now is None or now() is before) and (content is None or content())

    return Found(link.path, constant.value, unchanged, before if isinstance(before, CONTAINERS) else None)


class Findings:
    """What was found.

    Args:
        known: What earlier traces have shown of the places.

    Attributes:
        objects: The nodes and states, and the plain values beside them in a container, by name.
        functions: What tells one function on the way from another.
        constants: The constants, by place.
        assigned: The names of variables and attributes that the functions seem to change.
        changes_unnamed: Whether they change containers that the code does not name where it does so.
        unwatched: What is read and not watched, in words.
        stages: Whether the functions have others staged by JAX or a library, which keeps their traces.
    """

    def __init__(self, known: Known) -> None:
        self.objects: dict[str, Any] = {}
        self.functions: list[Any] = []
        self.constants: dict[Any, Constant] = {}
        self.assigned: set[str] = set()
        self.changes_unnamed = False
        self.unwatched: dict[str, None] = {}
        self.stages = False
        self._known = known
        self._ways: dict[Any, tuple[Place, Any]] = {}  # the places on the way to something
        self._tests: dict[int, Test] = {}  # the tests of containers on the way
        self._walked: dict[int, Link] = {}  # by id
        self._functions: dict[int, types.FunctionType] = {}  # those that were read, by id
        self._kinds: dict[int, Any] = {}  # objects that are known by their attributes, by id
        self._called: dict[int, type[Any]] = {}  # classes of ours, by id
        self._bases: dict[int, type[Any]] = {}  # classes whose members were looked at, by id

    def say_unwatched(self, path: str, why: str) -> None:
        """Note a thing that is not watched."""
        self.unwatched[f"{path} ({why})"] = None

    def expect(self, name: str, path: str, place: Place, above: Link | None) -> None:
        """Watch a place for something that is not there."""
        self.note(Link(name, path, place, ABSENT, None, above), ABSENT)

    def read_function(self, fun: types.FunctionType) -> None:
        """Watch what a function is: its code and defaults may be replaced."""
        self._functions[id(fun)] = fun

    def know_by_attributes(self, item: Any, weakly: bool = False) -> None:
        """Watch the class of an object, which may be replaced; what else the object is, its attributes say.

        Args:
            item: The object.
            weakly: Whether it is not to be kept alive, as the object of a method is not.
        """
        if weakly:
            test = same_class(item)
            self._tests[id(test)] = test
        elif id(item) not in self._kinds:
            self._kinds[id(item)] = item
        else:
            return
        self.functions.append(by_identity(type(item)))

    def look_at_bases(self, cls: type[Any]) -> None:
        """Watch the bases of a class, which may be replaced."""
        self._bases[id(cls)] = cls

    def look_at_call(self, cls: type[Any]) -> None:
        """Watch how objects of a class of ours are called, in place of which users may put a function of theirs."""
        if isinstance(cls.__call__, types.FunctionType):  # else that of `type`
            self._called[id(cls)] = cls
            self.functions.append(by_identity(cls.__call__))

    def note(self, link: Link, value: Any, content: Test | None = None) -> None:
        """Note what was reached as part of the key."""
        if link.place is not None:
            self.constants.setdefault(key_of(link.place), Constant(link, value, content))
        elif content is not None:
            self.constants.setdefault(id(link.value), Constant(link, value, content))
        elif link.above is not None:  # an argument of a partial, an item of a tuple
            self.functions.append(value)

    def consts(self) -> dict[str, Const]:
        """Return the values of places, and what tells the functions on the way from others, as parts of the key."""
        consts: dict[str, Const] = {}
        for link, value, _ in self._counting():
            if value is not ABSENT and not self._as_at_first(link.path, value):
                add_under(consts, VARIABLE + link.path, Const.of(value))
        if self.functions:
            parts = tuple(self.functions)
            key = tuple([(type(part), part) if type(part) in ATOMS else static_key(part) for part in parts])
            consts[FUNCTIONS] = Const(parts, key, True)
        return consts

    def _counting(self) -> list[Constant]:
        own = self._known.own
        return [c for c in self.constants.values() if c.link.path not in own and not self._is_undecided(c)]

    def _as_at_first(self, path: str, value: Any) -> bool:
        firsts = self._known.decided.get(path, ())
        return any([first is value or static_key(first) == static_key(value) for first in firsts])

    def _is_undecided(self, constant: Constant) -> bool:
        known, link = self._known, constant.link
        if known.traced or link.path in known.own:
            return False
        by_any, changeable = ANY in self.assigned, constant.content is not None and isinstance(link.value, CHANGEABLE)
        return (
            link.given
            or link.name.partition("[")[0] in self.assigned
            or (by_any and isinstance(link.place, Binding))
            or ((by_any or self.changes_unnamed) and changeable)
        )

    def places(self) -> tuple[Places, list[Test]]:
        """Return the places, and the tests that tell whether the same would be found there."""
        counting = self._counting()
        undecided = [c for c in self.constants.values() if self._is_undecided(c)]
        for constant in (*counting, *undecided):
            self.watch(constant.link.above)
        ways, tests = dict(self._ways), dict(self._tests)
        for link, _, content in counting:
            if link.place is not None:
                ways[key_of(link.place)] = link.place, link.value
            if content is not None:
                tests[id(content)] = content
        for constant in undecided:
            if constant.link.place is not None:
                ways.pop(key_of(constant.link.place), None)
        held = [*[held_by(*way) for way in ways.values()], *self._parts()]
        keywords = [_same_items(fun.__kwdefaults__) for fun in self._functions.values() if fun.__kwdefaults__]
        places = Places(
            [_found(c) for c in counting], [_found(c) for c in undecided], list(self.unwatched), self.stages
        )
        return places, [*questions(held), *keywords, *tests.values()]

    def _parts(self) -> list[Held]:
        """Return what functions, objects and classes on the way are made of."""
        functions, classes = self._functions.values(), self._bases.values()
        return [
            *[Held("code", fun, None, fun.__code__) for fun in functions],
            *[Held("defaults", fun, None, fun.__defaults__) for fun in functions if fun.__defaults__ is not None],
            *[Held("keywords", fun, None, fun.__kwdefaults__) for fun in functions if fun.__kwdefaults__],
            *[Held("class", item, None, type(item)) for item in self._kinds.values()],
            *[Held("bases", cls, None, cls.__mro__) for cls in classes],
            *[Held("call", cls, None, cls.__call__) for cls in self._called.values()],
        ]

    def watch(self, link: Link | None) -> None:
        """Keep the places on the way to something, and what tells the functions on it from others."""
        while link is not None and id(link) not in self._walked:
            self._walked[id(link)] = link
            if link.test is not None:
                self._tests[id(link.test)] = link.test
            elif link.place is not None:
                self._ways[key_of(link.place)] = link.place, link.value
            link = link.above

    def add(self, name: str, item: Any) -> None:
        """Add a node, a state, or a value beside one."""
        add_under(self.objects, name, item)


def _same_items(table: dict[str, Any]) -> Test:
    """Return the test whether a dictionary of defaults still holds the very objects that it held."""
    before = dict(table)
    ids = list(map(id, before.values()))
    return lambda: len(before) == len(table) and list(map(id, table.values())) == ids


def same_class(item: Any) -> Test:
    """Return the test whether an object still has its class, which does not keep it alive."""
    cls, alive = type(item), weakref.ref(item)
    return lambda: type(alive()) is cls


def add_under(to: dict[str, Any], name: str, item: Any) -> None:
    """Add something under a name, or the next one that is free."""
    free, number = name, 2
    while free in to:
        free, number = f"{name}#{number}", number + 1
    to[free] = item

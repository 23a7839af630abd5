"""What a piece of code names, read from its bytecode: the names that it loads, and what it does with them.

*Use* of a name: what the code does with the thing that it finds there, as far as the next instruction tells.  It takes
one item of it by a constant key (``rates[0]``), or anything else (`WHOLE`).

Nothing here knows a function, its variables or a value; see `brainstate_transform._places.capture`.
"""

from __future__ import annotations

import dis
import functools
import itertools
import sys
import types
from typing import Any, Final, NamedTuple

__all__ = ["ANY", "WHOLE", "Names", "Vocabulary", "names_in"]


class _Whole:
    """The use of a thing as a whole, or in a way that the code does not tell."""

    def __repr__(self) -> str:
        return "WHOLE"


WHOLE: Final = _Whole()
ANY: Final = "*"  # no name


class Names(NamedTuple):
    """The names in a piece of code and the code inside it.

    Attributes:
        loaded: Globals that it loads.
        uses: By the name of a variable or attribute that it reads as a value: what it does with it.
        called: Attributes that it calls; whether they are methods, or values that can be called, is not known here.
        texts: Text constants, where it asks for attributes by text (``getattr(config, "rate")``).
        assigned: Variables of functions around it, globals and attributes that it assigns, and names of what it changes
            in place, as by ``log.append(x)`` or ``table["k"] = x``; `ANY` where it sets by a text or a computed key.
        imports: Modules that it imports.
        computed: Calls by which it reads in a way that the code does not tell: ``getattr(config...)``.
        changes_unnamed: Whether it changes in place what it does not name there: an item found by a computed key, an
            argument, a variable of its own that was not made as a new container.
    """

    loaded: tuple[str, ...]
    uses: dict[str, frozenset[Any]]
    called: frozenset[str]
    texts: frozenset[str]
    assigned: frozenset[str]
    imports: tuple[str, ...]
    computed: frozenset[str]
    changes_unnamed: bool


_GLOBALS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_VARIABLES = _GLOBALS | {"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"}
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"})
_ASSIGNING = frozenset(
    {"STORE_GLOBAL", "STORE_DEREF", "STORE_ATTR", "DELETE_GLOBAL", "DELETE_DEREF", "DELETE_ATTR"},
)
_SILENT = frozenset({"CACHE", "PRECALL", "PUSH_NULL", "EXTENDED_ARG", "NOP", "NOT_TAKEN"})
_BY_TEXT = frozenset({"getattr", "hasattr", "setattr", "delattr", "vars", "attrgetter", "__dict__", "asdict"})
_SETTING = frozenset(
    {"setattr", "delattr", "__setattr__", "__delattr__", "__setitem__", "setitem", "delitem", "__dict__"}
)
_BY_ANY_TEXT = frozenset({"getattr", "vars", "globals", "locals", "eval", "exec"})
_CHANGING = frozenset({
    "add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "insert", "pop", "popitem", "popleft",
    "remove", "reverse", "setdefault", "sort", "update",
})  # fmt: skip
_LATER_METHODS = sys.version_info >= (3, 12)  # from when LOAD_ATTR loads methods too, as a flag of it says


@functools.lru_cache(maxsize=4096)
def names_in(code: types.CodeType) -> Names:
    """Return the names in a piece of code and the code inside it."""
    found = _Reading()
    todo = [code]
    for current in todo:
        found.read(current)
        todo += [c for c in current.co_consts if isinstance(c, types.CodeType)]
    texts = found.texts if not _BY_TEXT.isdisjoint((*found.loaded, *found.called, *found.uses)) else set[str]()
    return Names(
        tuple(found.loaded),
        {name: frozenset(uses) for name, uses in found.uses.items()},
        frozenset(found.called),
        frozenset(texts),
        frozenset(found.assigned),
        tuple(found.imports),
        frozenset(found.computed),
        found.changes_unnamed,
    )


class _Reading:
    """What was read so far of one piece of code and those inside it."""

    def __init__(self) -> None:
        self.loaded: dict[str, None] = {}
        self.uses: dict[str, set[Any]] = {}
        self.called: set[str] = set()
        self.texts: set[str] = set()
        self.assigned: set[str] = set()
        self.imports: dict[str, None] = {}
        self.computed: set[str] = set()
        self.changes_unnamed = False
        self._changing = False  # whether the code that is being read changes something in place

    def read(self, code: types.CodeType) -> None:
        self.texts.update([const for const in code.co_consts if type(const) is str])
        steps = [step for step in dis.get_instructions(code) if step.opname not in _SILENT]
        # Most code changes nothing in place.
        self._changing = not (
            _STORING.isdisjoint([step.opname for step in steps]) and _CHANGING.isdisjoint(code.co_names)
        )
        if self._changing and not self.changes_unnamed:
            self.changes_unnamed = _changes_unnamed(steps)
        for number, step in enumerate(steps):
            name, kind = step.argval, step.opname
            if kind in _GLOBALS:
                self.loaded[name] = None
                if name in _BY_ANY_TEXT:
                    self._by_text(name, steps[number + 1 : number + 20])
            if kind == "CONTAINS_OP" or (kind == "COMPARE_OP" and name in ("==", "!=")):
                self.called.add("__eq__")
            if kind in _ASSIGNING:
                self.assigned.add(name)
            if type(name) is str and name in _SETTING:
                self.assigned.add(ANY)
            if kind == "IMPORT_NAME":
                self.imports[name] = None
            elif kind == "IMPORT_FROM":
                self.uses.setdefault(name, set()).add(WHOLE)
            elif kind == "MATCH_CLASS" and type(names := steps[number - 1].argval) is tuple:
                for each in (*names, *(("__match_args__",) if step.arg else ())):
                    self.uses.setdefault(each, set()).add(WHOLE)
            elif kind in _ATTRIBUTES and _calls(step):
                self.called.add(name)
            elif kind in _VARIABLES or kind in _ATTRIBUTES:
                self._use(name, steps[number + 1 : number + 6])
            elif (
                self._changing
                and kind.startswith("LOAD_FAST")
                and isinstance(name, str)
                and _changes(steps[number + 1 : number + 6])
            ):
                self.assigned.add(name)

    def _by_text(self, name: str, after: list[dis.Instruction]) -> None:
        """Note what a function reads that was just loaded, which takes its name from a text."""
        text = _text_of_second(after) if name == "getattr" else _item_of_result(after)
        if text is None or name not in ("getattr", "globals", "vars"):
            first = after[0].argval if after and after[0].opname.startswith("LOAD_") else None
            self.computed.add(f"{name}({first if type(first) is str else ''}...)")
        elif name == "globals":
            self.loaded[text] = None

    def _use(self, name: str, after: list[dis.Instruction]) -> None:
        """Note what is done with a thing that was just loaded, by the instructions behind that."""
        uses = self.uses.setdefault(name, set())
        first, second = (*after, _NOTHING, _NOTHING)[:2]
        key = first.argval if first.opname in ("LOAD_CONST", "LOAD_SMALL_INT") else None
        if self._changing and _changes(after):
            self.assigned.update((name, key) if type(key) is str else (name,))
            uses.update((key,) if key is not None and second.opname == "COPY" else ())
        elif key is not None and (second.opname == "BINARY_SUBSCR" or second.argrepr == "[]"):
            uses.add(key)
        elif first.argval == "get" and _calls(first) and second.opname == "LOAD_CONST":
            uses.add(second.argval)
        else:
            uses.add(WHOLE)


_NOTHING = next(dis.get_instructions(compile("", "", "exec")))
_OF_TWO = frozenset({"LOAD_FAST_LOAD_FAST", "LOAD_FAST_BORROW_LOAD_FAST_BORROW", "STORE_FAST_LOAD_FAST"})
_OWN_VARIABLES = frozenset({"LOAD_FAST", "LOAD_FAST_BORROW", "LOAD_FAST_CHECK"})
_STORING = frozenset({"STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE"})
_MAKING = frozenset(
    {"BUILD_LIST", "BUILD_MAP", "BUILD_SET", "BUILD_CONST_KEY_MAP", "LIST_EXTEND", "SET_UPDATE", "DICT_UPDATE"}
)


def _changes(after: list[dis.Instruction]) -> bool:
    """Tell whether these instructions change in place what was loaded before them."""
    if after and _calls(after[0]) and after[0].argval in _CHANGING:
        return True
    if [step.opname for step in after[1:2]] == ["COPY"]:  # ``table["k"] += 1``
        return True
    for step in after:
        if step.opname in _STORING:
            return True
        if not step.opname.startswith(("LOAD_", "BUILD_SLICE")):
            return False
    return False


def _changes_unnamed(steps: list[dis.Instruction]) -> bool:
    """Tell whether code changes something in place of which it does not say, right before, by which name it has it."""
    new = _new_containers(steps)
    named: set[int] = set()
    changing: set[int] = set()
    for number, step in enumerate(steps):
        kind = step.opname
        if kind in _STORING or (kind in _ATTRIBUTES and step.argval in _CHANGING):
            changing.add(number)
        elif kind in _VARIABLES or kind in _ATTRIBUTES or (kind in _OWN_VARIABLES and step.argval in new):
            named.update(_changed_by(steps, number))
        elif kind in _OF_TWO and not new.isdisjoint(step.argval):
            changed = _changed_by(steps, number)
            named.update([i for i in changed if steps[i].opname in _STORING or step.argval[-1] in new])
    return not changing <= named


def _changed_by(steps: list[dis.Instruction], number: int) -> list[int]:
    """Return which instructions change in place what this one has loaded, as far as those right behind it tell."""
    after = steps[number + 1 : number + 6]
    if after and after[0].opname in _ATTRIBUTES and after[0].argval in _CHANGING:
        return [number + 1]
    updates = [step.opname for step in after[1:2]] == ["COPY"]  # ``table["k"] += 1``
    for index in range(number + 1, len(steps)):
        if steps[index].opname in _STORING:
            return [index]
        if not updates and not steps[index].opname.startswith(("LOAD_", "BUILD_SLICE")):
            break
    return []


def _new_containers(steps: list[dis.Instruction]) -> set[str]:
    """Return the variables of a function's own that hold nothing but containers that it has made."""
    new, others = set[str](), set[str]()
    before = _NOTHING
    for step in steps:
        if step.opname.startswith("STORE_FAST"):
            stored, *more = step.argval if isinstance(step.argval, tuple) else (step.argval,)
            (new if before.opname in _MAKING else others).add(stored)
            if step.opname == "STORE_FAST_STORE_FAST":
                others.update(more)
        before = step
    return new - others


def _text_of_second(after: list[dis.Instruction]) -> str | None:
    """Return the text that is the second argument of a call, whose function was just loaded; None if it is computed."""
    depth = 0
    for step, following in itertools.pairwise(after):
        if depth == 1 and step.opname == "LOAD_CONST":
            whole = following.opname.startswith(("CALL", "LOAD_")) and following.opname not in _ATTRIBUTES
            return step.argval if whole and type(step.argval) is str else None
        depth += dis.stack_effect(step.opcode, step.arg, jump=False)
        if depth > 1:
            return None
    return None


def _item_of_result(after: list[dis.Instruction]) -> str | None:
    """Return the text by which an item is taken of the result of a call, whose function was just loaded."""
    for number, step in enumerate(after[:-1]):
        if step.opname.startswith("CALL"):
            item = after[number + 1]
            taken = after[number + 2 : number + 3]
            text = item.opname == "LOAD_CONST" and type(item.argval) is str
            if text and taken and (taken[0].opname == "BINARY_SUBSCR" or taken[0].argrepr == "[]"):
                return item.argval
            return None
    return None


def _calls(step: dis.Instruction) -> bool:
    """Tell whether an instruction loads an attribute to call it."""
    if step.opname == "LOAD_METHOD":
        return True
    return _LATER_METHODS and step.opname in ("LOAD_ATTR", "LOAD_SUPER_ATTR") and bool((step.arg or 0) & 1)


class Vocabulary:
    """The names in all the code that was read so far.

    Attributes:
        uses: As in `Names`, of all the code; so are the others.
        called: Attributes that it calls.
        texts: Texts by which it asks for attributes.
    """

    def __init__(self) -> None:
        self.uses: dict[str, set[Any]] = {}
        self.called: set[str] = set()
        self.texts: set[str] = set()

    def add(self, names: Names) -> None:
        """Add the names of a piece of code."""
        for name, uses in names.uses.items():
            self.uses.setdefault(name, set()).update(uses)
        self.called |= names.called
        self.texts |= names.texts

    def names(self) -> list[tuple[str, bool]]:
        """Return all names, and of each whether it is read as a value and not only called.

        They are sorted: what is found by them must not depend on the seed of the process.
        """
        read = {*self.uses, *self.texts}
        return sorted([*[(name, True) for name in read], *[(name, False) for name in self.called - read]])

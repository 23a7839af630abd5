"""What runs in compiled form outside any trace: loops and branches, compiled once for each function, and `Compiling`.

A method, a partial, and a lambda that is written where it is used are new objects at each call.  So two functions are
one here if they are made of the same parts: code, closure, bound object, arguments.
"""

from __future__ import annotations

import functools
import types
import weakref
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from brainstate_graph import Node
from brainstate_graph.extend import notes, untraced

from .._engine.core import Run, without_jit
from .._engine.lift import Lifted, Unstaged
from .jit import JittedFunction, jit
from .parts import parts_of, same_parts

__all__ = ["Compiling", "compiled_once"]

_NAME = "_brainstate_compiled"
_LAST = "_brainstate_last"  # what was last found for a function, and what it was made of
_KEPT = 8  # compiled forms in one place
_MANY = 64


class Compiling(Lifted):
    """A lifted function that outside of a trace runs in compiled form, where nothing in it can change unseen.

    Args:
        rule: As for `lift`.
        fun: The user's function.
        static: The positions of static arguments.
    """

    def __init__(self, rule: Callable[..., Run], fun: Callable[..., Any], static: tuple[int, ...] = ()) -> None:
        self._unstaged = Unstaged(rule, (fun,), None, None)
        super().__init__(self._unstaged.cores)
        self._rule, self._static = rule, static
        self._kept: tuple[list[Any], JittedFunction] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        parts = None if without_jit() or not untraced() else parts_of(self.functions[0])
        if parts is None:
            return self._unstaged(*args, **kwargs)
        kept = self._kept
        if kept is None or not same_parts(kept[0], parts):
            kept = self._kept = parts, jit(self._unstaged, static_argnums=self._static or None)
        return kept[1](*args, **kwargs)

    def _like(self, fun: Callable[..., Any]) -> Compiling:
        bound = Compiling(self._rule, fun, tuple(n - 1 for n in self._static if n))
        bound.cores[0].bound = self.cores[0].bound + 1
        return bound


class _Entry(NamedTuple):
    key: Hashable
    parts: list[Any]
    compiled: JittedFunction


class _Last(NamedTuple):
    key: Hashable
    made: tuple[tuple[Any, ...], ...]  # of each function: itself, code, defaults, and what its variables hold
    compiled: JittedFunction


class _Place:
    """A weakly held name for the entries among the notes on a node."""

    __slots__ = ("__weakref__",)


_place = _Place()
_LIGHT = (bool, int, float, complex, str, bytes, type(None), type, types.CodeType, types.ModuleType)
_lambdas: list[_Entry] = []  # of the lambdas and partials that hold nothing large


def compiled_once(funs: Any, key: Hashable, make: Callable[[], Callable[..., Any]]) -> JittedFunction | None:
    """Return the compiled form of an operation on functions; it is kept with them, and goes with them.

    Args:
        funs: The user's function, or a tuple of several.
        key: What the operation is.
        make: Makes the function to compile.

    Returns:
        The compiled function; None inside a trace, and for what cannot keep it.
    """
    if without_jit() or not untraced():
        return None
    each = funs if type(funs) is tuple else (funs,)
    compiled = _last(each, key)
    if compiled is not None:
        return compiled
    made = _made(each)  # before the parts: what another thread changes meanwhile is seen at the next call
    parts = parts_of(*each)
    table = None
    if parts is not None:
        parts, table = _table(each, parts)
    if parts is None or table is None:  # these very functions, as in JAX
        parts, table = _themselves(each)
    if table is None:
        return None
    for entry in tuple(table):  # other threads drop and add as well
        if entry.key == key and same_parts(entry.parts, parts):
            _keep_last(each, key, made, entry.compiled)
            return entry.compiled
    compiled = jit(make())
    table[: max(0, len(table) - (_MANY if table is _lambdas else _KEPT) + 1)] = []  # the oldest goes
    table.append(_Entry(key, parts, compiled))
    _keep_last(each, key, made, compiled)
    return compiled


def _last(each: tuple[Any, ...], key: Hashable) -> JittedFunction | None:
    """What was found for the very same functions before.

    It takes 2 microseconds, where the whole look takes 10, and makes as many again of what runs after it slower.
    """
    last = each[0].__dict__.get(_LAST) if type(each[0]) is types.FunctionType else None
    if last is None or len(last.made) != len(each) or last.key != key:
        return None
    for fun, (itself, code, defaults, held) in zip(each, last.made, strict=True):
        # `functools.wraps` copies the note to another function.
        if itself() is not fun or fun.__code__ is not code or fun.__defaults__ is not defaults:
            return None
        closure = fun.__closure__
        if closure is not None and not _hold(closure, held):
            return None
    return last.compiled


def _hold(closure: tuple[types.CellType, ...], held: tuple[Any, ...]) -> bool:
    try:
        for cell, value in zip(closure, held, strict=True):
            if cell.cell_contents is not value:
                return False
    except ValueError:  # a variable that has lost its value
        return False
    return True


def _made(each: tuple[Any, ...]) -> tuple[tuple[Any, ...], ...] | None:
    """What plain functions are made of, for `_last`; the functions themselves weakly, or they would be a cycle."""
    if any(type(fun) is not types.FunctionType or fun.__kwdefaults__ is not None for fun in each):
        return None
    try:
        held = [tuple([cell.cell_contents for cell in fun.__closure__ or ()]) for fun in each]
    except ValueError:  # a variable without a value yet
        return None
    return tuple(
        (weakref.ref(fun), fun.__code__, fun.__defaults__, values) for fun, values in zip(each, held, strict=True)
    )


def _keep_last(each: tuple[Any, ...], key: Hashable, made: Any, compiled: JittedFunction) -> None:
    if made is not None:
        each[0].__dict__[_LAST] = _Last(key, made, compiled)


def _themselves(each: tuple[Any, ...]) -> tuple[list[Any], list[_Entry] | None]:
    """What tells these very functions from others, and where their compiled forms are kept; None if nowhere.

    A bound method is a new object at each call, and the same function if it is of the same object.
    """
    parts: list[Any] = []
    for fun in each:
        if type(fun) is types.FunctionType:
            cells = _made((fun,))
            parts += [weakref.ref(fun), fun.__code__, *(cells[0][3] if cells is not None else ())]
        elif isinstance(fun, types.MethodType) and isinstance(fun.__self__, Node):
            parts += [fun.__func__, fun.__self__]
        else:
            return [], None
    first = each[0]
    if type(first) is types.FunctionType:
        return parts, first.__dict__.setdefault(_NAME, [])
    return parts, notes(first.__self__).setdefault(_place, [])


def _table(each: tuple[Any, ...], parts: list[Any]) -> tuple[list[Any], list[_Entry] | None]:
    """Where compiled forms are kept: with a model that the functions hold, with the first of them, or here."""
    first = each[0]
    own = first.__dict__ if type(first) is types.FunctionType else None
    if own is not None and "<" not in first.__qualname__:  # not made anew at each call of a function around it
        return parts, own.setdefault(_NAME, [])
    node = next((part for part in parts if isinstance(part, Node)), None)
    if node is not None:
        return parts, notes(node).setdefault(_place, [])
    if not all(map(_is_light, each)):
        return parts, None
    try:  # what is found by global names goes when its module lets go of it
        return [p if isinstance(p, _LIGHT) or callable(p) else weakref.ref(p) for p in parts], _lambdas
    except TypeError:  # no weak reference to it
        return parts, None


def _is_light(item: Any) -> bool:
    """Tell whether nothing large hangs on a function that is kept for good."""
    if isinstance(item, functools.partial):
        return all(map(_is_light, (item.func, *item.args, *item.keywords.values())))
    if type(item) is not types.FunctionType:
        return isinstance(item, _LIGHT)
    cells = [cell.cell_contents for cell in item.__closure__ or ()]
    return all(map(_is_light, (*cells, *(item.__defaults__ or ()), *(item.__kwdefaults__ or {}).values())))

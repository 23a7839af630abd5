"""What runs in compiled form outside any trace: loops and branches, compiled once for each function, and `Compiling`.

A method, a partial, and a lambda that is written where it is used are new objects at each call.  So two functions are
one here if they are made of the same parts: code, closure, bound object, arguments.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

from brainstate_graph import Node
from brainstate_graph.extend import notes, static_key, untraced

from ._core import Run, without_jit
from ._jit import JittedFunction, jit
from ._lift import Lifted

__all__ = ["Compiling", "compiled_once"]

_NAME = "_brainstate_compiled"
_LAST = "_brainstate_last"  # what was last found for a function, and what it was made of
_KEPT = 8  # compiled forms in one place
_MANY = 64
_PLAIN = (bool, int, float, complex, str, bytes)


class Compiling(Lifted):
    """A lifted function that outside of a trace runs in compiled form.

    Args:
        rule: As for `lift`.
        fun: The user's function.
        static: The positions of static arguments.
    """

    def __init__(self, rule: Callable[..., Run], fun: Callable[..., Any], static: tuple[int, ...] = ()) -> None:
        super().__init__(rule, (fun,), None, None)
        self._static = static
        self._compiled: JittedFunction | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if without_jit() or not untraced():
            return super().__call__(*args, **kwargs)
        compiled = self._compiled
        if compiled is None:
            compiled = self._compiled = jit(self, static_argnums=self._static or None)
        return compiled(*args, **kwargs)

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
    made: tuple[tuple[Any, ...], ...]  # of each function: code, globals, defaults, cells, and what they held
    compiled: JittedFunction


class _Place:
    """A weakly held name for the entries among the notes on a node."""

    __slots__ = ("__weakref__",)


_place = _Place()
_LIGHT = (*_PLAIN, type(None), type, dict, types.CodeType, types.ModuleType)
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
    compiled = _last(funs, key)
    if compiled is not None:
        return compiled
    made = _made(funs)  # before the parts: what another thread changes meanwhile is seen at the next call
    parts = _parts(funs)
    table = None if parts is None else _table(funs, parts)
    if parts is None or table is None:
        return None
    for entry in tuple(table):  # other threads drop and add as well
        if entry.key == key and _same_parts(entry.parts, parts):
            if made is not None:
                _keep_last(funs, _Last(key, made, entry.compiled))
            return entry.compiled
    compiled = jit(make())
    table[: max(0, len(table) - (_MANY if table is _lambdas else _KEPT) + 1)] = []  # the oldest goes
    table.append(_Entry(key, parts, compiled))
    if made is not None:
        _keep_last(funs, _Last(key, made, compiled))
    return compiled


def _last(funs: Any, key: Hashable) -> JittedFunction | None:
    """What was found for the very same functions before.

    It takes 2 microseconds, where the whole look takes 6, and makes as many again of what runs after it slower.
    """
    each = funs if type(funs) is tuple else (funs,)
    last = each[0].__dict__.get(_LAST) if type(each[0]) is types.FunctionType else None
    if last is None or len(last.made) != len(each) or last.key != key:
        return None
    for fun, (code, names, defaults, closure, held) in zip(each, last.made, strict=True):
        # The tuple of cells is the function's own: `functools.wraps` copies the note to a function with others.
        if (
            type(fun) is not types.FunctionType
            or fun.__code__ is not code
            or fun.__closure__ is not closure
            or fun.__defaults__ is not defaults
            or fun.__globals__ is not names
            or fun.__kwdefaults__ is not None
        ):
            return None
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


def _made(funs: Any) -> tuple[tuple[Any, ...], ...] | None:
    """What plain functions are made of, for `_last`; not the functions themselves, which would be a cycle."""
    each = funs if type(funs) is tuple else (funs,)
    if any(type(fun) is not types.FunctionType or fun.__kwdefaults__ is not None for fun in each):
        return None
    try:
        held = [tuple([cell.cell_contents for cell in fun.__closure__ or ()]) for fun in each]
    except ValueError:  # a variable without a value yet
        return None
    return tuple(
        (fun.__code__, fun.__globals__, fun.__defaults__, fun.__closure__, values)
        for fun, values in zip(each, held, strict=True)
    )


def _keep_last(funs: Any, last: _Last) -> None:
    first = funs[0] if type(funs) is tuple else funs
    first.__dict__[_LAST] = last


def _parts(fun: Any) -> list[Any] | None:
    """What a function is made of; None for what cannot be told."""
    if isinstance(fun, tuple):
        found = [_parts(one) for one in fun]
        return None if any(f is None for f in found) else [part for f in found for part in (len(f or ()), *(f or ()))]
    if type(fun) is types.FunctionType:
        try:
            held = [cell.cell_contents for cell in fun.__closure__ or ()]
        except ValueError:  # a variable without a value yet
            return None
        return [fun.__code__, fun.__globals__, *held, *(fun.__defaults__ or ()), *(fun.__kwdefaults__ or {}).values()]
    if isinstance(fun, types.MethodType):
        return [fun.__func__, fun.__self__]
    if isinstance(fun, functools.partial):
        below = _parts(fun.func)
        return None if below is None else [*below, *fun.args, *fun.keywords, *fun.keywords.values()]
    return [type(fun), fun] if isinstance(fun, Node) else None


def _table(fun: Any, parts: Sequence[Any]) -> list[_Entry] | None:
    """Where compiled forms are kept: with a model that the function holds, with the function, or here."""
    first = fun[0] if isinstance(fun, tuple) else fun
    own = first.__dict__ if type(first) is types.FunctionType else None
    if own is not None and "<" not in first.__qualname__:  # not made anew at each call of a function around it
        return own.setdefault(_NAME, [])
    node = next((part for part in parts if isinstance(part, Node)), None)
    if node is not None:
        return notes(node).setdefault(_place, [])
    if all(map(_is_light, parts)):
        return _lambdas
    return None if own is None else own.setdefault(_NAME, [])


def _is_light(part: Any) -> bool:
    """Tell whether nothing large hangs on a part that is kept for good."""
    return isinstance(part, _LIGHT) or (isinstance(part, types.FunctionType) and part.__closure__ is None)


def _same_parts(left: Sequence[Any], right: Sequence[Any]) -> bool:
    return len(left) == len(right) and all(a is b or _equal(a, b) for a, b in zip(left, right, strict=True))


def _equal(a: Any, b: Any) -> bool:
    return type(a) is type(b) and type(a) in _PLAIN and static_key(a) == static_key(b)

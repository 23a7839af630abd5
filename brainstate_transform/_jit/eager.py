"""Operations that run in compiled form outside any trace, as eager loops and branches do.

JAX compiles a loop anew for each new function object, and a lambda, a partial or a method is a new object at each call.
`compiled_once` keeps the compiled form of an operation for all functions that are made of the same parts (`parts`):
code, closure, bound object, arguments.  `Compiling` does the same for one lifted function, as `checkpoint` makes it.

Inside a trace nothing of this runs: there the operation is part of what is traced.
"""

from __future__ import annotations

import functools
import sys
import types
import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

from brainstate_graph import Node
from brainstate_graph.extend import notes, untraced

from .._engine.core import Run, without_jit
from .._engine.lift import Unstaged
from .._engine.lifted import Lifted
from .._messages.boundary import boundary
from .jit import JittedFunction, jit
from .parts import parts_of, same_parts

__all__ = ["Compiling", "compiled_once"]

_FORMS = "_brainstate_compiled"  # the attribute of a function that has its compiled forms
_LAST = "_brainstate_last"  # the attribute with the one that was found last
_OF_ONE = 8  # compiled forms that are kept with one function or model
_OF_ALL = 64  # ... and with this module


class Compiling(Lifted):
    """A lifted function that outside of a trace runs in compiled form.

    Args:
        rule: As for `lift`.
        fun: The user's function.
        static: The positions of static arguments.
    """

    def __init__(self, rule: Callable[..., Run], fun: Callable[..., Any], static: tuple[int, ...] = ()) -> None:
        self._unstaged = Unstaged(rule, (fun,), None, None)
        super().__init__(self._unstaged.cores)
        self._rule, self._static = rule, static
        self._compiled: JittedFunction | None = None

    @boundary
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if without_jit() or not untraced():
            return self._unstaged(*args, **kwargs)
        compiled = self._compiled
        if compiled is None:
            compiled = self._compiled = jit(self._unstaged, static_argnums=self._static or None)
        return compiled(*args, **kwargs)

    @property
    def parts(self) -> Sequence[Any]:
        """What it was made with."""
        return (self._rule, self._static, *self.functions)

    def _like(self, fun: Callable[..., Any]) -> Compiling:
        bound = Compiling(self._rule, fun, tuple(n - 1 for n in self._static if n))
        bound.cores[0].bound = self.cores[0].bound + 1
        return bound


class _Compiled(NamedTuple):
    """The compiled form of an operation on functions that are made of these parts."""

    operation: Hashable
    parts: list[Any]
    compiled: JittedFunction


class _Last(NamedTuple):
    """The compiled form that was found last, and what each function was then: itself, code, defaults, variables."""

    operation: Hashable
    contents: tuple[tuple[Any, ...], ...]
    compiled: JittedFunction


class _Owner:
    """Under this the notes on a node are ours; nodes hold it weakly."""

    __slots__ = ("__weakref__",)


_owner = _Owner()
_LIGHT = (bool, int, float, complex, str, bytes, type(None), type, types.CodeType, types.ModuleType)
_of_lambdas: list[_Compiled] = []  # and of partials that hold nothing large


def compiled_once(funs: Any, operation: Hashable, make: Callable[[], Callable[..., Any]]) -> JittedFunction | None:
    """Return the compiled form of an operation on functions; it is kept with them, and goes with them.

    Args:
        funs: The user's function, or a tuple of several.
        operation: What is done to them, as a key.
        make: Makes the function to compile.

    Returns:
        The compiled function; None inside a trace, and for what cannot keep it.
    """
    if without_jit() or not untraced():
        return None
    each = funs if type(funs) is tuple else (funs,)
    compiled = _found_last(each, operation)
    if compiled is not None:
        return compiled
    contents = _contents(each)  # before the parts: what another thread changes meanwhile is seen at the next call
    parts = parts_of(*each)
    forms = None
    if parts is not None:
        parts, forms = _forms_by_parts(each, parts)
    if parts is None or forms is None:  # these very functions, as in JAX
        parts, forms = _forms_by_identity(each)
    if forms is None:
        return None
    for form in tuple(forms):  # other threads drop and add as well
        if form.operation == operation and same_parts(form.parts, parts):
            if form.compiled.unwatched and any(isinstance(f, (types.FunctionType, functools.partial)) for f in each):
                continue  # a new function is looked at anew, as JAX does
            _keep_last(each, operation, contents, form.compiled)
            return form.compiled
    compiled = jit(make())
    forms[: max(0, len(forms) - (_OF_ALL if forms is _of_lambdas else _OF_ONE) + 1)] = []  # the oldest goes
    forms.append(_Compiled(operation, parts, compiled))
    _keep_last(each, operation, contents, compiled)
    return compiled


# -- the very functions of the last call -------------------------------------------------------------------------------
# To take functions apart costs 10 microseconds, and leaves the processor's caches to others: what runs after it takes
# 10 more. To see that they are those of the last call, with the same variables, costs 2.


def _found_last(each: tuple[Any, ...], operation: Hashable) -> JittedFunction | None:
    """Return what was found for the very same functions before."""
    last = each[0].__dict__.get(_LAST) if type(each[0]) is types.FunctionType else None
    if last is None or len(last.contents) != len(each) or last.operation != operation:
        return None
    for fun, (itself, code, defaults, variables) in zip(each, last.contents, strict=True):
        # `functools.wraps` copies the attributes of a function to another one.
        if itself() is not fun or fun.__code__ is not code or fun.__defaults__ is not defaults:
            return None
        closure = fun.__closure__
        if closure is not None and not _still_hold(closure, variables):
            return None
    return last.compiled


def _still_hold(closure: tuple[types.CellType, ...], values: tuple[Any, ...]) -> bool:
    try:
        for cell, value in zip(closure, values, strict=True):
            if cell.cell_contents is not value:
                return False
    except ValueError:  # a variable that has lost its value
        return False
    return True


def _contents(each: tuple[Any, ...]) -> tuple[tuple[Any, ...], ...] | None:
    """Return what plain functions are now; the functions themselves weakly, or they would be a cycle."""
    if any(type(fun) is not types.FunctionType or fun.__kwdefaults__ is not None for fun in each):
        return None
    try:
        held = [tuple([cell.cell_contents for cell in fun.__closure__ or ()]) for fun in each]
    except ValueError:  # a variable without a value yet
        return None
    return tuple(
        (weakref.ref(fun), fun.__code__, fun.__defaults__, values) for fun, values in zip(each, held, strict=True)
    )


def _keep_last(each: tuple[Any, ...], operation: Hashable, contents: Any, compiled: JittedFunction) -> None:
    if contents is not None:
        each[0].__dict__[_LAST] = _Last(operation, contents, compiled)


# -- where compiled forms are kept -------------------------------------------------------------------------------------


def _forms_by_identity(each: tuple[Any, ...]) -> tuple[list[Any], list[_Compiled] | None]:
    """Return what tells these very functions from others, and where their forms are kept; None if nowhere.

    A bound method is a new object at each call, and the same function if it is of the same object.
    """
    parts: list[Any] = []
    for fun in each:
        if type(fun) is types.FunctionType:
            contents = _contents((fun,))
            parts += [weakref.ref(fun), fun.__code__, *(contents[0][3] if contents is not None else ())]
        elif isinstance(fun, types.MethodType) and isinstance(fun.__self__, Node):
            parts += [fun.__func__, fun.__self__]
        else:
            return [], None
    first = each[0]
    if type(first) is types.FunctionType:
        return parts, first.__dict__.setdefault(_FORMS, [])
    return parts, notes(first.__self__).setdefault(_owner, [])


def _forms_by_parts(each: tuple[Any, ...], parts: list[Any]) -> tuple[list[Any], list[_Compiled] | None]:
    """Return the parts to keep, and where: with the first function, with a model that they hold, or in this module."""
    first = each[0]
    own = first.__dict__ if type(first) is types.FunctionType else None
    if own is not None and "<" not in first.__qualname__:  # not made anew at each call of a function around it
        return parts, own.setdefault(_FORMS, [])
    node = next((part for part in parts if isinstance(part, Node)), None)
    if node is not None:
        return parts, notes(node).setdefault(_owner, [])
    if not all(map(_is_light, each)):
        return parts, None
    try:  # what is found by global names goes when its module lets go of it
        return [
            p if isinstance(p, (*_LIGHT, dict, tuple)) or callable(p) else weakref.ref(p) for p in parts
        ], _of_lambdas
    except TypeError:  # no weak reference to it
        return parts, None


def _is_light(item: Any) -> bool:
    """Tell whether nothing large hangs on a function that is kept for good."""
    seen: set[int] = set()
    stack = [item]
    while stack:
        item = stack.pop()
        if id(item) in seen or isinstance(item, _LIGHT):
            continue
        seen.add(id(item))
        if isinstance(item, functools.partial):
            stack += (item.func, *item.args, *item.keywords.values())
        elif type(item) is types.FunctionType:
            stack += [cell.cell_contents for cell in item.__closure__ or ()]
            stack += (*(item.__defaults__ or ()), *(item.__kwdefaults__ or {}).values())
        elif not _stays(item):
            return False
    return True


def _stays(item: Any) -> bool:
    """Tell whether a thing is one of a module, as ``jnp.negative`` is, which goes with that."""
    module = sys.modules.get(str(getattr(item, "__module__", None)))
    return module is not None and vars(module).get(getattr(item, "__name__", "")) is item

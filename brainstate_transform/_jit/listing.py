"""A listing: a program as lines that can be compared, and the words for the first that differs.

Variables are numbers, constants are their bits, and the lines of an inner program come after the equation that has it.
Where equal programs differ is no part of it: names of functions and variables, places in the source, function objects
that are made anew in each trace.

A listing holds copies of the constants: JAX goes on to hold the very NumPy arrays that a function has used, and these
may be changed in place.  `brainstate_transform._jit.audit` compares listings; nothing here runs a program.
"""

from __future__ import annotations

import enum
import functools
import itertools
import os
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer
from jax.experimental import checkify
from jax.extend import source_info_util
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Primitive, Var
from jax.extend.linear_util import WrappedFun
from jax.tree_util import PyTreeDef

from brainstate_graph import GraphDef, Node, State
from brainstate_graph.extend import describe

from .._engine.placeholders import is_placeholder
from .._engine.user_function import name_of

__all__ = ["Line", "checks_numbered", "difference_of", "has_kept_traces", "listing", "tree_key"]

_PLAIN = (bool, int, float, complex, str, bytes, type(None), np.dtype)
_ARRAYS = (jax.Array, np.ndarray, np.generic)
_ITSELF = (type, enum.Enum, Primitive, GraphDef, Node, State)  # of these one object stands for all that are equal
# Functions of these make a trace of nothing but their arguments, or are made anew for each trace.
_SAFE = tuple([f"{os.path.dirname(file)}{os.sep}" for file in (jax.__file__, os.path.dirname(__file__))])
_LABELS = frozenset({"name", "name_and_src_info", "debug_info"})  # parameters that only say what something is called


class Line(NamedTuple):
    """One equation of a program.

    Attributes:
        what: The name of its primitive.
        inputs: Constants and variables.
        outputs: The avals of its results.
        params: Its parameters by name; in the place of an inner program only that there is one.
        source: Where in the user's code it is; not compared.
    """

    what: str
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    params: dict[str, Any]
    source: Any

    def same(self, other: Line) -> bool:
        """Tell whether it is the same equation."""
        return self[:-1] == other[:-1]

    def __str__(self) -> str:
        return " ".join([self.what, *map(_words, self.inputs)])


class _Variable(NamedTuple):
    """A variable of a program."""

    number: int
    aval: Any

    def __str__(self) -> str:
        name, number = "", self.number + 1
        while number:  # a ... z, aa, ab, ..., as in a printed jaxpr
            number, letter = divmod(number - 1, 26)
            name = chr(ord("a") + letter) + name
        return f"{name}:{_aval(self.aval)}"


def listing(program: Any) -> Iterator[Line]:
    """Return the lines of a program, each followed by those of the programs in it.

    Args:
        program: A jaxpr of either kind.
    """
    closed = isinstance(program, ClosedJaxpr)  # from JAX 0.11 on all are
    jaxpr: Jaxpr = program.jaxpr if closed else program
    known: dict[Var, Any] = {}
    if closed:
        known = {var: _Constant(value, var.aval) for var, value in zip(jaxpr.constvars, program.consts, strict=False)}

    def number(variables: Sequence[Any]) -> None:
        for variable in variables:
            if variable not in known:
                known[variable] = _Variable(len(known), variable.aval)

    def atom(item: Any) -> Any:
        return _Constant(item.val, item.aval) if isinstance(item, Literal) else known[item]

    number((*jaxpr.constvars, *jaxpr.invars))
    for equation in jaxpr.eqns:
        inner: list[Any] = []
        what = equation.primitive.name
        params = {
            name: _key(value, inner)
            for name, value in equation.params.items()
            if name not in _LABELS or what == "name"  # the name of `checkpoint_name` is no label: policies go by it
        }
        outputs = tuple([variable.aval for variable in equation.outvars])
        yield Line(what, tuple(map(atom, equation.invars)), outputs, params, equation.source_info)
        for each in inner:
            yield from listing(each)
        number(equation.outvars)
    yield Line("return", tuple(map(atom, jaxpr.outvars)), (), {}, None)


def has_kept_traces(program: Any) -> bool:
    """Tell whether a program has inner ones that JAX may have traced before, and kept with a function of the user's."""
    for equation in program.jaxpr.eqns if isinstance(program, ClosedJaxpr) else program.eqns:
        inner: list[Any] = []
        _key(tuple(equation.params.values()), inner)
        for each in inner:
            if not _is_safe(each) or has_kept_traces(each):
                return True
    return False


def _is_safe(program: Any) -> bool:
    """Tell whether the function that was traced is of a library, and no jaxpr of the user's that it runs."""
    function = program.debug_info
    file = function.func_filename
    return file is not None and file.startswith(_SAFE) and function.func_name != "jaxpr_as_fun"


def _key(value: Any, inner: list[Any]) -> Any:
    """Return what is compared of a parameter; the programs in it are added to `inner`."""
    if isinstance(value, (Jaxpr, ClosedJaxpr)):
        inner.append(value)
        return "program"
    if isinstance(value, (tuple, list)):
        return tuple([_key(item, inner) for item in value])
    if isinstance(value, Mapping):
        return tuple([(_key(name, inner), _key(item, inner)) for name, item in value.items()])
    if isinstance(value, _PLAIN):
        return _Plain(type(value), repr(value))
    if isinstance(value, _ARRAYS):
        return _Constant(value, jax.typeof(value))
    if isinstance(value, PyTreeDef):
        return tree_key(value)
    if isinstance(value, _ITSELF) or is_placeholder(value):
        return value
    if is_dataclass(value):
        return type(value), tuple([_key(getattr(value, field.name, None), inner) for field in fields(value)])
    if callable(value):
        return _Function(value)
    # What compares by identity may be made anew in each trace. So are the rules of derivatives; where one is used, its
    # equations stand in the program.
    made_anew = type(value).__eq__ is object.__eq__ or isinstance(value, WrappedFun)
    return type(value) if made_anew else value


def tree_key(treedef: Any) -> Any:
    """Return what is compared of a tree structure; what is static in it may be made anew in each trace."""
    data = treedef.node_data()
    if data is None:  # a leaf, or None
        return treedef.num_leaves
    kind, static = data
    if kind is checkify.Error:  # by number, see `checks_numbered`
        static = tuple(static.values())
    return kind, _key(static, []), tuple(map(tree_key, treedef.children()))


class _Plain(NamedTuple):
    """A plain value by type and text: there the sign of zero shows, and nan equals itself."""

    kind: type[Any]
    text: str

    def __repr__(self) -> str:
        return self.text


class _Constant:
    """A constant of a program.

    Args:
        value: Its value.
        aval: Its shape and dtype.
    """

    def __init__(self, value: Any, aval: Any) -> None:
        self.aval = aval
        self.array = _copied(value)

    def __eq__(self, other: object) -> bool:
        if type(other) is not _Constant or self.aval != other.aval:
            return False
        if self.array is None or other.array is None:
            return self.array is other.array
        return np.array_equal(_bytes(self.array), _bytes(other.array))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return _words(self)

    def whole_number(self) -> int | None:
        """Return it, if it is one whole number."""
        array = self.array
        return None if array is None or array.shape or array.dtype.kind != "i" else int(array)

    def change(self, new: _Constant) -> str:
        """Say how it has changed."""
        was, now = self.array, new.array
        if self.aval != new.aval or was is None or now is None or not was.shape:
            return f"{self} is now {new}"
        place = np.unravel_index(int((_bytes(was) != _bytes(now)).any(-1).argmax()), was.shape)
        return f"{self}, at [{', '.join(map(str, place))}]: {was[place]} is now {now[place]}"


def _copied(value: Any) -> np.ndarray[Any, Any] | None:
    """Return a copy of an array; None for a traced value, and for one that is not in this process."""
    if isinstance(value, Tracer):
        return None
    if isinstance(value, jax.Array):
        if value.is_deleted() or not value.is_fully_addressable:
            return None
        if jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key):
            value = jax.random.key_data(value)
    array = np.array(value)
    return None if array.dtype == object else array


def _bytes(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the bytes of each element."""
    return np.ascontiguousarray(array).reshape(-1, 1).view(np.uint8)


class _Function:
    """A function in a program, as a callback is; the same as another one if it does the same now.

    Args:
        fun: The function.
    """

    def __init__(self, fun: Callable[..., Any]) -> None:
        self.fun = fun

    def __eq__(self, other: object) -> bool:
        return type(other) is _Function and _alike(self.fun, other.fun, set())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return name_of(self.fun)


def _alike(one: Any, other: Any, met: set[int]) -> bool:
    """Tell whether two functions are alike: in code, defaults, and the variables around them.

    What is neither a function nor a plain value counts as alike: an object that is made anew in each trace cannot be
    told from one that has changed, and a callback sees by itself what a list holds.
    """
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, _PLAIN):
        return repr(one) == repr(other)
    if isinstance(one, (types.BuiltinFunctionType, np.ufunc)):  # a method of a list is another object each time
        return one.__name__ == other.__name__
    if isinstance(one, _ARRAYS) and not isinstance(one, Tracer):
        return _Constant(one, jax.typeof(one)) == _Constant(other, jax.typeof(other))
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_alike, one, other, itertools.repeat(met)))
    if id(one) in met:  # a function that reaches itself
        return True
    if isinstance(one, (set, frozenset)) and all(isinstance(item, _PLAIN) for item in one):
        return one == other
    parts = _parts(one)
    if parts is None:
        return True
    met.add(id(one))
    return _alike(parts, _parts(other), met)


def _parts(fun: Any) -> tuple[Any, ...] | None:
    """Return what makes a function what it is; None for what is no function."""
    if isinstance(fun, types.FunctionType):
        return _code(fun.__code__), fun.__defaults__, _pairs(fun.__kwdefaults__), tuple(_held(fun))
    if isinstance(fun, types.MethodType):
        return fun.__func__, fun.__self__
    if isinstance(fun, functools.partial):
        return fun.func, fun.args, _pairs(fun.keywords)
    return None


def _pairs(table: Mapping[str, Any] | None) -> tuple[Any, ...]:
    return tuple((table or {}).items())


def _held(fun: types.FunctionType) -> Iterator[Any]:
    """Return what the variables around a function hold."""
    for cell in fun.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # nothing yet
            yield None


def _code(code: types.CodeType) -> tuple[Any, ...]:
    """Return what a piece of code does, without where it stands."""
    consts = tuple([_code(item) if isinstance(item, types.CodeType) else repr(item) for item in code.co_consts])
    return code.co_code, code.co_names, consts


# -- in words ----------------------------------------------------------------------------------------------------------


def checks_numbered() -> int:
    """Return how many checks JAX's ``checkify`` has numbered; before JAX 0.11 it counts in the process."""
    error, _ = jax.eval_shape(checkify.checkify(lambda ok: checkify.check(ok, "")), True)
    data = jax.tree.structure(error).node_data()
    assert data is not None
    return max(data[1])


def difference_of(old: Sequence[Line], new: Sequence[Line], checks: range = range(0)) -> str | None:
    """Say which is the first line that is different; None if there is none.

    Args:
        old: One listing.
        new: Another one.
        checks: The numbers of the checks in the new one; each may stand for a smaller one in the old one.
    """
    numbers: dict[int, int] = {}
    # Each listing ends in a line of its own kind, so that none is the beginning of another one.
    for was, now in zip(old, new, strict=False):
        if not was.same(now) and not (checks and _same_but_for_numbers(was, now, numbers, checks)):
            line = was if now.source is None else now
            place = "" if line.source is None else f", at {source_info_util.summarize(line.source)}"
            return _change(was, now) + place
    return None


def _same_but_for_numbers(was: Line, now: Line, numbers: dict[int, int], checks: range) -> bool:
    if was[2:-1] != now[2:-1] or was.what != now.what or len(was.inputs) != len(now.inputs):
        return False
    for old, new in zip(was.inputs, now.inputs, strict=True):
        if old != new:
            if not (isinstance(old, _Constant) and isinstance(new, _Constant)):
                return False
            one, other = old.whole_number(), new.whole_number()
            if one is None or other is None or not 0 < one < other or other not in checks:
                return False
            if numbers.setdefault(one, other) != other:
                return False
    return True


def _change(was: Line, now: Line) -> str:
    if was.what == now.what and len(was.inputs) == len(now.inputs):
        for old, new in zip(was.inputs, now.inputs, strict=True):
            if isinstance(old, _Constant) and isinstance(new, _Constant) and old != new:
                return f"a constant of `{was.what}`, {old.change(new)}"
        for name, old in was.params.items():
            if name in now.params and old != now.params[name]:
                one, other = _words(old), _words(now.params[name])
                return f"`{name}` of `{was.what}`: {one} is now {'another one' if one == other else other}"
    one, other = str(was), str(now)
    if one == other:
        return f"`{was.what}` gave {_typed(was.outputs)}, and gives {_typed(now.outputs)} now"
    return f"`{one}` is now `{other}`"


def _typed(avals: Sequence[Any]) -> str:
    return ", ".join([_aval(aval) + (" weak" if getattr(aval, "weak_type", False) else "") for aval in avals])


def _words(item: Any) -> str:
    if isinstance(item, _Constant) and item.array is not None and not item.array.shape:
        return str(item.array)
    if isinstance(item, _Constant):
        return _aval(item.aval)
    if isinstance(item, tuple) and not isinstance(item, (_Plain, _Variable)):
        return f"({', '.join(map(_words, item))})"
    return item.__name__ if isinstance(item, type) else str(item)


def _aval(aval: Any) -> str:
    return describe(jax.ShapeDtypeStruct(aval.shape, aval.dtype)) if hasattr(aval, "dtype") else str(aval)

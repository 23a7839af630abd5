"""``Operators``: what a State is asked for in place of the array that it holds; each answer names ``.value``.

A State is a box.  ``state + 1``, ``state.shape``, ``if state:`` and ``state == 3`` are meant for what is inside, and
none of them is an operation of the box.  Python would say for some that there is no such thing, and answer others:
an object is true, and equal to nothing else.  So each raises an error that shows the line to write.

Two States are compared by identity, in a set or as keys of a dict too.  That never gets here, as Python finds an object
that is the same before it asks ``==``, and the hash is that of any object.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, final

import jax
import numpy as np

__all__ = ["ARRAY_ATTRIBUTES", "Operators"]

# What Python calls, and how that is written. `{s}` stands for the State; the line to write has `state.value` there.
_BINARY = {
    "add": "+", "sub": "-", "mul": "*", "matmul": "@", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
    "lshift": "<<", "rshift": ">>", "and": "&", "or": "|", "xor": "^",
}  # fmt: skip
_WRITTEN = {
    **{f"__{name}__": f"{{s}} {sign} x" for name, sign in _BINARY.items()},
    **{f"__r{name}__": f"x {sign} {{s}}" for name, sign in _BINARY.items()},
    **{f"__i{name}__": f"{{s}} {sign}= x" for name, sign in _BINARY.items()},
    **{f"__{name}__": f"{{s}} {sign} x" for name, sign in {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}.items()},
    **{f"__{name}__": f"{sign}{{s}}" for name, sign in {"neg": "-", "pos": "+", "invert": "~"}.items()},
    **{f"__{name}__": f"{name}({{s}})" for name in ("abs", "complex", "float", "int", "len", "reversed", "round")},
    **{f"__{name}__": f"math.{name}({{s}})" for name in ("ceil", "floor", "trunc")},
    "__divmod__": "divmod({s}, x)",
    "__rdivmod__": "divmod(x, {s})",
    "__index__": "range({s})",
    "__contains__": "x in {s}",
    "__getitem__": "{s}[i]",  # for loops too: an `__iter__` would make a State an Iterable to `isinstance`
    "__delitem__": "del {s}[i]",
    "__array__": "{s}",  # for NumPy, which calls these in any of its functions
    "__array_ufunc__": "{s}",
}

ARRAY_ATTRIBUTES = frozenset(
    [name for kind in (jax.Array, np.ndarray) for name in dir(kind) if not name.startswith("_")]
    # Of JAX's own class of arrays, which is not public.
    + ["block_until_ready", "delete", "devices", "format", "is_deleted", "is_ready", "platform", "weak_type"]
)


@final
class _Words:
    """The text of an error, found when it is shown: whoever asks ``hasattr(state, "dtype")`` need not wait for it."""

    def __init__(self, state: Any, written: str, instead: str, more: str = "") -> None:
        self._parts = (state, written, instead, more)
        self._text = ""

    def __str__(self) -> str:
        if not self._text:
            state, written, instead, more = self._parts
            text = f"{state._in_words()} is not an array: it holds one in `.value`. "
            self._text = text + f"Instead of `{written}` write `{instead}`" + more
        return self._text

    def __repr__(self) -> str:
        return repr(str(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)


def _words(state: Any, written: str, more: str = "") -> _Words:
    return _Words(state, written.format(s="state"), written.format(s="state.value"), more)


class Operators:
    """A base for classes whose instances are boxes with a `value`, and no arrays.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_graph import State
        >>> State(2.0, name="g") * 3.0
        Traceback (most recent call last):
        ...
        TypeError: State 'g' is not an array: it holds one in `.value`. Instead of `state * x` write `state.value * x`
    """

    __slots__ = ()

    def _in_words(self) -> str:
        """Say for messages which box this is; to be overridden."""
        return type(self).__name__

    def __bool__(self) -> NoReturn:
        more = ", or `state is not None` to ask whether there is one"
        raise TypeError(_words(self, "if {s}:", more))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Operators):
            return self is other
        raise TypeError(_words(self, "{s} == x", ", or `state is x` to ask whether it is this box"))

    def __ne__(self, other: object) -> bool:
        if isinstance(other, Operators):
            return self is not other
        raise TypeError(_words(self, "{s} != x", ", or `state is not x` to ask whether it is another box"))

    __hash__ = object.__hash__

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        raise TypeError(_words(self, f'f"{{{{{{s}}:{spec}}}}}"'))

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise TypeError(_Words(self, "state[i] = x", "state.value = state.value.at[i].set(x)"))

    def __dir__(self) -> list[str]:
        return [name for name in object.__dir__(self) if name not in ARRAY_ATTRIBUTES or hasattr(self, name)]


@final
class _JaxArray:
    """What JAX looks for in an argument that is no array.

    To be found would be enough to be refused, without our words.  JAX looks with `hasattr`, which lets all errors
    through but an AttributeError, and words a TypeError anew.
    """

    def __get__(self, state: Any, owner: type[Any] | None = None) -> NoReturn:
        raise AttributeError("__jax_array__") if state is None else ValueError(_words(state, "{s}"))


def _operator(written: str) -> Callable[..., NoReturn]:
    def refuse(self: Any, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(_words(self, written))

    return refuse


@final
class _ArrayAttribute:
    """An attribute that arrays have and States have not; a class below may define one of that name.

    A ``__getattr__`` would do in place of all of them, and make each look into a State take twice as long.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, state: Any, owner: type[Any] | None = None) -> NoReturn:
        if state is None:
            raise AttributeError(self._name)
        raise AttributeError(_words(state, f"{{s}}.{self._name}"))


for _name, _text in _WRITTEN.items():
    setattr(Operators, _name, _operator(_text))
for _name in ARRAY_ATTRIBUTES:
    setattr(Operators, _name, _ArrayAttribute(_name))
Operators.__jax_array__ = _JaxArray()  # type: ignore[attr-defined] - hidden from type checkers, which tell users first

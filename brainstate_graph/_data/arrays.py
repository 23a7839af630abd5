"""Arrays, NumPy scalars and dtypes as JSON forms, and back.

A dtype is written as the format of ``.npy`` files spells it, and the data of an array as its bytes in C order, in
base64.  What is read may come from anybody: sizes are compared with the length of the data before anything is
allocated, and no dtype of Python objects is made.
"""

from __future__ import annotations

import base64
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._core.errors import GraphError

__all__ = ["array_form", "array_of", "dtype_form", "dtype_of", "jax_array_form", "jax_array_of", "scalar_form",
           "scalar_of", "shortened"]  # fmt: skip

# The text of a dtype by NumPy itself, and the names of those by ml_dtypes, which NumPy spells "<V2" and the like.
_DTYPE_NAME = re.compile(r"[<>|][biufcSUMmV]\d+(\[\d*[a-zA-Zμ]+(/\d+)?\])?|bfloat16|float\d+_\w+|u?int[124]")


def shortened(form: Any) -> str:
    """Return the beginning of a form, for a message; of what may be nested deeply, the outermost level."""
    if isinstance(form, list):
        return f"a list of {len(form)}"
    text = repr(list(form) if isinstance(form, dict) else form)
    return text if len(text) <= 60 else text[:57] + "..."


def dtype_form(dtype: np.dtype[Any]) -> Any:
    """Return the form of a dtype: its text, or a list of its fields."""
    if dtype.hasobject:
        raise GraphError(f"a dtype of Python objects ({dtype}) cannot be written as data")
    try:
        of_numpy = dtype.type.__module__ != "ml_dtypes"
        form = (_lists(dtype.descr) if dtype.names is not None else dtype.str) if of_numpy else dtype.name
        if dtype_of(form) == dtype:
            return form
    except ValueError:  # fields that overlap; a GraphError is one too
        pass
    raise GraphError(f"the dtype {dtype} cannot be written as data")


def _lists(descr: Any) -> Any:
    return list(map(_lists, descr)) if isinstance(descr, (list, tuple)) else descr


def dtype_of(form: Any) -> np.dtype[Any]:
    """Return the dtype of a form."""
    try:
        return np.lib.format.descr_to_dtype(_descr(form))
    except (TypeError, ValueError, OverflowError, MemoryError, RecursionError) as error:
        raise GraphError(f"not a dtype: {shortened(form)}: {error}") from None


def _descr(form: Any) -> Any:
    """Return the form of a dtype with tuples where NumPy has them: fields, names with a title, and shapes."""
    if isinstance(form, str):
        if not _DTYPE_NAME.fullmatch(form):
            raise ValueError("there is no dtype of this name")
        return form
    if not isinstance(form, list) or not form:
        raise ValueError("a dtype must be a text, or a list of fields")
    return [(_field_name(name), _descr(of), *map(_shape, shape)) for name, of, *shape in form]


def _field_name(form: Any) -> Any:
    if isinstance(form, list) and all(isinstance(text, str) for text in form):
        return tuple(form)  # the title and the name
    if not isinstance(form, str):
        raise ValueError("the name of a field must be a text")
    return form


def _shape(form: Any) -> tuple[int, ...]:
    if not isinstance(form, list) or len(form) > 32 or any(type(n) is not int or n < 0 for n in form):
        raise GraphError(f"not a shape: {shortened(form)}")
    return tuple(form)


def array_form(array: np.ndarray[Any, Any]) -> Any:
    """Return the form of a NumPy array: dtype, shape, data."""
    if not array.dtype.itemsize and array.size > 1:
        raise GraphError(f"the dtype {array.dtype} cannot be written as data")
    return [dtype_form(array.dtype), list(array.shape), base64.b64encode(array.tobytes()).decode("ascii")]


def array_of(form: Any) -> np.ndarray[Any, Any]:
    """Return the array of a form: read-only, as large as the data are, and no larger."""
    if not isinstance(form, list) or len(form) != 3:
        raise GraphError("an array must be a list of dtype, shape and data")
    dtype, shape = dtype_of(form[0]), _shape(form[1])
    try:
        # The data are there before the array: its size is theirs, whatever shape the file claims.
        data = base64.b64decode(form[2], validate=True)
        size = math.prod(shape)
        if len(data) != size * dtype.itemsize or (not dtype.itemsize and size > 1):
            raise ValueError(f"{len(data)} bytes do not make the shape {shape} of dtype {dtype}")
        array = np.ndarray(shape, dtype, buffer=data)
    except (TypeError, ValueError) as error:
        raise GraphError(f"these are not the data of an array: {error}") from None
    if dtype.kind == "b" and array.view("u1").max(initial=0) > 1:
        raise GraphError("the bytes of a bool must be 0 or 1")
    if dtype.kind == "U" and data and np.frombuffer(data, dtype.str[0] + "u4").max() > 0x10FFFF:
        raise GraphError("the bytes of an array of texts are not text")
    return array


def scalar_form(scalar: np.generic) -> Any:
    """Return the form of a NumPy scalar: dtype, data."""
    dtype, _, data = array_form(np.asarray(scalar))  # of texts the dtype of a scalar does not fit its data
    back = scalar_of([dtype, data])
    if type(back) is not type(scalar) or back.tobytes() != scalar.tobytes():
        raise GraphError(
            f"this scalar of type {type(scalar).__name__} cannot be written as data: use one of a sized type"
        )
    return [dtype, data]


def scalar_of(form: Any) -> np.generic:
    """Return the NumPy scalar of a form."""
    if not isinstance(form, list) or len(form) != 2:
        raise GraphError("a scalar must be a list of dtype and data")
    scalar: Any = array_of([form[0], [], form[1]])[()]
    return scalar


def jax_array_form(array: jax.Array) -> Any:
    """Return the form of an array of JAX: dtype, shape, data, and whether its type is weak."""
    if jnp.issubdtype(array.dtype, jax.dtypes.extended):
        raise GraphError(f"an array of dtype {array.dtype} cannot be written as data: hold it in a State")
    if not array.is_fully_addressable:
        raise GraphError("an array of several processes cannot be written as data: hold it in a State")
    weak = bool(array.weak_type)
    if weak and array.ndim:
        raise GraphError("an array of weak type cannot be written as data: give it a dtype, `jnp.asarray(x, x.dtype)`")
    try:
        return [*array_form(np.asarray(array)), weak]
    except RuntimeError as error:  # given away to a compiled function
        raise GraphError(f"the array was deleted, and its data with it: {error}") from None


def jax_array_of(form: Any) -> jax.Array:
    """Return the array of JAX of a form: a new one each time."""
    if not isinstance(form, list) or len(form) != 4 or type(form[3]) is not bool:
        raise GraphError("an array of JAX must be a list of dtype, shape, data and whether its type is weak")
    data = array_of(form[:3])
    if form[3] and (data.ndim or type(data.item()) not in (int, float, complex)):
        raise GraphError("the type of such an array cannot be weak")
    try:
        with jax.ensure_compile_time_eval():
            array = jnp.asarray(data.item() if form[3] else data)
    except TypeError as error:
        raise GraphError(f"not an array of JAX: {error}") from None
    if array.dtype != data.dtype:
        raise GraphError(f"an array of JAX of dtype {data.dtype} needs `jax.config.update('jax_enable_x64', True)`")
    return array

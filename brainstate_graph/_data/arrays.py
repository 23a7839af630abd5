"""Arrays, NumPy scalars and dtypes as JSON forms, and back.

A form is what `json` writes as it is.  The data of an array are its bytes in C order, in base64; sizes are compared
with the length of the data before anything is allocated.
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

_OF_NUMPY = re.compile(r"[<>|][biufcSUMmV]\d+(\[\d*[a-zA-Zμ]+(/\d+)?\])?")
_OF_ML_DTYPES = re.compile(r"bfloat16|float\d+_\w+|u?int[124]")
_FIELDS: dict[str, Any] = {
    "names": (str,), "formats": (str, dict), "offsets": (int,), "titles": (str, type(None)), "itemsize": int
}  # fmt: skip
_NESTING = 8  # of structured dtypes


def shortened(form: Any) -> str:
    """Return the beginning of a form, for a message; of what may be nested deeply, the outermost level."""
    if isinstance(form, list):
        return f"a list of {len(form)}"
    text = repr(list(form) if isinstance(form, dict) else form)
    return text if len(text) <= 60 else text[:57] + "..."


def dtype_form(dtype: np.dtype[Any]) -> Any:
    """Return the form of a dtype: its string, the name of one of ``ml_dtypes``, or its fields."""
    if dtype.hasobject:
        raise GraphError(f"a dtype of Python objects ({dtype}) has no form")
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return {"of": dtype_form(base), "shape": list(shape)}
    if dtype.names is not None:
        fields: list[Any] = [dtype.fields[name] for name in dtype.names]  # type: ignore[index]
        return {
            "names": list(dtype.names),
            "formats": [dtype_form(field[0]) for field in fields],
            "offsets": [field[1] for field in fields],
            "titles": [field[2] if len(field) > 2 else None for field in fields],
            "itemsize": dtype.itemsize,
        }
    if dtype.type.__module__ == "ml_dtypes":
        return dtype.name
    return dtype.str


def dtype_of(form: Any, depth: int = 0) -> np.dtype[Any]:
    """Return the dtype of a form."""
    try:
        if isinstance(form, str):
            if _OF_NUMPY.fullmatch(form) or _OF_ML_DTYPES.fullmatch(form):
                return np.dtype(form)
        elif isinstance(form, dict) and depth < _NESTING:
            if form.keys() == {"of", "shape"}:
                return np.dtype((dtype_of(form["of"], depth + 1), _shape(form["shape"])))
            if form.keys() == _FIELDS.keys() and all(_fits(form[name], types) for name, types in _FIELDS.items()):
                fields: Any = {**form, "formats": [dtype_of(f, depth + 1) for f in form["formats"]]}
                return np.dtype(fields)
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        raise GraphError(f"no dtype: {shortened(form)}: {error}") from None
    raise GraphError(f"no dtype: {shortened(form)}")


def _fits(form: Any, types: tuple[type[Any], ...] | type[int]) -> bool:
    if isinstance(types, type):
        return type(form) is types
    return isinstance(form, list) and all(type(item) in types for item in form)


def _shape(form: Any) -> tuple[int, ...]:
    if not isinstance(form, list) or len(form) > 32 or any(type(n) is not int or n < 0 for n in form):
        raise GraphError(f"no shape: {shortened(form)}")
    return tuple(form)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _buffer(form: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return a read-only array over the data of a form; as large as the data are, and no larger."""
    try:
        data = base64.b64decode(form, validate=True)
        size = math.prod(shape)
        if len(data) != size * dtype.itemsize or (not dtype.itemsize and size > 1):
            raise GraphError(f"{len(data)} bytes of data do not make the shape {shape} of dtype {dtype}")
        array = np.ndarray(shape, dtype, buffer=data)
    except (TypeError, ValueError) as error:
        raise error if isinstance(error, GraphError) else GraphError(f"no data of an array: {error}") from None
    if array.dtype != dtype:
        raise GraphError(f"the dtype {dtype} has a shape of its own")
    if dtype.kind == "b" and array.view("u1").max(initial=0) > 1:
        raise GraphError("the bytes of a bool are 0 or 1")
    if dtype.kind == "U" and data and np.frombuffer(data, dtype.str[0] + "u4").max() > 0x10FFFF:
        raise GraphError("the text of an array is no text")
    return array


def array_form(array: np.ndarray[Any, Any]) -> Any:
    """Return the form of a NumPy array: dtype, shape, data."""
    form = [dtype_form(array.dtype), list(array.shape), _text(array.tobytes())]
    if dtype_of(form[0]) != array.dtype or (not array.dtype.itemsize and array.size > 1):
        raise GraphError(f"the dtype {array.dtype} has no form")
    return form


def array_of(form: Any) -> np.ndarray[Any, Any]:
    """Return the array of a form, read-only."""
    if not isinstance(form, list) or len(form) != 3:
        raise GraphError("an array is a list of dtype, shape and data")
    return _buffer(form[2], dtype_of(form[0]), _shape(form[1]))


def scalar_form(scalar: np.generic) -> Any:
    """Return the form of a NumPy scalar: dtype, data."""
    array = np.asarray(scalar)  # of texts the dtype of a scalar does not fit its data
    form = [dtype_form(array.dtype), _text(array.tobytes())]
    back = scalar_of(form)
    if type(back) is not type(scalar) or back.tobytes() != scalar.tobytes():
        raise GraphError(f"this scalar of type {type(scalar).__name__} has no form: use one of a sized type")
    return form


def scalar_of(form: Any) -> np.generic:
    """Return the NumPy scalar of a form."""
    if not isinstance(form, list) or len(form) != 2:
        raise GraphError("a scalar is a list of dtype and data")
    scalar = _buffer(form[1], dtype_of(form[0]), ())[()]
    if not isinstance(scalar, np.generic):
        raise GraphError(f"there is no scalar of dtype {shortened(form[0])}")
    return scalar


def jax_array_form(array: jax.Array) -> Any:
    """Return the form of an array of JAX: dtype, shape, data, and whether its type is weak."""
    if jnp.issubdtype(array.dtype, jax.dtypes.extended):
        raise GraphError(f"an array of dtype {array.dtype} has no form: hold it in a State")
    if not array.is_fully_addressable:
        raise GraphError("an array of several processes has no form: hold it in a State")
    weak = bool(array.weak_type)
    if weak and array.ndim:
        raise GraphError("an array of weak type has no form: give it a dtype, `jnp.asarray(x, x.dtype)`")
    try:
        return [*array_form(np.asarray(array)), weak]
    except RuntimeError as error:  # given away to a compiled function
        raise GraphError(f"the array has no data any more: {error}") from None


def jax_array_of(form: Any) -> jax.Array:
    """Return the array of JAX of a form: a new one each time."""
    if not isinstance(form, list) or len(form) != 4 or type(form[3]) is not bool:
        raise GraphError("an array of JAX is a list of dtype, shape, data and whether its type is weak")
    data = array_of(form[:3])
    if form[3] and (data.ndim or type(data.item()) not in (int, float, complex)):
        raise GraphError("the type of such an array cannot be weak")
    try:
        with jax.ensure_compile_time_eval():
            array = jnp.asarray(data.item() if form[3] else data)
    except TypeError as error:
        raise GraphError(f"no array of JAX: {error}") from None
    if array.dtype != data.dtype:
        raise GraphError(f"an array of JAX of dtype {data.dtype} needs `jax.config.update('jax_enable_x64', True)`")
    return array

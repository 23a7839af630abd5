"""The leaves of states as arrays that a file can hold, and back.

A leaf is an array and its *kind*: "" for an array of JAX, "weak" for one of weak type, "key <impl>" for typed random
keys (the array is their data), "numpy" for an array of NumPy, "scalar" for its scalars, and "int", "float", "bool",
"complex" for numbers of Python.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._core.arrays import is_key, weakly_typed

__all__ = ["DTYPES", "as_bytes", "as_jax", "empty_bytes", "from_array", "kind_of", "refusal", "to_arrays"]

_NAMES = (
    "bool int2 int4 int8 int16 int32 int64 uint2 uint4 uint8 uint16 uint32 uint64 bfloat16 float16 float32 float64 "
    "complex64 complex128 float4_e2m1fn float8_e3m4 float8_e4m3 float8_e4m3b11fnuz float8_e4m3fn float8_e4m3fnuz "
    "float8_e5m2 float8_e5m2fnuz float8_e8m0fnu"
)
DTYPES: dict[str, np.dtype[Any]] = {n: np.dtype(getattr(jnp, n)) for n in _NAMES.split() if hasattr(jnp, n)}
_KNOWN = frozenset(DTYPES.values())
# In bytes: what XLA on a CPU asks of an array that it takes over without a copy.
_ALIGNMENT = 64
_NUMBERS: dict[str, type[Any]] = {"int": int, "float": float, "bool": bool, "complex": complex}


def refusal(leaf: Any) -> str | None:
    """Say why a file cannot hold a leaf, and what to do; None where it can."""
    if isinstance(leaf, Tracer):
        return "is being traced: save outside of the compiled function"
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return "is a shape without a value: initialise or load the model first"
    if isinstance(leaf, jax.Array):
        if leaf.is_deleted():
            return "was donated, so its value is gone"
        if not (leaf.is_fully_addressable or leaf.is_fully_replicated):
            return "is spread over several processes: save it with `Checkpoints`"
        if is_key(leaf):
            return (
                None
                if isinstance(jax.random.key_impl(leaf), str)
                else "is a random key of an algorithm without a name, which a file cannot hold"
            )
    elif type(leaf) in _NUMBERS.values():
        return None
    elif not isinstance(leaf, np.generic) and type(leaf) not in (np.ndarray, np.memmap):
        kind = type(leaf).__name__
        return f"is a {kind}, but a file holds arrays and numbers: make it an attribute, or leave it out by a filter"
    if leaf.dtype not in _KNOWN or not leaf.dtype.isnative:
        return f"has the dtype {leaf.dtype.str}, which a file cannot hold: cast it"
    return None


def to_arrays(leaves: Iterable[Any]) -> list[tuple[np.ndarray[Any, Any], str]]:
    """Return the array and the kind of each leaf."""
    kinds = [kind_of(leaf) for leaf in leaves]
    data = [jax.random.key_data(leaf) if is_key(leaf) else leaf for leaf in leaves]
    # All at once, so that transfers overlap; on a CPU without a copy.
    found = jax.device_get(data)
    return [(_contiguous(_number(x) if kind in _NUMBERS else x), kind) for x, kind in zip(found, kinds, strict=True)]


def kind_of(leaf: Any) -> str:
    """Return the kind of a leaf that `refusal` does not refuse."""
    if isinstance(leaf, jax.Array):
        return f"key {jax.random.key_impl(leaf)}" if is_key(leaf) else "weak" * leaf.weak_type
    if isinstance(leaf, np.ndarray):
        return "numpy"
    return "scalar" if isinstance(leaf, np.generic) else type(leaf).__name__


def _number(value: Any) -> np.ndarray[Any, Any]:
    if type(value) is complex:
        return np.array([value.real, value.imag])
    # A Python int has no largest value: a long one is kept as its bytes.
    if type(value) is int and not -(2**63) <= value < 2**63:
        return np.frombuffer(value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True), np.uint8)
    return np.array(value)


def _contiguous(array: Any) -> np.ndarray[Any, Any]:
    # `ascontiguousarray` makes a vector of a single number, so the shape is given back.
    return np.ascontiguousarray(array).reshape(np.shape(array))


def from_array(array: np.ndarray[Any, Any], kind: str) -> Any:
    """Return the leaf of this kind; arrays stay in NumPy where that has such ones.

    Raises:
        ValueError: It is none.
    """
    if kind in ("", "numpy"):
        return array
    if kind == "weak":
        return weakly_typed(array)
    if kind == "scalar":
        if array.ndim:
            raise ValueError("a scalar has no axes")
        return array[()]
    if kind.startswith("key "):
        if array.dtype != np.uint32:
            raise ValueError("the data of random keys are uint32")
        return jax.random.wrap_key_data(jnp.asarray(array), impl=kind.removeprefix("key "))
    if kind == "complex" and array.dtype == np.float64 and array.shape == (2,):
        return complex(*array.tolist())
    if kind == "int" and array.dtype == np.uint8 and array.ndim == 1:
        return int.from_bytes(array.tobytes(), "little", signed=True)
    if kind in _NUMBERS and not array.ndim and type(array.item()) is _NUMBERS[kind]:
        return array.item()
    raise ValueError(f"{array.dtype}{list(array.shape)} is not of the kind {kind!r}")


def as_jax(leaf: Any, kind: str) -> Any:
    """Return a leaf as it was where there is no state that it goes to: arrays of JAX on the default device.

    Raises:
        ValueError: JAX has no such dtype as it is set.
    """
    if kind == "numpy":
        return np.array(leaf)
    if kind not in ("", "weak"):
        return leaf
    if jax.dtypes.canonicalize_dtype(leaf.dtype) != leaf.dtype:
        raise ValueError(f'{leaf.dtype} needs `jax.config.update("jax_enable_x64", True)`')
    return jnp.asarray(leaf)


def as_bytes(array: np.ndarray[Any, Any]) -> memoryview:
    """Return the bytes of an array in the order of C, not a copy; NumPy lends those of bfloat16 to nobody."""
    return array.reshape(-1).view(np.uint8).data


def empty_bytes(size: int) -> np.ndarray[Any, Any]:
    """Return bytes to be filled; aligned so that JAX on a CPU takes them over without a copy."""
    room = np.empty(size + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    return room[start : start + size]

"""The rule by which a new value fits a state: the structure, shapes and dtypes of the value that is there.

Arrays of NumPy and JAX, and what stands for one while a function is traced, are equal here.  A Python number has no
dtype: any number may replace it, and it may replace an array without axes whose dtype has room for it.  A bool is no
number.  A state that holds None takes anything.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr

from .._core.values import detached
from .._tools.words import describe

__all__ = ["fitted"]

# The numbers of Python, each with the sort of dtype that it stands for, and with those that have room for it.
_SORTS: dict[type[Any], Any] = {
    bool: jnp.bool_,
    int: jnp.integer,
    float: jnp.floating,
    complex: jnp.complexfloating,
}
_WIDER: dict[type[Any], tuple[type[Any], ...]] = {
    bool: (bool,),
    int: (int, float, complex),
    float: (float, complex),
    complex: (complex,),
}


def fitted(now: Any, new: Any) -> tuple[Any, list[str], bool]:
    """Return what to write, and what is wrong with it.

    Args:
        now: The current value.
        new: The value that shall replace it.

    Returns:
        The new value, its numbers of the types that the current one has; all that does not fit, in words where
        ``{path}`` stands for the path of the value; whether that is nothing worse than a shape or dtype.
    """
    # As nearly always, and nothing needs to be flattened for it.
    if isinstance(now, jax.Array) and isinstance(new, jax.Array) and now.shape == new.shape and now.dtype == new.dtype:
        return new, [], True
    if now is None:
        return detached(new), [], True
    before, structure = jax.tree.flatten(now)
    after, other = jax.tree.flatten(new)
    if structure != other:
        shown = describe(now), describe(new)
        expected, got = shown if shown[0] != shown[1] else (str(structure), str(other))
        return new, [f"wrong structure: {{path}} is {expected}, not {got}"], False
    pairs = [_fitted_leaf(x, y) for x, y in zip(before, after, strict=True)]
    wrong: list[str] = []
    if any(words for _, words in pairs):
        paths = [keystr(path, simple=True, separator=".") for path, _ in jax.tree_util.tree_leaves_with_path(now)]
        wrong = [
            f"{words}: {{path}}{path and '.' + path} is {describe(x)}, not {describe(y)}"
            for path, x, y, (_, words) in zip(paths, before, after, pairs, strict=True)
            if words
        ]
    return jax.tree.unflatten(structure, [value for value, _ in pairs]), wrong, True


def _fitted_leaf(now: Any, new: Any) -> tuple[Any, str]:
    if type(now) in _SORTS:
        return _for_number(now, new)
    if not _is_array(now):  # a string, or what else a state holds that is no array
        return new, ""
    if type(new) in _SORTS:
        return _number_for_array(now, new)
    if not _is_array(new):
        return new, "wrong value"
    if isinstance(new, jax.ShapeDtypeStruct) and not isinstance(now, jax.ShapeDtypeStruct):
        return new, "no value"
    if tuple(now.shape) != tuple(new.shape):
        return new, "wrong shape"
    return new, "" if _dtype(now) == _dtype(new) else "wrong dtype"


def _for_number(now: Any, new: Any) -> tuple[Any, str]:
    kind = type(now)
    if type(new) in _SORTS:
        if kind in _WIDER[type(new)]:
            return kind(new), ""  # an int becomes the float that was there, so that nothing is compiled anew
        return new, "" if bool not in (kind, type(new)) else "wrong dtype"
    if not _is_array(new):
        return new, "wrong value"
    if isinstance(new, jax.ShapeDtypeStruct):
        return new, "no value"
    if tuple(new.shape) != ():
        return new, "wrong shape"
    return new, "" if jnp.issubdtype(new.dtype, jnp.bool_ if kind is bool else jnp.number) else "wrong dtype"


def _number_for_array(now: Any, new: Any) -> tuple[Any, str]:
    if tuple(now.shape) != ():
        return new, "wrong shape"
    if not any(jnp.issubdtype(now.dtype, _SORTS[kind]) for kind in _WIDER[type(new)]):
        return new, "wrong dtype"
    try:
        like = np.asarray if isinstance(now, (np.ndarray, np.generic)) else jnp.asarray
        return like(new, dtype=now.dtype), ""
    except OverflowError:
        return new, "wrong dtype"


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")


def _dtype(leaf: Any) -> Any:
    """The dtype that JAX gives to it: it takes the float64 of NumPy for float32 unless told otherwise."""
    dtype = leaf.dtype
    return jax.dtypes.canonicalize_dtype(dtype) if isinstance(dtype, np.dtype) and dtype.kind in "biufc" else dtype

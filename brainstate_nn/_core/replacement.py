"""Replacements: a value from a file or another framework takes the place of a live array.

It has to have the shape and the dtype of that one, by a cast if the user allows it. It becomes the same sort of thing
(NumPy or JAX, of weak type or not) and goes to the same devices. It is about single arrays, and writes no state: who
calls collects the problems of a whole model first.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from brainstate_graph.extend import deleted_leaf

from .arrays import is_key, uncommitted, weakly_typed

__all__ = ["aval_text", "put", "replacement"]

_KINDS = (jnp.bool, jnp.integer, jnp.floating, jnp.complexfloating)


def aval_text(item: Any) -> str:
    """Spell what must agree between a value and its replacement: dtype and shape, or the type of a Python number."""
    return f"{item.dtype}{list(item.shape)}" if hasattr(item, "dtype") else f"a Python {type(item).__name__}"


def replacement(name: str, live: Any, given: Any, cast: bool, problems: list[str]) -> Any:
    """Return what takes the place of an array.

    Args:
        name: The name of the array, for messages.
        live: The array.
        given: The value from elsewhere.
        cast: Whether it may be cast to the dtype of `live`.
        problems: Where to note that it does not fit; None is returned then.
    """
    if deleted_leaf(given) is not None:
        problems.append(f"{name} is given an array that was deleted, as it was donated to a compiled call")
        return None
    if aval_text(given) != aval_text(live):
        new = _cast(live, given)
        fits = aval_text(new) == aval_text(live)
        if not (cast and fits):
            hint = " (`cast=True` casts it)" * fits
            problems.append(f"{name} is {aval_text(live)} in the model, {aval_text(given)} in the data{hint}")
            return None
        given = new
    return _as_sort_of(live, given)


def _cast(live: Any, given: Any) -> Any:
    """Return the value in the dtype of the model, where both are floats, or whole numbers that fit; else as it is."""
    if is_key(given) or not isinstance(given, (jax.Array, np.ndarray, np.generic, int, float, complex)):
        return given
    number = not hasattr(live, "dtype")
    # A Python int may be of 64 bits, which JAX has only where it was asked for them.
    dtype = np.asarray(live).dtype if number else live.dtype
    array = given if isinstance(given, jax.Array) and hasattr(live, "sharding") else np.asarray(given)
    for kind in _KINDS:
        if jnp.issubdtype(array.dtype, kind) and jnp.issubdtype(dtype, kind):
            # Within one kind of number only: a float that becomes an integer, or a real number that becomes complex, is
            # rarely meant.
            new = array.astype(dtype)
            # Compared both ways: the cast of 2**31 to int32 is negative, and -1 equals 2**32 - 1 once both are
            # unsigned.
            if kind is jnp.integer and not ((new == array).all() and ((new < 0) == (array < 0)).all()):
                return given
            return new.item() if number and not new.ndim else new
    return given


def _as_sort_of(live: Any, given: Any) -> Any:
    """Return `given` as the same sort of thing as `live`, on the same devices."""
    if isinstance(live, np.ndarray):
        return np.array(given)
    if isinstance(live, np.generic):
        return np.asarray(given)[()]
    if isinstance(live, Tracer) or not hasattr(live, "sharding"):
        return jnp.asarray(given) if hasattr(live, "dtype") else given
    given = given if is_key(live) else _as_strongly_typed(live, given)
    if isinstance(live, jax.Array):
        return put(given, live.sharding) if live.committed else _as_uncommitted(given)
    # a ShapeDtypeStruct of a model of shapes
    return jnp.asarray(given) if live.sharding is None else put(given, live.sharding)


def put(given: Any, sharding: Any) -> jax.Array:
    """Put an array on devices; random keys too where other processes have some of these, which JAX 0.12 refuses."""
    if is_key(given) and not isinstance(given, Tracer) and not sharding.is_fully_addressable:
        data = jax.device_put(jax.random.key_data(given), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(given))
    return jax.device_put(given, sharding)


def _as_strongly_typed(live: Any, given: Any) -> Any:
    """Return `given` of weak type where `live` is, and of none where it is not."""
    if live.weak_type == getattr(given, "weak_type", False):
        return given
    return weakly_typed(given) if live.weak_type else jax.lax.convert_element_type(given, given.dtype)


def _as_uncommitted(given: Any) -> Any:
    if not isinstance(given, jax.Array) or isinstance(given, Tracer) or not given.committed:
        return jnp.asarray(given)
    # An array on several devices was put there on purpose.
    if len(given.sharding.device_set) > 1:
        return given
    return uncommitted(given)

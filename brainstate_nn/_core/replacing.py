"""One array in the place of another: does it fit, may it be cast, and where does it go?"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .placing import free, is_key, weak

__all__ = ["describe", "fitted", "put"]


def describe(item: Any) -> str:
    """Say what must agree between a value and the one that takes its place."""
    return f"{item.dtype}{list(item.shape)}" if hasattr(item, "dtype") else f"a Python {type(item).__name__}"


def fitted(name: str, live: Any, given: Any, cast: bool, problems: list[str]) -> Any:
    """Return the new value of one array, as the same sort of thing as `live`; note what does not fit."""
    if describe(given) != describe(live):
        new = _cast(live, given)
        fits = describe(new) == describe(live)
        if not (cast and fits):
            hint = " (`cast=True` casts it)" * fits
            problems.append(f"{name} is {describe(live)} in the model, {describe(given)} in the data{hint}")
            return None
        given = new
    return _placed(live, given)


def _cast(live: Any, given: Any) -> Any:
    """Return the data in the dtype of the model, where both are floats, or whole numbers that fit; else as it is."""
    if is_key(given) or not isinstance(given, (jax.Array, np.ndarray, np.generic, int, float, complex)):
        return given
    number = not hasattr(live, "dtype")
    dtype = np.asarray(live).dtype if number else live.dtype  # a Python int may be of 64 bits, which JAX has not
    array = given if isinstance(given, jax.Array) and hasattr(live, "sharding") else np.asarray(given)
    for kind in (jnp.bool, jnp.integer, jnp.floating, jnp.complexfloating):
        if jnp.issubdtype(array.dtype, kind) and jnp.issubdtype(dtype, kind):
            new = array.astype(dtype)
            if kind is jnp.integer and not ((new == array).all() and ((new < 0) == (array < 0)).all()):
                return given
            return new.item() if number and not new.ndim else new
    return given


def _placed(live: Any, given: Any) -> Any:
    """Return `given` as the same sort of thing as `live`, on the same devices."""
    if isinstance(live, np.ndarray):
        return np.array(given)
    if isinstance(live, np.generic):
        return np.asarray(given)[()]
    if isinstance(live, Tracer) or not hasattr(live, "sharding"):
        return jnp.asarray(given) if hasattr(live, "dtype") else given
    given = given if is_key(live) else _alike(live, given)
    if isinstance(live, jax.Array):
        return put(given, live.sharding) if live.committed else _free(given)
    return jnp.asarray(given) if live.sharding is None else put(given, live.sharding)


def put(given: Any, sharding: Any) -> jax.Array:
    """Put an array on devices; random keys too where other processes have some of these, which JAX 0.12 refuses."""
    if is_key(given) and not isinstance(given, Tracer) and not sharding.is_fully_addressable:
        data = jax.device_put(jax.random.key_data(given), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(given))
    return jax.device_put(given, sharding)


def _alike(live: Any, given: Any) -> Any:
    """Give way to other dtypes where `live` does: what is computed from it, and JAX's cache, depend on it."""
    if live.weak_type == getattr(given, "weak_type", False):
        return given
    return weak(given) if live.weak_type else jax.lax.convert_element_type(given, given.dtype)


def _free(given: Any) -> Any:
    """Return an array that may move: where none was put anywhere, JAX's cache is asked for such ones."""
    if not isinstance(given, jax.Array) or isinstance(given, Tracer) or not given.committed:
        return jnp.asarray(given)
    if len(given.sharding.device_set) > 1:  # it was put there on purpose
        return given
    return free(given)

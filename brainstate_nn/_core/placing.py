"""What an array is besides its numbers: a key or none, put somewhere or free to move, of a dtype that gives way."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

__all__ = ["free", "is_key", "no_mesh", "weak"]


def is_key(leaf: Any) -> bool:
    """Tell whether this is an array of typed random keys."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def no_mesh() -> Any:
    """Return a context in which no mesh is set, so that what is made lies on none."""
    return jax.set_mesh(Mesh(np.empty((), object), ()))


def free(array: jax.Array) -> jax.Array:
    """Return an array that this process has whole as one that was put nowhere; on a CPU nothing is copied."""
    if is_key(array):
        return jax.random.wrap_key_data(free(jax.random.key_data(array)), impl=jax.random.key_impl(array))
    return jax.device_put(np.asarray(array))  # `jnp.asarray` would put it on the mesh that is set


def weak(array: Any) -> Any:
    """Return an array whose dtype gives way to others, as that of a Python number does, where JAX has such a dtype."""
    like = jnp.full(array.shape, {"b": False, "i": 0, "c": 0j}.get(array.dtype.kind, 0.0))
    return like.at[...].set(array) if like.dtype == array.dtype else array  # which keeps the type of what was there

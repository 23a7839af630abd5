"""Arrays beside their numbers: random keys, committed to devices or free to move, strongly or weakly typed.

JAX compiles another program for a *committed* array than for one that may move, and promotes a *weakly typed* one, such
as what a Python number became, to the dtype of what it meets. So a value that takes the place of another one has to
agree with it in both, or every compiled function that reads it is compiled again.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

__all__ = ["is_key", "no_mesh", "uncommitted", "weakly_typed"]


def is_key(leaf: Any) -> bool:
    """Tell whether this is an array of typed random keys."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def no_mesh() -> Any:
    """Return a context in which no mesh is set, so that what is made lies on none."""
    return jax.set_mesh(Mesh(np.empty((), object), ()))


def uncommitted(array: jax.Array) -> jax.Array:
    """Return an array that this process has whole as one that may move; on a CPU nothing is copied."""
    if is_key(array):
        return jax.random.wrap_key_data(uncommitted(jax.random.key_data(array)), impl=jax.random.key_impl(array))
    # `jnp.asarray` would put it on the mesh that is set
    return jax.device_put(np.asarray(array))


def weakly_typed(array: Any) -> Any:
    """Return an array of weak type, where JAX has one of its dtype."""
    like = jnp.full(array.shape, {"b": False, "i": 0, "c": 0j}.get(array.dtype.kind, 0.0))
    # JAX has no public way to ask for a weak type; an update keeps that of what it updates.
    return like.at[...].set(array) if like.dtype == array.dtype else array

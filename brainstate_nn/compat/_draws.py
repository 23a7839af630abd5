"""What the functions of `random` share: keys, shapes and dtypes as NumPy has them, and checks."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import random as jr
from jax.core import Tracer

from .._core.random import RandomState, RandomStreams, as_key, split_key
from .environ import dftype, ditype

__all__ = [
    "Size", "chances", "check", "check_chance", "drawn", "key_of", "keys", "moved", "next_key", "real", "reals",
    "shape_of", "until_accepted", "whole", "wide",
]  # fmt: skip

Size = int | Sequence[int] | None


def key_of(key: Any) -> jax.Array:
    """Return a typed key: of a seed, of one, of the numbers of one, or the next one of a stream."""
    if isinstance(key, (RandomState, RandomStreams)):
        return key.split_key()
    if isinstance(key, (jax.Array, np.ndarray)) and jnp.issubdtype(key.dtype, jnp.integer):
        if key.size == 1:
            return jr.key(jnp.reshape(jnp.asarray(key), ()))
        if key.dtype == np.uint32 and key.ndim == 1:  # nothing tells of which algorithm: it is the default one of JAX
            return jr.wrap_key_data(jnp.asarray(key))
    return as_key(key)


def next_key(key: Any) -> jax.Array:
    return split_key() if key is None else key_of(key)


def drawn(sampler: Callable[..., Any], key: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a sampler of JAX with a key, which is taken after the arguments were computed, and so checked."""
    return sampler(next_key(key), *args, **kwargs)


def keys(key: Any, n: int) -> jax.Array:
    return jr.split(next_key(key), n)


def shape_of(size: Size, *arguments: Any) -> tuple[int, ...]:
    """Return the shape of a result: what is asked for, which has room for the arguments, or else the shape of these."""
    of_arguments = jnp.broadcast_shapes(*[np.shape(each) for each in arguments if each is not None])
    if size is None:
        return of_arguments
    try:
        shape = tuple(map(operator.index, size)) if isinstance(size, Iterable) else (operator.index(size),)
    except TypeError:
        raise TypeError(f"size takes a whole number or several, not {size!r}: write `size=(2, 3)`") from None
    if min(shape, default=0) < 0:
        raise ValueError(f"size takes numbers of 0 or more, not {size!r}")
    axes = zip(reversed(of_arguments), reversed(shape), strict=False)
    if len(of_arguments) > len(shape) or not all(n in (1, room) for n, room in axes):
        raise ValueError(f"size={size!r} does not fit arguments of shape {of_arguments}")
    return shape


def real(dtype: Any) -> Any:
    return dftype() if dtype is None else dtype


def wide(dtype: Any) -> Any:
    """Return the dtype to compute in where fewer than 32 bits are too few: linear algebra has none, and chances lie."""
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32


def whole(dtype: Any) -> Any:
    return ditype() if dtype is None else dtype


def reals(dtype: Any, *arguments: Any) -> list[jax.Array]:
    return [jnp.asarray(each, real(dtype)) for each in arguments]


def chances(*arguments: Any) -> list[jax.Array]:
    return reals(wide(dftype()), *arguments)


def moved(sample: jax.Array, loc: Any, scale: Any) -> jax.Array:
    if scale is not None:
        sample = sample * jnp.asarray(scale, sample.dtype)
    return sample if loc is None else sample + jnp.asarray(loc, sample.dtype)


def check(name: str, value: Any, holds: Callable[[Any], Any], words: str, shown: Any = None) -> None:
    """Refuse a value for which something does not hold; `shown` is what the user gave, where that is another."""
    if not isinstance(value, Tracer) and not np.all(holds(np.asarray(value))):
        raise ValueError(f"{name} {words}, not {value if shown is None else shown}")


def check_chance(name: str, p: Any) -> None:
    check(name, p, lambda p: (p >= 0) & (p <= 1), "must be between 0 and 1")


def until_accepted(key: jax.Array, shape: tuple[int, ...], dtype: Any, propose: Callable[[jax.Array], Any]) -> Any:
    """Draw by rejection: `propose` returns numbers, and which of them are accepted."""

    def step(carry: Any) -> Any:
        key, value, done = carry
        key, fresh = jr.split(key)
        new, accepted = propose(fresh)
        return key, jnp.where(done, value, new), done | accepted

    start = key, jnp.zeros(shape, dtype), jnp.zeros(shape, bool)
    return jax.lax.while_loop(lambda carry: ~jnp.all(carry[2]), step, start)[1]

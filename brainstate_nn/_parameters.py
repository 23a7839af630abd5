"""What layers have in common: how they make their parameters, and in which dtype they compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ._random import RandomState, default_rng
from ._states import ParamState

__all__ = [
    "Initializer",
    "along_axis",
    "as_dtype",
    "check_features",
    "common_dtype",
    "lecun_normal",
    "make_parameter",
    "per_axis",
    "positive",
    "promote",
]

Initializer = Callable[[jax.Array, tuple[int, ...], Any], jax.Array]

lecun_normal: Initializer = jax.nn.initializers.lecun_normal()


def make_parameter(
    argument: str, init: Initializer, shape: tuple[int, ...], dtype: Any, rng: RandomState | None
) -> ParamState:
    """Make a parameter with an initialiser, which is used here and not kept.

    A layer that kept it would compare by it, and two layers alike but for their first values would be two programs.

    Args:
        argument: What the layer calls the initialiser, for messages.
        init: A callable ``(key, shape, dtype) -> array``.
        shape: The shape of the parameter.
        dtype: The dtype of the parameter.
        rng: The stream that gives the key; None for the default one.
    """
    if not callable(init):
        raise TypeError(
            f"{argument} must be a function (key, shape, dtype) -> array, not {type(init).__name__}: "
            f"write `{argument}=jax.nn.initializers.constant(0.1)`"
        )
    value = init((default_rng() if rng is None else rng).split_key(), shape, jnp.dtype(dtype))
    if jnp.shape(value) != shape:
        raise ValueError(f"{argument} returned an array of shape {jnp.shape(value)} where the layer needs {shape}")
    return ParamState(value)


def as_dtype(dtype: Any) -> Any:
    """Spell a dtype in one way, so that ``jnp.float32`` and ``"float32"`` make the same program."""
    return None if dtype is None else jnp.dtype(dtype)


def promote(*arrays: Any, dtype: Any = None) -> list[Any]:
    """Bring arrays to one inexact dtype.

    Args:
        *arrays: Arrays or numbers; None stays None.
        dtype: The dtype to compute in; None for the one that JAX's promotion gives.
    """
    if dtype is None:
        dtype = common_dtype(*arrays)
    return [None if a is None else jnp.asarray(a, dtype) for a in arrays]


def common_dtype(*arrays: Any) -> Any:
    """Return the inexact dtype that JAX's promotion gives for these arrays; None among them does not count."""
    dtype = jnp.result_type(*[a for a in arrays if a is not None])
    return dtype if jnp.issubdtype(dtype, jnp.inexact) else jnp.promote_types(jnp.float32, dtype)


def along_axis(vector: jax.Array, ndim: int, axis: int = -1) -> jax.Array:
    """Shape a vector so that it stands along `axis` of an array with `ndim` axes.

    Broadcasting would do it silently for the last axis, and raises where the user asked JAX for strict ranks.
    """
    shape = [1] * ndim
    shape[axis] = vector.shape[0]
    return vector.reshape(shape)


def check_features(x: jax.Array, size: int, layer: str, axis: int = -1) -> None:
    """Raise if `x` has not `size` features along `axis`."""
    if x.ndim == 0 or not -x.ndim <= axis < x.ndim or x.shape[axis] != size:
        raise ValueError(f"{layer} expects {size} features along axis {axis}; the input has shape {x.shape}")


def positive(name: str, value: Any) -> int:
    """Return `value` as a positive int, or raise with its name."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value.__index__() < 1:
        raise ValueError(f"{name} must be a positive whole number, not {value!r}")
    return int(value.__index__())


def per_axis(name: str, value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """Return one positive int per spatial axis: a single one stands for all."""
    values = [value] * rank if hasattr(value, "__index__") else list(value)  # type: ignore[arg-type]
    if len(values) != rank:
        raise ValueError(f"{name} must be one number or {rank} of them, one for each spatial axis, not {value!r}")
    return tuple(positive(name, v) for v in values)

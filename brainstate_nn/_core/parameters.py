"""Parameters: how layers make theirs with an initialiser."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .arguments import as_param_dtype
from .random import Rng, stream_of
from .states import ParamState

__all__ = ["Initializer", "lecun_normal", "make_parameter"]

Initializer = Callable[[jax.Array, tuple[int, ...], Any], jax.Array]

lecun_normal: Initializer = jax.nn.initializers.lecun_normal()


def make_parameter(
    argument: str,
    init: Initializer,
    shape: tuple[int, ...],
    dtype: Any,
    rng: Rng,
    kind: type[ParamState] = ParamState,
    contracted: Sequence[int] | None = None,
) -> ParamState:
    """Make a parameter with an initialiser, which is used here and not kept.

    A layer that kept it would compare by it, and two layers alike but for their first values would be two programs.

    Args:
        argument: What the layer calls the initialiser, for messages.
        init: A callable ``(key, shape, dtype) -> array``.
        shape: The shape of the parameter.
        dtype: The dtype of the parameter.
        rng: The stream that gives the key, or the streams whose `params` does; None for the default one.
        kind: The class of the state.
        contracted: The axes over which the layer sums. An initialiser takes the last axis but one for these, so where
            they are others, or several, it is asked for a matrix, these axes by all the rest, which is then reshaped.
    """
    if not callable(init):
        raise TypeError(
            f"{argument} must be a function (key, shape, dtype) -> array, not {type(init).__name__}: "
            f"write `{argument}=jax.nn.initializers.constant(0.1)`"
        )
    asked, order = shape, list(range(len(shape)))
    if contracted is not None:
        order = [*contracted, *(i for i in order if i not in contracted)]
        inputs = math.prod(shape[i] for i in contracted)
        asked = (inputs, math.prod(shape) // inputs)
    value = init(stream_of(rng, "params").split_key(), asked, as_param_dtype(dtype))
    if jnp.shape(value) != asked:
        raise ValueError(f"{argument} returned an array of shape {jnp.shape(value)} where the layer needs {asked}")
    if contracted is not None:
        value = jnp.moveaxis(jnp.reshape(value, [shape[i] for i in order]), range(len(shape)), order)
    return kind(value)

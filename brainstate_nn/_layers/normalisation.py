"""``Normalisation``: the abstract base of all normalisations, and the statistics that they take.

A normalisation computes ``(x - mean) / sqrt(var + epsilon) * weight + bias``. They differ in the axes that mean and
variance are taken over, and in whether these are of the input or remembered. Statistics are gathered in single
precision at least.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph.extend import describe, locate

from .._core.arguments import as_dtype, as_positive
from .._core.inputs import as_mask, at_least_float32, common_dtype, squared_magnitude
from .._core.module import Module
from .._core.parameters import Initializer, make_parameter
from .._core.random import Rng
from .._core.states import ParamState

__all__ = ["Normalisation", "mask_of_elements", "mean_and_var", "mean_of"]


def mask_of_elements(mask: Any, x: jax.Array, layer: Module, axis: int = -1) -> jax.Array | None:
    """Return where elements of `x` count, with as many axes as `x` has, or raise with the path of the layer.

    Args:
        mask: True where an element counts, of a shape that fits `x` or fits it without `axis`; None for everywhere.
        x: The input.
        layer: The layer.
        axis: The axis of the features.
    """
    if mask is None:
        return None
    mask = given = as_mask(mask, layer, "True and False for `mask`, which is {}: write `mask > 0`")
    # A mask without the features stands for all of them.
    if mask.ndim == x.ndim - 1:
        mask = jnp.expand_dims(mask, axis)
    if mask.ndim != x.ndim or any(m not in (1, n) for m, n in zip(mask.shape, x.shape, strict=True)):
        raise ValueError(f"{locate(layer)} takes a `mask` that fits `x`, which is {describe(x)}, not {describe(given)}")
    return mask


def mean_of(
    x: jax.Array, axes: Sequence[int], mask: jax.Array | None = None, axis_name: Any = None
) -> tuple[jax.Array, Any]:
    """Return the mean over axes, which stay with one element, and of how many elements it is.

    Of no elements at all it is 0. With a mapped axis, sums and numbers are added up before they are divided: lanes
    where the mask leaves more elements weigh more.
    """
    count: Any = math.prod(x.shape[axis] for axis in axes)
    if mask is not None:
        x = jnp.where(mask, x, jnp.zeros((), x.dtype))
        count = jnp.sum(jnp.broadcast_to(mask, x.shape), axes, keepdims=True)
    total = jnp.sum(x, axes, keepdims=True)
    if axis_name is not None:
        # Sums and numbers, and not means: a lane in which more elements count weighs more.
        total, count = jax.lax.psum((total, count), axis_name)
    return total / (max(count, 1) if isinstance(count, int) else jnp.maximum(count, 1).astype(total.dtype)), count


def mean_and_var(
    x: jax.Array, axes: Sequence[int], mask: jax.Array | None = None, axis_name: Any = None
) -> tuple[jax.Array, jax.Array, Any]:
    """Return mean and biased variance over axes, which stay with one element, and of how many elements they are."""
    mean, count = mean_of(x, axes, mask, axis_name)
    if mask is not None:
        # What does not count may be infinite. `mean_of` leaves it out, but its square would make the gradient nan.
        x = jnp.where(mask, x, jnp.zeros((), x.dtype))
    # The mean of the squares minus the square of the mean would lose all digits of a variance below 1e-7 of it.
    var, _ = mean_of(squared_magnitude(x - mean), axes, mask, axis_name)
    return mean, var, count


class Normalisation(Module):
    """The abstract base of normalisations: scale and offset, and the last steps of the computation.

    A subclass sets the attributes by `_make`, finds mean and variance in its call, and ends it with `_apply`.
    """

    epsilon: float
    dtype: Any
    weight: ParamState | None
    bias: ParamState | None

    def _make(
        self,
        shape: tuple[int, ...],
        epsilon: float,
        w_init: Initializer | None,
        b_init: Initializer | None,
        dtype: Any,
        param_dtype: Any,
        rng: Rng,
    ) -> None:
        """Set the attributes; no initialiser means no parameter."""
        self.epsilon = as_positive("epsilon", epsilon)
        self.dtype = as_dtype(dtype)
        self.weight = None if w_init is None else make_parameter("w_init", w_init, shape, param_dtype, rng)
        self.bias = None if b_init is None else make_parameter("b_init", b_init, shape, param_dtype, rng)

    def _apply(
        self, x: jax.Array, mean: jax.Array | None, var: jax.Array, shape: Sequence[int], scale_offset: float = 0.0
    ) -> jax.Array:
        """Normalise in at least single precision, scale and shift.

        Args:
            x: The input, as it was given.
            mean: What to take away, with as many axes; None for nothing.
            var: What to divide by the root of, with as many axes.
            shape: The shape that the parameters have beside `x`.
            scale_offset: What is added to `weight` before it multiplies.
        """
        weight = None if self.weight is None else self.weight.value
        bias = None if self.bias is None else self.bias.value
        dtype = common_dtype(x, weight, bias) if self.dtype is None else self.dtype
        x = at_least_float32(x)
        factor = jax.lax.rsqrt(var.astype(x.real.dtype) + self.epsilon)
        if weight is not None:
            # Into the factor first, which is smaller than the input: one product of the full size instead of two.
            scale = weight.reshape(shape).astype(x.dtype)
            factor = factor * (scale + scale_offset if scale_offset else scale)
        y = (x if mean is None else x - mean.astype(x.dtype)) * factor.astype(x.dtype)
        return (y if bias is None else y + bias.reshape(shape).astype(x.dtype)).astype(dtype)

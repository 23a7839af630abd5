"""Adaptive pooling: the size of the result is given, and the windows are as long as it takes.

So a model that ends in it takes images of any size. Where the size of the window is what is known, use `pool`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brainstate_graph import Node
from brainstate_graph.extend import describe

from .._core.arguments import as_size
from .._core.inputs import as_input, at_least_float32
from .._core.module import Module
from .windows import caller_name, rank_of_window

__all__ = ["AdaptiveAvgPool", "AdaptiveMaxPool", "adaptive_avg_pool", "adaptive_max_pool"]

OutputSize = Sequence[int | None]
Reduce = Callable[[jax.Array, int, Any], jax.Array]


def _as_output_size(output_size: OutputSize) -> tuple[int | None, ...]:
    rank_of_window("output_size", output_size, f"`({output_size}, {output_size})`")
    return tuple(None if size is None else as_size("output_size", size) for size in output_size)


def _pooled(x: jax.Array, output_size: OutputSize, reduce: Reduce, caller: Node | str) -> jax.Array:
    """Pool one axis after another, which is the same as all at once for means and for maxima."""
    sizes = _as_output_size(output_size)
    if x.ndim <= len(sizes) or 0 in x.shape[-len(sizes) - 1 : -1]:
        raise ValueError(
            f"{caller_name(caller)} needs `x` with {len(sizes)} spatial axes, none of them empty, and then the "
            f"channels, not {describe(x)}"
        )
    for axis, size in enumerate(sizes, x.ndim - len(sizes) - 1):
        if size is not None and size != x.shape[axis]:
            x = _along(x, axis, size, reduce)
    return x


def _along(x: jax.Array, axis: int, size: int, reduce: Reduce) -> jax.Array:
    n = x.shape[axis]
    if n % size == 0:
        return reduce(x.reshape((*x.shape[:axis], size, n // size, *x.shape[axis + 1 :])), axis + 1, None)
    # Window i has the elements from floor(i n / size) up to ceil((i + 1) n / size), so that windows may overlap and
    # differ in length by one. The shorter ones are read as long as the longest, and what is beyond is left out.
    first = np.arange(size) * n // size
    end = -(-np.arange(1, size + 1) * n // size)
    indices = first[:, None] + np.arange((end - first).max())[None]
    inside = (indices < end[:, None]).reshape((size, -1) + (1,) * (x.ndim - axis - 1))
    inside = inside.reshape((1,) * axis + inside.shape)
    return reduce(jnp.take(x, np.minimum(indices, n - 1), axis), axis + 1, inside)


def _mean(x: jax.Array, axis: int, inside: Any) -> jax.Array:
    return jnp.mean(x, axis, where=inside)


def _greatest(x: jax.Array, axis: int, inside: Any) -> jax.Array:
    if inside is None:
        return jnp.max(x, axis)
    # The first element of a window stands in for what lies beyond its end: so no least number of a dtype is needed, of
    # which bool and the integers have others than floats.
    return jnp.max(jnp.where(inside, x, jax.lax.slice_in_dim(x, 0, 1, axis=axis)), axis)


def adaptive_avg_pool(x: jax.Array, output_size: OutputSize) -> jax.Array:
    """Return the means of `output_size` windows, added up in at least single precision.

    The windows are those of torch: number ``i`` of ``m`` over ``n`` elements begins with element ``floor(i n / m)`` and
    ends before ``ceil((i + 1) n / m)``.

    Args:
        x: An array of shape ``(..., *spatial, channels)``.
        output_size: The size of the result, one number per spatial axis; None keeps an axis as it is.

    Returns:
        An array of shape ``(..., *output_size, channels)``.

    Raises:
        ValueError: A size is not positive, or `x` has too few axes.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import adaptive_avg_pool
        >>> adaptive_avg_pool(jnp.arange(5.0).reshape(5, 1), (3,)).ravel().tolist()
        [0.5, 2.0, 3.5]
    """
    return _average(jnp.asarray(x), output_size, "adaptive_avg_pool")


def _average(x: jax.Array, output_size: OutputSize, caller: Node | str) -> jax.Array:
    wide = at_least_float32(x)
    y = _pooled(wide, output_size, _mean, caller)
    return y.astype(x.dtype if jnp.issubdtype(x.dtype, jnp.inexact) else wide.dtype)


def adaptive_max_pool(x: jax.Array, output_size: OutputSize) -> jax.Array:
    """Return the greatest elements of `output_size` windows, those of `adaptive_avg_pool`.

    Args:
        x: An array of shape ``(..., *spatial, channels)``.
        output_size: The size of the result, one number per spatial axis; None keeps an axis as it is.

    Returns:
        An array of shape ``(..., *output_size, channels)``.

    Raises:
        ValueError: A size is not positive, or `x` has too few axes.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import adaptive_max_pool
        >>> adaptive_max_pool(jnp.arange(5.0).reshape(5, 1), (3,)).ravel().tolist()
        [1.0, 3.0, 4.0]
    """
    return _pooled(jnp.asarray(x), output_size, _greatest, "adaptive_max_pool")


class _AdaptivePool(Module):
    """The abstract base of the two layers; a subclass says in its call how a window is reduced."""

    def __init__(self, output_size: OutputSize) -> None:
        self.output_size = _as_output_size(output_size)

    def _input(self, x: Any) -> jax.Array:
        return as_input(x, self, rank=len(self.output_size) + 1)


class AdaptiveAvgPool(_AdaptivePool):
    """`adaptive_avg_pool` as a layer.

    Args:
        output_size: The size of the result, one number per spatial axis; None keeps an axis as it is.

    Raises:
        ValueError: A size is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import AdaptiveAvgPool
        >>> AdaptiveAvgPool((7, 7))(jnp.ones((1, 20, 15, 3))).shape
        (1, 7, 7, 3)
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """Pool an array of shape ``(..., *spatial, channels)``."""
        return _average(self._input(x), self.output_size, self)


class AdaptiveMaxPool(_AdaptivePool):
    """`adaptive_max_pool` as a layer.

    Args:
        output_size: The size of the result, one number per spatial axis; None keeps an axis as it is.

    Raises:
        ValueError: A size is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import AdaptiveMaxPool
        >>> AdaptiveMaxPool((7, None))(jnp.ones((1, 20, 15, 3))).shape
        (1, 7, 15, 3)
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """Pool an array of shape ``(..., *spatial, channels)``."""
        return _pooled(self._input(x), self.output_size, _greatest, self)

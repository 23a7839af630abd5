"""Pooling over spatial axes, channels last, as functions and as layers; and ``Flatten``, which follows it.

The size of the window is given; where the size of the result is, use `adaptive_pool`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brainstate_graph import Node
from brainstate_graph.extend import describe, locate

from .._core.arguments import as_axis, as_sizes_per_axis
from .._core.inputs import as_input, at_least_float32
from .._core.module import Module
from .windows import Padding, as_padding, rank_of_window, refuse_short_input

__all__ = ["AvgPool", "Flatten", "GlobalAvgPool", "MaxPool", "avg_pool", "max_pool", "min_pool"]

_PADDINGS = ("VALID", "SAME")


def _as_window(window: Sequence[int]) -> tuple[int, ...]:
    return as_sizes_per_axis("window", window, rank_of_window("window", window, f"`window=({window}, {window})`"))


def _reduce(
    x: jax.Array,
    start: Any,
    combine: Callable[[Any, Any], Any],
    window: Sequence[int],
    strides: int | Sequence[int] | None,
    padding: Padding,
    caller: Node | str,
) -> jax.Array:
    sizes = _as_window(window)
    rank = len(sizes)
    steps = sizes if strides is None else as_sizes_per_axis("strides", strides, rank)
    pads = as_padding(padding, rank, _PADDINGS)
    if x.ndim <= rank:
        raise ValueError(
            f"pooling over {rank} axes needs an input with {rank} spatial axes and then the channels, not shape "
            f"{x.shape}"
        )
    lead = (1,) * (x.ndim - rank - 1)
    # XLA takes padding for every axis; batch and channels have none.
    if not isinstance(pads, str):
        pads = ((0, 0),) * len(lead) + pads + ((0, 0),)
    y = jax.lax.reduce_window(x, np.asarray(start, x.dtype), combine, (*lead, *sizes, 1), (*lead, *steps, 1), pads)
    refuse_short_input(sizes, x, y, rank, caller)
    return y


def max_pool(
    x: jax.Array, window: Sequence[int], strides: int | Sequence[int] | None = None, padding: Padding = "VALID"
) -> jax.Array:
    """Return the greatest element of each window.

    Args:
        x: An array of shape ``(..., *spatial, channels)``.
        window: The size of the window, one number per spatial axis.
        strides: The step of the window, one number or one per axis; None for the window itself.
        padding: "VALID", "SAME", a number, or one number or pair ``(low, high)`` per axis; padded elements are less
            than any other.

    Returns:
        An array of shape ``(..., *spatial, channels)``.

    Raises:
        ValueError: An argument does not fit the number of spatial axes, or the window fits nowhere.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import max_pool
        >>> max_pool(jnp.arange(4.0).reshape(4, 1), (2,)).ravel().tolist()
        [1.0, 3.0]
    """
    return _extreme(jnp.asarray(x), "max", window, strides, padding, "max_pool")


def min_pool(
    x: jax.Array, window: Sequence[int], strides: int | Sequence[int] | None = None, padding: Padding = "VALID"
) -> jax.Array:
    """Return the least element of each window.

    Args:
        x: An array of shape ``(..., *spatial, channels)``.
        window: The size of the window, one number per spatial axis.
        strides: The step of the window, one number or one per axis; None for the window itself.
        padding: As for `max_pool`; padded elements are greater than any other.

    Returns:
        An array of shape ``(..., *spatial, channels)``.

    Raises:
        ValueError: An argument does not fit the number of spatial axes, or the window fits nowhere.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import min_pool
        >>> min_pool(jnp.arange(4.0).reshape(4, 1), (2,)).ravel().tolist()
        [0.0, 2.0]
    """
    return _extreme(jnp.asarray(x), "min", window, strides, padding, "min_pool")


def _extreme(x: jax.Array, end: str, window: Any, strides: Any, padding: Padding, caller: Node | str) -> jax.Array:
    """Return the greatest ("max") or least ("min") element of each window; padding is beyond the other end."""
    if jnp.issubdtype(x.dtype, jnp.inexact):
        least, greatest = -np.inf, np.inf
    elif x.dtype == bool:
        least, greatest = False, True
    else:
        least, greatest = jnp.iinfo(x.dtype).min, jnp.iinfo(x.dtype).max
    start, combine = (least, jax.lax.max) if end == "max" else (greatest, jax.lax.min)
    return _reduce(x, start, combine, window, strides, padding, caller)


def avg_pool(
    x: jax.Array,
    window: Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    count_include_pad: bool = True,
) -> jax.Array:
    """Return the mean of each window, added up in at least single precision.

    Args:
        x: An array of shape ``(..., *spatial, channels)``.
        window: The size of the window, one number per spatial axis.
        strides: The step of the window, one number or one per axis; None for the window itself.
        padding: "VALID", "SAME", a number, or one number or pair ``(low, high)`` per axis.
        count_include_pad: Whether padded elements count as zeros; otherwise they do not count.

    Returns:
        An array of shape ``(..., *spatial, channels)``.

    Raises:
        ValueError: An argument does not fit the number of spatial axes, or the window fits nowhere.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import avg_pool
        >>> avg_pool(jnp.arange(4.0).reshape(4, 1), (2,)).ravel().tolist()
        [0.5, 2.5]
    """
    return _average(jnp.asarray(x), window, strides, padding, count_include_pad, "avg_pool")


def _average(
    x: jax.Array, window: Any, strides: Any, padding: Padding, count_include_pad: bool, caller: Node | str
) -> jax.Array:
    wide = at_least_float32(x)
    total = _reduce(wide, 0, jax.lax.add, window, strides, padding, caller)
    if count_include_pad:
        mean = total / math.prod(window)
    else:
        rank = len(window)
        # The same sum over ones counts the elements in each window, for one example and one channel.
        ones = jnp.ones((1,) * (x.ndim - rank - 1) + x.shape[-rank - 1 : -1] + (1,), wide.dtype)
        mean = total / _reduce(ones, 0, jax.lax.add, window, strides, padding, caller)
    return mean.astype(x.dtype if jnp.issubdtype(x.dtype, jnp.inexact) else wide.dtype)


class _Pool(Module):
    """The abstract base of pooling with a window; a subclass says in its call how a window is reduced."""

    def __init__(
        self, window: Sequence[int], strides: int | Sequence[int] | None = None, padding: Padding = "VALID"
    ) -> None:
        self.window = _as_window(window)
        self.strides = self.window if strides is None else as_sizes_per_axis("strides", strides, len(self.window))
        self.padding = as_padding(padding, len(self.window), _PADDINGS)

    def _input(self, x: Any) -> jax.Array:
        return as_input(x, self, rank=len(self.window) + 1)


class MaxPool(_Pool):
    """`max_pool` as a layer.

    Args:
        window: The size of the window, one number per spatial axis.
        strides: The step of the window, one number or one per axis; None for the window itself.
        padding: "VALID", "SAME", a number, or one number or pair ``(low, high)`` per axis.

    Raises:
        ValueError: An argument does not fit the number of spatial axes.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import MaxPool
        >>> MaxPool((2, 2))(jnp.ones((1, 8, 8, 3))).shape
        (1, 4, 4, 3)
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """Pool an array of shape ``(..., *spatial, channels)``."""
        return _extreme(self._input(x), "max", self.window, self.strides, self.padding, self)


class AvgPool(_Pool):
    """`avg_pool` as a layer.

    Args:
        window: The size of the window, one number per spatial axis.
        strides: The step of the window, one number or one per axis; None for the window itself.
        padding: "VALID", "SAME", a number, or one number or pair ``(low, high)`` per axis.
        count_include_pad: Whether padded elements count as zeros; otherwise they do not count.

    Raises:
        ValueError: An argument does not fit the number of spatial axes.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import AvgPool
        >>> AvgPool((3, 3), strides=2, padding="SAME")(jnp.ones((1, 8, 8, 3))).shape
        (1, 4, 4, 3)
    """

    def __init__(
        self,
        window: Sequence[int],
        strides: int | Sequence[int] | None = None,
        padding: Padding = "VALID",
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(window, strides, padding)
        self.count_include_pad = bool(count_include_pad)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Pool an array of shape ``(..., *spatial, channels)``."""
        return _average(self._input(x), self.window, self.strides, self.padding, self.count_include_pad, self)


class GlobalAvgPool(Module):
    """The mean over all axes but the first and the last.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import GlobalAvgPool
        >>> GlobalAvgPool()(jnp.ones((2, 8, 8, 3))).shape
        (2, 3)
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """Turn an array of shape ``(batch, *spatial, channels)`` into one of shape ``(batch, channels)``."""
        x = as_input(x, self, rank=2)
        return jnp.mean(x, tuple(range(1, x.ndim - 1)))


class Flatten(Module):
    """A layer that joins all axes from `first_axis` to `last_axis` to one.

    Args:
        first_axis: The first axis to join; 1 keeps a batch axis.
        last_axis: The last axis to join; it may count from the end, as the first may.

    Raises:
        ValueError: An axis is not a whole number.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Flatten
        >>> Flatten()(jnp.ones((2, 3, 4))).shape, Flatten(1, -2)(jnp.ones((2, 3, 4, 5))).shape
        ((2, 12), (2, 12, 5))
    """

    def __init__(self, first_axis: int = 1, last_axis: int = -1) -> None:
        self.first_axis = as_axis("first_axis", first_axis)
        self.last_axis = as_axis("last_axis", last_axis)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Join the axes of an array that has them."""
        x = as_input(x, self)
        first, last = (axis + x.ndim if axis < 0 else axis for axis in (self.first_axis, self.last_axis))
        if not 0 <= first <= last < x.ndim:
            raise ValueError(
                f"{locate(self)} cannot join the axes {self.first_axis} to {self.last_axis} of `x`, which is "
                f"{describe(x)}"
            )
        return x.reshape((*x.shape[:first], math.prod(x.shape[first : last + 1]), *x.shape[last + 1 :]))

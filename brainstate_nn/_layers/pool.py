"""Pooling over spatial axes, channels last, as functions and as layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brainstate_graph import Node
from brainstate_graph.extend import describe, locate

from .._core.module import Module
from .._core.parameters import as_input, axis_of, per_axis
from .windows import Padding, padding_of, refuse_short, window_of

__all__ = ["AvgPool", "Flatten", "GlobalAvgPool", "MaxPool", "avg_pool", "max_pool", "min_pool"]

_PADDINGS = ("VALID", "SAME")


def _window_of(window: Sequence[int]) -> tuple[int, ...]:
    return per_axis("window", window, window_of("window", window, f"`window=({window}, {window})`"))


def _reduce(
    x: jax.Array,
    start: Any,
    combine: Callable[[Any, Any], Any],
    window: Sequence[int],
    strides: int | Sequence[int] | None,
    padding: Padding,
    who: Node | str,
) -> jax.Array:
    sizes = _window_of(window)
    rank = len(sizes)
    steps = sizes if strides is None else per_axis("strides", strides, rank)
    pads = padding_of(padding, rank, _PADDINGS)
    if x.ndim <= rank:
        raise ValueError(f"pooling over {rank} axes needs these and then the channels; the input has shape {x.shape}")
    lead = (1,) * (x.ndim - rank - 1)
    if not isinstance(pads, str):
        pads = ((0, 0),) * len(lead) + pads + ((0, 0),)
    y = jax.lax.reduce_window(x, np.asarray(start, x.dtype), combine, (*lead, *sizes, 1), (*lead, *steps, 1), pads)
    refuse_short(sizes, x, y, rank, who)
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
    return _extreme(jnp.asarray(x), 0, window, strides, padding, "max_pool")


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
    return _extreme(jnp.asarray(x), 1, window, strides, padding, "min_pool")


def _extreme(x: jax.Array, end: int, window: Any, strides: Any, padding: Padding, who: Node | str) -> jax.Array:
    """Return the greatest elements, or the least with `end` 1; padding is at that end of the range."""
    if jnp.issubdtype(x.dtype, jnp.inexact):
        limits: Any = (-np.inf, np.inf)
    else:
        limits = (False, True) if x.dtype == bool else (jnp.iinfo(x.dtype).min, jnp.iinfo(x.dtype).max)
    return _reduce(x, limits[end], (jax.lax.max, jax.lax.min)[end], window, strides, padding, who)


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
    x: jax.Array, window: Any, strides: Any, padding: Padding, count_include_pad: bool, who: Node | str
) -> jax.Array:
    single = jnp.promote_types(jnp.float32, x.dtype)
    total = _reduce(x.astype(single), 0, jax.lax.add, window, strides, padding, who)
    if count_include_pad:
        mean = total / math.prod(window)
    else:
        rank = len(window)
        ones = jnp.ones((1,) * (x.ndim - rank - 1) + x.shape[-rank - 1 : -1] + (1,), single)
        mean = total / _reduce(ones, 0, jax.lax.add, window, strides, padding, who)
    return mean.astype(x.dtype if jnp.issubdtype(x.dtype, jnp.inexact) else single)


class _Pool(Module):
    """A window that moves over spatial axes."""

    def __init__(
        self, window: Sequence[int], strides: int | Sequence[int] | None = None, padding: Padding = "VALID"
    ) -> None:
        self.window = _window_of(window)
        self.strides = self.window if strides is None else per_axis("strides", strides, len(self.window))
        self.padding = padding_of(padding, len(self.window), _PADDINGS)

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
        return _extreme(self._input(x), 0, self.window, self.strides, self.padding, self)


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
    """Make one axis of all axes from `first_axis` to `last_axis`.

    Args:
        first_axis: The first axis to join; 1 keeps a batch axis.
        last_axis: The last axis to join; it may count from the end, as the first may.

    Raises:
        ValueError: An axis is no whole number.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Flatten
        >>> Flatten()(jnp.ones((2, 3, 4))).shape, Flatten(1, -2)(jnp.ones((2, 3, 4, 5))).shape
        ((2, 12), (2, 12, 5))
    """

    def __init__(self, first_axis: int = 1, last_axis: int = -1) -> None:
        self.first_axis = axis_of("first_axis", first_axis)
        self.last_axis = axis_of("last_axis", last_axis)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Join the axes of an array that has them."""
        x = as_input(x, self)
        first, last = (axis + x.ndim if axis < 0 else axis for axis in (self.first_axis, self.last_axis))
        if not 0 <= first <= last < x.ndim:
            raise ValueError(
                f"{locate(self)} joins the axes {self.first_axis} to {self.last_axis}, which `x` has not in this "
                f"order: it is {describe(x)}"
            )
        return x.reshape((*x.shape[:first], math.prod(x.shape[first : last + 1]), *x.shape[last + 1 :]))

"""Pooling over spatial axes, channels last, as functions and as layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._module import Module
from ._parameters import per_axis

__all__ = ["AvgPool", "Flatten", "GlobalAvgPool", "MaxPool", "avg_pool", "max_pool"]

PoolPadding = str | Sequence[tuple[int, int]]


def _window_of(window: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(window, Sequence):
        raise ValueError(
            f"window={window!r} does not say how many spatial axes there are: write `window=({window}, {window})`"
        )
    return per_axis("window", window, len(window))


def _padding_of(padding: PoolPadding, rank: int) -> str | tuple[tuple[int, int], ...]:
    if isinstance(padding, str) and padding.upper() in ("SAME", "VALID"):
        return padding.upper()
    if not isinstance(padding, (str, int)) and len(padding) == rank and all(np.shape(p) == (2,) for p in padding):
        return tuple((int(low), int(high)) for low, high in padding)
    raise ValueError(f"padding={padding!r} must be 'SAME', 'VALID', or {rank} pairs (low, high), one per spatial axis")


def _reduce(
    x: jax.Array,
    start: Any,
    combine: Callable[[Any, Any], Any],
    window: Sequence[int],
    strides: int | Sequence[int] | None,
    padding: PoolPadding,
) -> jax.Array:
    sizes = _window_of(window)
    rank = len(sizes)
    steps = sizes if strides is None else per_axis("strides", strides, rank)
    pads = _padding_of(padding, rank)
    if x.ndim <= rank:
        raise ValueError(f"pooling over {rank} axes needs these and then the channels; the input has shape {x.shape}")
    lead = (1,) * (x.ndim - rank - 1)
    if not isinstance(pads, str):
        pads = ((0, 0),) * len(lead) + pads + ((0, 0),)
    return jax.lax.reduce_window(x, start, combine, (*lead, *sizes, 1), (*lead, *steps, 1), pads)


def max_pool(
    x: jax.Array, window: Sequence[int], strides: int | Sequence[int] | None = None, padding: PoolPadding = "VALID"
) -> jax.Array:
    """Return the greatest element of each window.

    Args:
        x: An array of shape ``(..., *spatial, channels)``.
        window: The size of the window, one number per spatial axis.
        strides: The step of the window, one number or one per axis; None for the window itself.
        padding: "VALID", "SAME", or one pair ``(low, high)`` per axis; padded elements are less than any other.

    Returns:
        An array of shape ``(..., *spatial, channels)``.

    Raises:
        ValueError: An argument does not fit the number of spatial axes.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import max_pool
        >>> max_pool(jnp.arange(4.0).reshape(4, 1), (2,)).ravel().tolist()
        [1.0, 3.0]
    """
    x = jnp.asarray(x)
    return _reduce(x, np.asarray(_lowest(x.dtype), x.dtype), jax.lax.max, window, strides, padding)


def _lowest(dtype: Any) -> Any:
    if jnp.issubdtype(dtype, jnp.inexact):
        return -np.inf
    return False if dtype == np.dtype(bool) else jnp.iinfo(dtype).min


def avg_pool(
    x: jax.Array,
    window: Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: PoolPadding = "VALID",
    count_include_pad: bool = True,
) -> jax.Array:
    """Return the mean of each window.

    Args:
        x: An array of shape ``(..., *spatial, channels)``.
        window: The size of the window, one number per spatial axis.
        strides: The step of the window, one number or one per axis; None for the window itself.
        padding: "VALID", "SAME", or one pair ``(low, high)`` per axis.
        count_include_pad: Whether padded elements count as zeros; otherwise they do not count.

    Returns:
        An array of shape ``(..., *spatial, channels)``.

    Raises:
        ValueError: An argument does not fit the number of spatial axes.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import avg_pool
        >>> avg_pool(jnp.arange(4.0).reshape(4, 1), (2,)).ravel().tolist()
        [0.5, 2.5]
    """
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        x = x.astype(jnp.float32)
    zero = np.zeros((), x.dtype)
    total = _reduce(x, zero, jax.lax.add, window, strides, padding)
    if count_include_pad:
        return total / np.prod(window).item()
    return total / _reduce(jnp.ones_like(x), zero, jax.lax.add, window, strides, padding)


class MaxPool(Module):
    """`max_pool` as a layer.

    Args:
        window: The size of the window, one number per spatial axis.
        strides: The step of the window, one number or one per axis; None for the window itself.
        padding: "VALID", "SAME", or one pair ``(low, high)`` per axis.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import MaxPool
        >>> MaxPool((2, 2))(jnp.ones((1, 8, 8, 3))).shape
        (1, 4, 4, 3)
    """

    def __init__(
        self, window: Sequence[int], strides: int | Sequence[int] | None = None, padding: PoolPadding = "VALID"
    ) -> None:
        self.window = _window_of(window)
        self.strides = self.window if strides is None else per_axis("strides", strides, len(self.window))
        self.padding = _padding_of(padding, len(self.window))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Pool an array of shape ``(..., *spatial, channels)``."""
        return max_pool(x, self.window, self.strides, self.padding)


class AvgPool(Module):
    """`avg_pool` as a layer.

    Args:
        window: The size of the window, one number per spatial axis.
        strides: The step of the window, one number or one per axis; None for the window itself.
        padding: "VALID", "SAME", or one pair ``(low, high)`` per axis.
        count_include_pad: Whether padded elements count as zeros; otherwise they do not count.

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
        padding: PoolPadding = "VALID",
        count_include_pad: bool = True,
    ) -> None:
        self.window = _window_of(window)
        self.strides = self.window if strides is None else per_axis("strides", strides, len(self.window))
        self.padding = _padding_of(padding, len(self.window))
        self.count_include_pad = count_include_pad

    def __call__(self, x: jax.Array) -> jax.Array:
        """Pool an array of shape ``(..., *spatial, channels)``."""
        return avg_pool(x, self.window, self.strides, self.padding, self.count_include_pad)


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
        return jnp.mean(x, tuple(range(1, jnp.ndim(x) - 1)))


class Flatten(Module):
    """Make one axis of all axes from `first_axis` on.

    Args:
        first_axis: The first axis to join; 1 keeps a batch axis.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Flatten
        >>> Flatten()(jnp.ones((2, 3, 4))).shape
        (2, 12)
    """

    def __init__(self, first_axis: int = 1) -> None:
        self.first_axis = first_axis

    def __call__(self, x: jax.Array) -> jax.Array:
        """Join the axes of an array of any shape."""
        x = jnp.asarray(x)
        kept = x.shape[: self.first_axis]
        return x.reshape((*kept, int(np.prod(x.shape[len(kept) :]))))

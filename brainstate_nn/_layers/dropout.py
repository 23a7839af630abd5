"""``Dropout``: set random elements to zero in training.

Each call draws a new mask. For one mask over all steps of a sequence see `FixedDropout`.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from .._core.arguments import as_fraction
from .._core.inputs import as_input
from .._core.module import Module
from .._core.random import Draws, Rng, key_of_call, own_stream
from .._core.sharded import mask_like

__all__ = ["Dropout", "as_rate", "kept_and_scaled"]


class Dropout(Module):
    """Set each element to zero with probability `rate`, and scale the others by ``1 / (1 - rate)``.

    In evaluation the input is returned as it is (Srivastava et al., 2014, in the form that scales while training).
    The layer owns its stream of random keys: a split model carries all the randomness that it needs.

    Args:
        rate: The probability to drop an element, between 0 and 1.
        broadcast_dims: Axes along which one decision holds for all elements.
        rng: The stream to draw from, or streams with `dropout`; layers that are given the same one share it. None for
            one of its own, forked from the default one.

    Attributes:
        rng: The RandomState.

    Raises:
        ValueError: The rate is not between 0 and 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Dropout
        >>> drop = Dropout(0.5)
        >>> sorted({float(v) for v in drop(jnp.ones(100))})
        [0.0, 2.0]
        >>> float(drop.eval()(jnp.ones(100)).sum())
        100.0
    """

    def __init__(self, rate: float, *, broadcast_dims: Sequence[int] = (), rng: Rng = None) -> None:
        self.rate = as_rate(rate)
        self.broadcast_dims = tuple(broadcast_dims)
        self.rng = own_stream(rng, "dropout")

    def __call__(
        self, x: jax.Array, *, training: bool | None = None, key: Draws = None, rngs: Draws = None
    ) -> jax.Array:
        """Apply the layer.

        Args:
            x: An array of any shape.
            training: Overrides the attribute `training` for this call.
            key: A key, a stream, or streams with `dropout`, to draw from instead of the layer's stream, which then
                stays as it is.
            rngs: The same.

        Returns:
            An array of the same shape and dtype.

        Raises:
            TypeError: `key` and `rngs` are both given, or something else.
        """
        x = as_input(x, self)
        # Checked again, for users set it between calls, as schedules do.
        rate = as_rate(self.rate)
        if rate == 0.0 or not (self.training if training is None else training):
            return x
        if rate == 1.0:
            # Dividing by 1 - rate would make 0/0 of it.
            return jnp.zeros_like(x)
        shape = list(x.shape)
        for axis in self.broadcast_dims:
            shape[axis] = 1
        kept = jax.random.bernoulli(key_of_call(self, self.rng, "dropout", key, rngs), 1.0 - rate, shape)
        return kept_and_scaled(x, kept, rate)


def kept_and_scaled(x: jax.Array, kept: jax.Array, rate: float) -> jax.Array:
    """Return `x` with zeros where it is not kept, and the rest scaled so that the expected value stays."""
    return jnp.where(mask_like(kept, x), x / (1.0 - rate), jnp.zeros_like(x)).astype(x.dtype)


def as_rate(rate: float) -> float:
    """Return the probability to drop an element, or raise; in each call too, since it may be set meanwhile."""
    return as_fraction("rate", rate, "the probability to drop an element")

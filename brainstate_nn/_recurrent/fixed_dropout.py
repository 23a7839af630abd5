"""``FixedDropout``: dropout that keeps one mask for all steps of a sequence.

`Dropout` draws a new mask in each call. Inside of a recurrent model that would erase, step by step, what the model has
to remember. Here `init_state` draws the mask, as it makes the hidden states of the cells beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph.extend import describe, locate

from .._core.arguments import as_sizes
from .._core.inputs import as_input
from .._core.module import Module
from .._core.random import Draws, Rng, key_of_call, own_stream
from .._core.states import ShortTermState
from .._layers.dropout import as_rate, kept_and_scaled
from .cell import BatchSize, as_batch_shape, no_hidden_state

__all__ = ["FixedDropout"]


class FixedDropout(Module):
    """Dropout with one mask for all steps of a sequence (Gal and Ghahramani, 2016), for use inside of recurrent models.

    The mask is drawn by `init_state`, held until `reset_state` draws another one, and differs between the examples of a
    batch. In evaluation the input is returned as it is.

    Args:
        rate: The probability to drop an element, between 0 and 1.
        in_size: The number of features, or the shape of the input without the batch.
        rng: The stream to draw from, or streams with `dropout`; None for one of its own, forked from the default one.

    Attributes:
        mask: A ShortTermState of shape ``(*batch, *in_size)`` that `init_state` makes: True for what is kept.
        rng: The RandomState.

    Raises:
        ValueError: The rate is not between 0 and 1, or a size is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import FixedDropout
        >>> drop = FixedDropout(0.5, 100)
        >>> drop.init_state()
        >>> first, second = drop(jnp.ones(100)), drop(jnp.ones(100))
        >>> bool((first == second).all()), sorted({float(v) for v in first})
        (True, [0.0, 2.0])
    """

    mask: ShortTermState

    def __init__(self, rate: float, in_size: int | Sequence[int], *, rng: Rng = None) -> None:
        self.rate = as_rate(rate)
        self.in_size = as_sizes("in_size", in_size)
        self.rng = own_stream(rng, "dropout")

    def init_state(self, batch_size: BatchSize = None, *, rngs: Draws = None, **others: Any) -> None:
        """Draw the mask, in training and in evaluation.

        Args:
            batch_size: The number of examples, or the shape of several batch axes; None for inputs without any.
            rngs: What to draw from, instead of the layer's stream: a key, a stream, or streams with `dropout`.
            **others: What `init_all_states` gives to other modules.
        """
        self.mask = ShortTermState(self._draw(as_batch_shape(batch_size), rngs))

    def reset_state(self, batch_size: BatchSize = None, *, rngs: Draws = None, **others: Any) -> None:
        """Draw another mask.

        Args:
            batch_size: As for `init_state`; None keeps the shape.
            rngs: As for `init_state`.
            **others: What `reset_all_states` gives to other modules.

        Raises:
            RuntimeError: There is none yet.
        """
        shape = self._mask(None).shape
        batch = shape[: len(shape) - len(self.in_size)] if batch_size is None else as_batch_shape(batch_size)
        self.mask.value = self._draw(batch, rngs)

    def __call__(self, x: jax.Array, *, training: bool | None = None) -> jax.Array:
        """Apply the layer.

        Args:
            x: An array of shape ``(*batch, *in_size)``.
            training: Overrides the attribute `training` for this call.

        Returns:
            An array of the same shape and dtype.

        Raises:
            RuntimeError: There is no mask yet.
            ValueError: The mask is for inputs of another shape.
        """
        x, kept, rate = as_input(x, self), self._mask(x), as_rate(self.rate)
        # Broadcasting one mask over another batch would give two examples the same mask.
        if x.shape != kept.shape:
            raise ValueError(
                f"{locate(self)} has a mask of shape {kept.shape}, which does not fit `x`, {describe(x)}: "
                "write `init_state(batch_size)` for this batch"
            )
        if rate == 0.0 or not (self.training if training is None else training):
            return x
        return jnp.zeros_like(x) if rate == 1.0 else kept_and_scaled(x, kept, rate)

    def _draw(self, batch: tuple[int, ...], rngs: Draws) -> jax.Array:
        key = key_of_call(self, self.rng, "dropout", None, rngs)
        return jax.random.bernoulli(key, 1.0 - as_rate(self.rate), (*batch, *self.in_size))

    def _mask(self, x: Any) -> jax.Array:
        state = getattr(self, "mask", None)
        if state is None:
            raise no_hidden_state(self, x, len(self.in_size))
        return state.value

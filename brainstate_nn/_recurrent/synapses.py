"""``ExponentialSynapse``: a current that decays after each spike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .._core.parameters import above_zero, as_dtype, promote, sizes
from .._core.states import HiddenState
from .cell import RecurrentCell

__all__ = ["ExponentialSynapse"]


class ExponentialSynapse(RecurrentCell):
    """Synapses whose current jumps by each spike and decays: ``tau dg/dt = -g`` (Dayan and Abbott, 2001, section 5.8).

    The solution is exact: ``g' = g * exp(-dt / tau) + x``. Over an output that does not spike it is a leaky readout.

    Args:
        in_size: The number of synapses, or the shape of the layer without the batch.
        tau: The time constant of the decay, in the unit of `dt`.
        dt: The time of one step.
        dtype: The dtype of the current; None for float32.

    Attributes:
        g: The carry, a HiddenState of shape ``(*batch, *in_size)`` that `init_state` makes.

    Raises:
        ValueError: `tau`, `dt` or a size is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import ExponentialSynapse
        >>> synapse = ExponentialSynapse(1, tau=5.0)
        >>> synapse.init_state()
        >>> [round(float(synapse(x)[0]), 3) for x in jnp.array([[1.0], [0.0], [1.0]])]
        [1.0, 0.819, 1.67]
    """

    hidden_names: tuple[str, ...] = ("g",)
    g: HiddenState

    def __init__(self, in_size: int | Sequence[int], *, tau: float = 5.0, dt: float = 1.0, dtype: Any = None) -> None:
        self.in_size = sizes("in_size", in_size)
        self.tau = above_zero("tau", tau)
        self.dt = above_zero("dt", dt)
        self.dtype = as_dtype(dtype)

    def initial_carry(self, batch_shape: Sequence[int] = ()) -> jax.Array:
        """Return no current.

        Args:
            batch_shape: The batch axes of the inputs.

        Returns:
            Zeros of shape ``(*batch_shape, *in_size)``.
        """
        return jnp.zeros((*batch_shape, *self.in_size), jnp.float32 if self.dtype is None else self.dtype)

    def step(self, carry: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Compute one step.

        Args:
            carry: The current, of shape ``(*batch, *in_size)``.
            x: The spikes, or weighted sums of spikes, of that shape.

        Returns:
            The new current, twice: as the carry and as the output.
        """
        x, g = self._checked(carry, x, self.in_size, self.in_size)
        x, g = promote(x, g, dtype=self.dtype)
        g = g * math.exp(-self.dt / self.tau) + x
        return g.astype(carry.dtype), g

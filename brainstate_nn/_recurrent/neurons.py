"""``LIF``, the leaky integrate-and-fire neuron, and ``ExponentialSynapse``, a current that decays after each spike.

Both are recurrent cells whose differential equation is solved exactly over a step, so that `dt` may be of any size.
Their spikes have the derivative of `surrogate_spike`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .._core.arguments import as_dtype, as_positive, as_sizes, is_number
from .._core.inputs import promote
from .._core.states import HiddenState
from .cell import RecurrentCell
from .surrogate import Derivative, as_surrogate, surrogate_spike

__all__ = ["LIF", "ExponentialSynapse"]


class LIF(RecurrentCell):
    """A layer of leaky integrate-and-fire neurons (Gerstner et al., 2014, *Neuronal Dynamics*, section 1.3).

    The membrane obeys ``tau dv/dt = v_rest - v + x``. The input is constant during a step, so that the solution is
    exact for any `dt`: ``v' = v_rest + (v - v_rest) * a + (1 - a) * x`` with ``a = exp(-dt / tau)``. A neuron whose
    `v'` is at the threshold or above spikes, and is reset in the same step.

    Args:
        in_size: The number of neurons, or the shape of the layer without the batch.
        tau: The time constant of the membrane, in the unit of `dt`.
        dt: The time of one step.
        threshold: Where a neuron spikes.
        v_rest: Where the membrane goes without input, and starts.
        v_reset: Where it is put by a spike.
        reset: `"soft"` subtracts ``threshold - v_reset`` from it and keeps what is above the threshold, `"hard"` puts
            it at `v_reset`.
        detach_reset: Whether the reset is a constant to the gradient, which trains better (Zenke and Vogels, 2021).
        surrogate: The derivative of a spike by ``v' - threshold``, as for `surrogate_spike`.
        slope: How steep it is, as for `surrogate_spike`.
        dtype: The dtype of the membrane; None for float32.

    Attributes:
        v: The carry, a HiddenState of shape ``(*batch, *in_size)`` that `init_state` makes.

    Raises:
        ValueError: `tau`, `dt` or a size is not positive, the threshold is not above `v_reset`, or `reset` or
            `surrogate` is none.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import LIF
        >>> from brainstate_transform import for_loop
        >>> neurons = LIF(2, tau=10.0)
        >>> neurons.init_state()
        >>> spikes = for_loop(neurons, jnp.tile(jnp.array([1.1, 2.0]), (100, 1)))
        >>> spikes.sum(0).tolist()
        [4.0, 14.0]
    """

    hidden_names: tuple[str, ...] = ("v",)
    v: HiddenState

    def __init__(
        self,
        in_size: int | Sequence[int],
        *,
        tau: float = 10.0,
        dt: float = 1.0,
        threshold: float = 1.0,
        v_rest: float = 0.0,
        v_reset: float = 0.0,
        reset: str = "soft",
        detach_reset: bool = True,
        surrogate: str | Derivative = "arctan",
        slope: float | None = None,
        dtype: Any = None,
    ) -> None:
        self.in_size = as_sizes("in_size", in_size)
        self.tau = as_positive("tau", tau)
        self.dt = as_positive("dt", dt)
        self.threshold = _as_finite("threshold", threshold)
        self.v_rest = _as_finite("v_rest", v_rest)
        self.v_reset = _as_finite("v_reset", v_reset)
        if not self.threshold > self.v_reset:
            raise ValueError(f"threshold must be above v_reset, which is {self.v_reset}, and is {self.threshold}")
        if reset not in ("soft", "hard"):
            raise ValueError(f'reset must be "soft" or "hard", not {reset!r}')
        self.reset = reset
        self.detach_reset = bool(detach_reset)
        self.surrogate, self.slope = as_surrogate(surrogate, slope)
        self.dtype = as_dtype(dtype)

    def initial_carry(self, batch_shape: Sequence[int] = ()) -> jax.Array:
        """Return a membrane at rest.

        Args:
            batch_shape: The batch axes of the inputs.

        Returns:
            An array of shape ``(*batch_shape, *in_size)``.
        """
        return jnp.full((*batch_shape, *self.in_size), self.v_rest, jnp.float32 if self.dtype is None else self.dtype)

    def step(self, carry: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Compute one step.

        Args:
            carry: The membrane, of shape ``(*batch, *in_size)``.
            x: The input current of that shape, in units of the membrane.

        Returns:
            The membrane after the reset, and the spikes: zeros and ones of the same shape.
        """
        x, v = self._as_step_inputs(carry, x, self.in_size, self.in_size)
        x, v = promote(x, v, dtype=self.dtype)
        # The solution of the equation over a step, in Python: it is a constant of the program.
        leak = math.exp(-self.dt / self.tau)
        v = self.v_rest + (v - self.v_rest) * leak + (1 - leak) * x
        spike = surrogate_spike(v - self.threshold, self.surrogate, self.slope)
        # A gradient through the reset would undo part of that through the spike.
        back = jax.lax.stop_gradient(spike) if self.detach_reset else spike
        height = self.threshold - self.v_reset if self.reset == "soft" else v - self.v_reset
        return (v - back * height).astype(carry.dtype), spike


def _as_finite(name: str, value: Any) -> float:
    if not is_number(value) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, not {value!r}")
    return float(value)


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
        self.in_size = as_sizes("in_size", in_size)
        self.tau = as_positive("tau", tau)
        self.dt = as_positive("dt", dt)
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
        x, g = self._as_step_inputs(carry, x, self.in_size, self.in_size)
        x, g = promote(x, g, dtype=self.dtype)
        g = g * math.exp(-self.dt / self.tau) + x
        return g.astype(carry.dtype), g

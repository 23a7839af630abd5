"""``ExponentialSynapse``, ``AlphaSynapse``, ``DualExponentialSynapse``: the current that follows a spike, by its shape.

Each is a linear equation that is solved exactly over a step, so that `dt` may be of any size. An input of 1 makes a
current whose highest value is 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .._core.arguments import as_dtype, as_positive, as_sizes, is_number
from .._core.inputs import promote
from .._core.sharded import spread_as
from .._core.states import HiddenState
from .._recurrent.cell import RecurrentCell
from .._recurrent.constants import Constant, Given, as_constant, check_above, decay, of_constant

__all__ = ["AlphaSynapse", "DualExponentialSynapse", "ExponentialSynapse"]


class _Synapse(RecurrentCell):
    """The abstract base of synapses: all parts of the carry have the shape of the layer, and start at 0."""

    def __init__(self, in_size: int | Sequence[int], dt: float, dtype: Any) -> None:
        self.in_size = as_sizes("in_size", in_size)
        self.dt = as_positive("dt", dt)
        self.dtype = as_dtype(dtype)

    def initial_carry(self, batch_shape: Sequence[int] = ()) -> Any:
        """Return no current.

        Args:
            batch_shape: The batch axes of the inputs.

        Returns:
            Zeros of shape ``(*batch_shape, *in_size)``, or a tuple of them for each of `hidden_names`.
        """
        dtype = jnp.float32 if self.dtype is None else self.dtype
        parts: Any = tuple(jnp.zeros((*batch_shape, *self.in_size), dtype) for _ in self.hidden_names)
        return parts if len(parts) > 1 else parts[0]

    def step(self, carry: Any, x: jax.Array) -> tuple[Any, jax.Array]:
        """Compute one step.

        Args:
            carry: The current, of shape ``(*batch, *in_size)``, or the tuple of all variables.
            x: The spikes, or weighted sums of spikes, of that shape.

        Returns:
            The new carry, and the current.
        """
        x, *parts = self._as_step_inputs(carry, x, self.in_size, *[self.in_size] * len(self.hidden_names))
        parts = [spread_as(part, x) for part in parts]
        x, *variables = promote(x, *parts, dtype=self.dtype)
        after, y = self._move(x, *variables)
        kept: Any = tuple(new.astype(old.dtype) for new, old in zip(after, parts, strict=True))
        return (kept if len(kept) > 1 else kept[0]), y

    def _move(self, x: jax.Array, *variables: jax.Array) -> tuple[tuple[jax.Array, ...], jax.Array]:
        """Return the variables at the end of a step, and the current."""
        raise NotImplementedError


class ExponentialSynapse(_Synapse):
    """Synapses whose current jumps by each spike and decays: ``tau dg/dt = -g`` (Dayan and Abbott, 2001, section 5.8).

    The solution is exact: ``g' = g * exp(-dt / tau) + x``. Over an output that does not spike it is a leaky readout.

    Args:
        in_size: The number of synapses, or the shape of the layer without the batch.
        tau: The time constant of the decay, in the unit of `dt`: a number, an array with one for each synapse, or a
            State.
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

    def __init__(self, in_size: int | Sequence[int], *, tau: Given = 5.0, dt: float = 1.0, dtype: Any = None) -> None:
        super().__init__(in_size, dt, dtype)
        self.tau: Constant = as_constant("tau", tau, self.in_size, above=0.0)

    def _move(self, x: jax.Array, *variables: jax.Array) -> tuple[tuple[jax.Array, ...], jax.Array]:
        (g,) = variables
        g = g * decay(self.dt, self.tau, g)[0] + x
        return (g,), g


class AlphaSynapse(_Synapse):
    """Synapses whose current rises and falls by one time constant (Rall, 1967; Dayan and Abbott, 2001, section 5.8).

    A spike makes the current ``t / tau * exp(1 - t / tau)``, which is 1 at ``t = tau``. The solution is exact:
    ``g' = (g + h * e * dt / tau) * a`` and ``h' = h * a + x`` with ``a = exp(-dt / tau)``.

    Args:
        in_size: The number of synapses, or the shape of the layer without the batch.
        tau: When the current is highest, in the unit of `dt`: a number, an array with one for each synapse, or a State.
        dt: The time of one step.
        dtype: The dtype of the current; None for float32.

    Attributes:
        g: The current, a HiddenState of shape ``(*batch, *in_size)`` that `init_state` makes.
        h: What makes it rise.

    Raises:
        ValueError: `tau`, `dt` or a size is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import AlphaSynapse
        >>> synapse = AlphaSynapse(1, tau=2.0)
        >>> synapse.init_state()
        >>> [round(float(synapse(x)[0]), 3) for x in jnp.array([[1.0], [0.0], [0.0], [0.0]])]
        [0.0, 0.824, 1.0, 0.91]
    """

    hidden_names: tuple[str, ...] = ("g", "h")
    g: HiddenState
    h: HiddenState

    def __init__(self, in_size: int | Sequence[int], *, tau: Given = 5.0, dt: float = 1.0, dtype: Any = None) -> None:
        super().__init__(in_size, dt, dtype)
        self.tau: Constant = as_constant("tau", tau, self.in_size, above=0.0)

    def _move(self, x: jax.Array, *variables: jax.Array) -> tuple[tuple[jax.Array, ...], jax.Array]:
        g, h = variables
        left, _ = decay(self.dt, self.tau, g)
        g = (g + h * (math.e * self.dt / of_constant(self.tau, g))) * left
        return (g, h * left + x), g


class DualExponentialSynapse(_Synapse):
    """Synapses whose current rises by one time constant and falls by another (Dayan and Abbott, 2001, section 5.8).

    A spike makes the current ``s * (exp(-t / tau_decay) - exp(-t / tau_rise))``, with the `s` that makes its highest
    value 1. The solution is exact.

    Args:
        in_size: The number of synapses, or the shape of the layer without the batch.
        tau_rise: The time constant of the rise, in the unit of `dt`: a number, an array with one for each synapse, or a
            State.
        tau_decay: That of the decay, which is longer. Where both are trained they must stay apart.
        dt: The time of one step.
        dtype: The dtype of the current; None for float32.

    Attributes:
        decaying: The slower part of the current, a HiddenState of shape ``(*batch, *in_size)`` that `init_state` makes.
        rising: The faster part, which is taken from it.

    Raises:
        ValueError: A time constant, `dt` or a size is not positive, or `tau_decay` is not above `tau_rise`.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import DualExponentialSynapse
        >>> synapse = DualExponentialSynapse(1, tau_rise=1.0, tau_decay=3.0)
        >>> synapse.init_state()
        >>> [round(float(synapse(x)[0]), 3) for x in jnp.array([[1.0], [0.0], [0.0], [0.0]])]
        [0.0, 0.906, 0.982, 0.826]
    """

    hidden_names: tuple[str, ...] = ("decaying", "rising")
    decaying: HiddenState
    rising: HiddenState

    def __init__(
        self,
        in_size: int | Sequence[int],
        *,
        tau_rise: Given = 1.0,
        tau_decay: Given = 5.0,
        dt: float = 1.0,
        dtype: Any = None,
    ) -> None:
        super().__init__(in_size, dt, dtype)
        self.tau_rise: Constant = as_constant("tau_rise", tau_rise, self.in_size, above=0.0)
        self.tau_decay: Constant = as_constant("tau_decay", tau_decay, self.in_size, above=0.0)
        check_above("tau_decay", self.tau_decay, "tau_rise", self.tau_rise)

    def _move(self, x: jax.Array, *variables: jax.Array) -> tuple[tuple[jax.Array, ...], jax.Array]:
        decaying, rising = variables
        decaying = decaying * decay(self.dt, self.tau_decay, x)[0] + x
        rising = rising * decay(self.dt, self.tau_rise, x)[0] + x
        return (decaying, rising), self._scale(x) * (decaying - rising)

    def _scale(self, like: jax.Array) -> Any:
        """Return one by the highest value of the difference, at ``t = log(q) * tau_rise * q / (q - 1)``."""
        rise, fall = (of_constant(tau, like, wide=True) for tau in (self.tau_rise, self.tau_decay))
        traced = not (is_number(rise) and is_number(fall))
        log, exp = (jnp.log, jnp.exp) if traced else (math.log, math.exp)
        q = fall / rise
        top = log(q) * q / (q - 1)
        scale = 1 / (exp(-top / q) - exp(-top))
        return jnp.asarray(scale, like.dtype) if traced else scale

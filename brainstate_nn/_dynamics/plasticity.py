"""``ShortTermPlasticity``: synapses that tire and warm up by use, before the current that they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .._core.arguments import as_dtype, as_positive, as_sizes
from .._core.inputs import promote
from .._core.states import HiddenState
from .._recurrent.cell import RecurrentCell
from .._recurrent.constants import Constant, Given, as_constant, decay, of_constant

__all__ = ["ShortTermPlasticity"]


class ShortTermPlasticity(RecurrentCell):
    """Synapses with short-term depression and facilitation (Tsodyks, Pawelzik and Markram, 1998).

    Between spikes the use decays and the resources come back: ``tau_f du/dt = -u`` and ``tau_d dx/dt = 1 - x``. A spike
    first raises the use, ``u += use * (1 - u)``, and then takes that part of the resources, which is the output:
    ``u * x``. Both equations are solved exactly. Put it in front of a synapse: its output is the height of a spike.

    Args:
        in_size: The number of synapses, or the shape of the layer without the batch.
        use: The part of the resources that the first spike takes, between 0 and 1. This and all constants below may be
            numbers, arrays with one for each synapse, or states.
        tau_f: The time constant of facilitation, in the unit of `dt`; short for synapses that only tire.
        tau_d: The time constant of the recovery from depression; short for synapses that only warm up.
        dt: The time of one step.
        dtype: The dtype of the variables; None for float32.

    Attributes:
        u: The use, a HiddenState of shape ``(*batch, *in_size)`` that `init_state` makes.
        x: The resources.

    Raises:
        ValueError: A time constant, `dt` or a size is not positive, or `use` is not between 0 and 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import ShortTermPlasticity
        >>> tiring = ShortTermPlasticity(1, use=0.5, tau_f=1.0, tau_d=100.0, dt=10.0)
        >>> tiring.init_state()
        >>> [round(float(tiring(jnp.ones(1))[0]), 3) for _ in range(3)]
        [0.5, 0.274, 0.171]
    """

    hidden_names: tuple[str, ...] = ("u", "x")
    u: HiddenState
    x: HiddenState

    def __init__(
        self,
        in_size: int | Sequence[int],
        *,
        use: Given = 0.15,
        tau_f: Given = 1500.0,
        tau_d: Given = 200.0,
        dt: float = 1.0,
        dtype: Any = None,
    ) -> None:
        self.in_size = as_sizes("in_size", in_size)
        self.use: Constant = as_constant("use", use, self.in_size, above=0.0, most=1.0)
        self.tau_f: Constant = as_constant("tau_f", tau_f, self.in_size, above=0.0)
        self.tau_d: Constant = as_constant("tau_d", tau_d, self.in_size, above=0.0)
        self.dt = as_positive("dt", dt)
        self.dtype = as_dtype(dtype)

    def initial_carry(self, batch_shape: Sequence[int] = ()) -> tuple[jax.Array, jax.Array]:
        """Return no use and all resources.

        Args:
            batch_shape: The batch axes of the inputs.

        Returns:
            Zeros and ones of shape ``(*batch_shape, *in_size)``.
        """
        shape, dtype = (*batch_shape, *self.in_size), jnp.float32 if self.dtype is None else self.dtype
        return jnp.zeros(shape, dtype), jnp.ones(shape, dtype)

    def step(self, carry: tuple[jax.Array, jax.Array], x: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        """Compute one step.

        Args:
            carry: The pair of use and resources.
            x: The spikes, zeros and ones of shape ``(*batch, *in_size)``.

        Returns:
            The new carry, and the height of each spike, 0 where there is none.
        """
        spike, *parts = self._as_step_inputs(carry, x, self.in_size, self.in_size, self.in_size)
        spike, u, left = promote(spike, *parts, dtype=self.dtype)
        u = u * decay(self.dt, self.tau_f, u)[0]
        left = 1 - (1 - left) * decay(self.dt, self.tau_d, u)[0]
        u = u + of_constant(self.use, u) * (1 - u) * spike
        taken = u * left * spike
        return (u.astype(parts[0].dtype), (left - taken).astype(parts[1].dtype)), taken

"""``LIF`` and ``ALIF``: leaky integrate-and-fire neurons, with a fixed threshold and with one that adapts.

Their equations are solved exactly over a step, so that `dt` may be of any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from .._core.states import HiddenState
from .._recurrent.constants import Constant, Given, as_constant, decay, of_constant
from .spiking_cell import SpikingCell
from .surrogate import Derivative

__all__ = ["ALIF", "LIF"]


class LIF(SpikingCell):
    """A layer of leaky integrate-and-fire neurons (Gerstner et al., 2014, *Neuronal Dynamics*, section 1.3).

    The membrane obeys ``tau dv/dt = v_rest - v + x``. The input is constant during a step, so that the solution is
    exact for any `dt`: ``v' = v_rest + (v - v_rest) * a + (1 - a) * x`` with ``a = exp(-dt / tau)``. A neuron whose
    `v'` is at the threshold or above spikes, and is reset in the same step.

    The constants are numbers, arrays with one for each neuron, or states: a ParamState is trained, and a
    ``Constrained(10.0, Softplus())`` stays positive.

    Args:
        in_size: The number of neurons, or the shape of the layer without the batch.
        tau: The time constant of the membrane, in the unit of `dt`.
        dt: The time of one step.
        threshold: The value of the membrane at which a neuron spikes.
        v_rest: The value that the membrane approaches without input.
        v_reset: The value of the membrane after a spike.
        v_init: The first value of the membrane; None for `v_rest`.
        reset: `"soft"` subtracts ``threshold - v_reset`` from the membrane and keeps what is above the threshold;
            `"hard"` sets it to `v_reset`.
        refractory: How long a neuron keeps its value after a spike, in the unit of `dt`, rounded up to whole steps.
        detach_reset: Whether gradients take the reset for a constant, which trains better (Zenke and Vogels, 2021).
        surrogate: The derivative of a spike by ``v' - threshold``, as for `surrogate_spike`.
        slope: The slope of the surrogate; None for its usual one.
        dtype: The dtype of the membrane; None for float32.

    Attributes:
        v: The carry, a HiddenState of shape ``(*batch, *in_size)`` that `init_state` makes.
        wait: Its second part where there is a refractory time: the steps for which each neuron is still held.

    Raises:
        ValueError: `tau`, `dt` or a size is not positive, the threshold is not above `v_reset`, or `reset` or
            `surrogate` is unknown.

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

    def __init__(
        self,
        in_size: int | Sequence[int],
        *,
        tau: Given = 10.0,
        dt: float = 1.0,
        threshold: Given = 1.0,
        v_rest: Given = 0.0,
        v_reset: Given = 0.0,
        v_init: Given | None = None,
        reset: str = "soft",
        refractory: Given = 0.0,
        detach_reset: bool = True,
        surrogate: str | Derivative = "arctan",
        slope: float | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_size, dt=dt, threshold=threshold, v_reset=v_reset, v_init=v_init,
            reset=reset, refractory=refractory, detach_reset=detach_reset, surrogate=surrogate, slope=slope,
            dtype=dtype,
        )  # fmt: skip
        self.tau: Constant = as_constant("tau", tau, self.in_size, above=0.0)
        self.v_rest: Constant = as_constant("v_rest", v_rest, self.in_size)

    def _move(self, x: jax.Array, *variables: jax.Array) -> tuple[jax.Array, ...]:
        (v,) = variables
        left, gone = decay(self.dt, self.tau, v)
        rest = of_constant(self.v_rest, v)
        return (rest + (v - rest) * left + gone * x,)


class ALIF(SpikingCell):
    """A layer of leaky integrate-and-fire neurons whose threshold rises with each spike (Bellec et al., 2018).

    The membrane is that of `LIF`. A spike adds 1 to `a`, which decays: ``tau_a da/dt = -a``, and a neuron spikes at
    ``threshold + beta * a``. Both equations are solved exactly.

    Args:
        in_size: As for `LIF`, and so are all constants below but the next two.
        tau_a: The time constant of the adaptation.
        beta: How much a spike raises the threshold.
        tau: The time constant of the membrane.
        dt: The time of one step.
        threshold: The value of the membrane at which a neuron spikes that was silent for a long time.
        v_rest: The value that the membrane approaches without input.
        v_reset: The value of the membrane after a spike.
        v_init: The first value of the membrane; None for `v_rest`.
        reset: `"soft"` subtracts ``threshold - v_reset``, `"hard"` puts the membrane at `v_reset`.
        refractory: How long a neuron keeps its value after a spike, as for `LIF`.
        detach_reset: Whether gradients take the reset for a constant; the adaptation is not one.
        surrogate: The derivative of a spike.
        slope: The slope of the surrogate; None for its usual one.
        dtype: The dtype of the variables; None for float32.

    Attributes:
        v: The membrane, a HiddenState that `init_state` makes.
        a: The adaptation.
        wait: As for `LIF`.

    Raises:
        ValueError: As for `LIF`.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import ALIF
        >>> from brainstate_transform import for_loop
        >>> neurons = ALIF(1, tau_a=100.0, beta=0.5)
        >>> neurons.init_state()
        >>> spikes = for_loop(lambda: neurons(jnp.array([2.0])), length=100)
        >>> spikes[:50].sum().item(), spikes[50:].sum().item()
        (3.0, 1.0)
    """

    _variables: tuple[str, ...] = ("v", "a")
    a: HiddenState

    def __init__(
        self,
        in_size: int | Sequence[int],
        *,
        tau_a: Given = 200.0,
        beta: Given = 1.0,
        tau: Given = 10.0,
        dt: float = 1.0,
        threshold: Given = 1.0,
        v_rest: Given = 0.0,
        v_reset: Given = 0.0,
        v_init: Given | None = None,
        reset: str = "soft",
        refractory: Given = 0.0,
        detach_reset: bool = True,
        surrogate: str | Derivative = "arctan",
        slope: float | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_size, dt=dt, threshold=threshold, v_reset=v_reset, v_init=v_init,
            reset=reset, refractory=refractory, detach_reset=detach_reset, surrogate=surrogate, slope=slope,
            dtype=dtype,
        )  # fmt: skip
        self.tau: Constant = as_constant("tau", tau, self.in_size, above=0.0)
        self.v_rest: Constant = as_constant("v_rest", v_rest, self.in_size)
        self.tau_a: Constant = as_constant("tau_a", tau_a, self.in_size, above=0.0)
        self.beta: Constant = as_constant("beta", beta, self.in_size)

    def _move(self, x: jax.Array, *variables: jax.Array) -> tuple[jax.Array, ...]:
        v, a = variables
        left, gone = decay(self.dt, self.tau, v)
        rest = of_constant(self.v_rest, v)
        return rest + (v - rest) * left + gone * x, a * decay(self.dt, self.tau_a, a)[0]

    def _threshold_now(self, v: jax.Array, *others: jax.Array) -> Any:
        return of_constant(self.threshold, v) + of_constant(self.beta, v) * others[0]

    def _jump(self, spike: jax.Array, *others: jax.Array) -> tuple[jax.Array, ...]:
        return (others[0] + spike,)

"""``ExpIF`` and ``AdEx``: integrate-and-fire neurons whose spike begins by an exponential current, without a knee.

The leak is solved exactly over a step, with the exponential current held at what it is at the beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .._core.states import HiddenState
from .._recurrent.constants import Constant, Given, as_constant, decay, of_constant
from .spiking_cell import SpikingCell
from .surrogate import Derivative

__all__ = ["AdEx", "ExpIF"]


class ExpIF(SpikingCell):
    """A layer of exponential integrate-and-fire neurons (Fourcaud-Trocme et al., 2003), in mV and ms.

    The membrane obeys ``tau dv/dt = v_rest - v + delta * exp((v - v_rise) / delta) + x``. Above `v_rise` it runs away,
    and at `threshold` it is reset to `v_reset`.

    Args:
        in_size: The number of neurons, or the shape of the layer without the batch.
        tau: The time constant of the membrane. This and all constants below may be numbers, arrays with one for each
            neuron, or states.
        delta: The slope factor of the exponential current, in mV; smaller is sharper.
        v_rise: The value of the membrane where the exponential rise begins, in mV.
        dt: The time of one step.
        threshold: The value of the membrane at which a neuron spikes.
        v_rest: The value that the membrane approaches without input.
        v_reset: The value of the membrane after a spike.
        v_init: The first value of the membrane; None for `v_rest`.
        refractory: How long, in ms, the membrane keeps its value after a spike.
        detach_reset: Whether gradients take the reset for a constant.
        surrogate: The derivative of a spike.
        slope: The slope of the surrogate, in 1 / mV; None for its usual one.
        dtype: The dtype of the spikes; None for float32. The variables are float32 at least.

    Attributes:
        v: The membrane, a HiddenState that `init_state` makes.
        wait: As for `LIF`.

    Raises:
        ValueError: A constant or a size is out of its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import ExpIF
        >>> from brainstate_transform import for_loop
        >>> neurons = ExpIF(2)
        >>> neurons.init_state()
        >>> spikes = for_loop(lambda: neurons(jnp.array([1.0, 30.0])), length=1000)
        >>> (spikes.sum(0) > 0).tolist()
        [False, True]
    """

    _wide = True

    def __init__(
        self,
        in_size: int | Sequence[int],
        *,
        tau: Given = 10.0,
        delta: Given = 3.48,
        v_rise: Given = -59.9,
        dt: float = 0.1,
        threshold: Given = -30.0,
        v_rest: Given = -65.0,
        v_reset: Given = -68.0,
        v_init: Given | None = None,
        refractory: Given = 0.0,
        detach_reset: bool = True,
        surrogate: str | Derivative = "arctan",
        slope: float | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_size, dt=dt, threshold=threshold, v_reset=v_reset, v_init=v_init,
            refractory=refractory, detach_reset=detach_reset, surrogate=surrogate, slope=slope, dtype=dtype,
        )  # fmt: skip
        self.tau: Constant = as_constant("tau", tau, self.in_size, above=0.0)
        self.delta: Constant = as_constant("delta", delta, self.in_size, above=0.0)
        self.v_rise: Constant = as_constant("v_rise", v_rise, self.in_size)
        self.v_rest: Constant = as_constant("v_rest", v_rest, self.in_size)

    def _move(self, x: jax.Array, *variables: jax.Array) -> tuple[jax.Array, ...]:
        (v,) = variables
        return (_membrane(self, v, x),)


class AdEx(SpikingCell):
    """A layer of adaptive exponential integrate-and-fire neurons (Brette and Gerstner, 2005), in mV and ms.

    The membrane obeys ``tau dv/dt = v_rest - v + delta * exp((v - v_rise) / delta) - w + x``, and the adaptation
    ``tau_w dw/dt = a * (v - v_rest) - w``; a spike puts `v` to `v_reset` and adds `b` to `w`. Currents are in mV: those
    of the source, divided by its leak conductance of 30 nS. The usual constants are those of the source.

    Args:
        in_size: The number of neurons, or the shape of the layer without the batch.
        tau: The time constant of the membrane. This and all constants below may be numbers, arrays with one for each
            neuron, or states.
        delta: The slope factor of the exponential current, in mV; smaller is sharper.
        v_rise: The value of the membrane where the exponential rise begins, in mV.
        tau_w: The time constant of the adaptation.
        a: How much the adaptation follows the membrane.
        b: How much a spike adds to it.
        dt: The time of one step.
        threshold: The value of the membrane at which a neuron spikes.
        v_rest: The value that the membrane approaches without input.
        v_reset: The value of the membrane after a spike.
        v_init: The first value of the membrane; None for `v_rest`.
        refractory: How long, in ms, the membrane keeps its value after a spike; the adaptation goes on.
        detach_reset: Whether gradients take the reset for a constant; the adaptation is not one.
        surrogate: The derivative of a spike.
        slope: The slope of the surrogate, in 1 / mV; None for its usual one.
        dtype: The dtype of the spikes; None for float32. The variables are float32 at least.

    Attributes:
        v: The membrane, a HiddenState that `init_state` makes.
        w: The adaptation.
        wait: As for `LIF`.

    Raises:
        ValueError: A constant or a size is out of its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import AdEx
        >>> from brainstate_transform import for_loop
        >>> neurons = AdEx(1)
        >>> neurons.init_state()
        >>> spikes = for_loop(lambda: neurons(jnp.array([33.0])), length=4000)
        >>> first, second, *_ = jnp.diff(jnp.nonzero(spikes[:, 0])[0])
        >>> bool(first < second)
        True
    """

    _wide = True
    _variables: tuple[str, ...] = ("v", "w")
    w: HiddenState

    def __init__(
        self,
        in_size: int | Sequence[int],
        *,
        tau: Given = 281 / 30,
        delta: Given = 2.0,
        v_rise: Given = -50.4,
        tau_w: Given = 144.0,
        a: Given = 4 / 30,
        b: Given = 80.5 / 30,
        dt: float = 0.1,
        threshold: Given = 20.0,
        v_rest: Given = -70.6,
        v_reset: Given = -70.6,
        v_init: Given | None = None,
        refractory: Given = 0.0,
        detach_reset: bool = True,
        surrogate: str | Derivative = "arctan",
        slope: float | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_size, dt=dt, threshold=threshold, v_reset=v_reset, v_init=v_init,
            refractory=refractory, detach_reset=detach_reset, surrogate=surrogate, slope=slope, dtype=dtype,
        )  # fmt: skip
        self.tau: Constant = as_constant("tau", tau, self.in_size, above=0.0)
        self.delta: Constant = as_constant("delta", delta, self.in_size, above=0.0)
        self.v_rise: Constant = as_constant("v_rise", v_rise, self.in_size)
        self.v_rest: Constant = as_constant("v_rest", v_rest, self.in_size)
        self.tau_w: Constant = as_constant("tau_w", tau_w, self.in_size, above=0.0)
        self.a: Constant = as_constant("a", a, self.in_size)
        self.b: Constant = as_constant("b", b, self.in_size)

    def _move(self, x: jax.Array, *variables: jax.Array) -> tuple[jax.Array, ...]:
        v, w = variables
        goal = of_constant(self.a, v) * (v - of_constant(self.v_rest, v))
        return _membrane(self, v, x - w), goal + (w - goal) * decay(self.dt, self.tau_w, w)[0]

    def _jump(self, spike: jax.Array, *others: jax.Array) -> tuple[jax.Array, ...]:
        return (others[0] + of_constant(self.b, spike) * spike,)


def _membrane(neurons: ExpIF | AdEx, v: jax.Array, x: jax.Array) -> jax.Array:
    """Return the membrane after a step with the current `x` and the exponential one."""
    rest, delta = of_constant(neurons.v_rest, v), of_constant(neurons.delta, v)
    # exp(20) of them end any spike within a step of a microsecond, and do not overflow.
    rise = delta * jnp.exp(jnp.minimum((v - of_constant(neurons.v_rise, v)) / delta, 20.0))
    left, gone = decay(neurons.dt, neurons.tau, v)
    return rest + (v - rest) * left + gone * (x + rise)

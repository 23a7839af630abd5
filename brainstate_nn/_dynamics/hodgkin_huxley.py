"""``HodgkinHuxley``: neurons whose spike is made by channels of sodium and potassium, and needs no reset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .._core.arguments import as_dtype, as_positive, as_sizes
from .._core.inputs import promote, wide_dtype
from .._core.sharded import spread_as
from .._core.states import HiddenState
from .._recurrent.cell import RecurrentCell
from .._recurrent.constants import Constant, Given, as_constant, numbers_in, of_constant
from .exp_euler import exp_euler_step, exprel
from .surrogate import Derivative, as_surrogate, surrogate_spike

__all__ = ["HodgkinHuxley"]


def _sodium_opens(v: jax.Array) -> tuple[jax.Array, jax.Array]:
    # x / (1 - exp(-x)) is 1 / exprel(-x), which has a value at 0 too.
    return 1.0 / exprel(-(v + 40) / 10), 4.0 * jnp.exp(-(v + 65) / 18)


def _sodium_closes(v: jax.Array) -> tuple[jax.Array, jax.Array]:
    return 0.07 * jnp.exp(-(v + 65) / 20), jax.nn.sigmoid((v + 35) / 10)


def _potassium_opens(v: jax.Array) -> tuple[jax.Array, jax.Array]:
    return 0.1 / exprel(-(v + 55) / 10), 0.125 * jnp.exp(-(v + 65) / 80)


def _rates(v: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
    # At -1,600 mV, where a mistaken unit leads, the rates leave single precision; no membrane comes to -500.
    v = jnp.maximum(v, -500.0)
    return [_sodium_opens(v), _sodium_closes(v), _potassium_opens(v)]


class HodgkinHuxley(RecurrentCell):
    """A layer of neurons of Hodgkin and Huxley (1952, The Journal of Physiology 117), the squid's axon at 6.3 degrees.

    ``c dv/dt = x - g_na m**3 h (v - e_na) - g_k n**4 (v - e_k) - g_leak (v - e_leak)``, in mV, ms, mS and microfarad
    for each square centimetre. Each gate obeys ``dm/dt = alpha(v) (1 - m) - beta(v) m`` with the rates of the source,
    in today's sign and with rest at -65 mV. All four take a step of `exp_euler_step`.

    A spike is where the membrane passes `threshold` from below.

    Args:
        in_size: The number of neurons, or the shape of the layer without the batch.
        c: The capacitance, in microfarad for each square centimetre. This and all constants below may be numbers,
            arrays with one for each neuron, or states.
        g_na: The maximal conductance of sodium, in mS for each square centimetre.
        g_k: The maximal conductance of potassium.
        g_leak: The conductance of the leak.
        e_na: The reversal potential of sodium, in mV.
        e_k: The reversal potential of potassium.
        e_leak: The reversal potential of the leak.
        threshold: The value that the membrane passes from below in a spike, in mV.
        v_init: The first value of the membrane, in mV; the gates start at their steady state there.
        dt: The time of one step, in ms; above 0.1 the spikes come late.
        surrogate: The derivative of a spike by ``v - threshold``.
        slope: The slope of the surrogate, in 1 / mV; None for its usual one.
        dtype: The dtype of the spikes; None for float32. The variables are float32 at least.

    Attributes:
        v: The membrane, a HiddenState of shape ``(*batch, *in_size)`` that `init_state` makes.
        m: The activation of the sodium channels, between 0 and 1.
        h: Their inactivation: 1 for none.
        n: The activation of the potassium channels.

    Raises:
        ValueError: A constant or a size is out of its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import HodgkinHuxley
        >>> from brainstate_transform import for_loop
        >>> neurons = HodgkinHuxley(2, dt=0.05)
        >>> neurons.init_state()
        >>> spikes = for_loop(lambda: neurons(jnp.array([0.0, 10.0])), length=2000)
        >>> spikes.sum(0).tolist()
        [0.0, 7.0]
    """

    hidden_names: tuple[str, ...] = ("v", "m", "h", "n")
    v: HiddenState
    m: HiddenState
    h: HiddenState
    n: HiddenState

    def __init__(
        self,
        in_size: int | Sequence[int],
        *,
        c: Given = 1.0,
        g_na: Given = 120.0,
        g_k: Given = 36.0,
        g_leak: Given = 0.3,
        e_na: Given = 50.0,
        e_k: Given = -77.0,
        e_leak: Given = -54.387,
        threshold: Given = 0.0,
        v_init: Given = -65.0,
        dt: float = 0.05,
        surrogate: str | Derivative = "arctan",
        slope: float | None = None,
        dtype: Any = None,
    ) -> None:
        self.in_size = as_sizes("in_size", in_size)
        self.c: Constant = as_constant("c", c, self.in_size, above=0.0)
        self.g_na: Constant = as_constant("g_na", g_na, self.in_size, least=0.0)
        self.g_k: Constant = as_constant("g_k", g_k, self.in_size, least=0.0)
        self.g_leak: Constant = as_constant("g_leak", g_leak, self.in_size, least=0.0)
        self.e_na: Constant = as_constant("e_na", e_na, self.in_size)
        self.e_k: Constant = as_constant("e_k", e_k, self.in_size)
        self.e_leak: Constant = as_constant("e_leak", e_leak, self.in_size)
        self.threshold: Constant = as_constant("threshold", threshold, self.in_size)
        self.v_init: Constant = as_constant("v_init", v_init, self.in_size)
        self.dt = as_positive("dt", dt)
        self.surrogate, self.slope = as_surrogate(surrogate, slope)
        self.dtype = as_dtype(dtype)

    def initial_carry(self, batch_shape: Sequence[int] = ()) -> tuple[jax.Array, ...]:
        """Return the membrane at `v_init`, and gates that do not move there.

        Args:
            batch_shape: The batch axes of the inputs.

        Returns:
            Four arrays of shape ``(*batch_shape, *in_size)``.
        """
        dtype = jnp.float32 if self.dtype is None else wide_dtype(self.dtype)
        v = jnp.broadcast_to(jnp.asarray(numbers_in(self.v_init), dtype), (*batch_shape, *self.in_size))
        return (v, *[opens / (opens + closes) for opens, closes in _rates(v)])

    def step(self, carry: tuple[jax.Array, ...], x: jax.Array) -> tuple[tuple[jax.Array, ...], jax.Array]:
        """Compute one step.

        Args:
            carry: The tuple ``(v, m, h, n)``.
            x: The input current, of shape ``(*batch, *in_size)``, in microampere for each square centimetre.

        Returns:
            The new carry, and the spikes: zeros and ones of the shape of `x`.
        """
        x, *parts = self._as_step_inputs(carry, x, self.in_size, *[self.in_size] * 4)
        wide = None if self.dtype is None else wide_dtype(self.dtype)
        x, v, *gates = promote(x, *[spread_as(part, x) for part in parts], dtype=wide)
        gates = [
            exp_euler_step(lambda gate, opens, closes: opens * (1 - gate) - closes * gate, gate, *rates, dt=self.dt)
            for gate, rates in zip(gates, _rates(v), strict=True)
        ]
        new = exp_euler_step(self._slope_of_v, v, x, *gates, dt=self.dt)
        threshold = of_constant(self.threshold, v)
        passed = surrogate_spike(new - threshold, self.surrogate, self.slope)
        spike = jnp.where(v < threshold, passed, jnp.zeros_like(passed))
        spike = spike if self.dtype is None else spike.astype(self.dtype)
        return tuple(a.astype(b.dtype) for a, b in zip((new, *gates), parts, strict=True)), spike

    def _slope_of_v(self, v: jax.Array, x: jax.Array, m: jax.Array, h: jax.Array, n: jax.Array) -> jax.Array:
        def through(g: Constant, e: Constant) -> jax.Array:
            return of_constant(g, v) * (v - of_constant(e, v))

        sodium = m**3 * h * through(self.g_na, self.e_na)
        potassium = n**4 * through(self.g_k, self.e_k)
        return (x - sodium - potassium - through(self.g_leak, self.e_leak)) / of_constant(self.c, v)

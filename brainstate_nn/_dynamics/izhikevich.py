"""``Izhikevich``: neurons of two equations that spike, burst and adapt as those of the cortex do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from .._core.states import HiddenState
from .._recurrent.constants import Constant, Given, as_constant, of_constant
from .exp_euler import exp_euler_step
from .spiking_cell import SpikingCell
from .surrogate import Derivative

__all__ = ["Izhikevich"]


class Izhikevich(SpikingCell):
    """A layer of Izhikevich's neurons (2003, IEEE Transactions on Neural Networks 14), in mV and ms.

    ``dv/dt = 0.04 v**2 + 5 v + 140 - u + x`` and ``du/dt = a * (b * v - u)``; at `threshold` a spike puts `v` to
    `v_reset`, the `c` of the source, and adds `d` to `u`. Each equation takes a step of `exp_euler_step`.

    Args:
        in_size: The number of neurons, or the shape of the layer without the batch.
        a: The rate of the recovery, in 1 / ms. This and all constants below may be numbers, arrays with one for each
            neuron, or states. The defaults make regular spikes.
        b: How much the recovery follows the membrane.
        d: How much a spike adds to the recovery.
        dt: The time of one step.
        threshold: The value of the membrane at which a neuron spikes.
        v_reset: The value of the membrane after a spike.
        v_init: The first value of the membrane; None for `v_reset`. The recovery starts at `b` times that.
        refractory: How long, in ms, the membrane keeps its value after a spike; the recovery goes on.
        detach_reset: Whether gradients take the reset for a constant; the recovery is not one.
        surrogate: The derivative of a spike.
        slope: The slope of the surrogate, in 1 / mV; None for its usual one.
        dtype: The dtype of the spikes; None for float32. The variables are float32 at least.

    Attributes:
        v: The membrane, a HiddenState that `init_state` makes.
        u: The recovery.
        wait: As for `LIF`.

    Raises:
        ValueError: A constant or a size is out of its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Izhikevich
        >>> from brainstate_transform import for_loop
        >>> regular_and_fast = Izhikevich(2, a=[0.02, 0.1], d=[8.0, 2.0])
        >>> regular_and_fast.init_state()
        >>> spikes = for_loop(lambda: regular_and_fast(jnp.full(2, 10.0)), length=1000)
        >>> bool(spikes[:, 0].sum() < spikes[:, 1].sum())
        True
    """

    _wide = True
    _variables: tuple[str, ...] = ("v", "u")
    u: HiddenState

    def __init__(
        self,
        in_size: int | Sequence[int],
        *,
        a: Given = 0.02,
        b: Given = 0.2,
        d: Given = 8.0,
        dt: float = 0.1,
        threshold: Given = 30.0,
        v_reset: Given = -65.0,
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
        self.a: Constant = as_constant("a", a, self.in_size)
        self.b: Constant = as_constant("b", b, self.in_size)
        self.d: Constant = as_constant("d", d, self.in_size)

    def _others(self, v: jax.Array) -> tuple[jax.Array, ...]:
        return (v * of_constant(self.b, v),)

    def _move(self, x: jax.Array, *variables: jax.Array) -> tuple[jax.Array, ...]:
        v, u = variables
        a, b = of_constant(self.a, v), of_constant(self.b, v)
        # (0.04 v + 5) v and not 0.04 v**2 + 5 v: the terms are of opposite signs and near to each other.
        new_v = exp_euler_step(lambda v, u, x: (0.04 * v + 5) * v + 140 - u + x, v, u, x, dt=self.dt)
        return new_v, exp_euler_step(lambda u, v: a * (b * v - u), u, v, dt=self.dt)

    def _jump(self, spike: jax.Array, *others: jax.Array) -> tuple[jax.Array, ...]:
        return (others[0] + of_constant(self.d, spike) * spike,)

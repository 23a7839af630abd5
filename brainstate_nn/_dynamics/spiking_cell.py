"""``SpikingCell``: the base of neurons that spike at a threshold, are reset, and may be refractory.

A subclass says how its variables move in a step, and what a spike does to those beside the membrane.
"""

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
from .._recurrent.constants import Constant, Given, as_constant, check_above, numbers_in, of_constant
from .surrogate import Derivative, as_surrogate, surrogate_spike

__all__ = ["SpikingCell"]


class SpikingCell(RecurrentCell):
    """The base of neurons: a subclass defines `_move`, and where a spike does more than reset, `_jump`.

    Its variables are `v`, the membrane, and those that `_variables` lists behind it. Neurons that are refractory have
    one more part of the carry, `wait`: the steps for which they are still held.

    Args:
        in_size: The number of neurons, or the shape of the layer without the batch.
        dt: The time of one step.
        threshold: The value of the membrane at which a neuron spikes.
        v_reset: The value of the membrane after a spike.
        v_init: The first value of the membrane; None for `v_rest`, or `v_reset` where there is none.
        reset: `"soft"` or `"hard"`.
        refractory: How long a neuron keeps its value after a spike, in the unit of `dt`; 0 for not at all.
        detach_reset: Whether gradients take the reset for a constant.
        surrogate: The derivative of a spike by ``v - threshold``.
        slope: The slope of the surrogate; None for its usual one.
        dtype: The dtype of the spikes, and of the variables where the class does not keep these `_wide`.
    """

    v: HiddenState
    _variables: tuple[str, ...] = ("v",)
    # In mV: at -65 bfloat16 has steps of 0.5, and what a membrane moves by in 0.1 ms would be lost.
    _wide: bool = False

    def __init__(
        self,
        in_size: int | Sequence[int],
        *,
        dt: float,
        threshold: Given,
        v_reset: Given,
        v_init: Given | None = None,
        reset: str = "hard",
        refractory: Given = 0.0,
        detach_reset: bool = True,
        surrogate: str | Derivative = "arctan",
        slope: float | None = None,
        dtype: Any = None,
    ) -> None:
        self.in_size = as_sizes("in_size", in_size)
        self.dt = as_positive("dt", dt)
        self.threshold: Constant = as_constant("threshold", threshold, self.in_size)
        self.v_reset: Constant = as_constant("v_reset", v_reset, self.in_size)
        check_above("threshold", self.threshold, "v_reset", self.v_reset)
        self.v_init: Constant | None = None if v_init is None else as_constant("v_init", v_init, self.in_size)
        if reset not in ("soft", "hard"):
            raise ValueError(f'reset must be "soft" or "hard", not {reset!r}')
        self.reset = reset
        self.refractory: Constant = as_constant("refractory", refractory, self.in_size, least=0.0)
        self.detach_reset = bool(detach_reset)
        self.surrogate, self.slope = as_surrogate(surrogate, slope)
        self.dtype = as_dtype(dtype)

    @property
    def hidden_names(self) -> tuple[str, ...]:
        """The parts of the carry: `wait` is one where there is a refractory time, which may be set later too."""
        held = not isinstance(self.refractory, (int, float)) or self.refractory > 0
        return (*self._variables, "wait") if held else self._variables

    def initial_carry(self, batch_shape: Sequence[int] = ()) -> Any:
        """Return the variables before the first step.

        Args:
            batch_shape: The batch axes of the inputs.

        Returns:
            An array of shape ``(*batch_shape, *in_size)``, or a tuple of one for each of `hidden_names`.
        """
        shape = (*batch_shape, *self.in_size)
        dtype = jnp.float32 if self.dtype is None else self._dtype_of_variables
        start = getattr(self, "v_rest", self.v_reset) if self.v_init is None else self.v_init
        v = jnp.broadcast_to(jnp.asarray(numbers_in(start), dtype), shape)
        parts = (v, *self._others(v))
        if "wait" in self.hidden_names:
            parts = (*parts, jnp.zeros(shape, jnp.int32))
        return parts if len(parts) > 1 else v

    def step(self, carry: Any, x: jax.Array) -> tuple[Any, jax.Array]:
        """Compute one step.

        Args:
            carry: The membrane, of shape ``(*batch, *in_size)``, or the tuple of all variables.
            x: The input current of that shape, in units of the membrane.

        Returns:
            The carry after the reset, and the spikes: zeros and ones of the same shape.
        """
        x, *parts = self._as_step_inputs(carry, x, self.in_size, *[self.in_size] * len(self.hidden_names))
        parts = [spread_as(part, x) for part in parts]
        wait = parts.pop() if "wait" in self.hidden_names else None
        x, *variables = promote(x, *parts, dtype=self._dtype_of_variables)
        v, *others = self._move(x, *variables)
        free: Any = True
        if wait is not None:
            free = wait <= 0
            v = jnp.where(free, v, variables[0])
        spike = surrogate_spike(v - self._threshold_now(v, *others), self.surrogate, self.slope)
        if wait is not None:
            spike = jnp.where(free, spike, jnp.zeros_like(spike))
        after = [self._put_back(v, spike), *self._jump(spike, *others)]
        kept = [new.astype(old.dtype) for new, old in zip(after, parts, strict=True)]
        if wait is not None:
            kept.append(jnp.where(spike > 0, self._steps_held(v), jnp.maximum(wait - 1, 0)))
        return (tuple(kept) if len(kept) > 1 else kept[0]), spike if self.dtype is None else spike.astype(self.dtype)

    @property
    def _dtype_of_variables(self) -> Any:
        return wide_dtype(self.dtype) if self._wide and self.dtype is not None else self.dtype

    def _others(self, v: jax.Array) -> tuple[jax.Array, ...]:
        """Return the other variables before the first step."""
        return tuple(jnp.zeros_like(v) for _ in self._variables[1:])

    def _move(self, x: jax.Array, *variables: jax.Array) -> tuple[jax.Array, ...]:
        """Return the variables at the end of a step in which nothing spikes."""
        raise NotImplementedError

    def _threshold_now(self, v: jax.Array, *others: jax.Array) -> Any:
        """Return where the neurons spike in this step."""
        return of_constant(self.threshold, v)

    def _jump(self, spike: jax.Array, *others: jax.Array) -> tuple[jax.Array, ...]:
        """Return the other variables behind the spikes."""
        return others

    def _put_back(self, v: jax.Array, spike: jax.Array) -> jax.Array:
        # A gradient through the reset would undo part of that through the spike.
        back = jax.lax.stop_gradient(spike) if self.detach_reset else spike
        low = of_constant(self.v_reset, v)
        if self.reset == "soft":
            return v - back * (of_constant(self.threshold, v) - low)
        # Not v - back * (v - low): of a membrane that shot to 1e8 nothing is to be left in the last digits.
        return (1 - back) * v + back * low

    def _steps_held(self, like: jax.Array) -> jax.Array:
        steps = of_constant(self.refractory, like, wide=True) / self.dt
        # 0.3 / 0.1 is 3, and not a little more: a step that is begun counts whole.
        return jnp.ceil(jnp.asarray(steps, jnp.float32) - 1e-4).astype(jnp.int32)

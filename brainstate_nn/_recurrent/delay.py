"""``Delay``: a delay line, which returns what went in some steps ago."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from brainstate_graph import State
from brainstate_graph.extend import locate

from .._core.arguments import as_dtype, as_positive, as_sizes, is_number
from .._core.sharded import resharded
from .._core.states import HiddenState
from .cell import RecurrentCell
from .constants import Constant, Given, as_constant, numbers_in, of_constant

__all__ = ["Delay"]


class Delay(RecurrentCell):
    """A delay line: the output is the input of `delay` ago, and zero before there was one.

    The last inputs are kept in a ring, of which one slot is written in each step. A delay between whole numbers of
    steps is interpolated between the two steps around it, and that has a derivative by the delay: a ParamState is
    trained.

    Args:
        in_size: The number of features, or the shape of the input without the batch.
        delay: How much later, in the unit of `dt`; in steps where `dt` is left at 1. A number, an array with one for
            each feature, or a State of these.
        max_delay: The longest delay that there is room for; a delay beyond it, or below 0, counts as the nearest of
            both, and a gradient leads no further. None for the longest of `delay`; a State has no longest.
        dt: The time of one step.
        dtype: The dtype of the line; None for float32.

    Attributes:
        buffer: The first part of the carry: a HiddenState of shape ``(*batch, slots, *in_size)`` that `init_state`
            makes.
        position: The second part, without batch axes: the slot that is written next.

    Raises:
        ValueError: `delay` is negative or longer than `max_delay`, `dt` or a size is not positive, or a State is given
            without `max_delay`.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Delay
        >>> line = Delay(1, 1.5)
        >>> line.init_state()
        >>> [float(line(x)[0]) for x in jnp.array([[8.0], [4.0], [2.0], [0.0]])]
        [0.0, 4.0, 6.0, 3.0]
    """

    hidden_names: tuple[str, ...] = ("buffer", "position")
    buffer: HiddenState
    position: HiddenState

    def __init__(
        self,
        in_size: int | Sequence[int],
        delay: Given,
        *,
        max_delay: float | None = None,
        dt: float = 1.0,
        dtype: Any = None,
    ) -> None:
        self.in_size = as_sizes("in_size", in_size)
        self.delay: Constant = as_constant("delay", delay, self.in_size, least=0.0)
        self.max_delay = _longest(delay, self.delay, max_delay)
        self.dt = as_positive("dt", dt)
        self.dtype = as_dtype(dtype)

    def initial_carry(self, batch_shape: Sequence[int] = ()) -> tuple[jax.Array, jax.Array]:
        """Return an empty line.

        Args:
            batch_shape: The batch axes of the inputs.

        Returns:
            Zeros of shape ``(*batch_shape, slots, *in_size)``, and the slot to write first.
        """
        shape = (*batch_shape, self._slots, *self.in_size)
        return jnp.zeros(shape, jnp.float32 if self.dtype is None else self.dtype), jnp.int32(0)

    def step(self, carry: tuple[jax.Array, jax.Array], x: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        """Put in one input, and take out an earlier one.

        Args:
            carry: The pair ``(buffer, position)``.
            x: An array of shape ``(*batch, *in_size)``.

        Returns:
            The new carry, and the delayed input, of the shape of `x`.
        """
        x, buffer, position = self._as_step_inputs(carry, x, self.in_size, (self._slots, *self.in_size), None)
        # The slots are behind the batch axes, where the line has one axis more than the input.
        axis = x.ndim - len(self.in_size)
        x, buffer = _on_same_devices(x.astype(buffer.dtype), buffer, axis)
        buffer = jax.lax.dynamic_update_index_in_dim(buffer, x, position, axis)

        y = self._of_all(buffer, position) if is_number(self.delay) else self._of_each(buffer, position, axis)
        return (buffer, (position + 1) % self._slots), y

    def _of_all(self, buffer: jax.Array, position: jax.Array) -> jax.Array:
        """Take out what went in one delay ago: a slot, or two."""
        axis = buffer.ndim - len(self.in_size) - 1

        def ago(steps: int) -> jax.Array:
            slot = (position - steps) % self._slots
            return jax.lax.dynamic_index_in_dim(buffer, slot, axis, keepdims=False)

        if not 0.0 <= numbers_in(self.delay) <= self.max_delay:
            raise ValueError(
                f"{locate(self)} has room for delays from 0 to {self.max_delay:g}, but `delay` is now {self.delay}: "
                f"make the layer with `max_delay={self.delay}`"
            )
        whole, part = divmod(_steps(numbers_in(self.delay), self.dt), 1.0)
        y = ago(int(whole))
        return (1 - part) * y + part * ago(int(whole) + 1) if part else y

    def hold(self, before: Any, after: Any) -> tuple[jax.Array, jax.Array]:
        """Return the line of a sequence that has ended: its delays stay, so its slots move with the position.

        Args:
            before: The carry before the step.
            after: What `step` has made of it.

        Returns:
            A carry with the position of `after`, from which the line gives what it would have given before.
        """
        buffer, position = before[0], after[1]
        return jnp.roll(buffer, 1, buffer.ndim - len(self.in_size) - 1), position

    def _of_each(self, buffer: jax.Array, position: jax.Array, axis: int) -> jax.Array:
        """Take out what went in the delay of each feature ago: a slot of each, and the one before.

        Two slots are gathered; to compare all of them with the delay took 80 times as long for 250 slots.
        """
        like = jax.lax.index_in_dim(buffer, 0, axis, keepdims=False)
        delay = of_constant(self.delay, like, wide=True)
        # `jnp.clip` has no derivative at its bounds, where a delay of 0 would stay for ever.
        steps = jnp.where(delay < 0, 0.0, jnp.where(delay > self.max_delay, self.max_delay, delay)) / self.dt
        # A whole number of steps is one: 0.3 / 0.1 is 3. Rounding has no derivative, and this one is 1.
        near = jnp.round(steps)
        steps = jnp.where(jnp.abs(steps - near) < 1e-4, near + (steps - jax.lax.stop_gradient(steps)), steps)
        whole = jnp.floor(jax.lax.stop_gradient(steps))
        part = (steps - whole).astype(buffer.dtype)

        def ago(steps: jax.Array) -> jax.Array:
            slots = jnp.broadcast_to((position - steps.astype(jnp.int32)) % self._slots, like.shape)
            return jnp.take_along_axis(buffer, jnp.expand_dims(slots, axis), axis).squeeze(axis)

        return (1 - part) * ago(whole) + part * ago(whole + 1)

    @property
    def _slots(self) -> int:
        # One more than the delay, for the input of now is put in before an earlier one is taken out.
        return math.ceil(_steps(self.max_delay, self.dt)) + 1


def _steps(time: float, dt: float) -> float:
    # 0.3 / 0.1 is 3, and not a little less.
    return round(time / dt, 9)


def _longest(given: Given, delay: Constant, longest: float | None) -> float:
    if longest is None:
        if isinstance(given, State):
            raise ValueError(
                "a delay in a State may change, so the layer needs the longest delay to make room for: write "
                "`max_delay=20.0`"
            )
        found = numbers_in(delay)
        if isinstance(found, Tracer):
            raise ValueError("the values of a traced delay are not known, so give the longest: write `max_delay=20.0`")
        return float(np.max(np.asarray(found)))
    if not is_number(longest) or not 0.0 <= longest < math.inf:
        raise ValueError(f"max_delay must be a number that is not negative, not {longest!r}")
    found = numbers_in(delay)
    if not isinstance(found, Tracer) and np.max(np.asarray(found)) > longest:
        raise ValueError(f"delay must not be longer than max_delay={longest:g}, but has {np.max(found):g}")
    return float(longest)


def _on_same_devices(x: jax.Array, buffer: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """Bring one input and the line to shardings that go together, on which an update of a slice insists."""
    ours, theirs = jax.typeof(x).sharding.spec, jax.typeof(buffer).sharding.spec
    if any(ours):
        return x, resharded(buffer, jax.P(*ours[:axis], None, *ours[axis:]), x)
    return (resharded(x, jax.P(*theirs[:axis], *theirs[axis + 1 :]), buffer) if any(theirs) else x), buffer

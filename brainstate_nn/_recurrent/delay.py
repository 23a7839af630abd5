"""``Delay``: a delay line, which returns what went in some steps ago."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .._core.arguments import as_dtype, as_positive, as_sizes, is_number
from .._core.sharded import resharded
from .._core.states import HiddenState
from .cell import RecurrentCell

__all__ = ["Delay"]


class Delay(RecurrentCell):
    """A delay line: the output is the input of `delay` ago, and zero before there was one.

    The last inputs are kept in a ring, of which one slot is written in each step. A delay that is no whole number of
    steps is interpolated between the two steps around it.

    Args:
        in_size: The number of features, or the shape of the input without the batch.
        delay: How much later, in the unit of `dt`; in steps where `dt` is left at 1.
        dt: The time of one step.
        dtype: The dtype of the line; None for float32.

    Attributes:
        buffer: The first part of the carry: a HiddenState of shape ``(*batch, slots, *in_size)`` that `init_state`
            makes.
        position: The second part, without batch axes: the slot that is written next.

    Raises:
        ValueError: `delay` is negative, or `dt` or a size is not positive.

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

    def __init__(self, in_size: int | Sequence[int], delay: float, *, dt: float = 1.0, dtype: Any = None) -> None:
        self.in_size = as_sizes("in_size", in_size)
        if not is_number(delay) or not 0.0 <= delay < math.inf:
            raise ValueError(f"delay must be a number that is not negative, not {delay!r}")
        self.delay = float(delay)
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
        # The slots stand behind the batch axes, where the line has one axis more than the input.
        axis = x.ndim - len(self.in_size)
        x, buffer = _on_same_devices(x.astype(buffer.dtype), buffer, axis)
        buffer = jax.lax.dynamic_update_index_in_dim(buffer, x, position, axis)

        def ago(steps: int) -> jax.Array:
            slot = (position - steps) % self._slots
            return jax.lax.dynamic_index_in_dim(buffer, slot, axis, keepdims=False)

        whole, part = divmod(self._steps, 1.0)
        y = ago(int(whole))
        if part:
            y = (1 - part) * y + part * ago(int(whole) + 1)
        return (buffer, (position + 1) % self._slots), y

    def hold(self, before: Any, after: Any) -> tuple[jax.Array, jax.Array]:
        """Return the line of a sequence that has ended: it stands still, so its slots move with the position of all.

        Args:
            before: The carry before the step.
            after: What `step` has made of it.

        Returns:
            A carry with the position of `after`, from which the line gives what it would have given before.
        """
        buffer, position = before[0], after[1]
        return jnp.roll(buffer, 1, buffer.ndim - len(self.in_size) - 1), position

    @property
    def _steps(self) -> float:
        # 0.3 / 0.1 is 3, and not a little less.
        return round(self.delay / self.dt, 9)

    @property
    def _slots(self) -> int:
        # One more than the delay, for the input of now is put in before an earlier one is taken out.
        return math.ceil(self._steps) + 1


def _on_same_devices(x: jax.Array, buffer: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """Bring one input and the line to shardings that go together, on which an update of a slice insists."""
    ours, theirs = jax.typeof(x).sharding.spec, jax.typeof(buffer).sharding.spec
    if any(ours):
        return x, resharded(buffer, jax.P(*ours[:axis], None, *ours[axis:]), x)
    return (resharded(x, jax.P(*theirs[:axis], *theirs[axis + 1 :]), buffer) if any(theirs) else x), buffer

"""``RecurrentCell``: the base of what remembers from step to step.

A cell has two faces. Its pure face, `initial_carry` and `step`, is a function from a carry to a carry, which `RNN` and
any `scan` run. Its stateful face keeps the carry in hidden states, so that a model calls the cell like any layer. A
subclass defines the pure face; this class makes the stateful one of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph.extend import assign_values, describe, locate

from .._core.arguments import as_sizes
from .._core.inputs import as_input
from .._core.module import Module
from .._core.sharded import named_sharding, with_sharding
from .._core.states import HiddenState, ShortTermState

__all__ = ["BatchSize", "RecurrentCell", "as_batch_shape", "no_hidden_state"]

BatchSize = int | Sequence[int] | None


class RecurrentCell(Module):
    """The base of what remembers from step to step: a subclass with `step` and `initial_carry` has both faces.

    The pure face is ``carry, y = cell.step(carry, x)``, from ``cell.initial_carry(batch_shape)`` on; the runner `RNN`
    uses it. The stateful face is ``y = cell(x)``: the carry is kept in HiddenStates, which `init_state` makes.

    Attributes:
        hidden_names: The attributes that hold the parts of the carry. The carry is a tuple in this order, and where
            there is only one, that part itself.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import RecurrentCell
        >>> class Sum(RecurrentCell):
        ...     def initial_carry(self, batch_shape=()):
        ...         return jnp.zeros((*batch_shape, 3))
        ...
        ...     def step(self, carry, x):
        ...         return carry + x, carry + x
        >>> cell = Sum()
        >>> cell.init_state(2)
        >>> [float(cell(jnp.ones((2, 3)))[0, 0]) for _ in range(3)]
        [1.0, 2.0, 3.0]
        >>> cell.h
        HiddenState(f32[2,3])
    """

    hidden_names: tuple[str, ...] = ("h",)
    _graph_settings = ("hidden_names", *Module._graph_settings)

    @property
    def num_feature_axes(self) -> int:
        """How many last axes of the input are features: those of `in_size`, or 1 without it."""
        size = getattr(self, "in_size", None)
        return len(size) if isinstance(size, tuple) else 1

    def initial_carry(self, batch_shape: Sequence[int] = ()) -> Any:
        """Return the carry before the first step.

        Args:
            batch_shape: The batch axes of the inputs.

        Returns:
            Arrays that have these axes first.
        """
        raise NotImplementedError(f"define `def initial_carry(self, batch_shape=()): ...` in {type(self).__name__}")

    def step(self, carry: Any, x: jax.Array) -> tuple[Any, Any]:
        """Compute one step; the states of the cell are neither read nor written.

        Args:
            carry: What `initial_carry` or the step before returned.
            x: The input of this step.

        Returns:
            The new carry, of the same shapes and dtypes, and the output.
        """
        raise NotImplementedError(f"define `def step(self, carry, x): ...` in {type(self).__name__}")

    def hold(self, before: Any, after: Any) -> Any:
        """Return the carry of a sequence that has ended, at a step of others in its batch.

        Where `RNN` gets `lengths` it asks at each step. A part of the carry that has no batch axes must be the one in
        `after`, as it goes on for all; then the other parts are what belongs to it.

        Args:
            before: The carry before the step.
            after: What `step` has made of it.

        Returns:
            The carry as it was, unless a subclass says otherwise.
        """
        return before

    def init_state(self, batch_size: BatchSize = None, *, out_sharding: Any = None, **others: Any) -> None:
        """Make the hidden states, anew if there are some.

        Args:
            batch_size: The number of examples, or the shape of several batch axes; None for inputs without any.
            out_sharding: The sharding of the hidden states, a PartitionSpec or NamedSharding. In a loop over inputs
                whose batch is spread over an explicit mesh they must have it from the start.
            **others: What `init_all_states` gives to other modules.
        """
        carry = self.initial_carry(as_batch_shape(batch_size))
        for name, part in zip(self.hidden_names, self._parts(carry), strict=True):
            setattr(self, name, HiddenState(with_sharding(part, out_sharding)))

    def reset_state(self, batch_size: BatchSize = None, *, out_sharding: Any = None, **others: Any) -> None:
        """Set the hidden states back to what they are before the first step.

        Args:
            batch_size: As for `init_state`; None keeps the shapes.
            out_sharding: As for `init_state`; None keeps the sharding.
            **others: What `reset_all_states` gives to other modules.

        Raises:
            RuntimeError: There are no hidden states yet.
        """
        states = [self._state(name) for name in self.hidden_names]
        if batch_size is None:
            # The batch axes are those that the state has and a carry without a batch has not.
            alone, *_ = self._parts(self.initial_carry())
            batch = states[0].value.shape[: states[0].value.ndim - alone.ndim]
        else:
            batch = as_batch_shape(batch_size)
        fresh = [
            with_sharding(part, named_sharding(state.value) if out_sharding is None else out_sharding)
            for state, part in zip(states, self._parts(self.initial_carry(batch)), strict=True)
        ]
        assign_values(states, fresh)

    def __call__(self, x: jax.Array) -> Any:
        """Compute one step from the hidden states, and keep the new ones.

        Args:
            x: The input of this step.

        Returns:
            The output.

        Raises:
            RuntimeError: There are no hidden states yet.
        """
        # All states are looked up first, so that a missing one leaves the others as they are.
        states = [self._state(name, x) for name in self.hidden_names]
        values = [state.value for state in states]
        carry, y = self.step(tuple(values) if len(values) > 1 else values[0], x)
        assign_values(states, self._parts(carry))
        return y

    def _parts(self, carry: Any) -> tuple[Any, ...]:
        return tuple(carry) if len(self.hidden_names) > 1 else (carry,)

    def _state(self, name: str, x: Any = None) -> ShortTermState:
        state = getattr(self, name, None)
        if state is None:
            raise no_hidden_state(self, x, self.num_feature_axes)
        return state

    def _as_step_inputs(self, carry: Any, x: Any, features: tuple[int, ...], *parts: tuple[int, ...] | None) -> Any:
        """Return the input and the parts of the carry, or raise with the path of the cell and the argument.

        Args:
            carry: What was given.
            x: What was given.
            features: The last axes of the input.
            *parts: For each part of the carry its last axes, behind those of the batch; None where it has no batch.
        """
        x = as_input(x, self, size=features[-1], rank=len(features))
        batch = x.shape[: x.ndim - len(features)]
        if x.shape[len(batch) :] != features:
            raise ValueError(f"{locate(self)} expects {features} as the last axes of `x`, which is {describe(x)}")
        if len(parts) > 1 and (not isinstance(carry, (tuple, list)) or len(carry) != len(parts)):
            raise TypeError(f"{locate(self)} takes a tuple ({', '.join(self.hidden_names)}) for `carry`")
        given = [as_input(part, self, "carry") for part in self._parts(carry)]
        for name, part, last in zip(self.hidden_names, given, parts, strict=True):
            want = () if last is None else (*batch, *last)
            if part.shape != want:
                raise ValueError(
                    f"{locate(self)} needs a carry of shape {want} for `x`, which is {describe(x)}, but its {name} is "
                    f"{describe(part)}: write `init_state({_batch_text(batch)})`, or `initial_carry({batch})`"
                )
        return x, *given


def as_batch_shape(batch_size: BatchSize) -> tuple[int, ...]:
    """Return the batch axes that a size, a shape or None stands for."""
    if batch_size is None or (isinstance(batch_size, (tuple, list)) and not batch_size):
        return ()
    return as_sizes("batch_size", batch_size)


def no_hidden_state(module: Module, x: Any, features: int = 1) -> RuntimeError:
    """Return the error of a module that is called, or reset, before its hidden states are made."""
    shape = jnp.shape(x) if isinstance(x, jax.Array) else ()
    size = _batch_text(shape[: max(len(shape) - features, 0)]) if shape else "batch_size"
    init = f"init_all_states(model, {size})" if size else "init_all_states(model)"
    return RuntimeError(
        f"{locate(module)} has no hidden state yet: write `{init}` on the whole model, or "
        f"`init_state({size})` on this {type(module).__name__}, before the first call"
    )


def _batch_text(batch: tuple[int, ...]) -> str:
    """Spell batch axes as the argument `batch_size` that stands for them."""
    return "" if not batch else str(batch[0]) if len(batch) == 1 else str(batch)

"""``Delay`` of brainstate: a history of values from which several others read, by entries, by steps, or by time.

Ours is a layer that returns what went in some steps ago. This one is written by `update`, and is read in between as
often as one likes; its times are in the unit of ``environ.get_dt()``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import brainstate_nn as today
from brainstate_graph import Node, State
from brainstate_graph.extend import locate

from . import environ
from .module import Module
from .training import call_order

__all__ = ["Delay", "DelayAccess", "DelayState", "StateWithDelay"]

_LINEAR = ("linear", "linear_interp")
_NEAREST = ("nearest", "round")
_SPELLINGS = ("rotation", "concat", None)  # of the one way in which a history is kept


class DelayState(today.ShortTermState):
    """The kind of the states of a delay."""

    __slots__ = ()


class Delay(Module):
    """The last values of something, for the longest time that an entry needs.

    Args:
        target_info: What the values are like: a pytree of arrays, or of what has their `shape` and `dtype`.
        time: The longest time; an entry may make it longer.
        init: The values before the first one: a number, an array, or a function of a shape and a `dtype`; None for
            zeros.
        entries: The entries to register, by name.
        interpolation: What is between two values: "linear" or "nearest"; or a function of the history, the further
            indices, the slot as a number with a fraction, and the number of slots. None for `interp_method`.
        take_aware_unit: Of no effect, as there are no units.
        update_every: The time between two values that are kept; None for ``environ.get_dt()``.
        delay_method: Of no effect: values are kept in a ring, whichever way is named.
        interp_method: "linear_interp" or "round".

    Attributes:
        history: DelayState with the slots of the ring in front of the axes of a value, which `init_state` makes.
        write_ptr: ShortTermState with the number of updates, modulo the ring.

    Raises:
        ValueError: A method of another name, a negative time, or an `update_every` shorter than a step.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn.compat import Delay, environ
        >>> with environ.context(dt=0.5):
        ...     line = Delay(jnp.zeros(()), entries={"late": 1.0})
        >>> line.init_state()
        >>> for value in (1.0, 2.0, 3.0):
        ...     line.update(jnp.float32(value))
        >>> float(line.at("late")), float(line.retrieve_at_step(1))
        (1.0, 2.0)
    """

    history: Any = None

    def __init__(
        self,
        target_info: Any,
        time: Any = None,
        init: Any = None,
        entries: Mapping[str, Any] | None = None,
        interpolation: Any = None,
        take_aware_unit: bool = False,
        update_every: Any = None,
        delay_method: str | None = "rotation",
        interp_method: str = "linear_interp",
    ) -> None:
        super().__init__()
        if delay_method not in _SPELLINGS:
            raise ValueError(f"delay_method takes one of {_SPELLINGS}, not {delay_method!r}")
        self.interpolation = interp_method if interpolation is None else interpolation
        if not callable(self.interpolation) and self.interpolation not in (*_LINEAR, *_NEAREST):
            raise ValueError(
                f"interpolation takes 'linear', 'nearest' or a function, not {self.interpolation!r}: write a function "
                "`(history, indices, slot, slots) -> value`"
            )
        dt = environ.get_dt()
        self.update_every: Any = dt if update_every is None else update_every
        self._every = int(_steps(self.update_every, dt, np.floor))
        if self._every < 1:
            raise ValueError(f"update_every must be at least dt={dt}, not {update_every}")
        self.target_info = _like(target_info)
        self.init = init
        self.max_length = 1
        self.entries: dict[str, Any] = {}
        self.register_delay(time)
        for name, when in (entries or {}).items():
            self.register_entry(name, *(when if isinstance(when, (tuple, list)) else (when,)))

    @property
    def max_time(self) -> Any:
        """The longest time that there is room for."""
        return (self.max_length - 1) * self.update_every

    @call_order(3)
    def init_state(self, batch_size: int | None = None, **_: Any) -> None:
        """Begin a history: after the modules whose states it may follow.

        Args:
            batch_size: The size of a batch axis behind that of the slots; None for none.
            **_: What other modules get.
        """
        self.write_ptr = today.ShortTermState(jnp.int32(0))
        self.history = DelayState(self._before(batch_size))

    @call_order(3)
    def reset_state(self, batch_size: int | None = None, **_: Any) -> None:
        """Begin the history anew.

        Args:
            batch_size: As for `init_state`.
            **_: What other modules get.
        """
        self.write_ptr.value = jnp.int32(0)
        self.history.value = self._before(batch_size)

    def _before(self, batch_size: int | None) -> Any:
        lead = (self.max_length,) if batch_size is None else (self.max_length, batch_size)

        def fill(leaf: Any) -> Any:
            shape = (*lead, *leaf.shape)
            if callable(self.init):
                return self.init(shape, dtype=leaf.dtype)
            return jnp.broadcast_to(jnp.asarray(0 if self.init is None else self.init, leaf.dtype), shape)

        return jax.tree.map(fill, self.target_info)

    def register_delay(self, *time_and_idx: Any) -> tuple[Any, ...] | None:
        """Make room for a time, or for an array of times.

        Args:
            *time_and_idx: The time, and indices into a value.

        Returns:
            The number of steps and the indices, as `retrieve_at_step` takes them; None where the time is None.
        """
        time, *indices = time_and_idx
        if time is None:
            return None
        steps = _steps(time, self.update_every, np.ceil)
        if np.min(steps) < 0:
            raise ValueError(f"a delay must not be negative, but is {time}")
        self.max_length = max(self.max_length, int(np.max(steps)) + 1)
        return (int(steps) if steps.ndim == 0 else steps, *map(np.asarray, indices))

    def register_entry(self, entry: str, *time_and_idx: Any) -> tuple[Any, ...] | None:
        """Give a time, or an array of times, a name for `at`.

        Args:
            entry: The name.
            *time_and_idx: As for `register_delay`.

        Raises:
            KeyError: The name is taken.
        """
        if entry in self.entries:
            raise KeyError(f"{entry!r} is registered already, for {self.entries[entry]}: choose another name")
        self.entries[entry] = self.register_delay(*time_and_idx)
        return self.entries[entry]

    def access(self, entry: str, *time_and_idx: Any) -> DelayAccess:
        """Register an entry, and return what reads it when it is called."""
        return DelayAccess(self, *time_and_idx, entry=entry)

    def at(self, entry: str) -> Any:
        """Return the value of an entry.

        Raises:
            KeyError: There is none of this name.
        """
        if entry not in self.entries:
            raise KeyError(f"there is no entry {entry!r}; there are {', '.join(map(repr, self.entries)) or 'none'}")
        return self.retrieve_at_step(*self.entries[entry] or (0,))

    def retrieve_at_step(self, delay_step: Any, *indices: Any) -> Any:
        """Return the value of some steps ago: the last one for 0.

        Args:
            delay_step: A number of steps, or an array of them.
            *indices: Further indices into a value.

        Raises:
            ValueError: There is no history yet, or none so long.
        """
        if self.history is None:
            raise ValueError(f"{locate(self)} has no history yet: call `init_all_states(model)`, or its `init_state`")
        history = self.history.value
        if jax.tree.leaves(history)[0].shape[0] != self.max_length:
            raise ValueError(f"{locate(self)} got a longer time after its history was made: call `init_state` again")
        if not isinstance(delay_step, jax.Array) and np.max(np.asarray(delay_step)) >= self.max_length:
            raise ValueError(
                f"{locate(self)} keeps {self.max_length} values, too few for {delay_step} steps ago: write a longer"
                f" `time`, as in time={np.max(delay_step) * self.update_every}"
            )
        slot = ((self.write_ptr.value - 1) // self._every - jnp.asarray(delay_step)) % self.max_length
        return jax.tree.map(lambda kept: kept[(slot, *indices)], history)

    def retrieve_at_time(self, delay_time: Any, *indices: Any) -> Any:
        """Return the value of a time, counted as ``environ.get("t")`` is; between two values, by `interpolation`.

        Args:
            delay_time: The time.
            *indices: Further indices into a value.
        """
        age = (environ.get("t", desc="the time of now") - delay_time) / self.update_every
        ago = lambda steps: self.retrieve_at_step(jnp.asarray(steps).astype(jnp.int32), *indices)  # noqa: E731
        if callable(self.interpolation):
            slot = (self.write_ptr.value - 1) // self._every - age
            return self.interpolation(self.history.value, indices, slot, self.max_length)
        if self.interpolation in _NEAREST:
            return ago(jnp.round(age))
        whole = jnp.floor(age)
        part = age - whole
        return jax.tree.map(lambda near, far: (1 - part) * near + part * far, ago(whole), ago(jnp.ceil(age)))

    def update(self, current: Any) -> None:
        """Put in the value of now."""
        count = self.write_ptr.value
        kept = count % self._every == 0

        def put(history: jax.Array, value: Any) -> jax.Array:
            return jnp.where(kept, history.at[count // self._every].set(value), history)

        self.history.value = jax.tree.map(put, self.history.value, current)
        self.write_ptr.value = (count + 1) % (self.max_length * self._every)


class StateWithDelay(Delay):
    """The last values of a state of a module, which `update` takes from there.

    Args:
        target: The module.
        item: The name of the state in it.
        init: As for `Delay`.
        interpolation: As for `Delay`.
        **options: As for `Delay`.
    """

    def __init__(self, target: Node, item: str, init: Any = None, interpolation: Any = "round", **options: Any) -> None:
        super().__init__((), init=init, interpolation=interpolation, **options)
        self.target = target
        self.item = item

    @property
    def state(self) -> State[Any]:
        """The state that it follows."""
        state = getattr(self.target, self.item, None)
        if not isinstance(state, State):
            raise TypeError(f"{locate(self.target)} has no State `{self.item}`, but {state!r}")
        return state

    @call_order(3)
    def init_state(self, *args: Any, **kwargs: Any) -> None:
        """Begin a history of values like that of the state, whose batch they have."""
        self.target_info = _like(self.state.value)
        super().init_state()

    @call_order(3)
    def reset_state(self, *args: Any, **kwargs: Any) -> None:
        """Begin the history anew."""
        super().reset_state()

    def update(self, current: Any = None) -> None:
        """Put in the value that the state has now; what is given is of no use."""
        super().update(self.state.value)


class DelayAccess(Node):
    """What reads an entry of a delay when it is called.

    Args:
        delay: The delay.
        *time: The time, and indices.
        entry: The name.
    """

    def __init__(self, delay: Delay, *time: Any, entry: str) -> None:
        self.delay = delay
        self.entry = entry
        self.delay_info = delay.register_entry(entry, *time)

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self.delay.at(self.entry)


def _like(target: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)), target)


def _steps(time: Any, dt: Any, rounded: Callable[[Any], Any]) -> np.ndarray:
    # 0.3 / 0.1 is 3, and not a little less. The quotient alone is turned into a number, as times may have a unit.
    time = np.asarray(time) if isinstance(time, (list, tuple)) else time
    return rounded(np.round(np.asarray(time / dt, np.float64), 4)).astype(np.int64)

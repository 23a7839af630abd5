"""``Dynamics`` of brainstate: a module of a size, with functions that are called before and after each step.

They are how a delay follows a state: `prefetch_delay` adds one that is updated after each step. Today a module calls
what it needs in the order in which it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import jax

from brainstate_graph import Node, State
from brainstate_graph.extend import locate

from . import environ
from .delays import Delay, StateWithDelay
from .module import Module

__all__ = [
    "Dynamics", "OutputDelayAt", "Prefetch", "PrefetchDelay", "PrefetchDelayAt", "init_maybe_prefetch",
    "not_receive_update_input", "not_receive_update_output", "receive_update_input", "receive_update_output",
]  # fmt: skip

T = TypeVar("T")


class Dynamics(Module):
    """A module whose `update` takes one step of `in_size` elements.

    Args:
        in_size: The number of elements, or the shape of a population.
        name: A name to keep.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import compat as brainstate
        >>> class Leak(brainstate.nn.Dynamics):
        ...     def init_state(self, **kwargs):
        ...         self.v = brainstate.HiddenState(jnp.zeros(self.varshape))
        ...
        ...     def update(self, x):
        ...         self.v.value = 0.5 * self.v.value + x
        ...         return self.v.value
        >>> leak = brainstate.nn.init_all_states(Leak(1))
        >>> leak.add_after_update("shown", lambda v: print(v))
        >>> _ = leak(2.0), leak(0.0)
        [2.]
        [1.]
    """

    before_updates: dict[Hashable, Callable[..., Any]] | None = None
    after_updates: dict[Hashable, Callable[..., Any]] | None = None

    def __init__(self, in_size: Any, name: str | None = None) -> None:
        super().__init__(name)
        self.in_size = in_size
        if not self.in_size:
            raise ValueError(f"in_size must be a whole number, or several of them, not {in_size!r}")
        self.out_size = self.in_size

    @property
    def varshape(self) -> tuple[int, ...] | None:
        """The shape of the population: that of its variables, without the batch."""
        return self.in_size

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for call in (self.before_updates or {}).values():
            call(*args, **kwargs) if getattr(call, "receives_input", False) else call()
        result = super().__call__(*args, **kwargs)
        for call in (self.after_updates or {}).values():
            call(result) if getattr(call, "receives_output", True) else call()
        return result

    def add_before_update(self, key: Hashable, fun: Callable[..., Any]) -> None:
        """Have a function called before each step, without arguments; see `receive_update_input`."""
        self.before_updates = _with(self, self.before_updates, key, fun)

    def add_after_update(self, key: Hashable, fun: Callable[..., Any]) -> None:
        """Have a function called after each step, with the result; see `not_receive_update_output`."""
        self.after_updates = _with(self, self.after_updates, key, fun)

    def get_before_update(self, key: Hashable) -> Callable[..., Any]:
        """Return the function of this name."""
        return (self.before_updates or {})[key]

    def get_after_update(self, key: Hashable) -> Callable[..., Any]:
        """Return the function of this name."""
        return (self.after_updates or {})[key]

    def has_before_update(self, key: Hashable) -> bool:
        """Tell whether there is a function of this name."""
        return key in (self.before_updates or {})

    def has_after_update(self, key: Hashable) -> bool:
        """Tell whether there is a function of this name."""
        return key in (self.after_updates or {})

    def prefetch(self, item: str) -> Prefetch:
        """Return what gives the value of a state, which may be made later, when it is called."""
        return Prefetch(self, item)

    def prefetch_delay(
        self, state: str, *time_and_index: Any, init: Any = None, interpolation: Any = None, **options: Any
    ) -> PrefetchDelayAt:
        """Return what gives the value that a state had some time ago, when it is called."""
        options |= {"delay_init": init, "interpolation": interpolation}
        return PrefetchDelayAt(self, state, *time_and_index, **options)

    def output_delay(
        self, *time_and_index: Any, init: Any = None, interpolation: Any = None, **options: Any
    ) -> OutputDelayAt:
        """Return what gives the result of some time ago, when it is called."""
        return OutputDelayAt(self, *time_and_index, delay_init=init, interpolation=interpolation, **options)


def _with(module: Dynamics, calls: Any, key: Hashable, fun: Callable[..., Any]) -> dict[Hashable, Any]:
    if key in (calls or {}):
        raise KeyError(f"{locate(module)} has a function {key!r} already: choose another name")
    return {**(calls or {}), key: fun}


def _state(module: Dynamics, item: str) -> Any:
    found = getattr(module, item, None)
    if found is None:
        raise AttributeError(f"{locate(module)} has no `{item}` yet: call `init_all_states(model)` first")
    return found


class Prefetch(Node):
    """What gives the value of a state of a module when it is called."""

    def __init__(self, module: Dynamics, item: str) -> None:
        self.module = module
        self.item = item

    @property
    def delay(self) -> PrefetchDelay:
        """The same, of some time ago."""
        return PrefetchDelay(self.module, self.item)

    def __call__(self, *_: Any, **__: Any) -> Any:
        found = _state(self.module, self.item)
        return found.value if isinstance(found, State) else found

    get_item_value = __call__

    def get_item(self) -> Any:
        """Return the state."""
        return _state(self.module, self.item)


class PrefetchDelay(Node):
    """What makes a `PrefetchDelayAt` of a time."""

    def __init__(self, module: Dynamics, item: str) -> None:
        self.module = module
        self.item = item

    def at(self, *delay_time: Any) -> PrefetchDelayAt:
        """Return what gives the value of this time ago."""
        return PrefetchDelayAt(self.module, self.item, *delay_time)


class PrefetchDelayAt(Node):
    """What gives the value that a state had some time ago, when it is called: the value of now for no time."""

    def __init__(
        self, module: Dynamics, item: str, *time_and_index: Any, delay_init: Any = None, interpolation: Any = None,
        update_every: Any = None, **options: Any,
    ) -> None:  # fmt: skip
        if len(time_and_index) == 1 and isinstance(time_and_index[0], (tuple, list)):
            time_and_index = tuple(time_and_index[0])
        self.module = module
        self.item = item
        self.state_delay = None
        if time_and_index:
            key = f"{item}-prefetch-delay-{update_every}"
            if not module.has_after_update(key):
                how = dict(options, init=delay_init, update_every=update_every, interpolation=interpolation or "round")
                module.add_after_update(key, not_receive_update_output(StateWithDelay(module, item, **how)))
            self.state_delay: Any = module.get_after_update(key)
            self.delay_info: Any = self.state_delay.register_delay(*time_and_index)

    def __call__(self, *_: Any, **__: Any) -> Any:
        if self.state_delay is None:
            return _state(self.module, self.item).value
        return self.state_delay.retrieve_at_step(*self.delay_info)


class OutputDelayAt(Node):
    """What gives the result of a module of some time ago, when it is called."""

    def __init__(
        self, module: Dynamics, *delay_time: Any, delay_init: Any = None, interpolation: Any = None,
        update_every: Any = None, **options: Any,
    ) -> None:  # fmt: skip
        key = f"output-delay-{update_every}"
        if not module.has_after_update(key):
            like = jax.ShapeDtypeStruct(module.out_size or (), environ.dftype())
            how = dict(options, init=delay_init, update_every=update_every, interpolation=interpolation)
            module.add_after_update(key, Delay(like, **how))
        self.module = module
        self.out_delay: Any = module.get_after_update(key)
        self.delay_info: Any = self.out_delay.register_delay(*delay_time)

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self.out_delay.retrieve_at_step(*self.delay_info)


def init_maybe_prefetch(target: Any, *_: Any, **__: Any) -> None:
    """Raise where what `prefetch` has made leads to nothing yet."""
    if isinstance(target, (Prefetch, PrefetchDelay)):
        _state(target.module, target.item)


def receive_update_input(cls: T) -> T:
    """Mark a class or object: it gets the arguments of the step that it is called before."""
    cls.receives_input = True  # type: ignore[attr-defined]
    return cls


def not_receive_update_input(cls: T) -> T:
    """Take the mark of `receive_update_input` away."""
    cls.receives_input = False  # type: ignore[attr-defined]
    return cls


def receive_update_output(cls: T) -> T:
    """Take the mark of `not_receive_update_output` away."""
    cls.receives_output = True  # type: ignore[attr-defined]
    return cls


def not_receive_update_output(cls: T) -> T:
    """Mark a class or object: it does not get the result of the step that it is called after."""
    cls.receives_output = False  # type: ignore[attr-defined]
    return cls

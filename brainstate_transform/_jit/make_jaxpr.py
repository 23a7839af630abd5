"""``make_jaxpr``: the jaxpr of a function and its states, at once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from .._messages.boundary import boundary
from .stateful import StatefulFunction

__all__ = ["make_jaxpr"]


def make_jaxpr(
    fun: Callable[..., Any],
    static_argnums: int | Iterable[int] = (),
    static_argnames: str | Iterable[str] = (),
    axis_env: Sequence[tuple[Hashable, int]] | None = None,
    return_shape: bool = False,
    return_only_write: bool = False,
) -> Callable[..., Any]:
    """Make a function that returns the jaxpr of `fun`, with its states as explicit inputs and outputs.

    Args:
        fun: The function.
        static_argnums: As for `StatefulFunction`.
        static_argnames: As for `StatefulFunction`.
        axis_env: As for `StatefulFunction`.
        return_shape: Whether to return the result shapes too.
        return_only_write: Whether states that are only read are left out of the outputs.

    Returns:
        A function with the arguments of `fun` that returns ``(jaxpr, states)`` or ``(jaxpr, states, shapes)``.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import make_jaxpr
        >>> w = State(2.0)
        >>> jaxpr, states = make_jaxpr(lambda x: x * w.value)(3.0)
        >>> len(jaxpr.jaxpr.invars), states
        (2, (State(2.0),))
    """
    stateful = StatefulFunction(fun, static_argnums, static_argnames, axis_env, None, return_only_write)

    @boundary
    def traced(*args: Any, **kwargs: Any) -> Any:
        stateful.make_jaxpr(*args, **kwargs)
        found = (stateful.get_jaxpr(*args, **kwargs), stateful.get_states(*args, **kwargs))
        return (*found, stateful.get_out_shapes(*args, **kwargs)[0]) if return_shape else found

    functools.update_wrapper(traced, fun, updated=())
    return traced

"""``recorded``: what hidden states hold after a call, beside what the call returns.

In a loop each becomes an array over time. What modules return is the matter of `capture`, which is used in the same
way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from brainstate_graph import Node, states

from .._core.paths import dotted_names
from .._core.selection import selected_states
from .._core.states import ShortTermState

__all__ = ["recorded"]


def recorded(
    node: Node, where: Any = ShortTermState, /, *, call: Callable[..., Any] | None = None
) -> Callable[..., Any]:
    """Return a function that calls a model and returns also the values of chosen states after the call.

    ``for_loop(recorded(net, "**.v"), xs)`` gives the outputs, and all membranes over time.

    Args:
        node: The model.
        where: Which of its states: a dotted path or glob, as ``"neurons.v"`` or ``"**.v"``; a class; a tag; a State; or
            another filter. Those of a sequence by default. States are looked up at each call, so `init_all_states` may
            come later.
        call: What is called in place of the model, such as a method of it.

    Returns:
        A function with the arguments of the model that returns a pair: its result, and a dict from dotted path to
        value.

    Raises:
        ValueError: `where` chooses no state, when the function is called.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import LIF, Linear, Sequential, init_all_states, recorded
        >>> from brainstate_transform import for_loop
        >>> net = Sequential(Linear(2, 3), LIF(3, refractory=2.0))
        >>> _ = init_all_states(net)
        >>> spikes, seen = for_loop(recorded(net, "**.v"), jnp.ones((10, 2)))
        >>> {path: values.shape for path, values in seen.items()}
        {'layers.1.v': (10, 3)}
    """
    run: Callable[..., Any] = node if call is None else call  # pyright: ignore[reportAssignmentType]

    def recording(*args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        if states(node, ShortTermState):
            # Before the call, that a mistake may leave all as it is; where there are none yet, the call may make them.
            selected_states(node, where, "where")
        out = run(*args, **kwargs)
        found = selected_states(node, where, "where")
        return out, {name: state.value for name, state in zip(dotted_names(list(found)), found.values(), strict=True)}

    functools.update_wrapper(recording, run, updated=())
    return recording

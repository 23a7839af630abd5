"""``eval_shape``: the shapes and dtypes of what a function returns, by a dry run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from brainstate_graph import State
from brainstate_graph.extend import read_values

from .._engine.core import Core, Run
from .._engine.lift import lift
from .._engine.values import NO_STATES, StateValues, Written
from .._messages.boundary import boundary
from .dry_run import dry_run

__all__ = ["eval_shape"]


@boundary
def eval_shape(fun: Callable[..., Any], *args: Any, return_state_shapes: bool = False, **kwargs: Any) -> Any:
    """Find out the shapes and dtypes of what a function returns, without computing it.

    Nothing is changed: no state, no random stream, no attribute of a module.

    Args:
        fun: A function that may use states.
        *args: Its arguments: arrays, ``jax.ShapeDtypeStruct`` or modules.
        return_state_shapes: Whether to return the shapes of the states that `fun` uses, too.
        **kwargs: Its keyword arguments.

    Returns:
        The result with a ``jax.ShapeDtypeStruct`` for each array. A module that `fun` makes and returns has them as the
        values of its states, and may be an argument of `eval_shape` again. With `return_state_shapes` a pair: a dict
        from each used State to the shapes of its new value, and the result.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_graph import State
        >>> from brainstate_transform import eval_shape
        >>> w = State(jnp.ones((3, 4)))
        >>> eval_shape(lambda x: x @ w.value, jnp.ones(3))
        ShapeDtypeStruct(shape=(4,), dtype=float32)
    """
    after: dict[State[Any], Any] = {}

    def rule(core: Core) -> Run:
        def run(_: StateValues, *args: Any, **kwargs: Any) -> tuple[Any, Written]:
            out, written, used = dry_run(core, args, kwargs)
            new = dict(written.items())
            for state in used if return_state_shapes else ():
                after[state] = new[state] if state in new else jax.eval_shape(lambda v: v, *read_values([state]))
            return out, NO_STATES.as_written()

        return run

    out = lift(rule, fun)(*args, **kwargs)
    return (after, out) if return_state_shapes else out

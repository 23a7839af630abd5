"""``associative_scan``: many steps at once, of a function that may read states.

It may not write them: JAX calls it for several elements together, and in another order than that of the steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from .._collecting.collected import uncollected
from .._engine.core import Core, Run
from .._engine.lift import lift
from .._engine.user_function import named_like
from .._engine.values import NO_STATES, StateValues, Written
from .._jit.eager import compiled_once
from .._messages.boundary import boundary
from .body import refuse_writes

__all__ = ["associative_scan"]


@boundary
def associative_scan(fn: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0) -> Any:
    """Combine the elements along an axis from the first to each one, in about ``log2(n)`` steps.

    Args:
        fn: An associative function of two pytrees like `elems`, which it combines element by element along `axis`. It
            may read states. JAX calls it several times, for several elements at once.
        elems: Arrays with the same size along `axis`.
        reverse: Whether to start from the last element.
        axis: The axis.

    Returns:
        Arrays like `elems`: for ``fn = add``, the cumulative sum.

    Raises:
        ValueError: `fn` writes a state, or draws from a random stream.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_graph import State
        >>> from brainstate_transform import associative_scan
        >>> modulus = State(7)
        >>> associative_scan(lambda a, b: a * b % modulus.value, jnp.arange(1, 6)).tolist()
        [1, 2, 6, 3, 1]
    """
    if not callable(fn):
        raise TypeError(f"associative_scan takes a function of two elements, not {fn!r}")

    def rule(core: Core) -> Run:
        def run(_: StateValues, elems: Any) -> tuple[Any, Written]:
            core.fun = uncollected(core.fun, "associative_scan, which calls it in no order", "write `scan`")

            def combine(a: Any, b: Any) -> Any:
                out, written = core(NO_STATES, a, b)
                refuse_writes(core, written, "associative_scan: the function")
                return out

            return jax.lax.associative_scan(combine, elems, reverse=reverse, axis=axis), NO_STATES.as_written()

        return run

    lifted = lift(rule, fn)
    compiled = compiled_once(
        fn, ("associative_scan", reverse, axis), lambda: named_like(lambda elems: lifted(elems), fn)
    )
    return (compiled or lifted)(elems)

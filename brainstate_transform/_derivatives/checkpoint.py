"""``checkpoint``: the rule is ``jax.checkpoint``.

It changes what is stored for a backward pass, and no result.  Outside of a trace it runs compiled, as there JAX would
run the function operation by operation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from .._engine.core import Core, Run
from .._engine.user_function import decorator
from .._jit.eager import Compiling

__all__ = ["checkpoint", "remat"]


def checkpoint(
    fun: Callable[..., Any] | None = None,
    *,
    prevent_cse: bool = True,
    policy: Callable[..., bool] | None = None,
    static_argnums: int | Sequence[int] = (),
) -> Any:
    """Recompute the inside of `fun` in the backward pass instead of storing it.

    Args:
        fun: A function that may read and write states; without it, a decorator is returned.
        prevent_cse: As in ``jax.checkpoint``.
        policy: As in ``jax.checkpoint``: which intermediate values are stored.
        static_argnums: Positions of arguments that are static, counted as the user sees them.

    Returns:
        The function, aware of states. Each write happens once.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_graph import State
        >>> from brainstate_transform import checkpoint, grad
        >>> w = State(2.0)
        >>> float(grad(checkpoint(lambda x: jnp.sin(w.value * x)), w)(0.0))
        0.0
    """
    if fun is None:
        return decorator(checkpoint, locals())
    numbers = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)
    if any(n < 0 for n in numbers):
        raise ValueError(f"static_argnums={static_argnums!r}: count from the front, starting with 0")

    def rule(core: Core) -> Run:
        static = tuple(n + 1 - core.bound for n in numbers if n >= core.bound)  # the states come first
        return jax.checkpoint(core, prevent_cse=prevent_cse, policy=policy, static_argnums=static)

    return Compiling(rule, fun, numbers)


remat = checkpoint

"""``checkify``: the rule is ``jax.experimental.checkify.checkify``.

A check that fails is a value beside the result, for whoever calls to look at; `jit_error_if` raises it instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import checkify as jax_checkify

from .._engine.core import Core, Run
from .._engine.lift import lift
from .._engine.user_function import decorator
from .._engine.values import StateValues, Written

__all__ = [
    "all_checks", "automatic_checks", "check", "check_error", "checkify", "div_checks", "float_checks", "index_checks",
    "nan_checks", "user_checks",
]  # fmt: skip

check_error = jax_checkify.check_error
user_checks = jax_checkify.user_checks
nan_checks = jax_checkify.nan_checks
index_checks = jax_checkify.index_checks
div_checks = jax_checkify.div_checks
float_checks = jax_checkify.float_checks
automatic_checks = jax_checkify.automatic_checks
all_checks = jax_checkify.all_checks


def check(pred: Any, msg: str, *fmt_args: Any, debug: bool = False, **fmt_kwargs: Any) -> None:
    """Check a condition inside a function that `checkify` transforms, as ``jax.experimental.checkify.check`` does.

    Args:
        pred: A boolean scalar that must hold.
        msg: The message if it does not hold; formatted by ``str.format``.
        *fmt_args: Arrays or numbers for the text.
        debug: As in JAX: whether to skip the check outside of `checkify`.
        **fmt_kwargs: The same by name.

    Example:
        >>> from brainstate_transform import check, checkify
        >>> checkify(lambda x: check(x > 0, "x is {}", x))(-1)[0].get()
        'x is -1 (`check` failed)'
    """
    fmt_args, fmt_kwargs = jax.tree.map(jnp.asarray, (fmt_args, fmt_kwargs))  # JAX refuses numbers of Python
    jax_checkify.check(jnp.asarray(pred), msg, *fmt_args, debug=debug, **fmt_kwargs)


def checkify(fun: Callable[..., Any] | None = None, errors: Any = user_checks) -> Any:
    """Make a function that returns the first error of a check in `fun` beside its result, instead of raising it.

    It traces `fun` on each call, as in JAX; ``jit(checkify(fun))`` traces once.

    Args:
        fun: A function that may read and write states; without it, a decorator is returned.
        errors: Which checks: a set like `user_checks`, for calls of `check`, or several joined by ``|``.

    Returns:
        A function that returns ``(error, out)``; ``error.throw()`` raises. What `fun` writes is written
        also if a check fails.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import check, checkify
        >>> seen = State(0.0)
        >>> def root(x):
        ...     seen.value = x
        ...     check(x >= 0, "negative: {x}", x=x)
        ...     return x**0.5
        >>> error, out = checkify(root)(-4.0)
        >>> error.get(), float(seen.value)
        ('negative: -4.0 (`check` failed)', -4.0)
    """
    if fun is None:
        return decorator(checkify, locals())

    def rule(core: Core) -> Run:
        def run(states: StateValues, *args: Any, **kwargs: Any) -> tuple[Any, Written]:
            checked = jax_checkify.checkify(core, errors)(states, *args, **kwargs)
            error, (out, written) = jax.tree.map(jnp.asarray, checked)  # Python's numbers come in a class of JAX's own
            return (error, out), written

        return run

    return lift(rule, fun)

"""``optimize_jaxpr``: all passes in turn, until none finds anything.

One pass makes work for another: folding leaves copies, copies leave dead equations, and equal operands make equal
expressions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ._algebra import algebraic_simplification
from ._copies import copy_propagation
from ._cse import cse
from ._dce import dce
from ._fold import constant_fold
from ._jaxprs import checked

_PASSES: dict[str, Callable[[Any], Any]] = {
    "constant_fold": constant_fold,
    "algebraic_simplification": algebraic_simplification,
    "copy_propagation": copy_propagation,
    "cse": cse,
    "dce": dce,
}


def optimize_jaxpr(jaxpr: Any, max_iterations: int = 3, optimizations: str | Iterable[str] | None = None) -> Any:
    """Run passes over a program until none finds anything, or `max_iterations` times.

    Args:
        jaxpr: A Jaxpr or ClosedJaxpr.
        max_iterations: How often to run them all, at least once.
        optimizations: One or several of "constant_fold", "algebraic_simplification", "copy_propagation", "cse", "dce",
            run in the order given; all, in this order, if None or "all".

    Returns:
        A program of the same kind, with the same inputs and results, that computes the same; `jaxpr` itself where there
        is nothing to do.

    Raises:
        TypeError: It is not a jaxpr, or `max_iterations` is not an integer.
        ValueError: An unknown optimization, or less than one iteration.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from brainstate_transform.ir import optimize_jaxpr
        >>> optimize_jaxpr(jax.make_jaxpr(lambda x: jnp.sin(x * (3.0 - 2.0)) + jnp.sin(x))(2.0))
        { lambda ; a:f32[]. let b:f32[] = sin a; c:f32[] = add b b in (c,) }
    """
    checked(jaxpr)
    passes = [_PASSES[name] for name in _named(optimizations)]
    if isinstance(max_iterations, bool) or not isinstance(max_iterations, int):
        raise TypeError(f"max_iterations must be an integer, not {max_iterations!r}")
    if max_iterations < 1:
        raise ValueError(f"max_iterations must be at least 1, not {max_iterations}")
    for _ in range(max_iterations):
        before = jaxpr
        for run in passes:
            jaxpr = run(jaxpr)
        if jaxpr is before:
            break
    return jaxpr


def _named(optimizations: str | Iterable[str] | None) -> list[str]:
    if optimizations is None or optimizations == "all":
        return list(_PASSES)
    names = [optimizations] if isinstance(optimizations, str) else list(optimizations)
    unknown = [name for name in names if name not in _PASSES]
    if unknown:
        raise ValueError(f"unknown optimizations {unknown}; there are {list(_PASSES)}, or 'all'")
    return names

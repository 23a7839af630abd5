"""Tangents and cotangents: their zeros, and whether one fits what it is for.

A whole number has a tangent of type float0, an array without memory.  JAX spells a zero that it knows of as a
`SymbolicZero`, and our users spell it None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from brainstate_graph.extend import describe

from .._engine.user_function import name_of

__all__ = ["filled", "has_derivative", "instantiated", "refuse_other_shapes", "refuse_unfit", "zeros_like"]


def has_derivative(tree: Any) -> bool:
    """Tell whether something has a derivative: a value of floats, or a tangent that is not known to be zero."""
    return any(
        not isinstance(leaf, SymbolicZero) and jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
        for leaf in jax.tree.leaves(tree)
        if getattr(leaf, "dtype", None) != jax.dtypes.float0
    )


def zeros_like(tree: Any) -> Any:
    """Return the zeros that are a tangent of this, or of its shapes and dtypes."""
    return jax.tree.map(_zero, tree)


def _zero(aval: Any) -> Any:
    if jnp.issubdtype(aval.dtype, jnp.inexact):
        return jnp.zeros(aval.shape, aval.dtype)
    return np.zeros(aval.shape, jax.dtypes.float0)


def instantiated(tangent: Any) -> Any:
    """Put arrays of zeros for the zeros that JAX knows of."""
    return jax.tree.map(lambda x: zeros_like(x) if isinstance(x, SymbolicZero) else x, tangent)


def filled(tangent: Any, like: Any) -> Any:
    """Put arrays of zeros for each None; a None may stand for a whole part of `like`."""
    whole = jax.tree.broadcast(tangent, like, is_leaf=_is_none)
    return jax.tree.map(lambda one, aval: zeros_like(aval) if one is None else one, whole, like, is_leaf=_is_none)


def _is_none(item: Any) -> bool:
    return item is None


def refuse_other_shapes(name: str, like: Any, tangent: Any, rule: Callable[..., Any]) -> None:
    """Refuse what a derivative rule returns in another structure or shape; a None fits anywhere.

    Args:
        name: What it is for, for the message.
        like: The shapes that it must have.
        tangent: What the rule returned.
        rule: The user's rule.

    Raises:
        TypeError: It has another structure, or an array of another shape.
    """

    def check(path: Any, one: Any, wanted: Any) -> None:
        if one is not None and jnp.shape(one) != getattr(wanted, "shape", None):
            shown = f"the shape {wanted.shape}" if hasattr(wanted, "shape") else f"the structure {wanted}"
            raise TypeError(
                f"`{name_of(rule)}` returns, for {name}{jax.tree_util.keystr(path)}, an array of shape "
                f"{jnp.shape(one)}, but {shown} is needed"
            )

    try:
        jax.tree_util.tree_map_with_path(check, tangent, like, is_leaf=_is_none)
    except ValueError:
        raise TypeError(
            f"`{name_of(rule)}` returns, for {name}, {describe(tangent)}, but {describe(like)} is needed, "
            "or None for zero"
        ) from None


def refuse_unfit(name: Callable[[], str], primal: Any, tangent: Any) -> None:
    """Refuse a tangent that a user gives in another structure, shape or dtype than its primal.

    Args:
        name: Returns what it is, for the message.
        primal: The value that it moves.
        tangent: What the user gave.

    Raises:
        TypeError: It does not fit.
    """
    if jax.tree.structure(primal) != jax.tree.structure(tangent):
        raise TypeError(
            f"{name()} is {describe(tangent)}, but its primal is {describe(primal)}: give it the same structure"
        )
    for (path, x), t in zip(jax.tree_util.tree_leaves_with_path(primal), jax.tree.leaves(tangent), strict=True):
        wanted = jnp.result_type(x) if jnp.issubdtype(jnp.result_type(x), jnp.inexact) else jax.dtypes.float0
        found = t.dtype if hasattr(t, "dtype") else jnp.result_type(t)
        if jnp.shape(x) != jnp.shape(t) or wanted != found:
            raise TypeError(
                f"{name()}{jax.tree_util.keystr(path)} is {found}{list(jnp.shape(t))}, but its primal needs "
                f"{wanted}{list(jnp.shape(x))}"
            )

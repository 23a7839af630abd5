"""Normalised queries and keys: which norm attention makes of what it is given, and that it leaves shapes alone."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from brainstate_graph.extend import describe, locate

from .._core.inputs import as_input
from .._core.module import Module
from .._layers.layer_norm import LayerNorm

__all__ = ["normalised", "norms_of"]

# With the epsilon of flax, whose checkpoints of normalised attention are to compute the same.
_layer_norm = functools.partial(LayerNorm, epsilon=1e-6, use_bias=False)


def norms_of(given: Any, head_size: int, **options: Any) -> tuple[Module | None, Module | None]:
    """Return the norms of queries and of keys, or raise with the name of the argument.

    Args:
        given: What `normalize_qk` is: a bool, a class or function ``head_size -> norm``, a norm, or a pair of these.
        head_size: The number of features of a head.
        **options: Further arguments for classes of norms; a function that does not name them is called without them.
    """
    pair = given if isinstance(given, (tuple, list)) else (given, given)
    if len(pair) != 2:
        raise ValueError(
            f"normalize_qk must be one norm, or a pair of norms for queries and keys, not {len(pair)} norms"
        )
    query, key = (_norm_of(one, head_size, options) for one in pair)
    return query, key


def _norm_of(given: Any, head_size: int, options: dict[str, Any]) -> Module | None:
    if given is None or isinstance(given, (bool, np.bool_)):
        given = _layer_norm if given else None
    if given is None or isinstance(given, Module):
        return given
    made = given(head_size, **_taken(given, options)) if callable(given) else given
    if not isinstance(made, Module):
        of = f"a function that returns a {type(made).__name__}" if callable(given) else repr(given)
        raise TypeError(
            "normalize_qk must be True, a norm, a function that makes a norm of a size, or a pair of these, not "
            f"{of}: write `normalize_qk=RMSNorm`"
        )
    return made


def _taken(make: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that a function or class takes by name, and has not been given."""
    try:
        found = inspect.signature(make).parameters
    except (TypeError, ValueError):  # of what is written in C
        return {}
    bound = make.keywords if isinstance(make, functools.partial) else {}
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in found.values())
    return {name: value for name, value in options.items() if (takes_all or name in found) and name not in bound}


def normalised(layer: Module, name: str, norm: Module | None, x: jax.Array) -> jax.Array:
    """Return projected queries or keys by their norm, or raise with the path of `layer` where it changes the shape.

    Args:
        layer: The layer.
        name: Which attribute the norm is.
        norm: The norm, or None.
        x: An array of shape ``(..., positions, heads, head_size)``.
    """
    if norm is None:
        return x
    y = as_input(norm(x), layer, name)
    if y.shape != x.shape:
        raise ValueError(
            f"{locate(layer)} has a `{name}` that turns {describe(x)} into {describe(y)}: a norm must keep the shape"
        )
    return y

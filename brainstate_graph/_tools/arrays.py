"""Arrays of JAX among values: their exact types, noted as they are met, and whether one was deleted.

What was donated to a compiled call is a deleted array: it has a shape and a dtype, and no numbers any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

__all__ = ["ARRAYS", "NUMBERS", "PLAIN", "array_kind", "deleted_leaf", "leaves_of", "note_array"]

# Exact types that hold no tracer and no State, so that writing them needs no look inside. Those of JAX, which are noted
# as they are met, can have been deleted; nearly all arrays are of one of them.
NUMBERS = frozenset({bool, int, float, complex, np.ndarray, type(None)})
PLAIN: set[type[Any]] = set(NUMBERS)
ARRAYS: set[type[Any]] = set()
array_kind: type[Any] | None = None


def note_array(value: Any) -> None:
    """Note the type of a value if it is an array of JAX that belongs to no trace."""
    global array_kind
    if isinstance(value, jax.Array) and not isinstance(value, Tracer):
        PLAIN.add(type(value))
        ARRAYS.add(type(value))
        if not jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key):
            array_kind = type(value)


def deleted_leaf(value: Any) -> str | None:
    """Return the place in a value of an array that was deleted, as by a call to which it was donated; else None.

    Args:
        value: The value of a state.

    Returns:
        The keys that lead to it, as JAX spells them; empty where the value is that array.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_graph.extend import deleted_leaf
        >>> x = jnp.ones(3)
        >>> deleted_leaf({"x": x}), x.delete(), deleted_leaf({"x": x})
        (None, None, "['x']")
    """
    if type(value) in ARRAYS:
        return "" if value.is_deleted() else None
    if not any(map(_is_deleted, leaves_of(value))):  # 0.4 microseconds, and 0.7 with paths
        return None
    for path, leaf in jax.tree_util.tree_leaves_with_path(value):
        if _is_deleted(leaf):
            return jax.tree_util.keystr(path)
    return None


def _is_deleted(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and not isinstance(leaf, Tracer) and leaf.is_deleted()


def leaves_of(value: Any, name: Callable[[], str] = lambda: "the value") -> list[Any]:
    """Return the leaves of a value.

    Args:
        value: The value of a state.
        name: Says what it is, for the message.

    Raises:
        ValueError: It holds itself.
    """
    try:
        return jax.tree.leaves(value)
    except (RecursionError, SystemError):  # as JAX says it
        raise ValueError(f"{name()} holds itself, or is nested too deep: assign a tree") from None

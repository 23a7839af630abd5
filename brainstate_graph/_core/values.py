"""The values of states, which are pytrees of arrays and numbers: whether two are alike, and copies of one.

The *aval* of a leaf is its shape and dtype, as JAX takes it: a Python number is an array without axes.  Two values are
*alike* if they have one structure and equal avals.  That is what a state keeps which was declared with
``checked=True``, and what a compiled program asks of its arguments.
"""

from __future__ import annotations

import copy
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from .._tools.arrays import deleted_leaf
from .._tools.words import describe, dtype_name
from .locate import locate
from .overlay import be_busy, stack

__all__ = [
    "alike", "aval_of", "check_state_value_tree", "detached", "note_checked", "refuse_deleted", "refuse_unlike",
]  # fmt: skip


def aval_of(leaf: Any) -> tuple[Any, ...]:
    """Return the shape and dtype of a leaf of a value; of any other leaf its class.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_graph.extend import aval_of
        >>> aval_of(jnp.ones((2, 3))), aval_of(2.0) == aval_of(jnp.array(1.0))
        (((2, 3), dtype('float32')), True)
    """
    if hasattr(leaf, "dtype"):
        return tuple(leaf.shape), leaf.dtype
    if isinstance(leaf, (bool, int, float, complex)):
        return (), jax.numpy.result_type(leaf)
    return (type(leaf),)


def alike(left: Any, right: Any) -> bool:
    """Tell whether two values have one structure, and at each place the same shape and dtype.

    Args:
        left: A pytree of arrays, numbers, or shapes and dtypes of arrays.
        right: Another one.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_graph.extend import alike
        >>> alike({"a": jnp.ones(2)}, {"a": jnp.zeros(2)}), alike(jnp.ones(2), jnp.ones(2, int))
        (True, False)
    """
    before, structure = jax.tree.flatten(left)
    after, other = jax.tree.flatten(right)
    return structure == other and list(map(aval_of, before)) == list(map(aval_of, after))


def refuse_unlike(state: Any, old: Any, new: Any, avals: bool) -> None:
    """Raise if a new value of a state has another structure or, if `avals`, other shapes or dtypes."""
    before, after = jax.tree.structure(old), jax.tree.structure(new)
    if before != after:
        raise ValueError(f"{locate(state)} holds a value of structure {before}, and was assigned one of {after}")
    if avals and not alike(old, new):
        for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(old), jax.tree.leaves(new), strict=True):
            if aval_of(x) != aval_of(y):
                raise ValueError(
                    f"{locate(state)} is checked: its value{jax.tree_util.keystr(path)} is {_in_words(x)}, and was "
                    f"assigned {_in_words(y)}. Make a new State to change the shape or dtype."
                )


def note_checked(meta: tuple[tuple[str, Any], ...]) -> None:
    """Make writes look for a check from now on, if this metadata asks for one."""
    if ("checked", True) in meta:
        be_busy(note_checked, True)


@contextmanager
def check_state_value_tree(enabled: bool = True) -> Generator[None]:
    """Refuse to assign a value of another tree structure to any State, in this thread and block.

    Args:
        enabled: Whether to check; the innermost block decides. An assignment that fails the check raises a ValueError.

    Example:
        >>> from brainstate_graph import State, check_state_value_tree
        >>> s = State((1.0, 2.0))
        >>> with check_state_value_tree():
        ...     s.value = 3.0
        Traceback (most recent call last):
        ...
        ValueError: State holds a value of structure PyTreeDef((*, *)), and was assigned one of PyTreeDef(*)
    """
    before, block = stack.tree_check, object()
    try:
        be_busy(block, True)
        stack.tree_check = enabled
        yield
    finally:
        stack.tree_check = before
        be_busy(block, False)


def _in_words(leaf: Any) -> str:
    if hasattr(leaf, "dtype"):
        return describe(leaf)
    aval = aval_of(leaf)
    return f"{dtype_name(aval[1])}[]" if len(aval) == 2 else f"a {type(leaf).__name__}"


def refuse_deleted(state: Any, value: Any) -> None:
    """Raise if what is to be the value of a state is or holds an array that was deleted."""
    place = deleted_leaf(value)
    if place is not None:
        raise ValueError(
            f"{locate(state)} cannot take this value: {f'its array at {place}' if place else 'the array'} was deleted, "
            "as it was donated to a compiled call. Keep a copy before the call, `jnp.array(x)`, and assign that"
        )


def detached(value: Any, arrays: bool = False, buffers: bool = False) -> Any:
    """Return a value that shares no list or dict with the given one; order is kept.

    Args:
        value: The value of a state.
        arrays: Whether it shares no array of NumPy either, which its owner may change.
        buffers: Whether it shares no array of JAX either, whose buffer may be donated.
    """
    kind = type(value)
    if kind is dict:
        return {key: detached(item, arrays, buffers) for key, item in value.items()}
    if kind in (list, tuple):
        return kind(detached(item, arrays, buffers) for item in value)
    if isinstance(value, (np.ndarray, jax.Array, bool, int, float, complex)) or value is None:
        return _copied_leaf(value, arrays, buffers)
    return jax.tree.map(lambda leaf: _copied_leaf(leaf, arrays, buffers), value)


def _copied_leaf(leaf: Any, arrays: bool, buffers: bool) -> Any:
    if arrays and isinstance(leaf, np.ndarray):
        return leaf.copy()
    if buffers and isinstance(leaf, jax.Array) and not isinstance(leaf, Tracer):
        return copy.deepcopy(leaf)  # keeps its sharding and weak type
    return leaf

"""Arguments of layers: each checked once, where it comes in, and brought to one spelling.

The arguments of a constructor are static values, which are part of the structure of a model: ``3`` and ``np.int64(3)``
must become the same, or they make two programs. The errors of a constructor name the argument. A call happens inside a
model, so the errors of its arguments name the path of the layer too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brainstate_graph import Node, State
from brainstate_graph.extend import describe, locate

__all__ = [
    "as_axis",
    "as_fraction",
    "as_indices",
    "as_input",
    "as_mask",
    "as_positive",
    "as_precision",
    "as_size",
    "as_sizes",
    "as_sizes_per_axis",
    "is_number",
    "is_whole",
]

_PRECISIONS = ("default", "high", "highest")


# ---------------------------------------------------------------------------------------------------- of a constructor


def is_number(value: Any) -> bool:
    """Tell whether this is a real number of Python or NumPy; a bool is none, though Python has it for one."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Tell whether this is a whole number of any kind; a bool is none."""
    return hasattr(value, "__index__") and not isinstance(value, bool)


def as_fraction(name: str, value: Any, meaning: str) -> float:
    """Return a number between 0 and 1, or raise with its name and meaning."""
    if not is_number(value) or not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is {meaning}, between 0 and 1, not {value!r}")
    return float(value)


def as_positive(name: str, value: Any) -> float:
    """Return a number greater than 0, or raise with its name."""
    if not is_number(value) or not 0.0 < value < math.inf:
        raise ValueError(f"{name} must be a number greater than 0, not {value!r}")
    return float(value)


def as_axis(name: str, value: Any) -> int:
    """Return an axis, which may count from the end, or raise with the name of the argument."""
    if not is_whole(value):
        raise ValueError(f"{name} must be the number of an axis, not {value!r}")
    return int(value.__index__())


def as_size(name: str, value: Any) -> int:
    """Return a positive int, or raise with its name."""
    if not is_whole(value) or value.__index__() < 1:
        raise ValueError(f"{name} must be a positive whole number, not {value!r}")
    return int(value.__index__())


def as_sizes(name: str, value: int | Sequence[int]) -> tuple[int, ...]:
    """Return one positive int or several as a tuple, or raise with the name."""
    values = value if isinstance(value, (tuple, list)) and value else (value,)
    return tuple(as_size(name, v) for v in values)


def as_sizes_per_axis(name: str, value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """Return one positive int for each of `rank` spatial axes: a single one stands for all."""
    values = list(value) if isinstance(value, (tuple, list)) else [value] * rank
    if len(values) != rank:
        raise ValueError(f"{name} must be one number or {rank} of them, one for each spatial axis, not {value!r}")
    return tuple(as_size(name, v) for v in values)


def as_precision(precision: Any) -> Any:
    """Return a matmul precision of JAX, or raise; ``"highest"`` and ``jax.lax.Precision.HIGHEST`` are one."""
    if precision is None:
        return None
    try:
        # JAX itself is asked, as it takes texts, enums, pairs of these, and algorithms by name.
        jax.eval_shape(lambda x: jnp.dot(x, x, precision=precision), jnp.zeros(1))
    except (ValueError, TypeError):
        raise ValueError(
            f'precision must be one that jnp.dot takes, such as "highest", or None, not {precision!r}'
        ) from None
    return jax.lax.Precision(precision) if precision in _PRECISIONS else precision


# ----------------------------------------------------------------------------------------------------------- of a call


def as_input(
    x: Any, layer: Node, argument: str = "x", *, size: int | None = None, axis: int = -1, rank: int = 0
) -> Any:
    """Return an argument of a call as an array of numbers, or raise with the path of the layer and the argument.

    Args:
        x: What was given.
        layer: The layer.
        argument: The name of the argument.
        size: The number of features along `axis`; None for any.
        axis: The axis of the features.
        rank: How many axes there must be at least.

    Raises:
        TypeError: It is no array of numbers.
        ValueError: It has too few axes, or another number of features.
    """
    # JAX refuses most of these too, in errors that know nothing of layers.
    if x is None or isinstance(x, (str, bytes, Mapping, State, Node)):
        given = f"a {type(x).__name__}" if x is not None else "None"
        raise TypeError(f"{locate(layer)} takes an array for `{argument}`, not {given}")
    x = jnp.asarray(x)
    if not (jnp.issubdtype(x.dtype, jnp.number) or x.dtype == bool):
        raise TypeError(f"{locate(layer)} takes numbers for `{argument}`, which is {describe(x)}")
    if x.ndim < rank:
        raise ValueError(f"{locate(layer)} needs at least {rank} axes of `{argument}`, which is {describe(x)}")
    if size is not None and (not -x.ndim <= axis < x.ndim or x.shape[axis] != size):
        raise ValueError(
            f"{locate(layer)} expects {size} features along axis {axis} of `{argument}`, which is {describe(x)}"
        )
    return x


def as_indices(x: Any, layer: Node, argument: str = "x") -> Any:
    """Return an argument of a call as an array of whole numbers, or raise as `as_input` does."""
    x = as_input(x, layer, argument)
    if not jnp.issubdtype(x.dtype, jnp.integer):
        raise TypeError(f"{locate(layer)} takes whole numbers for `{argument}`, which is {describe(x)}")
    return x


def as_mask(mask: Any, layer: Node, meaning: str = "True and False for `mask`, which is {}") -> Any:
    """Return the argument `mask` of a call as an array of booleans, or raise as `as_input` does.

    Args:
        mask: What was given.
        layer: The layer.
        meaning: What the message says that the layer takes, with ``{}`` for what was given.
    """
    mask = as_input(mask, layer, "mask")
    if mask.dtype != bool:
        raise TypeError(f"{locate(layer)} takes {meaning.format(describe(mask))}")
    return mask

"""Arguments of a layer's constructor: each checked once, where it comes in, and brought to one spelling.

They are static values, which are part of the structure of a model: ``3`` and ``np.int64(3)`` must become the same, or
they make two programs. Errors name the argument. What a layer is called with is the matter of `inputs`.

A layer has two dtypes: `param_dtype`, in which its parameters are kept, and `dtype`, in which it computes. Where
`dtype` is None, JAX's own promotion of inputs and parameters decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = [
    "as_axis", "as_dtype", "as_finite", "as_fraction", "as_param_dtype", "as_positive", "as_precision", "as_size",
    "as_sizes", "as_sizes_per_axis", "is_number", "is_whole",
]  # fmt: skip

_PRECISIONS = ("default", "high", "highest")


def is_number(value: Any) -> bool:
    """Tell whether this is a real number of Python or NumPy; a bool is none, though Python has it for one."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Tell whether this is a whole number of any kind; a bool is none."""
    return hasattr(value, "__index__") and not isinstance(value, bool)


def as_fraction(name: str, value: Any, meaning: str) -> float:
    """Return a number between 0 and 1, or raise with its name and meaning."""
    if not is_number(value) or not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} must be {meaning}, between 0 and 1, not {value!r}")
    return float(value)


def as_positive(name: str, value: Any) -> float:
    """Return a number greater than 0, or raise with its name."""
    if not is_number(value) or not 0.0 < value < math.inf:
        raise ValueError(f"{name} must be a number greater than 0, not {value!r}")
    return float(value)


def as_finite(name: str, value: Any) -> float:
    """Return a finite number, or raise with its name."""
    if not is_number(value) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, not {value!r}")
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


def as_param_dtype(dtype: Any) -> Any:
    """Return the dtype of parameters, or raise where it is none that can be trained."""
    found = _dtype("param_dtype must be a dtype such as jnp.float32", dtype)
    if not jnp.issubdtype(found, jnp.inexact):
        raise TypeError(f"param_dtype must be a float or complex dtype, not {found}")
    return found


def as_dtype(dtype: Any, name: str = "dtype", purpose: str = "to compute in") -> Any:
    """Spell a dtype in one way, so that ``jnp.float32`` and ``"float32"`` make the same program."""
    if dtype is None:
        return None
    found = _dtype(f"{name} must be a dtype such as jnp.float32, or None", dtype)
    if not jnp.issubdtype(found, jnp.inexact):
        raise TypeError(f"{name} must be a float or complex dtype {purpose}, or None, not {found}")
    return found


def _dtype(demand: str, dtype: Any) -> Any:
    try:
        return jnp.dtype(dtype)
    except TypeError:
        raise TypeError(f"{demand}, not {dtype!r}") from None

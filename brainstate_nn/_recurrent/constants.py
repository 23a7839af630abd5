"""Constants of the dynamics: a time constant, a threshold, a delay, one for all neurons or one for each.

A number is part of the structure, and a constant of the program. An array has a value for each neuron, and is kept in a
LongTermState, so that a checkpoint has it and a change of it needs no new program. A State that is given is used: a
ParamState is trained, and a Constrained, as ``Constrained(10.0, Softplus())``, stays where its transform leads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from brainstate_graph import State
from brainstate_graph.extend import describe

from .._core.arguments import is_number
from .._core.constraints import Constrained
from .._core.inputs import at_least_float32
from .._core.states import LongTermState

__all__ = ["Constant", "Given", "as_constant", "check_above", "decay", "numbers_in", "of_constant"]

Given = float | Sequence[float] | jax.Array | np.ndarray | State[Any]
Constant = float | State[Any]


def as_constant(
    name: str,
    value: Any,
    in_size: tuple[int, ...],
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    most: float = math.inf,
) -> Any:
    """Return a constant as a float or a State, or raise with its name.

    Args:
        name: What the user calls it.
        value: A number, an array that broadcasts to the size, or a State of one of these.
        in_size: The shape of the layer.
        above: What it must be greater than.
        least: What it must not be below.
        most: What it must not exceed.
    """

    def fits(numbers: Any) -> Any:
        numbers = np.asarray(numbers, np.float64)
        return np.isfinite(numbers) & (numbers > above) & (numbers >= least) & (numbers <= most)

    meant = _meaning(above, least, most)
    if not isinstance(value, (jax.Array, np.ndarray, list, tuple, State)):
        if not is_number(value) or not fits(value):
            raise ValueError(f"{name} must be {meant}, not {value!r}")
        return float(value)
    state = value if isinstance(value, State) else LongTermState(_as_floats(name, value, meant))
    numbers = numbers_in(state)
    if not _broadcasts(jnp.shape(numbers), in_size):
        raise ValueError(f"{name} must be {meant}, or an array of them of shape {in_size}, not {describe(numbers)}")
    # Traced values are not known.
    if not isinstance(numbers, Tracer) and not fits(numbers).all():
        wrong = float(np.asarray(numbers, np.float64)[~fits(numbers)].ravel()[0])
        raise ValueError(f"{name} must be {meant}, but has {wrong:g}")
    return state


def check_above(name: str, value: Constant, other: str, lower: Constant) -> None:
    """Raise where a constant is not above another one; what is traced is not known."""
    high, low = numbers_in(value), numbers_in(lower)
    if not isinstance(high, Tracer) and not isinstance(low, Tracer) and not bool(np.all(np.asarray(high > low))):
        shown = [x if isinstance(x, float) else np.asarray(x).tolist() for x in (low, high)]
        raise ValueError(f"{name} must be above {other}={shown[0]}, not {shown[1]}")


def numbers_in(constant: Constant) -> Any:
    """Return the number, or the array that the model uses."""
    if isinstance(constant, Constrained):
        return constant.constrained
    # An array is none that was given, but one that was set later.
    return constant.value if isinstance(constant, State) else constant


def of_constant(constant: Constant, like: jax.Array, wide: bool = False) -> Any:
    """Return a constant as a number, or as an array along the last axes of `like`.

    Args:
        constant: What `as_constant` returned.
        like: An array of shape ``(*batch, *in_size)``, whose dtype the result has too.
        wide: Whether to keep single precision, for what is still to be computed with.
    """
    if is_number(constant):
        return constant
    value = jnp.asarray(numbers_in(constant))
    value = at_least_float32(value) if wide else value.astype(like.dtype)
    # Broadcasting would do it silently, and raises where the user asked JAX for strict ranks.
    return value.reshape((1,) * (like.ndim - value.ndim) + value.shape)


def decay(dt: float, tau: Constant, like: jax.Array) -> tuple[Any, Any]:
    """Return ``exp(-dt / tau)`` and one minus that, in the dtype of `like`, or as numbers."""
    if isinstance(tau, (int, float)):
        # In Python: it is a constant of the program.
        left = math.exp(-dt / tau)
        return left, 1 - left
    exponent = -dt / of_constant(tau, like, wide=True)
    # 1 - exp(-x) would have four digits at x = 0.001.
    return jnp.exp(exponent).astype(like.dtype), (-jnp.expm1(exponent)).astype(like.dtype)


def _as_floats(name: str, value: Any, meant: str) -> jax.Array:
    try:
        array = value if isinstance(value, jax.Array) else np.asarray(value, np.float32)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be {meant}, or an array of them, not {value!r}") from None
    return jnp.asarray(array, None if jnp.issubdtype(array.dtype, jnp.floating) else jnp.float32)


def _broadcasts(shape: tuple[int, ...], in_size: tuple[int, ...]) -> bool:
    pairs = zip(reversed(shape), reversed(in_size), strict=False)
    return len(shape) <= len(in_size) and all(a in (1, b) for a, b in pairs)


def _meaning(above: float, least: float, most: float) -> str:
    bounds = [
        f"greater than {above:g}" if above > -math.inf else "",
        f"not less than {least:g}" if least > -math.inf else "",
        f"not greater than {most:g}" if most < math.inf else "",
    ]
    return f"a number {' and '.join(filter(None, bounds))}" if any(bounds) else "a finite number"

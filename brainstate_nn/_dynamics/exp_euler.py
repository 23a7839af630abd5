"""``exp_euler_step``: one step of a differential equation by exponential Euler, for equations that are written down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .._core.arguments import as_positive

__all__ = ["exp_euler_step"]


def exp_euler_step(fun: Callable[..., Any], y: Any, *args: Any, dt: float) -> Any:
    """Compute one step of ``dy/dt = fun(y, *args)`` by exponential Euler (Hochbruck and Ostermann, 2010, section 2).

    The result is ``y + dt * phi(dt * J) * fun(y, *args)`` with ``phi(z) = (exp(z) - 1) / z``, where `J` is the
    derivative of `fun` by `y`, which JAX computes. It is exact where `fun` is linear in `y`, stable for any `dt` where
    it decays, and of second order elsewhere while `args` stay what they are.

    Args:
        fun: The right side, which acts on each element of `y` by itself.
        y: An array of floats.
        *args: What else `fun` takes; they are constant during the step.
        dt: The time of the step.

    Returns:
        `y` after the step, in its dtype.

    Raises:
        ValueError: `dt` is not positive, or `fun` returns another shape than that of `y`.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import exp_euler_step
        >>> y = exp_euler_step(lambda y, x: (x - y) / 10.0, jnp.array([1.0]), 0.0, dt=5.0)
        >>> bool(jnp.allclose(y, jnp.exp(-0.5)))
        True
    """
    dt = as_positive("dt", dt)
    y = jnp.asarray(y)
    y = y if jnp.issubdtype(y.dtype, jnp.inexact) else y.astype(jnp.float32)
    # Each element depends on itself alone, so that one tangent of ones gives the diagonal of the Jacobian.
    slope, linear = jax.jvp(lambda y: jnp.asarray(fun(y, *args)), (y,), (jnp.ones_like(y),))
    if slope.shape != y.shape:
        raise ValueError(f"fun must return an array of the shape of y, {y.shape}, not {slope.shape}")
    return (y + dt * exprel(dt * linear) * slope).astype(y.dtype)


def exprel(z: jax.Array) -> jax.Array:
    """Return ``(exp(z) - 1) / z``, and 1 at 0."""
    # Near 0 its derivative would be a difference of equal numbers; four terms are exact below 0.01.
    near = jnp.abs(z) < 1e-2
    safe = jnp.where(near, jnp.ones_like(z), z)
    series = 1 + z / 2 * (1 + z / 3 * (1 + z / 4))
    return jnp.where(near, series, jnp.expm1(safe) / safe)

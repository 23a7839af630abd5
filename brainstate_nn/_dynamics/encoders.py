"""``poisson_spikes`` and ``latency_spikes``: numbers as spike trains, by how many spikes come and by when they do."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._core.arguments import as_positive, as_size
from .._core.random import Rng, stream_of

__all__ = ["latency_spikes", "poisson_spikes"]


def poisson_spikes(rates: Any, length: int, *, dt: float = 1.0, rng: Rng = None) -> jax.Array:
    """Draw spike trains in which each step has a spike with the probability ``rate * dt``, whatever the others have.

    Args:
        rates: How many spikes come in a unit of time, an array of any shape; at most ``1 / dt``.
        length: The number of steps.
        dt: The time of one step.
        rng: The stream that gives the key, or streams with `spikes`; None for the default one.

    Returns:
        Zeros and ones of shape ``(length, *rates.shape)``, in float32.

    Raises:
        ValueError: A rate is negative, or more than one spike a step.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import poisson_spikes
        >>> spikes = poisson_spikes(jnp.array([0.0, 50.0, 1000.0]), 100, dt=0.001)
        >>> spikes[:, 0].sum().item(), spikes[:, 2].sum().item()
        (0.0, 100.0)
    """
    length, dt = as_size("length", length), as_positive("dt", dt)
    chance = jnp.asarray(rates, jnp.float32) * dt
    # A rounding of 1000 * 0.001 is not a mistake of the user.
    if not isinstance(chance, Tracer) and not bool(np.all((np.asarray(chance) >= 0) & (np.asarray(chance) <= 1.0001))):
        raise ValueError(
            f"rates must be between 0 and 1 / dt, which is {1 / dt:g}: write a smaller dt, with more steps"
        )
    key = stream_of(rng, "spikes").split_key()
    return jax.random.bernoulli(key, jnp.minimum(chance, 1.0)[None], (length, *chance.shape)).astype(jnp.float32)


def latency_spikes(
    x: Any, length: int, *, tau: float | None = None, threshold: float = 0.01, dt: float = 1.0
) -> jax.Array:
    """Make spike trains of one spike each: the greater the number, the earlier.

    A number of 1 spikes in the first step. Without `tau` the time falls in a straight line to the last step at
    `threshold`. With `tau` it is when a leaky membrane that `x` drives passes `threshold`: ``tau * log(x / (x -
    threshold))``. Numbers that are not above the threshold, and times behind the end, make no spike.

    Args:
        x: Numbers between 0 and 1, an array of any shape.
        length: The number of steps.
        tau: The time constant of the membrane, in the unit of `dt`; None for a straight line.
        threshold: What a number must be above.
        dt: The time of one step.

    Returns:
        Zeros and ones of shape ``(length, *x.shape)``, in float32.

    Raises:
        ValueError: A number is not between 0 and 1, `threshold`, `tau`, `dt` or `length` is not positive, or
            `threshold` is not below 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import latency_spikes
        >>> spikes = latency_spikes(jnp.array([1.0, 0.5, 0.0]), 5)
        >>> spikes.argmax(0).tolist(), spikes.sum(0).tolist()
        ([0, 2, 0], [1.0, 1.0, 0.0])
    """
    length, dt, threshold = as_size("length", length), as_positive("dt", dt), as_positive("threshold", threshold)
    if threshold >= 1:
        raise ValueError(f"threshold must be below 1, the greatest value of x, not {threshold:g}")
    x = jnp.asarray(x, jnp.float32)
    if not isinstance(x, Tracer) and not bool(np.all((np.asarray(x) >= 0) & (np.asarray(x) <= 1))):
        raise ValueError("x must be numbers between 0 and 1: write `x / x.max()`")
    above = x > threshold
    if tau is None:
        when = (1 - x) / (1 - threshold) * (length - 1)
    else:
        drive = jnp.where(above, x, 1.0)
        when = as_positive("tau", tau) / dt * jnp.log(drive / (drive - threshold))
    step = jnp.where(above, jnp.round(when), length)
    return (jnp.arange(length).reshape(length, *[1] * x.ndim) == step[None]).astype(jnp.float32)

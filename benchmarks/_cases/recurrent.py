"""Cells to run for many steps: a gated recurrent unit, and a layer of leaky neurons that spike and are connected."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .workloads import of_pure

__all__ = ["GATED", "SPIKING"]

WIDTH = 32


def _weights(count: int) -> list[jax.Array]:
    draw = np.random.default_rng(0).normal
    return [jnp.asarray(draw(0, 0.5 / WIDTH**0.5, (WIDTH, WIDTH)), jnp.float32) for _ in range(count)]


def gated() -> Callable[[Any, Any, Any], Any]:
    """Return a fresh cell with six matrices and one hidden state."""

    def f(params: Any, hidden: Any, x: Any) -> Any:
        (h,) = hidden
        given = jnp.full(WIDTH, x)
        update = jax.nn.sigmoid(given @ params[0] + h @ params[1])
        reset = jax.nn.sigmoid(given @ params[2] + h @ params[3])
        new = jnp.tanh(given @ params[4] + (reset * h) @ params[5])
        h = update * h + (1 - update) * new
        return jnp.mean(h), (h,)

    return f


@jax.custom_jvp
def spike(v: jax.Array) -> jax.Array:
    """Return 1 above the threshold, with the derivative of a smooth step."""
    return (v >= 0).astype(v.dtype)


@spike.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (v,), (dv,) = primals, tangents
    return spike(v), dv / (1 + (math.pi * v) ** 2)


def spiking() -> Callable[[Any, Any, Any], Any]:
    """Return a fresh layer with its potentials, its synaptic currents and its last spikes."""

    def f(params: Any, hidden: Any, x: Any) -> Any:
        v, current, spikes = hidden
        current = 0.8 * current + spikes @ params[0] + x * params[1][0] + 0.3
        v = 0.9 * v + 0.1 * current - spikes
        spikes = spike(v - 1.0)
        return jnp.mean(v), (v, current, spikes)

    return f


GATED = of_pure("gated cell", gated, lambda: (_weights(6), [jnp.zeros(WIDTH)]))
SPIKING = of_pure("spiking layer", spiking, lambda: (_weights(2), [jnp.zeros(WIDTH) for _ in range(3)]))

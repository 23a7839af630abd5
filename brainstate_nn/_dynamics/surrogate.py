"""``surrogate_spike``: a step with the derivative of a smooth function, so that spiking models learn by gradients.

The derivative of a step is zero where it is defined, so a loss would not reach what is below a spike.

The stated derivative is computed beside the step and passed to the rule, which multiplies by it and does no more.  So a
user's function may read states and close over traced values: a rule that JAX runs later, in another trace, may not.
Where nothing is differentiated, XLA drops it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._core.arguments import as_positive

__all__ = ["as_surrogate", "surrogate_spike"]

Derivative = Callable[[jax.Array], jax.Array]


def _sigmoid(x: jax.Array) -> jax.Array:
    s = jax.nn.sigmoid(x)
    return s * (1 - s)


def _gaussian(x: jax.Array, width: float = 1.0) -> jax.Array:
    return jnp.exp(-((x / width) ** 2) / 2) / (width * math.sqrt(2 * math.pi))


def _multi_gaussian(x: jax.Array) -> jax.Array:
    # The heights and widths of the source; its three parts enclose 1.15 - 2 * 0.15.
    return (1.15 * _gaussian(x) - 0.15 * (_gaussian(x - 1, 6.0) + _gaussian(x + 1, 6.0))) / 0.85


# Of each kind the derivative at a slope of 1, and the slope that is used where none is given, after the sources below.
_KINDS: Mapping[str, tuple[Derivative, float]] = {
    "sigmoid": (_sigmoid, 4.0),
    "arctan": (lambda x: 0.5 / (1 + (math.pi / 2 * x) ** 2), 2.0),
    "triangle": (lambda x: jax.nn.relu(1 - jnp.abs(x)), 1.0),
    "fast_sigmoid": (lambda x: 0.5 / (1 + jnp.abs(x)) ** 2, 10.0),
    "inverse_square": (lambda x: 1 / (math.pi * (1 + x**2)), 10.0),
    "rectangle": (lambda x: (jnp.abs(x) <= 0.5).astype(x.dtype), 1.0),
    "gaussian": (_gaussian, 2.0),
    "multi_gaussian": (_multi_gaussian, 2.0),
    "exponential": (lambda x: 0.5 * jnp.exp(-jnp.abs(x)), 5.0),
}


def surrogate_spike(
    x: jax.Array, kind: str | Derivative = "arctan", slope: float | jax.Array | None = None
) -> jax.Array:
    """Return 1 where `x` is zero or more and 0 elsewhere, with a surrogate as its derivative.

    The derivative is ``slope * d(slope * x)``, where `d` and the usual slope are:

    ==================  ===============================  =====  ==================================================
    kind                d(x)                             slope  source
    ==================  ===============================  =====  ==================================================
    `"sigmoid"`         ``s * (1 - s), s = sigmoid(x)``  4      Neftci et al. (2019), arXiv:1901.09948
    `"arctan"`          ``1 / 2 / (1 + (pi x / 2)**2)``  2      Fang et al. (2021), arXiv:2007.05785
    `"triangle"`        ``max(0, 1 - abs(x))``           1      piecewise linear: Bellec et al. (2018), arXiv:1803.09574
    `"fast_sigmoid"`    ``1 / 2 / (1 + abs(x))**2``      10     SuperSpike: Zenke and Ganguli (2018), arXiv:1705.11146
    `"inverse_square"`  ``1 / pi / (1 + x**2)``          10     a Cauchy density, of heavier tails than `"gaussian"`
    `"rectangle"`       ``abs(x) <= 1/2``                1      Wu et al. (2018), arXiv:1706.02609
    `"gaussian"`        the normal density               2      Wu et al. (2018), arXiv:1706.02609
    `"multi_gaussian"`  a high normal density less two   2      Yin et al. (2021), arXiv:2103.12593
                        wide ones, below 0 far outside
    `"exponential"`     ``exp(-abs(x)) / 2``             5      SLAYER: Shrestha and Orchard (2018), arXiv:1810.08646
    ==================  ===============================  =====  ==================================================

    Each encloses an area of one, whatever the slope: the surrogate, too, goes from 0 to 1. (Some sources scale theirs
    otherwise.) A surrogate is not the derivative of the output, so a second derivative is that of `d` alone.

    Args:
        x: An array of any shape: how far above its threshold a neuron is.
        kind: One of these names, or a function `d` of an array, which may read states.
        slope: How steep it is, greater than zero: a number, or an array that broadcasts against `x`; None for the usual
            one, and 1 for a function. It changes no spike, so the gradient by it is zero.

    Returns:
        Zeros and ones of the shape of `x`, in its dtype, or in float32 where that is not a float.

    Raises:
        ValueError: There is no such kind, or the slope is not greater than zero.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import surrogate_spike
        >>> surrogate_spike(jnp.array([-0.5, 0.0, 0.5])).tolist()
        [0.0, 1.0, 1.0]
        >>> jax.vmap(jax.grad(lambda x: surrogate_spike(x, "triangle")))(jnp.array([-0.5, 0.0, 2.0])).tolist()
        [0.5, 1.0, 0.0]
    """
    steep: Any = _as_slopes(slope) if isinstance(slope, (jax.Array, np.ndarray)) else None
    kind, usual = as_surrogate(kind, slope if steep is None else None)
    steep = usual if steep is None else steep
    x = jnp.asarray(x)
    # A derivative needs a float.
    x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.float32)
    derivative = _KINDS[kind][0] if isinstance(kind, str) else kind
    weight = jnp.asarray(steep * derivative(steep * x), x.dtype)
    return _spike(jnp.broadcast_to(weight, x.shape), x)


def as_surrogate(kind: Any, slope: Any) -> tuple[Any, float]:
    """Return the kind of a surrogate and its slope, or raise."""
    if isinstance(kind, str) and kind in _KINDS:
        usual = _KINDS[kind][1]
    elif callable(kind):
        usual = 1.0
    else:
        raise ValueError(f"a surrogate must be one of {', '.join(_KINDS)}, or a function of an array, not {kind!r}")
    return kind, usual if slope is None else as_positive("slope", slope)


def _as_slopes(slope: Any) -> Any:
    """Return slopes in an array, or raise; those that are traced are not known."""
    if not isinstance(slope, Tracer) and not (np.asarray(slope) > 0).all():
        raise ValueError(f"slope must be an array of numbers greater than 0, not {slope!r}")
    return slope


@jax.custom_jvp
def _spike(weight: jax.Array, x: jax.Array) -> jax.Array:
    return (x >= 0).astype(x.dtype)


@_spike.defjvp
def _spike_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    (weight, x), (_, dx) = primals, tangents
    return _spike(weight, x), weight * dx

"""``init``: initialisers by their older names, over those of JAX; each is called with a shape, or as ours is.

``init.Normal(scale=0.1)((2, 3))`` draws from the default stream. ``(key, shape, dtype)`` are the arguments that every
layer gives, so these can be used with ours too.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brainstate_graph import State

from .._core.random import default_rng
from ._draws import next_key, real
from .module import as_sizes as to_size

__all__ = [
    "Constant", "DeltaOrthogonal", "Exponential", "Gamma", "Identity", "Initializer", "KaimingNormal",
    "KaimingUniform", "LecunNormal", "LecunUniform", "Normal", "Orthogonal", "TruncatedNormal", "Uniform",
    "VarianceScaling", "XavierNormal", "XavierUniform", "ZeroInit", "as_initializer", "calculate_init_gain", "param",
    "to_size",
]  # fmt: skip

_GAINS = {"sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4, "linear": 1.0}


class Initializer:
    """A function ``(key, shape, dtype) -> array`` that is also called with a shape alone.

    Args:
        fun: The function.
        seed: A seed or key that takes the place of a drawn key; None for none.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from brainstate_nn.compat import init
        >>> start = init.Normal(scale=0.1, seed=0)
        >>> bool((start((2, 3)) == start(jax.random.key(0), (2, 3), jnp.float32)).all())
        True
    """

    def __init__(self, fun: Callable[..., Any], seed: Any = None) -> None:
        self.fun = fun
        self.seed = seed

    def __call__(self, *args: Any, dtype: Any = None, **_: Any) -> jax.Array:
        """Return an array of a shape, which is the only argument or follows a key."""
        key, shape, *rest = args if len(args) > 1 else (None, *args)
        key = next_key(key if self.seed is None else self.seed)
        return self.fun(key, to_size(shape), rest[0] if rest else real(dtype))


def Normal(mean: Any = 0.0, scale: Any = 1.0, seed: Any = None) -> Initializer:
    """Return an initialiser that draws from a normal distribution."""
    return Initializer(lambda key, shape, dtype: mean + scale * jax.random.normal(key, shape, dtype), seed)


def TruncatedNormal(
    loc: Any = 0.0, scale: Any = 1.0, lower: Any = -2.0, upper: Any = 2.0, seed: Any = None
) -> Initializer:
    """Return an initialiser that draws from a normal distribution between two numbers."""
    low, high = (lower - loc) / scale, (upper - loc) / scale
    return Initializer(
        lambda key, shape, dtype: loc + scale * jax.random.truncated_normal(key, low, high, shape, dtype), seed
    )


def Uniform(min_val: Any = 0.0, max_val: Any = 1.0, seed: Any = None) -> Initializer:
    """Return an initialiser that draws evenly between two numbers."""
    return Initializer(lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, min_val, max_val), seed)


def Exponential(scale: Any = 1.0, seed: Any = None) -> Initializer:
    """Return an initialiser that draws from an exponential distribution of this mean."""
    return Initializer(lambda key, shape, dtype: scale * jax.random.exponential(key, shape, dtype), seed)


def Gamma(shape: Any, scale: Any = 1.0, seed: Any = None) -> Initializer:
    """Return an initialiser that draws from a gamma distribution."""
    return Initializer(lambda key, sizes, dtype: scale * jax.random.gamma(key, shape, sizes, dtype), seed)


def Constant(value: Any = 1.0) -> Initializer:
    """Return an initialiser that gives one value."""
    return Initializer(jax.nn.initializers.constant(value))


def ZeroInit() -> Initializer:
    """Return an initialiser that gives zeros."""
    return Initializer(jax.nn.initializers.zeros)


def Identity(value: Any = 1.0) -> Initializer:
    """Return an initialiser that gives a multiple of the identity."""
    return Initializer(lambda key, shape, dtype: value * jnp.eye(*shape, dtype=dtype))


def VarianceScaling(
    scale: float, mode: str, distribution: str, in_axis: int = -2, out_axis: int = -1, seed: Any = None
) -> Initializer:
    """Return `jax.nn.initializers.variance_scaling`."""
    scaled = jax.nn.initializers.variance_scaling(scale, mode, distribution, in_axis, out_axis)  # type: ignore[arg-type]
    return Initializer(scaled, seed)


def _scaled(scale: float, mode: str, distribution: str) -> Callable[..., Initializer]:
    def make(
        scale: float = scale,
        mode: str = mode,
        distribution: str = distribution,
        in_axis: int = -2,
        out_axis: int = -1,
        seed: Any = None,
    ) -> Initializer:
        return VarianceScaling(scale, mode, distribution, in_axis, out_axis, seed)

    return make


KaimingNormal = _scaled(2.0, "fan_in", "truncated_normal")
KaimingUniform = _scaled(2.0, "fan_in", "uniform")
LecunNormal = _scaled(1.0, "fan_in", "truncated_normal")
LecunUniform = _scaled(1.0, "fan_in", "uniform")
XavierNormal = _scaled(1.0, "fan_avg", "truncated_normal")
XavierUniform = _scaled(1.0, "fan_avg", "uniform")


def Orthogonal(scale: Any = 1.0, axis: int = -1, seed: Any = None) -> Initializer:
    """Return `jax.nn.initializers.orthogonal`."""
    return Initializer(jax.nn.initializers.orthogonal(scale, axis), seed)


def DeltaOrthogonal(scale: Any = 1.0, axis: int = -1, seed: Any = None) -> Initializer:
    """Return `jax.nn.initializers.delta_orthogonal`."""
    return Initializer(jax.nn.initializers.delta_orthogonal(scale, axis), seed)


def calculate_init_gain(nonlinearity: str, param: Any = None) -> float:
    """Return the factor by which weights before an activation are scaled."""
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1.0 + (0.01 if param is None else param) ** 2))
    return 1.0 if nonlinearity.startswith(("conv", "linear")) else _GAINS[nonlinearity]


def as_initializer(given: Any) -> Callable[..., Any]:
    """Return a function ``(key, shape, dtype) -> array`` of an initialiser of any spelling, an array or a number."""
    if isinstance(given, Initializer):
        return given
    if not callable(given):
        return lambda key, shape, dtype: jnp.broadcast_to(jnp.asarray(given, dtype), shape)
    parameters = inspect.signature(given).parameters.values()
    needed = [p for p in parameters if p.default is p.empty and p.kind < p.VAR_POSITIONAL]
    return given if len(needed) > 1 else lambda key, shape, dtype: jnp.asarray(given(shape), dtype)


def param(
    parameter: Any, sizes: Any, batch_size: int | None = None, allow_none: bool = True, allow_scalar: bool = True
) -> Any:
    """Return a first value: what an initialiser gives for a shape, or an array or number as it is.

    Args:
        parameter: An initialiser, an array, a number, a State, or None.
        sizes: The shape.
        batch_size: The size of an axis to put before it.
        allow_none: Whether None is returned as it is.
        allow_scalar: Whether a number is.

    Raises:
        ValueError: An array, or a number, is not of the shape, and cannot be broadcast to it; or None is none.

    Example:
        >>> from brainstate_nn.compat import init
        >>> init.param(init.Normal(), (2, 3), batch_size=4).shape, init.param(0.5, (2, 3))
        ((4, 2, 3), 0.5)
    """
    if parameter is None:
        if allow_none:
            return None
        raise ValueError("the parameter is None: give an initialiser, an array or a number")
    shape: Any = to_size(sizes)
    if callable(parameter):
        shape = shape if batch_size is None else (batch_size, *shape)
        return as_initializer(parameter)(default_rng().split_key(), shape, real(None))
    value: Any = parameter.value if isinstance(parameter, State) else parameter
    if np.ndim(value) == 0 and allow_scalar:
        return parameter
    if np.ndim(value) == 0 or jnp.broadcast_shapes(shape, np.shape(value)) != shape:
        raise ValueError(f"the parameter must have the shape {shape}, not {np.shape(value)}")
    return parameter if batch_size is None else jnp.broadcast_to(value, (batch_size, *shape))

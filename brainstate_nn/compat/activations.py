"""Activations as classes, and those that `jax.nn` does not have as functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import brainstate_nn as today

from .module import ElementWiseBlock, Layer

__all__ = [
    "CELU", "ELU", "GELU", "GLU", "SELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU",
    "LogSigmoid", "LogSoftmax", "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SiLU", "Sigmoid", "Softmax", "Softmax2d",
    "Softmin", "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink", "Threshold", "hard_shrink", "hard_tanh",
    "prelu", "rrelu", "soft_shrink", "softmin", "tanh_shrink",
]  # fmt: skip


def hard_shrink(x: Any, lambd: float = 0.5) -> jax.Array:
    """Return `x` where it is further from 0 than `lambd`, else 0."""
    return jnp.where(jnp.abs(x) > lambd, x, 0)


def soft_shrink(x: Any, lambd: float = 0.5) -> jax.Array:
    """Return `x` moved towards 0 by `lambd`, and no further than 0."""
    return jnp.sign(x) * jnp.maximum(jnp.abs(x) - lambd, 0)


def tanh_shrink(x: Any) -> jax.Array:
    """Return ``x - tanh(x)``."""
    return x - jnp.tanh(x)


def hard_tanh(x: Any, min_val: float = -1.0, max_val: float = 1.0) -> jax.Array:
    """Return `x` between two numbers."""
    return jnp.clip(x, min_val, max_val)


def softmin(x: Any, axis: int = -1) -> jax.Array:
    """Return the softmax of ``-x``."""
    return jax.nn.softmax(-jnp.asarray(x), axis)


def prelu(x: Any, a: Any = 0.25) -> jax.Array:
    """Return ``x`` where it is not negative, ``a * x`` elsewhere."""
    return jnp.where(x >= 0, x, a * x)


def rrelu(x: Any, lower: float = 0.125, upper: float = 1 / 3) -> jax.Array:
    """Return ``x`` where it is not negative, elsewhere ``x`` times a number that is drawn evenly between two."""
    x = jnp.asarray(x)
    return prelu(x, today.default_rng().uniform(x.shape, x.dtype, lower, upper))


def _threshold(x: Any, threshold: float, value: float) -> jax.Array:
    return jnp.where(x > threshold, x, value)


class _Activation(ElementWiseBlock):
    """The abstract base of the classes below, each a function with its settings."""

    fun: Any = None
    settings = inspect.Signature()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        for name, value in _bound(self, args, kwargs).items():
            setattr(self, name, value)

    def update(self, x: Any) -> Any:
        """Apply the function."""
        return type(self).fun(x, **{name: getattr(self, name) for name in self.settings.parameters if name != "name"})


def _bound(layer: _Activation, args: Any, kwargs: Any) -> dict[str, Any]:
    bound = layer.settings.bind(*args, **kwargs)
    bound.apply_defaults()
    return {name: value for name, value in bound.arguments.items() if name != "name" or value is not None}


def _layer(name: str, fun: Callable[..., Any], **settings: Any) -> Any:
    """Return a class whose instances apply `fun` with their `settings`, whose defaults these are."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    given = [inspect.Parameter(key, kind, default=value) for key, value in {**settings, "name": None}.items()]
    words = f"`{getattr(fun, '__name__', name)}` as a layer."
    parts = {"fun": staticmethod(fun), "settings": inspect.Signature(given), "__doc__": words, "__module__": __name__}
    return type(_Activation)(name, (_Activation,), parts)


ReLU = _layer("ReLU", jax.nn.relu)
RReLU = _layer("RReLU", rrelu, lower=0.125, upper=1 / 3)
Hardtanh = _layer("Hardtanh", hard_tanh, min_val=-1.0, max_val=1.0)
ReLU6 = _layer("ReLU6", jax.nn.relu6)
Sigmoid = _layer("Sigmoid", jax.nn.sigmoid)
Hardsigmoid = _layer("Hardsigmoid", jax.nn.hard_sigmoid)
Tanh = _layer("Tanh", jnp.tanh)
SiLU = _layer("SiLU", jax.nn.silu)
Mish = _layer("Mish", jax.nn.mish)
Hardswish = _layer("Hardswish", jax.nn.hard_swish)
ELU = _layer("ELU", jax.nn.elu, alpha=1.0)
CELU = _layer("CELU", jax.nn.celu, alpha=1.0)
SELU = _layer("SELU", jax.nn.selu)
GLU = _layer("GLU", lambda x, dim: jax.nn.glu(x, dim), dim=-1)
GELU = _layer("GELU", jax.nn.gelu, approximate=False)
Hardshrink = _layer("Hardshrink", hard_shrink, lambd=0.5)
LeakyReLU = _layer("LeakyReLU", jax.nn.leaky_relu, negative_slope=0.01)
LogSigmoid = _layer("LogSigmoid", jax.nn.log_sigmoid)
Softplus = _layer("Softplus", jax.nn.softplus)
Softshrink = _layer("Softshrink", soft_shrink, lambd=0.5)
Softsign = _layer("Softsign", jax.nn.soft_sign)
Tanhshrink = _layer("Tanhshrink", tanh_shrink)
Threshold = _layer("Threshold", _threshold, threshold=0.0, value=0.0)
Softmin = _layer("Softmin", lambda x, dim: softmin(x, -1 if dim is None else dim), dim=None)
Softmax = _layer("Softmax", lambda x, dim: jax.nn.softmax(x, -1 if dim is None else dim), dim=None)
LogSoftmax = _layer("LogSoftmax", lambda x, dim: jax.nn.log_softmax(x, -1 if dim is None else dim), dim=None)
Softmax2d = _layer("Softmax2d", lambda x: jax.nn.softmax(x, -3))


class PReLU(Layer, today.PReLU):
    """`PReLU` with its first slope."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        super().__init__(num_parameters, w_init=jax.nn.initializers.constant(init))

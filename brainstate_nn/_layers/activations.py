"""Activations: the functions of ``jax.nn`` under the names that people look for here, and ``PReLU`` with its slope.

The functions are those of JAX itself, so that a model that calls one compares, prints and is stored by JAX's name. Only
what has a parameter is a class.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import (
    celu,
    elu,
    gelu,
    glu,
    hard_sigmoid,
    hard_silu,
    hard_swish,
    hard_tanh,
    identity,
    leaky_relu,
    log_sigmoid,
    log_softmax,
    logsumexp,
    mish,
    one_hot,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    soft_sign,
    softmax,
    softplus,
    sparse_plus,
    sparse_sigmoid,
    squareplus,
    standardize,
    swish,
)
from jax.numpy import tanh

from .._core.arguments import as_axis, as_dtype, as_size
from .._core.inputs import along_axis, as_input, promote
from .._core.module import Module
from .._core.parameters import Initializer, make_parameter
from .._core.random import Rng

__all__ = [
    "PReLU",
    "celu", "elu", "gelu", "glu", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "identity", "leaky_relu",
    "log_sigmoid", "log_softmax", "logsumexp", "mish", "one_hot", "relu", "relu6", "selu", "sigmoid", "silu",
    "soft_sign", "softmax", "softplus", "sparse_plus", "sparse_sigmoid", "squareplus", "standardize", "swish", "tanh",
]  # fmt: skip

_quarter: Initializer = jax.nn.initializers.constant(0.25)


class PReLU(Module):
    """The parametric ReLU: ``x`` where it is not negative, ``weight * x`` elsewhere (He et al., arXiv:1502.01852).

    Args:
        num_parameters: 1 for one slope, or the number of features, for one slope each.
        axis: The axis of the features.
        w_init: The initialiser of `weight`, a function ``(key, shape, dtype) -> array``; the constant 0.25 by default,
            as in torch (0.01 in flax).
        dtype: The dtype to compute in; None for the one that JAX's promotion gives.
        param_dtype: The dtype of the parameter; float32 by default.
        rng: The stream that gives the key, or streams with `params`; None for the default one.

    Attributes:
        weight: ParamState of shape ``(num_parameters,)``.

    Raises:
        ValueError: The number is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import PReLU
        >>> PReLU()(jnp.array([-4.0, 4.0])).tolist()
        [-1.0, 4.0]
    """

    def __init__(
        self,
        num_parameters: int = 1,
        *,
        axis: int = -1,
        w_init: Initializer = _quarter,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rng: Rng = None,
    ) -> None:
        self.num_parameters = as_size("num_parameters", num_parameters)
        self.axis = as_axis("axis", axis)
        self.dtype = as_dtype(dtype)
        self.weight = make_parameter("w_init", w_init, (self.num_parameters,), param_dtype, rng)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the layer.

        Args:
            x: An array of any shape; with `num_parameters` along `axis` if that is not 1.

        Returns:
            An array of the same shape.
        """
        single = self.num_parameters == 1
        x = as_input(x, self, size=None if single else self.num_parameters, axis=self.axis)
        x, weight = promote(x, self.weight.value, dtype=self.dtype)
        # A scalar, so that no rank of the input needs broadcasting.
        slope = weight.reshape(()) if single else along_axis(weight, x.ndim, self.axis)
        return jnp.where(x >= 0, x, slope * x)

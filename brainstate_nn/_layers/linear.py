"""``Linear``: a matrix and an offset on the last axis.

It is the layer to read first: how a layer checks its arguments, makes its parameters, and computes.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .._core.arguments import as_dtype, as_precision, as_size
from .._core.inputs import as_input, promote
from .._core.module import Module
from .._core.parameters import Initializer, lecun_normal, make_parameter
from .._core.products import DotGeneral, as_element_type, as_function, matmul, with_bias
from .._core.random import Rng
from .._core.states import ParamState

__all__ = ["Linear"]


class Linear(Module):
    """The affine map ``x @ weight + bias`` on the last axis.

    Args:
        in_size: The number of input features.
        out_size: The number of output features.
        use_bias: Whether to add `bias`.
        w_init: The initialiser of `weight`, a function ``(key, shape, dtype) -> array``; LeCun normal by default.
        b_init: The initialiser of `bias`; zeros by default.
        dtype: The dtype to compute in; None for the one that JAX's promotion gives.
        param_dtype: The dtype of the parameters; float32 by default.
        precision: The precision of the product, as `jnp.dot` takes it; None for JAX's default.
        preferred_element_type: The dtype that products are added up in, and the result has; None for `dtype`.
        dot_general: The function that computes the product, such as a quantiser's; None for `jax.lax.dot_general`.
        rng: The stream that gives the keys, or streams with `params`; None for the default one.

    Attributes:
        weight: ParamState of shape ``(in_size, out_size)``.
        bias: ParamState of shape ``(out_size,)``, or None.

    Raises:
        ValueError: A size is not positive, or an initialiser returns another shape.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Linear
        >>> layer = Linear(2, 3)
        >>> layer(jnp.ones((5, 2))).shape
        (5, 3)
        >>> layer
        Linear(in_size=2, out_size=3, weight=ParamState(f32[2,3]), bias=ParamState(f32[3]))  # ParamState 9 (36 B)
    """

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        use_bias: bool = True,
        w_init: Initializer = lecun_normal,
        b_init: Initializer = jax.nn.initializers.zeros,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: Any = None,
        preferred_element_type: Any = None,
        dot_general: DotGeneral | None = None,
        rng: Rng = None,
    ) -> None:
        self.in_size = as_size("in_size", in_size)
        self.out_size = as_size("out_size", out_size)
        self.dtype = as_dtype(dtype)
        self.precision = as_precision(precision)
        self.preferred_element_type = as_element_type(preferred_element_type)
        self.dot_general = as_function("dot_general", dot_general)
        self.weight = make_parameter("w_init", w_init, (self.in_size, self.out_size), param_dtype, rng)
        self.bias: ParamState | None = None
        if use_bias:
            self.bias = make_parameter("b_init", b_init, (self.out_size,), param_dtype, rng)

    def __call__(self, x: jax.Array, *, out_sharding: Any = None) -> jax.Array:
        """Apply the layer.

        Args:
            x: An array of shape ``(..., in_size)``.
            out_sharding: The sharding of the result, a NamedSharding or PartitionSpec, where JAX cannot tell it.

        Returns:
            An array of shape ``(..., out_size)``.
        """
        x = as_input(x, self, size=self.in_size)
        bias = None if self.bias is None else self.bias.value
        x, weight, bias = promote(x, self.weight.value, bias, dtype=self.dtype)
        return with_bias(matmul(self, x, weight, out_sharding), bias)
